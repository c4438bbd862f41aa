"""Several calls side by side: bounded concurrency, answers in order, one purse for all."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from ..errors import BudgetExceeded, InvalidRequest, MediaError, Problem
from ..formatting import in_dollars
from .responses import several_answer

if TYPE_CHECKING:
    from ..planning import Plan
    from ..policy import Policy

__all__ = ["Reservation", "SharedBudget", "run_several"]

#: US dollars that sums of amounts may be off by.
_ROUNDING = 1e-9


async def run_several(works: Sequence[Callable[[], Awaitable[dict[str, Any]]]], at_once: int) -> dict[str, Any]:
    """Run works that answer, so many at once; the answers keep their order."""
    gate = asyncio.Semaphore(at_once)

    async def one(work: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
        async with gate:
            return await work()

    return several_answer(list(await asyncio.gather(*(one(work) for work in works))))


@attrs.define(eq=False)
class Reservation:
    """What one call holds of the purse, in US dollars: at first the high end of its quote."""

    usd: float
    capped: bool = False

    def held(self, policy: Policy) -> Policy:
        """Return a policy by which no other backend steps in that costs more than what is held here."""
        if not self.capped:
            return policy
        return policy.capped(self.usd + _ROUNDING)

    def spent(self, actual: float | None) -> None:
        """Note what it cost, where that is known."""
        if actual is not None:
            self.usd = actual


class SharedBudget:
    """A cap that several calls share. A call waits while others hold money that may come back.

    Raises:
        InvalidRequest: the cap is no amount of money.
    """

    def __init__(self, cap: Any) -> None:
        number = isinstance(cap, int | float) and not isinstance(cap, bool)
        if cap is not None and not (number and 0 <= cap <= 1_000_000):
            raise InvalidRequest([Problem("$.max_cost_usd", "expected US dollars from 0 to 1000000")])
        self._cap: float | None = cap
        self._spent = 0.0
        self._held = 0.0
        self._changed = asyncio.Condition()

    @contextlib.asynccontextmanager
    async def reserve(self, plan: Plan) -> AsyncIterator[Reservation]:
        """Hold the high end of a plan's quote for as long as the block runs; what was spent stays spent.

        Raises:
            BudgetExceeded: it does not fit, or its price is unknown; nothing was sent.
        """
        reservation = Reservation(await self._take(plan), capped=self._cap is not None)
        held = reservation.usd
        try:
            yield reservation
        except MediaError as error:
            if error.charged == "no":
                reservation.usd = 0.0
            raise
        finally:
            async with self._changed:
                self._held -= held
                self._spent += reservation.usd
                self._changed.notify_all()

    async def _take(self, plan: Plan) -> float:
        if self._cap is None:
            return 0.0
        if plan.quote.usd is None:
            raise BudgetExceeded(f"the price of '{plan.chosen}' is unknown, and the calls together may cost {in_dollars(self._cap)} USD")
        wanted = plan.quote.usd[1]
        async with self._changed:
            while self._spent + self._held + wanted > self._cap + _ROUNDING and self._held > _ROUNDING:
                await self._changed.wait()
            left = self._cap - self._spent
            if wanted > left + _ROUNDING:
                asked, cap, rest = (in_dollars(amount) for amount in (wanted, self._cap, max(left, 0)))
                text = f"'{plan.chosen}' may cost {asked} USD; of the {cap} USD for all calls {rest} are left"
                raise BudgetExceeded(text, fix="ask for fewer, or for leave to spend more")
            self._held += wanted
            return wanted

"""Several calls at once: bounded concurrency, answers in order, one shared budget."""

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


async def run_several(calls: Sequence[Callable[[], Awaitable[dict[str, Any]]]], max_concurrent: int) -> dict[str, Any]:
    """Run calls, at most ``max_concurrent`` at a time, and return their answers in order."""
    semaphore = asyncio.Semaphore(max_concurrent)

    async def one(call: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
        async with semaphore:
            return await call()

    return several_answer(list(await asyncio.gather(*(one(call) for call in calls))))


@attrs.define(eq=False)
class Reservation:
    """The part of a shared budget that one call has reserved, in US dollars: at first the high end of its quote."""

    usd: float
    capped: bool = False

    def limit(self, policy: Policy) -> Policy:
        """Return a policy whose cap is the reservation, so that a fallback cannot cost more."""
        if not self.capped:
            return policy
        return policy.capped(self.usd + _ROUNDING)

    def spent(self, actual: float | None) -> None:
        """Record the actual cost, if it is known."""
        if actual is not None:
            self.usd = actual


class SharedBudget:
    """A cap that several calls share. A call waits while others have reserved money that they may not spend.

    Raises:
        InvalidRequest: the cap is not an amount of money.
    """

    def __init__(self, cap: Any) -> None:
        number = isinstance(cap, int | float) and not isinstance(cap, bool)
        if cap is not None and not (number and 0 <= cap <= 1_000_000):
            raise InvalidRequest([Problem("$.max_cost_usd", "expected US dollars from 0 to 1000000")])
        self._cap: float | None = cap
        self._spent = 0.0
        self._reserved = 0.0
        self._changed = asyncio.Condition()

    @contextlib.asynccontextmanager
    async def reserve(self, plan: Plan) -> AsyncIterator[Reservation]:
        """Reserve the high end of a plan's quote while the block runs; afterwards the actual cost counts.

        Raises:
            BudgetExceeded: the quote exceeds what is left, or the price is unknown; nothing was sent.
        """
        reservation = Reservation(await self._take(plan), capped=self._cap is not None)
        reserved = reservation.usd
        try:
            yield reservation
        except MediaError as error:
            if error.charged == "no":
                reservation.usd = 0.0
            raise
        finally:
            async with self._changed:
                self._reserved -= reserved
                self._spent += reservation.usd
                self._changed.notify_all()

    async def _take(self, plan: Plan) -> float:
        if self._cap is None:
            return 0.0
        if plan.quote.usd is None:
            raise BudgetExceeded(f"the price of '{plan.chosen}' is unknown, and the calls share a cap of {in_dollars(self._cap)} USD")
        wanted = plan.quote.usd[1]
        async with self._changed:
            while self._spent + self._reserved + wanted > self._cap + _ROUNDING and self._reserved > _ROUNDING:
                await self._changed.wait()
            left = self._cap - self._spent
            if wanted > left + _ROUNDING:
                asked, cap, rest = (in_dollars(amount) for amount in (wanted, self._cap, max(left, 0)))
                text = f"'{plan.chosen}' may cost {asked} USD; of the {cap} USD for all calls {rest} are left"
                raise BudgetExceeded(text, fix="ask for fewer, or for a higher max_cost_usd")
            self._reserved += wanted
            return wanted

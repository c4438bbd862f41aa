"""Money, decided without I/O: what is reserved, what is committed, which cap says no. The same for all stores.

Amounts are whole billionths of a dollar here, so that sums are exact in every store and never drift below zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import attrs

from ..errors import BudgetExceeded, InvalidRequest
from ..formatting import in_dollars
from ..policy import Budget
from .store import FINAL_STATES, CallRecord, NewCall, Spend

__all__ = ["LedgerEntry", "Window", "abandoned", "check_caps", "nano", "new_entry", "settled", "spend_of", "usd"]

_NANO = 1_000_000_000
_MOST_USD = 1_000_000.0
_DAY = 86_400


def nano(amount: float) -> int:
    """Return dollars as whole billionths."""
    return round(min(amount, _MOST_USD) * _NANO)


def usd(amount: int) -> float:
    """Return billionths as dollars."""
    return amount / _NANO


@attrs.frozen(kw_only=True)
class LedgerEntry:
    """What one call holds or has cost, in billionths of a dollar; it outlives the call's row.

    ``unknown``: it may cost, or has cost, something that nobody can say.
    """

    call_id: str
    session: str
    backend: str
    created_at: float
    reserved: int
    committed: int = 0
    unknown: bool = False


@attrs.frozen(kw_only=True)
class Window:
    """What one cap counts: entries of a session, or of a UTC day (``since`` to before ``until``), maybe of a backend."""

    name: str
    cap: float
    session: str | None = None
    backend: str | None = None
    since: float = -math.inf
    until: float = math.inf

    def counts(self, entry: LedgerEntry) -> bool:
        """Whether an entry counts."""
        return (
            (self.session is None or entry.session == self.session)
            and (self.backend is None or entry.backend == self.backend)
            and self.since <= entry.created_at < self.until
        )


def new_entry(call: NewCall) -> LedgerEntry:
    """Return the entry a call starts with: its high quote reserved.

    Raises:
        InvalidRequest: for a quote that is not two finite amounts, low to high.
    """
    quote = call.quote_usd
    if quote is not None and not (math.isfinite(quote[1]) and 0 <= quote[0] <= quote[1] <= _MOST_USD):
        raise InvalidRequest(f"a quote must be two amounts in US dollars, low to high, not {quote!r}")
    reserved = 0 if quote is None else nano(quote[1])
    return LedgerEntry(
        call_id=call.id, session=call.session, backend=call.backend, created_at=call.created_at, reserved=reserved, unknown=quote is None
    )


def _windows(call: NewCall, budget: Budget) -> list[Window]:
    start = math.floor(call.created_at / _DAY) * _DAY
    found = []
    if budget.per_run is not None:
        found.append(Window(name="per_run", cap=budget.per_run, session=call.session))
    if budget.per_day is not None:
        found.append(Window(name="per_day", cap=budget.per_day, since=start, until=start + _DAY))
    if (cap := budget.per_backend.get(call.backend)) is not None:
        name = f"per_backend[{call.backend!r}]"
        found.append(Window(name=name, cap=cap, backend=call.backend, since=start, until=start + _DAY))
    return found


def _exactly(amount: float) -> str:
    """Return dollars as they are counted here: who has to stay below a cap is not helped by what was rounded up."""
    return in_dollars(amount, digits=12)


def check_caps(call: NewCall, budget: Budget, used: Callable[[Window], int]) -> None:
    """Refuse a call that could exceed a cap; ``used`` sums reserved and committed money of a window.

    Raises:
        BudgetExceeded: which cap, how much it has left, what the call may cost.
    """
    if not budget.capped:
        return
    who = f"{call.operation} by {call.backend}/{call.model}"
    if call.reserve_usd is None:
        if budget.allow_unknown:
            return
        raise BudgetExceeded(
            f"The price of {who} is not known, and a spending cap is set.",
            fix="Choose a model with a known price, or set allow_unknown=True in the budget.",
        )
    wanted = nano(call.reserve_usd)
    asked = f"{who} may cost up to {_exactly(call.reserve_usd)} USD"
    if budget.per_call is not None and wanted > nano(budget.per_call):
        raise BudgetExceeded(
            f"{asked}; the cap per_call is {_exactly(budget.per_call)} USD.", fix="Choose a cheaper model or settings, or raise per_call."
        )
    for window in _windows(call, budget):
        left = nano(window.cap) - used(window)
        if wanted > left:
            raise BudgetExceeded(
                f"{asked}; of the cap {window.name} of {_exactly(window.cap)} USD, {_exactly(usd(max(left, 0)))} USD is left "
                "(spent and reserved by open calls: the rest).",
                fix=f"Wait for open calls to finish, choose a cheaper model or settings, or raise {window.name}.",
            )


def settled(entry: LedgerEntry, record: CallRecord) -> LedgerEntry:
    """Return a call's entry after a change of state: final states commit or release, all others keep it reserved."""
    if record.state not in FINAL_STATES:
        return entry
    if record.cost_usd is not None:
        return attrs.evolve(entry, reserved=0, committed=nano(record.cost_usd), unknown=False)
    if record.state == "done":
        return attrs.evolve(entry, reserved=0, committed=entry.reserved)
    charged = (record.error or {}).get("charged", "no")
    if charged != "no":  # a cap holds only if what may have been spent counts
        return attrs.evolve(entry, reserved=0, committed=entry.reserved, unknown=charged == "unknown" or entry.unknown)
    return attrs.evolve(entry, reserved=0, committed=0, unknown=False)


def abandoned(entry: LedgerEntry) -> LedgerEntry:
    """Return the entry of a call that is forgotten: what was still reserved may well have been charged, so it counts."""
    return attrs.evolve(entry, reserved=0, committed=entry.committed + entry.reserved)


def spend_of(reserved: int, committed: int, unknown: int, calls: int) -> Spend:
    """Return sums over entries as what a caller sees."""
    return Spend(reserved_usd=usd(reserved), committed_usd=usd(committed), unknown_calls=unknown, calls=calls)

"""Spending without I/O: reservations, committed costs, caps.

Amounts are whole billionths of a dollar here, so that sums are exact and never drift below zero. Caps are checked against running
totals per scope and period, so that the check does not depend on the number of calls.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Iterator
from typing import SupportsInt

import attrs

from ..errors import BudgetExceeded, InvalidRequest
from ..formatting import in_dollars
from ..policy import Budget
from ..records import frozen
from .store import FINAL_STATES, CallRecord, NewCall, Spend

_NANO = 1_000_000_000
_MOST_USD = 1_000_000.0
#: (scope, period) of a running total.
Total = tuple[str, str]


def nano(amount: float) -> int:
    """Return dollars as whole billionths."""
    return round(min(amount, _MOST_USD) * _NANO)


def usd(amount: int) -> float:
    """Return billionths as dollars."""
    return amount / _NANO


@frozen(kw_only=True)
class LedgerEntry:
    """What one call has reserved or cost, in billionths of a dollar; it outlives the call's record.

    ``unknown``: its cost is unknown.
    """

    call_id: str
    session: str
    backend: str
    created_at: float
    reserved: int
    realm: str
    project: str | None = None
    committed: int = 0
    unknown: bool = attrs.field(default=False, converter=bool)

    @property
    def amount(self) -> int:
        """What counts towards a cap."""
        return self.reserved + self.committed

    def totals(self) -> tuple[Total, ...]:
        """Return the running totals that the entry is part of."""
        day = _day(self.created_at)
        daily = [("all", day), (f"backend:{self.backend}", day), (f"realm:{self.realm}", day), (_in_realm(self), day)]
        if self.project is not None:
            daily.append((f"project:{self.project}", day))
        return (*daily, (f"session:{self.session}", ""), (f"realm:{self.realm}", self.session))


def _in_realm(entry: LedgerEntry) -> str:
    """Return the scope of a backend within a realm."""
    return f"realm-backend:{entry.backend}:{entry.realm}"


def _day(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).date().isoformat()


def new_entry(call: NewCall, now: float) -> LedgerEntry:
    """Return the first entry of a call, with its high quote reserved.

    Raises:
        InvalidRequest: the quote is not two finite amounts, low to high.
    """
    quote = call.quote_usd
    if quote is not None and not (math.isfinite(quote[1]) and 0 <= quote[0] <= quote[1] <= _MOST_USD):
        raise InvalidRequest(f"a quote must be two amounts in US dollars, low to high, not {quote!r}")
    return LedgerEntry(
        call_id=call.id,
        session=call.session,
        backend=call.backend,
        realm=call.realm,
        project=call.project,
        created_at=now,
        reserved=0 if quote is None else nano(quote[1]),
        unknown=quote is None,
    )


def _caps(entry: LedgerEntry, budget: Budget) -> Iterator[tuple[str, float, Total]]:
    """Yield name, amount and running total of each cap that applies to a call."""
    day, backend, own = _day(entry.created_at), f"per_backend[{entry.backend!r}]", budget.realm or Budget()
    project = None if entry.project is None else budget.per_project.get(entry.project)
    caps: list[tuple[str, float | None, Total]] = [
        ("per_session", budget.per_session, (f"session:{entry.session}", "")),
        ("per_day", budget.per_day, ("all", day)),
        (backend, budget.per_backend.get(entry.backend), (f"backend:{entry.backend}", day)),
        (f"per_project[{entry.project!r}]", project, (f"project:{entry.project}", day)),
        ("per_session of the realm", own.per_session, (f"realm:{entry.realm}", entry.session)),
        ("per_day of the realm", own.per_day, (f"realm:{entry.realm}", day)),
        (f"{backend} of the realm", own.per_backend.get(entry.backend), (_in_realm(entry), day)),
    ]
    yield from ((name, cap, total) for name, cap, total in caps if cap is not None)


def _exactly(amount: float) -> str:
    """Return dollars without rounding: a caller who must stay below a cap needs the exact amount."""
    return in_dollars(amount, digits=12)


def check_caps(call: NewCall, entry: LedgerEntry, budget: Budget, used: Callable[[Total], int]) -> None:
    """Refuse a call that could exceed a cap; ``used`` returns the amount of a running total, in billionths of a dollar.

    Raises:
        BudgetExceeded: with the cap, the amount left, and what the call may cost.
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
    for name, cap, total in _caps(entry, budget):
        left = nano(cap) - used(total)
        if wanted > left:
            raise BudgetExceeded(
                f"{asked}; of the cap {name} of {_exactly(cap)} USD, {_exactly(usd(max(left, 0)))} USD is left "
                "(spent and reserved by open calls: the rest).",
                fix=f"Wait for open calls to finish, choose a cheaper model or settings, or raise {name}.",
            )


def settled(entry: LedgerEntry, record: CallRecord) -> LedgerEntry:
    """Return a call's entry after a change of state: final states commit or release, all others have the reservation."""
    if record.state not in FINAL_STATES:
        quote = record.quote_usd  # one that had ended has its reservation again
        return attrs.evolve(entry, reserved=0 if quote is None else nano(quote[1]), committed=0, unknown=quote is None)
    if record.cost_usd is not None:
        return attrs.evolve(entry, reserved=0, committed=nano(record.cost_usd), unknown=False)
    if record.state == "done":
        return attrs.evolve(entry, reserved=0, committed=entry.reserved)
    charged = (record.error or {}).get("charged", "no")
    if charged != "no":  # what may have been spent counts
        return attrs.evolve(entry, reserved=0, committed=entry.reserved, unknown=charged == "unknown" or entry.unknown)
    return attrs.evolve(entry, reserved=0, committed=0, unknown=False)


def abandoned(entry: LedgerEntry) -> LedgerEntry:
    """Return the entry of a call that is deleted: what is still reserved may have been charged, and counts as spent."""
    return attrs.evolve(entry, reserved=0, committed=entry.committed + entry.reserved)


def spend_of(reserved: SupportsInt, committed: SupportsInt, unknown: SupportsInt, calls: int) -> Spend:
    """Return sums over entries for the caller."""
    return Spend(reserved_usd=usd(int(reserved)), committed_usd=usd(int(committed)), unknown_calls=int(unknown), calls=calls)

"""Quote the price of a call from the matrix's price lines. An unknown price stays unknown; it is never 0."""

from __future__ import annotations

from collections.abc import Sequence

from ..capabilities import Choice, OperationSpec, Price, Range
from ..policy import Policy
from ..requests import Request
from .candidate import Draft
from .rules import matches
from .types import Quote

__all__ = ["is_over_cap", "quote_call", "total"]


def _span(spec: OperationSpec, name: str, value: float | None) -> tuple[float, float] | None:
    """Return the lowest and highest value that a number may have; one value where it is set or has a default."""
    if value is not None:
        return (value, value)
    option = spec.options.get(name)
    default = getattr(option, "default", None)
    if default is not None:
        return (float(default), float(default))
    if isinstance(option, Range):
        return (option.min, option.max)
    if isinstance(option, Choice):
        numbers = [v for v in option.one_of if isinstance(v, int | float)]
        return (min(numbers), max(numbers)) if numbers else None
    return None


def _units(price: Price, draft: Draft, request: Request, n: int) -> tuple[float, float] | None:
    if price.per == "call":
        return (1, 1)
    if price.per == "image":
        return (n, n)
    if price.per == "second":
        span = _span(draft.spec, "duration", getattr(request, "duration", None))
        return None if span is None else (span[0] * n, span[1] * n)
    if price.per == "1k_chars":
        return (len(request.prompt) / 1000,) * 2
    if price.per == "input_image":
        images = [getattr(request, f, None) for f in ("source", "first_frame", "last_frame")]
        count = sum(i is not None for i in images) + len(getattr(request, "references", ()))
        return (count, count)
    return None


def _applicable(draft: Draft, lines: Sequence[Price]) -> Sequence[Price]:
    """Return the price line whose conditions hold, else the line without conditions, else all: any of them may apply."""
    for price in lines:
        if price.when and all(matches(draft, key, condition) for key, condition in price.when.items()):
            return (price,)
    return next(((price,) for price in lines if not price.when), lines)


def quote_call(draft: Draft, request: Request, n: int) -> Quote:
    """Add up the price lines of an operation spec for one call."""
    if not draft.spec.prices:
        return Quote(usd=None, basis="the matrix has no price")
    low = high = 0.0
    basis: list[str] = []
    for unit, lines in draft.spec.prices_by_unit.items():
        chosen = _applicable(draft, lines)
        units = _units(chosen[0], draft, request, n)
        if units is None:
            return Quote(usd=None, basis=f"the number of {unit}s is not known before the call")
        low += min([p.usd[0] for p in chosen]) * units[0]
        high += max([p.usd[1] for p in chosen]) * units[1]
        basis.append(chosen[0].basis or f"per {unit}")
    return Quote(usd=(round(low, 6), round(high, 6)), basis="; ".join(dict.fromkeys(basis)))


def total(quotes: list[Quote]) -> Quote:
    """Add up the quotes of a plan's calls; one unknown quote makes the sum unknown."""
    known = [q.usd for q in quotes if q.usd is not None]
    if len(known) < len(quotes):
        return Quote(usd=None, basis=quotes[0].basis)
    return Quote(usd=(round(sum(u[0] for u in known), 6), round(sum(u[1] for u in known), 6)), basis=quotes[0].basis)


def is_over_cap(quote: Quote, policy: Policy, already_reserved: float = 0.0) -> bool:
    """Whether a plan may exceed the policy's cap per request; with a cap also if its price is unknown and that is not allowed.

    Args:
        quote: the plan's quote.
        policy: has the cap.
        already_reserved: US dollars of the cap that are reserved for other calls of the request.
    """
    cap = policy.budget.per_request
    return cap is not None and (already_reserved + quote.usd[1] > cap if quote.usd else not policy.budget.allow_unknown)

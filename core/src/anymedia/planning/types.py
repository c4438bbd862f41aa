"""What a plan is made of."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from ..adjustments import Adjustment
from ..capabilities import CapabilityMatrix, ModelSpec, OperationSpec
from ..formatting import in_dollars_between
from ..media import Media
from ..requests import Continuation, Mask, Operation, Request

__all__ = ["BackendView", "Candidate", "Check", "InputForm", "Plan", "PlannedCall", "Quote", "Reason", "Rejection"]


#: One environment variable, or several of which one will do.
_VARIABLES = re.compile(r"[A-Z_][A-Z0-9_]*(?: or [A-Z_][A-Z0-9_]*)*")


@attrs.frozen(kw_only=True)
class Reason:
    """Why a candidate was rejected: a stable code, the field if there is one, words, and the nearest thing that works."""

    code: str
    text: str
    field: str = ""
    nearest: str = ""


_NOT_SELECTED = (Reason(code="not_selected", text="not the one asked for"),)


@attrs.frozen(kw_only=True)
class BackendView:
    """One installed backend instance as the planner sees it.

    Attributes:
        name: the instance's name.
        matrix: its matrix, already cut down to the instance's service and model table.
        missing: what it lacks to be usable (names of environment variables, a reason); empty when usable.
        absent: modules that its models require and that are not installed; those models cannot be chosen.
        enforce_lifecycle: False for somebody else's server that speaks the same protocol: dates are then only noted.
        other_service_models: the plugin's models that are of other services than the instance's, with those services.
    """

    name: str
    matrix: CapabilityMatrix
    missing: tuple[str, ...] = ()
    absent: frozenset[str] = frozenset()
    enforce_lifecycle: bool = True
    service: str = ""
    other_service_models: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict, hash=False)

    @functools.cached_property
    def unnamed(self) -> tuple[tuple[str, str, tuple[Reason, ...]], ...]:
        """Its models, each rejected because others were named, as `Rejections` takes them."""
        return tuple((self.name, row.id, _NOT_SELECTED) for row in self.matrix.models)

    @property
    def lacks(self) -> str:
        """What it lacks, in words."""
        return _words_of(self.missing)[0]

    @property
    def to_set(self) -> str:
        """The environment variables it lacks, as the first half of a sentence that says what to do; empty: none."""
        return _words_of(self.missing)[1]


@functools.lru_cache(maxsize=256)  # asked once for every model of a backend
def _words_of(missing: tuple[str, ...]) -> tuple[str, str]:
    names = [what for what in missing if _VARIABLES.fullmatch(what)]
    lacks = ", ".join(f"{what} is not set" if what in names else what for what in missing)
    return lacks, f"set {' and '.join(names)}" if names and len(names) == len(missing) else ""


@attrs.frozen(kw_only=True)
class Candidate:
    """One backend, model and row."""

    backend: str
    model: str
    operation: Operation

    def __str__(self) -> str:
        return f"{self.backend}/{self.model}"


@attrs.frozen(kw_only=True)
class Rejection:
    """A candidate that was not taken, and all the reasons."""

    candidate: Candidate
    reasons: tuple[Reason, ...]


@attrs.frozen(kw_only=True)
class Quote:
    """US dollars beforehand: (low, high), or None for unknown (never 0 for unknown); and on what basis."""

    usd: tuple[float, float] | None
    basis: str = ""

    def __str__(self) -> str:
        if self.usd is None:
            return "price unknown"
        return f"{in_dollars_between(*self.usd)} USD"


@attrs.frozen(kw_only=True)
class InputForm:
    """The form an input is sent in, and what is to be checked once its bytes are there.

    ``formats``: allowed format names, the first being what it is converted to when it has none of them (empty: any).
    ``mask_format``: for masks. Limits as in the matrix.
    """

    formats: tuple[str, ...] = ()
    max_bytes: int | None = None
    min_edge: int | None = None
    max_edge: int | None = None
    max_pixels: int | None = None
    max_ratio: float | None = None
    seconds: tuple[float, float] | None = None
    mask_format: str | None = None


@attrs.frozen(kw_only=True)
class Check:
    """Something the plan could not settle without the bytes; it is settled before any money is spent."""

    field: str
    text: str


@attrs.frozen(kw_only=True)
class PlannedCall:
    """One billable call: the exact request that the plugin will see, and its part of the quote."""

    request: Request
    quote: Quote


@attrs.frozen(kw_only=True)
class Plan:
    """The router's answer before spending.

    Attributes:
        request: what was asked (with its continuation resolved).
        chosen: who will do it; ``model_spec`` and ``row`` are its rows in the matrix.
        calls: the billable calls, one submit each.
        adjustments: everything that differs from what was asked.
        warnings: sentences for the caller (a model near its end, a price that is only reported ...).
        quote: the sum over all calls.
        forms: how each input is to be sent.
        transcode_to: the format the core writes afterwards, when the model cannot.
        checks: what is still to be settled once the inputs' bytes are there.
        alternatives: other candidates that could do it, best first.
        rejected: the others, with reasons.
    """

    request: Request
    chosen: Candidate
    model_spec: ModelSpec = attrs.field(repr=False)
    row: OperationSpec = attrs.field(repr=False)
    calls: tuple[PlannedCall, ...]
    adjustments: tuple[Adjustment, ...] = ()
    warnings: tuple[str, ...] = ()
    quote: Quote
    forms: Mapping[Media | Mask, InputForm] = attrs.field(factory=dict, hash=False, repr=False)
    transcode_to: str | None = None
    checks: tuple[Check, ...] = ()
    disclosure: str = ""
    continued_as: str | None = None
    named: bool = False
    alternatives: tuple[Candidate, ...] = attrs.field(default=(), repr=False)
    rejected: Sequence[Rejection] = attrs.field(default=(), repr=False)

    @property
    def operation(self) -> Operation:
        """The operation asked for."""
        return self.request.kind

    @property
    def continuation(self) -> Continuation | None:
        """The continuation it goes on from, if any."""
        found: Continuation | None = getattr(self.request, "continue_from", None)
        return found

    def to_json(self) -> dict[str, Any]:
        """Return the plan as an agent gets it (JSON-ready)."""
        return {
            "operation": self.operation,
            "backend": self.chosen.backend,
            "model": self.chosen.model,
            "calls": len(self.calls),
            "adjustments": [attrs.asdict(a) for a in self.adjustments],
            "ignored": [a.field for a in self.adjustments if a.kind == "ignored"],
            "warnings": list(self.warnings),
            "checks": [attrs.asdict(c) for c in self.checks],
            "quote": {"usd": None if self.quote.usd is None else list(self.quote.usd), "basis": self.quote.basis},
            "alternatives": [str(c) for c in self.alternatives],
            "rejected": [{"candidate": str(r.candidate), "reasons": [attrs.asdict(x) for x in r.reasons]} for r in self.rejected],
        }

    def __str__(self) -> str:
        lines = [f"{self.operation} by {self.chosen}, {len(self.calls)} call{'s' * (len(self.calls) != 1)}, {self.quote}"]
        lines += [f"  {a.kind}: {a.field} {a.asked!r} -> {a.sent!r} ({a.why})" for a in self.adjustments]
        lines += [f"  to check: {c.field}: {c.text}" for c in self.checks]
        lines += [f"  warning: {w}" for w in self.warnings]
        lines += [f"  or: {c}" for c in self.alternatives]
        lines += [f"  not {r.candidate}: {'; '.join(x.text for x in r.reasons)}" for r in self.rejected]
        return "\n".join(lines)

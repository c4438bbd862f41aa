"""The parts of a plan."""

from __future__ import annotations

import datetime
import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from ..capabilities import CapabilityMatrix, ModelSpec, OperationSpec
from ..errors import Reason
from ..formatting import in_dollars_between
from ..media import Media
from ..notes import Adjustment, Warning
from ..records import frozen
from ..requests import Continuation, Mask, Request, Transform

__all__ = ["BackendView", "Candidate", "Check", "Default", "InputForm", "Plan", "PlannedCall", "Quote", "Reason", "Rejection"]


#: One environment variable, or several of which one suffices.
_VARIABLES = r"[A-Z_][A-Z0-9_]*(?: or [A-Z_][A-Z0-9_]*)*"


_NOT_SELECTED = (Reason(code="not_selected", text="another backend or model was named"),)


@frozen(kw_only=True)
class BackendView:
    """One installed backend instance as the planner sees it.

    Attributes:
        name: the instance's name.
        matrix: its matrix, reduced to the instance's service and with its custom models.
        missing: what it needs to be usable (names of environment variables, or sentences); empty if usable.
        absent: modules that its models require and that are not installed; such models cannot be chosen.
        enforce_lifecycle: False for another server with the same protocol: lifecycle dates then only cause warnings.
        demoted: models that are not chosen automatically since the provider refused or does not list them -> reason.
        other_service_models: the plugin's models of other services than the instance's, with those services.
    """

    name: str
    matrix: CapabilityMatrix
    missing: tuple[str, ...] = ()
    absent: frozenset[str] = frozenset()
    enforce_lifecycle: bool = True
    service: str = ""
    demoted: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    other_service_models: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict, hash=False)

    @functools.cached_property
    def not_selected(self) -> tuple[tuple[str, str, tuple[Reason, ...]], ...]:
        """Its models, each rejected because another one was named, in the form of `Rejections`."""
        return tuple((self.name, spec.id, _NOT_SELECTED) for spec in self.matrix.models)

    def is_retired(self, spec: ModelSpec, today: datetime.date) -> bool:
        """Whether a model can no longer be used here on a day."""
        return spec.lifecycle.retires is not None and self.enforce_lifecycle and spec.lifecycle.stage_on(today) == "retired"

    @property
    def lacks(self) -> str:
        """A sentence part that says what it needs to be usable."""
        return _describe_missing(self.missing)[0]

    @property
    def to_set(self) -> str:
        """The hint that names the environment variables to set; empty if something else is missing."""
        return _describe_missing(self.missing)[1]


@functools.lru_cache(maxsize=256)  # called once for every model of a backend
def _describe_missing(missing: tuple[str, ...]) -> tuple[str, str]:
    names = [what for what in missing if re.fullmatch(_VARIABLES, what)]
    lacks = ", ".join(f"{what} is not set" if what in names else what for what in missing)
    return lacks, f"set {' and '.join(names)}" if names and len(names) == len(missing) else ""


@frozen(kw_only=True)
class Candidate:
    """A backend, one of its models, and the operation."""

    backend: str
    model: str
    operation: str

    def __str__(self) -> str:
        return f"{self.backend}/{self.model}"


@frozen(kw_only=True)
class Default:
    """A choice of the settings for an operation or a medium: ``backend`` or ``backend/model``, and the setting's name."""

    name: str
    setting: str

    def __str__(self) -> str:
        return f"{self.setting} = {self.name!r}"


#: Codes of rejections that say only that the candidate was not asked for or has another operation.
_NOT_CONSIDERED = frozenset({"not_selected", "operation_unsupported"})


@frozen(kw_only=True)
class Rejection:
    """A candidate that cannot honour the request, and all reasons."""

    candidate: Candidate
    reasons: tuple[Reason, ...]


@frozen(kw_only=True)
class Quote:
    """An estimate in US dollars: (low, high), or None if unknown (an unknown price is never 0); and its basis."""

    usd: tuple[float, float] | None
    basis: str = ""

    def __str__(self) -> str:
        if self.usd is None:
            return "price unknown"
        return f"{in_dollars_between(*self.usd)} USD"


@frozen(kw_only=True)
class InputForm:
    """The form in which an input is sent, and the limits that are checked once its bytes are read.

    ``formats``: allowed formats; an input in another one is converted to the first (empty: any is allowed).
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


@frozen(kw_only=True)
class Check:
    """A check that needs an input's bytes; it is made before any money is spent."""

    field: str
    text: str


@frozen(kw_only=True)
class PlannedCall:
    """One billable call: the exact request that the plugin receives, and its part of the quote."""

    request: Request
    quote: Quote


@frozen(kw_only=True)
class Plan:
    """What will be sent where, and what it costs, before anything is spent.

    Attributes:
        request: the original request, with its continuation resolved.
        chosen: the chosen candidate; ``model_spec`` and ``operation_spec`` are its entries in the matrix.
        calls: the billable calls, each submitted once.
        adjustments: every difference from the request.
        warnings: for the caller (a model that will be shut down, an outdated model list ...).
        obstacle: why a run under the policy would be refused, or that a person would be asked first, as far as that follows from the quote.
        quote: the sum over all calls.
        forms: the form in which each input is sent.
        transcode_to: the format that the core converts the output to, if the model cannot write it.
        checks: what is checked once the inputs' bytes are read.
        disclosure: a sentence that accompanies every result of the backend.
        continued_as: how a continuation is continued.
        named: whether the caller or a default in the settings named a backend or a model.
        digests: the SHA-256 of each local input file as it was planned; a run refuses a file that has changed since.
        alternatives: other candidates that can honour the request, the best first.
        rejected: all other candidates, with reasons.
    """

    request: Request
    chosen: Candidate
    model_spec: ModelSpec = attrs.field(repr=False)
    operation_spec: OperationSpec = attrs.field(repr=False)
    calls: tuple[PlannedCall, ...]
    adjustments: tuple[Adjustment, ...] = ()
    warnings: tuple[Warning, ...] = ()
    obstacle: Warning | None = None
    quote: Quote
    forms: Mapping[Media | Mask, InputForm] = attrs.field(factory=dict, hash=False, repr=False)
    transcode_to: str | None = None
    checks: tuple[Check, ...] = ()
    disclosure: str = ""
    continued_as: str | None = None
    named: bool = False
    digests: Mapping[Path, str] = attrs.field(factory=dict, hash=False, repr=False)
    alternatives: tuple[Candidate, ...] = attrs.field(default=(), repr=False)
    rejected: Sequence[Rejection] = attrs.field(default=(), repr=False)

    @property
    def operation(self) -> str:
        """The requested operation; of a task with its name (``transform.upscale``)."""
        return self.request.operation

    @property
    def subject(self) -> str:
        """What it is about, for a name: the prompt, or the task."""
        return self.request.prompt or self.operation.rpartition(".")[2]

    @property
    def media(self) -> str:
        """What is made: an image, a video or audio; of a task also ``json`` or ``text``."""
        if isinstance(self.request, Transform):
            return self.operation_spec.output or self.model_spec.media
        return self.request.media

    @property
    def continuation(self) -> Continuation | None:
        """The continuation of the request, or None."""
        found: Continuation | None = getattr(self.request, "continue_from", None)
        return found

    @property
    def considered(self) -> tuple[Rejection, ...]:
        """The rejected candidates without those that were not asked for or do not have the operation."""
        return tuple(r for r in self.rejected if not any(reason.code in _NOT_CONSIDERED for reason in r.reasons))

    def rejected_by_reason(self) -> dict[str, list[Candidate]]:
        """Return the candidates that were considered and rejected, by the reason; those that are retired come last."""
        found: dict[str, list[Candidate]] = {}
        for rejection in sorted(self.considered, key=lambda rejection: any(reason.code == "retired" for reason in rejection.reasons)):
            found.setdefault("; ".join(reason.text for reason in rejection.reasons), []).append(rejection.candidate)
        return found

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON-ready values, as agents receive it; rejected candidates as in ``considered``."""
        return {
            "operation": self.operation,
            "backend": self.chosen.backend,
            "model": self.chosen.model,
            "calls": len(self.calls),
            "adjustments": [attrs.asdict(a) for a in self.adjustments],
            "ignored": [a.field for a in self.adjustments if a.kind == "ignored"],
            "warnings": [w.to_json() for w in self.warnings],
            "obstacle": None if self.obstacle is None else self.obstacle.to_json(),
            "checks": [attrs.asdict(c) for c in self.checks],
            "quote": {"usd": None if self.quote.usd is None else list(self.quote.usd), "basis": self.quote.basis},
            "alternatives": [str(c) for c in self.alternatives],
            "rejected": [{"candidate": str(r.candidate), "reasons": [attrs.asdict(x) for x in r.reasons]} for r in self.considered],
        }

    def __str__(self) -> str:
        lines = [f"{self.operation} by {self.chosen}, {len(self.calls)} call{'s' * (len(self.calls) != 1)}, {self.quote}"]
        lines += [] if self.obstacle is None else [f"  {self.obstacle}"]
        lines += [f"  {a}" for a in self.adjustments]
        lines += [f"  check later: {c.field}: {c.text}" for c in self.checks]
        lines += [f"  warning: {w}" for w in self.warnings]
        lines += [f"  alternative: {c}" for c in self.alternatives]
        lines += [f"  rejected: {', '.join(map(str, candidates))}: {why}" for why, candidates in self.rejected_by_reason().items()]
        return "\n".join(lines)

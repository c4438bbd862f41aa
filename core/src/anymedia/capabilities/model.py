"""The records of a capability matrix. Absent means unsupported."""

from __future__ import annotations

import datetime
import functools
import sys
from collections.abc import Container, Mapping
from typing import Any, Literal

import attrs

from ..fields import MaskMode, Operation
from ..records import frozen
from .options import Option, Text

Stage = Literal["active", "retiring", "doubtful", "retired"]

#: A model that is shut down within this many days causes a warning.
WARN_DAYS = 30


@frozen(kw_only=True)
class Lifecycle:
    """Dates of a model's life, with their certainty and source.

    ``certainty``: ``firm`` (announced by the maker), ``earliest`` (not before that day), ``reported`` (by a third party,
    or sources differ). Only a firm date retires a model; after any other date the model is ``doubtful``: ranked after
    all others, with a warning.
    """

    released: datetime.date | None = None
    deprecated: datetime.date | None = None
    retires: datetime.date | None = None
    certainty: Literal["firm", "earliest", "reported"] = "reported"
    replacement: str | None = None
    source: str = ""
    checked: datetime.date | None = None

    def stage_on(self, today: datetime.date) -> Stage:
        """Return the stage on a day: active, retiring (within 30 days of the end), doubtful or retired."""
        if self.retires is None or (self.retires - today).days > WARN_DAYS:
            return "active"
        if today < self.retires:
            return "retiring"
        return "retired" if self.certainty == "firm" else "doubtful"


@frozen(kw_only=True)
class Fidelity:
    """``native``, or ``emulated`` with a sentence that says what is lost."""

    level: Literal["native", "emulated"] = "native"
    note: str = ""


@frozen(kw_only=True)
class InputRule:
    """Limits of one input: count (min, max), formats (empty: any), bytes, edges in pixels, pixels, ratio, seconds.

    ``media``: the medium of an input of a task; by default the one that the role is named after, else image.
    """

    count: tuple[int, int] = (0, 1)
    formats: tuple[str, ...] = ()
    max_bytes: int | None = None
    min_edge: int | None = None
    max_edge: int | None = None
    max_pixels: int | None = None
    max_ratio: float | None = None
    seconds: tuple[float, float] | None = None
    types: tuple[str, ...] = ()
    fidelity: Fidelity = Fidelity()
    media: Literal["image", "video", "audio"] = "image"
    doc: str = ""


@frozen(kw_only=True)
class MaskRule:
    """The masks that a model accepts: the form in which the core sends them, modes, limits.

    Attributes:
        format: what the service expects: ``alpha`` (PNG, transparent = edit), ``white`` (white = edit), ``black`` (black =
            edit) or ``guidance`` (a white-on-black image sent as an additional image). The core converts the caller's mask.
        modes: ``user_provided`` (an image), or regions that the service detects itself: ``foreground``, ``background``, ``semantic``.
        max_bytes: size limit of the mask image.
        same_size: whether it must have the source's size.
        classes: the maximum number of segmentation classes.
    """

    format: Literal["alpha", "white", "black", "guidance"] = "white"
    modes: tuple[MaskMode, ...] = ("user_provided",)
    max_bytes: int | None = None
    same_size: bool = True
    classes: int | None = None
    fidelity: Fidelity = Fidelity()
    doc: str = ""


@frozen(kw_only=True)
class ReferencesRule:
    """Reference images: the total count (min, max), and a rule for each supported role."""

    count: tuple[int, int] = (0, 1)
    roles: Mapping[str, InputRule] = attrs.field(factory=dict, hash=False)
    max_total_bytes: int | None = None
    doc: str = ""


@frozen(kw_only=True)
class ContinueRule:
    """Continuing an earlier result: the supported ways, the first being the default; limits on its length in seconds."""

    ways: tuple[str, ...]
    seconds: tuple[float, float] | None = None
    doc: str = ""


@frozen(kw_only=True)
class Rule:
    """A rule between fields: if all conditions of ``when`` hold, ``forbid`` and ``require`` apply to the named fields.

    A condition is ``True`` (given) or ``False`` (not given), a tuple of values, or a (min, max) `Range`.
    """

    when: Mapping[str, Any] = attrs.field(factory=dict, hash=False)
    forbid: Mapping[str, Any] = attrs.field(factory=dict, hash=False)
    require: Mapping[str, Any] = attrs.field(factory=dict, hash=False)
    because: str = ""


@frozen(kw_only=True)
class Price:
    """A price line: US dollars (low, high) per unit if its conditions hold, with source and date.

    ``per``: ``call``, ``image``, ``second``, ``input_image``, ``1k_chars``, ``megapixel``, ``gpu_second``. ``when``: as in a rule; an
    option that is not given counts as its ``default``. Lines of several units add up; of one unit, the line whose conditions hold
    applies, or those that may hold where the request leaves it to the provider. ``usual``: the number of units of such a request.
    ``first``: the price of the first unit, where ``usd`` is that of each additional one; of a second or a megapixel, of each output.
    """

    per: Literal["call", "image", "second", "input_image", "1k_chars", "megapixel", "gpu_second"]
    usd: tuple[float, float]
    when: Mapping[str, Any] = attrs.field(factory=dict, hash=False)
    usual: tuple[float, float] | None = None
    first: tuple[float, float] | None = None
    basis: str = ""
    source: str = ""
    checked: datetime.date | None = None


@frozen(kw_only=True)
class BillingRule:
    """Answered errors that a service does not charge, with the page that says so.

    A rule applies to an error in the provider's own envelope: it contains one of `codes` or, without `codes`, its status.

    Attributes:
        statuses: HTTP statuses of the answer, or status codes of a failed job.
        source: where it is documented.
        services: the services that it covers; empty for all.
        operations: the operations that the source covers; empty for all.
        codes: the provider's own codes.
        says: a word that the provider's message contains.
        evidence: ``documented``, or ``reported`` where no page names this very status; such a rule is shown and never acted on.
        checked: when the source was read.
    """

    statuses: tuple[int, ...]
    source: str
    services: tuple[str, ...] = ()
    operations: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    says: str = ""
    evidence: Literal["documented", "reported"] = "documented"
    checked: datetime.date | None = None


@frozen(kw_only=True)
class TypicalSeconds:
    """The typical duration of a call: median and 95th percentile, in seconds."""

    median: float
    p95: float


@frozen(kw_only=True)
class OperationSpec:
    """What one model can do for one operation.

    Attributes:
        task: the task's name, of a spec for ``transform``.
        output: what the task returns: a medium (by default that of the model), or ``json`` or ``text`` as `Outcome.data`.
        prompt: its maximum length; of a task, ``max_chars`` is 0 where it takes none.
        inputs: input field, or role of a task -> its rule; an input that is absent is not supported.
        options: option -> its values; an option that is absent is not supported.
        extra_params: options that only this service has; those of a task.
        rules: rules between fields.
        fidelity: whether the service supports the operation natively, or plugin or core emulate it.
        prices: by default those of the model.
        typical_seconds: by default those of the model; decides when a job's status is checked.
        wire: facts for the plugin alone, as ``context.operation.wire``.
        note: as for a model.
    """

    operation: Operation
    task: str = ""
    output: Literal["image", "video", "audio", "json", "text", ""] = ""
    prompt: Text = Text()
    inputs: Mapping[str, InputRule | MaskRule | ReferencesRule | ContinueRule] = attrs.field(factory=dict, hash=False)
    options: Mapping[str, Option] = attrs.field(factory=dict, hash=False)
    extra_params: Mapping[str, Option] = attrs.field(factory=dict, hash=False)
    rules: tuple[Rule, ...] = ()
    fidelity: Fidelity = Fidelity()
    prices: tuple[Price, ...] = ()
    typical_seconds: TypicalSeconds | None = None
    wire: Mapping[str, Any] = attrs.field(factory=dict, hash=False)
    note: str = ""

    @property
    def name(self) -> str:
        """Its key among the specs of a model: the operation, or ``transform.`` and the task."""
        return f"{self.operation}.{self.task}" if self.task else self.operation

    @functools.cached_property
    def prices_by_unit(self) -> Mapping[str, tuple[Price, ...]]:
        """The price lines by unit."""
        units = dict.fromkeys(price.per for price in self.prices)
        return {unit: tuple(price for price in self.prices if price.per == unit) for unit in units}

    @functools.cached_property
    def needed_inputs(self) -> tuple[str, ...]:
        """The inputs that are required."""
        return tuple(n for n, rule in self.inputs.items() if isinstance(rule, InputRule | ReferencesRule) and rule.count[0])


@frozen(kw_only=True)
class Requirement:
    """What must be installed before a model can be used, for example an optional dependency of the plugin.

    ``module``: a top-level module that must be importable; it is searched for, not imported. ``install``: the command that
    installs it, on one line; it is part of the error when the model is requested without it.
    """

    module: str
    install: str


@frozen(kw_only=True)
class ModelSpec:
    """One model: identity, lifecycle, and a spec for each operation that it supports.

    Attributes:
        id: the provider's id.
        media: the medium of its output.
        rank: the backend's order among its models, the lowest first.
        aliases: other names for it.
        services: the backend's services that offer it; empty: all.
        preview: whether it is chosen only if named or if the policy allows previews.
        requires: what must be installed besides the plugin; None: nothing.
        lifecycle: its dates.
        continuation_prefix: prefix of the ids of its results; by default the instance's name and the medium.
        continues_with: ids of the models that can continue its output; by default only itself.
        wire: facts for the plugin only (endpoint, field names); the core never reads it.
        note: a comment on the facts and their sources; not displayed.
    """

    id: str
    media: Literal["image", "video", "audio"]
    rank: int = 100
    aliases: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    preview: bool = False
    requires: Requirement | None = None
    lifecycle: Lifecycle = Lifecycle()
    continuation_prefix: str = ""
    continues_with: tuple[str, ...] = ()
    operations: Mapping[str, OperationSpec] = attrs.field(factory=dict, hash=False)
    wire: Mapping[str, Any] = attrs.field(factory=dict, hash=False)
    note: str = ""

    def unmet(self, absent: Container[str]) -> Requirement | None:
        """Return its requirement if that is among the absent modules."""
        return self.requires if self.requires is not None and self.requires.module in absent else None


@frozen(kw_only=True)
class CredentialSet:
    """Credentials that are used together for a service (empty: any): name -> environment variables, the first set one wins.

    ``public`` lists names that are not secret (a project, a region): they may be given in the instance's options.
    """

    names: Mapping[str, tuple[str, ...]] = attrs.field(hash=False)
    service: str = ""
    public: tuple[str, ...] = ()


@frozen(kw_only=True)
class CapabilityMatrix:
    """All models of a backend.

    Attributes:
        models: the model specs.
        checked: the day on which the facts were last checked.
        services: the services that the plugin supports, the default first; empty if there is only one.
        credentials: alternatives, of which one complete set suffices; empty: none needed.
        hosts: hosts (``host``, ``host:port``, ``*.domain``) that may receive the credentials, in addition to the host of a
            configured base_url.
        base_url_env: environment variables from which the backend's SDK reads its address, shown by ``doctor``;
            ``service:VARIABLE`` if one applies to a single service.
        first_party: whether the service belongs to the models' maker and not to a reseller.
        last_resort: whether it ranks after every other backend and is never a fallback for one that failed.
        on_demand: whether ``list_models`` describes the one model that ``context.model`` names, so that a caller may name a model that is
            not in the matrix: it is read then, and kept.
        max_concurrent: how many calls of an instance may be in progress at the same time, unless its settings say another number: 1
            for a pipeline on a single GPU; None for no limit.
        disclosure: a sentence attached to every result (for example that it is procedural).
        billing: answered errors that the provider does not charge.
        options: what ``[backends.NAME] options`` of an instance may set besides the public credentials; None: not checked.
        warnings: sentences attached to every plan.
        stale_after_days: plans carry a warning if ``checked`` is older than this; None: never.
    """

    models: tuple[ModelSpec, ...]
    checked: datetime.date | None = None
    services: tuple[str, ...] = ()
    credentials: tuple[CredentialSet, ...] = ()
    hosts: tuple[str, ...] = ()
    base_url_env: tuple[str, ...] = ()
    first_party: bool = True
    last_resort: bool = False
    on_demand: bool = False
    max_concurrent: int | None = None
    disclosure: str = ""
    warnings: tuple[str, ...] = ()
    billing: tuple[BillingRule, ...] = ()
    options: Mapping[str, Option] | None = attrs.field(default=None, hash=False)
    stale_after_days: int | None = None

    def stale_on(self, today: datetime.date) -> bool:
        """Whether the facts are older than ``stale_after_days``."""
        return self.stale_after_days is not None and self.checked is not None and (today - self.checked).days > self.stale_after_days

    def model(self, name: str) -> ModelSpec | None:
        """Return the spec of a model id or alias, in any case, or None."""
        return self._by_name.get(name) or self._in_lower_case.get(name.lower())

    @functools.cached_property
    def _in_lower_case(self) -> Mapping[str, ModelSpec]:
        return {name.lower(): spec for name, spec in reversed([*self._by_name.items()])}

    @functools.cached_property
    def _by_name(self) -> Mapping[str, ModelSpec]:
        return {name: spec for spec in reversed(self.models) for name in (*reversed(spec.aliases), spec.id)}


def absent_from(matrix: CapabilityMatrix) -> frozenset[str]:
    """Return the modules that models of a matrix require and that are not installed."""
    wanted = {spec.requires.module for spec in matrix.models if spec.requires is not None}
    return frozenset(module for module in wanted if not is_installed(module))


def is_installed(module: str) -> bool:
    """Whether a top-level module could be imported; a directory without code in it does not count."""
    if module in sys.modules:
        return sys.modules[module] is not None  # None blocks the import
    import importlib.util

    try:
        spec = importlib.util.find_spec(module)
    except Exception:  # noqa: BLE001 - third-party finders may raise anything
        return False
    # Python would import a mere directory as an empty namespace package.
    return spec is not None and (spec.origin is not None or spec.submodule_search_locations is None)

"""The records of a capability matrix. Absent means unsupported."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Container, Mapping
from typing import Any, Literal

import attrs

from ..operations import MaskMode, Operation
from .options import Option, Text

__all__ = [
    "CapabilityMatrix",
    "ContinueRule",
    "CredentialSet",
    "Fidelity",
    "InputRule",
    "Lifecycle",
    "MaskRule",
    "ModelSpec",
    "OperationSpec",
    "Price",
    "ReferencesRule",
    "Requirement",
    "Rule",
    "Stage",
    "TypicalSeconds",
]

Stage = Literal["active", "retiring", "doubtful", "retired"]

#: A model within this many days of its end carries a warning on the result.
WARN_DAYS = 30


@attrs.frozen(kw_only=True)
class Lifecycle:
    """Dates of a model's life, each with how sure it is and where it was read.

    ``certainty``: ``firm`` (the maker said so), ``earliest`` (not before that day), ``reported`` (a third party
    said so, or sources differ). Only a firm date retires a model; past any other the model is ``doubtful``: used
    after all others, with a warning.
    """

    released: datetime.date | None = None
    deprecated: datetime.date | None = None
    retires: datetime.date | None = None
    certainty: Literal["firm", "earliest", "reported"] = "reported"
    replacement: str | None = None
    source: str = ""
    checked: datetime.date | None = None

    def stage_on(self, today: datetime.date) -> Stage:
        """Judge the model on a day: active, retiring (within 30 days of its end), doubtful or retired."""
        if self.retires is None or (self.retires - today).days > WARN_DAYS:
            return "active"
        if today < self.retires:
            return "retiring"
        return "retired" if self.certainty == "firm" else "doubtful"


@attrs.frozen(kw_only=True)
class Fidelity:
    """``native``, or ``emulated`` with a sentence that says what is lost."""

    level: Literal["native", "emulated"] = "native"
    note: str = ""


@attrs.frozen(kw_only=True)
class InputRule:
    """Limits of one input: how many (min, max), formats (empty: any), bytes, edges, pixels, ratio, seconds."""

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
    doc: str = ""


@attrs.frozen(kw_only=True)
class MaskRule:
    """The mask a model takes: the form the core sends it in, which modes it finds itself, limits.

    Attributes:
        format: what the service reads: ``alpha`` (PNG, transparent = edit), ``white`` (white = edit), ``black`` (black =
            edit) or ``guidance`` (a white-on-black picture sent as one more image). The core turns the caller's mask into it.
        modes: ``user_provided`` (a picture), or what the service finds by itself: ``foreground``, ``background``, ``semantic``.
        max_bytes: of the picture.
        same_size: it has to have the source's size.
        classes: how many segmentation classes it takes at most.
    """

    format: Literal["alpha", "white", "black", "guidance"] = "white"
    modes: tuple[MaskMode, ...] = ("user_provided",)
    max_bytes: int | None = None
    same_size: bool = True
    classes: int | None = None
    fidelity: Fidelity = Fidelity()
    doc: str = ""


@attrs.frozen(kw_only=True)
class ReferencesRule:
    """Reference pictures: how many in all, and a rule for each role that is taken."""

    count: tuple[int, int] = (0, 1)
    roles: Mapping[str, InputRule] = attrs.field(factory=dict, hash=False)
    max_total_bytes: int | None = None
    doc: str = ""


@attrs.frozen(kw_only=True)
class ContinueRule:
    """Going on from an earlier result: which ways there are, the first being the default; limits on its length."""

    ways: tuple[str, ...]
    seconds: tuple[float, float] | None = None
    doc: str = ""


@attrs.frozen(kw_only=True)
class Rule:
    """A rule between fields: when all of ``when`` holds, ``forbid`` and ``require`` bind the named fields.

    A condition is ``True`` (given) or ``False`` (not given), a tuple of values, or a (min, max) `Range`.
    """

    when: Mapping[str, Any] = attrs.field(factory=dict, hash=False)
    forbid: Mapping[str, Any] = attrs.field(factory=dict, hash=False)
    require: Mapping[str, Any] = attrs.field(factory=dict, hash=False)
    because: str = ""


@attrs.frozen(kw_only=True)
class Price:
    """A price line: US dollars (low, high) per unit, when its conditions hold; where it was read and when.

    ``per``: ``call``, ``image``, ``second``, ``input_image``, ``1k_chars``, ``megapixel``. ``when``: as in a rule; an option
    that was not given counts as its ``default``.
    """

    per: Literal["call", "image", "second", "input_image", "1k_chars", "megapixel"]
    usd: tuple[float, float]
    when: Mapping[str, Any] = attrs.field(factory=dict, hash=False)
    basis: str = ""
    source: str = ""
    checked: datetime.date | None = None


@attrs.frozen(kw_only=True)
class TypicalSeconds:
    """How long a call takes as a rule: median and 95th percentile, in seconds."""

    median: float
    p95: float


@attrs.frozen(kw_only=True)
class OperationSpec:
    """What one model can do for one operation.

    Attributes:
        prompt: how long it may be.
        extra_params: options that only this service has.
        rules: what holds between fields.
        fidelity: whether the service does it itself, or the plugin or the core makes it up.
        prices: by default those of the model.
        typical_seconds: by default those of the model; decides when a job is looked at.
        wire: facts for the plugin alone, as ``context.operation.wire``.
        note: as for a model.
    """

    operation: Operation
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

    @functools.cached_property
    def prices_by_unit(self) -> Mapping[str, tuple[Price, ...]]:
        """The price lines by what they are per."""
        units = dict.fromkeys(price.per for price in self.prices)
        return {unit: tuple(price for price in self.prices if price.per == unit) for unit in units}

    @functools.cached_property
    def needed_inputs(self) -> tuple[str, ...]:
        """The inputs it does not go without."""
        return tuple(n for n, rule in self.inputs.items() if isinstance(rule, InputRule | ReferencesRule) and rule.count[0])


@attrs.frozen(kw_only=True)
class Requirement:
    """What has to be installed before a model can be used: an optional library of the plugin's, say.

    ``module``: a top-level module that has to be importable; it is looked for, not imported. ``install``: the command that
    installs it, on one line: whoever asks for the model is told so, before anything is sent.
    """

    module: str
    install: str


@attrs.frozen(kw_only=True)
class ModelSpec:
    """One model: identity, life, price, and a row for each operation it can do.

    Attributes:
        id: as the provider knows it.
        media: what it makes.
        rank: the backend's own order among its models, the lowest first.
        aliases: other names for it.
        services: those of the backend's services that have it; empty: all.
        preview: it is chosen only where it is named, or where the policy lets it.
        requires: what it cannot be used without; none where the plugin itself is enough.
        lifecycle: its dates.
        continuation_prefix: what the ids of its results begin with; by default the instance's name and the medium.
        continues_with: ids of the models that may go on from its output; by default itself.
        wire: facts for the plugin alone (which endpoint, which field name); the core never reads it.
        note: where the facts are from, or what is odd about them; shown to nobody.
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
    operations: Mapping[Operation, OperationSpec] = attrs.field(factory=dict, hash=False)
    wire: Mapping[str, Any] = attrs.field(factory=dict, hash=False)
    note: str = ""

    def answers_to(self, name: str) -> bool:
        """Whether a name is this model's id or one of its aliases."""
        return name == self.id or name in self.aliases

    def unmet(self, absent: Container[str]) -> Requirement | None:
        """Return what it requires, if that is among the modules that are absent here."""
        return self.requires if self.requires is not None and self.requires.module in absent else None


@attrs.frozen(kw_only=True)
class CredentialSet:
    """Credentials that go together for a service (empty: any): name -> environment variables, first found wins.

    ``public`` names those that are no secrets (a project, a place): they may stand in the instance's options.
    """

    names: Mapping[str, tuple[str, ...]] = attrs.field(hash=False)
    service: str = ""
    public: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class CapabilityMatrix:
    """All models of a backend.

    Attributes:
        models: one row each.
        checked: when the facts were last checked.
        services: the services the plugin can talk to, the default one first; empty where there is just one.
        credentials: any one complete set is enough; none listed means none needed.
        hosts: hosts that may be given the credentials, beside the host of a configured base_url.
        base_url_env: environment variables the backend's SDK reads its address from, shown by ``doctor``;
            ``service:VARIABLE`` where it counts for one service alone.
        first_party: the service is the models' own maker's, not a reseller's.
        last_resort: ranks after every other backend and is never a fallback for one that failed.
        disclosure: a sentence that every result carries (for instance that it is procedural).
        stale_after_days: plans warn when ``checked`` lies further back than this; None for never.
    """

    models: tuple[ModelSpec, ...]
    checked: datetime.date | None = None
    services: tuple[str, ...] = ()
    credentials: tuple[CredentialSet, ...] = ()
    hosts: tuple[str, ...] = ()
    base_url_env: tuple[str, ...] = ()
    first_party: bool = True
    last_resort: bool = False
    disclosure: str = ""
    warnings: tuple[str, ...] = ()
    stale_after_days: int | None = None

    def stale_on(self, today: datetime.date) -> bool:
        """Whether the facts were checked too long ago to be relied on without a word."""
        return self.stale_after_days is not None and self.checked is not None and (today - self.checked).days > self.stale_after_days

    def model(self, name: str) -> ModelSpec | None:
        """Return the row of a model id or alias, or None."""
        return self._by_name.get(name)

    @functools.cached_property
    def _by_name(self) -> Mapping[str, ModelSpec]:
        return {name: row for row in reversed(self.models) for name in (*reversed(row.aliases), row.id)}

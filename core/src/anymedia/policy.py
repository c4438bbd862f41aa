"""What the caller allows: adjustments of the request, backends, cost."""

from __future__ import annotations

import functools
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import attrs

from .errors import RequestError, did_you_mean
from .records import frozen, suggesting

if TYPE_CHECKING:
    from .planning.types import Plan

__all__ = ["Budget", "Policy", "Tolerance"]


def _is_amount(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= sys.float_info.max


_AMOUNT = "a number from 0 up"
_FALLBACKS = ("off", "equivalent")
#: Type of a field -> whether a value is right, and what is expected.
_KINDS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "bool": (lambda value: isinstance(value, bool), "true or false"),
    "int": (lambda value: type(value) is int and 0 <= value <= 10, "0 to 10"),
    "float": (_is_amount, _AMOUNT),
    "float | None": (lambda value: value is None or _is_amount(value), _AMOUNT),
    "tuple[str, ...]": (lambda value: isinstance(value, tuple) and all(isinstance(name, str) for name in value), "a list of names"),
    "Mapping[str, float]": (lambda value: isinstance(value, Mapping) and all(map(_is_amount, value.values())), f"{_AMOUNT} for each name"),
    "Literal['off', 'equivalent'] | None": (lambda value: value in (None, *_FALLBACKS), f"one of {', '.join(_FALLBACKS)}"),
    "Tolerance": (lambda value: isinstance(value, Tolerance), "a Tolerance"),
    "Budget": (lambda value: isinstance(value, Budget), "a Budget, such as Budget(per_request=0.10)"),
    "Budget | None": (lambda value: value is None or isinstance(value, Budget), "a Budget"),
    "Callable[[Plan], bool | Awaitable[bool]] | None": (lambda value: value is None or callable(value), "a function of a plan"),
}


@functools.cache
def _checks(cls: Any) -> tuple[tuple[str, Callable[[Any], bool], str], ...]:
    return tuple((field.name, *_KINDS[str(field.type)]) for field in attrs.fields(cls) if str(field.type) in _KINDS)


class _Checked:
    """A record whose values are checked when it is made.

    Raises:
        RequestError: a value is not of the type of its field.
    """

    def __attrs_post_init__(self) -> None:
        cls: Any = type(self)
        for name, is_right, expected in _checks(cls):
            if not is_right(value := getattr(self, name)):
                near = did_you_mean(value, _FALLBACKS) if name == "fallback" and isinstance(value, str) else ""
                raise RequestError(f"{name}: expected {expected}, got {value!r:.80}{near}")


def _names(value: Any) -> Any:
    """Return names as a tuple; a single one may stand for a list."""
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


@suggesting
@frozen(kw_only=True)
class Tolerance(_Checked):
    """Maximum changes of adjustable fields; a candidate that needs a larger one is rejected.

    Attributes:
        duration: largest relative change (0.5: 8 s may become 4 to 12 s).
        aspect_ratio: largest relative change of the ratio (0.35: 16:9 may become 3:2 but not 1:1).
        pixels: largest factor between the requested and the sent number of pixels (16: 4K may become 1K).
    """

    duration: float = 0.5
    aspect_ratio: float = 0.35
    pixels: float = 16.0


@suggesting
@frozen(kw_only=True)
class Budget(_Checked):
    """Caps in US dollars; None for unlimited.

    Attributes:
        per_call: one billable call.
        per_request: all calls of one plan.
        per_session: the lifetime of one Router.
        per_day: the UTC day.
        per_backend: the UTC day, per backend.
        per_project: the UTC day, per project.
        allow_unknown: whether calls of unknown price are allowed although a cap is set.
        realm: caps on the spending of the call's realm alone; see `anymedia.Router.scoped`.
    """

    per_call: float | None = None
    per_request: float | None = None
    per_session: float | None = None
    per_day: float | None = None
    per_backend: Mapping[str, float] = attrs.field(factory=dict, hash=False)
    per_project: Mapping[str, float] = attrs.field(factory=dict, hash=False)
    allow_unknown: bool = False
    realm: Budget | None = None

    @property
    def capped(self) -> bool:
        """Whether any cap is set."""
        if self.realm is not None and self.realm.capped:
            return True
        return bool(self.per_backend or self.per_project) or any(getattr(self, name) is not None for name in _caps())

    def within(self, realm: Budget) -> Budget:
        """Return the budget with one for the realm as well: both must allow a call."""
        caps: dict[str, Any] = {name: _least(getattr(self, name), getattr(realm, name)) for name in ("per_call", "per_request")}
        caps["per_project"] = _lower(self.per_project, realm.per_project)  # a project spends in any realm
        own = realm if self.realm is None else self.realm.tightened(realm)
        return attrs.evolve(self, realm=own, allow_unknown=self._allows_unknown and realm._allows_unknown, **caps)

    def tightened(self, other: Budget) -> Budget:
        """Return a budget with the lower of both caps each."""
        caps: dict[str, Any] = {name: _least(getattr(self, name), getattr(other, name)) for name in _caps()}
        return Budget(
            **caps,
            per_backend=_lower(self.per_backend, other.per_backend),
            per_project=_lower(self.per_project, other.per_project),
            allow_unknown=self._allows_unknown and other._allows_unknown,
        )

    @property
    def _allows_unknown(self) -> bool:
        return self.allow_unknown or not self.capped


def _lower(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    return {name: min(caps[name] for caps in (one, other) if name in caps) for name in {*one, *other}}


def _least(*caps: float | None) -> float | None:
    return min((cap for cap in caps if cap is not None), default=None)


@functools.cache
def _caps() -> tuple[str, ...]:
    """Return the names of the single caps of a budget."""
    return tuple(field.name for field in attrs.fields(Budget) if field.name not in {"per_backend", "per_project", "allow_unknown", "realm"})


@suggesting
@frozen(kw_only=True)
class Policy(_Checked):
    """What the caller allows. The defaults are cautious.

    Attributes:
        strict: every adjustment is an error instead.
        fallback: ``off``, ``equivalent`` (another candidate that honours all intent, only after a submit that
            was certainly not delivered or was refused for capacity), or None: off for a named backend or model,
            equivalent otherwise.
        prefer: backends, or ``backend/model``, in order of preference.
        tolerance: maximum changes of adjustable fields.
        preview: whether preview models are chosen automatically.
        bridge: whether a video that its own backend cannot extend may be continued by another backend from its last
            frame (reported as ``bridged``).
        budget: caps.
        max_cost: what a call without a known price is taken to cost at most, in US dollars, for a model that is run by its own
            inputs (`Router.run_model`); without it, such a call is refused where a cap is set.
        retries: how often a submit that was certainly not delivered, or was refused for capacity, is repeated with the
            same candidate.
        input_roots, output_roots: directories that paths must lie in; None for no restriction (the command line).
        transcode: formats that the core can write on this machine.
        ask_above_usd: a request that may cost more US dollars, or whose price is unknown, needs a person's approval; None: none does.
        on_quote: asked for that approval before anything is spent, or about every request without ``ask_above_usd``. Returns True
            if the plan may be carried out.
    """

    strict: bool = False
    fallback: Literal["off", "equivalent"] | None = None
    prefer: tuple[str, ...] = attrs.field(default=(), converter=_names)
    tolerance: Tolerance = Tolerance()
    preview: bool = False
    bridge: bool = False
    budget: Budget = Budget()
    max_cost: float | None = None
    retries: int = 2
    input_roots: tuple[Path, ...] | None = None
    output_roots: tuple[Path, ...] | None = None
    transcode: frozenset[str] = frozenset({"png", "jpeg", "webp", "gif", "avif", "bmp", "tiff"})
    ask_above_usd: float | None = None
    on_quote: Callable[[Plan], bool | Awaitable[bool]] | None = attrs.field(default=None, eq=False, repr=False)

    def but(self, **changes: Any) -> Policy:
        """Return a copy with some fields changed."""
        return attrs.evolve(self, **changes)

    def at_most(self, usd: float | None) -> Policy:
        """Return a copy under which a call of unknown price is taken to cost at most ``usd`` US dollars, which is its cap, too."""
        return self if usd is None else self.capped(usd).but(max_cost=usd)

    def needs_approval(self, plan: Plan) -> bool:
        """Whether a person must approve a plan because of ``ask_above_usd``."""
        limit, usd = self.ask_above_usd, plan.quote.usd
        return limit is not None and (usd is None or usd[1] > limit)

    def capped(self, usd: float) -> Policy:
        """Return a copy whose cap per request is at most ``usd`` US dollars; under it, a call of unknown price is refused."""
        cap = self.budget.per_request
        return self.but(budget=attrs.evolve(self.budget, per_request=usd if cap is None else min(cap, usd), allow_unknown=False))

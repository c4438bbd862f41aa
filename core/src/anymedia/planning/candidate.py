"""One candidate while a request is fitted to it: the fields that were asked, the changes so far, the reasons against it.

Rules between fields are applied until nothing changes. An unknown price stays unknown; it is never 0.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import attrs

from ..capabilities import Choice, InputRule, MaskRule, OperationSpec, Option, Price, Range, Rule
from ..credentials import Secret
from ..errors import Reason
from ..fields import Role, is_set, role_of, unset_value
from ..formatting import in_dollars
from ..media import Audio, Image, Media, Video
from ..notes import Adjustment, AdjustmentKind, Warning
from ..policy import Policy
from ..records import frozen
from ..requests import Mask, Reference, Request, Transform, each
from .types import BackendView, Candidate, Plan, Quote

#: A sentence, or a function that returns it: only the chosen candidate's sentences are ever formatted.
Text = str | Callable[[], str]


#: Intent fields that are not inputs, each with the value that every operation spec supports unless it states otherwise.
MODES = {"edit_mode": "inpaint", "audio_type": "speech"}


@frozen(kw_only=True)
class AskedFields:
    """The set fields of a request by role, computed once for all candidates.

    ``modes``: the fields of `MODES` that the request has, with the requested values.
    """

    request: Request
    intent: tuple[str, ...]
    adjustable: tuple[str, ...]
    advisory: tuple[str, ...]
    modes: tuple[tuple[str, str], ...] = ()


@functools.cache
def _roles(cls: Hashable) -> Mapping[str, Role]:
    return {field.name: role_of(field) for field in attrs.fields(cls)}  # type: ignore[arg-type]


@functools.cache
def _unset(cls: Hashable) -> Mapping[str, Any]:
    return {field.name: unset_value(field) for field in attrs.fields(cls)}  # type: ignore[arg-type]


def roles_of(request: Request) -> Mapping[str, Role]:
    """Return the role of each field of a request."""
    return _roles(type(request))  # type: ignore[arg-type]


def asked_fields(request: Request) -> AskedFields:
    """Sort the set fields of a request by role."""
    by_role: dict[str, list[str]] = {"intent": [], "adjustable": [], "advisory": []}
    roles = roles_of(request)
    for name, unset in _unset(type(request)).items():  # type: ignore[arg-type]
        if getattr(request, name) != unset:
            by_role[roles[name]].append(name)
    modes = tuple((name, value) for name in MODES if (value := getattr(request, name, None)) is not None)
    return AskedFields(request=request, modes=modes, **{role: tuple(names) for role, names in by_role.items()})


def json_value(value: Any) -> Any:
    """Return a field's value as JSON shows it: media and masks by their origin."""
    if isinstance(value, Media):
        return str(value)
    if isinstance(value, Mask):
        return str(value.image) if value.image is not None else value.mode
    if isinstance(value, Reference):
        return f"{value.role}: {value.image}"
    if isinstance(value, Secret):
        return "***"
    if isinstance(value, tuple | list):
        return [json_value(v) for v in value]
    if isinstance(value, Mapping):
        return {key: json_value(v) for key, v in value.items()}
    return value


def _differs(before: Any, after: Any) -> bool:
    """Whether a value was changed; another case of the same word is not a change, nor is a number instead of its text."""
    if isinstance(before, Mapping) and isinstance(after, Mapping) and before.keys() == after.keys():
        return any(_differs(before[key], after[key]) for key in before)
    return before != after and (before is None or after is None or str(before).strip().casefold() != str(after).casefold())


@attrs.define(eq=False, repr=False)
class Draft:
    """The planner's working copy of a request for one candidate.

    Attributes:
        asked: the request by role.
        view: the backend instance.
        candidate: backend, model and operation.
        spec: the operation spec that the request is fitted to.
        values: changed fields; ``notes`` has the kind and the reason of each change.
        extra: adjustments that change no field (emulated inputs).
        reasons: why this candidate is rejected; empty while it can honour the request.
        unknown: inputs of which a fact is not known before their bytes are read.
        forms: each input with the rule by which it is sent.
        chunks: the number of outputs of each call.
        transcode_to: the format that the core converts the result to.
        continued_as: how a continuation is continued.
        emulated: whether any part is emulated.
    """

    asked: AskedFields
    view: BackendView
    candidate: Candidate
    spec: OperationSpec
    values: dict[str, Any] = attrs.field(factory=dict)
    notes: dict[str, tuple[AdjustmentKind, Text]] = attrs.field(factory=dict)
    extra: tuple[Adjustment, ...] = ()
    reasons: tuple[Reason, ...] = ()
    unknown: tuple[tuple[str, Media], ...] = ()
    forms: tuple[tuple[Media | Mask, InputRule | MaskRule], ...] = ()
    chunks: tuple[int, ...] = (1,)
    transcode_to: str | None = None
    continued_as: str | None = None
    emulated: bool = False

    @property
    def name(self) -> str:
        """The candidate's quoted name, for messages."""
        return f"'{self.candidate}'"

    @property
    def media(self) -> str:
        """What is made: an image, a video or audio; of a task also ``json`` or ``text``."""
        if isinstance(self.asked.request, Transform):
            model = self.view.matrix.model(self.candidate.model)
            return self.spec.output or ("image" if model is None else model.media)
        return self.asked.request.media

    def get(self, field: str) -> Any:
        """Return a field's current value."""
        return self.values[field] if field in self.values else getattr(self.asked.request, field, None)

    def option(self, field: str) -> Option | None:
        """Return the operation spec's option of that name."""
        return self.spec.options.get(field)

    def set(self, field: str, value: Any, kind: AdjustmentKind, why: Text) -> None:
        """Change a field; the last reason is reported."""
        self.values[field] = value
        self.notes[field] = (kind, why)

    def reject(self, code: str, text: str, field: str = "", nearest: str = "") -> None:
        """Add a reason against this candidate."""
        self.reasons += (Reason(code=code, text=text, field=field, nearest=nearest),)

    def adjustments(self) -> tuple[Adjustment, ...]:
        """Return every difference from the request: one adjustment per changed field, and what the core adds."""
        request = self.asked.request
        changed = []
        for field, value in self.values.items():
            before = getattr(request, field)
            if _differs(before, value):
                kind, why = self.notes[field]
                reason = why if isinstance(why, str) else why()
                changed.append(Adjustment(field=field, kind=kind, asked=json_value(before), sent=json_value(value), why=reason))
        return (*changed, *self.extra, *self._split_calls())

    def _split_calls(self) -> tuple[Adjustment, ...]:
        """Return the adjustment for a request that needs several calls."""
        if len(self.chunks) == 1:
            return ()
        why = f"{self.candidate.model} returns at most {max(self.chunks)} per call, so {len(self.chunks)} calls are made"
        return (Adjustment(field="n", kind="bridged", asked=sum(self.chunks), sent=list(self.chunks), why=why),)

    def adjusted(self) -> bool:
        """Whether anything differs from the request."""
        return bool(self.extra) or len(self.chunks) > 1 or any(_differs(getattr(self.asked.request, f), v) for f, v in self.values.items())

    def changes(self) -> int:
        """Return how many adjustable fields that the caller set are changed.

        An ignored advisory field does not count, nor a field whose value another one already implies.
        """
        return int(len(self.chunks) > 1) + self._changed("adjustable")

    def left_out(self) -> int:
        """Return how many advisory fields that the caller set are changed or ignored."""
        return self._changed("advisory")

    def _changed(self, role: Role) -> int:
        request, roles = self.asked.request, roles_of(self.asked.request)
        before = {field: getattr(request, field) for field in self.values if roles[field] == role}
        return sum(asked is not None and _differs(asked, self.values[field]) for field, asked in before.items())


_ROUNDS = 8
#: The field of provider-only options, and its name in a task.
_EXTRA = frozenset({"extra_params", "options"})


def value_of(draft: Draft, key: str) -> Any:
    """Return a field's current value, None if unset; dotted keys address extra_params, and references or inputs by their role."""
    if "." not in key:
        value = draft.get(key)
        return None if value == () else value
    head, _, tail = key.partition(".")
    if head in _EXTRA:
        return draft.get("extra_params").get(tail)
    if head == "inputs":
        return (draft.get("inputs") or {}).get(tail)
    if head == "references":
        found = draft.get("references") or ()
        count = len(found) if tail == "count" else sum(r.role == tail for r in found)
        return count or None
    return None


def _given(draft: Draft, key: str) -> bool:
    if "." in key:
        return value_of(draft, key) is not None
    if key in draft.values:
        return draft.values[key] is not None
    return is_set(draft.asked.request, key)


def matches(draft: Draft, key: str, condition: Any, *, assume_default: bool = True) -> bool:
    """Whether a field meets a condition: given or not, one of some values, or within an option's range."""
    if isinstance(condition, bool):
        return _given(draft, key) is condition
    value = value_of(draft, key)
    if value is None and assume_default:
        head, _, tail = key.partition(".")
        option = draft.spec.extra_params.get(tail) if head in _EXTRA else draft.option(key)
        value = getattr(option, "default", None)
    if value is None:
        return False
    if isinstance(condition, tuple):
        return value in condition
    matched: bool = condition.takes(value)
    return matched


def _active(draft: Draft, rule: Rule) -> bool:
    for key, condition in rule.when.items():  # noqa: SIM110 - a generator takes twice the time, for every rule of every spec
        if not matches(draft, key, condition):
            return False
    return True


def broken(draft: Draft, rule: Rule) -> list[tuple[str, Any, bool]]:
    """Return the conditions of a rule that a draft does not keep: field, condition, and whether that is forbidden."""
    if not _active(draft, rule):
        return []
    forbidden = [(k, c, True) for k, c in rule.forbid.items() if matches(draft, k, c, assume_default=False)]
    required = [(k, c, False) for k, c in rule.require.items() if not matches(draft, k, c)]
    return forbidden + required


def apply_rules(draft: Draft) -> None:
    """Make a draft comply with its rules: adjustable and advisory fields are changed, intent never is."""
    if not draft.spec.rules:
        return
    for _ in range(_ROUNDS):
        wrong = [(rule, *found) for rule in draft.spec.rules for found in broken(draft, rule)]
        if not wrong:
            return
        for rule, key, condition, forbidden in wrong:
            if not _comply(draft, rule, key, condition, forbidden):
                draft.reject("rule", f"{draft.name}: {rule.because}", key)
                return
    draft.reject("rule", f"{draft.name} does not allow this combination of options")


def _comply(draft: Draft, rule: Rule, key: str, condition: Any, forbidden: bool) -> bool:
    role = roles_of(draft.asked.request).get(key, "intent")
    if role == "intent":
        return False
    value = draft.get(key)
    if forbidden:
        replacement = _other_value(draft, key, condition) if role == "adjustable" else None
    elif condition is False:
        replacement = None
    else:
        replacement = _required_value(draft, key, condition, value)
        if replacement is None:
            return False
    if replacement == value and key in draft.values:
        return False
    draft.set(key, replacement, "ignored" if replacement is None else "snapped", rule.because)
    return True


def _other_value(draft: Draft, key: str, condition: Any) -> Any:
    option = draft.option(key)
    if isinstance(option, Range) and isinstance(condition, Range):
        return _nearest_outside(option, condition, draft.get(key))
    if not isinstance(option, Choice) or isinstance(condition, bool):
        return None
    allowed = [v for v in option.one_of if not (v in condition if isinstance(condition, tuple) else condition.takes(v))]
    if not allowed:
        return None
    return Choice(one_of=tuple(allowed)).nearest(draft.get(key)) or allowed[0]


def _nearest_outside(option: Range, forbidden: Range, value: Any) -> Any:
    """Return the nearest number of an option outside a forbidden range, or None."""
    step = option.step or 0.0
    near = [type(value)(v) for v in (forbidden.min - step, forbidden.max + step) if step and option.takes(type(value)(v))]
    return min(near, key=lambda v: abs(v - value), default=None)


def _required_value(draft: Draft, key: str, condition: Any, value: Any) -> Any:
    if condition is True:
        option = draft.option(key)
        return getattr(option, "default", None) or (option.one_of[0] if isinstance(option, Choice) else None)
    if isinstance(condition, tuple):
        return Choice(one_of=condition).nearest(value) if isinstance(value, int | float) else condition[0]
    return condition.nearest(value) if value is not None else getattr(condition, "min", None)


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


@functools.lru_cache(maxsize=1024)
def pixels_of_size(size: str | None) -> int | None:
    """Return the pixel count of ``WxH``."""
    match = re.fullmatch(r"([0-9]+)x([0-9]+)", size or "")
    return int(match[1]) * int(match[2]) if match else None


@functools.lru_cache(maxsize=1024)
def pixels_of_tier(tier: str | None, media: str) -> int | None:
    """Return the approximate pixel count of a resolution tier: ``720p`` (16:9), ``2K`` (square for images), ``512``."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([pk]?)", (tier or "").lower())
    if match is None:
        return None
    number, unit = float(match[1]), match[2]
    if unit == "p":
        return round(number * number * 16 / 9)
    if unit == "k":
        return round((number * 960) ** 2 * 9 / 16) if media == "video" else round((number * 1024) ** 2)
    return round(number * number)


def _units(price: Price, draft: Draft, request: Request, n: int) -> tuple[float, float] | None:
    if price.per == "call":
        return (1, 1)
    if price.per == "image":
        return (n, n)
    if price.per == "second" and isinstance(request, Transform) and (lengths := _seconds_of(request)):
        return None if None in lengths else (sum(filter(None, lengths)),) * 2
    if price.per == "second":
        span = _span(draft.spec, "duration", getattr(request, "duration", None))
        return None if span is None else (span[0] * n, span[1] * n)
    if price.per == "megapixel":
        pixels = pixels_of_size(draft.get("size")) or pixels_of_tier(draft.get("resolution"), draft.media)
        span = price.usual if pixels is None else (pixels / 1e6,) * 2
        return None if span is None else (span[0] * n, span[1] * n)
    if price.per == "gpu_second":
        return price.usual
    if price.per == "1k_chars":
        return (len(request.prompt) / 1000,) * 2
    if price.per == "input_image":
        images = [getattr(request, f, None) for f in ("source", "first_frame", "last_frame")]
        count = sum(i is not None for i in images) + len(getattr(request, "references", ()))
        if isinstance(request, Transform):
            count = sum(isinstance(one, Image) for value in request.inputs.values() for one in each(value))
        return (count, count)
    return None


def _seconds_of(request: Transform) -> list[float | None]:
    """Return the durations of a task's videos and audio files."""
    return [one.seconds for value in request.inputs.values() for one in each(value) if isinstance(one, Video | Audio)]


def _applicable(draft: Draft, lines: Sequence[Price]) -> Sequence[Price]:
    """Return the price line whose conditions hold, else the line without conditions, else those that may apply."""
    for price in lines:
        if price.when and all(matches(draft, key, condition) for key, condition in price.when.items()):
            return (price,)
    if (plain := next((price for price in lines if not price.when), None)) is not None:
        return (plain,)
    return [price for price in lines if all(_may_match(draft, key, condition) for key, condition in price.when.items())]


def _may_match(draft: Draft, key: str, condition: Any) -> bool:
    """Whether a condition holds, or may hold because the request leaves the field to the provider."""
    if isinstance(condition, bool):
        return matches(draft, key, condition)
    value = value_of(draft, key)
    chosen = getattr(draft.option(key), "default", None) if value is None else value
    return chosen in {None, "auto"} or matches(draft, key, condition)


def _cost(price: Price, at: int, units: float, n: int) -> float:
    """Return the lower (0) or upper (1) price of some units of n outputs."""
    if price.first is None or not units:
        return price.usd[at] * units
    firsts = n if price.per in {"second", "megapixel"} else 1
    return price.first[at] * firsts + price.usd[at] * max(0.0, units - firsts)


def quote_call(draft: Draft, request: Request, n: int) -> Quote:
    """Add up the price lines of an operation spec for one call."""
    if not draft.spec.prices:
        return Quote(usd=None, basis="the matrix has no price")
    low = high = 0.0
    basis: list[str] = []
    for unit, lines in draft.spec.prices_by_unit.items():
        chosen = _applicable(draft, lines)
        if not chosen:
            return Quote(usd=None, basis="the matrix has no price for these options")
        units = _units(chosen[0], draft, request, n)
        if units is None:
            return Quote(usd=None, basis=f"the number of {unit}s is not known before the call")
        low += min([_cost(p, 0, units[0], n) for p in chosen])
        high += max([_cost(p, 1, units[1], n) for p in chosen])
        basis.append(chosen[0].basis or f"per {unit}")
    return Quote(usd=(round(low, 6), round(high, 6)), basis="; ".join(dict.fromkeys(basis)))


def total(quotes: list[Quote]) -> Quote:
    """Add up the quotes of a plan's calls; one unknown quote makes the sum unknown."""
    known = [q.usd for q in quotes if q.usd is not None]
    if len(known) < len(quotes):
        return Quote(usd=None, basis=quotes[0].basis)
    return Quote(usd=(round(sum(u[0] for u in known), 6), round(sum(u[1] for u in known), 6)), basis=quotes[0].basis)


def obstacle_of(plan: Plan, policy: Policy) -> Warning | None:
    """Return what a run of a plan would meet: a cap that it may exceed whatever was spent before, or the question to a person."""
    budget, usd, backend = policy.budget, plan.quote.usd, plan.chosen.backend
    if usd is None and budget.capped and not budget.allow_unknown:
        return Warning("over_cap", "it would be refused: its price is unknown, and a spending cap is set")
    if usd is not None:
        caps = {name: (getattr(budget, name), usd[1]) for name in ("per_request", "per_session", "per_day")}
        caps |= {f"per_backend.{backend}": (budget.per_backend.get(backend), usd[1])}
        caps |= {"per_call": (budget.per_call, max(call.quote.usd[1] for call in plan.calls if call.quote.usd))}
        for name, (cap, cost) in caps.items():
            if cap is not None and cost > cap:
                text = f"it would be refused: it may cost {in_dollars(cost)} USD; the cap {name} is {in_dollars(cap)} USD"
                return Warning("over_cap", text)
    if not policy.needs_approval(plan):
        return None
    why = "its price is unknown" if usd is None else f"it may cost more than {in_dollars(policy.ask_above_usd or 0)} USD"
    return Warning("needs_approval", f"a person would be asked first: {why} (ask_above_usd)")


def is_over_cap(quote: Quote, policy: Policy, already_reserved: float = 0.0) -> bool:
    """Whether a plan may exceed the policy's cap per request; with a cap also if its price is unknown and that is not allowed.

    ``already_reserved``: US dollars of the cap that are reserved for other calls of the request.
    """
    cap = policy.budget.per_request
    return cap is not None and (already_reserved + quote.usd[1] > cap if quote.usd else not policy.budget.allow_unknown)

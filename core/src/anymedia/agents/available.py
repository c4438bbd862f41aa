"""What the usable backends can do now, read from their matrices."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from ..capabilities import (
    Choice,
    ContinueRule,
    Fidelity,
    InputRule,
    MaskRule,
    ModelSpec,
    OperationSpec,
    Option,
    Pixels,
    Range,
    ReferencesRule,
    Text,
)
from ..formatting import in_digits
from ..plugins.instances import BackendInstance
from ..requests import Operation

_MOST = 14


def word(value: Any) -> str:
    """Return one value as it is written in JSON."""
    return "true" if value is True else "false" if value is False else f"{value:g}" if isinstance(value, float) else str(value)


def joined(values: Sequence[Any], most: int = _MOST) -> str:
    """Return values separated by commas; of a long list only the first ones, and how many there are."""
    shown = ", ".join(word(value) for value in values[:most])
    return shown if len(values) <= most else f"{shown} ... ({len(values)})"


def option_words(option: Option, most: int = _MOST, *, steps: bool = False) -> str:
    """Return the allowed values of an option as text; of many only the first ones, of a range the steps if asked for."""
    if isinstance(option, Choice):
        return ("always " if option.fixed else "") + joined(option.one_of, most)
    if isinstance(option, Range):
        return option.text() if steps else f"{in_digits(option.min)} to {in_digits(option.max)}"
    if isinstance(option, Pixels):
        return option.text() + (", or auto" if option.auto else "")
    if isinstance(option, Text):
        return f"text up to {option.max_chars} characters" if option.max_chars else "text"
    return option.type


@attrs.frozen(kw_only=True)
class Able:
    """One operation spec that can be used now, with its model and backend."""

    backend: str
    model: ModelSpec
    row: OperationSpec

    @property
    def operation(self) -> Operation:
        """The operation."""
        return self.row.operation

    @property
    def name(self) -> str:
        """The model as a caller names it, ``backend/model``."""
        return f"{self.backend}/{self.model.id}"


def able_rows(instances: Mapping[str, BackendInstance], today: datetime.date | None = None) -> list[Able]:
    """Return every operation spec that can be used now: the best models of a backend first, backends of last resort last.

    Models that were shut down, that need something not installed, or that are previews (they must be named) are left out.
    """
    on = today or datetime.datetime.now(datetime.UTC).date()
    found: list[tuple[tuple[Any, ...], Able]] = []
    for name, instance in instances.items():
        if not instance.usable:
            continue
        for model in instance.matrix.models:
            stage = model.lifecycle.stage_on(on) if instance.enforce_lifecycle else "active"
            if stage == "retired" or model.preview or model.unmet(instance.absent):
                continue
            key = (instance.matrix.last_resort, name, stage == "doubtful", model.rank, model.id)
            found += [(key, Able(backend=name, model=model, row=row)) for row in model.operations.values()]
    return [able for _, able in sorted(found, key=lambda pair: pair[0])]


def missing(instances: Mapping[str, BackendInstance]) -> dict[str, tuple[str, ...]]:
    """Return what each installed but unusable backend lacks: names of variables, never values."""
    return {name: instance.missing for name, instance in instances.items() if not instance.usable}


def sound_makers(instances: Mapping[str, BackendInstance]) -> dict[str, list[str]]:
    """Return the backends for speech and for music."""
    makers: dict[str, list[str]] = {"speech": [], "music": []}
    for able in able_rows(instances):
        for kind in getattr(able.row.options.get("audio_type"), "one_of", ("speech",)) if able.operation == "generate_audio" else ():
            if kind in makers and able.backend not in makers[kind]:
                makers[kind].append(able.backend)
    return makers


def role_rules(able: Able) -> Iterator[tuple[str, InputRule, Fidelity]]:
    """Yield the reference roles that an operation spec supports, each with its input rule and fidelity."""
    rule = able.row.inputs.get("references")
    if isinstance(rule, ReferencesRule):
        for role, inner in rule.roles.items():
            yield role, inner, inner.fidelity if inner.fidelity.level == "emulated" else able.row.fidelity


def mask_rule(able: Able) -> MaskRule | None:
    """Return the rule for masks, if masks are supported."""
    rule = able.row.inputs.get("mask")
    return rule if isinstance(rule, MaskRule) else None


def continuing(able: Able) -> ContinueRule | None:
    """Return the rule for continuing an earlier result, if that is supported."""
    rule = able.row.inputs.get("continue_from")
    return rule if isinstance(rule, ContinueRule) else None


def describe_backends(instances: Mapping[str, BackendInstance], today: datetime.date | None = None) -> dict[str, Any]:
    """Return as JSON what can be used now, and what is missing or not installed for the other backends."""
    backends: dict[str, Any] = {}
    for able in able_rows(instances, today):
        models = backends.setdefault(able.backend, {"usable": True, "models": {}})["models"]
        models.setdefault(able.model.id, {})[able.row.name] = _row(able)
    for name, instance in instances.items():
        if name not in backends and (not instance.usable or instance.not_installed):
            backends[name] = {"usable": False, "missing": list(instance.missing)}
        if instance.not_installed:
            backends[name]["not_installed"] = instance.not_installed
    return backends


def _row(able: Able) -> dict[str, Any]:
    row = able.row
    found: dict[str, Any] = {"fidelity": row.fidelity.level, "takes": sorted(row.inputs)}
    if row.task:
        found["returns"] = row.output or able.model.media
    if roles := [role for role, *_ in role_rules(able)]:
        found["reference_roles"] = roles
    if (mask := mask_rule(able)) is not None:
        found["mask_modes"] = list(mask.modes)
    if (rule := continuing(able)) is not None:
        found["continues_by"] = list(rule.ways)
    found["options"] = {name: option_words(option) for name, option in row.options.items()}
    if row.extra_params:
        found["extra_params"] = {name: option_words(option) for name, option in row.extra_params.items()}
    if row.rules:
        found["rules"] = [rule.because for rule in row.rules]
    return found

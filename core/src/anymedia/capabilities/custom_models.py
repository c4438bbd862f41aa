"""The ``models`` table of a configured instance: model specs derived from one of the plugin's.

[backends.mygpu.models."wan-2.2"]
like = "sora-2"                                     # inherit everything except lifecycle, prices and timings
without = ["continue_video", "generate_video.seed"] # operations, or fields of an operation
aliases = ["wan"]
generate_video.duration = { min = 2, max = 10, step = 1 }   # as in a capability file
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from ..errors import PluginContractError, SettingsError, did_you_mean
from . import CapabilityMatrix, ModelSpec, OperationSpec


def for_other_service(spec: ModelSpec) -> ModelSpec:
    """Return a model spec as it applies to another server: prices and timings are unknown."""
    operations = {kind: attrs.evolve(op, prices=(), typical_seconds=None) for kind, op in spec.operations.items()}
    return attrs.evolve(spec, operations=operations, services=())


def custom_model_specs(models: Mapping[str, Mapping[str, Any]], matrix: CapabilityMatrix, where: str) -> tuple[ModelSpec, ...]:
    """Build the model specs of a ``models`` table; ``like`` refers to the plugin's matrix, and ``where`` is the prefix of messages.

    Raises:
        SettingsError: with table and key.
    """
    return tuple(_spec(model, dict(table), matrix, f"{where}.models.{model}") for model, table in models.items())


def _spec(model: str, table: dict[str, Any], matrix: CapabilityMatrix, where: str) -> ModelSpec:
    like, without = table.pop("like", None), table.pop("without", [])
    own = _parsed(model, table, where)
    if like is None:
        if not own.operations:
            raise SettingsError(f'{where}: give like = "...", or the operations that it supports')
        return own
    base = matrix.model(like) if isinstance(like, str) else None
    if base is None:
        known = [spec.id for spec in matrix.models]
        raise SettingsError(f"{where}: like: the plugin has no model {like!r:.80}{did_you_mean(str(like), known)}")
    inherited = for_other_service(base).operations
    operations = {kind: _refined(spec, own.operations.get(kind)) for kind, spec in inherited.items()}
    operations |= {kind: spec for kind, spec in own.operations.items() if kind not in inherited}
    spec = attrs.evolve(
        base,
        id=model,
        aliases=own.aliases,
        services=(),
        lifecycle=own.lifecycle,
        continues_with=(),
        rank=own.rank if "rank" in table else base.rank,
        media=own.media if "media" in table else base.media,
        preview=own.preview,
        requires=own.requires or base.requires,
        note=own.note or base.note,
        wire={**base.wire, **own.wire},
        continuation_prefix=own.continuation_prefix or base.continuation_prefix,
        operations=operations,
    )
    return _without(spec, without, where)


def _parsed(model: str, table: Mapping[str, Any], where: str) -> ModelSpec:
    """Parse the own part of a model table like a capability file."""
    from .loader import parse_matrix

    try:
        return parse_matrix({"schema": 1, "models": [{**table, "id": model}]}, where).models[0]
    except PluginContractError as error:
        raise SettingsError(error.message) from None


def _refined(base: OperationSpec, own: OperationSpec | None) -> OperationSpec:
    if own is None:
        return base
    return attrs.evolve(
        base,
        prompt=own.prompt if own.prompt.max_chars else base.prompt,
        output=own.output or base.output,
        inputs={**base.inputs, **own.inputs},
        options={**base.options, **own.options},
        extra_params={**base.extra_params, **own.extra_params},
        rules=(*base.rules, *own.rules),
        fidelity=own.fidelity if own.fidelity.note else base.fidelity,
        prices=own.prices,
        typical_seconds=own.typical_seconds,
        wire={**base.wire, **own.wire},
        note=own.note or base.note,
    )


def _without(spec: ModelSpec, dropped: Any, where: str) -> ModelSpec:
    if not isinstance(dropped, list) or not all(isinstance(item, str) for item in dropped):
        raise SettingsError(f"{where}: without: expected a list of texts")
    operations = dict(spec.operations)
    for item in dropped:
        kind = next((name for name in operations if item == name or item.startswith(f"{name}.")), None)
        if kind is None:
            wrong = item.partition(".")[0]
            raise SettingsError(f"{where}: without: there is no operation {wrong!r:.80}{did_you_mean(wrong, operations)}")
        field = item[len(kind) + 1 :]
        if not field:
            del operations[kind]
            continue
        known = [*operations[kind].inputs, *operations[kind].options]
        if field not in known:
            raise SettingsError(f"{where}: without: {kind} has no {field!r:.80}{did_you_mean(field, known)}")
        operations[kind] = _dropped(operations[kind], field)
    return attrs.evolve(spec, operations=operations)


def _dropped(spec: OperationSpec, field: str) -> OperationSpec:
    inputs = {key: rule for key, rule in spec.inputs.items() if key != field}
    options = {key: option for key, option in spec.options.items() if key != field}
    rules = tuple(rule for rule in spec.rules if not any(field in table for table in (rule.when, rule.forbid, rule.require)))
    return attrs.evolve(spec, inputs=inputs, options=options, rules=rules)

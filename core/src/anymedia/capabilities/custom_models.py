"""The ``models`` table of a configured instance: rows made from a plugin's row and what differs.

[backends.mygpu.models."wan-2.2"]
like = "sora-2"                                     # everything from here, but no lifecycle, prices or timings
without = ["continue_video", "generate_video.seed"] # operations, or fields of one
aliases = ["wan"]
generate_video.duration = { min = 2, max = 10, step = 1 }   # as in a capability file
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, get_args

import attrs

from ..errors import PluginContractError, SettingsError, did_you_mean
from ..operations import Operation
from . import CapabilityMatrix, Lifecycle, ModelSpec, OperationSpec

__all__ = ["configured_rows", "for_other_service"]


def for_other_service(row: ModelSpec) -> ModelSpec:
    """Return a row as somebody else's server has it: prices and timings are not known there."""
    operations = {kind: attrs.evolve(op, prices=(), typical_seconds=None) for kind, op in row.operations.items()}
    return attrs.evolve(row, operations=operations, services=())


def configured_rows(models: Mapping[str, Mapping[str, Any]], matrix: CapabilityMatrix, where: str) -> tuple[ModelSpec, ...]:
    """Make the rows of a ``models`` table.

    Args:
        models: model id -> its table.
        matrix: the plugin's whole matrix, to be ``like``.
        where: file and table, for messages.

    Raises:
        SettingsError: with table and key.
    """
    return tuple(_row(model, dict(table), matrix, f"{where}.models.{model}") for model, table in models.items())


def _row(model: str, table: dict[str, Any], matrix: CapabilityMatrix, where: str) -> ModelSpec:
    like, without = table.pop("like", None), table.pop("without", [])
    own = _parsed(model, table, where)
    if like is None:
        if not own.operations:
            raise SettingsError(f'{where}: give like = "...", or the operations it can do')
        return own
    base = matrix.model(like) if isinstance(like, str) else None
    if base is None:
        known = [row.id for row in matrix.models]
        raise SettingsError(f"{where}: like: the plugin has no model {like!r:.80}{did_you_mean(str(like), known)}")
    inherited = for_other_service(base).operations
    operations = {kind: inherited.get(kind, OperationSpec(operation=kind)) for kind in (*inherited, *own.operations)}
    operations = {kind: _refined(row, own.operations.get(kind)) for kind, row in operations.items()}
    row = attrs.evolve(
        base,
        id=model,
        aliases=own.aliases,
        services=(),
        lifecycle=Lifecycle(),
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
    return _without(row, without, where)


def _parsed(model: str, table: Mapping[str, Any], where: str) -> ModelSpec:
    """Read what differs with the reader of capability files, so that it means the same."""
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
        prompt=own.prompt if own.prompt.max_chars is not None else base.prompt,
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


def _without(row: ModelSpec, dropped: Any, where: str) -> ModelSpec:
    if not isinstance(dropped, list) or not all(isinstance(item, str) for item in dropped):
        raise SettingsError(f"{where}: without: expected a list of texts")
    operations = dict(row.operations)
    for item in dropped:
        kind, _, field = item.partition(".")
        found = next((op for op in get_args(Operation) if op == kind), None)
        if found is None or found not in operations:
            raise SettingsError(f"{where}: without: there is no operation {kind!r:.80}{did_you_mean(kind, operations)}")
        if not field:
            del operations[found]
            continue
        known = [*operations[found].inputs, *operations[found].options]
        if field not in known:
            raise SettingsError(f"{where}: without: {kind} has no {field!r:.80}{did_you_mean(field, known)}")
        operations[found] = _dropped(operations[found], field)
    return attrs.evolve(row, operations=operations)


def _dropped(row: OperationSpec, field: str) -> OperationSpec:
    def kept(table: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in table.items() if key != field}

    def speaks_of(tables: Iterable[Mapping[str, Any]]) -> bool:
        return any(field in table for table in tables)

    rules = tuple(rule for rule in row.rules if not speaks_of((rule.when, rule.forbid, rule.require)))
    return attrs.evolve(row, inputs=kept(row.inputs), options=kept(row.options), rules=rules)

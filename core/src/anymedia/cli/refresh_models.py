"""``anymedia models --refresh BACKEND``: the service's own lists become the rows to plan by; what changed is shown."""

from __future__ import annotations

import asyncio
import datetime
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from ..capabilities import CapabilityMatrix
from ..capabilities.catalog import write_snapshot
from ..context import Context
from ..errors import InvalidRequest, RequestError, UnsupportedOperation
from ..hookspecs import ListedModel
from ..plugins.instances import COMPATIBLE, BackendInstance
from .console import Console
from .environment import Environment, load_environment
from .render import plain

__all__ = ["changes", "refresh_models"]

#: Parts of a row that say how it was come by, not what the model can do.
_ASIDE = frozenset({"note", "doc", "basis", "source", "checked"})


def refresh_models(backend: str | None, console: Console) -> None:
    """List a service's models, keep them as the snapshot to plan by, tell the difference to what was known.

    Raises:
        RequestError: no backend was named, or its lists cannot be kept.
        UnsupportedOperation: its lists do not say what the models can do.
        BackendError: the service did not answer; what was known stands.
    """
    if backend is None:
        raise click.UsageError("--refresh needs the name of a BACKEND")
    environment = load_environment()
    instance = environment.pick(backend)[0]
    listed = asyncio.run(_ask(environment, instance))
    rows = [dict(model.row) for model in listed if model.row]
    if not rows:
        raise UnsupportedOperation(f"what {backend!r} lists does not say what its models can do", fix="its own rows stand")
    today = datetime.datetime.now(datetime.UTC).date()
    before = environment.registry.capabilities(instance.plugin)
    document = {"schema": 1, "checked": today.isoformat(), "models": rows}
    try:
        path, after = write_snapshot(instance.plugin, document, before)
    except OSError as error:
        raise RequestError(f"the snapshot cannot be written: {error.strerror}", fix="set ANYMEDIA_CACHE to a directory that can") from error
    _tell(console, instance.name, str(path), today, changes(before, after), [note for model in listed for note in model.notes])


async def _ask(environment: Environment, instance: BackendInstance) -> Sequence[ListedModel]:
    from ..execution.client_pool import Clients

    if instance.service == COMPATIBLE:
        fix = "give its models in the settings ([backends.NAME.models])"
        raise InvalidRequest(f"{instance.name!r} is somebody else's server: its lists do not speak for the whole plugin", fix=fix)
    if not environment.registry.has(instance.plugin, "list_models"):
        raise UnsupportedOperation(f"backend {instance.name!r} has no lists to refresh from")
    clients, secrets = Clients(), instance.secrets()
    context = Context(
        backend=instance.name,
        service=instance.service,
        settings=instance.context_settings,
        secrets=secrets,
        clients=lambda name, factory: clients.get(instance.name, secrets, name, factory),
    )
    try:
        found: Sequence[ListedModel] = await environment.registry.call(instance.plugin, "list_models", context=context)
    finally:
        await clients.aclose()
    return found


def changes(before: CapabilityMatrix, after: CapabilityMatrix) -> dict[str, Any]:
    """Return the difference of two matrices as JSON: ids added and removed, and each changed field of the others.

    An operation that came or went is one change; so is each field of those that stayed.
    """
    old, new = ({row.id: _comparable(plain(row)) for row in matrix.models} for matrix in (before, after))
    changed = [
        {"model": model, "field": field, "before": was, "after": now}
        for model in sorted(old.keys() & new.keys())
        for field, was, now in _differences(old[model], new[model])
    ]
    return {"added": sorted(new.keys() - old.keys()), "removed": sorted(old.keys() - new.keys()), "changed": changed}


def _comparable(value: Any) -> Any:
    """Return a row without what only says how it was come by, and without the order of values."""
    if isinstance(value, Mapping):
        found = {key: _comparable(inner) for key, inner in value.items() if key not in _ASIDE}
        return found | ({"one_of": sorted(found["one_of"], key=str)} if "one_of" in found else {})
    return [_comparable(inner) for inner in value] if isinstance(value, list) else value


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    before, after = old.get("operations", {}), new.get("operations", {})
    if before.keys() != after.keys():
        yield "operations", sorted(before), sorted(after)
    both = before.keys() & after.keys()
    was, now = ({**row, "operations": {name: row["operations"][name] for name in both}} for row in (old, new))
    flat_before, flat_after = dict(_leaves(was)), dict(_leaves(now))
    for field in sorted(flat_before.keys() | flat_after.keys()):
        if flat_before.get(field) != flat_after.get(field):
            yield field.removeprefix("operations."), flat_before.get(field), flat_after.get(field)


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(value, Mapping) or not value:
        yield path, value
        return
    for key, inner in value.items():
        yield from _leaves(inner, f"{path}.{key}" if path else str(key))


def _tell(console: Console, name: str, path: str, today: datetime.date, found: Mapping[str, Any], notes: Sequence[str]) -> None:
    if console.json:
        console.document({"success": True, "backend": name, "checked": today.isoformat(), "path": path, **found, "notes": list(notes)})
        return
    for model in found["added"]:
        console.note(f"+ {name}/{model}")
    for model in found["removed"]:
        console.note(f"- {name}/{model}")
    for change in found["changed"]:
        console.note(f"~ {name}/{change['model']}  {change['field']}: {_word(change['before'])} -> {_word(change['after'])}")
    for note in notes:
        console.note(f"  note: {note}")
    counts = ", ".join(f"{len(found[kind])} {kind}" for kind in ("added", "removed"))
    touched = len({change["model"] for change in found["changed"]})
    console.note(f"{counts}, {touched} changed; listed on {today}")
    console.result(path)


def _word(value: Any) -> str:
    return "nothing" if value is None else json.dumps(value, default=str)

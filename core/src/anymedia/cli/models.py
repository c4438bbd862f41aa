"""``anymedia models``: list models; ``--refresh`` updates the models of a backend from the lists of its service.

``anymedia capabilities``: the complete capability matrices.
"""

from __future__ import annotations

import datetime
import json
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from ..capabilities import CapabilityMatrix, ContinueRule, InputRule, MaskRule, ModelSpec, OperationSpec, ReferencesRule
from ..errors import InvalidRequest, MediaError, RequestError, UnsupportedOperation, did_you_mean
from ..fields import Operation
from ..plugins.instances import COMPATIBLE, BackendInstance
from . import complete
from .console import Console
from .environment import AS_JSON, Environment, load_environment
from .process import run
from .render import all_prices, life, not_installed, plain, prices, requirement, usable

if TYPE_CHECKING:
    from ..hookspecs import ListedModel

#: At most this many new or missing ids of a backend are printed.
_SHOWN = 30


#: Operation -> its short name in the table.
_SHORT = {
    "generate_image": "image",
    "inpaint": "inpaint",
    "edit_with_references": "edit",
    "generate_video": "video",
    "continue_video": "continue",
    "generate_audio": "audio",
}


@click.command("models")
@click.argument("words", nargs=-1, metavar="[BACKEND | search WORD...]", shell_complete=complete.backends)
@click.option("--task", metavar="OPERATION", help="Only models with this operation, task (upscale ...) or medium.")
@click.option("--all", "include_retired", is_flag=True, help="List retired models too.")
@click.option("--refresh", is_flag=True, help="Update the models of BACKEND (default: all) from its service and show the changes.")
@AS_JSON
def models(words: tuple[str, ...], task: str | None, include_retired: bool, refresh: bool, as_json: bool) -> None:
    """List the models of BACKEND (default: all), or those that match WORD, with operations, prices and lifecycle.

    Usable models come first. The JSON document includes retired models.
    """
    console, today = Console(json=as_json), datetime.datetime.now(datetime.UTC).date()
    search = words[1:] if words[:1] == ("search",) else ()
    if (len(words) > 1 and not search) or words == ("search",):
        raise click.UsageError("expected: anymedia models [BACKEND], or: anymedia models search WORD...")
    backend = None if search else next(iter(words), None)
    if refresh:
        _refresh(backend, console)
        return
    environment = load_environment()
    _check_task(environment, task)
    for warning in environment.name_warnings():
        console.note(warning)
    found = [one for one in _corrected(environment, backend) if _selected(one[0], one[1], task, search)]
    if as_json:
        console.document({"success": True, "models": [_as_json(*one, today) for one in found]})
        return
    shown = [one for one in found if include_retired or one[1].lifecycle.stage_on(today) != "retired"]
    _print_table(console, shown, today)
    if hidden := len(found) - len(shown):
        console.note(f"{hidden} retired model{'s' * (hidden != 1)} not shown (--all shows them)")
    if not found:
        active = (one for one in _corrected(environment, None) if one[1].lifecycle.stage_on(today) != "retired")
        known = {word for instance, spec, _ in active for word in (instance.name, spec.media, *re.split("[/-]", spec.id))}
        near = did_you_mean(search[-1], known) if search else ""
        console.note(f"no model matches {' '.join(search) or task or backend!r}{near}")
        console.note("  hint: anymedia models lists all")


def _check_task(environment: Environment, task: str | None) -> None:
    specs = [spec for instance in environment.instances.values() for spec in instance.matrix.models]
    tasks = (operation.task for spec in specs for operation in spec.operations.values())
    known = dict.fromkeys((*get_args(Operation), "image", "video", "audio", *filter(None, tasks)))
    if task is not None and task not in known:
        raise click.UsageError(f"--task: there is no operation {task!r} (there are {', '.join(known)}){did_you_mean(task, known)}")


#: A model of an instance, and why it is not chosen automatically at present (or an empty text).
_Listed = tuple[BackendInstance, ModelSpec, str]


def _corrected(environment: Environment, backend: str | None) -> Iterator[_Listed]:
    """Yield the models of one or all instances as planning sees them: corrected by what their providers said."""
    from ..capabilities.overlay import OverlayStore

    overlays, now = OverlayStore(environment.settings.state_dir / "overlays"), time.time()
    for instance in environment.pick(backend):
        overlay = overlays.load_for(instance)
        matrix = overlay.correct(instance.matrix)
        demoted = overlay.demoted(matrix, now)
        for spec in matrix.models:
            yield instance, spec, demoted.get(spec.id, "")


def _selected(instance: BackendInstance, spec: ModelSpec, task: str | None, search: Sequence[str]) -> bool:
    text = " ".join((instance.name, spec.id, *spec.aliases, spec.media, *spec.operations)).lower()
    known = {spec.media, *spec.operations, *(operation.task for operation in spec.operations.values())}
    return (task is None or task in known) and all(word.lower() in text for word in search)


def _print_table(console: Console, found: Sequence[_Listed], today: datetime.date) -> None:
    """Print the usable models, then the others under what they lack."""
    groups: dict[str, list[list[str]]] = {"yes": []}
    for instance, spec, demoted in found:
        operations = " ".join(_SHORT.get(operation, operation.removeprefix("transform.")) for operation in spec.operations)
        stage = life(instance, spec, today) + (", not listed" if "list of" in demoted else ", refused" if demoted else "")
        row = [f"{instance.name}/{spec.id}", operations, prices(spec), stage]
        groups.setdefault(usable(instance, spec), []).append(row)
    if not groups["yes"]:
        del groups["yes"]
    for number, (reason, rows) in enumerate(groups.items()):
        if number:
            console.result("")
        if reason != "yes":
            console.result(f"not usable: {reason}")
        console.table([["MODEL", "TASKS", "USD", "STAGE"], *rows], shrink=(3, 1, 2), least=7, wrap=True)


def _as_json(instance: BackendInstance, spec: ModelSpec, demoted: str, today: datetime.date) -> dict[str, Any]:
    life = spec.lifecycle
    return {
        "backend": instance.name,
        "model": spec.id,
        "aliases": list(spec.aliases),
        "media": spec.media,
        "operations": list(spec.operations),
        "preview": spec.preview,
        "lifecycle": {
            "stage": life.stage_on(today),
            "released": plain(life.released),
            "deprecated": plain(life.deprecated),
            "retires": plain(life.retires),
            "certainty": life.certainty,
            "replacement": life.replacement,
        },
        "prices": [
            {"per": p.per, "usd": list(p.usd), "first": p.first and list(p.first), "basis": p.basis, "checked": plain(p.checked)}
            for p in all_prices(spec)
        ],
        "usable": instance.usable and spec.unmet(instance.absent) is None,
        "missing": list(instance.missing),
        "requires": requirement(instance, spec),
        "demoted": demoted or None,
    }


#: Parts of a model spec that document it, rather than say what the model can do.
_DOCUMENTATION = frozenset({"note", "doc", "basis", "source", "checked"})


def _refresh(backend: str | None, console: Console) -> None:
    """List the models of one or all services, save what they say for planning, and print the changes."""
    environment = load_environment()
    if backend not in (None, "all"):
        _show_changes(console, [_refreshed(environment, environment.pick(backend)[0])])
        return
    found, failures = [], []
    for instance in environment.instances.values():
        if instance.usable and instance.service != COMPATIBLE and environment.registry.has(instance.plugin, "list_models"):
            try:
                found.append(_refreshed(environment, instance))
            except MediaError as error:
                failures.append(error)
                console.note(f"{instance.name} was not refreshed: {error}")
    if not found:
        raise failures[-1] if failures else UnsupportedOperation("no usable backend can list its models")
    _show_changes(console, found)


def _refreshed(environment: Environment, instance: BackendInstance) -> dict[str, Any]:
    """Save a service's list: as a snapshot if it describes the models, otherwise in the instance's overlay; return the changes."""
    listed = run(list_models(environment, instance))
    today = datetime.datetime.now(datetime.UTC).date()
    if any(model.row for model in listed):
        from ..capabilities.matrix_cache import snapshot_document, with_listed, write_snapshot

        shipped = environment.registry.capabilities(instance.plugin)
        before = with_listed(shipped, instance.name)
        hooks = environment.registry.plugins[instance.plugin].hooks
        try:
            path, after = write_snapshot(instance.name, snapshot_document(listed, today), shipped, hooks)
        except OSError as error:
            text = f"the snapshot cannot be written: {error.strerror}"
            raise RequestError(text, fix="set ANYMEDIA_CACHE to a writable directory") from error
        found = changes(before, after)
    else:
        path, found = _save_overlay(environment, instance, listed)
    notes = [note for model in listed for note in model.notes]
    return {"backend": instance.name, "checked": today.isoformat(), "path": str(path), **found, "notes": notes}


def _save_overlay(environment: Environment, instance: BackendInstance, listed: Sequence[ListedModel]) -> tuple[Path, dict[str, Any]]:
    """Save which models a service lists, and until when; return the file and what that changes in the instance's matrix."""
    from ..capabilities.overlay import OverlayStore

    overlays = OverlayStore(environment.settings.state_dir / "overlays")
    now = time.time()
    overlay = overlays.list_models(instance.account_key, {model.id: _parsed_date(model.retires) for model in listed}, now)
    found = changes(instance.matrix, overlay.correct(instance.matrix))
    found["added"], found["removed"] = overlay.unknown_to(instance.matrix), sorted(overlay.not_listed(instance.matrix, now))
    return overlays.path(instance.account_key), found


def _parsed_date(text: str | None) -> datetime.date | None:
    try:
        return None if text is None else datetime.date.fromisoformat(text)
    except ValueError:
        return None


async def list_models(environment: Environment, instance: BackendInstance) -> Sequence[ListedModel]:
    """Ask the service of an instance for its models."""
    from ..execution.listing import listed_models

    if instance.service == COMPATIBLE:
        fix = "declare its models in the settings ([backends.NAME.models])"
        raise InvalidRequest(f"{instance.name!r} is a compatible server; its lists cannot update the models of the plugin", fix=fix)
    if not environment.registry.has(instance.plugin, "list_models"):
        raise UnsupportedOperation(f"backend {instance.name!r} cannot list its models")
    return await listed_models(environment.registry, environment.settings, instance)


def changes(before: CapabilityMatrix, after: CapabilityMatrix) -> dict[str, Any]:
    """Return the difference of two matrices as JSON: added and removed ids, and each changed field of the other models.

    An added or removed operation is one change, as is each changed field of the remaining operations.
    """
    old, new = ({spec.id: _comparable(plain(spec)) for spec in matrix.models} for matrix in (before, after))
    changed = [
        {"model": model, "field": field, "before": was, "after": now}
        for model in sorted(old.keys() & new.keys())
        for field, was, now in _differences(old[model], new[model])
    ]
    return {"added": sorted(new.keys() - old.keys()), "removed": sorted(old.keys() - new.keys()), "changed": changed}


def _comparable(value: Any) -> Any:
    """Return a model spec without its documentation and without the order of allowed values."""
    if isinstance(value, Mapping):
        found = {key: _comparable(inner) for key, inner in value.items() if key not in _DOCUMENTATION}
        return found | ({"one_of": sorted(found["one_of"], key=str)} if "one_of" in found else {})
    return [_comparable(inner) for inner in value] if isinstance(value, list) else value


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    before, after = old.get("operations", {}), new.get("operations", {})
    if before.keys() != after.keys():
        yield "operations", sorted(before), sorted(after)
    both = before.keys() & after.keys()
    was, now = ({**spec, "operations": {name: spec["operations"][name] for name in both}} for spec in (old, new))
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


def _show_changes(console: Console, refreshed: Sequence[Mapping[str, Any]]) -> None:
    """Print the changes of the refreshed backends: one object for one backend, ``backends`` for several."""
    if console.json:
        console.document({"success": True, **refreshed[0]} if len(refreshed) == 1 else {"success": True, "backends": list(refreshed)})
        return
    for found in refreshed:
        name = found["backend"]
        for sign, kind in (("+", "added"), ("-", "removed")):
            for model in found[kind][:_SHOWN]:
                console.note(f"{sign} {name}/{model}")
            if len(found[kind]) > _SHOWN:
                console.note(f"{sign} and {len(found[kind]) - _SHOWN} more")
        for change in found["changed"]:
            console.note(f"~ {name}/{change['model']}  {change['field']}: {_as_text(change['before'])} -> {_as_text(change['after'])}")
        for note in found["notes"]:
            console.note(f"  note: {note}")
        counts = ", ".join(f"{len(found[kind])} {kind}" for kind in ("added", "removed"))
        touched = len({change["model"] for change in found["changed"]})
        console.note(f"{counts}, {touched} changed; listed on {found['checked']}")
        console.result(found["path"])


def _as_text(value: Any) -> str:
    return "none" if value is None else json.dumps(value, default=str)


@click.command("capabilities")
@click.argument("backend", required=False, shell_complete=complete.backends)
@AS_JSON
def capabilities(backend: str | None, as_json: bool) -> None:
    """Show what each model of BACKEND (default: all) can do: operations, inputs, options and values, rules, prices."""
    console = Console(json=as_json)
    environment = load_environment()
    found = environment.pick(backend)
    if as_json:
        console.document({"success": True, "backends": {i.name: _matrix_as_json(i) for i in found}})
        return
    today = datetime.datetime.now(datetime.UTC).date()
    for instance in found:
        checked = f", checked {instance.matrix.checked}" if instance.matrix.checked else ""
        console.result(f"{instance.name} (usable: {usable(instance)}){checked}")
        for spec in instance.matrix.models:
            console.result(f"  {instance.name}/{spec.id}: {life(instance, spec, today)}, {prices(spec)}")
            if text := not_installed(instance, spec):
                console.result(f"    {text}")
            for operation in spec.operations.values():
                for line in _operation_lines(operation):
                    console.result(line)


def _operation_lines(spec: OperationSpec) -> list[str]:
    from ..agents.available import option_words

    note = f" (emulated: {spec.fidelity.note})" if spec.fidelity.level == "emulated" else ""
    lines = [f"    {spec.operation}{note}"]
    lines += [f"      input {name}: {_input_text(rule)}" for name, rule in spec.inputs.items()]
    options = [*spec.options.items(), *((f"--extra {name}=", option) for name, option in spec.extra_params.items())]
    lines += [f"      {name}: {option_words(option, sys.maxsize, steps=True)}" for name, option in options]
    lines += [f"      rule: {rule.because}" for rule in spec.rules]
    return lines


def _input_text(rule: InputRule | MaskRule | ReferencesRule | ContinueRule) -> str:
    if isinstance(rule, ContinueRule):
        return ", ".join(rule.ways)
    if isinstance(rule, MaskRule):
        return ", ".join(rule.modes)
    if isinstance(rule, ReferencesRule):
        return f"up to {rule.count[1]}: {', '.join(rule.roles)}"
    return (f"up to {rule.count[1]} " if rule.count[1] > 1 else "") + (", ".join(rule.formats) or "any format")


def _matrix_as_json(instance: BackendInstance) -> dict[str, Any]:
    rest = {"usable": instance.usable, "missing": list(instance.missing), "service": instance.service or None}
    matrix = plain(instance.matrix)
    assert isinstance(matrix, dict)
    matrix.pop("credentials", None)
    for shown, spec in zip(matrix.get("models", ()), instance.matrix.models, strict=True):
        if spec.requires is not None:
            shown["requires"] = requirement(instance, spec)
    return {key: value for key, value in rest.items() if value is not None} | matrix

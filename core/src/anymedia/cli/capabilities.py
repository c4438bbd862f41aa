"""``anymedia capabilities``: the complete capability matrices."""

from __future__ import annotations

import datetime
from typing import Any

import click

from ..capabilities import Choice, InputRule, MaskRule, OperationSpec, Option, Pixels, Range, ReferencesRule, Text
from ..capabilities.model import ContinueRule
from ..plugins.instances import BackendInstance
from .console import Console
from .environment import load_environment
from .options import AS_JSON
from .render import life, not_installed, plain, prices, requirement, usable

__all__ = ["capabilities"]


@click.command("capabilities")
@click.argument("backend", required=False)
@AS_JSON
def capabilities(backend: str | None, as_json: bool) -> None:
    """Show what each model of BACKEND (default: all) can do: operations, inputs, options and values, rules, prices."""
    console = Console(json=as_json)
    environment = load_environment()
    found = environment.pick(backend)
    if as_json:
        console.document({"success": True, "backends": {i.name: _as_json(i) for i in found}})
        return
    today = datetime.datetime.now(datetime.UTC).date()
    for instance in found:
        console.result(f"{instance.name} (usable: {usable(instance)}){_checked(instance)}")
        for spec in instance.matrix.models:
            console.result(f"  {instance.name}/{spec.id}: {life(instance, spec, today)}, {prices(spec)}")
            if text := not_installed(instance, spec):
                console.result(f"    {text}")
            for operation in spec.operations.values():
                for line in _operation_lines(operation):
                    console.result(line)


def _checked(instance: BackendInstance) -> str:
    return f", checked {instance.matrix.checked}" if instance.matrix.checked else ""


def _operation_lines(spec: OperationSpec) -> list[str]:
    note = f" (emulated: {spec.fidelity.note})" if spec.fidelity.level == "emulated" else ""
    lines = [f"    {spec.operation}{note}"]
    lines += [f"      input {name}: {_input_text(rule)}" for name, rule in spec.inputs.items()]
    lines += [f"      {name}: {_option_text(option)}" for name, option in spec.options.items()]
    lines += [f"      --extra {name}=: {_option_text(option)}" for name, option in spec.extra_params.items()]
    lines += [f"      rule: {rule.because}" for rule in spec.rules]
    return lines


def _option_text(option: Option) -> str:
    if isinstance(option, Choice):
        return ("always " if option.fixed else "") + ", ".join(str(v) for v in option.one_of)
    if isinstance(option, Range):
        return option.text()
    if isinstance(option, Pixels):
        return option.text() + (", or auto" if option.auto else "")
    if isinstance(option, Text):
        return "text" + (f" up to {option.max_chars} characters" if option.max_chars else "")
    return option.type


def _input_text(rule: InputRule | MaskRule | ReferencesRule | ContinueRule) -> str:
    if isinstance(rule, ContinueRule):
        return ", ".join(rule.ways)
    if isinstance(rule, MaskRule):
        return ", ".join(rule.modes)
    if isinstance(rule, ReferencesRule):
        return f"up to {rule.count[1]}: {', '.join(rule.roles)}"
    return (f"up to {rule.count[1]} " if rule.count[1] > 1 else "") + (", ".join(rule.formats) or "any format")


def _as_json(instance: BackendInstance) -> dict[str, Any]:
    rest = {"usable": instance.usable, "missing": list(instance.missing), "service": instance.service or None}
    matrix = plain(instance.matrix)
    assert isinstance(matrix, dict)
    matrix.pop("credentials", None)
    for shown, spec in zip(matrix.get("models", ()), instance.matrix.models, strict=True):
        if spec.requires is not None:
            shown["requires"] = requirement(instance, spec)
    return {key: value for key, value in rest.items() if value is not None} | matrix

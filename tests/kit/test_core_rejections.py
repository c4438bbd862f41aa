"""The core alone rejects or reports what a matrix does not claim, before any plugin is called."""

from __future__ import annotations

import datetime
from typing import Any

import attrs
import pytest
from core.planning_matrices import matrix

from anymedia.errors import InvalidRequest, RequestError, UnsupportedInput, UnsupportedOperation
from anymedia.planning import BackendView, Plan, plan
from anymedia.policy import Policy
from anymedia.requests import KINDS, Continuation, Operation
from anymedia.testing.case_values import Shape, foreign_options
from anymedia.testing.rejection_rules import _unclaimed_inputs, _valid_request

#: Operation -> the body of a spec that claims it with its required inputs only.
BARE: dict[Operation, str] = {
    "generate_image": "",
    "edit_with_references": "references = { count = [1, 1], roles = { source = {} } }",
    "inpaint": "source = {}\nmask = { format = 'alpha', modes = ['user_provided'] }",
    "generate_video": "",
    "continue_video": "continue_from = { ways = ['extend'] }",
    "generate_audio": "",
}
TODAY = datetime.date(2026, 11, 21)
DEFAULT = Policy(preview=True)


def shape_of(operation: Operation) -> Shape:
    media = operation.rpartition("_")[2] if operation != "edit_with_references" else "image"
    media = "image" if media == "inpaint" else media
    text = f'schema = 1\n[[models]]\nid = "bare"\nmedia = "{media}"\ncontinuation_prefix = "bare_{media[:3]}"\n[models.{operation}]\n'
    (model,) = matrix(text + BARE[operation]).models
    return Shape(model=model, spec=model.operations[operation])


def planned(shape: Shape, operation: Operation, policy: Policy = DEFAULT, **changes: Any) -> Plan:
    request = attrs.evolve(_valid_request(operation, shape, "bare"), **changes)
    text = matrix("schema = 1")
    view = BackendView(name="bare", matrix=attrs.evolve(text, models=(shape.model,)))
    return plan(request, [view], policy, TODAY, backend="bare", model="bare")


def unclaimed_options() -> list[Any]:
    return [pytest.param(op, name, value, id=f"{op}-{name}") for op in BARE for name, value in foreign_options(shape_of(op))]


def unclaimed_inputs() -> list[Any]:
    return [pytest.param(op, fields, id=f"{op}-{name}") for op in BARE for name, fields in _unclaimed_inputs(shape_of(op)).items()]


@pytest.mark.parametrize(("operation", "name", "value"), unclaimed_options())
def test_unclaimed_option_is_dropped_and_reported_and_rejected_by_strict(operation: Operation, name: str, value: Any) -> None:
    shape = shape_of(operation)
    found = planned(shape, operation, **{name: value})
    assert name in [a.field for a in found.adjustments]
    assert all(getattr(call.request, name) is None for call in found.calls)
    with pytest.raises(RequestError):
        planned(shape, operation, Policy(strict=True), **{name: value})


@pytest.mark.parametrize(("operation", "fields"), unclaimed_inputs())
def test_unclaimed_input_is_rejected(operation: Operation, fields: dict[str, Any]) -> None:
    with pytest.raises((UnsupportedInput, UnsupportedOperation)):
        planned(shape_of(operation), operation, **fields)


@pytest.mark.parametrize("operation", BARE)
def test_undeclared_extra_parameter_is_rejected_by_name(operation: Operation) -> None:
    with pytest.raises(InvalidRequest, match="no_such_parameter"):
        planned(shape_of(operation), operation, extra_params={"no_such_parameter": 1})


@pytest.mark.parametrize("operation", BARE)
def test_unclaimed_operation_is_rejected(operation: Operation) -> None:
    for other in set(KINDS) - {operation}:
        with pytest.raises((UnsupportedOperation, UnsupportedInput)):
            planned(shape_of(operation), other)


@pytest.mark.parametrize("operation", [op for op in BARE if any(f.name == "continue_from" for f in attrs.fields(KINDS[op]))])
def test_continuation_of_another_backend_is_rejected(operation: Operation) -> None:
    shape = shape_of(operation)
    handle = Continuation(id="other_vid_0123456789ab", backend="another", model="x", media=shape.model.media)
    with pytest.raises(UnsupportedInput):
        planned(shape, operation, continue_from=handle)

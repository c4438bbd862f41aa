"""Rules about what a backend does not support or lacks: rejected or reported before any submit."""

from __future__ import annotations

import contextlib
import datetime
import sys
from asyncio import run
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs

from ..capabilities import InputRule, MaskRule, OperationSpec, Option, ReferencesRule, Rule
from ..errors import InvalidRequest, ModelRetired, NoBackendAvailable, RequestError, UnsupportedInput, UnsupportedOperation
from ..media import Image
from ..planning.candidate import Draft, asked_fields, broken
from ..policy import Policy
from ..requests import KINDS, Continuation, Mask, Operation, Reference, Request
from ..results import Warning
from .case_values import Shape, image_for, input_fields, mask_for, minimal_fields, references_for, shapes, source_of, two_values
from .cases import Case, CaseMaker, rule
from .fakes import half_mask, picture
from .harness import Bench, forget_plugins

_CORE = frozenset({"prompt", "extra_params", "options", "continue_as", "edit_mode", "audio_type", "protect", "continue_from"})
#: The value that means "not given" for a field, where it is not None.
_NOTHING: dict[str, Any] = {"references": (), "extra_params": {}, "options": {}}
#: Provider-only options, and those of a task.
_EXTRAS = frozenset({"extra_params", "options"})


def _option(spec: OperationSpec, key: str) -> Option | None:
    head, _, tail = key.partition(".")
    return spec.extra_params.get(tail) if head in _EXTRAS else spec.options.get(key)


def unknown_to(spec: OperationSpec, key: str, condition: Any) -> str | None:
    """Return why a condition can never hold for the fields of a spec, or None."""
    head, _, tail = key.partition(".")
    if head in _EXTRAS and tail and tail not in spec.extra_params:
        return f"{key} is not an extra parameter of this operation"
    if head == "inputs" and tail in spec.inputs:
        return None
    accepted = spec.inputs.get("references")
    if head == "references" and tail and tail != "count" and not (isinstance(accepted, ReferencesRule) and tail in accepted.roles):
        return f"{key} is not a role of this operation"
    if head not in spec.options and head not in spec.inputs and head not in _CORE:
        return f"{key} is neither an option nor an input of this operation"
    option = _option(spec, key)
    if option is not None and isinstance(condition, tuple) and all(option.problem(value) for value in condition):
        return f"{key}: this operation never has the value {condition}"
    return None


def _meeting(shape: Shape, key: str, condition: Any) -> dict[str, Any]:
    """Return fields for which a condition holds; empty where there are none."""
    head, _, tail = key.partition(".")
    if condition is False:
        return {head: {tail: None}} if head == "inputs" else {head: _NOTHING.get(head)}
    if condition is True:
        return _given(shape, key)
    option = _option(shape.spec, key)
    if isinstance(condition, tuple):
        fitting = [v for v in condition if option is None or option.problem(v) is None]
        value = fitting[0] if fitting else condition[0]
    else:
        value = getattr(condition, "min", None)
        if option is not None and value is not None and option.problem(value):
            value = option.nearest(value)
    return {} if head == "references" and tail else _field(key, value)


def _field(key: str, value: Any) -> dict[str, Any]:
    """Return the field that a condition names with a value; nothing for None."""
    head, _, tail = key.partition(".")
    return {} if value is None else {head: {tail: value}} if head in _EXTRAS else {key: value}


def _given(shape: Shape, key: str) -> dict[str, Any]:
    head, _, tail = key.partition(".")
    if head == "inputs":
        return input_fields(shape, key, 5)
    option = _option(shape.spec, key)
    if option is not None:
        return _field(key, (two_values(option) or (option.default,))[0])
    accepted = shape.spec.inputs.get(head)
    if isinstance(accepted, ReferencesRule):
        return {"references": references_for(accepted, 5, tail if tail in accepted.roles else None)}
    if isinstance(accepted, MaskRule):
        return {"mask": mask_for(accepted, None)}
    if isinstance(accepted, InputRule) and shape.operation != "continue_video":
        return {head: image_for(accepted, 5)}
    return {}


def _opposite(shape: Shape, key: str, condition: Any) -> dict[str, Any]:
    """Return fields for which a condition does not hold; empty where there are none."""
    if isinstance(condition, bool):
        return _meeting(shape, key, not condition)
    option = _option(shape.spec, key)
    if option is None:
        return {}
    values = [*getattr(option, "one_of", ()), *(two_values(option) or ()), getattr(option, "max", None)]
    fits = condition.__contains__ if isinstance(condition, tuple) else condition.takes
    return _field(key, next((v for v in values if v is not None and not fits(v)), None))


def _joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for part in parts:
        for name, value in part.items():
            out[name] = {**out[name], **value} if name in {*_EXTRAS, "inputs"} and isinstance(out.get(name), dict) else value
    return out


def breaking(shape: Shape, rule: Rule) -> Iterator[dict[str, Any]]:
    """Yield fields of requests that break a rule: one for each field that it forbids or requires."""
    when = [_meeting(shape, key, condition) for key, condition in rule.when.items()]
    for key, condition in rule.forbid.items():
        yield _joined([*when, _meeting(shape, key, condition)])
    for key, condition in rule.require.items():
        yield _joined([*when, _opposite(shape, key, condition)])


def _unclaimed_inputs(shape: Shape) -> dict[str, dict[str, Any]]:
    """Return fields for every input that the operation may have and this spec does not claim."""
    image = Image(data=picture(512, 512, 3))
    possible: dict[str, Any] = {
        "first_frame": image,
        "last_frame": image,
        "mask": mask_for(MaskRule(), source_of(minimal_fields(shape))),  # one of another size would be rejected for that
        "references": (Reference(image=image, role="style"),),
    }
    claimed = shape.spec.inputs
    if shape.spec.task:
        return {"other": {"inputs": {"other": image}}}
    named = {field.name for field in attrs.fields(KINDS[shape.operation])}
    found = {name: {name: value} for name, value in possible.items() if name in named and name not in claimed}
    mask = claimed.get("mask")
    if isinstance(mask, MaskRule):
        for mode in ("foreground", "background", "semantic"):
            if mode not in mask.modes:
                found[f"mask mode {mode}"] = {"mask": Mask(mode=mode, classes=(1,) if mode == "semantic" else ())}
    return found


def _own_video(backend: str, shape: Shape) -> Continuation:
    return Continuation(id=f"{backend}_vid_0123456789ab", backend=backend, model=shape.model.id, media="video")


def _valid_request(operation: Operation, shape: Shape, backend: str) -> Request:
    """Return a valid request for an operation that the model does not claim."""
    image = Image(data=picture(512, 512, 3))
    fields: Mapping[Operation, dict[str, Any]] = {
        "inpaint": {"source": image, "mask": Mask(image=Image(data=half_mask(512, 512)))},
        "edit_with_references": {"references": (Reference(image=image),)},
        "continue_video": {"continue_from": _own_video(backend, shape)},
        "transform": {"task": "no_such_task", "inputs": {"image": image}},
    }
    made: Request = KINDS[operation](prompt="a red fox in the snow", **fields.get(operation, {}))
    return made


@contextlib.contextmanager
def _without(module: str) -> Iterator[None]:
    """Make a module unimportable while the block runs, whether it is installed or not."""
    missing = object()
    before = sys.modules.get(module, missing)
    sys.modules[module] = None  # type: ignore[assignment]
    forget_plugins()  # the matrix is read as on a machine without the module
    try:
        yield
    finally:
        forget_plugins()
        del sys.modules[module]
        if before is not missing:
            sys.modules[module] = before  # type: ignore[assignment]


class RejectionRules(CaseMaker):
    """Unclaimed operations, inputs, options; rules between fields; retired models; models that require a library."""

    @rule("B04", decided_by_core=True)
    async def test_b04_unclaimed_input_is_rejected(self, case: Case, bench: Bench) -> None:
        """If this fails: the matrix claims an input by mistake; an absent input is unsupported."""
        for name, fields in _unclaimed_inputs(case.shape).items():
            error = await bench.refuses((UnsupportedInput, UnsupportedOperation), f"the {name} was not rejected", **fields)
            word = name.split()[0].rstrip("s").replace("_", " ")
            assert word in str(error), f"the error does not name the {name}: {error}"

    @rule("B04")
    def test_b04_unclaimed_operation_is_rejected(self) -> None:
        """If this fails: a model claims an operation by mistake."""
        for service in self.all_services():
            tried = set()
            for shape in shapes(self.matrix(service), self.today(service)):
                left_out = frozenset(KINDS) - set(shape.model.operations)  # "transform" stands for a task that no model has
                if left_out in tried:
                    continue
                tried.add(left_out)
                with self.bench(Case(service=service, shape=shape)) as bench:
                    run(self._refuses_operations(bench, shape, left_out))

    async def _refuses_operations(self, bench: Bench, shape: Shape, operations: Iterable[Operation]) -> None:
        async with bench.router() as router:
            for operation in operations:
                try:
                    plan = await bench.plan(router, _valid_request(operation, shape, self.backend))
                except (UnsupportedOperation, UnsupportedInput) as error:
                    assert error.charged == "no"
                else:
                    raise AssertionError(f"{shape.model.id} does not claim {operation}, but it was planned: {plan}")
        assert bench.submits() == 0

    @rule("B05", per="unclaimed_option", decided_by_core=True)
    async def test_b05_unclaimed_option_is_reported_and_rejected_by_strict(self, case: Case, bench: Bench) -> None:
        """If this fails: the core drops the option; check whether the matrix and the hook agree."""
        assert case.values is not None
        async with bench.router() as router:
            request = await bench.request(router, **{case.subject: case.values[0]})
            try:
                plan = await bench.plan(router, request)
            except RequestError:
                return  # outside the tolerance, or forbidden by a rule: not dropped silently
            reported = [a.field for a in plan.adjustments]
            assert case.subject in reported, f"{case.subject} is not claimed, but only {reported} are reported as adjusted"
            assert all(getattr(call.request, case.subject) is None for call in plan.calls)
            try:
                await bench.plan(router, request, policy=Policy(strict=True))
            except RequestError:
                return
            raise AssertionError(f"strict accepted {case.subject}, which is not claimed")

    @rule("B06", per="field_rule")
    async def test_b06_rule_between_fields_holds_in_the_plan(self, case: Case, bench: Bench) -> None:
        """If this fails: the rule names fields or values that the operation does not have, or cannot be kept."""
        (found,) = case.values or ()
        spec = case.shape.spec
        for key, condition in {**found.when, **found.forbid, **found.require}.items():
            assert (wrong := unknown_to(spec, key, condition)) is None, wrong
        async with bench.router() as router:
            view = router.instances[self.backend].view
            for changes in breaking(case.shape, found):
                try:
                    plan = await bench.plan(router, await bench.request(router, **changes))
                except RequestError as error:
                    assert error.charged == "no"
                    continue
                for call in plan.calls:
                    draft = Draft(asked=asked_fields(call.request), view=view, candidate=plan.chosen, spec=spec)
                    assert not broken(draft, found), f"{changes} was planned as {call.request}, against: {found.because}"
        assert bench.submits() == 0 or case.shape.operation == "continue_video"

    @rule("B07", decided_by_core=True)
    async def test_b07_undeclared_extra_parameter_is_rejected(self, case: Case, bench: Bench) -> None:
        """If this fails: the core rejects it; check whether the matrix declares the key by mistake."""
        undeclared = {case.shape.extras: {"no_such_parameter": 1}}
        error = await bench.refuses(InvalidRequest, "an undeclared parameter was not rejected", **undeclared)
        assert "no_such_parameter" in str(error)

    @rule("B08")
    def test_b08_retired_model_is_rejected_with_its_date(self) -> None:
        """If this fails: give the model its ``lifecycle``, with the date, its certainty and its source."""
        for service, model in self.dead_models():
            for operation, spec in model.operations.items():
                case = Case(service=service, shape=Shape(model=model, spec=spec))
                if operation == "continue_video":
                    continue
                with self.bench(case) as bench:
                    error = run(bench.refuses(ModelRetired, "the retired model was not rejected"))
                    assert str(model.lifecycle.retires) in str(error)

    @rule("B08")
    def test_b08_model_near_its_end_carries_a_warning(self) -> None:
        """If this fails: check ``lifecycle.retires`` of the model."""
        for service, model in self.ending_models():
            operation, spec = next(iter(model.operations.items()))
            if operation == "continue_video" or model.lifecycle.retires is None:
                continue
            case = Case(service=service, shape=Shape(model=model, spec=spec))
            with self.bench(case) as bench:
                bench.today = model.lifecycle.retires - datetime.timedelta(days=10)
                warnings = run(self._warnings(bench))
                assert any(str(model.lifecycle.retires) in warning.text for warning in warnings), f"{model.id}: {warnings}"

    async def _warnings(self, bench: Bench) -> tuple[Warning, ...]:
        async with bench.router() as router:
            return (await bench.plan(router, await bench.request(router))).warnings

    @rule("B08")
    def test_b08_lifecycle_date_has_a_source(self) -> None:
        """If this fails: add the source of the date."""
        for service in self.all_services():
            for model in self.matrix(service).models:
                if model.lifecycle.retires is not None:
                    assert model.lifecycle.source, f"{model.id}: retires {model.lifecycle.retires} without a source"

    @rule("B12", per="requirement")
    async def test_b12_missing_requirement_is_rejected_with_its_install_command(self, case: Case, bench: Bench) -> None:
        """If this fails: rely on the model's ``requires``; ``capabilities()`` must not depend on what is installed."""
        needs = case.shape.model.requires
        assert needs is not None
        otherwise = f"without {needs.module!r} the request was not rejected early"
        given: dict[str, Any] = {}
        if case.shape.operation == "continue_video" and "source" not in minimal_fields(case.shape):  # it need not exist
            given["continue_from"] = _own_video(self.backend, case.shape)
        with _without(needs.module):
            error = await bench.refuses(NoBackendAvailable, otherwise, **given)
        assert needs.install in error.fix, f"the error does not give the command {needs.install!r}: {error}"

"""Rules about what a backend does not support or lacks: rejected or reported before any submit."""

from __future__ import annotations

import contextlib
import datetime
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs

from ..capabilities import InputRule, MaskRule, OperationSpec, Option, ReferencesRule, Rule
from ..errors import InvalidRequest, MediaError, ModelRetired, NoBackendAvailable, RequestError, UnsupportedInput, UnsupportedOperation
from ..fields import is_set
from ..media import Image
from ..policy import Policy
from ..requests import KINDS, Continuation, Mask, Operation, Reference, Request
from ..results import Warning
from .case_values import Shape, image_for, mask_for, minimal_fields, references_for, shapes, two_values
from .cases import Case, CaseMaker
from .harness import Bench, forget_plugins, run
from .rules import rule
from .samples import half_mask, picture

__all__ = [
    "RejectionRules",
    "RequirementRules",
    "breaking",
    "keeps",
    "unknown_to",
]

_CORE = frozenset({"prompt", "extra_params", "continue_as", "edit_mode", "audio_type", "protect", "continue_from"})
#: What "not given" is for a field, where it is not None.
_NOTHING: dict[str, Any] = {"references": (), "extra_params": {}}


def _option(row: OperationSpec, key: str) -> Option | None:
    head, _, tail = key.partition(".")
    return row.extra_params.get(tail) if head == "extra_params" else row.options.get(key)


def unknown_to(row: OperationSpec, key: str, condition: Any) -> str | None:
    """Say why a condition can never be met by this row's own fields, or None."""
    head, _, tail = key.partition(".")
    if head == "extra_params" and tail and tail not in row.extra_params:
        return f"{key} is no extra parameter of this row"
    taken = row.inputs.get("references")
    if head == "references" and tail and tail != "count" and not (isinstance(taken, ReferencesRule) and tail in taken.roles):
        return f"{key} is no role that this row takes"
    if head not in row.options and head not in row.inputs and head not in _CORE:
        return f"{key} is neither an option nor an input of this row"
    option = _option(row, key)
    if option is not None and isinstance(condition, tuple) and all(option.problem(value) for value in condition):
        return f"{key}: the row never has {condition}"
    return None


def _value(request: Request, key: str) -> Any:
    head, _, tail = key.partition(".")
    if head == "extra_params" and tail:
        return request.extra_params.get(tail)
    if head == "references" and tail:
        found = getattr(request, "references", ())
        return (len(found) if tail == "count" else sum(r.role == tail for r in found)) or None
    return getattr(request, key, None)


def _meets(request: Request, row: OperationSpec, key: str, condition: Any, *, default: bool) -> bool:
    value = _value(request, key)
    if isinstance(condition, bool):
        given = value is not None if "." in key else is_set(request, key)
        return given is condition
    if value is None and default:
        value = getattr(_option(row, key), "default", None)
    if value is None:
        return False
    return value in condition if isinstance(condition, tuple) else condition.problem(value) is None


def keeps(request: Request, row: OperationSpec, rule: Rule) -> bool:
    """Whether a planned request keeps a rule."""
    if not all(_meets(request, row, k, c, default=True) for k, c in rule.when.items()):
        return True
    forbidden = any(_meets(request, row, k, c, default=False) for k, c in rule.forbid.items())
    return not forbidden and all(_meets(request, row, k, c, default=True) for k, c in rule.require.items())


def _meeting(shape: Shape, key: str, condition: Any) -> dict[str, Any]:
    """Return fields with which a condition holds; empty where none can be made."""
    head, _, tail = key.partition(".")
    if condition is False:
        return {head: _NOTHING.get(head)}
    if condition is True:
        return _given(shape, key)
    option = _option(shape.row, key)
    if isinstance(condition, tuple):
        fitting = [v for v in condition if option is None or option.problem(v) is None]
        value = fitting[0] if fitting else condition[0]
    else:
        value = getattr(condition, "min", None)
        if option is not None and value is not None and option.problem(value):
            value = option.nearest(value)
    if value is None or (head == "references" and tail):
        return {}
    return {"extra_params": {tail: value}} if head == "extra_params" else {key: value}


def _given(shape: Shape, key: str) -> dict[str, Any]:
    head, _, tail = key.partition(".")
    option = _option(shape.row, key)
    if option is not None:
        pair = two_values(option)
        value = pair[0] if pair else getattr(option, "default", None)
        return {} if value is None else ({"extra_params": {tail: value}} if head == "extra_params" else {key: value})
    taken = shape.row.inputs.get(head)
    if isinstance(taken, ReferencesRule):
        return {"references": references_for(taken, 5, tail if tail in taken.roles else None)}
    if isinstance(taken, MaskRule):
        return {"mask": mask_for(taken, None)}
    if isinstance(taken, InputRule) and shape.operation != "continue_video":
        return {head: image_for(taken, 5)}
    return {}


def _opposite(shape: Shape, key: str, condition: Any) -> dict[str, Any]:
    """Return fields with which a condition does not hold; empty where none can be made."""
    if isinstance(condition, bool):
        return _meeting(shape, key, not condition)
    option = _option(shape.row, key)
    if option is None:
        return {}
    values = [*getattr(option, "one_of", ()), *(two_values(option) or ()), getattr(option, "max", None)]
    other = next((v for v in values if v is not None and not _fits(condition, v)), None)
    head, _, tail = key.partition(".")
    return {} if other is None else ({"extra_params": {tail: other}} if head == "extra_params" else {key: other})


def _fits(condition: Any, value: Any) -> bool:
    return value in condition if isinstance(condition, tuple) else condition.problem(value) is None


def _joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for part in parts:
        for name, value in part.items():
            out[name] = {**out[name], **value} if name == "extra_params" and isinstance(out.get(name), dict) else value
    return out


def breaking(shape: Shape, rule: Rule) -> Iterator[dict[str, Any]]:
    """Yield fields for requests that would break a rule: one for each thing it forbids or requires."""
    when = [_meeting(shape, key, condition) for key, condition in rule.when.items()]
    for key, condition in rule.forbid.items():
        yield _joined([*when, _meeting(shape, key, condition)])
    for key, condition in rule.require.items():
        yield _joined([*when, _opposite(shape, key, condition)])


def _source_size(shape: Shape) -> tuple[int, int]:
    """Return the pixels of the source that a minimal request has: a mask of another size would be refused for that."""
    fields = minimal_fields(shape)
    source = fields.get("source") or next((r.image for r in fields.get("references", ()) if r.role == "source"), None)
    if source is None or source.data is None:
        return 512, 512
    from ..probe.probe import sniff

    found = sniff(source.data)
    return found.width or 512, found.height or 512


def _strangers(shape: Shape) -> dict[str, dict[str, Any]]:
    """Return fields for every input that an operation could have and this row does not claim."""
    image = Image(data=picture(512, 512, 3))
    possible: dict[str, Any] = {
        "first_frame": image,
        "last_frame": image,
        "mask": Mask(image=Image(data=half_mask(*_source_size(shape)))),
        "references": (Reference(image=image, role="style"),),
    }
    claimed = shape.row.inputs
    named = {field.name for field in attrs.fields(KINDS[shape.operation])}
    found = {name: {name: value} for name, value in possible.items() if name in named and name not in claimed}
    mask = claimed.get("mask")
    if isinstance(mask, MaskRule):
        for mode in ("foreground", "background", "semantic"):
            if mode not in mask.modes:
                found[f"mask mode {mode}"] = {"mask": Mask(mode=mode, classes=(1,) if mode == "semantic" else ())}
    return found


def _any_request(operation: Operation, shape: Shape, backend: str) -> Request:
    """Return a request that is whole, for an operation of which a row says nothing."""
    image = Image(data=picture(512, 512, 3))
    handle = Continuation(id="own_vid_0123456789ab", backend=backend, model=shape.model.id, media="video")
    fields: Mapping[Operation, dict[str, Any]] = {
        "inpaint": {"source": image, "mask": Mask(image=Image(data=half_mask(512, 512)))},
        "edit_with_references": {"references": (Reference(image=image),)},
        "continue_video": {"continue_from": handle},
    }
    made: Request = KINDS[operation](prompt="a red fox in the snow", **fields.get(operation, {}))
    return made


class RejectionRules(CaseMaker):
    """Unclaimed operations, inputs, options; rules between fields; retired models."""

    def _refused(self, bench: Bench, case: Case, expected: tuple[type[MediaError], ...], **changes: Any) -> MediaError:
        """Ask for something that must be refused, and see that nothing was sent."""

        async def go() -> MediaError:
            async with bench.router() as router:
                request = await bench.request(router, case.shape, self.maker(case), **changes)
                before = bench.submits()
                policy = Policy(preview=True)
                try:
                    plan = router.plan(request, backend=self.backend, model=case.shape.model.id, policy=policy)
                except expected as error:
                    assert bench.submits() == before
                    assert error.charged == "no"
                    return error
                raise AssertionError(f"it was planned: {plan}")

        return run(go())

    @rule("B04", kept_by_the_core=True)
    def test_b04_what_is_not_claimed_is_refused(self, case: Case) -> None:
        """If this fails: the row claims an input that it does not mean to; absent means unsupported."""
        with self.bench(case) as bench:
            for name, fields in _strangers(case.shape).items():
                error = self._refused(bench, case, (UnsupportedInput, UnsupportedOperation), **fields)
                word = name.split()[0].rstrip("s").replace("_", " ")
                assert word in str(error), f"the refusal does not name the {name}: {error}"

    @rule("B04")
    def test_b04_an_operation_that_is_not_claimed_is_refused(self) -> None:
        """If this fails: a row claims an operation that it does not mean to."""
        for service in self.all_services():
            tried = set()
            for shape in shapes(self.matrix(service), self.today(service)):
                left_out = frozenset(KINDS) - set(shape.model.operations)
                if left_out in tried:
                    continue
                tried.add(left_out)
                with self.bench(Case(service=service, shape=shape)) as bench:
                    run(self._refuses_operations(bench, shape, left_out))

    async def _refuses_operations(self, bench: Bench, shape: Shape, operations: Iterable[Operation]) -> None:
        async with bench.router() as router:
            for operation in operations:
                try:
                    plan = router.plan(_any_request(operation, shape, self.backend), backend=self.backend, model=shape.model.id)
                except (UnsupportedOperation, UnsupportedInput) as error:
                    assert error.charged == "no"
                else:
                    raise AssertionError(f"{shape.model.id} does not claim {operation}, and it was planned: {plan}")
        assert bench.submits() == 0

    @rule("B05", kept_by_the_core=True)
    def test_b05_each_foreign_option_is_reported_and_strict_refuses_it(self, case: Case) -> None:
        """If this fails: the core leaves it out; look whether the matrix and the hook agree."""
        assert case.pair is not None
        with self.bench(case) as bench:

            async def go() -> None:
                async with bench.router() as router:
                    request = await bench.request(router, case.shape, self.maker(case), **{case.what: case.pair[0]})  # type: ignore[index]
                    try:
                        plan = router.plan(request, backend=self.backend, model=case.shape.model.id)
                    except RequestError:
                        return  # out of the tolerance, or a rule of the row: nothing is dropped in silence
                    said = [a.field for a in plan.adjustments]
                    assert case.what in said, f"{case.what} is not claimed, and what was adjusted is {said}"
                    assert all(getattr(call.request, case.what) is None for call in plan.calls)
                    try:
                        router.plan(request, backend=self.backend, model=case.shape.model.id, policy=Policy(strict=True))
                    except RequestError:
                        return
                    raise AssertionError("strict let it pass")

            run(go())

    @rule("B06")
    def test_b06_each_rule_between_fields_holds_in_what_is_planned(self, case: Case) -> None:
        """If this fails: the rule names fields or values that the row's own options do not have, or cannot be kept."""
        found = case.rule
        assert found is not None
        row = case.shape.row
        for key, condition in {**found.when, **found.forbid, **found.require}.items():
            assert (wrong := unknown_to(row, key, condition)) is None, wrong
        with self.bench(case) as bench:

            async def go() -> None:
                async with bench.router() as router:
                    for changes in breaking(case.shape, found):
                        try:
                            request = await bench.request(router, case.shape, self.maker(case), **changes)
                            plan = router.plan(request, backend=self.backend, model=case.shape.model.id, policy=Policy(preview=True))
                        except RequestError as error:
                            assert error.charged == "no"
                            continue
                        for call in plan.calls:
                            assert keeps(call.request, row, found), f"{changes} was planned as {call.request}, against: {found.because}"

            run(go())
            assert bench.submits() == 0 or case.shape.operation == "continue_video"

    @rule("B07", kept_by_the_core=True)
    def test_b07_an_undeclared_extra_parameter_is_refused(self, case: Case) -> None:
        """If this fails: the core refuses it; look whether the row declares a key by accident."""
        with self.bench(case) as bench:
            error = self._refused(bench, case, (InvalidRequest,), extra_params={"no_such_parameter": 1})
            assert "no_such_parameter" in str(error)

    @rule("B08")
    def test_b08_retired_models_are_refused_with_their_date(self) -> None:
        """If this fails: give the row its ``lifecycle``, with the date, its certainty and its source."""
        for service, model in self.dead_models():
            for operation, row in model.operations.items():
                case = Case(service=service, shape=Shape(model=model, row=row))
                if operation == "continue_video":
                    continue
                with self.bench(case) as bench:
                    error = self._refused(bench, case, (ModelRetired,))
                    assert str(model.lifecycle.retires) in str(error)

    @rule("B08")
    def test_b08_models_near_their_end_carry_a_warning(self) -> None:
        """If this fails: the matrix says otherwise than the date; look at ``lifecycle.retires``."""
        for service, model in self.ending_models():
            operation, row = next(iter(model.operations.items()))
            if operation == "continue_video" or model.lifecycle.retires is None:
                continue
            case = Case(service=service, shape=Shape(model=model, row=row))
            with self.bench(case) as bench:
                bench.today = model.lifecycle.retires - datetime.timedelta(days=10)
                warnings = run(self._warnings(bench, case))
                assert any(str(model.lifecycle.retires) in warning.text for warning in warnings), f"{model.id}: {warnings}"

    async def _warnings(self, bench: Bench, case: Case) -> tuple[Warning, ...]:
        async with bench.router() as router:
            request = await bench.request(router, case.shape, self.maker(case))
            return router.plan(request, backend=self.backend, model=case.shape.model.id, policy=Policy(preview=True)).warnings

    @rule("B08")
    def test_b08_every_lifecycle_date_has_a_source(self) -> None:
        """If this fails: write down where the date was read."""
        for service in self.all_services():
            for model in self.matrix(service).models:
                if model.lifecycle.retires is not None:
                    assert model.lifecycle.source, f"{model.id}: retires {model.lifecycle.retires} without a source"


@contextlib.contextmanager
def _without(module: str) -> Iterator[None]:
    """Have Python say for as long as the block runs that a module is not to be had, whether it is or not."""
    nothing = object()
    before = sys.modules.get(module, nothing)
    sys.modules[module] = None  # type: ignore[assignment]
    forget_plugins()  # the matrix is read as on such a machine
    try:
        yield
    finally:
        forget_plugins()
        del sys.modules[module]
        if before is not nothing:
            sys.modules[module] = before  # type: ignore[assignment]


class RequirementRules(CaseMaker):
    """Each row that requires a library, as on a machine that has none."""

    @rule("B12")
    def test_b12_each_requirement_is_asked_for_before_anything_is_sent(self, case: Case) -> None:
        """If this fails: leave it to the row's ``requires``; ``capabilities()`` is the same whether that is installed or not."""
        needs = case.shape.model.requires
        assert needs is not None
        with self.bench(case) as bench, _without(needs.module):
            error = run(self._ended(bench, case))
        ended = "was made" if error is None else f"ended with {type(error).__name__}: {error}"
        assert isinstance(error, NoBackendAvailable), f"without {needs.module!r} it was not refused beforehand, but {ended}"
        assert bench.submits() == 0, "it was sent"
        assert error.charged == "no"
        assert needs.install in error.fix, f"the command {needs.install!r} is not told: {error}"

    async def _ended(self, bench: Bench, case: Case) -> MediaError | None:
        """Ask for what the row makes; return how that failed, or None where it was made."""
        async with bench.router() as router:
            try:
                await bench.execute(router, self._asked(case), case.shape)
            except MediaError as error:
                return error
        return None

    def _asked(self, case: Case) -> Request:
        """Return a request that is whole; what it would go on from need not have been made by anybody."""
        shape = case.shape
        fields = minimal_fields(shape)
        if shape.operation == "continue_video" and "source" not in fields:
            handle = f"{self.backend}_vid_0123456789ab"
            fields["continue_from"] = Continuation(id=handle, backend=self.backend, model=shape.model.id, media="video")
        made: Request = KINDS[shape.operation](**fields)
        return made

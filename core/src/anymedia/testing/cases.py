"""The rules by their public ids (never reused for another rule), and the cases that each rule is tested with."""

from __future__ import annotations

import contextlib
import datetime
import functools
import inspect
import shutil
import tempfile
import weakref
from asyncio import run
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import attrs

from ..capabilities import CapabilityMatrix, Choice, ContinueRule, MaskRule, ModelSpec
from ..capabilities.matrix_cache import snapshot_document, write_snapshot
from ..requests import KINDS, Operation
from .case_values import (
    Shape,
    foreign_options,
    input_names,
    is_available,
    is_complete,
    large_inputs,
    option_values,
    reference_parts,
    shapes,
    two_values,
    with_distinct_references,
)
from .fakes import FLOODS, REDIRECTS, SCENARIOS, FakeService, Scenario, Wire
from .harness import Bench, cut_matrix, environment, loaded_registry, redirect_target, returns

_T = TypeVar("_T")

#: Rule id -> what it requires.
RULES: dict[str, str] = {
    "A01": "the plugin loads through its entry point, as a module, under one name",
    "A02": "loading the plugin and reading its matrix imports no SDK",
    "A03": "every hook has the signature of its specification and is async where that is",
    "A04": "reading the matrix is pure: no socket, no key, equal on each call",
    "A05": "every operation that the matrix claims is implemented, and every job can be checked",
    "A06": "no rule and no scenario is left out, overridden or skipped: a gap is declared, with its reason",
    "B01": "every claimed operation returns media that an independent decoder accepts, with one submit",
    "B02": "every claimed option reaches the wire: each value makes a different submit, and the media match it",
    "B03": "every claimed input reaches the wire, the last of several too, with its role, type and description",
    "B04": "every operation and input that is not claimed is rejected before any submit",
    "B05": "every option that is not claimed is reported, and rejected by strict",
    "B06": "every rule between fields holds in what is sent",
    "B07": "an undeclared extra parameter is rejected, and each declared one reaches the wire",
    "B08": "a retired model is rejected with its date; one near its end carries a warning",
    "B09": "each image and each video has a new continuation id, and continuing from it works",
    "B10": "a mask reaches the wire in the format that the matrix declares, and only the masked region is edited",
    "B11": "a prompt of the maximum length arrives whole; a longer one is rejected before any submit",
    "B12": "a model whose requirement is not installed is rejected before any submit, with the command that installs it",
    "B13": "a large file arrives whole, by whichever way the service takes large ones",
    "C01": "each failure of the service raises its own error, which says whether it may be charged and how long to wait",
    "C02": "whatever fails, there is at most one submit, unless it was certainly refused or not delivered",
    "C03": "no key and no signed URL appears in any error, its causes, a log, a stream, a note, a record, a file or a result",
    "C04": "another process can resume a running job from its stored handle alone",
    "C05": "a cancelled call propagates the cancellation and leaves a record of what is known; a job can be cancelled, and has then ended",
    "C06": "a continuation of another backend is rejected before any submit",
    "C07": "the backend connects to the hosts of the scenario only",
    "C08": "an exceeded deadline reports what is known: the job's id, and whether it may be charged",
    "C09": "looking up a submit finds exactly that one or nothing",
    "C10": "a job that a status check does not find is checked again; one that is never found ends after a bounded number of checks",
    "C11": "a submit follows no redirect: it is sent once, and neither the key nor the inputs reach the redirect's target",
    "C12": "an answer has a size: one that never ends, or unpacks to far more than it is, is cut off",
    "C13": "no hook blocks the event loop: it connects, sleeps, waits and computes elsewhere",
    "C14": "media in an answer are delivered, however they are spelled and whatever type the answer claims",
    "C15": "the provider's own words arrive in provider_message, whatever envelope they come in, and never in fix",
    "C16": "media with bytes after their end or the sizes of a stream are delivered; what cannot be read is kept",
    "C17": "the list of models is read and can be merged; a service that does not answer is an error, not a list",
    "L01": "with real keys (--anymedia-live), each operation works once, within the budget",
}

#: Ways to spell the media in an answer, or their type.
SPELLINGS = (
    "data_url", "url_safe_unpadded_lines", "crlf_lines", "unpadded", "url_safe", "data_url_with_charset", "head_without_scheme",
    "percent_encoded", "joined_parts", "no_mime", "generic_mime", "wrong_mime",
)  # fmt: skip
#: Shapes of an answer that is an error.
ENVELOPES = (
    "detail_list", "error_object", "error_text", "error_code_and_message", "message", "detail", "errors", "error_texts", "errors_by_field",
    "problem", "name_and_message", "list", "json_in_text", "wrapped_by_a_gateway", "plain_text", "html", "xml", "event_stream",
    "object_in_200", "text_in_200",
)  # fmt: skip
#: What may be wrong with media that arrive.
DAMAGES = ("line_break", "zeros", "text", "streamed_zero", "streamed_open", "cut")
_OF_ANSWERS: Mapping[str, tuple[str, ...]] = {"spelling": SPELLINGS, "envelope": ENVELOPES, "damage": DAMAGES}


def rule(rule_id: str, *, per: str = "shape", decided_by_core: bool = False, scenario: Scenario = "success") -> Callable[[_T], _T]:
    """Mark a test as one for a rule.

    A test of a case that is asynchronous is called with the case's `Bench`, which is open over the wire of its scenario.

    Args:
        rule_id: the rule.
        per: what the test is repeated for, see `CASES`, if it has the argument ``case``.
        decided_by_core: the core decides the outcome before it reaches the plugin.
        scenario: what the wire of an asynchronous test plays, unless the subject of the case says it.
    """
    assert rule_id in RULES
    assert per in CASES
    played = frozenset(CASES[per].names) & frozenset(SCENARIOS)

    def mark(function: Any) -> Any:
        test = _with_bench(function, scenario, played) if inspect.iscoroutinefunction(function) else function
        vars(test).update(__anymedia_rule__=rule_id, __anymedia_per__=per, __anymedia_core__=decided_by_core)
        return test

    return mark


def _with_bench(function: Callable[..., Any], scenario: Scenario, played: frozenset[str]) -> Callable[..., None]:
    """Return the test of a case that runs a coroutine function with the bench of the case."""

    def test(self: CaseMaker, case: Case) -> None:
        with self.bench(case, case.subject if case.subject in played else scenario) as bench:  # type: ignore[arg-type]
            run(function(self, case, bench))

    functools.update_wrapper(test, function)
    del test.__wrapped__  # type: ignore[attr-defined]  # pytest would take its arguments for fixtures
    return test


def rule_of(test: Any) -> str | None:
    """Return the id of a test function's rule, or None."""
    return getattr(test, "__anymedia_rule__", None)


def _per_of(test: Any) -> str:
    """Return what a test function is repeated for; an author's own test with the argument ``case`` has no rule."""
    found: str = getattr(test, "__anymedia_per__", "shape")
    return found


def known_gap(rule_id: str, reason: str, *, case: str = "*") -> Callable[[type], type]:
    """Declare that a backend does not keep a rule, and why: the only way to leave one out.

    The rule's tests still run and are expected to fail; the closing table shows the gap with its reason.

    Args:
        rule_id: the rule.
        reason: why the backend does not keep it.
        case: a pattern for the cases that are meant, by their ids in the output of pytest: ``*-quota`` for a scenario that the service
            does not have, ``*model-id-inpaint*`` for a spec.

    Raises:
        ValueError: for an unknown rule or an empty reason.
    """
    if rule_id not in RULES:
        raise ValueError(f"unknown rule {rule_id!r}")
    if not reason.strip():
        raise ValueError("a known gap needs a reason")

    def mark(cls: type) -> type:
        gaps: Mapping[tuple[str, str], str] = getattr(cls, "known_gaps", {})
        cls.known_gaps = {**gaps, (rule_id, case): reason}  # type: ignore[attr-defined]
        return cls

    return mark


@attrs.frozen(kw_only=True)
class Case:
    """One thing to test.

    Attributes:
        service: the service of the backend.
        shape: the operation spec, with a model that has it.
        subject: the option, input, part, rule between fields or scenario that is tested.
        values: two or more values of it, or the rule; none of an input, whose files are made by the test.
    """

    service: str
    shape: Shape
    subject: str = ""
    values: tuple[Any, ...] | None = None

    def __str__(self) -> str:
        parts = [self.service, self.shape.model.id, self.shape.spec.name, self.subject]
        return "-".join(p.replace("/", ".") for p in parts if p)


#: Scenarios in which the submit does not fail, or that have rules for themselves.
_NOT_FAILURES = frozenset({"success", "slow", "unseen", "forgotten", *FLOODS, *REDIRECTS})
#: Options that decide what is made, not how: other rules cover them.
_COVERED_SEPARATELY = frozenset({"n", "edit_mode", "audio_type"})


def _continues(shape: Shape) -> bool:
    return isinstance(shape.spec.inputs.get("continue_from"), ContinueRule)


def _takes_mask_image(shape: Shape) -> bool:
    mask = shape.spec.inputs.get("mask")
    return isinstance(mask, MaskRule) and "user_provided" in mask.modes


def _starts_something(shape: Shape) -> bool:
    return shape.operation != "continue_video"


#: The (subject, values) of the cases of a shape.
_Subjects = Iterator[tuple[str, tuple[Any, ...] | None]]


def _whole(shape: Shape) -> _Subjects:
    yield "", None


@attrs.frozen(kw_only=True)
class Per:
    """What a test is repeated for.

    Attributes:
        applies: whether it applies to a shape.
        once: the key that it is run once for; None where it is run for each shape.
        subjects: the cases of a shape.
        names: the subjects, where they do not depend on the shape; of scenarios those that the wire plays.
        needs_http: whether the shape must be requested over HTTP.
        of_one_loop: other tests show that each option and input arrives; this covers values and parts, which one loop of a hook sends.
        of_service: it does not depend on the hook in most backends: how an answer is received, a file is sent, a value is looked up.
    """

    applies: Callable[[Shape], bool] = lambda shape: True
    once: Callable[[Shape], Any] = lambda shape: None
    subjects: Callable[[Shape], _Subjects] = _whole
    names: tuple[str, ...] = ()
    needs_http: bool = False
    of_one_loop: bool = False
    of_service: bool = False


def _by_operation(shape: Shape) -> Any:
    return shape.operation


def _named(names: Callable[[Shape], Iterator[str]]) -> Callable[[Shape], _Subjects]:
    return lambda shape: ((name, ()) for name in names(shape))


def _takes_two(shape: Shape) -> bool:
    count = shape.spec.options.get("n")
    return count is not None and count.problem(2) is None


def _options(shape: Shape) -> _Subjects:
    for name, option in shape.spec.options.items():
        if name not in _COVERED_SEPARATELY and (values := option_values(name, option)):
            yield name, values


def _choices(shape: Shape) -> _Subjects:
    every = {**shape.spec.options, **{f"{shape.extras}.{name}": option for name, option in shape.spec.extra_params.items()}}
    for name, option in every.items():
        if isinstance(option, Choice) and not option.fixed and len(option.one_of) > 2 and name not in _COVERED_SEPARATELY:
            yield name, option.one_of


def _extra_parameters(shape: Shape) -> _Subjects:
    yield from ((name, values) for name, option in shape.spec.extra_params.items() if (values := two_values(option)))


#: What a test may be repeated for: each distinct operation spec of the matrix (``shape``), those of some kind, or what a spec names.
CASES: Mapping[str, Per] = {
    "shape": Per(),
    "visual": Per(applies=lambda shape: shape.media in {"image", "video"}),
    "video": Per(applies=lambda shape: shape.media == "video" and not shape.spec.task),
    "continuation": Per(applies=_continues),
    "continuable": Per(applies=lambda shape: any(f.name == "continue_from" for f in attrs.fields(KINDS[shape.operation]))),
    "mask": Per(applies=_takes_mask_image),
    "prompt_limit": Per(applies=lambda shape: bool(shape.spec.prompt.max_chars)),
    "operation": Per(applies=_starts_something, once=_by_operation),
    "job": Per(applies=_starts_something),
    "requirement": Per(),
    "several": Per(applies=_takes_two),
    "service": Per(once=lambda shape: ""),
    "option": Per(subjects=_options),
    "choice": Per(subjects=_choices, of_one_loop=True, of_service=True),
    "input": Per(subjects=_named(input_names)),
    # how a file is sent depends on the endpoint
    "large_input": Per(subjects=_named(large_inputs), once=lambda shape: shape.spec.name, of_one_loop=True, of_service=True),
    "reference_part": Per(subjects=lambda shape: ((name, (one, two)) for name, one, two in reference_parts(shape)), of_one_loop=True),
    "extra_parameter": Per(subjects=_extra_parameters, of_one_loop=True),
    "unclaimed_option": Per(subjects=lambda shape: ((name, (value, value)) for name, value in foreign_options(shape))),
    "field_rule": Per(subjects=lambda shape: ((f"rule{i}", (found,)) for i, found in enumerate(shape.spec.rules)), of_one_loop=True),
    "submit_failure": Per(
        applies=_starts_something,
        # how a service fails depends on the endpoint, not on the rest of the spec
        once=lambda shape: (shape.operation, repr(shape.spec.wire), repr(shape.model.wire)),
        names=tuple(scenario for scenario in SCENARIOS if scenario not in _NOT_FAILURES),
    ),
    "redirect": Per(applies=_starts_something, once=_by_operation, names=REDIRECTS, needs_http=True, of_service=True),
    "flood": Per(applies=_starts_something, once=_by_operation, names=FLOODS, of_service=True),
    **{name: Per(applies=_starts_something, once=_by_operation, names=names, needs_http=True) for name, names in _OF_ANSWERS.items()},
}


def representatives(test: Any, cases: Sequence[Case], *, is_local: bool) -> Sequence[Case]:
    """Return the cases that are the first with a service, a hook, an option, an input or a scenario; B01 tests each task of a hook.

    One is enough for a test whose outcome the core decides before it reaches the plugin. A backend that works on this
    machine generates the media of each case, which is slow: B01 tests each of its operations, and each other test is
    run once.
    """
    name, first = _per_of(test), rule_of(test) == "B01"
    if getattr(test, "__anymedia_core__", False) or (is_local and not first) or name in _OF_ANSWERS:
        return cases[:1]
    chosen: list[Case] = []
    seen: set[tuple[str, str]] = set()
    if name == "choice":  # each value is a call: take the choices with the fewest
        cases = sorted(cases, key=lambda case: len(case.values or ()))
    for case in cases:
        hook = case.shape.spec.name if first else case.shape.operation
        keys = {("service", case.service)}
        keys |= set() if CASES[name].of_service else {("hook", hook)}
        keys |= set() if CASES[name].of_one_loop else {("subject", case.subject)}
        if keys - seen:
            chosen.append(case)
            seen |= keys
    return chosen


#: Test class -> its cache directory.
_CACHES: weakref.WeakKeyDictionary[type, str] = weakref.WeakKeyDictionary()
#: Discovering and reading all plugins for each of about a thousand cases would take longer than the cases.
_MATRICES: weakref.WeakKeyDictionary[type, dict[str, CapabilityMatrix]] = weakref.WeakKeyDictionary()


class CaseMaker:
    """Derives the cases of a backend from its own matrix."""

    backend: ClassVar[str] = ""
    services: ClassVar[tuple[str, ...]] = ()
    scenarios: ClassVar[tuple[Scenario, ...]] = SCENARIOS
    not_http: ClassVar[tuple[Operation, ...]] = ()
    refused_in_status: ClassVar[tuple[Operation, ...]] = ()
    listed: ClassVar[bool] = False
    #: The target of `redirected` and `moved`; the kit sets it while their wire runs.
    redirect_to: str = ""

    @contextlib.contextmanager
    def wire(self, scenario: Scenario, service: str) -> Iterator[Wire]:
        """Run a fake of the service for a scenario.

        Args:
            scenario: how the fake behaves, see `MEANINGS`.
            service: the service of the backend.
        """
        raise NotImplementedError("override wire()")
        yield

    def matrix(self, service: str) -> CapabilityMatrix:
        """Return the matrix as an instance of a service sees it."""
        with environment({"ANYMEDIA_CACHE": self.cache()}, ()):
            return cut_matrix(self.backend, service)

    def cache(self) -> str:
        """Return the cache directory of this class: empty, or with the snapshot of what ``list_models`` describes (``listed``)."""
        cls = type(self)
        if cls not in _CACHES:
            _CACHES[cls] = tempfile.mkdtemp(prefix="anymedia-kit-")
            weakref.finalize(cls, shutil.rmtree, _CACHES[cls], True)
            if self.listed:
                self._take_snapshot()
        return _CACHES[cls]

    def _take_snapshot(self) -> None:
        shipped, service = cut_matrix(self.backend, ""), (self.services or ("",))[0]
        own: Any = {"shape": None, "find": None}  # it makes nothing
        with self.wire("success", service) as wire, Bench.over(self.backend, service, wire, shipped, self.cache(), **own) as bench:
            document = snapshot_document(run(bench.listed()), bench.today)
            write_snapshot(self.backend, document, shipped, loaded_registry().plugins[self.backend].hooks)

    def _matrix(self, service: str) -> CapabilityMatrix:
        """Return `matrix`, read once for each test class."""
        cached = _MATRICES.setdefault(type(self), {})
        if service not in cached:
            cached[service] = self.matrix(service)
        return cached[service]

    def all_services(self) -> tuple[str, ...]:
        """Return the services to test: by default all of the plugin, of which an instance has one."""
        return self.services or loaded_registry().capabilities(self.backend).services or ("",)

    def today(self, service: str) -> datetime.date:
        """Return the day the matrix was checked, so that the tests do not depend on the calendar."""
        return self._matrix(service).checked or datetime.date(2026, 1, 1)

    @contextlib.contextmanager
    def bench(self, case: Case, scenario: Scenario = "success") -> Iterator[Bench]:
        """Set up a router over the wire of a case."""
        with contextlib.ExitStack() as opened:
            target = opened.enter_context(redirect_target("success")) if scenario in REDIRECTS else None
            self.redirect_to = "" if target is None else target.url
            wire = opened.enter_context(self.wire(scenario, case.service))
            yield opened.enter_context(self.over(case, wire, target))

    def over(self, case: Case, wire: Wire, target: FakeService | None = None) -> contextlib.AbstractContextManager[Bench]:
        """Set up a router over a wire that is open."""
        matrix = self._matrix(case.service)
        return Bench.over(self.backend, case.service, wire, matrix, self.cache(), target, shape=case.shape, find=self._find)

    def _find(self, service: str, continued_by: ModelSpec) -> Shape | None:
        """Return the shape which makes what a model can continue."""
        operation: Operation = "generate_video" if continued_by.media == "video" else "generate_image"
        for model in self._matrix(service).models:
            is_one = continued_by.id in (model.continues_with or (model.id,)) and operation in model.operations
            if is_one and is_available(model, self.today(service)) and is_complete(model):
                return Shape(model=model, spec=model.operations[operation])
        return None

    def cases(self, test: Any) -> Iterator[Case]:
        """Yield the cases of a test function."""
        name = _per_of(test)
        for service in self.all_services():
            if name == "requirement":
                yield from (Case(service=service, shape=shape) for shape in self._requiring(service))
                continue
            done: set[Any] = set()
            found = shapes(self._matrix(service), self.today(service))
            for shape in with_distinct_references(found) if name == "reference_part" else found:
                once = CASES[name].once(shape)
                if once in done or not self._applies(name, service, shape):
                    continue
                played = [(one, None) for one in CASES[name].names if one in self.scenarios or one not in SCENARIOS]
                subjects = played if CASES[name].names else list(CASES[name].subjects(shape))
                done |= {once} if subjects and once is not None else set()
                yield from (Case(service=service, shape=shape, subject=subject, values=values) for subject, values in subjects)

    def _applies(self, name: str, service: str, shape: Shape) -> bool:
        if shape.operation == "continue_video" and _continues(shape) and self._find(service, shape.model) is None:
            return False
        if name == "job" and not self._can_lose_job(shape):
            return False
        is_sent = not CASES[name].needs_http or (self.scenarios != ("success",) and shape.operation not in self.not_http)
        return is_sent and CASES[name].applies(shape)

    def _can_lose_job(self, shape: Shape) -> bool:
        """Whether a shape may start a job, at a service whose wire can lose one."""
        checks = "check_job" in loaded_registry().plugins[self.backend].hooks and returns(self.backend, shape.operation) != "Outcome"
        return checks and {"unseen", "forgotten"} <= set(self.scenarios)

    def _requiring(self, service: str) -> Iterator[Shape]:
        """Yield a shape for each distinct spec of the models that require a library, installed here or not."""
        matrix = self._matrix(service)
        models = tuple(m for m in matrix.models if m.requires is not None and is_available(m, self.today(service)))
        return shapes(attrs.evolve(matrix, models=models), self.today(service), all_models=True)

    def untested(self) -> tuple[str, ...]:
        """Return which models can only be tested for their rejection, because what they require is not installed."""
        absent = [s for service in self.all_services() for s in self._requiring(service) if not is_complete(s.model)]
        lines = [
            f"{s.model.id} {s.operation}, which needs {n.module!r}, not installed here ({n.install})"
            for s in absent
            if (n := s.model.requires)
        ]
        return tuple(dict.fromkeys(lines))

    def dead_models(self) -> Sequence[tuple[str, ModelSpec]]:
        """Return (service, model) for every model that was retired by the day the matrix was checked."""
        return [(s, m) for s in self.all_services() for m in self._matrix(s).models if not is_available(m, self.today(s))]

    def ending_models(self) -> Sequence[tuple[str, ModelSpec]]:
        """Return (service, model) for every model that has an end date and may still be chosen here."""
        every = [(s, m) for s in self.all_services() for m in self._matrix(s).models if is_available(m, self.today(s)) and is_complete(m)]
        return [(s, m) for s, m in every if m.lifecycle.retires is not None]


def classes_of(backend: str) -> Iterator[type[CaseMaker]]:
    """Yield the test classes of a backend."""
    pending: list[type[CaseMaker]] = [CaseMaker]
    while pending:
        cls = pending.pop()
        pending += cls.__subclasses__()
        if cls.backend == backend:
            yield cls

"""What the rules are tried on: each service, each distinct row shape, each option, input and scenario."""

from __future__ import annotations

import contextlib
import datetime
import weakref
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import attrs

from ..capabilities import CapabilityMatrix, Choice, ContinueRule, MaskRule, ModelSpec, Rule
from ..requests import KINDS, Operation
from .case_values import (
    Shape,
    about_references,
    alive,
    foreign_options,
    inputs_of,
    is_complete,
    option_values,
    parts_of_references,
    shapes,
    two_values,
)
from .fake_service import REDIRECTS, SCENARIOS, Scenario, Wire
from .harness import Bench, RedirectTarget, cut_matrix, loaded_registry, returns
from .rules import is_kept_by_the_core, rule_of

__all__ = ["Case", "CaseMaker", "representatives"]


@attrs.frozen(kw_only=True)
class Case:
    """One thing to try: a shape of a service, and what of it."""

    service: str
    shape: Shape
    what: str = ""
    pair: tuple[Any, ...] | None = None
    rule: Rule | None = None

    def __str__(self) -> str:
        parts = [self.service, self.shape.model.id, self.shape.operation, self.what]
        return "-".join(p.replace("/", ".") for p in parts if p)


#: Scenarios that are no failure of the submit, or have a rule of their own.
_NO_FAILURES = frozenset({"success", "slow", "unseen", "forgotten", *REDIRECTS})
#: Options that decide what is made, not how: tried by rules of their own.
_OTHERWISE = frozenset({"n", "edit_mode", "audio_type"})


def _concerns(test: str, shape: Shape) -> bool:
    """Whether a test, by its name, is about such a shape at all."""
    mask, onward = (shape.row.inputs.get(name) for name in ("mask", "continue_from"))
    checks = {
        "_each_visual": shape.model.media != "audio",
        "_each_video": shape.model.media == "video",
        "_each_onward": isinstance(onward, ContinueRule),
        "_each_mask": isinstance(mask, MaskRule) and "user_provided" in mask.modes,
        "_each_limit": shape.row.prompt.max_chars is not None,
        "_each_job": shape.operation != "continue_video",
        "_each_kind": shape.operation != "continue_video",
        "_foreign_continuation": any(f.name == "continue_from" for f in attrs.fields(KINDS[shape.operation])),
    }
    return all(holds for word, holds in checks.items() if word in test)


def _once_for(test: str, shape: Shape) -> Any:
    """Return what a test, by its name, is tried on once; None where it is tried on each shape."""
    if "_each_kind" in test:
        return shape.operation
    if "_each_failure" in test:  # how a service fails depends on the endpoint, not on what else a row says
        return shape.operation, repr(shape.row.wire), repr(shape.model.wire)
    return None


def representatives(test: Any, cases: Sequence[Case], *, works_here: bool) -> Sequence[Case]:
    """Return the cases that try something first: a service, an operation, an option, an input or a scenario.

    One is enough for a test whose outcome the core decides before it reaches the plugin. A backend that works on this
    machine makes each case anew, which takes long: each of its operations is tried by B01, and each other test once.
    """
    if is_kept_by_the_core(test) or (works_here and rule_of(test) != "B01"):
        return cases[:1]
    chosen: list[Case] = []
    seen: set[tuple[str, str]] = set()
    # That each option and input arrives at all is tried by tests of their own: these go through its values and words.
    each_what = not any(word in test.__name__ for word in ("_each_choice", "_each_part", "_each_rule"))
    for case in cases:
        tries = {("service", case.service), ("operation", case.shape.operation)} | ({("what", case.what)} if each_what else set())
        if tries - seen:
            chosen.append(case)
            seen |= tries
    return chosen


#: Finding and reading all plugins anew for each of some thousand cases would take longer than the cases.
_MATRICES: weakref.WeakKeyDictionary[type, dict[str | None, CapabilityMatrix]] = weakref.WeakKeyDictionary()


class CaseMaker:
    """Makes the cases of a backend from its own matrix."""

    backend: ClassVar[str] = ""
    services: ClassVar[tuple[str, ...]] = ()
    scenarios: ClassVar[tuple[Scenario, ...]] = SCENARIOS
    not_http: ClassVar[tuple[Operation, ...]] = ()
    #: Where `redirected` and `moved` lead; the kit sets it for as long as their wire runs.
    elsewhere: str = ""

    @contextlib.contextmanager
    def wire(self, scenario: Scenario, service: str) -> Iterator[Wire]:
        """Run a fake of the service; overridden by the author."""
        raise NotImplementedError
        yield

    def matrix(self, service: str) -> CapabilityMatrix:
        """Return the matrix as an instance of a service sees it."""
        return cut_matrix(self.backend, service)

    def _matrix(self, service: str | None) -> CapabilityMatrix:
        """Return `matrix`, read once for each class of tests (None: as an instance of no named service sees it)."""
        kept = _MATRICES.setdefault(type(self), {})
        if service not in kept:
            kept[service] = cut_matrix(self.backend, "") if service is None else self.matrix(service)
        return kept[service]

    def all_services(self) -> tuple[str, ...]:
        """Return the services to try."""
        return self.services or self._matrix(None).services or ("",)

    def today(self, service: str) -> datetime.date:
        """Return the day the matrix was checked: the tests must not rot."""
        return self._matrix(service).checked or datetime.date(2026, 1, 1)

    @contextlib.contextmanager
    def bench(self, case: Case, scenario: Scenario = "success") -> Iterator[Bench]:
        """Set a router up over the wire of a case."""
        with contextlib.ExitStack() as opened:
            elsewhere = opened.enter_context(RedirectTarget()) if scenario in REDIRECTS else None
            self.elsewhere = "" if elsewhere is None else elsewhere.url
            wire = opened.enter_context(self.wire(scenario, case.service))
            over = Bench.over(self.backend, case.service, wire, self._matrix(case.service), elsewhere)
            yield opened.enter_context(over)

    def maker(self, case: Case) -> Any:
        """Return a function that finds the shape which makes what a model goes on from."""
        found = self._matrix(case.service)
        today = self.today(case.service)

        def find(model_id: str) -> Shape | None:
            operation = "generate_video" if case.shape.model.media == "video" else "generate_image"
            for model in found.models:
                onward = model.continues_with or (model.id,)
                if model_id in onward and operation in model.operations and alive(model, today) and is_complete(model):
                    return Shape(model=model, row=model.operations[operation])  # type: ignore[index]
            return None

        return find

    def cases(self, test: str) -> Iterator[Case]:
        """Yield the cases of a test, by what its name says it tries."""
        for service in self.all_services():
            matrix, today = self._matrix(service), self.today(service)
            done: set[Any] = set()
            if "_each_requirement" in test:
                yield from (Case(service=service, shape=shape) for shape in self._requiring(service))
                continue
            found = shapes(matrix, today)
            for shape in about_references(found) if "_each_part" in test else found:
                if shape.operation == "continue_video" and not self._can_begin(service, shape):
                    continue
                once = _once_for(test, shape)
                if not _concerns(test, shape) or once in done:
                    continue
                if "_each_job" in test and not self._can_miss(shape):
                    continue
                if once is not None:
                    done.add(once)
                yield from self._cases_of(test, service, shape)

    def _can_miss(self, shape: Shape) -> bool:
        """Whether what a shape starts may be a job, at a service that its wire can have lose one."""
        looks = "check_job" in loaded_registry().plugins[self.backend].hooks and returns(self.backend, shape.operation) != "Outcome"
        return looks and {"unseen", "forgotten"} <= set(self.scenarios)

    def _requiring(self, service: str) -> Iterator[Shape]:
        """Yield a shape for each distinct row of the models that require something, be it installed here or not."""
        matrix = self._matrix(service)
        models = tuple(m for m in matrix.models if m.requires is not None and alive(m, self.today(service)))
        return shapes(attrs.evolve(matrix, models=models), self.today(service), all_models=True)

    def untried(self) -> tuple[str, ...]:
        """Say of which rows nothing but the refusal can be tried here, because what they require is not installed."""
        absent = [s for service in self.all_services() for s in self._requiring(service) if not is_complete(s.model)]
        said = [
            f"{s.model.id} {s.operation}, which needs {n.module!r}, not installed here ({n.install})"
            for s in absent
            if (n := s.model.requires)
        ]
        return tuple(dict.fromkeys(said))

    def _can_begin(self, service: str, shape: Shape) -> bool:
        if not isinstance(shape.row.inputs.get("continue_from"), ContinueRule):
            return True
        return self.maker(Case(service=service, shape=shape))(shape.model.id) is not None

    def _cases_of(self, test: str, service: str, shape: Shape) -> Iterator[Case]:
        if "_each_option" in test:
            for name, option in shape.row.options.items():
                if name not in _OTHERWISE and (pair := option_values(name, option)):
                    yield Case(service=service, shape=shape, what=name, pair=pair)
        elif "_each_choice" in test:
            own = {**shape.row.options, **{f"extra_params.{name}": option for name, option in shape.row.extra_params.items()}}
            for name, option in own.items():
                if isinstance(option, Choice) and not option.fixed and len(option.one_of) > 2 and name not in _OTHERWISE:
                    yield Case(service=service, shape=shape, what=name, pair=option.one_of)
        elif "_each_several" in test:
            if (count := shape.row.options.get("n")) is not None and count.problem(2) is None:
                yield Case(service=service, shape=shape)
        elif "_each_part" in test:
            for name, one, two in parts_of_references(shape):
                yield Case(service=service, shape=shape, what=name, pair=(one, two))
        elif "_each_input" in test:
            second = dict(inputs_of(shape, 7))
            for name, fields in inputs_of(shape, 2):
                yield Case(service=service, shape=shape, what=name, pair=(fields, second[name]))
        elif "_each_extra" in test:
            for name, option in shape.row.extra_params.items():
                if pair := two_values(option):
                    yield Case(service=service, shape=shape, what=name, pair=pair)
        elif "_each_foreign_option" in test:
            for name, value in foreign_options(shape):
                yield Case(service=service, shape=shape, what=name, pair=(value, value))
        elif "_each_rule" in test:
            for index, found in enumerate(shape.row.rules):
                yield Case(service=service, shape=shape, what=f"rule{index}", rule=found)
        elif "_redirect" in test:
            for scenario in self.scenarios:
                if scenario in REDIRECTS and shape.operation not in self.not_http:
                    yield Case(service=service, shape=shape, what=scenario)
        elif "_each_failure" in test:
            for scenario in self.scenarios:
                if scenario not in _NO_FAILURES and shape.operation != "continue_video":
                    yield Case(service=service, shape=shape, what=scenario)
        else:
            yield Case(service=service, shape=shape)

    def dead_models(self) -> Sequence[tuple[str, ModelSpec]]:
        """Return (service, model) for every model that was shut down by the day the matrix was checked."""
        return [(s, m) for s in self.all_services() for m in self._matrix(s).models if not alive(m, self.today(s))]

    def ending_models(self) -> Sequence[tuple[str, ModelSpec]]:
        """Return (service, model) for every model that has an end and may still be chosen here."""
        every = [(s, m) for s in self.all_services() for m in self._matrix(s).models if alive(m, self.today(s)) and is_complete(m)]
        return [(s, m) for s, m in every if m.lifecycle.retires is not None]

"""Every rule of the kit is run against backends with one defect each: an undetected defect fails here."""

from __future__ import annotations

import contextlib
import importlib
import re
import runpy
import shutil
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kit.mutants import KEPT_BY_CORE, KEPT_BY_KIT, MUTANTS, REDACTED_BY_CORE, Mutant

from anymedia.testing import CANARY, RULES, BackendConformance, Wire
from anymedia.testing.cases import representatives, rule_of
from anymedia.testing.harness import forget_plugins

ROOT = Path(__file__).parents[2]
#: Small backends for one shape of an API each, with their fakes and test classes: the cookbook for authors.
SHAPES = {path.name: path for path in sorted((ROOT / "examples/shapes").iterdir()) if (path / f"test_{path.name}.py").exists()}
SOURCES = {
    **{name: path / f"{name}_media" for name, path in SHAPES.items()},
    "painter": ROOT / "examples/minimal_backend/src/painter_media",
    "reel": ROOT / "examples/video_backend/src/reel_media",
    "sketch": ROOT / "tests/kit/sketch_media",
}
FAKES = {
    "painter": (ROOT / "examples/minimal_backend/tests", "painter_fake", "PainterFake", "PAINTER_KEY"),
    "reel": (ROOT / "examples/video_backend/tests", "reel_fake", "ReelFake", "REEL_KEY"),
    "sketch": (ROOT / "tests/kit/fakes", "sketch_fake", "SketchFake", "SKETCH_KEY"),
}


def _forget(package: str) -> None:
    for name in [n for n in sys.modules if n.partition(".")[0] == package]:
        del sys.modules[name]
    importlib.invalidate_caches()


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return a function that installs a copy of a backend, with a defect or without, and returns its test class."""
    packages: list[str] = []

    def put(backend: str, mutant: Mutant | None = None) -> type[BackendConformance]:
        package = f"{backend}_media"
        shutil.copytree(SOURCES[backend], tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
        if mutant is not None:
            path = tmp_path / package / mutant.file
            text = path.read_text("utf-8")
            assert mutant.old in text, f"{mutant} no longer applies to {path.name}"
            text = text.replace(mutant.old, mutant.new, 1)
            for old, new in mutant.also:
                assert old in text, f"{mutant} no longer applies to {path.name}"
                text = text.replace(old, new, 1)
            path.write_text(text, "utf-8")
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {backend}-media\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[anymedia]\n{backend} = {package}.plugin\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        _forget(package)
        forget_plugins()
        packages.append(package)
        return _kit(backend, monkeypatch)

    yield put
    for package in packages:
        _forget(package)
    forget_plugins()


def _kit(backend: str, monkeypatch: pytest.MonkeyPatch) -> type[BackendConformance]:
    if backend in SHAPES:  # not by its folder, which holds the package without the defect
        found = runpy.run_path(str(SHAPES[backend] / f"test_{backend}.py"))
        shape: type[BackendConformance] = found[f"Test{backend.capitalize()}"]
        return shape
    folder, module, name, key = FAKES[backend]
    monkeypatch.syspath_prepend(str(folder))
    fake_class: Any = getattr(importlib.import_module(module), name)
    own = backend

    class Kit(BackendConformance):
        backend = own

        @contextlib.contextmanager
        def wire(self, scenario: Any, service: str) -> Iterator[Wire]:
            with fake_class(scenario, self.redirect_to) as fake:
                hidden = tuple(v for n, v in vars(importlib.import_module(module)).items() if n == "SIGNATURE")
                yield Wire(
                    base_url=fake.url,
                    environ={key: CANARY},
                    submits=lambda: len(fake.received),
                    sent=lambda: fake.received,
                    stops=lambda: getattr(fake, "stops", 0),
                    hosts=(fake.url.removeprefix("http://"),),
                    hidden=hidden,
                )
                fake.shutdown()

    return Kit


def _tests(kit: type[BackendConformance], rule: str) -> Iterator[tuple[str, Any]]:
    for name in dir(kit):
        if name.startswith("test_") and rule_of(getattr(kit, name)) == rule:
            yield name, getattr(kit(), name)


def _broken(kit: type[BackendConformance], rule: str, *, quick: bool = False) -> str | None:
    """Run a rule's tests, with the cases of the quick tier or with all; return the message of the first failure, or None."""
    for name, test in _tests(kit, rule):
        try:
            if "case" in test.__code__.co_varnames[: test.__code__.co_argcount]:
                cases = list(kit().cases(getattr(kit, name)))
                for case in representatives(test, cases, is_local=kit.scenarios == ("success",)) if quick else cases:
                    test(case)
            else:
                test()
        except BaseException as error:  # a broken backend may raise anything
            if isinstance(error, KeyboardInterrupt):
                raise
            return f"{type(error).__name__}: {error}"[:3000]
    return None


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


#: The quick suite runs the first mutant of each rule.
_FIRST = {mutant.rule: mutant for mutant in reversed(MUTANTS)}


def _exhaustive(quick: bool) -> Any:
    return () if quick else pytest.mark.exhaustive


@pytest.mark.parametrize("mutant", [pytest.param(m, id=str(m), marks=_exhaustive(_FIRST[m.rule] is m)) for m in MUTANTS])
def test_mutant_is_detected_by_its_rule(mutant: Mutant, install: Any, record_property: Any) -> None:
    record_property("mutant", mutant.rule)  # counted by the root conftest.py
    try:
        seen = _broken(install(mutant.backend, mutant), mutant.rule)
    except KeyError as error:  # a backend that cannot be loaded has no cases
        seen = f"not loaded: {error}"
    assert seen is not None, f"the mutant '{mutant.what}' survives {mutant.rule}: {RULES[mutant.rule]}"
    assert re.search(mutant.says, seen), f"the mutant '{mutant.what}' is detected for another reason: {seen}"


@pytest.mark.exhaustive
@pytest.mark.timeout(300)  # all rules, on a machine that may be busy
@pytest.mark.parametrize("mutant", [m for m in MUTANTS if m.alone], ids=str)
def test_mutant_that_one_rule_alone_detects_breaks_no_other_rule(mutant: Mutant, install: Any) -> None:
    kit = install(mutant.backend, mutant)
    wrong = {rule for rule in RULES if not rule.startswith("L") and _broken(kit, rule)}
    assert wrong == {mutant.rule}


@pytest.mark.parametrize("mutant", [pytest.param(m, id=str(m), marks=_exhaustive(i == 0)) for i, m in enumerate(REDACTED_BY_CORE)])
def test_key_in_text_that_the_core_redacts_breaks_no_rule(mutant: Mutant, install: Any) -> None:
    assert _broken(install(mutant.backend, mutant), mutant.rule) is None


@pytest.mark.timeout(300)
@pytest.mark.parametrize("backend", [pytest.param(name, marks=_exhaustive(name == "painter")) for name in SOURCES])
def test_backend_without_defects_breaks_no_rule(backend: str, install: Any) -> None:
    kit = install(backend)
    quick = backend == "painter"
    wrong = {rule: seen for rule in RULES if not rule.startswith("L") and (seen := _broken(kit, rule, quick=quick))}
    assert wrong == {}


@pytest.mark.parametrize("backend", SHAPES)
def test_backend_for_a_shape_of_an_api_stays_short(backend: str) -> None:
    assert len((SOURCES[backend] / "plugin.py").read_text("utf-8").splitlines()) <= 110


def test_every_rule_has_a_mutant_or_is_kept_by_the_core() -> None:
    assert {m.rule for m in MUTANTS} | KEPT_BY_CORE | KEPT_BY_KIT == set(RULES)
    assert not {m.rule for m in MUTANTS} & (KEPT_BY_CORE | KEPT_BY_KIT)


@pytest.mark.parametrize(
    ("backend", "declared", "message"),
    [("regional", (), "charged is 'unknown' instead of no"), ("painter", ("generate_image",), "but the wire refused the submit")],
)
def test_refusal_in_a_status_is_declared_where_it_is_one(backend: str, declared: tuple[str, ...], message: str, install: Any) -> None:
    kit = install(backend)

    class Declared(kit):  # type: ignore[misc, valid-type]
        refused_in_status = declared

    assert message in (_broken(Declared, "C01") or "")


@pytest.mark.parametrize(
    ("backend", "rule", "message"),
    [("painter", "C11", "the redirected scenario succeeded: does the wire play it"), ("reel", "C10", "does the wire play 'unseen'")],
)
def test_wire_that_plays_a_failure_as_success_breaks_its_rule(backend: str, rule: str, message: str, install: Any) -> None:
    kit = install(backend)

    class AlwaysSucceeding(kit):  # type: ignore[misc, valid-type]
        def wire(self, scenario: Any, service: str) -> Any:
            return super().wire("success", service)

    assert message in (_broken(AlwaysSucceeding, rule) or "")


def test_operation_in_not_http_has_no_redirect_cases_and_must_be_claimed(install: Any) -> None:
    kit = install("painter")

    class NotHttp(kit):  # type: ignore[misc, valid-type]
        not_http = ("generate_image",)

    class Unclaimed(kit):  # type: ignore[misc, valid-type]
        not_http = ("generate_video",)

    (name,) = [name for name, _ in _tests(kit, "C11")]
    assert (len(list(kit().cases(getattr(kit, name)))), list(NotHttp().cases(getattr(kit, name)))) == (2, [])
    assert _broken(NotHttp, "A06") is None
    assert "not_http names operations that the matrix does not claim: generate_video" in (_broken(Unclaimed, "A06") or "")


def test_removed_or_overridden_rule_fails_a06(install: Any) -> None:
    kit = install("painter")

    class Removing(kit):  # type: ignore[misc, valid-type]
        test_b02_option_reaches_the_wire = None

    class Overriding(kit):  # type: ignore[misc, valid-type]
        def test_b01_operation_returns_media_with_one_submit(self, case: Any) -> None:
            """Never fails."""

    assert "test_b02_option_reaches_the_wire" in (_broken(Removing, "A06") or "")
    assert "test_b01_operation" in (_broken(Overriding, "A06") or "")
    with pytest.raises(TypeError, match="belongs to the kit"):
        type("Unguarded", (kit,), {"test_a06_rules_are_not_removed_or_overridden": None})


def test_own_test_of_an_author_is_repeated_for_each_shape(install: Any) -> None:
    kit = install("painter")

    class Extended(kit):  # type: ignore[misc, valid-type]
        def test_own(self, case: Any) -> None:
            """An author's own test, which keeps no rule."""

    cases = list(Extended().cases(Extended.test_own))
    assert cases == list(kit().cases(kit.test_b01_operation_returns_media_with_one_submit))
    assert set(representatives(Extended.test_own, cases, is_local=False)) <= set(cases)


@pytest.mark.parametrize("backend", FAKES)
def test_server_of_a_fake_ends_its_thread_when_it_is_closed(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, module, name, _ = FAKES[backend]
    monkeypatch.syspath_prepend(str(folder))
    before = set(threading.enumerate())
    with getattr(importlib.import_module(module), name)("success"):
        started = set(threading.enumerate()) - before
    for thread in started:
        thread.join(30)
    assert started and not any(thread.is_alive() for thread in started)
    sys.modules.pop(module)

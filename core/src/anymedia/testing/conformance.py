"""The rules, as a class to subclass. Each test's first line is its rule; ``If this fails`` says what to do."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, ClassVar

from ..capabilities import CapabilityMatrix
from ..errors import MediaError, UnsupportedInput
from ..hookspecs import HOOKS
from ..requests import Continuation, Operation
from .cases import Case, representatives
from .failure_rules import FailureRules, RedirectRules
from .fake_service import CANARY, SCENARIOS, Scenario, Wire
from .guarding import socket_guard
from .harness import cut_matrix, environment, loaded_registry, returns, run
from .jobs import JobRules
from .live import LiveRules
from .operation_rules import ContinuationRules, EveryValueRules
from .rejection_rules import RejectionRules, RequirementRules
from .rules import rule

__all__ = ["BackendConformance"]


#: What the core imports itself, and a plugin may.
_LIGHT = frozenset({"anymedia", "attr", "attrs", "cattr", "cattrs", "click", "msgspec", "platformdirs", "pluggy", "typing_extensions"})
#: Prints what loading one backend and reading its matrix imports, the core's own modules aside.
_LOADED = """
import sys
from importlib.metadata import entry_points
from anymedia.plugins.registry import discover
before = set(sys.modules)
found = discover(entry_points=[p for p in entry_points(group="anymedia") if p.name == sys.argv[1]])
found.capabilities(sys.argv[1])
print("\\n".join(set(sys.modules) - before))
"""


class BackendConformance(
    ContinuationRules, EveryValueRules, RejectionRules, RequirementRules, FailureRules, RedirectRules, JobRules, LiveRules
):
    """Subclass it, name the backend, and override `wire`.

    Must override:
        backend: the entry-point name.
        wire: a context manager that runs a fake of the service for a scenario.

    May override:
        services: the services to test, by default all that the matrix names.
        scenarios: the scenarios that the wire can play; a backend that works on this machine has no others than
            ``success``.
        not_http: operations whose requests are not HTTP (gRPC), so that no answer can send them elsewhere.
        sdks: modules that loading the backend must not import, where their names do not show it (``google.auth``).
        light: small modules beside the core's own dependencies that loading it may import.
        matrix: what to test, as an instance of a service sees it, where that depends on more than the service.

    Nothing else. A rule that a backend does not keep is declared: ``@known_gap("B02", "why")`` on the subclass.
    """

    backend: ClassVar[str] = ""
    services: ClassVar[tuple[str, ...]] = ()
    sdks: ClassVar[tuple[str, ...]] = ()
    light: ClassVar[tuple[str, ...]] = ()

    @contextlib.contextmanager
    def wire(self, scenario: Scenario, service: str) -> Iterator[Wire]:
        """Run a fake of the service that behaves as the scenario says."""
        raise NotImplementedError("override wire()")
        yield

    @rule("A01")
    def test_a01_loads_through_its_entry_point(self) -> None:
        """If this fails: look at `anymedia doctor`, which says why the plugin was set aside."""
        registry = loaded_registry()
        broken = registry.broken.get(self.backend)
        assert broken is None, f"set aside: {broken.reason if broken else ''}"
        assert self.backend in registry.plugins, (
            f"no entry point {self.backend!r} in group 'anymedia': install the package (pip install -e .)"
        )

    @rule("A02")
    def test_a02_loading_imports_no_sdk(self) -> None:
        """If this fails: move the import of the SDK into the function that uses it."""
        done = subprocess.run(  # noqa: S603 - our own text
            [sys.executable, "-c", _LOADED, self.backend], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        package = loaded_registry().plugins[self.backend].module.__name__.partition(".")[0]
        loaded = set(done.stdout.split())
        tops = {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names - _LIGHT - {package, *self.light}
        found = sorted(tops | (loaded & set(self.sdks)))
        assert not found, f"loading {self.backend!r} imports {', '.join(found)}"

    @rule("A03")
    def test_a03_hooks_have_the_signature_of_their_specification(self) -> None:
        """If this fails: an operation hook is ``async def name(request, context)``, no more and no less."""
        registry = loaded_registry()
        broken = registry.broken.get(self.backend)
        assert broken is None, f"set aside: {broken.reason if broken else ''}"
        assert registry.plugins[self.backend].hooks <= set(HOOKS)

    @rule("A04")
    def test_a04_capabilities_are_pure_and_equal_on_each_call(self) -> None:
        """If this fails: return ``load_matrix(Path(__file__).with_name("capabilities.toml"))`` and nothing else."""
        module: Any = loaded_registry().plugins[self.backend].module
        with socket_guard(frozenset()) as tried:
            first, second = module.capabilities(), module.capabilities()
            assert isinstance(first, CapabilityMatrix), f"it returned {type(first).__name__}"
            keys = tuple(name for found in first.credentials for names in found.names.values() for name in names)
            with environment({}, keys):
                bare = module.capabilities()
            with environment(dict.fromkeys(keys, CANARY), ()):
                keyed = module.capabilities()
        assert first == second, "two calls return two different matrices"
        assert bare == keyed, "the matrix is another one when a key is set"
        assert tried == [], f"it called {tried}"

    @rule("A05")
    def test_a05_what_the_matrix_claims_is_implemented(self) -> None:
        """If this fails: implement the hook, or take the operation out of the matrix."""
        registry = loaded_registry()
        claimed: set[Operation] = {op for model in registry.capabilities(self.backend).models for op in model.operations}
        assert claimed, "the matrix claims nothing"
        missing = claimed - registry.plugins[self.backend].hooks
        assert not missing, f"claimed, without a hook: {', '.join(sorted(missing))}"
        plugin = registry.plugins[self.backend]
        for operation in claimed:
            makes_jobs = "Job" in returns(self.backend, operation)
            assert not makes_jobs or "check_job" in plugin.hooks, f"{operation} returns a Job, and there is no hook check_job"

    @rule("A06")
    def test_a06_no_rule_is_deleted_or_overridden(self) -> None:
        """If this fails: take the override out, and declare ``@known_gap("B02", "why")`` on the class instead."""
        found = _overridden(type(self))
        assert not found, f"deleted or overridden: {', '.join(found)}"

    @rule("A06")
    def test_a06_the_wire_plays_every_scenario_and_shows_what_arrives(self) -> None:
        """If this fails: play it as nearly as the service can fail; what it cannot do is a ``known_gap`` of C01."""
        claimed = {op for model in loaded_registry().capabilities(self.backend).models for op in model.operations}
        strange = sorted(set(self.not_http) - claimed)
        assert not strange, f"not_http names what the matrix does not claim: {', '.join(strange)}"
        for service in self.all_services():
            keys = {n for found in cut_matrix(self.backend, service).credentials for names in found.names.values() for n in names}
            with self.wire("success", service) as wire:
                if wire.submits is None:
                    continue  # it works on this machine: nothing fails but itself
                left_out = [scenario for scenario in SCENARIOS if scenario not in self.scenarios]
                assert not left_out, f"scenarios left out: {', '.join(left_out)}"
                assert wire.sent is not None, "a wire that counts submits has to show them: give Wire(sent=...)"
                assert wire.stops is not None or "cancel_job" not in loaded_registry().plugins[self.backend].hooks, (
                    "there is a hook cancel_job, and no way to see that it asks the service: give Wire(stops=...)"
                )
                assert not (keys and wire.environ) or keys & wire.environ.keys(), (
                    f"Wire(environ=...) sets {', '.join(wire.environ)}; the matrix reads {', '.join(sorted(keys))}"
                )
                for name in keys & wire.environ.keys():
                    assert CANARY in wire.environ[name], f"give CANARY as {name}: only that key is looked for in what is told"

    @rule("C06", kept_by_the_core=True)
    def test_c06_a_foreign_continuation_is_refused(self, case: Any) -> None:
        """If this fails: the core refuses it; look whether the matrix names another backend's models."""
        with self.bench(case) as bench:
            foreign = Continuation(id="other_vid_0123456789ab", backend="another", model="x", media=case.shape.model.media)

            async def go() -> None:
                async with bench.router() as router:
                    shape = case.shape
                    request = await bench.request(router, shape, lambda _: None, continue_from=foreign)
                    try:
                        await bench.execute(router, request, shape)
                    except MediaError as error:
                        assert isinstance(error, UnsupportedInput), error
                    else:
                        raise AssertionError("it was accepted")

            run(go())
            assert bench.submits() == 0

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """Make one test for each case of the backend's own matrix (called by pytest)."""
        if "case" not in metafunc.fixturenames:
            return
        cases = list(self.cases(metafunc.function.__name__))
        if not cases:  # the plugin of pytest takes this one out again
            metafunc.parametrize("case", [None], ids=["nothing-claimed"])
            return
        quick = representatives(metafunc.function, cases, works_here=self.scenarios == ("success",))
        metafunc.parametrize("case", [_tried(metafunc.config, case, case in quick) for case in cases])

    def __init_subclass__(cls, **more: Any) -> None:
        """See that the rule which guards the others is there.

        Raises:
            TypeError: it was taken out.
        """
        super().__init_subclass__(**more)
        for guard in ("test_a06_no_rule_is_deleted_or_overridden", "pytest_generate_tests", "cases"):
            if getattr(cls, guard) is not getattr(BackendConformance, guard):
                raise TypeError(f"{cls.__name__}: {guard} belongs to the kit; a gap is declared with known_gap(rule, reason)")


def _tried(config: Any, case: Case, quick: bool) -> Any:
    """Return a case as pytest's parameter; in a project that has the marker ``exhaustive``, it marks all but the quick ones."""
    import pytest

    tiers = any(line.partition(":")[0].strip() == "exhaustive" for line in config.getini("markers"))
    return pytest.param(case, id=str(case), marks=[pytest.mark.exhaustive] if tiers and not quick else [])


#: What a subclass may replace; everything else of the kit is the kit's.
_OPEN = frozenset({"backend", "services", "scenarios", "not_http", "sdks", "light", "wire", "matrix", "known_gaps"})


def _overridden(cls: type) -> list[str]:
    """Return the names of the kit that a subclass has replaced."""
    kit = {n for n in dir(BackendConformance) if not n.startswith("__")} - _OPEN
    return sorted(n for n in kit if getattr(cls, n, None) is not getattr(BackendConformance, n))

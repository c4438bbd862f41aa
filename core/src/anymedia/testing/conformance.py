"""The class to subclass: rules about loading (A), foreign continuations (C06) and real services (L); the others are inherited."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from asyncio import run
from collections.abc import Sequence
from typing import Any, ClassVar

from ..capabilities import CapabilityMatrix
from ..errors import BudgetExceeded, UnsupportedInput
from ..hookspecs import HOOKS
from ..policy import Budget, Policy
from ..requests import KINDS, Continuation, Operation
from ..router import Router
from .answer_rules import AnswerRules
from .case_values import minimal_fields
from .cases import Case, classes_of, representatives, rule
from .failure_rules import FailureRules, JobRules
from .fakes import CANARY, SCENARIOS
from .harness import Bench, KeptStore, cut_matrix, environment, loaded_registry, returns, socket_guard
from .operation_rules import OperationRules, decode
from .rejection_rules import RejectionRules

#: What the core imports itself, and a plugin may import.
_LIGHT = frozenset({"anymedia", "attr", "attrs", "cattr", "cattrs", "click", "msgspec", "platformdirs", "pluggy", "typing_extensions"})
#: Prints the modules that loading one backend and reading its matrix imports, except the core's own.
_LOADED = """
import sys
from importlib.metadata import entry_points
from anymedia.plugins.registry import discover
before = set(sys.modules)
found = discover(entry_points=[p for p in entry_points(group="anymedia") if p.name == sys.argv[1]])
found.capabilities(sys.argv[1])
print("\\n".join(set(sys.modules) - before))
"""


#: One ledger for a whole test run, so that the budget counts all its calls.
_LEDGER = KeptStore()


class BackendConformance(OperationRules, RejectionRules, FailureRules, AnswerRules, JobRules):
    """Subclass it, name the backend, and override `wire`.

    Must override:
        backend: the entry-point name.
        wire: a context manager that runs a fake of the service for a scenario.

    May override:
        services: the services to test; by default all that the matrix names.
        scenarios: the scenarios that the wire can play; only ``success`` for a backend that works on this machine.
        listed: whether the specs that ``list_models`` describes are tested as well, as a refresh over the wire merges them.
        not_http: operations whose requests are not HTTP (gRPC) and therefore cannot be redirected.
        refused_in_status: operations whose service accepts every submit, and refuses a prompt in a status of the job only: the wire
            plays ``refused`` there.
        sdks: modules that loading the backend must not import, where the kit cannot infer it (``google.auth``).
        light: small modules, besides the core's own dependencies, that loading it may import.
        matrix: the matrix to test, as an instance of a service sees it, where it depends on more than the service.

    Nothing else. A rule that the backend does not keep is declared: ``@known_gap("B02", "why")`` on the subclass, for some cases only
    with ``case="*-quota"``.
    """

    sdks: ClassVar[tuple[str, ...]] = ()
    light: ClassVar[tuple[str, ...]] = ()

    @rule("A01")
    def test_a01_plugin_is_found_by_its_entry_point(self) -> None:
        """If this fails: run `anymedia doctor`, which says why the plugin could not be loaded."""
        broken = loaded_registry().broken.get(self.backend)
        assert broken is None, f"not loaded: {broken.reason if broken else ''}"
        missing = f"no entry point {self.backend!r} in group 'anymedia': install the package (pip install -e .)"
        assert self.backend in loaded_registry().plugins, missing

    @rule("A02")
    def test_a02_loading_imports_no_sdk(self) -> None:
        """If this fails: move the import of the SDK (aiohttp counts as one) into the function that uses it."""
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
    def test_a03_hooks_match_their_specification(self) -> None:
        """If this fails: an operation hook is exactly ``async def name(request, context)``."""
        broken = loaded_registry().broken.get(self.backend)
        assert broken is None, f"not loaded: {broken.reason if broken else ''}"
        assert loaded_registry().plugins[self.backend].hooks <= set(HOOKS)

    @rule("A04")
    def test_a04_capabilities_are_pure_and_equal_on_each_call(self) -> None:
        """If this fails: return ``load_matrix(Path(__file__).with_name("capabilities.toml"))`` and nothing else."""
        module: Any = loaded_registry().plugins[self.backend].module
        with socket_guard(frozenset()) as tried:
            first, second = module.capabilities(), module.capabilities()
            assert isinstance(first, CapabilityMatrix), f"capabilities() returned {type(first).__name__}"
            keys = tuple(name for found in first.credentials for names in found.names.values() for name in names)
            with environment({}, keys):
                bare = module.capabilities()
            with environment(dict.fromkeys(keys, CANARY), ()):
                keyed = module.capabilities()
        assert first == second, "two calls of capabilities() returned different matrices"
        assert bare == keyed, "the matrix changes when a key is set"
        assert tried == [], f"capabilities() tried to connect to {tried}"

    @rule("A05")
    def test_a05_claimed_operations_are_implemented(self) -> None:
        """If this fails: implement the hook, or remove the operation from the matrix."""
        registry = loaded_registry()
        claimed = _claimed(registry.capabilities(self.backend))
        assert claimed, "the matrix claims nothing"
        missing = claimed - registry.plugins[self.backend].hooks
        assert not missing, f"claimed, but not implemented: {', '.join(sorted(missing))}"
        plugin = registry.plugins[self.backend]
        for operation in claimed:
            returns_job = "Job" in returns(self.backend, operation)
            assert not returns_job or "check_job" in plugin.hooks, f"{operation} returns a Job, but the hook check_job is missing"

    @rule("A06")
    def test_a06_rules_are_not_removed_or_overridden(self) -> None:
        """If this fails: remove the override, and declare ``@known_gap("B02", "why")`` on the class instead."""
        found = _replaced(type(self))
        assert not found, f"removed or overridden: {', '.join(found)}"

    @rule("A06")
    def test_a06_wire_plays_every_scenario_and_records_submits(self) -> None:
        """If this fails: imitate the failure as the service would have it; one that it cannot have is a ``known_gap`` of C01 to C03."""
        claimed = _claimed(loaded_registry().capabilities(self.backend))
        for name in ("not_http", "refused_in_status"):
            unclaimed = sorted(set(getattr(self, name)) - claimed)
            assert not unclaimed, f"{name} names operations that the matrix does not claim: {', '.join(unclaimed)}"
        for service in self.all_services():
            keys = {n for found in cut_matrix(self.backend, service).credentials for names in found.names.values() for n in names}
            with self.wire("success", service) as wire:
                if wire.submits is None:
                    continue  # it works on this machine: there is no service to fail
                left_out = [scenario for scenario in SCENARIOS if scenario not in self.scenarios]
                assert not left_out, f"scenarios left out: {', '.join(left_out)}"
                unserved = sorted(
                    set(loaded_registry().capabilities(self.backend).services)
                    - {s for cls in classes_of(self.backend) for s in cls().all_services()}
                )
                assert not unserved, f"no class tests the services {', '.join(unserved)} of the matrix"
                assert wire.sent is not None, "a wire that counts submits must also return them: give Wire(sent=...)"
                assert wire.stops is not None or "cancel_job" not in loaded_registry().plugins[self.backend].hooks, (
                    "the backend has the hook cancel_job: give Wire(stops=...), the number of cancel requests that the service has received"
                )
                assert not (keys and wire.environ) or keys & wire.environ.keys(), (
                    f"Wire(environ=...) sets {', '.join(wire.environ)}; the matrix reads {', '.join(sorted(keys))}"
                )
                for name in keys & wire.environ.keys():
                    assert CANARY in wire.environ[name], f"give CANARY as {name}: the kit searches all output for that key"

    @rule("C06", per="continuable", decided_by_core=True)
    async def test_c06_foreign_continuation_is_rejected(self, case: Case, bench: Bench) -> None:
        """If this fails: the core rejects it; check whether the matrix names models of another backend."""
        foreign = Continuation(id="other_vid_0123456789ab", backend="another", model="x", media=case.shape.media)  # type: ignore[arg-type]
        await bench.refuses(UnsupportedInput, "the foreign continuation was not rejected", continue_from=foreign)
        assert bench.submits() == 0

    @rule("L01", per="operation")
    def test_l01_live_operation_works(self, case: Case, anymedia_live_budget: float) -> None:
        """If this fails: the service has changed, or the matrix claims too much; see the error."""
        import pytest

        budget = Budget(per_day=anymedia_live_budget)  # an unknown price is rejected as well
        request: Any = KINDS[case.shape.operation](**minimal_fields(case.shape))

        async def go(folder: str) -> None:
            async with Router(store=_LEDGER, policy=Policy(budget=budget, retries=0, preview=True)) as router:
                name = next((n for n, i in router.instances.items() if i.plugin == self.backend and i.service == case.service), "")
                if not name or not router.instances[name].usable:
                    pytest.skip(f"no usable instance of {self.backend} {case.service}".rstrip())
                try:
                    made = await router.execute(request, backend=name, model=case.shape.model.id, output=f"{folder}/", deadline=900.0)
                except BudgetExceeded as error:
                    pytest.skip(f"over the budget of {anymedia_live_budget} USD: {error}")
                for file in made.files:
                    decode(file.path, case.shape.media)

        with tempfile.TemporaryDirectory(prefix="anymedia-live-") as folder:
            run(go(folder))

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """Parametrize a test with the cases of the backend's own matrix (called by pytest)."""
        if "case" not in metafunc.fixturenames:
            return
        cases = list(self.cases(metafunc.function))
        if not cases:  # the kit's pytest plugin deselects this one
            metafunc.parametrize("case", [None], ids=["nothing-claimed"])
            return
        quick = representatives(metafunc.function, cases, is_local=self.scenarios == ("success",))
        metafunc.parametrize("case", _parameters(metafunc.config, cases, quick))

    def __init_subclass__(cls, **more: Any) -> None:
        """Check that the rule which guards the others is present.

        Raises:
            TypeError: it was removed or replaced.
        """
        super().__init_subclass__(**more)
        for guard in ("test_a06_rules_are_not_removed_or_overridden", "pytest_generate_tests", "cases"):
            if getattr(cls, guard) is not getattr(BackendConformance, guard):
                raise TypeError(f"{cls.__name__}: {guard} belongs to the kit; declare a gap with known_gap(rule, reason)")


def _claimed(matrix: CapabilityMatrix) -> set[Operation]:
    return {spec.operation for model in matrix.models for spec in model.operations.values()}


def _parameters(config: Any, cases: Sequence[Case], quick: Sequence[Case]) -> list[Any]:
    """Return cases as pytest parameters.

    In a project with the marker ``exhaustive``, all but the quick cases get it; a run that leaves them out does not even make them, since
    they are many times as many.
    """
    import pytest

    if not any(line.partition(":")[0].strip() == "exhaustive" for line in config.getini("markers")):
        return [pytest.param(case, id=str(case)) for case in cases]
    parameters = [pytest.param(case, id=str(case)) for case in quick]
    if "not exhaustive" not in config.option.markexpr:
        chosen = {id(case) for case in quick}
        parameters += [pytest.param(case, id=str(case), marks=pytest.mark.exhaustive) for case in cases if id(case) not in chosen]
    return parameters


#: What a subclass may override.
_OVERRIDABLE = frozenset(
    {"backend", "services", "scenarios", "not_http", "refused_in_status", "sdks", "light", "listed", "wire", "matrix", "known_gaps"}
)


def _replaced(cls: type) -> list[str]:
    """Return the attributes of the kit that a subclass has replaced."""
    kit = {n for n in dir(BackendConformance) if not n.startswith("__")} - _OVERRIDABLE
    return sorted(n for n in kit if getattr(cls, n, None) is not getattr(BackendConformance, n))

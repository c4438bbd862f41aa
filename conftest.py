"""Shared by all tests: async tests run on asyncio, no test changes the scheduling class; a summary of time spent closes the run."""

import contextlib
import gc
import os
import random
import re
import sys
import tempfile
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest_plugins = ["named_backends", "early_start"]
_CPU = pytest.StashKey[float]()
_MODULES = pytest.StashKey[int]()
_STATE = pytest.StashKey["tempfile.TemporaryDirectory[str]"]()
_ADDRESS = re.compile("0x[0-9a-f]{9}")
_SCHEDULER = os.sched_getscheduler(0) if hasattr(os, "sched_getscheduler") else None

with contextlib.suppress(ImportError):  # a backend's kit alone needs none
    from hypothesis import HealthCheck, settings

    # How long an example takes says how busy the machine is, and nothing about the code. The examples of the first two
    # tiers depend on the code alone, so that a run can be repeated; the soak looks for new ones.
    patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
    settings.register_profile("soak", patient, max_examples=1000)
    settings.register_profile("exhaustive", patient, max_examples=100, derandomize=True)
    settings.register_profile("quick", patient, max_examples=20, derandomize=True)
    settings.load_profile("quick")


# Without byte code, each worker would compile all tests by itself, and each child process of a test the whole core.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def _tier(config: pytest.Config) -> str:
    """Return the tier that ``-m`` asks for."""
    wanted = str(config.option.markexpr)
    return "quick" if "not exhaustive" in wanted else "soak" if wanted.startswith("soak") else "exhaustive"


def pytest_configure(config: pytest.Config) -> None:
    """Choose how many examples a property gets, before the test modules are read; keep the user's own state out of the tests."""
    config.stash[_STATE] = tempfile.TemporaryDirectory(prefix="anymedia-tests-")
    os.environ["XDG_STATE_HOME"] = config.stash[_STATE].name
    with contextlib.suppress(ImportError):
        from hypothesis import settings

        settings.load_profile(_tier(config))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Delete the state directory of the tests."""
    if (state := config.stash.get(_STATE, None)) is not None:
        state.cleanup()


class _FromTheEnd(pytest.Dir):
    """A folder whose entries are read in reverse order."""

    def collect(self) -> list[pytest.Item | pytest.Collector]:
        return list(super().collect())[::-1]


def _is_whole(config: pytest.Config) -> bool:
    from early_start import is_whole  # pytest rewrites the assertions of plugins, which must not be imported before

    return is_whole(config)


def _reads_from_the_end(config: pytest.Config) -> bool:
    """Whether this is the second xdist worker in a run of all tests.

    Compiling the tests takes longer than all else that precedes the first one. Workers that begin at opposite ends share it.
    """
    return getattr(config, "workerinput", {}).get("workerid") == "gw1" and _is_whole(config)


@pytest.hookimpl(tryfirst=True)
def pytest_collect_directory(path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Read the folders from the end in the second worker."""
    return _FromTheEnd.from_parent(parent, path=path) if _reads_from_the_end(parent.config) else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Sort what was read from the end; mark the properties.

    A property is in all tiers: the exhaustive one tries five times as many examples, the soak ten times as many again.
    """
    if _reads_from_the_end(config):
        folders = [config.rootpath / folder for folder in config.args]
        items.sort(key=lambda item: (next(n for n, folder in enumerate(folders) if folder in item.path.parents), item.path.parts))
    if unlike := next(filter(_ADDRESS.search, (item.nodeid for item in items)), None):
        raise pytest.UsageError(f"with an object's address in its name, a test has another one in each worker: {unlike}")
    if (tier := _tier(config)) != "quick":
        for item in items:
            if getattr(getattr(item, "obj", None), "is_hypothesis_test", False) and not item.get_closest_marker("soak"):
                item.add_marker(tier)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Read the tests without garbage collections, which take a tenth of the time and find nothing."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: pytest.Collector, obj: object) -> list[pytest.Item] | None:
    """Make no cases of a test that the quick tier leaves out; where files or tests are named, they are made, and counted as deselected."""
    marks = getattr(obj, "pytestmark", ()) if isinstance(obj, types.FunctionType) else ()
    is_slow = any(mark.name in {"exhaustive", "soak"} for mark in marks)
    return [] if is_slow and _tier(collector.config) == "quick" and _is_whole(collector.config) else None


def _freeze(config: pytest.Config) -> None:
    """Exempt the tests and the modules loaded so far from garbage collection: with them, each full collection takes half a second."""
    config.stash[_MODULES] = len(sys.modules)
    gc.freeze()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Exempt what has been read."""
    _freeze(session.config)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Exempt the modules of an SDK after the first test that loads them."""
    if len(sys.modules) > item.config.stash[_MODULES] + 200:
        gc.collect()
        _freeze(item.config)


@pytest.fixture
def anyio_backend() -> str:
    """Name the event loop that the anyio plugin uses."""
    return "asyncio"


@pytest.fixture(autouse=True)
def as_patient_as_before() -> Iterator[None]:
    """A codec that makes this process a real-time one would take the machine from everybody else's tests."""
    yield
    if _SCHEDULER is not None:
        assert os.sched_getscheduler(0) == _SCHEDULER


@pytest.fixture(autouse=True)
def same_pictures_each_time(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the local backend choose seeds by the name of the test: one picture in hundreds is unlike the others."""
    if _tier(request.config) != "soak":
        monkeypatch.setattr("secrets.randbits", random.Random(request.node.nodeid).getrandbits)  # noqa: S311


@pytest.fixture(scope="session", autouse=True)
def one_certificate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Have clients trust the kit's certificate only: reading the usual bundle takes each client longer than its request."""
    from anymedia.testing.harness import CERTIFICATE

    path = tmp_path_factory.mktemp("trust") / "certificate.pem"
    path.write_text(CERTIFICATE, "ascii")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(path))
        yield


_SECONDS = "seconds of CPU"


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand the CPU time of this process and its children to the report: an xdist worker's goes through its output."""
    seen = os.times()
    cpu = seen.user + seen.system
    if _CPU not in session.config.stash:  # else the children are the workers, whose time was added when they finished
        cpu += seen.children_user + seen.children_system
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output[_SECONDS] = cpu
    else:
        session.config.stash[_CPU] = session.config.stash.get(_CPU, 0.0) + cpu


@pytest.hookimpl(optionalhook=True)  # called by pytest-xdist, which need not be installed
def pytest_testnodedown(node: Any, error: object) -> None:
    """Add up the CPU time of the xdist workers that finished."""
    spent = getattr(node, "workeroutput", {}).get(_SECONDS, 0.0)
    node.config.stash[_CPU] = node.config.stash.get(_CPU, 0.0) + spent


def _print_mutants(terminalreporter: Any) -> None:
    """Print how many mutants of the conformance kit were caught, if any were run."""
    calls = [r for reports in terminalreporter.stats.values() for r in reports if getattr(r, "when", "") == "call"]
    tried = [(dict(report.user_properties)["mutant"], report.passed) for report in calls if "mutant" in dict(report.user_properties)]
    if tried:
        caught, rules = sum(passed for _, passed in tried), len({rule for rule, _ in tried})
        terminalreporter.write_line(f"{caught} of {len(tried)} mutants caught, of {rules} rules of the conformance kit")


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the ten slowest tests, the CPU time of the run and the mutants caught."""
    spent: dict[str, float] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                spent[report.nodeid] = spent.get(report.nodeid, 0.0) + report.duration
    if not spent:
        return
    terminalreporter.section("slowest tests")
    for name, seconds in sorted(spent.items(), key=lambda item: -item[1])[:10]:
        terminalreporter.write_line(f"{seconds:7.2f} s  {name}")
    cpu = config.stash.get(_CPU, 0.0)
    terminalreporter.write_line(f"{len(spent)} tests, {sum(spent.values()):.0f} s of test time, {cpu:.0f} s of CPU time")
    _print_mutants(terminalreporter)

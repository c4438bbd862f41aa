"""Fixtures: three additional backends, a private state directory, and two ways to run the command line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
from click.testing import CliRunner

from anymedia.clock import SystemClock

HERE = Path(__file__).parent
_OURS = ("demo_backend", "locked_backend", "torn_backend")


@pytest.fixture(autouse=True)
def heard_hang_up() -> Iterator[None]:
    """Let commands hear SIGHUP: one that is begun with `nohup` ignores it, and so would those that the tests begin."""
    if (name := getattr(signal, "SIGHUP", None)) is None:
        yield
        return
    before = signal.signal(name, signal.SIG_DFL)
    yield
    signal.signal(name, before)


@attrs.frozen
class CliResult:
    """Exit code and output of a command."""

    code: int
    out: bytes
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.decode().splitlines()

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@attrs.frozen
class TourRun:
    """A finished tour: its result, directory and state directory."""

    result: CliResult
    folder: Path
    state: str

    @property
    def steps(self) -> Any:
        return self.result.json["steps"]


def _make_site(folder: Path) -> Path:
    info = folder / "anymedia_clitest-0.1.dist-info"
    info.mkdir(parents=True)
    for name in ("demo_backend.py", "demo_capabilities.toml", "locked_backend.py"):
        shutil.copy(HERE / name, folder / name)
    (folder / "torn_backend.py").write_text("import a_module_that_is_nowhere\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: anymedia-clitest\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[anymedia]\ndemo = demo_backend\nlocked = locked_backend\ntorn = torn_backend\n")
    return folder


def _make_environment(root: Path, site: Path) -> dict[str, str]:
    (root / "home").mkdir()
    kept = {k: v for k, v in os.environ.items() if k in {"PATH", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT", "PYTHONHASHSEED"}}
    return kept | {
        "HOME": str(root / "home"),
        "PYTHONPATH": str(site),
        "ANYMEDIA_STATE": str(root / "state"),
        "DEMO_SUBMITS": str(root / "submits"),
    }


def _run(
    words: Sequence[str | Path], environment: Mapping[str, str], work: Path, input: bytes | None = None, *, timeout: float = 110
) -> CliResult:
    done = subprocess.run(
        [sys.executable, "-m", "anymedia", *map(str, words)],
        env=dict(environment),
        cwd=work,
        input=input,
        stdin=None if input is not None else subprocess.DEVNULL,
        capture_output=True,
        timeout=timeout,
        check=False,
    )
    return CliResult(done.returncode, done.stdout, done.stderr.decode())


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A directory with three installed plugins: demo, locked, and one that cannot be imported."""
    return _make_site(tmp_path / "site")


@pytest.fixture
def environment(tmp_path: Path, site: Path) -> dict[str, str]:
    """Environment variables without keys or settings, with private state and home directories."""
    return _make_environment(tmp_path, site)


@pytest.fixture(scope="session")
def toured(tmp_path_factory: pytest.TempPathFactory) -> TourRun:
    """A tour shared by the session; a test that changes its directory works on a copy."""
    root = tmp_path_factory.mktemp("tour")
    environment = _make_environment(root, _make_site(root / "site"))
    result = _run(["tour", "--json"], environment, root, timeout=550)  # takes minutes on a busy machine
    assert result.code == 0, result.err
    return TourRun(result, root / "tour", environment["ANYMEDIA_STATE"])


@pytest.fixture
def submits(tmp_path: Path) -> Callable[[], list[str]]:
    """Return the requests that the demo backend received, in order."""
    path = tmp_path / "submits"
    return lambda: path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch, submits: Callable[[], list[str]]) -> None:
    """An hour passes in this process as soon as the demo backend has received a request, so that deadlines pass after it."""
    monkeypatch.setattr(SystemClock, "steady", lambda _: time.monotonic() + (3600.0 if submits() else 0.0))


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """The working directory of the command."""
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


Call = Callable[..., CliResult]


@pytest.fixture
def call(environment: Mapping[str, str], site: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run the command line in this process."""
    for name in [n for n in os.environ if n.endswith("_API_KEY") or n.startswith(("ANYMEDIA_", "XDG_"))]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(str(site))
    for name in _OURS:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.chdir(work)

    def run(*words: str | Path, input: str | bytes | None = None) -> CliResult:
        from anymedia.cli.app import cli

        done = CliRunner().invoke(cli, [str(word) for word in words], input=input)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return CliResult(done.exit_code, done.stdout_bytes, done.stderr)

    yield run
    for name in _OURS:
        sys.modules.pop(name, None)


@pytest.fixture
def process(environment: Mapping[str, str], work: Path) -> Call:
    """Run the command line in a separate process."""

    return lambda *words, input=None, **more: _run(words, {**environment, **more}, work, input)

"""Three more backends beside what is installed, a state directory of its own, and two ways to call the command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
from click.testing import CliRunner

HERE = Path(__file__).parent
_OURS = ("demo_backend", "locked_backend", "torn_backend")


@attrs.frozen
class Told:
    """What a call of the command line gave back."""

    code: int
    out: bytes
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.decode().splitlines()

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with three plugins as pip would have left them: demo, locked, and one that does not import."""
    folder = tmp_path / "site"
    info = folder / "anymedia_clitest-0.1.dist-info"
    info.mkdir(parents=True)
    for name in ("demo_backend.py", "demo_capabilities.toml", "locked_backend.py"):
        shutil.copy(HERE / name, folder / name)
    (folder / "torn_backend.py").write_text("import a_module_that_is_nowhere\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: anymedia-clitest\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[anymedia]\ndemo = demo_backend\nlocked = locked_backend\ntorn = torn_backend\n")
    return folder


@pytest.fixture
def environment(tmp_path: Path, site: Path) -> dict[str, str]:
    """The environment of a call: no keys, no settings, a state directory and a working directory of its own."""
    home = tmp_path / "home"
    home.mkdir()
    kept = {k: v for k, v in os.environ.items() if k in {"PATH", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT", "PYTHONHASHSEED"}}
    return kept | {
        "HOME": str(home),
        "PYTHONPATH": str(site),
        "ANYMEDIA_STATE": str(tmp_path / "state"),
        "DEMO_SUBMITS": str(tmp_path / "submits"),
    }


@pytest.fixture
def submits(tmp_path: Path) -> Callable[[], list[str]]:
    """What the demo backend was sent, in order."""
    path = tmp_path / "submits"
    return lambda: path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """The working directory of a call."""
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


Call = Callable[..., Told]


@pytest.fixture
def call(environment: Mapping[str, str], site: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Call the command line in this process."""
    for name in [n for n in os.environ if n.endswith("_API_KEY") or n.startswith(("ANYMEDIA_", "XDG_"))]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(str(site))
    for name in _OURS:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.chdir(work)

    def run(*words: str | Path, input: str | bytes | None = None) -> Told:
        from anymedia.cli.entry import cli

        done = CliRunner().invoke(cli, [str(word) for word in words], input=input)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Told(done.exit_code, done.stdout_bytes, done.stderr)

    yield run
    for name in _OURS:
        sys.modules.pop(name, None)


@pytest.fixture
def process(environment: Mapping[str, str], work: Path) -> Call:
    """Call the command line as a process of its own."""

    def run(*words: str | Path, input: bytes | None = None, **more: str) -> Told:
        done = subprocess.run(
            [sys.executable, "-m", "anymedia", *map(str, words)],
            env={**environment, **more},
            cwd=work,
            input=input,
            stdin=None if input is not None else subprocess.DEVNULL,
            capture_output=True,
            timeout=100,
            check=False,
        )
        return Told(done.returncode, done.stdout, done.stderr.decode())

    return run

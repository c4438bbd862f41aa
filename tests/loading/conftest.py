"""Fake distributions on disk, found by the real importlib.metadata."""

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

#: A complete plugin that can be loaded but generates nothing.
GOOD = """
    from anymedia.capabilities import CapabilityMatrix
    from anymedia.hookspecs import hookimpl

    @hookimpl
    def capabilities():
        return CapabilityMatrix(models=())
"""


class Site:
    """A directory on sys.path in which distributions are installed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def install(self, distribution: str, points: str, *, version: str = "1.0", **modules: str) -> None:
        """Write a distribution: its metadata, the entry points of our group, its modules."""
        info = self.path / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[anymedia]\n{points}\n")
        for name, source in modules.items():
            (self.path / f"{name}.py").write_text(textwrap.dedent(source))

    def loaded(self) -> set[str]:
        """The names of modules that were imported from here."""
        return {name for name, module in sys.modules.items() if str(getattr(module, "__file__", "") or "").startswith(str(self.path))}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    path = tmp_path / "site"
    path.mkdir()
    monkeypatch.syspath_prepend(str(path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield Site(path)
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "") or "").startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def good() -> str:
    return GOOD

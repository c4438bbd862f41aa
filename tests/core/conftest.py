"""Makes the plain helper modules of this folder importable; what several rooms of tests begin with."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from blocking_store import BlockingStore

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def fake_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Give the fake backend its key, and the test a working directory of its own."""
    from core.routing import KEY

    monkeypatch.setenv("FAKE_KEY", KEY)
    monkeypatch.chdir(tmp_path)


def pytest_sessionfinish() -> None:
    """End the servers that tests have started."""
    for name in ("postgres", "s3"):
        if (module := sys.modules.get(name)) is not None:
            module.stop()


def _place(kind: str, tmp_path: Path) -> Path | str:
    if kind == "postgres":
        import postgres

        return postgres.server().new()
    return ":memory:" if kind == "memory" else tmp_path / "state" / "journal.db"


@pytest.fixture(autouse=True)
def _stores_are_closed() -> Iterator[None]:
    from blocking_store import OPEN

    yield
    while OPEN:
        OPEN.pop().close()


POSTGRES = pytest.param("postgres", marks=pytest.mark.exhaustive)


@pytest.fixture(params=["memory", "file", POSTGRES])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BlockingStore:
    """Run the test with a store in memory, in a file and in PostgreSQL."""
    from blocking_store import BlockingStore

    return BlockingStore(_place(request.param, tmp_path))


@pytest.fixture(params=["file", POSTGRES])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """A journal that several stores and processes can share: a file, and a schema of a PostgreSQL database."""
    return _place(request.param, tmp_path)

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


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BlockingStore]:
    """Run the test with a store in memory and in a file."""
    from blocking_store import BlockingStore

    made = BlockingStore(":memory:" if request.param == "memory" else tmp_path / "state" / "journal.db")
    yield made
    made.close()

"""One of several xdist workers reads the tests and begins; the others read them meanwhile.

Reading all tests takes a worker several seconds of CPU. Workers that do so side by side slow each other down, and the first
test waits for all of them.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

#: The one that begins. The tests are shared with the others as with a worker that replaces a crashed one.
_FIRST = "gw0"
#: The longest that the others wait, in seconds.
_PATIENCE = 60.0
_PLACE = pytest.StashKey["tempfile.TemporaryDirectory[str]"]()


def is_whole(config: pytest.Config) -> bool:
    """Whether this is a run of all tests of a tier, none named."""
    return config.args == config.getini("testpaths")


@pytest.hookimpl(tryfirst=True, optionalhook=True)  # of pytest-xdist, which need not be installed
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Schedule the tests as soon as the first worker has read them."""
    if config.getvalue("dist") != "load" or not is_whole(config):
        return None
    from xdist.scheduler import LoadScheduling

    class EarlyStart(LoadScheduling):
        def __init__(self) -> None:
            super().__init__(config, log)
            self.numnodes = 1

        def add_node_collection(self, node: Any, collection: Sequence[str]) -> None:
            if self.collection and list(collection) != self.collection:
                raise RuntimeError(f"{node.gateway.id} has read other tests than the workers before it")
            super().add_node_collection(node, collection)

    return EarlyStart()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker where the first one notes that it has read the tests."""
    if _PLACE not in node.config.stash:
        node.config.stash[_PLACE] = tempfile.TemporaryDirectory(prefix="anymedia-tests-")
    node.workerinput["has_read"] = str(Path(node.config.stash[_PLACE].name, "has_read"))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Delete that place."""
    if (place := config.stash.get(_PLACE, None)) is not None:
        place.cleanup()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection(session: pytest.Session) -> Iterator[None]:
    """In the first worker, note that the tests are read; in the others, wait for that."""
    own: dict[str, Any] = getattr(session.config, "workerinput", {})
    if not own or not is_whole(session.config):
        return (yield)
    note = Path(own["has_read"])
    is_first = own["workerid"] == _FIRST
    give_up = time.monotonic() + _PATIENCE
    while not is_first and not note.exists() and time.monotonic() < give_up:
        time.sleep(0.05)
    try:
        return (yield)
    finally:
        if is_first:
            note.touch()

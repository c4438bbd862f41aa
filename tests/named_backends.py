"""For every test of the whole run: a backend that an error names in ``try_backends`` is planned with, and must be able to do it.

Names are filled in at two places, and a test reads the source to hold that there are no others: the planner's refusal,
which sees all backends, and the agents' tool, for errors that come later. Both are listened to here. What is named
wrongly is noted and fails the test in which it happened, whatever that test made of the error itself.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest


@contextlib.contextmanager
def listening(wrong: list[str]) -> Iterator[None]:
    """Note every backend that is named in ``try_backends`` and cannot do what was asked."""
    from anymedia.agents import tool
    from anymedia.errors import MediaError
    from anymedia.execution.prepare_inputs import resolve
    from anymedia.planning import Planner

    refuse, able = Planner._rejection_error, tool.MediaTool._able

    judging = threading.local()  # what is planned here is not judged in its turn

    def judge(names: Sequence[str], request: object, plan: Callable[[str], Any]) -> None:
        if getattr(judging, "now", False):
            return
        judging.now = True
        try:
            for name in names:
                wrong.extend(f"{name!r} was named for {request!r}, but {why}" for why in _why_not(name, plan, MediaError))
        finally:
            judging.now = False

    def refusing(self: Planner, request: Any, *more: Any) -> Any:
        error = refuse(self, request, *more)
        judge(error.try_backends, request, lambda name: self.plan(request, backend=name))
        return error

    async def naming(self: tool.MediaTool, ready: Any, error: MediaError) -> tuple[str, ...]:
        names = await able(self, ready, error)
        if names:
            request = ready.request
            if (continuation := getattr(request, "continue_from", None)) is not None:
                request = resolve(request, await self.router.store.load_continuation(continuation.id))
            judge(names, request, lambda name: self.router._plan_maker.plan(request, ready.policy, name))
        return names

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Planner, "_rejection_error", refusing)
        patch.setattr(tool.MediaTool, "_able", naming)
        yield


def _why_not(name: str, plan: Callable[[str], Any], expected: type[Exception]) -> Iterator[str]:
    try:
        chosen = plan(name).chosen.backend
    except expected as error:
        yield str(error)
    else:
        if chosen != name:
            yield f"{chosen!r} would do it"


@pytest.fixture(scope="session")
def _listened() -> Iterator[list[str]]:
    wrong: list[str] = []
    with listening(wrong):
        yield wrong


@pytest.fixture(autouse=True)
def wrongly_named(_listened: list[str]) -> Iterator[list[str]]:
    """Fail a test in which a backend was named that cannot do what was asked; a test that provokes it clears the list."""
    _listened.clear()
    yield _listened
    if _listened:
        pytest.fail("try_backends named a backend that cannot do it: " + "; ".join(_listened), pytrace=False)

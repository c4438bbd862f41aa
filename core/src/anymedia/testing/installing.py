"""Rules about what a row requires beside the plugin: asked for before any submit, wherever the kit is run."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from ..errors import MediaError, NoBackendAvailable
from ..requests import KINDS, Continuation, Request
from .cases import Case, CaseMaker
from .harness import Bench, forget_plugins, run
from .rules import rule
from .shapes import minimal_fields

__all__ = ["InstallingRules"]


@contextlib.contextmanager
def _without(module: str) -> Iterator[None]:
    """Have Python say for as long as the block runs that a module is not to be had, whether it is or not."""
    nothing = object()
    before = sys.modules.get(module, nothing)
    sys.modules[module] = None  # type: ignore[assignment]
    forget_plugins()  # the matrix is read as on such a machine
    try:
        yield
    finally:
        forget_plugins()
        del sys.modules[module]
        if before is not nothing:
            sys.modules[module] = before  # type: ignore[assignment]


class InstallingRules(CaseMaker):
    """Each row that requires a library, as on a machine that has none."""

    @rule("B12")
    def test_b12_each_requirement_is_asked_for_before_anything_is_sent(self, case: Case) -> None:
        """If this fails: leave it to the row's ``requires``; ``capabilities()`` is the same whether that is installed or not."""
        needs = case.shape.model.requires
        assert needs is not None
        with self.bench(case) as bench, _without(needs.module):
            error = run(self._ended(bench, case))
        ended = "was made" if error is None else f"ended with {type(error).__name__}: {error}"
        assert isinstance(error, NoBackendAvailable), f"without {needs.module!r} it was not refused beforehand, but {ended}"
        assert bench.submits() == 0, "it was sent"
        assert error.charged == "no"
        assert needs.install in error.fix, f"the command {needs.install!r} is not told: {error}"

    async def _ended(self, bench: Bench, case: Case) -> MediaError | None:
        """Ask for what the row makes; return how that failed, or None where it was made."""
        async with bench.router() as router:
            try:
                await bench.execute(router, self._asked(case), case.shape)
            except MediaError as error:
                return error
        return None

    def _asked(self, case: Case) -> Request:
        """Return a request that is whole; what it would go on from need not have been made by anybody."""
        shape = case.shape
        fields = minimal_fields(shape)
        if shape.operation == "continue_video" and "source" not in fields:
            handle = f"{self.backend}_vid_0123456789ab"
            fields["continue_from"] = Continuation(id=handle, backend=self.backend, model=shape.model.id, media="video")
        made: Request = KINDS[shape.operation](**fields)
        return made

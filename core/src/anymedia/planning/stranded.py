"""A result that its own backend goes on from in no way: say so, and who takes its file instead."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence

import attrs

from ..capabilities import ContinueRule, ModelRow
from ..errors import RequestError, UnsupportedOperation
from ..media import Video
from ..policy import Policy
from ..requests import ContinueVideo, Operation, Request
from .types import BackendView, Plan

__all__ = ["onward_operations", "stranded"]

#: An edit goes on from the collected file itself, which is then its source.
_FROM_THE_FILE = ("inpaint", "edit_with_references")


def onward_operations(row: ModelRow) -> tuple[Operation, ...]:
    """Return what a model does that goes on from an earlier result."""
    found = row.operations.items()
    return tuple(name for name, own in found if name in _FROM_THE_FILE or isinstance(own.inputs.get("continue_from"), ContinueRule))


def stranded(
    request: Request, views: Sequence[BackendView], policy: Policy, today: datetime.date, plan: Callable[..., Plan]
) -> UnsupportedOperation | None:
    """Return the error for going on from a video whose own backend goes on from none; None where it does."""
    handle = getattr(request, "continue_from", None)
    if not isinstance(request, ContinueVideo) or handle is None or not handle.resolved:
        return None
    home = next((view for view in views if view.name == handle.backend), None)
    if home is None or any("continue_video" in row.operations for row in home.matrix.models):
        return None
    text = f"{handle.id!r} was made by {handle.backend!r}, which goes on from no video."
    return UnsupportedOperation(text, fix=_instead(request, views, policy, today, plan))


def _instead(request: ContinueVideo, views: Sequence[BackendView], policy: Policy, today: datetime.date, plan: Callable[..., Plan]) -> str:
    """Return what can be done with the file itself, proven by planning it."""
    file = next(iter(request.continue_from.files), None) if request.continue_from is not None else None
    if file is not None:
        video = Video(path=file.path, mime=file.mime, width=file.width, height=file.height, seconds=file.seconds)
        alone = attrs.evolve(request, continue_from=None, source=video)
        for view in sorted(views, key=lambda view: (view.matrix.last_resort, view.name)):
            try:
                if not view.missing and plan(alone, [view], policy, today):
                    return f"give the video itself as the source, without the id, to backend={view.name!r}: {file.path}"
            except RequestError:
                continue
    return "make a new video that starts from its last picture, or set bridge = true under [policy] in the settings"

"""Continue a video with another backend (opt-in): its last frame becomes the first frame of a new video, which is reported."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import attrs

from ..convert.load_input import last_frame
from ..errors import UnsupportedInput
from ..files.part_file import copy_kept
from ..files.paths import open_input
from ..media import Image
from ..planning import Plan, Planner
from ..policy import Policy
from ..probe.probe import describe
from ..probe.reader import Limits
from ..requests import ContinueVideo, GenerateVideo
from ..results import Adjustment

__all__ = ["bridged_plan"]


def bridged_plan(
    request: ContinueVideo,
    planner: Planner,
    *,
    backend: str | Sequence[str] | None = None,
    model: str | None = None,
) -> Plan:
    """Plan a video that starts from the last frame of the one to be continued.

    Raises:
        UnsupportedInput: the earlier video's file is missing, or something else than appending was requested.
        RequestError: no backend can generate a video from a first frame.
    """
    if request.continue_as not in (None, "extend"):
        raise UnsupportedInput(f"a video can be bridged elsewhere only to extend it, not to {request.continue_as} it")
    frame = describe(Image(data=_last_frame(request, planner.policy), mime="image/png"))
    shared = {f.name for f in attrs.fields(GenerateVideo)} & {f.name for f in attrs.fields(ContinueVideo)}
    fields: dict[str, Any] = {name: getattr(request, name) for name in shared}
    plan = planner.plan(GenerateVideo(**fields, first_frame=frame), backend=backend, model=model)
    asked = request.continue_from.id if request.continue_from is not None else str(request.source)
    why = "its own backend cannot extend it: a new video starts from its last frame; the earlier part is not in the file"
    bridge = Adjustment(field="continue_from", kind="bridged", asked=asked, sent="first_frame", why=why)
    return attrs.evolve(plan, adjustments=(bridge, *plan.adjustments), continued_as="extend")


def _last_frame(request: ContinueVideo, policy: Policy) -> bytes:
    # A caller's path is opened the guarded way, a file of ours must still be the same; the decoder sees a copy of it.
    with tempfile.NamedTemporaryFile(prefix="anymedia-") as copy:
        if request.source is not None and request.source.path is not None:
            with open_input(request.source.path, policy.input_roots, field="$.source") as file:
                shutil.copyfileobj(file, copy)
        elif not _copy_earlier(request, copy):
            text = "the earlier video's file is gone or has changed, so it cannot be bridged"
            raise UnsupportedInput(text, fix="give the video file as source")
        copy.flush()
        return last_frame(Path(copy.name))


def _copy_earlier(request: ContinueVideo, into: IO[bytes]) -> bool:
    if request.continue_from is None or not request.continue_from.files:
        return False
    file = request.continue_from.files[0]
    return copy_kept(Path(file.path), file.sha256, into, most=Limits().bytes)

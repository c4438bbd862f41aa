"""Planner: which model continues an earlier result, and what is suggested if none can."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from anymedia.capabilities import parse_matrix
from anymedia.errors import RequestError, UnsupportedInput, UnsupportedOperation
from anymedia.media import Video
from anymedia.planning import BackendView, plan
from anymedia.policy import Policy
from anymedia.requests import Continuation, ContinueVideo, GenerateImage, StoredFile

_ALL = ["best", "second", "old"]
_ROW = {"prompt": {}, "size": {"one_of": ["512x512"]}, "continue_from": {"ways": ["chat"]}}
_WIDE = {**_ROW, "size": {"one_of": ["512x512", "2048x512"]}}
_ENDED = {"retires": "2026-11-01", "certainty": "reported"}
MATRIX = parse_matrix(
    {
        "schema": 1,
        "models": [
            {"id": "best", "rank": 1, "continues_with": _ALL, "generate_image": _WIDE},
            {"id": "second", "rank": 2, "continues_with": _ALL, "generate_image": _ROW},
            {
                "id": "old",
                "rank": 3,
                "continues_with": _ALL,
                "generate_image": _ROW,
                "lifecycle": {"retires": "2026-11-01", "certainty": "reported"},
            },
        ],
    },
    "test",
)


def chosen(model: str, **options: str) -> str:
    handle = Continuation(id=f"x_{model}", backend="a", model=model, media="image")
    request = GenerateImage(prompt="on", continue_from=handle, **options)  # type: ignore[arg-type]
    return plan(request, [BackendView(name="a", matrix=MATRIX)], Policy(), datetime.date(2026, 11, 21)).chosen.model


@pytest.mark.parametrize("model", ["best", "second"])
def test_continuation_prefers_its_own_model_over_better_rank(model: str) -> None:
    assert chosen(model) == model


def test_continuation_of_doubtful_model_uses_best_active_one() -> None:
    assert chosen("old") == "best"


def test_continuation_needing_changes_uses_model_without_changes() -> None:
    assert chosen("second", size="2048x512") == "best"


def test_order_without_continuation_follows_rank() -> None:
    found = plan(GenerateImage(prompt="x"), [BackendView(name="a", matrix=MATRIX)], Policy(), datetime.date(2026, 11, 21))
    assert found.chosen.model == "best"


ABLE = {"models": [{"id": "film", "media": "video", "continue_video": {"source": {"formats": ["mp4"]}}}]}
UNABLE = {"models": [{"id": "film", "media": "video", "generate_video": {"duration": {"one_of": [4]}, "first_frame": {}}}]}
FILE = StoredFile(path="/films/waves.mp4", sha256="0" * 64, mime="video/mp4", width=320, height=180, seconds=4.0)


def refused(*others: BackendView, backend: str | None = None, files: tuple[StoredFile, ...] = (FILE,)) -> RequestError:
    origin = BackendView(name="home", matrix=parse_matrix({"schema": 1, **UNABLE}, "home"))
    handle = Continuation(id="home_vid_0123456789ab", backend="home", model="film", media="video", files=files)
    with pytest.raises(UnsupportedOperation, match="'home', which cannot continue videos") as caught:
        plan(ContinueVideo(prompt="on", continue_from=handle), [origin, *others], Policy(), datetime.date(2026, 11, 21), backend=backend)
    assert caught.value.try_backends == ()  # no backend can execute that call
    return caught.value


def other(name: str, matrix: dict[str, Any], **more: Any) -> BackendView:
    return BackendView(name=name, matrix=parse_matrix({"schema": 1, **matrix}, name), **more)


@pytest.mark.parametrize("backend", [None, "home", "away"])
def test_continue_video_unsupported_by_own_backend_names_backend_for_file(backend: str | None) -> None:
    error = refused(other("away", ABLE), other("idle", UNABLE), backend=backend)
    assert error.fix == "pass the video file as the source, without the id, to backend='away': /films/waves.mp4"
    # ... and that request can be planned:
    source = Video(path="/films/waves.mp4", mime="video/mp4", seconds=4.0)
    views = [other("away", ABLE)]
    assert plan(ContinueVideo(prompt="on", source=source), views, Policy(), datetime.date(2026, 11, 21)).chosen.backend == "away"


@pytest.mark.parametrize("away", [other("away", UNABLE), other("away", ABLE, missing=("AWAY_KEY",))], ids=["cannot", "no key"])
def test_continue_video_without_able_backend_names_none(away: BackendView) -> None:
    assert "away" not in refused(away).fix
    assert "last frame" in refused(away).fix
    assert "last frame" in refused(other("able", ABLE), files=()).fix


def test_continuation_of_edit_only_model_suggests_inpaint() -> None:
    matrix = parse_matrix(
        {"schema": 1, "models": [{"id": "m", "media": "image", "generate_image": {}, "inpaint": {"source": {}, "mask": {}}}]}, "a"
    )
    handle = Continuation(id="a_img_0123456789ab", backend="a", model="m", media="image")
    with pytest.raises(UnsupportedInput, match="cannot continue an earlier result") as caught:
        plan(
            GenerateImage(prompt="on", continue_from=handle), [BackendView(name="a", matrix=matrix)], Policy(), datetime.date(2026, 11, 21)
        )
    assert caught.value.fix == "nearest supported: inpaint"

"""A video file that is stored with the Files API before it is edited: what fails there has cost nothing and leaks nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from wire.google_server import GoogleServer
from wire.http_server import Received, Reply
from wire.media_bytes import video

from anymedia.context import Context, LoadedMedia
from anymedia.errors import BackendError, BackendUnavailable, BadBackendResponse, InvalidRequest
from anymedia.requests import ContinueVideo, Video
from anymedia.results import Result
from anymedia.router import Router
from google_media import _files, plugin

pytestmark = pytest.mark.anyio
Extend = Callable[..., Awaitable[Result]]
MakeContext = Callable[..., Context]
FILM = video(112, 64, 3.0)


@pytest.fixture
def extend(router: Router, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Extend:
    """Extend a video file with a Gemini key."""
    monkeypatch.setattr(_files, "_POLL_SECONDS", 0.01)
    (tmp_path / "mine.mp4").write_bytes(FILM)

    async def call(**more: float) -> Result:
        asked = {"source": str(tmp_path / "mine.mp4"), "continue_as": "extend", "duration": 3, "backend": "google"}
        return await router.continue_video(prompt="and on", output=f"{tmp_path}/out/", **asked, **more)

    return call


def answered(fake: GoogleServer, start: str, reply: Reply, *, with_id: bool | None = None) -> None:
    """Answer requests that begin so otherwise; ``with_id``: only those with (without) an upload's id."""
    usual = fake._handler

    def handler(received: Received) -> Reply:
        its = received.line.startswith(start) and with_id in {None, "upload_id" in received.query}
        found = reply if its else usual(received)
        assert isinstance(found, Reply)
        return found

    fake._handler = handler


async def test_file_arrives_as_it_is_and_is_named_once_it_can_be_used(extend: Extend, fake: GoogleServer) -> None:
    result = await extend()
    assert fake.interactions.files["up0001"] == FILM
    assert fake.interactions.uploads == {"up0001": {"type": "video/mp4", "length": str(len(FILM))}}
    block = fake.interactions.made[-1].blocks("video")[0]
    assert block == {"type": "video", "mime_type": "video/mp4", "uri": "https://generativelanguage.googleapis.com/v1/files/up0001"}
    assert fake.count("GET /v1/files/up0001") == 1  # PROCESSING at first
    assert result.files[0].seconds == 6.0
    assert fake.submits() == 1


@pytest.mark.parametrize("with_id", [False, True], ids=["beginning", "bytes"])
async def test_neither_the_key_nor_the_file_follow_a_redirect(extend: Extend, fake: GoogleServer, with_id: bool) -> None:
    with GoogleServer() as thief:
        headers = {"location": f"{thief.url}/upload/v1/files?upload_id=x"}
        answered(fake, "POST /upload", Reply.of_json({}, status=307, headers=headers), with_id=with_id)
        with pytest.raises(BackendError) as caught:
            await extend()
        assert thief.received == []
    assert (type(caught.value), caught.value.delivery, caught.value.charged) == (BadBackendResponse, "not_sent", "no")
    assert fake.submits() == 0


@pytest.mark.parametrize(
    ("with_id", "reply"), [(False, Reply.of_json({})), (True, Reply.of_json({}, headers={"x-goog-upload-status": "final"}))]
)
async def test_answer_of_another_shape_is_a_bad_answer(extend: Extend, fake: GoogleServer, with_id: bool, reply: Reply) -> None:
    answered(fake, "POST /upload", reply, with_id=with_id)
    with pytest.raises(BadBackendResponse) as caught:
        await extend()
    assert (caught.value.delivery, caught.value.charged) == ("not_sent", "no")
    assert fake.submits() == 0


async def test_file_that_google_cannot_read_is_the_callers_to_mend(extend: Extend, fake: GoogleServer) -> None:
    answered(fake, "GET /v1/files/", Reply.of_json({"name": "files/up0001", "state": "FAILED"}))
    with pytest.raises(InvalidRequest, match="could not read"):
        await extend()
    assert fake.submits() == 0


async def test_busy_store_is_unavailable_and_nothing_was_spent(extend: Extend, fake: GoogleServer) -> None:
    fake.fail("status", on="POST /upload", times=None, status=503, json={"error": {"code": 503, "message": "busy"}})
    with pytest.raises(BackendUnavailable) as caught:
        await extend()
    assert (caught.value.delivery, caught.value.charged) == ("not_sent", "no")


@pytest.mark.exhaustive
async def test_store_that_never_answers_is_not_waited_for_for_ever(fake: GoogleServer, make_context: MakeContext) -> None:
    fake.fail("hang", on="POST /upload", times=None)
    source = Video(data=FILM)
    loaded = {source: LoadedMedia(data=FILM, mime="video/mp4", filename="v.mp4")}
    context = make_context("gemini-omni-1.2-flash", "continue_video", loaded, timeout=1.0)
    with pytest.raises(BackendUnavailable):
        await plugin.continue_video(ContinueVideo(prompt="and on", source=source), context)
    assert context.submissions == 0

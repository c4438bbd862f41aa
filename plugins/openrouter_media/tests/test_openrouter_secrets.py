"""The key goes to the service's own address and to no other; what is signed stays between the service and the download."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from wire.http_server import HttpServer, Received, Reply
from wire.openrouter_server import KEY, OpenRouterServer
from wire.openrouter_snapshot import refresh
from wire.openrouter_videos import SIGNATURE

from anymedia.credentials import Secret
from anymedia.errors import BackendError, BackendTimeout
from anymedia.requests import GenerateVideo
from anymedia.router import Router

pytestmark = pytest.mark.anyio
NewRouter = Callable[..., Router]
VEO = "openrouter/google/veo-3.1"


def moved(fake: OpenRouterServer, status: int, path: str) -> Reply:
    return Reply(status=status, headers={"location": fake.elsewhere.url + path})


def told(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(f"{record.getMessage()} {record.exc_info!r}" for record in caplog.records)


def on_disk(folder: Path) -> bytes:
    return b"\n".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_submit_that_is_redirected_goes_nowhere_else(fresh: Router, fake: OpenRouterServer, status: int) -> None:
    fake.fail("status", on="POST", times=None, reply=moved(fake, status, "/api/v1/images"))
    with pytest.raises(BackendError, match="redirects elsewhere") as refused:
        await fresh.generate_image(prompt="a boat", backend="openrouter")
    assert (refused.value.delivery, refused.value.charged) == ("refused", "no")
    assert fake.elsewhere.received == []
    assert fake.count("POST") == 1


async def test_redirected_status_check_is_not_followed_and_keeps_the_job(fresh: Router, fake: OpenRouterServer, tmp_path: Path) -> None:
    fake.fail("status", on="GET /api/v1/videos/gen", times=3, reply=moved(fake, 307, "/api/v1/videos/x"))
    result = await fresh.generate_video(prompt="waves", model=VEO, output=tmp_path / "waves.mp4")
    assert result.path.read_bytes() == next(iter(fake.videos.files.values()))
    assert fake.elsewhere.received == []


async def test_download_that_is_redirected_leaves_the_key_behind(
    fresh: Router, fake: OpenRouterServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.videos.links = "unsigned"

    def away(_: object, job_id: str, received: Received) -> Reply:
        fake.elsewhere.files["/bucket/film.mp4"] = fake.videos.files[job_id]
        assert received.headers["authorization"] == f"Bearer {KEY}"
        return moved(fake, 302, "/bucket/film.mp4")

    monkeypatch.setattr(type(fake.videos), "content", away)
    result = await fresh.generate_video(prompt="waves", model=VEO, output=tmp_path / "waves.mp4")
    assert result.path.read_bytes() == next(iter(fake.videos.files.values()))
    (asked,) = fake.elsewhere.received
    assert "authorization" not in asked.headers
    assert KEY not in str(asked)


@pytest.mark.parametrize(("links", "from_elsewhere"), [("unsigned", 0), ("both", 0), ("none", 0), ("foreign", 0), ("signed", 1)])
async def test_each_kind_of_link_gets_the_key_only_at_the_service(
    fresh: Router, fake: OpenRouterServer, tmp_path: Path, links: Any, from_elsewhere: int
) -> None:
    fake.videos.links = links
    result = await fresh.generate_video(prompt="waves", model=VEO, output=tmp_path / "waves.mp4")
    assert result.path.read_bytes() == next(iter(fake.videos.files.values()))
    assert len(fake.elsewhere.received) == from_elsewhere
    assert all("authorization" not in asked.headers and KEY not in str(asked) for asked in fake.elsewhere.received)
    if from_elsewhere:
        assert fake.elsewhere.received[0].query["X-Amz-Signature"] == SIGNATURE


async def test_polling_link_to_another_host_is_not_followed(fresh: Router, fake: OpenRouterServer, tmp_path: Path) -> None:
    fake.videos.polling = "elsewhere"
    fake.videos.links = "unsigned"
    await fresh.generate_video(prompt="waves", model=VEO, output=tmp_path / "waves.mp4")
    assert fake.elsewhere.received == []


async def test_signed_link_and_the_key_appear_in_no_log_result_sidecar_or_store(
    fresh: Router, fake: OpenRouterServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    result = await fresh.generate_video(prompt="waves", model=VEO, output=tmp_path / "waves.mp4")  # both kinds are given
    shown = [told(caplog), repr(result), str(result.to_json()), *(repr(row) for row in await fresh.jobs())]
    for secret in (SIGNATURE, KEY):
        assert not [text for text in shown if secret in text]
        assert secret.encode() not in on_disk(tmp_path)


async def test_signed_link_that_fails_appears_in_no_error_log_or_record(
    new_router: NewRouter, snapshot: None, fake: OpenRouterServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    fake.videos.links = "signed"
    fake.elsewhere.fail("status", on="GET", times=None, status=403, json={"Code": "AccessDenied"})
    request = GenerateVideo(prompt="waves")
    async with new_router() as router:
        with pytest.raises((BackendError, BackendTimeout)) as failed:
            await router.execute(request, model=VEO, output=tmp_path / "waves.mp4", deadline=20)
        rows = [repr(row) for row in await router.jobs()]
        states = [row.state for row in await router.jobs()]
    error = failed.value
    shown = [told(caplog), str(error), repr(error), str(error.to_json()), *rows]
    for secret in (SIGNATURE, KEY):
        assert not [text for text in shown if secret in text]
    assert fake.elsewhere.received
    assert KEY not in str(fake.elsewhere.received)
    assert states == ["collecting"]  # it is paid for: it can still be collected
    assert fake.count("POST") == 1


async def test_error_that_quotes_the_key_does_not_get_out(
    fresh: Router, fake: OpenRouterServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    said = f"bad key {KEY}, see https://files.example/x.mp4?X-Amz-Signature={SIGNATURE}"
    fake.fail("status", on="POST", status=401, json={"error": {"code": 401, "message": said}})
    with pytest.raises(BackendError) as failed:
        await fresh.generate_image(prompt="a boat", backend="openrouter")
    texts = [str(failed.value), repr(failed.value), str(failed.value.to_json()), told(caplog), on_disk(tmp_path).decode(errors="replace")]
    assert not [text for text in texts if KEY in text or SIGNATURE in text]


def test_refresh_takes_the_key_nowhere_else_either(fake: OpenRouterServer, tmp_path: Path) -> None:
    fake.fail("status", on="GET", times=None, reply=moved(fake, 302, "/api/v1/images/models"))
    done = refresh(fake, tmp_path, key=KEY)
    assert done.code != 0
    assert "redirects elsewhere" in done.err
    assert fake.elsewhere.received == []
    assert KEY not in done.err + done.out


async def test_key_is_not_sent_to_a_host_that_only_begins_like_the_service(new_router: NewRouter, no_snapshot: None) -> None:
    from openrouter_media._client import Connection

    connection = Connection(session=None, base="https://openrouter.ai/api/v1", key=Secret("x"), seconds=1.0)  # type: ignore[arg-type]
    inside = ["/api/v1/videos/a", "videos/a", "https://openrouter.ai/x", "https://OPENROUTER.ai/x", "//openrouter.ai/x"]
    outside = [
        "https://openrouter.ai.evil.example/x", "http://openrouter.ai/x", "https://openrouter.ai:8443/x", "https://evil.example/openrouter.ai",
        "//evil.example/x", "https://openrouter.ai@evil.example/x", "https://user:pw@openrouter.ai/x", "https://[bad/x", "ftp://openrouter.ai/x",
    ]  # fmt: skip
    assert all(connection.own(url) for url in inside)
    assert [url for url in outside if connection.own(url)] == []


def test_fake_does_turn_a_key_away_elsewhere(fake: OpenRouterServer) -> None:
    import urllib.error
    import urllib.request

    assert isinstance(fake.elsewhere, HttpServer)
    fake.elsewhere.files["/x"] = b"1"
    request = urllib.request.Request(fake.elsewhere.url + "/x", headers={"Authorization": "Bearer x"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request)
    assert refused.value.code == 400
    refused.value.close()

"""Speech over REST: one POST to one place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from wire.grok_server import GrokServer

from anymedia.errors import (
    AuthenticationFailed,
    BackendUnavailable,
    BadBackendResponse,
    ContentRefused,
    InvalidRequest,
    MediaError,
    QuotaExceeded,
    RateLimited,
    SubmissionUnknown,
)
from anymedia.requests import GenerateAudio
from anymedia.router import Router

pytestmark = pytest.mark.anyio
NewRouter = Callable[..., Router]
_TTS = "POST /v1/tts"


async def failed(router: Router, tmp_path: Path, prompt: str = "hello") -> MediaError:
    with pytest.raises(MediaError) as caught:
        await router.execute(GenerateAudio(prompt=prompt), backend="grok", output=f"{tmp_path}/")
    return caught.value


async def test_text_is_spoken_with_one_post(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    result = await router.generate_audio(prompt="hello there", backend="grok", output=tmp_path / "hello.mp3")
    received = fake.http.last(_TTS)
    assert received.json() == {"text": "hello there", "voice_id": "eve", "language": "auto", "output_format": {"codec": "mp3"}}
    assert received.headers["authorization"] == f"Bearer {fake.key}"
    assert result.path.read_bytes() == fake.speech.spoken[0]
    assert result.files[0].mime == "audio/mpeg"
    assert result.continuation_id is None
    assert fake.http.count(_TTS) == 1
    assert fake.calls == []


async def test_voice_format_and_what_only_this_provider_has_are_sent(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    result = await router.generate_audio(
        prompt="hello", voice="rex", output_format="wav", extra_params={"language": "en", "sample_rate": 48000, "bit_rate": 64000},
        backend="grok", output=f"{tmp_path}/",
    )  # fmt: skip
    assert fake.http.last(_TTS).json() == {
        "text": "hello",
        "voice_id": "rex",
        "language": "en",
        "output_format": {"codec": "wav", "sample_rate": 48000, "bit_rate": 64000},
    }
    assert result.files[0].mime == "audio/wav"


async def test_another_voice_of_the_catalogue_is_named_by_its_id(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    fake.speech.voices |= {"celeste"}
    await router.generate_audio(prompt="hello", extra_params={"voice_id": "celeste"}, backend="grok", output=f"{tmp_path}/")
    assert fake.http.last(_TTS).json()["voice_id"] == "celeste"


async def test_text_too_long_is_refused_before_anything_is_sent(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    error = await failed(router, tmp_path, "a" * 15_001)
    assert isinstance(error, InvalidRequest)
    assert "15000 characters" in error.message
    assert fake.http.received == []


@pytest.mark.parametrize(
    ("status", "words", "expected"),
    [
        (400, "Incorrect API key provided: xa***yz.", AuthenticationFailed),
        (401, "Unauthorized", AuthenticationFailed),
        (403, "Content violates usage guidelines.", ContentRefused),
        (403, "You have run out of credits or need a Grok subscription.", QuotaExceeded),
        (429, "Your team has either used all available credits or reached its monthly spending limit.", QuotaExceeded),
        (429, "Too many requests for your team.", RateLimited),
        (422, "Unknown field speed.", InvalidRequest),
        (307, "", BadBackendResponse),
        (302, "Over there.", BadBackendResponse),
    ],
)
async def test_answered_rejection_has_its_own_error(
    router: Router, fake: GrokServer, tmp_path: Path, status: int, words: str, expected: type[MediaError]
) -> None:
    more = {"retry-after": "2", "location": f"{fake.http.url}/elsewhere"}
    fake.http.fail("status", on=_TTS, status=status, json={"error": {"message": words}}, headers=more)
    error = await failed(router, tmp_path)
    assert type(error) is expected, error
    assert words in error.message
    assert error.charged == "no"
    assert getattr(error, "retry_after", None) == (2.0 if expected is RateLimited else None)
    assert [r.line for r in fake.http.received] == [_TTS]  # a redirect is not followed, least of all with the key


@pytest.mark.parametrize("kind", ["lost", "drop", "reset"])
async def test_lost_reply_is_an_unknown_outcome_after_one_post(new_router: NewRouter, fake: GrokServer, tmp_path: Path, kind: Any) -> None:
    fake.http.fail(kind, on=_TTS, times=None)
    async with new_router(retries=3) as router:
        error = await failed(router, tmp_path)
    assert isinstance(error, SubmissionUnknown)
    assert fake.http.count(_TTS) == 1


async def test_server_that_broke_down_is_an_unknown_outcome_after_one_post(new_router: NewRouter, fake: GrokServer, tmp_path: Path) -> None:
    fake.http.fail("status", on=_TTS, times=None, status=502, json={"error": "bad gateway"})
    async with new_router(retries=3) as router:
        error = await failed(router, tmp_path)
    assert isinstance(error, SubmissionUnknown)
    assert fake.http.count(_TTS) == 1


async def test_answer_that_is_truncated_or_not_audio_is_a_bad_response(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    fake.http.fail("truncate", on=_TTS, keep=20)
    assert isinstance(await failed(router, tmp_path), BadBackendResponse)
    fake.http.fail("status", on=_TTS, status=200, json={"error": "soon"})
    error = await failed(router, tmp_path)
    assert isinstance(error, SubmissionUnknown)
    assert error.provider_message == "soon"
    assert fake.http.count(_TTS) == 2


async def test_refused_connection_is_certainly_not_sent(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    fake.http.close()
    error = await failed(router, tmp_path)
    assert isinstance(error, BackendUnavailable)
    assert error.delivery == "not_sent"

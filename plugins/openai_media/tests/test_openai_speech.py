"""Speech, and the list of models."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from wire.openai_server import OpenAIServer

from anymedia.context import Context
from anymedia.errors import BadBackendResponse
from anymedia.requests import GenerateAudio
from anymedia.results import Outcome
from openai_media import plugin

MakeContext = Callable[..., Context]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("form", "mime"),
    [
        (None, "audio/mpeg"),
        ("wav", "audio/wav"),
        ("opus", "audio/opus"),
        ("flac", "audio/flac"),
        ("aac", "audio/aac"),
        ("pcm", "audio/pcm"),
    ],
)
async def test_speech_comes_back_as_it_was_sent(fake: OpenAIServer, make_context: MakeContext, form: str | None, mime: str) -> None:
    context = make_context("gpt-4o-mini-tts", "generate_audio")
    made = await plugin.generate_audio(request=GenerateAudio(prompt="Good morning.", output_format=form), context=context)
    assert isinstance(made, Outcome)
    assert [p.data for p in made.pieces] == fake.spoken
    assert (made.pieces[0].mime, made.pieces[0].continuation) == (mime, None)
    assert fake.last().json() == {
        "model": "gpt-4o-mini-tts", "input": "Good morning.", "voice": "alloy", "response_format": form or "mp3",
    }  # fmt: skip
    assert made.request_id is not None


@pytest.mark.anyio
async def test_model_without_instructions_is_sent_none(fake: OpenAIServer, make_context: MakeContext) -> None:
    request = GenerateAudio(prompt="Good morning.", voice="nova", speed=1.5, instructions="cheerfully")
    await plugin.generate_audio(request=request, context=make_context("gpt-4o-mini-tts", "generate_audio"))
    assert fake.last().json()["instructions"] == "cheerfully"
    await plugin.generate_audio(request=request, context=make_context("tts-1", "generate_audio"))
    assert "instructions" not in fake.last().json()


@pytest.mark.anyio
async def test_json_in_place_of_sound_is_a_bad_answer(fake: OpenAIServer, make_context: MakeContext) -> None:
    fake.fail("status", status=200, json={"detail": "no voices left"})
    with pytest.raises(BadBackendResponse, match="no sound"):
        await plugin.generate_audio(request=GenerateAudio(prompt="Good morning."), context=make_context("tts-1", "generate_audio"))


@pytest.mark.anyio
async def test_list_of_models_says_when_each_ends_so_that_drift_from_the_matrix_shows(
    fake: OpenAIServer, make_context: MakeContext
) -> None:
    fake.shutdown_dates["gpt-image-2"] = "2027-03-01"
    listed = await plugin.list_models(context=make_context("tts-1", "generate_audio"))
    ends = {found.id: found.retires for found in listed}
    assert ends["gpt-image-1.5"] == "2026-12-01"
    assert ends["gpt-image-2.6-flare"] is None
    known = {row.id: row.lifecycle.retires for row in plugin.capabilities().models}
    drift = {name: day for name, day in ends.items() if name in known and day != (known[name] and str(known[name]))}
    assert drift == {"gpt-image-2": "2027-03-01", "gpt-image-1.5-2025-12-16": None, "gpt-4o-mini-tts-2025-12-15": None}

"""Speech and music: raw samples get a header, voices and manner reach the wire, a song comes with its words."""

from __future__ import annotations

import base64
import io
import wave
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire.google_server import GoogleServer

from anymedia.errors import BadBackendResponse, MediaError
from anymedia.router import Router
from google_media.audio import wrapped

pytestmark = pytest.mark.anyio
OLD, NEW = "gemini-2.5-flash-tts", "gemini-3.8-flash-tts"


async def test_raw_samples_are_wrapped_and_their_bytes_stay_what_they_were(router: Router, fake: GoogleServer, out: str) -> None:
    result = await router.generate_audio(prompt="Good morning.", backend="cloud", model=OLD, output=out)
    with wave.open(str(result.path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (24_000, 1, 2)
        assert file.readframes(file.getnframes()) == fake.content.made[-1]
    assert fake.content.turns[-1].texts() == ["Good morning."]
    assert fake.content.turns[-1].config["responseModalities"] == ["AUDIO"]


async def test_wav_stays_what_it_was(router: Router, fake: GoogleServer, out: str) -> None:
    result = await router.generate_audio(prompt="Good morning.", backend="google", model=NEW, output=out)
    assert Path(result.path).read_bytes() == fake.content.made[-1]


async def test_speech_costs_its_tokens_at_the_rates_of_its_model(router: Router, fake: GoogleServer, out: str) -> None:
    result = await router.generate_audio(prompt="Good morning.", backend="google", model=NEW, output=out)
    assert result.cost.actual_usd == round((12 * 0.5 + 1120 * 9) / 1e6, 6)
    assert "rates of the matrix" in result.cost.basis


@pytest.mark.parametrize("mime", [None, "application/octet-stream"])
async def test_raw_samples_without_their_type_are_taken_for_what_the_model_makes(
    router: Router, fake: GoogleServer, out: str, mime: str | None
) -> None:
    samples = b"\1\0\2\0" * 6000
    blob = {"data": base64.b64encode(samples).decode()} | ({} if mime is None else {"mimeType": mime})
    body = {"candidates": [{"content": {"parts": [{"inlineData": blob}]}, "finishReason": "STOP"}]}
    fake.fail("status", on="POST /v1", status=200, json=body)
    result = await router.generate_audio(prompt="Good morning.", backend="google", model=NEW, output=out)
    with wave.open(str(result.path)) as file:
        assert (file.getframerate(), file.readframes(file.getnframes())) == (24_000, samples)
    assert [warning.code for warning in result.warnings] == ["sampling_rate_assumed"]


@pytest.mark.parametrize(("backend", "model"), [("cloud", OLD), ("google", NEW)])
async def test_raw_samples_are_given_when_they_are_asked_for(
    router: Router, fake: GoogleServer, out: str, backend: str, model: str
) -> None:
    result = await router.generate_audio(prompt="Good morning.", output_format="pcm", backend=backend, model=model, output=out)
    made = fake.content.made[-1]
    if model == NEW:
        with wave.open(io.BytesIO(made)) as file:
            made = file.readframes(file.getnframes())
    assert Path(result.path).read_bytes() == made
    assert result.files[0].mime == "audio/pcm"


@pytest.mark.parametrize("backend", ["google", "cloud"])
async def test_voice_and_manner_reach_the_wire(router: Router, fake: GoogleServer, out: str, backend: str) -> None:
    await router.generate_audio(prompt="Good morning.", voice="Kore", instructions="Say cheerfully:", backend=backend, output=out)
    turn = fake.content.turns[-1]
    assert turn.config["speechConfig"] == {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}}}
    assert turn.texts() == ["Say cheerfully: Good morning."]


async def test_words_in_place_of_sound_are_a_bad_answer(router: Router, fake: GoogleServer, out: str) -> None:
    fake.content.next_answers.append("text_only")
    with pytest.raises(BadBackendResponse, match=r"holds no sound; .*I would rather describe it") as caught:
        await router.generate_audio(prompt="Good morning.", backend="google", output=out)
    assert caught.value.charged == "unknown"


async def test_song_comes_with_its_words(router: Router, fake: GoogleServer, out: str) -> None:
    result = await router.generate_audio(prompt="a shanty", audio_type="music", backend="google", output=out)
    sent = fake.interactions.made[-1]
    assert (sent.body["model"], sent.text(), sent.body["response_format"]) == ("lyria-3.5", "a shanty", {"type": "audio"})
    assert result.files[0].mime == "audio/mpeg"
    assert Path(result.path).read_bytes() == sent.media
    assert result.to_json()["texts"] == [f"Made audio {sent.id}."]


async def test_music_on_agent_platform_is_refused(router: Router, fake: GoogleServer, out: str) -> None:
    with pytest.raises(MediaError):
        await router.generate_audio(prompt="a shanty", audio_type="music", backend="cloud", output=out)
    assert fake.submits() == 0


@given(st.binary(max_size=4000).filter(lambda b: len(b) % 2 == 0), st.sampled_from([8000, 16_000, 24_000, 48_000]))
def test_any_samples_at_any_rate_come_out_of_their_wav_again(samples: bytes, rate: int) -> None:
    with wave.open(io.BytesIO(wrapped(samples, f"audio/L16;codec=pcm;rate={rate}"))) as file:
        assert (file.readframes(file.getnframes()), file.getframerate()) == (samples, rate)


def test_mime_type_without_a_rate_means_24_khz() -> None:
    with wave.open(io.BytesIO(wrapped(b"\0\0", "audio/pcm"))) as file:
        assert (file.getframerate(), file.getnchannels()) == (24_000, 1)

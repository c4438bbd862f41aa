"""Speech and music, judged by what is in the samples."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiers import quick_first

from anymedia import Router, Settings, SqliteStore
from anymedia.errors import BackendUnavailable, InvalidRequest, NoBackendAvailable
from anymedia.requests import GenerateAudio

pytestmark = pytest.mark.anyio

FORMATS = {"wav": "audio/wav", "mp3": "audio/mpeg", "flac": "audio/flac", "ogg": "audio/ogg"}


def _loudest(samples: Any, rate: int) -> float:
    """Return the strongest frequency in hertz."""
    mono = samples.mean(axis=0)
    spectrum = np.abs(np.fft.rfft(mono * np.hanning(len(mono))))
    return float(np.fft.rfftfreq(len(mono), 1 / rate)[int(spectrum.argmax())])


async def play(local: Any, prompt: str, **more: Any) -> Any:
    return await local.piece(GenerateAudio(prompt=prompt, audio_type="music", **more), model="tones")


@pytest.mark.parametrize("name", list(FORMATS))
@pytest.mark.parametrize("seconds", quick_first([0.5, 3.25]))
async def test_music_has_the_length_and_format_that_was_asked_for(local: Any, eyes: Any, name: str, seconds: float) -> None:
    piece = await play(local, "calm piano", duration=seconds, seed=1, output_format=name)
    assert piece.mime == FORMATS[name]
    samples, rate = eyes.sound(piece.data)
    assert samples.shape[0] == 2
    assert samples.shape[1] / rate == pytest.approx(seconds, abs=0.06)
    assert 0.2 < np.abs(samples).max() <= 1.01


async def test_tone_has_its_frequency(local: Any, eyes: Any) -> None:
    for hertz in (220, 440, 1500):
        assert _loudest(*eyes.sound((await play(local, f"a tone of {hertz} Hz", duration=2)).data)) == pytest.approx(hertz, abs=2)


async def test_notes_are_played_one_after_another(local: Any, eyes: Any) -> None:
    samples, rate = eyes.sound((await play(local, "A4 C5 E5 on the flute", duration=3)).data)
    heard = [_loudest(samples[:, i * rate + 3000 : (i + 1) * rate - 3000], rate) for i in range(3)]
    assert heard == pytest.approx([440, 523.25, 659.26], abs=4)


async def test_same_seed_gives_the_same_music_and_another_seed_another(local: Any, eyes: Any) -> None:
    first, again, other = [eyes.sound((await play(local, "happy piano music", duration=4, seed=s)).data)[0] for s in (1, 1, 2)]
    assert (first == again).all()
    assert np.abs(first - other).mean() > 0.01


@pytest.mark.exhaustive
async def test_words_change_the_music(local: Any, eyes: Any) -> None:
    async def sound(prompt: str) -> Any:
        return eyes.sound((await play(local, prompt, duration=6, seed=4)).data)[0].mean(axis=0)

    def brightness(samples: Any) -> float:
        spectrum = np.abs(np.fft.rfft(samples))
        return float((spectrum * np.arange(len(spectrum))).sum() / spectrum.sum())

    calm, fast, rain = await sound("calm strings"), await sound("fast piano with drums"), await sound("rain")
    assert brightness(rain) > 1.5 * brightness(calm)

    def onsets(samples: Any) -> int:
        level = np.abs(samples[: len(samples) // 441 * 441]).reshape(-1, 441).max(axis=1)
        return int((np.diff(level) > 0.15).sum())

    assert onsets(fast) > onsets(calm) + 5


async def test_unknown_word_for_music_is_reported(local: Any) -> None:
    outcome = await local.run(GenerateAudio(prompt="qwertz", audio_type="music", duration=1), model="tones")
    assert "no word of the prompt is known" in outcome.warnings[0]
    assert outcome.pieces[0].text.startswith("seed ")


async def say(local: Any, text: str, **more: Any) -> Any:
    pytest.importorskip("espeakng_loader")
    return await local.piece(GenerateAudio(prompt=text, **more), model="voice")


@pytest.mark.parametrize("name", list(FORMATS))
async def test_speech_comes_in_each_format(local: Any, eyes: Any, name: str) -> None:
    piece = await say(local, "Hello, world. This is a test.", output_format=name)
    assert piece.mime == FORMATS[name]
    samples, rate = eyes.sound(piece.data)
    assert 1.0 < samples.shape[1] / rate < 5.0
    assert np.abs(samples).max() > 0.1


async def test_longer_text_takes_longer_and_a_higher_speed_is_shorter(local: Any, eyes: Any) -> None:
    async def seconds(text: str, **more: Any) -> float:
        samples, rate = eyes.sound((await say(local, text, **more)).data)
        return float(samples.shape[1] / rate)

    short, long = await seconds("One two three."), await seconds("One two three. Four five six. Seven eight nine.")
    assert long > 2 * short
    assert await seconds("One two three four five six", speed=2.0) < 0.7 * await seconds("One two three four five six", speed=1.0)
    assert await seconds("One two three four five six", speed=0.6) > 1.3 * await seconds("One two three four five six", speed=1.0)


async def test_voices_differ_and_the_same_voice_repeats_itself(local: Any, eyes: Any) -> None:
    """espeak-ng itself varies by some samples from call to call, so loudness over time is compared."""

    async def loudness(voice: str) -> Any:
        samples = eyes.sound((await say(local, "Tag und Nacht", voice=voice)).data)[0][0]
        return np.abs(samples[: len(samples) // 400 * 400]).reshape(-1, 400).mean(axis=1)[:40]

    english, german, again = await loudness("en-gb"), await loudness("de"), await loudness("en-gb")
    assert np.corrcoef(english, again)[0, 1] > 0.95
    assert np.corrcoef(english, german)[0, 1] < 0.9


async def test_voice_that_is_not_there_is_refused_with_the_nearest(local: Any) -> None:
    with pytest.raises(InvalidRequest, match="did you mean 'en-gb'"):
        await say(local, "Hello", voice="en-gbb")


async def test_voice_follows_the_letters_of_the_text() -> None:
    from local_media.sounds.espeak import voice_for

    texts = {"Hello": "en-us", "Привет": "ru", "Καλημέρα": "el", "こんにちは世界": "ja", "你好": "cmn", "안녕하세요": "ko", "123": "en-us"}
    assert {text: voice_for(text) for text in texts} == texts


async def test_text_that_cannot_be_spoken_is_refused(local: Any) -> None:
    with pytest.raises(InvalidRequest, match="nothing in it"):
        await say(local, "...")


INSTALL = "pip install espeakng-loader"


@pytest.fixture
def no_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine where the extra was not installed: its module cannot be imported."""
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)


async def test_speech_without_its_extra_is_refused_by_the_plan_and_music_is_not(no_extra: None, tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path / "state")
    async with Router(store=SqliteStore(":memory:"), settings=settings) as router:
        with pytest.raises(NoBackendAvailable, match=re.escape("'local/voice' needs 'espeakng_loader', which is not installed")) as caught:
            await router.execute(GenerateAudio(prompt="Hello"), backend="local", output=f"{tmp_path}/")
        assert caught.value.fix.startswith(INSTALL)
        assert list(await router.store.calls()) == []
        made = await router.execute(GenerateAudio(prompt="C4", audio_type="music", duration=0.5), backend="local", output=f"{tmp_path}/")
        assert made.provenance.model == "tones"


@pytest.mark.parametrize("broken", ["module", "library"])
async def test_speech_that_cannot_be_loaded_is_reported_before_anything_counts_as_submitted(
    local: Any, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """As where the extra is only half there: the plan cannot know that."""
    from local_media import plugin
    from local_media.sounds import espeak

    torn: Any = types.ModuleType("espeakng_loader")
    torn.get_library_path = lambda: "/nowhere/libespeak-ng.so"
    monkeypatch.setitem(sys.modules, "espeakng_loader", None if broken == "module" else torn)  # type: ignore[arg-type]
    espeak._library.cache_clear()
    espeak._listed.cache_clear()
    context = local.context("generate_audio", model="voice")
    with pytest.raises(BackendUnavailable, match=r"espeak-ng cannot be loaded: (ModuleNotFoundError|OSError)") as caught:
        await plugin.generate_audio(GenerateAudio(prompt="Hello"), context)
    assert caught.value.fix == f"reinstall it: {INSTALL}"
    assert caught.value.delivery == "not_sent"
    assert not caught.value.retry
    assert context.submissions == 0

"""Request -> outcome, for speech and for music."""

from __future__ import annotations

from anymedia.context import Context
from anymedia.media import mime_of
from anymedia.requests import GenerateAudio
from anymedia.results import Outcome, Piece

from .._errors import not_loaded, work
from ..recipe import fresh_seed

__all__ = ["make_sound"]

_DURATION = 10.0
_UNKNOWN = "no word of the prompt is known to this procedural backend: the music is made by chance"


async def make_sound(request: GenerateAudio, context: Context) -> Outcome:
    """Speak the prompt with espeak-ng, or play what its keywords ask for."""
    return await (_speech if request.audio_type == "speech" else _music)(request, context)


async def _speech(request: GenerateAudio, context: Context) -> Outcome:
    import asyncio

    from .encode import encode_sound
    from .espeak import speak, voice_for, voices

    try:
        await asyncio.to_thread(voices)  # a failure to load is reported before anything counts as submitted
    except (ImportError, OSError) as error:
        raise not_loaded("espeak-ng", error, context) from error
    voice = request.voice or voice_for(request.prompt)
    name = request.output_format or "wav"

    def speech() -> Piece:
        samples, rate = speak(request.prompt, voice, request.speed or 1.0)
        return Piece(data=encode_sound(samples, rate, name), mime=mime_of(name))

    return Outcome(pieces=(await work(context, speech),), cost_usd=0.0)


async def _music(request: GenerateAudio, context: Context) -> Outcome:
    from .encode import encode_sound
    from .instruments import RATE
    from .score import read_score
    from .studio import play

    seed = fresh_seed() if request.seed is None else request.seed
    score = read_score(request.prompt, seed)
    name = request.output_format or "wav"

    def music() -> Piece:
        samples = play(score, request.duration or _DURATION, seed)
        text = f"seed {seed}" if request.seed is None else None
        return Piece(data=encode_sound(samples, RATE, name), mime=mime_of(name), text=text)

    return Outcome(pieces=(await work(context, music),), cost_usd=0.0, warnings=() if score.known else (_UNKNOWN,))

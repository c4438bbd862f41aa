"""A score -> stereo samples of just the length asked for."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..heavy import rng
from .instruments import RATE, drum, noise, note
from .score import Score

if TYPE_CHECKING:
    import numpy as np

    from ..heavy import Floats

__all__ = ["play"]

_MAJOR, _MINOR = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)
_WAYS = ((0, 4, 5, 3), (0, 5, 3, 4), (0, 3, 0, 4), (5, 3, 0, 4))


class _Tape:
    """Two tracks that sounds are laid on."""

    def __init__(self, seconds: float) -> None:
        import numpy as np

        self.samples = np.zeros((round(seconds * RATE), 2), np.float32)

    def lay(self, sound: Floats, at: float, level: float, side: float = 0.0) -> None:
        """Add a mono sound at a time (seconds); ``side`` -1 is left, 1 right."""
        start = round(at * RATE)
        stop = min(len(self.samples), start + len(sound))
        if start >= stop:
            return
        part = sound[: stop - start]
        self.samples[start:stop, 0] += part * (level * (1 - 0.6 * max(side, 0)))
        self.samples[start:stop, 1] += part * (level * (1 + 0.6 * min(side, 0)))


def play(score: Score, seconds: float, seed: int) -> Floats:
    """Return (frames, 2) samples, -1 to 1, at `RATE`; the same score, length and seed give the same samples."""
    import numpy as np

    chance = rng(seed, "music")
    tape = _Tape(seconds)
    if score.kind == "tones":
        for hertz in score.hertz:
            tape.lay(note(score.instrument, hertz, seconds), 0.0, 0.8 / len(score.hertz))
    elif score.kind == "notes":
        _melody(tape, score, seconds)
    elif score.kind == "music":
        _piece(tape, score, seconds, chance)
    if score.drums:
        _beat(tape, score.beats, seconds, chance)
    for kind in score.noises:
        level = 0.7 if score.kind == "noise" else 0.25
        tape.lay(noise(kind, seconds, chance), 0.0, level, -0.4)
        tape.lay(noise(kind, seconds, chance), 0.0, level, 0.4)
    if score.kind in {"notes", "music"}:
        tape.samples += 0.22 * _room(tape.samples, chance)
    return _mastered(np.asarray(tape.samples, np.float32))


def _melody(tape: _Tape, score: Score, seconds: float) -> None:
    """Play the notes one after another, evenly over the whole length."""
    each = seconds / len(score.hertz)
    for index, hertz in enumerate(score.hertz):
        tape.lay(note(score.instrument, hertz, each * 1.02), index * each, 0.7)


def _degree(root: int, scale: tuple[int, ...], degree: int) -> float:
    octave, step = divmod(degree, 7)
    return float(440.0 * 2 ** ((root + scale[step] + 12 * octave - 69) / 12))


def _piece(tape: _Tape, score: Score, seconds: float, chance: np.random.Generator) -> None:
    """Play four chords round and round, a bass, and a melody that wanders over them and comes home."""
    beat = 60 / score.beats
    scale = _MINOR if score.minor else _MAJOR
    root = int(chance.integers(45, 57))
    way = _WAYS[int(chance.integers(0, len(_WAYS)))]
    degree = 7
    bars = math.ceil(seconds / (4 * beat))
    for bar in range(bars):
        start = bar * 4 * beat
        chord = way[bar % 4] if bar < bars - 1 else 0
        for voice, offset in enumerate((0, 2, 4)):
            pitch = _degree(root, scale, chord + offset + (7 if offset + chord < 4 else 0))
            tape.lay(note("strings", pitch, 4 * beat), start, 0.09, 0.5 * (voice - 1))
        for half in (0, 2):
            tape.lay(note("guitar", _degree(root - 12, scale, chord), 2 * beat), start + half * beat, 0.3)
        at = 0.0
        while at < 4:
            length = float(chance.choice([0.5, 1.0, 1.0, 1.5, 2.0]))
            strong = at % 2 == 0
            near = [d for d in range(degree - 3, degree + 4) if (d - chord) % 7 in ({0, 2, 4} if strong else {0, 1, 2, 4, 5})]
            degree = int(chance.choice(near)) if near else degree
            degree = min(max(degree, 5), 15)
            if chance.random() < 0.9:
                tape.lay(note(score.instrument, _degree(root + 12, scale, degree - 7), (length + 0.6) * beat), start + at * beat, 0.42, 0.2)
            at += length


def _beat(tape: _Tape, beats: float, seconds: float, chance: np.random.Generator) -> None:
    strokes = {kind: drum(kind, chance) for kind in ("kick", "snare", "hat")}
    for half in range(round(seconds * beats / 30)):
        at = half * 30 / beats
        tape.lay(strokes["hat"], at, 0.3, 0.4)
        if half % 4 == 0:
            tape.lay(strokes["kick"], at, 0.7)
        elif half % 4 == 2:
            tape.lay(strokes["snare"], at, 0.45)


def _room(dry: Floats, chance: np.random.Generator) -> Floats:
    """Return the echo of a room: the sound folded with noise that dies away."""
    import numpy as np

    length = round(0.9 * RATE)
    fade = np.exp(-np.arange(length) / (0.22 * RATE))[:, None]
    echo = chance.standard_normal((length, 2)) * fade
    echo /= np.sqrt((echo**2).sum(axis=0))
    size = len(dry) + length
    wet = np.fft.irfft(np.fft.rfft(dry, size, axis=0) * np.fft.rfft(echo, size, axis=0), size, axis=0)
    return np.asarray(wet[: len(dry)], np.float32)


def _mastered(samples: Floats) -> Floats:
    """Bring it to a good level and let it end softly."""
    import numpy as np

    samples = samples * (0.85 / max(float(np.abs(samples).max(initial=0.0)), 1e-6))
    fade = min(len(samples), round(0.25 * RATE))
    samples[len(samples) - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)[:, None] ** 0.7
    rise = min(len(samples), 64)
    samples[:rise] *= np.linspace(0, 1, rise, dtype=np.float32)[:, None]
    return samples

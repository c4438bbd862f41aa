"""One note of each instrument, one stroke of each drum, stretches of noise: mono samples, -1 to 1."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from ..heavy import Floats

__all__ = ["RATE", "drum", "noise", "note"]

RATE = 44_100
#: Instrument -> strengths of the overtones, how fast it fades (per second; 0: sustained), seconds of attack.
_VOICES: dict[str, tuple[tuple[float, ...], float, float]] = {
    "sine": ((1.0,), 0.0, 0.01),
    "piano": ((1.0, 0.55, 0.32, 0.2, 0.12, 0.08, 0.05), 2.2, 0.004),
    "organ": ((1.0, 0.8, 0.0, 0.6, 0.0, 0.3, 0.0, 0.25), 0.0, 0.03),
    "strings": ((1.0, 0.6, 0.45, 0.3, 0.22, 0.15, 0.1, 0.08), 0.0, 0.16),
    "flute": ((1.0, 0.28, 0.12, 0.04), 0.0, 0.06),
    "guitar": ((1.0, 0.7, 0.5, 0.34, 0.22, 0.14, 0.1), 3.2, 0.002),
    "synth": ((1.0, 0.0, 0.33, 0.0, 0.2, 0.0, 0.14, 0.0, 0.11), 1.2, 0.005),
}
_BELL = ((0.56, 0.4, 1.2), (1.0, 1.0, 1.8), (1.19, 0.5, 2.4), (2.0, 0.6, 3.0), (2.74, 0.35, 4.5), (3.76, 0.2, 6.0))


def note(instrument: str, hertz: float, seconds: float) -> Floats:
    """Return one note, with the end let go softly."""
    import numpy as np

    count = max(1, round(seconds * RATE))
    t = np.arange(count, dtype=np.float64) / RATE
    total = np.zeros(count)
    if instrument == "bell":
        for ratio, level, fade in _BELL:
            if hertz * ratio < RATE / 2.2:
                total += level * np.exp(-fade * t) * np.sin(2 * np.pi * hertz * ratio * t)
        attack = 0.002
        total /= 2.2
    else:
        overtones, fade, attack = _VOICES[instrument]
        sway = 0.004 * np.sin(2 * np.pi * 5.2 * t) / (2 * np.pi * 5.2) if instrument in {"strings", "flute"} else 0.0
        for number, level in enumerate(overtones, 1):
            if level and hertz * number < RATE / 2.2:
                total += level * np.exp(-fade * (0.6 + 0.4 * number) * t) * np.sin(2 * np.pi * hertz * number * (t + sway))
        total /= sum(overtones)
    rise = np.clip(t / attack, 0, 1)
    release = np.clip((count - np.arange(count)) / (RATE * min(0.08, seconds / 3)), 0, 1)
    return np.asarray(total * rise * release, np.float32)


def drum(kind: str, chance: np.random.Generator) -> Floats:
    """Return a stroke: kick, snare or hat."""
    import numpy as np

    t = np.arange(round(0.25 * RATE)) / RATE
    if kind == "kick":
        return np.asarray(np.sin(2 * np.pi * (48 * t + 9 * (1 - np.exp(-22 * t)))) * np.exp(-11 * t), np.float32)
    hiss = chance.standard_normal(len(t))
    if kind == "snare":
        return np.asarray((0.35 * hiss + 0.5 * np.sin(2 * np.pi * 185 * t)) * np.exp(-17 * t), np.float32)
    return np.asarray(np.diff(hiss, prepend=0.0) * 0.22 * np.exp(-48 * t), np.float32)


def _shaped(chance: np.random.Generator, count: int, low: float, high: float, slope: float) -> Floats:
    """Return noise between two frequencies (hertz) that falls with ``slope``."""
    import numpy as np

    spectrum = np.fft.rfft(chance.standard_normal(count))
    hertz = np.fft.rfftfreq(count, 1 / RATE)
    keep = 1 / (1 + (low / np.maximum(hertz, 1)) ** 4) / (1 + (hertz / high) ** 4)
    found = np.fft.irfft(spectrum * keep * np.maximum(hertz, 20.0) ** -slope, count)
    return np.asarray(found / max(float(np.abs(found).max()), 1e-9), np.float32)


def noise(kind: str, seconds: float, chance: np.random.Generator) -> Floats:
    """Return rain, waves, wind or plain noise."""
    import numpy as np

    count = max(1, round(seconds * RATE))
    t = np.arange(count) / RATE
    if kind == "rain":
        bed = 0.4 * _shaped(chance, count, 600, 9000, 0.2)
        drops = np.zeros(count)
        at = chance.integers(0, count, max(1, round(seconds * 45)))
        drops[at] = chance.random(len(at)) ** 3
        ring = np.exp(-np.arange(900) / 90) * np.sin(np.arange(900) * 0.42)
        return np.asarray(bed + 0.5 * np.convolve(drops, ring)[:count], np.float32)
    if kind == "waves":
        swell = 0.25 + 0.75 * (0.5 + 0.5 * np.sin(2 * np.pi * t / 6.5 - 1.2)) ** 2.2
        return np.asarray(_shaped(chance, count, 60, 3200, 0.55) * swell, np.float32)
    if kind == "wind":
        gusts = np.interp(t, np.arange(0, seconds + 2, 0.8), 0.25 + 0.75 * chance.random(len(np.arange(0, seconds + 2, 0.8))))
        return np.asarray(_shaped(chance, count, 120, 900, 0.7) * gusts, np.float32)
    return 0.6 * _shaped(chance, count, 20, 18_000, 0.0)

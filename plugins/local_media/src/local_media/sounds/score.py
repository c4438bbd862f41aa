"""Prompt -> Score: tones, notes, noises, or a small piece of music in a mood."""

from __future__ import annotations

import re
from typing import Literal

import attrs

from ..heavy import rng
from ..words import tokens

__all__ = ["Score", "read_score"]

_NOTE = re.compile(r"(?<![A-Za-z0-9])([A-G])([#b♯♭]?)([0-8])(?![A-Za-z0-9])")
_HERTZ = re.compile(r"(\d+(?:\.\d+)?)\s*(k?)hz\b", re.IGNORECASE)
_BPM = re.compile(r"(\d{2,3})\s*bpm\b", re.IGNORECASE)
_STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}

NOISES = {
    "rain": ("rain", "raining", "drizzle", "downpour"),
    "waves": ("waves", "ocean", "sea", "surf", "beach"),
    "wind": ("wind", "breeze", "storm", "gale"),
    "noise": ("noise", "static", "hiss"),
}
INSTRUMENTS = {
    "piano": ("piano", "keys", "keyboard"),
    "bell": ("bell", "bells", "chime", "chimes", "glockenspiel"),
    "organ": ("organ", "church"),
    "strings": ("strings", "string", "violin", "cello", "orchestra", "orchestral", "cinematic"),
    "flute": ("flute", "whistle"),
    "guitar": ("guitar", "harp", "pluck", "plucked", "lute"),
    "synth": ("synth", "synthesizer", "electronic", "techno", "chiptune", "arcade"),
}
_FAST = ("fast", "lively", "energetic", "upbeat", "quick", "dance", "techno", "allegro", "action")
_SLOW = ("slow", "calm", "relaxing", "peaceful", "ambient", "gentle", "lullaby", "meditation", "adagio", "sleep")
_MINOR = ("sad", "dark", "melancholy", "melancholic", "minor", "mysterious", "tense", "gloomy", "spooky", "night")
_MAJOR = ("happy", "cheerful", "joyful", "bright", "major", "sunny", "celebration")
_DRUMS = ("drum", "drums", "beat", "percussion", "rhythm", "techno", "dance", "march")


@attrs.frozen(kw_only=True)
class Score:
    """What is to be played.

    Attributes:
        kind: ``tones`` (all at once), ``notes`` (one after another), ``noise``, or ``music``.
        hertz: frequencies of tones or notes.
        noises: kinds of noise, also under music.
        minutes: beats per minute.
        minor: minor instead of major.
        instrument: what plays.
        drums: whether there is a beat.
        known: whether any word of the prompt was known.
    """

    kind: Literal["tones", "notes", "noise", "music"]
    hertz: tuple[float, ...] = ()
    noises: tuple[str, ...] = ()
    beats: float = 96.0
    minor: bool = False
    instrument: str = "piano"
    drums: bool = False
    known: bool = True


def _pitch(letter: str, sign: str, octave: str) -> float:
    step = _STEPS[letter] + {"#": 1, "♯": 1, "b": -1, "♭": -1}.get(sign, 0) + 12 * (int(octave) + 1)
    return float(440.0 * 2 ** ((step - 69) / 12))


def read_score(prompt: str, seed: int) -> Score:
    """Read a prompt; what it leaves open is decided by the seed."""
    words = set(tokens(prompt))
    noises = tuple(name for name, known in NOISES.items() if words & set(known))
    named = next((name for name, known in INSTRUMENTS.items() if words & set(known)), None)
    hertz = tuple(min(max(float(n) * (1000 if k else 1), 20.0), 18_000.0) for n, k in _HERTZ.findall(prompt))
    if hertz:
        return Score(kind="tones", hertz=hertz[:8], noises=noises, instrument=named or "sine")
    chance = rng(seed, "score")
    bpm = _BPM.search(prompt)
    beats = float(chance.integers(84, 112))
    if words & set(_FAST):
        beats = float(chance.integers(126, 150))
    elif words & set(_SLOW):
        beats = float(chance.integers(56, 72))
    if bpm:
        beats = min(max(float(bpm[1]), 40.0), 220.0)
    notes = tuple(_pitch(*found) for found in _NOTE.findall(prompt))
    moody = bool(words & {*_MINOR, *_MAJOR, *_FAST, *_SLOW, *_DRUMS, "music", "song", "melody", "tune"})
    minor = bool(words & set(_MINOR)) or (not words & set(_MAJOR) and bool(chance.random() < 0.35))
    drums = bool(words & set(_DRUMS))
    if notes:
        return Score(kind="notes", hertz=notes[:256], noises=noises, beats=beats, instrument=named or "piano", drums=drums)
    if noises and not (named or moody):
        return Score(kind="noise", noises=noises)
    chosen = named or ("strings" if words & set(_SLOW) else str(chance.choice(["piano", "piano", "guitar", "bell"])))
    known = bool(named or moody or noises or bpm)
    return Score(kind="music", noises=noises, beats=beats, minor=minor, instrument=chosen, drums=drums, known=known)

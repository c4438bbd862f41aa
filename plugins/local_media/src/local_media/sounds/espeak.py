"""Speech by espeak-ng through ctypes, library and voices from the wheel `espeakng-loader` (the extra `speech`).

The library keeps its state for the whole process, so there is one lock around all of it. Return codes are
checked: for an unknown voice it would keep the voice that was set before.
"""

from __future__ import annotations

import ctypes
import functools
import threading
from typing import TYPE_CHECKING, Any

from anymedia.errors import BadBackendResponse, InvalidRequest, Problem, did_you_mean

if TYPE_CHECKING:
    from ..heavy import Floats

__all__ = ["NORMAL_WORDS", "speak", "voice_for", "voices"]

#: Words per minute at speed 1.
NORMAL_WORDS = 175
_SLOWEST, _FASTEST = 80, 450
_SYNCHRONOUS, _STAY_ALIVE, _UTF8 = 2, 0x8000, 1
_RATE = 1
#: Voices that are listed, but whose dictionaries are not in the wheel.
_SILENT = frozenset({"fo", "kaa", "xex"})
_lock = threading.Lock()


class _Voice(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_void_p),
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("spare", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("more", ctypes.c_void_p),
    )


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


@functools.cache
def _library() -> tuple[Any, int]:
    """Return the library, set up, and its sample rate. Call it with the lock held."""
    import espeakng_loader

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    library.espeak_Initialize.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_int]
    library.espeak_ListVoices.argtypes = [ctypes.c_void_p]
    library.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Voice))
    library.espeak_SetVoiceByName.argtypes = [ctypes.c_char_p]
    library.espeak_SetParameter.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int]
    library.espeak_SetSynthCallback.argtypes = [_CALLBACK]
    library.espeak_Synth.argtypes = [
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.c_uint,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_uint,
        ctypes.c_void_p,
        ctypes.c_void_p,
    ]
    rate = int(library.espeak_Initialize(_SYNCHRONOUS, 0, str(espeakng_loader.get_data_path()).encode(), _STAY_ALIVE))
    if rate <= 0:
        raise BadBackendResponse(f"espeak-ng did not start (code {rate})")
    return library, rate


@functools.cache
def _listed() -> dict[str, str]:
    library, _ = _library()
    found: dict[str, str] = {}
    listed = library.espeak_ListVoices(None)
    index = 0
    while listed[index]:
        voice = listed[index].contents
        code = ctypes.string_at(voice.languages + 1).decode()  # a priority byte comes first
        if code not in _SILENT:
            found.setdefault(code.lower(), voice.identifier.decode())
        index += 1
    return found


def voices() -> dict[str, str]:
    """Return the voices there are: language code -> espeak-ng's own identifier.

    Raises:
        ImportError, OSError: the library cannot be loaded.
        BadBackendResponse: it does not start.
    """
    with _lock:
        return dict(_listed())


_SCRIPTS = (
    (0x0370, 0x03FF, "el"),
    (0x0400, 0x04FF, "ru"),
    (0x0530, 0x058F, "hy"),
    (0x0590, 0x05FF, "he"),
    (0x0600, 0x06FF, "ar"),
    (0x0900, 0x097F, "hi"),
    (0x0E00, 0x0E7F, "th"),
    (0x10A0, 0x10FF, "ka"),
    (0x3040, 0x30FF, "ja"),
    (0xAC00, 0xD7AF, "ko"),
    (0x4E00, 0x9FFF, "cmn"),
)


def voice_for(text: str) -> str:
    """Return the voice that goes with the letters of a text; English for Latin ones."""
    counts = {code: sum(low <= ord(c) <= high for c in text) for low, high, code in _SCRIPTS}
    if counts["ja"]:
        counts["ja"] += counts["cmn"]
    best = max(counts, key=lambda code: counts[code])
    return best if counts[best] * 2 > sum(c.isalpha() for c in text) else "en-us"


def speak(text: str, voice: str, speed: float) -> tuple[Floats, int]:
    """Return speech as samples (frames, 1), -1 to 1, and its rate (frames per second).

    Args:
        text: what to say.
        voice: a language code of `voices`.
        speed: 1 is 175 words per minute; 80 to 450 words are possible.

    Raises:
        InvalidRequest: for a voice that is not there, or a text with nothing to say.
        BadBackendResponse: espeak-ng fails.
        ImportError, OSError: as `voices`.
    """
    import numpy as np

    parts: list[bytes] = []

    def heard(samples: Any, count: int, _events: Any) -> int:
        if samples and count > 0:
            parts.append(ctypes.string_at(samples, count * 2))
        return 0

    with _lock:
        library, rate = _library()
        known = _listed()
        if voice.lower() not in known:
            near = did_you_mean(voice.lower(), known)
            raise InvalidRequest([Problem("$.voice", f"espeak-ng has no voice {voice!r:.60}{near}", "use a language code such as en-gb")])
        if library.espeak_SetVoiceByName(known[voice.lower()].encode()) != 0:
            raise BadBackendResponse(f"espeak-ng did not take its own voice {voice!r}")
        words = min(max(round(NORMAL_WORDS * speed), _SLOWEST), _FASTEST)
        library.espeak_SetParameter(_RATE, words, 0)
        callback = _CALLBACK(heard)
        library.espeak_SetSynthCallback(callback)
        encoded = text.encode() + b"\0"
        code = library.espeak_Synth(encoded, len(encoded), 0, 1, 0, _UTF8, None, None)
        library.espeak_SetSynthCallback(_CALLBACK(0))
    if code != 0:
        raise BadBackendResponse(f"espeak-ng failed (code {code})")
    samples: Floats = np.frombuffer(b"".join(parts), np.int16).astype(np.float32) / np.float32(32768)
    if not samples.size or float(np.abs(samples).max()) < 0.001:
        raise InvalidRequest([Problem("$.prompt", f"has nothing in it that the voice {voice!r} can say")])
    return samples[:, None], rate

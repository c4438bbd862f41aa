"""Samples -> bytes: wav, mp3, flac, ogg (Opus)."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from ..heavy import pyav

if TYPE_CHECKING:
    from ..heavy import Floats

__all__ = ["encode_sound"]

#: Format -> (container, codec, sample rate or None for the sound's own, bits per second or None).
_WAYS: dict[str, tuple[str, str, int | None, int | None]] = {
    "wav": ("wav", "pcm_s16le", None, None),
    "mp3": ("mp3", "libmp3lame", None, 160_000),
    "flac": ("flac", "flac", None, None),
    "ogg": ("ogg", "libopus", 48_000, 96_000),
}


def encode_sound(samples: Floats, rate: int, name: str) -> bytes:
    """Return a sound file.

    Args:
        samples: (frames, channels) with one or two channels, -1 to 1; what is louder is cut.
        rate: frames per second.
        name: wav, mp3, flac or ogg.
    """
    import numpy as np

    container, codec, wanted, bits = _WAYS[name]
    layout = "mono" if samples.shape[1] == 1 else "stereo"
    pcm = np.ascontiguousarray(np.rint(np.clip(samples, -1, 1) * 32767).astype(np.int16).reshape(1, -1))
    file = io.BytesIO()
    with pyav().open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=wanted or rate, layout=layout)
        if bits:
            stream.bit_rate = bits
        frame = pyav().AudioFrame.from_ndarray(pcm, format="s16", layout=layout)
        frame.sample_rate, frame.pts = rate, 0
        resampler = pyav().AudioResampler(
            format=stream.codec_context.format, layout=layout, rate=wanted or rate, frame_size=stream.codec_context.frame_size or 0
        )
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            out.mux(stream.encode(piece))
        out.mux(stream.encode(None))
    return file.getvalue()

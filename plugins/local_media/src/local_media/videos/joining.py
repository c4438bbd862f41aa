"""Appending to a video without touching what is there: its packets are copied, the new ones follow."""

from __future__ import annotations

import io
from fractions import Fraction
from typing import Any

from ..heavy import pyav
from .codec import FPS, Encoder, Footage, probe

__all__ = ["fits", "join"]


def fits(footage: Footage) -> bool:
    """Whether packets made here can follow those of a video: same codec, size, rate and parameter sets."""
    import numpy as np

    if footage.codec not in {"h264", "vp9", "libvpx-vp9"} or footage.width % 2 or footage.height % 2:
        return False
    if footage.codec != "h264":
        return footage.container == "webm"
    trial = Encoder(footage.width, footage.height, "mp4", footage.rate)
    trial.add(np.zeros((footage.height, footage.width, 3), np.uint8))
    return footage.container == "mp4" and probe(trial.finish()).extradata == footage.extradata


def _copy(packet: Any, out: Any, to: Any, offset: Fraction, usual: Fraction) -> Fraction:
    """Mux a packet, shifted by ``offset`` seconds; return where it ends. ``usual``: its length where it does not say."""
    if packet.dts is None:
        return Fraction(0)
    base = Fraction(packet.time_base)
    shift = round(offset / base)
    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
    end: Fraction = packet.pts * base + ((packet.duration or 0) * base or usual)
    packet.stream = to
    out.mux(packet)
    return end


def join(first: bytes, second: bytes, name: str) -> bytes:
    """Return one file: the packets of the first (its sound too), then the video packets of the second."""
    file = io.BytesIO()
    with pyav().open(io.BytesIO(first)) as old, pyav().open(io.BytesIO(second)) as new, pyav().open(file, "w", format=name) as out:
        streams = {stream.index: out.add_stream_from_template(stream) for stream in (*old.streams.video[:1], *old.streams.audio[:1])}
        video = old.streams.video[0]
        rate = Fraction(video.average_rate or video.guessed_rate or FPS)
        end = Fraction(0)
        for packet in old.demux([s for s in old.streams if s.index in streams]):
            is_video = packet.stream.index == video.index
            stop = _copy(packet, out, streams[packet.stream.index], Fraction(0), 1 / rate if is_video else Fraction(0))
            if is_video:
                end = max(end, stop)
        end = Fraction(round(end * rate)) / rate  # a container may round a packet's place and length
        for packet in new.demux(new.streams.video[0]):
            _copy(packet, out, streams[video.index], end, 1 / rate)
    return file.getvalue()

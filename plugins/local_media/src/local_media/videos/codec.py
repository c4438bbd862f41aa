"""Frames <-> bytes: H.264 in MP4, VP9 in WebM, with fixed options, so that later parts fit earlier ones."""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import attrs

from anymedia.errors import InvalidRequest, Problem

from ..heavy import pyav

if TYPE_CHECKING:
    from ..heavy import Pixels

__all__ = ["FPS", "Encoder", "Footage", "frame_times", "probe", "read_frames", "read_timed_frames"]

FPS = 24
_H264 = {"crf": "18", "preset": "veryfast", "bf": "0", "g": "24", "keyint_min": "24", "sc_threshold": "0", "threads": "1"}
_VP9 = {
    "crf": "28",
    "b": "0",
    "deadline": "realtime",
    "cpu-used": "8",
    "g": "24",
    "lag-in-frames": "0",
    "auto-alt-ref": "0",
    "threads": "1",
}
_CODECS = {"mp4": ("libx264", _H264), "webm": ("libvpx-vp9", _VP9)}


class Encoder:
    """Takes RGB frames (height, width, 3) of one even size, gives a file's bytes."""

    def __init__(self, width: int, height: int, name: str = "mp4", rate: Fraction | int = FPS) -> None:
        codec, options = _CODECS[name]
        self._file = io.BytesIO()
        self._container = pyav().open(self._file, "w", format=name)
        self._stream = self._container.add_stream(codec, rate=rate, options=dict(options))
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        context = self._stream.codec_context
        context.colorspace, context.color_range, context.color_primaries, context.color_trc = 1, 1, 1, 1  # BT.709, narrow range
        self._count = 0

    def add(self, rgb: Pixels) -> None:
        """Append a frame."""
        import numpy as np

        frame = pyav().VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
        turned = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
        turned.colorspace, turned.color_range = 1, 1
        turned.pts = self._count
        turned.time_base = 1 / Fraction(self._stream.codec_context.framerate)
        self._count += 1
        self._container.mux(self._stream.encode(turned))

    def finish(self) -> bytes:
        """Return the file."""
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._file.getvalue()


@attrs.frozen(kw_only=True)
class Footage:
    """What a video is: codec and container names, pixels, frames per second, seconds, whether it has sound."""

    codec: str
    container: str
    width: int
    height: int
    rate: Fraction
    seconds: float
    sound: bool
    extradata: bytes = attrs.field(repr=False)


def open_video(data: bytes) -> Any:
    """Open a video's bytes for reading.

    Raises:
        InvalidRequest: if it is not a video.
    """
    try:
        container = pyav().open(io.BytesIO(data))
        if not container.streams.video:
            container.close()
            raise ValueError("no video stream")
    except Exception as error:
        raise InvalidRequest([Problem("$.source", f"the video cannot be read ({type(error).__name__})")]) from error
    return container


def probe(data: bytes) -> Footage:
    """Say what a video is, without decoding it.

    Raises:
        InvalidRequest: if it is not a video.
    """
    with open_video(data) as container:
        stream = container.streams.video[0]
        rate = Fraction(stream.average_rate or stream.guessed_rate or FPS)
        length = container.duration / 1_000_000 if container.duration else float((stream.duration or 0) * (stream.time_base or 0))
        return Footage(
            codec=str(stream.codec_context.name),
            container="webm" if "webm" in container.format.name else "mp4",
            width=int(stream.codec_context.width),
            height=int(stream.codec_context.height),
            rate=rate if 1 <= rate <= 120 else Fraction(FPS),
            seconds=float(length),
            sound=bool(container.streams.audio),
            extradata=bytes(stream.codec_context.extradata or b""),
        )


def frame_times(data: bytes) -> list[float]:
    """Return when each frame is shown, in seconds, ascending, without decoding any.

    Raises:
        InvalidRequest: if it is not a video.
    """
    with open_video(data) as container:
        packets = container.demux(container.streams.video[0])
        return sorted(float(packet.pts * packet.time_base) for packet in packets if packet.pts is not None)


def read_frames(data: bytes) -> Iterator[Pixels]:
    """Yield every frame as RGB (height, width, 3), upright as a player shows it.

    Raises:
        InvalidRequest: if it is not a video, or is truncated.
    """
    return (frame for frame, _ in read_timed_frames(data))


def read_timed_frames(data: bytes) -> Iterator[tuple[Pixels, float | None]]:
    """Yield every frame as `read_frames` does, and its time in seconds, where the video says it.

    Raises:
        InvalidRequest: if it is not a video, or is truncated.
    """
    import numpy as np

    with open_video(data) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        try:
            for frame in container.decode(stream):
                rgb = frame.to_ndarray(format="rgb24")
                turns = round((getattr(frame, "rotation", 0) or 0) / 90) % 4
                yield np.rot90(rgb, turns).copy() if turns else rgb, frame.time
        except pyav().error.FFmpegError as error:
            raise InvalidRequest([Problem("$.source", f"the video cannot be decoded to its end ({type(error).__name__})")]) from error

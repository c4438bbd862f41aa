"""Transcode video and audio with PyAV, and extract a video's last frame. Normally runs in the child process.

The demuxer is chosen by the format `sniff` found and reads an open file, so that no protocol is ever used.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, BinaryIO

from ..errors import InvalidRequest
from ..probe.reader import Limits

_DEMUXERS = {"mp4": "mov", "mov": "mov", "m4a": "mov", "webm": "matroska", "ogg": "ogg", "opus": "ogg", "pcm": "s16le"}
#: Target -> (container, video codec, audio codec, codecs that can be copied).
VIDEO_TARGETS: dict[str, tuple[str, str, str, frozenset[str]]] = {
    "mp4": ("mp4", "libx264", "aac", frozenset({"h264", "hevc", "av1", "mpeg4", "aac", "mp3"})),
    "mov": ("mov", "libx264", "aac", frozenset({"h264", "hevc", "mpeg4", "aac", "mp3", "pcm_s16le"})),
    "webm": ("webm", "libvpx-vp9", "libopus", frozenset({"vp8", "vp9", "av1", "opus", "vorbis"})),
}
#: Target -> (container, codec).
AUDIO_TARGETS: dict[str, tuple[str, str]] = {
    "wav": ("wav", "pcm_s16le"),
    "mp3": ("mp3", "libmp3lame"),
    "flac": ("flac", "flac"),
    "opus": ("ogg", "libopus"),
    "m4a": ("ipod", "aac"),
    "aac": ("adts", "aac"),
}
#: Constant quality of the video encoders (lower is better) and bits per second of the audio ones.
_CRF = {"libx264": 16, "libvpx-vp9": 24}
_BIT_RATE = {"libmp3lame": 192_000, "aac": 192_000, "libopus": 128_000}


def _open(source: BinaryIO, fmt: str, pcm_rate: int) -> Any:
    import av

    options = {"protocol_whitelist": "file,pipe"}
    if fmt == "pcm":
        options |= {"sample_rate": str(pcm_rate), "ch_layout": "mono"}
    file: Any = av.open(source, "r", format=_DEMUXERS.get(fmt, fmt), options=options)
    try:
        for stream in file.streams.video:
            _bound(stream.codec_context)
    except BaseException:
        file.close()
        raise
    return file


def _bound(context: Any) -> None:
    """Limit the size of the coded picture: the container, which `sniff` has read, may state a smaller one."""
    most = Limits().pixels
    if context.width * context.height > most:
        raise InvalidRequest(f"its picture has {context.width} x {context.height} pixels; the maximum is {most}")
    context.options = {"max_pixels": str(most)}  # it may grow within the stream


def transcode_stream(source: BinaryIO, sink: BinaryIO, from_format: str, to_format: str, quality: int | None, pcm_rate: int) -> list[str]:
    """Write video or audio in another format; return a sentence for each loss.

    Streams whose codec the target supports are copied without loss; others are re-encoded. ``quality`` is the video encoder's CRF
    (None: the default), ``pcm_rate`` the sample rate in Hz of raw samples.
    """
    import av

    warnings: list[str] = []
    try:
        with _open(source, from_format, pcm_rate) as before:
            container = (VIDEO_TARGETS.get(to_format) or AUDIO_TARGETS[to_format])[0]
            with av.open(sink, "w", format=container) as after:
                streams = _streams(before, after, to_format, quality, warnings)
                if not streams:
                    raise InvalidRequest(f"it has no stream that {to_format} supports")
                workers = {stream.index: worker for stream, worker in streams}
                for packet in before.demux([stream for stream, _ in streams]):
                    for made in workers[packet.stream.index].feed(packet):
                        after.mux(made)
                for worker in workers.values():
                    for made in worker.finish():
                        after.mux(made)
    except av.FFmpegError as error:
        raise InvalidRequest(f"it is damaged or cannot be converted to {to_format} ({type(error).__name__})") from None
    return warnings


def _streams(before: Any, after: Any, to_format: str, quality: int | None, warnings: list[str]) -> list[tuple[Any, _Copy | _Encode]]:
    """Return the streams to convert, each with what does it; add the losses to ``warnings``."""
    video, audio = before.streams.video[:1], before.streams.audio[:1]
    if to_format in AUDIO_TARGETS:
        if video:
            warnings.append("only the audio of the video was kept")
        return [(stream, _Sound(after, stream, AUDIO_TARGETS[to_format][1])) for stream in audio]
    _, video_codec, audio_codec, copied = VIDEO_TARGETS[to_format]
    found: list[tuple[Any, _Copy | _Encode]] = []
    for stream in (*video, *audio) if video else ():
        name = stream.codec_context.name
        if name in copied:
            found.append((stream, _Copy(after, stream)))
        elif stream.type == "audio":
            found.append((stream, _Sound(after, stream, audio_codec)))
        else:
            found.append((stream, _Picture(after, stream, video_codec, quality)))
            warnings.append(f"the video was re-encoded ({name} to {to_format})")
    return found


class _Copy:
    """Copies packets unchanged."""

    def __init__(self, after: Any, stream: Any) -> None:
        self.target = after.add_stream_from_template(stream)

    def feed(self, packet: Any) -> Iterator[Any]:
        if packet.dts is not None:
            packet.stream = self.target
            yield packet

    def finish(self) -> Iterator[Any]:
        return iter(())


class _Encode:
    """Decodes and re-encodes frames."""

    target: Any

    def feed(self, packet: Any) -> Iterator[Any]:
        for frame in packet.decode():
            yield from self.frame(frame)

    def frame(self, frame: Any) -> Iterator[Any]:
        yield from self.target.encode(frame)

    def finish(self) -> Iterator[Any]:
        yield from self.target.encode(None)


class _Picture(_Encode):
    def __init__(self, after: Any, stream: Any, codec: str, quality: int | None) -> None:
        rate = stream.average_rate or stream.guessed_rate or Fraction(24)
        options = {"crf": str(_CRF[codec] if quality is None else quality)}
        options |= {"preset": "medium"} if codec == "libx264" else {"b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"}
        self.after, self.codec, self.rate, self.options = after, codec, rate, options
        self.target: Any = None
        self.base = stream.time_base

    def frame(self, frame: Any) -> Iterator[Any]:
        frame = _upright(frame)
        if self.target is None:
            self.target = self.after.add_stream(self.codec, rate=self.rate, options=self.options)
            self.target.width, self.target.height = frame.width + frame.width % 2, frame.height + frame.height % 2
            self.target.pix_fmt = "yuv420p"
            self.target.codec_context.time_base = self.base
        frame = frame.reformat(self.target.width, self.target.height, "yuv420p")
        frame.pict_type = 0
        yield from self.target.encode(frame)

    def finish(self) -> Iterator[Any]:
        return iter(()) if self.target is None else super().finish()


class _Sound(_Encode):
    def __init__(self, after: Any, stream: Any, codec: str) -> None:
        import av

        encoder = av.codec.Codec(codec, "w")
        context = stream.codec_context
        rates = encoder.audio_rates or []
        rate = context.sample_rate
        if rates and rate not in rates:  # the next higher one, or the highest
            rate = min((r for r in rates if r >= rate), default=max(rates))
        layout = "mono" if context.layout.nb_channels == 1 else "stereo"
        formats = [f.name for f in encoder.audio_formats or []]
        sample = formats[0] if formats else "s16"
        if context.format is not None and context.format.name in formats:
            sample = context.format.name
        self.target = after.add_stream(codec, rate=rate, layout=layout)
        self.target.codec_context.format = sample
        if codec in _BIT_RATE:
            self.target.bit_rate = _BIT_RATE[codec] // (2 if layout == "mono" else 1)
        self.resampler = av.AudioResampler(format=sample, layout=layout, rate=rate)

    def frame(self, frame: Any) -> Iterator[Any]:
        for part in self.resampler.resample(frame):
            yield from self.target.encode(part)

    def finish(self) -> Iterator[Any]:
        for part in self.resampler.resample(None):
            yield from self.target.encode(part)
        yield from super().finish()


def _upright(frame: Any) -> Any:
    """Rotate a frame by its display matrix (``rotation``: degrees counterclockwise)."""
    import av

    turns = round(frame.rotation / 90) % 4
    if not turns:
        return frame
    graph = av.filter.Graph()
    last = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format.name, time_base=frame.time_base)
    for step in {1: ("cclock",), 2: ("clock", "clock"), 3: ("clock",)}[turns]:
        node = graph.add("transpose", f"dir={step}")
        last.link_to(node)
        last = node
    last.link_to(graph.add("buffersink"))
    graph.configure()
    graph.push(frame)
    turned = graph.pull()
    turned.pts, turned.time_base = frame.pts, frame.time_base
    return turned


def last_frame_of(source: BinaryIO, from_format: str) -> bytes:
    """Return the last frame of a video as PNG, upright."""
    import av

    try:
        with _open(source, from_format, 24_000) as file:
            if not file.streams.video:
                raise InvalidRequest("it has no video stream")
            stream = file.streams.video[0]
            stream.thread_type = "AUTO"
            last = _decode_last(file, stream)
            if last is None:
                raise InvalidRequest("no frame of it can be decoded")
            out = io.BytesIO()
            _upright(last).to_image().save(out, "PNG")
            return out.getvalue()
    except av.FFmpegError as error:
        raise InvalidRequest(f"it is damaged: it cannot be decoded ({type(error).__name__})") from None


def _decode_last(file: Any, stream: Any) -> Any:
    """Decode from the last key frame, or from the start if seeking finds no frame."""
    import av

    if file.duration:
        with contextlib.suppress(av.FFmpegError):
            file.seek(file.duration, backward=True, any_frame=False)
            if (last := _drain(file, stream)) is not None:
                return last
        file.seek(0)
    return _drain(file, stream)


def _drain(file: Any, stream: Any) -> Any:
    last = None
    for frame in file.decode(stream):
        if last is None or frame.pts is None or last.pts is None or frame.pts >= last.pts:
            last = frame
    return last

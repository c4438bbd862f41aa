"""Transcode video and audio with PyAV, and extract a video's last frame. Normally runs in the child process.

The demuxer is chosen by the format `sniff` found and reads an open file, so that no protocol is ever used.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, BinaryIO

from ..errors import InvalidRequest, UnsupportedInput
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


def need_av() -> Any:
    """Return the PyAV module.

    Raises:
        UnsupportedInput: PyAV is not installed.
    """
    try:
        import av
    except ImportError:
        raise UnsupportedInput("processing video and audio needs PyAV, which is not installed", fix="Run: pip install av") from None
    return av


def _open(source: BinaryIO, fmt: str, pcm_rate: int) -> Any:
    options = {"protocol_whitelist": "file,pipe"}
    if fmt == "pcm":
        options |= {"sample_rate": str(pcm_rate), "ch_layout": "mono"}
    file = need_av().open(source, "r", format=_DEMUXERS.get(fmt, fmt), options=options)
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
    """Write video or audio in another format.

    Streams whose codec the target supports are copied without loss; others are re-encoded.

    Args:
        source: an open file.
        sink: an open, empty file for the result.
        from_format: the source's format.
        to_format: the target format.
        quality: the video encoder's CRF; None for the default.
        pcm_rate: sample rate in Hz of raw samples.

    Returns:
        A sentence for each loss.

    Raises:
        InvalidRequest: it cannot be decoded, or has no stream the target supports.
        UnsupportedInput: PyAV is not installed.
    """
    av = need_av()
    try:
        with _open(source, from_format, pcm_rate) as before:
            container = (VIDEO_TARGETS.get(to_format) or AUDIO_TARGETS[to_format])[0]
            with av.open(sink, "w", format=container) as after:
                return _Transcoding(av, before, after, to_format, quality).run()
    except av.FFmpegError as error:
        raise InvalidRequest(f"it is damaged or cannot be converted to {to_format} ({type(error).__name__})") from None


class _Transcoding:
    def __init__(self, av: Any, before: Any, after: Any, to_format: str, quality: int | None) -> None:
        self.av, self.before, self.after = av, before, after
        self.to_format, self.quality = to_format, quality
        self.warnings: list[str] = []

    def run(self) -> list[str]:
        streams = self._streams()
        if not streams:
            raise InvalidRequest(f"it has no stream that {self.to_format} supports")
        for packet in self.before.demux([s for s, _ in streams]):
            worker = next(w for s, w in streams if s.index == packet.stream.index)
            for made in worker.feed(packet):
                self.after.mux(made)
        for _, worker in streams:
            for made in worker.finish():
                self.after.mux(made)
        return self.warnings

    def _streams(self) -> list[tuple[Any, _Copy | _Encode]]:
        found: list[tuple[Any, _Copy | _Encode]] = []
        video, audio = self.before.streams.video[:1], self.before.streams.audio[:1]
        if self.to_format in AUDIO_TARGETS:
            if video:
                self.warnings.append("only the audio of the video was kept")
            _, codec = AUDIO_TARGETS[self.to_format]
            return [(audio[0], _Sound(self.av, self.after, audio[0], codec))] if audio else []
        _, video_codec, audio_codec, copied = VIDEO_TARGETS[self.to_format]
        for stream in video:
            if stream.codec_context.name in copied:
                found.append((stream, _Copy(self.after, stream)))
            else:
                found.append((stream, _Picture(self.av, self.after, stream, video_codec, self.quality)))
                self.warnings.append(f"the video was re-encoded ({stream.codec_context.name} to {self.to_format})")
        for stream in audio:
            if stream.codec_context.name in copied:
                found.append((stream, _Copy(self.after, stream)))
            else:
                found.append((stream, _Sound(self.av, self.after, stream, audio_codec)))
        return found if video else []


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
    def __init__(self, av: Any, after: Any, stream: Any, codec: str, quality: int | None) -> None:
        rate = stream.average_rate or stream.guessed_rate or Fraction(24)
        options = {"crf": str(_CRF[codec] if quality is None else quality)}
        options |= {"preset": "medium"} if codec == "libx264" else {"b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"}
        self.av, self.after, self.codec, self.rate, self.options = av, after, codec, rate, options
        self.target: Any = None
        self.graph: Any = None
        self.base = stream.time_base

    def frame(self, frame: Any) -> Iterator[Any]:
        frame = _upright(self.av, frame)
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
    def __init__(self, av: Any, after: Any, stream: Any, codec: str) -> None:
        encoder = av.codec.Codec(codec, "w")
        context = stream.codec_context
        rates = encoder.audio_rates or []
        rate = context.sample_rate if not rates or context.sample_rate in rates else _nearest(rates, context.sample_rate)
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


def _nearest(rates: list[int], wanted: int) -> int:
    """Return the next higher sample rate, or the highest."""
    return min((r for r in rates if r >= wanted), default=max(rates))


def _upright(av: Any, frame: Any) -> Any:
    """Rotate a frame by its display matrix (``rotation``: degrees counterclockwise)."""
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
    """Return the last frame of a video as PNG, upright.

    Args:
        source: an open file.
        from_format: its format.

    Raises:
        InvalidRequest: no frame can be decoded.
        UnsupportedInput: PyAV is not installed.
    """
    av = need_av()
    try:
        with _open(source, from_format, 24_000) as file:
            if not file.streams.video:
                raise InvalidRequest("it has no video stream")
            stream = file.streams.video[0]
            stream.thread_type = "AUTO"
            last = _decode_last(av, file, stream)
            if last is None:
                raise InvalidRequest("no frame of it can be decoded")
            out = io.BytesIO()
            _upright(av, last).to_image().save(out, "PNG")
            return out.getvalue()
    except av.FFmpegError as error:
        raise InvalidRequest(f"it is damaged: it cannot be decoded ({type(error).__name__})") from None


def _decode_last(av: Any, file: Any, stream: Any) -> Any:
    """Decode from the last key frame, or from the start if seeking finds no frame."""
    last = None
    if file.duration:
        try:
            file.seek(file.duration, backward=True, any_frame=False)
            last = _drain(file, stream)
        except av.FFmpegError:
            last = None
        if last is None:
            file.seek(0)
    return last if last is not None else _drain(file, stream)


def _drain(file: Any, stream: Any) -> Any:
    last = None
    for frame in file.decode(stream):
        if last is None or frame.pts is None or last.pts is None or frame.pts >= last.pts:
            last = frame
    return last

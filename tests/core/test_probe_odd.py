"""Odd but valid files, and files whose coded data are larger than their headers say: the first pass, the second are bounded."""

from __future__ import annotations

import io
import struct
import tempfile
from typing import Any

import av
import media_samples as samples
import pytest
from hostile_headers import within
from hostile_media import tiff
from odd_samples import ODD
from PIL import Image, ImageOps
from tiers import sandboxed_once

from anymedia.convert import sandbox, video
from anymedia.errors import InvalidRequest
from anymedia.probe.probe import sniff
from anymedia.probe.reader import Limits

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("name", sandboxed_once(ODD))
def test_odd_but_valid_file_passes_with_the_facts_a_decoder_finds(name: str) -> None:
    wanted, make = ODD[name]
    data = make()
    facts = sniff(data)
    assert facts.format == wanted
    if facts.kind == "image":
        with Image.open(io.BytesIO(data)) as image:
            assert (facts.width, facts.height) == ImageOps.exif_transpose(image).size
            assert facts.frames == getattr(image, "n_frames", 1)
        return
    assert facts.seconds is not None
    heard, size = _decoded(data, "video" if facts.kind == "video" else "audio")
    assert size is None or size == (facts.width, facts.height)
    assert abs(heard - facts.seconds) < 0.25  # decoders leave out what encoders put before and behind


def _decoded(data: bytes, kind: str) -> tuple[float, tuple[int, int] | None]:
    """How long PyAV finds it, decoded to its end, and how large."""
    seconds, size = 0.0, None
    source: Any
    with av.open(io.BytesIO(data)) as source:
        stream = getattr(source.streams, kind)[0]
        for frame in source.decode(stream):
            if kind == "video":
                size = (frame.width, frame.height)
                seconds += 1 / 24
            else:
                seconds += frame.samples / frame.sample_rate
    return seconds, size


def _lying(size: tuple[int, int], said: tuple[int, int]) -> bytes:
    """A video whose header says less than its coded pictures."""
    path = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")
    return within(samples.movie("mp4", size=size), path, lambda b: b[:32] + struct.pack(">HH", *said) + b[36:])


async def _last_frame(data: bytes) -> bytes:
    return (await sandbox.run_on_bytes("last_frame", {"from": "mp4"}, data))[1]


async def test_video_that_is_larger_than_it_says_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = _lying((640, 480), (64, 48))
    assert sniff(data).width == 64
    assert await _last_frame(data)  # within what is let in, a wrong number does no harm
    monkeypatch.setattr(video, "Limits", lambda: Limits(pixels=200_000))
    with pytest.raises(InvalidRequest, match="640 x 480"):
        video.last_frame_of(io.BytesIO(data), "mp4")


@pytest.mark.exhaustive
def test_video_that_grows_later_on_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = samples.movie("webm", "libvpx"), samples.movie("webm", "libvpx", size=(640, 480))
    monkeypatch.setattr(video, "Limits", lambda: Limits(pixels=200_000))
    assert video.last_frame_of(io.BytesIO(small), "webm")
    grown = _with_block(small, _first_block(large))  # its own header says how large it is
    with pytest.raises(InvalidRequest, match="damaged"):
        video.last_frame_of(io.BytesIO(grown), "webm")
    monkeypatch.undo()
    with Image.open(io.BytesIO(video.last_frame_of(io.BytesIO(grown), "webm"))) as image:
        assert image.size == (640, 480)


def _first_block(data: bytes) -> bytes:
    source: Any
    with av.open(io.BytesIO(data)) as source:
        return bytes(next(source.demux(source.streams.video[0])))


def _with_block(data: bytes, picture: bytes) -> bytes:
    """Put one more picture behind a WebM's last one."""
    source: Any
    target: Any
    out = io.BytesIO()
    with av.open(io.BytesIO(data)) as source, av.open(out, "w", format="webm") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        last = 0
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                last, packet.stream = packet.pts, stream
                target.mux(packet)
        more = av.Packet(picture)
        more.pts = more.dts = last + 100
        more.time_base, more.stream, more.is_keyframe = source.streams.video[0].time_base, stream, True
        target.mux(more)
    return out.getvalue()


def test_decoder_output_is_not_a_report() -> None:
    """A warning may hold a file's own words, without end, and pose as what the child has to say."""
    strange = tiff({65_001: 7, 282: 7, 296: 77})  # libtiff warns of tags that it does not know
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as sink:
        source.write(strange)
        child = sandbox._start("picture", {"formats": ["png"], "max_bytes": None}, source, sink, 60)
        _, words = child.communicate(timeout=60)
        sink.seek(0)
        assert sniff(sink.read()).format == "png"
    assert words.decode().strip().startswith(sandbox._MARK)
    assert len(words.splitlines()) <= 2

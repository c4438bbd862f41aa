"""Containers that are whole but imperfect are repaired: bytes after the end, sizes of streamed sound."""

from __future__ import annotations

import io
import os
import re
import struct
import wave
from pathlib import Path

import av
import pytest
from core import media_samples as samples
from hypothesis import given
from hypothesis import strategies as st
from tiers import examples

from anymedia.answers.containers import find_repair, repair_bytes, repair_file
from anymedia.errors import InvalidRequest
from anymedia.probe.probe import sniff

#: Samples of every format whose structure shows its end.
NAMES = [
    name
    for name in samples.GOOD
    if name.split()[0] not in {"bmp", "tiff", "wav", "pcm"} and not re.search("4096|4000|blank|multi|padded|motion|samsung", name)
]
TAILS = [b"\n", b"\r\n", b" ", b"\0", b"\r\n--boundary--\r\n", b"</body></html>", b'{"ok":true}', b"junk" * 300]


def wav(frames: int = 2400, channels: int = 1, width: int = 2, rate: int = 24_000) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(bytes((i * 37 + 130) % 256 for i in range(frames * channels * width)))
    return out.getvalue()


def aiff(frames: int = 2400, channels: int = 1, width: int = 2) -> bytes:
    """An AIFF of 24 kHz."""
    body = bytes((i * 37 + 130) % 256 for i in range(frames * channels * width))
    rate = (16383 + 14).to_bytes(2, "big") + (24_000 << 49).to_bytes(8, "big")
    common = struct.pack(">hIh", channels, frames, 8 * width) + rate
    sound = b"SSND" + struct.pack(">III", len(body) + 8, 0, 0) + body + b"\0" * (len(body) % 2)
    whole = b"AIFFCOMM" + struct.pack(">I", len(common)) + common + sound
    return b"FORM" + struct.pack(">I", len(whole)) + whole


def frames_of(data: bytes) -> int:
    with wave.open(io.BytesIO(data)) as file:
        count = file.getnframes()
        assert len(file.readframes(count + 1)) == count * file.getnchannels() * file.getsampwidth()
        return count


def seconds_of(data: bytes) -> float:
    """Return the running time as FFmpeg's own demuxer and decoder see it."""
    with av.open(io.BytesIO(data)) as file:
        total = sum(frame.samples for frame in file.decode(audio=0))
        return total / file.streams.audio[0].rate


def in_file(tmp_path: Path, data: bytes) -> tuple[bytes, tuple[str, ...]]:
    place = tmp_path / "file"
    place.write_bytes(data)
    warnings = repair_file(place)
    return place.read_bytes(), tuple(w.code for w in warnings)


def _is_refused(data: bytes) -> bool:
    try:
        sniff(data)
    except InvalidRequest:
        return True
    return False


@pytest.mark.parametrize("name", [*NAMES, "wav"])
def test_file_without_fault_is_left_as_it_is(name: str, tmp_path: Path) -> None:
    data = samples.good(name) if name != "wav" else wav()
    made, warnings = repair_bytes(data)
    assert made is data
    assert not warnings
    assert in_file(tmp_path, data) == (data, ())


@pytest.mark.parametrize("name", NAMES)
def test_bytes_after_the_end_are_cut(name: str, tmp_path: Path) -> None:
    data = samples.good(name)
    for tail in TAILS:
        made, warnings = repair_bytes(data + tail)
        if made == data + tail:
            assert not _is_refused(made) or name.startswith("flac")  # what follows a FLAC cannot be distinguished from a damaged frame
        else:
            assert made == data
            assert [w.code for w in warnings] == ["trailing_bytes_removed"]
        assert in_file(tmp_path, data + tail)[0] == made


@examples(40)
@given(st.sampled_from(NAMES), st.binary(min_size=1, max_size=60))
def test_any_bytes_after_the_end_leave_a_file_that_is_accepted(name: str, tail: bytes) -> None:
    data = samples.good(name)
    made, _ = repair_bytes(data + tail)
    if sniff(data).format != "flac":
        assert sniff(made).format == sniff(data).format
    assert made[: len(data)] == data


def _damaged(data: bytes, total: int | None, part: int | None, at: int, order: str) -> bytes:
    out = bytearray(data)
    for offset, value in ((4, total), (at + 4, part)):
        if value is not None:
            out[offset : offset + 4] = (value & 0xFFFFFFFF).to_bytes(4, order)  # type: ignore[arg-type]
    return bytes(out)


sizes = st.one_of(
    st.none(),
    st.just(0),
    st.just(0xFFFFFFFF),
    st.just(0x7FFFFFFF),
    st.just(0xFFFFFFFF - 36),
    st.integers(5000, 10**6),
    st.integers(1, 2000),
)


@examples(120)
@given(st.integers(600, 1200), st.integers(1, 2), st.sampled_from([1, 2, 3, 4]), sizes, sizes)
def test_wav_with_any_sizes_in_its_header_gives_all_its_samples(
    frames: int, channels: int, width: int, total: int | None, part: int | None
) -> None:
    data = wav(frames, channels, width)
    bare = data[: 44 + frames * channels * width]
    made, _ = repair_bytes(_damaged(bare, total, part, bare.index(b"data"), "little"))
    assert frames_of(made) == frames
    assert sniff(made).seconds == pytest.approx(frames / 24_000)
    assert seconds_of(made) == pytest.approx(frames / 24_000)
    assert made[44:] == bare[44:]


@examples(80)
@given(st.integers(600, 1200), st.integers(1, 2), st.sampled_from([2, 3, 4]), sizes, sizes, st.sampled_from([None, 0, 0xFFFFFFFF, 7]))
def test_aiff_with_any_sizes_in_its_header_gives_all_its_samples(
    frames: int, channels: int, width: int, total: int | None, part: int | None, count: int | None
) -> None:
    data = aiff(frames, channels, width)
    bare = data[: 54 + frames * channels * width]
    damaged = bytearray(_damaged(bare, total, part, bare.index(b"SSND"), "big"))
    if count is not None:
        damaged[22:26] = count.to_bytes(4, "big")
    made, _ = repair_bytes(bytes(damaged))
    assert int.from_bytes(made[22:26], "big") == frames
    assert int.from_bytes(made[4:8], "big") + 8 == len(made)
    assert seconds_of(made) == pytest.approx(frames / 24_000)


@pytest.mark.parametrize("tail", [b"\n", b"\r\n", b"\r\n--boundary--\r\n"])
def test_text_behind_a_wav_is_cut(tail: bytes, tmp_path: Path) -> None:
    made, codes = in_file(tmp_path, wav() + tail)
    assert made == wav()
    assert codes == ("trailing_bytes_removed",)


def test_streamed_wav_is_rewritten_in_place_with_one_warning(tmp_path: Path) -> None:
    streamed = _damaged(wav(), 0xFFFFFFFF, 0xFFFFFFFF, 36, "little")
    made, codes = in_file(tmp_path, streamed)
    assert made == wav()
    assert codes == ("audio_sizes_corrected",)


def test_chunks_behind_the_samples_are_kept() -> None:
    data = wav() + b"LIST" + struct.pack("<I", 4) + b"INFO"
    made, warnings = repair_bytes(data)  # the total leaves the last chunk out
    assert made[44:] == data[44:]
    assert frames_of(made) == 2400
    assert [w.code for w in warnings] == ["audio_sizes_corrected"]


def test_wav_cut_in_the_middle_of_a_frame_ends_with_the_last_whole_one() -> None:
    made, _ = repair_bytes(wav()[:-1])
    assert frames_of(made) == 2399


def test_descriptor_is_repaired_and_left_open(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_bytes(samples.good("png") + b"\n")
    descriptor = os.open(place, os.O_RDWR)
    try:
        assert [w.code for w in repair_file(descriptor)] == ["trailing_bytes_removed"]
        assert os.fstat(descriptor).st_size == len(samples.good("png"))
    finally:
        os.close(descriptor)


def test_known_trailer_of_a_photo_is_kept() -> None:
    for data in (samples.motion_photo(), samples.samsung()):
        assert repair_bytes(data)[0] is data


@given(
    st.binary(max_size=200),
    st.sampled_from(
        [
            b"",
            b"RIFF\0\0\0\0WAVE",
            b"FORM\0\0\0\0AIFF",
            b"\x89PNG\r\n\x1a\n",
            b"\xff\xd8\xff",
            b"GIF89a",
            b"OggS\0",
            b"\x1aE\xdf\xa3",
            b"fLaC",
            b"\xff\xfb\x90\0",
            b"\0\0\0\x18ftypisom",
        ]
    ),
)
def test_damaged_file_is_left_as_it_is_shortened_or_completed_but_never_raises(rest: bytes, head: bytes) -> None:
    data = head + rest
    repair = find_repair(data)
    assert 0 <= repair.end <= len(data)
    written = max([repair.end, *(offset + len(new) for offset, new in repair.edits)])
    assert len(repair_bytes(data)[0]) == written <= len(data) + 12  # the end of a PNG is added


def test_animation_cut_at_any_byte_is_left_as_it_is_or_completed(tmp_path: Path) -> None:
    data = samples.good("gif animated")
    for end in range(len(data)):
        made, _ = in_file(tmp_path, data[:end])
        assert made.startswith(data[:end]) and len(made) <= end + 2

"""Parse MP3 and AAC: every frame to the exact end of the file, and the tags before and after the audio."""

from __future__ import annotations

from .headers_reader import Facts, Reader, refuse

__all__ = ["after_id3", "read_aac", "read_mp3"]

#: Bit rates in kbit/s of layer III: MPEG 1, and MPEG 2 and 2.5.
_RATES_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0)
_RATES_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0)
_HERTZ = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_AAC_HERTZ = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
#: Minimum length of a frame in bytes.
_FRAME = 8
_TOO_SHORT = "it starts like an audio file but is not one"


def after_id3(reader: Reader) -> int:
    """Return the position of the audio: after an ID3v2 tag and its zero padding, if there is one."""
    head = reader.upto(0, 10)
    if head[:3] != b"ID3":
        return 0
    if len(head) < 10 or head[3] not in {2, 3, 4} or any(b & 0x80 for b in head[6:]):
        raise refuse("it starts with an ID3 tag that is damaged")
    length = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
    position = 10 + length + (10 if head[5] & 0x10 else 0)
    if position >= reader.size:
        raise refuse("the file is truncated: it ends before its contents do")
    while reader.upto(position, 1) == b"\0":
        reader.step()
        position += 1
    return position


def read_mp3(reader: Reader, position: int) -> Facts:
    """Return an MP3's facts; ``position`` is where its first frame starts."""
    lengths: dict[bytes, tuple[int, float]] = {}
    end, frames, seconds = _audio_end(reader), 0, 0.0
    promised = _promised_frames(reader, position)
    while position < end:
        reader.step(_FRAME)
        head = reader.at(position, 4)
        found = lengths.get(head)
        if found is None:
            if len(lengths) > 4096:
                raise refuse("the frames of the MP3 are damaged")
            found = lengths[head] = _mp3_frame(head)
        position += found[0]
        seconds += found[1]
        frames += 1
    _check_end(position, end, frames)
    if frames < promised:
        raise refuse("the file is truncated: it has fewer frames than its header states")
    return Facts(format="mp3", mime="audio/mpeg", kind="audio", size=reader.size, end=reader.size, seconds=seconds, mode="mp3")


def _promised_frames(reader: Reader, position: int) -> int:
    """Return the number of frames stated in a ``Xing`` or ``Info`` frame; 0 if there is none."""
    first = reader.upto(position, 64)
    for at in (13, 21, 36):
        if first[at : at + 4] in {b"Xing", b"Info"} and int.from_bytes(first[at + 4 : at + 8], "big") & 1:
            return int.from_bytes(first[at + 8 : at + 12], "big")
    return 0


def _mp3_frame(head: bytes) -> tuple[int, float]:
    """Return (bytes, seconds) of a layer III frame."""
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    rate, hertz = head[2] >> 4, head[2] >> 2 & 3
    if head[0] != 0xFF or head[1] < 0xE0 or version == 1 or layer != 1 or hertz == 3 or rate in {0, 15}:
        raise refuse("the frames of the MP3 are damaged, or something follows after its end")
    bits = (_RATES_1 if version == 3 else _RATES_2)[rate] * 1000
    per_second = _HERTZ[version][hertz]
    samples = 1152 if version == 3 else 576
    return samples // 8 * bits // per_second + (head[2] >> 1 & 1), samples / per_second


def read_aac(reader: Reader, position: int) -> Facts:
    """Return the facts of an AAC in ADTS frames; ``position`` is where its first frame starts."""
    end, frames, seconds = _audio_end(reader), 0, 0.0
    while position < end:
        reader.step(_FRAME)
        head = reader.at(position, 7)
        index = head[2] >> 2 & 15
        length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
        if head[0] != 0xFF or head[1] & 0xF6 != 0xF0 or index >= len(_AAC_HERTZ) or length < 8:
            raise refuse("the frames of the AAC are damaged, or something follows after its end")
        position += length
        seconds += 1024 * ((head[6] & 3) + 1) / _AAC_HERTZ[index]
        frames += 1
    _check_end(position, end, frames)
    return Facts(format="aac", mime="audio/aac", kind="audio", size=reader.size, end=reader.size, seconds=seconds, mode="aac")


def _check_end(position: int, end: int, frames: int) -> None:
    if position > end:
        raise refuse("the file is truncated: it ends in the middle of a frame")
    if frames < 2:
        raise refuse(_TOO_SHORT)


def _audio_end(reader: Reader) -> int:
    """Return the position where the frames end: before an ID3v1 and an APE tag."""
    end = reader.size
    if end > 128 and reader.at(end - 128, 3) == b"TAG":
        end -= 128
    if end > 32 and reader.at(end - 32, 8) == b"APETAGEX":
        length, flags = reader.le32(end - 20), reader.le32(end - 12)
        end -= length + (32 if flags & 0x80000000 else 0)
        if end <= 0:
            raise refuse("the tag after the audio is damaged")
    return end

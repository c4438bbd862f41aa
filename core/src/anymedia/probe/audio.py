"""Headers of MP3, ADTS AAC, FLAC and Ogg; RIFF files (WebP images and WAV audio)."""

from __future__ import annotations

import contextlib
import functools
import math
import zlib
from collections.abc import Callable, Iterator
from typing import Literal

import attrs

from ..errors import InvalidRequest
from .pictures import orientation_of
from .reader import Facts, Reader, refuse

#: Bit rates in kbit/s of layer III: MPEG 1, and MPEG 2 and 2.5.
_RATES_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0)
_RATES_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0)
_HERTZ = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_AAC_HERTZ = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
#: Minimum length of a frame in bytes.
_FRAME = 8


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


def read_frames(reader: Reader, start: int, name: str) -> Facts:
    """Return the facts of an MP3 or an AAC (``name``); ``start`` is where its first frame starts."""
    position, end, count, seconds = start, _audio_end(reader), 0, 0.0
    for after, lasts in frames(reader, start, min(end, reader.padding()), name):
        position, count, seconds = after, count + 1, seconds + lasts
    if position > end:
        raise refuse("the file is truncated: it ends in the middle of a frame")
    if count < 2:
        raise refuse("it starts like an audio file but is not one")
    if name == "mp3" and count < _promised_frames(reader, start):
        raise refuse("the file is truncated: it has fewer frames than its header states")
    # without zeros that follow the frames
    return Facts(format=name, size=reader.size, end=position if position < end else reader.size, seconds=seconds, mode=name)


def frames(reader: Reader, position: int, end: int, name: str) -> Iterator[tuple[int, float]]:
    """Yield where each frame of an MP3 or an AAC (``name``) ends and its seconds; the last one starts before ``end``."""
    width, frame = _FRAMES[name]
    while position < end:
        reader.step(_FRAME)
        length, seconds = frame(reader.at(position, width))
        position += length
        yield position, seconds


def _promised_frames(reader: Reader, position: int) -> int:
    """Return the number of frames stated in a ``Xing`` or ``Info`` frame; 0 if there is none."""
    first = reader.upto(position, 64)
    for at in (13, 21, 36):
        if first[at : at + 4] in {b"Xing", b"Info"} and int.from_bytes(first[at + 4 : at + 8], "big") & 1:
            return int.from_bytes(first[at + 8 : at + 12], "big")
    return 0


@functools.lru_cache(maxsize=1024)
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


def _aac_frame(head: bytes) -> tuple[int, float]:
    """Return (bytes, seconds) of an ADTS frame."""
    index = head[2] >> 2 & 15
    length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    if head[0] != 0xFF or head[1] & 0xF6 != 0xF0 or index >= len(_AAC_HERTZ) or length < 8:
        raise refuse("the frames of the AAC are damaged, or something follows after its end")
    return length, 1024 * ((head[6] & 3) + 1) / _AAC_HERTZ[index]


#: Format name -> bytes of a frame's header, and what reads it.
_FRAMES: dict[str, tuple[int, Callable[[bytes], tuple[int, float]]]] = {"mp3": (4, _mp3_frame), "aac": (7, _aac_frame)}


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


def _table(polynomial: int, width: int) -> list[int]:
    top, mask, found = 1 << width - 1, (1 << width) - 1, []
    for value in range(256):
        value <<= width - 8
        for _ in range(8):
            value = (value << 1 ^ polynomial if value & top else value << 1) & mask
        found.append(value)
    return found


#: Maximum distance in bytes from the end at which the last frame is searched.
REACH = 256 * 1024
_CRC8 = _table(0x07, 8)
CRC16 = _table(0x8005, 16)


def read_flac(reader: Reader, position: int = 0) -> Facts:
    """Return a FLAC's facts; ``position`` is that of ``fLaC`` (after an ID3 tag, if there is one)."""
    position += 4
    hertz = samples = bits = block = 0
    largest = 0
    last, first = False, True
    while not last:
        reader.step()
        kind, length = reader.at(position, 1)[0], int.from_bytes(reader.at(position + 1, 3), "big")
        last, kind, position = bool(kind & 0x80), kind & 0x7F, position + 4
        if first != (kind == 0) or kind > 6 or position + length > reader.size or (first and length != 34):
            raise refuse("the header of the FLAC is invalid, or it is truncated")
        if first:
            block = reader.u16(position + 2)
            largest = int.from_bytes(reader.at(position + 7, 3), "big")
            packed = int.from_bytes(reader.at(position + 10, 8), "big")
            hertz, bits, samples = packed >> 44, (packed >> 36 & 31) + 1, packed & (1 << 36) - 1
            first = False
        position += length
    if not hertz or (reader.size > position and not frame_head(reader.upto(position, 32))) or position >= reader.size:
        raise refuse("the FLAC contains no audio")
    frame, end = _last_frame(reader, position, largest)
    samples = max(samples, _reach_of(frame, block))  # the header may state fewer, or none
    return Facts(format="flac", size=reader.size, end=end, seconds=samples / hertz, mode="flac", bits=bits)


def frame_head(data: bytes) -> int:
    """Return the length of a frame header whose checksum is valid, or 0."""
    if len(data) < 6 or data[0] != 0xFF or data[1] & 0xFE != 0xF8 or data[3] & 1 or data[2] >> 4 == 0 or data[2] & 15 == 15:
        return 0
    lead = data[4]
    extra = 0 if lead < 0x80 else 8 - (lead ^ 0xFF).bit_length() - 1
    if lead >= 0x80 and (extra < 1 or extra > 6):
        return 0
    length = 5 + extra
    length += {6: 1, 7: 2}.get(data[2] >> 4, 0) + {12: 1, 13: 2, 14: 2}.get(data[2] & 15, 0)
    if length >= len(data):
        return 0
    crc = 0
    for byte in data[:length]:
        crc = _CRC8[crc ^ byte]
    return length + 1 if crc == data[length] else 0


def _reach_of(head: bytes, block: int) -> int:
    """Return the number of samples up to the end of a frame; ``block``: samples per frame with a fixed block size."""
    lead, extra = head[4], 0 if head[4] < 0x80 else 7 - (head[4] ^ 0xFF).bit_length()
    number = lead if not extra else lead & (0x3F >> extra)
    for byte in head[5 : 5 + extra]:
        number = number << 6 | byte & 0x3F
    code = head[2] >> 4
    if code in {6, 7}:
        own = int.from_bytes(head[5 + extra : 5 + extra + code - 5], "big") + 1
    else:
        own = 192 if code == 1 else 576 << code - 2 if code < 6 else 256 << code - 8
    return own + (number if head[1] & 1 else number * block)


def _last_frame(reader: Reader, first: int, largest: int) -> tuple[bytes, int]:
    """Return the start of the valid frame that ends at the end of the file, and that end, without zeros that follow it."""
    # Zeros after a checksum do not change it, and its own bytes may be zeros.
    start = reader.padding()
    for end in range(start, start + 3) if start < reader.size - 2 else (reader.size,):
        with contextlib.suppress(InvalidRequest):
            return _frame_before(reader, first, end, largest), end
    raise refuse("the FLAC is truncated, or something follows after its end")


def _frame_before(reader: Reader, first: int, end: int, largest: int) -> bytes:
    reach = min(end - first, largest or REACH, REACH)
    tail = reader.at(end - reach, reach)
    at, work = len(tail), 2 * REACH
    while work > 0:
        at = tail.rfind(b"\xff", 0, at)
        while at >= 0 and not frame_head(tail[at : at + 32]):
            at = tail.rfind(b"\xff", 0, at)
        if at < 0:
            break
        crc = 0
        work -= len(tail) - at
        for byte in tail[at:-2]:
            crc = (crc << 8 & 0xFF00) ^ CRC16[crc >> 8 ^ byte]
        if crc == int.from_bytes(tail[-2:], "big"):
            return tail[at : at + 32]
    raise refuse("the FLAC is truncated, or something follows after its end")


_FLIP = bytes(int(f"{i:08b}"[::-1], 2) for i in range(256))
_NONE = 2**64 - 1


def _checksum(page: bytes) -> int:
    """Return Ogg's CRC: zlib's with all bits mirrored and without its inversions."""
    mirrored = zlib.crc32(page.translate(_FLIP), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)


def read_ogg(reader: Reader) -> Facts:
    """Return an Ogg's facts; video in Ogg is rejected."""
    position, serial, codec, hertz, skip, granule = 0, b"", "", 0, 0, 0
    total = 0.0
    for page in pages(reader, reader.padding()):
        if _checksum(page[:22] + b"\0\0\0\0" + page[26:]) != int.from_bytes(page[22:26], "little"):
            raise refuse("a checksum in the Ogg is wrong: the file is damaged")
        if page[5] & 2:
            if codec:  # another stream follows
                total += max(0, granule - skip) / hertz
                if page[14:18] == serial:
                    raise refuse("the pages of the Ogg are out of order")
            serial, granule = page[14:18], 0
            codec, hertz, skip = _codec(page[27 + page[26] :])
        elif page[14:18] != serial:
            raise refuse("the Ogg contains several streams at a time, or is damaged")
        found = int.from_bytes(page[6:14], "little")
        granule = max(granule, found if found != _NONE else 0)
        position += len(page)
    if not codec or not granule:
        raise refuse("the Ogg contains no audio")
    seconds = total + max(0, granule - skip) / hertz
    return Facts(format="opus" if codec == "opus" else "ogg", size=reader.size, end=position, seconds=seconds, mode=codec)


def pages(reader: Reader, end: int) -> Iterator[bytes]:
    """Yield the pages of an Ogg up to ``end``; their checksums are not verified."""
    position = 0
    while position < end:
        reader.step(30)
        head = reader.at(position, 27)
        if head[:5] != b"OggS\0":
            raise refuse("something follows after the end of the Ogg, or a page of it is damaged")
        page = reader.at(position, 27 + head[26] + sum(reader.at(position + 27, head[26])))
        yield page
        position += len(page)


def _codec(first: bytes) -> tuple[str, int, int]:
    """Return (codec, samples per second, samples to skip) from a stream's first packet."""
    if first[:8] == b"OpusHead" and len(first) >= 19:
        return "opus", 48_000, int.from_bytes(first[10:12], "little")
    if first[:7] == b"\x01vorbis" and len(first) >= 16:
        hertz = int.from_bytes(first[12:16], "little")
        if hertz:
            return "vorbis", hertz, 0
    if first[:5] == b"\x7fFLAC" and len(first) >= 31:
        hertz = int.from_bytes(first[27:30], "big") >> 4
        if hertz:
            return "flac", hertz, 0
    raise refuse("the Ogg contains something other than Opus, Vorbis or FLAC audio", "convert it to MP3, WAV or MP4")


_ANIMATION, _ALPHA = 0x02, 0x10
#: Streaming writers (and some speech services) write the largest 32-bit or 31-bit number, or slightly less, in place of
#: a length they do not know yet; so a length from here on that exceeds the file is treated as unknown.
_UNKNOWN = 0x7FFF_0000
_WAV_CODECS = {1: "pcm", 3: "float", 6: "alaw", 7: "mulaw"}


def read_riff(reader: Reader) -> Facts:
    """Return the facts of a WebP or a WAV; any other RIFF file (AVI ...) is rejected."""
    kind = reader.at(8, 4)
    if kind == b"WEBP":
        return _read_webp(reader)
    if kind == b"WAVE":
        return _read_wav(reader)
    if kind == b"AVI ":
        raise refuse("it is an AVI video, which is not supported", "convert it to MP4 or WebM")
    raise refuse("it is a RIFF file of a kind that is not supported")


def chunks(reader: Reader, position: int, end: int, order: Literal["little", "big"] = "little") -> Iterator[tuple[bytes, int, int]]:
    """Yield (name, start, length) of the chunks of a RIFF or FORM from ``position`` to ``end``, which the last one may exceed."""
    while position < end:
        reader.step()
        name, length = reader.at(position, 4), int.from_bytes(reader.at(position + 4, 4), order)
        if not all(32 <= c < 127 for c in name):
            raise refuse("a chunk in it is damaged")
        yield name, position + 8, length
        position += 8 + length + length % 2


def _whole_chunks(reader: Reader, position: int, end: int) -> list[tuple[bytes, int, int]]:
    found = list(chunks(reader, position, end))
    if found and sum(found[-1][1:]) > end:
        raise refuse("the file is truncated: it ends before its contents do")
    return found


def _read_webp(reader: Reader) -> Facts:
    end = reader.le32(4) + 8
    if end > reader.size:
        raise refuse("the file is truncated: it ends before its contents do")
    parts = _whole_chunks(reader, 12, end)
    if not parts:
        raise refuse("the WebP contains no image data")
    name, start, length = parts[0]
    if name in {b"VP8 ", b"VP8L"}:
        if len(parts) > 1:
            raise refuse("the chunks of the WebP are out of order")
        width, height, alpha = _bitstream(reader, name, start, length)
        return _webp(reader.size, end, width, height, alpha=alpha)
    if name != b"VP8X" or length < 10:
        raise refuse("it starts like a WebP but has no header chunk")
    flags = reader.at(start, 1)[0]
    width = int.from_bytes(reader.at(start + 4, 3), "little") + 1
    height = int.from_bytes(reader.at(start + 7, 3), "little") + 1
    pictures = [c for c in parts if c[0] in {b"VP8 ", b"VP8L"}]
    moving = [c for c in parts if c[0] == b"ANMF"]
    exif = next((reader.at(s, n) for c, s, n in parts if c == b"EXIF" and n < 65536), b"")
    if flags & _ANIMATION:
        if pictures or not moving:
            raise refuse("the chunks of the WebP are out of order")
        for _, at, size in moving:
            _animation_frame(reader, at, size, width, height)
    else:
        if len(pictures) != 1 or moving:
            raise refuse("the WebP does not contain exactly one image")
        found = _bitstream(reader, *pictures[0])
        if found[:2] != (width, height):
            raise refuse("the two headers of the WebP disagree on its size")
    facts = _webp(reader.size, end, width, height, alpha=bool(flags & _ALPHA))
    return attrs.evolve(facts, orientation=orientation_of(exif), frames=len(moving) or 1)


def _webp(size: int, end: int, width: int, height: int, *, alpha: bool) -> Facts:
    mode = "RGBA" if alpha else "RGB"
    return Facts(format="webp", size=size, end=end, width=width, height=height, frames=1, has_alpha=alpha, mode=mode)


def _animation_frame(reader: Reader, start: int, length: int, width: int, height: int) -> None:
    if length < 24:
        raise refuse("a frame of the WebP is damaged")
    head = reader.at(start, 16)
    x, y, w, h = (int.from_bytes(head[i : i + 3], "little") for i in (0, 3, 6, 9))
    pictures = [c for c in _whole_chunks(reader, start + 16, start + length) if c[0] in {b"VP8 ", b"VP8L"}]
    if len(pictures) != 1 or 2 * x + w + 1 > width or 2 * y + h + 1 > height:
        raise refuse("a frame of the WebP is damaged")
    if _bitstream(reader, *pictures[0])[:2] != (w + 1, h + 1):
        raise refuse("the headers of a WebP frame disagree on its size")


def _bitstream(reader: Reader, name: bytes, start: int, length: int) -> tuple[int, int, bool]:
    """Return (width, height, has alpha) from the header of the image data."""
    if name == b"VP8L":
        if length < 6 or reader.at(start, 1) != b"\x2f":
            raise refuse("the image data of the WebP are damaged")
        bits = reader.le32(start + 1)
        if bits >> 29:
            raise refuse("the image data of the WebP are of an unknown version")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1)
    if length < 11:
        raise refuse("the image data of the WebP are damaged")
    tag = int.from_bytes(reader.at(start, 3), "little")
    if tag & 1 or reader.at(start + 3, 3) != b"\x9d\x01\x2a" or 10 + (tag >> 5) > length:
        raise refuse("the image data of the WebP are damaged")
    width, height = reader.le16(start + 6) & 0x3FFF, reader.le16(start + 8) & 0x3FFF
    # a 16x16 macroblock takes some bits even if it is skipped; 1/64 bit is far below what the coder achieves
    if width * height // 256 > length * 8 * 64:
        raise refuse("its header claims more pixels than its data can hold")
    return width, height, False


def _read_wav(reader: Reader) -> Facts:
    claimed = reader.le32(4)
    streamed = claimed == 0 or (claimed >= _UNKNOWN and claimed + 8 > reader.size)
    end = reader.size if streamed else claimed + 8
    if end > reader.size:
        raise refuse("the file is truncated: it ends before its contents do")
    seconds, codec, block, rate = 0.0, "", 0, 0
    heard = False
    for name, start, length in chunks(reader, 12, end):
        is_open = name == b"data" and ((length >= _UNKNOWN and start + length > end) or (length == 0 and streamed))
        length = end - start if is_open else length
        if start + length > end:
            raise refuse("the file is truncated: it ends before its contents do")
        if name == b"fmt ":
            codec, block, rate = _wav_format(reader, start, length)
        elif name == b"data":
            if heard or not block:
                raise refuse("the chunks of the WAV are out of order")
            heard, seconds = True, length / (block * rate)
        if is_open:
            break
    if not heard or not seconds:
        raise refuse("the WAV contains no audio")
    if not math.isfinite(seconds):
        raise refuse("the header of the WAV is invalid")
    return Facts(format="wav", size=reader.size, end=min(end + end % 2, reader.size), seconds=seconds, mode=codec)


def _wav_format(reader: Reader, start: int, length: int) -> tuple[str, int, int]:
    """Return (codec, bytes per sample frame, sample frames per second)."""
    if not 14 <= length <= 1024:
        raise refuse("the header of the WAV is invalid")
    tag, channels, rate = reader.le16(start), reader.le16(start + 2), reader.le32(start + 4)
    block = reader.le16(start + 12)
    bits = reader.le16(start + 14) if length >= 16 else 8 * block // max(1, channels)
    if tag == 0xFFFE and length >= 40:
        tag = reader.le16(start + 24)
    codec = _WAV_CODECS.get(tag)
    if codec is None:
        raise refuse("the WAV is compressed in a way that is not supported", "save it as uncompressed PCM")
    if not 1 <= channels <= 64 or not 1000 <= rate <= 768_000 or block != channels * ((bits + 7) // 8) or not 8 <= bits <= 64:
        raise refuse("the header of the WAV is invalid")
    return codec, block, rate

"""Parse RIFF files, WebP images and WAV audio: every chunk to the exact end of the file."""

from __future__ import annotations

import math

from .pictures import orientation_of
from .reader import Facts, Reader, refuse

__all__ = ["read_riff"]

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


def _chunks(reader: Reader, position: int, end: int) -> list[tuple[bytes, int, int]]:
    """Return (name, start, length) of all chunks from position to exactly ``end``."""
    found = []
    while position < end:
        reader.step()
        name, length = reader.at(position, 4), reader.le32(position + 4)
        if not all(32 <= c < 127 for c in name):
            raise refuse("a chunk in it is damaged")
        if position + 8 + length > end:
            raise refuse("the file is truncated: it ends before its contents do")
        found.append((name, position + 8, length))
        position += 8 + length + length % 2
    if position > end + 1:
        raise refuse("a chunk in it is damaged")
    return found


def _read_webp(reader: Reader) -> Facts:
    end = reader.le32(4) + 8
    if end > reader.size:
        raise refuse("the file is truncated: it ends before its contents do")
    if end < reader.size:
        raise refuse(f"{reader.size - end} bytes follow after the end of the WebP", "save the image again")
    chunks = _chunks(reader, 12, end)
    if not chunks:
        raise refuse("the WebP contains no image data")
    name, start, length = chunks[0]
    if name in {b"VP8 ", b"VP8L"}:
        if len(chunks) > 1:
            raise refuse("the chunks of the WebP are out of order")
        width, height, alpha = _bitstream(reader, name, start, length)
        return _webp(reader, width, height, alpha=alpha, mode=name)
    if name != b"VP8X" or length < 10:
        raise refuse("it starts like a WebP but has no header chunk")
    flags = reader.at(start, 1)[0]
    width = int.from_bytes(reader.at(start + 4, 3), "little") + 1
    height = int.from_bytes(reader.at(start + 7, 3), "little") + 1
    pictures = [c for c in chunks if c[0] in {b"VP8 ", b"VP8L"}]
    moving = [c for c in chunks if c[0] == b"ANMF"]
    exif = next((reader.at(s, n) for c, s, n in chunks if c == b"EXIF" and n < 65536), b"")
    if flags & _ANIMATION:
        if pictures or not moving:
            raise refuse("the chunks of the WebP are out of order")
        for _, at, size in moving:
            _animation_frame(reader, at, size, width, height)
        mode = b"anim"
    else:
        if len(pictures) != 1 or moving:
            raise refuse("the WebP does not contain exactly one image")
        found = _bitstream(reader, *pictures[0])
        if found[:2] != (width, height):
            raise refuse("the two headers of the WebP disagree on its size")
        mode = pictures[0][0]
    alpha, orientation = bool(flags & _ALPHA), orientation_of(exif)
    return _webp(reader, width, height, alpha=alpha, orientation=orientation, frames=len(moving) or 1, mode=mode)


def _webp(reader: Reader, width: int, height: int, *, alpha: bool, mode: bytes, orientation: int = 1, frames: int = 1) -> Facts:
    return Facts(
        format="webp",
        mime="image/webp",
        kind="image",
        size=reader.size,
        end=reader.size,
        width=width,
        height=height,
        orientation=orientation,
        frames=frames,
        has_alpha=alpha,
        mode="RGBA" if alpha else "RGB",
    )


def _animation_frame(reader: Reader, start: int, length: int, width: int, height: int) -> None:
    if length < 24:
        raise refuse("a frame of the WebP is damaged")
    head = reader.at(start, 16)
    x, y, w, h = (int.from_bytes(head[i : i + 3], "little") for i in (0, 3, 6, 9))
    pictures = [c for c in _chunks(reader, start + 16, start + length) if c[0] in {b"VP8 ", b"VP8L"}]
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
    if end < reader.size and not (end + 1 == reader.size and claimed % 2):
        raise refuse(f"{reader.size - end} bytes follow after the end of the WAV", "save the audio again")
    position, seconds, codec, block, rate = 12, 0.0, "", 0, 0
    heard = False
    while position < end:
        reader.step()
        name, length, start = reader.at(position, 4), reader.le32(position + 4), position + 8
        if not all(32 <= c < 127 for c in name):
            raise refuse("a chunk of the WAV is damaged")
        if name == b"data" and ((length >= _UNKNOWN and start + length > end) or (length == 0 and streamed)):
            length = end - start
        if start + length > end:
            raise refuse("the file is truncated: it ends before its contents do")
        if name == b"fmt ":
            codec, block, rate = _wav_format(reader, start, length)
        elif name == b"data":
            if heard or not block:
                raise refuse("the chunks of the WAV are out of order")
            heard, seconds = True, length / (block * rate)
        position = start + length + length % 2
    if not heard or not seconds:
        raise refuse("the WAV contains no audio")
    if not math.isfinite(seconds):
        raise refuse("the header of the WAV is invalid")
    return Facts(format="wav", mime="audio/wav", kind="audio", size=reader.size, end=reader.size, seconds=seconds, mode=codec)


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

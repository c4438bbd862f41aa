"""Open, encode and convert pictures with Pillow; every failure becomes one of our errors."""

from __future__ import annotations

import io
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from ..errors import InvalidRequest, Problem, UnsupportedInput
from ..probe.probe import check_kind, sniff
from ..probe.reader import Facts, Limits
from .sandbox import SANDBOXED_FORMATS, in_sandbox, run_apart

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

#: Format name -> Pillow's name. Pillow never guesses among all the formats it supports.
PILLOW_FORMATS = {"png": "PNG", "jpeg": "JPEG", "webp": "WEBP", "gif": "GIF", "avif": "AVIF", "bmp": "BMP", "tiff": "TIFF"}
#: Formats that can hold partial transparency.
_ALPHA_FORMATS = frozenset({"png", "webp", "avif", "tiff"})
#: Formats that preserve every pixel (WebP when written losslessly).
_LOSSLESS_FORMATS = frozenset({"png", "webp", "bmp", "tiff"})
_ANIMATED_FORMATS = frozenset({"gif", "webp", "png", "avif"})
#: Default quality on each encoder's scale of 0 to 100: visually lossless, and far from the largest file.
_QUALITY = {"jpeg": 95, "webp": 92, "avif": 88}
#: Quality to fall back to when the default exceeds the model's limit in bytes.
_LOWER_QUALITY = 85
_DAMAGED = "it is damaged: it cannot be decoded"
_ORIENTATION, _BITS_PER_SAMPLE = 0x0112, 258


@contextmanager
def decoding(where: str = "$") -> Iterator[None]:
    """Convert any decoder error to `InvalidRequest` without its message, which may quote the file."""
    from PIL import Image

    try:
        yield
    except (InvalidRequest, UnsupportedInput):
        raise
    except Image.DecompressionBombError:
        raise InvalidRequest([Problem(where, "it is a decompression bomb")]) from None
    except MemoryError:
        raise InvalidRequest([Problem(where, "decoding it takes more memory than is allowed.")], fix="Scale it down.") from None
    except Exception:  # noqa: BLE001 - decoders raise anything for damaged files: SyntaxError, struct.error, OSError ...
        raise InvalidRequest([Problem(where, "it is damaged: it cannot be decoded.")], fix="Save it again.") from None


def _open(source: bytes | IO[bytes], fmt: str, limits: Limits) -> Picture:
    """Open an image without decoding its pixels; its header must be within the limits."""
    from PIL import Image, ImageFile, features

    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise RuntimeError("PIL.ImageFile.LOAD_TRUNCATED_IMAGES is set: damaged files would be accepted")
    if fmt == "avif" and not features.check("avif"):
        raise UnsupportedInput("the installed Pillow cannot decode AVIF.", fix="Install a Pillow with AVIF support: pip install -U pillow")
    image: Picture = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=[PILLOW_FORMATS[fmt]])
    if image.width * image.height > limits.pixels:
        raise Image.DecompressionBombError
    return image


def open_picture(data: bytes, *, where: str = "$", facts: Facts | None = None) -> Picture:
    """Check an image, decode it and apply its orientation; of an animation, only the first frame.

    Args:
        data: the file's contents.
        where: JSON path of the image in the request.
        facts: what `sniff` returned for these bytes, if it has been called already.

    Returns:
        A loaded Pillow image in the file's mode (8-bit RGB or RGBA for `SANDBOXED_FORMATS`), with the file's ``format`` and ``info``.
    """
    from PIL import ImageOps

    if facts is None:
        facts = sniff(data, where=where)
        check_kind(facts, "image", where=where)
    source, fmt = data[: facts.end], facts.format
    if fmt in SANDBOXED_FORMATS and not in_sandbox():
        source, fmt = _decoded_in_sandbox(data), "png"
    with decoding(where):
        with _open(source, fmt, Limits()) as image:
            image.load()
            ImageOps.exif_transpose(image, in_place=True)  # a copy would take as much memory again
        image.format = PILLOW_FORMATS[facts.format]
        return image
    raise AssertionError  # decoding() never suppresses an error


def _decoded_in_sandbox(data: bytes) -> bytes:
    """Return an image as PNG, decoded and encoded by a child process."""
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as sink:
        source.write(data)
        run_apart("picture", {"formats": ["png"], "max_bytes": None}, source, sink)
        sink.seek(0)
        return sink.read()


def probe_picture(source: bytes | IO[bytes], fmt: str, size: int, *, limits: Limits, decode: bool) -> Facts:
    """Return what Pillow finds in an image of one of `SANDBOXED_FORMATS`; only to be called in the child process.

    The pixels are checked before anything is decoded. With ``decode`` the first frame is, so that a damaged file is rejected here.
    """
    with decoding(), _open(source, fmt, limits) as image:
        orientation = int(image.getexif().get(_ORIENTATION, 1))
        orientation = orientation if 1 <= orientation <= 8 else 1
        width, height = image.size
        if orientation >= 5 and fmt != "tiff":  # Pillow itself reports a TIFF's size as displayed
            width, height = height, width
        frames, mode, alpha = getattr(image, "n_frames", 1), image.mode, image.has_transparency_data
        bits = max(getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (8,)))
        if decode:
            image.seek(0)
            image.load()
    return Facts(
        format=fmt,
        size=size,
        end=size,
        width=width,
        height=height,
        orientation=orientation,
        frames=frames,
        has_alpha=alpha,
        mode=mode,
        bits=bits,
    )


def eight_bits(picture: Picture) -> Picture:
    """Return an image with one 16-bit, 32-bit or float channel as ``L``: scaled, where Pillow's own conversion would clip."""
    from PIL import Image

    if picture.mode == "F":
        low, high = picture.getextrema()
        scale = 255.0 if float(high) <= 1.0 and float(low) >= 0.0 else 1.0  # type: ignore[arg-type]
        return picture.point(lambda v: v * scale).convert("L")
    if picture.mode == "I":
        _, most = picture.getextrema()
        return picture.point(lambda v: v * (1 / 257 if int(most) > 255 else 1)).convert("L")  # type: ignore[arg-type]
    # the high byte of each sample; the mode says in which order the bytes are
    offset = 0 if picture.mode == "I;16B" else 1
    return Image.frombytes("L", picture.size, picture.tobytes()[offset::2])


def plain_colours(picture: Picture) -> Picture:
    """Return an image as 8-bit ``RGB`` or ``RGBA``; exact for grey, palette and RGB. CMYK uses its ICC profile if it has one.

    An ICC profile that still applies is kept in ``info["icc_profile"]``.
    """
    profile = picture.info.get("icc_profile")
    if is_deep(picture):
        made = eight_bits(picture).convert("RGB")
    elif picture.mode in {"LA", "PA", "RGBa", "La"} or "transparency" in picture.info:
        made = picture.convert("RGBA")
    elif picture.mode == "CMYK":
        made, profile = _from_cmyk(picture, profile), None
    else:
        made = picture if picture.mode in {"RGB", "RGBA"} else picture.convert("RGB")
    made.info = {"icc_profile": profile} if profile else {}
    return made


def _from_cmyk(picture: Picture, profile: bytes | None) -> Picture:
    if profile:
        from PIL import ImageCms

        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except ImageCms.PyCMSError:
            converted = None  # the profile is not one for CMYK: treated as if it were missing
        if converted is not None:
            return converted
    return picture.convert("RGB")


def alpha_of(picture: Picture) -> Picture | None:
    """Return the transparency of an image in any mode; None if it has none."""
    if picture.mode not in {"RGBA", "LA", "PA", "RGBa", "La"} and "transparency" not in picture.info:
        return None
    return (picture if picture.mode == "RGBA" else picture.convert("RGBA")).getchannel("A")


def is_transparent(picture: Picture) -> bool:
    """Return whether any pixel is not opaque."""
    alpha = alpha_of(picture)
    return alpha is not None and alpha.histogram()[255] < picture.width * picture.height


def is_deep(picture: Picture) -> bool:
    """Return whether an image has one channel of more than 8 bits."""
    return picture.mode.startswith("I") or picture.mode == "F"


def flatten(picture: Picture) -> Picture:
    """Return an RGB image with transparent pixels on white."""
    from PIL import Image

    if picture.mode != "RGBA":
        return picture.convert("RGB")
    ground = Image.new("RGB", picture.size, (255, 255, 255))
    ground.paste(picture, (0, 0), picture.getchannel("A"))
    return ground


def encode_picture(picture: Picture, fmt: str, *, quality: int | None = None, lossless: bool = False) -> tuple[bytes, tuple[str, ...]]:
    """Encode an upright image in any mode in one of `PILLOW_FORMATS`, with its ICC profile; return it with a sentence for each loss.

    ``quality`` is 0 to 100 on the encoder's own scale (jpeg, webp, avif); ``lossless`` is for WebP (PNG, BMP and TIFF always are).
    """
    made, warnings = _fitted(picture, fmt)
    out = io.BytesIO()
    made.save(out, PILLOW_FORMATS[fmt], **_options(made, fmt, quality, lossless))
    return out.getvalue(), warnings


def _fitted(picture: Picture, fmt: str) -> tuple[Picture, tuple[str, ...]]:
    """Convert an image to a mode the format supports; return it with a sentence for each loss."""
    warnings: tuple[str, ...] = ("16 bits per channel were reduced to 8",) if is_deep(picture) else ()
    made = plain_colours(picture)
    profile = made.info.get("icc_profile")
    if fmt in {"jpeg", "bmp"} and made.mode == "RGBA":
        if is_transparent(made):
            warnings += (f"{fmt.upper()} does not support transparency: transparent pixels are now white",)
        made = flatten(made)
    elif fmt == "gif":  # Pillow's writer reduces the colours and builds the palette
        if made.mode == "RGBA" and any(made.getchannel("A").histogram()[1:255]):
            warnings += ("GIF does not support partial transparency: every pixel is now opaque or transparent",)
        if made.getcolors(255) is None:
            warnings += ("GIF supports at most 256 colours: the image was reduced to them",)
    made.info = {"icc_profile": profile} if profile else {}
    return made, warnings


def _options(picture: Picture, fmt: str, quality: int | None, lossless: bool) -> dict[str, Any]:
    options: dict[str, Any] = {}
    profile = picture.info.get("icc_profile")
    if profile and fmt not in {"gif", "bmp"}:
        options["icc_profile"] = profile
    if fmt in _QUALITY:
        options["quality"] = _QUALITY[fmt] if quality is None else quality
    if fmt == "jpeg":
        options["subsampling"] = 0 if options["quality"] >= 90 else 2
    elif fmt == "webp" and lossless:
        options |= {"lossless": True, "exact": True, "quality": 60}
    elif fmt == "tiff":
        options["compression"] = "tiff_adobe_deflate"
    return options


def is_plain(facts: Facts) -> bool:
    """Return whether an image can be sent byte for byte: structure checked, upright, still, 8 bits per channel, not CMYK or LAB.

    Services treat other images differently, so those are converted first. Images of `SANDBOXED_FORMATS` are always
    encoded again, so that nothing but their pixels is sent.
    """
    if facts.format in SANDBOXED_FORMATS:
        return False
    return facts.orientation == 1 and (facts.frames or 1) == 1 and facts.bits <= 8 and not facts.mode.startswith(("CMYK", "LAB"))


def convert_picture(
    data: bytes, formats: Sequence[str], *, max_bytes: int | None = None, where: str = "$"
) -> tuple[bytes, str, tuple[str, ...]]:
    """Return an image as a still, upright one with 8 bits per channel, in one of the given formats.

    A file in none of the formats becomes the first one that supports its transparency. A file that already has one of the
    formats keeps its pixels: a lossless format is used if one is allowed and fits into ``max_bytes``, otherwise its own
    format at high quality.

    Args:
        data: the file's contents.
        formats: allowed formats; if empty, PNG or the file's own format.
        max_bytes: maximum size of the result in bytes.
        where: JSON path of the image in the request.

    Returns:
        The image, its format, and a sentence for each loss.
    """
    facts = sniff(data, where=where)
    check_kind(facts, "image", where=where)
    picture = open_picture(data, where=where, facts=facts)
    deep = is_deep(picture) or facts.bits > 8
    with decoding(where):
        plain = plain_colours(picture)
    smallest = 0
    for fmt, quality in _candidates(facts.format, formats, alpha=is_transparent(plain)):
        with decoding(where):
            made, lost = encode_picture(plain, fmt, quality=quality, lossless=quality is None)
        warnings = (*(("16 bits per channel were reduced to 8",) if deep else ()), *lost)
        if (facts.frames or 1) > 1:
            warnings += (f"only the first of its {facts.frames} frames is used",)
        if max_bytes is None or len(made) <= max_bytes:
            return made, fmt, warnings
        smallest = min(smallest or len(made), len(made))
    if smallest:
        text = f"the image has {smallest} bytes in the format the model accepts; the maximum is {max_bytes}."
        raise UnsupportedInput(text, fix="Scale it down.")
    raise UnsupportedInput(f"the model accepts {', '.join(formats)}; a {facts.format} image cannot be converted to that")


def _candidates(own: str, formats: Sequence[str], *, alpha: bool) -> list[tuple[str, int | None]]:
    """Return the formats to try with their quality (None: the best), best first."""
    allowed = [f for f in formats if f in PILLOW_FORMATS] if formats else ["png", own]
    if own in allowed:
        found = [f for f in ("png", "webp") if f in allowed] + [own] + [f for f in allowed if f in _LOSSLESS_FORMATS]
    else:
        found = allowed
    found = sorted(dict.fromkeys(found), key=lambda f: alpha and f not in _ALPHA_FORMATS)
    smaller: list[tuple[str, int | None]] = [(f, _LOWER_QUALITY) for f in found if f in {"jpeg", "webp", "avif"}]
    return [(f, None) for f in found] + smaller


def transcode_picture(data: bytes, to_format: str, quality: int | None) -> tuple[bytes, list[str]]:
    """Return an image, upright, in another format, and a sentence for each loss; an animation stays one if the format supports it."""
    facts = sniff(data)
    check_kind(facts, "image")
    frames = facts.frames or 1
    if frames > 1 and to_format in _ANIMATED_FORMATS:
        return _transcode_animation(data, facts, to_format, quality)
    picture = open_picture(data, facts=facts)
    with decoding():
        made, warnings = encode_picture(picture, to_format, quality=quality)
    return made, [*warnings, *([f"only the first of its {frames} frames was kept"] if frames > 1 else [])]


def _transcode_animation(data: bytes, facts: Facts, fmt: str, quality: int | None) -> tuple[bytes, list[str]]:
    limits = Limits()
    if (facts.width or 0) * (facts.height or 0) * (facts.frames or 1) > limits.animation_pixels:
        raise InvalidRequest([Problem("$", "its frames together are too large to be converted.")], fix="Scale it down.")
    frames: list[Picture] = []
    durations: list[int] = []
    with decoding():
        with _open(data[: facts.end], facts.format, limits) as image:
            for index in range(getattr(image, "n_frames", 1)):
                image.seek(index)
                frames.append(image.convert("RGBA" if facts.has_alpha else "RGB"))
                durations.append(int(image.info.get("duration", 100)) or 100)
        fitted = [_fitted(frame, fmt) for frame in frames]
        first, *rest = [made for made, _ in fitted]
        options = _options(first, fmt, quality, lossless=False) | {"save_all": True, "append_images": rest, "duration": durations}
        out = io.BytesIO()
        first.save(out, PILLOW_FORMATS[fmt], **options | ({} if fmt == "avif" else {"loop": 0}))
    return out.getvalue(), list(fitted[0][1])


def salvage_picture(data: bytes, fmt: str) -> tuple[bytes, str, int | None, int]:
    """Decode what is left of a damaged image and encode it losslessly; only to be called in the child process.

    It is decoded twice, with what is missing filled in two ways: the rows that differ are those that are missing.

    Returns:
        The image, its format, how many of its rows are missing (None: unknown), and how many it has. A PNG that lacks nothing
        but correct checksums keeps its bytes.
    """
    from PIL import Image, ImageFile

    ImageFile.LOAD_TRUNCATED_IMAGES = True
    made: list[Picture] = []
    error: InvalidRequest | None = None
    # Not every byte continues a WebP: most lossless ones end with a symbol that refers to pixels that are not there.
    for fill in range(256) if fmt == "webp" else (0, 0x55):
        try:
            with decoding():
                image: Picture = Image.open(io.BytesIO(_completed(data, fmt, fill)), formats=[PILLOW_FORMATS[fmt]])
                if image.width * image.height > Limits().pixels:
                    raise Image.DecompressionBombError
                image.im = Image.new(image.mode, image.size, fill).im
                image.load()
                made.append(image)
        except InvalidRequest as failed:
            error = failed
        if len(made) == 2:
            break
    if not made:
        raise error or InvalidRequest(_DAMAGED)
    rows, height = [picture.tobytes() for picture in made], made[0].height
    width = len(rows[0]) // height
    parts = [slice(at * width, at * width + width) for at in range(height)]
    missing = sum(rows[0][part] != rows[1][part] for part in parts) if len(rows) == 2 else None
    if missing == height:
        raise InvalidRequest(_DAMAGED)
    if fmt == "png" and not missing:
        return _completed(data, fmt, 0), fmt, missing, height
    to = fmt if fmt in _LOSSLESS_FORMATS else "png"
    with decoding():
        return encode_picture(made[0], to, lossless=True)[0], to, missing, height


def _completed(data: bytes, fmt: str, fill: int) -> bytes:
    """Return a damaged file as a decoder takes it: a PNG with correct checksums and an end, others with further data."""
    if fmt == "png":
        return _completed_png(data)
    if fmt == "webp":
        return _completed_webp(data, fill)
    return data.removesuffix(b"\xff\xd9") + bytes([fill]) * (4 * len(data)) if fmt == "jpeg" else data


def _completed_png(data: bytes) -> bytes:
    made, position = [data[:8]], 8
    while position + 8 < len(data):
        end = position + 8 + int.from_bytes(data[position : position + 4], "big")
        chunk = data[position + 4 : end]
        made += [(len(chunk) - 4).to_bytes(4, "big"), chunk, zlib.crc32(chunk).to_bytes(4, "big")]
        position = end + 4
    if made[-2][:4] != b"IEND":
        made.append(b"\0\0\0\0IEND\xaeB`\x82")
    return b"".join(made)


def _completed_webp(data: bytes, fill: int) -> bytes:
    """Lengthen the last chunk, if it is cut off, beyond what it claims: other data than those that are missing may need more."""
    position = 12
    while position + 8 <= len(data):
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        if position + 8 + length > len(data):
            more = min(4 * length, Limits().bytes) & ~1
            made = bytearray(data.ljust(position + 8 + more, bytes([fill])))
            made[position + 4 : position + 8] = more.to_bytes(4, "little")
            made[4:8] = (len(made) - 8).to_bytes(4, "little")
            return bytes(made)
        position += 8 + length + length % 2
    return data

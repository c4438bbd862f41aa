"""Image, Video, Audio: the source of the bytes, and the facts known about them.

A media object does no I/O: the core reads or fetches it once, after planning. Facts known in advance (mime type,
pixels, seconds) are attributes, so that the planner needs no I/O either.
"""

from __future__ import annotations

import base64
import io
import os
import urllib.parse
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, TypeAlias, runtime_checkable

import attrs

from .errors import InvalidRequest, Problem
from .records import frozen

__all__ = ["FORMATS", "Audio", "Image", "Media", "MediaInput", "Video", "format_of", "mime_of", "without_query"]

#: Format name -> mime type. The name is also the file extension (``jpeg`` is written ``.jpg``).
FORMATS: dict[str, str] = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "avif": "image/avif",
    "bmp": "image/bmp",
    "tiff": "image/tiff",
    "mp4": "video/mp4",
    "webm": "video/webm",
    "mov": "video/quicktime",
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "opus": "audio/opus",
    "aac": "audio/aac",
    "m4a": "audio/mp4",
    "pcm": "audio/pcm",
}
_BY_MIME = {mime: name for name, mime in FORMATS.items()} | {"image/jpg": "jpeg", "audio/x-wav": "wav", "audio/mp3": "mp3"}


def format_of(mime: str | None) -> str | None:
    """Return the format name of a mime type (parameters ignored), or None if it is not one of `FORMATS`."""
    return _BY_MIME.get((mime or "").split(";")[0].strip().lower())


def mime_of(format_name: str) -> str:
    """Return the mime type of a format name; raises KeyError for an unknown one."""
    return FORMATS[format_name]


def medium_of_file(name: str) -> str:
    """Return the medium that a file's suffix names: image, video or audio; image where it names none."""
    suffix = name.partition("?")[0].rpartition(".")[2].lower()
    return FORMATS.get({"m4v": "mp4", "oga": "ogg"}.get(suffix, suffix), "image").partition("/")[0]


def path_of(text: str) -> str:
    """Return the path of a ``file:`` URL of this machine; any other text as it is."""
    if text[:5].lower() != "file:":
        return text
    try:
        parts = urllib.parse.urlsplit(text.replace("?", "%3F").replace("#", "%23"))
    except ValueError:  # brackets that do not match
        return text
    is_own = parts.netloc in {"", "localhost"} and parts.path.startswith("/")
    return urllib.parse.unquote(parts.path) if is_own else text


def without_query(url: str) -> str:
    """Return a URL for display: without user info, query and fragment (which may contain signatures)."""
    try:
        parts = urllib.parse.urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:  # brackets that do not match, a port out of range
        return "<an unreadable URL>"
    return urllib.parse.urlunsplit((parts.scheme, host + port, parts.path, "", ""))


def _scheme(url: str) -> str:
    try:
        return urllib.parse.urlsplit(url).scheme
    except ValueError:
        raise InvalidRequest([Problem("$", "the media URL cannot be read", "check its host and brackets")]) from None


#: What is changed in base64 before it is decoded strictly: white space is dropped, the URL-safe letters become the usual ones.
_BASE64 = str.maketrans("-_", "+/", " \t\r\n\v\f")


def _decode_data_uri(text: str) -> tuple[bytes, str]:
    """Decode a data URL: percent-encoded bytes, or base64 that may be percent-encoded, URL-safe, in lines, or without padding."""
    head, comma, body = text.partition(",")
    mime, *parameters = urllib.parse.unquote(head[len("data:") :]).lower().replace(" ", "").split(";")
    if not comma:
        raise InvalidRequest([Problem("$", "a data: URI needs ';base64,' before its data")])
    if "base64" not in parameters:
        return urllib.parse.unquote_to_bytes(body), mime
    if "%" in body:
        body = urllib.parse.unquote("".join(body.split()))  # a line may end inside an escape
    plain = body.translate(_BASE64).rstrip("=")
    try:
        if not plain:
            raise ValueError
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True), mime
    except ValueError:  # binascii.Error is one
        raise InvalidRequest([Problem("$", "the data: URI is not valid base64")]) from None


def _show_bytes(data: bytes | None) -> str:
    return "None" if data is None else f"<{len(data)} bytes>"


def _show_url(url: str | None) -> str:
    return repr(url and without_query(url))


def _path(value: str | Path | None) -> Path | None:
    return None if value is None else Path(value)


@runtime_checkable
class _File(Protocol):
    def read(self) -> bytes: ...


@runtime_checkable
class _PillowImage(Protocol):
    """A ``PIL.Image.Image``."""

    @property
    def mode(self) -> str: ...
    def getbands(self) -> tuple[str, ...]: ...
    def convert(self, mode: str) -> Any: ...
    def save(self, fp: Any, format: str) -> None: ...


@runtime_checkable
class _PixelArray(Protocol):
    """A ``numpy.ndarray``, and what can be read as one."""

    @property
    def __array_interface__(self) -> dict[str, Any]: ...


def _png(picture: _PillowImage | _PixelArray) -> bytes:
    """Encode a Pillow image, or an array of height x width (x channels): numbers to 255, floats to 1, 16-bit integers, or booleans."""
    from PIL import Image as pillow  # noqa: N813 - Image is a class of ours

    if not isinstance(picture, _PillowImage):
        import numpy

        pixels = numpy.asarray(picture)
        if pixels.dtype.kind not in "buif" or not pixels.size or pixels.ndim not in {2, 3} or (pixels.ndim == 3 and pixels.shape[2] > 4):
            last = "; channels come last: array.transpose(1, 2, 0)" if pixels.ndim == 3 and pixels.shape[0] in {1, 3, 4} else ""
            raise ValueError(f"expected numbers as height x width (x 1 to 4 channels), got {pixels.dtype} {pixels.shape}{last}")
        if not numpy.isfinite(pixels).all():
            raise ValueError("it contains NaN or infinity")
        if pixels.dtype.kind in "bf":
            pixels = pixels * (255 if pixels.max() <= 1 else 1)
        elif pixels.dtype == "uint16" and pixels.max() > 255:
            pixels = pixels / 257
        if pixels.ndim == 3 and pixels.shape[2] == 1:
            pixels = pixels[:, :, 0]
        picture = pillow.fromarray(numpy.ascontiguousarray(pixels.clip(0, 255).round().astype("uint8")))
    if picture.mode.startswith("I;16"):
        picture = picture.convert("I").point(lambda value: value * (1 / 257)).convert("L")
    if picture.mode not in {"1", "L", "LA", "RGB", "RGBA"}:
        picture = picture.convert("RGBA" if "A" in picture.getbands() or picture.mode == "P" else "RGB")
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


@frozen(kw_only=True)
class Media:
    """Bytes, a local path or a URL (exactly one of them), with the known facts.

    Attributes:
        data: the bytes themselves.
        path: a local file.
        url: an http(s) URL; fetched once by the core, never sent to a provider.
        mime: mime type, if known.
        size: number of bytes, if known.
    """

    media: ClassVar[str] = "media"

    data: bytes | None = attrs.field(default=None, repr=_show_bytes)
    path: Path | None = attrs.field(default=None, converter=_path)
    url: str | None = attrs.field(default=None, repr=_show_url)
    mime: str | None = None
    size: int | None = None

    def __attrs_post_init__(self) -> None:
        given = [x for x in (self.data, self.path, self.url) if x is not None]
        if len(given) != 1:
            raise InvalidRequest([Problem("$", f"{type(self).__name__} takes exactly one of data, path and url")])
        if self.url is not None and _scheme(self.url) not in {"http", "https"}:
            raise InvalidRequest([Problem("$", "a media url must be http or https", "pass a path or bytes instead")])

    @classmethod
    def of(cls, value: object) -> Self:
        """Return an object for a `MediaInput`: a path (also that of a `Result`), a URL (http, https, file), bytes, an open file, a picture.

        Raises:
            InvalidRequest: for anything else.
        """
        if isinstance(value, cls):
            return value
        if isinstance(value, bytes | bytearray | memoryview):
            return cls(data=bytes(value))
        if isinstance(value, os.PathLike):
            return cls(path=Path(value))
        if isinstance(value, str) and value and "\0" not in value[:4096]:
            if (bare := value.lstrip())[:8].lower().startswith(("http://", "https://", "data:")):
                value = bare
            if value[:5].lower() == "data:":
                data, mime = _decode_data_uri(value)
                return cls(data=data, mime=mime or None)
            if value.lower().startswith(("http://", "https://")):
                return cls(url=value)
            value = path_of(value)
            if "://" in value[:32]:
                raise InvalidRequest([Problem("$", f"cannot read {value.split('://')[0]!r} URLs", "use a path, http(s) or data:")])
            return cls(path=Path(value))
        try:
            if isinstance(value, _File) and isinstance(data := value.read(), bytes):
                if not data and getattr(value, "tell", int)():
                    raise InvalidRequest([Problem("$", f"this {type(value).__name__} was read to its end", "call its seek(0) first")])
                return cls(data=data)
            if cls.media == "image" and isinstance(value, _PillowImage | _PixelArray):
                return cls(data=_png(value), mime="image/png")
        except (TypeError, ValueError, OSError) as error:
            raise InvalidRequest([Problem("$", f"this {type(value).__name__} cannot be read: {error}")]) from None
        hint = "give one; further pictures are references" if isinstance(value, list | tuple) else ""
        hint = "open it with mode 'rb'" if isinstance(value, _File) else hint
        known = "a path, URL, data: URI, bytes, an open file, an earlier result" + (
            ", a picture or an array" if cls.media == "image" else ""
        )
        raise InvalidRequest([Problem("$", f"expected {known}; got {type(value).__name__}", hint)])

    @property
    def format(self) -> str | None:
        """Format name (``png``, ``mp4`` ...) from the mime type, if known."""
        return format_of(self.mime)

    def __str__(self) -> str:
        """Return the source, without any signature."""
        if self.path is not None:
            return str(self.path)
        return without_query(self.url) if self.url is not None else f"<{len(self.data or b'')} bytes>"


#: What a method accepts as an image, a video or a sound: a path, an http(s) or ``data:`` URL, bytes, an open file, an earlier result;
#: a Pillow image or a numpy array (height x width x channels) as an image.
MediaInput: TypeAlias = str | os.PathLike[str] | bytes | _File | _PillowImage | _PixelArray | Media


@frozen(kw_only=True)
class Image(Media):
    """A still or animated image; ``width`` and ``height`` in pixels after EXIF orientation, if known."""

    media: ClassVar[str] = "image"

    width: int | None = None
    height: int | None = None


@frozen(kw_only=True)
class Video(Media):
    """A video; ``width`` and ``height`` in pixels, ``seconds`` its duration, if known."""

    media: ClassVar[str] = "video"

    width: int | None = None
    height: int | None = None
    seconds: float | None = None


@frozen(kw_only=True)
class Audio(Media):
    """Audio; ``seconds`` is its duration, if known."""

    media: ClassVar[str] = "audio"

    seconds: float | None = None

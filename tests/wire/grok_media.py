"""What the Grok fake keeps: media under signed URLs, uploaded and stored files; and how it reads what a request names."""

from __future__ import annotations

import base64
import binascii
import io
import secrets
import time
import urllib.parse
from collections.abc import Mapping
from typing import Any

import attrs

from .http_server import Received, Reply

__all__ = ["Depot", "Refusal", "StoredFile", "seconds_of"]

_MOST_IMAGE_BYTES = 10 * 1024 * 1024
_KINDS = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG": "image/png", b"RIFF": "image/webp"}


@attrs.frozen
class Refusal(Exception):
    """An answered rejection: a gRPC status by name, and the words with it."""

    code: str
    details: str
    trailing: tuple[tuple[str, str | bytes], ...] = ()


@attrs.frozen
class StoredFile:
    """One file of the Files API."""

    id: str
    name: str
    data: bytes = attrs.field(repr=False)
    created_at: int
    expires_at: int | None


def seconds_of(video: bytes) -> tuple[float, int, int]:
    """Return length, width and height of a video; raises Refusal for what is none."""
    import av

    try:
        with av.open(io.BytesIO(video)) as container:
            stream: Any = container.streams.video[0]
            return float(stream.duration * stream.time_base), int(stream.width), int(stream.height)
    except (av.FFmpegError, IndexError):
        raise Refusal("INVALID_ARGUMENT", "The video could not be decoded.") from None


class Depot:
    """Media that were made, by token; files, by id."""

    def __init__(self) -> None:
        self.made: dict[str, bytes] = {}
        self.files: dict[str, StoredFile] = {}
        self.gone: set[str] = set()
        self.signature = "sig-" + secrets.token_hex(12)
        self.base = ""
        self.fetched: list[Received] = []

    def publish(self, data: bytes, suffix: str) -> str:
        """Keep media under a signed URL."""
        token = f"{secrets.token_hex(8)}.{suffix}"
        self.made[token] = data
        return f"{self.base}/out/{token}?Expires=86400&Signature={self.signature}"

    def expire(self) -> None:
        """Let every URL end its life."""
        self.gone |= self.made.keys()

    def store(self, name: str, data: bytes, expires_after: int | None) -> StoredFile:
        """Keep a file."""
        now = int(time.time())
        until = None if expires_after is None else now + expires_after
        file = StoredFile(f"file_{secrets.token_hex(12)}", name, data, now, until)
        self.files[file.id] = file
        return file

    def serve(self, received: Received) -> Reply:
        """Answer a download: the signature must be right, and no key may be sent."""
        self.fetched.append(received)
        token = received.path.rpartition("/")[2]
        if "authorization" in received.headers:
            return Reply(status=400, body=b"a key has no business here")
        if token not in self.made or token in self.gone or received.query.get("Signature") != self.signature:
            return Reply(status=403, body=b"AccessDenied")
        kind = "video/mp4" if token.endswith("mp4") else "image/jpeg"
        return Reply(body=self.made[token], headers={"content-type": kind})

    def image(self, content: Any) -> bytes:
        """Return the picture that an ImageUrlContent names."""
        data, mime = self._bytes_of(content.image_url, content.file_id)
        if len(data) > _MOST_IMAGE_BYTES:
            raise Refusal("INVALID_ARGUMENT", f"The image is {len(data)} bytes; at most {_MOST_IMAGE_BYTES} are accepted.")
        kind = next((name for start, name in _KINDS.items() if data.startswith(start)), None)
        if kind is None or (mime and mime != kind):
            raise Refusal("INVALID_ARGUMENT", f"Unsupported image format {mime or 'unknown'}.")
        self._decode(data)
        return data

    def _decode(self, data: bytes) -> None:
        from PIL import Image

        try:
            with Image.open(io.BytesIO(data)) as picture:
                picture.load()
        except OSError:
            raise Refusal("INVALID_ARGUMENT", "The image could not be decoded.") from None

    def video(self, content: Any) -> bytes:
        """Return the video that a VideoUrlContent names."""
        data, mime = self._bytes_of(content.url, content.file_id)
        if data[4:8] != b"ftyp" or (mime and mime != "video/mp4"):
            raise Refusal("INVALID_ARGUMENT", "Unsupported video format.")
        return data

    def _bytes_of(self, url: str, file_id: str) -> tuple[bytes, str]:
        if file_id:
            if file_id not in self.files:
                raise Refusal("NOT_FOUND", f"File {file_id} not found.")
            return self.files[file_id].data, ""
        if url.startswith("data:"):
            head, _, body = url.partition(";base64,")
            try:
                return base64.b64decode(body, validate=True), head.removeprefix("data:")
            except binascii.Error:
                raise Refusal("INVALID_ARGUMENT", "Invalid base64 data.") from None
        return self._fetch(url), ""

    def _fetch(self, url: str) -> bytes:
        parts = urllib.parse.urlsplit(url)
        query: Mapping[str, str] = dict(urllib.parse.parse_qsl(parts.query))
        token = parts.path.rpartition("/")[2]
        known = url.startswith(self.base) and token in self.made and query.get("Signature") == self.signature
        if not known or token in self.gone:
            raise Refusal("INVALID_ARGUMENT", f"Failed to fetch the media from {url}: 403 Forbidden")
        return self.made[token]

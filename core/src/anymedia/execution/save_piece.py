"""Save one piece of a result: store its bytes as an artifact, resume broken downloads, check them, then export the file.

Provider bytes are kept unchanged. At most a few chunks are in memory. Only complete, checked bytes become a file.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

import attrs

from ..answers.containers import repair_file, sound_seconds
from ..answers.envelopes import read_error
from ..artifacts import Artifact, ArtifactStore, ArtifactWriter, Kind
from ..context import answers_up_to
from ..errors import BackendError, BackendUnavailable, BadBackendResponse, Fix, MediaError, OutputMismatch, PluginContractError
from ..files.atomic_writer import Writer
from ..files.names import fits_suffix, suffix_for
from ..files.paths import OutputTarget
from ..media import format_of
from ..net.fetcher import CHUNK
from ..probe.probe import HEAD, format_of_head, sniff
from ..probe.reader import Facts
from ..redaction import clean_text
from ..results import MediaFile, Piece, Warning
from ..threads import in_thread
from .poll_schedule import bounded_hint

if TYPE_CHECKING:
    from ..net.fetcher import Fetcher

#: When a download is resumed, this many bytes are requested again and compared with those on disk.
_OVERLAP = CHUNK
#: A download that progressed by this many bytes since the last failure starts with a fresh number of retries.
_PROGRESS = 1_048_576
#: Kept bytes are searched for links up to this size.
_MOST_SCANNED = 1 << 26
_LINK = re.compile(rb"https?(?::|%3a|\\u003a)[^\0-\x20\"'<>\x7f-\xff]*", re.IGNORECASE)
_QUERY = re.compile(rb"(?:\?|%3f|\\u003f)[^?]*(?:=|%3d|\\u003d)", re.IGNORECASE)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 20.0


@attrs.frozen(kw_only=True)
class Saved:
    """A saved file, the format of its bytes, and warnings for the caller."""

    file: MediaFile
    format: str
    warnings: tuple[Warning, ...] = ()


async def store_piece(
    piece: Piece,
    artifacts: ArtifactStore,
    *,
    fetcher: Fetcher,
    call_id: str,
    kind: Kind = "piece",
    index: int = 0,
    hosts: Sequence[str] = (),
    retries: int = 4,
    max_bytes: int = 2_000_000_000,
    stall: float = 120.0,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> tuple[Artifact, tuple[Warning, ...]]:
    """Store the bytes of a piece as an artifact of its call; what is fetched is repaired.

    When the call is resumed, so is the download of a killed process. Only ``hosts`` (``host``, ``host:port``) receive the piece's headers.
    ``retries``: maximum consecutive retries of a broken download; ``stall``: maximum seconds without data from a byte stream.

    Raises:
        BackendUnavailable: the download failed after all retries.
        BadBackendResponse: the link has expired or was refused (see ``status``).
        ArtifactNotStored: it cannot be written.

    Every error has ``charged="yes"``: the provider has done the work.
    """
    mime = piece.mime or ""
    try:
        if piece.data is not None:
            return await artifacts.put(call_id, kind, piece.data, index=index, mime=mime), ()
        async with artifacts.writer(call_id, kind, index, mime) as writer:
            await _Filling(piece, writer, fetcher, hosts, max_bytes, stall).fill(retries, sleep)
            repaired = await writer.change(repair_file)
            return await writer.commit(), repaired
    except MediaError as error:
        error.charged = "yes"
        raise


async def export_artifact(
    artifact: Artifact,
    artifacts: ArtifactStore,
    target: OutputTarget | None,
    *,
    expect: Literal["image", "video", "audio"],
    index: int = 0,
    of: int = 1,
    reuse: bool = False,
) -> Saved:
    """Check the bytes of a piece and export them to an output file, or keep the artifact for this process.

    The suffix is adjusted to the bytes. ``reuse``: accept a file that already has exactly these bytes, as a killed process leaves it.

    Raises:
        BadBackendResponse: the response is not media.
        OutputMismatch: it is another medium than the one requested.
        MediaError: it cannot be read or written.

    Every error has ``charged="yes"``.
    """
    seen: list[Facts] = []

    def suffix(stored: Path) -> str:
        seen.append(recognise_file(stored, artifact.mime, expect))
        return _suffix(target, seen[0])

    try:
        if target is None:
            path = await artifacts.keep(artifact, suffix)
        else:
            path = await artifacts.export(artifact, target, index=index, of=of, suffix=suffix, reuse=reuse)
    except MediaError as error:
        error.charged = "yes"
        raise
    return _saved(path, seen[0], target, index, of, size=artifact.size, sha256=artifact.sha256)


async def name_kept(error: MediaError, artifact: Artifact, artifacts: ArtifactStore, run: str) -> None:
    """Name the file with what was received in an error, and the action that copies it, if it may be copied."""
    path = await artifacts.local_file(artifact)
    error.kept = str(path)
    error.action = Fix("export", run) if await in_thread(lambda: may_be_copied(path)) else None


def may_be_copied(path: Path) -> bool:
    """Whether a file with what was received may be given to a confined caller: not a text or a page that holds a (signed) link.

    Damaged media may have links in their metadata, but none with a query.
    """
    if path.stat().st_size > _MOST_SCANNED:
        return False
    data = path.read_bytes()
    if _text_kind(data[:512]) is not None:
        return False
    links = [found[0] for found in _LINK.finditer(data.replace(b"\0", b""))]
    return not links or (format_of_head(data[:HEAD]) is not None and not any(map(_QUERY.search, links)))


def save_bytes(piece: Piece, target: OutputTarget, *, call_id: str, expect: str, index: int = 0, of: int = 1) -> Saved:
    """Save bytes in memory to an output file without storing them: for when nothing can be stored."""
    assert piece.data is not None
    facts = _recognise(piece.data, piece.mime, piece.data[:512], expect)
    with Writer(target, call_id=call_id, index=index, of=of) as writer:
        if writer.size:
            writer.restart()
        writer.write(piece.data)
        size, digest = writer.size, writer.sha256
        path = writer.commit(suffix=_suffix(target, facts))
    return _saved(path, facts, target, index, of, size=size, sha256=digest)


def _suffix(target: OutputTarget | None, facts: Facts) -> str:
    return "" if target is not None and fits_suffix(target.suffix, facts.format) else suffix_for(facts.format)


def _saved(path: Path, seen: Facts, target: OutputTarget | None, index: int, of: int, *, size: int, sha256: str) -> Saved:
    asked = path.name if target is None else next(target.names(index, of))
    warnings: list[Warning] = []
    if path.name != asked and target is not None and not target.made_up:
        bytes_differ = bool(_suffix(target, seen))
        why = f"its bytes are {seen.format}" if bytes_differ else "another file with that name was created in the meantime"
        warnings.append(Warning("file_renamed", f"The file is named {path.name!r}, not {asked!r}: {why}."))
    file = MediaFile(path=path, mime=seen.mime, size=size, sha256=sha256, width=seen.width, height=seen.height, seconds=seen.seconds)
    return Saved(file=file, format=seen.format, warnings=tuple(warnings))


@attrs.define
class _Filling:
    """Writes a piece's bytes to the writer."""

    piece: Piece
    writer: ArtifactWriter
    fetcher: Fetcher
    hosts: Sequence[str]
    max_bytes: int
    stall: float
    etag: str | None = None

    async def fill(self, retries: int, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Write all of the piece; after a failure, wait and resume."""
        pour = self._pour_url if self.piece.url is not None else self._pour_stream
        furthest, failures = self.writer.size, 0
        while True:
            try:
                await pour()
                return
            except BackendError as error:
                if self.writer.size >= furthest + _PROGRESS:
                    furthest, failures = self.writer.size, 0
                failures += 1
                if not error.retry or failures > retries:
                    raise
                pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (failures - 1)) * random.uniform(0.75, 1.25)  # noqa: S311
                await sleep(max(pause, bounded_hint(error.retry_after) or 0.0))

    async def _pour_url(self) -> None:
        url = self.piece.url
        assert url is not None
        offset = max(0, self.writer.size - _OVERLAP)
        fetch = functools.partial(self.fetcher.fetch, headers=self.piece.headers, credential_hosts=self.hosts, max_bytes=self.max_bytes)
        try:
            async with fetch(url, offset=offset, etag=self.etag) as download:
                self.etag = download.etag
                await self._take(download.chunks(), download.start)
        except BadBackendResponse as error:
            if offset and error.status == 416:  # the file there is shorter than what was received: it is another one
                await self.writer.restart()
                raise BackendUnavailable("The file at the provider changed during the download.") from None
            if error.status in {404, 409, 425} and self.piece.headers:
                error.retry = True  # not a signed link: the service may have the file only some time after the job is done
            if error.status in {401, 403, 404, 410}:
                error.message = f"{error.message.rstrip('.')}: the link has expired or was removed."
                error.fix = "Resume the job: the provider returns a new link if it still has the file."
            raise

    async def _pour_stream(self) -> None:
        open_stream = self.piece.stream
        assert open_stream is not None
        offset = max(0, self.writer.size - _OVERLAP)
        with answers_up_to(self.max_bytes):
            try:
                await self._take(_timed(open_stream, offset, self.stall), offset)
            except _CannotStartThere:
                await self.writer.restart()
                await self._take(_timed(open_stream, 0, self.stall), 0)

    async def _take(self, chunks: AsyncIterator[bytes], start: int) -> None:
        """Write the chunks, after comparing them with what is already there from ``start``."""
        known = b"" if start == 0 else await self.writer.tail(self.writer.size - start)
        if start == 0 and self.writer.size:
            await self.writer.restart()
        async with contextlib.aclosing(chunks) as source:  # type: ignore[type-var]
            async for chunk in source:
                fresh = memoryview(chunk)
                if known:
                    count = min(len(known), len(fresh))
                    if known[:count] != fresh[:count]:
                        await self.writer.restart()
                        raise BackendUnavailable("The file at the provider changed during the download.")
                    known, fresh = known[count:], fresh[count:]
                if self.writer.size + len(fresh) > self.max_bytes:
                    raise BadBackendResponse(f"The file is larger than the maximum of {self.max_bytes} bytes.")
                await self.writer.write(fresh)
        if known:  # it ended before the position already reached
            await self.writer.restart()
            raise BackendUnavailable("The file at the provider changed during the download.")


class _CannotStartThere(Exception):
    """The stream cannot start at the requested offset."""


async def _timed(open_stream: Callable[[int], AsyncIterator[bytes]], offset: int, stall: float) -> AsyncIterator[bytes]:
    """Yield a plugin's stream with a timeout for each chunk; its errors become `MediaError`."""
    stream: AsyncIterator[bytes] | None = None
    begun = False
    try:
        stream = open_stream(offset)
        while True:
            async with asyncio.timeout(stall):
                chunk = await anext(stream)
            begun = True
            yield chunk
    except StopAsyncIteration:
        return
    except MediaError:
        raise
    except Exception as error:
        if isinstance(error, ValueError) and offset and not begun:
            raise _CannotStartThere from None
        raise _broken(error) from error
    finally:
        close: Callable[[], Awaitable[None]] | None = getattr(stream, "aclose", None)
        if close is not None:
            await close()


def _broken(error: Exception) -> MediaError:
    # A built-in Python error is a bug in the plugin and would recur; anything an HTTP library or the system raises is a network error.
    if type(error).__module__ == "builtins" and not isinstance(error, OSError | EOFError):
        return PluginContractError(f"The plugin's byte stream failed ({type(error).__name__}).")
    return BackendUnavailable(f"The download was interrupted ({type(error).__name__}).")


def recognise_file(path: Path, mime: str, expect: str) -> Facts:
    """Return the facts of stored bytes; those that are not media, or of another medium than expected, are refused."""
    with path.open("rb") as file:
        return _recognise(file, mime, file.read(512), expect)


def _recognise(source: BinaryIO | bytes, mime: str | None, head: bytes, expect: str) -> Facts:
    # Raw samples have no header to recognize.
    hint = "pcm" if expect == "audio" and format_of(mime) == "pcm" and _text_kind(head) is None else None
    try:
        if expect == "audio" and format_of_head(head) == "aiff":  # no input, but players know it
            return Facts(format="aiff", mime="audio/aiff", kind="audio", size=0, end=0, seconds=sound_seconds(source))
        facts = sniff(source, format_hint=hint)
    except MediaError as error:
        kind = _text_kind(head) or _plain_text(head)
        bad = BadBackendResponse(f"The response is not valid {expect} data: {kind or clean_text(error.message).rstrip('.')}.")
        if kind is not None:  # what the provider says in place of a file
            bad.provider_message = read_error(head).text
        raise bad from None
    if facts.kind != expect:
        raise OutputMismatch(f"The response is {facts.kind} ({facts.mime}), but {expect} was requested.")
    return facts


def _plain_text(head: bytes) -> str | None:
    try:
        text = head.decode()
    except UnicodeDecodeError:
        return None
    return f"a text: {clean_text(text, 200)}" if text.strip() and " " in text.strip() else None


def _text_kind(head: bytes) -> str | None:
    """Name the kind of text a server has sent in place of a file; None for anything else."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:400]
    low = start.lower()
    if not head:
        return "an empty response"
    if low.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "an HTML page"
    kind = "a JSON text" if low.startswith((b"{", b"[")) else "an XML text" if low.startswith((b"<?xml", b"<error")) else None
    return None if kind is None else f"{kind}: {clean_text(start.decode('utf-8', 'replace'), 200)}"

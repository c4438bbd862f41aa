"""Save one piece of a result: stream it to a temporary file, resume broken downloads, check its bytes, then name it.

Provider bytes are kept unchanged. At most one chunk is in memory. Only a complete, checked file gets its final name.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import attrs

from ..answers.containers import repair_file
from ..errors import BackendError, BackendUnavailable, BadBackendResponse, MediaError, OutputMismatch, PluginContractError
from ..files.atomic_writer import Writer
from ..files.names import fits_suffix, suffix_for
from ..files.paths import OutputTarget
from ..media import format_of
from ..net.fetcher import CHUNK
from ..probe.probe import Facts, is_sandboxed, sniff
from ..redaction import clean_text
from ..results import MediaFile, Piece, Warning
from ..threads import in_thread

if TYPE_CHECKING:
    from ..net.fetcher import Fetcher

__all__ = ["Collected", "collect"]

#: When a download is resumed, this many bytes are requested again and compared with those on disk.
_OVERLAP = CHUNK
#: A download that progressed by this many bytes since the last failure starts with a fresh number of retries.
_PROGRESS = 1_048_576
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 20.0


@attrs.frozen(kw_only=True)
class Collected:
    """A saved file, the format of its bytes, its temporary name if that was kept, and warnings for the caller."""

    file: MediaFile
    format: str
    part: Path | None
    warnings: tuple[Warning, ...] = ()


async def collect(
    piece: Piece,
    target: OutputTarget,
    *,
    fetcher: Fetcher,
    call_id: str,
    expect: Literal["image", "video", "audio"],
    index: int = 0,
    of: int = 1,
    hosts: Sequence[str] = (),
    retries: int = 4,
    max_bytes: int = 2_000_000_000,
    stall: float = 120.0,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    written: Writer | None = None,
    keep_part: bool = False,
) -> Collected:
    """Save a piece to disk, check it and give it its final name.

    Args:
        piece: what the hook returned.
        target: where to save it; the suffix is adjusted to the bytes.
        fetcher: for a piece with a URL.
        call_id: names the temporary file, so that resuming the call also resumes the download of a killed process.
        expect: the required medium.
        index: number of the piece, starting at 0.
        of: number of pieces.
        hosts: hosts (``host``, ``host:port``) that may receive the piece's headers.
        retries: maximum consecutive retries of a broken download.
        max_bytes: maximum size in bytes.
        stall: maximum seconds without data from a byte stream.
        sleep: waits a number of seconds between retries.
        written: an open writer for the same target that already contains the piece's bytes.
        keep_part: keep the temporary name as well, for the caller to remove; see `Writer.commit`.

    Raises:
        BackendUnavailable: the download failed after all retries.
        BadBackendResponse: the link has expired or was refused (see ``status``), or the response is not media.
        OutputMismatch: it is another medium than the one requested.
        MediaError: it cannot be written.

    Every error has ``charged="yes"``: the provider has done the work.
    """
    writer = written or Writer(target, call_id=call_id, index=index, of=of)
    try:
        if written is None:
            await in_thread(writer.open)
        if written is None and writer.finished is None:
            await _Filling(piece, writer, fetcher, hosts, max_bytes, stall).fill(retries, sleep)
        if written is not None and writer.is_quick and not is_sandboxed(writer.head()):
            return _finish(piece, target, writer, expect, keep_part=keep_part)
        return await in_thread(lambda: _finish(piece, target, writer, expect, keep_part=keep_part))
    except MediaError as error:
        error.charged = "yes"
        raise
    finally:
        writer.abort()


def _finish(piece: Piece, target: OutputTarget, writer: Writer, expect: str, *, keep_part: bool) -> Collected:
    repaired = writer.change(repair_file) if writer.finished is None and piece.data is None else ()
    seen = _recognise(piece, writer, expect)
    suffix = "" if fits_suffix(target.suffix, seen.format) else suffix_for(seen.format)
    asked, size, digest = writer.wanted, writer.size, writer.sha256
    path = writer.commit(suffix=suffix, keep_part=keep_part)
    warnings: list[Warning] = list(repaired)
    if path.name != asked and not target.made_up:
        why = f"its bytes are {seen.format}" if suffix else "another file with that name was created in the meantime"
        warnings.append(Warning("file_renamed", f"The file is named {path.name!r}, not {asked!r}: {why}."))
    file = MediaFile(path=path, mime=seen.mime, size=size, sha256=digest, width=seen.width, height=seen.height, seconds=seen.seconds)
    return Collected(file=file, format=seen.format, part=writer.left, warnings=tuple(warnings))


@attrs.frozen
class _Filling:
    """Writes a piece's bytes to the writer."""

    piece: Piece
    writer: Writer
    fetcher: Fetcher
    hosts: Sequence[str]
    max_bytes: int
    stall: float

    async def fill(self, retries: int, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Write all of the piece; after a failure, wait and resume."""
        if self.piece.data is not None:
            data = self.piece.data
            await in_thread(lambda: self._write_data(data))
            return
        pour = self._pour_url if self.piece.url is not None else self._pour_stream
        etag: list[str | None] = [None]
        furthest, failures = self.writer.size, 0
        while True:
            try:
                await pour(etag)
                return
            except BackendError as error:
                if self.writer.size >= furthest + _PROGRESS:
                    furthest, failures = self.writer.size, 0
                failures += 1
                if not error.retry or failures > retries:
                    raise
                pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (failures - 1)) * random.uniform(0.75, 1.25)  # noqa: S311
                await sleep(max(pause, error.retry_after or 0.0))

    def _write_data(self, data: bytes) -> None:
        self.writer.restart()
        view = memoryview(data)
        for start in range(0, len(view), CHUNK):
            self.writer.write(view[start : start + CHUNK])

    async def _pour_url(self, etag: list[str | None]) -> None:
        url = self.piece.url
        assert url is not None
        offset = max(0, self.writer.size - _OVERLAP)
        arguments = {"headers": self.piece.headers, "credential_hosts": self.hosts, "max_bytes": self.max_bytes}
        try:
            async with self.fetcher.fetch(url, offset=offset, etag=etag[0], **arguments) as download:  # type: ignore[arg-type]
                etag[0] = download.etag
                await self._take(download.chunks(), download.start)
        except BadBackendResponse as error:
            if offset and error.status == 416:  # the file there is shorter than what was received: it is another one
                self.writer.restart()
                raise BackendUnavailable("The file at the provider changed during the download.") from None
            if error.status in {401, 403, 404, 410}:
                error.message = f"{error.message.rstrip('.')}: the link has expired or was removed."
                error.fix = "Resume the job: the provider returns a new link if it still has the file."
            raise

    async def _pour_stream(self, _: list[str | None]) -> None:
        open_stream = self.piece.stream
        assert open_stream is not None
        offset = max(0, self.writer.size - _OVERLAP)
        try:
            await self._take(_timed(open_stream, offset, self.stall), offset)
        except _CannotStartThere:
            self.writer.restart()
            await self._take(_timed(open_stream, 0, self.stall), 0)

    async def _take(self, chunks: AsyncIterator[bytes], start: int) -> None:
        """Write the chunks, after comparing them with what is already there from ``start``."""
        known = b""
        if start == 0:
            if self.writer.size:
                self.writer.restart()
        else:
            known = self.writer.tail(self.writer.size - start)
        async with contextlib.aclosing(chunks) as source:  # type: ignore[type-var]
            async for chunk in source:
                fresh = memoryview(chunk)
                if known:
                    count = min(len(known), len(fresh))
                    if known[:count] != fresh[:count]:
                        self.writer.restart()
                        raise BackendUnavailable("The file at the provider changed during the download.")
                    known, fresh = known[count:], fresh[count:]
                if self.writer.size + len(fresh) > self.max_bytes:
                    raise BadBackendResponse(f"The file is larger than the maximum of {self.max_bytes} bytes.")
                self.writer.write(fresh)
        if known:  # it ended before the position already reached
            self.writer.restart()
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
    except (MediaError, GeneratorExit):
        raise
    except ValueError as error:
        if offset and not begun:
            raise _CannotStartThere from None
        raise _broken(error) from error
    except Exception as error:
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


def _recognise(piece: Piece, writer: Writer, expect: str) -> Facts:
    """Return the facts of what was written; raise an error that says what it is if it is not the expected medium."""
    # Bytes in memory equal what was written; anything else is read from the file.
    data = piece.data if isinstance(piece.data, bytes) and writer.finished is None else None
    hint = "pcm" if expect == "audio" and format_of(piece.mime) == "pcm" and _text_kind(_head(writer, data)) is None else None
    try:  # raw samples have no header to recognize
        if data is not None:
            facts = sniff(data, format_hint=hint)
        else:
            with writer.reading() as source:
                facts = sniff(source, format_hint=hint)
    except MediaError as error:
        text = _text_kind(_head(writer, data))
        raise BadBackendResponse(f"The response is not valid {expect} data: {text or clean_text(error.message)}.") from None
    if facts.kind != expect:
        raise OutputMismatch(f"The response is {facts.kind} ({facts.mime}), but {expect} was requested.")
    return facts


def _head(writer: Writer, data: bytes | None) -> bytes:
    return writer.head() if data is None else data[:512]


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

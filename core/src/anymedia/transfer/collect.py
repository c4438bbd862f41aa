"""A piece becomes a file: streamed to a temporary, taken up again when it breaks off, checked by its bytes, then named.

Provider bytes are kept verbatim. No more than a chunk is in memory. The final name appears only on a whole, checked file.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import attrs

from ..errors import BackendError, BackendUnavailable, BadBackendResponse, MediaError, OutputMismatch, PluginContractError
from ..media import format_of
from ..redaction import clean_text
from ..results import MediaFile, Piece
from .download import CHUNK
from .names import fits_suffix, suffix_for
from .paths import OutputTarget
from .sniff import Facts, sniff
from .writing import Writer

if TYPE_CHECKING:
    from .fetch import Fetcher

__all__ = ["Collected", "collect", "in_thread", "unbroken"]

_T = TypeVar("_T")

#: When a download is taken up again, this much of what is there is asked for once more and compared.
_OVERLAP = CHUNK
#: A download that got this much further than ever before has not failed in vain: the count of failures starts anew.
_PROGRESS = 1_048_576
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 20.0


@attrs.frozen(kw_only=True)
class Collected:
    """A collected file, the format its bytes have, the temporary name that was left it, and sentences for the caller."""

    file: MediaFile
    format: str
    part: Path | None
    warnings: tuple[str, ...] = ()


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
    """Bring a piece onto the disk, check it and give it its name.

    Args:
        piece: what the hook returned.
        target: where it goes; the suffix follows the bytes.
        fetcher: for a piece with a URL.
        call_id: names the temporary, so that a killed process's download is taken up by whoever resumes the call.
        expect: the medium it must be.
        index: which piece it is, counted from 0.
        of: how many pieces there are.
        hosts: hosts (``host``, ``host:port``) that may be sent the piece's headers.
        retries: how often in a row a broken download is tried again.
        max_bytes: most bytes taken.
        stall: longest silence of a byte stream, in seconds.
        sleep: waits some seconds between tries.
        written: an open writer for this very place that holds the piece's bytes already.
        keep_part: leave the temporary name too, for the caller to remove; see `Writer.commit`.

    Raises:
        BackendUnavailable: the download kept breaking off.
        BadBackendResponse: the link is gone or refused (``status`` says), or what came is no media.
        OutputMismatch: what came is another medium than was asked for.
        MediaError: the disk does not take it.

    Every error says ``charged="yes"``: the work itself is done.
    """
    writer = written or Writer(target, call_id=call_id, index=index, of=of)
    try:
        if written is None:
            await in_thread(writer.open)
        if written is None and writer.finished is None:
            await _Filling(piece, writer, fetcher, hosts, max_bytes, stall).fill(retries, sleep)
        if written is not None and writer.is_quick:
            return _finish(piece, target, writer, expect, keep_part=keep_part)
        return await in_thread(lambda: _finish(piece, target, writer, expect, keep_part=keep_part))
    except MediaError as error:
        error.charged = "yes"
        raise
    finally:
        writer.abort()


async def in_thread(work: Callable[[], _T]) -> _T:
    """Do blocking work in a thread. Cancelled, it waits for the thread first, so that nobody else touches the file meanwhile."""
    return await _unbroken(asyncio.get_running_loop().run_in_executor(None, contextvars.copy_context().run, work))


async def unbroken(work: Coroutine[Any, Any, _T]) -> _T:
    """Do something that must not stop half-way: cancelled, it is done first."""
    return await _unbroken(asyncio.ensure_future(work))


async def _unbroken(done: asyncio.Future[_T]) -> _T:
    try:
        return await asyncio.shield(done)
    except asyncio.CancelledError:
        await asyncio.wait([done])
        if not done.cancelled():
            done.exception()  # looked at, so that it is not reported as lost
        raise


def _finish(piece: Piece, target: OutputTarget, writer: Writer, expect: str, *, keep_part: bool) -> Collected:
    seen = _recognise(piece, writer, expect)
    suffix = "" if fits_suffix(target.suffix, seen.format) else suffix_for(seen.format)
    asked, size, digest = writer.wanted, writer.size, writer.sha256
    path = writer.commit(suffix=suffix, keep_part=keep_part)
    warnings = []
    if path.name != asked and not target.made_up:
        why = f"its bytes are {seen.format}" if suffix else "a file of that name appeared meanwhile"
        warnings.append(f"The file is named {path.name!r} and not {asked!r}: {why}.")
    file = MediaFile(path=path, mime=seen.mime, size=size, sha256=digest, width=seen.width, height=seen.height, seconds=seen.seconds)
    return Collected(file=file, format=seen.format, part=writer.left, warnings=tuple(warnings))


@attrs.frozen
class _Filling:
    """Gets a piece's bytes into the writer."""

    piece: Piece
    writer: Writer
    fetcher: Fetcher
    hosts: Sequence[str]
    max_bytes: int
    stall: float

    async def fill(self, retries: int, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Pour until it is whole; after a break, wait and take it up again."""
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
            if offset and error.status == 416:  # the file there is shorter than what we have: not the same one
                self.writer.restart()
                raise BackendUnavailable("The file at the provider changed during the download.") from None
            if error.status in {401, 403, 404, 410}:
                error.message = f"{error.message.rstrip('.')}: the link has expired or was taken down."
                error.fix = "Resume the job to be given a new link, if the provider still has the file."
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
        """Write what comes, after comparing it with what is there from ``start`` on."""
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
                    raise BadBackendResponse(f"The file has more than the {self.max_bytes} bytes that are taken.")
                self.writer.write(fresh)
        if known:  # it ended before the place we had come to
            self.writer.restart()
            raise BackendUnavailable("The file at the provider changed during the download.")


class _CannotStartThere(Exception):
    """The stream cannot start at the offset it was asked for."""


async def _timed(open_stream: Callable[[int], AsyncIterator[bytes]], offset: int, stall: float) -> AsyncIterator[bytes]:
    """Yield a plugin's stream, each wait limited, its errors put into ours."""
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
    # A plain Python error is the plugin's mistake and will come again; whatever an HTTP library or the system raises is the network's.
    if type(error).__module__ == "builtins" and not isinstance(error, OSError | EOFError):
        return PluginContractError(f"The plugin's byte stream failed ({type(error).__name__}).")
    return BackendUnavailable(f"The download broke off ({type(error).__name__}).")


def _recognise(piece: Piece, writer: Writer, expect: str) -> Facts:
    """Return the format and the facts of what was written, or raise what it is instead."""
    # Bytes at hand are what was written; all else is read from the file.
    data = piece.data if isinstance(piece.data, bytes) and writer.finished is None else None
    told = "pcm" if expect == "audio" and format_of(piece.mime) == "pcm" and _looks_like(_head(writer, data)) is None else None
    try:  # raw samples have no header to be known by
        if data is not None:
            facts = sniff(data, told=told)
        else:
            with writer.reading() as source:
                facts = sniff(source, told=told)
    except MediaError as error:
        text = _looks_like(_head(writer, data))
        raise BadBackendResponse(f"What came back is no {expect}: {text or clean_text(error.message)}.") from None
    if facts.kind != expect:
        raise OutputMismatch(f"What came back is {facts.kind} ({facts.mime}), and {expect} was asked for.")
    return facts


def _head(writer: Writer, data: bytes | None) -> bytes:
    return writer.head() if data is None else data[:512]


def _looks_like(head: bytes) -> str | None:
    """Name the kinds of text that servers send in place of a file."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:400]
    low = start.lower()
    if not head:
        return "nothing at all"
    if low.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "an HTML page"
    kind = "a JSON text" if low.startswith((b"{", b"[")) else "an XML text" if low.startswith((b"<?xml", b"<error")) else None
    return None if kind is None else f"{kind}: {clean_text(start.decode('utf-8', 'replace'), 200)}"

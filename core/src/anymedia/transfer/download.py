"""One answer of the network, coming in: its limits, its pace, and whose fault it is when it fails."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import attrs

from ..errors import BackendError, BackendUnavailable, BadBackendResponse, InvalidRequest, MediaError, Problem
from ..redaction import clean_text
from .addresses import Refused

if TYPE_CHECKING:
    from aiohttp import ClientResponse

__all__ = ["CHUNK", "Blame", "Download", "HopRefused", "Limits", "translated"]

#: Most bytes handed on at a time.
CHUNK = 65_536


class HopRefused(Refused):
    """A hop is not allowed; carried through aiohttp to the caller of the fetcher."""


@attrs.frozen
class Blame:
    """Whose URL it is decides which errors are raised: a caller's (InvalidRequest) or a provider's (BackendError)."""

    for_caller: bool
    field: str

    def refused(self, why: str, allow: str = "") -> MediaError:
        """Return the error for a URL that is not asked for at all; ``allow``: the entry of ``fetch.allow`` that would let it through."""
        if self.for_caller:
            return InvalidRequest([Problem(self.field, why, "give a public https URL, a path or bytes")])
        fix = f'if that server is your own, name it in the settings: [fetch] allow = ["{allow}"]' if allow else ""
        return BadBackendResponse(f"The provider's link is not followed: {why}.", fix=fix)

    def failed(self, why: str, *, status: int | None = None, passing: bool = True) -> MediaError:
        """Return the error for a URL that failed; ``passing``: the same request may succeed later."""
        if self.for_caller:
            return InvalidRequest([Problem(self.field, why)])
        error: BackendError = BackendUnavailable(f"{why}.") if passing else BadBackendResponse(f"{why}.")
        error.status = status
        return error


@attrs.define
class Download:
    """An answer that is coming in.

    Attributes:
        url: where it came from in the end, as it may be shown.
        start: the byte it starts at; 0 where the server did not take up the offset.
        total: how many bytes the whole has, if the server said.
        mime: the server's claim.
        etag: a strong entity tag, to be sent when it is taken up again, or None.
    """

    url: str
    start: int
    total: int | None
    mime: str | None
    etag: str | None
    _response: ClientResponse = attrs.field(repr=False)
    _limits: Limits = attrs.field(repr=False)
    _blame: Blame = attrs.field(repr=False)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes, at most 64 KiB at a time.

        Raises:
            BackendUnavailable: broken off, too slow, or shorter than announced (InvalidRequest for a caller's URL).
            BadBackendResponse: more bytes than are taken (InvalidRequest for a caller's URL).
        """
        got = 0
        pace = _Pace(self._limits)
        while True:
            with translated(self._blame, self.url):
                async with self._limits.guard():
                    chunk = await self._response.content.read(CHUNK)
            if not chunk:
                break
            got += len(chunk)
            if self.start + got > self._limits.max_bytes:
                raise self._blame.failed(f"{self.url} has more than the {self._limits.max_bytes} bytes that are taken", passing=False)
            if not pace.keeps_up(len(chunk)):
                raise self._blame.failed(f"{self.url} came in slower than {self._limits.min_rate:g} bytes a second")
            yield chunk
        if self.total is not None and self.start + got != self.total:
            raise self._blame.failed(f"{self.url} broke off after {self.start + got} of {self.total} bytes")


@attrs.define
class Limits:
    """What one answer may take: bytes, bytes a second over a window of seconds, seconds of silence, until when (loop time)."""

    max_bytes: int
    min_rate: float
    rate_window: float
    stall: float
    deadline: float

    def guard(self) -> asyncio.Timeout:
        """Return the time limit of the next wait; it raises TimeoutError."""
        return asyncio.timeout_at(min(self.deadline, asyncio.get_running_loop().time() + self.stall))


class _Pace:
    """Measures bytes per second over successive windows."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._since = asyncio.get_running_loop().time()
        self._bytes = 0

    def keeps_up(self, count: int) -> bool:
        self._bytes += count
        now = asyncio.get_running_loop().time()
        if (passed := now - self._since) < self._limits.rate_window:
            return True
        enough = self._bytes >= passed * self._limits.min_rate
        self._since, self._bytes = now, 0
        return enough


@contextlib.contextmanager
def translated(blame: Blame, url: str) -> Iterator[None]:
    """Turn what aiohttp and the system raise into our errors; their texts can hold the whole URL and are not used."""
    import aiohttp

    try:
        yield
    except HopRefused as error:
        raise blame.refused(str(error), error.allow) from None
    except TimeoutError as error:
        raise blame.failed(f"{url} did not answer in time") from error
    except aiohttp.ClientConnectorCertificateError as error:
        raise blame.failed(f"{url} has no valid certificate", passing=False) from error.__cause__
    except aiohttp.ClientPayloadError as error:
        raise blame.failed(f"{url} broke off") from error.__cause__
    except (aiohttp.ClientError, OSError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
        raise blame.failed(f"{url} could not be fetched ({clean_text(why, 100)})") from getattr(error, "os_error", None)
    except ValueError as error:  # aiohttp's reading of headers and numbers
        raise blame.failed(f"{url} gave an answer that is no HTTP ({type(error).__name__})", passing=False) from None

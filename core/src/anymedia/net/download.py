"""A streamed HTTP response: its limits, its transfer rate, and the errors to raise when it fails."""

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

#: Maximum size of a chunk in bytes.
CHUNK = 65_536


class HopRefused(Refused):
    """A hop is not allowed; passes through aiohttp to the caller of the fetcher."""


@attrs.frozen
class Blame:
    """Creates the errors for a URL: InvalidRequest if the caller gave it, BackendError if a provider did."""

    for_caller: bool
    field: str

    def refused(self, why: str, allow: str = "") -> MediaError:
        """Return the error for a URL that is not requested; ``allow``: the ``fetch.allow`` entry that would permit it."""
        if self.for_caller:
            return InvalidRequest([Problem(self.field, why, "give a public https URL, a path or bytes")])
        fix = f'if this is your own server, allow it in the settings: [fetch] allow = ["{allow}"]' if allow else ""
        return BadBackendResponse(f"The provider's link was refused: {why}.", fix=fix)

    def failed(self, why: str, *, status: int | None = None, passing: bool = True) -> MediaError:
        """Return the error for a failed request; ``passing``: whether the same request may succeed later."""
        if self.for_caller:
            return InvalidRequest([Problem(self.field, why)])
        error: BackendError = BackendUnavailable(f"{why}.") if passing else BadBackendResponse(f"{why}.")
        error.status = status
        return error


@attrs.define
class Download:
    """A streamed response.

    Attributes:
        url: the final URL, in a form that may be shown.
        start: position of its first byte; 0 if the server ignored the requested offset.
        total: size of the whole file in bytes, if the server stated it.
        mime: the ``Content-Type`` the server sent.
        etag: a strong entity tag to send when resuming, or None.
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
        """Yield the bytes in chunks of at most 64 KiB.

        Raises:
            BackendUnavailable: interrupted, too slow, or shorter than announced (InvalidRequest for a caller's URL).
            BadBackendResponse: larger than the maximum (InvalidRequest for a caller's URL).
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
                raise self._blame.failed(f"{self.url} is larger than the maximum of {self._limits.max_bytes} bytes", passing=False)
            if not pace.keeps_up(len(chunk)):
                raise self._blame.failed(f"{self.url} was slower than the minimum of {self._limits.min_rate:g} bytes/s")
            yield chunk
        if self.total is not None and self.start + got != self.total:
            raise self._blame.failed(f"{self.url} was interrupted after {self.start + got} of {self.total} bytes")


@attrs.define
class Limits:
    """The limits of one response.

    Attributes:
        max_bytes: maximum size in bytes.
        min_rate: minimum bytes per second, measured over windows of ``rate_window`` seconds.
        rate_window: see ``min_rate``.
        stall: maximum seconds without data.
        deadline: latest end, in event loop time.
    """

    max_bytes: int
    min_rate: float
    rate_window: float
    stall: float
    deadline: float

    def guard(self) -> asyncio.Timeout:
        """Return a timeout for the next wait; it raises TimeoutError."""
        return asyncio.timeout_at(min(self.deadline, asyncio.get_running_loop().time() + self.stall))


class _Pace:
    """Measures the transfer rate over successive windows."""

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
    """Convert errors of aiohttp and the operating system; their messages may contain the full URL and are not used."""
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
        raise blame.failed(f"{url} was interrupted") from error.__cause__
    except (aiohttp.ClientError, OSError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
        raise blame.failed(f"{url} could not be fetched ({clean_text(why, 100)})") from getattr(error, "os_error", None)
    except ValueError as error:  # raised by aiohttp's header parser
        raise blame.failed(f"{url} sent an invalid HTTP response ({type(error).__name__})", passing=False) from None

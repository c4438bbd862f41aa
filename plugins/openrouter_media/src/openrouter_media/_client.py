"""One HTTP session per instance and event loop. A POST is sent once, follows no redirect, and goes only to the service's own address.

The service's own SDK gives up after 5 s and repeats a paid call for an hour; aiohttp sends a POST once and is installed already.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import urllib.parse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from anymedia.context import Context
from anymedia.credentials import Secret
from anymedia.http import new_session, read_body, request_body, secret_for_header

if TYPE_CHECKING:
    import aiohttp

__all__ = ["ADDRESS", "STATUS_SECONDS", "Answer", "Connection", "connect"]

#: The service's address (API reference).
ADDRESS = "https://openrouter.ai/api/v1"
#: Seconds that an answer may take: an image takes minutes at times. The option ``timeout`` of the instance wins.
ANSWER_SECONDS = 600.0
#: Seconds that the answer to a status check or a list may take.
STATUS_SECONDS = 60.0
#: How many large answers are read at once: an image's JSON is 4/3 of its size, and hundreds at once fill a machine's memory.
_AT_ONCE = 8
_LARGE = 256 * 1024


@attrs.frozen
class Answer:
    """An answer that has been read: its status, its headers (names in lower case), its bytes."""

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=lambda b: f"<{len(b)} bytes>")

    @property
    def generation(self) -> str | None:
        """The service's id of the exchange."""
        return self.headers.get("x-generation-id") or self.headers.get("x-request-id")


@attrs.frozen(eq=False)
class Connection:
    """The session, where it goes, and the semaphore that large answers wait for."""

    session: aiohttp.ClientSession
    base: str
    key: Secret | None = attrs.field(repr=False)
    seconds: float
    gate: asyncio.Semaphore = attrs.field(factory=lambda: asyncio.Semaphore(_AT_ONCE))

    @property
    def authorization(self) -> dict[str, str]:
        """The header with the key; made only to be sent."""
        return {} if self.key is None else {"authorization": f"Bearer {self.key.reveal()}"}

    async def aclose(self) -> None:
        """Close the connections."""
        await self.session.close()

    def own(self, url: str) -> str | None:
        """Return a link of the service as an absolute address if it leads to the service itself, else None."""
        try:
            joined = urllib.parse.urljoin(self.base + "/", url)
            there, here = urllib.parse.urlsplit(joined), urllib.parse.urlsplit(self.base)
            same = (there.scheme, there.hostname, there.port) == (here.scheme, here.hostname, here.port)
        except ValueError:
            return None
        return joined if same and "@" not in there.netloc else None

    async def ask(self, method: str, path: str, *, body: Any = None, seconds: float | None = None) -> Answer:
        """Send one request to a path under the service's address, or to its own link; redirects are answers like any other.

        Raises:
            aiohttp.ClientError, OSError, TimeoutError: no (whole) answer.
            AnswerTooLarge: the answer is longer than the call's may be.
        """
        import aiohttp

        url = self.own(path) if "://" in path else self.base + path
        if url is None:
            raise ValueError("the key is sent to the service's own address only")
        timeout = aiohttp.ClientTimeout(total=seconds or self.seconds, sock_connect=10.0)
        data = None if body is None else request_body(json.dumps(body).encode())
        async with self.session.request(
            method, url, data=data, headers=self.authorization, timeout=timeout, allow_redirects=False
        ) as response:
            headers = {name.lower(): value for name, value in response.headers.items()}
            length = headers.get("content-length", "")
            large = not length.isdigit() or int(length) > _LARGE
            async with self.gate if large else contextlib.nullcontext():
                return Answer(response.status, headers, await read_body(response))


def connect(context: Context) -> Connection:
    """Return the instance's connection, made on first use.

    Raises:
        AuthenticationFailed: for a key that no HTTP header can carry; nothing was sent.
    """
    return context.client(lambda: _make(context))


def _make(context: Context) -> Connection:
    key = secret_for_header(context)
    base = str(context.settings.get("base_url") or ADDRESS).rstrip("/")
    return Connection(
        new_session(context.network, base, headers={"user-agent": "anymedia"}),
        base,
        None if key is None else Secret(key),
        float(context.settings.get("timeout", ANSWER_SECONDS)),
    )

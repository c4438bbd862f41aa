"""One HTTP session per instance and event loop. A POST goes out once, follows no redirect, and only to the service's own address.

Why aiohttp: the service's own SDK gives up after 5 s and sends a paid call again for an hour; aiohttp sends a POST once and is
there already.
"""

from __future__ import annotations

import asyncio
import contextlib
import urllib.parse
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from anymedia.context import Context
from anymedia.credentials import Secret

if TYPE_CHECKING:
    import aiohttp

__all__ = ["ADDRESS", "LOOK_SECONDS", "Answer", "Connection", "connect"]

#: The service's address (API reference).
ADDRESS = "https://openrouter.ai/api/v1"
#: How long an answer may take: making an image takes minutes at times. The option ``timeout`` of the instance wins.
ANSWER_SECONDS = 600.0
#: How long an answer to a quick question (a job's state, a list) may take.
LOOK_SECONDS = 60.0
#: How many big answers are taken in at once: an image's JSON is 4/3 of its size, and hundreds at once fill a machine.
_AT_ONCE = 8
_BIG = 256 * 1024
#: No answer is longer: ten images of 50 MB in base64.
_MOST_BYTES = 700_000_000


class TooLong(Exception):
    """An answer went on for longer than any answer does."""


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
    """The session, where it goes, and the gate that big answers pass."""

    session: aiohttp.ClientSession
    base: str
    key: Secret | None
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
        """Ask once, at a path under the service's address (or an own link of it); redirects are answers like any other.

        Raises:
            aiohttp.ClientError, OSError, TimeoutError: no (whole) answer.
            TooLong: more bytes than any answer has.
        """
        import aiohttp

        url = self.own(path) if "://" in path else self.base + path
        if url is None:
            raise ValueError("the key stays with the service's own address")
        timeout = aiohttp.ClientTimeout(total=seconds or self.seconds, sock_connect=10.0)
        async with self.session.request(
            method, url, json=body, headers=self.authorization, timeout=timeout, allow_redirects=False
        ) as response:
            headers = {name.lower(): value for name, value in response.headers.items()}
            length = headers.get("content-length", "")
            big = not length.isdigit() or int(length) > _BIG
            async with self.gate if big else contextlib.nullcontext():
                return Answer(response.status, headers, await _read(response.content.iter_chunked(1 << 16)))


async def _read(chunks: AsyncIterator[bytes]) -> bytes:
    found = bytearray()
    async for chunk in chunks:
        found += chunk
        if len(found) > _MOST_BYTES:
            raise TooLong
    return bytes(found)


def connect(context: Context) -> Connection:
    """Return the instance's connection, made on first use."""
    return context.client(lambda: _make(context))


def _make(context: Context) -> Connection:
    import aiohttp

    return Connection(
        # Nothing of the environment (proxies, .netrc) and no cookies: what is sent is what stands here.
        aiohttp.ClientSession(trust_env=False, cookie_jar=aiohttp.DummyCookieJar(), headers={"user-agent": "anymedia"}),
        str(context.settings.get("base_url") or ADDRESS).rstrip("/"),
        context.secret("api_key") if context.has_secret("api_key") else None,
        float(context.settings.get("timeout", ANSWER_SECONDS)),
    )

"""The SDK's two clients, which merge and parse once per connection what they merge and parse once per request.

The requests are the same to the byte (a test compares them). On a small call the SDK's own work is most of what there is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiohttp  # noqa: TID253 - this room is entered when a client is made, and not before
import httpx2
import openai  # noqa: TID253

__all__ = ["AsyncOpenAI", "HttpClient"]

#: How much of an answer that waits its turn is read ahead, on each connection (aiohttp reads up to twice that; its default
#: of 64 KiB made 500 waiting answers take some 280 MB instead of 75).
_READ_AHEAD = 16 * 1024
#: How many addresses are kept parsed: a video's has its job in it, and there is no end to those.
_MOST_KEPT = 64

if TYPE_CHECKING:
    _Base = httpx2.AsyncClient
else:
    _Base = openai.DefaultAioHttpClient


class HttpClient(_Base):
    """The SDK's aiohttp client, with its own headers merged and addresses parsed once, and little read ahead."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._parsed: dict[str, httpx2.URL] = {}
        self._own = [(key.lower(), value) for key, value in self.headers.multi_items()]
        _read_less_ahead(self)

    def build_request(self, method: str, url: httpx2.URL | str, **options: Any) -> httpx2.Request:
        """Return a request; see `httpx2.AsyncClient.build_request`, which does what is out of the ordinary."""
        headers, timeout = options.pop("headers", None), options.pop("timeout", None)
        whole = isinstance(url, str) and url.startswith("http") and not options.get("params")
        if not (whole and isinstance(headers, list) and isinstance(timeout, httpx2.Timeout)) or options.keys() & {"cookies", "extensions"}:
            given = {"headers": headers} | ({} if timeout is None else {"timeout": timeout})
            return super().build_request(method, url, **given, **options)
        said = {key.lower() for key, _ in headers}
        merged = [pair for pair in self._own if pair[0] not in said] + headers
        return httpx2.Request(method, self._parse(str(url)), headers=merged, extensions={"timeout": timeout.as_dict()}, **options)

    def _parse(self, url: str) -> httpx2.URL:
        if (found := self._parsed.get(url)) is None:
            if len(self._parsed) >= _MOST_KEPT:
                self._parsed.clear()
            found = self._parsed[url] = httpx2.URL(url)
        return found


def _read_less_ahead(http: httpx2.AsyncClient) -> None:
    """Have the SDK's aiohttp transport hold back less of what nobody has read yet; it offers no setting for that.

    Nor does its session keep cookies: the client above it does that already.
    """
    transport: Any = http._transport
    if getattr(transport, "client", transport) is not None:  # built otherwise than known: only memory differs
        return

    def session() -> aiohttp.ClientSession:
        limits = openai.DEFAULT_CONNECTION_LIMITS
        connector = aiohttp.TCPConnector(
            limit=limits.max_connections or 0, keepalive_timeout=limits.keepalive_expiry, ssl=transport.ssl_context
        )
        return aiohttp.ClientSession(connector=connector, read_bufsize=_READ_AHEAD, cookie_jar=aiohttp.DummyCookieJar())

    transport.client = session


class AsyncOpenAI(openai.AsyncOpenAI):
    """The SDK's client, with a path put behind its base URL once. It tells the service its class's name, so it has the same."""

    def _prepare_url(self, url: str) -> httpx2.URL:
        # As the SDK's own client for Azure does. Where a later SDK asks otherwise, this is not called, and nothing breaks.
        kept: dict[str, httpx2.URL] = self.__dict__.setdefault("_prepared", {})
        if (found := kept.get(url)) is None:
            if len(kept) >= _MOST_KEPT:
                kept.clear()
            found = kept[url] = super()._prepare_url(url)
        return found

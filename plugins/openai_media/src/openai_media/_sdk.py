"""The SDK's two clients, which merge and parse once per connection what they merge and parse once per request.

The requests are the same to the byte (a test compares them). On a small call the SDK's own work is most of what there is.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import aiohttp
    import httpx2
    import openai

__all__ = ["http_client", "sdk_client"]

#: How much of an answer that waits its turn is read ahead, on each connection (aiohttp reads up to twice that; its default
#: of 64 KiB made 500 waiting answers take some 280 MB instead of 75).
_READ_AHEAD = 16 * 1024
#: How many addresses are kept parsed: a video's has its job in it, and there is no end to those.
_MOST_KEPT = 64
#: What the SDK does not give its HTTP client with a request.
_SELDOM = ("cookies", "extensions")


def http_client(**options: Any) -> httpx2.AsyncClient:
    """Return the SDK's aiohttp client, with its own headers merged and addresses parsed once, and little read ahead."""
    return _http_class()(**options)


def sdk_client(**options: Any) -> openai.AsyncOpenAI:
    """Return the SDK's client, with a path put behind its base URL once."""
    import openai

    sdk = openai.AsyncOpenAI(**options)
    if (prepare := getattr(sdk, "_prepare_url", None)) is not None:  # built otherwise than known: only time differs
        sdk._prepare_url = functools.lru_cache(_MOST_KEPT)(prepare)  # type: ignore[method-assign]
    return sdk


@functools.cache
def _http_class() -> type[httpx2.AsyncClient]:
    import httpx2
    import openai

    class HttpClient(openai.DefaultAioHttpClient):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.parsed = functools.lru_cache(_MOST_KEPT)(httpx2.URL)
            self.own = [(key.lower(), value) for key, value in self.headers.multi_items()]
            _adapt(self)

        def build_request(self, method: str, url: httpx2.URL | str, **options: Any) -> httpx2.Request:
            # What is out of the ordinary is built as ever.
            headers, timeout = options.pop("headers", None), options.pop("timeout", None)
            whole = url if isinstance(url, str) and url.startswith("http") and not options.get("params") else ""
            usual = isinstance(headers, list) and isinstance(timeout, httpx2.Timeout) and options.keys().isdisjoint(_SELDOM)
            if not (whole and usual):
                given = {"headers": headers} | ({} if timeout is None else {"timeout": timeout})
                return super().build_request(method, url, **given, **options)
            said = {key.lower() for key, _ in headers}
            merged = [pair for pair in self.own if pair[0] not in said] + headers
            return httpx2.Request(method, self.parsed(whole), headers=merged, extensions={"timeout": timeout.as_dict()}, **options)

    return HttpClient


def _adapt(http: httpx2.AsyncClient) -> None:
    """Have the SDK's aiohttp transport hold back less of what nobody has read yet; it offers no setting for that.

    Nor does its session keep cookies: the client above it does that already.
    """
    import aiohttp
    from openai import DEFAULT_CONNECTION_LIMITS as LIMITS

    transport: Any = http._transport
    if getattr(transport, "client", transport) is not None:  # built otherwise than known: only memory differs
        return

    def session() -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=LIMITS.max_connections or 0, keepalive_timeout=LIMITS.keepalive_expiry, ssl=transport.ssl_context
        )
        return aiohttp.ClientSession(connector=connector, read_bufsize=_READ_AHEAD, cookie_jar=aiohttp.DummyCookieJar())

    transport.client = session

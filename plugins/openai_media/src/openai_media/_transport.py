"""The SDK's HTTP client over an aiohttp session of our own, which reads little ahead of what is consumed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import httpx2

from anymedia.network import Network

if TYPE_CHECKING:
    import aiohttp

__all__ = ["http_client"]

#: Bytes of an answer that each connection reads ahead while the answer waits for its turn (aiohttp reads up to twice that; with
#: its default of 64 KiB, 500 waiting answers took about 280 MB instead of 75).
_READ_AHEAD = 16 * 1024
_CHUNK = 64 * 1024
#: Connections of one client, and seconds that an idle one is kept: as many as the SDK's own client has.
_CONNECTIONS, _IDLE_SECONDS = 1000, 5.0


def http_client(*, timeout: httpx2.Timeout, network: Network, url: str) -> httpx2.AsyncClient:
    """Return an HTTP client for the SDK. It follows no redirect: a redirected POST would be sent twice, with the key.

    Args:
        timeout: of each request.
        network: proxies and certificate authorities.
        url: of the API.
    """
    import aiohttp

    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=_CONNECTIONS, keepalive_timeout=_IDLE_SECONDS, ssl=network.ssl_context),
        read_bufsize=_READ_AHEAD,
        cookie_jar=aiohttp.DummyCookieJar(),
        proxy=network.proxy_url(url),
        trust_env=False,
        auto_decompress=False,  # the HTTP client does that
    )
    return httpx2.AsyncClient(transport=_Transport(session), timeout=timeout, follow_redirects=False, trust_env=False)


class _Transport(httpx2.AsyncBaseTransport):
    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        import aiohttp

        data: Any
        try:
            data = request.content or None
        except httpx2.RequestNotRead:
            data = request.stream
            request.headers.pop("transfer-encoding", None)  # aiohttp sets it
        limits = request.extensions.get("timeout", {})
        answer = await self._session.request(
            request.method,
            str(request.url),
            headers=request.headers,
            data=data,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(connect=limits.get("pool"), sock_connect=limits.get("connect"), sock_read=limits.get("read")),
        )
        return httpx2.Response(
            answer.status,
            headers=answer.raw_headers,
            stream=_Stream(answer),
            request=request,
            extensions={"http_version": b"HTTP/1.1", "reason_phrase": (answer.reason or "").encode()},
        )

    async def aclose(self) -> None:
        await self._session.close()


class _Stream(httpx2.AsyncByteStream):
    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._answer.content.iter_chunked(_CHUNK):
            yield chunk

    async def aclose(self) -> None:
        self._answer.release()

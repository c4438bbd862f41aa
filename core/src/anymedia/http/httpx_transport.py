"""The transport of httpx2 clients over an aiohttp session, which reads little ahead of what is consumed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import httpx2

from .transport import ENCODINGS, body_chunks, request_body

if TYPE_CHECKING:
    import aiohttp


class Transport(httpx2.AsyncBaseTransport):
    """Sends each request once; answers are decoded and counted by `body_chunks`."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request."""
        import aiohttp

        data: Any
        try:
            data = request_body(request.content) if request.content else None
        except httpx2.RequestNotRead:
            data = request.stream
            request.headers.pop("transfer-encoding", None)  # aiohttp sets it
        request.headers["accept-encoding"] = ENCODINGS  # httpx2 asks for whatever can be unpacked
        limits = request.extensions.get("timeout", {})
        answer = await self._session.request(
            request.method,
            str(request.url),
            headers=request.headers,
            data=data,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(connect=limits.get("pool"), sock_connect=limits.get("connect"), sock_read=limits.get("read")),
        )
        # The body is decoded here, so neither its encoding nor its encoded length is true any more.
        encoded = "content-encoding" in answer.headers
        hidden = {b"content-encoding", b"content-length"} if encoded else set()
        return httpx2.Response(
            answer.status,
            headers=[(name, value) for name, value in answer.raw_headers if name.lower() not in hidden],
            stream=_Stream(answer),
            request=request,
            extensions={"http_version": b"HTTP/1.1", "reason_phrase": (answer.reason or "").encode()},
        )

    async def aclose(self) -> None:
        """Close the session."""
        await self._session.close()


class _Stream(httpx2.AsyncByteStream):
    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in body_chunks(self._answer):
            yield chunk

    async def aclose(self) -> None:
        self._answer.release()

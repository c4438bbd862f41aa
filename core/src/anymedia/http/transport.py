"""HTTP sessions whose answers have a size: decoded bytes are counted, and an answer that is too long is cut off.

`new_session` makes the aiohttp session of a backend, `request_body` what it sends, `read_body` reads an answer of it.
`sdk_client` makes the HTTP client of an SDK that takes one of httpx2, over such a session. An error's answer is read as far as
`ERROR_BYTES`, since its first words are what counts; any other that is longer than `Context.answer_bytes` raises `AnswerTooLarge`.
"""

from __future__ import annotations

import asyncio
import io
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..context import answer_limit
from ..errors import AnswerTooLarge
from ..network import Network
from .failures import bad_answer

if TYPE_CHECKING:
    import aiohttp
    import httpx2

#: The most bytes that are read of an error's answer.
ERROR_BYTES = 1_000_000
#: The encodings that are requested. Others unpack without a limit on what one call gives.
ENCODINGS = "gzip, deflate"
_CHUNK = 64 * 1024
#: Bytes of a request's body that are written at once.
_WHOLE = 1024 * 1024
#: Bytes that are unpacked at once, and after how many of them other tasks get a turn.
_UNPACKED, _TURN = 256 * 1024, 1024 * 1024
#: Bytes of an answer that each connection reads ahead while the answer waits for its turn (aiohttp reads up to twice that; with
#: its default of 64 KiB, 500 waiting answers took about 280 MB instead of 75).
_READ_AHEAD = 16 * 1024
#: Connections of one session, and seconds that an idle one is kept.
_CONNECTIONS, _IDLE_SECONDS = 1000, 5.0


def new_session(network: Network, url: str | None = None, *, headers: Mapping[str, str] | None = None) -> aiohttp.ClientSession:
    """Return a session without cookies that leaves answers encoded; read them with `read_body` or `body_chunks`.

    Args:
        network: proxies and certificate authorities.
        url: of the API; None where each request names its proxy.
        headers: sent with each request.
    """
    import aiohttp

    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=_CONNECTIONS, keepalive_timeout=_IDLE_SECONDS, ssl=network.ssl_context),
        proxy=None if url is None else network.proxy_url(url),
        trust_env=False,  # no .netrc
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"accept-encoding": ENCODINGS, **(headers or {})},
        read_bufsize=_READ_AHEAD,
        auto_decompress=False,
    )


def request_body(data: bytes, content_type: str = "application/json") -> aiohttp.payload.Payload:
    """Return the body of a request: a large one in parts, for aiohttp writes bytes in one step of the event loop.

    Args:
        data: its bytes.
        content_type: unless the request's headers name one.
    """
    from aiohttp.payload import BytesIOPayload, BytesPayload

    if len(data) <= _WHOLE:
        return BytesPayload(data, content_type=content_type)
    return BytesIOPayload(io.BytesIO(data), content_type=content_type)


async def read_body(answer: aiohttp.ClientResponse) -> bytes:
    """Return the decoded bytes of an answer.

    Raises:
        AnswerTooLarge: they are more than the call may have.
        BadBackendResponse: they cannot be decoded.
    """
    chunks = [chunk async for chunk in body_chunks(answer)]
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def body_chunks(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Yield the decoded bytes of an answer as they arrive; raises as `read_body`."""
    is_error = answer.status >= 300
    most, count, since = ERROR_BYTES if is_error else answer_limit(), 0, 0
    decoder = _decoder(answer.headers)
    if decoder is None and not is_error and (answer.content_length or 0) > most:
        raise _too_large(most)
    async for chunk in answer.content.iter_chunked(_CHUNK):
        for part in (chunk,) if decoder is None else decoder.unpacked(chunk):
            count, since = count + len(part), since + len(part)
            if count > most:
                if not is_error:
                    raise _too_large(most)
                yield part[: most - count]
                return
            yield part
            if since >= _TURN:
                since = 0
                await asyncio.sleep(0)


def _too_large(most: int) -> AnswerTooLarge:
    error = AnswerTooLarge(f"the provider's answer is longer than {most // 1_000_000} MB; it was cut off", delivery="unknown")
    error.charged = "unknown"  # there was an answer: the work may have been done
    return error


def _decoder(headers: Mapping[str, str]) -> _Decoder | None:
    names = [name.strip().lower() for name in headers.get("content-encoding", "").split(",")]
    found = [name for name in names if name not in {"", "identity"}]
    if not found:
        return None
    if len(found) > 1 or found[0] not in {"gzip", "x-gzip", "deflate"}:
        raise bad_answer("it has a content encoding that was not requested")
    return _Decoder()


class _Decoder:
    """Unpacks gzip and deflate, a bounded part at a time."""

    def __init__(self) -> None:
        self._stream: Any = None

    def unpacked(self, data: bytes) -> Any:
        """Yield what some bytes unpack to."""
        try:
            while data:
                if self._stream is None or self._stream.eof:
                    if self._stream is not None and not data.startswith(b"\x1f\x8b"):
                        return  # padding behind the end
                    self._stream = zlib.decompressobj(_window(data))
                yield self._stream.decompress(data, _UNPACKED)
                data = self._stream.unconsumed_tail or self._stream.unused_data
        except zlib.error:
            raise bad_answer("its content encoding is damaged") from None


def _window(data: bytes) -> int:
    """Return zlib's window bits: gzip and zlib are detected, a deflate stream without a header is what remains."""
    is_zlib = data[0] & 0x0F == 8 and (len(data) < 2 or (data[0] << 8 | data[1]) % 31 == 0)
    return 47 if is_zlib or data[0] == 0x1F else -15


def sdk_client(
    network: Network,
    url: str,
    *,
    seconds: float,
    connect_seconds: float = 10.0,
    wrap: Callable[[httpx2.AsyncBaseTransport], httpx2.AsyncBaseTransport] | None = None,
) -> httpx2.AsyncClient:
    """Return an HTTP client for an SDK that takes one of httpx2. It follows no redirect: a redirected POST would be sent twice.

    Args:
        network: proxies and certificate authorities.
        url: of the API.
        seconds: that may pass without a byte of the answer.
        connect_seconds: that connecting may take.
        wrap: returns the transport to use, given the one that sends requests and counts answers.
    """
    import httpx2

    from .httpx_transport import Transport

    timeout = httpx2.Timeout(seconds, connect=connect_seconds)
    transport: httpx2.AsyncBaseTransport = Transport(new_session(network, url))
    if wrap is not None:
        transport = wrap(transport)
    return httpx2.AsyncClient(transport=transport, timeout=timeout, follow_redirects=False, trust_env=False)

"""Servers that never come to an end, or say two things at once: each is given up, and none fills the memory."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc

import pytest
from faulty_server import Asked, head, serving

from anymedia.errors import BackendUnavailable, BadBackendResponse
from anymedia.net.fetcher import Fetcher

pytestmark = pytest.mark.anyio
_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

#: name -> (what is sent once, what is sent again and again).
ENDLESS: dict[str, tuple[bytes, bytes]] = {
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X-A: " + b"a" * 1000 + b"\r\n"),
    "one header": (b"HTTP/1.1 200 OK\r\nX-A: ", b"a" * 65_536),
    "a status line": (b"HTTP/1.1 200 ", b"a" * 65_536),
    "go-ons": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    "hints": (b"", (b"HTTP/1.1 103 Early Hints\r\nLink: " + b"a" * 2000 + b"\r\n\r\n") * 30),
    "a chunk's extension": (_CHUNKED + b"5;", b"a" * 65_536),
    "trailers": (_CHUNKED + b"5\r\nhello\r\n0\r\n", b"X-T: " + b"a" * 1000 + b"\r\n"),
    "chunks": (_CHUNKED, b"10000\r\n" + b"a" * 65_536 + b"\r\n"),
    "a body without a length": (b"HTTP/1.1 200 OK\r\n\r\n", b"a" * 65_536),
}
#: name -> a whole answer that can be understood in two ways, or in none.
TWO_WAYS: dict[str, bytes] = {
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "a length and chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "more than it says": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello, world",
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
    "a length of thirty digits": b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\nhello",
    "a nul in its head": b"HTTP/1.1 200 OK\r\nA\x00: b\r\nContent-Length: 5\r\n\r\nhello",
    "a folded header": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n 6\r\n\r\nhello",
    "no head at all": b"\x89PNG\r\n\x1a\n",
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nhello",
    "several choices": b"HTTP/1.1 300 Multiple Choices\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n",
    "packed twice": head("200 OK", content_length=5, content_encoding="identity, gzip") + b"hello",
}


@pytest.mark.parametrize("name", ENDLESS)
async def test_endless_answer_is_given_up_within_bounded_memory(name: str) -> None:
    first, again = ENDLESS[name]

    async def answer(_: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        while not writer.is_closing():
            writer.write(again)
            await writer.drain()

    async with serving(answer) as server, Fetcher(allow=[server.allow], stall=1.0, timeout=60.0, max_bytes=2_000_000) as fetcher:
        tracemalloc.start()
        try:
            with pytest.raises((BackendUnavailable, BadBackendResponse)):
                await fetcher.fetch_bytes(server.url())
            assert tracemalloc.get_traced_memory()[1] < 20_000_000  # the server's share included
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("name", TWO_WAYS)
async def test_ambiguous_http_answer_is_refused(name: str) -> None:
    async def answer(_: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(TWO_WAYS[name])

    async with serving(answer) as server, Fetcher(allow=[server.allow], stall=30.0) as fetcher:
        with pytest.raises((BackendUnavailable, BadBackendResponse)):
            await fetcher.fetch_bytes(server.url())


async def test_packed_transfer_is_handed_on_as_it_came() -> None:
    packed = gzip.compress(b"a" * 50_000_000)

    async def answer(_: Asked, writer: asyncio.StreamWriter) -> None:
        body = f"{len(packed):x}\r\n".encode() + packed + b"\r\n0\r\n\r\n"
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n" + body)

    async with serving(answer) as server, Fetcher(allow=[server.allow]) as fetcher:
        assert await fetcher.fetch_bytes(server.url()) == packed

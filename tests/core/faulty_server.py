"""A real HTTP server on the loopback whose every byte the test decides: resets, drips, lies, redirects."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import attrs


@attrs.frozen
class Asked:
    """One request as it came in."""

    path: str
    headers: Mapping[str, str]

    @property
    def offset(self) -> int:
        text = self.headers.get("range", "")
        return int(text.removeprefix("bytes=").rstrip("-")) if text else 0


@attrs.define
class FaultyServer:
    """Answers with what ``answer`` writes, then hangs up. ``asked`` holds every request."""

    answer: Callable[[Asked, asyncio.StreamWriter], Awaitable[None]]
    asked: list[Asked] = attrs.field(factory=list)
    port: int = 0
    running: set[asyncio.Task[None]] = attrs.field(factory=set)

    def url(self, path: str = "/file.png?signature=CANARY-SIGNATURE", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    @property
    def allow(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.running.add(task)
        try:
            await self._answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            self.running.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields = (line.partition(":") for line in head[1:] if line)
        asked = Asked(head[0].split(" ")[1], {name.lower(): value.strip() for name, _, value in fields})
        self.asked.append(asked)
        await self.answer(asked, writer)
        await writer.drain()


@contextlib.asynccontextmanager
async def serving(answer: Callable[[Asked, asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[FaultyServer]:
    """Run a server for a block."""
    server = FaultyServer(answer)
    running = await asyncio.start_server(server._serve, "127.0.0.1", 0)
    server.port = running.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        running.close()
        if unfinished := set(server.running):
            for task in unfinished:
                task.cancel()
            await asyncio.wait(unfinished)
        await running.wait_closed()


def head(status: str = "200 OK", **headers: object) -> bytes:
    """A response's head; ``content_length=3`` becomes ``content-length: 3``."""
    fields = {"connection": "close"} | {name.replace("_", "-"): str(value) for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in fields.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def reset(writer: asyncio.StreamWriter) -> None:
    """Drop the connection with a RST."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def whole(body: bytes, *, etag: str = '"v1"') -> Callable[[Asked, asyncio.StreamWriter], Awaitable[None]]:
    """An honest server of one file, with ranges."""

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        send_from(asked, writer, body, etag=etag)

    return answer


def send_from(asked: Asked, writer: asyncio.StreamWriter, body: bytes, *, etag: str = '"v1"', cut: int | None = None) -> None:
    """Answer a request for a file honestly, but stop after ``cut`` bytes of body where that is given."""
    start = asked.offset
    if asked.headers.get("if-range", etag) != etag:
        start = 0
    if start >= len(body) and start:
        writer.write(head("416 Range Not Satisfiable", content_range=f"bytes */{len(body)}", content_length=0))
        return
    part = body[start:]
    extra = {"content_range": f"bytes {start}-{len(body) - 1}/{len(body)}"} if start else {}
    writer.write(head("206 Partial Content" if start else "200 OK", content_length=len(part), etag=etag, **extra))
    writer.write(part if cut is None else part[:cut])

"""A small HTTP/1.1 server on 127.0.0.1 for the protocol fakes: it records what arrives, and fails on demand.

    with HttpServer(handler) as server:      # handler(Received) -> Reply, sync or async, run in the server's thread
        server.url                           # "http://127.0.0.1:<port>"
        server.fail("lost", on="POST /v1/images")
        ...
        server.received                      # everything that arrived, in order

Kinds of failure: ``drop`` (closed unanswered, not handled), ``lost`` (handled, then closed unanswered), ``reset`` (TCP reset,
not handled), ``delay`` (handled, answered after ``seconds``), ``hang`` (handled, never answered), ``truncate`` (handled, the
answer ends after ``keep`` bytes), ``garbage`` (200 with bytes that mean nothing), ``endless`` and ``bomb`` (200 with too many
bytes), ``status`` (the given answer, not handled).
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import socket
import struct
import threading
import time
import urllib.parse
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Literal, Self

import attrs

__all__ = ["FAULTS", "Fault", "Handler", "HttpServer", "Received", "Reply", "closed_port"]

FaultKind = Literal["drop", "lost", "reset", "delay", "hang", "truncate", "garbage", "endless", "bomb", "status"]
FAULTS: tuple[FaultKind, ...] = ("drop", "lost", "reset", "delay", "hang", "truncate", "garbage", "endless", "bomb", "status")
_NOISE = b"\x00\x9f\x92\x96 this is not what was promised {"


@attrs.frozen(kw_only=True)
class Received:
    """One request as it arrived; header names in lower case, the path without its query, still percent-encoded."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = attrs.field(repr=lambda b: f"<{len(b)} bytes>")
    at: float

    def json(self) -> Any:
        """Return the body read as JSON."""
        return json.loads(self.body)

    @property
    def line(self) -> str:
        """Method and path, as faults are matched against."""
        return f"{self.method} {self.path}"


@attrs.frozen(kw_only=True)
class Reply:
    """An answer; ``chunk_pause`` seconds between pieces of ``chunk`` bytes make a slow one."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = attrs.field(factory=dict)
    chunk: int = 1 << 16
    chunk_pause: float = 0.0

    @classmethod
    def of_json(cls, value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
        """Make a JSON answer."""
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        return cls(status=status, body=body, headers={"content-type": "application/json", **(headers or {})})


Handler = Callable[[Received], Reply | Awaitable[Reply]]


@attrs.define(kw_only=True)
class Fault:
    """A failure for the next ``times`` requests (None: all) whose ``METHOD /path`` begins with ``on``."""

    kind: FaultKind
    on: str = ""
    times: int | None = 1
    seconds: float = 0.0
    #: Of ``delay``: the answer waits until this is set, and not for a time.
    until: threading.Event | None = None
    keep: int = 10
    reply: Reply = attrs.field(factory=lambda: Reply(status=500))


def closed_port() -> int:
    """Return a closed port of 127.0.0.1 (connecting to it is refused)."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class HttpServer:
    """The server, in a thread of its own with its own event loop; a context manager."""

    def __init__(self, handler: Handler) -> None:
        self.received: list[Received] = []
        self.faults: list[Fault] = []
        self.port = 0
        self._handler = handler
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._problem: BaseException | None = None
        self._thread = threading.Thread(target=self._main, name="wire-server", daemon=True)

    @property
    def url(self) -> str:
        """The address, without a trailing slash."""
        return f"http://127.0.0.1:{self.port}"

    def fail(self, kind: FaultKind, *, on: str = "", times: int | None = 1, **more: Any) -> Fault:
        """Arrange a failure; see `Fault`. ``reply=`` (or ``status=`` and ``json=``) is what ``status`` answers."""
        if "status" in more or "json" in more:
            more["reply"] = Reply.of_json(more.pop("json", {}), status=more.pop("status", 500), headers=more.pop("headers", None))
        fault = Fault(kind=kind, on=on, times=times, **more)
        self.faults.append(fault)
        return fault

    def count(self, start: str) -> int:
        """How many requests arrived whose ``METHOD /path`` begins so."""
        return sum(r.line.startswith(start) for r in self.received)

    def last(self, start: str = "") -> Received:
        """Return the latest request whose ``METHOD /path`` begins so."""
        return next(r for r in reversed(self.received) if r.line.startswith(start))

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait(60)
        if self._problem is not None or not self.port:
            raise RuntimeError("the wire server did not start") from self._problem
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening and end the thread."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(60)

    def _main(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:
            self._problem = error
        finally:
            self._ready.set()
            self._loop.run_until_complete(_end_tasks())
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    async def _serve(self) -> None:
        from aiohttp import web

        runner = web.ServerRunner(web.Server(self._answer, access_log=None), shutdown_timeout=0.05)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0, backlog=2048)
            await site.start()
            self.port = runner.addresses[0][1]
            self._ready.set()
            await self._stop.wait()
        finally:
            await runner.cleanup()

    async def _answer(self, request: Any) -> Any:
        received = Received(
            method=request.method,
            path=request.rel_url.raw_path,
            query=dict(urllib.parse.parse_qsl(request.rel_url.raw_query_string, keep_blank_values=True)),
            headers={name.lower(): value for name, value in request.headers.items()},
            body=await request.content.read(),
            at=time.time(),
        )
        self.received.append(received)
        fault = self._take_fault(received)
        if fault is None:
            return await _send(request, await self._handle(received))
        if fault.kind in {"drop", "reset"}:
            return _cut(request, reset=fault.kind == "reset")
        if fault.kind == "status":
            await asyncio.sleep(fault.seconds)
            return await _send(request, fault.reply)
        reply = await self._handle(received)
        return await self._spoil(request, reply, fault)

    async def _spoil(self, request: Any, reply: Reply, fault: Fault) -> Any:
        if fault.kind == "lost":
            return _cut(request)
        if fault.kind == "garbage":
            return await _send(request, Reply(body=_NOISE, headers=reply.headers))
        if fault.kind in {"endless", "bomb"}:
            return await _flood(request, fault.kind)
        if fault.kind == "truncate":
            return await _send(request, reply, keep=fault.keep)
        await asyncio.sleep(3600 if fault.kind == "hang" else fault.seconds)
        while fault.until is not None and not fault.until.is_set():
            await asyncio.sleep(0.005)
        return await _send(request, reply)

    async def _handle(self, received: Received) -> Reply:
        answer = self._handler(received)
        return await answer if inspect.isawaitable(answer) else answer

    def _take_fault(self, received: Received) -> Fault | None:
        for fault in self.faults:
            if received.line.startswith(fault.on) and (fault.times is None or fault.times > 0):
                fault.times = None if fault.times is None else fault.times - 1
                return fault
        return None


async def _end_tasks() -> None:
    """End the answers that are still held back for clients that have gone."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


def _cut(request: Any, *, reset: bool = False) -> Any:
    from aiohttp import web

    transport = request.transport
    if transport is not None and reset:
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    elif transport is not None:
        transport.close()
    return web.Response()


async def _flood(request: Any, kind: Any) -> Any:
    from aiohttp import web

    from anymedia.testing import flood

    headers, parts = flood(kind)
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    with contextlib.suppress(ConnectionError):  # the client disconnects
        for part in parts:
            await response.write(part)
    return response


async def _send(request: Any, reply: Reply, *, keep: int | None = None) -> Any:
    from aiohttp import web

    if keep is None and not reply.chunk_pause and len(reply.body) < 1 << 20:
        return web.Response(status=reply.status, body=reply.body, headers=reply.headers)
    response = web.StreamResponse(status=reply.status, headers=reply.headers)
    response.content_length = len(reply.body)
    await response.prepare(request)
    body = reply.body if keep is None else reply.body[:keep]
    for start in range(0, len(body), reply.chunk):
        await response.write(body[start : start + reply.chunk])
        await asyncio.sleep(reply.chunk_pause)
    if keep is not None:
        return _cut(request)
    await response.write_eof()
    return response

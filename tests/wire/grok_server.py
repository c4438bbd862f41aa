"""A loopback fake of xAI's media API: gRPC by the servicers the SDK ships, behind a relay that can cut; speech and files over HTTP.

    with GrokServer() as fake:
        AsyncClient(api_key=fake.key, api_host=fake.host, use_insecure_channel=True)
        fake.fail("status", on="GenerateImage", code="UNAVAILABLE", details="try later")
        fake.http.fail("lost", on="POST /v1/tts")       # see http_server
        fake.calls, fake.videos.jobs, fake.depot.made

Every call needs the key in its metadata. Kinds of failure: ``status`` (answered, not handled), ``late_status`` (handled, then
answered so), ``lost`` (handled, the connections reset before the answer), ``reset`` (the same, not handled), ``delay`` (handled,
answered after ``seconds``), ``hang`` (handled, held back until the
call ends), ``garbage`` and ``truncate`` (handled; the answer is noise, or ends early), ``endless`` and ``bomb`` (it is too
large). Run as a program it prints
its addresses and serves until its input ends.
"""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent import futures
from types import TracebackType
from typing import Any, Literal, Self

import attrs
import grpc
from xai_sdk.proto import files_pb2_grpc, image_pb2_grpc, video_pb2_grpc

from .grok_files import Files
from .grok_images import Images
from .grok_media import Depot, Refusal
from .grok_proxy import Relay
from .grok_speech import Speech
from .grok_videos import Videos
from .http_server import HttpServer, Received, Reply

__all__ = ["KEY", "SUBMITS", "Call", "Fault", "GrokServer", "flat"]

KEY = "xai-test-0123456789abcdefghijklmnopqrstuvwxyz"
#: The calls that cost money.
SUBMITS = frozenset({"GenerateImage", "GenerateVideo", "ExtendVideo"})
FaultKind = Literal["status", "late_status", "lost", "reset", "delay", "hang", "garbage", "truncate", "endless", "bomb"]
#: Bytes of an answer that is too large.
_FLOOD = 64 * 1024 * 1024
_NOISE = b"\x0a\xff\xff\xff\xff\x0f\x00\x9f\x92\x96 this is not what was promised"


@attrs.frozen
class Call:
    """One call as it arrived: the method's name, its message (None for a stream), its metadata."""

    method: str
    message: Any
    metadata: Mapping[str, str] = attrs.field(repr=False)
    at: float


@attrs.define(kw_only=True)
class Fault:
    """A failure for the next ``times`` calls (None: all) of the methods whose names match ``on``."""

    kind: FaultKind
    on: str = ""
    times: int | None = 1
    code: str = "UNAVAILABLE"
    details: str = ""
    trailing: tuple[tuple[str, str | bytes], ...] = ()
    seconds: float = 0.0
    keep: int = 5


def flat(message: Any, prefix: str = "") -> dict[str, Any]:
    """Return a message as a flat mapping of field to text, number or bytes."""
    found: dict[str, Any] = {}
    for field, value in message.ListFields():
        items = enumerate(value) if field.is_repeated else [("", value)]
        for index, item in items:
            name = f"{prefix}{field.name}{index}"
            found |= flat(item, f"{name}.") if field.message_type is not None else {name: item}
    return found


def _wait_until_it_ends(context: Any) -> None:
    ended = threading.Event()
    if context.add_callback(ended.set):
        ended.wait(60)


class GrokServer:
    """The fake; a context manager."""

    def __init__(self, *, key: str = KEY) -> None:
        self.key = key
        self.calls: list[Call] = []
        self.faults: list[Fault] = []
        self.depot = Depot()
        self.images, self.videos, self.files = Images(self.depot), Videos(self.depot), Files(self.depot)
        self.speech = Speech(key)
        self.http = HttpServer(self._http)
        self._relay = Relay()
        self._lock = threading.Lock()
        self._server: Any = None

    @property
    def host(self) -> str:
        """Where gRPC is spoken, as ``host:port``."""
        return f"127.0.0.1:{self._relay.port}"

    @property
    def behind(self) -> str:
        """Where the relay in front leads, as ``host:port``."""
        return f"127.0.0.1:{self._relay.target}"

    @property
    def connections(self) -> int:
        """How many gRPC connections there have been."""
        return self._relay.accepted

    @property
    def base_url(self) -> str:
        """Where the REST half is."""
        return self.http.url

    def fail(self, kind: FaultKind, *, on: str = "", times: int | None = 1, **more: Any) -> Fault:
        """Arrange a failure; see `Fault`."""
        fault = Fault(kind=kind, on=on, times=times, **more)
        self.faults.append(fault)
        return fault

    def count(self, *methods: str) -> int:
        """How many calls of these methods arrived."""
        return sum(call.method in methods for call in self.calls)

    def last(self, method: str) -> Any:
        """Return the latest message of a method."""
        return next(call.message for call in reversed(self.calls) if call.method == method)

    def submits(self) -> list[Mapping[str, Any]]:
        """Return the billable submits of both halves in their order, each as a flat mapping."""
        found = [(c.at, {"method": c.method, **self._with_files(flat(c.message))}) for c in self.calls if c.method in SUBMITS]
        posts = [r for r in self.http.received if r.line == "POST /v1/tts"]
        found += [(r.at, {"method": "tts", **{k: str(v) for k, v in r.json().items()}}) for r in posts]
        return [one for _, one in sorted(found, key=lambda pair: pair[0])]

    def _with_files(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Return fields with the bytes of stored files in place of their ids."""
        files = self.depot.files
        return {name: files[value].data if isinstance(value, str) and value in files else value for name, value in fields.items()}

    def __enter__(self) -> Self:
        self.http.__enter__()
        self.depot.base = self.http.url
        options = [("grpc.max_receive_message_length", 20 << 20), ("grpc.so_reuseport", 0)]
        self._server = grpc.server(futures.ThreadPoolExecutor(8), interceptors=[self], options=options)
        image_pb2_grpc.add_ImageServicer_to_server(self.images, self._server)
        video_pb2_grpc.add_VideoServicer_to_server(self.videos, self._server)
        files_pb2_grpc.add_FilesServicer_to_server(self.files, self._server)
        port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()
        self._relay.start(port)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._relay.close()
        self._server.stop(0).wait(60)
        self.http.close()

    def _http(self, received: Received) -> Reply:
        if received.line == "POST /v1/tts":
            return self.speech.answer(received)
        if received.method == "GET" and received.path.startswith("/out/"):
            return self.depot.serve(received)
        return Reply.of_json({"error": "Not Found"}, status=404)

    def intercept_service(self, continuation: Callable[[Any], Any], details: Any) -> Any:
        """Put the key's check, the record and the faults before a servicer's own method (a gRPC server interceptor)."""
        handler = continuation(details)
        if handler is None:
            return None
        name = details.method.rpartition("/")[2]
        metadata = {str(k): str(v) for k, v in details.invocation_metadata}
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(
                lambda request, context: self._unary(name, metadata, handler, request, context),
                request_deserializer=handler.request_deserializer,
                response_serializer=None,  # the answer is bytes already, so that it can be spoilt
            )
        return self._stream_handler(name, metadata, handler)

    def _stream_handler(self, name: str, metadata: Mapping[str, str], handler: Any) -> Any:
        def many_to_one(requests: Any, context: Any) -> Any:
            self._arrived(name, metadata, None, context)
            return self._guarded(handler.stream_unary, requests, context)

        def one_to_many(request: Any, context: Any) -> Any:
            self._arrived(name, metadata, request, context)
            yield from self._guarded(handler.unary_stream, request, context)

        if handler.stream_unary is not None:
            return grpc.stream_unary_rpc_method_handler(many_to_one, handler.request_deserializer, handler.response_serializer)
        return grpc.unary_stream_rpc_method_handler(one_to_many, handler.request_deserializer, handler.response_serializer)

    def _unary(self, name: str, metadata: Mapping[str, str], handler: Any, request: Any, context: Any) -> bytes:
        fault = self._arrived(name, metadata, request, context)
        if fault is not None and fault.kind == "status":
            self._abort(context, fault)
        if fault is not None and fault.kind == "reset":
            self._relay.reset()
            return b""
        answer: bytes = handler.response_serializer(self._guarded(handler.unary_unary, request, context))
        if fault is None:
            return answer
        if fault.kind == "late_status":
            self._abort(context, fault)
        if fault.kind == "lost":
            self._relay.reset()
        if fault.kind == "hang":
            _wait_until_it_ends(context)
        if fault.kind in {"endless", "bomb"}:
            context.set_compression(grpc.Compression.Gzip if fault.kind == "bomb" else grpc.Compression.NoCompression)
            return bytes(_FLOOD)
        time.sleep(fault.seconds)
        return {"garbage": _NOISE, "truncate": answer[: fault.keep]}.get(fault.kind, answer)

    def _arrived(self, name: str, metadata: Mapping[str, str], message: Any, context: Any) -> Fault | None:
        with self._lock:
            self.calls.append(Call(name, message, metadata, time.time()))
            fault = self._take_fault(name)
        if fault is None and metadata.get("authorization") != f"Bearer {self.key}":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "Invalid authentication credentials.")
        return fault

    def _take_fault(self, name: str) -> Fault | None:
        for fault in self.faults:
            if re.fullmatch(fault.on or ".*", name) and (fault.times is None or fault.times > 0):
                fault.times = None if fault.times is None else fault.times - 1
                return fault
        return None

    def _abort(self, context: Any, fault: Fault) -> None:
        context.set_trailing_metadata(fault.trailing)
        context.abort(grpc.StatusCode[fault.code], fault.details)

    def _guarded(self, method: Callable[[Any, Any], Any], request: Any, context: Any) -> Any:
        try:
            return method(request, context)
        except Refusal as refusal:
            context.set_trailing_metadata((("x-request-id", "req-of-the-fake"), *refusal.trailing))
            return context.abort(grpc.StatusCode[refusal.code], refusal.details)


def _main() -> None:
    with GrokServer() as fake:
        print(fake.host, fake.base_url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    _main()

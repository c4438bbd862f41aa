"""Another place, to which a service sends a caller on: it notes what arrives, and answers as if all were well."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

__all__ = ["Elsewhere"]


class Elsewhere(ThreadingHTTPServer):
    """A server on a port of its own; a context manager.

    Attributes:
        arrived: each request, in words: its line, the names of its headers (never what they say), the size of its body.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Notes)
        self.arrived: list[str] = []
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,), name="anymedia-elsewhere", daemon=True)

    @property
    def url(self) -> str:
        """The address, without a trailing slash."""
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join(10)


class _Notes(BaseHTTPRequestHandler):
    server: Elsewhere

    def _note(self) -> None:
        size = int(self.headers.get("content-length") or 0)
        self.rfile.read(size)
        path = self.path.partition("?")[0]  # a query may hold a key
        names = ", ".join(sorted(name.lower() for name in self.headers))
        self.server.arrived.append(f"{self.command} {path} with {names} and {size} bytes")
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_GET = do_POST = do_PUT = do_PATCH = do_HEAD = do_OPTIONS = do_DELETE = _note  # noqa: N815 - http.server's names

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

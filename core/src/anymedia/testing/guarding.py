"""Watching what a backend does beside its work: whom it calls, and what it says to logs and streams."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import re
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from .fake_service import Wire

__all__ = ["listening", "reachable", "socket_guard"]

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_PORT = re.compile(r"(?:127\.0\.0\.1|localhost|\[::1\]):(\d+)")


def reachable(wire: Wire) -> frozenset[int]:
    """Return the ports of this machine that a scenario lets a backend connect to."""
    told = [wire.base_url or "", *wire.hosts, *(str(value) for value in wire.options.values())]
    return frozenset(int(port) for text in told for port in _PORT.findall(text))


@contextlib.contextmanager
def socket_guard(ports: frozenset[int] | None = None) -> Iterator[list[Any]]:
    """Refuse every connection that leaves this machine; yields what was tried.

    With ports, nothing but those of this machine is reached, and no name is looked up. It sees the sockets of Python:
    a library with sockets of its own (gRPC) has to be pointed at the wire instead.
    """
    tried: list[Any] = []
    real = {name: getattr(socket.socket, name) for name in ("connect", "connect_ex", "sendto")}
    look_up = socket.getaddrinfo

    def check(address: Any) -> None:
        if not isinstance(address, tuple) or (address[0] in _LOOPBACK and (ports is None or address[1] in ports)):
            return
        tried.append(address)
        raise ConnectionRefusedError(111, f"the conformance kit lets nothing out: {address!r}")

    def guarded(name: str) -> Callable[..., Any]:
        def call(self: socket.socket, *arguments: Any) -> Any:
            check(arguments[-1])
            return real[name](self, *arguments)

        return call

    def named(host: Any, *rest: Any, **more: Any) -> Any:
        text = host.decode() if isinstance(host, bytes) else host
        if ports is not None and text and text not in _LOOPBACK and not _is_address(text):
            tried.append(text)
            raise socket.gaierror(socket.EAI_NONAME, f"the conformance kit looks no name up: {text!r}")
        return look_up(host, *rest, **more)

    for name in real:
        setattr(socket.socket, name, guarded(name))
    socket.getaddrinfo = named
    try:
        yield tried
    finally:
        socket.getaddrinfo = look_up
        for name, function in real.items():
            setattr(socket.socket, name, function)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True


class _Ear(logging.Handler):
    """Hears every log record, as text with its traceback."""

    def __init__(self, heard: list[str]) -> None:
        super().__init__(logging.DEBUG)
        self.heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(self.format(record))


class _Overheard:
    """A stream of the process that is listened to, and goes on as it was."""

    def __init__(self, stream: TextIO, heard: list[str]) -> None:
        self._stream, self._heard = stream, heard

    def write(self, text: str) -> int:
        self._heard.append(text)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def listening() -> Iterator[list[str]]:
    """Collect all log messages of the process, and what it writes to stdout and stderr."""
    heard: list[str] = []
    ear, root = _Ear(heard), logging.getLogger()
    level, out, err = root.level, sys.stdout, sys.stderr
    root.addHandler(ear)
    root.setLevel(logging.DEBUG)
    sys.stdout, sys.stderr = _Overheard(out, heard), _Overheard(err, heard)
    try:
        yield heard
    finally:
        sys.stdout, sys.stderr = out, err
        root.removeHandler(ear)
        root.setLevel(level)

"""A real Router over the author's fake, with sockets, logs and streams watched."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import functools
import inspect
import logging
import os
import re
import socket
import sys
import tempfile
import textwrap
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO
from unittest import mock

import attrs

from ..capabilities import CapabilityMatrix, ContinueRule, ModelSpec
from ..clock import SystemClock
from ..errors import MediaError
from ..execution.engine import Progress
from ..execution.listing import listed_models
from ..hookspecs import ListedModel
from ..media import Image
from ..network import address_of
from ..planning import Plan
from ..plugins.instances import make_instances
from ..plugins.registry import Registry, discover
from ..policy import Policy
from ..requests import KINDS, Continuation, Mask, Operation, Request
from ..results import Result
from ..router import Router
from ..settings import InstanceSettings, Settings
from ..state.sqlite import SqliteStore
from ..state.store import CallRecord, CallState, Lease
from .case_values import Shape, minimal_fields
from .fakes import CANARY, Call, FakeService, Wire, fake_service, half_mask

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_PORT = re.compile(r"(?:127\.0\.0\.1|localhost|\[::1\]):(\d+)")


def reachable(wire: Wire) -> frozenset[int]:
    """Return the local ports that a backend may connect to in a scenario."""
    addresses = [wire.base_url or "", *wire.hosts, *(str(value) for value in wire.options.values())]
    return frozenset(int(port) for text in addresses for port in _PORT.findall(text))


@contextlib.contextmanager
def socket_guard(ports: frozenset[int] | None = None, blocking: list[str] | None = None) -> Iterator[list[Any]]:
    """Refuse every connection that leaves this machine; yields the refused addresses.

    It sees Python's sockets only: a library with native sockets (gRPC) has to be configured to use the wire instead.

    Args:
        ports: the only local ports that may be connected to; with them, host names are not resolved either.
        blocking: receives the names of calls that block a running event loop.
    """
    tried: list[Any] = []
    resolve = socket.getaddrinfo

    def check(address: Any) -> None:
        if not isinstance(address, tuple) or (address[0] in _LOOPBACK and (ports is None or address[1] in ports)):
            return
        tried.append(address)
        raise ConnectionRefusedError(111, f"the conformance kit permits no connection to {address!r}")

    def guarded(name: str) -> Callable[..., Any]:
        real = getattr(socket.socket, name)

        def call(self: socket.socket, *arguments: Any) -> Any:
            check(arguments[-1])
            if self.gettimeout() != 0:
                blocks(f"socket.{name}")
            return real(self, *arguments)

        return call

    def blocks(what: str) -> None:
        if blocking is not None and asyncio._get_running_loop() is not None:
            blocking.append(what)

    sleep = time.sleep

    def slept(seconds: float) -> None:
        blocks("time.sleep")
        sleep(seconds)

    def named(host: Any, *rest: Any, **more: Any) -> Any:
        text = host.decode() if isinstance(host, bytes) else host
        if ports is not None and text and text not in _LOOPBACK and address_of(text.partition("%")[0]) is None:
            tried.append(text)
            raise socket.gaierror(socket.EAI_NONAME, f"the conformance kit resolves no host names: {text!r}")
        return resolve(host, *rest, **more)

    with (
        mock.patch.multiple(socket.socket, connect=guarded("connect"), connect_ex=guarded("connect_ex"), sendto=guarded("sendto")),
        mock.patch.object(socket, "getaddrinfo", named),
        mock.patch.object(time, "sleep", slept),
    ):
        yield tried


class _LogCollector(logging.Handler):
    """Collects every log record, as text with its traceback."""

    def __init__(self, texts: list[str]) -> None:
        super().__init__(logging.DEBUG)
        self.texts = texts

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))


class _StreamCollector:
    """Collects what is written to a stream of the process, and writes it to that stream."""

    def __init__(self, stream: TextIO, texts: list[str]) -> None:
        self._stream, self._texts = stream, texts

    def write(self, text: str) -> int:
        self._texts.append(text)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def collected_output() -> Iterator[list[str]]:
    """Collect all log messages of the process, and its output to stdout and stderr."""
    texts: list[str] = []
    handler, root = _LogCollector(texts), logging.getLogger()
    level, out, err = root.level, sys.stdout, sys.stderr
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    sys.stdout, sys.stderr = _StreamCollector(out, texts), _StreamCollector(err, texts)
    try:
        yield texts
    finally:
        sys.stdout, sys.stderr = out, err
        root.removeHandler(handler)
        root.setLevel(level)


def _arrived(call: Call) -> Any:
    """Note a request: its line, the names of its headers (never their values), the size of its body."""
    noted = call.fake.state.setdefault("arrived", [])
    noted.append(f"{call.line} with {', '.join(sorted(call.headers))} and {len(call.body)} bytes")
    return {}


#: The server that redirects point to; ``state["arrived"]`` says what it has received.
redirect_target = fake_service(_arrived, {})
#: More status checks of one job, or more consecutive failed ones, than any fake causes.
_MAX_CHECKS, _MAX_FAILED_CHECKS = 500, 20


@attrs.define
class StatusCheckCounter:
    """Counts the status checks of each job, and those that failed in a row: against a fake there are few, and few that fail."""

    checks: dict[str, int] = attrs.field(factory=dict)
    failed: int = 0
    note: str = ""
    invalid_progress: bool = False

    def count(self, progress: Progress) -> None:
        """Count a status check by the progress event that it causes."""
        if progress.event == "invalid_progress":
            self.invalid_progress = True
        if progress.state not in {"submitted", "running"}:
            return
        self.checks[progress.job_id] = self.checks.get(progress.job_id, 0) + 1
        self.failed = self.failed + 1 if progress.event == "status_check_failed" else 0
        self.note = progress.note

    def check(self) -> None:
        """Abort a run that would only end with its deadline.

        Raises:
            AssertionError: too many status checks failed in a row, or found a job running.
        """
        assert self.failed < _MAX_FAILED_CHECKS, f"{self.failed} status checks in a row failed; the last: {self.note}"
        most = max(self.checks.values(), default=0)
        assert most < _MAX_CHECKS, (
            f"check_job was called {most} times for one job and never returned Succeeded or Failed; the last note: {self.note}"
        )


#: The only certificate that clients trust here; its private key was discarded. Nothing leaves this machine, and reading
#: the usual bundle of more than a hundred certificates takes each client longer than its request.
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBhDCCASugAwIBAgIUVbBLRIlcPlXyovVwkPfaaEeW5RYwCgYIKoZIzj0EAwIw
FzEVMBMGA1UEAwwMYW55bWVkaWEga2l0MCAXDTI2MTEyOTE3MzE1MloYDzIxMjYx
MTA1MTczMTUyWjAXMRUwEwYDVQQDDAxhbnltZWRpYSBraXQwWTATBgcqhkjOPQIB
BggqhkjOPQMBBwNCAASkyhqzMdyjCvfasnzZiu5ANLokie3R3EX3xyLoAa72ti4R
wqqr4wlRrSaa2r8pUvLFVSCenh8d0n1Vs0YatHLxo1MwUTAdBgNVHQ4EFgQUkreh
26v1I7Gie5qHT/CKZSYAtpswHwYDVR0jBBgwFoAUkreh26v1I7Gie5qHT/CKZSYA
tpswDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNHADBEAiAiYhbk7HouQH/F
/Slafl8JW66mPo6Dx4wUhefHRUTomQIgfbsDUuH9TUNQL2sPp76+/fHBAkDEnUkd
yvadsWnV91o=
-----END CERTIFICATE-----
"""


class FastClock(SystemClock):
    """The system clock, whose pauses take at most a hundredth of a second.

    Args:
        before_pause: called before each pause; may raise to end a hopeless wait.
    """

    def __init__(self, before_pause: Callable[[], None] = lambda: None) -> None:
        self.before_pause = before_pause

    async def sleep(self, seconds: float) -> None:
        """Yield to other tasks for at most a hundredth of a second."""
        self.before_pause()
        await asyncio.sleep(min(seconds, 0.01))


class JumpingClock(FastClock):
    """A clock that a test can set ahead; it also drives the timeouts of the running event loop."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead = 0.0
        asyncio.get_running_loop().time = self.steady  # type: ignore[method-assign]

    def steady(self) -> float:
        """Return seconds on a counter that may jump ahead, never back."""
        return super().steady() + self.ahead


@functools.cache
def loaded_registry() -> Registry:
    """Return the installed plugins, discovered once: a plugin's matrix depends on nothing else (A04)."""
    return discover()


def forget_plugins() -> None:
    """Discover the plugins again at the next access: something was installed, removed or changed."""
    loaded_registry.cache_clear()


def returns(backend: str, operation: Operation) -> str:
    """Return the annotated return type of a backend's hook, by name."""
    returned = inspect.signature(getattr(loaded_registry().plugins[backend].module, operation)).return_annotation
    return str(getattr(returned, "__name__", returned))


def cut_matrix(backend: str, service: str) -> CapabilityMatrix:
    """Return a backend's matrix as an instance of one of its services sees it."""
    own = InstanceSettings(name=backend, plugin=backend, service=service)
    return make_instances(loaded_registry(), Settings(instances={backend: own}, disabled=_others(backend)), {})[backend].matrix


def _others(backend: str) -> frozenset[str]:
    """Return the other installed backends: no rule needs them, and making their instances would double the cost of a call."""
    return frozenset(loaded_registry().plugins) - {backend}


@contextlib.contextmanager
def fresh_registry(backend: str) -> Iterator[Registry]:
    """Import a plugin again, as another process would: the state of its modules is lost."""
    package = loaded_registry().plugins[backend].module.__name__.partition(".")[0]
    before = {name: module for name, module in sys.modules.items() if name == package or name.startswith(f"{package}.")}
    for name in before:
        del sys.modules[name]
    try:
        yield discover()
    finally:
        for name in [n for n in sys.modules if n == package or n.startswith(f"{package}.")]:
            del sys.modules[name]
        sys.modules.update(before)


@contextlib.contextmanager
def environment(changes: Mapping[str, str], without: tuple[str, ...]) -> Iterator[None]:
    """Set and remove environment variables while the block runs."""
    with mock.patch.dict(os.environ):
        for name in without:
            os.environ.pop(name, None)
        os.environ.update(changes)
        yield


class KeptStore(SqliteStore):
    """A store that outlives the routers that use it, as a durable one would, and counts the submits of each call."""

    def __init__(self) -> None:
        super().__init__()
        self.submitted: dict[str, int] = {}

    async def advance(self, lease: Lease, state: CallState, *, continuations: Sequence[Continuation] = (), **changes: Any) -> CallRecord:
        """Change a call, and note its submits."""
        record = await super().advance(lease, state, continuations=continuations, **changes)
        self.submitted[record.id] = record.submits
        return record

    async def aclose(self) -> None:
        """Stay open; the bench closes it."""


@attrs.define(kw_only=True, eq=False)
class Bench:
    """A backend over a wire, in a temporary directory.

    Attributes:
        shape: the spec of the requests.
        find: returns the shape that makes what a model of a service can continue.
    """

    backend: str
    service: str
    wire: Wire
    today: datetime.date
    folder: Path
    shape: Shape
    find: Callable[[str, ModelSpec], Shape | None]
    store: KeptStore = attrs.field(factory=KeptStore)
    texts: list[str] = attrs.field(factory=list)
    tried: list[Any] = attrs.field(factory=list)
    blocking: list[str] = attrs.field(factory=list)
    redirect_target: FakeService | None = None
    checks: StatusCheckCounter = attrs.field(factory=StatusCheckCounter)
    _handle: Continuation | None = attrs.field(default=None, init=False)

    @classmethod
    @contextlib.contextmanager
    def over(
        cls, backend: str, service: str, wire: Wire, matrix: CapabilityMatrix, cache: str, target: FakeService | None = None, **more: Any
    ) -> Iterator[Bench]:
        """Set everything up and watch sockets, logs and streams; the redirect target is reachable, so that following it is seen.

        An exception gets a note with the last submits, which pytest prints.
        """
        known = tuple(v for found in matrix.credentials for names in found.names.values() for v in names)
        drop = (*known, *matrix.base_url_env)
        ports = frozenset() if target is None else frozenset({target.server_port})
        blocking: list[str] = []
        with (
            tempfile.TemporaryDirectory(prefix="anymedia-kit-") as scratch,
            environment({"SSL_CERT_FILE": f"{scratch}/certificate.pem", "ANYMEDIA_CACHE": cache, **wire.environ}, drop),
            socket_guard(reachable(wire) | ports, blocking) as tried,
            collected_output() as texts,
        ):
            folder, today = Path(scratch), matrix.checked or datetime.date(2026, 1, 1)
            (folder / "certificate.pem").write_text(CERTIFICATE, "ascii")
            watched: dict[str, Any] = {"texts": texts, "tried": tried, "blocking": blocking, "redirect_target": target}
            bench = cls(backend=backend, service=service, wire=wire, today=today, folder=folder, **watched, **more)
            try:
                yield bench
            except BaseException as error:
                for sent in (wire.sent or tuple)()[-2:]:
                    error.add_note(f"submit: {_shortened(sent)}")
                raise
            finally:
                bench.store.close()
            assert not tried, f"connections that the scenario does not allow: {tried}"

    def submits(self) -> int:
        """Return the number of billable submits: as the fake counts them, or as the journal does."""
        if self.wire.submits is not None:
            return self.wire.submits()
        return sum(self.store.submitted.values())

    @property
    def hidden(self) -> tuple[str, ...]:
        """The texts that must not appear anywhere."""
        return (CANARY, *self.wire.hidden)

    def settings(self) -> Settings:
        """Return the settings of an instance that uses the wire."""
        own = InstanceSettings(
            name=self.backend,
            plugin=self.backend,
            service=self.service,
            base_url=self.wire.base_url,
            options=self.wire.options,
            hosts=self.wire.hosts,
        )
        return Settings(
            instances={self.backend: own},
            disabled=_others(self.backend),
            fetch_allow=("127.0.0.1", "localhost", *self.wire.hosts),
            state_dir=self.folder,
        )

    def _on_progress(self, progress: Progress) -> None:
        self.texts.append(progress.note)
        self.checks.count(progress)

    @contextlib.asynccontextmanager
    async def router(self, **more: Any) -> AsyncIterator[Router]:
        """Open a router over the wire."""
        more.setdefault("clock", FastClock(lambda: None if self.wire.submits is None else self.checks.check()))
        more.setdefault("policy", Policy(preview=True))
        more.setdefault("on_progress", self._on_progress)
        async with Router(
            store=more.pop("store", self.store),
            settings=self.settings(),
            registry=more.pop("registry", None) or loaded_registry(),
            today=lambda: self.today,
            **more,
        ) as router:
            yield router

    async def listed(self, model: str = "") -> Sequence[ListedModel]:
        """Call the hook ``list_models`` over the wire; ``model``: the only one that is wanted."""
        settings = self.settings()
        return await listed_models(loaded_registry(), settings, make_instances(loaded_registry(), settings)[self.backend], model)

    async def execute(self, router: Router, request: Request, shape: Shape | None = None, **more: Any) -> Result:
        """Plan and run a request on the model of the bench's shape or another one, into the bench's folder."""
        more.setdefault("deadline", 600.0)  # generous: the machine may be busy
        model, output = (shape or self.shape).model.id, f"{self.folder}/out/"
        return await router.execute(request, backend=self.backend, model=model, output=output, **more)

    async def plan(self, router: Router, request: Request, **more: Any) -> Plan:
        """Plan a request on the model of the bench's shape."""
        return await router.plan(request, backend=self.backend, model=self.shape.model.id, **more)

    async def make(self, **changes: Any) -> tuple[Result, dict[str, Any] | None]:
        """Execute a minimal request; return the result with its submit, a flat mapping of field to value."""
        async with self.router() as router:
            request = await self.request(router, **changes)
            before = self.submits()
            result = await self.execute(router, request)
            assert self.submits() == before + 1, f"{self.submits() - before} submits for one call"
            return result, None if self.wire.sent is None else dict(self.wire.sent()[-1])

    async def outcome(self, *, deadline: float = 600.0, **changes: Any) -> Result | MediaError:
        """Execute a minimal request; return its result, or its error."""
        async with self.router(policy=Policy(retries=0, preview=True)) as router:
            request = await self.request(router, **changes)
            try:
                return await self.execute(router, request, deadline=deadline)
            except MediaError as error:
                return error

    async def refuses(self, expected: type[MediaError] | tuple[type[MediaError], ...], otherwise: str, **changes: Any) -> MediaError:
        """Execute a request that must be rejected before any submit; return the error. ``otherwise``: what it means if it is not."""
        async with self.router() as router:
            request = await self.request(router, **changes)
            before = self.submits()
            try:
                result = await self.execute(router, request)
            except MediaError as error:
                assert isinstance(error, expected), f"{otherwise}: {type(error).__name__}: {error}"
                assert self.submits() == before, "the request was sent"
                assert error.charged == "no"
                return error
            raise AssertionError(f"{otherwise}: it succeeded: {result}")

    async def request(self, router: Router, shape: Shape | None = None, **changes: Any) -> Request:
        """Return a minimal request of the bench's shape or another one; what it continues is made first, once for each bench."""
        shape = shape or self.shape
        fields = minimal_fields(shape)
        if shape.spec.prompt.max_chars == 0:  # a task that takes none
            changes.pop("prompt", None)
        for name, value in changes.items():  # what a minimal request needs stays
            fields[name] = {**fields.get(name, {}), **value} if name in {"extra_params", "options", "inputs"} else value
        if changes.keys() & {"aspect_ratio", "resolution"}:
            fields.pop("size", None)
        if "continue_from" in changes:
            fields |= _fields_for_handle(fields, changes["continue_from"])
        if shape.operation == "continue_video" and not {"source", "continue_from"} & fields.keys():
            self._handle = self._handle or await self.handle(router)
            fields["continue_from"] = self._handle
        cls: Any = KINDS[shape.operation]
        made: Request = cls(**fields)
        return made

    async def handle(self, router: Router, **changes: Any) -> Continuation:
        """Make media that the bench's shape can continue, and return the handle."""
        maker = self.find(self.service, self.shape.model)
        assert maker is not None, f"no model makes the media that {self.shape} continues"
        request = await self.request(router, maker, **{**_sufficient_duration(self.shape, maker), **changes})
        made = await self.execute(router, request, maker)
        assert made.continuation_id is not None
        return await router.store.load_continuation(made.continuation_id)


def _shortened(sent: Mapping[str, Any]) -> str:
    """Return a submit as text: long values and bytes by their size, and never a key."""
    said = {name: f"<{len(v)} bytes>" if isinstance(v, bytes) else textwrap.shorten(str(v), 200) for name, v in sent.items()}
    return ", ".join(f"{name}={value}" for name, value in said.items()).replace(CANARY, "<the key>")


def _fields_for_handle(fields: dict[str, Any], handle: Continuation) -> dict[str, Any]:
    """Return the fields that differ when a request continues media: no source, and a mask of the size of those media."""
    found: dict[str, Any] = {"source": None} if "source" in fields else {}
    file = next(iter(handle.files), None)
    mask = fields.get("mask")
    if found and mask is not None and mask.image is not None and file is not None and file.width and file.height:
        found["mask"] = Mask(image=Image(data=half_mask(file.width, file.height)))
    return found


def _sufficient_duration(shape: Shape, maker: Shape) -> dict[str, Any]:
    """Return the minimum duration of the media that a shape continues, where its spec gives one."""
    rule, duration = shape.spec.inputs.get("continue_from"), maker.spec.options.get("duration")
    if not isinstance(rule, ContinueRule) or rule.seconds is None or duration is None:
        return {}
    return {"duration": duration.nearest(max(rule.seconds[0], getattr(duration, "min", 0.0)))}

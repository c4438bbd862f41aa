"""A real Router over the author's fake, with sockets and logs watched."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import functools
import inspect
import os
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import attrs

from ..capabilities import CapabilityMatrix, ContinueRule
from ..execution.engine import Progress
from ..media import Image
from ..plugins.instances import make_instances
from ..plugins.registry import Registry, discover
from ..policy import Policy
from ..requests import KINDS, Continuation, Mask, Operation, Request
from ..results import Result
from ..router import Router
from ..settings import InstanceSettings, Settings
from ..state.sqlite import SqliteStore
from ..state.store import Store
from .case_values import Shape, minimal_fields
from .fake_service import Wire
from .guarding import listening, reachable, socket_guard
from .samples import half_mask

__all__ = [
    "Bench",
    "FastClock",
    "JumpingClock",
    "KeptStore",
    "RedirectTarget",
    "StatusCheckCount",
    "cut_matrix",
    "forget_plugins",
    "fresh_registry",
    "loaded_registry",
    "returns",
    "run",
    "socket_guard",
]


class RedirectTarget(ThreadingHTTPServer):
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
    server: RedirectTarget

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


#: So many looks at one job, and so many in a row that fail, are no fake's doing.
_MOST, _MOST_FAILED = 500, 20


@attrs.define
class StatusCheckCount:
    """The looks at jobs so far: of a fake, which keeps nobody waiting, there are few, and few that fail."""

    of: dict[str, int] = attrs.field(factory=dict)
    failed: int = 0
    why: str = ""
    invalid: str = ""

    def count(self, progress: Progress) -> None:
        """Count a look by what the caller is told of it."""
        if progress.event == "invalid_progress":
            self.invalid = "the backend reported a progress that is not a number from 0 to 1"
        if progress.state not in {"submitted", "running"}:
            return
        self.of[progress.job_id] = self.of.get(progress.job_id, 0) + 1
        self.failed = self.failed + 1 if progress.event == "status_check_failed" else 0
        self.why = progress.note

    def check(self) -> None:
        """Break off what would only end with the deadline.

        Raises:
            AssertionError: so many looks in a row failed, or so many saw a job at work.
        """
        assert self.failed < _MOST_FAILED, f"{self.failed} looks in a row, and each failed; the last: {self.why}"
        most = max(self.of.values(), default=0)
        assert most < _MOST, f"looked at it {most} times, and check_job never says that it is done or has failed; the last: {self.why}"


_T = TypeVar("_T")
#: The one authority that clients trust here, and whose key was never kept. Nothing leaves this machine, and to read the
#: hundred and more that are usual takes each client longer than its request.
AUTHORITY = """\
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


class FastClock:
    """The machine's clock, but nobody waits long: a pause takes a hundredth of a second at most.

    ``patience``: called before each pause; it raises where it is no use to wait on.
    """

    def __init__(self, patience: Callable[[], None] = lambda: None) -> None:
        self.patience = patience

    def now(self) -> float:
        """Return seconds since the epoch."""
        return time.time()

    def steady(self) -> float:
        """Return seconds on a counter that never jumps."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Let the others work."""
        self.patience()
        await asyncio.sleep(min(seconds, 0.01))


class JumpingClock(FastClock):
    """A clock that jumps ahead when it is asked to; the timeouts of the running event loop go by it."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead = 0.0
        asyncio.get_running_loop().time = self.steady  # type: ignore[method-assign]

    def steady(self) -> float:
        """Return seconds on a counter that jumps ahead, and never back."""
        return super().steady() + self.ahead


def run(work: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine to its end on an event loop of its own."""
    return asyncio.run(work)


def loaded_registry() -> Registry:
    """Return the installed plugins, discovered once for each environment: a plugin may read its matrix by it."""
    return _discovered(frozenset(item for item in os.environ.items() if item[0] not in _RESTLESS))


#: Differ from test to test.
_RESTLESS = frozenset({"PYTEST_CURRENT_TEST", "SSL_CERT_FILE"})


@functools.lru_cache(maxsize=8)
def _discovered(environ: frozenset[tuple[str, str]]) -> Registry:
    return discover()


def forget_plugins() -> None:
    """Discover the plugins anew at the next look: something was installed, taken away or changed."""
    _discovered.cache_clear()


def returns(backend: str, operation: Operation) -> str:
    """Return what a backend's hook for an operation returns, by its annotation."""
    returned = inspect.signature(getattr(loaded_registry().plugins[backend].module, operation)).return_annotation
    return str(getattr(returned, "__name__", returned))


def cut_matrix(backend: str, service: str) -> CapabilityMatrix:
    """Return a backend's matrix as an instance of one of its services sees it."""
    own = InstanceSettings(name=backend, plugin=backend, service=service)
    return make_instances(loaded_registry(), Settings(instances={backend: own}), {})[backend].matrix


@contextlib.contextmanager
def fresh_registry(backend: str) -> Iterator[Registry]:
    """Import a plugin anew, as another process would: what it kept in its modules is gone."""
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
    """Set and drop environment variables for as long as the block runs."""
    before = dict(os.environ)
    for name in without:
        os.environ.pop(name, None)
    os.environ.update(changes)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


class KeptStore(SqliteStore):
    """A store that outlives the routers that use it, as a durable one would."""

    def close(self) -> None:
        """Stay open."""


@attrs.define(kw_only=True, eq=False)
class Bench:
    """A backend over a wire, in a directory of its own."""

    backend: str
    service: str
    wire: Wire
    today: datetime.date
    folder: Path
    store: Store = attrs.field(factory=KeptStore)
    texts: list[str] = attrs.field(factory=list)
    tried: list[Any] = attrs.field(factory=list)
    elsewhere: RedirectTarget | None = None
    looks: StatusCheckCount = attrs.field(factory=StatusCheckCount)

    @classmethod
    @contextlib.contextmanager
    def over(
        cls, backend: str, service: str, wire: Wire, matrix: CapabilityMatrix, elsewhere: RedirectTarget | None = None
    ) -> Iterator[Bench]:
        """Set everything up, and watch sockets and logs meanwhile; ``elsewhere`` can be reached too, and is not to be."""
        known = tuple(v for found in matrix.credentials for names in found.names.values() for v in names)
        drop = (*known, *matrix.base_url_env)
        ports = frozenset() if elsewhere is None else frozenset({elsewhere.server_port})
        with (
            tempfile.TemporaryDirectory(prefix="anymedia-kit-") as scratch,
            environment({"SSL_CERT_FILE": f"{scratch}/authority.pem", **wire.environ}, drop),
            socket_guard(reachable(wire) | ports) as tried,
            listening() as heard,
        ):
            today = matrix.checked or datetime.date(2026, 1, 1)
            place = Path(scratch)
            (place / "authority.pem").write_text(AUTHORITY, "ascii")
            yield cls(backend=backend, service=service, wire=wire, today=today, folder=place, texts=heard, tried=tried, elsewhere=elsewhere)
            assert not tried, f"connections that the scenario does not allow: {tried}"

    def submits(self) -> int:
        """How many billable submits there have been: as the fake counts them, or as the journal does."""
        if self.wire.submits is not None:
            return self.wire.submits()
        return sum(row.submits for row in self.store.calls())

    def settings(self) -> Settings:
        """The instance's settings, pointed at the wire."""
        own = InstanceSettings(
            name=self.backend,
            plugin=self.backend,
            service=self.service,
            base_url=self.wire.base_url,
            options=self.wire.options,
            hosts=self.wire.hosts,
        )
        return Settings(instances={self.backend: own}, fetch_allow=("127.0.0.1", "localhost", *self.wire.hosts), state_dir=self.folder)

    def _hear(self, progress: Progress) -> None:
        self.texts.append(progress.note)
        self.looks.count(progress)

    @contextlib.asynccontextmanager
    async def router(self, **more: Any) -> AsyncIterator[Router]:
        """Open a router over the wire."""
        more.setdefault("clock", FastClock(lambda: None if self.wire.submits is None else self.looks.check()))
        more.setdefault("policy", Policy(preview=True))
        more.setdefault("on_progress", self._hear)
        async with Router(
            store=more.pop("store", self.store),
            settings=self.settings(),
            registry=more.pop("registry", None) or loaded_registry(),
            today=lambda: self.today,
            **more,
        ) as router:
            yield router

    async def execute(self, router: Router, request: Request, shape: Shape, **more: Any) -> Result:
        """Plan and run a request on a shape's model, into the bench's folder."""
        more.setdefault("deadline", 600.0)  # how long it takes says how busy the machine is
        output = f"{self.folder}/out/"
        return await router.execute(request, backend=self.backend, model=shape.model.id, output=output, **more)

    async def request(self, router: Router, shape: Shape, find: Callable[[str], Shape | None], **changes: Any) -> Request:
        """Return a minimal request of a shape; what it goes on from is made first."""
        fields = minimal_fields(shape) | changes
        if changes.keys() & {"aspect_ratio", "resolution"}:
            fields.pop("size", None)
        if "continue_from" in changes:
            fields |= _from_the_handle(fields, changes["continue_from"])
        if shape.operation == "continue_video" and not {"source", "continue_from"} & fields.keys():
            fields["continue_from"] = await self.handle(router, shape, find)
        cls: Any = KINDS[shape.operation]
        made: Request = cls(**fields)
        return made

    async def handle(self, router: Router, shape: Shape, find: Callable[[str], Shape | None], **changes: Any) -> Continuation:
        """Make something that this shape can go on from, and return the handle."""
        maker = find(shape.model.id)
        assert maker is not None, f"no row makes what {shape} goes on from"
        made = await self.execute(router, await self.request(router, maker, find, **{**_long_enough(shape, maker), **changes}), maker)
        assert made.continuation_id is not None
        return router.store.load_continuation(made.continuation_id, now=router._engine.clock.now())


def _from_the_handle(fields: dict[str, Any], handle: Continuation) -> dict[str, Any]:
    """Return what is different when a request goes on from a handle: no source of its own, and a mask of that one's size."""
    found: dict[str, Any] = {"source": None} if "source" in fields else {}
    file = next(iter(handle.files), None)
    mask = fields.get("mask")
    if found and mask is not None and mask.image is not None and file is not None and file.width and file.height:
        found["mask"] = Mask(image=Image(data=half_mask(file.width, file.height)))
    return found


def _long_enough(shape: Shape, maker: Shape) -> dict[str, Any]:
    """Return a duration that what a shape goes on from must have at least, where its row says so."""
    rule, duration = shape.row.inputs.get("continue_from"), maker.row.options.get("duration")
    if not isinstance(rule, ContinueRule) or rule.seconds is None or duration is None:
        return {}
    return {"duration": duration.nearest(max(rule.seconds[0], getattr(duration, "min", 0.0)))}

"""What every step of a run needs, with one SDK client per backend instance, key, event loop and name."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import copy
import functools
import inspect
import logging
import os
import weakref
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, get_args

import attrs

from .. import telemetry
from ..artifacts import Artifact, Swept
from ..capabilities.overlay import OverlayStore
from ..clock import Clock
from ..context import ANSWER_BYTES, Context, LoadedMedia
from ..directories import installation_id
from ..errors import Fix, MediaError, RequestError, SettingsError
from ..media import Media
from ..policy import Policy
from ..redaction import clean_text, quiet_loggers
from ..requests import Mask, StoredFile
from ..state.sql import Store
from ..state.store import FINAL_STATES, CallRecord, CallState, StateBusy, StateNotWritable
from ..threads import shielded
from .account import fingerprint
from .governor import AccountSlots, Governor
from .lease import CallWatcher, LeaseRenewer
from .poll_schedule import PollBudget

if TYPE_CHECKING:
    from ..artifacts import ArtifactStore
    from ..capabilities import ModelSpec
    from ..net.fetcher import Fetcher
    from ..plugins.instances import BackendInstance
    from ..plugins.registry import Registry
    from ..results import Result
    from ..settings import Settings

_log = logging.getLogger("anymedia")


@attrs.define(eq=False)
class _Made:
    """A client, and the engines that use it; one that no engine uses any more is closed."""

    client: Any
    users: weakref.WeakSet[Any] = attrs.field(factory=weakref.WeakSet)


class Clients:
    """A cache of SDK clients, which are never shared across keys."""

    def __init__(self) -> None:
        # The loop itself: a later one may have the id of one that is gone.
        self._by_process: dict[int, dict[tuple[str, str, asyncio.AbstractEventLoop, str], _Made]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._users: Counter[str] = Counter()

    @property
    def _made(self) -> dict[tuple[str, str, asyncio.AbstractEventLoop, str], _Made]:
        """The clients of this process. A forked child leaves those of its parent open: it shares their connections."""
        return self._by_process.setdefault(os.getpid(), {})

    def get(self, instance: str, digest: str, name: str, factory: Callable[[], Any], *, user: object = None) -> Any:
        """Return the client of an instance with keys of this digest on the running loop, made on first use.

        It is kept while ``user`` lives and `release` was not called for it.
        """
        loop = asyncio.get_running_loop()
        key = (instance, digest, loop, name)
        made = self._made.get(key)
        if made is None:
            idle = [other for other, found in self._made.items() if not found.users and other[2] is loop]
            if idle:
                closing = loop.create_task(_close([self._made.pop(other).client for other in idle]))
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)
            made = self._made[key] = _Made(factory())
            quiet_loggers()  # some SDKs set their loggers' levels when they are imported
        made.users.add(self if user is None else user)
        return made.client

    async def release(self, user: object) -> None:
        """Close the clients that only ``user`` has used."""
        for made in self._made.values():
            made.users.discard(user)
        idle = [key for key, made in self._made.items() if not made.users]
        await shielded(_close([self._made.pop(key).client for key in idle]))

    @contextlib.contextmanager
    def used(self, instance: str) -> Iterator[None]:
        """Keep the clients of an instance open while the block runs."""
        self._users[instance] += 1
        try:
            yield
        finally:
            self._users[instance] -= 1

    async def close_idle(self, *, also_used: bool = False) -> None:
        """Close the clients of this event loop that no call is using, and their connections."""
        loop = asyncio.get_running_loop()
        idle = [key for key in self._made if key[2] is loop and (also_used or not self._users[key[0]])]
        await shielded(_close([self._made.pop(key).client for key in idle]))

    async def aclose(self) -> None:
        """Close every client, even if the caller is cancelled."""
        await shielded(_close([self._made.pop(key).client for key in list(self._made)]))
        await asyncio.gather(*self._closing)


async def _close(clients: Sequence[Any]) -> None:
    """Close clients that nothing refers to any more, by whichever of aclose and close they have; a failure to close is only logged."""
    for client in clients:
        close = getattr(client, "aclose", None) or getattr(client, "close", None)
        if close is None:
            continue
        try:
            done = close()
            if inspect.isawaitable(done):
                await done
        except Exception as error:  # noqa: BLE001 - the others must be closed, too
            _log.debug("closing a client failed: %s", type(error).__name__)


_T = TypeVar("_T")
#: The states in which a call occupies a slot of its account.
_IN_PROGRESS = frozenset({"queued", "submitting", "submitted", "running"})
_ABOUT_SUBMITTED = frozenset({"check_job", "find_submission", "cancel_job"})
#: Pauses in seconds between attempts to record what is paid for.
_WRITE_AGAIN = (0.2, 1.0, 3.0, 10.0)


def new_id(prefix: str) -> str:
    """Return ``{prefix}_{12 hex}``."""
    return f"{prefix}_{os.urandom(6).hex()}"


#: ``state``: the call changed its state. ``progress``: the backend reported progress. ``invalid_progress``: the backend reported a
#: progress that is not a number from 0 to 1. ``retrying``: the submit will be sent again. ``status_check_failed``, ``job_not_found``:
#: the result of a status check; the next one follows. ``result``: the last event of `Router.stream`.
ProgressEvent = Literal["state", "progress", "invalid_progress", "retrying", "status_check_failed", "job_not_found", "result"]


@attrs.frozen(kw_only=True)
class Progress:
    """The progress of one call.

    Attributes:
        job_id: the call's id.
        event: what happened, as a code.
        fraction: 0 to 1, or None if unknown.
        note: details for a person.
        elapsed: seconds since the call was created.
        result: with the event ``result``, the result of the run.
    """

    job_id: str
    backend: str
    model: str
    state: CallState
    event: ProgressEvent = "state"
    fraction: float | None = None
    note: str = ""
    elapsed: float = 0.0
    result: Result | None = None


#: Called with each progress event.
OnProgress = Callable[[Progress], None]
_listener: contextvars.ContextVar[OnProgress | None] = contextvars.ContextVar("anymedia_on_progress", default=None)


@contextlib.contextmanager
def listening(to: OnProgress | None) -> Iterator[None]:
    """Report the progress of the runs that are started in the block to a function as well."""
    token = _listener.set(to or _listener.get())
    try:
        yield
    finally:
        _listener.reset(token)


@attrs.define(eq=False)
class _OfLoop:
    """What belongs to one event loop."""

    leases: LeaseRenewer
    watcher: CallWatcher
    lifetime: AsyncGenerator[None]
    is_ending: bool = False
    closing: set[asyncio.Task[None]] = attrs.field(factory=set)


@attrs.define(kw_only=True, eq=False)
class Engine:
    """Store, artifacts, registry, instances, clock, clients and fetcher, and the operations that combine them."""

    store: Store
    artifacts: ArtifactStore
    registry: Registry
    instances: Mapping[str, BackendInstance]
    settings: Settings
    policy: Policy
    clock: Clock
    fetcher: Fetcher
    clients: Clients = attrs.field(factory=Clients)
    polls: PollBudget = attrs.field(factory=PollBudget)
    overlays: OverlayStore | None = None
    on_progress: Callable[[Progress], None] | None = None
    session: str = attrs.field(factory=lambda: new_id("run"))
    project: str | None = None
    #: The engine of the whole store, if this is the engine of a view.
    whole: Engine | None = attrs.field(default=None, init=False)
    #: When `make_room` last measured the artifacts, on the steady clock.
    measured_at: float | None = attrs.field(default=None, init=False)
    governor: Governor = attrs.field(init=False)
    slots: AccountSlots = attrs.field(init=False)
    _pools: dict[tuple[str, int], ThreadPoolExecutor] = attrs.field(factory=dict, init=False)
    _of_loops: dict[asyncio.AbstractEventLoop, _OfLoop] = attrs.field(factory=dict, init=False)
    _installation: str | None = attrs.field(default=None, init=False)
    _account_key: bytes | None = attrs.field(default=None, init=False, repr=False)
    _token: str = attrs.field(factory=lambda: os.urandom(4).hex(), init=False)

    def __attrs_post_init__(self) -> None:
        self.slots = AccountSlots(self.store)
        limits = self.settings
        self.governor = Governor(self._close_idle, descriptors=limits.max_descriptors, memory=limits.max_memory_bytes)
        self.fetcher.gate = self.governor.fetches.one

    def _of_loop(self) -> _OfLoop:
        loop = asyncio.get_running_loop()
        if loop not in self._of_loops:
            for ended in [other for other in list(self._of_loops) if other.is_closed()]:
                self._of_loops.pop(ended, None)
            whole = self.whole or self
            made = self._of_loops[loop] = _OfLoop(LeaseRenewer(whole.store), CallWatcher(whole.store, self.clock), whole._lifetime(loop))
            with contextlib.suppress(StopIteration):
                made.lifetime.__anext__().send(None)
        return self._of_loops[loop]

    async def _lifetime(self, loop: asyncio.AbstractEventLoop) -> AsyncGenerator[None]:
        """Close the connections of an event loop when it ends: it closes its asynchronous generators then."""
        try:
            yield
        finally:
            here = self._of_loops[loop]
            here.is_ending = True
            here.watcher.silence()
            if here.closing:
                await asyncio.wait(here.closing)
            await self.clients.close_idle(also_used=True)
            await self.fetcher.aclose()

    def complete(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start work that is completed before the event loop ends."""
        closing, task = self._of_loop().closing, asyncio.get_running_loop().create_task(work)
        closing.add(task)
        task.add_done_callback(closing.discard)
        return task

    @property
    def leases(self) -> LeaseRenewer:
        """What renews the leases of the calls of the running event loop."""
        return self._of_loop().leases

    @property
    def watcher(self) -> CallWatcher:
        """What waits for calls of other processes on the running event loop."""
        return self._of_loop().watcher

    def thread_pool(self, backend: str) -> ThreadPoolExecutor:
        """Return the threads for blocking work of an instance, as many as it may have calls at the same time."""
        key = backend, os.getpid()  # a forked child has none of its parent's threads
        if key not in self._pools:
            self._pools[key] = ThreadPoolExecutor(self.instance(backend).max_concurrent, thread_name_prefix=f"anymedia-{backend}")
        return self._pools[key]

    async def aclose(self) -> None:
        """Close clients, connections and threads; blocking work that has begun ends by itself."""
        for each in list(self._of_loops.values()):
            each.watcher.silence()
        if (here := self._of_loops.get(asyncio.get_running_loop())) is not None:
            await here.watcher.close()
            if not here.is_ending:  # else the event loop closes it
                await here.lifetime.aclose()
        await self.clients.aclose()
        await self.fetcher.aclose()
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)

    async def _close_idle(self) -> None:
        await self.clients.close_idle()
        await self.fetcher.close_idle()

    @property
    def owner(self) -> str:
        """The owner of this engine's leases; a forked child has another one."""
        return f"{os.getpid()}-{self._token}"

    def scoped(self, **changes: Any) -> Self:
        """Return the engine of a view: other attributes, the same clients, leases and counts of status checks."""
        view = copy.copy(self)
        view.whole = self.whole or self
        for name, value in changes.items():
            setattr(view, name, value)
        return view

    @property
    def installation(self) -> str:
        """The name of this installation among those that share the store; `SettingsError` if it cannot be read or written."""
        try:
            self._installation = self._installation or installation_id(self.settings.state_dir)
        except OSError as error:
            text = f"The state directory {str(self.settings.state_dir)!r} cannot be used: {error.strerror or type(error).__name__}."
            raise SettingsError(text, fix="Make it writable, or set ANYMEDIA_STATE to another directory.") from error
        return self._installation

    def client_user(self, backend: str) -> Engine:
        """Return the engine that a backend's clients belong to: this one, if it has keys of its own."""
        whole = self.whole
        return self if whole is None or whole.instances.get(backend) is not self.instances[backend] else whole

    def instance(self, name: str) -> BackendInstance:
        """Return a backend instance; `UnknownBackend` names the configured ones."""
        if name not in self.instances:
            raise self.registry.unknown(name, self.instances)
        return self.instances[name]

    def learn(self, record: CallRecord, error: MediaError | None) -> None:
        """Record whether the provider accepted a call's model, so that planning avoids a refused one for a day."""
        if self.overlays is None:
            return
        key = self.instance(record.backend).account_key
        if error is None:
            self.overlays.accept(key, record.model)
        elif error.model_refused:
            said = error.provider_message or error.message
            self.overlays.refuse(key, record.model, clean_text(said, 200), self.clock.now())

    def has_hook(self, backend: str, hook: str) -> bool:
        """Whether an instance's plugin implements a hook."""
        return hook in self.registry.plugins[self.instance(backend).plugin].hooks

    async def call(self, backend: str, hook: str, **arguments: Any) -> Any:
        """Call one hook of one backend; the connections of hooks about a submitted call come from those held back for that."""
        context: Context | None = arguments.get("context")
        named = {} if context is None else {"model": context.model, "call": context.label}
        async with self.governor.checks.one() if hook in _ABOUT_SUBMITTED else contextlib.nullcontext():
            with telemetry.span(hook, backend=backend, **named):
                return await self.registry.call(self.instance(backend).plugin, hook, **arguments)

    def fetcher_for(self, backend: str) -> Fetcher:
        """Return the fetcher for an instance's results: its own configured address needs no further permission."""
        base_url = self.instance(backend).base_url
        return self.fetcher if base_url is None else self.fetcher.for_origin(base_url)

    async def account(self, backend: str) -> str:
        """Return the account of an instance, see `account.fingerprint`."""
        if self._account_key is None:
            self._account_key = await self.store.account_key()
        instance = self.instance(backend)
        if any(secret.known is None for secret in instance.secrets().values()):
            await asyncio.to_thread(lambda: instance.key_digest)  # the system's keyring may ask the user to unlock it
        return fingerprint(instance, self._account_key)

    def context(
        self,
        record: CallRecord,
        row: ModelSpec | None,
        *,
        loaded: Mapping[Media | Mask | StoredFile, LoadedMedia] | None = None,
        deadline: float | None = None,
    ) -> Context:
        """Return the context for one hook call."""
        instance = self.instance(record.backend)
        services = _ContextServices(self, record, instance)
        return Context(
            backend=record.backend,
            model=record.model,
            service=instance.service,
            spec=row,
            operation=None if row is None else row.operations.get(record.operation),
            settings={"state_dir": os.path.join(self.settings.state_dir, "backends", record.backend), **instance.context_settings},  # noqa: PTH118 - as text, and quick
            label=record.id,
            idempotency_key=record.idempotency_key,
            deadline=deadline,
            hosts=instance.hosts,
            billing=instance.billing,
            network=self.settings.network,
            answer_bytes=_answer_bytes(record),
            secrets=instance.secrets(),
            loaded=loaded or {},
            clients=services.client,
            fetch=services.fetch,
            stream=services.stream,
            on_progress=services.progress,
            run_blocking=services.run_blocking,
            now=self.clock.now,
        )

    def report(self, record: CallRecord, event: ProgressEvent = "state", *, fraction: float | None = None, note: str = "") -> None:
        """Report progress to the caller. An exception in the caller's function is only logged: the call may be paid for."""
        listeners = [listener for listener in (self.on_progress, _listener.get()) if listener is not None]
        if not listeners:
            return
        is_number = isinstance(fraction, int | float) and not isinstance(fraction, bool)
        if fraction is not None and not (is_number and 0 <= fraction <= 1):
            _log.debug("%s: progress must be a number from 0 to 1, not %r", record.backend, fraction)
            event, fraction = "invalid_progress", None
        said = Progress(
            job_id=record.id,
            backend=record.backend,
            model=record.model,
            state=record.state,
            event=event,
            fraction=fraction,
            note=note,
            elapsed=max(0.0, self.clock.now() - record.created_at),
        )
        for listener in listeners:
            try:
                listener(said)
            except Exception as error:  # noqa: BLE001 - whatever the caller's own function raises
                _log.warning("on_progress failed: %s", type(error).__name__)

    async def advance(self, record: CallRecord, state: CallState, **changes: Any) -> CallRecord:
        """Change a call in the journal under the lease of its record, and report it to the caller."""
        record = await self.store.advance(record.lease, state, **changes)
        if state not in _IN_PROGRESS:
            self.slots.freed(record)
        self.report(record)
        return record

    async def persist_with_retry(self, work: Callable[[], Awaitable[_T]]) -> _T:
        """Record what is paid for; retry for some seconds while the store is locked or full, even if the caller is cancelled."""

        async def persist() -> _T:
            for pause in _WRITE_AGAIN:
                try:
                    return await work()
                except (StateBusy, StateNotWritable) as error:
                    _log.warning("%s Retrying in %g s.", error.message, pause)
                await self.clock.sleep(pause)
            return await work()

        return await shielded(persist())


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


@attrs.define(eq=False)
class _ContextServices:
    """The services behind the context of one hook call."""

    engine: Engine
    record: CallRecord
    instance: BackendInstance
    loop: asyncio.AbstractEventLoop | None = attrs.field(factory=_running_loop)

    @property
    def fetcher(self) -> Fetcher:
        return self.engine.fetcher_for(self.record.backend)

    def client(self, name: str, factory: Callable[[], Any]) -> Any:
        user = self.engine.client_user(self.record.backend)
        return self.engine.clients.get(self.record.backend, self.instance.key_digest, name, factory, user=user)

    async def fetch(self, url: str, headers: Mapping[str, str]) -> bytes:
        return await self.fetcher.fetch_bytes(url, headers=headers, credential_hosts=self.instance.hosts, for_caller=False)

    async def stream(self, url: str, start: int) -> AsyncGenerator[bytes]:
        async with self.fetcher.fetch(url, offset=start, for_caller=False) as download:
            if download.start != start:
                raise ValueError(f"the server cannot start at byte {start}")
            async for chunk in download.chunks():
                yield chunk

    async def run_blocking(self, work: Callable[[], Any]) -> Any:
        pool = self.engine.thread_pool(self.record.backend)
        return await asyncio.get_running_loop().run_in_executor(pool, contextvars.copy_context().run, work)

    def progress(self, fraction: float | None, note: str) -> None:
        report = functools.partial(self.engine.report, self.record, "progress", fraction=fraction, note=note)
        if self.loop is None or self.loop is _running_loop():
            report()
        else:  # from a thread of the plugin: listeners are called in the event loop only
            with contextlib.suppress(RuntimeError):  # it was closed: the caller does not wait any more
                self.loop.call_soon_threadsafe(report)


#: Seconds between two automatic clean-ups by age, and between two measurements of the space that is used.
_AGE_INTERVAL, _SIZE_INTERVAL = 86_400.0, 60.0
#: States in which a call may have artifacts that were not delivered.
_UNDELIVERED: tuple[CallState, ...] = tuple(state for state in get_args(CallState) if state != "done")
_EVERY_CALL = 10_000_000


async def collect_garbage(engine: Engine, *, within: Store | None = None, dry_run: bool = False) -> Swept:
    """Remove artifacts by age and total size, as the settings say; ``within``: only those of the realm of a view.

    Artifacts of a call that has not ended are kept, and pieces that were never saved to a file: only `Router.forget` removes them.
    """

    async def keep(found: Sequence[Artifact]) -> Collection[Artifact]:
        records = await (engine.whole or engine).store.calls(states=_UNDELIVERED, limit=_EVERY_CALL)
        states = {record.id: record.state for record in records}
        undelivered = [a for a in found if a.call_id in states and (a.kind != "input" or states[a.call_id] not in FINAL_STATES)]
        if within is None:
            return undelivered
        own = {record.id for record in await within.calls(limit=_EVERY_CALL)}
        return [*undelivered, *(a for a in found if a.call_id not in own)]

    days, most = engine.settings.artifacts_keep_days, engine.settings.artifacts_max_bytes
    keep_seconds = None if days is None else days * 86_400
    return await engine.artifacts.gc(keep_seconds=keep_seconds, max_bytes=most, keep=keep, now=engine.clock.now(), dry_run=dry_run)


async def make_room(engine: Engine) -> None:
    """Clean up when it is due, before a paid request, which is refused if the artifacts that must be kept fill the limit."""
    engine = engine.whole or engine
    steady = engine.clock.steady()
    if engine.measured_at is not None and steady - engine.measured_at < _SIZE_INTERVAL:
        return
    engine.measured_at = steady
    most = engine.settings.artifacts_max_bytes
    used = await engine.artifacts.used_bytes()
    last = await engine.artifacts.last_gc()
    is_over = most is not None and used >= most
    if not used or not (is_over or last is None or engine.clock.now() - last > _AGE_INTERVAL):
        return
    swept = await collect_garbage(engine)
    if most is not None and swept.required >= most:
        engine.measured_at = None
        text = f"The artifact store has {swept.required} bytes of undelivered results, and max_bytes is {most}; nothing was sent."
        error = RequestError(text, fix="Resume or forget the jobs that they belong to, or raise max_bytes in [artifacts].")
        error.action = Fix("list_jobs")
        raise error


#: Bytes of the answer to a request for images: for each of them, in base64, and for everything else; and the most in all.
_IMAGE_BYTES, _MORE_BYTES, _MOST_BYTES = 48_000_000, 16_000_000, 400_000_000


def _answer_bytes(record: CallRecord) -> int:
    """Return how many bytes the answer to a call's submit may have."""
    if record.operation not in {"generate_image", "inpaint", "edit_with_references"}:
        return ANSWER_BYTES
    return min(_MORE_BYTES + _IMAGE_BYTES * int(record.request.get("n") or 1), _MOST_BYTES)

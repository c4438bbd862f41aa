"""The resources of the process: standard output is reserved for results, and signals end a command in an orderly way."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, TextIO, TypeVar

if TYPE_CHECKING:
    import asyncio

_T = TypeVar("_T")
#: How long cleaning up after a signal may take, in seconds.
_GRACE = 4.5
#: Seconds in which a repeated signal is the same stop: a parent that forwards Ctrl-C to its process group sends it twice.
_SAME_STOP = 0.5
_STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
#: Ids of the jobs that this command started or resumed, for the message of a forced exit.
job_ids: dict[str, None] = {}
#: Where results are written while stdout is reserved: a private descriptor, or the stream that replaced stdout in this process.
_results: int | TextIO | None = None


@contextlib.contextmanager
def reserve_stdout() -> Iterator[None]:
    """Reserve stdout for results: inside the block everything else that is written to it reaches stderr.

    Descriptor 1 is moved, so this includes prints, writes to the descriptor, threads and child processes of plugins. It stays
    moved after the block, because their threads may still be running.
    """
    global _results
    for descriptor in range(3):
        _ensure_open(descriptor)
    stream, previous = sys.stdout, _results
    if stream is None or not _has_descriptor(stream, 1):
        _results, sys.stdout = stream, sys.stderr if stream is not None else stream
        try:
            yield
        finally:
            _results, sys.stdout = previous, stream
        return
    with contextlib.suppress(OSError):
        stream.flush()
    _results = _duplicate(1)
    os.dup2(2, 1)
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(line_buffering=True)
    yield


def _ensure_open(descriptor: int) -> None:
    """Open the null device on a closed standard descriptor, so that no other file is opened there."""
    try:
        os.fstat(descriptor)
    except OSError:
        os.open(os.devnull, os.O_RDWR)


def _has_descriptor(stream: TextIO, descriptor: int) -> bool:
    try:
        return stream.fileno() == descriptor
    except (OSError, ValueError):
        return False


def _duplicate(descriptor: int) -> int:
    """Duplicate a descriptor; child processes do not inherit the copy."""
    try:
        import fcntl
    except ImportError:  # Windows
        return os.dup(descriptor)
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)


def _stdout() -> int | TextIO | None:
    return sys.stdout if _results is None else _results


def write_stdout(data: bytes) -> None:
    """Write bytes to stdout and flush it."""
    stream = _stdout()
    if isinstance(stream, int):
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(stream, left) :]
            except BlockingIOError:
                select.select([], [stream], [])
    elif stream is not None:
        stream.flush()
        stream.buffer.write(data)
        stream.buffer.flush()


def is_terminal(stream: int | TextIO | None) -> bool:
    """Return whether a descriptor or a stream is a terminal; a closed or missing one is not."""
    try:
        return os.isatty(stream) if isinstance(stream, int) else stream is not None and stream.isatty()
    except ValueError:
        return False


def stdout_is_terminal() -> bool:
    """Return whether results are written to a terminal."""
    return is_terminal(_stdout())


def stdout_width() -> int:
    """Return the number of columns for results: COLUMNS, or the width of the terminal, or 100."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns):
        return int(columns)
    stream: Any = _stdout()
    try:
        return os.get_terminal_size(stream if isinstance(stream, int) else stream.fileno()).columns or 100
    except (OSError, ValueError, AttributeError):
        return 100


class StdoutLines:
    """Stdout as an asynchronous text stream, for a protocol."""

    async def write(self, text: str) -> None:
        """Write a text without blocking the event loop."""
        import asyncio

        await asyncio.to_thread(write_stdout, text.encode("utf-8", "replace"))

    async def flush(self) -> None:
        """Do nothing: every write is flushed."""


class StdinLines:
    """Stdin as an asynchronous iterator of lines, for a protocol.

    A daemon thread reads, so that a read that waits for input delays neither the event loop nor the end of the process.
    Descriptor 0 is moved away, so that plugins and child processes read an empty input.
    """

    def __init__(self) -> None:
        self._descriptor = _duplicate(0)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)

    async def __aiter__(self) -> AsyncIterator[str]:
        import asyncio

        loop = asyncio.get_running_loop()
        blocks: asyncio.Queue[bytes] = asyncio.Queue()
        free = threading.Semaphore(16)
        threading.Thread(target=self._read, args=(loop, blocks, free), name="stdin", daemon=True).start()
        pending = b""
        while block := await blocks.get():
            free.release()
            *lines, pending = (pending + block).split(b"\n")
            for line in lines:
                yield line.decode("utf-8", "replace")
        if pending:
            yield pending.decode("utf-8", "replace")

    def _read(self, loop: asyncio.AbstractEventLoop, blocks: asyncio.Queue[bytes], free: threading.Semaphore) -> None:
        block = b"-"
        while block:
            free.acquire()
            try:
                block = os.read(self._descriptor, 1 << 18)
            except OSError:
                block = b""
            with contextlib.suppress(RuntimeError):  # the loop is closed: the command ended
                loop.call_soon_threadsafe(blocks.put_nowait, block)


async def read_line() -> str:
    """Read a line from a terminal on stdin; Ctrl-C cancels it."""
    import asyncio

    loop = asyncio.get_running_loop()
    found: asyncio.Future[bytes] = loop.create_future()
    descriptor = sys.stdin.fileno()

    def read() -> None:
        if not found.done():
            found.set_result(os.read(descriptor, 4096))

    try:
        loop.add_reader(descriptor, read)
    except NotImplementedError:  # on Windows
        return sys.stdin.readline()
    try:
        return (await found).decode(errors="replace")
    finally:
        loop.remove_reader(descriptor)


@contextlib.contextmanager
def stoppable(handler: Callable[[int, FrameType | None], Any] = signal.default_int_handler) -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGHUP call a handler inside the block; by default they raise KeyboardInterrupt.

    A signal that the parent process set to be ignored (as ``nohup`` does) stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.getsignal(number) for number in _STOP_SIGNALS}
    changed = [number for number in _STOP_SIGNALS if previous[number] not in {signal.SIG_IGN, None}]
    for number in changed:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number in changed:
            signal.signal(number, previous[number])


def run(work: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine in a new event loop; SIGINT, SIGTERM and SIGHUP cancel it, which raises KeyboardInterrupt.

    If it does not end within a few seconds of the signal, the process exits.
    """
    import asyncio

    async def main() -> _T:
        task = asyncio.current_task()
        assert task is not None
        stop = _Stop(asyncio.get_running_loop(), task)
        with stoppable(stop):
            try:
                return await work
            except asyncio.CancelledError:
                if stop.requested:
                    raise KeyboardInterrupt from None
                raise

    return asyncio.run(main())


class _Stop:
    """Handles a stop signal: cancels the task once; another one, unless it belongs to the same stop, ends the process at once."""

    def __init__(self, loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
        self._loop, self._task = loop, task
        self.requested = False
        self._since = 0.0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            if time.monotonic() - self._since > _SAME_STOP:
                _exit_now()
            return
        self.requested, self._since = True, time.monotonic()
        watchdog = threading.Timer(_GRACE, _exit_now)
        watchdog.daemon = True
        watchdog.start()
        self._loop.call_soon_threadsafe(self._task.cancel)


def _exit_now() -> NoReturn:
    jobs = f"; jobs: {', '.join(job_ids)}" if job_ids else ""
    with contextlib.suppress(OSError):
        os.write(2, f"anymedia: interrupted{jobs}\n  hint: list unfinished jobs with: anymedia jobs list --open\n".encode())
    os._exit(130)

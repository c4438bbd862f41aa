"""Decode media in a child process with bounded memory, time and disk space.

The child handles large images, the image formats whose structure is not checked before decoding, video and audio. It gets
one open file to read and one to write, but not the parent's environment variables, which may hold keys. Its report is one
line of JSON at the end of its standard error.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, BinaryIO

import attrs

from ..errors import InvalidRequest, MediaError, Problem, UnsupportedInput
from ..probe.reader import Limits
from ..resources import decoder_slots

#: Images with more pixels than this are decoded in the child.
LARGE_PIXELS = 20_000_000
#: Image formats that are recognized by their signature only: their size is read, and their pixels decoded, in the child.
SANDBOXED_FORMATS = frozenset({"avif", "bmp", "tiff"})
#: Address space of the child in bytes: 89 million pixels in a few copies, or a video decoder with its threads.
_MEMORY = 6 * 1024**3
#: Maximum size in bytes of the file the child writes.
_DISK = 4 * 1024**3
_MARK = "anymedia-report:"
_KEPT_ENVIRONMENT = ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR", "TEMP", "TMP", "LANG", "LC_ALL")
_TOO_MUCH = "decoding it takes more memory or time than is allowed, or the decoder crashed"
_inside = False


def in_sandbox() -> bool:
    """Return whether this process is the child."""
    return _inside


def run_apart(work: str, args: Mapping[str, Any], source: IO[bytes], sink: IO[bytes], *, seconds: float = 300.0) -> dict[str, Any]:
    """Run a task in a child process and wait for it (blocking).

    Args:
        work: name of the task, a key of `_WORK`.
        args: its arguments, JSON-serializable and without secrets.
        source: an open regular file, the child's input.
        sink: an open, empty regular file for the child's output.
        seconds: wall time after which the child is killed.

    Returns:
        The child's report.

    Raises:
        InvalidRequest: raised by the task, or it ran out of memory or time.
        UnsupportedInput: raised by the task.
    """
    return _decoders().submit(_run, work, args, source, sink, seconds, _Child()).result()


async def run_apart_async(
    work: str, args: Mapping[str, Any], source: IO[bytes], sink: IO[bytes], *, seconds: float = 300.0
) -> dict[str, Any]:
    """Run a task as `run_apart` does, without blocking; cancelling the caller kills the child."""
    child = _Child()
    done = asyncio.wrap_future(_decoders().submit(_run, work, args, source, sink, seconds, child))
    try:
        return await asyncio.shield(done)
    except asyncio.CancelledError:
        child.kill()
        await asyncio.wait([done])  # the thread uses the caller's files
        done.exception()
        raise


class _Child:
    """A child process that may be killed before it is started."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._is_unwanted = False

    def start(self, *arguments: Any) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._is_unwanted:
                raise InvalidRequest(_TOO_MUCH)
            self._process = _start(*arguments)
            return self._process

    def kill(self) -> None:
        with self._lock:
            self._is_unwanted = True
            if self._process is not None:
                self._process.kill()


def _run(work: str, args: Mapping[str, Any], source: IO[bytes], sink: IO[bytes], seconds: float, child: _Child) -> dict[str, Any]:
    return _finish(child.start(work, args, source, sink, seconds), seconds)


@functools.cache
def _decoders() -> ThreadPoolExecutor:
    """Return the threads that wait for children: so many as may decode at the same time."""
    return ThreadPoolExecutor(decoder_slots(), thread_name_prefix="anymedia-decoder")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_decoders.cache_clear)  # the parent's threads do not exist in a forked child


async def run_on_bytes(work: str, args: Mapping[str, Any], data: bytes, *, seconds: float = 300.0) -> tuple[dict[str, Any], bytes]:
    """Run a task on bytes.

    Args:
        work: name of the task.
        args: its arguments, JSON-serializable and without secrets.
        data: the child's input.
        seconds: wall time after which the child is killed.

    Returns:
        The child's report and its output.

    Raises:
        InvalidRequest, UnsupportedInput: as `run_apart`.
    """
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as sink:
        source.write(data)
        source.seek(0)
        report = await run_apart_async(work, args, source, sink, seconds=seconds)
        sink.seek(0)
        return report, sink.read()


def _start(work: str, args: Mapping[str, Any], source: IO[bytes], sink: IO[bytes], seconds: float) -> subprocess.Popen[bytes]:
    environment = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    environment["PYTHONPATH"] = os.pathsep.join(str(Path(p).absolute()) for p in sys.path if p)
    program = f"from {__name__} import main; main()"
    command = [sys.executable, "-P", "-X", "utf8", "-c", program, work, json.dumps(dict(args)), str(int(seconds) + 1)]
    source.flush()
    os.lseek(source.fileno(), 0, os.SEEK_SET)  # the child shares the file position, which buffering here may have advanced
    return subprocess.Popen(command, stdin=source, stdout=sink, stderr=subprocess.PIPE, env=environment)  # noqa: S603 - own argv


def _finish(child: subprocess.Popen[bytes], seconds: float) -> dict[str, Any]:
    try:
        _, text = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        raise InvalidRequest(_TOO_MUCH) from None
    last = text.decode("utf-8", "replace").rstrip().rpartition(_MARK)[2]
    try:
        report: dict[str, Any] = json.loads(last)
    except ValueError:
        raise InvalidRequest(_TOO_MUCH) from None
    if "error" in report:
        raise _error(report)
    return report


def _error(report: Mapping[str, Any]) -> MediaError:
    if report["error"] == UnsupportedInput.code:
        return UnsupportedInput(str(report["message"]), fix=str(report["fix"]))
    problems = report.get("problems") or [{"path": "$", "message": report["message"], "suggestion": ""}]
    return InvalidRequest([Problem(**p) for p in problems], fix=str(report["fix"]))


def _limit(seconds: int) -> None:
    """Limit this process's memory, CPU time and file size, where the operating system supports it."""
    try:
        import resource
    except ImportError:  # Windows: only the wall time is limited
        return
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY if most == resource.RLIM_INFINITY else min(_MEMORY, most), most))
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    busy = seconds * max(1, os.cpu_count() or 1)
    resource.setrlimit(resource.RLIMIT_CPU, (busy if most == resource.RLIM_INFINITY else min(busy, most), most))
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (_DISK if most == resource.RLIM_INFINITY else min(_DISK, most), most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _probe(source: BinaryIO, _: BinaryIO, args: Mapping[str, Any]) -> dict[str, Any]:
    from .images import probe_picture

    size = os.fstat(source.fileno()).st_size
    return attrs.asdict(probe_picture(source, args["format"], size, limits=Limits(**args["limits"]), decode=True))


def _picture(source: BinaryIO, sink: BinaryIO, args: Mapping[str, Any]) -> dict[str, Any]:
    from .images import convert_picture

    made = convert_picture(source.read(), args["formats"], max_bytes=args["max_bytes"])
    sink.write(made.data)
    return {"format": made.format, "warnings": made.warnings}


def _mask(source: BinaryIO, sink: BinaryIO, args: Mapping[str, Any]) -> dict[str, Any]:
    from ..masks import convert, read_mask

    size = args["source_size"]
    plane = read_mask(source.read(), None if size is None else (size[0], size[1]), resize=bool(args["resize"]))
    sink.write(convert(plane, args["form"]))
    return {"width": plane.width, "height": plane.height}


def _transcode_picture(source: BinaryIO, sink: BinaryIO, args: Mapping[str, Any]) -> dict[str, Any]:
    from .images import transcode_picture

    data, warnings = transcode_picture(source.read(), args["to"], args["quality"])
    sink.write(data)
    return {"warnings": warnings}


def _salvage(source: BinaryIO, sink: BinaryIO, args: Mapping[str, Any]) -> dict[str, Any]:
    from .images import salvage_picture

    data, fmt, missing, height = salvage_picture(source.read(), args["format"])
    sink.write(data)
    return {"format": fmt, "missing": missing, "height": height}


def _transcode(source: BinaryIO, sink: BinaryIO, args: Mapping[str, Any]) -> dict[str, Any]:
    from .video import transcode_stream

    return {"warnings": transcode_stream(source, sink, args["from"], args["to"], args["quality"], args["pcm_rate"])}


def _last_frame(source: BinaryIO, sink: BinaryIO, args: Mapping[str, Any]) -> dict[str, Any]:
    from .video import last_frame_of

    sink.write(last_frame_of(source, args["from"]))
    return {}


_WORK: dict[str, Callable[[BinaryIO, BinaryIO, Mapping[str, Any]], dict[str, Any]]] = {
    "probe": _probe,
    "picture": _picture,
    "mask": _mask,
    "transcode": _transcode,
    "salvage": _salvage,
    "transcode_picture": _transcode_picture,
    "last_frame": _last_frame,
}


def main() -> None:
    """Run the task named on the command line; the child's entry point."""
    global _inside
    _inside = True
    work, args, seconds = sys.argv[1:4]
    _limit(int(seconds))
    words = os.fdopen(os.dup(2), "w")
    with Path(os.devnull).open("wb") as nowhere:  # decoders print warnings that quote the file, without limit
        os.dup2(nowhere.fileno(), 2)
    try:
        with os.fdopen(0, "rb") as source, os.fdopen(os.dup(1), "wb") as sink:
            report = _WORK[work](source, sink, json.loads(args))
            sink.flush()
    except MediaError as error:
        report = {"error": error.code, **error.to_json()}
    except MemoryError:
        report = {"error": "memory", "message": _TOO_MUCH, "fix": ""}
    words.write(f"\n{_MARK}{json.dumps(report)}\n")
    words.flush()

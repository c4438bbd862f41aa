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
from collections.abc import Mapping
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
        work: name of the task, see `_do`.
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
    return _decoders().submit(_Child().run, work, args, source, sink, seconds).result()


async def run_on_bytes(work: str, args: Mapping[str, Any], data: bytes, *, seconds: float = 300.0) -> tuple[dict[str, Any], bytes]:
    """Run a task on bytes as `run_apart` does, without blocking; cancelling the caller kills the child.

    Returns:
        The child's report and its output.
    """
    child = _Child()
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as sink:
        source.write(data)
        done = asyncio.wrap_future(_decoders().submit(child.run, work, args, source, sink, seconds))
        try:
            report = await asyncio.shield(done)
        except asyncio.CancelledError:
            child.kill()
            await asyncio.wait([done])  # the thread uses the files
            done.exception()
            raise
        sink.seek(0)
        return report, sink.read()


@functools.cache
def _decoders() -> ThreadPoolExecutor:
    """Return the threads that wait for children: so many as may decode at the same time."""
    return ThreadPoolExecutor(decoder_slots(), thread_name_prefix="anymedia-decoder")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_decoders.cache_clear)  # the parent's threads do not exist in a forked child


class _Child:
    """A child process that may be killed before it is started."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._is_unwanted = False

    def run(self, work: str, args: Mapping[str, Any], source: IO[bytes], sink: IO[bytes], seconds: float) -> dict[str, Any]:
        with self._lock:
            if self._is_unwanted:
                raise InvalidRequest(_TOO_MUCH)
            self._process = _start(work, args, source, sink, seconds)
        return _finish(self._process, seconds)

    def kill(self) -> None:
        with self._lock:
            self._is_unwanted = True
            if self._process is not None:
                self._process.kill()


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
    busy = seconds * max(1, os.cpu_count() or 1)
    for what, wanted in ((resource.RLIMIT_AS, _MEMORY), (resource.RLIMIT_CPU, busy), (resource.RLIMIT_FSIZE, _DISK)):
        _, most = resource.getrlimit(what)
        resource.setrlimit(what, (wanted if most == resource.RLIM_INFINITY else min(wanted, most), most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _do(work: str, source: BinaryIO, sink: BinaryIO, args: Mapping[str, Any]) -> dict[str, Any]:
    """Carry out a task: write what it makes, and return the report."""
    from .. import masks
    from . import images, video

    match work:
        case "probe":
            size = os.fstat(source.fileno()).st_size
            return attrs.asdict(images.probe_picture(source, args["format"], size, limits=Limits(**args["limits"]), decode=True))
        case "picture":
            data, fmt, warnings = images.convert_picture(source.read(), args["formats"], max_bytes=args["max_bytes"])
            report: dict[str, Any] = {"format": fmt, "warnings": warnings}
        case "mask":
            plane = masks.read_mask(source.read(), args["source_size"] and tuple(args["source_size"]))
            data, report = masks.convert(plane, args["form"]), {"width": plane.width, "height": plane.height}
        case "transcode_picture":
            data, lost = images.transcode_picture(source.read(), args["to"], args["quality"])
            report = {"warnings": lost}
        case "salvage":
            data, fmt, missing, height = images.salvage_picture(source.read(), args["format"])
            report = {"format": fmt, "missing": missing, "height": height}
        case "transcode":
            return {"warnings": video.transcode_stream(source, sink, args["from"], args["to"], args["quality"], args["pcm_rate"])}
        case _:
            data, report = video.last_frame_of(source, args["from"]), {}
    sink.write(data)
    return report


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
            report = _do(work, source, sink, json.loads(args))
            sink.flush()
    except MediaError as error:
        report = {"error": error.code, **error.to_json()}
    except ImportError:  # PyAV is there, or the parent would have refused, but its libraries cannot be loaded
        wrong = UnsupportedInput("processing video and audio needs PyAV, which cannot be imported", fix="Run: pip install av")
        report = {"error": wrong.code, **wrong.to_json()}
    except MemoryError:
        report = {"error": "memory", "message": _TOO_MUCH, "fix": ""}
    words.write(f"\n{_MARK}{json.dumps(report)}\n")
    words.flush()

"""What a caller asks for beyond the request, and delivery of the result: to an open file, or as files of this machine."""

from __future__ import annotations

import functools
import inspect
import io
import sys
from collections.abc import Callable, Coroutine, Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import IO, Any, ParamSpec, TypeVar, get_args

import attrs

from ..artifacts import Artifact
from ..errors import InvalidRequest, Problem, did_you_mean, shown
from ..files.paths import OutputTarget
from ..policy import Policy
from ..requests import Request
from ..results import MediaFile, Result, Warning
from ..state.store import CallRecord, CallState
from .engine import Engine, OnProgress
from .runs import latest

#: How long the link of a result is valid, in seconds.
_LINK_SECONDS = 3_600.0
#: Where a result goes: a file, a directory, an open binary file; None keeps the artifact only.
OutputTo = str | PathLike[str] | IO[bytes] | None
#: The most seconds that a caller can ask for: more than clocks and timers can count.
_LONGEST = 1e15
_T = TypeVar("_T")
_P = ParamSpec("_P")


def checked(function: Callable[_P, Coroutine[Any, Any, _T]]) -> Callable[_P, Coroutine[Any, Any, _T]]:
    """Return a coroutine function that refuses an unknown argument with an error of ours and a suggestion; otherwise it is the same."""
    code = function.__code__
    known = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]

    @functools.wraps(function)
    async def twin(*args: _P.args, **options: _P.kwargs) -> _T:
        if unknown := [name for name in options if name not in known]:
            near = {name: did_you_mean("output" if name == "output_path" else name, known) for name in unknown}
            raise InvalidRequest([Problem(name, f"there is no such option{near[name]}") for name in unknown])
        return await function(*args, **options)

    return twin


@attrs.frozen
class Asked:
    """What a caller asks for beyond the request; see `Router.execute`."""

    backend: str | Sequence[str] | None = None
    model: str | None = None
    policy: Policy | None = None
    output: OutputTo = None
    overwrite: bool = False
    key: str | None = None
    on_progress: OnProgress | None = None
    priority: int = 0

    def __attrs_post_init__(self) -> None:
        if self.on_progress is not None and (not callable(self.on_progress) or inspect.iscoroutinefunction(self.on_progress)):
            raise InvalidRequest([Problem("$.on_progress", "expected a function of a progress event that is not a coroutine function")])
        if not isinstance(self.policy, Policy | None):
            example = "write Policy(budget=Budget(per_request=0.10))"
            raise InvalidRequest([Problem("$.policy", f"expected a Policy, got {type(self.policy).__name__}", example)])

    @property
    def path(self) -> Path | str | None:
        """The output, if it is a path."""
        return self.output if isinstance(self.output, str) else Path(self.output) if isinstance(self.output, PathLike) else None

    def check_file(self, request: Request) -> None:
        """Check, before anything is spent, that the output can take the result: an open file must take bytes, and takes one result."""
        if self.output is None or isinstance(self.output, str | PathLike):
            return
        if not hasattr(self.output, "write") or isinstance(self.output, io.TextIOBase):
            wrong = f"expected a path or a file opened for writing bytes, got {type(self.output).__name__}"
            raise InvalidRequest([Problem("$.output", wrong)])
        if getattr(request, "n", 1) > 1:
            raise InvalidRequest([Problem("$.output", "an open file takes one result", "ask for one, or give a path")])

    def repeated(self, result: Result) -> Result:
        """Return the result of the run that a key belongs to, with a warning if its files are not where this repeat wants them."""
        if self.path is None or not result.files:
            return result
        wanted, first = Path(self.path).resolve(), result.files[0].path.resolve()
        if first.parent == wanted or (first.parent == wanted.parent and first.stem.startswith(wanted.stem)):
            return result
        text = f"this run key has a result already, which was saved as {result.files[0].path}: nothing was saved to {self.path}"
        return attrs.evolve(result, warnings=(*result.warnings, Warning("output_ignored", text)))

    def deliver(self, result: Result) -> Result:
        """Write the result to the output, if that is an open file; return the result."""
        if self.output is not None and not isinstance(self.output, str | PathLike):
            self.output.write(result.bytes if result.files else result.data_text.encode())
        return result


def check_arguments(request: object, backend: object, model: object) -> None:
    """Check the types of what a plan is made for; all that are wrong are refused at once."""
    problems = []
    if not isinstance(request, Request):
        text = f"expected a request such as GenerateImage(prompt='a fox'), or its plan; got {type(request).__name__}"
        problems.append(Problem("$.request", text))
    several = isinstance(backend, Sequence) and all(isinstance(name, str) for name in backend)
    if backend is not None and not several:
        problems.append(Problem("$.backend", f"expected the name of a backend, or a list of names; got {type(backend).__name__}"))
    if model is not None and not isinstance(model, str):
        problems.append(Problem("$.model", f"expected the name of a model; got {type(model).__name__}"))
    if problems:
        raise InvalidRequest(problems)


def seconds(value: object, name: str) -> float | None:
    """Return a caller's number of seconds, within what clocks can count; None for none. What is not a number is refused."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise InvalidRequest([Problem(f"$.{name}", f"expected a number of seconds, got {shown(value)}")])
    return float(max(-_LONGEST, min(value, _LONGEST)))


def ends_at(deadline: object, steady: Callable[[], float]) -> float | None:
    """Return when a deadline in seconds passes on a steady clock; None for none."""
    left = seconds(deadline, "deadline")
    return None if left is None else steady() + left


def job_name(job_id: object) -> str:
    """Return the id of a job; what is not a text is refused."""
    if not isinstance(job_id, str):
        raise InvalidRequest([Problem("$.job_id", f"expected the id of a job, such as record.run or result.job_id; got {shown(job_id)}")])
    return job_id


def listing(states: object, since: object, limit: object) -> dict[str, Any]:
    """Return the checked arguments of `Store.calls`; a state that does not exist, or a value that is not a number, is refused."""
    known, wanted = get_args(CallState), (states,) if isinstance(states, str) else states
    if wanted is not None and not isinstance(wanted, Iterable):
        raise InvalidRequest([Problem("$.states", f"expected a list of states, got {shown(wanted)}")])
    for state in wanted or ():
        if state not in known:
            raise InvalidRequest([Problem("$.states", f"there is no state {shown(state)}", f"the states are {', '.join(known)}")])
    if isinstance(limit, bool) or not isinstance(limit, int):
        raise InvalidRequest([Problem("$.limit", f"expected a whole number, got {shown(limit)}")])
    return {"states": wanted, "since": seconds(since, "since"), "limit": min(limit, sys.maxsize)}


async def delivered(engine: Engine, result: Result) -> Result:
    """Return a result with its files as this machine has them, and with links where the artifacts are in object storage.

    What was given no name is kept as long as this process lives. What a worker has made is written here, if it was requested here.
    """
    files = list(result.files)
    number = 0
    for record in latest(await engine.store.run(result.job_id)):
        count = len(record.result["files"]) if record.state == "done" and record.result is not None else 0
        for artifact in await engine.artifacts.find(record.id) if count else ():
            if artifact.kind == "piece" and artifact.index < count:
                files[number + artifact.index] = await _delivered_file(engine, record, artifact, files[number + artifact.index])
        number += count
    return attrs.evolve(result, files=tuple(files))


async def _delivered_file(engine: Engine, record: CallRecord, artifact: Artifact, file: MediaFile) -> MediaFile:
    path, target = file.path, record.target
    if target.get("export") is not None and target["machine"] == engine.installation:
        place, suffix = OutputTarget.from_json(target["export"]), file.path.suffix
        index = int(target["first"]) + artifact.index
        path = await engine.artifacts.export(artifact, place, index=index, of=int(target["of"]), suffix=suffix, reuse=True)
    elif target["output"] is None:
        path = await engine.artifacts.keep(artifact, file.path.suffix)
    return attrs.evolve(file, path=path, url=await engine.artifacts.sign(artifact, _LINK_SECONDS))

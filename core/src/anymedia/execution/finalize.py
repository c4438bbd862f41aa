"""Turn an outcome into files: save, convert, paste back, compare with the request, record continuations."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import math
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from ..answers.compare import changed_outside_mask, differences, fewer_pieces, lost_transparency
from ..answers.containers import repair_bytes
from ..errors import BackendError, BackendTimeout, BadBackendResponse, Fix, MediaError, PluginContractError
from ..files.atomic_writer import SMALL, Writer, hidden_prefix
from ..files.paths import OutputTarget, plan_output
from ..masks import read_mask
from ..media import mime_of
from ..plugins.sanitize import clean_error
from ..requests import Continuation, StoredFile
from ..results import ContinuationData, MediaFile, Outcome, Piece, Warning, to_warnings
from ..state.call_codec import outcome_json
from ..state.codec import check_storable
from ..state.store import CallRecord, Lease
from ..threads import in_thread, shielded
from .engine import Engine, new_id
from .prepare_inputs import Protection, paste_back
from .save_piece import collect

__all__ = [
    "delete_temporaries",
    "finalize",
    "output_target",
    "storable",
    "suffix_of",
]


def storable(outcome: Outcome, backend: str) -> Outcome:
    """Return an outcome without continuation data that cannot be stored, with a warning in its place."""
    lost = [piece for piece in outcome.pieces if piece.continuation is not None and not _is_storable(piece.continuation)]
    if not lost:
        return outcome
    pieces = tuple([attrs.evolve(piece, continuation=None) if piece in lost else piece for piece in outcome.pieces])
    text = f"the continuation data of '{backend}' is not JSON, or contains media, and was not saved"
    return attrs.evolve(outcome, pieces=pieces, warnings=(*outcome.warnings, Warning("continuation_not_stored", text)))


def _is_storable(onward: ContinuationData) -> bool:
    expires = onward.expires_at
    if isinstance(expires, bool) or not (expires is None or (isinstance(expires, int | float) and math.isfinite(expires))):
        return False
    try:
        for part in (onward.data, onward.secret):
            check_storable(dict(part), "it")
    except (PluginContractError, TypeError, ValueError):  # no mapping at all, or one of what is no JSON
        return False
    return True


#: Piece -> where its bytes are kept until the row is closed, and their SHA-256.
_Spooled = dict[int, tuple[Path, str]]


def output_target(target: Mapping[str, Any]) -> OutputTarget:
    """Return where the files of a call go, as its row says."""
    return OutputTarget.from_json(target["output"])


async def finalize(
    engine: Engine,
    lease: Lease,
    record: CallRecord,
    outcome: Outcome,
    protection: Protection | None,
    deadline: float | None,
    target: OutputTarget | None = None,
) -> CallRecord:
    """Bring every piece of an outcome home and close the row, before a deadline (on the steady clock).

    ``target``: where to, for who has it at hand; by default as the row says.

    Raises:
        MediaError: a piece cannot be had, is not what it claims, cannot be written, or did not come in time; the work
            is paid for, and the row stays ``collecting``, to be resumed.
    """
    here = all(piece.data is not None for piece in outcome.pieces)  # there is nothing to wait for
    left = None if deadline is None or here else max(0.0, deadline - engine.clock.steady())
    try:
        async with contextlib.nullcontext() if left is None else asyncio.timeout(left):
            return await _finish(engine, lease, record, outcome, protection, target or output_target(record.target))
    except TimeoutError:
        late = BackendTimeout(f"the deadline passed before all that {record.id} made was fetched")
        raise _uncollected(late, record) from None
    except MediaError as error:
        raise _uncollected(error, record) from None


async def _finish(
    engine: Engine, lease: Lease, record: CallRecord, outcome: Outcome, protection: Protection | None, target: OutputTarget
) -> CallRecord:
    if not outcome.pieces:
        raise BadBackendResponse(f"'{record.backend}/{record.model}' answered without any {record.target['media']}")
    outcome = storable(await _received(record, outcome), record.backend)
    as_they_are = protection is None and not record.target["transcode_to"]
    temporaries = _spooled_by(record)  # by an earlier process
    with contextlib.ExitStack() as opened:

        async def keep() -> tuple[_Spooled, dict[int, Writer], CallRecord]:
            spooled, written = await _persist_bytes(engine, record, outcome, target, opened, as_they_are=as_they_are)
            shown, secret = outcome_json(outcome, spooled)
            return (
                spooled,
                written,
                await engine.persist_with_retry(lambda: engine.advance(lease, "collecting", outcome=shown, secret=secret)),
            )

        spooled, written, record = await shielded(keep())
        temporaries |= {path for path, _ in spooled.values()}
        files, onward, warnings, outside = [], [], list(to_warnings(outcome.warnings)), []
        for index, piece in enumerate(outcome.pieces):
            home = await _finalize_piece(engine, record, piece, index, len(outcome.pieces), protection, target, written.get(index))
            file, continuation = _continuable(engine, record, piece, home.file)
            files.append(file)
            if continuation is not None:
                onward.append(continuation)
            if home.part is not None:
                temporaries.add(home.part)
            warnings += home.warnings
            if home.difference is not None:
                outside.append(home.difference)
    result = {
        "files": [file.to_json() for file in files],
        "request_id": outcome.request_id,
        "continued_as": outcome.continued_as or record.plan.get("continued_as"),
        "warnings": [warning.to_json() for warning in to_warnings(warnings)],
        "usage": dict(outcome.usage),
        "cost_usd": outcome.cost_usd,
        "cost_basis": outcome.cost_basis,
        "texts": [p.text for p in outcome.pieces if p.text],
        "outside_mask_difference": max(outside) if outside else None,
    }
    record = await engine.persist_with_retry(
        lambda: engine.advance(lease, "done", result=result, cost_usd=outcome.cost_usd, continuations=onward)
    )
    _remove(temporaries)
    return record


async def _received(record: CallRecord, outcome: Outcome) -> Outcome:
    """Return an outcome with its bytes repaired, and warnings for that and for pieces that are missing."""
    repair = functools.partial(_repaired, outcome)
    repaired = repair() if _is_small(outcome) else await in_thread(repair)
    missing = fewer_pieces(int(record.request.get("n") or 1), len(outcome.pieces), str(record.target["media"]))
    return attrs.evolve(repaired, warnings=(*repaired.warnings, *missing)) if missing else repaired


def _repaired(outcome: Outcome) -> Outcome:
    """Cut what follows the end of each container, and correct the sizes that streamed sound leaves open."""
    pieces: list[Piece] = []
    warnings: list[Warning] = []
    for piece in outcome.pieces:
        data, found = (piece.data, ()) if not isinstance(piece.data, bytes) else repair_bytes(piece.data)
        pieces.append(piece if data is piece.data else attrs.evolve(piece, data=data))
        warnings += found
    return attrs.evolve(outcome, pieces=tuple(pieces), warnings=(*outcome.warnings, *warnings)) if warnings else outcome


def delete_temporaries(record: CallRecord) -> None:
    """Remove what lies beside the place of a call that will not be collected any more."""
    _remove(_spooled_by(record))
    with contextlib.suppress(OSError):
        _remove(set(output_target(record.target).folder.glob(f"{hidden_prefix(record.id)}*")))


def _spooled_by(record: CallRecord) -> set[Path]:
    return {Path(piece["spool"][0]) for piece in (record.outcome or {}).get("pieces", ()) if piece["spool"]}


def _remove(paths: set[Path]) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            os.unlink(path)  # noqa: PTH108 - half the way


async def _persist_bytes(
    engine: Engine, record: CallRecord, outcome: Outcome, target: OutputTarget, opened: contextlib.ExitStack, *, as_they_are: bool
) -> tuple[_Spooled, dict[int, Writer]]:
    """Write bytes that came with the answer to disk at once: they can be had only once.

    They lie beside their final place under a hidden name, readable by the owner alone, until the row is closed. Where
    they need no more work they are the temporary of the final file too, under a second name, and written just once.
    A place that does not take them any more (it is full, or gone) is not their end: they lie in the state directory then.
    """

    def spool() -> tuple[_Spooled, dict[int, Writer]]:
        try:
            return _persist_bytes_now(record, outcome, target, opened, as_they_are=as_they_are)
        except (MediaError, OSError) as error:
            refuge = plan_output(f"{engine.settings.state_dir / 'spool'}/", default_stem="piece", suffix=str(record.target["suffix"]))
            try:
                return _persist_bytes_now(record, outcome, refuge, opened, as_they_are=False)
            except (MediaError, OSError):
                raise error from None

    if _is_small(outcome):
        return spool()  # a thread would cost more than the work
    return await in_thread(spool)


def _is_small(outcome: Outcome) -> bool:
    return sum(len(piece.data or b"") for piece in outcome.pieces) <= SMALL


def _persist_bytes_now(
    record: CallRecord, outcome: Outcome, target: OutputTarget, opened: contextlib.ExitStack, *, as_they_are: bool
) -> tuple[_Spooled, dict[int, Writer]]:
    spooled: _Spooled = {}
    written: dict[int, Writer] = {}
    for index, piece in enumerate(outcome.pieces):
        if piece.data is None:
            continue
        name = f"{hidden_prefix(record.id)}{index}.spool"
        if as_they_are:
            place, of = _place_of(record, index, len(outcome.pieces))
            writer = opened.enter_context(Writer(target, call_id=record.id, index=place, of=of))
            if writer.finished is None and (writer.size == 0 or writer.sha256 != hashlib.sha256(piece.data).hexdigest()):
                if writer.size:
                    writer.restart()
                writer.write(piece.data)
            spooled[index], written[index] = (writer.also(name), writer.sha256), writer
            continue
        spooled[index] = _spool_alone(target, name, piece.data), hashlib.sha256(piece.data).hexdigest()
    return spooled, written


def _spool_alone(target: OutputTarget, name: str, data: bytes) -> Path:
    with contextlib.closing(target.open()) as folder:
        with contextlib.suppress(FileNotFoundError):
            folder.unlink(name)  # of an earlier try at this very call
        with os.fdopen(folder.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # before the journal says that it is here
        return folder.path / name


def _place_of(record: CallRecord, index: int, of: int) -> tuple[int, int]:
    """Return which file of the whole run a piece of a call is, and how many there are."""
    first = int(record.target["first"])
    return first + index, max(int(record.target["of"]), first + of)


@attrs.frozen(kw_only=True)
class _Home:
    file: MediaFile
    part: Path | None
    warnings: tuple[Warning, ...]
    difference: float | None


async def _finalize_piece(
    engine: Engine,
    record: CallRecord,
    piece: Piece,
    index: int,
    of: int,
    protection: Protection | None,
    target: OutputTarget,
    written: Writer | None,
) -> _Home:
    to_format = record.target["transcode_to"]
    place, total = _place_of(record, index, of)
    warnings: list[Warning] = []
    difference = None
    if protection is not None or to_format:
        piece, difference, warnings = await _post_process(engine, record, piece, protection, to_format)
    found = await collect(
        piece,
        target,
        call_id=record.id,
        index=place,
        of=total,
        written=written,
        keep_part=True,
        expect=record.target["media"],
        fetcher=engine.fetcher,
        hosts=engine.instance(record.backend).hosts,
        sleep=engine.clock.sleep,
    )
    warnings += [*found.warnings, *differences(record.request, found.file, converted_to=to_format)]
    if record.request.get("background") == "transparent" and record.target["media"] == "image":
        warnings += await in_thread(lambda: _lost_transparency(found.file.path))
    return _Home(file=found.file, part=found.part, warnings=tuple(warnings), difference=difference)


def _lost_transparency(path: Path) -> tuple[Warning, ...]:
    try:
        return lost_transparency(path.read_bytes(), asked=True)
    except (MediaError, OSError):  # a format that cannot be decoded here
        return ()


async def _post_process(
    engine: Engine, record: CallRecord, piece: Piece, protection: Protection | None, to_format: str | None
) -> tuple[Piece, float | None, list[Warning]]:
    """Paste back what was protected and convert to the format asked for; the provider's bytes stay if that fails."""
    from ..convert.load_input import transcode

    warnings: list[Warning] = []
    difference = None
    with tempfile.TemporaryDirectory(prefix="anymedia-") as scratch:
        data = piece.data if piece.data is not None else await _fetched(engine, record, piece, Path(scratch))
        mime = piece.mime
        if protection is not None:
            pasted = await asyncio.to_thread(paste_back, protection, data)
            data, difference, mime = pasted.data, pasted.difference, pasted.mime or mime
            warnings += pasted.warnings
            if not protection.exact:
                warnings += await asyncio.to_thread(_changed_outside, protection, data)
        if to_format:
            raw = Path(scratch) / "came"
            raw.write_bytes(data)
            try:
                made = await asyncio.to_thread(transcode, raw, to_format)
            except MediaError as error:
                warnings.append(Warning("not_converted", f"it could not be converted to {to_format}: {error.message}"))
            else:
                data, mime = made.path.read_bytes(), mime_of(to_format)
                warnings += to_warnings(made.warnings, "converted")
    return attrs.evolve(piece, data=data, url=None, stream=None, headers={}, mime=mime), difference, warnings


def _changed_outside(protection: Protection, data: bytes) -> tuple[Warning, ...]:
    try:
        return changed_outside_mask(protection.source, data, read_mask(protection.mask))
    except MediaError:  # a format that cannot be decoded here
        return ()


async def _fetched(engine: Engine, record: CallRecord, piece: Piece, scratch: Path) -> bytes:
    target = plan_output(f"{scratch}/", default_stem="piece", suffix=str(record.target["suffix"]))
    found = await collect(
        piece,
        target,
        call_id=record.id,
        index=0,
        of=1,
        expect=record.target["media"],
        fetcher=engine.fetcher,
        hosts=engine.instance(record.backend).hosts,
        sleep=engine.clock.sleep,
    )
    return found.file.path.read_bytes()


def _continuable(engine: Engine, record: CallRecord, piece: Piece, file: MediaFile) -> tuple[MediaFile, Continuation | None]:
    """Give an image or a video a continuation; its files are the new one and those it went on from."""
    media = record.target["media"]
    if media not in {"image", "video"}:
        return file, None
    onward = piece.continuation
    facts = {name: getattr(file, name) for name in ("sha256", "mime", "width", "height", "seconds")}
    new = StoredFile(path=str(file.path.absolute()), **facts)
    earlier = tuple([StoredFile(**raw) for raw in record.target["earlier_files"]])
    continuation = Continuation(
        id=new_id(str(record.target["prefix"])),
        backend=record.backend,
        model=record.model,
        media=media,
        data=dict(onward.data) if onward else {},
        secret=dict(onward.secret) if onward else {},
        files=(new, *earlier),
        created_at=record.read_at,
        expires_at=onward.expires_at if onward else None,
    )
    return attrs.evolve(file, continuation_id=continuation.id), continuation


def _uncollected(error: MediaError, record: CallRecord) -> MediaError:
    """Complete an error of collecting: the work is done and paid, and the job can be taken up again."""
    clean_error(error)  # a plugin's own byte stream may have failed
    error.job_id = error.job_id or record.id
    error.charged = "yes"
    if isinstance(error, BackendError):
        error.backend, error.model = record.backend, record.model
    error.fix = error.fix or "The result is ready at the provider."
    error.action = Fix("resume", record.run)
    return error


def suffix_of(media: str, format_name: str | None) -> str:
    """Return the file suffix for a format, or the usual one of a medium."""
    name = format_name or {"image": "png", "video": "mp4", "audio": "wav"}[media]
    return ".jpg" if name == "jpeg" else f".{name}"

"""Turn an outcome into files: save, convert, paste back, compare with the request, record continuations."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import tempfile
from collections.abc import Sequence
from pathlib import Path

import attrs

from .. import telemetry
from ..answers.compare import changed_outside_mask, differences, lost_transparency, other_count
from ..answers.containers import repair_bytes
from ..answers.envelopes import documents
from ..answers.media import extract_media
from ..artifacts import Artifact, ArtifactNotStored, Kind
from ..errors import BackendTimeout, BadBackendResponse, MediaError, OutputMismatch, PluginContractError
from ..files.atomic_writer import hidden_prefix
from ..files.paths import OutputTarget, plan_output
from ..files.safe_dir import show_path
from ..media import mime_of
from ..plugins.sanitize import clean_error
from ..probe.probe import HEAD, format_of_head
from ..requests import Continuation, StoredFile
from ..results import ContinuationData, MediaFile, Outcome, Piece, Warning, to_warnings
from ..state.codec import check_storable, outcome_json, plausible_expiry
from ..state.store import CallRecord, StateError
from ..threads import in_thread, shielded
from .engine import Engine, new_id
from .prepare_inputs import Protection
from .runs import about
from .save_piece import export_artifact, name_kept, recognise_file, save_bytes, store_piece

#: What comes in place of a file is read up to this many bytes.
_LONGEST_WRAPPED = 1 << 26
#: Seconds that decoding a damaged picture may take.
_SALVAGE_SECONDS = 60.0
#: What a task may return in place of media.
_DATA = frozenset({"json", "text"})
#: Bytes that are repaired on the event loop, not in a thread.
_SMALL = 262_144


def _storable(outcome: Outcome, backend: str) -> Outcome:
    """Return an outcome without continuation data that cannot be stored, with a warning in its place."""
    lost = [piece for piece in outcome.pieces if piece.continuation is not None and not _is_storable(piece.continuation)]
    if not lost:
        return outcome
    pieces = tuple([attrs.evolve(piece, continuation=None) if piece in lost else piece for piece in outcome.pieces])
    text = f"the continuation data of '{backend}' is not JSON, or contains media, and was not saved"
    return attrs.evolve(outcome, pieces=pieces, warnings=(*outcome.warnings, Warning("continuation_not_stored", text)))


def _is_storable(given: ContinuationData) -> bool:
    try:
        for part in (given.data, given.secret):
            check_storable(dict(part), "it")
    except (PluginContractError, TypeError, ValueError):  # not a mapping, or not JSON
        return False
    return True


def output_target(record: CallRecord) -> OutputTarget | None:
    """Return where the files of a call go; None if its artifacts are all that is kept."""
    return None if record.target["output"] is None else OutputTarget.from_json(record.target["output"])


async def finalize(
    engine: Engine, record: CallRecord, outcome: Outcome, protection: Protection | None, deadline: float | None, *, is_resumed: bool
) -> CallRecord:
    """Store every piece of an outcome, export the files to the target of the call, or keep the artifacts only, and complete the record.

    ``is_resumed``: whether an earlier process may have stored or exported something, which is used again.

    Raises:
        MediaError: a piece is not available, is not what it claims, cannot be written, or was not there in time. The work is
            paid for, and the record stays ``collecting``, to be resumed.
    """
    here = all(piece.data is not None for piece in outcome.pieces)  # there is nothing to wait for
    left = None if deadline is None or here else max(0.0, deadline - engine.clock.steady())
    try:
        async with asyncio.timeout(left):
            steps = _Finalizer(engine, record, protection, output_target(record), is_resumed)
            with telemetry.span("collect", backend=record.backend, model=record.model, call=record.id):
                done = await steps.run(outcome)
            telemetry.spent(done.cost_usd, backend=done.backend, model=done.model)
            return done
    except TimeoutError:
        late = BackendTimeout(f"the deadline passed before all results of {record.id} were fetched")
        raise _uncollected(late, record) from None
    except MediaError as error:
        raise _uncollected(error, record) from None


@attrs.define(eq=False)
class _Finalizer:
    """The steps from an outcome to its files, for one call.

    Attributes:
        stored: the call's artifacts by kind and index.
        saved: files of pieces that could not be stored as artifacts, saved at once because their bytes were only in memory.
    """

    engine: Engine
    record: CallRecord
    protection: Protection | None
    target: OutputTarget | None
    is_resumed: bool
    stored: dict[tuple[Kind, int], Artifact] = attrs.field(factory=dict, init=False)
    saved: dict[int, _Finished] = attrs.field(factory=dict, init=False)

    @property
    def kind(self) -> Kind:
        """What the provider's bytes are stored as."""
        return provider_kind(self.record)

    @property
    def is_processed(self) -> bool:
        """Whether the finished piece is not the provider's bytes."""
        return self.kind == "raw"

    async def run(self, outcome: Outcome) -> CallRecord:
        """Store, record, export, and record the result."""
        media = self.record.target["media"]
        if not outcome.pieces and (outcome.data is None or media not in _DATA):
            raise BadBackendResponse(f"'{self.record.backend}/{self.record.model}' answered without any {media}")
        is_small = sum(len(piece.data or b"") for piece in outcome.pieces) <= _SMALL
        outcome = _storable(_repaired(outcome) if is_small else await in_thread(lambda: _repaired(outcome)), self.record.backend)
        if self.is_resumed:
            self.stored = {(a.kind, a.index): a for a in await self.engine.artifacts.find(self.record.id)}
        self.record = await shielded(self._record_bytes(outcome))
        files, given, outside = [], [], []
        lost: list[MediaError] = []
        warnings = list(to_warnings(outcome.warnings))
        for index, piece in enumerate(outcome.pieces):
            finish = functools.partial(self._finish_piece, piece, index, len(outcome.pieces))
            try:
                finished = await self.engine.governor.retry(finish)
            except (BadBackendResponse, OutputMismatch) as error:
                lost.append(error)
                if len(lost) == len(outcome.pieces) or (self.record.job is not None and not self.is_resumed):
                    raise  # nothing is left, or the provider may give a new link
                continue
            file, continuation = _continuable(self.record, piece, finished.file, finished.artifact)
            files.append(file)
            if continuation is not None:
                given.append(continuation)
            warnings += finished.warnings
            if file.mime == "image/jpeg" and any(w.code == "container_corrected" for w in warnings):  # decoders show missing rows in grey
                salvaged = await self._salvaged(finished.artifact)
                warnings += () if salvaged is None or not salvaged.missing_rows else salvaged.warnings
            if finished.difference is not None:
                outside.append(finished.difference)
        warnings += [Warning("item_unreadable", f"one of {len(outcome.pieces)} {media}s is missing: {error.message}") for error in lost]
        if media not in _DATA and (len(files) < (wanted := int(self.record.request.get("n") or 1)) or "n" in self.record.request):
            warnings += other_count(wanted, len(files), str(media))
        result = {
            "files": [file.to_json() for file in files],
            "request_id": outcome.request_id,
            "continued_as": outcome.continued_as or self.record.plan.get("continued_as"),
            "warnings": [warning.to_json() for warning in to_warnings(warnings)],
            "usage": dict(outcome.usage),
            "cost_usd": outcome.cost_usd,
            "cost_basis": outcome.cost_basis,
            "data": outcome.data,
            "texts": [p.text for p in outcome.pieces if p.text],
            "outside_mask_difference": max(outside) if outside else None,
        }
        record = await self.engine.persist_with_retry(
            lambda: self.engine.advance(self.record, "done", result=result, cost_usd=outcome.cost_usd, continuations=given)
        )
        if self.is_processed:
            await self.engine.artifacts.release(record.id, ["raw"])
        if self.is_resumed:
            await in_thread(lambda: delete_temporaries(record))
        return record

    async def _record_bytes(self, outcome: Outcome) -> CallRecord:
        """Store the bytes that came with the answer, which exist only once, then record the outcome."""
        for index, piece in enumerate(outcome.pieces):
            if piece.data is not None:
                await self._store_bytes(piece, index, len(outcome.pieces))
        keys = {index: artifact.key for (kind, index), artifact in self.stored.items() if kind == self.kind}
        shown, secret = outcome_json(outcome, keys, self.record.read_at)
        try:
            record = functools.partial(self.engine.advance, self.record, "collecting", outcome=shown, secret=secret)
            return await self.engine.persist_with_retry(record)
        except StateError as error:
            if self.saved:
                paths = ", ".join(show_path(saved.file.path) for saved in self.saved.values())
                error.message = f"{error.message.rstrip('.')}. The result was saved nevertheless: {paths}."
            raise

    async def _store_bytes(self, piece: Piece, index: int, of: int) -> None:
        try:
            store = functools.partial(self._store, piece, self.kind, index)
            self.stored[self.kind, index], _ = await self.engine.governor.retry(store)
        except ArtifactNotStored:
            self.engine.governor.full()
            warnings: list[Warning] = []
            if self.is_processed:
                piece, _, warnings = await _post_process(self.record, piece.data or b"", piece, self.protection)
            place, total = _place_of(self.record, index, of)
            expect = self.record.target["media"]
            # A result that was given no name must go somewhere.
            target = self.target or plan_output(f"{tempfile.gettempdir()}/", default_stem=self.record.id, suffix="")
            save = functools.partial(save_bytes, piece, target, call_id=self.record.id, expect=expect, index=place, of=total)
            saved = await in_thread(save)
            warnings.append(Warning("not_stored", "the disk of the artifact store is full or failing: only the output file has the result"))
            self.saved[index] = _Finished(saved.file, None, (*saved.warnings, *warnings))

    async def _store(self, piece: Piece, kind: Kind, index: int) -> tuple[Artifact, tuple[Warning, ...]]:
        engine = self.engine
        async with contextlib.nullcontext() if piece.data is not None else engine.governor.downloads.one():
            return await store_piece(
                piece,
                engine.artifacts,
                fetcher=engine.fetcher_for(self.record.backend),
                call_id=self.record.id,
                kind=kind,
                index=index,
                hosts=engine.instance(self.record.backend).hosts,
                sleep=engine.clock.sleep,
            )

    async def _finish_piece(self, piece: Piece, index: int, of: int) -> _Finished:
        if index in self.saved:
            return self.saved[index]
        artifact = await self._usable("piece", index, piece)
        is_finished = artifact is not None
        warnings: tuple[Warning, ...] = ()
        if artifact is None:
            artifact = await self._usable(self.kind, index, piece)
        if artifact is None:
            artifact, warnings = await self._store(piece, self.kind, index)
        try:
            try:
                return await self._deliver(piece, artifact, index, of, warnings, is_finished=is_finished)
            except BadBackendResponse:
                if (other := await self._wrapped(artifact) or await self._salvaged(artifact)) is None:
                    raise
                artifact, repaired = await self._store(other.piece, self.kind, index)
                return await self._deliver(other.piece, artifact, index, of, (*warnings, *other.warnings, *repaired), is_finished=False)
        except (BadBackendResponse, OutputMismatch) as error:
            if piece.url is None and self.record.job is None:  # there is no other copy that could be fetched
                await name_kept(error, artifact, self.engine.artifacts, self.record.run)
            raise

    async def _deliver(
        self, piece: Piece, artifact: Artifact, index: int, of: int, found: tuple[Warning, ...], *, is_finished: bool
    ) -> _Finished:
        """Process what the provider sent, unless that was done before, export it and compare it with the request."""
        warnings, difference = list(found), None
        if self.is_processed and not is_finished:
            data = await self.engine.artifacts.read(artifact)
            piece, difference, more = await _post_process(self.record, data, piece, self.protection)
            warnings += more
            artifact, _ = await self._store(piece, "piece", index)
        place, total = _place_of(self.record, index, of)
        media = self.record.target["media"]
        saved = await export_artifact(
            artifact, self.engine.artifacts, self.target, expect=media, index=place, of=total, reuse=self.is_resumed
        )
        warnings += [*saved.warnings, *differences(self.record.request, saved.file, converted_to=self.record.target["transcode_to"])]
        if self.record.request.get("background") == "transparent" and media == "image":
            warnings += await in_thread(lambda: _lost_transparency(saved.file.path))
        return _Finished(saved.file, artifact, tuple(warnings), difference)

    async def _wrapped(self, artifact: Artifact) -> _Salvaged | None:
        """Return the file that lies in what came in its place, or is linked from there: a JSON object, or a text."""
        if artifact.size > _LONGEST_WRAPPED:
            return None
        data = await self.engine.artifacts.read(artifact)
        answer = next(iter(documents(data)), data.decode("utf-8", "replace"))
        found = extract_media(answer, ["url", f"{self.record.target['media']}_url"]).items
        return _Salvaged(found[0].to_piece()) if found else None

    async def _salvaged(self, artifact: Artifact | None) -> _Salvaged | None:
        """Return what can be decoded of a damaged picture; None if nothing can."""
        from ..convert.images import PILLOW_FORMATS
        from ..convert.sandbox import run_on_bytes

        if artifact is None or self.record.target["media"] != "image" or artifact.size > _LONGEST_WRAPPED:
            return None
        data = await self.engine.artifacts.read(artifact)
        if (name := format_of_head(data[:HEAD])) not in PILLOW_FORMATS:
            return None
        try:
            report, made = await run_on_bytes("salvage", {"format": name}, data, seconds=_SALVAGE_SECONDS)
        except MediaError:
            return None
        missing = report["missing"]
        lost = {0: "its pixels may be wrong", None: "its lower part is missing"}
        what = lost.get(missing) or f"{missing} of its {report['height']} rows are missing"
        text = f"the {str(name).upper()} file is damaged; what can be decoded of it was delivered: {what}"
        return _Salvaged(Piece(data=made, mime=mime_of(report["format"])), (Warning("picture_incomplete", text),), missing)

    async def _usable(self, kind: Kind, index: int, piece: Piece) -> Artifact | None:
        """Return a stored piece; None if there is none, or if it is not media and can be fetched from the provider again."""
        artifact = self.stored.get((kind, index))
        if artifact is None or piece.data is not None:
            return artifact
        try:
            stored = await self.engine.artifacts.local_file(artifact)
            await in_thread(lambda: recognise_file(stored, artifact.mime, self.record.target["media"]))
        except MediaError:
            return None
        return artifact


@attrs.frozen
class _Salvaged:
    piece: Piece
    warnings: tuple[Warning, ...] = ()
    missing_rows: int | None = None


@attrs.frozen
class _Finished:
    file: MediaFile
    artifact: Artifact | None
    warnings: tuple[Warning, ...]
    difference: float | None = None


def _repaired(outcome: Outcome) -> Outcome:
    """Cut what follows the end of each container, and correct the sizes that streamed sound leaves open."""
    pieces: list[Piece] = []
    warnings: list[Warning] = []
    for piece in outcome.pieces:
        data, found = (piece.data, ()) if not isinstance(piece.data, bytes) else repair_bytes(piece.data)
        pieces.append(piece if data is piece.data else attrs.evolve(piece, data=data))
        warnings += found
    return attrs.evolve(outcome, pieces=tuple(pieces), warnings=(*outcome.warnings, *warnings)) if warnings else outcome


def provider_kind(record: CallRecord) -> Kind:
    """Return what a provider's bytes are stored as: a finished piece, or raw material for one."""
    is_processed = record.target.get("protection") is not None or bool(record.target["transcode_to"])
    return "raw" if is_processed else "piece"


def delete_temporaries(record: CallRecord) -> None:
    """Remove the temporary files that a killed process left in the output directory of a call."""
    if (target := output_target(record)) is None:
        return
    with contextlib.suppress(OSError):
        for path in target.folder.glob(f"{hidden_prefix(record.id)}*"):
            with contextlib.suppress(OSError):
                path.unlink()


def _place_of(record: CallRecord, index: int, of: int) -> tuple[int, int]:
    """Return which file of the whole run a piece of a call is, and how many there are."""
    first = int(record.target["first"])
    return first + index, max(int(record.target["of"]), first + of)


def _lost_transparency(path: Path) -> tuple[Warning, ...]:
    try:
        return lost_transparency(path.read_bytes(), asked=True)
    except (MediaError, OSError):  # a format that cannot be decoded here
        return ()


async def _post_process(
    record: CallRecord, data: bytes, piece: Piece, protection: Protection | None
) -> tuple[Piece, float | None, list[Warning]]:
    """Copy protected pixels back and convert to the requested format; the provider's bytes stay if that fails."""
    from ..convert.load_input import transcode

    to_format = record.target["transcode_to"]
    warnings: list[Warning] = []
    difference = None
    mime = piece.mime
    if protection is None and record.target["protect"]:
        warnings.append(Warning("not_protected", "the protected pixels could not be copied back: the source and the mask are not stored"))
    if protection is not None:
        data, made_mime, difference, remarks = await in_thread(lambda: _protected(protection, data))
        mime = made_mime or mime
        warnings += remarks
    if to_format:
        with tempfile.TemporaryDirectory(prefix="anymedia-") as scratch:
            raw = Path(scratch) / "raw"
            raw.write_bytes(data)
            try:
                made = await in_thread(lambda: transcode(raw, to_format))
            except MediaError as error:
                warnings.append(Warning("not_converted", f"it could not be converted to {to_format}: {error.message}"))
            else:
                data, mime = made.path.read_bytes(), mime_of(to_format)
                warnings += to_warnings(made.warnings, "converted")
    return attrs.evolve(piece, data=data, url=None, stream=None, headers={}, mime=mime), difference, warnings


def _protected(protection: Protection, data: bytes) -> tuple[bytes, str | None, float | None, Sequence[Warning]]:
    """Compare a result outside the mask; with ``exact`` copy the protected pixels back from the source.

    Return the bytes to keep; their type if they are others; the difference as the provider returned it (0 to 255); remarks.
    """
    from .. import masks
    from ..convert.images import open_picture

    try:
        if protection.exact:
            made = masks.paste_back(protection.source, data, protection.mask)
            return made.data, "image/png", made.difference, to_warnings(made.warnings, "converted")
        before, after, mask = open_picture(protection.source), open_picture(data), masks.read_mask(protection.mask)
        difference = masks.outside_difference(before, after, mask)
        return data, None, difference, changed_outside_mask(before, after, mask)
    except MediaError as error:
        what = ("not_protected", "the protected pixels could not be copied back")
        code, text = what if protection.exact else ("mask_not_compared", "pixels outside the mask were not compared")
        return data, None, None, (Warning(code, f"{text}: {error.message}"),)


def _continuable(record: CallRecord, piece: Piece, file: MediaFile, artifact: Artifact | None) -> tuple[MediaFile, Continuation | None]:
    """Give an image or a video a continuation; its files are the new one and those it went on from."""
    media = record.target["media"]
    if media not in {"image", "video"}:
        return file, None
    given = piece.continuation
    facts = {name: getattr(file, name) for name in ("sha256", "mime", "width", "height", "seconds")}
    new = StoredFile(path=str(file.path.absolute()), artifact="" if artifact is None else artifact.key, **facts)
    earlier = tuple([StoredFile(**raw) for raw in record.target["earlier_files"]])
    continuation = Continuation(
        id=new_id(str(record.target["prefix"])),
        backend=record.backend,
        model=record.model,
        media=media,
        data=dict(given.data) if given else {},
        secret=dict(given.secret) if given else {},
        files=(new, *earlier),
        created_at=record.read_at,
        expires_at=plausible_expiry(given.expires_at, record.read_at) if given else None,
    )
    return attrs.evolve(file, continuation_id=continuation.id), continuation


def _uncollected(error: MediaError, record: CallRecord) -> MediaError:
    """Complete an error of collecting: the work is done and paid, and the job can be resumed."""
    clean_error(error)  # a plugin's own byte stream may have failed
    error.charged = "yes"
    if error.kept:  # the next attempt would fail in the same way
        return about(error, record)
    error.fix = error.fix or "The result is ready at the provider."
    return about(error, record, "resume")

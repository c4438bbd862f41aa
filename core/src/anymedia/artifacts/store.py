"""The artifact store: bytes by their SHA-256 and references from calls to them, in a directory, found again without the journal.

``files/`` holds the bytes, each file named by its SHA-256, and an empty file for each reference, whose name says everything about
it (call, kind, index, hash, size, mime type): syncing one directory makes both durable. ``parts/`` holds what is being written,
``pins/`` a locked file for each living process, ``kept/`` names with a suffix for pieces that were not exported. A shared lock on
``lock`` is held while a reference is made, an exclusive one while something is removed: bytes without a reference are then certainly
not needed.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from pathlib import Path
from urllib.parse import quote, unquote

import attrs

from ..directories import lock_file
from ..files.atomic_writer import Writer
from ..files.paths import OutputTarget
from ..files.safe_dir import show_path
from ..threads import in_thread
from .records import KINDS, SEPARATOR, Artifact, ArtifactDamaged, ArtifactMissing, Keep, Kind, Swept, select_for_removal
from .writer import BUFFER, UNKNOWN_MIME, ArtifactWriter, Part, entries, not_stored, pin, pinned_calls, remove_abandoned, sync

#: References removed under one exclusive lock: a paid answer waiting for it is not delayed by a long clean-up.
_BATCH = 200
#: Names of output files that are compared with an artifact at most.
_MOST_NAMES = 1_000
_FOLDERS = ("files", "parts", "pins")


class ArtifactStore:
    """Stores bytes by their SHA-256, and references from calls to them, in a directory that is private to the user (0700, files 0600).

    When `put`, `ArtifactWriter.commit` or `link` has returned, bytes and reference survive a crash of the machine.

    Args:
        directory: where files are written on this machine; created when it is first written to.
    """

    #: Whether other machines see the artifacts, too.
    is_shared = False

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._files = os.path.join(directory, "files", "")  # noqa: PTH118 - joined as text: a commit takes little time
        self._lock_path = os.path.join(directory, "lock")  # noqa: PTH118
        self._is_prepared = False

    def writer(self, call_id: str, kind: Kind, index: int = 0, mime: str = UNKNOWN_MIME) -> ArtifactWriter:
        """Return a writer for an artifact of a call; what a dead process wrote under the same names is resumed."""
        return ArtifactWriter(self, call_id, kind, index, mime)

    async def put(self, call_id: str, kind: Kind, data: bytes, *, index: int = 0, mime: str = UNKNOWN_MIME) -> Artifact:
        """Store bytes.

        Raises:
            ArtifactNotStored: that was not possible; nothing is left of it.
        """

        def work() -> Artifact:
            with Part(self, call_id, kind, index) as part:
                if part.size:
                    part.restart()
                part.write(data)
                return part.commit(mime)

        return await in_thread(work)

    async def link(self, artifact: Artifact, call_id: str, kind: Kind, index: int = 0) -> Artifact:
        """Let another call refer to the same bytes.

        Raises:
            ArtifactMissing: the store does not hold ``artifact``.
        """
        made = attrs.evolve(artifact, call_id=call_id, kind=kind, index=index)

        def work() -> Artifact:
            with self._failing(), self._lock(shared=True):
                self._check(artifact)
                self._add_reference(made)
                sync(self._files)
            return made

        return await in_thread(work)

    async def find(self, call_id: str) -> tuple[Artifact, ...]:
        """Return the artifacts of a call whose bytes are there and match their hash, the latest of each kind and index."""

        def work() -> tuple[Artifact, ...]:
            latest: dict[tuple[str, int], tuple[float, Artifact]] = {}
            for artifact, made_at in self._references(call_id):
                known = latest.get((artifact.kind, artifact.index))
                if (known is None or made_at >= known[0]) and self._is_sound(artifact):
                    latest[artifact.kind, artifact.index] = made_at, artifact
            return tuple([latest[key][1] for key in sorted(latest)])

        return await in_thread(work)

    async def all(self) -> list[Artifact]:
        """Return all artifacts, the oldest first."""
        stored = await in_thread(lambda: sorted(self._references(), key=lambda pair: pair[1]))
        return [artifact for artifact, _ in stored]

    async def read(self, artifact: Artifact) -> bytes:
        """Return the bytes.

        Raises:
            ArtifactMissing: the store does not hold it.
            ArtifactDamaged: the bytes do not match their hash.
            ArtifactUnreachable: the storage cannot be reached.
        """
        await self._fetch(artifact)

        def work() -> bytes:
            with self._open(artifact) as file:
                data = file.read()
            if hashlib.sha256(data).hexdigest() != artifact.sha256:
                raise self._damaged(artifact)
            return data

        return await in_thread(work)

    async def chunks(self, artifact: Artifact, start: int = 0) -> AsyncIterator[bytes]:
        """Yield the bytes from an offset on; raises as `local_file`."""
        await self._fetch(artifact)
        with await in_thread(lambda: self._open(artifact)) as file:
            file.seek(start)
            while chunk := await in_thread(lambda: file.read(BUFFER)):
                yield chunk

    async def local_file(self, artifact: Artifact) -> Path:
        """Return the path of a file on this machine with the bytes, to be read only; raises as `read`, except `ArtifactDamaged`."""
        await self._fetch(artifact)
        return await in_thread(lambda: self._check(artifact))

    async def export(
        self,
        artifact: Artifact,
        target: OutputTarget,
        *,
        index: int = 0,
        of: int = 1,
        suffix: str | Callable[[Path], str] = "",
        reuse: bool = False,
    ) -> Path:
        """Write the bytes to an output file that shares nothing with the artifact that an edit could reach: by reflink or copy.

        Args:
            artifact: what to export.
            target: where to.
            index: number of the file, starting at 0.
            of: number of files.
            suffix: file suffix to use in place of the target's, or a function that checks a local file with the bytes and returns it;
                it is called in a thread.
            reuse: return a file under one of the target's names that already has exactly these bytes, as a killed process leaves it.

        Raises:
            ArtifactMissing, ArtifactDamaged, ArtifactUnreachable: it cannot be read.
            MediaError: the file cannot be written.
        """
        await self._fetch(artifact)

        def work() -> Path:
            chosen = suffix if isinstance(suffix, str) else suffix(self._check(artifact))
            if reuse and (path := _exported_file(artifact, target, index, of, chosen)) is not None:
                return path
            with self._open(artifact) as source, Writer(target, call_id=artifact.call_id, index=index, of=of) as writer:
                writer.copy_from(source)
                if writer.sha256 != artifact.sha256:
                    raise self._damaged(artifact)
                return writer.commit(suffix=chosen)

        return await in_thread(work)

    async def keep(self, artifact: Artifact, suffix: str | Callable[[Path], str]) -> Path:
        """Return a read-only local file with the bytes of a finished piece and a suffix; both stay while this process lives.

        Raises:
            ArtifactMissing, ArtifactDamaged, ArtifactUnreachable: it cannot be read.
            ArtifactNotStored: the file cannot be written.
        """
        await self._fetch(artifact)

        def work() -> Path:
            pin(self, artifact.call_id)
            stored = self._check(artifact)
            if not self._is_sound(artifact):
                raise self._damaged(artifact)
            folder = self._kept_folder(artifact.call_id)
            path = folder / f"{artifact.index + 1}{suffix if isinstance(suffix, str) else suffix(stored)}"
            with self._failing():
                if path.exists() and path.samefile(stored):
                    return path
                folder.parent.mkdir(exist_ok=True, mode=0o700)
                folder.mkdir(exist_ok=True, mode=0o700)
                path.unlink(missing_ok=True)
                try:
                    path.hardlink_to(stored)
                except OSError:  # a file system without hard links
                    shutil.copyfile(stored, path)
                if os.name != "nt":  # Windows does not replace or remove a read-only file
                    path.chmod(0o400)
            return path

        return await in_thread(work)

    def kept_piece(self, path: Path) -> tuple[str, int] | None:
        """Return the call and the index of the piece that `keep` has given a path to; None for any other path."""
        *_, call, name = ("", *path.absolute().parts)
        number = name.partition(".")[0]
        if not number.isdecimal() or self._kept_folder(unquote(call)) != path.absolute().parent:
            return None
        return unquote(call), int(number) - 1

    def _kept_folder(self, call_id: str) -> Path:
        return self.directory / "kept" / quote(call_id, safe="")

    async def _fetch(self, artifact: Artifact) -> None:
        """Bring the bytes to this machine."""

    async def sign(self, artifact: Artifact, seconds: float) -> str | None:
        """Return a link that anyone can read a finished piece by for some seconds; inputs and raw answers stay private.

        Returns:
            The link; None for a store without links, and for what is not a piece.
        """
        return None

    async def upload_copies(self) -> int:
        """Store what only this machine has, from the time before the artifacts were shared; return how many they are."""
        return 0

    async def discard(self, artifact: Artifact) -> None:
        """Remove one reference, and its bytes if no other reference uses them."""
        await in_thread(lambda: self._remove([artifact]))

    async def release(self, call_id: str, kinds: Collection[Kind] = KINDS) -> int:
        """Remove a call's references, and the bytes that no other call refers to; return the number of bytes freed."""
        return await in_thread(lambda: self._remove([a for a, _ in self._references(call_id) if a.kind in kinds]))

    async def gc(
        self,
        *,
        keep_seconds: float | None = None,
        max_bytes: int | None = None,
        keep: Keep | None = None,
        now: float | None = None,
        dry_run: bool = False,
    ) -> Swept:
        """Remove artifacts that are older than ``keep_seconds``, then the oldest until ``max_bytes`` are left; None for no limit.

        ``keep`` returns the artifacts to leave alone; ``dry_run`` removes nothing, and only reports.
        """
        now = time.time() if now is None else now
        stored = await in_thread(lambda: list(self._references()))
        # What is listed now is asked about afterwards: a call that begins meanwhile is not in the list.
        required = set(await keep([artifact for artifact, _ in stored])) if keep is not None else set()
        pinned = await in_thread(self._pinned)
        required |= {artifact for artifact, _ in stored if artifact.call_id in pinned}
        older_than = None if keep_seconds is None else now - keep_seconds
        chosen = select_for_removal(stored, required, older_than=older_than, max_bytes=max_bytes)
        return await in_thread(lambda: self._sweep(chosen, required, now, dry_run=dry_run))

    def _pinned(self) -> set[str]:
        if not self.directory.is_dir():
            return set()
        with self._failing(), self._lock(shared=False):
            return pinned_calls(self.directory / "pins")

    async def used_bytes(self) -> int:
        """Return the number of bytes stored on this machine."""
        return await in_thread(lambda: sum(self._object_sizes().values()))

    async def last_gc(self) -> float | None:
        """Return when `gc` last removed artifacts, in seconds since the epoch; None if never."""
        path = self.directory / "gc"
        return await in_thread(lambda: path.stat().st_mtime if path.exists() else None)

    def _sweep(self, chosen: list[Artifact], required: set[Artifact], now: float, *, dry_run: bool) -> Swept:
        before = self._object_sizes()
        temporaries = remove_abandoned(self.directory / "parts", now, dry_run=dry_run)
        if dry_run:
            gone = set(chosen)
            remaining = {artifact.sha256 for artifact, _ in self._references() if artifact not in gone}
            freed = sum(size for name, size in before.items() if name not in remaining)
        else:
            freed = sum(self._remove(chosen[i : i + _BATCH], unless_pinned=True) for i in range(0, max(1, len(chosen)), _BATCH))
            if self.directory.is_dir():
                with self._failing():
                    (self.directory / "gc").touch(mode=0o600)
        needed = sum({artifact.sha256: artifact.size for artifact in required}.values())
        return Swept(
            removed=tuple(chosen), freed=freed, left=max(0, sum(before.values()) - freed), required=needed, temporaries=temporaries
        )

    def _remove(self, chosen: Collection[Artifact], *, unless_pinned: bool = False) -> int:
        """Remove references, then every object that has none left; return the bytes freed."""
        if not self.directory.is_dir():
            return 0
        freed = 0
        with self._failing(), self._lock(shared=False):
            pinned = pinned_calls(self.directory / "pins") if unless_pinned else set()
            for artifact in chosen:
                if artifact.call_id in pinned:
                    continue
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self._files + artifact.key)  # noqa: PTH108
                if artifact.kind == "piece":
                    self._remove_kept(artifact)
            referred = {artifact.sha256 for artifact, _ in self._references()}
            for name, size in self._object_sizes().items():
                if name not in referred:
                    os.unlink(self._files + name)  # noqa: PTH108
                    freed += size
        return freed

    def _remove_kept(self, artifact: Artifact) -> None:
        folder = self._kept_folder(artifact.call_id)
        for path in entries(folder):
            if path.stem == str(artifact.index + 1):
                path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not there, or not empty
            folder.rmdir()

    def _object_sizes(self) -> dict[str, int]:
        found = {}
        for path in entries(self.directory / "files"):
            with contextlib.suppress(FileNotFoundError):
                if SEPARATOR not in path.name:
                    found[path.name] = path.stat().st_size
        return found

    def _references(self, call_id: str | None = None) -> Iterator[tuple[Artifact, float]]:
        """Yield references (of one call) with the time they were made."""
        start = "" if call_id is None else quote(call_id, safe="") + SEPARATOR
        for path in entries(self.directory / "files"):
            if path.name.startswith(start) and (artifact := Artifact.from_key(path.name)) is not None:
                with contextlib.suppress(FileNotFoundError):
                    yield artifact, path.stat().st_mtime

    def _is_sound(self, artifact: Artifact) -> bool:
        try:
            with self._open(artifact) as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == artifact.sha256
        except ArtifactMissing:
            return False

    def _check(self, artifact: Artifact) -> Path:
        """Return the path of an artifact's object; raise `ArtifactMissing` unless the store holds the reference and the bytes."""
        path = Path(self._files + artifact.sha256)
        try:
            os.stat(self._files + artifact.key)  # noqa: PTH116
            size = path.stat().st_size
        except (OSError, ValueError):
            size = -1
        if size != artifact.size:
            text = f"The {artifact.kind} {artifact.index} of {artifact.call_id} is not in the artifact store {show_path(self.directory)}."
            raise ArtifactMissing(text)
        return path

    def _open(self, artifact: Artifact) -> io.BufferedReader:
        try:
            return self._check(artifact).open("rb")
        except FileNotFoundError:  # removed since
            self._check(artifact)
            raise

    def _damaged(self, artifact: Artifact) -> ArtifactDamaged:
        return ArtifactDamaged(
            f"The {artifact.kind} {artifact.index} of {artifact.call_id} in {show_path(self.directory)} is damaged: its bytes changed."
        )

    def _add_reference(self, artifact: Artifact) -> bool:
        """Create the file that is a reference; return whether it is new."""
        path = self._files + artifact.key
        is_new = not os.path.exists(path)  # noqa: PTH110
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600))
        os.utime(path, ns=(time.time_ns(),) * 2)  # finer than the system's own; `find` prefers the latest
        return is_new

    @contextlib.contextmanager
    def _lock(self, *, shared: bool) -> Iterator[None]:
        fd = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            lock_file(fd, shared=shared, wait=True)
            yield
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise not_stored(self.directory, error) from None

    def prepare(self) -> None:
        """Create the directories, unless they are there."""
        if self._is_prepared and (self.directory / "parts").is_dir():
            return
        with self._failing():
            missing = [folder for folder in (self.directory, *self.directory.parents) if not folder.is_dir()]
            for folder in [*reversed(missing), *(self.directory / name for name in _FOLDERS)]:
                folder.mkdir(exist_ok=True, mode=0o700)
            for folder in [self.directory, *missing]:
                sync(folder)
            sync((missing or [self.directory])[-1].parent)
        self._is_prepared = True


def _exported_file(artifact: Artifact, target: OutputTarget, index: int, of: int, suffix: str) -> Path | None:
    """Return the file under one of the target's names that has an artifact's bytes, as far as the names are taken."""
    with contextlib.closing(target.open()) as folder:
        for _, name in zip(range(_MOST_NAMES), target.names(index, of, suffix=suffix), strict=False):
            try:
                fd = folder.open_regular(name, linked=True)  # a killed process leaves its temporary name
            except FileNotFoundError:
                return None
            except OSError:  # a directory or a link
                continue
            with os.fdopen(fd, "rb") as file:
                if os.fstat(fd).st_size == artifact.size and hashlib.file_digest(file, "sha256").hexdigest() == artifact.sha256:
                    return folder.path / name
    return None

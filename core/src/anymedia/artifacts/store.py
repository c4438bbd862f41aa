"""The artifact store: its protocol, its values and errors, and which artifacts retention removes."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Literal, Protocol, Self, TypeVar, cast, get_args
from urllib.parse import quote, unquote

import attrs

from ..errors import MediaError
from ..files.paths import OutputTarget

__all__ = [
    "Artifact",
    "ArtifactDamaged",
    "ArtifactError",
    "ArtifactMissing",
    "ArtifactNotStored",
    "ArtifactStore",
    "ArtifactUnreachable",
    "ArtifactWriter",
    "Keep",
    "Kind",
    "Swept",
    "select_for_removal",
]

_T = TypeVar("_T")

#: ``input``: as sent to the provider; ``raw``: a provider's bytes that are not finished yet; ``piece``: a finished file.
Kind = Literal["input", "raw", "piece"]
KINDS: tuple[Kind, ...] = get_args(Kind)
#: Separates the parts of a key.
_SEPARATOR = "!"
_SHA256 = re.compile("[0-9a-f]{64}")


@attrs.frozen(kw_only=True)
class Artifact:
    """A reference from a call to stored bytes. It gives access only while the store holds that reference; a hash alone never does.

    Attributes:
        call_id: the call it belongs to.
        kind: what it is to the call.
        index: number among the call's artifacts of that kind, starting at 0.
        sha256: hexadecimal hash of the bytes.
        size: number of bytes.
        mime: mime type.
    """

    call_id: str
    kind: Kind
    index: int
    sha256: str
    size: int
    mime: str

    @property
    def key(self) -> str:
        """All of it as one string that is a valid file name; see `from_key`."""
        call_id, mime = quote(self.call_id, safe=""), quote(self.mime, safe="+;=&")
        return _SEPARATOR.join([call_id, self.kind, str(self.index), self.sha256, str(self.size), mime])

    @classmethod
    def from_key(cls, key: str) -> Self | None:
        """Return the artifact with a key, or None if it is not a key."""
        try:
            call_id, kind, index, sha256, size, mime = key.split(_SEPARATOR)
            found = cls(
                call_id=unquote(call_id), kind=cast(Kind, kind), index=int(index), sha256=sha256, size=int(size), mime=unquote(mime)
            )
        except ValueError:
            return None
        return found if kind in KINDS and _SHA256.fullmatch(sha256) else None


class ArtifactError(MediaError):
    """An artifact could not be stored or read."""

    code = "artifact_error"


class ArtifactNotStored(ArtifactError):
    """The bytes could not be written: the disk is full, read-only or fails."""

    code = "artifact_not_stored"


class ArtifactMissing(ArtifactError):
    """The store has no such artifact: it was removed, or the call never had it."""

    code = "artifact_missing"


class ArtifactDamaged(ArtifactError):
    """The stored bytes do not match their hash."""

    code = "artifact_damaged"


class ArtifactUnreachable(ArtifactError):
    """The storage cannot be reached now, or refuses access: nothing is known about the artifact."""

    code = "artifact_unreachable"


@attrs.frozen(kw_only=True)
class Swept:
    """What a clean-up removed (or would remove), and what is left.

    Attributes:
        removed: the references that were removed.
        freed: bytes that were freed; less than the sum of the sizes where other references use the same bytes.
        left: bytes still stored.
        required: bytes of ``left`` that may not be removed yet.
        temporaries: number of temporary files of dead processes that were removed.
    """

    removed: tuple[Artifact, ...]
    freed: int
    left: int
    required: int
    temporaries: int = 0


#: Returns those of some artifacts that must not be removed: the run is not final, the piece was never delivered.
Keep = Callable[[Sequence[Artifact]], Awaitable[Collection[Artifact]]]


class ArtifactWriter(Protocol):
    """Receives the bytes of one artifact; an asynchronous context manager that discards them unless `commit` was called."""

    @property
    def size(self) -> int:
        """Bytes written so far; more than 0 at the start if an interrupted write is being resumed."""

    @property
    def sha256(self) -> str:
        """Hexadecimal hash of the bytes written so far."""

    async def write(self, data: bytes | memoryview) -> None:
        """Append bytes.

        Raises:
            ArtifactNotStored: they cannot be written; the caller leaves the context, which removes what was written.
        """

    async def tail(self, count: int) -> bytes:
        """Return the last ``count`` bytes written, or all if there are fewer."""

    async def restart(self) -> None:
        """Discard what was written and start again."""

    async def change(self, work: Callable[[int], _T]) -> _T:
        """Let a function change what was written, in place.

        Args:
            work: called in a thread with a file descriptor; returns a false value if it changed nothing.
        """

    async def commit(self, *, mime: str | None = None) -> Artifact:
        """Make the bytes and the reference to them durable.

        Args:
            mime: the mime type, if it became known while writing.

        Raises:
            ArtifactNotStored: that was not possible; nothing is left of it.
        """

    async def __aenter__(self) -> Self:
        """Start or resume writing."""

    async def __aexit__(self, *error: object) -> None:
        """Discard what was not committed."""


class ArtifactStore(Protocol):
    """Stores bytes by their SHA-256, and references from calls to them.

    When `put`, `ArtifactWriter.commit` or `link` has returned, bytes and reference survive a crash of the machine.

    Attributes:
        directory: where files are written on this machine.
    """

    @property
    def directory(self) -> Path: ...  # noqa: D102 - see above

    def writer(self, call_id: str, kind: Kind, index: int = 0, mime: str = ...) -> ArtifactWriter:
        """Return a writer for an artifact of a call; what a dead process wrote under the same names is resumed."""

    async def put(self, call_id: str, kind: Kind, data: bytes, *, index: int = 0, mime: str = ...) -> Artifact:
        """Store bytes.

        Raises:
            ArtifactNotStored: that was not possible; nothing is left of it.
        """

    async def link(self, artifact: Artifact, call_id: str, kind: Kind, index: int = 0) -> Artifact:
        """Let another call refer to the same bytes.

        Raises:
            ArtifactMissing: the store does not hold ``artifact``.
        """

    async def find(self, call_id: str) -> tuple[Artifact, ...]:
        """Return the artifacts of a call whose bytes are there and match their hash, the latest of each kind and index."""

    async def read(self, artifact: Artifact) -> bytes:
        """Return the bytes.

        Raises:
            ArtifactMissing: the store does not hold it.
            ArtifactDamaged: the bytes do not match their hash.
        """

    def chunks(self, artifact: Artifact, start: int = 0) -> AsyncIterator[bytes]:
        """Yield the bytes from an offset on; raises `ArtifactMissing`."""

    async def local_file(self, artifact: Artifact) -> Path:
        """Return the path of a local file with the bytes, to be read only; raises `ArtifactMissing`."""

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
        """Write the bytes to an output file that shares nothing with the artifact that an edit could reach.

        Args:
            artifact: what to export.
            target: where to.
            index: number of the file, starting at 0.
            of: number of files.
            suffix: file suffix to use in place of the target's, or a function that checks a local file with the bytes and returns it;
                it is called in a thread.
            reuse: return a file under one of the target's names that already has exactly these bytes, as a killed process leaves it.

        Raises:
            ArtifactMissing, ArtifactDamaged: it cannot be read.
            MediaError: the file cannot be written.
        """

    async def keep(self, artifact: Artifact, suffix: str | Callable[[Path], str]) -> Path:
        """Return a read-only local file with the bytes and a suffix; both stay while this process lives, see `pin`.

        Args:
            artifact: a finished piece.
            suffix: the suffix with its dot, or a function as for `export`.

        Raises:
            ArtifactMissing, ArtifactDamaged: it cannot be read.
            ArtifactNotStored: the file cannot be written.
        """

    def kept_piece(self, path: Path) -> tuple[str, int] | None:
        """Return the call and the index of the piece that `keep` has given a path to; None for any other path."""

    async def sign(self, artifact: Artifact, seconds: float) -> str | None:
        """Return a link that anyone can read a finished piece by, without further access.

        Args:
            artifact: what to read; only pieces have links, inputs and raw answers stay private.
            seconds: how long it is valid.

        Returns:
            The link; None for a store without links.
        """

    async def upload_copies(self) -> int:
        """Store what only this machine has, from the time before the artifacts were shared; return how many they are."""

    async def discard(self, artifact: Artifact) -> None:
        """Remove one reference, and its bytes if no other reference uses them."""

    async def release(self, call_id: str, kinds: Collection[Kind] = ...) -> int:
        """Remove a call's references, and the bytes that no other call refers to; return the number of bytes freed."""

    def pin(self, call_id: str) -> AbstractAsyncContextManager[None]:
        """Protect the artifacts of a call from retention while the context is open and this process lives."""

    async def gc(
        self,
        *,
        keep_seconds: float | None = None,
        max_bytes: int | None = None,
        keep: Keep | None = None,
        now: float | None = None,
        dry_run: bool = False,
    ) -> Swept:
        """Remove artifacts that are older than ``keep_seconds``, then the oldest until ``max_bytes`` are left.

        Args:
            keep_seconds: maximum age in seconds; None for no limit.
            max_bytes: maximum size of everything stored, in bytes; None for no limit.
            keep: returns the artifacts to leave alone.
            now: the present, in seconds since the epoch.
            dry_run: remove nothing, only report.
        """

    async def used_bytes(self) -> int:
        """Return the number of bytes stored."""

    async def last_gc(self) -> float | None:
        """Return when `gc` last removed artifacts, in seconds since the epoch; None if never."""

    async def aclose(self) -> None:
        """Give up this process's pins, but not those of `keep`; the store can be used again afterwards."""


def select_for_removal(
    stored: Iterable[tuple[Artifact, float]], required: Collection[Artifact], *, older_than: float | None, max_bytes: int | None
) -> list[Artifact]:
    """Return the references that retention removes, oldest first.

    Args:
        stored: every reference with the time it was made.
        required: those that must stay.
        older_than: remove those made before this time; None for no limit.
        max_bytes: then remove the oldest until this many bytes are left; None for no limit.
    """
    ordered = sorted(stored, key=lambda pair: pair[1])
    uses: dict[str, int] = {}
    for artifact, _ in ordered:
        uses[artifact.sha256] = uses.get(artifact.sha256, 0) + 1
    total = sum({artifact.sha256: artifact.size for artifact, _ in ordered}.values())
    removed = []
    for artifact, made_at in ordered:
        expired = older_than is not None and made_at < older_than
        if artifact in required or not (expired or (max_bytes is not None and total > max_bytes)):
            continue
        removed.append(artifact)
        uses[artifact.sha256] -= 1
        if not uses[artifact.sha256]:
            total -= artifact.size
    return removed

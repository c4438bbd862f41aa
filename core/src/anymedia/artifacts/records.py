"""Artifacts as values, the errors of their store, and which of them retention removes."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import Literal, Self, cast, get_args
from urllib.parse import quote, unquote

import attrs

from ..errors import MediaError

#: ``input``: as sent to the provider; ``raw``: a provider's bytes that are not finished yet; ``piece``: a finished file.
Kind = Literal["input", "raw", "piece"]
KINDS: tuple[Kind, ...] = get_args(Kind)
#: Separates the parts of a key.
SEPARATOR = "!"
_SHA256 = re.compile("[0-9a-f]{64}")


@attrs.frozen(kw_only=True)
class Artifact:
    """A reference from a call to stored bytes. It gives access only while the store holds that reference; a hash alone never does.

    ``index``: its number among the call's artifacts of that kind, starting at 0.
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
        return SEPARATOR.join([call_id, self.kind, str(self.index), self.sha256, str(self.size), mime])

    @classmethod
    def from_key(cls, key: str) -> Self | None:
        """Return the artifact with a key, or None if it is not a key."""
        try:
            call_id, kind, index, sha256, size, mime = key.split(SEPARATOR)
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


def select_for_removal(
    stored: Iterable[tuple[Artifact, float]], required: Collection[Artifact], *, older_than: float | None, max_bytes: int | None
) -> list[Artifact]:
    """Return the references, given with the time they were made, that retention removes: the oldest first, none of those required."""
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

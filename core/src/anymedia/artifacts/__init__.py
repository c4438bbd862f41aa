"""Content-addressed files, kept under the id of the call they belong to, found again without the journal.

`ArtifactStore` is a directory; `anymedia.artifacts.shared.SharedArtifacts` is object storage, with copies in a directory.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import SettingsError
from .records import Artifact, ArtifactDamaged, ArtifactError, ArtifactMissing, ArtifactNotStored, ArtifactUnreachable, Kind, Swept
from .store import ArtifactStore
from .writer import ArtifactWriter

__all__ = [
    "Artifact", "ArtifactDamaged", "ArtifactError", "ArtifactMissing", "ArtifactNotStored", "ArtifactStore", "ArtifactUnreachable",
    "ArtifactWriter", "Kind", "Swept", "artifacts_at",
]  # fmt: skip


def artifacts_at(url: ArtifactStore | str | None, directory: Path) -> ArtifactStore:
    """Return the artifacts in a directory, or in the object storage that a URL names, with copies in the directory; or a store itself.

    Raises:
        SettingsError: ``anymedia[fleet]`` is not installed, or the URL names no storage.
    """
    if url is None:
        return ArtifactStore(directory)
    if not isinstance(url, str):
        return url
    try:
        from .shared import SharedArtifacts
    except ImportError:
        raise SettingsError("artifacts in object storage need the extra 'fleet'", fix="pip install 'anymedia[fleet]'") from None
    return SharedArtifacts(url, directory)

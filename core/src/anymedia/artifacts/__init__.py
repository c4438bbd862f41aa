"""Content-addressed files, kept under the id of the call they belong to, found again without the journal.

`ArtifactStore` is what the core needs, and what object storage can implement; `LocalArtifacts` is a directory.
"""

from .local import LocalArtifacts
from .store import Artifact, ArtifactDamaged, ArtifactError, ArtifactMissing, ArtifactNotStored, ArtifactStore, ArtifactWriter, Kind, Swept

__all__ = [
    "Artifact",
    "ArtifactDamaged",
    "ArtifactError",
    "ArtifactMissing",
    "ArtifactNotStored",
    "ArtifactStore",
    "ArtifactWriter",
    "Kind",
    "LocalArtifacts",
    "Swept",
]

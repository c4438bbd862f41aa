"""What the tests of collecting share: a picture that does not compress, and collecting it into a folder."""

from __future__ import annotations

import hashlib
import random
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from faulty_server import FaultyServer

from anymedia.artifacts import ArtifactStore
from anymedia.errors import MediaError
from anymedia.execution.save_piece import Saved, export_artifact, store_piece
from anymedia.files.paths import OutputTarget, plan_output
from anymedia.net.fetcher import Fetcher
from anymedia.results import Piece

OVERLAP = 65_536


def noise_png(width: int = 700, height: int = 700, seed: int = 1) -> bytes:
    """A valid PNG that does not compress: about three bytes a pixel."""
    rows = b"".join(b"\0" + random.Random(seed * 10_000 + y).randbytes(width * 3) for y in range(height))

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")


PNG = noise_png()
SMALL = noise_png(8, 8)


class Naps:
    """Stands in for sleeping, and remembers."""

    def __init__(self) -> None:
        self.taken: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)


def target_in(folder: Path, name: str = "fox.png", **changes: Any) -> OutputTarget:
    return plan_output(folder / name if name else f"{folder}/", default_stem="2026-11-21-fox", suffix=".png", **changes)


async def bring(piece: Piece, folder: Path, *, server: FaultyServer | None = None, name: str = "fox.png", **arguments: Any) -> Saved:
    given: dict[str, Any] = {"call_id": "call1", "sleep": Naps()} | arguments
    export = {"expect": given.pop("expect", "image"), "index": given.get("index", 0), "of": given.pop("of", 1)}
    async with Fetcher(allow=[server.allow] if server else []) as fetcher:
        artifacts = artifacts_of(folder)
        artifact, _ = await store_piece(piece, artifacts, fetcher=fetcher, **given)
        return await export_artifact(artifact, artifacts, target_in(folder, name), **export)


def artifacts_of(folder: Path) -> ArtifactStore:
    """Return the artifact store that `bring` uses for an output directory."""
    return ArtifactStore(folder.parent / f"{folder.name}-artifacts")


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def never_collected(piece: Piece, folder: Path, kind: type[MediaError], match: str, **arguments: Any) -> MediaError:
    """Collecting fails, says that money was spent, shows no signature, and leaves nothing behind."""
    with pytest.raises(kind, match=match) as caught:
        await bring(piece, folder, **arguments)
    assert caught.value.charged == "yes"
    assert "CANARY" not in str(caught.value) + caught.value.fix
    assert names_in(folder) == []
    return caught.value


def check_whole(found: Saved, body: bytes = PNG) -> None:
    assert found.file.path.read_bytes() == body
    assert found.file.sha256 == hashlib.sha256(body).hexdigest()
    assert found.file.size == len(body)
    assert names_in(found.file.path.parent) == [found.file.path.name]

"""Artifacts in object storage, shared by any number of machines (extra ``anymedia[fleet]``).

An artifact is one object, ``CALL/KEY``: its bytes and the reference to them appear and disappear together, so nothing has to be locked.
Bytes are written to a directory of this machine first and uploaded from there; it also keeps copies of what was downloaded.
"""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import attrs
import obstore
from obstore import exceptions
from obstore.store import from_url

from ..errors import SettingsError
from ..threads import in_thread
from .records import KINDS, Artifact, ArtifactDamaged, ArtifactMissing, ArtifactNotStored, ArtifactUnreachable, Keep, Kind, Swept
from .records import select_for_removal as select
from .store import ArtifactStore
from .writer import UNKNOWN_MIME, ArtifactWriter

#: The object that notes the last clean-up.
_SWEPT = "gc"
#: How long copies stay on a machine after they were written or downloaded, in seconds.
_COPY_SECONDS = 86_400.0
#: What the options of each kind of storage are; all others come from the environment (``AWS_...``, ``GOOGLE_...``, ``AZURE_...``).
_OPTIONS: dict[str, Any] = {"s3": {"checksum_algorithm": "SHA256"}, "s3a": {"checksum_algorithm": "SHA256"}, "file": {"mkdir": True}}
_SIGNED = frozenset({"s3", "s3a", "gs", "az", "adl", "azure", "abfs", "abfss"})


class SharedArtifacts(ArtifactStore):
    """An `ArtifactStore` in object storage, with copies in a directory.

    Args:
        url: ``s3://bucket/prefix``, ``gs://bucket/prefix``, ``az://account/container/prefix`` or ``file:///directory``. Access keys
            come from the environment, as the storage's own tools read them.
        directory: for the files on this machine.
    """

    is_shared = True

    def __init__(self, url: str, directory: Path) -> None:
        super().__init__(directory)
        parts = urlsplit(url)
        self._name = f"{parts.scheme}://{parts.hostname or ''}{parts.path}"
        self._signs = parts.scheme in _SIGNED
        try:
            if not (parts.scheme in _SIGNED and parts.hostname) and parts.scheme != "file":
                raise ValueError(url)
            self._store = from_url(url, **_OPTIONS.get(parts.scheme, {}))
        except (exceptions.BaseError, ValueError):  # its text may repeat what the environment contains
            text = f"The artifact store {self._name!r} cannot be used."
            raise SettingsError(text, fix="Write s3://BUCKET/PREFIX; keys and the region belong in the environment.") from None

    def writer(self, call_id: str, kind: Kind, index: int = 0, mime: str = UNKNOWN_MIME) -> ArtifactWriter:
        """Return a writer for an artifact of a call; what a dead process of this machine wrote under the same names is resumed."""
        return _SharedWriter(self, call_id, kind, index, mime)

    async def put(self, call_id: str, kind: Kind, data: bytes, *, index: int = 0, mime: str = UNKNOWN_MIME) -> Artifact:
        """Store bytes; see `ArtifactStore.put`."""
        return await self.upload(await super().put(call_id, kind, data, index=index, mime=mime))

    async def upload(self, artifact: Artifact) -> Artifact:
        """Store what this machine has a copy of, in place of what the call had under the same kind and index; return it.

        Raises:
            ArtifactNotStored: that was not possible; nothing is left of it.
        """
        try:
            with self._reaching(ArtifactNotStored):
                attributes = {"Content-Type": artifact.mime} if self._signs else None
                path = await in_thread(lambda: self._check(artifact))
                await obstore.put_async(self._store, _name(artifact), path, attributes=attributes)
                for other, _ in await self._listed(artifact.call_id):
                    if (other.kind, other.index) == (artifact.kind, artifact.index) and other != artifact:
                        await self._delete([other])
        except BaseException:
            await super().discard(artifact)
            raise
        return artifact

    async def upload_copies(self) -> int:
        """Upload what only this machine has; see `ArtifactStore.upload_copies`."""
        with self._reaching():
            known = {artifact for artifact, _ in await self._listed()}
        missing = [artifact for artifact in await self.all() if artifact not in known]
        for artifact in missing:
            await self.upload(artifact)
        return len(missing)

    async def link(self, artifact: Artifact, call_id: str, kind: Kind, index: int = 0) -> Artifact:
        """Give another call a copy, made by the storage; see `ArtifactStore.link`."""
        made = attrs.evolve(artifact, call_id=call_id, kind=kind, index=index)
        with self._reaching(ArtifactNotStored, artifact):
            await obstore.copy_async(self._store, _name(artifact), _name(made))
        return made

    async def find(self, call_id: str) -> tuple[Artifact, ...]:
        """Return the artifacts of a call that have their size, the latest of each kind and index; their bytes are checked when read."""
        with self._reaching():
            listed = sorted(await self._listed(call_id), key=lambda pair: pair[1])
        latest = {(artifact.kind, artifact.index): artifact for artifact, _ in listed}
        return tuple([latest[key] for key in sorted(latest)])

    async def sign(self, artifact: Artifact, seconds: float) -> str | None:
        """Return a link that anyone can read a finished piece by, for some seconds; see `ArtifactStore.sign`."""
        if not self._signs or artifact.kind != "piece":
            return None
        with self._reaching():
            return await obstore.sign_async(self._store, "GET", _name(artifact), datetime.timedelta(seconds=seconds))  # type: ignore[call-overload,no-any-return]

    async def discard(self, artifact: Artifact) -> None:
        """Remove one artifact; see `ArtifactStore.discard`."""
        await self._remove_all([artifact])

    async def release(self, call_id: str, kinds: Collection[Kind] = KINDS) -> int:
        """Remove a call's artifacts; return the number of bytes freed."""
        with self._reaching():
            found = [artifact for artifact, _ in await self._listed(call_id) if artifact.kind in kinds]
        await self._remove_all(found)
        await super().release(call_id, kinds)
        return sum(artifact.size for artifact in found)

    async def gc(
        self,
        *,
        keep_seconds: float | None = None,
        max_bytes: int | None = None,
        keep: Keep | None = None,
        now: float | None = None,
        dry_run: bool = False,
    ) -> Swept:
        """Remove old artifacts, and this machine's copies after a day or beyond ``max_bytes``; see `ArtifactStore.gc`."""
        copies = await super().gc(keep_seconds=_COPY_SECONDS, max_bytes=max_bytes, keep=keep, now=now, dry_run=dry_run)
        with self._reaching():
            stored = await self._listed()
        required = set(await keep([artifact for artifact, _ in stored])) if keep is not None else set()
        now = datetime.datetime.now(datetime.UTC).timestamp() if now is None else now
        older_than = None if keep_seconds is None else now - keep_seconds
        chosen = select(stored, required, older_than=older_than, max_bytes=None)
        if not dry_run:
            await self._remove_all(chosen)
            with self._reaching():
                await obstore.put_async(self._store, _SWEPT, b"")
        freed = sum(artifact.size for artifact in chosen)
        left = sum(artifact.size for artifact, _ in stored) - freed
        return Swept(removed=tuple(chosen), freed=freed, left=left, required=copies.required, temporaries=copies.temporaries)

    async def last_gc(self) -> float | None:
        """Return when a machine last removed artifacts."""
        with self._reaching():
            try:
                return float((await obstore.head_async(self._store, _SWEPT))["last_modified"].timestamp())
            except (exceptions.NotFoundError, FileNotFoundError):
                return None

    async def _fetch(self, artifact: Artifact) -> None:
        """Download an artifact, unless this machine has a copy."""
        with contextlib.suppress(ArtifactMissing):
            await in_thread(lambda: self._check(artifact))
            return
        with self._reaching(ArtifactUnreachable, artifact):
            answer = await obstore.get_async(self._store, _name(artifact))
            async with super().writer(artifact.call_id, artifact.kind, artifact.index, artifact.mime) as writer:
                if writer.size:
                    await writer.restart()
                async for chunk in answer.stream():
                    await writer.write(memoryview(chunk))
                if writer.sha256 != artifact.sha256:
                    raise ArtifactDamaged(f"The {artifact.kind} {artifact.index} of {artifact.call_id} in {self._name} is damaged.")
                await writer.commit()

    async def _listed(self, call_id: str | None = None) -> list[tuple[Artifact, float]]:
        """Return the artifacts (of one call) with the time they were stored."""
        found = []
        async for some in obstore.list(self._store, None if call_id is None else quote(call_id, safe="")):
            for each in some:
                artifact = Artifact.from_key(each["path"].rpartition("/")[2])
                if artifact is not None and artifact.size == each["size"]:
                    found.append((artifact, each["last_modified"].timestamp()))
        return found

    async def _remove_all(self, artifacts: Collection[Artifact]) -> None:
        with self._reaching():
            await self._delete(artifacts)
        for artifact in artifacts:
            await super().discard(artifact)

    async def _delete(self, artifacts: Collection[Artifact]) -> None:
        for artifact in artifacts:
            with contextlib.suppress(exceptions.NotFoundError, FileNotFoundError):
                await obstore.delete_async(self._store, _name(artifact))

    @contextlib.contextmanager
    def _reaching(
        self, kind: type[ArtifactNotStored | ArtifactUnreachable] = ArtifactUnreachable, artifact: Artifact | None = None
    ) -> Iterator[None]:
        """Raise an artifact error for one of the storage, whose text may contain a signed address."""
        try:
            yield
        except (exceptions.BaseError, OSError) as error:
            if artifact is not None and isinstance(error, exceptions.NotFoundError | FileNotFoundError):
                text = f"The {artifact.kind} {artifact.index} of {artifact.call_id} is not in the artifact store {self._name}."
                raise ArtifactMissing(text) from None
            text = f"The artifact store {self._name!r} failed ({type(error).__name__})."
            raise kind(text, fix="Check its address, the network, and the access keys of this machine.") from None


class _SharedWriter(ArtifactWriter):
    """A writer whose `commit` uploads."""

    def __init__(self, shared: SharedArtifacts, call_id: str, kind: Kind, index: int, mime: str) -> None:
        super().__init__(shared, call_id, kind, index, mime)
        self._shared = shared

    async def commit(self, *, mime: str | None = None) -> Artifact:
        """Make the bytes and the reference to them durable; see `ArtifactWriter.commit`."""
        return await self._shared.upload(await super().commit(mime=mime))


def _name(artifact: Artifact) -> str:
    return f"{quote(artifact.call_id, safe='')}/{artifact.key}"

"""What every artifact store does: in a directory, in object storage on a file system, and on a server that speaks S3."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
import urllib.request
from collections.abc import Awaitable, Callable, Collection, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

from anymedia.artifacts import Artifact, ArtifactDamaged, ArtifactMissing, ArtifactStore, ArtifactUnreachable, artifacts_at
from anymedia.artifacts.shared import SharedArtifacts
from anymedia.errors import SettingsError
from anymedia.files.paths import OutputTarget, plan_output
from anymedia.settings import load_settings

BYTES = b"\x89PNG" + bytes(range(256)) * 40
LATER = 4e9
#: Opens the store that a test is about, as another machine would: with an empty directory of its own.
Machine = Callable[[], ArtifactStore]
_T = TypeVar("_T")


@pytest.fixture(params=["directory", "file", pytest.param("s3", marks=pytest.mark.exhaustive)])
def machine(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    url = f"file://{tmp_path}/storage"
    if request.param == "s3":
        import s3

        for name, value in s3.server().environment.items():
            monkeypatch.setenv(name, value)
        url = s3.server().new()
    machines: list[ArtifactStore] = []

    def another() -> ArtifactStore:
        machines.append(artifacts_at(None if request.param == "directory" else url, tmp_path / f"machine-{len(machines)}"))
        return machines[0] if request.param == "directory" else machines[-1]

    return another


@pytest.fixture
def store(machine: Machine) -> ArtifactStore:
    return machine()


def run(work: Awaitable[_T]) -> _T:
    async def wait() -> _T:
        return await work

    return asyncio.run(wait())


def put(store: ArtifactStore, call_id: str, data: bytes = BYTES, index: int = 0) -> Artifact:
    return run(store.put(call_id, "piece", data, index=index, mime="image/png"))


def target(folder: Path, name: str = "fox.png") -> OutputTarget:
    return plan_output(folder / name, default_stem="fox", suffix=".png")


@pytest.mark.parametrize("size", [0, 1, 262_144, 12_000_001])
def test_writer_streamed_bytes_are_found_by_another_machine(store: ArtifactStore, machine: Machine, size: int) -> None:
    data = (BYTES * (size // len(BYTES) + 1))[:size]

    async def write() -> Artifact:
        async with store.writer("job_1", "raw", 3, "video/mp4") as writer:
            for start in range(0, size, 500_000):
                await writer.write(data[start : start + 500_000])
            return await writer.commit()

    made = run(write())
    assert made == Artifact(call_id="job_1", kind="raw", index=3, sha256=hashlib.sha256(data).hexdigest(), size=size, mime="video/mp4")
    other = machine()
    assert run(other.find("job_1")) == (made,)
    assert run(other.read(made)) == data

    async def tail() -> bytes:
        return b"".join([chunk async for chunk in other.chunks(made, max(size - 3, 0))])

    assert run(tail()) == data[-3:]
    assert Path(run(other.local_file(made))).read_bytes() == data


def test_writer_left_without_commit_stores_nothing(store: ArtifactStore, machine: Machine) -> None:
    async def write() -> None:
        async with store.writer("job_1", "piece") as writer:
            await writer.write(BYTES)
            raise KeyError

    with pytest.raises(KeyError):
        run(write())
    assert run(machine().find("job_1")) == ()


def test_put_again_replaces_what_the_call_had(store: ArtifactStore, machine: Machine) -> None:
    put(store, "job_1", b"first")
    second = put(store, "job_1", b"second")
    assert run(machine().find("job_1")) == (second,)


def test_find_of_a_call_whose_id_begins_another_finds_only_its_own(store: ArtifactStore) -> None:
    put(store, "job_1")
    other = put(store, "job_11", b"other")
    assert run(store.find("job_11")) == (other,)
    assert run(store.find("job_2")) == ()


@pytest.mark.parametrize("mime", ["audio/L16; rate=24000; channels=1", "image/svg+xml", "a" * 300, "../../etc", "x\0y", "ä/ö", ""])
def test_put_any_mime_type_of_a_provider_is_stored(store: ArtifactStore, machine: Machine, mime: str) -> None:
    made = run(store.put("job_1", "piece", BYTES, mime=mime))
    other = machine()
    assert run(other.find("job_1")) == (made,)
    assert run(other.read(made)) == BYTES


def test_read_with_a_hash_alone_is_refused(store: ArtifactStore) -> None:
    made = put(store, "job_1")
    forged = Artifact(call_id="job_2", kind="piece", index=0, sha256=made.sha256, size=made.size, mime=made.mime)
    for work in (store.read(forged), store.local_file(forged), store.link(forged, "job_3", "input")):
        with pytest.raises(ArtifactMissing, match=r"job_2 is not in the artifact store"):
            run(work)  # type: ignore[arg-type]


def test_release_keeps_what_another_call_was_given(store: ArtifactStore, machine: Machine) -> None:
    made = put(store, "job_1")
    linked = run(store.link(made, "job_2", "input"))
    run(store.release("job_1"))
    other = machine()
    assert run(other.find("job_1")) == ()
    with pytest.raises(ArtifactMissing):
        run(store.read(made))
    assert run(other.read(linked)) == BYTES
    assert run(store.release("job_2")) == len(BYTES)


def test_release_of_one_kind_leaves_the_others(store: ArtifactStore) -> None:
    run(store.put("job_1", "raw", b"answer"))
    piece = put(store, "job_1")
    assert run(store.release("job_1", ["raw"])) == len(b"answer")
    assert run(store.find("job_1")) == (piece,)


def test_discard_removes_one_artifact(store: ArtifactStore) -> None:
    first, second = put(store, "job_1"), put(store, "job_1", b"second", index=1)
    run(store.discard(first))
    run(store.discard(first))
    assert run(store.find("job_1")) == (second,)


def test_export_and_keep_write_files_of_this_machine(store: ArtifactStore, machine: Machine, tmp_path: Path) -> None:
    made, other = put(store, "job_1"), machine()
    first = run(other.export(made, target(tmp_path)))
    assert first == tmp_path / "fox.png"
    assert run(other.export(made, target(tmp_path), reuse=True)) == first
    kept = run(other.keep(made, ".png"))
    assert first.read_bytes() == kept.read_bytes() == BYTES
    assert kept.is_relative_to(other.directory)
    assert other.kept_piece(kept) == ("job_1", 0)


def test_gc_removes_what_is_older_and_a_dry_run_only_reports_it(store: ArtifactStore, machine: Machine) -> None:
    old = put(store, "job_1", b"old!")
    assert run(store.gc(keep_seconds=3600)).removed == ()
    for dry_run in (True, False):
        swept = run(machine().gc(keep_seconds=50, now=LATER, dry_run=dry_run))
        assert (swept.removed, swept.freed, swept.left) == ((old,), 4, 0)
        assert run(store.find("job_1")) == ((old,) if dry_run else ())
    last = run(store.last_gc())
    assert last is not None
    assert abs(last - time.time()) < 600


def test_gc_leaves_what_is_required(store: ArtifactStore, machine: Machine) -> None:
    needed, spare = put(store, "job_1"), put(store, "job_2", b"spare")

    async def keep(found: Sequence[Artifact]) -> Collection[Artifact]:
        return [artifact for artifact in found if artifact.call_id == "job_1"]

    assert run(store.gc(keep_seconds=0, max_bytes=0, keep=keep, now=LATER)).removed == (spare,)
    assert run(machine().read(needed)) == BYTES


def test_gc_of_a_store_that_was_never_used_finds_nothing(store: ArtifactStore) -> None:
    assert run(store.last_gc()) is None
    assert run(store.release("job_1")) == run(store.used_bytes()) == 0
    assert run(store.gc(keep_seconds=0, max_bytes=0)).removed == ()


def test_link_is_given_for_a_piece_in_storage_that_signs(store: ArtifactStore) -> None:
    made, raw = put(store, "job_1"), run(store.put("job_1", "raw", b"answer"))
    assert run(store.sign(raw, 60)) is None
    link = run(store.sign(made, 60))
    if link is None:
        assert not isinstance(store, SharedArtifacts) or store._name.startswith("file:")
        return
    with urllib.request.urlopen(link) as answer:
        assert answer.read() == BYTES
        assert answer.headers["content-type"] == "image/png"


def test_copies_of_this_machine_are_removed_and_downloaded_again(tmp_path: Path) -> None:
    store = artifacts_at(f"file://{tmp_path}/storage", tmp_path / "machine")
    made = put(store, "job_1")
    assert run(store.used_bytes()) == len(BYTES)
    assert run(store.gc(max_bytes=0)).removed == ()
    assert run(store.used_bytes()) == 0
    assert run(store.read(made)) == BYTES


def test_bytes_damaged_in_storage_are_not_read(tmp_path: Path) -> None:
    made = put(artifacts_at(f"file://{tmp_path}/storage", tmp_path / "first"), "job_1")
    (stored,) = (tmp_path / "storage" / "job_1").iterdir()
    other = artifacts_at(f"file://{tmp_path}/storage", tmp_path / "second")
    stored.write_bytes(b"\0" * made.size)
    with pytest.raises(ArtifactDamaged, match="piece 0 of job_1"):
        run(other.read(made))
    assert run(other.used_bytes()) == 0
    stored.write_bytes(b"short")
    assert run(other.find("job_1")) == ()


@pytest.mark.exhaustive
def test_storage_that_refuses_says_so_without_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import s3

    for name, value in s3.server().environment.items():
        monkeypatch.setenv(name, value)
    store = artifacts_at("s3://no-such-bucket/x", tmp_path)
    with pytest.raises(ArtifactUnreachable, match="'s3://no-such-bucket/x' failed") as caught:
        run(store.find("job_1"))
    assert "test-secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["ftp://host/x", "s3://", "nonsense", "https://host/x"])
def test_address_that_names_no_storage_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be used"):
        artifacts_at(url, tmp_path)


def test_settings_name_the_storage(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[fleet]\nartifacts = "s3://media/results"\n')
    assert load_settings(environ={"ANYMEDIA_CONFIG": str(path)}).fleet_artifacts == "s3://media/results"
    path.write_text('[fleet]\nartifacts = "/srv/media"\n')
    with pytest.raises(SettingsError, match="s3://BUCKET/PREFIX"):
        load_settings(environ={"ANYMEDIA_CONFIG": str(path)})
    assert type(artifacts_at(None, tmp_path)) is ArtifactStore
    assert os.fspath(artifacts_at(None, tmp_path).directory) == os.fspath(tmp_path)

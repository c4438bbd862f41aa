"""Bytes under a call id are there or they are not: durable once the write returned, verified when found, shared with nothing."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import pytest

from anymedia.artifacts import Artifact, ArtifactDamaged, ArtifactMissing, ArtifactNotStored, ArtifactStore
from anymedia.artifacts.writer import BUFFER
from anymedia.files.atomic_writer import Writer, part_name
from anymedia.files.paths import OutputTarget, open_input, plan_output

posix = pytest.mark.skipif(os.name != "posix", reason="locks and signals of POSIX")
BYTES = b"\x89PNG" + bytes(range(256)) * 40


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "state" / "artifacts")


def target(folder: Path, name: str = "fox.png") -> OutputTarget:
    return plan_output(folder / name, default_stem="fox", suffix=".png")


def put(store: ArtifactStore, call_id: str, data: bytes = BYTES, index: int = 0) -> Artifact:
    return asyncio.run(store.put(call_id, "piece", data, index=index, mime="image/png"))


def find(store: ArtifactStore, call_id: str) -> tuple[Artifact, ...]:
    return asyncio.run(store.find(call_id))


def names(store: ArtifactStore, folder: str) -> list[str]:
    return sorted(path.name for path in (store.directory / folder).iterdir())


def objects(store: ArtifactStore) -> list[str]:
    return [name for name in names(store, "files") if "!" not in name]


@pytest.mark.parametrize("size", [0, 1, 4_096, BUFFER, BUFFER * 3 + 7])
def test_writer_streamed_bytes_are_found_under_the_call_id(store: ArtifactStore, size: int) -> None:
    data = (BYTES * (size // len(BYTES) + 1))[:size]

    async def write() -> Artifact:
        async with store.writer("job_1", "raw", 3, "video/mp4") as writer:
            for start in range(0, size, 50_000):
                await writer.write(data[start : start + 50_000])
            assert (writer.size, writer.sha256) == (size, hashlib.sha256(data).hexdigest())
            assert await writer.tail(10) == data[-10:]
            return await writer.commit()

    made = asyncio.run(write())
    assert made == Artifact(call_id="job_1", kind="raw", index=3, sha256=hashlib.sha256(data).hexdigest(), size=size, mime="video/mp4")
    other = ArtifactStore(store.directory)
    assert find(other, "job_1") == (made,)
    assert asyncio.run(other.read(made)) == data
    assert Artifact.from_key(made.key) == made
    assert names(store, "parts") == []


@posix
def test_store_directories_and_files_are_private(store: ArtifactStore) -> None:
    put(store, "job_1")
    for path in [store.directory, *store.directory.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_commit_syncs_the_file_and_the_directory_after_the_names_are_there(store: ArtifactStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.prepare()
    synced: list[tuple[str, int]] = []
    real = os.fsync

    def record(fd: int) -> None:
        kind = "directory" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file"
        synced.append((kind, len(names(store, "files"))))
        real(fd)

    monkeypatch.setattr(os, "fsync", record)
    put(store, "job_1")
    assert synced == [("file", 2), ("directory", 2)]


def test_commit_of_bytes_in_use_syncs_before_it_replaces_them(store: ArtifactStore, monkeypatch: pytest.MonkeyPatch) -> None:
    first = put(store, "job_1")
    inode = (store.directory / "files" / first.sha256).stat().st_ino
    kept: list[bool] = []
    real = os.fsync

    def record(fd: int) -> None:
        kept.append((store.directory / "files" / first.sha256).stat().st_ino == inode)
        real(fd)

    monkeypatch.setattr(os, "fsync", record)
    put(store, "job_2")
    assert kept[0]
    assert asyncio.run(store.read(first)) == BYTES


def test_writer_left_without_commit_leaves_nothing(store: ArtifactStore) -> None:
    async def write() -> None:
        async with store.writer("job_1", "piece") as writer:
            await writer.write(BYTES)
            raise KeyError

    with pytest.raises(KeyError):
        asyncio.run(write())
    assert names(store, "parts") == names(store, "files") == []


@posix
@pytest.mark.parametrize("size", [1_000, 65_536, 300_001])
def test_writer_of_a_killed_process_loses_at_most_256_kib(store: ArtifactStore, size: int) -> None:
    code = f"""
import asyncio, os, signal
from pathlib import Path
from anymedia.artifacts import ArtifactStore
async def write():
    async with ArtifactStore(Path({str(store.directory)!r})).writer("job_1", "piece") as writer:
        for number in range(1_000_000 // {size} + 1):
            await writer.write(bytes([number % 251]) * {size})
        os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(write())
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    given = b"".join(bytes([number % 251]) * size for number in range(1_000_000 // size + 1))

    async def resumed() -> tuple[int, str]:
        async with store.writer("job_1", "piece") as writer:
            return writer.size, writer.sha256

    kept, sha256 = asyncio.run(resumed())
    assert len(given) - kept <= 256 * 1024
    assert sha256 == hashlib.sha256(given[:kept]).hexdigest()


@posix
def test_writer_of_a_killed_process_is_resumed_where_it_stopped(store: ArtifactStore) -> None:
    code = f"""
import asyncio, os, signal
from pathlib import Path
from anymedia.artifacts import ArtifactStore
async def write():
    async with ArtifactStore(Path({str(store.directory)!r})).writer("job_1", "piece") as writer:
        await writer.write(b"a" * {BUFFER})
        os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(write())
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert find(store, "job_1") == ()

    async def resume() -> tuple[int, Artifact]:
        async with store.writer("job_1", "piece") as writer:
            size = writer.size
            await writer.write(b"b")
            return size, await writer.commit()

    size, made = asyncio.run(resume())
    assert size == BUFFER
    assert asyncio.run(store.read(made)) == b"a" * BUFFER + b"b"


def test_two_writers_of_one_name_do_not_disturb_each_other(store: ArtifactStore) -> None:
    async def write() -> tuple[Artifact, Artifact]:
        async with store.writer("job_1", "piece") as first, store.writer("job_1", "piece") as second:
            await first.write(b"first")
            await second.write(b"second")
            return await first.commit(), await second.commit()

    first, second = asyncio.run(write())
    assert asyncio.run(store.read(first)) == b"first"
    assert find(store, "job_1") == (second,)


def test_writer_restarted_forgets_what_was_written(store: ArtifactStore) -> None:
    async def write() -> Artifact:
        async with store.writer("job_1", "piece") as writer:
            await writer.write(b"x" * BUFFER)
            await writer.write(b"y")
            await writer.restart()
            await writer.write(BYTES)
            return await writer.commit(mime="image/png")

    assert asyncio.run(write()) == put(store, "job_1")


@pytest.mark.parametrize("data", [b"", BYTES[:-1], b"\0" * len(BYTES)], ids=["empty", "short", "zeros"])
def test_find_damaged_bytes_are_not_adopted(store: ArtifactStore, data: bytes) -> None:
    made = put(store, "job_1")
    (store.directory / "files" / made.sha256).write_bytes(data)
    assert find(store, "job_1") == ()
    with pytest.raises((ArtifactDamaged, ArtifactMissing)):
        asyncio.run(store.read(made))
    put(store, "job_2")  # bytes that arrive again repair the first call as well
    assert find(store, "job_1") == (made,)


@pytest.mark.parametrize("call_id", ["", "../job", "a/b", "x" * 81, "job!1", "jöb"])
def test_put_call_id_unusable_as_a_file_name_is_refused(store: ArtifactStore, call_id: str) -> None:
    with pytest.raises(ValueError, match="not a name"):
        put(store, call_id)


def test_release_keeps_the_bytes_that_another_call_refers_to(store: ArtifactStore) -> None:
    made = put(store, "job_1")
    linked = asyncio.run(store.link(made, "job_2", "input"))
    assert asyncio.run(store.release("job_1")) == 0
    with pytest.raises(ArtifactMissing):
        asyncio.run(store.read(made))
    assert asyncio.run(store.read(linked)) == BYTES
    assert asyncio.run(store.release("job_2")) == len(BYTES)
    assert names(store, "files") == []


@pytest.mark.parametrize("confined", [False, True])
def test_export_output_is_accepted_as_an_input(store: ArtifactStore, tmp_path: Path, confined: bool) -> None:
    out = tmp_path / "out"
    out.mkdir()
    roots = [out] if confined else None
    place = plan_output(out / "fox.png", roots=roots, default_stem="fox", suffix=".png")
    path = asyncio.run(store.export(put(store, "job_1"), place))
    assert path == out / "fox.png"
    assert path.stat().st_nlink == 1
    assert objects(store) == [hashlib.sha256(BYTES).hexdigest()]
    assert (store.directory / "files" / objects(store)[0]).stat().st_nlink == 1
    with open_input(path, [out]) as file:
        assert file.read() == BYTES
    assert sorted(path.name for path in out.iterdir()) == ["fox.png"]


def test_export_output_edited_in_place_leaves_the_artifact(store: ArtifactStore, tmp_path: Path) -> None:
    made = put(store, "job_1")
    path = asyncio.run(store.export(made, target(tmp_path)))
    with path.open("r+b") as file:
        file.write(b"edited by the user")
    path.chmod(0o444)
    assert asyncio.run(store.read(made)) == BYTES
    assert asyncio.run(store.export(made, target(tmp_path, "again.png"))).read_bytes() == BYTES


@posix
@pytest.mark.parametrize("edit", [False, True])
def test_export_of_a_process_killed_after_naming_the_file_is_not_repeated(store: ArtifactStore, tmp_path: Path, edit: bool) -> None:
    made = put(store, "job_1")
    with Writer(target(tmp_path), call_id="job_1") as writer:
        writer.write(BYTES)
        path = writer.commit()
    os.link(path, tmp_path / part_name("job_1", 0))  # the temporary name is what a kill would have left
    if edit:
        path.write_bytes(b"mine now")
    again = asyncio.run(store.export(made, target(tmp_path), reuse=True))
    assert again.read_bytes() == BYTES
    assert path.read_bytes() == (b"mine now" if edit else BYTES)
    (tmp_path / part_name("job_1", 0)).unlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == (["fox-2.png", "fox.png", "state"] if edit else ["fox.png", "state"])


def test_export_with_reuse_returns_the_file_that_has_the_bytes(store: ArtifactStore, tmp_path: Path) -> None:
    made = put(store, "job_1")
    (tmp_path / "fox.png").write_bytes(b"another file")
    first = asyncio.run(store.export(made, target(tmp_path)))
    assert first.name == "fox-2.png"
    assert asyncio.run(store.export(made, target(tmp_path), reuse=True)) == first
    assert asyncio.run(store.export(made, target(tmp_path))).name == "fox-3.png"
    first.write_bytes(b"edited")
    assert asyncio.run(store.export(made, target(tmp_path, "bear.png"), reuse=True)).read_bytes() == BYTES


def test_discard_removes_one_reference(store: ArtifactStore) -> None:
    first, second = put(store, "job_1"), put(store, "job_1", b"second", index=1)
    asyncio.run(store.discard(first))
    assert find(store, "job_1") == (second,)
    assert objects(store) == [second.sha256]


@pytest.mark.parametrize(
    "key", ["", "a", "job!piece!0", "job!piece!x!" + "0" * 64 + "!1!m", "job!other!0!" + "0" * 64 + "!1!m", "j!raw!0!z!1!m"]
)
def test_from_key_of_another_text_is_none(key: str) -> None:
    assert Artifact.from_key(key) is None


def test_export_of_damaged_bytes_names_no_file(store: ArtifactStore, tmp_path: Path) -> None:
    made = put(store, "job_1")
    (store.directory / "files" / made.sha256).write_bytes(b"\0" * made.size)
    with pytest.raises(ArtifactDamaged, match="piece 0 of job_1"):
        asyncio.run(store.export(made, target(tmp_path)))
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("operation", ["write", "fsync", "replace"])
def test_put_on_a_disk_that_fails_leaves_nothing(store: ArtifactStore, monkeypatch: pytest.MonkeyPatch, operation: str, code: int) -> None:
    first = put(store, "job_1", b"first")
    real: Callable[..., int] = getattr(os, operation)
    done = 0

    def full(*arguments: object, **named: object) -> int:
        nonlocal done
        if done >= (1 if operation == "write" else 0):
            raise OSError(code, os.strerror(code))
        done += 1
        return real(arguments[0], arguments[1][:100])  # type: ignore[index]

    with monkeypatch.context() as patch:
        patch.setattr(os, operation, full)
        with pytest.raises(ArtifactNotStored, match="could not be stored") as caught:
            put(store, "job_2")
    assert "Free some space" in caught.value.fix
    assert names(store, "parts") == []
    assert objects(store) == [first.sha256]
    assert find(store, "job_2") == ()
    assert find(store, "job_1") == (first,)


def test_put_again_on_a_disk_that_fails_leaves_the_earlier_write(store: ArtifactStore, monkeypatch: pytest.MonkeyPatch) -> None:
    made = put(store, "job_1")

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(ArtifactNotStored):
            put(store, "job_1")
    assert find(store, "job_1") == (made,)


def age(store: ArtifactStore, call_id: str, seconds: float, *, now: float = 1_000_000.0) -> None:
    for path in (store.directory / "files").glob(f"{call_id}!*"):
        os.utime(path, (now - seconds, now - seconds))


def test_gc_removes_what_is_older_and_a_dry_run_only_reports_it(store: ArtifactStore) -> None:
    old, new = put(store, "job_1", b"old!"), put(store, "job_2", b"new")
    age(store, "job_1", 100)
    age(store, "job_2", 10)
    for dry_run in (True, False):
        swept = asyncio.run(store.gc(keep_seconds=50, now=1_000_000.0, dry_run=dry_run))
        assert (swept.removed, swept.freed, swept.left) == ((old,), 4, 3)
        assert find(store, "job_1") == ((old,) if dry_run else ())
    assert find(store, "job_2") == (new,)


def test_gc_beyond_the_size_removes_the_oldest_first(store: ArtifactStore) -> None:
    for number in range(5):
        put(store, f"job_{number}", bytes([number]) * 100)
        age(store, f"job_{number}", 100 - number)
    swept = asyncio.run(store.gc(max_bytes=250, now=1_000_000.0))
    assert [artifact.call_id for artifact in swept.removed] == ["job_0", "job_1", "job_2"]
    assert (swept.freed, swept.left, asyncio.run(store.used_bytes())) == (300, 200, 200)


def test_gc_leaves_what_is_required_and_counts_it(store: ArtifactStore) -> None:
    needed, linked = put(store, "job_1"), put(store, "job_2", b"linked")
    asyncio.run(store.link(linked, "job_3", "input"))
    asked: list[Sequence[Artifact]] = []

    async def keep(found: Sequence[Artifact]) -> Collection[Artifact]:
        asked.append(found)
        return [artifact for artifact in found if artifact.call_id in {"job_1", "job_3"}]

    swept = asyncio.run(store.gc(keep_seconds=0, max_bytes=0, keep=keep, now=2e12))
    assert len(asked[0]) == 3
    assert swept.removed == (linked,)
    assert (swept.freed, swept.required, swept.left) == (0, len(BYTES) + 6, len(BYTES) + 6)
    assert find(store, "job_1") == (needed,)
    assert [artifact.sha256 for artifact in find(store, "job_3")] == [linked.sha256]


def test_gc_removes_bytes_without_a_reference(store: ArtifactStore) -> None:
    made = put(store, "job_1")
    next((store.directory / "files").glob("job_1!*")).unlink()
    assert asyncio.run(store.gc()).freed == made.size
    assert objects(store) == []


def test_gc_of_a_store_that_was_never_used_finds_nothing(store: ArtifactStore) -> None:
    swept = asyncio.run(store.gc(keep_seconds=0, max_bytes=0))
    assert (swept.removed, swept.left) == ((), 0)
    assert asyncio.run(store.release("job_1")) == asyncio.run(store.used_bytes()) == 0
    assert not store.directory.exists()


@posix
def test_gc_leaves_what_a_live_process_keeps_until_it_is_killed(store: ArtifactStore) -> None:
    made = put(store, "job_1")
    code = f"""
import asyncio, sys
from pathlib import Path
from anymedia.artifacts import Artifact, ArtifactStore
store = ArtifactStore(Path({str(store.directory)!r}))
for _ in range(2):
    asyncio.run(store.keep(Artifact.from_key({made.key!r}), ".png"))
print("pinned", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"pinned\n"
        assert len(names(store, "pins")) == 1
        assert asyncio.run(store.gc(keep_seconds=0, now=2e12)).removed == ()
        process.kill()
        process.wait()
    assert asyncio.run(store.gc(keep_seconds=0, now=2e12)).removed == (made,)
    assert names(store, "pins") == []


@posix
def test_gc_removes_the_parts_of_dead_processes_after_a_day(store: ArtifactStore) -> None:
    async def collect() -> tuple[int, int]:
        async with store.writer("job_1", "piece") as writer:
            await writer.write(b"x" * BUFFER)
            (store.directory / "parts" / "job_2!piece!0.part").write_bytes(b"abandoned")
            return (await store.gc()).temporaries, (await store.gc(now=1e11)).temporaries

    assert asyncio.run(collect()) == (0, 1)


def test_gc_during_writes_loses_nothing(store: ArtifactStore) -> None:
    async def work() -> list[Artifact]:
        async def write(number: int) -> Artifact:
            return await store.put(f"job_{number}", "piece", bytes([number]) * 1_000)

        async def keep(found: Sequence[Artifact]) -> Collection[Artifact]:
            return found

        made, *_ = await asyncio.gather(
            asyncio.gather(*[write(number % 7) for number in range(40)]), *[store.gc(keep_seconds=0, keep=keep) for _ in range(20)]
        )
        return made

    for artifact in asyncio.run(work()):
        assert len(asyncio.run(store.read(artifact))) == 1_000


def test_store_whose_directory_is_a_file_names_it(store: ArtifactStore) -> None:
    store.directory.parent.mkdir()
    store.directory.write_text("not a directory")
    for work in (store.used_bytes(), store.all(), store.find("job_1")):
        with pytest.raises(ArtifactNotStored, match="artifacts"):
            asyncio.run(work)

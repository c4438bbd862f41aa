"""Collecting from a plugin's byte streams, and being cancelled or killed on the way."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from collecting import OVERLAP, PNG, SMALL, artifacts_of, bring, check_whole, names_in, never_collected
from faulty_server import Asked, send_from, serving, whole

from anymedia.errors import BackendUnavailable, PluginContractError
from anymedia.results import Piece

pytestmark = pytest.mark.anyio


# Byte streams of a plugin


def flaky(fail: Callable[[], Exception], at: int, *, from_offset: bool = True) -> tuple[Piece, list[int]]:
    """A stream that fails once after some bytes; the list holds the offsets it was opened at."""
    opened: list[int] = []

    async def stream(offset: int) -> AsyncIterator[bytes]:
        opened.append(offset)
        if offset and not from_offset:
            raise ValueError("cannot start there")
        first = len(opened) == 1
        for start in range(offset, len(PNG), 50_000):
            if first and start >= at:
                raise fail()
            yield PNG[start : start + 50_000]

    return Piece(stream=stream), opened


class SdkBroke(Exception):
    """As an SDK's own error: not one of Python's."""


@pytest.mark.parametrize(
    "fail", [lambda: ConnectionResetError(104, "reset"), lambda: SdkBroke("CANARY"), lambda: BackendUnavailable("busy")]
)
async def test_broken_stream_is_resumed(tmp_path: Path, fail: Callable[[], Exception]) -> None:
    piece, opened = flaky(fail, 500_000)
    check_whole(await bring(piece, tmp_path))
    assert opened == [0, 500_000 - OVERLAP]


async def test_stream_that_cannot_start_at_the_offset_starts_over(tmp_path: Path) -> None:
    piece, opened = flaky(lambda: SdkBroke(), 500_000, from_offset=False)
    check_whole(await bring(piece, tmp_path))
    assert opened == [0, 500_000 - OVERLAP, 0]


async def test_silent_stream_is_closed_and_tried_again(tmp_path: Path) -> None:
    closed = []

    async def stream(offset: int) -> AsyncIterator[bytes]:
        try:
            yield SMALL[:10]
            await asyncio.sleep(30)
        finally:
            closed.append(offset)

    await never_collected(Piece(stream=stream), tmp_path, BackendUnavailable, "TimeoutError", stall=0.05, retries=1)
    assert closed == [0, 0]


@pytest.mark.parametrize("error", [TypeError("CANARY"), KeyError("CANARY"), ValueError("CANARY")])
async def test_plugins_own_mistake_is_not_tried_again(tmp_path: Path, error: Exception) -> None:
    piece, opened = flaky(lambda: error, 500_000)
    await never_collected(piece, tmp_path, PluginContractError, type(error).__name__)
    assert opened == [0]


# Cancelled, killed


async def half_then_silence(asked: Asked, writer: asyncio.StreamWriter) -> None:
    send_from(asked, writer, PNG, cut=700_000)
    await writer.drain()
    await asyncio.sleep(30)


def part_in(folder: Path) -> Path:
    return artifacts_of(folder).directory / "parts" / "call1!piece!0.part"


async def part_of(folder: Path, size: int) -> Path:
    """Wait until the temporary has grown to a size."""
    part = part_in(folder)
    async with asyncio.timeout(60):
        while not (part.exists() and part.stat().st_size >= size):
            await asyncio.sleep(0.01)
    return part


async def test_cancelled_download_leaves_nothing(tmp_path: Path) -> None:
    async with serving(half_then_silence) as server:
        task = asyncio.ensure_future(bring(Piece(url=server.url()), tmp_path, server=server))
        await part_of(tmp_path, 500_000)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert names_in(tmp_path) == []
    assert not part_in(tmp_path).exists()


async def test_cancelling_at_any_moment_leaves_a_whole_file_or_nothing(tmp_path: Path) -> None:
    for steps in range(40):
        folder = tmp_path / str(steps)
        folder.mkdir()
        task = asyncio.ensure_future(bring(Piece(data=SMALL), folder))
        for _ in range(steps):
            await asyncio.sleep(0.0002)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert names_in(folder) in ([], ["fox.png"])
        assert all(path.read_bytes() == SMALL for path in folder.iterdir())


CHILD = """
import asyncio, sys
from anymedia.results import Piece
from pathlib import Path
from anymedia.artifacts import ArtifactStore
from anymedia.execution.save_piece import store_piece
from anymedia.net.fetcher import Fetcher

async def main(url, folder):
    async with Fetcher(allow=["127.0.0.1"]) as fetcher:
        await store_piece(Piece(url=url), ArtifactStore(Path(folder)), fetcher=fetcher, call_id="call1")

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
async def test_killed_download_has_no_name_and_is_resumed_with_the_call(tmp_path: Path) -> None:
    async with serving(half_then_silence) as server:
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", CHILD, server.url(), str(artifacts_of(tmp_path).directory))
        try:
            part = await part_of(tmp_path, 500_000)
            assert names_in(tmp_path) == []
            assert stat.S_IMODE(part.stat().st_mode) == 0o600
        finally:
            child.send_signal(signal.SIGKILL)
            await child.wait()
    had = part.stat().st_size
    async with serving(whole(PNG)) as server:
        check_whole(await bring(Piece(url=server.url()), tmp_path, server=server))
    assert [asked.offset for asked in server.asked] == [had - OVERLAP]


async def test_dead_downloads_wrong_bytes_are_found_out(tmp_path: Path) -> None:
    part_in(tmp_path).parent.mkdir(parents=True)
    part_in(tmp_path).write_bytes(b"\0" * 300_000)
    async with serving(whole(PNG)) as server:
        check_whole(await bring(Piece(url=server.url()), tmp_path, server=server))
    assert [asked.offset for asked in server.asked] == [300_000 - OVERLAP, 0]

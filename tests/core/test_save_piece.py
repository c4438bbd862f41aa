"""From a piece to a checked file: breaks are mended, lies are found out, nothing half-done carries a name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from collecting import OVERLAP, PNG, SMALL, Naps, bring, check_whole, names_in, never_collected, noise_png
from faulty_server import Asked, head, reset, send_from, serving, whole

from anymedia.errors import BackendError, BackendUnavailable, BadBackendResponse, OutputMismatch
from anymedia.results import Piece, Warning

pytestmark = pytest.mark.anyio


# What goes well


async def test_bytes_a_url_and_a_stream_give_the_same_file_verbatim(tmp_path: Path) -> None:
    async def stream(offset: int) -> AsyncIterator[bytes]:
        for start in range(offset, len(PNG), 10_000):
            yield PNG[start : start + 10_000]

    async with serving(whole(PNG)) as server:
        for number, piece in enumerate((Piece(data=PNG), Piece(url=server.url()), Piece(stream=stream))):
            folder = tmp_path / str(number)
            folder.mkdir()
            found = await bring(piece, folder, server=server)
            check_whole(found)
            assert found.file.path == folder / "fox.png"
            assert (found.file.mime, found.file.width, found.file.height, found.format) == ("image/png", 700, 700, "png")
            assert found.warnings == ()


async def test_file_is_named_by_its_bytes_and_reported(tmp_path: Path) -> None:
    found = await bring(Piece(data=SMALL, mime="image/jpeg"), tmp_path, name="fox.jpg")
    assert found.file.path == tmp_path / "fox.png"
    assert found.warnings == (Warning("file_renamed", "The file is named 'fox.png', not 'fox.jpg': its bytes are png."),)
    assert (await bring(Piece(data=SMALL), tmp_path, name="")).warnings == ()


async def test_taken_name_after_spending_does_not_raise(tmp_path: Path) -> None:
    (tmp_path / "fox.png").write_bytes(b"theirs")
    found = await bring(Piece(data=SMALL), tmp_path)
    assert found.file.path == tmp_path / "fox-2.png"
    text = "The file is named 'fox-2.png', not 'fox.png': another file with that name was created in the meantime."
    assert found.warnings == (Warning("file_renamed", text),)
    assert (tmp_path / "fox.png").read_bytes() == b"theirs"


async def test_several_pieces_at_once_are_numbered(tmp_path: Path) -> None:
    async with serving(whole(PNG)) as server:
        pieces = [Piece(url=server.url()) for _ in range(5)]
        found = await asyncio.gather(*(bring(p, tmp_path, server=server, index=i, of=5) for i, p in enumerate(pieces)))
    assert [f.file.path.name for f in found] == [f"fox-{i}.png" for i in range(1, 6)]
    assert len(names_in(tmp_path)) == 5


async def test_raw_samples_are_taken_on_the_plugins_word_but_a_text_never(tmp_path: Path) -> None:
    found = await bring(Piece(data=bytes(range(256)) * 8, mime="audio/pcm"), tmp_path, name="talk.pcm", expect="audio")
    assert (found.format, found.file.path.name) == ("pcm", "talk.pcm")
    found.file.path.unlink()
    await never_collected(
        Piece(data=b'{"error": 1}', mime="audio/pcm"), tmp_path, BadBackendResponse, "JSON", name="talk.pcm", expect="audio"
    )


# What breaks off


async def test_interrupted_download_is_resumed_at_its_offset(tmp_path: Path) -> None:
    cuts = iter([400_000, 300_000, 500_000])

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        send_from(asked, writer, PNG, cut=next(cuts, None))

    naps = Naps()
    async with serving(answer) as server:
        check_whole(await bring(Piece(url=server.url()), tmp_path, server=server, sleep=naps))
    offsets = [asked.offset for asked in server.asked]
    assert offsets == [0, 400_000 - OVERLAP, 700_000 - 2 * OVERLAP, 1_200_000 - 3 * OVERLAP]
    assert [asked.headers.get("if-range") for asked in server.asked] == [None, '"v1"', '"v1"', '"v1"']
    assert len(naps.taken) == 3
    assert all(0.3 < nap < 4 for nap in naps.taken)


async def test_download_with_resets_and_errors_in_between_is_resumed(tmp_path: Path) -> None:
    turn = iter(range(10))

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        match next(turn):
            case 0:
                writer.write(head("503 Busy", content_length=0))
            case 1:
                reset(writer)
            case 2:
                send_from(asked, writer, PNG, cut=500_000)
                await writer.drain()
                await asyncio.sleep(0.05)
                reset(writer)
            case _:
                send_from(asked, writer, PNG)

    async with serving(answer) as server:
        check_whole(await bring(Piece(url=server.url()), tmp_path, server=server))
    assert len(server.asked) == 4


async def test_server_without_ranges_is_asked_from_the_beginning(tmp_path: Path) -> None:
    cuts = iter([400_000])

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(head(content_length=len(PNG)) + PNG[: next(cuts, len(PNG))])

    async with serving(answer) as server:
        check_whole(await bring(Piece(url=server.url()), tmp_path, server=server))
    assert [asked.offset for asked in server.asked] == [0, 400_000 - OVERLAP]


@pytest.mark.parametrize("etags", [('"old"', '"new"'), (None, None)])
async def test_file_that_changes_in_between_is_never_mixed(tmp_path: Path, etags: tuple[str | None, str | None]) -> None:
    old, new = noise_png(seed=2), noise_png(seed=3)
    turn = iter([(old, etags[0], 600_000)])

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        body, etag, cut = next(turn, (new, etags[1], None))
        send_from(asked, writer, body, etag=etag or "weak", cut=cut)

    async with serving(answer) as server:
        check_whole(await bring(Piece(url=server.url()), tmp_path, server=server), new)


async def test_file_that_became_shorter_is_requested_again(tmp_path: Path) -> None:
    turn = iter([(PNG, 900_000)])

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        body, cut = next(turn, (SMALL, None))
        send_from(asked, writer, body, etag="weak", cut=cut)

    async with serving(answer) as server:
        check_whole(await bring(Piece(url=server.url()), tmp_path, server=server), SMALL)


async def test_long_download_may_break_more_often_than_retries_while_it_gets_on(tmp_path: Path) -> None:
    big = noise_png(1500, 1500)

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        send_from(asked, writer, big, cut=1_200_000)

    async with serving(answer) as server:
        check_whole(await bring(Piece(url=server.url()), tmp_path, server=server, retries=1), big)
    assert len(server.asked) >= 5


async def test_length_that_is_never_reached_ends_in_an_error(tmp_path: Path) -> None:
    async def lying(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(head(content_length=len(SMALL) + 10) + SMALL)

    naps = Naps()
    async with serving(lying) as server:
        await never_collected(Piece(url=server.url()), tmp_path, BackendUnavailable, "interrupted", server=server, sleep=naps, retries=3)
    assert len(server.asked) == 4
    assert len(naps.taken) == 3


async def test_length_that_is_too_small_gives_no_file(tmp_path: Path) -> None:
    async def lying(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(head(content_length=1000) + PNG)

    async with serving(lying) as server:
        await never_collected(Piece(url=server.url()), tmp_path, BackendError, "not valid image data|could not be fetched", server=server)


# What is wrong for good


@pytest.mark.parametrize("status", [401, 403, 404, 410])
async def test_link_that_is_gone_is_reported_at_once(tmp_path: Path, status: int) -> None:
    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(head(f"{status} Gone", content_length=0))

    async with serving(answer) as server:
        error = await never_collected(Piece(url=server.url()), tmp_path, BadBackendResponse, "expired or was removed", server=server)
    assert isinstance(error, BackendError)
    assert error.status == status
    assert "Resume the job" in str(error)
    assert len(server.asked) == 1


async def test_link_that_expires_half_way_leaves_nothing(tmp_path: Path) -> None:
    turn = iter([500_000])

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        if cut := next(turn, None):
            send_from(asked, writer, PNG, cut=cut)
        else:
            writer.write(head("403 Forbidden", content_length=0))

    async with serving(answer) as server:
        await never_collected(Piece(url=server.url()), tmp_path, BadBackendResponse, "expired", server=server)


@pytest.mark.parametrize(
    ("body", "said", "words"),
    [
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", "an HTML page", "Sign in"),
        (
            b'\n {"error": {"message": "see https://x.example/?sig=CANARY", "code": 7}}',
            r"a JSON text: .*code.*7",
            "see https://x.example/?...",
        ),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "an XML text: .*AccessDenied", "AccessDenied"),
        (b"", "an empty response", ""),
        (PNG[:1000], "not valid image data", ""),
        (b"\x7fELF" + bytes(200), "not valid image data", ""),
        (b"Too many requests\x1b[31m", "a text: Too many requests", "Too many requests"),
    ],
)
async def test_file_that_is_not_media_is_reported_by_its_type(tmp_path: Path, body: bytes, said: str, words: str) -> None:
    error = await never_collected(Piece(data=body, mime="image/png"), tmp_path, BadBackendResponse, said)
    assert str(error).isprintable()
    assert error.provider_message == words


async def test_another_medium_than_was_asked_for_is_a_mismatch(tmp_path: Path) -> None:
    await never_collected(Piece(data=SMALL), tmp_path, OutputMismatch, "is image .*video was requested", name="fox.mp4", expect="video")


async def test_link_into_the_network_is_not_followed(tmp_path: Path) -> None:
    for url in ("https://127.0.0.1/x.png", "https://169.254.169.254/latest", "http://example.com/x.png"):
        await never_collected(Piece(url=url), tmp_path, BadBackendResponse, "link was refused")


async def test_keys_go_along_only_to_declared_hosts(tmp_path: Path) -> None:
    async with serving(whole(SMALL)) as server:
        piece = Piece(url=server.url(), headers={"x-api-key": "CANARY"})
        await bring(piece, tmp_path, server=server, hosts=["127.0.0.1"])
        await bring(piece, tmp_path, server=server, hosts=["api.example"])
    assert [asked.headers.get("x-api-key") for asked in server.asked] == ["CANARY", None]


async def test_more_bytes_than_are_taken_end_it(tmp_path: Path) -> None:
    async def endless(offset: int) -> AsyncIterator[bytes]:
        while True:
            yield bytes(65_536)

    await never_collected(Piece(stream=endless), tmp_path, BadBackendResponse, "maximum of 1000000", max_bytes=1_000_000)
    async with serving(whole(PNG)) as server:
        await never_collected(Piece(url=server.url()), tmp_path, BadBackendResponse, "maximum", server=server, max_bytes=1000)

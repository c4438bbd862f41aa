"""Answers have a size: decoded bytes are counted in every encoding, and an answer that is too long is cut off."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import AsyncIterator, Callable

import pytest
from wire.http_server import HttpServer, Reply

from anymedia.context import Context, answer_limit, answers_up_to
from anymedia.errors import AnswerTooLarge, BadBackendResponse
from anymedia.http import get_json, new_session, read_body, sdk_client
from anymedia.http.transport import ERROR_BYTES
from anymedia.network import Network

pytestmark = pytest.mark.anyio
WORDS = b"0123456789abcdef" * 20_000


def raw_deflate(data: bytes) -> bytes:
    made = zlib.compressobj(wbits=-15)
    return made.compress(data) + made.flush()


ENCODED: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "plain": ("", bytes),
    "identity": ("identity", bytes),
    "gzip": ("gzip", gzip.compress),
    "two gzip members": ("GZIP", lambda data: gzip.compress(data[:999]) + gzip.compress(data[999:])),
    "gzip with padding": ("x-gzip", lambda data: gzip.compress(data) + b"\0" * 9),
    "zlib": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
}


@pytest.fixture
async def ask() -> AsyncIterator[Callable[[Reply], object]]:
    """Answer a request with a reply, and read it as plugins with a session and plugins with an SDK do; both read the same."""
    replies: list[Reply] = []
    with HttpServer(lambda _: replies[-1]) as server:
        async with new_session(Network()) as session, sdk_client(Network(), server.url, seconds=10.0) as client:

            async def by_session() -> bytes:
                async with session.get(server.url) as answer:
                    return await read_body(answer)

            async def by_client() -> bytes:
                return (await client.get(server.url)).content

            async def call(reply: Reply) -> bytes:
                replies.append(reply)
                found = []
                for read in (by_session, by_client):
                    try:
                        found.append(await read())
                    except BadBackendResponse as error:
                        found.append(error)
                assert type(found[0]) is type(found[1])
                if isinstance(found[0], Exception):
                    raise found[0]
                assert found[0] == found[1]
                return found[0]

            yield call


def encoded(name: str, data: bytes = WORDS, status: int = 200) -> Reply:
    header, encode = ENCODED[name]
    return Reply(status=status, body=encode(data), headers={"content-encoding": header} if header else {})


@pytest.mark.parametrize("name", ENCODED)
async def test_answer_in_any_encoding_is_decoded_and_counted(ask: Callable[[Reply], AsyncIterator[bytes]], name: str) -> None:
    with answers_up_to(len(WORDS)):
        assert await ask(encoded(name)) == WORDS
    with answers_up_to(len(WORDS) - 1), pytest.raises(AnswerTooLarge) as caught:
        await ask(encoded(name))
    assert caught.value.charged == caught.value.delivery == "unknown"


@pytest.mark.parametrize("name", ENCODED)
async def test_error_answer_that_is_too_long_is_read_in_part(ask: Callable[[Reply], AsyncIterator[bytes]], name: str) -> None:
    with answers_up_to(10):
        found = await ask(encoded(name, b"The reason. " * (ERROR_BYTES // 6), status=500))
    assert found.startswith(b"The reason. ")
    assert len(found) == ERROR_BYTES


@pytest.mark.parametrize(
    ("header", "body"), [("br", b"\x0b\x02\x80"), ("gzip, gzip", gzip.compress(b"", mtime=0)), ("gzip", b"\x1f\x8b\x08 nothing")]
)
async def test_answer_that_cannot_be_decoded_is_unusable(ask: Callable[[Reply], AsyncIterator[bytes]], header: str, body: bytes) -> None:
    with pytest.raises(BadBackendResponse, match="encoding") as caught:
        await ask(Reply(body=body, headers={"content-encoding": header}))
    assert caught.value.charged == "unknown"


async def test_answer_of_a_submit_has_the_size_of_its_context() -> None:
    with HttpServer(lambda _: Reply.of_json({"text": "x" * 1000})) as server:
        made: list[object] = []

        def clients(_: str, factory: Callable[[], object]) -> object:
            made[:] = made or [factory()]
            return made[0]

        context = Context(backend="b", answer_bytes=500, clients=clients)
        assert len((await get_json(context, server.url))["text"]) == 1000
        with pytest.raises(AnswerTooLarge):
            async with context.submission():
                assert answer_limit() == 500
                await get_json(context, server.url)
        assert answer_limit() > 500
        await made[0].aclose()  # type: ignore[attr-defined]

"""Where libraries hide the error of the operating system: it alone tells whether a request can have left."""

import socket

import httpx2
import pytest
from wire.http_server import HttpServer, Reply, closed_port

from anymedia.delivery import causes, is_not_sent

pytestmark = pytest.mark.anyio


async def post(url: str) -> Exception:
    async with httpx2.AsyncClient(trust_env=False) as client:
        try:
            await client.post(url, json={})
        except httpx2.HTTPError as error:
            return error
    raise AssertionError("it was answered")


async def test_httpx_a_refused_connection_was_not_sent() -> None:
    error = await post(f"http://127.0.0.1:{closed_port()}")
    assert isinstance(list(causes(error))[-1], ConnectionRefusedError)
    assert is_not_sent(error)


async def test_httpx_a_name_that_does_not_exist_was_not_sent() -> None:
    error = await post("http://nothing.invalid")
    assert isinstance(list(causes(error))[-1], socket.gaierror)
    assert is_not_sent(error)


@pytest.mark.parametrize("kind", ["drop", "lost", "reset"])
async def test_httpx_a_broken_exchange_may_have_been_sent(kind: str) -> None:
    with HttpServer(lambda _: Reply()) as server:
        server.fail(kind, times=None)  # type: ignore[arg-type]
        assert not is_not_sent(await post(server.url))
        assert len(server.received) == 1


def test_several_addresses_count_as_not_sent_only_if_none_was_reached() -> None:
    refused, reset = ConnectionRefusedError(111, "no"), ConnectionResetError(104, "cut")
    assert is_not_sent(OSError("all failed")) is False
    assert is_not_sent(ExceptionGroup("all", [refused, OSError(113, "no route")]))
    assert not is_not_sent(ExceptionGroup("some", [refused, reset]))


def test_text_in_an_errors_arguments_does_not_count_as_cause() -> None:
    assert len(list(causes(RuntimeError("connection refused")))) == 1
    assert not is_not_sent(RuntimeError("connection refused"))

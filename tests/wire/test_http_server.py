"""The server for the fakes does what its faults say: the tests that rely on it would prove nothing otherwise."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator

import pytest
from wire.http_server import HttpServer, Received, Reply, closed_port


@pytest.fixture
def handled() -> list[Received]:
    return []


@pytest.fixture
def server(handled: list[Received]) -> Iterator[HttpServer]:
    def handler(received: Received) -> Reply:
        handled.append(received)
        return Reply.of_json({"path": received.path, "size": len(received.body), "pad": "x" * 200_000})

    with HttpServer(handler) as made:
        yield made


def ask(server: HttpServer, method: str = "POST", path: str = "/v1/a?b=c", body: bytes = b"hello") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        connection.request(method, path, body, {"X-Mark": "1"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_request_received_is_recorded_whole(server: HttpServer) -> None:
    body = bytes(range(256)) * 20_000
    status, _ = ask(server, body=body)
    received = server.last("POST /v1/a")
    assert (status, received.body, received.query, received.headers["x-mark"]) == (200, body, {"b": "c"}, "1")


@pytest.mark.parametrize(
    ("kind", "raised", "was_handled"),
    [("drop", http.client.RemoteDisconnected, 0), ("lost", http.client.RemoteDisconnected, 1), ("reset", ConnectionResetError, 0)],
)
def test_cut_connection_is_cut_before_or_after_the_work(
    server: HttpServer, handled: list[Received], kind: str, raised: type[Exception], was_handled: int
) -> None:
    server.fail(kind, on="POST /v1/")  # type: ignore[arg-type]
    with pytest.raises(raised):
        ask(server)
    assert (len(server.received), len(handled)) == (1, was_handled)
    assert ask(server)[0] == 200


def test_truncated_answer_promises_more_than_it_sends(server: HttpServer) -> None:
    server.fail("truncate", keep=70_000)
    with pytest.raises(http.client.IncompleteRead) as caught:
        ask(server)
    assert 0 < len(caught.value.partial) <= 70_000


def test_garbage_a_status_and_a_delay_answer_what_was_asked_for(server: HttpServer, handled: list[Received]) -> None:
    server.fail("garbage")
    assert ask(server)[1].startswith(b"\x00")
    server.fail("status", status=429, json={"error": 1}, headers={"retry-after": "3"})
    assert ask(server) == (429, b'{"error": 1}')
    server.fail("delay", seconds=0.1)
    begun = time.monotonic()
    assert ask(server)[0] == 200
    assert time.monotonic() - begun >= 0.1
    assert len(handled) == 2


def test_fault_is_for_its_own_path_and_its_number_of_times(server: HttpServer) -> None:
    server.fail("status", on="GET /v1/b", times=2, status=503)
    assert ask(server)[0] == 200
    assert [ask(server, "GET", "/v1/b")[0] for _ in range(3)] == [503, 503, 200]


def test_closed_port_refuses() -> None:
    with pytest.raises(ConnectionRefusedError):
        http.client.HTTPConnection("127.0.0.1", closed_port(), timeout=60).connect()

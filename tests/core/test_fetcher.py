"""The guarded fetcher on the wire: what it never sends, and how failed responses are reported."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from faulty_server import Asked, head, reset, send_from, serving, whole

from anymedia.errors import BackendError, BackendUnavailable, BadBackendResponse, InvalidRequest
from anymedia.net.fetcher import Fetcher

KEY, SIGNATURE = "CANARY-KEY", "CANARY-SIGNATURE"
pytestmark = pytest.mark.anyio


async def test_request_carries_nothing_of_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async with serving(whole(b"body")) as server, serving(whole(b"from the proxy")) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login a password CANARY\n")
        monkeypatch.setenv("NETRC", str(netrc))
        async with Fetcher(allow=[server.allow]) as fetcher:
            assert await fetcher.fetch_bytes(server.url()) == b"body"
    assert proxy.asked == []
    assert set(server.asked[0].headers) == {"host", "accept", "accept-encoding", "user-agent"}
    assert server.asked[0].headers["accept-encoding"] == "identity"


async def test_name_is_in_the_host_header_though_the_connection_goes_to_the_address() -> None:
    async def dns(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    async with serving(whole(b"body")) as server, Fetcher(allow=[f"media.example:{server.port}"], resolver=dns) as fetcher:
        assert await fetcher.fetch_bytes(server.url(host="media.example")) == b"body"
    assert server.asked[0].headers["host"] == f"media.example:{server.port}"


async def test_cookie_of_an_answer_is_not_kept() -> None:
    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(head(content_length=2, set_cookie="a=b") + b"ok")

    async with serving(answer) as server, Fetcher(allow=[server.allow]) as fetcher:
        for _ in range(2):
            await fetcher.fetch_bytes(server.url())
    assert all("cookie" not in asked.headers for asked in server.asked)


@pytest.mark.parametrize(
    ("hosts", "sent"),
    [
        ((), False),
        (("127.0.0.1",), True),
        (("127.0.0.1:{port}",), True),
        (("127.0.0.1:1",), False),
        (("0.0.1",), False),
        (("other.example",), False),
    ],
)
async def test_keys_go_to_declared_hosts_only(hosts: tuple[str, ...], sent: bool) -> None:
    async with serving(whole(b"body")) as server, Fetcher(allow=[server.allow]) as fetcher:
        named = [host.format(port=server.port) for host in hosts]
        await fetcher.fetch_bytes(server.url(), headers={"x-goog-api-key": KEY}, credential_hosts=named)
    assert (server.asked[0].headers.get("x-goog-api-key") == KEY) is sent


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
async def test_redirect_to_another_declared_host_carries_no_key(status: str) -> None:
    async with serving(whole(b"body")) as other:

        async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
            if asked.path == "/again":
                writer.write(head(status, content_length=0, location=other.url("/file")))
            else:
                writer.write(head(status, content_length=0, location="/again"))

        async with serving(answer) as first, Fetcher(allow=["127.0.0.1"]) as fetcher:
            headers = {"Authorization": f"Bearer {KEY}", "x-api-key": KEY, "x-goog-api-key": KEY}
            body = await fetcher.fetch_bytes(first.url(), headers=headers, credential_hosts=["127.0.0.1"])
    assert body == b"body"
    assert [asked.headers.get("x-api-key") for asked in first.asked] == [KEY, KEY]
    assert not any(KEY in value for value in other.asked[0].headers.values())


async def test_redirects_in_a_circle_are_given_up() -> None:
    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(head("302 Found", content_length=0, location="/round"))

    async with serving(answer) as server, Fetcher(allow=[server.allow]) as fetcher:
        with pytest.raises(BadBackendResponse, match="more than 5"):
            await fetcher.fetch_bytes(server.url())
    assert len(server.asked) == 6


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_providers_link_that_is_refused_says_which_setting_lets_it_through(host: str) -> None:
    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(head(content_length=2) + b"ok")

    async with serving(answer) as server:
        url = server.url(host=host).replace("https:", "http:")
        async with Fetcher() as fetcher:
            with pytest.raises(BadBackendResponse, match="link was refused") as caught:
                await fetcher.fetch_bytes(url)
            assert server.asked == []
            with pytest.raises(InvalidRequest) as callers:
                await fetcher.fetch_bytes(url, for_caller=True)
            assert "allow" not in callers.value.fix  # what a caller names must not widen the allowed hosts
        named = re.search(r'\[fetch\] allow = (\["[^"]+"\])', caught.value.fix)
        assert named is not None, caught.value.fix
        async with Fetcher(allow=json.loads(named[1])) as fetcher:
            assert await fetcher.fetch_bytes(url) == b"ok"


@pytest.mark.parametrize("url", ["http://169.254.169.254/latest", "https://169.254.169.254/latest", "https://metadata.example/"])
async def test_address_that_no_setting_allows_is_refused_without_naming_one(url: str) -> None:
    async def resolver(host: str, port: int) -> list[str]:
        return ["169.254.169.254"]

    async with Fetcher(resolver=resolver) as fetcher:
        with pytest.raises(BadBackendResponse, match="link was refused") as caught:
            await fetcher.fetch_bytes(url)
    assert caught.value.fix == ""


# Answers that go wrong


async def fails(answer: Any, expected: type[Exception], match: str, *, for_caller: bool = False, **settings: Any) -> Exception:
    """Fetch from a server that misbehaves; no message may hold the signature."""
    async with serving(answer) as server, Fetcher(allow=[server.allow], **settings) as fetcher:
        with pytest.raises(expected, match=match) as caught:
            await fetcher.fetch_bytes(server.url(), headers={"x-api-key": KEY}, credential_hosts=["127.0.0.1"], for_caller=for_caller)
    error: BaseException | None = caught.value
    while error is not None:
        assert SIGNATURE not in str(error) + repr(error)
        assert KEY not in str(error) + repr(error)
        error = error.__cause__
    return caught.value


@pytest.mark.parametrize(
    ("status", "kind"), [(404, BadBackendResponse), (403, BadBackendResponse), (500, BackendUnavailable), (429, BackendUnavailable)]
)
async def test_error_status_is_reported_with_its_number(status: int, kind: type[BackendError]) -> None:
    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(head(f"{status} Whatever {SIGNATURE}", content_length=3) + b"no!")

    error = await fails(answer, kind, f"status {status}")
    assert isinstance(error, BackendError)
    assert error.status == status
    await fails(answer, InvalidRequest, f"status {status}", for_caller=True)


async def test_body_cut_off_is_an_error() -> None:
    async def short(asked: Asked, writer: asyncio.StreamWriter) -> None:
        send_from(asked, writer, b"x" * 1000, cut=300)

    async def unchunked(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(head(transfer_encoding="chunked") + b"5\r\nhello\r\n")

    async def torn(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(head(content_length=1000) + b"x" * 300)
        await writer.drain()
        await asyncio.sleep(0.05)
        reset(writer)

    for answer in (short, unchunked, torn):
        await fails(answer, BackendUnavailable, "interrupted|could not be fetched")
    await fails(short, InvalidRequest, "interrupted", for_caller=True)


async def test_answer_missing_or_not_http_is_an_error() -> None:
    async def nothing(asked: Asked, writer: asyncio.StreamWriter) -> None:
        reset(writer)

    async def noise(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH " + SIGNATURE.encode() + b"\r\n\r\n")

    await fails(nothing, BackendUnavailable, "could not be fetched")
    await fails(noise, BackendError, "could not be fetched|invalid HTTP")


async def test_silent_answer_is_given_up() -> None:
    async def silent(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.2)

    async def half(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(head(content_length=100) + b"x")
        await writer.drain()
        await asyncio.sleep(0.2)

    await fails(silent, BackendUnavailable, "did not answer in time", stall=0.05)
    await fails(half, BackendUnavailable, "did not answer in time", stall=0.05)
    await fails(half, BackendUnavailable, "did not answer in time", timeout=0.05)


async def test_answer_slower_than_the_minimum_is_given_up() -> None:
    async def drip(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(head(content_length=10_000))
        for _ in range(200):
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    await fails(drip, BackendUnavailable, "slower than the minimum of 1024 bytes", stall=1.0, rate_window=0.3)


async def test_answer_larger_than_the_maximum_is_given_up() -> None:
    async def announced(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(head(content_length=10**12))

    async def endless(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(head())
        while not writer.is_closing():
            writer.write(b"x" * 65_536)
            await writer.drain()

    await fails(announced, BadBackendResponse, "the maximum is 1000000", max_bytes=1_000_000)
    await fails(endless, BadBackendResponse, "maximum of 1000000 bytes", max_bytes=1_000_000)


async def test_compressed_answer_is_not_unpacked() -> None:
    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(head(content_length=4, content_encoding="gzip") + b"\x1f\x8b\x08\x00")

    await fails(answer, BadBackendResponse, "encoding that was not requested")


async def test_resumed_download_accepts_only_the_requested_offset() -> None:
    body = bytes(range(256)) * 40
    async with serving(whole(body)) as server, Fetcher(allow=[server.allow]) as fetcher:
        async with fetcher.fetch(server.url(), offset=1000, etag='"v1"') as download:
            assert (download.start, download.total, download.etag) == (1000, len(body), '"v1"')
            assert b"".join([chunk async for chunk in download.chunks()]) == body[1000:]
        async with fetcher.fetch(server.url(), offset=1000, etag='"v0"') as download:
            assert download.start == 0
        with pytest.raises(BadBackendResponse) as caught:
            async with fetcher.fetch(server.url(), offset=len(body)):
                pass
        assert caught.value.status == 416
    assert server.asked[0].headers["if-range"] == '"v1"'


@pytest.mark.parametrize(
    "claimed",
    ["bytes 0-9/10", "bytes 6-9/10", "bytes 5-8/10", "bytes 5-9/9", "items 5-9/10", "bytes */10", "", "bytes 5-9999999999999999999999/10"],
)
async def test_range_that_was_not_asked_for_is_refused(claimed: str) -> None:
    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(head("206 Partial Content", content_length=5, content_range=claimed) + b"56789")

    async with serving(answer) as server, Fetcher(allow=[server.allow]) as fetcher:
        with pytest.raises(BackendError, match=r"another range|interrupted"):
            async with fetcher.fetch(server.url(), offset=5) as download:
                [chunk async for chunk in download.chunks()]


async def test_log_of_a_fetch_contains_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving(whole(b"body")) as server, Fetcher(allow=[server.allow]) as fetcher:
        await fetcher.fetch_bytes(server.url(), headers={"x-api-key": KEY}, credential_hosts=["127.0.0.1"])
    assert KEY not in caplog.text
    assert SIGNATURE not in caplog.text


async def test_two_event_loops_each_have_their_own_connections() -> None:
    fetcher_box: list[Fetcher] = []

    async def once() -> bytes:
        async with serving(whole(b"body")) as server:
            fetcher = fetcher_box[0] if fetcher_box else Fetcher(allow=["127.0.0.1"])
            fetcher_box[:] = [fetcher]
            try:
                return await fetcher.fetch_bytes(server.url())
            finally:
                await fetcher.aclose()

    assert await once() == b"body"
    assert await asyncio.to_thread(lambda: asyncio.run(once())) == b"body"

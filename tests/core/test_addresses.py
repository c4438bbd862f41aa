"""Where the guarded fetcher never connects: hostile URLs, names that lead inside, redirects."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from faulty_server import Asked, head, serving
from hypothesis import given
from hypothesis import strategies as st

from anymedia.errors import BackendUnavailable, BadBackendResponse, InvalidRequest
from anymedia.net.addresses import AllowList, Refused, is_public, read_url
from anymedia.net.fetcher import Fetcher

CORPUS = json.loads((Path(__file__).with_name("corpora") / "urls.json").read_text())
HOSTILE = [u if isinstance(u, str) else u["repeat"] * u["times"] for group in CORPUS["hostile"].values() for u in group]
pytestmark = pytest.mark.anyio


class Trap:
    """Counts the sockets that are asked for, and lets none connect except to the given ports."""

    def __init__(self, *through: int) -> None:
        self.through = through
        self.caught: list[tuple[str, int]] = []

    def __call__(self, info: tuple[Any, ...]) -> socket.socket:
        where = (str(info[4][0]), int(info[4][1]))
        if where[1] in self.through:
            return socket.socket(info[0], info[1], info[2])
        self.caught.append(where)
        raise ConnectionRefusedError(111, "trapped")


async def fake_dns(host: str, port: int) -> Sequence[str]:
    try:
        return list(CORPUS["dns"][host])
    except KeyError:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known") from None


async def test_hostile_url_is_never_connected_to(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(set(HOSTILE)) >= 100
    trap = Trap()
    async with Fetcher(allow_http=True, resolver=fake_dns, socket_factory=trap) as fetcher:
        for url in HOSTILE:
            for for_caller, expected in ((True, InvalidRequest), (False, BadBackendResponse)):
                with pytest.raises(expected) as caught:
                    await fetcher.fetch_bytes(url, for_caller=for_caller)
                assert str(caught.value).isprintable(), url
    with capsys.disabled():
        print(f"\nURLs: {len(HOSTILE)} tried, all refused, {len(trap.caught)} connections")
    assert trap.caught == []


async def test_public_urls_pass_up_to_the_trap() -> None:
    for url in CORPUS["public"]:
        trap = Trap()
        async with Fetcher(allow_http=True, resolver=fake_dns, socket_factory=trap) as fetcher:
            with pytest.raises(BackendUnavailable, match="could not be fetched"):
                await fetcher.fetch_bytes(url)
        assert trap.caught, url
        assert all(is_public(ipaddress.ip_address(address)) for address, _ in trap.caught)
        assert {port for _, port in trap.caught} == {80 if url.startswith("http:") else 443}


async def test_every_hostile_url_is_refused_as_a_redirect_too(capsys: pytest.CaptureFixture[str]) -> None:
    """From a public site, whose name leads to the test's own server."""
    target = ""

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(head("302 Found", content_length=0)[:-2] + b"location: " + target.encode("utf-8", "ignore") + b"\r\n\r\n")

    tried = 0
    async with serving(answer) as server:
        trap = Trap(server.port)

        async def dns(host: str, port: int) -> Sequence[str]:
            return ["127.0.0.1"] if host == "site.example" else await fake_dns(host, port)

        allow = [f"site.example:{server.port}"]
        async with Fetcher(allow=allow, allow_http=True, resolver=dns, socket_factory=trap) as fetcher:
            for target in HOSTILE:
                if (
                    not target
                    or target != target.strip()
                    or any(c in target for c in "\r\n\0")
                    or "://" not in target
                    or len(target) > 7000
                ):
                    continue  # no header can carry it, or it is relative to the site
                tried += 1
                with pytest.raises(InvalidRequest):
                    await fetcher.fetch_bytes(server.url("/r", "site.example"), for_caller=True)
    assert trap.caught == []
    assert tried >= 100
    with capsys.disabled():
        print(f"\nredirects: {tried} tried, all refused, {len(trap.caught)} connections")


async def test_redirect_to_another_port_of_the_loopback_is_refused() -> None:
    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(head("302 Found", content_length=0, location="http://127.0.0.1:6379/"))

    async with serving(answer) as server, Fetcher(allow=[server.allow]) as fetcher:
        with pytest.raises(BadBackendResponse, match="link was refused"):
            await fetcher.fetch_bytes(server.url())
    assert len(server.asked) == 1


async def test_name_is_resolved_once_and_the_connection_goes_to_what_was_checked() -> None:
    """A second answer, which leads inside (rebinding), is never asked for."""
    asked_for = []

    async def rebinding(host: str, port: int) -> Sequence[str]:
        asked_for.append(host)
        return ["93.184.215.14"] if len(asked_for) == 1 else ["127.0.0.1"]

    trap = Trap()
    async with Fetcher(resolver=rebinding, socket_factory=trap) as fetcher:
        with pytest.raises(BackendUnavailable):
            await fetcher.fetch_bytes("https://rebind.example/x")
        assert asked_for == ["rebind.example"]
        assert trap.caught == [("93.184.215.14", 443)]
        with pytest.raises(BadBackendResponse, match="not public"):
            await fetcher.fetch_bytes("https://rebind.example/x")
    assert len(trap.caught) == 1


async def test_socket_itself_is_the_last_door() -> None:
    async with Fetcher() as fetcher:
        for address in ("127.0.0.1", "169.254.169.254", "10.0.0.1"):
            with pytest.raises(Exception, match="not a public address"):
                fetcher.open_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443)))
        fetcher.open_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.215.14", 443))).close()


async def test_plain_http_is_refused_unless_allowed() -> None:
    async with Fetcher(resolver=fake_dns, socket_factory=Trap()) as fetcher:
        with pytest.raises(InvalidRequest, match="plain http"):
            await fetcher.fetch_bytes("http://example.com/x", for_caller=True)


async def test_allowed_name_may_lead_inside_but_never_to_a_metadata_address() -> None:
    trap = Trap()
    for allow in ("gpu.example", "gpu.example:443"):
        for address, passes in (("10.0.0.5", True), ("127.0.0.1", True), ("169.254.169.254", False), ("::ffff:169.254.169.254", False)):

            async def dns(host: str, port: int, address: str = address) -> Sequence[str]:
                return [address]

            trap.caught.clear()
            async with Fetcher(allow=[allow], resolver=dns, socket_factory=trap) as fetcher:
                with pytest.raises(BackendUnavailable if passes else BadBackendResponse):
                    await fetcher.fetch_bytes("https://gpu.example/x")
            assert bool(trap.caught) is passes
    async with Fetcher(allow=["gpu.example:8188"], resolver=dns, socket_factory=trap) as fetcher:
        with pytest.raises(BadBackendResponse):
            await fetcher.fetch_bytes("https://gpu.example/x")


METADATA = """
169.254.169.254 168.63.129.16 100.100.100.200 192.0.0.192 fd00:ec2::254 fd20:ce::254 fe80::1%eth0 :: 0.0.0.0
::ffff:169.254.169.254 ::169.254.169.254 64:ff9b::169.254.169.254 64:ff9b:1::a9fe:a9fe 64:ff9b:1:fffe::a83f:8110
2002:a9fe:a9fe::1 2001:0:a9fe:a9fe::1 2001:0:1:2:3:4:5601:5601 fd12::5efe:169.254.169.254 ff02::1 255.255.255.255
"""


@pytest.mark.parametrize("address", METADATA.split())
async def test_metadata_address_in_any_spelling_is_refused_for_an_allowed_name(address: str) -> None:
    async def dns(host: str, port: int) -> Sequence[str]:
        return ["10.0.0.5", address]

    trap = Trap()
    async with Fetcher(allow=["gpu.example"], resolver=dns, socket_factory=trap) as fetcher:
        with pytest.raises(BadBackendResponse):
            await fetcher.fetch_bytes("https://gpu.example/x")
    assert trap.caught == []


async def test_network_that_is_allowed_opens_its_addresses_and_no_others() -> None:
    trap = Trap()

    async def dns(host: str, port: int) -> Sequence[str]:
        return ["10.9.0.1"] if host == "in.example" else ["10.8.0.1"]

    async with Fetcher(allow=["10.9.0.0/16"], resolver=dns, socket_factory=trap) as fetcher:
        for url in ("http://10.9.1.1:8188/x", "https://in.example/x"):
            with pytest.raises(BackendUnavailable):
                await fetcher.fetch_bytes(url)
        for url in (
            "http://10.8.1.1:8188/x",
            "https://out.example/x",
            "https://in.example:8188/x",
            "http://in.example/x",
            "https://example.com:8188/x",
        ):
            with pytest.raises(BadBackendResponse):
                await fetcher.fetch_bytes(url)
    assert {address for address, _ in trap.caught} == {"10.9.1.1", "10.9.0.1"}


@pytest.mark.parametrize("entry", ["", "http://x", "a b", "10.0.0.0/99", "127.1", "host:99999", "*.example"])
async def test_setting_that_is_not_a_host_or_network_raises(entry: str) -> None:
    with pytest.raises(ValueError, match=r"neither a host|does not appear"):
        AllowList.of([entry])


# Reading URLs and addresses


@given(st.integers(0, 2**32 - 1))
async def test_address_that_python_calls_private_is_not_public(number: int) -> None:
    address = ipaddress.IPv4Address(number)
    if is_public(address):
        assert address.is_global
        assert not address.is_private
        assert not address.is_multicast
    for inside in (f"::ffff:{address}", f"64:ff9b::{address}", f"::{address}"):
        assert not is_public(ipaddress.IPv6Address(inside))


@given(st.text(max_size=80) | st.from_regex(r"https?://[\[\]0-9a-fx.:@%\\/?#-]{1,30}", fullmatch=True))
async def test_url_is_read_as_every_other_reader_reads_it_or_refused(url: str) -> None:
    import yarl

    try:
        read = read_url(url)
    except Refused:
        return
    other = yarl.URL(read.text, encoded=True)
    assert (other.raw_host, other.port, other.scheme) == (read.host, read.port, read.scheme)
    assert other.user is None
    assert read_url(read.text) == read


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("https://example.com/my photo.png", "https://example.com/my%20photo.png"),
        ("https://example.com/caf\u00e9.png?q=\u56fe&n=a%20b", "https://example.com/caf%C3%A9.png?q=%E5%9B%BE&n=a%20b"),
        ("https://example.com?q=a b", "https://example.com?q=a%20b"),
    ],
)
def test_url_with_spaces_and_letters_beyond_ascii_is_encoded_behind_the_host(url: str, text: str) -> None:
    assert read_url(url).text == text


@pytest.mark.parametrize(
    "url", ["https://ex\u00e4mple.com/a", "https://exa mple.com/a", "https://example.com/a\tb", "https://example.com/a\u200bb"]
)
def test_url_with_odd_host_or_invisible_characters_is_refused(url: str) -> None:
    with pytest.raises(Refused):
        read_url(url)


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (" https://example.com/a b|c.png\n", "https://example.com/a%20b%7Cc.png"),
        ("https://example.com/a\\b?c=<d>", "https://example.com/a%5Cb?c=%3Cd%3E"),
        ("https://example.com/a%20b", "https://example.com/a%20b"),
    ],
)
def test_what_urls_do_not_have_is_encoded_behind_the_host(given: str, read: str) -> None:
    assert read_url(given).text == read


def test_letters_beyond_ascii_in_the_host_are_refused_with_how_they_are_written() -> None:
    with pytest.raises(Refused, match="in the host are written as xn--"):
        read_url("https://ex\u00e4mple.com/a.png")


def test_tab_in_a_url_is_refused_with_how_it_is_written() -> None:
    with pytest.raises(Refused, match="%09"):
        read_url("https://example.com/a\tb.png")

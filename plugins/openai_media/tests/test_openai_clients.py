"""One client per instance; a compatible server gets nothing that is meant for OpenAI; big answers take turns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from wire.http_server import Received
from wire.media_bytes import image
from wire.openai_server import KEY, OpenAIServer

from anymedia.context import Context
from anymedia.errors import SettingsError
from anymedia.http import transport
from anymedia.network import Network
from anymedia.requests import GenerateImage
from openai_media import _client, plugin

MakeContext = Callable[..., Context]


async def draw(context: Context) -> Any:
    return await plugin.generate_image(request=GenerateImage(prompt="a boat"), context=context)


@pytest.mark.anyio
async def test_client_second_call_reuses_the_connection(
    fake: OpenAIServer, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    genuine = _client.sdk_client

    def counted(*given: Any, **options: Any) -> Any:
        made.append(genuine(*given, **options))
        return made[-1]

    monkeypatch.setattr(_client, "sdk_client", counted)
    for _ in range(3):
        await draw(make_context("gpt-image-2", "generate_image"))
    assert len(made) == 1
    connection = _client.connect(make_context("gpt-image-2", "generate_image"))
    assert connection.http is made[0]
    assert connection.sdk.max_retries == 0
    assert len({r.headers["user-agent"] for r in fake.received}) == 1
    assert "AsyncOpenAI" in fake.last().headers["user-agent"]


async def ask_for_everything(sdk: Any) -> None:
    """Send one request of each shape there is: JSON, a form with files, with query parameters, without a body, with own headers."""
    picture = ("image.png", image(64, 64, alpha=True), "image/png")
    for _ in range(2):  # the second time with what was kept of the first
        await sdk.images.generate(prompt="a böat", model="gpt-image-2", size="1024x1024")
        await sdk.images.edit(prompt="a boat", model="gpt-image-2", image=[picture, picture], mask=picture, extra_body={"quality": "low"})
        await sdk.images.generate(
            prompt="x", model="gpt-image-2", timeout=7.0, extra_query={"a": "b c"}, extra_headers={"Accept": "*/*", "X-A": "1"}
        )
        await sdk.models.list(extra_headers={"user-agent": "me"})


@pytest.mark.anyio
async def test_what_is_sent_is_what_the_sdk_sends_by_itself(fake: OpenAIServer, make_context: MakeContext) -> None:
    import httpx2
    import openai

    timeout = httpx2.Timeout(600.0, connect=10.0)
    http = openai.DefaultAioHttpClient(timeout=timeout, follow_redirects=False)
    async with openai.AsyncOpenAI(api_key=KEY, base_url=fake.base_url, timeout=timeout, max_retries=0, http_client=http) as plain:
        await ask_for_everything(plain)
    expected = [as_sent(r) for r in fake.received]
    fake.received.clear()
    await ask_for_everything(_client.connect(make_context("gpt-image-2", "generate_image")).sdk)
    assert [as_sent(r) for r in fake.received] == expected
    assert len(expected) == 8


def as_sent(request: Received) -> tuple[object, ...]:
    """Return all of a request but the boundary of its form, which is made up each time."""
    kind = request.headers.get("content-type", "")
    boundary = kind.partition("boundary=")[2] or "none"
    headers = [(name, value.replace(boundary, "#")) for name, value in request.headers.items()]
    return request.method, request.path, request.query, headers, request.body.replace(boundary.encode(), b"#")


@pytest.mark.anyio
async def test_a_compatible_server_gets_no_key_and_no_header_that_is_meant_for_openai(
    make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-for-openai-alone-000000")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-secret")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-secret")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Gateway-Key: gateway-secret")
    with OpenAIServer(any_key=True) as other:
        await draw(make_context("gpt-image-2", "generate_image", service="compatible", key=None, base_url=other.base_url))
        seen = " ".join(f"{k}: {v}" for k, v in other.last().headers.items())
        assert "secret" not in seen
        assert "for-openai" not in seen
        assert other.last().headers["authorization"] == "Bearer none"


@pytest.mark.anyio
async def test_a_compatible_server_gets_the_key_that_is_its_own(make_context: MakeContext) -> None:
    with OpenAIServer(any_key=True) as other:
        own = make_context("gpt-image-2", "generate_image", service="compatible", key="sk-mine-000000000000", base_url=other.base_url)
        await draw(own)
        assert other.last().headers["authorization"] == "Bearer sk-mine-000000000000"


@pytest.mark.anyio
async def test_the_maker_itself_gets_what_the_sdk_reads_from_its_environment(
    fake: OpenAIServer, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    await draw(make_context("gpt-image-2", "generate_image"))
    assert fake.last().headers["openai-organization"] == "org-1"


@pytest.mark.anyio
async def test_a_compatible_service_without_an_address_is_refused_without_a_submit(make_context: MakeContext) -> None:
    context = make_context("gpt-image-2", "generate_image", service="compatible", base_url=None)
    with pytest.raises(SettingsError, match="base_url"):
        await draw(context)
    assert context.submissions == 0


@pytest.mark.anyio
async def test_client_session_reads_little_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    import aiohttp

    made: list[dict[str, Any]] = []
    genuine = aiohttp.ClientSession

    def counted(**options: Any) -> Any:
        made.append(options)
        return genuine(**options)

    monkeypatch.setattr(aiohttp, "ClientSession", counted)
    async with transport.sdk_client(Network(), "https://api.example", seconds=5.0):
        assert made[0]["read_bufsize"] == 16 * 1024
        assert made[0]["connector"].limit == 1000


@pytest.mark.anyio
async def test_only_a_few_big_answers_are_taken_in_at_once(
    fake: OpenAIServer, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = bytes(range(256)) * 3000
    fake.images.fixed = b"\x89PNG\r\n\x1a\n" + noise
    reading, most, full = 0, 0, asyncio.Event()
    from openai._response import AsyncAPIResponse

    read = AsyncAPIResponse.read

    async def counted(self: Any) -> bytes:
        nonlocal reading, most
        reading += 1
        most = max(most, reading)
        if reading == 8:
            full.set()
        try:
            await full.wait()  # as many as may read at once do, and further ones would
            await asyncio.sleep(0.01)
            return await read(self)
        finally:
            reading -= 1

    monkeypatch.setattr(AsyncAPIResponse, "read", counted)
    made = await asyncio.gather(*(draw(make_context("gpt-image-2", "generate_image")) for _ in range(24)))
    assert all(m.pieces[0].data == fake.images.fixed for m in made)
    assert most == 8

"""One client per instance; a compatible server gets nothing that is meant for OpenAI; big answers take turns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from wire.openai_server import OpenAIServer

from anymedia.context import Context
from anymedia.errors import InvalidRequest
from anymedia.requests import GenerateImage
from openai_media import _client, plugin

MakeContext = Callable[..., Context]


async def draw(context: Context) -> Any:
    return await plugin.generate_image(request=GenerateImage(prompt="a boat"), context=context)


@pytest.mark.anyio
async def test_a_second_call_uses_the_same_client_over_the_sdks_own_aiohttp_transport(
    fake: OpenAIServer, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    import openai

    made: list[Any] = []
    genuine = openai.DefaultAioHttpClient

    def counted(**options: Any) -> Any:
        made.append(genuine(**options))
        return made[-1]

    monkeypatch.setattr(openai, "DefaultAioHttpClient", counted)
    for _ in range(3):
        await draw(make_context("gpt-image-2", "generate_image"))
    assert len(made) == 1
    connection = _client.connect(make_context("gpt-image-2", "generate_image"))
    assert connection.http is made[0]
    assert connection.sdk.max_retries == 0
    assert len({r.headers["user-agent"] for r in fake.received}) == 1
    assert "AsyncOpenAI" in fake.last().headers["user-agent"]


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
    with pytest.raises(InvalidRequest, match="base_url"):
        await draw(context)
    assert context.submissions == 0


@pytest.mark.anyio
async def test_answers_that_wait_are_read_ahead_only_a_little(fake: OpenAIServer, make_context: MakeContext) -> None:
    await draw(make_context("gpt-image-2", "generate_image"))
    connection = _client.connect(make_context("gpt-image-2", "generate_image"))
    session = connection.http._transport.client  # type: ignore[attr-defined]
    assert session._read_bufsize == 16 * 1024
    assert session.connector.limit == 1000


@pytest.mark.anyio
async def test_only_a_few_big_answers_are_taken_in_at_once(
    fake: OpenAIServer, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = bytes(range(256)) * 3000
    fake.images.fixed = b"\x89PNG\r\n\x1a\n" + noise
    reading, most = 0, 0
    from openai._response import AsyncAPIResponse

    read = AsyncAPIResponse.read

    async def counted(self: Any) -> bytes:
        nonlocal reading, most
        reading += 1
        most = max(most, reading)
        try:
            await asyncio.sleep(0.15)
            return await read(self)
        finally:
            reading -= 1

    monkeypatch.setattr(AsyncAPIResponse, "read", counted)
    made = await asyncio.gather(*(draw(make_context("gpt-image-2", "generate_image")) for _ in range(24)))
    assert all(m.pieces[0].data == fake.images.fixed for m in made)
    assert 2 <= most <= 8

"""A fake of OpenAI on the loopback, and contexts as the core makes them for one hook call."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from typing import Any

import pytest
from wire.openai_server import KEY, OpenAIServer

from anymedia.context import Context, LoadedMedia
from anymedia.credentials import Secret
from anymedia.media import Media
from anymedia.net.fetcher import Fetcher
from anymedia.requests import Mask, Operation, StoredFile
from openai_media import plugin

MakeContext = Callable[..., Context]


@pytest.fixture
def fake() -> Iterator[OpenAIServer]:
    with OpenAIServer() as server:
        yield server


async def streamed(allow: tuple[str, ...], url: str, start: int) -> AsyncGenerator[bytes]:
    """What the core gives a plugin to follow a provider's link with: the guarded fetcher."""
    async with Fetcher(allow=allow) as fetcher, fetcher.fetch(url, offset=start) as download:
        if download.start != start:
            raise ValueError(f"the server cannot start at byte {start}")
        async for chunk in download.chunks():
            yield chunk


@pytest.fixture
async def make_context(fake: OpenAIServer) -> AsyncIterator[MakeContext]:
    """Make a context for a model and an operation; SDK clients are kept by name and closed at the end."""
    made: dict[tuple[str, str], Any] = {}

    def make(
        model: str,
        operation: Operation,
        loaded: Mapping[Media | Mask | StoredFile, LoadedMedia] | None = None,
        *,
        service: str = "openai",
        key: str | None = KEY,
        fetch_allow: tuple[str, ...] = ("127.0.0.1",),
        **settings: Any,
    ) -> Context:
        row = plugin.capabilities().model(model)
        assert row is not None
        address = str(settings.setdefault("base_url", fake.base_url))

        def clients(name: str, factory: Callable[[], Any]) -> Any:
            if (name, address) not in made:
                made[name, address] = factory()
            return made[name, address]

        return Context(
            backend="openai",
            model=model,
            service=service,
            spec=row,
            operation=row.operations.get(operation),
            billing=plugin.capabilities().billing if service == "openai" else (),
            settings=settings,
            secrets={} if key is None else {"api_key": Secret(key)},
            loaded=loaded or {},
            clients=clients,
            stream=lambda url, start: streamed(fetch_allow, url, start),
            idempotency_key="key-1",
            label="job_0123456789ab",
        )

    yield make
    for client in made.values():
        await client.aclose()

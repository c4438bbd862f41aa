"""A fake of OpenAI on the loopback, and contexts as the core makes them for one hook call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

import pytest
from wire.openai_server import KEY, OpenAIServer

from anymedia.context import Context, LoadedMedia
from anymedia.credentials import Secret
from anymedia.media import Media
from anymedia.requests import Mask, Operation, StoredFile
from openai_media import plugin

MakeContext = Callable[..., Context]


@pytest.fixture
def fake() -> Iterator[OpenAIServer]:
    with OpenAIServer() as server:
        yield server


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
            row=row,
            operation=row.operations.get(operation),
            settings=settings,
            secrets={} if key is None else {"api_key": Secret(key)},
            loaded=loaded or {},
            clients=clients,
            idempotency_key="key-1",
            label="job_0123456789ab",
        )

    yield make
    for client in made.values():
        await client.aclose()

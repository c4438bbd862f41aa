"""One SDK client per instance, key and event loop; answers are read and decoded a few at a time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from anymedia.context import Context
from anymedia.errors import InvalidRequest

from ._sdk import http_client, sdk_client

if TYPE_CHECKING:
    import httpx2
    from openai import AsyncOpenAI

__all__ = ["LOOK_SECONDS", "Connection", "connect", "read_answer"]

_T = TypeVar("_T")

#: How long an answer may take: making an image takes minutes at times. The option ``timeout`` of the instance wins.
ANSWER_SECONDS = 600.0
#: How long an answer to a quick question (a job's state, a list) may take.
LOOK_SECONDS = 60.0
#: How many big answers are taken in at once: an image's JSON is 4/3 of its size, and 500 of them at once fill a machine.
_AT_ONCE = 8
_BIG = 256 * 1024
_OFF_LOOP = 1024 * 1024


@attrs.frozen(eq=False)
class Connection:
    """The SDK client, the HTTP client under it, and the gate that big answers pass."""

    sdk: AsyncOpenAI
    http: httpx2.AsyncClient
    gate: asyncio.Semaphore = attrs.field(factory=lambda: asyncio.Semaphore(_AT_ONCE))

    async def aclose(self) -> None:
        """Close the connections."""
        await self.sdk.close()


def connect(context: Context) -> Connection:
    """Return the instance's connection, made on first use.

    Raises:
        InvalidRequest: for a compatible service without an address.
    """
    if context.service == "compatible" and not context.settings.get("base_url"):
        raise InvalidRequest(f"backend {context.backend!r} is a compatible service without a base_url", fix="set base_url in its settings")
    return context.client(lambda: _make(context))


def _make(context: Context) -> Connection:
    import httpx2

    elsewhere = context.service == "compatible"
    seconds = float(context.settings.get("timeout", ANSWER_SECONDS))
    timeout = httpx2.Timeout(seconds, connect=10.0)
    # A redirected POST would go out twice, and with its key and its pictures to another place.
    # A proxy of the environment sees nothing of what is encrypted; without encryption it would be given the key.
    plain = str(context.settings.get("base_url") or "").lower().startswith("http:")
    http = http_client(timeout=timeout, follow_redirects=False, trust_env=not plain)
    sdk = sdk_client(
        api_key=context.secret("api_key").reveal() if context.has_secret("api_key") else "none",
        base_url=context.settings.get("base_url"),
        timeout=timeout,
        max_retries=0,
        http_client=http,
    )
    if elsewhere:
        # What the SDK read from OPENAI_ORG_ID, OPENAI_PROJECT_ID and OPENAI_CUSTOM_HEADERS is meant for OpenAI.
        sdk.organization = sdk.project = None
        sdk._custom_headers = {}
    return Connection(sdk, http)


async def read_answer(connection: Connection, opening: Any, decode: Callable[[bytes], _T]) -> tuple[_T, str | None]:
    """Open an answer (of ``with_streaming_response``), read it, decode it; return it with the provider's request id.

    Big answers wait their turn unread, so that memory holds only a few of them, and are decoded off the event loop.
    """
    async with opening as response:
        length = response.headers.get("content-length")
        big = length is None or int(length) > _BIG
        async with connection.gate if big else contextlib.nullcontext():
            body = await response.read()
            if len(body) > _OFF_LOOP:
                return await asyncio.to_thread(decode, body), response.headers.get("x-request-id")
            return decode(body), response.headers.get("x-request-id")

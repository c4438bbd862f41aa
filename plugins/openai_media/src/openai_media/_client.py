"""One SDK client per instance, key and event loop; large answers are read and decoded a few at a time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from anymedia.context import Context
from anymedia.errors import SettingsError
from anymedia.http import sdk_client, secret_for_header

if TYPE_CHECKING:
    import httpx2
    from openai import AsyncOpenAI

__all__ = ["STATUS_SECONDS", "Connection", "connect", "read_answer"]

#: The SDK's default address.
ADDRESS = "https://api.openai.com/v1"

_T = TypeVar("_T")

#: Seconds that an answer may take: an image takes minutes at times. The option ``timeout`` of the instance wins.
ANSWER_SECONDS = 600.0
#: Seconds that the answer to a status check or a list may take.
STATUS_SECONDS = 60.0
#: How many large answers are read at once: an image's JSON is 4/3 of its size, and 500 of them at once fill a machine's memory.
_AT_ONCE = 8
_LARGE = 256 * 1024
_OFF_LOOP = 1024 * 1024


@attrs.frozen(eq=False)
class Connection:
    """The SDK client, the HTTP client under it, and the semaphore that large answers wait for."""

    sdk: AsyncOpenAI
    http: httpx2.AsyncClient
    gate: asyncio.Semaphore = attrs.field(factory=lambda: asyncio.Semaphore(_AT_ONCE))

    @property
    def base_url(self) -> str:
        """The address of the API."""
        return str(self.sdk.base_url)

    async def aclose(self) -> None:
        """Close the connections."""
        await self.sdk.close()


def connect(context: Context) -> Connection:
    """Return the instance's connection, made on first use.

    Raises:
        SettingsError: for a compatible service without an address.
        AuthenticationFailed: for a key that no HTTP header can carry; nothing was sent.
    """
    if context.service == "compatible" and not context.settings.get("base_url"):
        raise SettingsError(f"backend {context.backend!r} is a compatible service without a base_url", fix="set base_url in its settings")
    return context.client(lambda: _make(context))


def _make(context: Context) -> Connection:
    import openai

    key = secret_for_header(context) or "none"
    seconds = float(context.settings.get("timeout", ANSWER_SECONDS))
    http = sdk_client(context.network, context.settings.get("base_url") or ADDRESS, seconds=seconds)
    sdk = openai.AsyncOpenAI(api_key=key, base_url=context.settings.get("base_url"), timeout=http.timeout, max_retries=0, http_client=http)
    if context.service == "compatible":
        # What the SDK read from OPENAI_ORG_ID, OPENAI_PROJECT_ID and OPENAI_CUSTOM_HEADERS is meant for OpenAI.
        sdk.organization = sdk.project = None
        sdk._custom_headers = {}
    return Connection(sdk, http)


async def read_answer(connection: Connection, opening: Any, decode: Callable[[bytes], _T]) -> tuple[_T, str | None]:
    """Open an answer (of ``with_streaming_response``), read it, decode it; return it with the provider's request id.

    Large answers wait unread for their turn, so that memory holds only a few of them, and are decoded off the event loop.
    """
    async with opening as response:
        length = response.headers.get("content-length", "")
        large = not length.isdigit() or int(length) > _LARGE
        async with connection.gate if large else contextlib.nullcontext():
            body = await response.read()
            if len(body) > _OFF_LOOP:
                return await asyncio.to_thread(decode, body), response.headers.get("x-request-id")
            return decode(body), response.headers.get("x-request-id")

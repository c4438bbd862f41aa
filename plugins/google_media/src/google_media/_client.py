"""One SDK client per instance, key and event loop. A paid request is sent once, and never to another host.

- ``HttpRetryOptions(attempts=1)``: without it the interactions client makes five attempts, and the classic one, on
  aiohttp, sends a POST again when the connection breaks (google-genai 3.4, ``_api_client.py`` and ``_gaos/google_genai.py``).
- All calls, uploads included, use the HTTP client of `anymedia.http.sdk_client`: it follows no redirect, to which the SDK would
  send the key and the body, and its answers have a size.
- ``automatic_continuation=False`` is set for every call that is waited for: otherwise one call may become several billed ones.
"""

from __future__ import annotations

import asyncio
import datetime
import importlib
from typing import TYPE_CHECKING, Any

import attrs

from anymedia.context import Context
from anymedia.http import sdk_client, secret_for_header
from anymedia.network import Network

from ._errors import translated

if TYPE_CHECKING:
    import httpx2
    from google.genai import Client

__all__ = ["STATUS_SECONDS", "Connection", "call_options", "connect", "on_agent_platform", "seconds_for"]

#: Seconds that an answer may take: a picture takes a minute at times, a song longer. The option ``timeout`` wins.
ANSWER_SECONDS = 600.0
#: Seconds that the answer to a status check or a list may take.
STATUS_SECONDS = 60.0
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_TOKENS = "https://oauth2.googleapis.com"
_STORAGE = "https://storage.googleapis.com"
_GEMINI, _PLATFORM = "https://generativelanguage.googleapis.com", "https://aiplatform.googleapis.com"


@attrs.frozen(eq=False)
class Connection:
    """The SDK client and its HTTP client; on Agent Platform without a key also the credentials it sends tokens of."""

    sdk: Client
    http: httpx2.AsyncClient
    base_url: str
    api_version: str
    storage_url: str
    network: Network
    credentials: Any = None

    @property
    def aio(self) -> Any:
        """The async half of the client (its calls are checked against the fake, not by types)."""
        return self.sdk.aio

    async def authorize(self) -> None:
        """Fetch or renew the access token, off the event loop and before a billable request."""
        if self.credentials is not None and not self.credentials.valid:
            from google.auth.transport.requests import Request

            await asyncio.to_thread(self.credentials.refresh, Request(_token_session(self.network)))

    async def aclose(self) -> None:
        """Close the connections."""
        await self.sdk.aio.aclose()
        self.sdk.close()
        await self.http.aclose()


def on_agent_platform(context: Context) -> bool:
    """Whether the instance talks to Agent Platform; a compatible server says so by ``options = { mode = "agent_platform" }``."""
    return "agent_platform" in {context.service, context.settings.get("mode")}


async def connect(context: Context) -> Connection:
    """Return the instance's connection, made on first use, with a token that is valid now.

    Raises:
        AuthenticationFailed: no token can be obtained, or no HTTP header can carry the key; nothing was sent.
    """
    await asyncio.to_thread(importlib.import_module, "google.genai")  # seconds, the first time
    with translated(context):
        connection = context.client(lambda: _make(context))
        await connection.authorize()
    return connection


def seconds_for(context: Context, *, is_check: bool = False) -> float:
    """Return how long to wait for an answer, in seconds."""
    seconds = STATUS_SECONDS if is_check else float(context.settings.get("timeout", ANSWER_SECONDS))
    return max(1.0, seconds if context.deadline is None else min(seconds, context.deadline))


def call_options(context: Context, *, is_check: bool = False) -> Any:
    """Return the ``http_options`` of one classic call: its time limit."""
    from google.genai import types

    return types.HttpOptions(timeout=round(seconds_for(context, is_check=is_check) * 1000))


def _make(context: Context) -> Connection:
    from google import genai
    from google.genai import types

    from ._respelling import Respelling

    address = context.settings.get("base_url") or (_PLATFORM if on_agent_platform(context) else _GEMINI)
    platform = _agent_platform_arguments(context) if on_agent_platform(context) else None
    key = _key(context) if platform is None else None
    http = sdk_client(context.network, address, seconds=float(context.settings.get("timeout", ANSWER_SECONDS)), wrap=Respelling)
    options = types.HttpOptions(
        httpx_async_client=http,
        client_args={"trust_env": False},  # of a client that is not used, and fails where the environment has a SOCKS proxy
        base_url=context.settings.get("base_url"),
        api_version=context.settings.get("api_version"),
        retry_options=types.HttpRetryOptions(attempts=1),
    )
    if platform is not None:
        sdk = genai.Client(enterprise=True, http_options=options, **platform)
    else:
        sdk = genai.Client(enterprise=False, api_key=key, http_options=options)
    in_force = sdk._api_client._http_options
    return Connection(
        sdk,
        http,
        base_url=str(in_force.base_url or _GEMINI).rstrip("/"),
        api_version=str(in_force.api_version or "v1"),
        storage_url=str(context.settings.get("storage_url", _STORAGE)).rstrip("/"),
        network=context.network,
        credentials=None if platform is None else platform.get("credentials"),
    )


def _token_session(network: Network) -> Any:
    """Return the session for access tokens, which google-auth requests with its own library."""
    import requests
    from requests.adapters import HTTPAdapter

    class Adapter(HTTPAdapter):
        def init_poolmanager(self, *args: Any, **more: Any) -> None:
            super().init_poolmanager(*args, ssl_context=network.ssl_context, **more)

        def proxy_manager_for(self, proxy: str, **more: Any) -> Any:
            return super().proxy_manager_for(proxy, ssl_context=network.ssl_context, **more)

    session = requests.Session()
    session.trust_env = False
    session.mount("https://", Adapter())
    if proxy := network.proxy_url(_TOKENS):
        session.proxies["https"] = proxy
    return session


def _key(context: Context) -> str:
    # A compatible server may need no key; the SDK always does.
    return secret_for_header(context) or "none"


def _agent_platform_arguments(context: Context) -> dict[str, Any]:
    """Project and location from the settings or the environment; with them either a key or the user's credentials."""
    place = {name: _configured(context, name) for name in ("project", "location")}
    arguments: dict[str, Any] = {name: value for name, value in place.items() if value}
    if context.has_secret("api_key") or context.service == "compatible":
        return arguments | {"api_key": _key(context)}
    return arguments | {"credentials": _deferred_credentials()}


def _configured(context: Context, name: str) -> str | None:
    value = context.settings.get(name) or (context.secret(name).reveal() if context.has_secret(name) else None)
    return None if value is None else str(value)


def _deferred_credentials() -> Any:
    """Return the user's application default credentials, searched for only when a token is needed."""
    import google.auth
    from google.auth.credentials import Credentials

    class Deferred(Credentials):  # type: ignore[misc, no-untyped-call, unused-ignore]
        real: Any = None

        def refresh(self, request: Any) -> None:
            if self.real is None:
                self.real, _ = google.auth.default(scopes=[_SCOPE])  # type: ignore[no-untyped-call, unused-ignore]
            self.real.refresh(request)
            self.token: str | None = self.real.token
            self.expiry: datetime.datetime | None = self.real.expiry
            self._quota_project_id = self.real.quota_project_id

    return Deferred()  # type: ignore[no-untyped-call, unused-ignore]

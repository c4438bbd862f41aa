"""The gRPC channel and the HTTP session of an instance: their addresses, and a check of the connection before a paid call.

The SDK's channel is used with its own retries switched off, and with the proxy and the certificate authorities of the core. A
channel belongs to its event loop; `Context.client` keeps one for each.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
import urllib.parse
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from anymedia.context import Context
from anymedia.credentials import Secret
from anymedia.errors import BackendUnavailable, SettingsError
from anymedia.http import new_session, secret_for_header
from anymedia.network import CERTIFICATE_FIX

if TYPE_CHECKING:
    import aiohttp
    from xai_sdk import AsyncClient

__all__ = ["STATUS_SECONDS", "Connection", "connect", "place_of", "rest_session", "rest_url"]

#: Seconds that an answer may take; the option ``timeout`` of the instance wins. A video's start answers at once.
ANSWER_SECONDS = 600.0
#: Seconds that the answer to a status check or a list may take.
STATUS_SECONDS = 60.0
#: Seconds that connecting may take, and seconds to wait for a connection that was down before.
CONNECT_SECONDS, RECONNECT_SECONDS = 10.0, 4.0

#: A message of the protocol holds so many bytes (the SDK's own limit).
MESSAGE_BYTES = 20 * 1024 * 1024

_HOST = "api.x.ai"
_REST = "https://api.x.ai/v1"
_PLACE = re.compile(r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?")

#: What differs from the SDK's channel: a call is never sent again by it (it would be, five times, when the service says
#: UNAVAILABLE), and a service that comes back is found within seconds. An answer has a size (`MESSAGE_BYTES`), and a compressed
#: one none before it is unpacked: none is requested, none is accepted.
_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.enable_retries", 0),
    ("grpc.service_config", "{}"),
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.compression_enabled_algorithms_bitset", 1),
    ("grpc.per_message_decompression", 0),
)


@attrs.frozen
class Place:
    """A gRPC address, and whether the connection is unencrypted."""

    target: str
    plain: bool


def place_of(settings: Mapping[str, Any]) -> Place:
    """Return the address for gRPC: the option ``grpc_host``, else the host of ``base_url``, else the service itself.

    Raises:
        SettingsError: for a ``grpc_host`` that is no ``host`` or ``host:port``.
    """
    wanted = settings.get("grpc_host")
    if wanted is not None:
        found = _PLACE.fullmatch(wanted) if isinstance(wanted, str) else None
        if found is None:
            raise SettingsError("the option grpc_host of a grok instance is not a host", fix="write it as host or host:port")
        return Place(f"{found['host']}:{found['port'] or 443}", plain=_is_loopback(found["host"].strip("[]")))
    if base := settings.get("base_url"):
        parts = urllib.parse.urlsplit(base)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        plain = parts.scheme == "http"
        return Place(f"{host}:{parts.port or (80 if plain else 443)}", plain=plain)
    return Place(_HOST, plain=False)


def rest_url(settings: Mapping[str, Any], path: str) -> str:
    """Return an address of the REST half; a ``base_url`` may end in ``/v1`` or not."""
    base = str(settings.get("base_url") or _REST).rstrip("/")
    return f"{base}{path}" if base.endswith("/v1") else f"{base}/v1{path}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


#: The connections of this process that are open.
_open: weakref.WeakSet[Connection] = weakref.WeakSet()
#: Those of the parent, if this process was forked while they were open. They are never used, closed or collected here: gRPC's threads
#: do not exist in a forked child, and a call on them would wait forever.
_of_parent: list[Connection] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _of_parent.extend(_open))


@attrs.frozen(eq=False)
class Connection:
    """The SDK client with its channel; ``key`` is set where the SDK sends calls without it. ``base_url`` is the REST half's."""

    sdk: AsyncClient
    channel: Any
    key: Secret | None
    seconds: float
    base_url: str
    way: tuple[str, str] = ("", "")

    @property
    def login(self) -> tuple[tuple[str, str], ...]:
        """The metadata of a call that the SDK sends without the key; built only to be sent."""
        return () if self.key is None else (("authorization", f"Bearer {self.key.reveal()}"),)

    async def ready(self) -> None:
        """Wait for the connection: what fails before it has certainly not been sent, what fails after it may have been.

        Raises:
            BackendUnavailable: with ``delivery`` not_sent.
        """
        import grpc

        states, (way, fix) = grpc.ChannelConnectivity, self.way
        fix = f"{fix}; {CERTIFICATE_FIX}" if way else fix  # gRPC does not say which of them it is
        state = self.channel.get_state(try_to_connect=True)
        # A channel that failed before stays in that state until it is connected, so it gets some seconds.
        was_down = state is states.TRANSIENT_FAILURE
        try:
            async with asyncio.timeout(RECONNECT_SECONDS if was_down else CONNECT_SECONDS):
                while state is not states.READY:
                    if state is states.SHUTDOWN or (state is states.TRANSIENT_FAILURE and not was_down):
                        raise BackendUnavailable(f"the service cannot be reached{way}: nothing was sent", fix=fix, delivery="not_sent")
                    await self.channel.wait_for_state_change(state)
                    state = self.channel.get_state(try_to_connect=True)
        except TimeoutError:
            raise BackendUnavailable(
                f"the service does not accept the connection{way}: nothing was sent", fix=fix, delivery="not_sent"
            ) from None

    async def aclose(self) -> None:
        """Close the channel."""
        if self not in _of_parent:
            await self.sdk.close()
            _open.discard(self)


def connect(context: Context) -> Connection:
    """Return the instance's connection, made on first use; nothing is sent yet.

    Raises:
        SettingsError: for invalid options.
        AuthenticationFailed: for a text that cannot be a key.
        BackendUnavailable: this process was forked from one that had a connection open.
    """
    if _of_parent:
        text = "this process was forked while its parent had a gRPC connection open, which gRPC does not survive: nothing was sent"
        fix = "start workers with 'spawn' or 'forkserver', or close the router before a fork"
        raise BackendUnavailable(text, fix=fix, delivery="not_sent")
    place = place_of(context.settings)
    seconds = context.settings.get("timeout", ANSWER_SECONDS)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
        raise SettingsError("the option timeout of a grok instance is a number of seconds above 0")
    return context.client(lambda: _make(context, place, float(seconds)))


def _make(context: Context, place: Place, seconds: float) -> Connection:
    from xai_sdk import AsyncClient

    key = secret_for_header(context) or "none"
    proxy = None if place.plain else context.network.proxy_for(f"https://{place.target}")
    options = [*_OPTIONS, ("grpc.enable_http_proxy", 0 if proxy is None else 1)]
    if proxy is not None:
        options.append(("grpc.http_proxy", proxy.url))
    roots = None if place.plain else context.network.authorities

    class Client(AsyncClient):  # type: ignore[misc]
        """The SDK's client, which trusts the authorities of the core: gRPC itself knows only its own list."""

        def _make_grpc_channel(self, key: str, host: str, metadata: Any, options: Any, timeout: float, plain: bool) -> Any:
            if plain or roots is None:
                return super()._make_grpc_channel(key, host, metadata, options, timeout, plain)
            return _channel_with(roots, key, host, metadata, options, timeout)

    sdk = Client(api_key=key, api_host=place.target, use_insecure_channel=place.plain, timeout=seconds, channel_options=options)
    # On a channel without TLS the SDK adds the key by interceptors, which streamed uploads do not pass.
    login = Secret(key) if place.plain else None
    way = ("", "") if place.plain else context.network.way_to(f"https://{place.target}")
    connection = Connection(sdk, sdk._api_channel, login, seconds, rest_url(context.settings, ""), way)
    _open.add(connection)
    return connection


def _channel_with(roots: bytes, key: str, host: str, metadata: Any, options: Any, timeout: float) -> Any:
    """Return the channel that the SDK would make, with other certificate authorities."""
    import grpc
    from xai_sdk.client import _APIAuthPlugin
    from xai_sdk.interceptors import UnaryStreamTimeoutAioInterceptor, UnaryUnaryTimeoutAioInterceptor

    login = grpc.metadata_call_credentials(_APIAuthPlugin(key, metadata))
    credentials = grpc.composite_channel_credentials(grpc.ssl_channel_credentials(root_certificates=roots), login)
    limits = [UnaryUnaryTimeoutAioInterceptor(timeout), UnaryStreamTimeoutAioInterceptor(timeout)]
    return grpc.aio.secure_channel(host, credentials, options=options, interceptors=limits)


def rest_session(context: Context) -> aiohttp.ClientSession:
    """Return the instance's HTTP session: no netrc of the environment, no cookies."""
    return context.client(lambda: new_session(context.network, rest_url(context.settings, "")), name="rest")

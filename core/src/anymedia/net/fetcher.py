"""The guarded fetcher: the only place where the core itself requests a URL.

For every hop, the URL is parsed strictly, its host is resolved once, every resolved address must be public (or allowed in
the settings), and the connection is made to one of exactly these addresses; the socket is checked again. Redirects are
followed here, one by one. Cookies and credentials from the environment are not used; a proxy only if the settings allow it: then
URLs, literal addresses and local names are checked as usual, but the proxy resolves the other names and chooses the addresses.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import ipaddress
import math
import re
import socket
import urllib.parse
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

import attrs

from ..errors import BackendError, BackendUnavailable, BadBackendResponse, InvalidRequest, MediaError, Problem
from ..network import CERTIFICATE_FIX, Network, Proxy, is_credential_host, is_local_name
from ..redaction import clean_text
from ..threads import shielded
from .addresses import Address, AllowList, CheckedUrl, Refused, is_forbidden, is_public, read_url

if TYPE_CHECKING:
    import ssl

    from aiohttp import ClientResponse, ClientSession

#: Maximum size of a chunk in bytes.
CHUNK = 65_536


class HopRefused(Refused):
    """A hop is not allowed; passes through aiohttp to the caller of the fetcher."""


@attrs.frozen
class Blame:
    """Creates the errors for a URL: InvalidRequest if the caller gave it, BackendError if a provider did."""

    for_caller: bool
    field: str

    def refused(self, why: str, allow: str = "") -> MediaError:
        """Return the error for a URL that is not requested; ``allow``: the ``fetch.allow`` entry that would permit it."""
        if self.for_caller:
            return InvalidRequest([Problem(self.field, why, "give a public https URL, a path or bytes")])
        fix = f'if this is your own server, allow it in the settings: [fetch] allow = ["{allow}"]' if allow else ""
        return BadBackendResponse(f"The provider's link was refused: {why}.", fix=fix)

    def failed(self, why: str, *, status: int | None = None, passing: bool = True, fix: str = "") -> MediaError:
        """Return the error for a failed request; ``passing``: whether the same request may succeed later."""
        if self.for_caller:
            return InvalidRequest([Problem(self.field, why, fix)])
        error: BackendError = BackendUnavailable(f"{why}.", fix=fix) if passing else BadBackendResponse(f"{why}.", fix=fix)
        error.status = status
        return error


@attrs.define
class Download:
    """A streamed response.

    Attributes:
        url: the final URL, in a form that may be shown.
        start: position of its first byte; 0 if the server ignored the requested offset.
        total: size of the whole file in bytes, if the server stated it.
        etag: a strong entity tag to send when resuming, or None.
    """

    url: str
    start: int
    total: int | None
    mime: str | None
    etag: str | None
    _response: ClientResponse = attrs.field(repr=False)
    _limits: Limits = attrs.field(repr=False)
    _blame: Blame = attrs.field(repr=False)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes in chunks of at most 64 KiB.

        Raises:
            BackendUnavailable: interrupted, too slow, or shorter than announced (InvalidRequest for a caller's URL).
            BadBackendResponse: larger than the maximum (InvalidRequest for a caller's URL).
        """
        got, before, limits, clock = 0, 0, self._limits, asyncio.get_running_loop().time
        since = clock()
        while True:
            with translated(self._blame, self.url):
                async with limits.guard():
                    chunk = await self._response.content.read(CHUNK)
            if not chunk:
                break
            got += len(chunk)
            if self.start + got > limits.max_bytes:
                raise self._blame.failed(f"{self.url} is larger than the maximum of {limits.max_bytes} bytes", passing=False)
            if (passed := clock() - since) >= limits.rate_window:
                if got - before < passed * limits.min_rate:
                    raise self._blame.failed(f"{self.url} was slower than the minimum of {limits.min_rate:g} bytes/s")
                since, before = clock(), got
            yield chunk
        if self.total is not None and self.start + got != self.total:
            raise self._blame.failed(f"{self.url} was interrupted after {self.start + got} of {self.total} bytes")


@attrs.frozen
class Limits:
    """The limits of one response, see `Fetcher`; ``deadline``: its latest end, in event loop time."""

    max_bytes: int
    min_rate: float
    rate_window: float
    stall: float
    deadline: float = math.inf

    def guard(self) -> asyncio.Timeout:
        """Return a timeout for the next wait; it raises TimeoutError."""
        return asyncio.timeout_at(min(self.deadline, asyncio.get_running_loop().time() + self.stall))


@contextlib.contextmanager
def translated(blame: Blame, url: str, proxy: Proxy | None = None, unused: Proxy | None = None) -> Iterator[None]:
    """Convert errors of aiohttp and the operating system; their messages may contain the full URL and are not used.

    ``unused``: a proxy that is configured, but not allowed for this request.
    """
    import aiohttp

    way = f" through {proxy}" if proxy is not None else ""
    fix = f"{unused} is not used to fetch URLs; to allow it: [network] fetch_by_proxy = true in the settings" if unused is not None else ""

    try:
        yield
    except HopRefused as error:
        raise blame.refused(str(error), error.allow) from None
    except TimeoutError as error:
        raise blame.failed(f"{url} did not answer in time{way}", fix=fix) from error
    except aiohttp.ClientConnectorCertificateError as error:
        raise blame.failed(f"{url} has no valid certificate", passing=False, fix=CERTIFICATE_FIX) from error.__cause__
    except aiohttp.ClientPayloadError as error:
        raise blame.failed(f"{url} was interrupted") from error.__cause__
    except aiohttp.ClientHttpProxyError as error:
        raise blame.failed(f"{url} could not be fetched: {proxy} refused the connection (status {error.status})") from None
    except (aiohttp.ClientError, OSError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
        raise blame.failed(f"{url} could not be fetched{way} ({clean_text(why, 100)})", fix=fix) from getattr(error, "os_error", None)
    except ValueError as error:  # raised by aiohttp's header parser
        raise blame.failed(f"{url} sent an invalid HTTP response ({type(error).__name__})", passing=False) from None


#: Resolves a host name to address texts.
Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
#: Opens the socket for one address, with the signature aiohttp expects.
SocketFactory = Callable[[tuple[Any, ...]], socket.socket]

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
#: Status codes after which the same request may succeed later.
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})
_MOST_REDIRECTS = 5
_RANGE = re.compile(r"bytes ([0-9]+)-([0-9]+)/([0-9]+|\*)")


async def resolve(host: str, port: int) -> Sequence[str]:
    """Resolve a host name with the system's resolver."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Fetcher:
    """Fetches http(s) URLs given by callers or providers.

    Args:
        allow: for self-hosted servers: hosts (``host``, ``host:port``) and networks (CIDR) that may be contacted although
            they are not public, on any port (or the given one), also over plain http.
        allow_http: whether public hosts may be contacted over plain http.
        max_bytes: maximum size of one response in bytes.
        min_rate: minimum bytes per second, measured over windows of ``rate_window`` seconds.
        rate_window: see ``min_rate``.
        timeout: maximum seconds for one response.
        stall: maximum seconds without data.
        network: proxies and certificate authorities.
        resolver: resolves a host name to addresses; the system's by default.
        socket_factory: opens the socket to an address that was accepted; for tests.
    """

    def __init__(
        self,
        *,
        allow: Sequence[str] = (),
        allow_http: bool = False,
        max_bytes: int = 2_000_000_000,
        min_rate: float = 1_024.0,
        rate_window: float = 30.0,
        timeout: float = 1_800.0,
        stall: float = 60.0,
        network: Network | None = None,
        resolver: Resolver | None = None,
        socket_factory: SocketFactory | None = None,
    ) -> None:
        self._allow = AllowList.of(allow)
        self._allow_http = allow_http
        self._limits, self._timeout = Limits(max_bytes, min_rate, rate_window, stall), timeout
        self._network = network or Network()
        self._resolver = resolver or resolve
        self._socket_factory = socket_factory
        #: Non-public addresses that were permitted for an allowed host.
        self._granted: set[tuple[Address, int]] = set()
        #: Limits the connections that are open at the same time.
        self.gate: Callable[[], AbstractAsyncContextManager[None]] = contextlib.nullcontext
        self._active = 0  # responses that are being read
        self._own: CheckedUrl | None = None
        self._for_origins: dict[str, Fetcher] = {}
        #: Of each event loop: direct, and through a proxy.
        self._sessions: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[bool, ClientSession]] = weakref.WeakKeyDictionary()

    def for_origin(self, base_url: str) -> Fetcher:
        """Return the fetcher for a backend's results, which may also come from the address that the settings give to it.

        Exactly this scheme, host and port may be contacted although they are not public, and never a link-local or metadata address.
        It has its own connections, and is closed with this fetcher.
        """
        found = self._for_origins.get(base_url)
        if found is None:
            own = read_url(base_url)
            found = self._for_origins[base_url] = copy.copy(self)
            found._own, found._granted, found._for_origins, found._sessions = own, set(), {}, weakref.WeakKeyDictionary()
            found._active = 0
            if own.address is not None and not is_forbidden(own.address):
                found._granted.add((own.address, own.port))
        return found

    def check_url(self, url: str, *, for_caller: bool = True, field: str = "$") -> CheckedUrl:
        """Check a URL's text, scheme and port, without network access.

        Raises:
            InvalidRequest, BadBackendResponse: the URL, of a caller or of a provider, is refused; the message says why.
        """
        try:
            checked = read_url(url)
            self._check_hop(checked)
        except Refused as error:
            raise Blame(for_caller, field).refused(str(error), error.allow) from None
        return checked

    def _check_hop(self, url: CheckedUrl) -> None:
        named = self._allow.names(url)
        if self._own is not None and (url.host, url.port) == (self._own.host, self._own.port) and not named:
            if url.scheme != self._own.scheme:
                raise Refused(f"{url.host}:{url.port} is configured as {self._own.scheme}, not as {url.scheme}")
            if url.address is None or not is_forbidden(url.address):
                return
        if url.scheme == "http" and not self._allow_http and not named:
            raise Refused(f"plain http to {url.host} is not allowed", url.place)
        if url.port not in {80, 443} and not named:
            raise Refused(f"port {url.port} of {url.host} is not allowed", url.place)
        if url.address is not None and not self._allow.permits(url, url.address):
            raise Refused(f"{url.host} is not a public address", url.place)
        if url.address is None and not named and self._proxy_for(url) is not None and is_local_name(url.host):
            raise Refused(f"{url.host} is a name of a local network", url.place)

    def _proxy_for(self, url: CheckedUrl) -> Proxy | None:
        return self._network.proxy_for(url.text, plain=True) if self._network.fetch_by_proxy else None

    @contextlib.asynccontextmanager
    async def fetch(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        credential_hosts: Sequence[str] = (),
        offset: int = 0,
        etag: str | None = None,
        max_bytes: int | None = None,
        for_caller: bool = False,
        field: str = "$",
    ) -> AsyncIterator[Download]:
        """Request a URL and yield the streamed response.

        ``headers`` are secret (keys): they are sent only to ``credential_hosts`` (``host``, ``host:port``), only over https or to an
        allowed host, and never to another origin after a redirect. A file that has changed since it had ``etag`` is sent from its
        beginning, not from ``offset``; see `Download.start`. ``max_bytes`` counts if it is less than the fetcher's own limit.

        Raises:
            InvalidRequest: a caller's URL was refused or failed.
            BackendUnavailable: a provider's URL failed and may succeed later; ``status`` is set if there was a response.
            BadBackendResponse: a provider's URL was refused or answered with an error; ``status`` as above.
        """
        blame = Blame(for_caller, field)
        most = self._limits.max_bytes if max_bytes is None else min(self._limits.max_bytes, max_bytes)
        limits = attrs.evolve(self._limits, max_bytes=most, deadline=asyncio.get_running_loop().time() + self._timeout)
        asked = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "anymedia"}
        if offset:
            asked["Range"] = f"bytes={offset}-"
            if etag is not None:
                asked["If-Range"] = etag
        async with self.gate():
            self._active += 1
            try:
                response, final = await self._follow(url, headers or {}, credential_hosts, asked, limits, blame)
                try:
                    yield self._read_head(response, final, offset, limits, blame)
                finally:
                    response.close()  # a body that was read completely has already released its connection
            finally:
                self._active -= 1

    async def _follow(
        self, url: str, secret: Mapping[str, str], hosts: Sequence[str], asked: Mapping[str, str], limits: Limits, blame: Blame
    ) -> tuple[ClientResponse, CheckedUrl]:
        first = here = self.check_url(url, for_caller=blame.for_caller, field=blame.field)
        for _ in range(_MOST_REDIRECTS + 1):
            sent = {**asked, **secret} if here.origin == first.origin and self._may_carry(here, hosts) else asked
            response = await self._ask(here, sent, limits, blame)
            if response.status not in _REDIRECTS:
                return response, here
            target = response.headers.get("Location", "")
            response.close()
            here = self._next_hop(here, target, blame)
        raise blame.failed(f"{first} redirects more than {_MOST_REDIRECTS} times", passing=False)

    def _next_hop(self, here: CheckedUrl, target: str, blame: Blame) -> CheckedUrl:
        if not target:
            raise blame.failed(f"{here} redirects without a target", passing=False)
        try:
            joined = urllib.parse.urljoin(here.text, target)
        except ValueError:
            raise blame.refused(f"{here.host} redirects to an invalid URL") from None
        hop = self.check_url(joined, for_caller=blame.for_caller, field=blame.field)
        if here.scheme == "https" and hop.scheme == "http" and not self._allow.names(hop):
            raise blame.refused(f"{here.host} redirects from https to plain http")
        return hop

    def _may_carry(self, url: CheckedUrl, hosts: Sequence[str]) -> bool:
        listed = is_credential_host(url.host, url.port, hosts)
        own = self._own is not None and url.origin == self._own.origin
        return listed and (url.scheme == "https" or own or self._allow.names(url))

    async def _ask(self, url: CheckedUrl, headers: Mapping[str, str], limits: Limits, blame: Blame) -> ClientResponse:
        import yarl

        target = yarl.URL(url.text, encoded=True)
        if target.raw_host != url.host or target.port != url.port:
            raise blame.refused(f"{url.host} can be parsed in two ways")
        proxy = self._proxy_for(url)
        unused = self._network.proxy_for(url.text, plain=True) if proxy is None else None
        with translated(blame, str(url), proxy, unused):
            async with limits.guard():
                session, through = self._session(proxied=proxy is not None), None if proxy is None else proxy.url
                return await session.get(target, headers=headers, allow_redirects=False, proxy=through)

    def _read_head(self, response: ClientResponse, url: CheckedUrl, offset: int, limits: Limits, blame: Blame) -> Download:
        status = response.status
        if status not in {200, 206}:
            raise blame.failed(f"{url} answered with status {status}", status=status, passing=status in _PASSING)
        if response.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
            raise blame.failed(f"{url} answered with a content encoding that was not requested", passing=False)
        start, total = 0, response.content_length
        if status == 206:
            start, total = self._read_range(response.headers.get("Content-Range", ""), offset, url, blame)
        if (total or 0) > limits.max_bytes:
            raise blame.failed(f"{url} has {total} bytes; the maximum is {limits.max_bytes}", passing=False)
        etag = response.headers.get("ETag")
        strong = etag if etag and etag.startswith('"') and len(etag) < 200 else None
        return Download(str(url), start, total, response.headers.get("Content-Type"), strong, response, limits, blame)

    def _read_range(self, text: str, offset: int, url: CheckedUrl, blame: Blame) -> tuple[int, int | None]:
        found = _RANGE.fullmatch(text.strip().lower())
        total = int(found[3]) if found and found[3] != "*" else None
        if not offset or not found or int(found[1]) != offset or (total is not None and int(found[2]) + 1 != total):
            raise blame.failed(f"{url} answered with another range than the one requested", passing=False)
        return offset, total if total is not None else int(found[2]) + 1

    async def fetch_bytes(
        self,
        url: str,
        *,
        max_bytes: int = 50_000_000,
        headers: Mapping[str, str] | None = None,
        credential_hosts: Sequence[str] = (),
        for_caller: bool = False,
        field: str = "$",
    ) -> bytes:
        """Return the contents of a URL, at most ``max_bytes``; arguments and errors as for `fetch`."""
        arguments: dict[str, Any] = {"headers": headers, "credential_hosts": credential_hosts, "for_caller": for_caller, "field": field}
        async with self.fetch(url, max_bytes=max_bytes, **arguments) as download:
            return b"".join([chunk async for chunk in download.chunks()])

    def _session(self, *, proxied: bool) -> ClientSession:
        sessions = self._sessions.setdefault(asyncio.get_running_loop(), {})
        if proxied not in sessions or sessions[proxied].closed:
            sessions[proxied] = _new_session(None if proxied else self, self._network.ssl_context)
        return sessions[proxied]

    async def addresses(self, host: str, port: int) -> list[Address]:
        """Resolve a host name and return its addresses if all of them may be contacted.

        Raises:
            OSError: the name cannot be resolved.
            HopRefused: an address is neither public nor allowed.
        """
        url = CheckedUrl("", "https", host, port, None)
        own = self._own is not None and (host, port) == (self._own.host, self._own.port)
        found = [ipaddress.ip_address(text.split("%")[0]) for text in await self._resolver(host, port)]
        if not found:
            raise OSError(socket.EAI_NONAME, "no address")
        for address in found:
            if not self._allow.permits(url, address) and (not own or is_forbidden(address)):
                raise HopRefused(f"{host} resolves to an address that is not public", "" if is_forbidden(address) else url.place)
        self._granted.update((address, port) for address in found if not is_public(address))
        return found

    def open_socket(self, info: tuple[Any, ...]) -> socket.socket:
        """Open the socket for an address, after checking the address a last time."""
        family, kind, protocol, _, where = info
        address = ipaddress.ip_address(str(where[0]).split("%")[0])
        if not (is_public(address) or (address, where[1]) in self._granted or self._allow.lists(address, where[1])):
            raise HopRefused("the host is not a public address")
        if self._socket_factory is not None:
            return self._socket_factory(info)
        return socket.socket(family, kind, protocol)

    async def close_idle(self) -> None:
        """Close the connections of this event loop that nothing is being received on."""
        await self.aclose(only_idle=True)

    async def aclose(self, *, only_idle: bool = False) -> None:
        """Close the connections of this event loop."""
        for fetcher in (self, *self._for_origins.values()):
            if not (only_idle and fetcher._active):
                await shielded(_close_each(fetcher._sessions.pop(asyncio.get_running_loop(), {}).values()))

    async def __aenter__(self) -> Fetcher:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


async def _close_each(sessions: Iterable[ClientSession]) -> None:
    for session in sessions:
        await session.close()


def _new_session(fetcher: Fetcher | None, context: ssl.SSLContext) -> ClientSession:
    """Return a session that connects to what a fetcher allows; without one, a session for requests through a proxy."""
    import aiohttp
    from aiohttp.abc import AbstractResolver, ResolveResult

    class Checked(AbstractResolver):
        async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC) -> list[ResolveResult]:
            assert fetcher is not None
            return [
                ResolveResult(
                    hostname=host,
                    host=str(address),
                    port=port,
                    family=socket.AF_INET if address.version == 4 else socket.AF_INET6,
                    proto=socket.IPPROTO_TCP,
                    flags=socket.AI_NUMERICHOST,
                )
                for address in await fetcher.addresses(host, port)
            ]

        async def close(self) -> None:
            pass

    guards: dict[str, Any] = {}
    if fetcher is not None:
        guards = {"resolver": Checked(), "use_dns_cache": False, "socket_factory": fetcher.open_socket}
    connector = aiohttp.TCPConnector(limit=0, ssl=context, **guards)
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=30.0),
        read_bufsize=CHUNK,
    )

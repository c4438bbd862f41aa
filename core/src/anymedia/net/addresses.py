"""Decide which URLs and network addresses may be contacted, without any network access.

A URL from a caller or a provider may point to this machine or its network. So it is parsed strictly (anything two parsers
could interpret differently is refused), its host must be a name or an address in the usual notation, and every address a
name resolves to must be public, unless the settings allow that host.
"""

from __future__ import annotations

import ipaddress
import re
import urllib.parse
from collections.abc import Iterable, Iterator

import attrs

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_PORTS = {"http": 80, "https": 443}
_LONGEST = 8_192
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
#: What browsers encode, and users and models leave as it is.
_UNSAFE = frozenset(' "<>^`{|}\\')
_BEHIND_HOST = re.compile(r"https?://[^/?#]*(?=[/?])", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")

#: In addition to what the ``ipaddress`` module knows: public addresses that are used internally, and those that embed
#: another address (IANA special-purpose registries; cloud vendors' documentation).
_NOT_PUBLIC = tuple(
    ipaddress.ip_network(net)
    for net in (
        "0.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15", "224.0.0.0/3",
        "168.63.129.16/32",  # Azure's platform services
        "2001::/23",  # IETF assignments, Teredo among them
        "2001:db8::/32", "2002::/16",  # documentation; 6to4
        "3fff::/20",  # documentation
    )
)  # fmt: skip
#: The only IPv6 block with global unicast addresses; mapped, NAT64, site-local and unique-local addresses are outside.
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
#: NAT64 prefix for local use (RFC 8215); the well-known prefix is 64:ff9b::/96.
_LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")
#: Refused even for a host allowed by name: cloud metadata services, which return credentials to any local client.
_FORBIDDEN = tuple(
    ipaddress.ip_network(net)
    for net in (
        "169.254.0.0/16", "168.63.129.16/32", "100.100.100.200/32", "192.0.0.192/32", "224.0.0.0/3",
        "fe80::/10", "fd00:ec2::/32", "fd20:ce::/32", "ff00::/8",
    )
)  # fmt: skip


class Refused(Exception):
    """A URL or address is refused; the message says why, without the URL's query.

    Attributes:
        allow: the ``fetch.allow`` entry that would permit it, if there is one.
    """

    def __init__(self, why: str, allow: str = "") -> None:
        super().__init__(why)
        self.allow = allow


@attrs.frozen
class CheckedUrl:
    """A strictly parsed URL. ``host`` is in lower case, without brackets; ``address`` is set if it is a literal address."""

    text: str = attrs.field(repr=False)
    scheme: str
    host: str
    port: int
    address: Address | None

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host and port."""
        return self.scheme, self.host, self.port

    @property
    def place(self) -> str:
        """Host and port as a ``fetch.allow`` entry; empty if no entry would permit it."""
        if self.address is not None and is_forbidden(self.address):
            return ""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        """Return the part that may be shown: scheme, host and path."""
        parts = urllib.parse.urlsplit(self.text)
        return urllib.parse.urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))[:200]


def is_public(address: Address) -> bool:
    """Return whether an address is on the public internet; one that embeds another address is not."""
    if isinstance(address, ipaddress.IPv6Address) and (address not in _GLOBAL_V6 or (int(address) >> 32) & 0xFDFF_FFFF == 0x5EFE):
        return False  # the latter: ISATAP, which embeds an IPv4 address
    if not address.is_global or address.is_multicast or address.is_reserved or address.is_unspecified:
        return False
    return not any(address in net for net in _NOT_PUBLIC if net.version == address.version)


def is_forbidden(address: Address) -> bool:
    """Return whether an address is refused even for a host that is allowed by name."""
    if isinstance(address, ipaddress.IPv6Address) and any(is_forbidden(inside) for inside in _inside(address)):
        return True
    return address.is_unspecified or any(address in net for net in _FORBIDDEN if net.version == address.version)


def _inside(address: ipaddress.IPv6Address) -> Iterator[ipaddress.IPv4Address]:
    """Yield the IPv4 addresses embedded in an IPv6 address, to which a translator or a tunnel may connect."""
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if int(address) >> 96 in {0, 0x0064FF9B} or address in _LOCAL_NAT64 or (int(address) >> 32) & 0xFDFF_FFFF == 0x5EFE:
        yield ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)


def read_url(url: str) -> CheckedUrl:
    """Parse an http(s) URL strictly.

    Spaces, marks that URLs do not have and letters beyond ASCII in the path and the query are percent-encoded as UTF-8, as a browser does.

    Args:
        url: the URL; a fragment is dropped.

    Raises:
        Refused: anything two parsers could interpret differently: user info, encoded or numeric hosts, trailing dots,
            backslashes, white space and non-ASCII characters in the host.
    """
    url = _encode_path(url)
    if len(url) > _LONGEST:
        raise Refused("the URL is too long")
    if not url.isascii() or any(c <= " " or c in '\\"<>^`{|}\x7f' for c in url):
        host = "" if url.isascii() else "; letters beyond ASCII in the host are written as xn--..."
        raise Refused(f"the URL contains characters that must be percent-encoded, as %09 for a tab{host}")
    head, separator, rest = url.partition("://")
    scheme = head.lower()
    if not separator or scheme not in _PORTS:
        raise Refused("only http and https URLs are fetched")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in authority:
        raise Refused("the URL contains user info before its host")
    if "%" in authority:
        raise Refused("the URL's host is percent-encoded")
    host, port = _split_port(authority.lower(), scheme)
    address = _read_host(host)
    parts = urllib.parse.urlsplit(url)
    if parts.hostname != host.strip("[]") or (parts.port or _PORTS[scheme]) != port:
        raise Refused("the URL can be parsed in two ways")
    text = f"{scheme}://{authority.lower()}{rest[len(authority) :]}".partition("#")[0]
    return CheckedUrl(text, scheme, host.strip("[]"), port, address)


def _encode_path(url: str) -> str:
    """Percent-encode what URLs do not have behind the host, but no control characters; everything else is left to `read_url`."""
    url = url.strip(" \t\r\n")
    if len(url) > _LONGEST or (url.isascii() and not any(c in _UNSAFE for c in url)):
        return url
    found = _BEHIND_HOST.match(url)
    if found is None:
        return url
    rest = "".join(urllib.parse.quote(c) if c in _UNSAFE or (c > "\x7f" and c.isprintable()) else c for c in url[found.end() :])
    return found[0] + rest


def _split_port(authority: str, scheme: str) -> tuple[str, int]:
    found = re.fullmatch(r"(\[[^\]]*\]|[^:\[\]]*)(?::([0-9]{1,5}))?", authority)
    if not found or not found[1]:
        raise Refused("the URL has no valid host")
    port = int(found[2]) if found[2] else _PORTS[scheme]
    if not 0 < port < 65_536:
        raise Refused("the URL's port is out of range")
    return found[1], port


def _read_host(host: str) -> Address | None:
    """Return the address if the host is a literal address, None for a name."""
    if host.startswith("["):
        try:
            return ipaddress.IPv6Address(host[1:-1])
        except ValueError:
            raise Refused("the URL's host is not a valid IPv6 address") from None
    try:
        return ipaddress.IPv4Address(host)
    except ValueError:
        pass
    labels = host.split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise Refused("the URL's host is not a plain host name")
    if _NUMBER.fullmatch(labels[-1]):
        raise Refused("the URL's host is a number written in an unusual way")
    return None


@attrs.frozen
class AllowList:
    """Hosts (``host``, ``host:port``, ``[v6]:port``) and networks (CIDR) that may be contacted although they are not public.

    An entry without a port allows every port. A listed host, and a literal address in a listed network, may be contacted on
    other ports and over plain http; a name that resolves into a listed network only if the name itself is listed.
    """

    hosts: frozenset[tuple[str, int | None]] = frozenset()
    networks: tuple[_Network, ...] = ()

    @classmethod
    def of(cls, entries: Iterable[str]) -> AllowList:
        """Parse the entries of a setting.

        Raises:
            ValueError: an entry is neither a host nor a network.
        """
        hosts: set[tuple[str, int | None]] = set()
        networks: list[_Network] = []
        for entry in entries:
            text = entry.strip().lower()
            if "/" in text:
                networks.append(ipaddress.ip_network(text))
                continue
            try:
                hosts.add((str(ipaddress.ip_address(text.strip("[]"))), None))
                continue
            except ValueError:
                pass
            try:
                host, port = _split_port(text, "https")
                address = _read_host(host)
            except Refused:
                raise ValueError(f"{entry!r} is neither a host, a host:port, nor a network") from None
            has_port = "]:" in text if host.startswith("[") else ":" in text
            hosts.add((str(address) if address else host, port if has_port else None))
        return cls(frozenset(hosts), tuple(networks))

    def names(self, url: CheckedUrl) -> bool:
        """Return whether the URL's host and port are listed: a name itself, a literal address itself or in a listed network."""
        if url.address is not None:
            return self.lists(url.address, url.port)
        return not self.hosts.isdisjoint({(url.host, None), (url.host, url.port)})

    def lists(self, address: Address, port: int) -> bool:
        """Return whether an address is listed or lies in a listed network."""
        return self.covers(address) or not self.hosts.isdisjoint({(str(address), None), (str(address), port)})

    def covers(self, address: Address) -> bool:
        """Return whether an address lies in a listed network."""
        return any(address in net for net in self.networks if net.version == address.version)

    def permits(self, url: CheckedUrl, address: Address) -> bool:
        """Return whether a URL's host may be contacted at this address."""
        if is_public(address) or self.covers(address):
            return True
        if url.address is not None:
            return self.names(url)
        return self.names(url) and not is_forbidden(address)

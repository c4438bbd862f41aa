"""How this machine reaches the network: proxies, and the certificate authorities that are trusted.

Proxies (http and https, not SOCKS) come from ``[network]`` in the settings, or else from HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and
NO_PROXY. Requests to backends use them for https only: a proxy that receives plain http would be given the key. Hosts of NO_PROXY and
this machine are reached directly.

The URLs of inputs and the links of results are fetched through a proxy only with ``fetch_by_proxy = true``. Then the proxy resolves
the names, so that this machine cannot check where they lead: literal private addresses, names of local networks (without a dot, or
ending in .localhost, .local, .lan, .internal, .home.arpa) and redirects to them are still refused, a public name with a private address
is not. Set it only where the proxy itself refuses internal destinations.

Certificates are checked against the authorities of SSL_CERT_FILE (or SSL_CERT_DIR, except by the backend ``grok``), or else the
system's; ``ca_file`` adds those of a PEM file.
"""

from __future__ import annotations

import functools
import ipaddress
import os
import re
import sys
import urllib.parse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from .errors import SettingsError
from .records import frozen
from .redaction import register_secret

if TYPE_CHECKING:
    import ssl

__all__ = ["CERTIFICATE_FIX", "HOST", "Network", "Proxy", "address_of", "is_credential_host", "is_local_name", "proxy_problem"]

#: What to do about a certificate that is not trusted, about a proxy that does not connect, and about a file without certificates.
CERTIFICATE_FIX = (
    "if your network has a certificate authority of its own, name its file: SSL_CERT_FILE, or [network] ca_file in the settings"
)
PROXY_FIX = (
    "check the address, user name and password of the proxy (http://USER:PASSWORD@HOST:PORT); NO_PROXY lists what is reached directly"
)
_FILE_FIX = "name a file with certificates in PEM format, or leave the setting out"
#: Suffixes that are never on the public internet.
_LOCAL_SUFFIXES = (".localhost", ".local", ".lan", ".internal", ".home.arpa")


#: ``host``, ``host:port``, or ``*.domain`` for the hosts below a domain (but not below a top-level one).
HOST = r"(?:\*(?=\.[^.:]+\.))?[A-Za-z0-9_.](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](?::[0-9]{1,5})?"


def is_credential_host(host: str, port: int | None, hosts: Iterable[str]) -> bool:
    """Whether a host may receive credentials.

    Args:
        host: its name or address, in lower case.
        port: its port.
        hosts: those that may: ``host``, ``host:port``, or ``*.domain`` (the hosts below it, not the domain itself).
    """
    for allowed in map(str.lower, hosts):
        own = f"{host}:{port}" if re.search(r":[0-9]+$", allowed) else host
        if own == allowed or (allowed.startswith("*.") and own.endswith(allowed[1:])):
            return True
    return False


def is_local_name(host: str) -> bool:
    """Whether a host name belongs to a local network: it has no dot, or a suffix that is never public."""
    return "." not in host or host.endswith(_LOCAL_SUFFIXES)


@frozen(kw_only=True)
class Proxy:
    """A proxy.

    Attributes:
        url: its address, which may hold a password.
        source: the variable or setting that names it.
    """

    url: str = attrs.field(repr=False)
    source: str

    def __str__(self) -> str:
        """Return host and port, and what named it."""
        return f"the proxy {urllib.parse.urlsplit(self.url).netloc.rpartition('@')[2]} ({self.source})"


def proxy_problem(url: str) -> str | None:
    """Return what is wrong with the address of a proxy, or None; its password is not repeated."""
    try:
        parts = urllib.parse.urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "not a URL"
    if parts.scheme not in {"http", "https"}:
        return "only http and https proxies can be used (http://host:port)"
    fits = host and re.fullmatch(r"[\w.:-]+", host) and not parts.query and parts.path in {"", "/"}
    return None if fits else "expected http://host:port"


@frozen(kw_only=True)
class Network:
    """Proxies and certificate authorities.

    Attributes:
        proxies: scheme of the requested URL -> proxy.
        no_proxy: what is reached directly: hosts with their subdomains, ``host:port``, addresses, networks, ``*``.
        ca_file: a PEM file with certificate authorities that are trusted in addition to the usual ones.
        fetch_by_proxy: whether links and the URLs of inputs are fetched through the proxy, too.
        unusable: variables of the environment with a proxy that cannot be used -> why.
    """

    proxies: Mapping[str, Proxy] = attrs.field(factory=dict, hash=False)
    no_proxy: tuple[str, ...] = ()
    ca_file: Path | None = None
    fetch_by_proxy: bool = False
    unusable: Mapping[str, str] = attrs.field(factory=dict, hash=False)

    @classmethod
    def of_environment(cls, environ: Mapping[str, str] | None = None) -> Network:
        """Return what the environment says. A variable in lower case takes precedence; an unusable proxy is left out, and noted."""
        env = os.environ if environ is None else environ
        found: dict[str, Proxy] = {}
        unusable: dict[str, str] = {}
        for scheme in ("https", "http"):
            for name in (f"{scheme}_proxy", f"{scheme.upper()}_PROXY", "all_proxy", "ALL_PROXY"):
                url = env.get(name, "").strip()
                url = url if "://" in url or not url else f"http://{url}"
                if url and (wrong := proxy_problem(url)) is not None:
                    unusable[name] = wrong
                elif url:
                    if password := urllib.parse.urlsplit(url).password:
                        register_secret(urllib.parse.unquote(password))
                    found[scheme] = Proxy(url=url, source=name)
                    break
        direct = env.get("no_proxy") or env.get("NO_PROXY") or ""
        entries = tuple(entry for part in direct.lower().split(",") if (entry := part.strip()))
        return cls(proxies=found, no_proxy=entries, unusable=unusable)

    def proxy_for(self, url: str | None, *, plain: bool = False) -> Proxy | None:
        """Return the proxy that a URL is requested through, or None.

        Args:
            url: http or https; None for an https address that is not known.
            plain: whether plain http goes through a proxy, too; it must not where a key is sent.
        """
        parts = urllib.parse.urlsplit(url or "https://")
        if parts.scheme == "http" and not plain:
            return None
        found = self.proxies.get(parts.scheme)
        return None if found is None or self._is_direct(parts.hostname or "", parts.port) else found

    def proxy_url(self, url: str) -> str | None:
        """Return the address of the proxy for a backend's URL as HTTP clients take it, or None; see `proxy_for`."""
        found = self.proxy_for(url)
        return None if found is None else found.url

    def way_to(self, url: str | None) -> tuple[str, str]:
        """Return how a backend's URL is reached, for an error: ``through the proxy ...`` or nothing, and what to do about it."""
        found = self.proxy_for(url)
        if found is not None:
            return f" through {found}", PROXY_FIX
        return "", "; ".join(f"the proxy of {name} is not used: {why}" for name, why in self.unusable.items())

    def _is_direct(self, host: str, port: int | None) -> bool:
        host = host.lower()
        if (address := address_of(host)) is None:
            if host == "localhost" or host.endswith(".localhost"):
                return True
            return any(_covers(entry, host, port) for entry in self.no_proxy)
        return address.is_loopback or any(_covers(entry, host, port) or _contains(entry, address) for entry in self.no_proxy)

    @functools.cached_property
    def ssl_context(self) -> ssl.SSLContext:
        """The TLS context of every connection: the authorities of SSL_CERT_FILE or else the system's, and those of ``ca_file``.

        Raises:
            SettingsError: a file does not exist, or does not hold certificates.
        """
        context = _usual_context()
        context.set_alpn_protocols(("http/1.1",))
        if self.ca_file is not None:
            _add_authorities(context, "[network] ca_file", self.ca_file)
        return context

    @functools.cached_property
    def authorities(self) -> bytes | None:
        """The trusted authorities as PEM, for libraries with a list of their own; None if nothing differs from the usual ones."""
        if self.ca_file is None and not os.environ.get("SSL_CERT_FILE"):
            return None
        self.ssl_context  # noqa: B018 - it checks ca_file
        files = [_usual_file(), self.ca_file]
        return b"\n".join(Path(file).read_bytes() for file in files if file)


def address_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the IP address that a host is, or None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _covers(entry: str, host: str, port: int | None) -> bool:
    """Whether an entry of NO_PROXY is a host or one of its parent domains."""
    name, _, wanted = entry.rpartition(":") if entry.count(":") == 1 else (entry, "", "")
    if wanted and wanted != str(port):
        return False
    domain = name.lstrip("*").lstrip(".")
    return name == "*" or (bool(domain) and (host == domain or host.endswith(f".{domain}")))


def _contains(entry: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    try:
        return address in ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        return False


def _add_authorities(context: ssl.SSLContext, setting: str, file: str | Path) -> None:
    import ssl

    try:
        context.load_verify_locations(cafile=file)
    except OSError as error:  # ssl.SSLError, too
        why = "does not hold certificates in PEM format" if isinstance(error, ssl.SSLError) else f"cannot be read ({error.strerror})"
        raise SettingsError(f"{setting}: {file} {why}", fix=_FILE_FIX) from None


def _usual_context() -> ssl.SSLContext:
    """Return a context with the authorities of the environment, the operating system, or the package certifi."""
    import ssl

    if sys.platform in {"darwin", "win32"} and not os.environ.get("SSL_CERT_FILE"):
        try:
            import truststore

            return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        except ImportError:
            pass
    context = ssl.create_default_context()
    if (named := os.environ.get("SSL_CERT_FILE")) and not context.cert_store_stats()["x509"]:  # OpenSSL ignores a file it cannot read
        _add_authorities(context, "SSL_CERT_FILE", named)
    paths = ssl.get_default_verify_paths()
    if paths.cafile is None and paths.capath is None and not context.cert_store_stats()["x509_ca"] and (file := _usual_file()):
        context.load_verify_locations(cafile=file)
    return context


def _usual_file() -> str | None:
    """Return the file with the system's authorities, or that of certifi."""
    import ssl

    if found := ssl.get_default_verify_paths().cafile:
        return found
    try:
        import certifi
    except ImportError:
        return None
    return certifi.where()

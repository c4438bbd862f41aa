"""A network behind a proxy that inspects TLS: no name resolves outside it, and its certificates come from a private authority.

with CorporateNetwork(folder, {"api.corp-test.invalid": fake.port}) as network:
    monkeypatch.setenv("HTTPS_PROXY", network.url)
    monkeypatch.setenv("SSL_CERT_FILE", str(network.ca_file))
    network.asked                    # ["CONNECT api.corp-test.invalid:443", ...]
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime
import ssl
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

__all__ = ["CorporateNetwork"]


class CorporateNetwork:
    """The proxy, in a thread of its own; a context manager.

    Args:
        folder: where the certificates are written.
        upstreams: host name -> port on 127.0.0.1 that stands for it; others are answered with 502.
        password: what it asks of its users (``user:password``), or nothing.
    """

    def __init__(self, folder: Path, upstreams: Mapping[str, int], password: str = "") -> None:
        self.upstreams, self.password = dict(upstreams), password
        self.ca_file = folder / "corporate-ca.pem"
        self.asked: list[str] = []
        self.port = 0
        self._tls = _server_context(folder, self.ca_file, list(upstreams))
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._main, name="corporate-network", daemon=True)

    @property
    def url(self) -> str:
        """The address of the proxy, with the password that it asks for."""
        return f"http://{self.password + '@' if self.password else ''}127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(60)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(60)

    def _main(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            try:
                await self._relay(reader, writer)
            finally:
                writer.transport.abort()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
        self.asked.append(f"{method} {target}")
        place = target if method == "CONNECT" else target.partition("://")[2].partition("/")[0]
        port = self.upstreams.get(place.rpartition(":")[0] or place)
        login = base64.b64encode(self.password.encode())
        if self.password and b"proxy-authorization: basic " + login.lower() not in head.lower():
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n")
        elif port is None:
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
        else:
            if method == "CONNECT":
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await writer.drain()
                await writer.start_tls(self._tls)
                head = b""
            path = "/" + target.partition("://")[2].partition("/")[2]
            there, back = await asyncio.open_connection("127.0.0.1", port)
            back.write(head.replace(target.encode(), path.encode(), 1))
            await asyncio.gather(_pump(reader, back), _pump(there, writer))
        await writer.drain()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
    finally:
        writer.close()


def _server_context(folder: Path, ca_file: Path, hosts: list[str]) -> ssl.SSLContext:
    authority, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Corporate test authority")])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "corporate proxy")])
    names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts or ["none.invalid"]])
    signs = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    root = _certificate(issuer, issuer, authority, authority, x509.BasicConstraints(ca=True, path_length=None), signs)
    leaf = _certificate(subject, issuer, own, authority, x509.BasicConstraints(ca=False, path_length=None), names)
    ca_file.write_bytes(root.public_bytes(serialization.Encoding.PEM))
    key = own.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    server_file = folder / "corporate-proxy.pem"
    server_file.write_bytes(leaf.public_bytes(serialization.Encoding.PEM) + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server_file)
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    *extensions: x509.ExtensionType,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=subject,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now - datetime.timedelta(days=1),
        not_valid_after=now + datetime.timedelta(days=1),
    )
    identifiers = (  # Python 3.13 demands them
        x509.SubjectKeyIdentifier.from_public_key(key.public_key()),
        x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()),
    )
    for extension in (*extensions, *identifiers):
        builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints | x509.KeyUsage))
    return builder.sign(signer, hashes.SHA256())

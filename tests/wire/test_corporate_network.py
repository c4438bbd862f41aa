"""Every backend behind a proxy that inspects TLS, with a private certificate authority: the real SDKs, over real sockets."""

from __future__ import annotations

import contextlib
import datetime
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from clocks import FastClock
from wire.corporate_network import CorporateNetwork
from wire.fal_server import KEY as FAL_KEY
from wire.fal_server import FalServer
from wire.google_server import KEY as GOOGLE_KEY
from wire.google_server import GoogleServer
from wire.grok_server import KEY as GROK_KEY
from wire.grok_server import GrokServer
from wire.http_server import HttpServer, Reply
from wire.media_bytes import image
from wire.openai_server import KEY as OPENAI_KEY
from wire.openai_server import OpenAIServer
from wire.openrouter_server import KEY as OPENROUTER_KEY
from wire.openrouter_server import OpenRouterServer

from anymedia import GenerateAudio, GenerateImage, Policy, Router, SqliteStore
from anymedia.context import Context
from anymedia.errors import BackendUnavailable, BadBackendResponse, InvalidRequest, MediaError, SettingsError
from anymedia.http import no_answer, post_json
from anymedia.net.fetcher import Fetcher
from anymedia.network import Network
from anymedia.plugins.registry import discover
from anymedia.requests import Request
from anymedia.settings import InstanceSettings, Settings, load_settings

pytestmark = pytest.mark.anyio
HOST, FILES = "api.corp-test.invalid", "files.corp-test.invalid"
PICTURE = image(64, 48)


@attrs.frozen
class Service:
    server: Any
    variable: str
    key: str
    address: Callable[[Any], str] = lambda fake: str(fake.base_url)
    path: str = "/v1"
    request: Request = GenerateImage(prompt="a fox")


SERVICES = {
    "openai": Service(OpenAIServer, "OPENAI_API_KEY", OPENAI_KEY),
    "google": Service(GoogleServer, "GOOGLE_API_KEY", GOOGLE_KEY, lambda fake: str(fake.url), path=""),
    "google speech": Service(
        GoogleServer, "GOOGLE_API_KEY", GOOGLE_KEY, lambda fake: str(fake.url), path="", request=GenerateAudio(prompt="Good morning.")
    ),
    "grok": Service(GrokServer, "XAI_API_KEY", GROK_KEY, lambda fake: f"//{fake.host}"),
    "grok speech": Service(GrokServer, "XAI_API_KEY", GROK_KEY, request=GenerateAudio(prompt="Good morning.")),
    "fal": Service(lambda: FalServer(public_url=f"https://{HOST}"), "FAL_KEY", FAL_KEY, path=""),
    "openrouter": Service(OpenRouterServer, "OPENROUTER_API_KEY", OPENROUTER_KEY, path="/api/v1"),
}


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@contextlib.contextmanager
def behind_proxy(name: str, folder: Path, password: str = "") -> Iterator[tuple[Any, CorporateNetwork]]:
    with contextlib.ExitStack() as stack:
        fake = stack.enter_context(SERVICES[name].server())
        port = urllib.parse.urlsplit(SERVICES[name].address(fake)).port or 0
        yield fake, stack.enter_context(CorporateNetwork(folder, {HOST: port}, password))


def router_of(name: str, folder: Path, network: Network | None = None, **more: Any) -> Router:
    service = SERVICES[name]
    plugin = name.partition(" ")[0]
    own = InstanceSettings(name=plugin, plugin=plugin, base_url=f"https://{HOST}{service.path}", **more)
    given = {} if network is None else {"network": network}
    settings = Settings(instances={plugin: own}, state_dir=folder / "state", fetch_allow=("127.0.0.1",), **given)
    day = datetime.date(2026, 11, 21)
    return Router(
        settings=settings,
        registry=discover(),
        store=SqliteStore(":memory:"),
        policy=Policy(retries=0),
        today=lambda: day,
        clock=FastClock(),
    )


@pytest.mark.parametrize("given", ["environment", "settings"])
@pytest.mark.parametrize("name", SERVICES)
async def test_backend_behind_proxy_with_private_authority_works(
    name: str, given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = SERVICES[name]
    monkeypatch.setenv(service.variable, service.key)
    password = "user:pass-word-4711" if given == "environment" else ""
    with behind_proxy(name, tmp_path, password) as (_, proxy):
        network = None
        if given == "environment":
            monkeypatch.setenv("HTTPS_PROXY", proxy.url)
            monkeypatch.setenv("SSL_CERT_FILE", str(proxy.ca_file))
        else:
            file = tmp_path / "config.toml"
            file.write_text(f'[network]\nproxy = "{proxy.url}"\nca_file = "corporate-ca.pem"\n')
            network = load_settings(environ={}, files=[file]).network
        async with router_of(name, tmp_path, network) as router:
            result = await router.execute(service.request, output=f"{tmp_path}/out/")
    assert result.path.exists()
    assert set(proxy.asked) == {f"CONNECT {HOST}:443"}


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.parametrize("trouble", ["password", "authority", "unreachable"])
async def test_trouble_with_the_proxy_is_named_and_nothing_was_sent(
    name: str, trouble: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = SERVICES[name]
    monkeypatch.setenv(service.variable, service.key)
    with behind_proxy(name, tmp_path, "user:pass-word-4711" if trouble == "password" else "") as (_, proxy):
        url = {"password": f"http://user:wrong-word-4711@127.0.0.1:{proxy.port}", "authority": proxy.url}.get(trouble, "http://127.0.0.1:9")
        monkeypatch.setenv("HTTPS_PROXY", url)
        if trouble != "authority":
            monkeypatch.setenv("SSL_CERT_FILE", str(proxy.ca_file))
        async with router_of(name, tmp_path) as router:
            with pytest.raises(BackendUnavailable) as caught:
                await router.execute(service.request, output=f"{tmp_path}/out/")
    assert (caught.value.delivery, caught.value.charged) == ("not_sent", "no")
    text = f"{caught.value.message} {caught.value.fix}"
    assert "HTTPS_PROXY" in text
    assert "word-4711" not in text
    if trouble == "authority":
        assert "SSL_CERT_FILE" in text


@pytest.mark.parametrize("name", SERVICES)
async def test_trouble_on_the_direct_way_does_not_blame_the_proxy(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SERVICES[name].variable, SERVICES[name].key)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", ".invalid")
    async with router_of(name, tmp_path) as router:
        with pytest.raises(BackendUnavailable) as caught:
            await router.execute(SERVICES[name].request, output=f"{tmp_path}/out/")
    assert caught.value.delivery == "not_sent"
    assert "proxy" not in f"{caught.value.message} {caught.value.fix}".lower()


@pytest.mark.parametrize("name", SERVICES)
async def test_proxy_that_cannot_be_used_is_named_where_the_direct_way_fails(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SERVICES[name].variable, SERVICES[name].key)
    monkeypatch.setenv("ALL_PROXY", "socks5://user:word-4711@127.0.0.1:9")
    async with router_of(name, tmp_path) as router:
        with pytest.raises(BackendUnavailable) as caught:
            await router.execute(SERVICES[name].request, output=f"{tmp_path}/out/")
    assert caught.value.delivery == "not_sent"
    assert "the proxy of ALL_PROXY is not used: only http and https" in caught.value.fix
    assert "word-4711" not in str(caught.value)


@pytest.mark.parametrize("content", [None, "no certificate"], ids=["missing", "empty"])
@pytest.mark.parametrize("name", SERVICES)
async def test_file_of_authorities_that_cannot_be_used_is_named_before_anything_is_sent(
    name: str, content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv(SERVICES[name].variable, SERVICES[name].key)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    async with router_of(name, tmp_path) as router:
        with pytest.raises(SettingsError, match=r"SSL_CERT_FILE: .*ca\.pem") as caught:
            await router.execute(SERVICES[name].request, output=f"{tmp_path}/out/")
    assert caught.value.charged == "no"


def test_default_address_in_no_proxy_is_reached_directly() -> None:
    network = Network.of_environment({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "api.maker.example"})
    context = Context(backend="own", hosts=("api.maker.example",), network=network)
    assert "proxy" not in no_answer(context, ConnectionRefusedError()).message
    assert "through the proxy p:1" in no_answer(context, ConnectionRefusedError(), "https://other.example/x").message


async def test_http_toolbox_uses_proxy_and_authority(tmp_path: Path) -> None:
    with HttpServer(lambda _: Reply.of_json({"ok": True})) as server, CorporateNetwork(tmp_path, {HOST: server.port}) as proxy:
        network = attrs.evolve(Network.of_environment({"https_proxy": proxy.url}), ca_file=proxy.ca_file)
        made: dict[str, Any] = {}
        context = Context(
            backend="own", settings={"base_url": f"https://{HOST}"}, hosts=(HOST,), network=network,
            clients=lambda name, factory: made.setdefault(name, None) or made.update({name: factory()}) or made[name],
        )  # fmt: skip
        assert await post_json(context, f"https://{HOST}/v1/x", {}, headers={"x-key": "k" * 20}) == {"ok": True}
        for client in made.values():
            await client.aclose()
    assert proxy.asked == [f"CONNECT {HOST}:443"]


async def test_no_proxy_is_honoured_and_plain_http_of_a_backend_never_goes_through_a_proxy() -> None:
    network = Network.of_environment(
        {
            "HTTPS_PROXY": "proxy.corp:3128",
            "HTTP_PROXY": "http://proxy.corp:3128",
            "NO_PROXY": "media.lan, .internal.example,10.0.0.0/8,a.example:8443",
        }
    )
    assert network.proxy_url("https://api.openai.com/v1") == "http://proxy.corp:3128"
    for url in (
        "https://media.lan/x", "https://gpu.media.lan", "https://a.internal.example", "https://10.1.2.3/x", "https://a.example:8443",
        "https://localhost:8000", "https://127.0.0.1", "https://[::1]:8443", "http://api.example/x",
    ):  # fmt: skip
        assert network.proxy_url(url) is None, url
    for url in ("https://other-media.lan", "https://11.1.2.3", "https://a.example"):
        assert network.proxy_url(url) is not None, url
    assert Network.of_environment({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}).proxy_url("https://a.example") is None


@pytest.mark.parametrize("url", ["socks5://p:1", "http://", "p:port", "ftp://p:1", "not a url", "http://p:99999", "http://p/path"])
def test_unusable_proxy_of_the_environment_is_noted_and_one_of_the_settings_refused(url: str, tmp_path: Path) -> None:
    found = Network.of_environment({"https_proxy": url})
    assert not found.proxies
    assert found.unusable.keys() == {"https_proxy"}
    (tmp_path / "config.toml").write_text(f'[network]\nproxy = "{url}"\n')
    with pytest.raises(SettingsError, match=r"\[?network.*proxy"):
        load_settings(environ={}, files=[tmp_path / "config.toml"])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('proxy = "http://user:secret-4711@p:1"', "HTTPS_PROXY"),
        ('prxy = "http://p:1"', "proxy"),
        ("fetch_by_proxy = 1", "fetch_by_proxy"),
    ],
)
def test_wrong_network_setting_is_refused(line: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(f"[network]\n{line}\n")
    with pytest.raises(SettingsError, match=said) as caught:
        load_settings(environ={}, files=[tmp_path / "config.toml"])
    assert "secret-4711" not in str(caught.value)


@pytest.mark.parametrize("text", ["no certificate", None])
async def test_file_without_certificates_is_an_error_that_names_the_setting(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "ca.pem").write_text(text)
    with pytest.raises(SettingsError, match="ca_file"):
        Network(ca_file=tmp_path / "ca.pem").ssl_context  # noqa: B018


# The guarded fetcher


@contextlib.contextmanager
def file_server(folder: Path, answer: Any = None) -> Iterator[tuple[HttpServer, CorporateNetwork]]:
    def reply(_: Any) -> Reply:
        return answer or Reply(body=PICTURE, headers={"content-type": "image/png"})

    with HttpServer(reply) as server, CorporateNetwork(folder, {FILES: server.port}) as proxy:
        yield server, proxy


def network_of(proxy: CorporateNetwork, *, fetch_by_proxy: bool) -> Network:
    usual = Network.of_environment({"HTTPS_PROXY": proxy.url, "HTTP_PROXY": proxy.url})
    return attrs.evolve(usual, ca_file=proxy.ca_file, fetch_by_proxy=fetch_by_proxy)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_fetcher_with_permission_goes_through_proxy(scheme: str, tmp_path: Path) -> None:
    with file_server(tmp_path) as (_, proxy):
        async with Fetcher(network=network_of(proxy, fetch_by_proxy=True), allow_http=True) as fetcher:
            assert await fetcher.fetch_bytes(f"{scheme}://{FILES}/a.png?sig=x") == PICTURE
    assert proxy.asked == [f"CONNECT {FILES}:443" if scheme == "https" else f"GET http://{FILES}/a.png?sig=x"]


@pytest.mark.parametrize("for_caller", [True, False])
async def test_fetcher_without_permission_says_which_setting_allows_the_proxy(for_caller: bool, tmp_path: Path) -> None:
    async def no_names(host: str, port: int) -> list[str]:
        raise OSError("no such name")

    with file_server(tmp_path) as (_, proxy):
        async with Fetcher(network=network_of(proxy, fetch_by_proxy=False), resolver=no_names) as fetcher:
            with pytest.raises(MediaError) as caught:
                await fetcher.fetch_bytes(f"https://{FILES}/a.png", for_caller=for_caller)
    assert "HTTPS_PROXY" in f"{caught.value.message} {caught.value.fix}"
    assert "fetch_by_proxy" in f"{caught.value.message} {caught.value.fix}"
    assert proxy.asked == []


@pytest.mark.parametrize(
    "url",
    [
        "https://169.254.169.254/latest", "https://10.0.0.1/x", "https://[fd00:ec2::254]/x", "https://127.0.0.1/x", "https://2130706433/x",
        "https://metadata.google.internal/x", "https://intranet/x", "https://printer.local/x", "https://localhost/x", "http://files.example/x",
    ],
)  # fmt: skip
async def test_fetcher_through_proxy_still_refuses_private_addresses_and_local_names(url: str, tmp_path: Path) -> None:
    with file_server(tmp_path) as (_, proxy):
        async with Fetcher(network=network_of(proxy, fetch_by_proxy=True)) as fetcher:
            with pytest.raises(InvalidRequest):
                await fetcher.fetch_bytes(url, for_caller=True)
    assert proxy.asked == []


async def test_redirect_through_proxy_is_checked_again(tmp_path: Path) -> None:
    to_metadata = Reply(status=302, headers={"location": "https://169.254.169.254/latest"})
    with file_server(tmp_path, to_metadata) as (_, proxy):
        async with Fetcher(network=network_of(proxy, fetch_by_proxy=True)) as fetcher:
            with pytest.raises(BadBackendResponse, match="not a public address"):
                await fetcher.fetch_bytes(f"https://{FILES}/a.png")
    assert proxy.asked == [f"CONNECT {FILES}:443"]


async def test_proxy_that_refuses_a_fetch_is_named(tmp_path: Path) -> None:
    with file_server(tmp_path) as (_, proxy):
        async with Fetcher(network=network_of(proxy, fetch_by_proxy=True)) as fetcher:
            with pytest.raises(BackendUnavailable, match=r"the proxy 127\.0\.0\.1:[0-9]+ \(HTTPS_PROXY\) refused .*502"):
                await fetcher.fetch_bytes("https://other.corp-test.invalid/a.png")


# A backend's own address


async def test_own_address_of_a_backend_needs_no_second_setting_for_that_backend_only() -> None:
    with HttpServer(lambda _: Reply(body=b"result")) as server, HttpServer(lambda _: Reply(body=b"other")) as other:
        async with Fetcher() as fetcher:
            own = fetcher.for_origin(f"{server.url}/v1")
            assert await own.fetch_bytes(f"{server.url}/files/a.png") == b"result"
            for refused, by in (
                (f"{server.url}/a", fetcher),
                (f"{other.url}/a", own),
                (f"{server.url}/a", fetcher.for_origin(f"{other.url}/v1")),
                (server.url.replace("http:", "https:"), own),
                (server.url.replace("127.0.0.1", "localhost"), own),
            ):
                with pytest.raises(BadBackendResponse, match="refused"):
                    await by.fetch_bytes(refused)
    assert other.received == []


async def test_own_name_of_a_backend_may_lead_inside_but_never_to_a_metadata_address() -> None:
    async def names(host: str, port: int) -> list[str]:
        return ["127.0.0.1"] if host == "gpu.lan" else ["169.254.169.254"]

    with HttpServer(lambda _: Reply(body=b"result")) as server:
        async with Fetcher(resolver=names) as fetcher:
            assert await fetcher.for_origin(f"http://gpu.lan:{server.port}").fetch_bytes(f"http://gpu.lan:{server.port}/a") == b"result"
            with pytest.raises(BadBackendResponse, match="not public"):
                await fetcher.fetch_bytes(f"https://gpu.lan:{443}/a")
            for base in ("http://meta.lan:80", "http://169.254.169.254:80", "https://[fe80::1]:443"):
                with pytest.raises(BadBackendResponse, match="refused"):
                    await fetcher.for_origin(base).fetch_bytes(f"{base}/latest")


async def test_redirect_from_the_own_address_is_checked_again() -> None:
    with HttpServer(lambda _: Reply(body=b"secret")) as inside:
        to_inside = Reply(status=302, headers={"location": f"{inside.url}/x"})
        with HttpServer(lambda _: to_inside) as server:
            async with Fetcher() as fetcher:
                with pytest.raises(BadBackendResponse, match="refused"):
                    await fetcher.for_origin(server.url).fetch_bytes(f"{server.url}/a")
    assert inside.received == []

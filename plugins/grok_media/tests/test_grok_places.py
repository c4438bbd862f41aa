"""Where requests go, what the channel does not do, and what is imported when."""

from __future__ import annotations

import asyncio
import datetime
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from wire.grok_server import KEY, GrokServer
from wire.http_server import closed_port

from anymedia.context import Context
from anymedia.credentials import Secret
from anymedia.errors import SettingsError
from anymedia.hookspecs import HOOKS
from anymedia.plugins.registry import discover
from anymedia.router import Router
from anymedia.settings import InstanceSettings, Settings
from grok_media._client import connect, place_of, rest_url


@pytest.mark.parametrize(
    ("settings", "target", "plain"),
    [
        ({}, "api.x.ai", False),
        ({"base_url": "https://api.x.ai/v1"}, "api.x.ai:443", False),
        ({"base_url": "https://relay.example:8443"}, "relay.example:8443", False),
        ({"base_url": "http://127.0.0.1:9000"}, "127.0.0.1:9000", True),
        ({"base_url": "http://[::1]:9000/v1"}, "[::1]:9000", True),
        ({"grpc_host": "relay.example"}, "relay.example:443", False),
        ({"grpc_host": "relay.example:50051", "base_url": "http://127.0.0.1:9000"}, "relay.example:50051", False),
        ({"grpc_host": "localhost:50051"}, "localhost:50051", True),
        ({"grpc_host": "127.0.0.1:50051"}, "127.0.0.1:50051", True),
        ({"grpc_host": "[::1]:50051"}, "[::1]:50051", True),
        ({"grpc_host": "10.0.0.1:50051"}, "10.0.0.1:50051", False),
    ],
)
def test_grpc_goes_where_the_settings_say_in_the_clear_only_on_this_machine(settings: dict[str, Any], target: str, plain: bool) -> None:
    place = place_of(settings)
    assert (place.target, place.plain) == (target, plain)


@pytest.mark.parametrize("host", ["http://x.ai", "a b", "", "x.ai:port", "x.ai/v1", 5, "user@x.ai"])
def test_a_grpc_host_that_is_none_is_refused(host: Any) -> None:
    with pytest.raises(SettingsError, match="grpc_host"):
        place_of({"grpc_host": host})


@pytest.mark.parametrize(
    "base", ["https://relay.example", "https://relay.example/", "https://relay.example/v1", "https://relay.example/v1/"]
)
def test_a_base_url_may_end_in_its_version_or_not(base: str) -> None:
    assert rest_url({"base_url": base}, "/tts") == "https://relay.example/v1/tts"
    assert rest_url({}, "/tts") == "https://api.x.ai/v1/tts"


def test_the_channel_neither_sends_again_nor_asks_the_environment_for_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    import xai_sdk

    made: dict[str, Any] = {}

    class Recorder(xai_sdk.AsyncClient):  # type: ignore[misc]
        def _init(self, *args: Any) -> None:
            made["options"], made["timeout"], made["plain"] = dict(args[5]), args[6], args[7]
            super()._init(*args)

    monkeypatch.setattr(xai_sdk, "AsyncClient", Recorder)

    async def go() -> None:
        context = Context(backend="grok", settings={"timeout": 30}, secrets={"api_key": Secret(KEY)})
        connection = connect(context)
        assert KEY not in repr(connection)
        await connection.aclose()

    asyncio.run(go())
    assert made["options"]["grpc.enable_retries"] == 0
    assert "retryPolicy" not in made["options"]["grpc.service_config"]
    assert made["options"]["grpc.enable_http_proxy"] == 0
    assert made["options"]["grpc.max_send_message_length"] == 20 * 1024 * 1024
    assert (made["timeout"], made["plain"]) == (30.0, False)


def test_a_channel_belongs_to_its_event_loop_so_each_loop_has_its_own(
    fake: GrokServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XAI_API_KEY", KEY)
    own = InstanceSettings(name="grok", plugin="grok", base_url=fake.base_url, options={"grpc_host": fake.host})
    settings = Settings(instances={"grok": own}, fetch_allow=("127.0.0.1",), state_dir=tmp_path / "state")

    async def go() -> None:
        async with Router(settings=settings, registry=discover(), today=lambda: datetime.date(2026, 11, 21)) as router:
            await asyncio.gather(*[router.generate_image(prompt=f"fox {i}", backend="grok", output=f"{tmp_path}/") for i in range(3)])

    asyncio.run(go())
    asyncio.run(go())
    assert fake.count("GenerateImage") == 6


def test_speech_and_grpc_may_share_one_address_from_base_url_alone() -> None:
    settings = {"base_url": "https://relay.example/v1"}
    assert place_of(settings).target == "relay.example:443"
    assert rest_url(settings, "/tts").startswith("https://relay.example/")


def test_loading_the_plugin_and_its_matrix_imports_no_sdk() -> None:
    code = "import sys, grok_media.plugin as p; p.capabilities(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ))
    assert not set(done.stdout.split()) & {"xai_sdk", "grpc", "google.protobuf", "opentelemetry", "pydantic", "aiohttp", "requests"}


def test_what_the_provider_cannot_do_has_no_hook() -> None:
    hooks = discover().plugins["grok"].hooks
    assert "cancel_job" not in hooks  # there is no such call
    assert "inpaint" not in hooks
    assert hooks <= set(HOOKS)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks are POSIX")
def test_forked_child_of_an_open_connection_sends_nothing_and_does_not_wait() -> None:
    """The child must not touch gRPC, whose threads it does not have: it would wait for ever."""
    program = f"""
import asyncio, os, sys
from anymedia import Context
from anymedia.credentials import Secret
from anymedia.errors import BackendUnavailable
from grok_media._client import connect

def context():
    return Context(backend="grok", settings={{"base_url": "http://127.0.0.1:{closed_port()}"}}, secrets={{"api_key": Secret("xai-key")}})

async def child():
    try:
        connect(context())
    except BackendUnavailable as error:
        return 7 if error.delivery == "not_sent" and "forked" in error.message else 1

async def main():
    parent = connect(context())
    pid = os.fork()
    if pid == 0:
        asyncio._set_running_loop(None)
        os._exit(asyncio.new_event_loop().run_until_complete(child()))
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    await parent.aclose()
    await connect(context()).aclose()
    return code

sys.exit(asyncio.run(main()))
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=300, check=False)
    assert ended.returncode == 7, ended.stderr.decode()[-2000:]

"""The plugin against the test server that xAI ships in the source distribution of its SDK; run by ``.ci/upstream``.

ANYMEDIA_XAI_TESTS names the folder with ``server.py``. That server knows no speech, and its videos lie at an address of
example.com, in place of which they are served here.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import sys
import types
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from wire.http_server import HttpServer, Reply
from wire.media_bytes import video

from anymedia.errors import AuthenticationFailed
from anymedia.policy import Policy
from anymedia.requests import GenerateImage, GenerateVideo
from anymedia.router import Router
from anymedia.settings import InstanceSettings, Settings
from anymedia.testing.harness import FastClock, loaded_registry

# The server does not close its sockets.
pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def upstream() -> Any:
    picker = types.ModuleType("portpicker")  # all that the server takes from that package
    picker.pick_unused_port = _free_port  # type: ignore[attr-defined]
    sys.modules.setdefault("portpicker", picker)
    place = Path(os.environ["ANYMEDIA_XAI_TESTS"]) / "server.py"
    spec = importlib.util.spec_from_file_location("upstream_xai_server", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def place(upstream: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Run the server, and a place for its videos; returns its address."""
    monkeypatch.chdir(os.environ["ANYMEDIA_XAI_TESTS"])
    with HttpServer(lambda _: Reply(body=video(64, 64, 1.0))) as files:
        own = upstream.VideoServicer
        monkeypatch.setattr(upstream, "VideoServicer", lambda _: own(f"{files.url}/foo.mp4"))
        with upstream.run_test_server() as port:
            yield f"127.0.0.1:{port}"


@pytest.fixture
async def router(place: str, upstream: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Router]:
    monkeypatch.setenv("XAI_API_KEY", upstream.API_KEY)
    own = InstanceSettings(name="grok", plugin="grok", base_url="http://127.0.0.1:9", options={"grpc_host": place})
    settings = Settings(instances={"grok": own}, fetch_allow=("127.0.0.1", "localhost"), state_dir=tmp_path)
    async with Router(settings=settings, registry=loaded_registry(), policy=Policy(retries=0), clock=FastClock()) as made:
        yield made


@pytest.mark.parametrize("n", [1, 3])
async def test_images_are_delivered_with_a_warning_about_the_flag_that_is_not_set(router: Router, tmp_path: Path, n: int) -> None:
    made = await router.execute(GenerateImage(prompt="a fox", n=n), model="grok-imagine-image-2.0", output=f"{tmp_path}/out/")
    assert len(made.files) == n
    assert "moderation_not_confirmed" in {warning.code for warning in made.warnings}


async def test_request_arrives_with_its_fields(router: Router, upstream: Any, tmp_path: Path) -> None:
    request = GenerateImage(prompt="a fox", aspect_ratio="16:9")
    await router.execute(request, model="grok-imagine-image-2.0", output=f"{tmp_path}/out/")
    sent = upstream._last_image_request_state.value
    assert (sent.prompt, sent.model, sent.n) == ("a fox", "grok-imagine-image-2.0", 1)
    assert upstream.image_pb2.ImageAspectRatio.Name(sent.aspect_ratio).endswith("16_9")


async def test_video_is_polled_and_delivered(router: Router, tmp_path: Path) -> None:
    made = await router.execute(GenerateVideo(prompt="a fox", duration=2), model="grok-imagine-video-1.5", output=f"{tmp_path}/out/")
    assert [file.mime for file in made.files] == ["video/mp4"]


async def test_wrong_key_is_refused_in_its_words(router: Router, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, upstream: Any) -> None:
    monkeypatch.setattr(upstream, "API_KEY", "another")
    with pytest.raises(AuthenticationFailed) as caught:
        await router.execute(GenerateImage(prompt="a fox"), model="grok-imagine-image-2.0", output=f"{tmp_path}/out/")
    assert caught.value.provider_message
    assert caught.value.charged == "no"

"""A key goes to its backend's own address alone: over no redirect of a submit or a download, and through no proxy in the clear."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_canaries import cells
from test_canaries_collecting import ELSEWHERE, MODELS
from wire.http_server import HttpServer, Received, Reply
from worlds import KEYS, PROMPT, SUBMITS, VARIABLES, World, world

from anymedia.errors import MediaError
from anymedia.router import Progress

pytestmark = pytest.mark.anyio
PROXIES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


class Thief:
    """Another place, which takes whatever comes and answers like a server of files."""

    def __init__(self) -> None:
        self.server = HttpServer(lambda _: Reply(status=404))

    def saw(self, word: str) -> list[str]:
        """The requests that held a word, in their line, their query, their headers or their body."""
        return [r.line for r in self.server.received if word in self._all(r)]

    def _all(self, r: Received) -> str:
        return f"{r.line} {dict(r.query)} {dict(r.headers)} {r.body.decode('latin-1')}"


@pytest.fixture
def thief() -> Any:
    made = Thief()
    with made.server:
        yield made


@pytest.fixture
def keyed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ANYMEDIA_CACHE", str(tmp_path / "cache"))
    for name, variable in VARIABLES.items():
        monkeypatch.setenv(variable, KEYS[name])


SUBMITTED = ("openai", "google", "openrouter", "fal")  # gRPC knows no redirects
STATUSES = ("301", "302", "303", "307", "308")


@pytest.mark.parametrize(
    ("name", "status"), cells({*((n, "307") for n in SUBMITTED), *(("openrouter", s) for s in STATUSES)}, SUBMITTED, STATUSES)
)
async def test_redirected_submit_goes_nowhere_else(name: str, status: str, keyed: None, thief: Thief, tmp_path: Path) -> None:
    with world(name, tmp_path) as server:
        here = World(name, server, tmp_path)
        headers = {"location": f"{thief.server.url}/v1/images"}
        here.wire.fail("status", on=SUBMITS[name], times=None, status=int(status), json={}, headers=headers)
        async with here.router() as router:
            with pytest.raises(MediaError):
                await router.generate_image(prompt=PROMPT, backend=name, output=f"{tmp_path}/out/")
        assert here.arrived() == 1
    assert thief.server.received == []


@pytest.mark.parametrize(("name", "status"), cells({(n, "302") for n in MODELS}, MODELS, ("302", "308")))
async def test_redirected_download_leaves_the_key_behind(name: str, status: str, keyed: None, thief: Thief, tmp_path: Path) -> None:
    with world(name, tmp_path) as server:
        here = World(name, server, tmp_path)
        if name == "openai":
            here.more, server.videos.models, server.videos.free_values = ELSEWHERE, ("wan",), True

        def watch(progress: Progress) -> None:
            if progress.state == "collecting":
                headers = {"location": f"{thief.server.url}/film.mp4"}
                here.files.fail("status", on="GET", times=None, status=int(status), json={}, headers=headers)

        async with here.router() as router:
            router._engine.on_progress = watch
            with pytest.raises(MediaError):
                await router.generate_video(prompt=PROMPT, backend=name, model=MODELS[name], output=f"{tmp_path}/out/")
    assert thief.server.received  # it was followed, to where the settings allow it
    assert thief.saw(KEYS[name]) == []


@pytest.mark.parametrize("name", SUBMITS)
async def test_proxy_of_the_environment_never_receives_a_key_unencrypted(
    name: str, keyed: None, thief: Thief, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in PROXIES:
        monkeypatch.setenv(variable, thief.server.url)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with world(name, tmp_path) as server:
        here = World(name, server, tmp_path)
        if name == "openai":
            here.more, server.videos.models, server.videos.free_values = ELSEWHERE, ("wan",), True
        async with here.router() as router:
            if name != "openai":
                assert (await router.generate_image(prompt=PROMPT, backend=name, output=f"{tmp_path}/out/")).path.exists()
            film = await router.generate_video(prompt=PROMPT, backend=name, model=MODELS[name], output=f"{tmp_path}/out/")
            assert film.path.exists()
    assert thief.server.received == []

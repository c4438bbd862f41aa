"""The corpora counted in one place: how many hostile things were tried, how many refused, how many good ones passed.

Each corpus has tests of its own beside the room it is for; here it goes through the doors that a call really uses.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import media_samples as samples
import pytest
from core.fake_service import FakeService, png
from core.routing import KEY, fake_router
from hostile_media import HOSTILE
from odd_samples import ODD
from test_addresses import CORPUS, Trap, fake_dns
from test_addresses import HOSTILE as URLS
from test_paths import House, corpus, hostile_inputs, hostile_outputs, house  # noqa: F401 - a fixture
from test_sniff_hostile import MEASURE

from anymedia import Policy, Router
from anymedia.agents import MediaTool
from anymedia.errors import BackendUnavailable, BadBackendResponse, InvalidRequest, MediaError, RequestError
from anymedia.media import Image, Video
from anymedia.requests import ContinueVideo, EditWithReferences, GenerateVideo, Inpaint, Mask, Reference
from anymedia.transfer.fetch import Fetcher
from anymedia.transfer.sniff import sniff

pytestmark = pytest.mark.anyio
posix = pytest.mark.skipif(sys.platform == "win32", reason="links and pipes of POSIX")


def tell(what: str, tried: int, refused: int, controls: int, passed: int) -> None:
    print(f"\n{what}: {tried} tried, {refused} refused; {controls} controls, {passed} passed")


@pytest.fixture
async def service(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("FAKE_KEY", KEY)
    with FakeService() as made:
        yield made


def carriers(media: Any) -> Iterator[Any]:
    """Every place of a request in which an input can stand."""
    good = Image(data=png(64, 48))
    if isinstance(media, Image):
        yield Inpaint(prompt="x", source=media, mask=Mask(image=good))
        yield Inpaint(prompt="x", source=good, mask=Mask(image=media))
        yield EditWithReferences(prompt="x", references=(Reference(image=media),))
        yield EditWithReferences(prompt="x", references=(Reference(image=good), Reference(image=media, role="style")))
        yield GenerateVideo(prompt="x", first_frame=media)
    else:
        yield ContinueVideo(prompt="x", source=media)


@posix
async def test_no_hostile_path_gets_through_any_input_of_a_request(house: House, service: FakeService) -> None:  # noqa: F811
    paths = [p for p in hostile_inputs(house) if p]
    policy = Policy(input_roots=(house.root,), output_roots=(house.root,))
    tried = refused = 0
    async with fake_router(service, policy=policy) as router:
        for text in paths:
            for kind in (Image, Video):
                for request in carriers(kind(path=Path(text))):
                    tried += 1
                    try:
                        await router.execute(request, backend="fake", output=f"{house.root}/")
                    except RequestError as error:
                        assert "CANARY" not in str(error)
                        refused += 1
        (house.root / "good.png").write_bytes(png(64, 48))
        mask = png(64, 48, (255, 255, 255))
        (house.root / "half.png").write_bytes(_half(mask))
        controls = [
            Inpaint(prompt="x", source=Image(path=house.root / "good.png"), mask=Mask(image=Image(path=house.root / "half.png"))),
            EditWithReferences(prompt="x", references=(Reference(image=Image(path=house.root / "good.png")),)),
            GenerateVideo(prompt="x", first_frame=Image(path=house.root / "good.png")),
        ]
        assert service.submits == []
        for request in controls:
            assert (await router.execute(request, backend="fake", output=f"{house.root}/")).path.is_relative_to(house.root)
    tell(f"paths: {len(set(paths))} hostile ones in every input", tried, refused, len(controls), len(controls))
    assert len(set(paths)) >= 100
    assert tried == refused


def _half(_: bytes) -> bytes:
    import io

    from PIL import Image as Pictures

    picture = Pictures.new("L", (64, 48), 0)
    picture.paste(255, (0, 0, 32, 48))
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


@posix
async def test_no_hostile_path_gets_through_the_agents_tool(house: House, service: FakeService) -> None:  # noqa: F811
    from core.routing import fake_registry, fake_settings

    from anymedia import MemoryStore

    tried = refused = 0
    outside = {path: path.read_bytes() for path in house.outside.rglob("*") if path.is_file()}
    async with Router(settings=fake_settings(service), registry=fake_registry(), store=MemoryStore()) as router:
        tool = MediaTool(router)  # its root is the working directory, the house's
        cases: list[dict[str, Any]] = [{"input_image_paths": [p]} for p in hostile_inputs(house)]
        cases += [{"output_path": p} for p in hostile_outputs(house)]
        cases += [{"input_image_paths": ["a.png"], "mask_path": p} for p in hostile_inputs(house)[:40]]
        for case in cases:
            tried += 1
            answer = await tool.generate(prompt="x", backend="fake", **case)
            assert "CANARY" not in str(answer)
            refused += not answer["success"]
        assert service.submits == []
        good = await tool.generate(prompt="x", backend="fake", output_path="sub/new.png")
    assert good["success"], good
    assert {path: path.read_bytes() for path in house.outside.rglob("*") if path.is_file()} == outside
    tell("paths through generate_media", tried, refused, 1, 1)
    assert tried == refused


async def test_no_hostile_url_gets_through_any_input_of_a_request(service: FakeService, tmp_path: Path) -> None:
    trap = Trap()
    tried = refused = 0
    async with fake_router(service) as router:
        guarded = Fetcher(allow_http=True, resolver=fake_dns, socket_factory=trap)
        await router._engine.fetcher.aclose()
        router._engine.fetcher = guarded
        for url in URLS:
            for kind in (Image, Video):
                tried += 1
                try:
                    media = kind(url=url)
                    for request in carriers(media):
                        with pytest.raises(MediaError):
                            await router.execute(request, backend="fake", output=f"{tmp_path}/")
                    refused += 1
                except InvalidRequest:
                    refused += 1
        assert trap.caught == []
        assert service.submits == []
        passed = 0
        for url in CORPUS["public"]:
            before = len(trap.caught)
            with pytest.raises((InvalidRequest, BackendUnavailable, BadBackendResponse)):
                await router.execute(EditWithReferences(prompt="x", references=(Reference(image=Image(url=url)),)), output=f"{tmp_path}/")
            passed += len(trap.caught) > before
    tell(f"URLs: {len(set(URLS))} hostile ones in every input (0 connections)", tried, refused, len(CORPUS["public"]), passed)
    assert len(set(URLS)) >= 100
    assert tried == refused
    assert passed == len(CORPUS["public"])


async def test_no_hostile_file_gets_through_under_any_name(service: FakeService, tmp_path: Path) -> None:
    """Playlists as .mp4, archives as .png: the name changes nothing, and nothing is sent."""
    tried = refused = 0
    async with fake_router(service) as router:
        for number, (name, make) in enumerate(HOSTILE.items()):
            data = make()
            for suffix, kind in ((".mp4", Video), (".png", Image)):
                path = tmp_path / f"{number}{suffix}"
                path.write_bytes(data)
                tried += 1
                request: Any = next(carriers(kind(path=path)))
                with pytest.raises(RequestError) as caught:
                    await router.execute(request, output=f"{tmp_path}/")
                assert "root:" not in str(caught.value), name
                refused += 1
                path.unlink()
        assert service.submits == []
    good = [sniff(samples.good(name)).format for name in samples.GOOD] + [sniff(make()).format for _, make in ODD.values()]
    tell(f"media: {len(HOSTILE)} hostile files under two names", tried, refused, len(samples.GOOD) + len(ODD), len(good))
    print(f"  good ones of {len(set(good))} formats: {', '.join(sorted(set(good)))}")
    assert len(HOSTILE) >= 100
    assert len(good) >= 100


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is counted in other units elsewhere")
def test_refusing_every_hostile_file_costs_less_than_twenty_mebibytes(tmp_path: Path) -> None:
    slowest = 0.0
    for index, make in enumerate(HOSTILE.values()):
        path = tmp_path / f"{index:03}"
        path.write_bytes(make())
        best = 1.0
        for _ in range(3):  # CPU time, the best of three: other work on the machine is not the guard's
            begin = time.process_time()
            with pytest.raises(InvalidRequest):
                sniff(path)
            best = min(best, time.process_time() - begin)
        slowest = max(slowest, best)
    done = subprocess.run([sys.executable, "-c", MEASURE, str(tmp_path)], capture_output=True, text=True, check=True)
    grown = json.loads(done.stdout) / 1024
    print(f"\nrefusing: the slowest of {len(HOSTILE)} takes {slowest * 1000:.1f} ms; all together, in a fresh process, {grown:.1f} MiB")
    assert grown < 20  # the time is printed, not judged: this machine may be busy


@pytest.mark.parametrize("name", ["header", "json", "mask"])
def test_a_short_run_of_the_fuzzer_finds_nothing(name: str) -> None:
    import fuzzing

    fuzzing.run(name, 300, start=20261121)
    print(f"\nfuzzing {name}: 300 inputs, nothing found")

"""The corpora through the doors that a call really uses: every hostile thing is refused, every good one passes.

Each corpus has tests of its own beside the module it is for. The quick tier tries every entry (every third file) in one place of a
request, in turn; the exhaustive tier tries every entry in every place.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fuzzing
import pytest
from core.fake_service import FakeService, png
from core.routing import KEY, fake_router
from hostile_media import HOSTILE
from test_addresses import CORPUS, Trap, fake_dns
from test_addresses import HOSTILE as URLS
from test_paths import House, corpus, hostile_inputs, hostile_outputs, house  # noqa: F401 - a fixture

from anymedia import Policy, Router
from anymedia.agents import MediaTool
from anymedia.errors import BackendUnavailable, BadBackendResponse, InvalidRequest, MediaError, RequestError
from anymedia.media import Image, Video
from anymedia.net.fetcher import Fetcher
from anymedia.requests import ContinueVideo, EditWithReferences, GenerateVideo, Inpaint, Mask, Reference

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]  # hundreds of attempts in each test
posix = pytest.mark.skipif(sys.platform == "win32", reason="links and pipes of POSIX")


every_place = pytest.mark.parametrize(
    "everywhere", [False, pytest.param(True, marks=pytest.mark.exhaustive)], ids=["in turn", "everywhere"]
)


@pytest.fixture
async def service(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("FAKE_KEY", KEY)
    with FakeService() as made:
        yield made


def in_turn(number: int, media: Any, everywhere: bool) -> list[Any]:
    """The requests in which an entry of a corpus is tried: all, or the one whose turn it is."""
    found = list(carriers(media))
    return found if everywhere else [found[number % len(found)]]


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
@every_place
async def test_hostile_path_in_any_input_of_a_request_is_refused(
    house: House,  # noqa: F811
    service: FakeService,
    everywhere: bool,
) -> None:
    paths = [p for p in hostile_inputs(house) if p]
    policy = Policy(input_roots=(house.root,), output_roots=(house.root,))
    tried = refused = 0
    async with fake_router(service, policy=policy) as router:
        for number, text in enumerate(paths):
            for kind in (Image, Video):
                for request in in_turn(number, kind(path=Path(text)), everywhere):
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
@every_place
async def test_hostile_path_in_a_tool_call_is_refused(
    house: House,  # noqa: F811
    service: FakeService,
    everywhere: bool,
) -> None:
    from core.routing import fake_registry, fake_settings

    from anymedia import SqliteStore

    tried = refused = 0
    outside = {path: path.read_bytes() for path in house.outside.rglob("*") if path.is_file()}
    async with Router(settings=fake_settings(service), registry=fake_registry(), store=SqliteStore(":memory:")) as router:
        tool = MediaTool(router)  # its root is the working directory, the house's
        cases: list[dict[str, Any]] = [{"input_image_paths": [p]} for p in hostile_inputs(house)]
        cases += [{"output_path": p} for p in hostile_outputs(house)]
        cases += [{"input_image_paths": ["a.png"], "mask_path": p} for p in hostile_inputs(house)[:40]]
        for case in cases if everywhere else cases[::4]:
            tried += 1
            answer = await tool.generate(prompt="x", backend="fake", **case)
            assert "CANARY" not in str(answer)
            refused += not answer["success"]
        assert service.submits == []
        good = await tool.generate(prompt="x", backend="fake", output_path="sub/new.png")
    assert good["success"], good
    assert {path: path.read_bytes() for path in house.outside.rglob("*") if path.is_file()} == outside
    assert tried == refused


@every_place
async def test_hostile_url_in_any_input_of_a_request_is_refused(service: FakeService, tmp_path: Path, everywhere: bool) -> None:
    trap = Trap()
    tried = refused = 0
    async with fake_router(service) as router:
        guarded = Fetcher(allow_http=True, resolver=fake_dns, socket_factory=trap)
        await router._engine.fetcher.aclose()
        router._engine.fetcher = guarded
        for number, url in enumerate(URLS):
            for kind in (Image, Video):
                tried += 1
                try:
                    media = kind(url=url)
                    for request in in_turn(number, media, everywhere):
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
    assert len(set(URLS)) >= 100
    assert tried == refused
    assert passed == len(CORPUS["public"])


@every_place
async def test_hostile_file_under_any_name_is_refused(service: FakeService, tmp_path: Path, everywhere: bool) -> None:
    """Playlists as .mp4, archives as .png: the name changes nothing, and nothing is sent."""
    tried = refused = 0
    async with fake_router(service) as router:
        # The tests of the reader, too, try every file in the quick tier; some of them in a child process.
        for number, (name, make) in enumerate(list(HOSTILE.items())[:: 1 if everywhere else 3]):
            data = make()
            names = ((".mp4", Video), (".png", Image))
            for suffix, kind in names if everywhere else names[number % 2 : number % 2 + 1]:
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
    assert len(HOSTILE) >= 100


FUZZERS = ("header", "json", "mask")
#: The quick tier mutates media files in the tests of the reader itself.
FUZZED = [
    ("json", 60),
    *(pytest.param(name, 1_000, marks=pytest.mark.exhaustive) for name in FUZZERS),
    *(pytest.param(name, 50_000, marks=pytest.mark.soak) for name in FUZZERS if name != "header"),
    pytest.param("header", 200_000, marks=pytest.mark.soak),
    pytest.param("decoder", 40, marks=pytest.mark.exhaustive),
    pytest.param("decoder", 2_000, marks=pytest.mark.soak),
]


@pytest.mark.timeout(7200)
@pytest.mark.parametrize(("name", "inputs"), FUZZED)
def test_fuzzer_finds_nothing(name: str, inputs: int) -> None:
    if name != "decoder":
        fuzzing.run(name, inputs, start=20261121)
        return
    # In a process of its own: it measures the memory of its children, and other tests have had larger ones.
    code = f"import fuzzing; fuzzing.run({name!r}, {inputs}, start=20261121)"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    print(done.stdout)

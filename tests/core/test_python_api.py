"""The Python interface: signatures, one-line functions, what goes in and what comes out."""

import asyncio
import concurrent.futures
import inspect
import io
import re
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from core.fake_service import FakeService, mp4, png
from core.routing import fake_registry, fake_router, fake_settings
from PIL import Image as Pictures
from tools.operations import CALL, SHORTCUTS, sources

import anymedia
from anymedia import GenerateImage, GenerateVideo, Image, InvalidRequest, Router, SqliteStore, SyncRouter, Video
from anymedia.artifacts import ArtifactStore, writer
from anymedia.errors import RequestError, UnsupportedInput
from anymedia.requests import KINDS

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("fake_key")]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeService]:
    """Let the routers of the one-line functions use the fake backend; close the shared one."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    with FakeService() as service:
        settings = fake_settings(service, state=tmp_path / "state")
        for module in ("router", "sync_router"):
            monkeypatch.setattr(f"anymedia.{module}.load_settings", lambda: settings)
        monkeypatch.setattr("anymedia.router.discover", lambda **_: fake_registry())
        yield service
        sys.modules["anymedia.sync_router"]._close()  # type: ignore[attr-defined]


# Signatures


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.name)
def test_generated_module_is_current(path: Path) -> None:
    assert path.read_text("utf-8") == sources()[path], "run: python -m tools.operations"


@pytest.mark.parametrize("router", [Router, SyncRouter])
@pytest.mark.parametrize("operation", KINDS)
def test_operation_has_every_field_of_its_request_and_documents_it(operation: Any, router: type) -> None:
    method = getattr(router, operation)
    parameters = list(inspect.signature(method).parameters)
    fields = [field.name for field in attrs.fields(KINDS[operation])]
    assert parameters[:2] == ["self", "task" if operation == "transform" else "prompt"]
    assert sorted(parameters[1:]) == sorted([*fields, *CALL])
    documented = re.findall(r"^ +(\w+): ", inspect.getdoc(method) or "", re.MULTILINE)
    assert documented == parameters[1:]
    assert set(CALL) == set(inspect.signature(router.execute).parameters) - {"self", "request"}  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", SHORTCUTS)
def test_one_line_function_has_the_fields_of_its_requests(name: str) -> None:
    _, kinds, without, first, _ = SHORTCUTS[name]
    fields = {field.name for kind in kinds for field in attrs.fields(kind)} - set(without)
    for function in (getattr(anymedia, name), getattr(anymedia.aio, name)):
        parameters = inspect.signature(function).parameters
        assert set(parameters) == fields | set(CALL) | set(first)
        assert next(iter(parameters)) == next(iter(first), "prompt")
        assert f"anymedia.{name}(" in (inspect.getdoc(function) or "")


def test_sync_router_has_a_twin_of_every_method() -> None:
    methods = {name: method for name, method in inspect.getmembers(Router, inspect.isfunction) if not name.startswith("_")}
    del methods["aclose"]
    for name, method in methods.items():
        twin = getattr(SyncRouter, name)
        assert inspect.signature(twin).parameters == inspect.signature(method).parameters, name
        assert not inspect.iscoroutinefunction(twin)
    assert inspect.signature(SyncRouter.__init__) == inspect.signature(Router.__init__)


RIGHT = """
import asyncio, io, pathlib
import anymedia, numpy
from PIL import Image
from anymedia import GenerateImage, Plan, Result, Router, SyncRouter

picture = Image.new("RGB", (8, 8))
with SyncRouter() as router:
    plan: Plan = router.plan(GenerateImage(prompt="x"))
    result: Result = router.generate_image("x", size="8x8", n=2, output="foxes/")
    router.edit_with_references("x", references=result)
    router.inpaint("x", source=picture, mask=numpy.ones((8, 8), bool), output=io.BytesIO())
    router.generate_video("x", first_frame=pathlib.Path("a.png"), duration=4)
    for event in router.stream(plan):
        print(event.fraction, event.result)
with open("a.png", "rb") as file:
    anymedia.edit(file, "x", references=[result, "b.png"]).show()

async def main() -> None:
    async with Router() as router:
        video: Result = await router.continue_video("x", continue_from=result)
        async for event in router.stream(plan):
            print(event.note)
    await anymedia.aio.speech("x", voice="alloy", on_progress=lambda event: print(event.state))
"""
WRONG = {
    "router.generate_image(promt='x')": '"promt"',
    "router.generate_image('x', sise='8x8')": '"sise"',
    "router.generate_image('x', n='four')": '"n"',
    "router.generate_image()": "Too few arguments",
    "router.inpaint('x', source=3, mask='m.png')": '"source"',
    "router.continue_video('x', continue_as='longer')": '"continue_as"',
    "router.jobs(limt=3)": '"limt"',
    "anymedia.image('x', n='four')": '"n"',
    "anymedia.edit('a.png', 'x', referneces='b.png')": '"referneces"',
    "anymedia.video('x', durtion=3)": '"durtion"',
    "anymedia.music('x', voice='alloy')": '"voice"',
    "anymedia.SyncRouter(polcy=None)": '"polcy"',
}


@pytest.mark.exhaustive  # mypy reads the whole package
def test_type_checker_finds_wrong_names_and_types(tmp_path: Path) -> None:
    lines = ["import anymedia", "", "router = anymedia.SyncRouter()", *WRONG]
    (tmp_path / "wrong.py").write_text("\n".join(lines))
    pages = [(ROOT / name).read_text("utf-8") for name in ("README.md", "docs/python.md")]
    examples = [RIGHT, *(block for page in pages for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL))]
    names = [f"right_{number}.py" for number in range(len(examples))]
    for name, example in zip(names, examples, strict=True):
        (tmp_path / name).write_text(example)
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), "--no-error-summary", "--hide-error-context"]
    found = subprocess.run([*command, "wrong.py", *names], cwd=tmp_path, capture_output=True, text=True, check=False).stdout
    errors = {int(line): text for line, text in re.findall(r"^wrong\.py:(\d+): error: (.*)", found, re.MULTILINE)}
    for number, (call, word) in enumerate(WRONG.items(), 4):
        assert word in errors.get(number, ""), f"{call}: {found}"
    assert "right_" not in found, found


# One-line functions


def test_image_in_a_script_writes_nothing_and_returns_a_read_only_file(service: FakeService) -> None:
    result = anymedia.image("a red fox", size="80x64")
    assert result.bytes == result.path.read_bytes() == png(80, 64)
    assert result.path.suffix == ".png"
    assert not result.path.stat().st_mode & 0o222
    assert list(Path().iterdir()) == []
    assert len(service.submits) == 1


def test_one_line_functions_send_the_request_that_their_arguments_mean(service: FakeService) -> None:
    image = anymedia.image("a fox")
    mask = np.zeros((48, 64), bool)
    mask[:10] = True
    video = anymedia.video("waves", first_frame=image, duration=4)
    made = [
        image,
        anymedia.edit(image, "a hat", mask=mask),
        anymedia.edit(image.pil(), "in winter"),
        anymedia.edit(image, "the same", references=anymedia.Reference(image=image.numpy(), role="style")),
        video,
        anymedia.video("night", continue_from=video, duration=4),
    ]
    operations = ["generate_image", "inpaint", *["edit_with_references"] * 2, "generate_video", "continue_video"]
    assert [result.operation for result in made] == operations
    with pytest.raises(InvalidRequest, match="first_frame=: has no meaning for continue_video"):
        anymedia.video("night", continue_from=video, first_frame=image)


async def test_one_line_functions_work_inside_a_running_loop(service: FakeService) -> None:
    assert anymedia.image("a fox").path.exists()
    assert (await anymedia.aio.image("a fox")).path.exists()
    results = await asyncio.gather(*(anymedia.aio.image(f"fox {i}") for i in range(4)))
    assert len({result.job_id for result in results}) == 4


def test_one_line_functions_work_in_threads_and_on_loop_after_loop(service: FakeService) -> None:
    made: list[Any] = []
    threads = [threading.Thread(target=lambda: made.append(anymedia.image("a fox"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made += [asyncio.run(anymedia.aio.image("a fox")) for _ in range(2)]  # type: ignore[arg-type]
    assert len({result.job_id for result in made}) == 5


def test_new_key_in_the_environment_is_used_by_the_next_call(service: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FAKE_KEY")
    with pytest.raises(anymedia.NoBackendAvailable):
        anymedia.image("a fox")
    monkeypatch.setenv("FAKE_KEY", "fake-key-0123456789")
    assert anymedia.image("a fox").path.exists()


async def test_cancelled_one_line_function_cancels_its_work(service: FakeService) -> None:
    service.looks = 10_000
    seen = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_progress(event: anymedia.Progress) -> None:
        if event.state == "running":
            loop.call_soon_threadsafe(seen.set)

    task = asyncio.create_task(anymedia.aio.video("waves", on_progress=on_progress))  # type: ignore[arg-type]
    await seen.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with SyncRouter() as router:
        assert router.jobs()[0].state == "running"  # to be resumed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"size": 64}, "write '64x64'"),
        ({"size": "64*48"}, "write '64x48'"),
        ({"size": "1000000x4"}, "an edge has 1 to 999999 pixels"),
        ({"aspect_ratio": "16x9"}, "write '16:9'"),
        ({"prompt": None}, "prompt=: is missing"),
        ({"policy": {"budget": 1}}, "expected a Policy, got dict"),
        ({"keys": "sk-secret"}, "keys are given by backend"),
        ({"backend": 5}, "backend=: expected the name of a backend, or a list of names; got int"),
        ({"model": ["still"]}, "model=: expected the name of a model; got list"),
        ({"deadline": "10"}, "deadline=: expected a number of seconds, got '10'"),
        ({"on_progress": "x"}, "on_progress=: expected a function of a progress event"),
        ({"on_progress": asyncio.sleep}, "not a coroutine function"),
        ({"output": "fox"}, "'fox' is not named like a media file"),
        ({"output": "~/pictures/fox.png"}, "does not exist"),
    ],
    ids=lambda value: re.sub(r"\W+", "_", re.sub(r" at 0x\w+", "", str(value))),  # no address: it differs between workers
)
def test_wrong_argument_is_answered_with_what_to_write(arguments: dict[str, Any], said: str, service: FakeService) -> None:
    with pytest.raises(RequestError) as caught:
        anymedia.image(**{"prompt": "a fox", **arguments})
    assert said in str(caught.value)
    assert "sk-secret" not in str(caught.value)
    assert service.submits == []


@pytest.mark.parametrize(
    ("cls", "name", "near"),
    [
        (anymedia.Policy, "bugdet", "did you mean 'budget'?"),
        (anymedia.Budget, "per_requst", "did you mean 'per_request'?"),
        (anymedia.GenerateImage, "sizee", "did you mean 'size'?"),
        (anymedia.Inpaint, "maks", "did you mean 'mask'?"),
        (anymedia.Mask, "imge", "did you mean 'image'?"),
        (anymedia.GenerateVideo, "zzz", "no such field of GenerateVideo"),
    ],
)
def test_unknown_keyword_of_a_class_is_answered_with_the_nearest(cls: Any, name: str, near: str) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(near)):
        cls(**{name: 1})


@pytest.mark.parametrize("method", ["plan", "execute", "submit", "run"])
@pytest.mark.parametrize(("name", "near"), [("polcy", "'policy'"), ("kyes", "'keys'")])
async def test_unknown_argument_of_a_router_is_answered_with_the_nearest(method: str, name: str, near: str, service: FakeService) -> None:
    async with fake_router(service) as router:
        with pytest.raises(InvalidRequest, match=f"did you mean {near}"):
            await getattr(router, method)(anymedia.GenerateImage(prompt="a fox"), **{name: 1})
    assert service.submits == []


@pytest.mark.parametrize(
    ("operation", "name", "near"),
    [
        ("image", "qualty", "quality"),
        ("image", "output_path", "output"),
        ("video", "durration", "duration"),
        ("speech", "voise", "voice"),
        ("edit", "msk", "mask"),
        ("music", "zzzz", ""),
    ],
)
async def test_argument_with_an_unknown_name_is_refused_with_a_suggestion(
    operation: str, name: str, near: str, service: FakeService
) -> None:
    first = ("fox.png", "a fox") if operation == "edit" else ("a fox",)
    expected = f"{name}: there is no such option" + (f"; did you mean '{near}'?" if near else "")
    with pytest.raises(InvalidRequest) as caught:
        getattr(anymedia, operation)(*first, **{name: 1})
    assert str(caught.value) == expected
    with pytest.raises(InvalidRequest) as caught:
        await getattr(anymedia.aio, operation)(*first, **{name: 1})
    assert str(caught.value) == expected
    assert service.submits == []


def test_router_argument_with_an_unknown_name_is_refused_with_a_suggestion() -> None:
    with SyncRouter() as router, pytest.raises(InvalidRequest, match="sise: there is no such option; did you mean 'size'"):
        router.generate_image("a fox", sise="64x64")  # type: ignore[call-arg]


@pytest.mark.parametrize(("size", "aspect_ratio"), [((64, 48), None), ([64, 48], None), (None, (4, 3))])
def test_pair_of_numbers_is_a_size_or_an_aspect_ratio(size: Any, aspect_ratio: Any) -> None:
    request = GenerateImage(prompt="a fox", size=size, aspect_ratio=aspect_ratio)
    assert (request.size, request.aspect_ratio) == (size and "64x48", aspect_ratio and "4:3")
    with pytest.raises(InvalidRequest):
        GenerateImage(prompt="a fox", size=(0, 48))


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"output": "no/folder/fox.png"}, "output=: "),
        ({"image": "none.png"}, "image=: "),
        ({"image": "none.png", "mask": "mask.png"}, "image=: "),
        ({"references": ["none.png"]}, "references[0]: "),
    ],
)
def test_problem_is_named_by_the_argument_as_it_was_written(
    arguments: dict[str, Any], field: str, service: FakeService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _PIXELS.save("fox.png")
    _PIXELS.save("mask.png")
    with pytest.raises(InvalidRequest) as caught:
        anymedia.edit(**{"image": "fox.png", "prompt": "a hat", **arguments})
    assert str(caught.value).startswith(field)


def test_several_images_to_edit_are_refused_with_where_they_belong(service: FakeService) -> None:
    with pytest.raises(InvalidRequest, match="further pictures are references"):
        anymedia.edit([b"a", b"b"], "a hat")  # type: ignore[arg-type]


def test_misspelt_name_of_the_package_is_named_with_the_nearest_one() -> None:
    with pytest.raises(AttributeError) as caught:
        anymedia.imge  # noqa: B018
    assert (caught.value.name, caught.value.obj) == ("imge", anymedia)  # from which Python suggests a name


# Inputs

_PIXELS = Pictures.new("RGB", (3, 2), (255, 0, 0))


class _PathLike:
    def __fspath__(self) -> str:
        return "a.png"


@pytest.mark.parametrize(
    "given",
    [b"data", bytearray(b"data"), memoryview(b"data"), io.BytesIO(b"data")],
    ids=lambda value: type(value).__name__,
)
def test_bytes_in_any_form_are_an_input(given: Any) -> None:
    assert Image.of(given).data == Video.of(given if not isinstance(given, io.BytesIO) else io.BytesIO(b"data")).data == b"data"


@pytest.mark.parametrize("given", ["a.png", Path("a.png"), _PathLike()])
def test_path_in_any_form_is_an_input(given: Any) -> None:
    assert Image.of(given).path == Path("a.png")


@pytest.mark.parametrize(
    "given",
    [
        _PIXELS,
        _PIXELS.convert("CMYK"),
        _PIXELS.convert("P"),
        _PIXELS.convert("RGBA"),
        np.asarray(_PIXELS),
        np.asarray(_PIXELS) / 255,
        np.asarray(_PIXELS).astype(float),
        np.asarray(_PIXELS).astype("int64"),
    ],
)
def test_picture_and_array_are_inputs_with_their_pixels(given: Any) -> None:
    image = Image.of(given)
    assert image.mime == "image/png"
    made = Pictures.open(io.BytesIO(image.data or b"")).convert("RGB")
    assert made.size == (3, 2)
    assert all(abs(a - b) < 3 for a, b in zip(made.getpixel((0, 0)), (255, 0, 0), strict=True))  # type: ignore[arg-type]


@pytest.mark.parametrize("given", [np.eye(4, dtype=bool), np.eye(4), np.eye(4)[:, :, None] * 255])
def test_array_of_one_channel_is_a_mask_that_is_white_where_it_is_true(given: Any) -> None:
    made = Pictures.open(io.BytesIO(Image.of(given).data or b"")).convert("L")
    assert (np.asarray(made) == np.eye(4) * 255).all()


@pytest.mark.parametrize("given", [np.full((4, 4), 65535, "uint16"), Pictures.fromarray(np.full((4, 4), 65535, "uint16"))])
@pytest.mark.parametrize("part", [1.0, 0.5])
def test_picture_of_16_bits_keeps_its_brightness(given: Any, part: float) -> None:
    darker = np.asarray(given) * part
    given = darker.astype("uint16") if isinstance(given, np.ndarray) else Pictures.fromarray(darker.astype("uint16"))
    made = Pictures.open(io.BytesIO(Image.of(given).data or b"")).convert("L")
    assert abs(int(np.asarray(made).max()) - 255 * part) <= 1


@pytest.mark.parametrize(
    "given",
    [
        *(3, object(), io.StringIO("text"), open, np.array(["a"]), np.array([[None]]), np.zeros((4, 4), complex), np.full((4, 4), np.nan)),
        *(np.zeros(shape, "uint8") for shape in ((2, 2, 7), (5,), (1, 4, 4, 3), (0, 0, 3), (3, 4, 5))),
    ],
    ids=lambda value: f"{type(value).__name__}{getattr(value, 'shape', '')}",
)
def test_anything_else_is_refused_as_an_input(given: Any) -> None:
    with pytest.raises(InvalidRequest):
        Image.of(given)


def test_array_with_channels_first_is_refused_with_how_to_move_them() -> None:
    with pytest.raises(InvalidRequest, match=r"image=: this ndarray cannot be read.*channels come last: array.transpose"):
        anymedia.edit(np.zeros((3, 64, 64), "uint8"), "a hat")


def test_open_file_read_to_its_end_is_refused_with_what_to_do() -> None:
    file = io.BytesIO(b"data")
    file.read()
    with pytest.raises(InvalidRequest, match=r"source=: this BytesIO was read to its end \(call its seek\(0\) first"):
        anymedia.Inpaint(prompt="a hat", source=file)


def test_word_for_a_region_is_a_mask() -> None:
    request = anymedia.Inpaint(prompt="a hat", source=b"data", mask="background")
    assert request.mask == anymedia.Mask(mode="background")


def test_router_given_a_text_refuses_it() -> None:
    with SyncRouter() as router, pytest.raises(InvalidRequest, match="expected a request such as"):
        router.run("a fox")  # type: ignore[arg-type]


def test_single_reference_stands_for_a_list() -> None:
    for one in ("a.png", b"data", _PIXELS, np.asarray(_PIXELS), anymedia.Reference(image="a.png", role="style")):
        (reference,) = anymedia.EditWithReferences(prompt="x", references=one).references
        assert reference.image == (one if isinstance(one, anymedia.Reference) else anymedia.Reference(image=one)).image


# Outputs


async def test_kept_result_survives_clean_up_while_the_process_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_lasting", {})
    with FakeService() as service:
        settings = attrs.evolve(fake_settings(service, state=tmp_path / "state"), artifacts_keep_days=0, artifacts_max_bytes=0)
        async with fake_router(service, settings=settings) as router:
            result = await router.generate_image("a fox", n=2)
            named = await router.generate_image("a fox", output=tmp_path / "fox.png")
        artifacts = ArtifactStore(tmp_path / "state/artifacts")
        swept = await artifacts.gc(keep_seconds=0, max_bytes=0)
        assert {artifact.call_id for artifact in swept.removed} == {named.job_id}
        assert [file.bytes for file in result.files] == [png(), png()]
        for lasting in writer._lasting.values():  # as when the process ends
            lasting.close()
        await artifacts.gc(keep_seconds=0, max_bytes=0)
        assert not result.path.exists()
        assert not list((tmp_path / "state/artifacts/kept").iterdir())


async def test_kept_result_of_an_earlier_process_is_kept_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_lasting", {})
    with FakeService() as service:
        async with fake_router(service, options={"state": tmp_path}) as router:
            result = await router.execute(GenerateImage(prompt="a fox"), key="order 1")
            for lasting in writer._lasting.values():
                lasting.close()
            result.path.unlink()
            again = await router.execute(GenerateImage(prompt="a fox"), key="order 1")
            assert (again.job_id, again.path, again.bytes) == (result.job_id, result.path, png())
            assert not (await router.artifacts.gc(keep_seconds=0, max_bytes=0)).removed
            assert len(service.submits) == 1


async def test_forgetting_a_kept_result_needs_force(tmp_path: Path) -> None:
    with FakeService() as service:
        async with fake_router(service, options={"state": tmp_path}) as router:
            result = await router.generate_image("a fox")
            with pytest.raises(RequestError, match="only copy"):
                await router.forget(result.job_id)
            await router.forget(result.job_id, force=True)
            assert not result.path.exists()


async def test_output_may_be_an_open_file(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with FakeService() as service:
        async with fake_router(service) as router:
            await router.generate_image("a fox", output=buffer)
            assert buffer.getvalue() == png()
            for wrong, n in ((io.StringIO(), 1), (3, 1), (io.BytesIO(), 2)):
                with pytest.raises(InvalidRequest, match="output="):
                    await router.generate_image("a fox", n=n, output=wrong)  # type: ignore[arg-type]
            assert len(service.submits) == 1


async def test_result_is_shown_saved_and_converted(tmp_path: Path) -> None:
    with FakeService() as service:
        async with fake_router(service) as router:
            image, two = await router.generate_image("a fox"), await router.generate_image("a fox", n=2)
            video = await router.generate_video("waves", first_frame=image)
    assert repr(image) == f"<Result of generate_image by fake/still: image/png 64x48 {image.path}>"
    assert image.pil().getpixel((0, 0)) == (200, 40, 40)
    assert image.numpy().shape == (48, 64, 3)
    assert image._repr_png_() == png()
    assert image._repr_html_().startswith('<img src="data:image/png;base64,')
    assert two._repr_html_().count("<img") == 2
    assert video._repr_png_() is None
    assert video._repr_html_().startswith('<video src="data:video/mp4;base64,')
    assert video.numpy().shape == (12, 48, 64, 3)
    with pytest.raises(UnsupportedInput, match="not an image"):
        video.pil()
    with Pictures.open(image) as opened:  # path-like
        assert opened.size == (64, 48)
    for _ in range(2):  # a cell that is run again
        assert image.save(tmp_path / "fox.png") == tmp_path / "fox.png"
    assert (tmp_path / "fox.png").read_bytes() == png()
    assert (tmp_path / "fox.png").stat().st_mode & 0o200
    assert image.save(tmp_path / "fox.jpg").read_bytes().startswith(b"\xff\xd8\xff")
    with pytest.raises(InvalidRequest, match="exists"):
        image.save(tmp_path / "fox.png", overwrite=False)
    two.save(tmp_path / "both.png")
    assert sorted(path.name for path in tmp_path.glob("both*")) == ["both-1.png", "both-2.png"]
    with pytest.raises(UnsupportedInput):
        image.save(tmp_path / "fox.mp4")


def test_result_is_shown_in_the_cell_of_a_notebook_and_with_a_program_elsewhere(
    service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    result, shown = anymedia.image("a fox"), []
    monkeypatch.setattr("click.launch", shown.append)
    result.show()
    assert shown == [str(result.path)]


# Progress, models


async def test_stream_yields_progress_and_then_the_result(tmp_path: Path) -> None:
    with FakeService(looks=2) as service:
        async with fake_router(service) as router:
            events = [event async for event in router.stream(GenerateVideo(prompt="waves"))]
            assert [event.state for event in events if event.event == "state"] == [
                "submitting",
                "submitted",
                "running",
                "collecting",
                "done",
            ]
            assert events[-1].event == "result"
            assert events[-1].result is not None
            assert events[-1].result.bytes == mp4()
            assert all(event.result is None for event in events[:-1])
            with pytest.raises(InvalidRequest):
                async for _ in router.stream(GenerateVideo(prompt="waves"), output="a/b/c.mp4"):
                    pass


async def test_stream_left_early_leaves_a_job_to_resume(tmp_path: Path) -> None:
    with FakeService(looks=2) as service:
        async with fake_router(service, options={"state": tmp_path}) as router:
            stream = router.stream(GenerateVideo(prompt="waves"))
            async for event in stream:
                if event.state == "running":
                    break
            await stream.aclose()
            assert (await router.resume(event.job_id)).bytes == mp4()
            assert len(service.submits) == 1


def test_sync_router_streams_too(service: FakeService) -> None:
    with SyncRouter() as router:
        *_, last = router.stream(GenerateImage(prompt="a fox"))
        assert last.result is not None
        assert last.result.bytes == png()
        for _ in router.stream(GenerateImage(prompt="a fox")):
            break


def test_sync_stream_that_is_interrupted_raises_that_and_keeps_the_job(service: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    start, service.looks = SyncRouter.start, 10_000

    class Interrupted:
        """A step of the stream, which the user interrupts if it has to wait."""

        def __init__(self, router: SyncRouter, step: Any) -> None:
            self.running = start(router, step)
            self.cancel = self.running.cancel

        def result(self) -> Any:
            if concurrent.futures.wait([self.running], timeout=0.1).done:
                return self.running.result()
            monkeypatch.setattr(SyncRouter, "start", start)
            raise KeyboardInterrupt

    with SyncRouter() as router:
        stream = router.stream(GenerateVideo(prompt="waves"))
        job_id = next(event.job_id for event in stream if event.state == "running")
        monkeypatch.setattr(SyncRouter, "start", lambda router, step: Interrupted(router, step))
        with pytest.raises(KeyboardInterrupt):
            list(stream)
        assert router.job(job_id).state == "running"
        assert len(service.submits) == 1


async def test_progress_is_reported_to_the_function_of_its_call(tmp_path: Path) -> None:
    everything: list[Any] = []
    first: list[Any] = []
    second: list[Any] = []
    with FakeService() as service:
        async with fake_router(service, on_progress=everything.append) as router:
            results = await asyncio.gather(
                router.generate_image("a fox", on_progress=first.append), router.generate_image("a cat", on_progress=second.append)
            )
    for seen, result in zip((first, second), results, strict=True):
        assert {event.job_id for event in seen} == {result.job_id}
        assert seen[-1].state == "done"
    assert len(everything) == len(first) + len(second)


def test_blocking_call_from_a_progress_function_is_refused_rather_than_waiting_for_itself(service: FakeService) -> None:
    errors: list[Exception] = []

    def on_progress(_: anymedia.Progress) -> None:
        try:
            anymedia.image("another fox")
        except RuntimeError as error:
            errors.append(error)

    anymedia.image("a fox", on_progress=on_progress)
    assert "another thread" in str(errors[0])
    assert len(service.submits) == 1


async def test_models_and_capabilities_are_listed() -> None:
    with FakeService() as service:
        async with fake_router(service, store=SqliteStore()) as router:
            models = router.models()
            assert "fake/still" in map(str, models)
            assert all(model.usable for model in models)
            assert {m.media for m in router.models(operation="generate_video")} == {"video"}
            assert router.models(usable=False) == []
            with pytest.raises(InvalidRequest, match="did you mean 'generate_video'"):
                router.models(operation="generat_video")  # type: ignore[arg-type]
            assert router.capabilities()["fake"].model("still") is not None


def test_common_names_are_in_the_package() -> None:
    for name in ("MediaError", "RequestError", "BackendError", "BudgetExceeded", "Progress", "Result", "SyncRouter"):
        assert name in anymedia.__all__
    _: Callable[..., Awaitable[anymedia.Result]] = anymedia.aio.image


def test_pil_of_a_result_is_upright_and_decoded_like_every_other_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from anymedia.convert import images
    from anymedia.results import MediaFile

    turned = Pictures.Exif()
    turned[0x0112] = 6
    Pictures.new("RGB", (40, 20), "red").save(tmp_path / "turned.jpg", exif=turned)
    Pictures.new("RGB", (40, 20), "red").save(tmp_path / "flat.avif")
    apart = []
    decoded = images._decoded_in_sandbox
    monkeypatch.setattr(images, "_decoded_in_sandbox", lambda data: apart.append(len(data)) or decoded(data))
    for name, mime, size in (("turned.jpg", "image/jpeg", (20, 40)), ("flat.avif", "image/avif", (40, 20))):
        path = tmp_path / name
        file = MediaFile(path=path, mime=mime, size=path.stat().st_size, sha256="")
        assert file.pil().size == size
        assert file.numpy().shape == (size[1], size[0], 3)
    assert len(apart) == 2  # once each by pil() and numpy()

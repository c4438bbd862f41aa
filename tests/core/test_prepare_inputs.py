"""The files of a continuation become inputs like any other, once, for every backend."""

import io
from pathlib import Path
from typing import Any

import pytest
from core import fake_backend
from core.fake_service import FakeService, png
from core.routing import KEY, fake_router
from PIL import Image as Pictures

from anymedia import Continuation, EditWithReferences, Image, Inpaint, Outcome, Piece, Reference, hookimpl
from anymedia.errors import InvalidRequest, UnknownContinuation, UnsupportedInput
from anymedia.execution.prepare_inputs import InputReader, resolve
from anymedia.files import paths
from anymedia.files.paths import open_input
from anymedia.plugins.registry import Registry
from anymedia.requests import StoredFile

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FAKE_KEY", KEY)
    monkeypatch.chdir(tmp_path)


def collected(folder: Path, data: bytes = png(8, 8)) -> Continuation:
    import hashlib

    path = folder / "earlier.png"
    path.write_bytes(data)
    file = StoredFile(path=str(path), sha256=hashlib.sha256(data).hexdigest(), mime="image/png", width=8, height=8)
    return Continuation(id="fake_img_0123456789ab", backend="fake", model="still", media="image", files=(file,))


def resolved(request: EditWithReferences | Inpaint, earlier: Continuation) -> EditWithReferences | Inpaint:
    found = resolve(request, earlier)
    assert isinstance(found, EditWithReferences | Inpaint)
    return found


def told(request: EditWithReferences | Inpaint) -> list[tuple[str, str | None]]:
    assert isinstance(request, EditWithReferences)
    return [(r.role, None if r.image.path is None else r.image.path.name) for r in request.references]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["style"], [("source", "earlier.png"), ("style", None)]),
        (["source"], [("source", None), ("source", "earlier.png")]),
        (["style", "source", "subject"], [("style", None), ("source", None), ("source", "earlier.png"), ("subject", None)]),
    ],
)
def test_an_edit_takes_the_continued_image_as_a_source_behind_those_that_are_given(
    tmp_path: Path, given: list[str], expected: list[tuple[str, str | None]]
) -> None:
    references = tuple(Reference(image=Image(data=png(8, 8 + i)), role=role) for i, role in enumerate(given))  # type: ignore[arg-type]
    request = EditWithReferences(prompt="a hat", references=references, continue_from="fake_img_0123456789ab")
    once = resolved(request, collected(tmp_path))
    assert told(once) == expected
    assert resolved(once, collected(tmp_path)) == once  # planning what was planned adds nothing


@pytest.mark.parametrize("gone", [True, False])
def test_a_continued_file_that_is_gone_or_has_changed_is_a_clear_error(tmp_path: Path, gone: bool) -> None:
    earlier = collected(tmp_path)
    path = Path(earlier.files[0].path)
    if gone:
        path.unlink()
    else:
        path.write_bytes(png(9, 9))
    style = Reference(image=Image(data=png(8, 8)), role="style")
    requests = (
        EditWithReferences(prompt="a hat", references=(style,), continue_from=earlier),
        Inpaint(prompt="a hat", mask=png(8, 8), continue_from=earlier),
    )
    for request in requests:
        with pytest.raises(UnknownContinuation, match=r"earlier\.png" if gone else "has changed: "):
            resolved(request, earlier)


async def test_the_continued_image_counts_among_the_pictures_a_model_takes(tmp_path: Path) -> None:
    with FakeService() as service:
        async with fake_router(service) as router:
            first = await router.generate_image(prompt="a fox", size="64x64", output=tmp_path / "fox.png")
            pictures = [png(64, 64 + 8 * i) for i in range(4)]
            plan = await router.plan(EditWithReferences(prompt="all", references=tuple(pictures[:3]), continue_from=first.continuation_id))
            assert len(plan.request.references) == 4  # type: ignore[union-attr]
            with pytest.raises(UnsupportedInput, match="1 to 4 reference images, including the continued image, not 5"):
                await router.plan(EditWithReferences(prompt="all", references=tuple(pictures), continue_from=first.continuation_id))
            assert len(service.submits) == 1


async def test_an_inpainted_source_beside_a_continuation_is_the_one_changed_and_that_is_said(tmp_path: Path) -> None:
    mask = png(64, 64)
    with FakeService() as service:
        async with fake_router(service) as router:
            first = await router.generate_image(prompt="a fox", size="64x64", output=tmp_path / "fox.png")
            beside = Inpaint(prompt="sky", source=png(64, 64, (1, 2, 3)), mask=mask, continue_from=first.continuation_id)
            alone = Inpaint(prompt="sky", mask=mask, continue_from=first.continuation_id)
            assert [w.code for w in (await router.plan(beside)).warnings] == ["continued_image_unused"]
            assert (await router.plan(alone)).warnings == ()


def mask_of(box: tuple[int, int, int, int]) -> bytes:
    """Return a 64x48 mask as PNG: white, to be edited, within the box."""
    made = Pictures.new("L", (64, 48), 0)
    made.paste(255, box)
    found = io.BytesIO()
    made.save(found, "png")
    return found.getvalue()


async def test_masked_edit_whose_mask_file_changes_between_reads_uses_the_first_bytes_for_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, right = mask_of((0, 0, 32, 48)), mask_of((32, 0, 64, 48))
    source, mask = tmp_path / "source.png", tmp_path / "mask.png"
    Pictures.new("RGB", (64, 48), (10, 200, 30)).save(source)
    mask.write_bytes(left)
    opened: list[str] = []
    sent: list[bytes] = []

    def open_once(path: Path, *args: Any, **more: Any) -> Any:
        """Open a file, whose path then holds another mask."""
        with open_input(path, *args, **more) as file:
            data = file.read()
        opened.append(path.name)
        if path == mask:
            mask.write_bytes(right)
        return io.BytesIO(data)

    async def inpaint(request: Any, context: Any) -> Any:
        sent.append(context.read(request.mask).data)
        async with context.submission():
            picture = io.BytesIO()
            Pictures.new("RGB", (64, 48), (200, 40, 40)).save(picture, "png")
            return Outcome(pieces=(Piece(data=picture.getvalue(), mime="image/png"),))

    monkeypatch.setattr(paths, "open_input", open_once)
    module = fake_backend.as_module("fake")
    module.inpaint = hookimpl(inpaint)  # type: ignore[attr-defined]
    registry = Registry()
    registry.register("fake", module)
    async with fake_router("http://127.0.0.1:1", registry=registry) as router:
        result = await router.inpaint(prompt="red", source=source, mask=mask, protect="exact", output=tmp_path / "out.png")
    assert sorted(opened) == ["mask.png", "source.png"]
    transparent = Pictures.open(io.BytesIO(sent[0])).getchannel("A").point(lambda alpha: 255 - alpha)
    assert transparent.tobytes() == Pictures.open(io.BytesIO(left)).tobytes()
    made = Pictures.open(result.path).convert("RGB")
    assert (made.getpixel((8, 8)), made.getpixel((56, 8))) == ((200, 40, 40), (10, 200, 30))


@pytest.mark.parametrize("changed", ["source.png", "mask.png"])
async def test_run_of_a_plan_whose_input_file_changed_is_refused_before_anything_is_sent(tmp_path: Path, changed: str) -> None:
    first = {"source.png": png(64, 48, (9, 9, 9)), "mask.png": mask_of((0, 0, 32, 48))}
    for name, data in first.items():
        (tmp_path / name).write_bytes(data)
    with FakeService() as service:
        async with fake_router(service) as router:
            plan = await router.plan(Inpaint(prompt="red", source=tmp_path / "source.png", mask=tmp_path / "mask.png"))
            (tmp_path / changed).write_bytes(mask_of((32, 0, 64, 48)))
            for run in (router.run, router.submit):
                with pytest.raises(InvalidRequest, match=rf"{changed}' has changed since the request was planned"):
                    await run(plan, output=tmp_path / "out.png")
            assert service.submits == []
            (tmp_path / changed).write_bytes(first[changed])
            assert (await router.run(plan, output=tmp_path / "out.png")).path.is_file()


@pytest.mark.parametrize("headers_only", [True, False])
def test_sparse_file_is_refused_unread(tmp_path: Path, headers_only: bool) -> None:
    path = tmp_path / "a.mp4"
    with path.open("wb") as file:
        file.write(b"\0\0\0\x18ftypisom")
        file.truncate(100_000_000)
    with pytest.raises(InvalidRequest, match="sparse"):
        InputReader(headers_only=headers_only).open(path, "$.source")

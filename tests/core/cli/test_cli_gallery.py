"""``anymedia gallery``: its files, what they show, the page in a real browser, and the code that repeats a request."""

from __future__ import annotations

import asyncio
import datetime
import json
import shlex
import time
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anymedia.cli.build_request import CliInvocation
from anymedia.cli.gallery import MARK, Entry, as_command, as_python, write_page
from anymedia.cli.media_commands import audio, edit, image, video
from anymedia.requests import (
    ContinueVideo,
    EditWithReferences,
    GenerateAudio,
    GenerateImage,
    GenerateVideo,
    Inpaint,
    Mask,
    Reference,
    Request,
)
from anymedia.state.codec import request_json
from anymedia.state.store import CallRecord

from ...browser import CHROMIUM, browser

_HOSTILE = "</script><script>document.title='owned'</script>\"'><img src=x onerror=\"document.title='owned'\">\x1b[31m\u202e"


def _results(folder: Path) -> list[dict]:
    text = (folder / "results.js").read_text("utf-8")
    return json.loads(text.removeprefix("const RESULTS = ").removesuffix(";\n"))


def _record(request: Request) -> CallRecord:
    return CallRecord(
        id="job_1", run="job_1", index=0, state="done", backend="demo", model="painter", operation=request.kind,
        request=request_json(request), plan={}, target={}, idempotency_key="", session="", quote_usd=None, created_at=0.0, updated_at=0.0,
    )  # fmt: skip


@pytest.fixture
def shown(call, work):
    """The results of an image, a masked edit of it, an edit of that, and the gallery that shows them."""
    from PIL import Image, ImageDraw

    mask = Image.new("L", (256, 256))
    ImageDraw.Draw(mask).rectangle((32, 32, 128, 128), fill=255)
    mask.save(work / "mask.png")
    for words in (
        ("image", "a lake", "--size", "256x256", "-o", "lake.png"),
        ("edit", "lake.png", "a window of snow", "--mask", "mask.png", "--protect", "exact", "-o", "window.png"),
        ("edit", "window.png", "a starry night", "-o", "night.png"),
    ):
        done = call(*words, "-b", "local", "-q")
        assert done.code == 0, done.err
    done = call("gallery", "--json")
    assert done.code == 0, done.err
    assert done.json["results"] == 3
    return Path(done.json["page"]).parent


def test_gallery_in_a_directory_without_a_name_is_refused(call, work):
    assert call("gallery", "").code == 2
    assert not (work / "index.html").exists()


def test_gallery_connects_the_edits_of_a_chain(shown):
    night, window, lake = _results(shown)
    assert [r["file"] for r in (night, window, lake)] == ["night.png", "window.png", "lake.png"]
    assert [source for *_, source in window["inputs"]] == [lake["id"]]
    assert [source for *_, source in night["inputs"]] == [window["id"]]
    assert lake["used_in"] == [window["id"]]
    assert window["before"] == "../lake.png"
    assert not night["mask"]
    for address in (window["mask"], window["thumb"], window["src"], lake["thumb"]):
        assert (shown / address).is_file()


def test_gallery_overlay_covers_exactly_the_region_of_the_mask(shown):
    from PIL import Image

    with Image.open(shown / _results(shown)[1]["mask"]) as overlay:
        alpha = overlay.convert("RGBA").getchannel("A")
    assert alpha.getbbox() == (32, 32, 129, 129)


def test_gallery_uses_the_stored_file_when_the_users_is_gone(call, shown, work):
    (work / "lake.png").unlink()
    assert call("gallery", "-q").code == 0
    lake = _results(shown)[2]
    assert lake["src"].startswith("media/")
    assert (shown / lake["src"]).stat().st_size > 1000


def test_gallery_copy_makes_the_directory_complete(call, shown):
    assert call("gallery", "--copy", "-q").code == 0
    assert all(r["src"].startswith("media/") and (shown / r["src"]).is_file() for r in _results(shown))


def test_gallery_after_an_interrupted_copy_makes_the_file_again(call, shown, monkeypatch):
    import shutil

    def interrupted(_source, target):
        Path(target).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(shutil, "copyfile", interrupted)
        assert call("gallery", "--copy", "-q").code != 0
    assert call("gallery", "--copy", "-q").code == 0
    for result in _results(shown):
        assert (shown / result["src"]).stat().st_size > 1000


def test_gallery_since_leaves_older_results_out(call, shown):
    assert call("gallery", "--json", "--since", (datetime.date.today() + datetime.timedelta(days=2)).isoformat()).json["results"] == 0
    assert "No results yet" in (shown / "index.html").read_text("utf-8")


def test_gallery_refuses_a_directory_with_another_page(call, work):
    (work / "site").mkdir()
    (work / "site" / "index.html").write_text("mine")
    done = call("gallery", "site")
    assert done.code == 2
    assert "-f" in done.err
    assert (work / "site" / "index.html").read_text() == "mine"


def test_gallery_without_results_explains_how_to_make_one(call, work):
    assert call("gallery").code == 0
    page = (work / "gallery" / "index.html").read_text("utf-8")
    assert MARK in page
    assert "anymedia image" in page


def _entry(number: int, **changes: object) -> Entry:
    entry = Entry(
        id=f"job_{number}-1", job=f"job_{number}", kind="image", prompt=f"picture {number}", model="demo/painter",
        operation="generate image", created_at=time.time() - number, time="2026-11-29 12:00", cost=0.25,
        cost_text="0.25 USD", file=f"{number}.png",
    )  # fmt: skip
    return attrs.evolve(entry, **changes)


def test_page_escapes_a_hostile_model_name_and_draws_its_costs(tmp_path):
    write_page(tmp_path, [_entry(1, model=_HOSTILE), _entry(2, cost=0.75)])
    page = (tmp_path / "index.html").read_text("utf-8")
    assert "<img src=x" not in page
    assert "\x1b" not in page
    assert "&lt;img src=x onerror" in page
    assert "1 USD in all" in page
    assert page.count("<rect") == 3  # one day, two models


@pytest.mark.exhaustive
def test_gallery_works_in_a_browser_with_keyboard_filters_and_hostile_text(call, shown, work, tmp_path):
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    (work / "a#b?c%41 'd\".png").write_bytes((work / "lake.png").read_bytes())
    assert call("edit", "a#b?c%41 'd\".png", _HOSTILE, "-o", "x#y%42 'w.png", "-b", "local", "-q").code == 0
    assert call("gallery", "-q").code == 0

    async def look() -> None:
        async with browser(tmp_path / "profile") as page:
            await page.resize(1200, 900)
            await page.goto((shown / "index.html").as_uri())
            await page.until("document.querySelectorAll('.card').length === 4")
            assert await page.run("document.title") == "Gallery"
            await page.until("[...document.images].every((image) => image.complete && image.naturalWidth)")
            # The keyboard alone: the first card, the detail view, the next result, and back.
            await page.run("document.querySelector('.card button').focus()")
            await page.press("Enter")
            await page.until("detail.open && [...detail.querySelectorAll('img')].every((image) => image.complete && image.naturalWidth)")
            assert (await page.run("detail.querySelector('blockquote').textContent")).startswith("</script>")
            for _ in range(2):
                await page.press("ArrowRight")
            assert await page.run("current.file") == "window.png"
            await page.run("detail.querySelector('[name=mask]').click()")
            assert await page.run("detail.querySelector('img.mask').hidden") is False
            await page.run("globalThis.range = detail.querySelector('[type=range]'); range.value = 100")
            await page.run("range.dispatchEvent(new Event('input', {bubbles: true}))")
            assert "100%" in await page.run("detail.querySelector('.after').style.clipPath")
            assert await page.run("detail.querySelectorAll('.from li').length") == 1
            await page.press("Escape")
            await page.until("!detail.open")
            # Filters and order.
            await page.run("document.querySelector('[name=words]').value = 'starry'; form.dispatchEvent(new Event('input'))")
            assert await page.run("document.querySelectorAll('.card').length") == 1
            assert await page.run("form.count.value") == "1 of 4"
            # A phone in the dark: nothing wider than the screen.
            await page.resize(360, 700, dark=True, phone=True)
            assert await page.run("document.documentElement.scrollWidth") <= 360
            controls = "[...document.querySelectorAll('button, input, select')]"
            assert await page.run(f"{controls}.filter((e) => !(e.ariaLabel || e.textContent.trim() || e.labels?.length)).length") == 0
            assert page.problems == []

    asyncio.run(look())


_COMMANDS = {"image": image, "edit": edit, "video": video, "audio": audio}
_REQUESTS = [
    GenerateImage(prompt="a fox", size="512x512", n=3, seed=7, quality="high", background="transparent", negative_prompt="text"),
    GenerateImage(prompt="-n begins like an option", guidance_scale=2.5, extra_params={"steps": 30, "style": "vivid"}),
    Inpaint(prompt="snow", source="lake.png", mask=Mask(image="mask.png"), protect="exact"),
    Inpaint(prompt="wider", source="lake.png", edit_mode="outpaint", aspect_ratio="16:9"),
    EditWithReferences(
        prompt="a poster",
        references=(
            Reference(image="lake.png", role="source"),
            Reference(image="style.png", role="style", description="like ink"),
            Reference(image="edges.png", role="control", type="canny"),
        ),
    ),
    GenerateVideo(prompt="waves", first_frame="lake.png", last_frame="end.png", duration=4.0, resolution="720p"),
    GenerateVideo(prompt="a walk", references=(Reference(image="cat.png", role="subject"),), aspect_ratio="9:16"),
    ContinueVideo(prompt="nightfall", continue_from="local_vid_0123456789ab", continue_as="extend"),
    GenerateAudio(prompt="hello", voice="anna", speed=1.5, instructions="calm", output_format="mp3"),
    GenerateAudio(prompt="rain", audio_type="music", duration=20.0),
]


def _parsed(command: str) -> dict:
    """Return the request of a shell command, as JSON."""
    program, verb, *words = shlex.split(command)
    assert program == "anymedia"
    given = _COMMANDS[verb].make_context(verb, words).params
    config = CliInvocation.of(verb, given).config
    if given.get("continue_from"):
        config = attrs.evolve(config, continue_from=given["continue_from"])
    assert given["model"] == "demo/painter"
    return request_json(config.to_request())


@pytest.mark.parametrize("request_", _REQUESTS, ids=lambda r: f"{r.kind}-{r.prompt}")
def test_command_makes_the_same_request(request_):
    assert _parsed(as_command(_record(request_))) == request_json(request_)


@pytest.mark.parametrize("request_", _REQUESTS, ids=lambda r: f"{r.kind}-{r.prompt}")
def test_python_code_makes_the_same_request(request_, monkeypatch):
    made = []

    class Recorder:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def __getattr__(self, operation):
            def run(*, model, **fields):
                assert model == "demo/painter"
                made.append(type(request_)(**fields))
                assert operation == request_.kind
                return attrs.make_class("Result", {"path": attrs.field(default="x")})()

            return run

    monkeypatch.setattr("anymedia.SyncRouter", Recorder)
    exec(compile(as_python(_record(request_)), "<copied>", "exec"), {})
    assert [request_json(r) for r in made] == [request_json(request_)]


@given(prompt=st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1).filter(str.strip))
def test_any_prompt_survives_the_shell(prompt):
    command = as_command(_record(GenerateImage(prompt=prompt)))
    assert shlex.split(command)[-1] == prompt

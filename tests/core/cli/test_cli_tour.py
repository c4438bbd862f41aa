"""The tour, from one end to the other: real media, and a page that shows them and nothing else."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import importlib.util
import json
import shlex
import shutil
import urllib.parse
from pathlib import Path

import attrs
import pytest

from anymedia.cli.touring.page import MARK, make_page
from anymedia.cli.touring.steps import NAMES, Input, Skipped, Step
from anymedia.results import Adjustment, Cost, MediaFile, Provenance, Result

pytestmark = pytest.mark.skipif(importlib.util.find_spec("local_media") is None, reason="the local backend is not installed")
SPEAKS = importlib.util.find_spec("espeakng_loader") is not None


class _Page(html.parser.HTMLParser):
    """Every tag with its attributes, and the text of the style."""

    def __init__(self, path):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.style = ""
        self._in_style = False
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._in_style = tag == "style"

    def handle_data(self, data):
        if self._in_style:
            self.style += data
            self._in_style = False

    def all(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]


@pytest.fixture
def page(toured):
    return _Page(Path(toured.told.json["page"]))


def _decoded(path):
    """Decode a whole file; return its kind, size or number of frames."""
    import av
    import PIL.Image

    if path.suffix == ".png":
        with PIL.Image.open(path) as image:
            image.load()
            return "image", image.size
    with av.open(str(path)) as container:
        frames = list(container.decode(container.streams[0]))
        return container.streams[0].type, len(frames)


def _pixels(path, mode="RGB"):
    import numpy
    import PIL.Image

    with PIL.Image.open(path) as image:
        return numpy.asarray(image.convert(mode)).astype(int)


def test_small_tour_makes_every_step_and_a_page_that_shows_them(call, work, monkeypatch):
    monkeypatch.setattr("anymedia.cli.touring.steps._SIZE", "256x144")
    told = call("tour", "--json")
    assert told.code == 0, told.err
    files = [Path(step["result"]["files"][0]["path"]) for step in told.json["steps"]]
    assert len(files) == (8 if SPEAKS else 7)
    page = _Page(Path(told.json["page"]))
    shown = {a[name] for _, a in page.tags for name in ("src", "href") if a.get(name)}
    assert {path.name for path in files} <= shown
    assert {path.name for path in (work / "tour").iterdir()} - {"index.html"} <= set(NAMES)
    for step, path in zip(told.json["steps"], files, strict=True):
        kind, _ = _decoded(path)
        assert step["result"]["files"][0]["mime"].startswith(kind)


@pytest.mark.exhaustive
def test_every_step_made_what_it_says(toured):
    steps = toured.steps
    assert len(steps) == (8 if SPEAKS else 7)
    assert len(toured.told.json["skipped"]) == (0 if SPEAKS else 1)
    for step in steps:
        (file,) = step["result"]["files"]
        kind, extent = _decoded(Path(file["path"]))
        assert file["mime"].startswith(kind)
        assert hashlib.sha256(Path(file["path"]).read_bytes()).hexdigest() == file["sha256"]
        if kind == "image":
            assert extent == (file["width"], file["height"]) == (1280, 720)
    video, longer = steps[3]["result"]["files"][0], steps[4]["result"]["files"][0]
    assert (video["seconds"], longer["seconds"]) == (pytest.approx(3, abs=0.1), pytest.approx(6, abs=0.1))
    assert steps[4]["result"]["continued_as"] == "extend"


@pytest.mark.exhaustive
def test_the_masked_edit_changed_the_white_part_and_no_other_pixel(toured):
    import numpy

    folder = toured.folder
    before, after, mask = _pixels(folder / "1-lake.png"), _pixels(folder / "2-window.png"), _pixels(folder / "2-mask.png", "L")
    changed = numpy.abs(before - after).sum(axis=2) > 0
    assert not changed[mask == 0].any()
    assert changed[mask == 255].mean() > 0.5


@pytest.mark.exhaustive
def test_the_style_edit_took_the_colours(toured):
    folder = toured.folder
    source, style, made = (_pixels(folder / name).mean(axis=(0, 1)) for name in ("2-window.png", "3-style.png", "3-restyled.png"))
    assert abs(made - style).sum() < abs(source - style).sum() / 2


@pytest.mark.exhaustive
def test_the_continuation_keeps_the_earlier_frames(toured):
    import av
    import numpy

    def frames(name):
        with av.open(str(toured.folder / name)) as container:
            return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]

    video, longer = frames("4-video.mp4"), frames("5-longer.mp4")
    assert len(longer) > len(video)
    assert all(numpy.array_equal(one, other) for one, other in zip(video, longer, strict=False))


@pytest.mark.exhaustive
def test_the_page_loads_only_its_own_files_and_runs_nothing(page, toured):
    folder = toured.folder
    (policy,) = [m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    digest = base64.b64encode(hashlib.sha256(page.style.encode()).digest()).decode()
    assert policy.startswith("default-src 'none';")
    assert f"style-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy
    assert "script" not in policy
    assert not {"script", "link", "iframe", "object", "form"} & {tag for tag, _ in page.tags}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on") or name == "style"]
    referred = [a[name] for _, a in page.tags for name in ("src", "href", "poster") if a.get(name)]
    for address in referred:
        parts = urllib.parse.urlsplit(address)
        assert not parts.scheme
        assert not parts.netloc
        if not parts.path:
            assert parts.fragment in {a.get("id") for _, a in page.tags}
            continue
        _decoded(folder / urllib.parse.unquote(parts.path))
    assert {Path(s["result"]["files"][0]["path"]).name for s in toured.steps} <= set(referred)
    assert {"2-mask.png", "3-style.png"} <= set(referred)


@pytest.mark.exhaustive
def test_the_page_can_be_read_by_everybody(page):
    assert page.all("html")[0]["lang"] == "en"
    assert all("alt" in image for image in page.all("img"))
    assert all(image["alt"] for image in page.all("img") if "loading" not in image)
    assert len(page.all("video")) == 2
    for video in page.all("video"):
        assert {"controls", "muted", "preload", "aria-label"} <= video.keys()
        assert video["preload"] == "metadata"


@pytest.mark.exhaustive
def test_the_page_says_who_made_it_and_how(toured):
    text = Path(toured.told.json["page"]).read_text("utf-8")
    assert "no AI model" in text
    assert "local/landscape" in text
    for step in toured.steps:
        assert step["prompt"] in text


@pytest.mark.exhaustive
def test_the_commands_on_the_page_make_the_same_pictures(toured, call, tmp_path, monkeypatch):
    folder = tmp_path / "again"
    folder.mkdir()
    for name in ("2-mask.png", "3-style.png"):
        shutil.copy(toured.folder / name, folder / name)
    monkeypatch.chdir(folder)
    pictures = [s for s in toured.steps if s["result"]["files"][0]["mime"] == "image/png"]
    assert len(pictures) == 5
    for step in pictures:
        program, *words = shlex.split(step["command"])
        assert program == "anymedia"
        told = call(*words)
        assert told.code == 0, told.err
        name = Path(step["result"]["files"][0]["path"]).name
        assert (_pixels(folder / name) == _pixels(toured.folder / name)).all(), name


@pytest.mark.exhaustive
def test_a_tour_replaces_an_earlier_tour_but_nothing_else(toured, process, work):
    shutil.copytree(toured.folder, work / "tour")
    again = process("tour")
    assert again.code == 0, again.err
    assert Path(again.lines[-1]) == work / "tour" / "index.html"
    assert all(Path(line).is_file() for line in again.lines)
    (work / "mine").mkdir()
    (work / "mine" / "1-lake.png").write_bytes(b"mine")
    refused = process("tour", "mine")
    assert refused.code == 2
    assert "1-lake.png" in refused.err
    assert (work / "mine" / "1-lake.png").read_bytes() == b"mine"


@pytest.mark.exhaustive
def test_a_tour_can_be_gone_on_from(toured, process):
    told = process(
        "video", "--continue", "last", "the camera moves back", "-s", "1", "-o", "more.mp4", "--json", ANYMEDIA_STATE=toured.state
    )
    assert told.code == 0, told.err
    assert told.json["files"][0]["seconds"] == pytest.approx(7, abs=0.1)


def test_without_the_local_backend_the_tour_says_what_is_missing(call, work, monkeypatch):
    monkeypatch.setenv("ANYMEDIA_DISABLE", "local")
    told = call("tour", "--json")
    assert told.code == 2
    assert "local" in told.json["error"]["message"]
    assert not (work / "tour" / "index.html").exists()


def _evil_step(folder):
    file = MediaFile(path=folder / "a b.png", mime="image/png", size=10, sha256="0", width=4, height=3)
    evil = "<script>alert(1)</script> \" onload='x' & \x1b[2J"
    result = Result(
        operation="inpaint",
        files=(file,),
        provenance=Provenance(backend="demo", model=evil, disclosure=evil),
        job_id="job",
        adjustments=(Adjustment(field="seed", kind="ignored", asked=evil, sent=None, why=evil),),
        warnings=(evil,),
        cost=Cost(),
        continuation_id=evil,
    )
    return Step(number=1, title=evil, says=evil, prompt=evil, command=evil, inputs=(Input(role=evil, picture=file.path),), result=result)


def test_words_of_others_stay_words(tmp_path):
    text = make_page([_evil_step(tmp_path)], [Skipped(title="<b>x</b>", why="</footer><img src=x>")], tmp_path)
    (tmp_path / "index.html").write_text(text, "utf-8")
    page = _Page(tmp_path / "index.html")
    assert not page.all("script")
    assert not page.all("b")
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert {image["src"] for image in page.all("img")} == {"a%20b.png"}
    assert "\x1b" not in text
    assert "cost unknown" in text


def test_a_page_is_known_as_a_tours_own(tmp_path):
    assert MARK in make_page([_evil_step(tmp_path)], [], tmp_path)


def test_chains_part_where_a_step_begins_anew(tmp_path):
    first = _evil_step(tmp_path)
    onward = attrs.evolve(first, number=2, inputs=(Input(role="source", picture=tmp_path / "a b.png", step=1),))
    third = attrs.evolve(first, number=3, inputs=())
    (tmp_path / "index.html").write_text(make_page([first, onward, third], [], tmp_path), "utf-8")
    page = _Page(tmp_path / "index.html")
    assert [chain["start"] for chain in page.all("ol")] == ["1", "3"]


@pytest.mark.exhaustive
def test_all_names_of_a_tour_are_known_beforehand(toured):
    made = {path.name for path in toured.folder.iterdir()} - {"index.html"}
    assert made <= set(NAMES)
    assert json.dumps(sorted(set(NAMES) - made)) in {"[]", '["8-spoken.wav"]'}


def test_a_tour_that_was_broken_off_is_begun_again_without_force(call, work, monkeypatch):
    import anymedia.cli.tour as command

    async def broken_off(router, folder, tell):
        tell("1. An image")
        (folder / "1-lake.png").write_bytes(b"made by a tour")
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "make_steps", broken_off)
    assert call("tour", "half").code == 130
    assert "not finished" in (work / "half" / "index.html").read_text()

    async def nothing(router, folder, tell):
        return [], []

    monkeypatch.setattr(command, "make_steps", nothing)
    assert call("tour", "half").code == 0
    (work / "mine").mkdir()
    (work / "mine" / "1-lake.png").write_bytes(b"a holiday")
    told = call("tour", "mine")
    assert (told.code, (work / "mine" / "1-lake.png").read_bytes()) == (2, b"a holiday")
    assert not (work / "mine" / "index.html").exists()

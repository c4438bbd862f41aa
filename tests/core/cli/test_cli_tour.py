"""The tour of the local backend and its page."""

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

from anymedia.cli.tour import MARK, Input, Skipped, Step, make_page
from anymedia.results import Adjustment, Cost, MediaFile, Provenance, Result

local_tour = pytest.importorskip("local_media.tour", reason="the local backend is not installed")
NAMES = local_tour.NAMES
SPEAKS = importlib.util.find_spec("espeakng_loader") is not None


class _Page(html.parser.HTMLParser):
    """The tags of a page with their attributes, and the text of its style."""

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
    return _Page(Path(toured.result.json["page"]))


def _decoded(path):
    """Decode a file; return its kind and its size or number of frames."""
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


def test_small_tour_makes_every_step_and_shows_it(call, work, monkeypatch):
    monkeypatch.setattr(local_tour, "SIZE", "256x144")
    result = call("tour", "--json")
    assert result.code == 0, result.err
    files = [Path(step["result"]["files"][0]["path"]) for step in result.json["steps"]]
    assert len(files) == (8 if SPEAKS else 7)
    page = _Page(Path(result.json["page"]))
    shown = {a[name] for _, a in page.tags for name in ("src", "href") if a.get(name)}
    assert {path.name for path in files} <= shown
    assert {path.name for path in (work / "tour").iterdir()} - {"index.html"} <= set(NAMES)
    for step, path in zip(result.json["steps"], files, strict=True):
        kind, _ = _decoded(path)
        assert step["result"]["files"][0]["mime"].startswith(kind)


@pytest.mark.exhaustive
def test_tour_files_have_the_described_media(toured):
    steps = toured.steps
    assert len(steps) == (8 if SPEAKS else 7)
    assert len(toured.result.json["skipped"]) == (0 if SPEAKS else 1)
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
def test_masked_edit_changes_only_the_white_area(toured):
    import numpy

    folder = toured.folder
    before, after, mask = _pixels(folder / "1-lake.png"), _pixels(folder / "2-window.png"), _pixels(folder / "2-mask.png", "L")
    changed = numpy.abs(before - after).sum(axis=2) > 0
    assert not changed[mask == 0].any()
    assert changed[mask == 255].mean() > 0.5


@pytest.mark.exhaustive
def test_style_edit_takes_the_colours(toured):
    folder = toured.folder
    source, style, made = (_pixels(folder / name).mean(axis=(0, 1)) for name in ("2-window.png", "3-style.png", "3-restyled.png"))
    assert abs(made - style).sum() < abs(source - style).sum() / 2


@pytest.mark.exhaustive
def test_continuation_keeps_the_earlier_frames(toured):
    import av
    import numpy

    def frames(name):
        with av.open(str(toured.folder / name)) as container:
            return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]

    video, longer = frames("4-video.mp4"), frames("5-longer.mp4")
    assert len(longer) > len(video)
    assert all(numpy.array_equal(one, other) for one, other in zip(video, longer, strict=False))


@pytest.mark.exhaustive
def test_page_loads_only_its_own_files_and_no_script(page, toured):
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
def test_page_is_accessible(page):
    assert page.all("html")[0]["lang"] == "en"
    assert all("alt" in image for image in page.all("img"))
    assert all(image["alt"] for image in page.all("img") if "loading" not in image)
    assert len(page.all("video")) == 2
    for video in page.all("video"):
        assert {"controls", "muted", "preload", "aria-label"} <= video.keys()
        assert video["preload"] == "metadata"


@pytest.mark.exhaustive
def test_page_names_models_and_prompts(toured):
    text = Path(toured.result.json["page"]).read_text("utf-8")
    assert "no AI model" in text
    assert "local/landscape" in text
    for step in toured.steps:
        assert step["prompt"] in text


@pytest.mark.exhaustive
def test_commands_on_the_page_reproduce_the_images(toured, call, tmp_path, monkeypatch):
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
        result = call(*words)
        assert result.code == 0, result.err
        name = Path(step["result"]["files"][0]["path"]).name
        assert (_pixels(folder / name) == _pixels(toured.folder / name)).all(), name


@pytest.mark.exhaustive
def test_tour_replaces_an_earlier_tour_only(toured, process, work):
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
def test_tour_result_can_be_continued(toured, process):
    result = process(
        "video", "--continue", "last", "the camera moves back", "-s", "1", "-o", "more.mp4", "--json", ANYMEDIA_STATE=toured.state
    )
    assert result.code == 0, result.err
    assert result.json["files"][0]["seconds"] == pytest.approx(7, abs=0.1)


def test_tour_without_the_local_backend_names_it(call, work, monkeypatch):
    monkeypatch.setenv("ANYMEDIA_DISABLE", "local")
    result = call("tour", "--json")
    assert result.code == 2
    assert "local" in result.json["error"]["message"]
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
    return Step(number=1, title=evil, text=evil, prompt=evil, command=evil, inputs=(Input(role=evil, picture=file.path),), result=result)


def test_page_escapes_hostile_text(tmp_path):
    text = make_page([_evil_step(tmp_path)], [Skipped(title="<b>x</b>", reason="</footer><img src=x>")], tmp_path)
    (tmp_path / "index.html").write_text(text, "utf-8")
    page = _Page(tmp_path / "index.html")
    assert not page.all("script")
    assert not page.all("b")
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert {image["src"] for image in page.all("img")} == {"a%20b.png"}
    assert "\x1b" not in text
    assert "cost unknown" in text


def test_page_has_the_mark_of_a_tour(tmp_path):
    assert MARK in make_page([_evil_step(tmp_path)], [], tmp_path)


def test_page_starts_a_chain_at_a_step_without_earlier_inputs(tmp_path):
    first = _evil_step(tmp_path)
    second = attrs.evolve(first, number=2, inputs=(Input(role="source", picture=tmp_path / "a b.png", step=1),))
    third = attrs.evolve(first, number=3, inputs=())
    (tmp_path / "index.html").write_text(make_page([first, second, third], [], tmp_path), "utf-8")
    page = _Page(tmp_path / "index.html")
    assert [chain["start"] for chain in page.all("ol")] == ["1", "3"]


@pytest.mark.exhaustive
def test_tour_writes_only_its_known_names(toured):
    made = {path.name for path in toured.folder.iterdir()} - {"index.html"}
    assert made <= set(NAMES)
    assert json.dumps(sorted(set(NAMES) - made)) in {"[]", '["8-spoken.wav"]'}


def test_interrupted_tour_is_replaced_without_force(call, work, monkeypatch):
    import anymedia.cli.tour as command

    async def interrupt(router, steps, folder, announce):
        announce("1. An image")
        (folder / "1-lake.png").write_bytes(b"made by a tour")
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "_run_steps", interrupt)
    assert call("tour", "half").code == 130
    assert "not finished" in (work / "half" / "index.html").read_text()

    async def finish(router, steps, folder, announce):
        return [], []

    monkeypatch.setattr(command, "_run_steps", finish)
    assert call("tour", "half").code == 0
    (work / "mine").mkdir()
    (work / "mine" / "1-lake.png").write_bytes(b"a holiday")
    result = call("tour", "mine")
    assert (result.code, (work / "mine" / "1-lake.png").read_bytes()) == (2, b"a holiday")
    assert not (work / "mine" / "index.html").exists()

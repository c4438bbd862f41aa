"""The docs agree with the code: generated pages are current, and the tutorial is executed."""

from __future__ import annotations

import ast
import datetime
import html
import inspect
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import attrs
import pytest
from tools.docs.pages import PAGES, with_table
from tools.docs.settings_page import VARIABLES

import anymedia
from anymedia import Context, http, results, settings, testing
from anymedia.answers import envelopes, media
from anymedia.capabilities import load_matrix, model, options
from anymedia.cli.new_backend import write_backend
from anymedia.errors import InvalidRequest
from anymedia.hookspecs import HOOKS
from anymedia.requests import KINDS
from anymedia.settings import load_settings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
EXAMPLE = ROOT / "examples/minimal_backend"


@pytest.mark.parametrize("name", PAGES)
def test_generated_page_is_current(name: str) -> None:
    assert (DOCS / name).read_text("utf-8") == PAGES[name]().rstrip() + "\n", "run: python -m tools.docs docs"


def test_backend_table_in_the_readme_is_current() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    assert readme == with_table(readme), "run: python -m tools.docs docs"


def test_index_links_to_every_page() -> None:
    index = (DOCS / "index.md").read_text("utf-8")
    for page in {str(p.relative_to(DOCS)) for p in DOCS.rglob("*.md")} - {"index.md"}:
        assert f"({page})" in index, page


def test_home_page_installs_as_the_readme_does() -> None:
    line = next(line for line in (ROOT / "README.md").read_text("utf-8").splitlines() if line.endswith("anymedia tour"))
    assert line in (DOCS / "index.md").read_text("utf-8").splitlines()


@pytest.mark.exhaustive  # a process that renders fifty pages
def test_site_is_built_without_a_warning_and_needs_no_other_server(tmp_path: Path) -> None:
    """A missing page, link or anchor is a warning, and --strict makes it an error."""
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    pages = [page.read_text("utf-8") for page in tmp_path.rglob("*.html")]
    assert len(pages) > len(list(DOCS.rglob("*.md")))
    loaded = [
        address for page in pages for address in re.findall(r"""<(?:script|link|img|iframe)\b[^>]*(?:src|href)=["']?([^"' >]+)""", page)
    ]
    assert [address for address in loaded if address.startswith(("http", "//"))] == []
    reference = (tmp_path / "reference/python.html").read_text("utf-8")
    assert "last|ID|FILE" in html.unescape((tmp_path / "commands.html").read_text("utf-8"))
    assert all(
        f'id="{name}"' in reference for name in ("anymedia.aio.image", "anymedia.router.Router.stream", "anymedia.results.Result.save")
    )


def test_hook_page_has_a_heading_with_each_signature() -> None:
    page = (DOCS / "hooks.md").read_text("utf-8")
    for name, spec in HOOKS.items():
        parameters = [p for p in inspect.signature(getattr(spec, name)).parameters if p != "self"]
        assert f" {name}({', '.join(parameters)}) -> " in page


#: Fields of records that are not keys of a capability file: names of tables, and what a snapshot or the core sets.
_NO_KEYS = {"operation", "operations", "task", "warnings", "stale_after_days"}


def test_capabilities_page_documents_every_key() -> None:
    page = (DOCS / "capabilities.md").read_text("utf-8")
    source = (ROOT / "core/src/anymedia/capabilities/loader.py").read_text("utf-8")
    keys = set(re.findall(r"\w+\.(?:take|need|word|strings|tables?|pair)\(\"(\w+)\"", source))
    keys |= set(re.findall(r"_above_zero\(\w+, \"(\w+)\"", source))
    records = [kind for module in (model, options) for kind in vars(module).values() if getattr(kind, "__module__", "") == module.__name__]
    keys |= {field.name for kind in records if attrs.has(kind) for field in attrs.fields(kind)} - _NO_KEYS
    assert {"schema", "prices", "retires", "multiple_of", "roles"} <= keys
    assert sorted(key for key in keys if f"`{key}`" not in page and f"`{key} =" not in page) == []


def test_toolbox_page_documents_every_public_name() -> None:
    page = (DOCS / "toolbox.md").read_text("utf-8")
    for name in http.__all__:
        assert re.search(rf"### `((await )?{name}\(|{name}`)", page), name
    for name in ("half_mask", "painted", "picture", "sound", "video"):
        assert f"### `{name}(" in page, name
    own = {n for n in vars(Context) if not n.startswith("_")} - {"idempotency_key", "submissions"}
    assert sorted(n for n in own if not re.search(rf"`(await |async with )?context\.{n}\b", page)) == []
    for cls in KINDS.values():
        assert sorted(f.name for f in attrs.fields(cls) if f"| `{f.name}` |" not in page) == []
    for name in ("Outcome", "Piece", "Job", "Running", "Succeeded", "Failed", "ContinuationData"):
        assert f"### `{name}`" in page
        assert sorted(f.name for f in attrs.fields(getattr(results, name)) if f"| `{f.name}` |" not in page) == []


def test_names_on_the_toolbox_page_can_be_imported_from_where_it_says() -> None:
    page, _, fakes = (DOCS / "toolbox.md").read_text("utf-8").partition("in `anymedia.testing`\n")
    page, _, answers = page.partition("## Media and errors in an answer")
    for part, modules in ((page, (anymedia, anymedia.errors, http)), (answers, (media, envelopes))):
        names = re.findall(r"^### `(?:await |async with )?(\w+)[(`]", part, re.MULTILINE)
        assert len(names) >= 4
        assert sorted(n for n in names if not any(hasattr(module, n) for module in modules)) == []
    assert fakes and sorted(n for n in re.findall(r"^### `(\w+)\(", fakes, re.MULTILINE) if not hasattr(testing, n)) == []


def test_plugins_and_examples_import_public_modules_only() -> None:
    page = (DOCS / "compatibility.md").read_text("utf-8")
    listed = re.search(r"Public names are:.*?Everything else", page, re.DOTALL)
    assert listed is not None
    public = set(re.findall(r"`(\w+)`", listed[0]))
    sources = [p for folder in ("plugins", "examples") for p in (ROOT / folder).rglob("*.py") if "tests" not in p.parts]
    used = {
        (node.module.split(".")[1], path.name)
        for path in sources
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("anymedia.")
    }
    assert {"http", "context", "answers"} <= {module for module, _ in used}
    assert sorted(f"{name}: {module}" for module, name in used if module not in public) == []


def test_troubleshooting_covers_every_code_of_an_error() -> None:
    table = (DOCS / "troubleshooting.md").read_text("utf-8").partition("## By code")[2]
    sources = [path.read_text("utf-8") for path in (ROOT / "core/src/anymedia").rglob("*.py")]
    codes = {
        code
        for text in sources
        for code in re.findall(r"^class \w+\(\w+\):\n(?:(?!^class ).*\n)*?^    code = \"(\w+)\"$", text, re.MULTILINE)
    }
    assert len(codes) > 40
    assert sorted(codes - set(re.findall(r"`(\w+)`", table))) == []
    assert sorted(set(re.findall(r"`(\w+)`", " ".join(line.split("|")[1] for line in table.splitlines() if "|" in line))) - codes) == [
        "media_error"
    ]


def test_settings_on_the_page_are_accepted(tmp_path: Path) -> None:
    page = (DOCS / "settings.md").read_text("utf-8")
    (shown,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "config.toml").write_text(shown, "utf-8")
    read = load_settings(environ={}, files=[tmp_path / "config.toml"])
    assert read.fetch_allow == ("127.0.0.1", "media.lan:8080")
    assert read.instances["mygpu"].hosts == ("files.mygpu.lan",)
    known = re.findall(r"\btop\.(?:take|table)\(\"(\w+)\"", (ROOT / "core/src/anymedia/settings.py").read_text("utf-8"))
    assert sorted(tomllib.loads(shown)) == sorted([*known, *settings._TABLES])
    sources = [p.read_text("utf-8") for p in (ROOT / "core/src/anymedia").rglob("*.py")]
    assert {name for text in sources for name in re.findall(r"\bANYMEDIA_[A-Z]+\b", text)} == set(VARIABLES)


def test_links_in_the_docs_have_targets() -> None:
    pages = [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *ROOT.glob("plugins/*/README.md"), *ROOT.glob("examples/*/README.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_tutorial_backend_stays_short() -> None:
    def lines(path: str) -> int:
        return sum(bool(line.strip()) for line in (EXAMPLE / path).read_text("utf-8").splitlines())

    assert lines("src/painter_media/plugin.py") < 25
    assert lines("pyproject.toml") < 25
    assert lines("tests/test_conformance.py") < 12
    assert lines("tests/painter_fake.py") <= 45
    assert len((ROOT / "CONTRIBUTING.md").read_text("utf-8").splitlines()) < 120


def test_fragments_become_a_section_of_the_changelog(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "changelog.d", tmp_path / "changelog.d")
    shutil.copy(ROOT / "CHANGELOG.md", tmp_path)
    texts = [f.read_text("utf-8").strip() for f in (tmp_path / "changelog.d").glob("*.md")]
    command = [sys.executable, str(tmp_path / "changelog.d/collect.py"), "0.1.0", "2026-12-01"]
    subprocess.run(command, check=True)
    log = (tmp_path / "CHANGELOG.md").read_text("utf-8")
    assert "## 0.1.0 (2026-12-01)\n\n### Added\n\n- " in log
    assert texts
    assert all(f"- {text}\n" in log for text in texts)
    assert not list((tmp_path / "changelog.d").glob("*.md"))
    assert subprocess.run(command, check=False, capture_output=True).returncode == 1  # nothing left to collect


def _edited(plugin: Path) -> None:
    """Apply the second step of the tutorial."""
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "first-backend.md").read_text("utf-8"), re.DOTALL)
    text = plugin.read_text("utf-8")
    plugin.write_text(text[: text.index("    # EDIT HERE")] + blocks[0], "utf-8")


def test_skeleton_edited_as_in_the_tutorial_equals_the_example(tmp_path: Path) -> None:
    written = write_backend("painter", tmp_path, today=datetime.date(2026, 11, 21))
    _edited(tmp_path / "src/painter_media/plugin.py")
    for path in written:
        place = path.relative_to(tmp_path)
        assert path.read_text("utf-8") == (EXAMPLE / place).read_text("utf-8"), place


def test_skeleton_is_checked_on_the_day_of_its_creation(tmp_path: Path) -> None:
    for local in (False, True):
        folder = tmp_path / str(local)
        write_backend("acme", folder, local=local, today=datetime.date(2031, 2, 3))
        matrix = load_matrix(folder / "src/acme_media/capabilities.toml")
        assert matrix.checked == datetime.date(2031, 2, 3)
        assert matrix.models[0].operations["generate_image"].prices[0].checked == datetime.date(2031, 2, 3)
    assert (matrix.max_concurrent, matrix.credentials) == (1, ())
    assert "2026-11-21" not in "".join(path.read_text("utf-8") for path in tmp_path.rglob("*.*") if path.is_file())


@pytest.mark.exhaustive  # a kit in a process of its own
def test_local_skeleton_that_is_edited_passes_the_kit(tmp_path: Path) -> None:
    write_backend("acme", tmp_path, local=True)
    plugin = tmp_path / "src/acme_media/plugin.py"
    text = plugin.read_text("utf-8")
    assert text.count("EDIT HERE: ") == 2
    loads = "    from PIL import Image\n    return Image.effect_mandelbrot\n"
    plugin.write_text(text[: text.index("    # EDIT HERE: return")] + loads + text[text.index("\n\ndef _render") :], "utf-8")
    info = tmp_path / "src/anymedia_acme-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: anymedia-acme\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[anymedia]\nacme = acme_media.plugin\n")
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "src")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "pyproject.toml", "--rootdir", ".", "tests"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    checked = subprocess.run([sys.executable, "-m", "mypy", "--strict", str(plugin)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def test_skeleton_overwrites_nothing_and_rejects_invalid_names(tmp_path: Path) -> None:
    write_backend("painter", tmp_path)
    with pytest.raises(InvalidRequest, match="already exists"):
        write_backend("painter", tmp_path)
    for name in ("Painter", "my-backend", "class", "../up", ""):
        with pytest.raises(InvalidRequest, match="not a valid backend name"):
            write_backend(name, tmp_path / "other")
    for name, folder in (("painter", tmp_path / "README.md"), ("p" * 300, tmp_path / "long")):
        with pytest.raises(InvalidRequest, match="FOLDER: cannot write"):
            write_backend(name, folder)


_IMAGE = """
import sys
sys.path.insert(0, "tests")
from painter_fake import PainterFake
import os, pathlib, subprocess
with PainterFake("success") as fake:
    pathlib.Path("config.toml").write_text(f'[backends.painter]\\nbase_url = "{fake.url}"\\n')
    os.environ |= {"PAINTER_KEY": "a-key-for-the-fake", "ANYMEDIA_CONFIG": "config.toml", "ANYMEDIA_STATE": "state"}
    command = [sys.executable, "-m", "anymedia"]
    print(subprocess.run([*command, "models", "painter"], check=True, capture_output=True, text=True).stdout)
    subprocess.run([*command, "image", "a red fox in snow", "-m", "painter", "-o", "fox.png"], check=True)
"""


@pytest.mark.exhaustive  # a kit twice and three commands, each a process; the skeleton is compared with the example above
def test_tutorial_followed_from_an_empty_folder_succeeds(tmp_path: Path, capsys: Any) -> None:
    """New backend, edit the marked place; with its wheel the kit passes, the model is listed, an image is made; the time is printed."""
    started = time.monotonic()
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "lib")}

    def run(*words: str, folder: Path = tmp_path) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, *words], env=env, cwd=folder, capture_output=True, text=True, check=False)

    def install() -> None:
        built = run("-m", "pip", "-q", "wheel", "--no-deps", "--no-build-isolation", "-w", ".", str(folder))
        assert built.returncode == 0, built.stderr
        shutil.rmtree(tmp_path / "lib", ignore_errors=True)
        zipfile.ZipFile(tmp_path / "anymedia_painter-0.1.0-py3-none-any.whl").extractall(tmp_path / "lib")

    assert run("-m", "anymedia", "new-backend", "painter").returncode == 0
    folder = tmp_path / "painter_media"
    install()
    assert (tmp_path / "lib/painter_media/py.typed").exists()
    kit = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "pyproject.toml", "--rootdir", ".", "tests")
    before = run(*kit, "-k", "b01", folder=folder)
    assert before.returncode == 1
    assert "edit the place marked EDIT HERE in plugin.py" in before.stdout
    _edited(folder / "src/painter_media/plugin.py")
    install()
    after = run(*kit, folder=folder)
    assert after.returncode == 0, after.stdout[-3000:]
    assert "rules and backends" in after.stdout
    used = run("-c", _IMAGE, folder=folder)
    assert used.returncode == 0, used.stderr
    assert "painter-1" in used.stdout
    assert (folder / "fox.png").read_bytes().startswith(b"\x89PNG")
    with capsys.disabled():
        print(f"\nthe tutorial took {time.monotonic() - started:.1f} s: {after.stdout.splitlines()[-1]}")

"""A kept answer is the very answer that would be made anew, or it is not given."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

PLUGIN = """
from pathlib import Path
from anymedia.capabilities import load_matrix
from anymedia.hookspecs import hookimpl

@hookimpl
def capabilities():
    return load_matrix(Path(__file__).with_name("{name}.toml"))

@hookimpl
async def generate_image(request, context): ...
"""
MATRIX = """
schema = 1
checked = 2026-11-21
base_url_env = ["KEPT_BASE_URL"]
credentials = [{ names = { api_key = ["KEPT_API_KEY", "KEPT_TOKEN"] } }]
[[models]]
id = "painter-1"
media = "image"
[models.generate_image]
n = { min = 1, max = 4 }
[[models]]
id = "etcher-1"
like = "painter-1"
requires = { module = "kept_press", install = "pip install press" }
"""
CALL = """
import sys
sys.argv = ["anymedia", *sys.argv[1:]]
from anymedia.cli import main
try:
    main()
finally:
    print("QUICK" if "click" not in sys.modules and "attr" not in sys.modules else "SLOW", file=sys.stderr)
"""
WORDS = ("capabilities", "--json")


def _install(site: Path, distribution: str, name: str) -> None:
    info = site / f"{distribution.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[anymedia]\n{name} = {name}_mod\n")
    (site / f"{name}_mod.py").write_text(PLUGIN.replace("{name}", name))
    (site / f"{name}.toml").write_text(MATRIX)


@attrs.frozen
class Place:
    """A home, a site with one plugin, and a call of the command line in it."""

    root: Path

    @property
    def site(self) -> Path:
        return self.root / "site"

    @property
    def config(self) -> Path:
        return self.root / "home" / "config" / "anymedia"

    @property
    def answers(self) -> list[Path]:
        return sorted((self.root / "cache" / "answers").glob("*"))

    def call(self, *words: str, cache: str = "cache", stdout: int = subprocess.PIPE, **more: str) -> tuple[int, bytes, str]:
        """Return exit code, stdout, and all of stderr."""
        kept = {k: v for k, v in os.environ.items() if k in {"PATH", "LANG", "TMPDIR", "SYSTEMROOT"}}
        home = str(self.root / "home")
        own = {"HOME": home, "XDG_CONFIG_HOME": f"{home}/config", "PYTHONPATH": str(self.site), "ANYMEDIA_CACHE": str(self.root / cache)}
        done = subprocess.run(
            [sys.executable, "-c", CALL, *words], env=kept | own | more, cwd=self.root, stdout=stdout, stderr=subprocess.PIPE, check=False
        )
        return done.returncode, done.stdout, done.stderr.decode()

    def warm(self, *words: str, **more: str) -> bytes:
        """Call until the answer is a kept one (what changed within the last two seconds is not kept)."""
        for _ in range(40):
            code, out, err = self.call(*words, **more)
            assert code == 0, err
            if err.splitlines()[-1] == "QUICK":
                return out
            time.sleep(0.4)
        raise AssertionError("no answer was kept")

    def anew(self, *words: str, **more: str) -> tuple[int, bytes]:
        """Answer without a cache."""
        shutil.rmtree(self.root / "other", ignore_errors=True)
        code, out, err = self.call(*words, cache="other", **more)
        assert err.splitlines()[-1] == "SLOW"
        return code, out


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("kept"))
    _install(place.site, "anymedia-kepttest", "painter")
    place.config.mkdir(parents=True)
    (place.config / "config.toml").write_text('[plugins]\nallow = ["anymedia-kepttest"]\n')
    (place.root / "cache").mkdir()
    (place.root / "other").mkdir()
    return place


@pytest.fixture
def place(template: Place) -> Place:
    """The template as it was first: its plugin, its settings, a warm cache."""
    for extra in [*template.site.glob("*"), *template.config.glob("*")]:
        if extra.name != "__pycache__" and "painter" not in extra.name and "kepttest" not in extra.name and extra.name != "config.toml":
            shutil.rmtree(extra) if extra.is_dir() else extra.unlink()
    wanted = {
        template.site / "painter.toml": MATRIX,
        template.site / "painter_mod.py": PLUGIN.replace("{name}", "painter"),
        template.site / "anymedia_kepttest-1.0.dist-info" / "entry_points.txt": "[anymedia]\npainter = painter_mod\n",
        template.config / "config.toml": '[plugins]\nallow = ["anymedia-kepttest"]\n',
    }
    for path, text in wanted.items():
        if not path.exists() or path.read_text() != text:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
    template.warm(*WORDS)
    return template


@pytest.mark.parametrize("words", [WORDS, ("capabilities", "painter", "--json"), ("models", "--json"), ("models", "--json", "painter")])
def test_a_kept_answer_is_the_same_and_loads_next_to_nothing(place: Place, words: tuple[str, ...]) -> None:
    kept = place.warm(*words)
    code, anew = place.anew(*words)
    assert code == 0
    assert kept == anew
    assert json.loads(kept)["success"] is True


def test_what_is_no_document_is_never_answered_from_the_cache(place: Place) -> None:
    for words in (("capabilities",), ("models", "--task", "image", "--json"), ("capabilities", "--json", "--help"), ("doctor", "--json")):
        before = place.answers
        for _ in range(2):
            assert place.call(*words)[2].splitlines()[-1] == "SLOW"
        assert place.answers == before


def _rewrite(path: Path, text: str) -> None:
    """Change a file in place; its time of modification is set back, as an installer may do."""
    before = path.stat()
    path.write_text(text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _matrix(place: Place) -> None:
    _rewrite(place.site / "painter.toml", MATRIX.replace("painter-1", "painter-2"))


def _module(place: Place) -> None:
    source = PLUGIN.replace("{name}", "painter").replace("async def generate_image", "async def inpaint")
    _rewrite(place.site / "painter_mod.py", source)


def _entry_point(place: Place) -> None:
    _rewrite(place.site / "anymedia_kepttest-1.0.dist-info" / "entry_points.txt", "[anymedia]\npicture = painter_mod\n")


def _one_more(place: Place) -> None:
    _install(place.site, "anymedia-kepttest", "painter")
    _install(place.site, "another-maker", "sculptor")
    (place.config / "config.toml").write_text('[plugins]\nallow = ["anymedia-kepttest", "another-maker"]\n')


def _forbidden(place: Place) -> None:
    (place.config / "config.toml").write_text("[plugins]\nallow = []\n")


def _disabled(place: Place) -> None:
    (place.config / "config.toml").write_text('[plugins]\nallow = ["anymedia-kepttest"]\ndisable = ["painter"]\n')


def _second_instance(place: Place) -> None:
    with (place.config / "config.toml").open("a") as file:
        file.write('[backends.mine]\nplugin = "painter"\ncredentials = { api_key = "MY_KEY" }\n')


def _keys(place: Place) -> None:
    path = place.config / "keys.toml"
    path.touch(0o600)
    path.write_text('KEPT_API_KEY = "a-key-nobody-may-see"\n')


def _bad_settings(place: Place) -> None:
    (place.config / "config.toml").write_text("plugins = 7\n")


CHANGES: list[Callable[[Place], None]] = [
    _matrix,
    _module,
    _entry_point,
    _one_more,
    _forbidden,
    _disabled,
    _second_instance,
    _keys,
    _bad_settings,
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_whatever_changes_on_disk_the_answer_is_the_new_one(place: Place, change: Callable[[Place], None]) -> None:
    before = place.warm(*WORDS)
    change(place)
    code, out, _ = place.call(*WORDS)
    assert (code, out) == place.anew(*WORDS)
    assert out != before


def _installed(place: Place) -> bool:
    """What an answer that is not kept says."""
    models = json.loads(place.anew(*WORDS)[1])["backends"]["painter"]["models"]
    found: bool = next(m for m in models if m["id"] == "etcher-1")["requires"]["installed"]
    return found


FORMS: dict[str, Callable[[Path], Path]] = {
    "module": lambda folder: folder / "kept_press.py",
    "package": lambda folder: folder / "kept_press" / "__init__.py",
}


@pytest.mark.parametrize("form", FORMS)
def test_what_is_installed_or_removed_meanwhile_is_told_at_once(place: Place, form: str) -> None:
    file = FORMS[form](place.site)
    absent = place.warm(*WORDS)
    assert not _installed(place)
    file.parent.mkdir(exist_ok=True)
    file.write_text("raise AssertionError('it was imported')")
    assert place.call(*WORDS)[1] == place.anew(*WORDS)[1] != absent
    assert _installed(place)
    present = place.warm(*WORDS)
    file.unlink()  # of a package the folder is left, as by an uninstaller that finds more in it
    assert place.call(*WORDS)[1] == absent
    assert not _installed(place)
    assert place.warm(*WORDS) == absent
    file.write_text("raise AssertionError('it was imported')")
    assert place.call(*WORDS)[1] == present


@pytest.mark.parametrize("form", FORMS)
def test_what_comes_to_any_folder_that_python_looks_in_is_told_at_once(place: Place, form: str) -> None:
    elsewhere = place.root / "elsewhere"
    shutil.rmtree(elsewhere, ignore_errors=True)
    elsewhere.mkdir()
    more = {"PYTHONPATH": f"{place.site}{os.pathsep}{elsewhere}"}
    absent = place.warm(*WORDS, **more)
    file = FORMS[form](elsewhere)
    file.parent.mkdir(exist_ok=True)
    file.write_text("raise AssertionError('it was imported')")
    present = place.call(*WORDS, **more)[1]
    assert present == place.anew(*WORDS, **more)[1] != absent
    assert place.warm(*WORDS, **more) == present
    shutil.rmtree(elsewhere)
    assert place.call(*WORDS, **more)[1] == absent


@pytest.mark.parametrize("variable", ["KEPT_API_KEY", "KEPT_TOKEN"])
def test_a_key_that_is_set_makes_a_new_answer_and_its_value_is_nowhere(place: Place, variable: str) -> None:
    secret = "a-key-nobody-may-see"
    before = place.warm(*WORDS)
    code, out, _ = place.call(*WORDS, **{variable: secret})
    assert (code, out) == place.anew(*WORDS, **{variable: secret})
    assert out != before
    assert place.warm(*WORDS, **{variable: secret}) == out
    assert place.answers
    for path in place.answers:
        assert secret.encode() not in path.read_bytes()
        assert path.stat().st_mode & 0o777 == 0o600
    assert place.warm(*WORDS) == before


def test_a_disabled_backend_is_gone_at_once(place: Place) -> None:
    place.warm(*WORDS)
    assert json.loads(place.call(*WORDS, ANYMEDIA_DISABLE="painter")[1])["backends"] == {}


def test_with_an_address_from_the_environment_nothing_is_kept(place: Place) -> None:
    for address in ("https://media.example/v1?token=abcdef", "not a url"):
        for _ in range(2):
            code, _, err = place.call(*WORDS, KEPT_BASE_URL=address)
            assert (code, err.splitlines()[-1]) == (0, "SLOW")
        assert not any(address.encode() in path.read_bytes() for path in place.answers)


def test_with_a_broken_plugin_nothing_is_kept_and_it_is_told(place: Place) -> None:
    (place.site / "painter_mod.py").write_text("import a_module_that_is_nowhere\n")
    for _ in range(2):
        code, out, err = place.call(*WORDS)
        assert (code, json.loads(out)["backends"], err.splitlines()[-1]) == (0, {}, "SLOW")
    code, out, err = place.call("capabilities", "painter", "--json")
    assert code == 2
    assert "broken" in json.loads(out)["error"]["message"]


def test_nothing_of_a_plugin_outside_the_allow_list_runs(place: Place) -> None:
    mark = place.root / "home" / "ran"
    _install(place.site, "stranger", "strange")
    (place.site / "strange_mod.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
    for _ in range(3):
        assert list(json.loads(place.call(*WORDS)[1])["backends"]) == ["painter"]
    place.warm(*WORDS)
    assert not mark.exists()


def _torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def _flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)


def _flipped_head(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"asked:", b"Asked:"))


def _older_format(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"anymedia-answer 1", b"anymedia-answer 0"))


def _writable_by_others(path: Path) -> None:
    path.write_bytes(path.read_bytes())
    path.chmod(0o666)


@pytest.mark.parametrize(
    "spoil",
    [
        _torn,
        _flipped,
        _flipped_head,
        _older_format,
        _writable_by_others,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\xff\xfe\x00" * 99),
        lambda path: path.write_bytes(b"\n\n\n\n"),
        lambda path: (path.unlink(), path.mkdir()),
    ],
)
def test_a_spoilt_cache_is_no_cache(place: Place, spoil: Callable[[Path], object]) -> None:
    before = place.warm(*WORDS)
    answers = place.answers
    for path in answers:
        spoil(path)
    code, out, err = place.call(*WORDS)
    assert (code, out, err.splitlines()[-1]) == (0, before, "SLOW")
    for path in answers:
        if path.is_dir():
            path.rmdir()
    assert place.warm(*WORDS) == before


def test_a_cache_that_cannot_be_written_is_done_without(place: Place) -> None:
    (place.root / "file").write_text("")
    for _ in range(2):
        code, out, err = place.call(*WORDS, cache="file")
        assert (code, out, err.splitlines()[-1]) == (0, place.anew(*WORDS)[1], "SLOW")


def test_no_scratch_files_stay_behind(place: Place) -> None:
    place.warm(*WORDS)
    assert [path.name for path in place.answers if path.suffix] == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told_with_and_without_a_cache(place: Place) -> None:
    place.warm(*WORDS)
    with Path("/dev/full").open("wb") as full:
        told = [place.call(*WORDS, cache=cache, stdout=full.fileno()) for cache in ("cache", "other")]
    assert [code for code, _, _ in told] == [1, 1]
    assert all("cannot write" in err for _, _, err in told)


def test_a_reader_who_left_is_met_alike_with_and_without_a_cache(place: Place) -> None:
    place.warm(*WORDS)
    codes = []
    for cache in ("cache", "other"):
        reading, writing = os.pipe()
        os.close(reading)
        codes.append(place.call(*WORDS, cache=cache, stdout=writing)[0])
        os.close(writing)
    assert codes == [141, 141]


@pytest.mark.parametrize("given", [None, "", "  ", "/somewhere/else"])
def test_the_cache_is_where_platformdirs_says(monkeypatch: pytest.MonkeyPatch, given: str | None) -> None:
    from platformdirs import user_cache_dir

    from anymedia.capabilities.snapshots import cache_dir
    from anymedia.cli.quick import cache_folder

    monkeypatch.delenv("ANYMEDIA_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if given is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", given)
    assert cache_folder() == user_cache_dir("anymedia", appauthor=False)
    assert Path(cache_folder()) == cache_dir()
    monkeypatch.setenv("ANYMEDIA_CACHE", "/elsewhere")
    assert Path(cache_folder()) == cache_dir() == Path("/elsewhere")


def test_an_answer_is_given_on_its_day_only(monkeypatch: pytest.MonkeyPatch) -> None:
    from anymedia.cli import quick

    today = quick.key_of(["models", "--json"])
    assert quick.key_of(["models", "--json"]) == today
    monkeypatch.setattr(quick.time, "strftime", lambda *_: "2031-01-01")
    assert quick.key_of(["models", "--json"]) != today

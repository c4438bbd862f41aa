"""The cache of parsed matrices: valid for an unchanged file, otherwise ignored."""

from __future__ import annotations

import os
import shutil
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from anymedia.capabilities import CapabilityMatrix, load_matrix, loader, matrix_cache
from anymedia.errors import PluginContractError

SHIPPED = Path(__file__).parents[2] / "plugins" / "google_media" / "src" / "google_media" / "capabilities.toml"


class Parser:
    """Counts how often a capability file is parsed."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, path: Path) -> CapabilityMatrix:
        self.times += 1
        return _read(path)


_read = loader.read_matrix


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ANYMEDIA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(matrix_cache, "COARSE", 0.0)
    return tmp_path / "cache" / "matrices"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    place = tmp_path / "painter" / "capabilities.toml"
    place.parent.mkdir()
    shutil.copyfile(SHIPPED, place)
    return place


@pytest.fixture
def parser(monkeypatch: pytest.MonkeyPatch) -> Parser:
    found = Parser()
    monkeypatch.setattr(loader, "read_matrix", found)
    return found


def load(source: Path) -> CapabilityMatrix:
    """Load like a new process."""
    load_matrix.cache_clear()
    return load_matrix(source)


def test_cached_matrix_of_every_plugin_equals_parsed(cache: Path, parser: Parser) -> None:
    for shipped in sorted(SHIPPED.parents[3].glob("*/src/*/capabilities.toml")):
        parsed = _read(shipped)
        before = parser.times
        assert load(shipped) == load(shipped) == parsed
        assert repr(load(shipped)) == repr(parsed)  # 1 == 1.0 == True
        assert parser.times == before + 1


def test_cache_directory_is_private(cache: Path, source: Path) -> None:
    load(source)
    (kept,) = cache.iterdir()
    assert (stat.S_IMODE(cache.stat().st_mode), stat.S_IMODE(kept.stat().st_mode)) == (0o700, 0o600)


def _edit(source: Path) -> None:
    source.write_text(source.read_text().replace("gemini-3-pro-image", "gemini-4-pro-image"))


def _edit_unnoticed(source: Path) -> None:
    """Change a file without changing its size and modification time."""
    before = source.stat()
    _edit(source)
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))


def _replace(source: Path) -> None:
    shutil.copy2(source, source.with_suffix(".new"))
    source.with_suffix(".new").replace(source)


@pytest.mark.parametrize("change", [_edit, _edit_unnoticed, _replace])
def test_file_changed_is_parsed_again(cache: Path, source: Path, parser: Parser, change: Callable[[Path], None]) -> None:
    load(source)
    change(source)
    assert load(source) == _read(source)
    assert parser.times == 2


def test_file_malformed_after_valid_is_refused(cache: Path, source: Path) -> None:
    load(source)
    source.write_text("schema = 1\nmodels = 3\n")
    with pytest.raises(PluginContractError, match=r"capabilities\.toml"):
        load(source)


def test_code_or_python_changed_parses_again(cache: Path, source: Path, parser: Parser, monkeypatch: pytest.MonkeyPatch) -> None:
    load(source)
    monkeypatch.setattr(matrix_cache, "_version", lambda: "another")
    load(source)
    assert parser.times == 2


def test_file_changed_recently_is_not_cached(cache: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix_cache, "COARSE", 3600.0)
    assert load(source) == _read(source)
    assert not cache.exists()


def _flip(kept: Path) -> None:
    data = bytearray(kept.read_bytes())
    data[len(data) // 2] ^= 1
    kept.write_bytes(data)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "empty": lambda kept: kept.write_bytes(b""),
    "cut": lambda kept: kept.write_bytes(kept.read_bytes()[:-100]),
    "no body": lambda kept: kept.write_bytes(kept.read_bytes().partition(b"\n")[0]),
    "one bit": _flip,
    "binary": lambda kept: kept.write_bytes(os.urandom(2000)),
    "a directory": lambda kept: (kept.unlink(), kept.mkdir()),
    "open to others": lambda kept: kept.chmod(0o666),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_cache_damaged_is_ignored(cache: Path, source: Path, parser: Parser, damage: Callable[[Path], object]) -> None:
    load(source)
    (kept,) = cache.iterdir()
    damage(kept)
    assert load(source) == _read(source)
    assert parser.times == 2


@pytest.mark.parametrize(
    "body", [b"[]", b"{}", b"3", b"[[1]]", b'[{"Nothing":{}}]', b'[{"CapabilityMatrix":{"models":0}}]', b'["x"]', b'[{"date":1}]']
)
def test_cache_without_matrix_is_ignored(cache: Path, source: Path, parser: Parser, body: bytes) -> None:
    """Even if checksum and stamp are right."""
    load(source)
    (kept,) = cache.iterdir()
    kept.write_bytes(matrix_cache._head(source, matrix_cache._stamp(source), body) + b"\n" + body)
    assert load(source) == _read(source)
    assert parser.times == 2


@pytest.mark.skipif(os.name != "posix", reason="owners of files")
def test_cache_of_another_user_is_ignored(cache: Path, source: Path, parser: Parser, monkeypatch: pytest.MonkeyPatch) -> None:
    load(source)
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    load(source)
    assert parser.times == 2


@pytest.mark.parametrize("place", ["a file", "below a file"])
def test_cache_unwritable_is_ignored(
    tmp_path: Path, source: Path, parser: Parser, monkeypatch: pytest.MonkeyPatch, cache: Path, place: str
) -> None:
    (tmp_path / "taken").write_bytes(b"mine")
    monkeypatch.setenv("ANYMEDIA_CACHE", str(tmp_path / "taken" / ("" if place == "a file" else "below")))
    assert load(source) == load(source) == _read(source)
    assert parser.times == 2
    assert (tmp_path / "taken").read_bytes() == b"mine"


def test_cache_write_failing_leaves_nothing(cache: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    assert load(source) == _read(source)
    assert list(cache.iterdir()) == []


def test_home_directory_absent_disables_cache(source: Path, parser: Parser, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(matrix_cache, "cache_dir", homeless)
    assert load(source) == _read(source)
    assert parser.times == 1


def test_cache_concurrent_readers_see_complete_files(cache: Path, source: Path) -> None:
    wanted, wrong = _read(source), []
    before = matrix_cache._stamp(source)
    begin = threading.Barrier(6)

    def write() -> None:
        begin.wait()
        for _ in range(10):
            matrix_cache._remember(source, before, wanted)

    def read() -> None:
        begin.wait()
        for _ in range(10):
            found = matrix_cache._recall(source, before)
            if found is not None and found != wanted:
                wrong.append(found)

    threads = [threading.Thread(target=work) for work in (write, write, write, read, read, read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert matrix_cache._recall(source, before) == wanted
    assert len(list(cache.iterdir())) == 1

"""Finding out whether required modules are installed, without importing them."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest

from anymedia.capabilities import parse_matrix
from anymedia.capabilities.model import absent_from, is_installed

NAME = "a_module_for_looking"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory on sys.path; importing a module from it raises."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, NAME, raising=False)
    return tmp_path


def put(place: Path) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("raise AssertionError('it was imported')\n")
    return place


@pytest.mark.parametrize("file", [f"{NAME}.py", f"{NAME}/__init__.py"])
def test_module_importable_is_installed_and_not_imported(site: Path, file: str) -> None:
    assert not is_installed(NAME)
    put(site / file)
    assert is_installed(NAME)
    assert NAME not in sys.modules


def test_module_removed_is_absent(site: Path) -> None:
    place = put(site / f"{NAME}.py")
    assert is_installed(NAME)
    place.unlink()
    assert not is_installed(NAME)


@pytest.mark.parametrize("name", ["sys", "math", "json", "pytest"])
def test_module_of_every_kind_is_found(name: str) -> None:
    assert is_installed(name)


def test_module_already_imported_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    made = types.ModuleType(NAME)
    assert made.__spec__ is None  # which makes importlib's own search fail
    monkeypatch.setitem(sys.modules, NAME, made)
    assert is_installed(NAME)


def test_module_blocked_is_absent(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(site / f"{NAME}.py")
    monkeypatch.setitem(sys.modules, NAME, None)  # type: ignore[arg-type]
    assert not is_installed(NAME)


def test_directory_without_code_is_absent(site: Path) -> None:
    """As left by an uninstaller that finds foreign files in it."""
    (site / NAME / "data").mkdir(parents=True)
    assert not is_installed(NAME)
    put(site / NAME / "__init__.py")
    assert is_installed(NAME)


class _Torn:
    def find_spec(self, *_: Any) -> None:
        raise RuntimeError("this finder is broken")


def test_finder_raising_means_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", [_Torn(), *sys.meta_path])
    assert not is_installed(NAME)


def test_absent_from_matrix_searches_each_module_once(monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[str] = []

    def search(name: str) -> bool:
        searched.append(name)
        return name != "brushes"

    monkeypatch.setattr("anymedia.capabilities.model.is_installed", search)
    needs = [{"module": "brushes", "install": "pip install brushes"}] * 200 + [{"module": "paper", "install": "pip install paper"}]
    rows: list[dict[str, Any]] = [{"id": str(i), "requires": one, "generate_image": {}} for i, one in enumerate(needs)]
    matrix = parse_matrix({"schema": 1, "models": [*rows, {"id": "plain", "generate_image": {}}]}, "x.toml")
    assert absent_from(matrix) == {"brushes"}
    assert sorted(searched) == ["brushes", "paper"]

"""Whether what a row requires is installed: looked for as an import would look, and never imported."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest

from anymedia.capabilities import parse_matrix
from anymedia.capabilities.requirements import absent_from, is_installed

NAME = "a_module_for_looking"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that Python looks in; what is put there stops whoever imports it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, NAME, raising=False)
    return tmp_path


def put(place: Path) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("raise AssertionError('it was imported')\n")
    return place


@pytest.mark.parametrize("file", [f"{NAME}.py", f"{NAME}/__init__.py"])
def test_what_an_import_would_find_is_installed_and_is_not_imported(site: Path, file: str) -> None:
    assert not is_installed(NAME)
    put(site / file)
    assert is_installed(NAME)
    assert NAME not in sys.modules


def test_what_is_removed_is_absent_again(site: Path) -> None:
    place = put(site / f"{NAME}.py")
    assert is_installed(NAME)
    place.unlink()
    assert not is_installed(NAME)


@pytest.mark.parametrize("name", ["sys", "math", "json", "pytest"])
def test_modules_of_every_make_are_found(name: str) -> None:
    assert is_installed(name)


def test_what_is_already_imported_is_installed_whatever_it_says_of_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    made = types.ModuleType(NAME)
    assert made.__spec__ is None  # at which importlib's own look fails
    monkeypatch.setitem(sys.modules, NAME, made)
    assert is_installed(NAME)


def test_what_may_not_be_imported_is_absent(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(site / f"{NAME}.py")
    monkeypatch.setitem(sys.modules, NAME, None)  # type: ignore[arg-type]
    assert not is_installed(NAME)


def test_a_folder_without_code_is_not_what_was_meant(site: Path) -> None:
    """As an uninstaller leaves it that finds files of others in it."""
    (site / NAME / "data").mkdir(parents=True)
    assert not is_installed(NAME)
    put(site / NAME / "__init__.py")
    assert is_installed(NAME)


class _Torn:
    def find_spec(self, *_: Any) -> None:
        raise RuntimeError("this finder is broken")


def test_a_finder_that_fails_is_no_reason_to_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", [_Torn(), *sys.meta_path])
    assert not is_installed(NAME)


def test_of_a_matrix_each_module_is_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []

    def look(name: str) -> bool:
        looked.append(name)
        return name != "brushes"

    monkeypatch.setattr("anymedia.capabilities.requirements.is_installed", look)
    needs = [{"module": "brushes", "install": "pip install brushes"}] * 200 + [{"module": "paper", "install": "pip install paper"}]
    rows: list[dict[str, Any]] = [{"id": str(i), "requires": one, "generate_image": {}} for i, one in enumerate(needs)]
    matrix = parse_matrix({"schema": 1, "models": [*rows, {"id": "plain", "generate_image": {}}]}, "x.toml")
    assert absent_from(matrix) == {"brushes"}
    assert sorted(looked) == ["brushes", "paper"]

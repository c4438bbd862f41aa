"""All plugin folders have the same structure: distribution, package, entry point and folder share a name."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = sorted(p.parent for p in (ROOT / "plugins").glob("*/pyproject.toml"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda p: p.name)
def test_plugin_folder_has_the_common_structure(folder: Path) -> None:
    name = folder.name.removesuffix("_media")
    project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["name"] == f"anymedia-{name}"
    assert project["entry-points"]["anymedia"] == {name: f"{folder.name}.plugin"}
    assert "anymedia>=0.1,<2" in project["dependencies"]
    for file in ("README.md", "tests/test_conformance.py"):
        assert (folder / file).is_file(), file
    for file in ("__init__.py", "plugin.py", "capabilities.toml", "py.typed"):
        assert (folder / "src" / folder.name / file).is_file(), file
    assert not (folder / "tests/__init__.py").exists()


def test_plugin_depends_on_no_other_plugin_or_its_sdk() -> None:
    sdks = {"openai": "openai", "google": "google-genai", "grok": "xai-sdk"}
    for folder in FOLDERS:
        own = folder.name.removesuffix("_media")
        wanted = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
        others = {sdk for name, sdk in sdks.items() if name != own}
        for dependency in wanted:
            assert not any(dependency.lower().startswith(sdk) for sdk in others), f"{folder.name}: {dependency}"
            assert not dependency.startswith("anymedia-")

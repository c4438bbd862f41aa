"""``anymedia new-backend NAME``: the folder of a new backend, complete except for the request to its service."""

from __future__ import annotations

import keyword
import re
from importlib.resources import files
from pathlib import Path

import click

from ..errors import InvalidRequest, Problem
from .console import Console
from .environment import AS_JSON

#: Template -> its path in the folder. "painter" in the templates is replaced by the backend's name.
_TEMPLATES = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    "LICENSE": "LICENSE",
    "tox.ini": "tox.ini",
    "workflow.yml": ".github/workflows/test.yml",
    "init.py": "src/painter_media/__init__.py",
    "plugin.py": "src/painter_media/plugin.py",
    "capabilities.toml": "src/painter_media/capabilities.toml",
    "fake.py": "tests/painter_fake.py",
    "test_conformance.py": "tests/test_conformance.py",
}


def _renamed(text: str, name: str) -> str:
    camel = "".join(part.capitalize() for part in name.split("_"))
    text = text.replace("anymedia-painter", f"anymedia-{name.replace('_', '-')}")
    return text.replace("painter", name).replace("PAINTER", name.upper()).replace("Painter", camel)


def write_backend(name: str, folder: Path) -> list[Path]:
    """Write the folder of a new backend and return its files; existing files are never overwritten.

    Args:
        name: the backend's name: lower-case letters, digits and single underscores.
        folder: where to write it.

    Raises:
        InvalidRequest: the name is not valid, one of the files exists, or the folder cannot be written.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or keyword.iskeyword(name):
        how = "use lower-case letters, digits and single underscores, like 'acme'"
        raise InvalidRequest([Problem("NAME", f"{name!r} is not a valid backend name", how)])
    here = files(__package__).joinpath("skeleton")
    wanted = {folder / _renamed(path, name): _renamed(here.joinpath(f"{t}.txt").read_text("utf-8"), name) for t, path in _TEMPLATES.items()}
    wanted[folder / "src" / f"{name}_media" / "py.typed"] = ""
    try:
        if existing := [str(path) for path in wanted if path.exists()]:
            raise InvalidRequest([Problem("FOLDER", f"already exists: {', '.join(existing)}", "choose another folder")])
        for path, text in wanted.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
    except OSError as error:
        raise InvalidRequest([Problem("FOLDER", f"cannot write to {str(folder)!r}: {error.strerror}", "choose another folder")]) from error
    return list(wanted)


@click.command("new-backend")
@click.argument("name")
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@AS_JSON
def new_backend(name: str, folder: Path | None, as_json: bool) -> None:
    """Write the package anymedia-NAME into FOLDER (default: NAME_media): plugin, capability file, fake of the service, tests, CI."""
    console = Console(json=as_json)
    target = Path(f"{name}_media") if folder is None else folder
    written = write_backend(name, target)
    if as_json:
        console.document({"success": True, "files": [str(path) for path in written]})
        return
    for path in written:
        console.result(str(path))
    console.note(f"edit the place marked EDIT HERE in {target / 'src' / f'{name}_media' / 'plugin.py'}, then run: pytest {target}")

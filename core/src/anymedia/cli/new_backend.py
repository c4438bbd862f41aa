"""``anymedia new-backend NAME``: a backend's folder, whole but for the one place where it asks its service."""

from __future__ import annotations

import keyword
import re
from importlib.resources import files
from pathlib import Path

import click

from ..errors import InvalidRequest
from .console import Console
from .options import AS_JSON

__all__ = ["new_backend", "write_backend"]

#: Template -> where it goes. The templates speak of "painter", which becomes the backend's name.
_PLACES = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    "init.py": "src/painter_media/__init__.py",
    "plugin.py": "src/painter_media/plugin.py",
    "capabilities.toml": "src/painter_media/capabilities.toml",
    "fake.py": "tests/painter_fake.py",
    "test_conformance.py": "tests/test_conformance.py",
}


def _named(text: str, name: str) -> str:
    camel = "".join(part.capitalize() for part in name.split("_"))
    return text.replace("painter", name).replace("PAINTER", name.upper()).replace("Painter", camel)


def write_backend(name: str, folder: Path) -> list[Path]:
    """Write a backend's folder and return the files; nothing that is there is written over.

    Raises:
        InvalidRequest: the name is none for a backend, or one of the files is there.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or keyword.iskeyword(name):
        raise InvalidRequest(f"{name!r} is no name for a backend", fix="use lower-case letters, digits and single underscores, like 'acme'")
    here = files(__package__).joinpath("skeleton")
    wanted = {folder / _named(place, name): _named(here.joinpath(f"{t}.txt").read_text("utf-8"), name) for t, place in _PLACES.items()}
    wanted[folder / "src" / f"{name}_media" / "py.typed"] = ""
    if taken := [str(path) for path in wanted if path.exists()]:
        raise InvalidRequest(f"already there: {', '.join(taken)}", fix="name another folder")
    for path, text in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return list(wanted)


@click.command("new-backend")
@click.argument("name")
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@AS_JSON
def new_backend(name: str, folder: Path | None, as_json: bool) -> None:
    """Write a backend called NAME into FOLDER (NAME_media by default): plugin, matrix, a fake of the service, the kit."""
    console = Console(json=as_json)
    place = Path(f"{name}_media") if folder is None else folder
    written = write_backend(name, place)
    if as_json:
        console.document({"success": True, "files": [str(path) for path in written]})
        return
    for path in written:
        console.result(str(path))
    console.note(f"edit the place marked EDIT HERE in {place / 'src' / f'{name}_media' / 'plugin.py'}, then run the kit: pytest {place}")

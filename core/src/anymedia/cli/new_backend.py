"""``anymedia new-backend NAME``: the folder of a new backend, complete except for the request to its service."""

from __future__ import annotations

import datetime
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
#: Templates that replace others, or None that are left out, where the backend makes its media in this process.
_LOCAL = {
    "README.md": "local-README.md",
    "plugin.py": "local-plugin.py",
    "capabilities.toml": "local-capabilities.toml",
    "fake.py": None,
    "test_conformance.py": "local-test_conformance.py",
}
#: The date in the templates, which the day of creation replaces.
_DATE = "2026-11-21"


def _renamed(text: str, name: str, today: datetime.date) -> str:
    camel = "".join(part.capitalize() for part in name.split("_"))
    text = text.replace("anymedia-painter", f"anymedia-{name.replace('_', '-')}")
    return text.replace(_DATE, today.isoformat()).replace("painter", name).replace("PAINTER", name.upper()).replace("Painter", camel)


def write_backend(name: str, folder: Path, *, local: bool = False, today: datetime.date | None = None) -> list[Path]:
    """Write the folder of a new backend and return its files; existing files are never overwritten.

    Args:
        name: the backend's name: lower-case letters, digits and single underscores.
        folder: where to write it.
        local: whether it makes its media in this process, and not by requests to a service.
        today: the day on which its facts count as checked.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or keyword.iskeyword(name):
        how = "use lower-case letters, digits and single underscores, like 'acme'"
        raise InvalidRequest([Problem("NAME", f"{name!r} is not a valid backend name", how)])
    here = files(__package__).joinpath("skeleton")
    day = today or datetime.datetime.now(datetime.UTC).date()
    wanted: dict[Path, str] = {}
    for template, place in _TEMPLATES.items():
        if (used := _LOCAL.get(template, template) if local else template) is not None:
            text = here.joinpath(f"{used}.txt").read_text("utf-8")
            text = text.replace("{ test = ", '{ model = ["pillow"], test = ') if local else text
            wanted[folder / _renamed(place, name, day)] = _renamed(text, name, day)
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
@click.option("--local", is_flag=True, help="For a pipeline in this process, such as a model on a GPU: no key, no requests, no fake.")
@AS_JSON
def new_backend(name: str, folder: Path | None, local: bool, as_json: bool) -> None:
    """Write the package anymedia-NAME into FOLDER (default: NAME_media): plugin, capability file, fake of the service, tests, CI."""
    target = Path(f"{name}_media") if folder is None else folder
    written = write_backend(name, target, local=local)
    note = f"edit the place marked EDIT HERE in {target / 'src' / f'{name}_media' / 'plugin.py'}, then run: pytest {target}"
    Console(json=as_json).answer({"files": [str(path) for path in written]}, map(str, written), note)

"""HTML pages of the tour and the gallery: templates, one stylesheet, and a strict content security policy."""

from __future__ import annotations

import base64
import functools
import hashlib
import os
import urllib.parse
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import InvalidRequest, Problem
from ..console import clean

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["PAGE", "claim_directory", "href", "mark", "outside_mask", "render_page", "text_of"]

PAGE = "index.html"


def mark(generator: str) -> str:
    """Return the tag that marks a page, and so the files in its directory, as made by a command."""
    return f'<meta name="generator" content="{generator}">'


def claim_directory(folder: Path, names: Iterable[str], generator: str, *, force: bool) -> None:
    """Create the directory of a page; refuse one with files of these names, or a page, that the same command has not made."""
    page = folder / PAGE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        is_own = page.is_file() and mark(generator) in page.read_text("utf-8", errors="replace")
        taken = [name for name in (*names, PAGE) if (folder / name).exists()]
    except OSError as error:
        raise InvalidRequest([Problem("DIR", f"cannot use the directory {str(folder)!r}: {error.strerror}")]) from None
    if taken and not is_own and not force:
        text = f"{str(folder)!r} already contains {taken[0]!r}, which '{generator}' did not make"
        raise InvalidRequest([Problem("DIR", text, "name another directory, or use -f")])


def outside_mask(difference: float) -> str:
    """Return how an edit differed outside the mask before it was restored."""
    return f"differed by {difference:.2f} of 255 on average" if difference else "no pixel differs"


def text_of(name: str) -> str:
    """Return the text of a file of this package."""
    return resources.files(__package__).joinpath(name).read_text("utf-8")


def href(path: Path, folder: Path) -> str:
    """Return the address of a file relative to the page's directory, percent-encoded."""
    relative = os.path.relpath(path.resolve(), folder.resolve())
    return urllib.parse.quote(Path(relative).as_posix())


def _cleaned(value: Any) -> Any:
    return clean(value) if type(value) is str else value  # not Markup, which is a subclass


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader(__package__, "")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, finalize=_cleaned, trim_blocks=True, lstrip_blocks=True)


def render_page(template: str, *, scripts: bool = False, **values: Any) -> str:
    """Return a page; values are escaped, without control characters; ``scripts`` lets it load those of its own directory."""
    style = text_of("page.css")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src 'self'; media-src 'self'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    if scripts:
        policy += "; script-src 'self'"
    return _environment().get_template(template).render(style=style, policy=policy, **values)

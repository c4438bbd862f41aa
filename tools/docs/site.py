"""A hook of MkDocs: pages of the repository outside ``docs/`` become pages of the site, and links to them are followed there."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[2]
#: File of the repository -> page of the site.
PAGES = {
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    **{f"plugins/{path.parent.name}/README.md": f"plugins/{path.parent.name}.md" for path in sorted(ROOT.glob("plugins/*/README.md"))},
}
_SOURCES = {page: source for source, page in PAGES.items()}
#: The README says what the home page says.
_TARGETS = PAGES | {"README.md": "index.md"}
_LINK = re.compile(r"\[(?P<text>[^\]]*)\]\((?P<target>[^)#:\s]+)(?P<anchor>#[^)\s]*)?\)")
#: Stands for an escaped bar in the code of a table, of which Python-Markdown would show the backslash.
_BAR = "\ue000"
_LIST = re.compile(r"^(?![-*|#> ]|\d+\. )(.*\S)\n(?=(?:[-*]|\d+\.) )", re.MULTILINE)


def on_files(files: Any, config: Any) -> Any:
    """Add the pages."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text("utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Point links at pages of the site; a file that is none is named without a link. Python-Markdown needs a blank line before a list."""
    uri = page.file.src_uri
    folder = posixpath.dirname(_SOURCES.get(uri, f"docs/{uri}"))

    def link(found: re.Match[str]) -> str:
        text, target, anchor = found["text"], found["target"], found["anchor"] or ""
        path = posixpath.normpath(posixpath.join(folder, target))
        if path.startswith("docs/"):
            path = path.removeprefix("docs/")
        elif path in _TARGETS:
            path = _TARGETS[path]
        else:
            assert (ROOT / path).exists(), f"{uri}: {target}"
            return text
        return f"[{text}]({posixpath.relpath(path, posixpath.dirname(uri) or '.')}{anchor})"

    parts = re.split(r"(^```.*?^```$)", markdown, flags=re.MULTILINE | re.DOTALL)
    parts[::2] = [_LIST.sub(r"\1\n\n", _LINK.sub(link, part)).replace(r"\|", _BAR) for part in parts[::2]]
    return "".join(parts)


def on_page_content(html: str, **_: Any) -> str:
    """Put the bars back."""
    return html.replace(_BAR, "|")

"""The steps as one static page: no script, a strict content policy, everything that is not ours escaped."""

from __future__ import annotations

import base64
import hashlib
import urllib.parse
from collections.abc import Sequence
from html import escape
from importlib import resources
from pathlib import Path

from ...results import MediaFile, Result
from ..console import clean
from ..render import adjusted, cost_words
from .steps import Input, Skipped, Step

__all__ = ["MARK", "UNFINISHED", "make_page"]

#: By this a later tour knows that a page, and the files beside it, are a tour's own.
MARK = '<meta name="generator" content="anymedia tour">'
_TITLE = "A tour of anymedia"
#: What stands there until the steps are made.
UNFINISHED = f'<!doctype html>\n<meta charset="utf-8">\n{MARK}\n<title>{_TITLE}</title>\n<p>This tour was not finished. Run it again.</p>\n'


def make_page(steps: Sequence[Step], skipped: Sequence[Skipped], folder: Path) -> str:
    """Return the page's HTML; files are referred to relative to ``folder``."""
    style = resources.files(__package__).joinpath("page.css").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src 'self'; media-src 'self'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    chains = "\n".join(_chain(chain, folder) for chain in _chains(steps))
    seconds = sum(step.result.seconds for step in steps)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
{MARK}
<title>{_TITLE}</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>{_TITLE}</h1>
<p>{len(steps)} steps, most of them going on from an earlier one; made by {_makers(steps)} in {seconds:.0f} seconds.</p>
{_disclosures(steps)}
</header>
<main>
{chains}
</main>
<footer>
{_skipped(skipped)}<p>This page has no script, loads nothing from elsewhere, and works as a plain file.</p>
</footer>
</body>
</html>
"""


def _chains(steps: Sequence[Step]) -> list[list[Step]]:
    """Part the steps where one begins anew."""
    chains: list[list[Step]] = []
    for step in steps:
        if step.begins or not chains:
            chains.append([])
        chains[-1].append(step)
    return chains


def _chain(steps: Sequence[Step], folder: Path) -> str:
    inside = "\n".join(_step(step, folder) for step in steps)
    return f'<ol class="chain" start="{steps[0].number}">\n{inside}\n</ol>'


def _text(words: str) -> str:
    return escape(clean(words))


def _makers(steps: Sequence[Step]) -> str:
    made = dict.fromkeys(_maker(step.result) for step in steps)
    return ", ".join(_text(name) for name in made)


def _maker(result: Result) -> str:
    return f"{result.provenance.backend}/{result.provenance.model}"


def _disclosures(steps: Sequence[Step]) -> str:
    said = dict.fromkeys(step.result.provenance.disclosure for step in steps)
    return "\n".join(f"<p>{_text(words)}</p>" for words in said if words)


def _skipped(skipped: Sequence[Skipped]) -> str:
    return "".join(f"<p>Not made here: {_text(s.title)}. {_text(s.why)}</p>\n" for s in skipped)


def _href(path: Path, folder: Path) -> str:
    return escape(urllib.parse.quote(path.resolve().relative_to(folder.resolve()).as_posix()))


def _step(step: Step, folder: Path) -> str:
    return f"""<li>
<article id="step-{step.number}">
<div class="made">{_media(step, folder)}</div>
<div class="told">
<h2>{step.number}. {_text(step.title)}</h2>
<p>{_text(step.says)}</p>
<blockquote>{_text(step.prompt)}</blockquote>
{_inputs(step, folder)}{_facts(step.result)}</div>
<pre>{_text(step.command)}</pre>
</article>
</li>"""


def _media(step: Step, folder: Path) -> str:
    file = step.result.files[0]
    source, label = _href(file.path, folder), _text(f"{step.title}: {step.prompt}")
    kind = file.mime.partition("/")[0]
    if kind == "image":
        return f'<a href="{source}"><img src="{source}" alt="{label}"{_box(file)}></a>'
    if kind == "video":
        poster = f' poster="{_href(step.poster, folder)}"' if step.poster else ""
        return f'<video controls muted playsinline preload="metadata" src="{source}"{poster} aria-label="{label}"{_box(file)}></video>'
    return f'<audio controls preload="metadata" src="{source}" aria-label="{label}"></audio>'


def _box(file: MediaFile) -> str:
    return f' width="{file.width}" height="{file.height}"' if file.width and file.height else ""


def _inputs(step: Step, folder: Path) -> str:
    if not step.inputs:
        return ""
    return '<ul class="inputs">\n' + "\n".join(_input(i, folder) for i in step.inputs) + "\n</ul>\n"


def _input(given: Input, folder: Path) -> str:
    target = f"#step-{given.step}" if given.step else _href(given.picture, folder)
    words = _text(given.role) + (f", step&nbsp;{given.step}" if given.step else "")
    return f'<li><a href="{target}"><img src="{_href(given.picture, folder)}" alt="" loading="lazy">{words}</a></li>'


def _facts(result: Result) -> str:
    file = result.files[0]
    facts = [("made by", _maker(result)), ("file", f"{file.path.name}, {_shape(file)}{file.size / 1000:,.0f} kB")]
    facts += [("took", f"{result.seconds:.1f} s"), ("cost", cost_words(result.cost))]
    if result.outside_mask_difference is not None:
        facts.append(("outside the mask", _outside(result.outside_mask_difference)))
    facts += [(a.kind, adjusted(a)) for a in result.adjustments]
    facts += [("note", str(warning)) for warning in result.warnings]
    if result.continuation_id:
        facts.append(("go on with", result.continuation_id))
    return "<dl>\n" + "\n".join(f"<dt>{_text(name)}</dt><dd>{_text(words)}</dd>" for name, words in facts) + "\n</dl>\n"


def _outside(difference: float) -> str:
    return f"differed by {difference:.2f} of 255 on average" if difference else "no pixel differs"


def _shape(file: MediaFile) -> str:
    pixels = f"{file.width} x {file.height}, " if file.width and file.height else ""
    return pixels + (f"{file.seconds:.1f} s, " if file.seconds else "")

"""``anymedia gallery``: static pages that show the results in the user's journal.

The pages work without a server: thumbnails, a data file and one small script lie beside them. Files that still exist where they were
saved are linked; others are copied from the artifact store.
"""

from __future__ import annotations

import datetime
import functools
import json
import shlex
import shutil
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from ..errors import InvalidRequest, MediaError, Problem
from ..formatting import in_dollars
from ..results import Adjustment, to_warnings
from .build_request import option_of
from .console import Console, clean, local_time
from .environment import AS_JSON
from .jobs import since_when, with_router
from .pages import PAGE, claim_directory, href, mark, outside_mask, render_page, text_of

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

    from ..artifacts import Artifact
    from ..router import Router
    from ..state.store import CallRecord
    from .console import ProgressLine

__all__ = ["MARK", "Entry", "as_command", "as_python", "gallery", "write_page"]

_GENERATOR = "anymedia gallery"
#: Marks a page, and so the files in its directory, as made by this command.
MARK = mark(_GENERATOR)
_DATA, _SCRIPT = "results.js", "gallery.js"
#: Pixels of the longer side of a thumbnail, and of an input or mask in the detail view.
_THUMBNAIL, _PREVIEW = 480, 1600
#: The colour that marks the region of a mask.
_MASK_COLOUR = (255, 90, 30, 140)
#: Operations whose result is compared with their first input.
_EDITS = frozenset({"inpaint", "edit with references"})
#: How many days and models the charts show.
_BARS = 60


@click.command("gallery")
@click.argument("folder", default="gallery", metavar="[DIR]")
@click.option("--since", metavar="TIME", help="today, 12h, 7d, 2w, or a date like 2026-11-01 (UTC); default: everything.")
@click.option("--limit", type=click.IntRange(min=1), default=5000, show_default=True, help="Maximum number of calls, the newest first.")
@click.option("--copy", is_flag=True, help="Copy all files into DIR, so that it can be moved or shared.")
@click.option("--open", "open_page", is_flag=True, help="Open the page in a browser.")
@click.option("-f", "--force", is_flag=True, help="Replace an index.html that no gallery made.")
@AS_JSON
@click.option("-q", "--quiet", is_flag=True, help="Print no notes on stderr.")
def gallery(folder: str, since: str | None, limit: int, copy: bool, open_page: bool, force: bool, as_json: bool, quiet: bool) -> None:
    """Write a page into DIR (default: ./gallery) that shows the results of earlier jobs: images, edits, masks, videos, costs.

    Run it again to update the page; existing thumbnails are reused.
    """
    if not folder.strip():
        raise InvalidRequest([Problem("DIR", "is empty")], fix="Leave it out for ./gallery, or write . for this directory.")
    console, target = Console(json=as_json, quiet=quiet), Path(folder)
    start = since_when(since, datetime.datetime.now(datetime.UTC))
    claim_directory(target, (), _GENERATOR, force=force)
    for name in ("thumbs", "media"):
        (target / name).mkdir(exist_ok=True)

    async def work(router: Router, line: ProgressLine) -> list[Entry]:
        records = await router.jobs(["done"], start, limit=limit)
        line.clear()
        return await _Builder(router, target, copy).entries(records)

    entries = with_router(work, quiet=quiet)
    page = write_page(target, entries)
    note = f"{len(entries)} results; open in a browser: {page.as_uri()}" if entries else "no results yet; the page is empty"
    console.answer({"page": str(page), "results": len(entries)}, [page], note)
    if open_page and not as_json:
        click.launch(page.as_uri())


@attrs.define(kw_only=True)
class Entry:
    """One result on the page. Addresses are relative to the page; empty where there is nothing to show.

    Attributes:
        id: unique on the page.
        created_at: seconds since the epoch, for sorting and for the charts.
        cost: in US dollars; None if unknown.
        before: address of the source of an edit.
        mask: address of an overlay of the edited region.
        inputs: (label, thumbnail, id of the entry that made it or "").
    """

    id: str
    job: str
    kind: str
    prompt: str
    model: str
    operation: str
    created_at: float
    time: str
    cost: float | None
    cost_text: str
    file: str
    src: str = ""
    thumb: str = ""
    width: int | None = None
    height: int | None = None
    facts: list[tuple[str, str]] = attrs.field(factory=list)
    warnings: list[str] = attrs.field(factory=list)
    before: str = ""
    mask: str = ""
    inputs: list[tuple[str, str, str]] = attrs.field(factory=list)
    used_in: list[str] = attrs.field(factory=list)
    command: str = ""
    python: str = ""


class _Builder:
    """Collects the entries and writes the files that they show."""

    def __init__(self, router: Router, folder: Path, copy: bool) -> None:
        self._router, self._folder, self._copy = router, folder, copy
        self._by_content: dict[str, Entry] = {}
        self._by_continuation: dict[str, Entry] = {}

    async def entries(self, records: Sequence[CallRecord]) -> list[Entry]:
        """Return the entries, the newest first."""
        found: list[Entry] = []
        for record in reversed(records):  # inputs come before what was made of them
            files = (record.result or {}).get("files", ())
            for index, raw in enumerate(files):
                entry = _entry(record, raw, index, len(files))
                await self._show(entry, record, raw)
                await self._connect(entry, record)
                self._by_content.setdefault(raw["sha256"], entry)
                if raw.get("continuation_id"):
                    self._by_continuation[raw["continuation_id"]] = entry
                found.append(entry)
        return found[::-1]

    async def _show(self, entry: Entry, record: CallRecord, raw: Mapping[str, Any]) -> None:
        """Set the addresses of the file and of its thumbnail."""
        path = await self._located(record, raw)
        if path is None:
            entry.warnings.append("The file is gone, and is not in the artifact store any more.")
            return
        entry.src = href(path, self._folder)

        async def read() -> bytes:
            from ..convert.load_input import last_frame

            return path.read_bytes() if entry.kind == "image" else last_frame(path)

        if entry.kind != "audio":
            entry.thumb = await self._thumbnail(raw["sha256"], read)

    async def _located(self, record: CallRecord, raw: Mapping[str, Any]) -> Path | None:
        """Return where a saved file is, copied into the directory if need be; None if it does not exist any more."""
        from ..artifacts import ArtifactError

        path, own = Path(raw["path"]), self._folder / "media" / f"{raw['sha256'][:20]}{Path(raw['path']).suffix}"
        if own.exists():  # copied by an earlier run
            return own
        if _is_unchanged(path, raw["bytes"]):
            if not self._copy:
                return path
        else:
            stored = next((a for a in await self._router.artifacts.find(record.id) if a.sha256 == raw["sha256"]), None)
            if stored is None:
                return None
            try:
                path = await self._router.artifacts.local_file(stored)
            except ArtifactError:
                return None
        _write_whole(own, functools.partial(shutil.copyfile, path))
        return own

    async def _connect(self, entry: Entry, record: CallRecord) -> None:
        """Set the inputs, the picture before the edit and the mask."""
        protection: Mapping[str, str] = record.target.get("protection") or {}
        made_from = self._by_continuation.get(str(record.request.get("continue_from")))
        inputs = {a.sha256: a for a in _artifacts([*record.target.get("inputs", ()), protection.get("source")])}
        for mask in _artifacts([protection.get("mask")]):
            inputs.pop(mask.sha256, None)
            entry.mask = await self._thumbnail(f"mask-{mask.sha256}", self._reader(mask), _PREVIEW, _overlay)
        for artifact in inputs.values():
            source = self._by_content.get(artifact.sha256)
            thumb = source.thumb if source else await self._thumbnail(artifact.sha256, self._reader(artifact))
            if not thumb:
                continue
            entry.inputs.append(("input", thumb, source.id if source else ""))
            if not entry.before and entry.operation in _EDITS:
                own = source.src if source and source.kind == "image" else ""
                entry.before = own or await self._thumbnail(f"large-{artifact.sha256}", self._reader(artifact), _PREVIEW)
            made_from = made_from or source
        if made_from is not None:
            made_from.used_in.append(entry.id)
            if not any(source == made_from.id for *_, source in entry.inputs):
                entry.inputs.insert(0, ("continued", made_from.thumb, made_from.id))

    def _reader(self, artifact: Artifact) -> Callable[[], Awaitable[bytes]]:
        return lambda: self._router.artifacts.read(artifact)

    async def _thumbnail(
        self, name: str, read: Callable[[], Awaitable[bytes]], size: int = _THUMBNAIL, draw: Callable[[bytes], Picture] | None = None
    ) -> str:
        """Return the address of a small picture, drawn unless it exists; empty if that is not possible."""
        from ..convert.images import open_picture

        path = self._folder / "thumbs" / f"{name[:28]}.webp"
        if not path.exists():
            try:
                picture = (draw or open_picture)(await read())
                picture = picture.convert("RGBA" if "A" in picture.getbands() or "transparency" in picture.info else "RGB")
                picture.thumbnail((size, size))
                _write_whole(path, functools.partial(picture.save, format="WEBP", quality=82))
            except (MediaError, OSError):
                return ""
        return href(path, self._folder)


def _write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under another name first: one that exists is complete, and is not made again."""
    part = path.with_name(f".{path.name}.part")
    write(part)
    part.replace(path)


def _is_unchanged(path: Path, size: int) -> bool:
    try:
        return path.is_file() and path.stat().st_size == size
    except OSError:
        return False


def _artifacts(keys: Iterable[str | None]) -> list[Artifact]:
    from ..artifacts import Artifact

    return [found for key in keys if key and (found := Artifact.from_key(key))]


def _overlay(data: bytes) -> Picture:
    """Return a translucent picture of the region that a mask (white = edit) lets change."""
    from PIL import Image

    from ..convert.images import open_picture

    region = open_picture(data).convert("L")
    colour = Image.new("RGBA", region.size, _MASK_COLOUR)
    return Image.composite(colour, Image.new("RGBA", region.size), region)


def _entry(record: CallRecord, raw: Mapping[str, Any], index: int, count: int) -> Entry:
    result = record.result or {}
    known = record.cost_usd if record.cost_usd is not None else (record.quote_usd or (None, None))[1]
    cost = None if known is None else known / count
    text = "unknown" if cost is None else f"{in_dollars(cost)} USD" + ("" if record.cost_usd is not None else " (quoted)")
    notes = [str(w) for w in to_warnings([*record.plan["warnings"], *result.get("warnings", ())])]
    notes += [str(Adjustment(**found)) for found in record.plan["adjustments"]]
    return Entry(
        id=f"{record.id}-{index + 1}",
        job=record.run,
        kind=raw["mime"].partition("/")[0],
        prompt=clean(str(record.request.get("prompt") or record.request.get("task", ""))),
        model=f"{record.backend}/{record.model}",
        operation=record.operation.replace("_", " "),
        created_at=record.created_at,
        time=local_time(record.created_at),
        cost=cost,
        cost_text=text,
        file=clean(Path(raw["path"]).name),
        width=raw.get("width"),
        height=raw.get("height"),
        facts=_facts(record, raw, text),
        warnings=[clean(note) for note in notes],
        command=as_command(record),
        python=as_python(record),
    )


def _facts(record: CallRecord, raw: Mapping[str, Any], cost: str) -> list[tuple[str, str]]:
    shape = f"{raw['width']} x {raw['height']} pixels, " if raw.get("width") and raw.get("height") else ""
    shape += f"{raw['seconds']:.1f} s, " if raw.get("seconds") else ""
    found = [("file", f"{raw['path']} ({shape}{raw['bytes'] / 1000:,.0f} kB)"), ("job", record.run), ("cost", cost)]
    difference = (record.result or {}).get("outside_mask_difference")
    if difference is not None:
        found.append(("outside the mask", outside_mask(difference)))
    found += [("text", text) for text in (record.result or {}).get("texts", ())]
    if raw.get("continuation_id"):
        found.append(("continue with", raw["continuation_id"]))
    return [(name, clean(text)) for name, text in found]


def write_page(folder: Path, entries: Sequence[Entry]) -> Path:
    """Write page, data and script; return the page."""
    data = json.dumps([attrs.asdict(entry) for entry in entries], separators=(",", ":"))
    (folder / _DATA).write_text(f"const RESULTS = {data};\n", encoding="utf-8")
    (folder / _SCRIPT).write_text(text_of(_SCRIPT), encoding="utf-8")
    page = folder / PAGE
    costs = [entry.cost for entry in entries if entry.cost is not None]
    html = render_page(
        "gallery.html",
        scripts=True,
        generator=_GENERATOR,
        title="Gallery",
        count=len(entries),
        total=f"{in_dollars(sum(costs))} USD" if costs else "",
        span=[_day(entry.created_at) for entry in (entries[-1], entries[0])] if entries else [],
        models=sorted({entry.model for entry in entries}),
        charts=_charts(entries),
        script=_SCRIPT,
    )
    page.write_text(html, encoding="utf-8")
    return page.resolve()


def _day(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds).astimezone().date().isoformat()


def _charts(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Return the cost per day and the mean cost of a result per model, as bars."""
    days: dict[str, list[float]] = defaultdict(list)
    models: dict[str, list[float]] = defaultdict(list)
    for entry in entries:
        if entry.cost is not None:
            days[_day(entry.created_at)].append(entry.cost)
            models[entry.model].append(entry.cost)
    by_day = {day: sum(costs) for day, costs in sorted(days.items())[-_BARS:]}
    by_model = {model: sum(costs) / len(costs) for model, costs in models.items()}
    by_model = dict(sorted(by_model.items(), key=lambda item: -item[1])[:_BARS])
    charts = [("Cost per day", by_day, days), ("Cost per result, by model", by_model, models)]
    return [
        {
            "title": title,
            "bars": [
                {"label": label, "value": f"{in_dollars(value)} USD", "share": value / max(values.values()), "count": len(counted[label])}
                for label, value in values.items()
            ],
        }
        for title, values, counted in charts
        if any(values.values())
    ]


_VERBS = {
    "generate_image": "image",
    "inpaint": "edit",
    "edit_with_references": "edit",
    "generate_video": "video",
    "continue_video": "video",
    "generate_audio": "audio",
    "transform": "transform",
}
#: Fields of a request that hold one value, each set by the option of the same field of `GenerationConfig` or of another one.
_FIELDS = dict.fromkeys(
    (
        *("size", "aspect_ratio", "resolution", "quality", "background", "negative_prompt", "seed", "guidance_scale", "duration", "n"),
        *("protect", "continue_from", "continue_as", "audio_type", "voice", "speed", "instructions", "output_format"),
    )
) | {"last_frame": "last_frame_path"}
#: Defaults that need no option.
_DEFAULTS = {"n": 1, "audio_type": "speech", "edit_mode": "inpaint"}


def as_command(record: CallRecord) -> str:
    """Return the shell command that makes the same request."""
    request = {key: value for key, value in record.request.items() if value != _DEFAULTS.get(key)}
    outpaint = request.get("edit_mode") == "outpaint"
    words = ["anymedia", _VERBS[record.request["kind"]]]
    for name, value in request.items():
        if name in {"size", "aspect_ratio"} and outpaint:
            words += ["--outpaint", str(value)]
        elif name in _FIELDS:
            words += [option_of(_FIELDS[name] or name), _text(value)]
    words += [word for pair in _references(request) for word in pair]
    if (mask := request.get("mask")) is not None:
        words += ["--mask", _mask(mask)]
    if record.operation == "continue_video" and "source" in request:
        words += ["--continue", _text(request["source"])]
    if request.get("task") and request.get("prompt"):
        words += ["--prompt", str(request["prompt"])]
    for key, value in {**request.get("extra_params", {}), **request.get("options", {})}.items():
        words += ["--extra", f"{key}={json.dumps(value)}"]
    words += ["-m", f"{record.backend}/{record.model}"]
    files = [*_sources(record.operation, request), str(request["prompt"])]
    if request.get("task"):
        files = [request["task"], *_task_files(request.get("inputs", {}))]
    if any(word.startswith("-") for word in files):
        words.append("--")
    return shlex.join(words + files)


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _sources(operation: str, request: Mapping[str, Any]) -> list[str]:
    """Return the images that are arguments: the source of an edit, the first frame of a video."""
    if operation == "continue_video":
        return []
    found = [str(request[name]) for name in ("source", "first_frame") if name in request]
    return found + [str(r["image"]) for r in request.get("references", ()) if operation == "edit_with_references" and _role(r) == "source"]


def _task_files(inputs: Mapping[str, Any]) -> list[str]:
    files = [(role, one) for role, given in inputs.items() for one in (given if isinstance(given, list) else [given])]
    return [f"{role}={one['image'] if isinstance(one, Mapping) else one}" for role, one in files]


def _role(reference: Mapping[str, Any]) -> str:
    return str(reference.get("role", "source"))


def _references(request: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    video = str(request["kind"]).endswith("_video")
    for reference in request.get("references", ()):
        role, kind = _role(reference), reference.get("type")
        if role == "source" and not video:
            continue
        image = str(reference["image"])
        yield ("--reference", f"{role}:{image}") if video else (f"--{role}", f"{kind}:{image}" if kind else image)
        if (description := reference.get("description")) and not video:
            yield f"--{role}-description", description


def _mask(mask: Mapping[str, Any]) -> str:
    if "image" in mask:
        return str(mask["image"])
    classes = mask.get("classes", ())
    return f"semantic:{','.join(map(str, classes))}" if classes else str(mask["mode"])


def as_python(record: CallRecord) -> str:
    """Return the Python code that makes the same request."""
    names = ["SyncRouter"]

    def code(name: str, value: Any) -> str:
        if name == "mask":
            names.append("Mask")
            return f"Mask({_keywords(value)})"
        if name == "references":
            names.append("Reference")
            return f"[{', '.join(f'Reference({_keywords(item)})' for item in value)}]"
        return repr(value)

    given = {key: value for key, value in record.request.items() if key != "kind" and value != _DEFAULTS.get(key)}
    lines = [f"        {name}={code(name, value)},\n" for name, value in given.items()]
    lines.append(f'        model="{record.backend}/{record.model}",\n')
    body = f"with SyncRouter() as router:\n    result = router.{record.request['kind']}(\n{''.join(lines)}    )\n    print(result.path)\n"
    return f"from anymedia import {', '.join(sorted(set(names)))}\n\n{body}"


def _keywords(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in values.items() if value != "user_provided")

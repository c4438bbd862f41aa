"""The gallery with 2,000 results beside one with 20, in a headless Chromium.

python -m benchmarks --only gallery
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from .figures import ROOT, Figure

sys.path.insert(0, str(ROOT))

_FEW, _MANY = 20, 2000
#: Measurement -> (JavaScript that returns milliseconds, limit as a ratio).
_SCRIPTS = {
    "first paint": ("performance.getEntriesByName('first-contentful-paint')[0].startTime", 1.5),
    "filter": (
        """new Promise((done) => {
            const start = performance.now();
            document.querySelector("[name=words]").value = "harbour";
            document.forms[0].dispatchEvent(new Event("input"));
            requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - start)));
        })""",
        3.0,
    ),
    "scroll to the end": (
        """new Promise((done) => {
            const start = performance.now();
            scrollTo(0, document.body.scrollHeight);
            const wait = () => {
                const last = document.querySelector(".card:last-child");
                const image = last.querySelector("img");
                const ended = last.getAttribute("aria-posinset") === last.getAttribute("aria-setsize");
                const seen = ended && image.complete && image.naturalWidth;
                requestAnimationFrame(seen ? () => done(performance.now() - start) : wait);
            };
            requestAnimationFrame(wait);
        })""",
        10.0,
    ),
}


def figures(quick: bool) -> Iterator[Figure]:
    """Measure."""
    from tests.browser import CHROMIUM

    if CHROMIUM is None:
        print("gallery: no Chromium is installed", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as folder:
        seen = asyncio.run(_measure(Path(folder), 3 if quick else 9))
    for name, (_, limit) in _SCRIPTS.items():
        few, many = ([one[name] for one in seen[count]] for count in (_FEW, _MANY))
        ratio = median(b / a for a, b in zip(few, many, strict=True))
        note = f"{median(few):.0f} ms with {_FEW} results, {median(many):.0f} ms with {_MANY}"
        yield Figure(name=f"gallery: {name}, {_MANY} results", value=ratio, unit="x", bar=limit, note=note)


def _page(folder: Path, count: int) -> Path:
    """Write a gallery of made-up results, each with a thumbnail of its own."""
    from PIL import Image

    from anymedia.cli.gallery import Entry, write_page

    (folder / "thumbs").mkdir(parents=True)
    entries = []
    for number in range(count):
        thumb = f"thumbs/{number}.webp"
        Image.effect_noise((480, 360), 40).convert("RGB").resize((480, 360)).save(folder / thumb, "WEBP", quality=60)
        words = "a harbour in the morning" if number % 5 == 0 else "a mountain lake in autumn, mist over the water"
        entries.append(
            Entry(
                id=f"job_{number}-1",
                job=f"job_{number}",
                kind="image",
                prompt=f"{words}, number {number}",
                model=f"local/model-{number % 7}",
                operation="generate image",
                created_at=1.79e9 - 3600 * number,
                time="2026-11-29 12:00",
                cost=0.04,
                cost_text="0.04 USD",
                file=f"{number}.png",
                src=thumb,
                thumb=thumb,
                width=480,
                height=360,
                facts=[("file", f"{number}.png"), ("job", f"job_{number}")],
                command=f"anymedia image '{words}'",
                python="from anymedia import SyncRouter\n",
            )
        )
    return write_page(folder, entries)


async def _measure(folder: Path, rounds: int) -> dict[int, list[dict[str, float]]]:
    from tests.browser import browser

    pages = {count: _page(folder / str(count), count) for count in (_FEW, _MANY)}
    found: dict[int, list[dict[str, float]]] = {count: [] for count in pages}
    async with browser(folder / "profile") as page:
        await page.resize(1280, 900)
        for number in range(rounds + 1):
            for count, path in pages.items():
                times: dict[str, float] = {}
                for name, (script, _) in _SCRIPTS.items():
                    await page.goto("about:blank")
                    await page.goto(path.as_uri())
                    await page.run("new Promise((done) => setTimeout(done, 600))")  # the data has been loaded
                    times[name] = await page.run(script)
                if number:  # the first round warms caches
                    found[count].append(times)
    return found

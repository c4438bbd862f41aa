"""Time and memory of the operations of the local backend, run through the router in a separate process.

python -m benchmarks --only local
"""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any

from .figures import ROOT, Figure, peak_memory


def figures(quick: bool) -> Iterator[Figure]:
    """Measure."""
    rounds = 1 if quick else 3
    seen: list[dict[str, list[float]]] = []
    for _ in range(rounds):
        done = subprocess.run([sys.executable, "-m", "benchmarks.local"], capture_output=True, text=True, check=False, cwd=ROOT)
        if done.returncode:
            raise SystemExit(done.stderr[-2000:])
        seen.append(json.loads(done.stdout))
    for name in seen[0]:
        if name != "peak":
            wall, cpu = (min(s[name][i] for s in seen) for i in (0, 1))
            yield Figure(name=f"local: {name}", value=wall, unit="s", note=f"{cpu:.2f} s of CPU; minimum of {rounds}; no limit")
    peak = max(s["peak"][0] for s in seen)
    yield Figure(name="local: peak memory of all operations", value=peak, unit="MiB", note="resident, whole process; no limit")


async def operations(folder: Path) -> dict[str, list[float]]:
    """Run each operation once; return wall and CPU seconds by name."""
    from anymedia import Mask, Reference, Router, Settings, SqliteStore

    found: dict[str, list[float]] = {}

    async def timed(name: str, work: Awaitable[Any]) -> Any:
        wall, cpu = time.perf_counter(), _cpu()
        result = await work
        found[name] = [time.perf_counter() - wall, _cpu() - cpu]
        return result

    async with Router(store=SqliteStore(":memory:"), settings=Settings(state_dir=folder / "state")) as router:
        own: dict[str, Any] = {"backend": "local", "output": f"{folder}/"}
        await router.generate_image(prompt="a lake", size="64x64", **own)  # warms the imports
        image = await timed("an image of 1024x1024", router.generate_image(prompt="mountains over a lake at dusk", size="1024x1024", **own))
        source = image.files[0].path
        mask = Mask(image=_mask(folder / "mask.png", 1024))
        await timed("inpainting it with a mask", router.inpaint(prompt="remove it", source=source, mask=mask, **own))
        references = [Reference(image=source, role="source"), Reference(image=source, role="style")]
        await timed("a style edit", router.edit_with_references(prompt="in this style", references=references, **own))
        video = await timed("4 s of video, 1280x720", router.generate_video(prompt="waves at dusk", duration=4, size="1280x720", **own))
        await timed("extending it by 2 s", router.continue_video(prompt="on", continue_from=video.continuation_id, duration=2, **own))
        await timed("10 s of music", router.generate_audio(prompt="calm", audio_type="music", duration=10, **own))
        try:
            await timed("speaking a sentence", router.generate_audio(prompt="The quick brown fox jumps over the lazy dog.", **own))
        except Exception as error:  # noqa: BLE001 - speech is an optional extra
            print(f"no speech: {error}", file=sys.stderr)
    found["peak"] = [peak_memory()]
    return found


def _cpu() -> float:
    """Return the CPU seconds of this process and its child processes, which render videos."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def _mask(path: Path, edge: int) -> str:
    from PIL import Image, ImageDraw

    picture = Image.new("L", (edge, edge))
    ImageDraw.Draw(picture).ellipse((edge // 3, edge // 3, edge // 2, edge // 2), fill=255)
    picture.save(path)
    return str(path)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="anymedia-bench-") as made:
        print(json.dumps(asyncio.run(operations(Path(made)))))

"""What the local backend's operations take, one after the other in a process of its own, through the router.

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
            yield Figure(name=f"local: {name}", value=wall, unit="s", note=f"{cpu:.2f} s of CPU; least of {rounds}; no bar")
    peak = max(s["peak"][0] for s in seen)
    yield Figure(name="local: peak memory of all of these", value=peak, unit="MiB", note="resident, the whole process; no bar")


async def operations(folder: Path) -> dict[str, list[float]]:
    """Make each thing once; return wall and CPU seconds by name."""
    from anymedia import Mask, Reference, Router, Settings, SqliteStore

    found: dict[str, list[float]] = {}

    async def timed(name: str, work: Awaitable[Any]) -> Any:
        wall, cpu = time.perf_counter(), _cpu()
        result = await work
        found[name] = [time.perf_counter() - wall, _cpu() - cpu]
        return result

    async with Router(store=SqliteStore(":memory:"), settings=Settings(state_dir=folder / "state")) as router:
        own: dict[str, Any] = {"backend": "local", "output": f"{folder}/"}
        await router.generate_image(prompt="a lake", size="64x64", **own)  # imports are done
        picture = await timed(
            "an image of 1024x1024", router.generate_image(prompt="mountains over a lake at dusk", size="1024x1024", **own)
        )
        source = picture.files[0].path
        mask = Mask(image=_mask(folder / "mask.png", 1024))
        await timed("inpainting it by a mask", router.inpaint(prompt="remove it", source=source, mask=mask, **own))
        references = [Reference(image=source, role="source"), Reference(image=source, role="style")]
        await timed("taking on a style", router.edit_with_references(prompt="in this style", references=references, **own))
        video = await timed("4 s of video, 1280x720", router.generate_video(prompt="waves at dusk", duration=4, size="1280x720", **own))
        await timed("continuing it by 2 s", router.continue_video(prompt="on", continue_from=video.continuation_id, duration=2, **own))
        await timed("10 s of music", router.generate_audio(prompt="calm", audio_type="music", duration=10, **own))
        try:
            await timed("speaking a sentence", router.generate_audio(prompt="The quick brown fox jumps over the lazy dog.", **own))
        except Exception as error:  # noqa: BLE001 - the voice is an extra
            print(f"no speech: {error}", file=sys.stderr)
    found["peak"] = [peak_memory()]
    return found


def _cpu() -> float:
    """CPU seconds of this process and of those it waited for: videos are rendered in one of their own."""
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

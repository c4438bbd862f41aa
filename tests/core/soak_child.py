"""One process of a soak: an MCP server over HTTP, or a worker that makes media until it is killed.

python soak_child.py STATE OUT SERVICE FILES server|worker|control

The server prints its address, then a line of JSON each second: resident memory in MiB, descriptors, threads, and by how many milliseconds
each turn of its event loop was late. The control does nothing but measure the same.
"""

import asyncio
import contextlib
import json
import os
import sys
import threading
import time
import uuid
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from core.routing import KEY, fake_registry

from anymedia import GenerateImage, GenerateVideo, Router
from anymedia.agents.mcp_server import MediaServer, serve_http
from anymedia.errors import MediaError
from anymedia.plugins.instances import make_instances
from anymedia.resources import open_descriptors
from anymedia.settings import InstanceSettings, Settings

CLIENTS = 5


async def measure() -> None:
    while True:
        gaps: list[int] = []
        end = time.monotonic() + 1
        while (before := time.monotonic()) < end:
            await asyncio.sleep(0.005)
            gaps.append(round((time.monotonic() - before - 0.005) * 1000))
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        now = {"rss": pages * os.sysconf("SC_PAGE_SIZE") >> 20, "fds": open_descriptors()}
        print(json.dumps(now | {"threads": threading.active_count(), "gaps": gaps}), flush=True)


async def work(router: Router, out: str, number: int) -> None:
    while True:
        name = uuid.uuid4().hex
        request = GenerateVideo(prompt=name) if number == 0 else GenerateImage(prompt=name)
        with contextlib.suppress(MediaError):
            await router.execute(request, output=f"{out}/{name}{'.mp4' if number == 0 else '.png'}")


async def main(state: str, out: str, service: str, files: str, role: str) -> None:
    if role == "control":
        await measure()
    os.environ["FAKE_KEY"] = KEY
    own = InstanceSettings(name="fake", plugin="fake", base_url=service, options={"timeout": 30})
    settings = Settings(instances={"fake": own}, fetch_allow=(files.removeprefix("http://"),), state_dir=Path(state))
    registry = fake_registry()
    if role == "worker":
        async with Router(settings=settings, registry=registry) as router:
            await asyncio.gather(*(work(router, out, number) for number in range(CLIENTS)))
    server = MediaServer(
        Path(out),
        make_router=lambda tell: Router(settings=settings, registry=registry, on_progress=tell),
        instances=make_instances(registry, settings),
    )
    measuring = asyncio.create_task(measure())
    await serve_http(server, port=0, ready=lambda url: print(url, flush=True))
    measuring.cancel()


asyncio.run(main(*sys.argv[1:]))

"""Many calls at once with few descriptors: makes images and videos and prints how each ended, as JSON.

python crowd_child.py STATE OUT SERVICE FILES IMAGES VIDEOS DESCRIPTORS [DISK]

DISK: bytes that the state and output directories may use together; the system then reports that much space.
"""

import asyncio
import json
import os
import resource
import shutil
import sys
import types
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from core.routing import KEY, fake_registry

from anymedia import GenerateImage, GenerateVideo, Router
from anymedia.errors import MediaError
from anymedia.settings import InstanceSettings, Settings


def _used(folder: str) -> int:
    return sum(path.stat().st_blocks * 512 for path in Path(folder).rglob("*") if path.exists())


async def main(state: str, out: str, service: str, files: str, images: str, videos: str, descriptors: str, disk: str = "") -> None:
    os.environ["FAKE_KEY"] = KEY
    if disk:
        usage = shutil.disk_usage

        def limited(path: str) -> object:
            free = max(0, int(disk) - _used(state) - _used(out))
            return types.SimpleNamespace(free=min(free, usage(path).free))

        shutil.disk_usage = limited  # type: ignore[assignment]
    own = InstanceSettings(name="fake", plugin="fake", base_url=service, options={"timeout": 60})
    settings = Settings(instances={"fake": own}, fetch_allow=(files.removeprefix("http://"),), state_dir=Path(state))
    ended: Counter[str] = Counter()
    async with Router(settings=settings, registry=fake_registry()) as router:
        resource.setrlimit(resource.RLIMIT_NOFILE, (int(descriptors), resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        router._engine.polls.rate = 1e6

        async def one(request: GenerateImage | GenerateVideo) -> None:
            try:
                result = await router.execute(request, output=f"{out}/")
                ended["delivered" if result.path.exists() else "missing"] += 1
            except MediaError as error:
                ended[f"{error.code} charged {error.charged}"] += 1

        requests = [GenerateImage(prompt=f"image {i}") for i in range(int(images))]
        await asyncio.gather(*map(one, requests), *(one(GenerateVideo(prompt=f"video {i}")) for i in range(int(videos))))
    print(json.dumps(ended))


asyncio.run(main(*sys.argv[1:]))

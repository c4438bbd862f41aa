"""A worker process for tests that kill it: ``python worker_child.py FOLDER STORE STORAGE SERVICE FILES [can_list]``."""

import asyncio
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from clocks import FastClock
from core.routing import KEY, fake_registry

from anymedia import Router
from anymedia import worker as worker_module
from anymedia.settings import InstanceSettings, Settings


async def main(folder: str, store: str, storage: str, service: str, files: str, *more: str) -> None:
    os.environ["FAKE_KEY"] = KEY
    worker_module._FIRST_PAUSE = 0.1  # type: ignore[misc]
    own = InstanceSettings(name="fake", plugin="fake", base_url=service, options={"can_list": "can_list" in more, "timeout": 20})
    settings = Settings(instances={"fake": own}, fetch_allow=(files.removeprefix("http://"),), state_dir=Path(folder))
    async with Router(settings=settings, registry=fake_registry(), store=store, artifacts=storage, clock=FastClock()) as router:
        await worker_module.Worker(router, at_once=4).run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

"""A worker process: ``python worker_child.py FOLDER STORE STORAGE SERVICE FILES [can_list] [most=N] [at_once=N] [skew=SECONDS] [real]``.

``most``: calls of the account at the same time. ``skew``: by how much this machine's clock is wrong. ``real``: nothing is quicker than
in earnest.
"""

import asyncio
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from clocks import FastClock
from core.routing import KEY, fake_registry

from anymedia import Router
from anymedia import worker as worker_module
from anymedia.clock import SystemClock
from anymedia.settings import InstanceSettings, Settings

OPTIONS = dict(word.partition("=")[::2] for word in sys.argv[6:])


async def main(folder: str, store: str, storage: str, service: str, files: str) -> None:
    os.environ["FAKE_KEY"] = KEY
    clock = SystemClock() if "real" in OPTIONS else FastClock()
    if "real" not in OPTIONS:
        worker_module._FIRST_PAUSE = 0.1  # type: ignore[misc]
    most = int(OPTIONS["most"]) if "most" in OPTIONS else None
    options = {"can_list": "can_list" in OPTIONS, "timeout": 20}
    own = InstanceSettings(name="fake", plugin="fake", base_url=service, options=options, max_concurrent=most)
    settings = Settings(instances={"fake": own}, fetch_allow=(files.removeprefix("http://"),), state_dir=Path(folder))
    async with Router(settings=settings, registry=fake_registry(), store=store, artifacts=storage, clock=clock) as router:
        await worker_module.Worker(router, at_once=int(OPTIONS.get("at_once", 4))).run()


if __name__ == "__main__":
    right = time.time
    time.time = lambda: right() + float(OPTIONS.get("skew", 0))
    asyncio.run(main(*sys.argv[1:6]))

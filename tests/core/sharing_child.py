"""One of several processes that share a journal: resumes every job in it, or makes ten images under a day's budget.

python sharing_child.py STORE OUT SERVICE FILES resume|spend|limited|paced

``limited``: three calls at the same time; ``paced``: four in two seconds.
"""

import asyncio
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import attrs
from core.routing import KEY, fake_registry

from anymedia import Budget, GenerateImage, Policy, Router
from anymedia.errors import BudgetExceeded
from anymedia.settings import InstanceSettings, Settings
from anymedia.state import queues
from anymedia.state.sqlite import store_at


async def main(store: str, out: str, service: str, files: str, what: str) -> None:
    os.environ["FAKE_KEY"] = KEY
    own = InstanceSettings(name="fake", plugin="fake", base_url=service, options={"timeout": 30, "cost": 0.1})
    if what == "limited":
        own = attrs.evolve(own, max_concurrent=3)
    if what == "paced":
        own = attrs.evolve(own, requests_per_minute=4)
        queues._RATE_SECONDS = 2.0  # type: ignore[misc]
    settings = Settings(instances={"fake": own}, fetch_allow=(files.removeprefix("http://"),))
    policy = Policy(budget=Budget(per_day=1.0 + 1e-9))
    async with Router(store=store_at(store), settings=settings, registry=fake_registry(), policy=policy) as router:
        router._engine.polls.rate = 1e6
        if what == "resume":
            results = await asyncio.gather(*(router.resume(row.id) for row in await router.jobs()))
            print(len({result.path for result in results}))
            return
        request = GenerateImage(prompt="a fox")
        ended = await asyncio.gather(*(router.execute(request, output=f"{out}/") for _ in range(10)), return_exceptions=True)
        assert all(isinstance(e, BudgetExceeded) for e in ended if isinstance(e, BaseException)), ended
        print(sum(not isinstance(e, BaseException) for e in ended))


asyncio.run(main(*sys.argv[1:]))

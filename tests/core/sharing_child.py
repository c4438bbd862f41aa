"""One of several processes that share a journal: resumes every job in it, or makes ten images under a day's budget.

python sharing_child.py STATE OUT SERVICE FILES resume|spend|limited
"""

import asyncio
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import attrs
from core.routing import KEY, fake_registry

from anymedia import Budget, GenerateImage, Policy, Router, SqliteStore
from anymedia.errors import BudgetExceeded
from anymedia.settings import InstanceSettings, Settings


async def main(state: str, out: str, service: str, files: str, what: str) -> None:
    os.environ["FAKE_KEY"] = KEY
    own = InstanceSettings(name="fake", plugin="fake", base_url=service, options={"timeout": 30, "cost": 0.1})
    if what == "limited":
        own = attrs.evolve(own, max_concurrent=3)
    settings = Settings(instances={"fake": own}, fetch_allow=(files.removeprefix("http://"),))
    policy = Policy(budget=Budget(per_day=1.0 + 1e-9))
    async with Router(store=SqliteStore(Path(state)), settings=settings, registry=fake_registry(), policy=policy) as router:
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

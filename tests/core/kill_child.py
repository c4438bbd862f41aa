"""The process that is killed: resumes what an earlier one left, then makes the jobs that have no row yet.

    python kill_child.py STATE OUT SERVICE FILES JOBS KIND [can_list] [full=BYTES] [STATE:WHEN]

The last word names a journal transition at which the process kills itself: ``before`` or ``after`` it is durable; ``stored:after`` is when
the write of an artifact has returned, which is noted in ``stored.log``. ``full``: no file may grow beyond that size, as on a full disk.
"""

import asyncio
import functools
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from clocks import FastClock
from core.routing import KEY, fake_registry

from anymedia import GenerateImage, GenerateVideo, Router, SqliteStore
from anymedia.artifacts import ArtifactStore, ArtifactWriter
from anymedia.errors import MediaError
from anymedia.settings import InstanceSettings, Settings
from anymedia.state.store import CallRecord, Lease

KINDS = {"image": GenerateImage, "video": GenerateVideo}


class DyingStore(SqliteStore):
    """Kills its own process at one transition."""

    death: tuple[str, str] | None = None

    async def advance(self, lease: Lease, state: Any, **changes: Any) -> CallRecord:
        if self.death == (state, "before"):
            os.kill(os.getpid(), signal.SIGKILL)
        record = await super().advance(lease, state, **changes)
        if self.death == (state, "after"):
            os.kill(os.getpid(), signal.SIGKILL)
        return record


def note_stored(log: Path, death: tuple[str, str] | None) -> None:
    """Note each call whose artifact is durable, before anything else happens."""
    for owner, name in ((ArtifactStore, "put"), (ArtifactWriter, "commit")):
        original = getattr(owner, name)

        @functools.wraps(original)
        async def noted(*arguments: Any, original: Any = original, **more: Any) -> Any:
            artifact = await original(*arguments, **more)
            with log.open("a") as file:
                file.write(f"{artifact.call_id}\n")
            if death == ("stored", "after"):
                os.kill(os.getpid(), signal.SIGKILL)
            return artifact

        setattr(owner, name, noted)


async def main(state: str, out: str, service: str, files: str, jobs: str, kind: str, *more: str) -> None:
    os.environ["FAKE_KEY"] = KEY
    store = DyingStore(Path(state))
    for word in more:
        if ":" in word:
            store.death = tuple(word.split(":"))  # type: ignore[assignment]
        if word.startswith("full="):
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(word.removeprefix("full=")), resource.RLIM_INFINITY))
    note_stored(Path(state).with_name("stored.log"), store.death)
    own = InstanceSettings(name="fake", plugin="fake", base_url=service, options={"can_list": "can_list" in more, "timeout": 20})
    settings = Settings(instances={"fake": own}, fetch_allow=(files.removeprefix("http://"),), state_dir=Path(state).parent)
    async with Router(store=store, settings=settings, registry=fake_registry(), clock=FastClock()) as router:
        rows = list(await router.jobs())
        for row in rows:
            if row.state not in {"done", "failed", "refused", "cancelled"}:
                try:
                    await router.resume(row.id)
                except MediaError as error:
                    print(row.id, error.code, file=sys.stderr)
        begun = {row.request["prompt"] for row in rows}
        for number in range(int(jobs)):
            if f"job {number}" not in begun:
                request = KINDS[kind](prompt=f"job {number}")
                try:
                    await router.execute(request, output=Path(out) / f"{number}.{'png' if kind == 'image' else 'mp4'}")
                except MediaError as error:
                    print(number, error.code, file=sys.stderr)


asyncio.run(main(*sys.argv[1:]))

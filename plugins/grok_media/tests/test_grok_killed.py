"""A process that is killed while its video is being made loses nothing: another one takes the video up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from wire.grok_server import GrokServer

from anymedia.errors import SubmissionUnknown
from anymedia.router import Router

pytestmark = pytest.mark.anyio
NewRouter = Callable[..., Router]

#: Far longer than a killed process still holds its call, in seconds.
LATER = 3600.0

_WORKER = """
import asyncio, sys
from pathlib import Path
from anymedia.requests import GenerateVideo
from anymedia.router import Router
from anymedia.settings import InstanceSettings, Settings

grpc_host, base_url, folder = sys.argv[1:]
own = InstanceSettings(name="grok", plugin="grok", base_url=base_url, options={"grpc_host": grpc_host})
settings = Settings(instances={"grok": own}, fetch_allow=("127.0.0.1",), state_dir=Path(folder) / "state")

async def main():
    async with Router(settings=settings, on_progress=lambda progress: print(progress.state, flush=True)) as router:
        await router.execute(GenerateVideo(prompt="waves", duration=1), backend="grok", output=f"{folder}/waves.mp4")

asyncio.run(main())
"""


def killed_when(state: str, fake: GrokServer, folder: Path) -> None:
    """Run a process that makes a video, and kill it without a warning once its call is in a state."""
    arguments = [sys.executable, "-c", _WORKER, fake.host, fake.base_url, str(folder)]
    with subprocess.Popen(arguments, env={**os.environ, "XAI_API_KEY": fake.key}, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        try:
            assert any(line.strip() == state.encode() for line in worker.stdout), "it ended before"
            while state == "submitting" and not fake.count("GenerateVideo"):
                assert worker.poll() is None, "it ended before"
                time.sleep(0.01)
        finally:
            worker.send_signal(signal.SIGKILL)


async def test_video_is_collected_by_another_process_after_a_kill(
    new_router: NewRouter, fake: GrokServer, clock: Any, tmp_path: Path
) -> None:
    fake.videos.looks_needed = 1_000_000
    killed_when("submitted", fake, tmp_path)
    fake.videos.looks_needed = 0
    clock.ahead = LATER
    async with new_router() as router:
        (row,) = await router.jobs()
        request_id, job = next(iter(fake.videos.jobs.items()))
        assert row.job is not None
        assert row.job["id"] == request_id
        result = await router.resume(row.id, deadline=30.0)
    assert result.path == tmp_path / "waves.mp4"
    assert result.path.read_bytes() == job.data
    assert fake.count("GenerateVideo") == 1


@pytest.mark.exhaustive
async def test_kill_in_the_middle_of_the_submit_is_an_unknown_outcome_and_never_sent_again(
    new_router: NewRouter, fake: GrokServer, clock: Any, tmp_path: Path
) -> None:
    fake.fail("delay", on="GenerateVideo", seconds=3.0)
    killed_when("submitting", fake, tmp_path)
    clock.ahead = LATER
    async with new_router() as router:
        (row,) = await router.jobs()
        with pytest.raises(SubmissionUnknown) as caught:
            await router.resume(row.id, deadline=30.0)
    assert caught.value.charged == "unknown"
    assert fake.count("GenerateVideo") == 1


async def test_clip_is_continued_in_another_process(new_router: NewRouter, fake: GrokServer, tmp_path: Path) -> None:
    async with new_router() as first:
        made = await first.generate_video(prompt="waves", duration=2, backend="grok", output=tmp_path / "a.mp4")
    async with new_router() as second:
        result = await second.continue_video(prompt="a gull", duration=2, continue_from=made.continuation_id, output=tmp_path / "b.mp4")
    assert fake.last("ExtendVideo").video.url.startswith(f"{fake.depot.base}/out/")
    assert result.continued_as == "extend"

"""A process that is killed while its video is being made loses nothing: another one takes the video up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from wire.google_server import KEY, LOCATION, PROJECT, GoogleServer

from anymedia.errors import SubmissionUnknown
from anymedia.router import Router

pytestmark = pytest.mark.anyio
NewRouter = Callable[..., Router]
OMNI, VEO = ("google", "gemini-omni-1.2-flash"), ("cloud", "veo-3.1-generate-001")

_WORKER = f"""
import asyncio, sys
from pathlib import Path
from anymedia.requests import GenerateVideo
from anymedia.router import Router
from anymedia.settings import InstanceSettings, Settings

backend, model, base_url, folder = sys.argv[1:]
key = {{"api_key": "GOOGLE_API_KEY"}}
service, options = ("gemini", {{}}) if backend == "google" else ("agent_platform", {{"project": "{PROJECT}", "location": "{LOCATION}"}})
own = InstanceSettings(name=backend, plugin="google", service=service, base_url=base_url, options=options, credentials=key)
settings = Settings(instances={{backend: own}}, fetch_allow=("127.0.0.1",), state_dir=Path(folder) / "state")

async def main():
    async with Router(settings=settings, on_progress=lambda progress: print(progress.state, flush=True)) as router:
        request = GenerateVideo(prompt="waves", duration=4)
        await router.execute(request, backend=backend, model=model, output=f"{{folder}}/waves.mp4")

asyncio.run(main())
"""


def killed_when(state: str, fake: GoogleServer, folder: Path, backend: str, model: str) -> None:
    """Run a process that makes a video, and kill it without a warning once its call is in a state."""
    arguments = [sys.executable, "-c", _WORKER, backend, model, fake.url, str(folder)]
    with subprocess.Popen(arguments, env={**os.environ, "GOOGLE_API_KEY": KEY}, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        try:
            assert any(line.strip() == state.encode() for line in worker.stdout), "it ended before"
            while state == "submitting" and not fake.submits():
                assert worker.poll() is None, "it ended before"
                time.sleep(0.01)
        finally:
            worker.send_signal(signal.SIGKILL)


@pytest.mark.parametrize(
    ("backend", "model"), [pytest.param(*OMNI, marks=pytest.mark.exhaustive), pytest.param(*VEO, marks=pytest.mark.exhaustive)]
)
async def test_video_is_collected_by_another_process_after_a_kill(
    new_router: NewRouter, fake: GoogleServer, tmp_path: Path, backend: str, model: str
) -> None:
    fake.interactions.looks = fake.predictions.looks = 1_000_000
    killed_when("submitted", fake, tmp_path, backend, model)
    fake.interactions.looks = fake.predictions.looks = 0
    async with new_router(ahead=3600.0) as router:  # far longer than a killed process still holds its call
        (row,) = await router.jobs()
        result = await router.resume(row.id, deadline=60.0)
    assert result.path == tmp_path / "waves.mp4"
    made = fake.interactions.made[-1].media if backend == "google" else fake.predictions.calls[-1].videos[0]
    assert result.path.read_bytes() == made
    assert str(result.continuation_id).startswith("omni_vid_" if backend == "google" else "veo_vid_")
    assert fake.submits() == 1


@pytest.mark.exhaustive
async def test_kill_in_the_middle_of_the_submit_is_an_unknown_outcome_and_never_sent_again(
    new_router: NewRouter, fake: GoogleServer, tmp_path: Path
) -> None:
    fake.fail("hang", on="POST", times=1)
    killed_when("submitting", fake, tmp_path, *OMNI)
    async with new_router(ahead=3600.0) as router:
        (row,) = await router.jobs()
        with pytest.raises(SubmissionUnknown) as caught:
            await router.resume(row.id, deadline=60.0)
    assert caught.value.charged == "unknown"
    assert fake.submits() == 1

"""The progress line."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys

import pytest

from anymedia.cli.console import line_of
from anymedia.router import Progress

pty = pytest.importorskip("pty", reason="terminals")


def _on_a_terminal(words, environment, work, *, both=False):
    """Run a command with stderr (or both streams) on a terminal; return the terminal output and stdout."""
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "anymedia", *words],
        env=environment,
        cwd=work,
        stdout=theirs if both else subprocess.PIPE,
        stderr=theirs,
        stdin=subprocess.DEVNULL,
    )
    os.close(theirs)
    drawn = b""
    with contextlib.suppress(OSError):
        while block := os.read(ours, 4096):
            drawn += block
    os.close(ours)
    out = child.communicate(timeout=60)[0]
    return drawn.decode(), out


@pytest.mark.exhaustive  # the line itself: test_progress_line_omits_unknown_values; on a terminal: the test after next
def test_terminal_shows_time_model_state_and_progress(environment, work):
    drawn, out = _on_a_terminal(["video", "slow waves", "-b", "demo", "--deadline", "1"], environment, work)
    assert "demo/film" in drawn
    assert "running" in drawn
    assert "40%" in drawn
    assert "rendering" in drawn
    assert "\r" in drawn
    assert "\x1b" not in drawn
    assert out == b""
    last = drawn.split("\r")[-1]
    assert "resume" in drawn
    assert "rendering" not in last


def _as_seen(drawn):
    """Return the final non-empty lines on the screen."""
    screen = []
    for line in drawn.replace("\r\n", "\n").split("\n"):
        seen = ""
        for part in line.split("\r"):
            seen = part + seen[len(part) :]
        screen.append(seen.rstrip())
    return [line for line in screen if line]


def test_output_on_a_terminal_starts_on_its_own_line(environment, work):
    drawn, _ = _on_a_terminal(["video", "waves", "-b", "demo", "-o", "waves.mp4"], environment, work, both=True)
    assert "demo/film" in drawn
    seen = _as_seen(drawn)
    assert seen[0] == str(work / "waves.mp4")
    assert seen[1].startswith("generate_video by demo/film")
    assert not [line for line in seen if "submitting" in line or "collecting" in line]


@pytest.mark.exhaustive
@pytest.mark.parametrize("more", [{"TERM": "dumb"}, {}])
def test_quiet_or_dumb_terminal_shows_no_progress_line(environment, work, more):
    quiet = [] if more else ["-q"]
    drawn, _ = _on_a_terminal(["image", "a boat", "-b", "demo", "-o", "boat.png", *quiet], {**environment, **more}, work)
    assert "submitting" not in drawn
    assert (drawn == "") is bool(quiet)


@pytest.mark.usefixtures("late")
def test_stderr_that_is_not_a_terminal_shows_no_progress_line(call):
    result = call("video", "slow waves", "-b", "demo", "--deadline", "100")
    assert "\r" not in result.err
    assert not re.search(r"\d s  demo/", result.err)


def test_progress_line_omits_unknown_values():
    report = Progress(job_id="j", backend="b", model="m", state="running")
    assert line_of(report, 3.2) == "   3 s  b/m  running"
    assert line_of(None, 75.0) == "  75 s"


def test_progress_line_cleans_the_note_of_a_provider():
    report = Progress(job_id="j", backend="b", model="m", state="running", fraction=0.5, note="queue\n\x1b[2J 3")
    assert line_of(report, 1) == "   1 s  b/m  running  50%  queue \N{REPLACEMENT CHARACTER}[2J 3"

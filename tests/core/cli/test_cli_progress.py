"""The line that moves: on a terminal, and only there."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys

import pytest

from anymedia.cli.progress import line_of
from anymedia.router import Progress

pty = pytest.importorskip("pty", reason="terminals")


def _on_a_terminal(words, environment, work, *, both=False):
    """Run a command whose stderr (or both) is a terminal; return what it drew there, and its stdout."""
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


@pytest.mark.exhaustive  # the line itself: test_the_line_leaves_out_what_is_not_known; on a terminal: the test after next
def test_a_terminal_sees_time_model_state_and_progress(environment, work):
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
    """Return the lines as they stand on the screen in the end, without those that are empty."""
    screen = []
    for line in drawn.replace("\r\n", "\n").split("\n"):
        seen = ""
        for part in line.split("\r"):
            seen = part + seen[len(part) :]
        screen.append(seen.rstrip())
    return [line for line in screen if line]


def test_what_is_printed_on_a_terminal_stands_on_lines_of_its_own(environment, work):
    drawn, _ = _on_a_terminal(["video", "waves", "-b", "demo", "-o", "waves.mp4"], environment, work, both=True)
    assert "demo/film" in drawn
    seen = _as_seen(drawn)
    assert seen[0] == str(work / "waves.mp4")
    assert seen[1].startswith("generate_video by demo/film")
    assert not [line for line in seen if "submitting" in line or "collecting" in line]


@pytest.mark.exhaustive
@pytest.mark.parametrize("more", [{"TERM": "dumb"}, {}])
def test_quiet_and_dumb_terminals_see_no_moving_line(environment, work, more):
    quiet = [] if more else ["-q"]
    drawn, _ = _on_a_terminal(["image", "a boat", "-b", "demo", "-o", "boat.png", *quiet], {**environment, **more}, work)
    assert "submitting" not in drawn
    assert (drawn == "") is bool(quiet)


def test_what_is_no_terminal_sees_no_moving_line(call):
    told = call("video", "slow waves", "-b", "demo", "--deadline", "0.1")
    assert "\r" not in told.err
    assert "rendering" not in told.err


def test_the_line_leaves_out_what_is_not_known():
    report = Progress(job_id="j", backend="b", model="m", state="running")
    assert line_of(report, 3.2) == "   3 s  b/m  running"
    assert line_of(None, 75.0) == "  75 s"


def test_a_providers_note_stays_on_the_line():
    report = Progress(job_id="j", backend="b", model="m", state="running", fraction=0.5, note="queue\n\x1b[2J 3")
    assert line_of(report, 1) == "   1 s  b/m  running  50%  queue \N{REPLACEMENT CHARACTER}[2J 3"

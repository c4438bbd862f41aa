"""Jobs that outlive the process that started them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


@pytest.mark.exhaustive  # the same in one process: test_deadline_that_passes_leaves_a_job_that_can_be_resumed
def test_no_wait_prints_a_job_that_another_process_can_resume(process, work):
    result = process("video", "slow waves", "-b", "demo", "--no-wait", "-o", "waves.mp4")
    assert result.code == 0, result.err
    (job_id,) = result.lines
    assert not (work / "waves.mp4").exists()
    assert f"anymedia jobs resume {job_id}" in result.err
    done = process("jobs", "resume", job_id, DEMO_HURRY="1")
    assert done.code == 0, done.err
    assert Path(done.lines[0]).name == "waves.mp4"
    assert (work / "waves.mp4").is_file()


@pytest.mark.usefixtures("late")
def test_deadline_that_passes_leaves_a_job_that_can_be_resumed(call, submits, monkeypatch):
    result = call("video", "slow waves", "-b", "demo", "--deadline", "100", "--json")
    assert result.code == 7
    job_id = result.json["error"]["job_id"]
    monkeypatch.setenv("DEMO_HURRY", "1")
    done = call("jobs", "resume", job_id, "--json")
    assert (done.code, done.json["success"], done.json["job_id"]) == (0, True, job_id)
    assert submits() == ["generate_video slow waves"]


@pytest.mark.exhaustive
def test_deadline_that_passes_twice_leaves_a_job_that_can_be_resumed(process, submits):
    result = process("video", "slow waves", "-b", "demo", "--deadline", "3", "--json")
    assert result.code == 7
    job_id = result.json["error"]["job_id"]
    again = process("jobs", "resume", job_id, "--deadline", "1", "--json")
    assert (again.code, again.json["error"]["job_id"]) == (7, job_id)
    done = process("jobs", "resume", job_id, "--json", DEMO_HURRY="1")
    assert (done.code, done.json["success"], done.json["job_id"]) == (0, True, job_id)
    assert submits() == ["generate_video slow waves"]


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize(
    ("as_json", "name"),
    [
        (True, "SIGINT"),
        *(
            pytest.param(as_json, name, marks=pytest.mark.exhaustive)
            for as_json, name in ((False, "SIGINT"), (True, "SIGTERM"), (False, "SIGHUP"))
        ),
    ],
)
def test_signal_names_the_job_and_leaves_it_running(environment, work, process, submits, as_json, name):
    words = ["video", "slow waves", "-b", "demo", "-o", "waves.mp4", *(["--json"] if as_json else [])]
    child = subprocess.Popen(
        [sys.executable, "-m", "anymedia", *words],
        env=environment,
        cwd=work,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=_interruptible,
    )
    _wait_for(lambda: any(job["state"] == "running" for job in process("jobs", "list", "--json").json["jobs"]))
    for _ in range(2):  # as a terminal does to a command that another one runs, such as timeout or make
        child.send_signal(getattr(signal, name))
    out, err = child.communicate(timeout=100)
    (job,) = process("jobs", "list", "--open", "--json").json["jobs"]
    assert child.returncode == 130
    assert "Traceback" not in err.decode()
    assert err.decode().count("interrupted") == 1
    assert job["id"] in err.decode()
    assert bool(out) == as_json
    if as_json:
        import json

        assert json.loads(out)["error"]["job_id"] == job["id"]
    assert process("jobs", "resume", job["id"], DEMO_HURRY="1").code == 0
    assert submits() == ["generate_video slow waves"]


@pytest.mark.exhaustive
def test_ctrl_c_during_a_submit_reports_an_unknown_outcome(environment, work, process, submits):
    child = subprocess.Popen(
        [sys.executable, "-m", "anymedia", "image", "stuck", "-b", "demo"],
        env=environment,
        cwd=work,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=_interruptible,
    )
    _wait_for(lambda: submits() == ["generate_image stuck"])
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=100)
    (job,) = process("jobs", "list", "--json").json["jobs"]
    assert (child.returncode, out) == (130, b"")
    assert job["state"] == "unknown"
    assert job["id"] in err.decode()
    assert "charged: unknown" in err.decode()


def _interruptible():
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell starts background processes with SIGINT ignored


def _wait_for(condition, seconds=100):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "timed out"
        time.sleep(0.05)


def test_jobs_are_listed_shown_and_forgotten(call):
    call("image", "a boat", "-b", "demo", "-o", "boat.png")
    call("image", "unsafe", "-b", "demo")
    listed = call("jobs", "list", "--json").json["jobs"]
    assert [job["state"] for job in listed] == ["refused", "done"]
    header, *lines = call("jobs", "list").lines
    assert header.split()[:3] == ["JOB", "CREATED", "STATE"]
    assert len(lines) == 2
    assert lines[1].endswith("a boat")
    assert max(map(len, lines)) <= 100
    assert call("jobs", "list", "--open", "--json").json["jobs"] == []
    assert len(call("jobs", "list", "--limit", "1", "--json").json["jobs"]) == 1
    shown = call("jobs", "show", listed[1]["id"], "--json").json["job"]
    assert shown["request"]["prompt"] == "a boat"
    assert not shown.keys() & {"secret", "idempotency_key", "owner", "session"}
    lines = call("jobs", "show", listed[1]["id"]).lines
    assert "state: done" in lines
    assert "  prompt: a boat" in lines
    assert not [line for line in lines if "{" in line or "[" in line or "'" in line or re.search(r"\b1[0-9]{9}\b", line)]
    assert call("jobs", "forget", listed[1]["id"]).code == 0
    assert [job["id"] for job in call("jobs", "list", "--json").json["jobs"]] == [listed[0]["id"]]
    assert Path("boat.png").is_file()


def test_cancel_stops_the_job_at_the_provider(call, submits):
    job_id = call("video", "slow waves", "-b", "demo", "--no-wait").lines[0]
    result = call("jobs", "cancel", job_id, "--json")
    assert (result.code, result.json["job"]["state"]) == (0, "cancelled")
    assert submits()[-1] == "cancelled demo-1"
    assert call("jobs", "resume", job_id).code == 2
    other = call("video", "slow waves", "-b", "demo", "--no-wait").lines[0]
    result = call("jobs", "cancel", other)
    assert result.lines == [f"{other}  cancelled"]
    assert "it may be charged: it was cancelled at the provider while running" in result.err


def test_last_is_the_newest_job(call):
    assert call("jobs", "show", "last").code == 2  # there is none yet
    call("image", "a boat", "-b", "demo", "-o", "boat.png")
    newest = call("video", "slow waves", "-b", "demo", "--no-wait").lines[0]
    assert call("jobs", "show", "last", "--json").json["job"]["id"] == newest
    assert call("jobs", "cancel", "last", "--json").json["job"]["id"] == newest
    assert call("jobs", "forget", "last", "--json").json["forgotten"] == newest
    assert call("jobs", "resume", "last").lines == [str(Path("boat.png").resolve())]


def test_export_copies_what_was_received_in_place_of_a_picture(call):
    result = call("image", "something undecodable", "-b", "demo", "-o", "boat.png", "--json")
    assert result.code != 0
    kept = Path(result.json["error"]["kept"]).read_bytes()
    (path,) = call("jobs", "export", result.json["error"]["job_id"], "answer.bin").lines
    assert (Path(path).name, Path(path).read_bytes()) == ("answer.bin", kept)
    refused = call("jobs", "export", "last", "answer.png", "--json")
    assert (refused.code, refused.json["error"]["code"]) == (2, "invalid_request")


@pytest.mark.parametrize("verb", ["show", "resume", "cancel", "forget", "export"])
def test_unknown_job_is_a_usage_error(call, verb):
    result = call("jobs", verb, "job_000000000000", "--json")
    assert (result.code, result.json["error"]["code"]) == (2, "unknown_job")


def test_closed_pipe_prints_no_error(environment, work):
    done = subprocess.run(
        f"{sys.executable} -m anymedia capabilities demo --json | head -c 1",
        shell=True,
        env=environment,
        cwd=work,
        capture_output=True,
        check=False,
    )
    assert done.stdout == b"{"
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


def test_forget_result_whose_file_is_gone_needs_force(call):
    call("image", "a boat", "-b", "demo", "-o", "boat.png")
    Path("boat.png").unlink()
    (job,) = call("jobs", "list", "--json").json["jobs"]
    refused = call("jobs", "forget", job["id"])
    assert refused.code == 2
    assert "has the only copy of a result that was paid for" in refused.err
    assert call("jobs", "forget", job["id"], "--force").code == 0
    assert call("jobs", "list", "--json").json["jobs"] == []


def test_gc_removes_what_exceeds_the_limit_after_a_dry_run(call, monkeypatch):
    call("image", "a boat", "-b", "demo", "-o", "boat.png")
    size = Path("boat.png").stat().st_size
    Path("limits.toml").write_text("[artifacts]\nmax_bytes = 0\n")
    monkeypatch.setenv("ANYMEDIA_CONFIG", os.pathsep.join([*filter(None, [os.environ.get("ANYMEDIA_CONFIG")]), "limits.toml"]))
    dry = call("gc", "--dry-run")
    assert dry.lines[0].endswith(f"piece 0  {size} bytes")
    assert f"would free {size} bytes" in dry.err
    done = call("gc", "--json").json
    assert (done["freed_bytes"], done["left_bytes"], done["removed"][0]["bytes"]) == (size, 0, size)
    assert call("gc").lines == []
    assert Path("boat.png").is_file()


def test_jobs_without_a_command_takes_the_options_of_list(call):
    for seed in ("1", "2"):
        assert call("image", "a fox", "-b", "demo", "--seed", seed).code == 0
    listed = call("jobs", "list", "--limit", "1", "--json").json
    assert len(listed["jobs"]) == 1
    assert call("jobs", "--limit", "1", "--json").json == listed
    assert call("jobs").lines == call("jobs", "list").lines
    assert b"Commands:" in call("jobs", "--help").out


def test_completion_after_jobs_suggests_its_commands():
    from click.shell_completion import ShellComplete

    from anymedia.cli.app import cli

    found = ShellComplete(cli, {}, "anymedia", "_ANYMEDIA_COMPLETE").get_completions(["jobs"], "")
    assert {"list", "show", "resume"} <= {item.value for item in found}

"""What goes to stdout, what to stderr, and with which exit code."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def _picture(source):
    """Return format and size of a picture, judged by Pillow."""
    import PIL.Image

    with PIL.Image.open(source) as image:
        image.load()
        return image.format, image.size


def test_the_path_of_the_file_made_is_all_that_stdout_gets(call, work):
    told = call("image", "a boat", "-b", "demo", "-o", "boat.png")
    assert told.code == 0
    (line,) = told.lines
    assert Path(line).resolve() == work / "boat.png"
    assert _picture(line) == ("PNG", (64, 48))
    assert "demo/painter" in told.err
    assert "--continue demo_img_" in told.err


def test_several_files_are_one_path_a_line(call, work):
    told = call("image", "a boat", "-b", "demo", "-n", "3", "-o", "boats/")
    assert told.code == 0
    assert len(told.lines) == 3
    assert all(Path(line).is_file() and Path(line).parent.name == "boats" for line in told.lines)
    assert "bridged: n" in told.err


def test_json_is_one_document_and_says_what_was_made(call):
    told = call("image", "a boat", "-b", "demo", "--seed", "4", "--json")
    document = told.json
    assert told.code == 0
    assert document["success"] is True
    assert (document["backend"], document["model"]) == ("demo", "painter")
    assert document["adjustments"][0]["field"] == "seed"
    assert Path(document["files"][0]["path"]).is_file()
    assert document["cost"]["actual_usd"] == pytest.approx(0.03)


def test_an_error_is_one_document_too(call):
    told = call("image", "a boat", "-b", "demmo", "--json")
    assert told.code == 2
    assert told.json["success"] is False
    assert told.json["error"]["code"] == "unknown_backend"
    assert "demo" in told.err


def test_a_mistake_in_the_command_line_itself_is_one_document_too(call):
    told = call("image", "--json", "--no-such-option")
    assert told.code == 2
    assert told.json["error"]["code"] == "usage"
    assert told.json["error"]["charged"] == "no"


def test_quiet_leaves_stderr_empty(call):
    told = call("image", "a boat", "-b", "demo", "-q")
    assert (told.code, told.err) == (0, "")
    assert len(told.lines) == 1


def test_quiet_still_tells_an_error(call):
    told = call("image", "unsafe", "-b", "demo", "-q")
    assert told.code == 5
    assert "does not make this" in told.err


def test_dash_writes_the_very_bytes_to_stdout_and_keeps_no_file(call, work):
    told = call("image", "a boat", "-b", "demo", "--size", "96x64", "-o", "-")
    assert told.code == 0
    assert _picture(io.BytesIO(told.out)) == ("PNG", (96, 64))
    assert list(work.iterdir()) == []


@pytest.mark.parametrize("other", [("--json",), ("--no-wait",), ("-n", "2")])
def test_dash_excludes_what_else_would_go_to_stdout(call, submits, other):
    told = call("image", "a boat", "-b", "demo", "-o", "-", *other)
    assert told.code == 2
    assert submits() == []


def test_a_prompt_of_a_dash_is_read_from_stdin(call, submits):
    assert call("image", "-", "-b", "demo", input="a boat\nat sea\n").code == 0
    assert submits() == ["generate_image a boat", "at sea"]


def test_an_empty_stdin_is_no_prompt(call, submits):
    told = call("image", "-", "-b", "demo", input="")
    assert told.code == 2
    assert "stdin is empty" in told.err
    assert submits() == []


def test_an_existing_file_is_never_overwritten_without_force(call, work, submits):
    (work / "boat.png").write_bytes(b"mine")
    told = call("image", "a boat", "-b", "demo", "-o", "boat.png")
    assert told.code == 2
    assert (work / "boat.png").read_bytes() == b"mine"
    assert submits() == []
    assert call("image", "a boat", "-b", "demo", "-o", "boat.png", "-f").code == 0
    assert (work / "boat.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("image", "a boat", "-b", "demo", "--size", "big"), 2),
        (("image", "", "-b", "demo"), 2),
        (("image", "a boat", "-m", "demo/paintre"), 2),
        (("image", "a boat", "-b", "demo", "--continue", "demo_img_000000000000"), 2),
        (("image", "a boat", "-b", "demo", "--max-cost", "0.001"), 2),
        (("audio", "hello", "-b", "locked"), 3),
        (("audio", "hello", "-b", "demo"), 4),
        (("video", "waves", "-m", "demo/old-film"), 4),
        (("image", "unsafe", "-b", "demo"), 5),
        (("image", "wrong key", "-b", "demo"), 6),
        (("image", "garbage", "-b", "demo"), 6),
        (("video", "slow", "-b", "demo", "--deadline", "0.1"), 7),
        (("image", "lost", "-b", "demo"), 8),
    ],
)
def test_each_way_to_fail_has_its_exit_code(call, words, code):
    told = call(*words)
    assert told.code == code, told.err
    assert told.out == b""
    assert told.err.startswith("anymedia: ")
    assert "Traceback" not in told.err
    assert "secret-in-an-exception" not in told.err


def test_a_timeout_says_how_to_go_on(call):
    told = call("video", "slow waves", "-b", "demo", "--deadline", "0.1", "--json")
    error = told.json["error"]
    assert told.code == 7
    assert error["code"] == "backend_timeout"
    assert f"anymedia jobs resume {error['job_id']}" in error["fix"]


def test_an_unknown_outcome_is_never_called_a_retry(call, submits):
    told = call("image", "lost", "-b", "demo", "--json")
    error = told.json["error"]
    assert (error["code"], error["retry"], error["charged"]) == ("submission_unknown", False, "unknown")
    assert submits() == ["generate_image lost"]


def test_a_bug_gives_a_document_and_no_words_of_the_exception(call, monkeypatch):
    from anymedia.cli import models

    def broken(*_args, **_kwargs):
        raise RuntimeError("sk-a-secret")

    monkeypatch.setattr(models, "load_environment", broken)
    told = call("models", "--json")
    assert told.code == 1
    assert told.json["error"]["code"] == "internal_error"
    assert "sk-a-secret" not in told.err + json.dumps(told.json)


def test_what_steers_a_terminal_does_not_reach_it():
    from anymedia.cli.console import clean

    assert clean("a\x1b[2Jb\u202ec\r\td\n") == "a\N{REPLACEMENT CHARACTER}[2Jb\N{REPLACEMENT CHARACTER}c\N{REPLACEMENT CHARACTER}\td\n"


@pytest.mark.parametrize(
    "words", [("--max-cost", "nan"), ("--max-cost", "-1"), ("--deadline", "nan"), ("--deadline", "0"), ("--deadline", "inf")]
)
def test_a_cap_that_would_hold_nothing_is_refused(call, submits, words):
    told = call("image", "a boat", "-b", "demo", *words)
    assert told.code == 2
    assert "expected a number" in told.err
    assert submits() == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize(
    "words", ["models", *(pytest.param(words, marks=pytest.mark.exhaustive) for words in ("models --json", "imagge --json", "--help"))]
)
def test_a_full_disk_behind_stdout_is_said_without_a_traceback(environment, work, words):
    done = subprocess.run(
        f"{sys.executable} -m anymedia {words} > /dev/full",
        shell=True,
        env=environment,
        cwd=work,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="shell")
def test_a_closed_stdout_is_no_traceback(environment, work):
    done = subprocess.run(
        f"{sys.executable} -m anymedia models >&-", shell=True, env=environment, cwd=work, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")

"""Output on stdout and stderr, and exit codes."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from anymedia.cli.build_request import _stdin_text
from anymedia.errors import InvalidRequest


def _picture(source):
    """Return format and size of an image, as read by Pillow."""
    import PIL.Image

    with PIL.Image.open(source) as image:
        image.load()
        return image.format, image.size


def test_stdout_of_an_image_is_only_its_path(call, work):
    result = call("image", "a boat", "-b", "demo", "-o", "boat.png")
    assert result.code == 0
    (line,) = result.lines
    assert Path(line).resolve() == work / "boat.png"
    assert _picture(line) == ("PNG", (64, 48))
    assert "demo/painter" in result.err
    assert "--continue demo_img_" in result.err


def test_stdout_of_several_files_is_one_path_per_line(call, work):
    result = call("image", "a boat", "-b", "demo", "-n", "3", "-o", "boats/")
    assert result.code == 0
    assert len(result.lines) == 3
    assert all(Path(line).is_file() and Path(line).parent.name == "boats" for line in result.lines)
    assert "bridged: n" in result.err


def test_notes_of_a_result_are_at_most_three_lines_without_verbose(call):
    words = ("image", "a boat", "-b", "demo", "-n", "3", "--seed", "4", "--negative", "fog", "--background", "opaque")
    short, full = call(*words, "-o", "a/"), call(*words, "-o", "b/", "-v")
    assert len(short.err.splitlines()) == 3
    assert short.err.splitlines()[-1] == "  3 more notes (-v shows all)"
    assert len(full.err.splitlines()) == 5
    assert "ignored: seed" in full.err


def test_json_of_a_result_is_one_document(call):
    result = call("image", "a boat", "-b", "demo", "--seed", "4", "--json")
    document = result.json
    assert result.code == 0
    assert document["success"] is True
    assert (document["backend"], document["model"]) == ("demo", "painter")
    assert document["adjustments"][0]["field"] == "seed"
    assert Path(document["files"][0]["path"]).is_file()
    assert document["cost"]["actual_usd"] == pytest.approx(0.03)


def test_json_of_an_error_is_one_document(call):
    result = call("image", "a boat", "-b", "demmo", "--json")
    assert result.code == 2
    assert result.json["success"] is False
    assert result.json["error"]["code"] == "unknown_backend"
    assert "demo" in result.err


def test_json_of_a_usage_error_is_one_document(call):
    result = call("image", "--json", "--no-such-option")
    assert result.code == 2
    assert result.json["error"]["code"] == "usage"
    assert result.json["error"]["charged"] == "no"


def test_quiet_success_leaves_stderr_empty(call):
    result = call("image", "a boat", "-b", "demo", "-q")
    assert (result.code, result.err) == (0, "")
    assert len(result.lines) == 1


def test_quiet_failure_prints_the_error(call):
    result = call("image", "unsafe", "-b", "demo", "-q")
    assert result.code == 5
    assert "does not make this" in result.err


def test_output_dash_writes_the_bytes_to_stdout_and_no_file(call, work):
    result = call("image", "a boat", "-b", "demo", "--size", "96x64", "-o", "-")
    assert result.code == 0
    assert _picture(io.BytesIO(result.out)) == ("PNG", (96, 64))
    assert list(work.iterdir()) == []


@pytest.mark.parametrize("other", [("--json",), ("--no-wait",), ("-n", "2")])
def test_output_dash_with_other_stdout_output_is_rejected(call, submits, other):
    result = call("image", "a boat", "-b", "demo", "-o", "-", *other)
    assert result.code == 2
    assert "put the prompt in quotes" not in result.err
    assert submits() == []


def test_prompt_dash_reads_stdin(call, submits):
    assert call("image", "-", "-b", "demo", input="a boat\nat sea\n").code == 0
    assert submits() == ["generate_image a boat", "at sea"]


def test_prompt_dash_with_empty_stdin_is_rejected(call, submits):
    result = call("image", "-", "-b", "demo", input="")
    assert result.code == 2
    assert "stdin is empty" in result.err
    assert submits() == []


def test_prompt_dash_with_closed_stdin_is_rejected(monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(InvalidRequest, match="stdin is empty"):
        _stdin_text("prompt", "PROMPT")


def test_existing_file_is_overwritten_only_with_force(call, work, submits):
    (work / "boat.png").write_bytes(b"mine")
    result = call("image", "a boat", "-b", "demo", "-o", "boat.png")
    assert result.code == 2
    assert (work / "boat.png").read_bytes() == b"mine"
    assert submits() == []
    assert call("image", "a boat", "-b", "demo", "-o", "boat.png", "-f").code == 0
    assert (work / "boat.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.usefixtures("late")
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
        (("video", "slow", "-b", "demo", "--deadline", "100"), 7),
        (("image", "lost", "-b", "demo"), 8),
    ],
)
def test_failure_of_each_kind_has_its_exit_code(call, words, code):
    result = call(*words)
    assert result.code == code, result.err
    assert result.out == b""
    assert result.err.startswith("anymedia: ")
    assert "Traceback" not in result.err
    assert "secret-in-an-exception" not in result.err


@pytest.mark.usefixtures("late")
def test_timeout_names_the_command_that_resumes_the_job(call):
    result = call("video", "slow waves", "-b", "demo", "--deadline", "100", "--json")
    error = result.json["error"]
    assert result.code == 7
    assert error["code"] == "backend_timeout"
    assert f"anymedia jobs resume {error['job_id']}" in error["fix"]


def test_unknown_outcome_is_not_retried(call, submits):
    result = call("image", "lost", "-b", "demo", "--json")
    error = result.json["error"]
    assert (error["code"], error["retry"], error["charged"]) == ("submission_unknown", False, "unknown")
    assert submits() == ["generate_image lost"]


def test_internal_error_is_a_document_without_the_exception_text(call, monkeypatch):
    from anymedia.cli import models

    def broken(*_args, **_kwargs):
        raise RuntimeError("sk-a-secret")

    monkeypatch.setattr(models, "load_environment", broken)
    result = call("models", "--json")
    assert result.code == 1
    assert result.json["error"]["code"] == "internal_error"
    assert "sk-a-secret" not in result.err + json.dumps(result.json)


def test_lack_of_memory_is_reported_with_the_jobs_to_resume(call, monkeypatch):
    from anymedia.cli import models, process

    def broken(*_args, **_kwargs):
        raise MemoryError

    monkeypatch.setattr(models, "load_environment", broken)
    monkeypatch.setitem(process.job_ids, "job_0123456789ab", None)
    error = call("models", "--json").json["error"]
    assert error["message"] == "there is not enough memory"
    assert "bug" not in error["fix"] and "job_0123456789ab" in error["fix"]


def test_clean_replaces_control_and_bidi_characters():
    from anymedia.cli.console import clean

    assert clean("a\x1b[2Jb\u202ec\r\td\n") == "a\N{REPLACEMENT CHARACTER}[2Jb\N{REPLACEMENT CHARACTER}c\N{REPLACEMENT CHARACTER}\td\n"


@pytest.mark.parametrize(
    "words", [("--max-cost", "nan"), ("--max-cost", "-1"), ("--deadline", "nan"), ("--deadline", "0"), ("--deadline", "inf")]
)
def test_limit_that_is_not_a_finite_positive_number_is_rejected(call, submits, words):
    result = call("image", "a boat", "-b", "demo", *words)
    assert result.code == 2
    assert "expected a number" in result.err
    assert submits() == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize(
    "words", ["models", *(pytest.param(words, marks=pytest.mark.exhaustive) for words in ("models --json", "imagge --json", "--help"))]
)
def test_full_disk_behind_stdout_is_reported_without_a_traceback(environment, work, words):
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
def test_closed_stdout_prints_no_traceback(environment, work):
    done = subprocess.run(
        f"{sys.executable} -m anymedia models --all >&-", shell=True, env=environment, cwd=work, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")

"""Colours, bars and completion: what a person sees in a terminal."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from anymedia.cli import complete, console
from anymedia.cli.console import Console
from anymedia.errors import RequestError
from anymedia.router import Progress

_ROWS = [["JOB", "STATE", "PROMPT"], ["job_1", "done", "a\x1b[31m fox"], ["job_2", "failed", "a house by the sea at night"]]


@pytest.fixture
def terminal(monkeypatch):
    """A terminal of 40 columns on both streams; returns what is written to stdout."""
    written = []
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(console, "stdout_is_terminal", lambda: True)
    monkeypatch.setattr(console, "is_terminal", lambda _: True)
    monkeypatch.setattr(console, "write_stdout", written.append)
    return lambda: b"".join(written).decode()


def _plain(text):
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_table_on_a_terminal_has_colours_and_the_same_text_and_width(terminal):
    Console().table(_ROWS, shrink=(2,))
    lines = _plain(terminal()).splitlines()
    assert [re.split(r"  +", line) for line in (lines[0].rstrip(), *lines[2:])] == [
        re.split(r"  +", line) for line in console.table(_ROWS, shrink=(2,))
    ]
    assert max(map(len, lines)) <= 40
    assert "\x1b[32mdone" in terminal()
    assert "\x1b[31mfailed" in terminal()
    assert "\x1b[31m fox" not in terminal()  # a prompt controls nothing


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb"), ("TERM", "")])
def test_table_without_colours_is_plain(terminal, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    Console().table(_ROWS, shrink=(2,))
    assert "\x1b" not in terminal()
    assert terminal().splitlines() == console.table(_ROWS, shrink=(2,))


def test_error_on_a_terminal_names_what_each_line_is_in_colour(terminal, monkeypatch):
    lines = []
    monkeypatch.setattr("click.echo", lambda text, err: lines.append(text))
    Console().error(RequestError("it is wrong", fix="do this"))
    assert [_plain(line) for line in lines] == ["anymedia: it is wrong", "  hint: do this"]
    assert all("\x1b[" in line for line in lines)
    monkeypatch.setenv("NO_COLOR", "1")
    Console().error(RequestError("it is wrong"))
    assert lines[-1] == "anymedia: it is wrong"


@pytest.mark.parametrize("fraction", [0.5, None])
def test_bar_fits_the_line_and_shows_what_is_known(terminal, fraction):
    said = Progress(job_id="job_1", backend="demo", model="film", state="running", fraction=fraction, note="drawing\nframes")
    line = console._bar_line("3/7", said, 12.3, 79)
    shown = _plain(line)
    assert len(shown) <= 79
    assert "\n" not in shown
    for word in ("3/7", "━", "12 s", "demo/film", "running", "drawing frames", *(["50%"] if fraction else [])):
        assert word in shown


def test_start_of_the_command_line_and_plain_tables_load_no_rich(environment, work):
    code = (
        "import sys, anymedia.cli.app as app\ntry:\n    app.main(sys.argv[1:])\nfinally:\n    print('rich' in sys.modules, file=sys.stderr)"
    )
    for words in (["--help"], ["models", "demo"], ["jobs"]):
        command = [sys.executable, "-c", code, *words]
        done = subprocess.run(command, env=environment, cwd=work, capture_output=True, text=True, check=False)
        assert done.stderr.splitlines()[-1] == "False", done.stderr


def _suggested(completer, incomplete):
    return [item.value for item in completer(None, None, incomplete)]


def test_completion_suggests_models_backends_voices_and_jobs(call):
    job = call("image", "a boat", "-b", "demo", "-o", "boat.png", "--json").json["job_id"]
    assert "demo/painter" in _suggested(complete.models, "demo/")
    assert _suggested(complete.models, "painter") == ["demo/painter"]  # not at the beginning
    assert {"demo", "locked"} <= set(_suggested(complete.backends, ""))
    assert _suggested(complete.job_ids, "job_") == [job]
    assert _suggested(complete.voices, "no such voice") == []
    assert _suggested(complete.tasks, "no such task") == []
    assert _suggested(complete.continuations, "la") == ["last", "la"]


def test_completion_with_broken_settings_suggests_nothing(call, monkeypatch, work):
    (work / "config.toml").write_text("[")
    monkeypatch.setenv("ANYMEDIA_CONFIG", str(work / "config.toml"))
    assert _suggested(complete.models, "") == []


@pytest.mark.parametrize("shell", complete.SCRIPTS)
def test_completion_command_prints_the_line_of_a_shell(call, shell):
    result = call("completion", shell)
    assert result.lines == [complete.SCRIPTS[shell]]


def test_shell_gets_its_completions_from_the_command(process):
    answer = process("", _ANYMEDIA_COMPLETE="bash_complete", COMP_WORDS="anymedia image x -m demo/pa", COMP_CWORD="4")
    assert (answer.code, answer.lines) == (0, ["plain,demo/painter"])


def test_jobs_without_a_command_lists_them(call):
    call("image", "a boat", "-b", "demo", "-o", "boat.png")
    assert call("jobs").lines == call("jobs", "list").lines


def test_job_is_shown_within_80_columns(call, monkeypatch, work):
    monkeypatch.setenv("COLUMNS", "80")
    job = call("image", "a boat on a lake " * 12, "-b", "demo", "-o", "boat.png", "--json").json["job_id"]
    shown = call("jobs", "show", job)
    assert max(len(line) for line in shown.lines if str(work) not in line) <= 80  # a path stays in one piece
    assert "{" not in shown.out.decode()
    assert not re.search(r"\b1[0-9]{9}\b", shown.out.decode())


def test_result_is_opened_when_asked(call, monkeypatch, work):
    opened = []
    monkeypatch.setattr("click.launch", opened.append)
    assert call("image", "a boat", "-b", "demo", "-n", "2", "-o", "boat.png", "--open").code == 0
    assert opened == [str(work / "boat-1.png"), str(work / "boat-2.png")]

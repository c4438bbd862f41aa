"""Standard output belongs to results and protocols; signals end a command and leave its jobs resumable."""

from __future__ import annotations

import fcntl
import io
import json
import os
import signal
import struct
import subprocess
import sys
import termios
import time

import PIL.Image
import pytest

from anymedia.cli.app import Exit

pytestmark = pytest.mark.skipif(os.name != "posix", reason="descriptors and signals")

_NOISY = """
import os, subprocess, sys, threading, time
print("noise: import")
os.write(1, b"noise: descriptor\\n")
subprocess.run(["echo", "noise: child process"])
threading.Thread(target=lambda: [print("noise: thread", flush=True) or time.sleep(0.05) for _ in range(40)], daemon=True).start()
from demo_backend import *
"""
_INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}


@pytest.fixture
def noisy(site):
    """A plugin that writes to stdout in every way."""
    (site / "noisy_backend.py").write_text(_NOISY)
    points = site / "anymedia_clitest-0.1.dist-info" / "entry_points.txt"
    points.write_text(points.read_text().replace("demo = demo_backend", "demo = noisy_backend"))


@pytest.mark.usefixtures("noisy")
@pytest.mark.parametrize(
    "words",
    [
        ["image", "a boat", "-b", "demo", "--json"],
        *(pytest.param(words, marks=pytest.mark.exhaustive) for words in (["models", "--json"], ["schema", "--json"])),
    ],
)
def test_json_with_a_plugin_that_prints_is_one_document(process, words):
    result = process(*words)
    assert result.code == 0, result.err
    assert isinstance(result.json, dict)
    for source in ("import", "descriptor", "child process", "thread"):
        assert f"noise: {source}" in result.err


@pytest.mark.exhaustive
@pytest.mark.usefixtures("noisy")
def test_output_dash_with_a_plugin_that_prints_is_the_file(process):
    result = process("image", "a boat", "-b", "demo", "-o", "-")
    assert result.code == 0, result.err
    with PIL.Image.open(io.BytesIO(result.out)) as image:
        assert image.size == (64, 48)


@pytest.mark.usefixtures("noisy")
@pytest.mark.parametrize(
    "how", ["SIGTERM", *(pytest.param(how, marks=pytest.mark.exhaustive) for how in ("SIGINT", "SIGHUP", "end of input"))]
)
def test_mcp_server_ends_on_a_signal_or_the_end_of_its_input(environment, work, how):
    server = _start(["mcp"], environment, work)
    server.stdin.write(json.dumps(_INITIALIZE).encode() + b"\n")
    server.stdin.flush()
    answer = json.loads(server.stdout.readline())
    assert answer["id"] == 1
    if how == "end of input":
        server.stdin.close()
        server.stdin = None
    else:
        server.send_signal(getattr(signal, how))
    out, err = server.communicate(timeout=100)
    assert (server.returncode, out) == (0, b""), err
    assert b"noise: import" in err
    assert b"Traceback" not in err


def test_mcp_server_whose_client_reads_no_more_ends_without_an_internal_error(environment, work):
    server = _start(["mcp"], environment, work)
    server.stdin.write(json.dumps(_INITIALIZE).encode() + b"\n")
    server.stdin.flush()
    server.stdout.readline()
    server.stdout.close()
    server.stdin.write(b'{"jsonrpc": "2.0", "id": 2, "method": "ping"}\n')
    server.stdin.flush()
    assert server.wait(100) == Exit.PIPE_CLOSED
    assert b"internal error" not in server.stderr.read()
    server.stdin.close()
    server.stderr.close()


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_signal_before_submit_exits_with_interrupted(environment, work, name):
    child = _start(["image", "-", "-b", "demo", "--json"], environment, work)
    child.stdin.write(b"a boat")
    child.stdin.flush()
    _wait_for(lambda: not _unread(child.stdin))  # the command reads its prompt
    child.send_signal(getattr(signal, name))
    out, err = child.communicate(timeout=100)
    assert child.returncode == 130, err
    assert json.loads(out)["error"]["code"] == "interrupted"


def test_signal_while_a_plugin_blocks_names_the_job_and_exits(environment, work, process, submits):
    child = _start(["image", "blocking", "-b", "demo"], environment, work)
    _wait_for(submits)
    child.send_signal(signal.SIGTERM)
    _, err = child.communicate(timeout=100)  # the plugin blocks for longer
    (job,) = process("jobs", "list", "--json").json["jobs"]
    assert child.returncode == 130
    assert job["id"] in err.decode()


@pytest.mark.parametrize("words", [["plan", "image", "a boat"], ["models"], ["capabilities", "demo"], ["doctor"]], ids=" ".join)
def test_command_without_a_usable_home_or_state_directory_works(call, tmp_path, monkeypatch, words):
    (tmp_path / "file").write_text("")
    for name, path in (("HOME", "file"), ("ANYMEDIA_STATE", "file/state")):
        monkeypatch.setenv(name, str(tmp_path / path))
    result = call(*words)
    assert result.code == 0, result.err


def _wait_for(true):
    until = time.monotonic() + 100
    while not true():
        assert time.monotonic() < until, "timed out"
        time.sleep(0.05)


def _unread(pipe):
    """Return how many bytes of a pipe are still to be read."""
    return struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))[0]


def _start(words, environment, work):
    return subprocess.Popen(
        [sys.executable, "-m", "anymedia", *words],
        env=environment,
        cwd=work,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell ignores it in background processes
    )


@pytest.mark.parametrize("words", [["doctor"], ["mcp"]], ids=" ".join)
def test_command_in_a_removed_working_directory_says_so(environment, tmp_path, words):
    (tmp_path / "removed").mkdir()
    code = "import os, sys; os.rmdir(os.getcwd()); from anymedia.cli import main; main(sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=tmp_path / "removed", env=environment, stdin=subprocess.DEVNULL, capture_output=True
    )
    assert done.returncode == 2
    assert b"the working directory does not exist any more" in done.stderr

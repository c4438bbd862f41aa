"""The commands for several machines: a worker carries out what others have queued, and is stopped by SIGTERM without losing anything."""

from __future__ import annotations

import configparser
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import click
import pytest


@pytest.fixture
def with_workers(tmp_path: Path, environment: dict[str, str]) -> None:
    path = tmp_path / "fleet.toml"
    path.write_text("[fleet]\nworkers = true\n")
    environment["ANYMEDIA_CONFIG"] = str(path)


@pytest.mark.usefixtures("with_workers")
def test_status_names_the_queued_calls_and_why_they_wait(call, submits):
    assert "no worker is running" in call("fleet", "status").err
    result = call("video", "slow waves", "-b", "demo", "--no-wait", "-o", "waves.mp4")
    assert result.code == 0, result.err
    status = call("fleet", "status", "--json").json
    (queued,) = status["calls"]
    assert (queued["backend"], queued["state"], queued["calls"], queued["why"]) == ("demo", "queued", 1, "no worker is running")
    assert status["workers"] == []
    assert "no worker is running" in call("fleet", "status").out.decode()
    assert submits() == []


def test_migrate_and_drain_say_what_the_store_is(call):
    assert call("fleet", "migrate", "--json").json["version"] >= 6
    refused = call("fleet", "drain")
    assert refused.code == 2
    assert "SIGTERM" in refused.err
    (Path.cwd() / "state.db").write_bytes(b"")
    refused = call("fleet", "import", "state.db")
    assert refused.code == 2
    assert "no store to import into" in refused.err


@pytest.mark.exhaustive
@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.usefixtures("with_workers")
def test_worker_carries_out_queued_calls_until_sigterm(process, environment: Mapping[str, str], work: Path, submits):
    words = [sys.executable, "-m", "anymedia", "worker", "--at-once", "2", "--backends", "demo"]
    with subprocess.Popen(words, env=dict(environment), cwd=work, stderr=subprocess.PIPE) as worker:
        assert worker.stderr is not None
        assert b"2 calls at once, of demo" in worker.stderr.readline()
        made = process("image", "a fox", "-b", "demo", "-o", "fox.png")
        assert made.code == 0, made.err
        assert Path(made.lines[0]) == work / "fox.png" or (work / made.lines[0]).samefile(work / "fox.png")
        (seen,) = process("fleet", "status", "--json").json["workers"]
        assert (seen["at_once"], seen["backends"]) == (2, ["demo"])
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0
    assert process("fleet", "status", "--json").json["workers"] == []
    assert len(submits()) == 1


def test_unit_in_the_docs_is_for_a_command_that_exists_and_stays_down_when_drained():
    from anymedia.cli.app import cli

    text = (Path(__file__).parents[3] / "docs/fleet.md").read_text("utf-8")
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.read_string(re.findall(r"```ini\n(.*?)```", text, re.DOTALL)[0])
    program, name, *words = unit["Service"]["ExecStart"].split()
    assert program.endswith("/anymedia")
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.make_context(name, words).params["at_once"] == 8
    assert unit["Service"]["Restart"] == "on-failure"  # a drained worker ends with 0
    assert float(unit["Service"]["TimeoutStopSec"]) > 60


@pytest.mark.exhaustive
def test_drain_says_which_workers_will_end(call, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import postgres

    path = tmp_path / "fleet.toml"
    path.write_text(f'[fleet]\nstore = "{postgres.server().new()}"\n')
    monkeypatch.setenv("ANYMEDIA_CONFIG", str(path))
    assert "no worker is running" in call("fleet", "drain").err
    refused = call("fleet", "drain", "elsewhere")
    assert refused.code == 2
    assert "no worker or host 'elsewhere' is running" in refused.err
    words = [sys.executable, "-m", "anymedia", "worker", "-q"]
    with subprocess.Popen(words, env={**environment, "ANYMEDIA_CONFIG": str(path)}, stderr=subprocess.PIPE) as worker:
        while not (workers := call("fleet", "status", "--json").json["workers"]):
            assert worker.poll() is None
        assert f"1 worker will end: {workers[0]['worker']}" in call("fleet", "drain", workers[0]["host"]).err
        while worker.poll() is None:  # it may not have listened yet
            call("fleet", "drain")
            time.sleep(0.05)
        assert worker.returncode == 0
        assert worker.stderr is not None
        assert worker.stderr.read() == b""


@pytest.mark.exhaustive
def test_journal_and_artifacts_are_imported_once(process, environment: dict[str, str], tmp_path: Path):
    import postgres

    done = process("image", "a fox", "-b", "demo", "-o", "fox.png", "--json")
    assert done.code == 0, done.err
    path = tmp_path / "fleet.toml"
    path.write_text(f'[fleet]\nstore = "{postgres.server().new()}"\nartifacts = "file://{tmp_path}/storage"\n')
    environment["ANYMEDIA_CONFIG"] = str(path)
    assert process("jobs", "list", "--json").json["jobs"] == []
    journal = Path(environment["ANYMEDIA_STATE"]) / "state.db"
    imported = process("fleet", "import", journal, "--json").json
    assert (imported["success"], imported["calls"], imported["artifacts"]) == (True, 1, 1)
    assert not journal.exists()
    (job,) = process("jobs", "list", "--json").json["jobs"]
    assert job["id"] == done.json["job_id"]
    journal.with_name("state.db.imported").rename(journal)
    refused = process("fleet", "import", journal)
    assert refused.code == 2
    assert "is not empty" in refused.err
    assert journal.exists()

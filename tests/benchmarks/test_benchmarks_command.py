"""The benchmark command measures, prints each figure with its bar, and judges it; no speed is asserted here."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.figures")


def test_figure_is_judged_by_its_bar(figures):
    judged = [figures.Figure(name="a", value=value, unit="ms", bar=bar).met for value, bar in ((0.9, 1.0), (1.0, 1.0), (5.0, None))]
    assert judged == [True, False, None]
    lines = figures.show(
        [figures.Figure(name="a", value=1.0, unit="ms", bar=0.5), figures.Figure(name="b", value=2.0, unit="s")]
    ).splitlines()
    assert lines[1].split()[:6] == ["a", "1", "ms", "<", "0.5", "ms"]
    assert "MISSED" in lines[1]
    assert "met" not in lines[2]
    assert "MISSED" not in lines[2]


def test_ratio_compares_measurements_of_the_same_round(figures):
    slow, fast = figures.Process(4.0, 2.0), figures.Process(1.0, 1.0)
    seen = {"a": [slow, fast, fast], "b": [slow, fast, slow]}
    assert figures.ratio(seen, "a", "b") == 1.0
    assert figures.ratio({"a": [slow] * 3, "b": [fast] * 3}, "a", "b") == 2.0
    assert figures.ratio({"a": [slow] * 3, "b": [fast] * 3}, "a", "b", "wall") == 4.0


def test_failed_process_is_not_a_measurement(figures):
    with pytest.raises(SystemExit, match="no_such_module"):
        figures.run([sys.executable, "-c", "import no_such_module"], {})


def test_process_answers_each_line_before_it_ends(figures, tmp_path: Path):
    code = "import sys; print(input(), flush=True); print(input(), flush=True); open(sys.argv[1], 'w').write(sys.stdin.read() or 'ended')"
    figures.run([sys.executable, "-c", code, str(tmp_path / "end")], {}, ["one\n", "two\n"])
    assert (tmp_path / "end").read_text() == "ended"
    with pytest.raises(SystemExit, match="no_such_module"):
        figures.run([sys.executable, "-c", "import no_such_module"], {}, ["one\n"])


def test_every_part_can_be_loaded(command):
    assert all(callable(command.part(name)) for name in command.PARTS)


@pytest.mark.exhaustive  # runs the real measurements
def test_command_prints_a_table_and_writes_it_as_json(tmp_path: Path):
    command = [sys.executable, "-m", "benchmarks", "--quick", "--only", "plan", "guards", "--json", str(tmp_path / "figures.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "figures.json").read_text())
    assert len(found) > 5
    for figure in found:
        line = next(line for line in done.stdout.splitlines() if line.startswith(figure["name"]))
        assert {True: "met", False: "MISSED"}[figure["met"]] in line
        assert figure["value"] > 0
    assert f"{sum(f['met'] for f in found)} limits met" in done.stdout


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.__main__")


def test_table_is_printed_and_written_as_json(command, figures, tmp_path: Path, monkeypatch, capsys):
    measured = [figures.Figure(name="a", value=1.0, unit="ms", bar=0.5), figures.Figure(name="b", value=2.0, unit="s", bar=3.0)]
    monkeypatch.setattr(command, "part", lambda name: lambda quick: iter(measured))
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--quick", "--only", "plan", "--json", str(tmp_path / "figures.json")])
    assert command.main() == 0
    found = json.loads((tmp_path / "figures.json").read_text())
    assert [(one["name"], one["met"]) for one in found] == [("a", False), ("b", True)]
    assert "1 limits met, 1 missed: a" in capsys.readouterr().out


def test_unknown_part_is_rejected(command, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--only", "nothing"])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 2
    assert "invalid choice" in capsys.readouterr().err

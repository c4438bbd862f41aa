"""The examples in the README run."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text("utf-8")
needs_local = pytest.mark.skipif(importlib.util.find_spec("local_media") is None, reason="the local backend is not installed")


def _blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@needs_local
def test_python_example_runs_twice(environment, work):
    (code,) = _blocks("python")
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code], env=environment, cwd=work, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert (work / "lighthouse.png").is_file()
        assert Path(done.stdout.split()[0]).is_file()


@pytest.mark.exhaustive
@needs_local
def test_examples_of_the_python_page_run(environment, work):
    page = (ROOT / "docs" / "python.md").read_text("utf-8")
    for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        command = [sys.executable, "-W", "error", "-c", code]
        done = subprocess.run(command, env=environment, cwd=work, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert list(work.iterdir()) == []


@pytest.mark.exhaustive
@needs_local
def test_shell_examples_run_twice(call, work):
    (block,) = [b for b in _blocks("sh") if b.startswith("anymedia ")]
    lines = [shlex.split(line, comments=True) for line in block.splitlines()]
    assert len(lines) >= 6
    for program, *words in lines * 2:
        assert program == "anymedia"
        result = call(*words)
        assert result.code == 0, (words, result.err)


def test_setup_is_one_line_that_uses_the_constraints():
    lines = [line for block in _blocks("sh") for line in block.splitlines() if line.startswith("python3 -m venv")]
    tour, tests = lines
    assert all("-c constraints.txt" in line and ".venv/bin/" in line for line in lines)
    assert tour.endswith(".venv/bin/anymedia tour")
    assert "plugins/*/" in tests
    assert "pytest" in tests


def test_ci_runs_the_test_command_of_the_readme():
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    extract = re.search(r"tests=\$\((.*)\)", script)[1]
    found = subprocess.run(["bash", "-c", extract], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    assert found in README.splitlines()
    assert "-m pytest" in found


def test_constraints_pin_every_name_once_per_python_version():
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line]
    condition = r"(; (python_version [<>=]+ '3\.\d+'|sys_platform == '[a-z0-9]+'))?"
    assert all(re.fullmatch(rf"[A-Za-z0-9_.-]+==[A-Za-z0-9.]+{condition}", pin) for pin in pins)
    plain = [pin.partition("==")[0] for pin in pins if ";" not in pin]
    assert len(plain) == len(set(plain))


def test_links_point_to_existing_files():
    for page in (README, (ROOT / "docs" / "cli.md").read_text("utf-8")):
        for target in re.findall(r"\]\(([^)#]+)\)", page):
            assert (ROOT / target).exists() or (ROOT / "docs" / target).exists(), target


def test_documented_exit_codes_match_the_code():
    from anymedia.cli.app import Exit

    result = {int(code) for code in re.findall(r"^\| (\d+) \|", (ROOT / "docs" / "cli.md").read_text("utf-8"), re.MULTILINE)}
    assert result == {int(code) for code in Exit}

"""What people try first: a script of commands and a notebook, run as a newcomer would."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
pytestmark = [
    pytest.mark.exhaustive,  # forty processes, and the kernel of a notebook
    pytest.mark.timeout(550),
    pytest.mark.skipif(importlib.util.find_spec("local_media") is None, reason="the local backend is not installed"),
]


@pytest.fixture
def newcomer(tmp_path: Path) -> tuple[dict[str, str], Path]:
    """The environment and the empty directory of a user without keys and settings."""
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    kept = {name: value for name, value in os.environ.items() if name in {"LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT"}}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return kept | {"PATH": path, "HOME": str(tmp_path / "home"), "PYTHON": sys.executable}, tmp_path / "work"


def test_first_things_that_people_try_end_as_they_should(newcomer: tuple[dict[str, str], Path]) -> None:
    environment, work = newcomer
    script = EXAMPLES / "first-things.sh"
    done = subprocess.run(["bash", script], env=environment, cwd=work, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert len(re.findall(r"^\d+\. ", done.stdout, re.MULTILINE)) >= 30


_EXECUTE = """
import json, sys, nbclient, nbformat
book = nbformat.read(sys.argv[1], as_version=4)
nbclient.NotebookClient(book, timeout=300, kernel_name="python3", resources={"metadata": {"path": sys.argv[2]}}).execute()
print(json.dumps([[cell["cell_type"], cell.get("outputs", [])] for cell in book["cells"]]))
"""


def test_notebook_runs_and_shows_pictures_video_and_sound(newcomer: tuple[dict[str, str], Path]) -> None:
    environment, work = newcomer
    command = [sys.executable, "-c", _EXECUTE, str(EXAMPLES / "notebook.ipynb"), str(work)]
    done = subprocess.run(command, env=environment, cwd=work, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    cells: list[tuple[str, list[dict[str, Any]]]] = json.loads(done.stdout.splitlines()[-1])
    outputs = [outputs for kind, outputs in cells if kind == "code"]
    shown = [output["data"] for each in outputs for output in each if output["output_type"] in {"execute_result", "display_data"}]
    html = " ".join("".join(data.get("text/html", "")) for data in shown)
    assert {"<img ", "<video ", "<audio "} <= set(re.findall(r"<\w+ ", html))
    assert sum("image/png" in data for data in shown) >= 3
    assert all(output.get("name") != "stderr" for each in outputs for output in each), outputs
    assert sorted(path.name for path in work.iterdir()) == ["fox.jpg"]  # what the notebook saves

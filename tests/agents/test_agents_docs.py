"""docs/scenarios.md: every row selects a test, and every scenario test is in a row."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from agents import test_agents_scenarios
from core import test_seed_scenarios

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/scenarios.md").read_text("utf-8")
COMMAND = next(line.split() for line in PAGE.splitlines() if line.strip().startswith(".venv/bin/python -m pytest"))
ROWS = [[cell.strip(" `") for cell in line.strip("| ").split(" | ")] for line in PAGE.splitlines() if line.startswith("| ")][1:]
#: Scenarios that must be in the list.
SHOWN = (
    "continue a video: Sora's protocol", "continue a video: Veo", "continue a video: Omni", "continue a video: Grok", "image to video",
    "inpaint by a mask", "backend without inpainting", "style", "structure", "subject", "finds the region", "negative prompt, forwarded",
    "negative prompt, unsupported", "seed", "unknown continuation id", "audio cannot be continued", "another one named",
    "new continuation id",
)  # fmt: skip
pytestmark = pytest.mark.timeout(600)


def run(*words: str) -> str:
    """Run the page's command with the Python of this run."""
    done = subprocess.run([sys.executable, *COMMAND[1:-1], *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    return done.stdout


def names_of(function: Any) -> list[str]:
    """Return the names under which pytest runs a test: one for each combination of its parameters."""
    marks = [mark for mark in getattr(function, "pytestmark", ()) if mark.name == "parametrize"]
    axes = [mark.kwargs.get("ids") or [str(value) for value in mark.args[1]] for mark in marks]
    return [f"{function.__name__}[{'-'.join(reversed(words))}]" if words else function.__name__ for words in itertools.product(*axes)]


@pytest.fixture(scope="module")
def tests() -> list[str]:
    """Return the names of all scenario tests, with their parameters."""
    modules = (test_agents_scenarios, test_seed_scenarios)
    return [name for module in modules for key, value in vars(module).items() if key.startswith("test_") for name in names_of(value)]


def chosen(words: str, test: str) -> bool:
    """Return whether pytest's ``-k`` selects a test by these words."""
    expression = re.sub(
        r"\w+", lambda found: found[0] if found[0] in {"and", "or", "not"} else str(found[0].lower() in test.lower()), words
    )
    return bool(eval(expression))


def test_scenario_page_rows_and_tests_match(tests: list[str]) -> None:
    assert len(tests) > 35
    rows = {scenario: [test for test in tests if chosen(words, test)] for scenario, _, words in ROWS}
    assert [scenario for scenario, found in rows.items() if not found] == []
    assert set(tests) - {test for found in rows.values() for test in found} - {"test_guidance_for_all_backends_is_short"} == set()
    assert [words for words in SHOWN if not any(words in scenario for scenario in rows)] == []


def test_scenario_page_calls_use_known_fields(tests: list[str]) -> None:
    """The calls are Python."""
    from anymedia.agents.normalize import HOW, RENAMED
    from anymedia.generation_config import GenerationConfig

    known = {*GenerationConfig.__annotations__, *HOW, *RENAMED, "mode"}
    calls = [re.findall(r"generate_media\((.*?)\)", call) for _, call, _ in ROWS]
    fields = [field for found in calls for call in found for field in re.findall(r"(\w+)=", call)]
    assert len(fields) > 40
    assert set(fields) <= known


@pytest.mark.exhaustive  # a run of pytest of its own
def test_scenario_page_command_runs() -> None:
    """One of them as written; the others are tests of this run."""
    (words,) = [words for name, _, words in ROWS if name == "an unknown continuation id"]
    assert " passed" in run(words)

"""The pytest plugin of the kit, in separate pytest runs: gaps, skips, untested models, live runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import pytest
from tiers import quick_first

import _anymedia_pytest

EXAMPLE = Path(__file__).parents[2] / "examples/minimal_backend"


class Runs(Protocol):
    def __call__(self, *args: str, before: str = "", inside: str = "", swap: tuple[str, str] = ("", "")) -> tuple[int, str]: ...


@pytest.fixture
def kit(tmp_path: Path) -> Runs:
    """Install the example for child processes; return a function that runs a variant of its conformance test."""
    info = tmp_path / "lib/painter_media-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: painter-media\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("[anymedia]\npainter = painter_media.plugin\n")
    text = (EXAMPLE / "tests/test_conformance.py").read_text("utf-8")
    path = os.pathsep.join(map(str, (tmp_path / "lib", EXAMPLE / "src", EXAMPLE / "tests")))
    env = {k: v for k, v in os.environ.items() if k != "PAINTER_KEY"} | {
        "PYTHONPATH": path,
        "ANYMEDIA_STATE": str(tmp_path / "state"),
        "ANYMEDIA_CONFIG": str(tmp_path / "empty.toml"),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # the other plugins take longer to load than the tests to run
    }

    (tmp_path / "empty.toml").write_text("")

    def run(*args: str, before: str = "", inside: str = "", swap: tuple[str, str] = ("", "")) -> tuple[int, str]:
        changed = text.replace("class TestPainter", f"{before}\nclass TestPainter").replace('"painter"\n', f'"painter"\n{inside}\n', 1)
        changed = changed.replace(*swap, 1)
        (tmp_path / "test_it.py").write_text(changed, "utf-8")
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--rootdir",
            str(tmp_path),
            "-p",
            "_anymedia_pytest",
            *args,
            "test_it.py",
        ]
        done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    return run


def test_known_gap_is_run_and_reported_with_its_reason(kit: Runs) -> None:
    code, output = kit(
        "-k",
        "a01 or b11",
        before='from anymedia.testing import known_gap\n@known_gap("B11", "the service cuts prompts")',
        inside="    scenarios = ('success',)",
    )
    assert code == 0, output
    assert "not tested" not in output
    assert "known gap B11 of TestPainter: the service cuts prompts" in output
    assert "A01   ok 1" in output


@pytest.mark.parametrize(
    "way",
    quick_first(
        [
            {"before": 'import pytest\n@pytest.mark.skip(reason="later")'},
            {"before": 'import pytest\n@pytest.mark.xfail(reason="later")', "inside": "    scenarios = ('success',)"},
            {"swap": ("        with PainterFake", "        __import__('pytest').skip('later')\n        with PainterFake")},
        ]
    ),
    ids=["skip", "xfail", "skip-inside"],
)
def test_rule_skipped_without_known_gap_fails(kit: Runs, way: Any) -> None:
    code, output = kit("-k", "a06", **way)
    assert code == 1, output
    assert 'only be left out with @known_gap("A06", "why")' in output
    assert "A06   FAILED" in output


def test_failed_rule_prints_the_submit_and_its_page(kit: Runs) -> None:
    code, output = kit("-k", "c01 and unauthorized", swap=("PainterFake(scenario", "PainterFake('success'"))
    assert code == 1, output
    assert "the unauthorized scenario succeeded" in output
    assert "submit: prompt=a red fox in the snow" in output
    assert "docs/conformance.md#c01" in output


@pytest.mark.exhaustive
def test_known_gap_of_some_cases_leaves_the_others(kit: Runs) -> None:
    gap = 'from anymedia.testing import known_gap\n@known_gap("C01", "no quotas there", case="*-quota")'
    code, output = kit("-k", "c01", before=gap, swap=("PainterFake(scenario", "PainterFake('success' if scenario == 'quota' else scenario"))
    assert code == 0, output
    assert "C01   gap 1/8" in output
    assert "known gap C01 of TestPainter: no quotas there" in output


OIL = """
[[models]]
id = "painter-oil"
media = "image"
continuation_prefix = "painter_img"
requires = { module = "painter_oil", install = "pip install 'painter-media[oil]'" }

[models.generate_image]
prompt = { max_chars = 100 }
"""


def test_model_without_its_library_is_reported_as_not_tested(kit: Runs, tmp_path: Path) -> None:
    shutil.copytree(EXAMPLE / "src/painter_media", tmp_path / "lib/painter_media")
    with (tmp_path / "lib/painter_media/capabilities.toml").open("a") as file:
        file.write(OIL)
    untested = (
        "not tested by TestPainter: painter-oil generate_image, "
        "which needs 'painter_oil', not installed here (pip install 'painter-media[oil]')"
    )
    code, output = kit("-k", "b01 or b11 or b12")
    assert code == 0, output
    assert "B01   ok 1" in output
    assert "B12   ok 1" in output
    assert untested in output
    assert untested in kit("-k", "a01")[1]  # whichever rules are run

    (tmp_path / "lib/painter_oil.py").write_text("raise AssertionError('it was imported')")
    code, output = kit("-k", "b01 or b11 or b12")
    assert code == 0, output
    assert "B01   ok 2" in output
    assert "B12   ok 1" in output
    assert "not tested" not in output


def test_scenario_left_out_fails_a06(kit: Runs) -> None:
    code, output = kit("-k", "a06", inside="    scenarios = ('success', 'unauthorized')")
    assert code == 1
    left_out = (
        "rate_limited, quota, refused, down, slow, garbage, truncated, endless, bomb, lost_reply, unseen, forgotten, redirected, moved"
    )
    assert f"scenarios left out: {left_out}" in output


def test_key_other_than_the_canary_fails_a06(kit: Runs) -> None:
    code, output = kit("-k", "a06", swap=("CANARY}", "'my-own-key'}"))
    assert code == 1
    assert "give CANARY as PAINTER_KEY" in output


@pytest.mark.parametrize("budget", ["0", "-1", "inf", "nan", None])
def test_live_run_with_a_meaningless_budget_or_none_is_rejected(budget: str | None) -> None:
    options = {"--anymedia-live": True, "--anymedia-live-budget": None if budget is None else float(budget)}
    config: Any = SimpleNamespace(getoption=options.__getitem__)
    with pytest.raises(pytest.UsageError, match="--anymedia-live needs --anymedia-live-budget USD, above 0"):
        _anymedia_pytest.pytest_configure(config)


@pytest.mark.exhaustive
def test_live_run_without_a_budget_is_rejected(kit: Runs) -> None:
    code, output = kit("-k", "l01")
    assert code == 5, output  # no tests collected: live rules are off
    code, output = kit("--anymedia-live", "-k", "l01")
    assert code == 4
    assert "--anymedia-live needs --anymedia-live-budget USD, above 0" in output
    code, output = kit("--anymedia-live", "--anymedia-live-budget", "0.5", "-k", "l01", "-rs")
    assert code == 0, output  # without a key there is no usable instance, the only reason for a skip
    assert "no usable instance of painter" in output


def test_plugin_for_pytest_does_nothing_in_a_run_without_the_kit(tmp_path: Path) -> None:
    has_kit = "request.config.pluginmanager.hasplugin('anymedia-kit')"
    (tmp_path / "test_own.py").write_text(f"def test_b(): pass\ndef test_a(request): assert not {has_kit}\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stdout
    assert "2 passed" in ended.stdout
    assert "anymedia" not in ended.stdout

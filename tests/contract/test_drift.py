"""tools/drift: shipped model specs against a provider's lists and pages, given as files."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest
from tools.drift import differences, main, read_list, read_page

from anymedia.plugins.registry import discover

OPENAI = discover().capabilities("openai")
ALIVE = [spec.id for spec in OPENAI.models if spec.lifecycle.retires is None]


def test_list_is_read_from_any_envelope() -> None:
    day = datetime.date(2027, 1, 2)
    assert read_list({"data": [{"id": "a-b", "shutdown_date": "2027-01-02"}, {"id": "c-d"}]}) == {"a-b": day, "c-d": None}
    assert read_list({"models": [{"name": "models/gemini-x"}]}) == {"gemini-x": None}
    assert read_list(["a-b"]) == {"a-b": None}


def test_page_gives_dates_of_the_models_that_it_names() -> None:
    page = """
| 2026-12-01 | gpt-image-1-mini | gpt-image-2.6-flare |
- `sora-2` shuts down on Sep 24, 2026.
| gpt-image-2-2026-04-21 | no date |
"""
    found = read_page(page)
    assert found["gpt-image-1-mini"] == datetime.date(2026, 12, 1)
    assert found["sora-2"] == datetime.date(2026, 9, 24)
    assert "gpt-image-2-2026-04-21" not in found


def test_differences_name_missing_new_and_moved_models() -> None:
    listed: dict[str, datetime.date | None] = dict.fromkeys(ALIVE[1:])
    moved = ALIVE[1]
    listed |= {moved: datetime.date(2027, 3, 1), "gpt-image-9": None, "text-embedding-4": None}
    found = differences(OPENAI, listed, {})
    assert f"{ALIVE[0]}: shipped as alive, and not in the list" in found
    assert f"{moved}: shipped with retires = none; the provider says 2027-03-01" in found
    assert "gpt-image-9: in the list, and not shipped" in found
    assert not any("embedding" in line for line in found)
    assert differences(OPENAI, dict.fromkeys(ALIVE), {}) == []


def test_command_compares_files_and_exits_with_one_on_a_difference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "models.json").write_text(json.dumps({"data": [{"id": name} for name in ALIVE]}))
    assert main(["openai", str(tmp_path / "models.json")]) == 0
    assert capsys.readouterr().out == "no difference\n"
    (tmp_path / "deprecations.md").write_text("| gpt-image-1.5 | 2027-06-01 |\n")
    assert main(["openai", str(tmp_path / "models.json"), str(tmp_path / "deprecations.md")]) == 1
    assert "gpt-image-1.5: shipped with retires = 2026-12-01; the provider says 2027-06-01" in capsys.readouterr().out
    assert main([]) == 2

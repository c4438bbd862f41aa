"""``anymedia models --refresh`` for a service whose list only names its models: presence, shutdown dates, new ids."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from wire.openai_server import KEY, OpenAIServer


def anymedia(*words: str) -> tuple[int, str, str]:
    from anymedia.cli.app import cli

    done = CliRunner().invoke(cli, list(words))
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OpenAIServer:
    config = tmp_path / "config.toml"
    monkeypatch.setenv("ANYMEDIA_CONFIG", str(config))
    monkeypatch.setenv("ANYMEDIA_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("ANYMEDIA_DISABLE", "google,grok,openrouter")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with OpenAIServer() as server:
        config.write_text(f'[backends.openai]\nbase_url = "{server.base_url}"\n')
        yield server


def plan_of(model: str = "") -> dict[str, object]:
    code, out, err = anymedia("plan", "image", "a fox", "-b", "openai", "--json", *(["-m", model] if model else []))
    assert code == 0, err
    return json.loads(out)["plan"] if "plan" in json.loads(out) else json.loads(out)


def test_refresh_of_a_list_without_specs_saves_presence_and_shutdown_dates(fake: OpenAIServer) -> None:
    chosen = str(plan_of()["model"])
    fake.shutdown_dates.pop(chosen, None)
    fake.shutdown_dates |= {"gpt-image-9": None, "gpt-image-2": "2026-12-24"}
    code, out, err = anymedia("models", "openai", "--refresh", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert "gpt-image-9" in found["added"]
    assert chosen in found["removed"]
    assert ("gpt-image-2", "2026-12-24") in [(c["model"], c["after"]) for c in found["changed"] if c["field"] == "lifecycle.retires"]
    assert Path(found["path"]).parent.name == "overlays"
    after = plan_of()
    assert after["model"] != chosen
    assert [r["reasons"][0]["code"] for r in after["rejected"] if r["candidate"] == f"openai/{chosen}"] == ["demoted"]
    assert plan_of(chosen)["model"] == chosen
    fake.shutdown_dates[chosen] = None
    code, out, err = anymedia("models", "--refresh")
    assert code == 0, err
    assert plan_of()["model"] == chosen


def test_refresh_of_a_service_that_fails_keeps_what_is_known(fake: OpenAIServer) -> None:
    assert anymedia("models", "openai", "--refresh")[0] == 0
    before = plan_of()
    fake.fail("status", on="GET /v1/models", times=None, status=500, json={})
    code, _, err = anymedia("models", "openai", "--refresh")
    assert code != 0
    assert "openai" in err
    assert plan_of()["model"] == before["model"]

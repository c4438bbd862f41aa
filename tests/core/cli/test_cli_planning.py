"""Plans and configs: what would be sent, without sending it."""

from __future__ import annotations

import json

import pytest


def test_a_dry_run_spends_nothing_and_leaves_no_job(call, submits, work):
    told = call("image", "a boat", "-b", "demo", "-n", "5", "--seed", "3", "--dry-run", "-o", "boats/")
    assert told.code == 0
    assert submits() == []
    assert list(work.iterdir()) == []
    assert call("jobs", "list", "--json").json["jobs"] == []
    text = told.out.decode()
    assert text.startswith("generate_image by demo/painter, 3 calls, 0.1 to 0.2 USD")
    assert "ignored: seed 3 -> None" in text
    assert "bridged: n 5 -> [2, 2, 1]" in text


def test_plan_is_the_same_as_dry_run(call):
    words = ("image", "a boat", "-b", "demo", "--size", "100x60", "--json")
    assert call("plan", *words).json == call(*words, "--dry-run").json


def test_plan_takes_the_other_name_of_audio(call):
    told = call("plan", "say", "hello", "-b", "locked", "--json")
    assert told.code == 3
    assert "LOCKED_API_KEY" in told.json["error"]["message"] + told.json["error"]["fix"]


def test_strict_refuses_what_would_be_adjusted(call, submits):
    told = call("image", "a boat", "-b", "demo", "--seed", "3", "--strict")
    assert told.code == 4
    assert "seed" in told.err
    assert submits() == []


def test_a_cap_holds_for_the_whole_call(call, submits):
    assert call("image", "a boat", "-b", "demo", "-n", "6", "--max-cost", "0.1").code == 2
    assert submits() == []
    told = call("image", "a boat", "-b", "demo", "-n", "2", "--max-cost", "0.1")
    assert told.code == 0, told.err


def test_extra_reaches_the_plan_and_an_unknown_key_is_refused(call):
    assert call("plan", "image", "a boat", "-b", "demo", "--extra", "grain=3").code == 0
    told = call("plan", "image", "a boat", "-b", "demo", "--extra", "grian=3")
    assert told.code in {2, 4}
    assert "grain" in told.err


def test_a_config_file_is_a_whole_call(call, work):
    config = {"prompt": "a boat", "backend": "demo", "size": "96x64", "output_path": "boat.png"}
    (work / "call.json").write_text(json.dumps(config))
    told = call("image", "--config", "call.json")
    assert (told.code, (work / "boat.png").is_file()) == (0, True), told.err


def test_what_the_command_line_says_wins_over_the_config(call, submits):
    config = {"prompt": "a boat", "backend": "demo", "size": "96x64", "quality": "low"}
    told = call("image", "a ship", "--size", "32x32", "--config", "-", "--json", input=json.dumps(config))
    assert told.code == 0, told.err
    assert submits() == ["generate_image a ship"]
    assert (told.json["files"][0]["width"], told.json["files"][0]["height"]) == (32, 32)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "JSON"),
        ('{"prompt": "x", "bakground": "auto"}', "background"),
        ('{"prompt": "x", "seed": "4"}', "$.seed"),
        ('{"prompt": "x", "mode": "video"}', "anymedia video"),
        ('{"prompt": null}', "$.prompt: is missing"),
        ("[]", "$"),
    ],
)
def test_a_wrong_config_says_where(call, submits, text, said):
    told = call("image", "--config", "-", input=text)
    assert told.code == 2
    assert said in told.err
    assert submits() == []


def test_prompt_and_config_cannot_both_be_stdin(call):
    assert call("image", "-", "--config", "-", input="{}").code == 2


def test_a_config_that_is_not_there_is_said(call):
    told = call("image", "--config", "nowhere.json")
    assert told.code == 2
    assert "nowhere.json" in told.err


def test_a_plan_says_why_not_elsewhere_and_leaves_out_what_is_beside_the_point(call):
    text = call("plan", "video", "waves", "-b", "demo").out.decode()
    assert "not demo/old-film: 'demo/old-film' was shut down on 2026-01-15; use 'film' instead" in text
    assert "demo/painter" not in text
    assert "more were not asked for, or do something else" in text
    rejected = [r["candidate"] for r in call("plan", "video", "waves", "-b", "demo", "--json").json["rejected"]]
    assert {"demo/painter", "demo/old-film", "locked/voice"} <= set(rejected)

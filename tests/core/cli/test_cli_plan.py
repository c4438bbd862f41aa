"""Plans and config files."""

from __future__ import annotations

import json

import pytest


def test_dry_run_submits_nothing_and_leaves_no_job(call, submits, work):
    result = call("image", "a boat", "-b", "demo", "-n", "5", "--seed", "3", "--dry-run", "-o", "boats/")
    assert result.code == 0
    assert submits() == []
    assert list(work.iterdir()) == []
    assert call("jobs", "list", "--json").json["jobs"] == []
    text = result.out.decode()
    assert text.startswith("generate_image by demo/painter, 3 calls, 0.1 to 0.2 USD")
    assert "ignored: seed 3 -> left out" in text
    assert "bridged: n 5 -> 2, 2, 1 (" in text


def test_plan_is_the_same_as_dry_run(call):
    words = ("image", "a boat", "-b", "demo", "--size", "100x60", "--json")
    assert call("plan", *words).json == call(*words, "--dry-run").json


def test_plan_accepts_the_alias_of_audio(call):
    result = call("plan", "say", "hello", "-b", "locked", "--json")
    assert result.code == 3
    assert "LOCKED_API_KEY" in result.json["error"]["message"] + result.json["error"]["fix"]


def test_strict_with_an_adjustment_is_rejected(call, submits):
    result = call("image", "a boat", "-b", "demo", "--seed", "3", "--strict")
    assert result.code == 4
    assert "seed" in result.err
    assert submits() == []


def test_max_cost_applies_to_all_calls_of_a_request(call, submits):
    assert call("image", "a boat", "-b", "demo", "-n", "6", "--max-cost", "0.1").code == 2
    assert submits() == []
    result = call("image", "a boat", "-b", "demo", "-n", "2", "--max-cost", "0.1")
    assert result.code == 0, result.err


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--max-cost", "it would be refused: it may cost 0.08 USD"),
        ("--ask-above", "a person would be asked first: it may cost more than 0.01 USD"),
    ],
)
def test_plan_says_what_a_run_would_meet(call, submits, option, words):
    result = call("plan", "image", "a boat", "-b", "demo", "-n", "2", option, "0.01")
    assert result.code == 0
    assert words in result.out.decode()
    assert call("image", "a boat", "-b", "demo", "-n", "2", option, "0.01").code != 0
    assert submits() == []


def test_extra_with_an_unknown_key_is_rejected(call):
    assert call("plan", "image", "a boat", "-b", "demo", "--extra", "grain=3").code == 0
    result = call("plan", "image", "a boat", "-b", "demo", "--extra", "grian=3")
    assert result.code in {2, 4}
    assert "grain" in result.err


def test_config_file_sets_all_fields(call, work):
    config = {"prompt": "a boat", "backend": "demo", "size": "96x64", "output_path": "boat.png"}
    (work / "call.json").write_text(json.dumps(config))
    result = call("image", "--config", "call.json")
    assert (result.code, (work / "boat.png").is_file()) == (0, True), result.err


def test_command_line_overrides_the_config_file(call, submits):
    config = {"prompt": "a boat", "backend": "demo", "size": "96x64", "quality": "low"}
    result = call("image", "a ship", "--size", "32x32", "--config", "-", "--json", input=json.dumps(config))
    assert result.code == 0, result.err
    assert submits() == ["generate_image a ship"]
    assert (result.json["files"][0]["width"], result.json["files"][0]["height"]) == (32, 32)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "JSON"),
        ('{"prompt": "x", "bakground": "auto"}', "background"),
        ('{"prompt": "x", "seed": "four"}', "$.seed"),
        ('{"prompt": "x", "mode": "video"}', "anymedia video"),
        ('{"prompt": null}', "$.prompt: is missing"),
        ("[]", "$"),
    ],
)
def test_invalid_config_names_the_path(call, submits, text, said):
    result = call("image", "--config", "-", input=text)
    assert result.code == 2
    assert said in result.err
    assert submits() == []


def test_prompt_and_config_cannot_both_be_stdin(call):
    assert call("image", "-", "--config", "-", input="{}").code == 2


def test_missing_config_file_is_named(call):
    result = call("image", "--config", "nowhere.json")
    assert result.code == 2
    assert "nowhere.json" in result.err


def test_plan_explains_relevant_rejections_only(call):
    text = call("plan", "video", "waves", "-b", "demo").out.decode()
    assert "not demo/old-film: 'demo/old-film' was shut down on 2026-01-15; use 'film' instead" in text
    assert "demo/painter" not in text
    assert "more candidates were not requested or do not support the operation" in text
    rejected = [r["candidate"] for r in call("plan", "video", "waves", "-b", "demo", "--json").json["rejected"]]
    assert "demo/old-film" in rejected
    assert not {"demo/painter", "locked/voice"} & set(rejected)  # they make no videos


@pytest.mark.parametrize("command", [("image",), ("batch", "prompts.txt", "-o", "out/")])
def test_config_that_begins_with_a_byte_order_mark_is_read(call, work, command):
    (work / "prompts.txt").write_text("a fox\n")
    (work / "call.json").write_text('{"prompt": "a ship", "size": "32x32"}', encoding="utf-8-sig")
    result = call(*command, "-b", "demo", "--config", "call.json", "--dry-run")
    assert result.code == 0, result.err

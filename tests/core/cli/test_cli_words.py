"""What a person reads when something does not work: what was asked, what is true, what to do."""

from __future__ import annotations


def test_a_missing_key_is_named_as_what_is_not_set_and_what_to_set(call, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    told = call("image", "a fox", "-b", "openai")
    assert told.code == 3
    first, fix, *_ = told.err.splitlines()
    assert first == "anymedia: 'openai' is not usable: OPENAI_API_KEY is not set."
    assert fix.startswith("  hint: set OPENAI_API_KEY;")
    assert "openai (" not in fix, "it was said once already"


def test_who_else_could_is_told_in_one_list_with_what_is_not_set(call, monkeypatch):
    for name in ("OPENAI_API_KEY", "GOOGLE_API_KEY", "GEMINI_API_KEY", "XAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    fix = call("image", "a fox", "-b", "openai").err.splitlines()[1]
    assert "also possible after setup: " in fix
    assert "google (set GOOGLE_API_KEY or GEMINI_API_KEY)" in fix
    assert "grok (set XAI_API_KEY)" in fix


def test_a_format_of_another_medium_says_which_there_are(call):
    told = call("image", "a fox", "-o", "fox.mp4")
    assert told.code == 2
    assert "-o: mp4 is not a format for image" in told.err
    assert "png, jpeg, webp" in told.err and "webm" not in told.err


def test_a_missing_input_is_named_once(call):
    told = call("edit", "missing.png", "blue", "-b", "local")
    assert told.code == 2
    assert told.err.count("missing.png") == 1
    assert "does not exist" in told.err


def test_an_extra_parameter_of_a_model_that_has_none_suggests_none(call):
    told = call("image", "a fox", "-b", "local", "--extra", "depth=1")
    assert told.code == 2
    assert "'depth'" in told.err and "it has none" in told.err
    assert "nearest" not in told.err


def test_a_file_to_go_on_from_that_is_not_there_is_said_to_be_missing(call):
    told = call("video", "on", "--continue", "gone.mp4", "-b", "local")
    assert told.code == 2
    assert "'gone.mp4' does not exist" in told.err
    assert "--continue: " in told.err


def test_a_config_key_that_nobody_knows_brings_the_ones_there_are(call, tmp_path, monkeypatch):
    config = tmp_path / "c.toml"
    config.write_text("[policy]\nmax_cost_usd = 3\n")
    monkeypatch.setenv("ANYMEDIA_CONFIG", str(config))
    told = call("models")
    assert told.code == 2
    assert "unknown key 'max_cost_usd'" in told.err
    assert "budget" in told.err and "strict" in told.err
    config.write_text("policy = 3\n")
    assert "policy: expected table, got int" in call("models").err


def test_an_empty_stdin_is_the_prompts_fault(call):
    assert "PROMPT: " in call("image", "-").err


def test_a_disk_that_takes_nothing_more_is_no_wrong_usage(call, monkeypatch):
    from anymedia.files.atomic_writer import Writer

    def full(self, data):
        raise self._failed(OSError(28, "No space left on device"))

    monkeypatch.setattr(Writer, "write", full)
    told = call("image", "a boat", "-b", "demo", "-o", "boat.png", "--json")
    assert (told.code, told.json["error"]["code"], told.json["error"]["charged"]) == (1, "cannot_write", "yes")
    assert "full disk" in told.json["error"]["message"]
    assert f"anymedia jobs resume {told.json['error']['job_id']}" in told.json["error"]["fix"]


def test_an_interruption_that_left_no_time_to_look_says_where_to_look(call, monkeypatch):
    from anymedia.router import Router

    def impatient(*given, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr(Router, "plan", impatient)
    told = call("image", "a boat", "-b", "demo", "--json")
    assert (told.code, told.json["error"]["code"]) == (130, "interrupted")
    assert "anymedia jobs list" in told.json["error"]["fix"]


def test_an_interruption_while_the_command_line_is_loaded_is_a_code_and_no_traceback(monkeypatch):
    import sys

    import pytest

    import anymedia.cli as command

    class Interrupted:
        def find_spec(self, name, path=None, target=None):
            if name == "anymedia.cli.app":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "anymedia.cli.app", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupted(), *sys.meta_path])
    with pytest.raises(SystemExit) as left:
        command.main(["--version"])
    assert left.value.code == 130

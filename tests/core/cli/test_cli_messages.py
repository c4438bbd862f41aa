"""Error messages: what was asked, what is true, what to do."""

from __future__ import annotations

import pytest


def test_missing_key_names_the_variable_to_set(call, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    result = call("image", "a fox", "-b", "openai")
    assert result.code == 3
    first, fix, *_ = result.err.splitlines()
    assert first == "anymedia: 'openai' is not usable: OPENAI_API_KEY is not set."
    assert fix.startswith("  hint: set OPENAI_API_KEY;")
    assert "openai (" not in fix


def test_missing_key_lists_other_backends_to_set_up(call, monkeypatch):
    for name in ("OPENAI_API_KEY", "GOOGLE_API_KEY", "GEMINI_API_KEY", "XAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    fix = call("image", "a fox", "-b", "openai").err.splitlines()[1]
    assert "also possible after setup: " in fix
    assert "google (set GOOGLE_API_KEY or GEMINI_API_KEY)" in fix
    assert "grok (set XAI_API_KEY)" in fix


def test_format_of_another_medium_lists_the_valid_ones(call):
    result = call("image", "a fox", "-o", "fox.mp4")
    assert result.code == 2
    assert "-o: mp4 is not a format for image" in result.err
    assert "png, jpeg, webp" in result.err and "webm" not in result.err


@pytest.mark.parametrize("output", ["", " ", "x" * 300 + ".png"], ids=["empty", "blank", "long"])
def test_output_that_is_not_a_path_is_refused(call, output):
    result = call("image", "a fox", "-b", "demo", "-o", output)
    assert result.code == 2
    assert "-o: " in result.err and "base64" not in result.err


def test_missing_input_is_named_once(call):
    result = call("edit", "missing.png", "blue", "-b", "local")
    assert result.code == 2
    assert result.err.count("missing.png") == 1
    assert "does not exist" in result.err


def test_extra_parameter_of_a_model_without_any_suggests_none(call):
    result = call("image", "a fox", "-b", "local", "--extra", "depth=1")
    assert result.code == 2
    assert "'depth'" in result.err and "it has none" in result.err
    assert "nearest" not in result.err


def test_unknown_id_after_a_result_says_to_omit_the_option(call):
    assert call("image", "a fox", "-b", "demo", "-o", "fox.png").code == 0
    fix = call("image", "a fox", "--continue", "nope").err.splitlines()[1]
    assert fix.endswith("or omit --continue.")


def test_image_from_stdin_is_refused_and_a_file_asked_for(call):
    result = call("edit", "-", "a fox", "-b", "local", input=b"")
    assert result.code == 2
    assert "give the image as a file" in result.err


def test_unknown_task_lists_those_there_are(call):
    result = call("models", "--task", "fly")
    assert result.code == 2
    assert "inpaint" in result.err


def test_model_that_cannot_be_run_is_not_to_be_omitted(call):
    result = call("run", "nothing/here", "prompt=x")
    assert result.code == 2
    assert "omit" not in result.err
    assert "use BACKEND/MODEL" in result.err


def test_continue_with_a_missing_file_is_an_error(call):
    result = call("video", "on", "--continue", "gone.mp4", "-b", "local")
    assert result.code == 2
    assert "'gone.mp4' does not exist" in result.err
    assert "--continue: " in result.err


def test_unknown_settings_key_lists_the_valid_ones(call, tmp_path, monkeypatch):
    config = tmp_path / "c.toml"
    config.write_text("[policy]\nmax_cost_usd = 3\n")
    monkeypatch.setenv("ANYMEDIA_CONFIG", str(config))
    result = call("models")
    assert result.code == 2
    assert "unknown key 'max_cost_usd'" in result.err
    assert "budget" in result.err and "strict" in result.err
    config.write_text("policy = 3\n")
    assert "policy: expected table, got int" in call("models").err


def test_empty_stdin_is_reported_for_the_prompt(call):
    assert "PROMPT: " in call("image", "-").err


def test_full_disk_is_not_a_usage_error(call, monkeypatch):
    from anymedia.files.atomic_writer import Writer

    def full(self, data):
        raise self._failed(OSError(28, "No space left on device"))

    monkeypatch.setattr(Writer, "write", full)
    result = call("image", "a boat", "-b", "demo", "-o", "boat.png", "--json")
    assert (result.code, result.json["error"]["code"], result.json["error"]["charged"]) == (1, "cannot_write", "yes")
    assert "full disk" in result.json["error"]["message"]
    assert f"anymedia jobs resume {result.json['error']['job_id']}" in result.json["error"]["fix"]


def test_interruption_before_submit_names_the_jobs_command(call, monkeypatch):
    from anymedia.router import Router

    def impatient(*given, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr(Router, "plan", impatient)
    result = call("image", "a boat", "-b", "demo", "--json")
    assert (result.code, result.json["error"]["code"]) == (130, "interrupted")
    assert "anymedia jobs list" in result.json["error"]["fix"]


def test_interruption_during_import_exits_without_a_traceback(monkeypatch):
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

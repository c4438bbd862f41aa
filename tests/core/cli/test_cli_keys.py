"""The command ``keys`` and its edits of keys.toml."""

from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anymedia.cli.keys import edit_toml
from anymedia.errors import SettingsError

_LIST_MODELS = """

@hookimpl
async def list_models(context):
    from anymedia.hookspecs import ListedModel

    return (ListedModel(id="voice"),)
"""


@pytest.fixture
def keys_file(environment):
    return Path(environment["HOME"]) / ".config" / "anymedia" / "keys.toml"


def test_set_stores_the_key_of_stdin_for_a_backend_without_showing_it(call, keys_file):
    result = call("keys", "set", "locked", input="sk-very-secret\n")
    assert result.code == 0, result.err
    assert tomllib.loads(keys_file.read_text()) == {"locked": {"api_key": "sk-very-secret"}}
    assert stat.S_IMODE(keys_file.stat().st_mode) == 0o600
    listed = call("keys", "list")
    assert "secret" not in (result.out + listed.out).decode() + result.err + listed.err
    assert any(line.split() == ["locked", "api_key", "keys.toml", "[locked]", "api_key"] for line in listed.lines)
    assert next(m for m in call("models", "locked", "--json").json["models"])["usable"] is True


def test_set_under_a_variable_name_and_remove(call, keys_file, monkeypatch):
    assert call("keys", "set", "LOCKED_API_KEY", input="sk-1").code == 0
    assert "keys.toml LOCKED_API_KEY" in [c["found_in"] for c in call("keys", "list", "--json").json["credentials"]]
    assert tomllib.loads(keys_file.read_text()) == {"LOCKED_API_KEY": "sk-1"}
    assert call("keys", "remove", "LOCKED_API_KEY").code == 0
    assert tomllib.loads(keys_file.read_text()) == {}
    assert call("keys", "remove", "LOCKED_API_KEY").code == 2
    monkeypatch.setenv("LOCKED_API_KEY", "sk-2")
    assert "LOCKED_API_KEY takes precedence" in call("keys", "set", "LOCKED_API_KEY", input="sk-1").err
    assert "precedence" not in call("keys", "set", "locked", input="sk-1").err  # the key of a backend wins over the environment


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lokced", "did you mean 'locked'"),
        ("LOKCED_API_KEY", "did you mean 'LOCKED_API_KEY'"),
        ("locked.api_kye", "did you mean 'api_key'"),
        ("demo", "needs no key"),
    ],
)
def test_set_of_an_unknown_name_is_rejected_with_a_suggestion(call, keys_file, name, message):
    result = call("keys", "set", name, input="sk-1")
    assert result.code == 2
    assert message in result.err
    assert not keys_file.exists()


@pytest.mark.parametrize(
    "text", ["", "  \n", "two\nlines", "bell\a", "sk-\u00e9-lines", "two lines", "\u201csk-lines\u201d", "sk\u00a0lines"]
)
def test_set_of_what_cannot_be_a_key_is_rejected_without_repeating_it(call, keys_file, text):
    result = call("keys", "set", "locked", input=text)
    assert result.code == 2
    assert "lines" not in result.err and "bell" not in result.err
    assert not keys_file.exists()


def test_list_warns_about_names_that_no_backend_has(call, keys_file):
    keys_file.parent.mkdir(parents=True, exist_ok=True)
    keys_file.write_text('[lokced]\napi_key = "sk-very-secret"\n')
    keys_file.chmod(0o600)
    result = call("keys", "list")
    assert "warning: keys.toml [lokced]" in result.err
    assert "did you mean 'locked'?" in result.err
    assert "secret" not in result.err


def test_set_with_the_key_as_an_argument_is_rejected_without_repeating_it(call, keys_file):
    result = call("keys", "set", "locked", "sk-ONTHECOMMANDLINE")
    assert result.code == 2
    assert "pipe it to stdin" in result.err
    assert "ONTHECOMMANDLINE" not in result.err
    assert not keys_file.exists()


def test_set_replaces_the_file_that_a_link_points_to(call, keys_file, tmp_path):
    keys_file.parent.mkdir(parents=True)
    (tmp_path / "own.toml").write_text("# mine\n")
    (tmp_path / "own.toml").chmod(0o600)
    keys_file.symlink_to(tmp_path / "own.toml")
    assert call("keys", "set", "locked", input="sk-1").code == 0
    assert keys_file.is_symlink()
    assert (tmp_path / "own.toml").read_text().startswith("# mine\n")
    assert os.listdir(keys_file.parent) == ["keys.toml"]  # noqa: PTH208 - no temporary file is left


def test_test_reports_a_missing_key_and_exits_with_an_error(call):
    result = call("keys", "test", "locked", "--json")
    assert result.code == 6
    assert result.json == {"success": False, "backends": {"locked": {"status": "failed", "text": "missing: LOCKED_API_KEY"}}}
    assert "anymedia keys set" in call("keys", "test").err


def test_test_of_a_backend_that_lists_models_reports_their_number(call, site):
    with (site / "locked_backend.py").open("a") as file:
        file.write(_LIST_MODELS)
    call("keys", "set", "locked", input="sk-1")
    result = call("keys", "test")
    assert result.code == 0, result.err
    assert result.lines == ["locked  ok  1 models listed"]


def test_edit_keeps_comments_and_other_keys():
    text = '# keys\nA_KEY = "1"  # old\n\n[mygpu]\n# server\napi_key = "2"\n'
    assert edit_toml(text, "mygpu", "api_key", "3") == text.replace('"2"', '"3"')
    assert edit_toml(text, "", "A_KEY", None) == text.replace('A_KEY = "1"  # old\n', "")
    with pytest.raises(SettingsError, match=r"config\.toml is not valid TOML"):
        edit_toml("A = ", "plugins", "allow", ["a==1"], "config.toml")
    with pytest.raises(SettingsError, match="not valid TOML"):
        edit_toml("A = ", "", "A_KEY", "1")
    with pytest.raises(SettingsError, match="automatically"):
        edit_toml('mygpu.api_key = "1"\n', "mygpu", "api_key", "2")


@pytest.mark.parametrize("option", [(), ("--json",)])
@pytest.mark.parametrize("text", ['locked = { api_key = "old" }\n', 'locked.api_key = "old"\n'])
def test_set_in_a_file_that_cannot_be_changed_does_not_show_the_key(call, keys_file, text, option):
    keys_file.parent.mkdir(parents=True, exist_ok=True)
    keys_file.write_text(text)
    keys_file.chmod(0o600)
    result = call("keys", "set", "locked", *option, input="sk-very-secret\n")
    assert result.code == 2
    assert "in an editor" in result.err
    assert "secret" not in result.out.decode() + result.err
    assert keys_file.read_text() == text


_name = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1)


@given(st.dictionaries(_name, st.dictionaries(_name, st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1))))
def test_edit_of_any_names_and_values_round_trips(tables):
    text = ""
    for section, table in tables.items():
        for key, value in table.items():
            text = edit_toml(text, section, key, value)
    assert tomllib.loads(text) == {section: table for section, table in tables.items() if table}
    for section, table in tables.items():
        for key in table:
            text = edit_toml(text, section, key, None)
    assert not any(tomllib.loads(text).values())

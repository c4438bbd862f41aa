"""Keys in the system's keyring: the command ``keys`` and calls, with the library keyring and a backend of it in memory."""

from __future__ import annotations

import stat
import sys
import tomllib
from pathlib import Path

import keyring
import keyring.backend
import keyring.backends.fail
import keyring.backends.null
import keyring.errors
import pytest

from anymedia.credentials import read_keys
from anymedia.errors import SettingsError
from anymedia.redaction import redact, register_secret

_HOOKS = """

@hookimpl
async def list_models(context):
    from anymedia.hookspecs import ListedModel

    if context.secret("api_key").reveal() != "sk-in-the-keyring":
        raise ValueError(f"wrong key {context.secret('api_key').reveal()}")
    return (ListedModel(id="voice"),)


@hookimpl
async def generate_audio(request, context):
    from anymedia.errors import AuthenticationFailed

    async with context.submission():
        raise AuthenticationFailed(f"unknown key {context.secret('api_key').reveal()}", delivery="refused")
"""


class MemoryKeyring(keyring.backend.KeyringBackend):
    """A backend of the library that keeps passwords in a dictionary and records what is read."""

    priority = 1

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[tuple[str, str], str] = {}
        self.read: list[str] = []

    def get_password(self, service: str, username: str) -> str | None:
        self.read.append(username)
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        if self.kept.pop((service, username), None) is None:
            raise keyring.errors.PasswordDeleteError("not found")


class LockedKeyring(MemoryKeyring):
    """A keyring whose user does not unlock it."""

    def get_password(self, service: str, username: str) -> str | None:
        raise keyring.errors.KeyringLocked("the collection is locked")


@pytest.fixture
def memory(monkeypatch):
    before, used = keyring.core._keyring_backend, MemoryKeyring()
    keyring.set_keyring(used)
    yield used
    keyring.core._keyring_backend = before


@pytest.fixture
def keys_file(environment):
    return Path(environment["HOME"]) / ".config" / "anymedia" / "keys.toml"


@pytest.fixture
def hooks(site):
    with (site / "locked_backend.py").open("a") as file:
        file.write(_HOOKS)


def _found_in(call):
    (found,) = (c["found_in"] for c in call("keys", "list", "--json").json["credentials"] if c["backend"] == "locked")
    return found


def test_set_keyring_stores_the_key_in_the_keyring_and_only_its_place_in_the_file(call, keys_file, memory):
    result = call("keys", "set", "locked", "--keyring", input="sk-in-the-keyring\n")
    assert result.code == 0, result.err
    assert memory.kept == {("anymedia", "locked.api_key"): "sk-in-the-keyring"}
    assert tomllib.loads(keys_file.read_text()) == {"locked": {"api_key": {"keyring": True}}}
    assert stat.S_IMODE(keys_file.stat().st_mode) == 0o600
    assert "sk-in" not in result.out.decode() + result.err
    assert _found_in(call) == "keys.toml [locked] api_key (system keyring)"


def test_remove_deletes_the_key_from_the_file_and_the_keyring(call, keys_file, memory):
    call("keys", "set", "LOCKED_API_KEY", "--keyring", input="sk-1")
    assert memory.kept == {("anymedia", "LOCKED_API_KEY"): "sk-1"}
    assert _found_in(call) == "keys.toml LOCKED_API_KEY (system keyring)"
    assert call("keys", "remove", "LOCKED_API_KEY").code == 0
    assert memory.kept == {} and tomllib.loads(keys_file.read_text()) == {}
    assert _found_in(call) is None


def test_set_without_keyring_replaces_the_key_of_the_keyring(call, keys_file, memory):
    call("keys", "set", "locked", "--keyring", input="sk-1")
    assert call("keys", "set", "locked", input="sk-2").code == 0
    assert memory.kept == {} and tomllib.loads(keys_file.read_text()) == {"locked": {"api_key": "sk-2"}}


@pytest.mark.usefixtures("memory")
def test_key_in_the_keyring_has_the_precedence_of_its_entry(call, monkeypatch):
    call("keys", "set", "LOCKED_API_KEY", "--keyring", input="sk-1")
    monkeypatch.setenv("LOCKED_API_KEY", "sk-2")
    assert _found_in(call) == "LOCKED_API_KEY"
    call("keys", "set", "locked", "--keyring", input="sk-3")
    assert _found_in(call) == "keys.toml [locked] api_key (system keyring)"


@pytest.mark.usefixtures("hooks")
def test_keyring_is_read_by_what_sends_the_key_and_by_nothing_else(call, memory):
    call("keys", "set", "locked", "--keyring", input="sk-in-the-keyring")
    memory.read.clear()
    for command in (["plan", "audio", "hello", "-m", "locked"], ["models"], ["keys", "list"], ["doctor"]):
        result = call(*command)
        assert result.code == 0, result.err
    assert memory.read == []
    tested = call("keys", "test", "locked")
    assert tested.lines == ["locked  ok  1 models listed"]
    assert set(memory.read) == {"locked.api_key"}


@pytest.mark.usefixtures("hooks", "memory")
def test_call_sends_the_key_of_the_keyring_and_hides_it_in_errors(call):
    call("keys", "set", "locked", "--keyring", input="sk-in-the-keyring")
    result = call("audio", "hello", "-m", "locked")
    assert result.code != 0
    assert "unknown key [hidden]" in result.err


@pytest.mark.usefixtures("hooks")
def test_key_that_left_the_keyring_is_reported_with_the_command_that_sets_it(call, memory):
    call("keys", "set", "locked", "--keyring", input="sk-in-the-keyring")
    memory.kept.clear()
    assert "the system's keyring has no key 'locked.api_key'" in call("keys", "test", "locked").out.decode()
    result = call("audio", "hello", "-m", "locked")
    assert result.code != 0 and "anymedia keys set locked.api_key --keyring" in result.err
    assert call("keys", "remove", "locked").code == 0


@pytest.mark.parametrize(
    ("used", "message"),
    [
        (keyring.backends.fail.Keyring, "cannot be used for the key 'locked.api_key': NoKeyringError"),
        (keyring.backends.null.Keyring, "did not store the key 'locked.api_key'"),
        (LockedKeyring, "KeyringLocked: the collection is locked"),
    ],
)
def test_set_in_an_unusable_keyring_is_refused_and_writes_nothing(call, keys_file, memory, used, message):
    keyring.set_keyring(used())
    result = call("keys", "set", "locked", "--keyring", input="sk-in-the-keyring")
    assert result.code == 2
    assert message in result.err and "run without --keyring" in result.err and "sk-in" not in result.err
    assert not keys_file.exists()


def test_set_without_the_extra_says_what_to_install(call, keys_file, memory, monkeypatch):
    call("keys", "set", "locked", "--keyring", input="sk-1")
    monkeypatch.setitem(sys.modules, "keyring", None)
    result = call("keys", "set", "LOCKED_API_KEY", "--keyring", input="sk-1")
    assert result.code == 2 and "pip install 'anymedia[keyring]'" in result.err
    assert call("models").code == 0  # what needs no key works without the package


def test_plan_with_an_unusable_keyring_works_with_overlays_present(call, environment, memory):
    call("keys", "set", "locked", "--keyring", input="sk-1")
    (Path(environment["ANYMEDIA_STATE"]) / "overlays").mkdir(parents=True)
    keyring.set_keyring(LockedKeyring())
    assert call("plan", "image", "a red circle", "-m", "demo").code == 0


def test_key_of_the_keyring_is_hidden_in_texts_once_it_is_read(tmp_path, memory):
    path = tmp_path / "keys.toml"
    path.write_text("A_KEY = { keyring = true }\n")
    path.chmod(0o600)
    memory.kept["anymedia", "A_KEY"] = "canary-in-the-keyring"
    secret = read_keys(path).by_variable["A_KEY"]
    register_secret(secret)
    assert bool(secret) and secret.known is None and redact("canary-in-the-keyring") == "canary-in-the-keyring"
    assert secret.reveal() == "canary-in-the-keyring" and redact("it is canary-in-the-keyring") == "it is [hidden]"


def test_entry_other_than_keyring_true_is_rejected(tmp_path):
    path = tmp_path / "keys.toml"
    path.write_text("[locked]\napi_key = { keyring = false }\n")
    path.chmod(0o600)
    with pytest.raises(SettingsError, match="expected a non-empty text or"):
        read_keys(path)

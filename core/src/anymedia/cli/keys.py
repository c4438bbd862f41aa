"""``anymedia keys``: set, list, remove and test API keys in ``keys.toml`` or the system's keyring; a key is never shown or an argument."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ..credentials import IN_KEYRING
from ..directories import user_dir
from ..errors import InvalidRequest, MediaError, Problem, SettingsError, did_you_mean
from ..plugins.instances import COMPATIBLE, BackendInstance
from ..redaction import register_secret
from . import complete
from .app import Group
from .console import Console, table
from .environment import AS_JSON, Environment, load_environment
from .process import is_terminal, run

_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,127}")
_NAME = click.argument("name", metavar="BACKEND[.CREDENTIAL]|VARIABLE", shell_complete=complete.backends)


@click.group("keys", cls=Group, no_args_is_help=True)
def keys() -> None:
    """Set, list, remove or test API keys. They are stored in keys.toml, which only its owner can read, or in the system's keyring."""


@keys.command("set")
@_NAME
@click.argument("more", nargs=-1, metavar="")
@click.option("--keyring", is_flag=True, help="Store the key in the system's keyring; keys.toml only refers to it.")
@AS_JSON
def set_key(name: str, more: tuple[str, ...], keyring: bool, as_json: bool) -> None:
    """Store a key, read from a hidden prompt or from stdin, for a backend or under the name of an environment variable."""
    if more:  # not repeated: it may be the key, which others see in the list of processes and in the shell's history
        raise click.UsageError("a key is not an argument: leave it out and enter it at the prompt, or pipe it to stdin")
    console, environment = Console(json=as_json), load_environment()
    section, key = _place(environment, name)
    path = _keys_file()
    before, entry = read_toml(path), ".".join(filter(None, (section, key)))
    if keyring:
        from ..system_keyring import find_key, write_key

        find_key(entry)  # fails before the user types a key that cannot be stored
        after = edit_toml(before, section, key, IN_KEYRING)
        write_key(entry, _read_secret(name))
        write_toml(path, after)
    else:
        write_toml(path, edit_toml(before, section, key, _read_secret(name)))
        _forget(before, section, key)
    console.answer({"name": name, "path": str(path)}, [path])
    if not section and os.environ.get(key, "").strip():
        console.note(f"the environment variable {key} takes precedence over this key")


@keys.command("list")
@AS_JSON
def list_keys(as_json: bool) -> None:
    """List the credentials of each backend and where they were found, without their values."""
    console = Console(json=as_json)
    environment = load_environment()
    for warning in environment.name_warnings():
        console.note(warning)
    found = [(i.name, c) for i in environment.instances.values() for c in i.credentials]
    listed = [{"backend": n, "credential": c.name, "found_in": c.found_in or None, "variables": list(c.variables)} for n, c in found]
    rows = [[name, credential.name, credential.found_in or f"not set ({credential.wanted})"] for name, credential in found]
    lines = table([["BACKEND", "CREDENTIAL", "FOUND IN"], *rows], shrink=(2,))
    console.answer({"path": str(_keys_file()), "credentials": listed}, lines)


@keys.command("remove")
@_NAME
@AS_JSON
def remove_key(name: str, as_json: bool) -> None:
    """Remove a key from keys.toml, and from the system's keyring if it is there."""
    console, path = Console(json=as_json), _keys_file()
    section, key = _place(load_environment(), name)
    before = read_toml(path)
    after = edit_toml(before, section, key, None)
    if after.split() == before.split():
        raise InvalidRequest([Problem("NAME", f"{path} contains no key for {name!r}", "list the keys with: anymedia keys list")])
    write_toml(path, after)
    _forget(before, section, key)
    console.answer({"name": name, "path": str(path)}, [path])


@keys.command("test")
@click.argument("backend", required=False, shell_complete=complete.backends)
@AS_JSON
def test_keys(backend: str | None, as_json: bool) -> int:
    """Test the keys of BACKEND (default: all usable ones) by listing its models, which is free of charge."""
    console, environment = Console(json=as_json), load_environment()
    picked = [i for i in environment.pick(backend) if i.credentials and (backend is not None or i.usable)]
    found = {instance.name: _test(environment, instance) for instance in picked}
    failed = any(status == "failed" for status, _ in found.values())
    if as_json:
        results = {name: {"status": status, "text": text} for name, (status, text) in found.items()}
        console.document({"success": not failed, "backends": results})
    else:
        for line in table([[name, status, text] for name, (status, text) in found.items()]):
            console.result(line)
        if not found:
            console.note("no backend with a key; set one with: anymedia keys set BACKEND")
    return 6 if failed else 0


def _test(environment: Environment, instance: BackendInstance) -> tuple[str, str]:
    from .models import list_models

    if not instance.usable:
        return "failed", f"missing: {', '.join(instance.missing)}"
    if instance.service == COMPATIBLE or not environment.registry.has(instance.plugin, "list_models"):
        return "untested", "this backend cannot list its models"
    try:
        return "ok", f"{len(run(list_models(environment, instance)))} models listed"
    except MediaError as error:
        return "failed", error.message


def _place(environment: Environment, name: str) -> tuple[str, str]:
    """Return (table, key) in the keys file; an empty table is the top level."""
    credentials = {i.name: [c.name for c in i.credentials if not c.public] for i in environment.instances.values()}
    if _VARIABLE.fullmatch(name):
        known = {variable for i in environment.instances.values() for c in i.credentials for variable in c.variables}
        if name not in known and (near := did_you_mean(name, known)):
            raise InvalidRequest([Problem("NAME", f"no installed backend uses {name}{near}")])
        return "", name
    backend, _, credential = (name, "", "") if name in credentials else name.rpartition(".")
    environment.pick(backend or name)
    names = credentials[backend or name]
    if not names:
        raise InvalidRequest([Problem("NAME", f"backend {name!r} needs no key")])
    if credential and credential not in names:
        raise InvalidRequest([Problem("NAME", f"{backend!r} has no credential {credential!r}{did_you_mean(credential, names)}")])
    return backend or name, credential or names[0]


def _forget(text: str, section: str, key: str) -> None:
    """Delete the key from the system's keyring if a keys file of this text refers to it."""
    raw = _parsed(text)
    table = raw.get(section, {}) if section else raw
    if table.get(key) == IN_KEYRING:
        from ..system_keyring import delete_key

        delete_key(".".join(filter(None, (section, key))))


def _keys_file() -> Path:
    return user_dir("config") / "keys.toml"


def _read_secret(name: str) -> str:
    if is_terminal(sys.stdin):
        text: str = click.prompt(f"Key for {name}", hide_input=True, err=True)
    else:
        text = sys.stdin.read()
    if not re.fullmatch(r"[!-~]+", text.strip()):  # what a header can carry; the text is not repeated
        raise InvalidRequest([Problem("stdin", "a key is one line of ASCII characters without blanks", "copy it again, without quotes")])
    register_secret(text.strip())
    return text.strip()


def read_toml(path: Path) -> str:
    """Return the text of a file; empty if there is none."""
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: {getattr(error, 'strerror', None) or 'not UTF-8 text'}") from None


def edit_toml(text: str, section: str, key: str, value: str | list[str] | Mapping[str, bool] | None, name: str = "keys.toml") -> str:
    """Return the text of a TOML file with one key set, or removed if the value is None; comments are kept.

    Args:
        text: the current text.
        section: the table; empty for the top level.
        key: the key in the table.
        value: the new value; `IN_KEYRING` for a key in the system's keyring.
        name: the file's name, for messages.

    Raises:
        SettingsError: the text is not valid TOML, or written in a way that this function cannot change.
    """
    wanted = _parsed(text, name)
    lines = text.removesuffix("\n").split("\n") if text else []
    start = 0 if not section else next((n + 1 for n, line in enumerate(lines) if _key_of(line, "[") == section), None)
    if start is None:
        if value is None:
            return text
        lines += [f"[{_quoted(section)}]"]
        start = len(lines)
    end = next((n for n in range(start, len(lines)) if lines[n].lstrip().startswith("[")), len(lines))
    written = "{ keyring = true }" if isinstance(value, Mapping) else json.dumps(value, ensure_ascii=False)
    lines[_place_of(lines, start, end, key)] = [] if value is None else [f"{_quoted(key)} = {written}"]
    edited = "\n".join([*lines, ""])
    inner = wanted.setdefault(section, {}) if section else wanted
    if not isinstance(inner, dict):
        raise SettingsError(f"{name}: {section} is not a table", fix="correct it in an editor")
    inner.pop(key, None)
    if value is not None:
        inner[key] = value
    try:
        changed = _without_empty(tomllib.loads(edited)) == _without_empty(wanted)
    except tomllib.TOMLDecodeError:
        changed = False
    if not changed:
        shown = f": {key} = {written}" if isinstance(value, list) else ""  # never a key
        raise SettingsError(f"the key {key!r} cannot be changed automatically", fix=f"edit {name} in an editor{shown}")
    return edited


def _place_of(lines: Sequence[str], start: int, end: int, key: str) -> slice:
    """Return the lines that set a key, whose value may go on over several; where there are none, the place for them."""
    names = "|".join(map(re.escape, (_quoted(key), json.dumps(key, ensure_ascii=False), f"'{key}'")))
    for first in range(start, end):
        if re.match(rf"\s*(?:{names})\s*=", lines[first]):
            return slice(first, next((n for n in range(first + 1, end) if _key_of("\n".join(lines[first:n]), "=") == key), end))
    return slice(start, start)


def _quoted(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)


def _key_of(line: str, kind: str) -> str | None:
    """Return the table that a header line names (``[``), or the key that a line sets (``=``)."""
    try:
        found = tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return None
    name = next(iter(found), None)
    return name if name is not None and (found[name] == {}) == (kind == "[") else None


def _parsed(text: str, name: str = "keys.toml") -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise SettingsError(f"{name} is not valid TOML", fix="correct it in an editor") from None


def _without_empty(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in raw.items() if value != {}}


def write_toml(path: Path, text: str, *, private: bool = True) -> None:
    """Replace a file atomically; only its owner can read it, unless it is not private and others can read it now."""
    target = Path(os.path.realpath(path))
    try:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=".keys-")  # created with mode 0600
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            if not private and target.exists():
                shutil.copymode(target, temporary)
            Path(temporary).replace(target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise SettingsError(f"{target} cannot be written: {error.strerror}") from None

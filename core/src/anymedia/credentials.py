"""API keys: a type that never shows them, the keys file, and how an instance finds its own.

Keys come from environment variables and from ``keys.toml``, a separate file in the settings directory that only its owner may read.
The key of an instance wins over an environment variable, which wins over the variable's value in the file::

    OPENAI_API_KEY = "..."          # used like the environment variable of that name

    [mygpu]                         # only for the backend instance of that name
    api_key = "..."

    [grok]
    api_key = { keyring = true }    # the key is in the system's keyring; written by: anymedia keys set grok --keyring

A key in the system's keyring has the precedence of its entry in the file. It is read when it is first sent to a service, under the
service name ``anymedia`` and the user name ``grok.api_key`` (or ``OPENAI_API_KEY``), and needs ``anymedia[keyring]``.
"""

from __future__ import annotations

import functools
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import attrs

from .errors import SettingsError
from .records import frozen

__all__ = ["Credential", "GivenKeys", "Keys", "Secret", "find_credential", "read_keys"]


#: Keys that a caller gives: by backend instance, or a function that returns the key of an instance, or None.
GivenKeys: TypeAlias = "Mapping[str, str] | Callable[[str], str | None]"

#: The value in the keys file of a key that is in the system's keyring.
IN_KEYRING: Mapping[str, bool] = {"keyring": True}


@frozen(repr=False, str=False, eq=False)
class Secret:
    """A text that is never shown: str, repr, format, comparison and pickling do not reveal it."""

    _text: str = attrs.field(default="")
    _read: Callable[[], str] | None = attrs.field(default=None)

    def reveal(self) -> str:
        """Return the text itself, to send it; a `SettingsError` says why the system's keyring, if it is there, cannot be read."""
        if self._read is not None and not self._text:
            object.__setattr__(self, "_text", self._read())
        return self._text

    @property
    def known(self) -> str | None:
        """The text, or None until a key of the system's keyring is read."""
        return None if self._read is not None and not self._text else self._text

    @property
    def place(self) -> str:
        """Where it is if not in the file that names it, for a message."""
        return "" if self._read is None else " (system keyring)"

    def __repr__(self) -> str:
        return "Secret(...)"

    __str__ = __repr__

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a secret cannot be pickled")

    def __bool__(self) -> bool:
        return bool(self._text) or self._read is not None


@frozen(kw_only=True)
class Keys:
    """The contents of the keys file: by environment variable, and by instance and credential."""

    path: Path | None = None
    by_variable: Mapping[str, Secret] = attrs.field(factory=dict, repr=False, hash=False)
    by_instance: Mapping[str, Mapping[str, Secret]] = attrs.field(factory=dict, repr=False, hash=False)


@frozen(kw_only=True)
class Credential:
    """One credential of an instance: the places searched, and where it was found (names, never values).

    Attributes:
        name: its name in the matrix, for instance ``api_key``.
        variables: the environment variables searched, in order.
        found_in: the variable, or the place in the keys file or the settings; empty if not found.
        public: whether it may be shown, because it is not a secret.
    """

    name: str
    variables: tuple[str, ...]
    found_in: str = ""
    secret: Secret | None = attrs.field(default=None, repr=False, eq=False)
    public: bool = False

    @property
    def wanted(self) -> str:
        """What to set, for a message."""
        return " or ".join(self.variables) or f"{self.name} in keys.toml"


def find_credential(name: str, instance: str, variables: Iterable[str], environ: Mapping[str, str], keys: Keys) -> Credential:
    """Look for one credential: the instance's table in the keys file, then the environment, then the file's top level.

    Blank values count as not set; white space around a value is dropped.
    """
    searched = tuple(variables)
    if (own := keys.by_instance.get(instance, {}).get(name)) is not None:
        return Credential(name=name, variables=searched, found_in=f"keys.toml [{instance}] {name}{own.place}", secret=own)
    for variable in searched:
        if value := environ.get(variable, "").strip():
            return Credential(name=name, variables=searched, found_in=variable, secret=Secret(value))
    for variable in searched:
        if (shared := keys.by_variable.get(variable)) is not None:
            return Credential(name=name, variables=searched, found_in=f"keys.toml {variable}{shared.place}", secret=shared)
    return Credential(name=name, variables=searched)


def read_keys(path: Path) -> Keys:
    """Read a keys file; one that does not exist is empty.

    Raises:
        SettingsError: others may read it, or it is not TOML with texts. The message never contains a value.
    """
    try:
        with path.open("rb") as file:  # the open file is checked, not its name again
            _check_private(os.fstat(file.fileno()), path)
            text = file.read()
    except (FileNotFoundError, NotADirectoryError):
        return Keys()
    except OSError as error:
        if not os.path.exists(path):  # noqa: PTH110 - False also for a directory that may not be searched
            return Keys()
        raise SettingsError(f"{path}: {error.strerror}") from None
    import tomllib  # slow to import, and most users have no such file

    try:
        raw = tomllib.loads(text.decode())
    except (ValueError, RecursionError):
        raise SettingsError(f"{path}: this is not valid TOML", fix='Write lines like OPENAI_API_KEY = "..."') from None
    tables = {key: value for key, value in raw.items() if isinstance(value, dict) and value != IN_KEYRING}
    return Keys(
        path=path,
        by_variable=_secrets({key: value for key, value in raw.items() if key not in tables}, str(path)),
        by_instance={name: _secrets(table, f"{path}: {name}", f"{name}.") for name, table in tables.items()},
    )


def _check_private(status: os.stat_result, path: Path) -> None:
    if os.name == "posix" and stat.S_IMODE(status.st_mode) & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        raise SettingsError(f"{path} may be read by others (mode {mode:04o})", fix=f"Run: chmod 600 {path}")


def _secrets(table: Mapping[str, Any], where: str, prefix: str = "") -> dict[str, Secret]:
    return {key: _secret(value, f"{where}: {key}", prefix + key) for key, value in table.items()}


def _secret(value: object, where: str, name: str) -> Secret:
    if value == IN_KEYRING:
        return Secret(read=functools.partial(_from_keyring, name))
    if not isinstance(value, str) or not value.strip():
        raise SettingsError(f"{where}: expected a non-empty text or {{ keyring = true }}, got {type(value).__name__}")
    return Secret(value.strip())


def _from_keyring(name: str) -> str:
    from .system_keyring import read_key

    return read_key(name)

"""Keys in the system's keyring, by the library ``keyring`` of the extra ``anymedia[keyring]``, which is loaded when a key is needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .errors import SettingsError
from .redaction import summarize_exception

_SERVICE = "anymedia"
_NO_KEYRING = "Unlock or start the system's keyring, or run without --keyring: anymedia keys set {}"


def read_key(name: str) -> str:
    """Return a key.

    Args:
        name: ``backend.credential``, or the name of an environment variable.

    Raises:
        SettingsError: the keyring has no such key or cannot be used.
    """
    found = find_key(name)
    if not found:
        raise SettingsError(f"the system's keyring has no key {name!r}", fix=f"Run: anymedia keys set {name} --keyring")
    return found


def find_key(name: str) -> str | None:
    """Return a key, or None if the keyring has none.

    Raises:
        SettingsError: the keyring cannot be used.
    """
    found: str | None = _call(name, lambda keyring: keyring.get_password(_SERVICE, name))
    return found


def write_key(name: str, key: str) -> None:
    """Store a key and check that it was stored, since some backends of the library drop what they are given.

    Raises:
        SettingsError: the keyring did not store it or cannot be used.
    """
    _call(name, lambda keyring: keyring.set_password(_SERVICE, name, key))
    if find_key(name) != key:
        raise SettingsError(f"the system's keyring did not store the key {name!r}", fix=_NO_KEYRING.format(name))


def delete_key(name: str) -> None:
    """Delete a key, if there is one.

    Raises:
        SettingsError: the keyring cannot be used.
    """
    if find_key(name) is not None:
        _call(name, lambda keyring: keyring.delete_password(_SERVICE, name))


def _call(name: str, use: Callable[[Any], Any]) -> Any:
    try:
        import keyring
    except ImportError:
        raise SettingsError(
            f"the key {name!r} is kept in the system's keyring, but the package keyring is not installed",
            fix="Run: pip install 'anymedia[keyring]'",
        ) from None
    try:
        return use(keyring)
    except Exception as error:  # noqa: BLE001 - its backends pass on the errors of the system's services
        reason = summarize_exception(error)
        raise SettingsError(f"the system's keyring cannot be used for the key {name!r}: {reason}", fix=_NO_KEYRING.format(name)) from None

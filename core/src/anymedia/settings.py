"""config.toml and the environment -> `Settings`. Strict: what is not understood is refused with file, table, key.

The file is ``config.toml`` in the user's configuration directory. ``ANYMEDIA_CONFIG`` names other files in its
place (separated like ``PATH``; later ones win). A file in the working directory is never read unless it is named:
that directory may be somebody else's. Keys do not stand here but in the environment or in ``keys.toml``
(see `anymedia.credentials`).

    state_dir = "~/media-state"                  # ANYMEDIA_STATE wins

    [policy]                                     # the fields of Policy; ANYMEDIA_PREFER=a,b wins over prefer
    prefer = ["google", "openai"]
    budget = { per_call = 2.0, per_day = 20.0 }  # US dollars

    [defaults]                                   # by operation or by medium: a backend, or backend/model
    image = "google"

    [plugins]
    allow = ["anymedia-openai", "anymedia-google==0.1.0"]    # distributions; nothing else is imported
    disable = ["grok"]                           # ANYMEDIA_DISABLE=a,b adds to it

    [fetch]
    allow = ["127.0.0.1", "media.lan:8080"]      # private hosts and networks that may be fetched from

    [backends.mygpu]                             # an instance of a plugin; by default the plugin of that name
    plugin = "openai"
    service = "compatible"                       # somebody else's server that speaks the same protocol
    base_url = "http://127.0.0.1:30010/v1"
    credentials = { api_key = "MYGPU_API_KEY" }  # names of environment variables
    hosts = ["files.mygpu.lan"]                  # further hosts that may be given the credentials
    options = { timeout = 600 }                  # whatever the plugin documents
    models."wan-2.2" = { like = "sora-2" }
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from .credentials import Keys, read_keys
from .directories import user_dir
from .errors import SettingsError
from .policy import Policy
from .settings_reading import InstanceSettings, SettingsTable, expanded, names_in, read_instance, read_policy, refuse_keys

__all__ = ["InstanceSettings", "Settings", "load_settings"]

_MEDIA = ("image", "video", "audio")


@attrs.frozen(kw_only=True)
class Settings:
    """What the user configured.

    Attributes:
        instances: the configured backend instances by name.
        plugins_allow: distributions whose plugins may be imported; None allows all.
        disabled: names of plugins and instances that are kept out.
        policy: the default policy.
        defaults: medium or operation -> ``backend`` or ``backend/model``.
        fetch_allow: private hosts (``host``, ``host:port``) and networks that may be fetched from.
        state_dir: where journal, ledger and continuations are kept.
        keys: what the keys file holds.
        files: the files that were read.
    """

    instances: Mapping[str, InstanceSettings] = attrs.field(factory=dict, hash=False)
    plugins_allow: tuple[str, ...] | None = None
    disabled: frozenset[str] = frozenset()
    policy: Policy = Policy()
    defaults: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    fetch_allow: tuple[str, ...] = ()
    state_dir: Path = attrs.field(factory=lambda: user_dir("state"))
    keys: Keys = Keys()
    files: tuple[Path, ...] = ()

    def default_for(self, operation: str, media: str) -> tuple[str, str | None] | None:
        """Return (backend, model or None) configured for an operation, or else for its medium; or None."""
        chosen = self.defaults.get(operation) or self.defaults.get(media)
        if chosen is None:
            return None
        backend, _, model = chosen.partition("/")
        return backend, model or None

    def policy_for(self, operation: str, media: str, policy: Policy | None = None) -> Policy:
        """Return the policy (by default the configured one) with the configured default backend preferred first."""
        base = policy or self.policy
        chosen = self.defaults.get(operation) or self.defaults.get(media)
        if chosen is None or base.prefer[:1] == (chosen,):
            return base
        return base.but(prefer=(chosen, *(name for name in base.prefer if name != chosen)))


def load_settings(
    *,
    environ: Mapping[str, str] | None = None,
    files: Iterable[Path] | None = None,
    cwd: Path | None = None,
    keys_file: Path | None = None,
) -> Settings:
    """Read the settings.

    Args:
        environ: environment variables; by default the process's.
        files: files to read instead of those that ``ANYMEDIA_CONFIG`` or the user's directory give; later ones win.
        cwd: what relative paths in the environment count from; by default the working directory.
        keys_file: the keys file; by default ``keys.toml`` in the user's directory, or none where ``files`` is given.

    Raises:
        SettingsError: with file, table and key.
    """
    env = os.environ if environ is None else environ
    here = cwd or Path()
    paths = _named(env, here) if files is None else tuple(files)
    found: dict[str, Any] = {}
    for path in paths:
        found = _merge(found, _Config(_read(path), path).read(found.get("policy", Policy())))
    if keys_file is None and files is None:
        keys_file = user_dir("config") / "keys.toml"
    found["disabled"] = frozenset(found.get("disabled", ())) | set(names_in(env.get("ANYMEDIA_DISABLE", "")))
    policy: Policy = found.pop("policy", Policy())
    if prefer := names_in(env.get("ANYMEDIA_PREFER", "")):
        policy = policy.but(prefer=prefer)
    if state := env.get("ANYMEDIA_STATE", ""):
        found["state_dir"] = (here / expanded(state, "ANYMEDIA_STATE")).absolute()
    return Settings(policy=policy, keys=Keys() if keys_file is None else read_keys(keys_file), files=paths, **found)


def _merge(base: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """A later file wins, instance by instance and default by default; what one disables stays disabled."""
    merged = dict(base) | dict(new)
    for key in ("instances", "defaults"):
        if key in base and key in new:
            merged[key] = {**base[key], **new[key]}
    merged["disabled"] = (*base.get("disabled", ()), *new.get("disabled", ()))
    return merged


def _named(env: Mapping[str, str], here: Path) -> tuple[Path, ...]:
    named = [part for part in env.get("ANYMEDIA_CONFIG", "").split(os.pathsep) if part]
    if named:
        return tuple(here / expanded(part, "ANYMEDIA_CONFIG") for part in named)
    own = user_dir("config") / "config.toml"
    return (own,) if own.is_file() else ()


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: this is not valid TOML: {error}") from None
    except (UnicodeDecodeError, RecursionError):
        raise SettingsError(f"{path}: this is not valid TOML") from None


class _Config:
    """One file on its way to the fields of `Settings`."""

    def __init__(self, raw: dict[str, Any], path: Path) -> None:
        refuse_keys(raw, str(path))
        self._top = SettingsTable(raw, str(path))
        self._base = path.parent

    def read(self, policy_so_far: Policy) -> dict[str, Any]:
        """Return the fields this file sets; a policy refines the one that earlier files gave."""
        found: dict[str, Any] = {}
        if state := self._top.take("state_dir", str, ""):
            found["state_dir"] = (self._base / expanded(state, f"{self._top.where}: state_dir")).absolute()
        if (policy := self._top.table("policy")) is not None:
            found["policy"] = read_policy(policy, self._base, policy_so_far)
        if (defaults := self._top.table("defaults")) is not None:
            found["defaults"] = self._defaults(defaults)
        if (fetch := self._top.table("fetch")) is not None:
            found["fetch_allow"] = fetch.networks("allow")
            fetch.done()
        if (plugins := self._top.table("plugins")) is not None:
            found |= self._plugins(plugins)
        if (backends := self._top.table("backends")) is not None:
            found["instances"] = {name: read_instance(name, table) for name, table in backends.inner().items()}
        self._top.done()
        return found

    def _defaults(self, table: SettingsTable) -> dict[str, str]:
        from .requests import KINDS

        found = {}
        for key in (*_MEDIA, *KINDS):
            if value := table.take(key, str, ""):
                found[key] = value
        table.done()
        return found

    def _plugins(self, table: SettingsTable) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if "allow" in table.left():
            found["plugins_allow"] = table.distributions("allow")
        found["disabled"] = table.strings("disable")
        table.done()
        return found

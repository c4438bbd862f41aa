"""Reading the tables of config.toml: an instance, the policy; refusing keys that someone wrote into it."""

from __future__ import annotations

import ipaddress
import math
import re
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import attrs

from .capabilities.table import Table
from .errors import MediaError, SettingsError, did_you_mean
from .policy import Budget, Policy, Tolerance

__all__ = ["InstanceSettings", "SettingsTable", "base_url_problem", "expanded", "names_in", "read_instance", "read_policy", "refuse_keys"]

_INSTANCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,127}")
_DISTRIBUTION = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?(?:\s*==\s*[A-Za-z0-9][A-Za-z0-9.!+_-]*)?")
_HOST = re.compile(r"(?:[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_SECRET_KEY = re.compile(r"(?:^|[_-])(?:api)?(?:keys?|tokens?|secrets?|passwords?|passwd|auth|authorization|credentials?)$", re.IGNORECASE)
#: Suffixes that are never on the public internet.
_LOCAL_SUFFIXES = (".localhost", ".local", ".lan", ".internal", ".home.arpa")


@attrs.frozen(kw_only=True)
class InstanceSettings:
    """A backend instance as configured.

    Attributes:
        name: its own name.
        plugin: the entry-point name of its plugin.
        service: one of the plugin's services, or ``compatible``; empty: whichever has credentials.
        base_url: where its requests go; None: the SDK's usual address.
        credentials: credential name -> name of an environment variable.
        models: model id -> its table (``like`` and what differs), see `anymedia.capabilities.custom_models`.
        hosts: further hosts that may be given the credentials.
        options: whatever the plugin documents.
        where: file and table, for messages.
    """

    name: str
    plugin: str
    service: str = ""
    base_url: str | None = None
    credentials: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    models: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict, hash=False)
    hosts: tuple[str, ...] = ()
    options: Mapping[str, Any] = attrs.field(factory=dict, hash=False)
    where: str = ""


class SettingsTable(Table):
    """A table of the user's own file."""

    error: ClassVar[type[MediaError]] = SettingsError

    def inner(self) -> dict[str, SettingsTable]:
        """Take every key as a table."""
        return {key: table for key in self.left() if (table := self.table(key)) is not None}

    def distributions(self, key: str) -> tuple[str, ...]:
        """Take a list of ``name`` or ``name==version``."""
        return self._matching(key, _DISTRIBUTION, "a distribution like 'anymedia-openai' or 'anymedia-openai==0.1.0'")

    def hosts(self, key: str) -> tuple[str, ...]:
        """Take a list of ``host`` or ``host:port``, in lower case."""
        return tuple(host.lower() for host in self._matching(key, _HOST, "a host like 'media.lan' or '127.0.0.1:8080'"))

    def networks(self, key: str) -> tuple[str, ...]:
        """Take a list of ``host``, ``host:port``, address or network (CIDR), in lower case."""
        values = self.strings(key)
        for value in values:
            if not _HOST.fullmatch(value) and not _is_network(value):
                self.fail(f"{key}: expected a host like 'media.lan' or '127.0.0.1:8080', or a network, got {value!r:.80}")
        return tuple(value.lower() for value in values)

    def _matching(self, key: str, pattern: re.Pattern[str], what: str) -> tuple[str, ...]:
        values = self.strings(key)
        for value in values:
            if not pattern.fullmatch(value):
                self.fail(f"{key}: expected {what}, got {value!r:.80}")
        return values

    def number(self, key: str, default: float | None, *, low: float = 0.0) -> float | None:
        """Take a finite number from ``low`` up."""
        value = self.take(key, (int, float), default)
        if value is not None and (not math.isfinite(value) or value < low):
            self.fail(f"{key}: expected a number from {low:g} up, got {value!r}")
        return None if value is None else float(value)


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


def names_in(text: str) -> tuple[str, ...]:
    """Split a comma-separated list of names."""
    return tuple(name for part in text.split(",") if (name := part.strip()))


def refuse_keys(raw: Mapping[str, Any], where: str) -> None:
    """Refuse a file that has keys written into it; the value is not repeated."""
    for key, value in raw.items():
        inside = f"{where}.{key}"
        if isinstance(value, Mapping) and key == "credentials":
            for name, variable in value.items():
                if not isinstance(variable, str) or not _VARIABLE.fullmatch(variable):
                    _refuse(f"{inside}.{name}: expected the name of an environment variable like MYGPU_API_KEY")
            continue
        if isinstance(value, str) and _SECRET_KEY.search(key):
            _refuse(f"{inside}: keys do not stand in this file")
        for table in value if isinstance(value, list) else [value]:
            if isinstance(table, Mapping):
                refuse_keys(table, inside)


def _refuse(message: str) -> None:
    fix = "Put the key into an environment variable, or into keys.toml (mode 0600) beside the configuration."
    raise SettingsError(message, fix=fix)


def read_instance(name: str, table: SettingsTable) -> InstanceSettings:
    """Read ``[backends.NAME]``."""
    if not _INSTANCE.fullmatch(name) or name == "auto":
        table.fail("a backend's name has letters, digits, '-', '_' and '.', and is not 'auto'")
    base_url = table.take("base_url", str)
    if base_url is not None and (wrong := base_url_problem(base_url)):
        table.fail(f"base_url: {wrong}")
    models = table.table("models")
    found = InstanceSettings(
        name=name,
        plugin=table.take("plugin", str, name),
        service=table.take("service", str, ""),
        base_url=base_url,
        credentials=dict(table.take("credentials", Mapping, {})),
        models={} if models is None else {key: _raw(models, key) for key in models.left()},
        hosts=table.hosts("hosts"),
        options=dict(table.take("options", Mapping, {})),
        where=table.where,
    )
    if "base_url" in found.options:
        table.fail("base_url stands beside options, not in them")
    for key in table.left():
        near = did_you_mean(key, attrs.fields_dict(InstanceSettings))
        table.fail(f"unknown key {key!r}{near}; what the plugin itself documents goes under options")
    return found


def _raw(table: SettingsTable, key: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = table.take(key, Mapping)
    return found


def base_url_problem(url: str) -> str | None:
    """Say what is wrong with a base_url, or None. What may hold a secret is not repeated.

    ``https`` everywhere; ``http`` only to loopback and private addresses and to names of a local network (without
    a dot, or ending in .localhost, .local, .lan, .internal, .home.arpa): a key must not travel in the clear.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        host, _ = (parts.hostname or "").lower(), parts.port
    except ValueError:
        return "this is not a URL"
    if parts.scheme not in {"http", "https"} or not host or any(c.isspace() or not c.isprintable() for c in url):
        return "expected a URL like https://host/v1"
    if parts.username is not None or parts.password is not None:
        return "a URL with a user name or password is not taken; use credentials"
    if parts.query or parts.fragment:
        return "a base URL has no query and no fragment"
    if parts.scheme == "http" and not _is_local(host):
        return f"http to {host!r} would send keys in the clear; use https"
    return None


def _is_local(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "." not in host or host.endswith(_LOCAL_SUFFIXES)
    return address.is_loopback or address.is_private


def read_policy(table: SettingsTable, base: Path, usual: Policy) -> Policy:
    """Read ``[policy]``: what it does not set is as ``usual``; paths count from the directory ``base``."""
    budget, tolerance = table.table("budget"), table.table("tolerance")
    retries = table.take("retries", int, usual.retries)
    if not 0 <= retries <= 10:
        table.fail(f"retries: expected 0 to 10, got {retries}")
    fallback = table.word("fallback", ("off", "equivalent"), "off") if "fallback" in table.left() else usual.fallback
    policy = usual.but(
        strict=table.take("strict", bool, usual.strict),
        fallback=fallback,
        prefer=table.strings("prefer", usual.prefer),
        preview=table.take("preview", bool, usual.preview),
        bridge=table.take("bridge", bool, usual.bridge),
        retries=retries,
        input_roots=_roots(table, "input_roots", base, usual.input_roots),
        output_roots=_roots(table, "output_roots", base, usual.output_roots),
        budget=usual.budget if budget is None else _read_budget(budget, usual.budget),
        tolerance=usual.tolerance if tolerance is None else _read_tolerance(tolerance, usual.tolerance),
    )
    table.done()
    return policy


def expanded(text: str, where: str) -> Path:
    """Return a path with ``~`` resolved."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise SettingsError(f"{where}: {text!r}: there is no such home directory") from None


def _roots(table: SettingsTable, key: str, base: Path, usual: tuple[Path, ...] | None) -> tuple[Path, ...] | None:
    if key not in table.left():
        return usual
    return tuple((base / expanded(root, f"{table.where}.{key}")).absolute() for root in table.strings(key))


def _read_budget(table: SettingsTable, usual: Budget) -> Budget:
    per_backend = table.table("per_backend")
    caps = {} if per_backend is None else {key: per_backend.number(key, None) for key in per_backend.left()}
    budget = Budget(
        per_call=table.number("per_call", usual.per_call),
        per_request=table.number("per_request", usual.per_request),
        per_run=table.number("per_run", usual.per_run),
        per_day=table.number("per_day", usual.per_day),
        per_backend={**usual.per_backend, **{name: cap for name, cap in caps.items() if cap is not None}},
        allow_unknown=table.take("allow_unknown", bool, usual.allow_unknown),
    )
    table.done()
    return budget


def _read_tolerance(table: SettingsTable, usual: Tolerance) -> Tolerance:
    tolerance = Tolerance(
        duration=table.number("duration", usual.duration) or 0.0,
        aspect_ratio=table.number("aspect_ratio", usual.aspect_ratio) or 0.0,
        pixels=table.number("pixels", usual.pixels, low=1.0) or 1.0,
    )
    table.done()
    return tolerance

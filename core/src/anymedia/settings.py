"""config.toml and the environment -> `Settings`. Strict: an error names file, table and key.

The file is ``config.toml`` in the user's configuration directory. ``ANYMEDIA_CONFIG`` names other files instead
(separated like ``PATH``; later ones take precedence). A file in the working directory is read only if it is named there,
because it may come from another user. API keys belong in the environment or in ``keys.toml``
(see `anymedia.credentials`).

    state_dir = "~/media-state"                  # ANYMEDIA_STATE takes precedence
    project = "website"                          # a scope of budgets: per_project = { website = 5.0 }

    [policy]                                     # the fields of Policy; ANYMEDIA_PREFER=a,b replaces prefer
    prefer = ["google", "openai"]                # an order: the first one that can honour the request
    budget = { per_call = 2.0, per_day = 20.0 }  # US dollars
    ask_above_usd = 0.5                          # a person is asked before more is spent, and where the price is unknown

    [defaults]                                   # a choice by operation or medium: a backend, or backend/model; it wins over prefer
    image = "google"

    [plugins]
    allow = ["anymedia-openai", "anymedia-google==0.1.0"]    # distributions; nothing else is imported
    disable = ["grok"]                           # ANYMEDIA_DISABLE=a,b adds to it

    [fetch]
    allow = ["127.0.0.1", "media.lan:8080"]      # private hosts and networks that may be fetched from

    [network]                                    # by default HTTPS_PROXY, HTTP_PROXY, NO_PROXY and SSL_CERT_FILE
    proxy = "http://proxy.corp:3128"             # for https requests to backends; "" for none
    no_proxy = ["media.lan", "10.0.0.0/8"]       # in addition to NO_PROXY
    ca_file = "corporate-ca.pem"                 # certificate authorities, in addition to the usual ones
    fetch_by_proxy = true                        # fetch links and URLs through the proxy, too

    [artifacts]                                  # inputs, answers and results stored in the state directory
    keep_days = 30                               # what nothing needs any more is removed after that
    max_bytes = 20_000_000_000                   # and earlier while more is stored

    [limits]                                     # by default what the system allows
    max_descriptors = 200                        # file descriptors of this process
    max_memory_bytes = 1_000_000_000             # answers that are being received

    [fleet]                                      # for several machines; needs anymedia[fleet]
    store = "postgresql://anymedia@db/media"     # by default a file in the state directory; the password: PGPASSWORD or ~/.pgpass
    artifacts = "s3://bucket/prefix"             # by default a directory in the state directory; keys: AWS_ACCESS_KEY_ID and so on
    workers = true                               # calls are carried out by "anymedia worker" processes

    [backends.mygpu]                             # an instance of a plugin; by default the plugin of that name
    plugin = "openai"
    service = "compatible"                       # another server with the same protocol
    base_url = "http://127.0.0.1:30010/v1"
    credentials = { api_key = "MYGPU_API_KEY" }  # names of environment variables
    hosts = ["files.mygpu.lan"]                  # further hosts that may receive the credentials
    options = { timeout = 600 }                  # as the plugin documents them
    max_concurrent = 1                           # calls at the same time, of all processes; a single GPU
    requests_per_minute = 30                     # submits of all processes
    models."wan-2.2" = { like = "sora-2" }
"""

from __future__ import annotations

import ipaddress
import math
import os
import re
import urllib.parse
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import attrs

from .credentials import Keys, read_keys
from .directories import user_dir
from .errors import MediaError, RequestError, SettingsError, did_you_mean
from .network import HOST, Network, Proxy, address_of, is_local_name, proxy_problem
from .policy import Policy
from .records import frozen
from .table import Table

# Patterns are texts, which `re` compiles when they are first used: most starts need none of them.
_INSTANCE = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
_VARIABLE = r"[A-Z_][A-Z0-9_]{0,127}"
_DISTRIBUTION = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?(?:\s*==\s*[A-Za-z0-9][A-Za-z0-9.!+_-]*)?"
_SECRET_KEY = r"(?i)(?:^|[_-])(?:api)?(?:keys?|tokens?|secrets?|passwords?|passwd|auth|authorization|credentials?)$"  # noqa: S105 - a pattern


@frozen(kw_only=True)
class InstanceSettings:
    """A backend instance as configured.

    Attributes:
        name: the name of the instance.
        plugin: the entry-point name of its plugin.
        service: one of the plugin's services, or ``compatible``; empty: the one that has credentials.
        base_url: address of the service; None: the SDK's default.
        credentials: credential name -> name of an environment variable.
        models: model id -> its table (``like`` and what differs), see `anymedia.capabilities.custom_models`.
        hosts: further hosts that may receive the credentials.
        options: as the plugin documents them.
        max_concurrent: maximum number of calls in progress at the same time; None for no limit.
        requests_per_minute: maximum number of submits in any 60 seconds; None for no limit.
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
    max_concurrent: int | None = None
    requests_per_minute: int | None = None
    where: str = ""


class SettingsTable(Table):
    """A table of the user's own file."""

    error: ClassVar[type[MediaError]] = SettingsError

    def hosts(self, key: str) -> tuple[str, ...]:
        """Take a list of ``host``, ``host:port`` or ``*.domain``, in lower case."""
        return tuple(host.lower() for host in self.matching(key, HOST, "a host like 'media.lan', '127.0.0.1:8080' or '*.acme.com'"))

    def networks(self, key: str) -> tuple[str, ...]:
        """Take a list of ``host``, ``host:port``, address or network (CIDR), in lower case."""
        values = self.strings(key)
        for value in values:
            if "*" in value or not (re.fullmatch(HOST, value) or _is_network(value)):
                self.report(f"{key}: expected a host like 'media.lan' or '127.0.0.1:8080', or a network, got {value!r:.80}")
        return tuple(value.lower() for value in values)

    def matching(self, key: str, pattern: str, what: str) -> tuple[str, ...]:
        """Take a list of texts that match a pattern."""
        values = self.strings(key)
        for value in values:
            if not re.fullmatch(pattern, value):
                self.report(f"{key}: expected {what}, got {value!r:.80}")
        return values

    def number(self, key: str, default: float | None) -> float | None:
        """Take a finite number from 0 up."""
        value = self.take(key, (int, float), default)
        if value is not None and (not math.isfinite(value) or value < 0):
            self.report(f"{key}: expected a number from 0 up, got {value!r}")
            return default
        return None if value is None else float(value)

    def whole(self, key: str) -> int | None:
        """Take a whole number from 1 up; None where there is none."""
        value: int | None = self.take(key, int, None)
        if value is not None and value < 1:
            self.report(f"{key}: expected a number from 1 up, got {value!r}")
        return value


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
    """Refuse a file that contains API keys; the message does not repeat the value."""
    for key, value in raw.items():
        inside = f"{where}.{key}"
        if isinstance(value, Mapping) and key == "credentials":
            for name, variable in value.items():
                if not isinstance(variable, str) or not re.fullmatch(_VARIABLE, variable):
                    _refuse(f"{inside}.{name}: expected the name of an environment variable like MYGPU_API_KEY")
            continue
        if isinstance(value, str) and re.search(_SECRET_KEY, key):
            _refuse(f"{inside}: API keys do not belong in this file")
        for table in value if isinstance(value, list) else [value]:
            if isinstance(table, Mapping):
                refuse_keys(table, inside)


def _refuse(message: str) -> None:
    fix = "Put the key into an environment variable, or into keys.toml (mode 0600) in the same directory."
    raise SettingsError(message, fix=fix)


def read_instance(name: str, table: SettingsTable) -> InstanceSettings:
    """Read ``[backends.NAME]``."""
    if not re.fullmatch(_INSTANCE, name) or name == "auto":
        table.report("a backend's name has letters, digits, '-', '_' and '.', and is not 'auto'")
    base_url = table.take("base_url", str)
    if base_url is not None and (wrong := base_url_problem(base_url)):
        table.report(f"base_url: {wrong}")
    models = table.table("models")
    found = InstanceSettings(
        name=name,
        plugin=table.take("plugin", str, name),
        service=table.take("service", str, ""),
        base_url=base_url,
        credentials=dict(table.take("credentials", Mapping, {})),
        models={} if models is None else {key: models.take(key, Mapping, {}) for key in models.left()},
        hosts=table.hosts("hosts"),
        options=dict(table.take("options", Mapping, {})),
        max_concurrent=table.whole("max_concurrent"),
        requests_per_minute=table.whole("requests_per_minute"),
        where=table.where,
    )
    if "base_url" in found.options:
        table.report("base_url belongs next to options, not inside")
    for key in table.left():
        near = did_you_mean(key, attrs.fields_dict(InstanceSettings))
        table.report(f"unknown key {key!r}{near}; what the plugin itself documents goes under options")
    return found


def base_url_problem(url: str) -> str | None:
    """Return what is wrong with a base_url, or None; parts that may contain a secret are not repeated.

    ``https`` everywhere; ``http`` only to loopback and private addresses and to names of a local network (without
    a dot, or ending in .localhost, .local, .lan, .internal, .home.arpa): a key must not travel in the clear.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        host, _ = (parts.hostname or "").lower(), parts.port
    except ValueError:
        return "not a URL"
    if parts.scheme not in {"http", "https"} or not host or any(c.isspace() or not c.isprintable() for c in url):
        return "expected a URL like https://host/v1"
    if parts.username is not None or parts.password is not None:
        return "must not contain a user name or password; use credentials"
    if parts.query or parts.fragment:
        return "must not have a query or a fragment"
    address = address_of(host)
    is_local = is_local_name(host) if address is None else address.is_loopback or address.is_private
    if parts.scheme == "http" and not is_local:
        return f"http to {host!r} would send keys in the clear; use https"
    return None


def read_policy(table: SettingsTable, base: Path, usual: Policy) -> Policy:
    """Read ``[policy]`` over the policy ``usual``; paths are relative to the directory ``base``."""
    budget, tolerance = table.table("budget"), table.table("tolerance")
    policy = usual.but(
        input_roots=_roots(table, "input_roots", base, usual.input_roots),
        output_roots=_roots(table, "output_roots", base, usual.output_roots),
        budget=usual.budget if budget is None else _changed(budget, usual.budget),
        tolerance=usual.tolerance if tolerance is None else _changed(tolerance, usual.tolerance),
    )
    found: Policy = _changed(table, policy)
    return found


#: Fields of `Policy` and `Budget` that no setting is read into by `_changed`.
_NOT_READ = frozenset({"input_roots", "output_roots", "budget", "tolerance", "max_cost", "transcode", "on_quote", "realm"})


def _changed(table: SettingsTable, usual: Any) -> Any:
    """Return a record with the values of a table, which it checks itself."""
    for field in attrs.fields(type(usual)):
        if field.name not in _NOT_READ and (value := table.take(field.name, (object, bool), usual)) is not usual:
            before = getattr(usual, field.name)
            try:
                usual = attrs.evolve(
                    usual, **{field.name: {**before, **value} if isinstance(before, Mapping) and isinstance(value, Mapping) else value}
                )
            except RequestError as error:
                table.report(error.message)
    table.done()
    return usual


def expanded(text: str, where: str) -> Path:
    """Return a path with ``~`` resolved."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise SettingsError(f"{where}: {text!r}: the home directory does not exist") from None


def _roots(table: SettingsTable, key: str, base: Path, usual: tuple[Path, ...] | None) -> tuple[Path, ...] | None:
    if key not in table.left():
        return usual
    return tuple((base / expanded(root, f"{table.where}.{key}")).absolute() for root in table.strings(key))


_MEDIA = ("image", "video", "audio")
#: The URLs in ``[fleet]``: their schemes, and an example.
_FLEET = {
    "store": (("postgresql", "postgres"), "postgresql://HOST/DATABASE"),
    "artifacts": (("s3", "s3a", "gs", "az", "file"), "s3://BUCKET/PREFIX"),
}


@frozen(kw_only=True)
class Settings:
    """The user's configuration.

    Attributes:
        instances: the configured backend instances by name.
        plugins_allow: distributions whose plugins may be imported; None allows all.
        disabled: names of plugins and instances that are not used.
        policy: the default policy.
        defaults: medium or operation -> ``backend`` or ``backend/model``.
        fetch_allow: private hosts (``host``, ``host:port``) and networks that may be fetched from.
        network: proxies and certificate authorities; by default those of the environment.
        artifacts_keep_days: days after which artifacts that nothing needs are removed; None: never.
        artifacts_max_bytes: maximum size of all artifacts, in bytes; None: no maximum.
        project: the project that calls belong to, a scope of budgets, where the router is given none.
        max_descriptors: how many file descriptors the process may use; None: the system's limit.
        max_memory_bytes: memory that answers may use while they are received; None: half of what is available.
        fleet_store: URL of the PostgreSQL database that is used in place of the journal in the state directory.
        fleet_workers: whether calls are carried out by workers (``anymedia worker``) rather than by the process that makes them.
        fleet_artifacts: URL of the object storage that is used in place of the artifacts in the state directory.
        state_dir: directory of the journal, the ledger, the continuations and the artifacts.
        keys: the contents of the keys file.
        files: the files that were read.
        variables: (``prefer`` or ``disable``, name) -> the environment variable that gives the name.
    """

    instances: Mapping[str, InstanceSettings] = attrs.field(factory=dict, hash=False)
    plugins_allow: tuple[str, ...] | None = None
    disabled: frozenset[str] = frozenset()
    policy: Policy = Policy()
    defaults: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    fetch_allow: tuple[str, ...] = ()
    network: Network = attrs.field(factory=Network.of_environment)
    artifacts_keep_days: float | None = 30.0
    artifacts_max_bytes: int | None = 20_000_000_000
    project: str | None = None
    max_descriptors: int | None = None
    max_memory_bytes: int | None = None
    fleet_store: str | None = None
    fleet_artifacts: str | None = None
    fleet_workers: bool = False
    state_dir: Path = attrs.field(factory=lambda: user_dir("state"))
    keys: Keys = Keys()
    files: tuple[Path, ...] = ()
    variables: Mapping[tuple[str, str], str] = attrs.field(factory=dict, hash=False)

    @property
    def journal(self) -> str | Path:
        """Where the store is: the URL of a database, or a file."""
        return self.fleet_store or self.state_dir / "state.db"

    def default_for(self, operation: str, media: str) -> tuple[str, str] | None:
        """Return the default that applies to an operation: the key in ``[defaults]``, and ``backend`` or ``backend/model``."""
        return next(((key, self.defaults[key]) for key in (operation, media) if key in self.defaults), None)


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
        files: files to read instead of ``ANYMEDIA_CONFIG`` or the user's; later ones take precedence.
        cwd: base of relative paths in the environment; by default the working directory.
        keys_file: the keys file; by default ``keys.toml`` in the user's directory, or none where ``files`` is given.

    Raises:
        SettingsError: with file, table and key.
    """
    env = os.environ if environ is None else environ
    here = cwd or Path()
    paths = _named(env, here) if files is None else tuple(files)
    found: dict[str, Any] = {"network": Network.of_environment(env)}
    for path in paths:
        found = _merge(found, _fields_of(path, found.get("policy", Policy()), found["network"]))
    if keys_file is None and files is None:
        keys_file = user_dir("config") / "keys.toml"
    prefer, disable = (names_in(env.get(variable, "")) for variable in ("ANYMEDIA_PREFER", "ANYMEDIA_DISABLE"))
    found["disabled"] = frozenset(found.get("disabled", ())) | set(disable)
    found["variables"] = {("prefer", name): "ANYMEDIA_PREFER" for name in prefer}
    found["variables"] |= {("disable", name): "ANYMEDIA_DISABLE" for name in disable}
    policy: Policy = found.pop("policy", Policy())
    if prefer:
        policy = policy.but(prefer=prefer)
    if state := env.get("ANYMEDIA_STATE", ""):
        found["state_dir"] = (here / expanded(state, "ANYMEDIA_STATE")).absolute()
    return Settings(policy=policy, keys=Keys() if keys_file is None else read_keys(keys_file), files=paths, **found)


def _merge(base: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Merge a later file, which takes precedence for each instance and default; disabled names add up."""
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
    return (own,) if os.path.isfile(own) else ()  # noqa: PTH113 - False also for a directory that may not be searched


def _read(path: Path) -> dict[str, Any]:
    import tomllib  # slow to import, and most users have no such file

    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: not valid TOML: {error}") from None
    except (UnicodeDecodeError, RecursionError):
        raise SettingsError(f"{path}: not valid TOML") from None


def _fields_of(path: Path, policy_so_far: Policy, network_so_far: Network) -> dict[str, Any]:
    """Return the fields of `Settings` that a file sets; its policy and network refine those of earlier files.

    Raises:
        SettingsError: with every problem in the file.
    """
    raw = _read(path)
    refuse_keys(raw, str(path))
    top, base = SettingsTable(raw, str(path), []), path.parent
    found: dict[str, Any] = {}
    if state := top.take("state_dir", str, ""):
        directory = top.attempt(expanded, state, f"{top.where}: state_dir")
        found["state_dir"] = (base / (directory or "")).absolute()
    if project := top.take("project", str, ""):
        found["project"] = project
    if (policy := top.table("policy")) is not None:
        found["policy"] = top.attempt(read_policy, policy, base, policy_so_far)
    for key, read in _TABLES.items():
        if (table := top.table(key)) is not None:
            found |= read(table)
            table.done()
    if (network := top.table("network")) is not None:
        found["network"] = _network(network, base, network_so_far)
    top.done()
    top.raise_problems()
    return found


def _defaults(table: SettingsTable) -> dict[str, Any]:
    from .requests import KINDS

    return {"defaults": {key: value for key in (*_MEDIA, *KINDS) if (value := table.take(key, str, ""))}}


def _network(table: SettingsTable, base: Path, usual: Network) -> Network:
    proxies = usual.proxies
    if (url := table.take("proxy", str)) is not None:
        if url and (wrong := proxy_problem(url) or ("put user name and password into HTTPS_PROXY" if "@" in url else None)):
            table.report(f"proxy: {wrong}")
        proxies = dict.fromkeys(("http", "https"), Proxy(url=url, source=f"{table.where}.proxy")) if url else {}
    ca_file = usual.ca_file
    if name := table.take("ca_file", str, ""):
        ca_file = base / (table.attempt(expanded, name, f"{table.where}.ca_file") or "")
    network = Network(
        proxies=proxies,
        no_proxy=(*usual.no_proxy, *table.networks("no_proxy")),
        ca_file=ca_file,
        fetch_by_proxy=table.take("fetch_by_proxy", bool, usual.fetch_by_proxy),
    )
    table.done()
    return network


def _artifacts(table: SettingsTable) -> dict[str, Any]:
    most = table.number("max_bytes", None)
    return {"artifacts_keep_days": table.number("keep_days", 30.0), **({} if most is None else {"artifacts_max_bytes": int(most)})}


def _limits(table: SettingsTable) -> dict[str, Any]:
    return {key: most for key in ("max_descriptors", "max_memory_bytes") if (most := table.whole(key)) is not None}


def _fleet(table: SettingsTable) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, (schemes, example) in _FLEET.items():
        url = table.take(key, str, "")
        try:
            parts = urllib.parse.urlsplit(url)
        except ValueError:
            parts = urllib.parse.SplitResult("", "", "", "", "")
        if url and not url.startswith(tuple(f"{scheme}://" for scheme in schemes)):
            table.report(f"{key}: expected a URL like {example}")
        if parts.password is not None or {"password", "sslpassword"} & urllib.parse.parse_qs(parts.query).keys():
            table.report(f"{key}: put the password into {'PGPASSWORD or ~/.pgpass' if key == 'store' else 'the environment'}")
        found |= {f"fleet_{key}": url} if url else {}
    if (workers := table.take("workers", bool)) is not None:
        found["fleet_workers"] = workers
    return found


def _plugins(table: SettingsTable) -> dict[str, Any]:
    what = "a distribution like 'anymedia-openai' or 'anymedia-openai==0.1.0'"
    allowed = {"plugins_allow": table.matching("allow", _DISTRIBUTION, what)} if "allow" in table.left() else {}
    return {**allowed, "disabled": table.strings("disable")}


def _backends(table: SettingsTable) -> dict[str, Any]:
    return {"instances": {name: read_instance(name, inner) for name in table.left() if (inner := table.table(name)) is not None}}


#: Table of a file -> the fields of `Settings` that it sets.
_TABLES: Mapping[str, Callable[[SettingsTable], dict[str, Any]]] = {
    "defaults": _defaults,
    "fetch": lambda table: {"fetch_allow": table.networks("allow")},
    "artifacts": _artifacts,
    "limits": _limits,
    "fleet": _fleet,
    "plugins": _plugins,
    "backends": _backends,
}

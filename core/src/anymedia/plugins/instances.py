"""Backend instances: a plugin with a service, an address and credentials, as the planner and the router see it.

Every installed plugin gives an instance of its own name; ``[backends.NAME]`` in the settings refines that one or
adds more. What is wrong with one instance stands in its ``missing`` and stops no other.
"""

from __future__ import annotations

import functools
import os
import urllib.parse
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from ..capabilities import CapabilityMatrix, CredentialSet
from ..capabilities.requirements import absent_from
from ..credentials import Credential, Keys, Secret, find_credential
from ..errors import PluginError, SettingsError, UnknownBackend, did_you_mean
from ..redaction import register_secret
from ..settings import InstanceSettings, Settings, base_url_problem
from .registry import Registry

if TYPE_CHECKING:
    from ..planning.types import BackendView

__all__ = ["COMPATIBLE", "BackendInstance", "make_instances"]

#: The service of an instance that is somebody else's server speaking the same protocol.
COMPATIBLE = "compatible"


@attrs.frozen(kw_only=True)
class BackendInstance:
    """One instance.

    Attributes:
        name: the instance's name; ``plugin`` is its plugin's.
        service: one of the plugin's services, ``compatible``, or empty where there is just one.
        matrix: cut to the service, with the configured model table applied.
        settings: as configured (or the default).
        credentials: each with the place it was looked for and found in; names, never values.
        missing: what it lacks to be usable: names of environment variables, or sentences.
        absent: modules that its models require and that were not installed when it was made; it is usable all the same,
            those models are not.
        base_url: where its requests go, None for the SDK's usual address; ``base_url_from`` says who set it.
        hosts: hosts (``host``, ``host:port``) that may be given its credentials.
        enforce_lifecycle: False for a compatible server: dates are then only noted.
        other_service_models: the plugin's models that are of other services only, with those services.
    """

    name: str
    plugin: str
    service: str = ""
    matrix: CapabilityMatrix = attrs.field(repr=False)
    settings: InstanceSettings = attrs.field(repr=False)
    credentials: tuple[Credential, ...] = ()
    missing: tuple[str, ...] = ()
    absent: frozenset[str] = frozenset()
    base_url: str | None = None
    base_url_from: str = ""
    hosts: tuple[str, ...] = ()
    enforce_lifecycle: bool = True
    other_service_models: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict, repr=False)

    @property
    def usable(self) -> bool:
        """Whether nothing is missing."""
        return not self.missing

    @property
    def not_installed(self) -> dict[str, str]:
        """The models that require what is absent here, each with the command that installs it."""
        return {row.id: needs.install for row in self.matrix.models if (needs := row.unmet(self.absent)) is not None}

    @functools.cached_property
    def view(self) -> BackendView:
        """What the planner sees of it."""
        from ..planning.types import BackendView

        return BackendView(
            name=self.name,
            matrix=self.matrix,
            missing=self.missing,
            absent=self.absent,
            enforce_lifecycle=self.enforce_lifecycle,
            service=self.service,
            other_service_models=self.other_service_models,
        )

    @property
    def context_settings(self) -> dict[str, Any]:
        """What a hook sees as ``context.settings``: the plugin's options, and ``base_url`` where one is in force."""
        return {**self.settings.options, **({} if self.base_url is None else {"base_url": self.base_url})}

    def secrets(self) -> dict[str, Secret]:
        """Return the credentials that were found, by name."""
        return {found.name: found.secret for found in self.credentials if found.secret is not None}


def make_instances(registry: Registry, settings: Settings, environ: Mapping[str, str] | None = None) -> dict[str, BackendInstance]:
    """Make all instances, sorted by name; those named in ``settings.disabled`` are left out.

    A plugin whose ``capabilities()`` fails is set aside by the registry and gives no instance of its own.
    """
    env = os.environ if environ is None else environ
    wanted = {name: InstanceSettings(name=name, plugin=name) for name in registry.plugins} | dict(settings.instances)
    found = {}
    for name in sorted(wanted.keys() - settings.disabled):
        try:
            matrix = registry.capabilities(wanted[name].plugin)
        except PluginError as error:
            if name in settings.instances:
                found[name] = _without_plugin(wanted[name], error.message)
        except UnknownBackend as error:
            found[name] = _without_plugin(wanted[name], error.message)
        else:
            found[name] = _make(wanted[name], matrix, env, settings.keys)
            for credential in found[name].credentials:
                if credential.secret is not None and not credential.public:
                    register_secret(credential.secret)
    return found


def _without_plugin(own: InstanceSettings, why: str) -> BackendInstance:
    empty = CapabilityMatrix(models=())
    return BackendInstance(name=own.name, plugin=own.plugin, service=own.service, matrix=empty, settings=own, missing=(why,))


def _make(own: InstanceSettings, matrix: CapabilityMatrix, env: Mapping[str, str], keys: Keys) -> BackendInstance:
    missing: list[str] = []
    service = _service(own, matrix, env, keys)
    if service not in {*matrix.services, COMPATIBLE, ""}:
        known = tuple(dict.fromkeys([*matrix.services, COMPATIBLE]))
        missing.append(f"plugin {own.plugin!r} has no service {service!r} (there are: {', '.join(known)}){did_you_mean(service, known)}")
    base_url, base_url_from = _base_url(own, service, matrix, env)
    if service == COMPATIBLE and base_url is None:
        missing.append("a compatible service needs a base_url")
    elif base_url is not None and (wrong := base_url_problem(base_url)):
        missing.append(f"{base_url_from}: {wrong}")
        base_url = None
    credentials, lacking = _credentials(own, service, matrix, env, keys)
    try:
        cut = _cut(matrix, service, own)
    except SettingsError as error:
        cut = CapabilityMatrix(models=())
        missing.append(error.message)
    return BackendInstance(
        name=own.name,
        plugin=own.plugin,
        service=service,
        matrix=cut,
        settings=own,
        credentials=credentials,
        missing=(*missing, *lacking),
        absent=absent_from(cut),
        base_url=base_url,
        base_url_from=base_url_from if base_url else "",
        hosts=_hosts(own, service, matrix, base_url),
        enforce_lifecycle=service != COMPATIBLE,
        other_service_models={}
        if service == COMPATIBLE
        else {r.id: r.services for r in matrix.models if r.services and not cut.model(r.id)},
    )


def _sets_for(matrix: CapabilityMatrix, service: str) -> list[CredentialSet]:
    return [s for s in matrix.credentials if service == COMPATIBLE or s.service in {"", service}]


def _look_up(chosen: CredentialSet, own: InstanceSettings, env: Mapping[str, str], keys: Keys) -> tuple[Credential, ...]:
    """Find each credential of a set; a configured variable stands in for the plugin's usual ones, an option for a public one."""

    def look_up(name: str, usual: tuple[str, ...]) -> Credential:
        public, told = name in chosen.public, own.options.get(name)
        variables = (own.credentials[name],) if name in own.credentials else usual
        if public and isinstance(told, str) and told.strip():
            where = f"options of {own.name}"
            return Credential(name=name, variables=variables, found_in=where, secret=Secret(told.strip()), public=True)
        return attrs.evolve(find_credential(name, own.name, variables, env, keys), public=public)

    return tuple(look_up(name, usual) for name, usual in chosen.names.items())


def _service(own: InstanceSettings, matrix: CapabilityMatrix, env: Mapping[str, str], keys: Keys) -> str:
    """Return the configured service, else the first with complete credentials, else the plugin's first."""
    if own.service:
        return own.service
    for service in matrix.services:
        if service != COMPATIBLE and any(all(c.secret for c in _look_up(s, own, env, keys)) for s in _sets_for(matrix, service)):
            return service
    return matrix.services[0] if matrix.services else ""


def _credentials(
    own: InstanceSettings, service: str, matrix: CapabilityMatrix, env: Mapping[str, str], keys: Keys
) -> tuple[tuple[Credential, ...], tuple[str, ...]]:
    """Return the credentials of the instance, and what is lacking.

    A compatible server needs none, and is given none that was meant for the plugin's usual provider: only those
    that its own table in the settings or in the keys file names.
    """
    sets = _sets_for(matrix, service)
    known = dict.fromkeys(name for s in sets for name in s.names)
    strange = [f"no credential {name!r}{did_you_mean(name, known)}" for name in own.credentials if name not in known]
    if service == COMPATIBLE:
        none_usual = CredentialSet(names=dict.fromkeys(known, ()))
        found = _look_up(none_usual, own, env, keys)
        return found, (*strange, *(c.wanted for c in found if c.name in own.credentials and not c.secret))
    if not sets:
        return (), tuple(strange)
    looked_up = [_look_up(s, own, env, keys) for s in sets]
    # The one that lacks least; of several, one that the instance's own table names.
    best = min(looked_up, key=lambda found: (sum(not c.secret for c in found), not any(c.name in own.credentials for c in found)))
    return best, (*strange, *(c.wanted for c in best if not c.secret))


def _base_url(own: InstanceSettings, service: str, matrix: CapabilityMatrix, env: Mapping[str, str]) -> tuple[str | None, str]:
    """Return the address in force and who set it: the settings, or else the SDK's usual variable.

    The variable is meant for the plugin's provider, so a compatible server never takes its address from it.
    """
    if own.base_url is not None:
        return own.base_url, own.where or "settings"
    for variable in _address_variables(matrix, service):
        if value := env.get(variable, "").strip():
            return value, variable
    return None, ""


def _address_variables(matrix: CapabilityMatrix, service: str) -> tuple[str, ...]:
    """Return the variables that name the address of a service; a compatible server has none."""
    parts = [entry.rpartition(":") for entry in matrix.base_url_env if service != COMPATIBLE]
    return tuple(variable for only, _, variable in parts if only in {"", service})


def _hosts(own: InstanceSettings, service: str, matrix: CapabilityMatrix, base_url: str | None) -> tuple[str, ...]:
    usual: Iterable[str] = () if service == COMPATIBLE else matrix.hosts
    place = [urllib.parse.urlsplit(base_url).netloc.lower()] if base_url else []
    return tuple(dict.fromkeys([*usual, *place, *own.hosts]))


def _cut(matrix: CapabilityMatrix, service: str, own: InstanceSettings) -> CapabilityMatrix:
    """Keep the rows of the service; apply the models table, which replaces a compatible server's list."""
    from ..capabilities.custom_models import custom_model_specs, for_other_service

    extra = custom_model_specs(own.models, matrix, own.where)
    if service != COMPATIBLE:
        rows = [row for row in matrix.models if not row.services or service in row.services]
        taken = {row.id for row in extra}
        models = (*extra, *(row for row in rows if row.id not in taken))
        return attrs.evolve(
            matrix,
            models=models,
            services=(service,) if service else (),
            credentials=tuple(_sets_for(matrix, service)),
            base_url_env=_address_variables(matrix, service),
        )
    speaks = COMPATIBLE if COMPATIBLE in matrix.services else "".join(matrix.services[:1])
    rows = [for_other_service(row) for row in matrix.models if not row.services or speaks in row.services]
    return attrs.evolve(matrix, models=extra or tuple(rows), services=(), first_party=False, hosts=(), base_url_env=())

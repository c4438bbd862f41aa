"""Backend instances: a plugin with a service, an address and credentials.

Every installed plugin has an instance of the same name; ``[backends.NAME]`` in the settings configures it or adds
another one. A problem with one instance is recorded in its ``missing`` and does not affect the others.
"""

from __future__ import annotations

import datetime
import functools
import os
import urllib.parse
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, get_args

import attrs

from ..capabilities import BillingRule, CapabilityMatrix, CredentialSet, ModelSpec
from ..capabilities.matrix_cache import with_listed
from ..capabilities.model import absent_from
from ..capabilities.options import Text
from ..credentials import Credential, GivenKeys, Keys, Secret, find_credential
from ..errors import InvalidRequest, PluginError, Problem, RequestError, SettingsError, UnknownBackend, did_you_mean
from ..fields import Operation
from ..network import address_of, is_credential_host
from ..records import frozen
from ..redaction import register_secret
from ..settings import InstanceSettings, Settings, base_url_problem
from .registry import Registry

if TYPE_CHECKING:
    from ..planning.types import BackendView

#: The service of an instance that is another server with the same protocol.
COMPATIBLE = "compatible"


@frozen(kw_only=True)
class BackendInstance:
    """One backend instance.

    Attributes:
        name: the instance's name; ``plugin`` is its plugin's.
        service: one of the plugin's services, ``compatible``, or empty if there is only one.
        matrix: the model specs of the service, with the configured custom models.
        settings: as configured (or the default).
        credentials: each with the variables searched and the place where it was found.
        wrong: what is wrong in its settings, as sentences.
        missing: what it needs to be usable: ``wrong``, and the names of environment variables.
        absent: modules that its models require and that were not installed when it was created; only those models
            are unusable.
        base_url: the address of its requests, None for the SDK's default; ``base_url_from`` names what set it.
        hosts: hosts (``host``, ``host:port``, ``*.domain``) that may receive its credentials.
        enforce_lifecycle: False for a compatible server: lifecycle dates then only cause warnings.
        other_service_models: the plugin's models of other services only, with those services.
    """

    name: str
    plugin: str
    service: str = ""
    matrix: CapabilityMatrix = attrs.field(repr=False)
    settings: InstanceSettings = attrs.field(repr=False)
    credentials: tuple[Credential, ...] = ()
    wrong: tuple[str, ...] = ()
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
    def max_concurrent(self) -> int | None:
        """How many calls may be in progress at the same time: as the settings say, or else the plugin; None for no limit."""
        return self.settings.max_concurrent or self.matrix.max_concurrent

    @property
    def not_installed(self) -> dict[str, str]:
        """The models whose required modules are absent, each with the command that installs them."""
        return {spec.id: needs.install for spec in self.matrix.models if (needs := spec.unmet(self.absent)) is not None}

    @property
    def address(self) -> str:
        """Where its requests go, for comparison and messages: the configured address, or the name of the plugin's own service."""
        if self.base_url is None or (urllib.parse.urlsplit(self.base_url).hostname or "").lower() in self.matrix.hosts:
            return f"{self.plugin}:{self.service}" if self.service else self.plugin
        return self.base_url.rstrip("/")

    @functools.cached_property
    def key_digest(self) -> str:
        """A digest of the keys, made once: it distinguishes clients of different keys, and no key can be derived from it."""
        import hashlib  # loads OpenSSL

        return hashlib.sha256(repr(sorted((n, s.reveal()) for n, s in self.secrets().items())).encode()).hexdigest()

    @functools.cached_property
    def account_key(self) -> str:
        """A name for the instance's service, address and account: a digest from which no key can be derived."""
        import hashlib  # loads OpenSSL

        return f"{self.plugin}-{hashlib.sha256(repr((self.service, self.base_url, self.key_digest)).encode()).hexdigest()[:24]}"

    @functools.cached_property
    def view(self) -> BackendView:
        """The instance as the planner sees it."""
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
        """The value of ``context.settings``: the plugin's options, and ``base_url`` if one is set."""
        return {**self.settings.options, **({} if self.base_url is None else {"base_url": self.base_url})}

    @functools.cached_property
    def billing(self) -> tuple[BillingRule, ...]:
        """The rules about errors that are not charged; none where requests do not go to the provider's own address.

        A server on the loopback interface that is configured under the provider's own service counts as the provider: its
        answers are the provider's, passed on, or those of a test server.
        """
        if self.base_url is not None and not _is_own_address(self.base_url, self.matrix.hosts):
            return ()
        return tuple(rule for rule in self.matrix.billing if not rule.services or self.service in rule.services)

    def secrets(self) -> dict[str, Secret]:
        """Return the credentials that were found, by name."""
        return {found.name: found.secret for found in self.credentials if found.secret is not None}


def make_instances(registry: Registry, settings: Settings, environ: Mapping[str, str] | None = None) -> dict[str, BackendInstance]:
    """Create all instances, sorted by name, except those in ``settings.disabled``.

    A plugin whose ``capabilities()`` fails is recorded as broken by the registry and has no instance of its own.
    """
    env = os.environ if environ is None else environ
    wanted = {name: InstanceSettings(name=name, plugin=name) for name in registry.plugins} | dict(settings.instances)
    found = {}
    for name in sorted(wanted.keys() - settings.disabled):
        try:
            matrix = with_listed(registry.capabilities(wanted[name].plugin), name)
        except PluginError as error:
            if name in settings.instances:
                found[name] = _without_plugin(wanted[name], error.message)
        except UnknownBackend as error:
            found[name] = _without_plugin(wanted[name], str(error))
        else:
            found[name] = _registered(_make(wanted[name], matrix, env, settings.keys))
    return found


def _registered(instance: BackendInstance) -> BackendInstance:
    """Return the instance after its secrets were registered, so that no text shows them."""
    for credential in instance.credentials:
        if credential.secret is not None and not credential.public:
            register_secret(credential.secret)
    return instance


def with_keys(
    instances: Mapping[str, BackendInstance], registry: Registry, given: GivenKeys, environ: Mapping[str, str] | None = None
) -> dict[str, BackendInstance]:
    """Return the instances with the keys that a caller gives, in place of those of the environment and the settings.

    Args:
        instances: one without a given key stays as it is.
        registry: their plugins.
        given: the keys, see `Router.scoped`; an empty one makes its instance unusable.
        environ: the environment, for credentials that are not secret.

    Raises:
        UnknownBackend: there is no such instance.
        RequestError: the backend takes no single key.
    """
    env = os.environ if environ is None else environ
    found = dict(instances)
    for name in instances if callable(given) else given:
        if name not in instances:
            raise registry.unknown(name, instances)
        key = given(name) if callable(given) else given[name]
        if key is None:
            continue
        if not isinstance(key, str):
            raise RequestError(f"the key of backend {name!r} must be a text")
        changed = _with_key(instances[name], registry, key.strip(), env)
        if changed is None and not callable(given):
            raise RequestError(f"backend {name!r} takes no single key", fix="Configure it in the settings.")
        found[name] = changed or instances[name]
    return found


def _with_key(instance: BackendInstance, registry: Registry, key: str, env: Mapping[str, str]) -> BackendInstance | None:
    """Return an instance with a key, without one for an empty key; None if it takes no single key."""
    own, matrix = instance.settings, with_listed(registry.capabilities(instance.plugin), instance.name)
    sets = _sets_for(matrix, own.service) if own.service else matrix.credentials
    for chosen in sorted(sets, key=lambda s: s.service != instance.service):
        secret = [name for name in chosen.names if name not in chosen.public]
        if len(secret) != 1:
            continue
        if not key:
            return attrs.evolve(instance, credentials=(), missing=("a key: none was given for this caller",))
        keys = Keys(by_instance={instance.name: {secret[0]: Secret(key)}})
        configured = attrs.evolve(own, service=own.service or chosen.service)
        return _registered(_make(configured, attrs.evolve(matrix, credentials=(chosen,)), env, keys))
    return None


def _without_plugin(own: InstanceSettings, why: str) -> BackendInstance:
    empty = CapabilityMatrix(models=())
    return BackendInstance(name=own.name, plugin=own.plugin, service=own.service, matrix=empty, settings=own, missing=(why,))


def _make(own: InstanceSettings, matrix: CapabilityMatrix, env: Mapping[str, str], keys: Keys) -> BackendInstance:
    wrong = [*_option_problems(own, matrix)]
    service = _service(own, matrix, env, keys)
    if service not in {*matrix.services, COMPATIBLE, ""}:
        known = tuple(dict.fromkeys([*matrix.services, COMPATIBLE]))
        wrong.append(f"plugin {own.plugin!r} has no service {service!r} (available: {', '.join(known)}){did_you_mean(service, known)}")
    base_url, base_url_from = _base_url(own, service, matrix, env)
    if service == COMPATIBLE and base_url is None:
        wrong.append("a compatible service needs a base_url")
    elif base_url is not None and (problem := base_url_problem(base_url)):
        wrong.append(f"{base_url_from}: {problem}")
        base_url = None
    usual = () if service == COMPATIBLE else matrix.hosts
    place = (urllib.parse.urlsplit(base_url).netloc.lower(),) if base_url else ()
    credentials, unknown, lacking = _credentials(own, service, matrix, env, keys)
    wrong += unknown
    try:
        own_matrix = _for_service(matrix, service, own)
    except SettingsError as error:
        own_matrix = CapabilityMatrix(models=())
        wrong.append(error.message)
    return BackendInstance(
        name=own.name,
        plugin=own.plugin,
        service=service,
        matrix=own_matrix,
        settings=own,
        credentials=credentials,
        wrong=tuple(wrong),
        missing=(*wrong, *lacking),
        absent=absent_from(own_matrix),
        base_url=base_url,
        base_url_from=base_url_from if base_url else "",
        hosts=tuple(dict.fromkeys((*usual, *place, *own.hosts))),
        enforce_lifecycle=service != COMPATIBLE,
        other_service_models={}
        if service == COMPATIBLE
        else {spec.id: spec.services for spec in matrix.models if spec.services and not own_matrix.model(spec.id)},
    )


def _option_problems(own: InstanceSettings, matrix: CapabilityMatrix) -> Iterator[str]:
    """Yield what is wrong with the options of an instance, where its plugin says which there are."""
    public = [name for credentials in matrix.credentials for name in credentials.public]
    known = dict(matrix.options or {}) | dict.fromkeys(public, Text())
    for name, value in own.options.items() if matrix.options is not None else ():
        problem = f"unknown{did_you_mean(name, known)}" if name not in known else known[name].problem(value)
        if problem:
            yield f"option {name!r}: {problem}"


def _is_own_address(base_url: str, hosts: Iterable[str]) -> bool:
    host = (urllib.parse.urlsplit(base_url).hostname or "").lower()
    if (address := address_of(host)) is not None:
        return address.is_loopback
    return host == "localhost" or is_credential_host(host, None, hosts)


def _sets_for(matrix: CapabilityMatrix, service: str) -> list[CredentialSet]:
    return [s for s in matrix.credentials if service == COMPATIBLE or s.service in {"", service}]


def _find_all(chosen: CredentialSet, own: InstanceSettings, env: Mapping[str, str], keys: Keys) -> tuple[Credential, ...]:
    """Find each credential of a set; a configured variable replaces the plugin's own ones, an option can hold a public one."""

    def find(name: str, usual: tuple[str, ...]) -> Credential:
        public, option = name in chosen.public, own.options.get(name)
        variables = (own.credentials[name],) if name in own.credentials else usual
        if public and isinstance(option, str) and option.strip():
            where = f"options of {own.name}"
            return Credential(name=name, variables=variables, found_in=where, secret=Secret(option.strip()), public=True)
        return attrs.evolve(find_credential(name, own.name, variables, env, keys), public=public)

    return tuple(find(name, usual) for name, usual in chosen.names.items())


def _service(own: InstanceSettings, matrix: CapabilityMatrix, env: Mapping[str, str], keys: Keys) -> str:
    """Return the configured service, else the first one with complete credentials, else the plugin's first."""
    if own.service:
        return own.service
    for service in matrix.services:
        if service != COMPATIBLE and any(all(c.secret for c in _find_all(s, own, env, keys)) for s in _sets_for(matrix, service)):
            return service
    return matrix.services[0] if matrix.services else ""


def _credentials(
    own: InstanceSettings, service: str, matrix: CapabilityMatrix, env: Mapping[str, str], keys: Keys
) -> tuple[tuple[Credential, ...], list[str], tuple[str, ...]]:
    """Return the credentials of the instance, the problems of configured ones, and those that are missing.

    A compatible server needs none, and never receives those of the plugin's usual provider: only the ones named in
    its own table in the settings or in the keys file.
    """
    sets = _sets_for(matrix, service)
    known = dict.fromkeys(name for s in sets for name in s.names)
    unknown = [f"unknown credential {name!r}{did_you_mean(name, known)}" for name in own.credentials if name not in known]
    if service == COMPATIBLE:
        no_defaults = CredentialSet(names=dict.fromkeys(known, ()))
        found = _find_all(no_defaults, own, env, keys)
        return found, unknown, tuple(c.wanted for c in found if c.name in own.credentials and not c.secret)
    if not sets:
        return (), unknown, ()
    candidates = [_find_all(s, own, env, keys) for s in sets]
    # The set with the fewest missing credentials; of several, one that the instance's own table names.
    best = min(candidates, key=lambda found: (sum(not c.secret for c in found), not any(c.name in own.credentials for c in found)))
    return best, unknown, tuple(c.wanted for c in best if not c.secret)


def _base_url(own: InstanceSettings, service: str, matrix: CapabilityMatrix, env: Mapping[str, str]) -> tuple[str | None, str]:
    """Return the address and what set it: the settings, or else the SDK's environment variable.

    The variable belongs to the plugin's provider, so it never sets the address of a compatible server.
    """
    if own.base_url is not None:
        return own.base_url, own.where or "settings"
    for variable in _address_variables(matrix, service):
        if value := env.get(variable, "").strip():
            return value, variable
    return None, ""


def _address_variables(matrix: CapabilityMatrix, service: str) -> tuple[str, ...]:
    """Return the environment variables with the address of a service; a compatible server has none."""
    parts = [entry.rpartition(":") for entry in matrix.base_url_env if service != COMPATIBLE]
    return tuple(variable for only, _, variable in parts if only in {"", service})


def _for_service(matrix: CapabilityMatrix, service: str, own: InstanceSettings) -> CapabilityMatrix:
    """Return the matrix with the models of the service and the custom models, which replace those of a compatible server."""
    from ..capabilities.custom_models import custom_model_specs, for_other_service

    extra = custom_model_specs(own.models, matrix, own.where)
    if service != COMPATIBLE:
        replaced = {spec.id for spec in extra}
        specs = [spec for spec in matrix.models if not spec.services or service in spec.services]
        models = (*extra, *(spec for spec in specs if spec.id not in replaced))
        return attrs.evolve(
            matrix,
            models=models,
            services=(service,) if service else (),
            credentials=tuple(_sets_for(matrix, service)),
            base_url_env=_address_variables(matrix, service),
        )
    protocol = COMPATIBLE if COMPATIBLE in matrix.services else "".join(matrix.services[:1])
    specs = [for_other_service(spec) for spec in matrix.models if not spec.services or protocol in spec.services]
    return attrs.evolve(matrix, models=extra or tuple(specs), services=(), first_party=False, hosts=(), base_url_env=(), billing=())


@frozen(kw_only=True)
class ModelInfo:
    """One model of a backend instance.

    Attributes:
        backend: the name of the instance.
        model: the id of the model.
        media: ``image``, ``video`` or ``audio``.
        operations: what it can do.
        stage: ``active``, ``preview``, ``doubtful``, ``deprecated`` ...
        missing: what it needs to be usable: names of environment variables, or commands that install something.
        spec: everything that the capability matrix says about it.
    """

    backend: str
    model: str
    media: str
    operations: tuple[str, ...]
    stage: str
    missing: tuple[str, ...] = ()
    spec: ModelSpec = attrs.field(repr=False)

    @property
    def usable(self) -> bool:
        """Whether nothing is missing."""
        return not self.missing

    def __str__(self) -> str:
        """Return the name that a request takes as ``model``: ``backend/model``."""
        return f"{self.backend}/{self.model}"


def list_models(
    instances: Collection[BackendInstance], today: datetime.date, operation: str | None = None, usable: bool | None = None
) -> list[ModelInfo]:
    """Return the models of backend instances that are not retired, the usable ones first; see `anymedia.Router.models`."""
    known = {*get_args(Operation), *(name for instance in instances for spec in instance.matrix.models for name in spec.operations)}
    if operation is not None and operation not in known:
        raise InvalidRequest([Problem("$.operation", f"there is no operation {operation!r}{did_you_mean(str(operation), known)}")])
    found = []
    for instance in instances:
        for spec in instance.matrix.models:
            stage = spec.lifecycle.stage_on(today)
            needs = spec.unmet(instance.absent)
            missing = (*instance.missing, *(() if needs is None else (needs.install,)))
            made = ModelInfo(
                backend=instance.name,
                model=spec.id,
                media=spec.media,
                operations=tuple(spec.operations),
                stage="preview" if spec.preview and stage == "active" else stage,
                missing=missing,
                spec=spec,
            )
            if stage != "retired" or not instance.enforce_lifecycle:
                found.append(made)
    wanted = (m for m in found if (operation is None or operation in m.operations) and usable in (None, m.usable))
    return sorted(wanted, key=lambda model: not model.usable)

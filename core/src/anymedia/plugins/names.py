"""Names of backends, models and plugins in settings and arguments: which exist, and what to do about one that does not."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import attrs

from ..capabilities import CapabilityMatrix
from ..distributions import normal
from ..errors import PluginError, RequestError, SettingsError, UnknownBackend, nearest_name
from ..planning.explain import unknown_model_error
from ..policy import Policy
from ..settings import Settings
from .instances import BackendInstance
from .registry import Registry

__all__ = ["NameProblem", "Names"]

#: What a name decides: ``always`` (a cap), ``unnamed`` (the choice of a backend, unless the caller names one), ``nothing``.
Decides = Literal["always", "unnamed", "nothing"]


@attrs.frozen(kw_only=True)
class NameProblem:
    """A name in the settings that does not exist.

    Attributes:
        setting: where it is: table and key, or environment variable.
        error: the error with a suggestion, without the setting.
        decides: whether it must stop a request.
    """

    setting: str
    error: RequestError
    decides: Decides

    def __str__(self) -> str:
        return f"{self.setting}: {self.error.message}" + (f" ({self.error.fix})" if self.error.fix else "")

    def settings_error(self) -> SettingsError:
        """Return the error that stops a request."""
        override = "; or name a backend for this request: --backend NAME, backend='NAME'" if self.decides == "unnamed" else ""
        return SettingsError(f"{self.setting}: {self.error.message}", fix=(self.error.fix or "correct the name") + override)


@attrs.frozen(kw_only=True)
class Names:
    """The names that settings and arguments may use.

    Attributes:
        settings: the settings to check.
        registry: the plugins.
        instances: the backend instances.
        today: the date by which retired models are not suggested.
    """

    settings: Settings
    registry: Registry
    instances: Mapping[str, BackendInstance]
    today: datetime.date

    def check_arguments(self, backend: str | Sequence[str] | None, model: str | None) -> None:
        """Check the backend names of a request's arguments.

        Raises:
            UnknownBackend: with a suggestion, or the package to install.
        """
        named = [] if backend in (None, "auto") else [backend] if isinstance(backend, str) else list(backend or ())
        head, slash, _ = (model or "").partition("/")
        if slash and head in self.registry.installable:
            named.append(head)
        for name in named:
            if name not in self.instances:
                raise self.registry.unknown(name, self.instances)

    def check_settings(self, policy: Policy, default: tuple[str, str] | None, *, named: bool) -> list[str]:
        """Check the names that decide something for a request.

        Args:
            policy: the request's policy.
            default: key and value of the default that applies, if any.
            named: whether the caller named a backend or a model.

        Returns:
            A warning for each preferred backend that is not installed or not loaded: the next preference is tried.

        Raises:
            SettingsError: for a name that does not exist, with the setting and a suggestion.
        """
        found: list[NameProblem] = []
        if not named:
            if default is not None:
                found += self._reference(f"[defaults] {default[0]} = {default[1]!r}", default[1])
            found += self._preferences(policy)
        found += self._caps(policy)
        found += (problem for problem in self._plugin_problems if problem.decides == "always" or not named)
        for problem in found:
            if problem.decides != "nothing":
                raise problem.settings_error()
        return [str(problem) for problem in found if problem not in self._plugin_problems]

    def problems(self) -> list[NameProblem]:
        """Return every name in the settings that does not exist."""
        found: list[NameProblem] = []
        for key, value in self.settings.defaults.items():
            found += self._reference(f"[defaults] {key} = {value!r}", value)
        found += self._preferences(self.settings.policy)
        found += self._caps(self.settings.policy)
        return [*found, *self._plugin_problems, *self._keys()]

    # Kinds of settings

    def _preferences(self, policy: Policy) -> Iterator[NameProblem]:
        for name in policy.prefer:
            yield from self._reference(f"prefer = {name!r}", name, "nothing" if self._is_unavailable(name) else "unnamed")

    def _is_unavailable(self, name: str) -> bool:
        """Whether a backend's name is right although it is not installed, not loaded or disabled."""
        backend = name.partition("/")[0]
        registry = self.registry
        return any(backend in names for names in (registry.installable, registry.broken, registry.blocked, self.settings.disabled))

    def _reference(self, setting: str, name: str, decides: Decides = "unnamed") -> Iterator[NameProblem]:
        """Yield the problem of a ``backend`` or ``backend/model``."""
        error = self._reference_error(name)
        if error is not None:
            yield NameProblem(setting=setting, error=error, decides=decides)

    def _reference_error(self, name: str) -> RequestError | None:
        backend, slash, model = name.partition("/")
        instance = self.instances.get(backend)
        if instance is None:
            owners = [other.name for other in self.instances.values() if other.matrix.model(name)]
            if owners:
                return UnknownBackend(f"no backend named {name!r}", fix=f"write the backend, too: '{owners[0]}/{name}'")
            return self._unknown(backend)
        if not slash or instance.matrix.model(model) or not instance.matrix.models:
            return None
        return unknown_model_error(model, [instance.view], [i.view for i in self.instances.values()], self.today)

    def _unknown(self, backend: str) -> UnknownBackend:
        if backend in self.settings.disabled and backend in self.settings.instances:
            return UnknownBackend(f"backend {backend!r} is disabled (ANYMEDIA_DISABLE or plugins.disable)")
        return self.registry.unknown(backend, self.instances)

    def _caps(self, policy: Policy) -> Iterator[NameProblem]:
        for name in policy.budget.per_backend:
            if name not in self.instances and not self._is_unavailable(name):
                error = self.registry.unknown(name, self.instances)
                yield NameProblem(setting=f"[policy.budget] per_backend.{name}", error=error, decides="always")

    @functools.cached_property
    def _plugin_problems(self) -> tuple[NameProblem, ...]:
        return (*self._plugins(), *self._disabled(), *self._allowed())

    def _plugins(self) -> Iterator[NameProblem]:
        for name, own in self.settings.instances.items():
            if own.plugin not in self.registry.plugins and name in self.instances:
                error = self.registry.unknown(own.plugin)
                known = self._is_unavailable(own.plugin)
                yield NameProblem(setting=f"{own.where}: plugin = {own.plugin!r}", error=error, decides="nothing" if known else "unnamed")

    def _disabled(self) -> Iterator[NameProblem]:
        registry = self.registry
        installed = {*registry.plugins, *registry.blocked, *registry.broken, *self.settings.instances}
        for name in sorted(self.settings.disabled - installed - registry.installable.keys()):
            if near := nearest_name(name, installed):
                error = UnknownBackend(f"no backend named {name!r} is installed; did you mean {near!r}?")
                yield NameProblem(setting=f"disable = {name!r}", error=error, decides="nothing")

    def _allowed(self) -> Iterator[NameProblem]:
        installed = {normal(name): name for name in self.registry.distributions}
        allowed = {normal(entry.partition("==")[0].strip()) for entry in self.settings.plugins_allow or ()}
        for name in sorted(allowed - installed.keys()):
            near = nearest_name(name, installed.keys() - allowed)
            if near is not None:
                error = UnknownBackend(f"no distribution named {name!r} is installed; did you mean {installed[near]!r}?")
                yield NameProblem(setting=f"[plugins] allow = {name!r}", error=error, decides="unnamed")

    def _keys(self) -> Iterator[NameProblem]:
        keys = self.settings.keys
        for name in keys.by_instance:
            if name not in self.instances and not self._is_unavailable(name):
                error = self.registry.unknown(name, self.instances)
                yield NameProblem(setting=f"keys.toml [{name}]", error=error, decides="nothing")
        variables = {v for instance in self.instances.values() for c in instance.credentials for v in c.variables}
        variables |= {v for matrix in self._matrices() for s in matrix.credentials for names in s.names.values() for v in names}
        for name in keys.by_variable:
            if name not in variables and (near := nearest_name(name, variables)):
                error = UnknownBackend(f"no backend reads {name}; did you mean {near!r}?")
                yield NameProblem(setting=f"keys.toml {name}", error=error, decides="nothing")

    def _matrices(self) -> Iterator[CapabilityMatrix]:
        for name in list(self.registry.plugins):
            try:
                yield self.registry.capabilities(name)
            except PluginError:
                continue  # reported where the plugin is used

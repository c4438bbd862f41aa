"""Installed and configured backends, without opening the journal: for models, capabilities, doctor and plan."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from ..plugins.instances import BackendInstance
    from ..plugins.registry import Registry
    from ..settings import Settings

__all__ = ["Environment", "load_environment", "warn_about_names"]


@attrs.frozen(kw_only=True)
class Environment:
    """The current settings, plugins and backend instances."""

    settings: Settings
    registry: Registry
    instances: Mapping[str, BackendInstance]

    def name_warnings(self) -> list[str]:
        """Return a warning for each name in the settings that does not exist."""
        from ..plugins.names import Names

        today = datetime.datetime.now(datetime.UTC).date()
        names = Names(settings=self.settings, registry=self.registry, instances=self.instances, today=today)
        return [f"warning: {problem}" for problem in names.problems()]

    def pick(self, name: str | None) -> list[BackendInstance]:
        """Return one instance by name, or all.

        Raises:
            UnknownBackend: no instance has that name; the message says when its plugin is broken or blocked.
        """
        if name is None:
            return list(self.instances.values())
        if name in self.instances:
            return [self.instances[name]]
        raise self.registry.unknown(name, self.instances)


def warn_about_names(settings: Settings) -> None:
    """Print a warning on stderr for each name in the settings that does not exist; loads no plugin if there are no names."""
    names = (settings.defaults, settings.policy.prefer, settings.policy.budget.per_backend, settings.instances, settings.plugins_allow)
    if any(names) or settings.disabled or settings.keys.path is not None:
        from .console import Console

        for warning in load_environment(settings).name_warnings():
            Console().note(warning)


def load_environment(settings: Settings | None = None) -> Environment:
    """Load settings, plugins and instances."""
    from ..plugins.instances import make_instances
    from ..plugins.registry import discover
    from ..settings import load_settings

    settings = load_settings() if settings is None else settings
    registry = discover(allow=settings.plugins_allow, disabled=settings.disabled)
    return Environment(settings=settings, registry=registry, instances=make_instances(registry, settings))

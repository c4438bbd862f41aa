"""Ask a provider for its models: for all, or for the one that a caller names and that the matrix does not have. Neither needs a journal."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

import attrs

from ..capabilities.matrix_cache import keep_read, with_listed
from ..capabilities.model import absent_from
from ..context import Context
from ..errors import BackendError, NoBackendAvailable, UnknownModel, UnsupportedOperation, did_you_mean, shown
from ..plugins.instances import COMPATIBLE, BackendInstance

if TYPE_CHECKING:
    from ..hookspecs import ListedModel
    from ..plugins.registry import Registry
    from ..settings import Settings

#: What may be the id of a model that a provider is asked about: no path that climbs, no query, no control character.
_ID = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._:@/+-]{0,199}")


async def listed_models(registry: Registry, settings: Settings, instance: BackendInstance, model: str = "") -> Sequence[ListedModel]:
    """Call the hook ``list_models`` of an instance; ``model``: the only one that is wanted, where the plugin reads one on demand."""
    from ..net.fetcher import Fetcher
    from .engine import Clients

    clients = Clients()
    fetcher = Fetcher(allow=settings.fetch_allow, network=settings.network)
    context = Context(
        backend=instance.name,
        model=model,
        service=instance.service,
        settings=instance.context_settings,
        secrets=instance.secrets(),
        network=settings.network,
        hosts=instance.hosts,
        clients=lambda name, factory: clients.get(instance.name, instance.key_digest, name, factory),
        fetch=lambda url, headers: fetcher.fetch_bytes(url, headers=headers, credential_hosts=instance.hosts, for_caller=False),
    )
    try:
        found: Sequence[ListedModel] = await registry.call(instance.plugin, "list_models", context=context)
    finally:
        await clients.aclose()
        await fetcher.aclose()
    return found


async def read_on_demand(
    registry: Registry,
    settings: Settings,
    instances: Mapping[str, BackendInstance],
    backend: str | Sequence[str] | None,
    model: str | None,
) -> None:
    """Add a model to its instance if a caller names one that the matrix does not have and the plugin can describe. Nothing is spent.

    It is kept in the instance's cache, so that each model is read once. Its entry in ``instances`` is replaced.

    Raises:
        UnknownModel: the provider does not list it.
        NoBackendAvailable: the instance is not usable.
        UnsupportedOperation: what the provider says does not describe it.
        BackendError: the provider could not be asked.
    """
    instance, wanted = (None, "") if model is None else _named(instances, backend, model)
    if instance is None or instance.matrix.model(wanted) or any(other.matrix.model(str(model)) for other in instances.values()):
        return
    own = registry.capabilities(instance.plugin)
    if (spec := with_listed(own, instance.name).model(wanted)) is None:  # no other process has read it
        listed = await _one(registry, settings, instance, wanted)
        hooks = registry.plugins[instance.plugin].hooks
        spec = keep_read(instance.name, listed.row, datetime.datetime.now(datetime.UTC).date(), own, hooks)
    current = instances[instance.name]  # another model of it may have been read meanwhile
    models = (*(each for each in current.matrix.models if each.id != spec.id), spec)
    changed = attrs.evolve(current, matrix=attrs.evolve(current.matrix, models=models))
    cast(dict[str, BackendInstance], instances)[instance.name] = attrs.evolve(changed, absent=absent_from(changed.matrix))


def _named(instances: Mapping[str, BackendInstance], backend: str | Sequence[str] | None, model: str) -> tuple[BackendInstance | None, str]:
    """Return the instance that was named and reads models on demand, and the model's id there."""
    names = [] if backend in (None, "auto") else [backend] if isinstance(backend, str) else list(backend or ())
    head, slash, tail = model.partition("/")
    if slash and head in instances and (not names or head in names):
        name, wanted = head, tail
    else:
        name, wanted = names[0] if len(names) == 1 else "", model
    instance = instances.get(name)
    if instance is None or not instance.matrix.on_demand or instance.service == COMPATIBLE or wanted in ("", "auto"):
        return None, wanted
    return instance, wanted


async def _one(registry: Registry, settings: Settings, instance: BackendInstance, wanted: str) -> ListedModel:
    """Return what the provider says about a model; raises as `read_on_demand`."""
    known = [spec.id for spec in instance.matrix.models]
    unknown = f"no model of {instance.name!r} named {shown(wanted, 120)}"
    if _ID.fullmatch(wanted) is None:
        raise UnknownModel(f"{unknown}{did_you_mean(wanted, known)}")
    if not instance.usable:
        view = instance.view
        text = f"'{instance.name}/{wanted}' must be read from its provider, and {instance.name!r} is not usable: {view.lacks}"
        raise NoBackendAvailable(text, fix=view.to_set)
    try:
        listed = await listed_models(registry, settings, instance, wanted)
    except UnknownModel:
        listed = ()
    except BackendError as error:
        error.delivery, error.charged, error.backend = "not_sent", "no", instance.name
        raise
    found = next((each for each in listed if each.id == wanted), None)
    if found is None:
        fix = "check the id in the provider's catalogue"
        raise UnknownModel(f"{unknown}: its provider does not list it{did_you_mean(wanted, known)}", fix=fix)
    if not found.row:
        why = "; ".join(found.notes) or "its list has no description of it"
        raise UnsupportedOperation(f"'{instance.name}/{wanted}' cannot be used: {why}")
    return found

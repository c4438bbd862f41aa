"""Views of a router for one realm each, with keys and budgets of their own."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from .credentials import GivenKeys
from .errors import RequestError
from .execution.resume import export_received, share_run
from .plugins.instances import with_keys
from .policy import Budget, Policy

if TYPE_CHECKING:
    from .execution.engine import Engine
    from .execution.run_registry import RunRegistry
    from .plan_maker import PlanMaker
    from .plugins.instances import BackendInstance
    from .plugins.registry import Registry
    from .results import MediaFile
    from .state.sql import Store
    from .state.store import CallRecord


def check_realm(realm: str, own: str | None) -> None:
    """Refuse a realm that is not a name, or that a view may not use.

    Raises:
        RequestError: see `Router.scoped`.
    """
    if not isinstance(realm, str) or not realm.strip() or len(realm) > 200 or not realm.isprintable():
        raise RequestError("a realm must be a name of 1 to 200 printable characters")
    if own not in (None, realm):
        raise RequestError("a view of one realm has no access to another")


class Realms:
    """The part of a router that makes views of it."""

    registry: Registry
    instances: Mapping[str, BackendInstance]
    policy: Policy
    store: Store
    _plan_maker: PlanMaker
    _engine: Engine
    _run_registry: RunRegistry
    if TYPE_CHECKING:

        async def _records(self, job_id: str) -> Sequence[CallRecord]: ...

    @property
    def realm(self) -> str | None:
        """The realm of a view, see `scoped`; None for a router that sees all realms."""
        return self.store.realm

    def scoped(
        self,
        *,
        realm: str | None = None,
        keys: GivenKeys | None = None,
        budget: Budget | None = None,
        policy: Policy | None = None,
        project: str | None = None,
    ) -> Self:
        """Return a view of this router for one tenant, agent or client. It shares the store, the artifacts and the plugins.

        Jobs, continuations and run keys of other realms are unknown to it, as if they did not exist. Close the view to close the
        clients that have its keys; the router closes the rest.

        Args:
            realm: the only realm that the view sees and writes to; by default that of this router, which sees all realms.
            keys: API keys by backend, or a function that returns the key of a backend. They win over the environment and the
                settings, for resumed jobs too; an empty text makes a backend unusable; a backend without a key (None) uses the router's.
            budget: caps for the realm, within those of the policy: per_session, per_day and per_backend count the spending of the realm.
            policy: the view's policy; by default that of this router.
            project: the project, a scope of budgets; by default that of this router.

        Raises:
            RequestError: the realm is empty or not this view's own, or a key belongs to no backend.
        """
        if realm is not None:
            check_realm(realm, self.realm)
        store = self.store if realm in (None, self.realm) else self.store.scoped(realm)
        if keys is not None and not callable(keys) and not isinstance(keys, Mapping):
            raise RequestError("keys are given by backend, such as keys={'openai': 'sk-...'}")  # without the value: it is a secret
        instances = self.instances if keys is None else with_keys(self.instances, self.registry, keys)
        view = copy.copy(self)
        if keys is not None or budget is not None or policy is not None:
            view._plan_maker = self._plan_maker.scoped(instances, policy or self.policy, budget)
        view.store, view.instances, view.policy = store, instances, view._plan_maker.policy
        view._engine = self._engine.scoped(store=store, instances=instances, policy=view.policy, project=project or self._engine.project)
        view._run_registry = self._run_registry.scoped(view._engine)
        return view

    def _with(self, keys: GivenKeys | None) -> Self:
        """Return a view with the keys of one call."""
        return self if keys is None else self.scoped(keys=keys)

    async def share(self, job_id: str, *, realm: str) -> CallRecord:
        """Give a copy of a result to another realm: a job of its own there, with the same files and continuation ids.

        Deleting either of the two does not affect the other.

        Args:
            job_id: a job that is done.
            realm: the other realm.

        Raises:
            UnknownJob: with the most similar id.
            RequestError: it is not done, or this router is a view of one realm.
        """
        check_realm(realm, self.realm)
        return await share_run(self._engine, await self._records(job_id), realm)

    async def export(self, job_id: str, output: str | Path | None = None, *, policy: Policy | None = None) -> Sequence[MediaFile]:
        """Copy what was received for a job and could not be interpreted to files; the suffix is ``.bin``, since they are not valid media.

        Args:
            job_id: a job whose error says that what was received is kept.
            output: a directory, or a file named ``.bin``; by default the working directory.
            policy: whose directories the files must lie in; by default the router's.

        Raises:
            UnknownJob: with the most similar id.
            RequestError: nothing is kept, or it is not media but a text, which may hold signed links.
        """
        return await export_received(self._engine, await self._records(job_id), output, policy or self.policy)

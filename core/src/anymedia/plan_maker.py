"""Plans from the settings and the installed backends: everything before spending, without a store, a client or an event loop."""

from __future__ import annotations

import datetime
import functools
import time
from collections.abc import Callable, Mapping, Sequence

import attrs

from .capabilities.overlay import Overlay, OverlayStore
from .errors import UnsupportedInput, UnsupportedOperation
from .execution.prepare_inputs import InputReader, with_facts
from .files.names import formats_available
from .planning import BackendView, Default, Plan, Planner
from .plugins.instances import BackendInstance, Names
from .plugins.registry import Registry
from .policy import Policy
from .requests import ContinueVideo, Request
from .results import Warning
from .settings import Settings

__all__ = ["PlanMaker"]


def _with_formats(policy: Policy) -> Policy:
    return policy.but(transcode=formats_available())


@attrs.frozen(kw_only=True)
class PlanMaker:
    """Makes plans.

    Attributes:
        settings: the preferences per operation.
        registry: the plugins.
        instances: the backends.
        policy: what is allowed, unless a plan has its own policy.
        today: returns the date by which lifecycles are judged.
        now: returns the time, in seconds since the epoch, by which a provider's refusals expire.
    """

    settings: Settings
    registry: Registry
    instances: Mapping[str, BackendInstance]
    policy: Policy = attrs.field(converter=_with_formats)
    today: Callable[[], datetime.date] = lambda: datetime.datetime.now(datetime.UTC).date()
    now: Callable[[], float] = time.time

    @functools.cached_property
    def overlays(self) -> OverlayStore:
        """What the providers said about their models."""
        return OverlayStore(self.settings.state_dir / "overlays")

    def _view(self, instance: BackendInstance) -> BackendView:
        """Return an instance as the planner sees it, corrected by what its provider said."""
        overlay = self.overlays.load(instance.account_key)
        if overlay == Overlay():
            return instance.view
        matrix = overlay.correct(instance.matrix)
        return attrs.evolve(instance.view, matrix=matrix, demoted=overlay.demoted(matrix, self.now()))

    def planner(self, request: Request, policy: Policy | None = None) -> Planner:
        """Return the planner over all backends, under the policy that applies to a request.

        A default of the settings applies unless the request's own policy has other preferences.
        """
        allowed = self.policy if policy is None else policy.but(transcode=self.policy.transcode)
        found = self._default(request, allowed)
        default = None if found is None else Default(name=found[1], setting=f"[defaults] {found[0]}")
        views = [self._view(instance) for instance in self.instances.values()]
        return Planner(views=views, policy=allowed, today=self.today(), default=default)

    @functools.cached_property
    def names(self) -> Names:
        """The names that settings and arguments may use."""
        return Names(settings=self.settings, registry=self.registry, instances=self.instances, today=self.today())

    def _default(self, request: Request, policy: Policy) -> tuple[str, str] | None:
        return self.settings.default_for(request.kind, request.media) if policy.prefer == self.policy.prefer else None

    def plan(
        self,
        request: Request,
        policy: Policy | None = None,
        backend: str | Sequence[str] | None = None,
        model: str | None = None,
        inputs: InputReader | None = None,
    ) -> Plan:
        """Return the plan for a request whose continuation is resolved; see `Router.plan`.

        Args:
            request: the request.
            policy: what is allowed for this request.
            backend: only these instances.
            model: only this model.
            inputs: reads the input files; by default only their headers are read.
        """
        planner = self.planner(request, policy)
        self.names.check_arguments(backend, model)
        named = backend not in (None, "auto") or model not in (None, "auto")
        unused = self.names.check_settings(planner.policy, self._default(request, planner.policy), named=named)
        request = with_facts(request, inputs or InputReader(roots=planner.policy.input_roots, headers_only=True))
        try:
            found = planner.plan(request, backend=backend, model=model)
            return attrs.evolve(found, warnings=(*found.warnings, *(Warning("preference_unused", text) for text in unused)))
        except (UnsupportedOperation, UnsupportedInput):
            if not (planner.policy.bridge and isinstance(request, ContinueVideo)):
                raise
        from .execution.bridge import bridged_plan

        return bridged_plan(request, planner, backend=backend, model=model)

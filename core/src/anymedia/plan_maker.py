"""Plans from what is installed and configured: all that comes before spending, without a store, a client or an event loop."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence

import attrs

from .convert.formats import formats_available
from .errors import UnsupportedInput, UnsupportedOperation
from .execution.prepare_inputs import resolve, with_facts
from .planning import Plan, Planner
from .plugins.instances import BackendInstance
from .policy import Policy
from .requests import Continuation, ContinueVideo, Request
from .settings import Settings

__all__ = ["PlanMaker"]


def _with_formats(policy: Policy) -> Policy:
    return policy.but(transcode=formats_available())


@attrs.frozen(kw_only=True)
class PlanMaker:
    """Makes plans.

    Attributes:
        settings: whose defaults are preferred.
        instances: the backends.
        policy: what is allowed where a plan's own policy does not say otherwise.
        find: finds a continuation by its id.
        today: gives the date by which lifecycles are judged.
    """

    settings: Settings
    instances: Mapping[str, BackendInstance]
    policy: Policy = attrs.field(converter=_with_formats)
    find: Callable[[str], Continuation]
    today: Callable[[], datetime.date] = lambda: datetime.datetime.now(datetime.UTC).date()

    def allowed(self, request: Request, policy: Policy | None) -> Policy:
        """Return the policy that holds for a request."""
        base = self.policy if policy is None else policy.but(transcode=self.policy.transcode)
        return self.settings.policy_for(request.kind, request.media, base)

    def make(self, request: Request, policy: Policy | None, backend: str | Sequence[str] | None, model: str | None) -> Plan:
        """Return the plan for a request as it was asked; see `Router.plan`."""
        allowed = self.allowed(request, policy)
        return self.choose(with_facts(resolve(request, self.find), allowed), allowed, backend, model)

    def planner(self, policy: Policy) -> Planner:
        """Return the planner over all configured backends under a policy."""
        return Planner(views=[instance.view for instance in self.instances.values()], policy=policy, today=self.today())

    def choose(self, request: Request, policy: Policy, backend: str | Sequence[str] | None, model: str | None) -> Plan:
        """Return the plan for a request whose continuation and facts are known."""
        planner = self.planner(policy)
        try:
            return planner.plan(request, backend=backend, model=model)
        except (UnsupportedOperation, UnsupportedInput):
            if not (policy.bridge and isinstance(request, ContinueVideo)):
                raise
        from .execution.bridge import bridged_plan

        return bridged_plan(request, planner, backend=backend, model=model)

"""Plans from the settings and the installed backends: everything before spending, without a store, a client or an event loop."""

from __future__ import annotations

import datetime
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from . import telemetry
from .capabilities import OperationSpec
from .capabilities.overlay import Overlay, OverlayStore
from .errors import UnsupportedInput, UnsupportedOperation
from .execution.prepare_inputs import InputReader, with_facts
from .files.names import formats_available
from .planning import BackendView, Default, Plan, Planner
from .planning.explain import Selection
from .plugins.instances import BackendInstance, Names
from .plugins.registry import Registry
from .policy import Budget, Policy
from .records import frozen
from .requests import RUN, ContinueVideo, GenerateVideo, Request, Transform
from .results import Adjustment
from .settings import Settings


def _with_formats(policy: Policy) -> Policy:
    return policy.but(transcode=formats_available())


@frozen(kw_only=True)
class PlanMaker:
    """Makes plans.

    Attributes:
        settings: the preferences per operation.
        registry: the plugins.
        instances: the backends.
        policy: what is allowed, unless a plan has its own policy.
        today: returns the date by which lifecycles are judged.
        now: returns the time, in seconds since the epoch, by which a provider's refusals expire.
        budget: caps for the realm of a view; no policy exceeds them.
        overlays: what the providers said about their models.
    """

    settings: Settings
    registry: Registry
    instances: Mapping[str, BackendInstance]
    policy: Policy = attrs.field(converter=_with_formats)
    today: Callable[[], datetime.date] = lambda: datetime.datetime.now(datetime.UTC).date()
    now: Callable[[], float] = time.time
    budget: Budget | None = None
    overlays: OverlayStore = attrs.field(
        default=attrs.Factory(lambda self: OverlayStore(self.settings.state_dir / "overlays"), takes_self=True), repr=False
    )

    def scoped(self, instances: Mapping[str, BackendInstance], policy: Policy, budget: Budget | None) -> PlanMaker:
        """Return the plan maker of a view, whose budget is not larger than this one's."""
        within = budget or self.budget if budget is None or self.budget is None else self.budget.tightened(budget)
        return attrs.evolve(self, instances=instances, policy=policy, budget=within)

    def _view(self, instance: BackendInstance) -> BackendView:
        """Return an instance as the planner sees it, corrected by what its provider said."""
        overlay = self.overlays.load_for(instance)
        if overlay == Overlay():
            return instance.view
        matrix = overlay.correct(instance.matrix)
        return attrs.evolve(instance.view, matrix=matrix, demoted=overlay.demoted(matrix, self.now()))

    def planner(self, request: Request, policy: Policy | None = None) -> Planner:
        """Return the planner over all backends, under the policy that applies to a request.

        A default of the settings applies unless the request's own policy has other preferences.
        """
        allowed = self.policy if policy is None else policy.but(transcode=self.policy.transcode)
        if self.budget is not None:
            allowed = allowed.but(budget=allowed.budget.within(self.budget))
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
        with telemetry.span("plan"):
            return self._plan(request, policy, backend, model, inputs)

    def _plan(
        self,
        request: Request,
        policy: Policy | None,
        backend: str | Sequence[str] | None,
        model: str | None,
        inputs: InputReader | None,
    ) -> Plan:
        planner = self.planner(request, policy)
        self.names.check_arguments(backend, model)
        named = backend not in (None, "auto") or model not in (None, "auto")
        unused = self.names.check_settings(planner.policy, self._default(request, planner.policy), named=named)
        inputs = inputs or InputReader(roots=planner.policy.input_roots, headers_only=True)
        request = with_facts(request, inputs)
        try:
            found = planner.plan(request, backend=backend, model=model)
            return attrs.evolve(found, warnings=(*found.warnings, *unused), digests=inputs.digests)
        except (UnsupportedOperation, UnsupportedInput):
            if not (planner.policy.bridge and isinstance(request, ContinueVideo)):
                raise
        return _bridged_plan(request, planner, backend=backend, model=model)


def run_request(instances: Mapping[str, BackendInstance], model: str, inputs: Mapping[str, Any]) -> Transform:
    """Return the request that runs a model by its own inputs: files, the prompt and options, as its spec tells them apart.

    Args:
        instances: the backends.
        model: ``backend/model``.
        inputs: the model's inputs by their own names.

    Raises:
        UnknownBackend, UnknownModel: there is no such model.
        UnsupportedOperation: it is not described by its own inputs.
    """
    spec = run_spec(instances, model)
    rest = dict(inputs)
    files = {name: rest.pop(name) for name in inputs if name in spec.inputs}
    prompt = rest.pop("prompt", "") if spec.prompt.max_chars != 0 else ""
    return Transform(task=RUN, inputs=files, prompt=prompt, options=rest)


def run_spec(instances: Mapping[str, BackendInstance], model: str) -> OperationSpec:
    """Return the spec of a model's own inputs; raises as `run_request`."""
    views = [instance.view for instance in instances.values()]
    selection = Selection.of(views, None, model, datetime.datetime.now(datetime.UTC).date())
    specs = [spec for view in views for spec in view.matrix.models if selection.includes(view, spec)]
    found = next((own for spec in specs if (own := spec.operations.get(f"transform.{RUN}")) is not None), None)
    if found is None:
        fix = "use its operations; a provider's own list describes more models: anymedia models --refresh"
        raise UnsupportedOperation(f"{model!r} is not described by its own inputs", fix=fix)
    return found


def _bridged_plan(
    request: ContinueVideo,
    planner: Planner,
    *,
    backend: str | Sequence[str] | None = None,
    model: str | None = None,
) -> Plan:
    """Plan a video that starts from the last frame of the one to be continued.

    Raises:
        UnsupportedInput: the earlier video's file is missing, or something else than appending was requested.
        RequestError: no backend can generate a video from a first frame.
    """
    from .media import Image
    from .probe.probe import describe

    if request.continue_as not in (None, "extend"):
        raise UnsupportedInput(f"a video can be bridged elsewhere only to extend it, not to {request.continue_as} it")
    frame = describe(Image(data=_last_frame(request, planner.policy), mime="image/png"))
    shared = {f.name for f in attrs.fields(GenerateVideo)} & {f.name for f in attrs.fields(ContinueVideo)}
    fields: dict[str, Any] = {name: getattr(request, name) for name in shared}
    plan = planner.plan(GenerateVideo(**fields, first_frame=frame), backend=backend, model=model)
    asked = request.continue_from.id if request.continue_from is not None else str(request.source)
    why = "its own backend cannot extend it: a new video starts from its last frame; the earlier part is not in the file"
    bridge = Adjustment(field="continue_from", kind="bridged", asked=asked, sent="first_frame", why=why)
    return attrs.evolve(plan, adjustments=(bridge, *plan.adjustments), continued_as="extend")


def _last_frame(request: ContinueVideo, policy: Policy) -> bytes:
    import shutil
    import tempfile

    from .convert.load_input import last_frame
    from .files.part_file import copy_kept
    from .files.paths import open_input
    from .probe.reader import Limits

    # A caller's path is opened with all checks, a file of an earlier result must be unchanged; the decoder gets a copy of it.
    with tempfile.NamedTemporaryFile(prefix="anymedia-") as copy:
        if request.source is not None and request.source.data is not None:
            copy.write(request.source.data)
        elif request.source is not None and request.source.path is not None:
            with open_input(request.source.path, policy.input_roots, field="$.source") as file:
                shutil.copyfileobj(file, copy)
        else:
            files = request.continue_from.files if request.continue_from is not None else ()
            if not files or not copy_kept(Path(files[0].path), files[0].sha256, copy, most=Limits().bytes):
                text = "the earlier video's file is gone or has changed, so it cannot be bridged"
                raise UnsupportedInput(text, fix="give the video file as source")
        copy.flush()
        return last_frame(Path(copy.name))

"""Plans from the settings and the installed backends: everything before spending, without a store, a client or an event loop.

Names in settings and arguments that do not exist are reported with the nearest ones that do.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import attrs

from . import telemetry
from .capabilities import CapabilityMatrix, OperationSpec
from .capabilities.overlay import Overlay, OverlayStore
from .distributions import normal
from .errors import (
    Argument,
    FixText,
    PluginError,
    RequestError,
    SettingsError,
    UnknownBackend,
    UnknownModel,
    UnsupportedInput,
    UnsupportedOperation,
    did_you_mean,
)
from .execution.prepare_inputs import InputReader, with_facts
from .files.names import formats_available
from .notes import Adjustment, Warning
from .planning import BackendView, Default, Plan, Planner
from .planning.explain import Selection, unknown_model_error
from .plugins.instances import BackendInstance
from .plugins.registry import Registry
from .policy import Budget, Policy
from .records import frozen
from .requests import RUN, ContinueVideo, GenerateVideo, Request, Transform
from .settings import Settings


def _with_formats(policy: Policy) -> Policy:
    return policy.but(transcode=formats_available())


#: What a name decides: ``always`` (a cap), ``unnamed`` (the choice of a backend, unless the caller names one), ``nothing``.
Decides = Literal["always", "unnamed", "nothing"]


@frozen
class NameProblem:
    """A name in the settings that does not exist.

    Attributes:
        setting: where it is: table and key, or environment variable.
        error: the error with a suggestion, without the setting.
        decides: whether it must stop a request.
    """

    setting: str
    error: RequestError
    decides: Decides = "nothing"

    def __str__(self) -> str:
        return f"{self.setting}: {self.error.message}" + (f" ({self.error.fix})" if self.error.fix else "")

    def settings_error(self) -> SettingsError:
        """Return the error that stops a request."""
        fix: FixText = (self.error.fix or "correct the name",)
        if self.decides == "unnamed":
            fix = (*fix, "; or name a backend for this request: ", Argument("backend", "NAME"))
        return SettingsError(f"{self.setting}: {self.error.message}", fix=fix)


@frozen(kw_only=True)
class Names:
    """The names that settings and arguments may use; no model is suggested that is retired ``today``."""

    settings: Settings
    registry: Registry
    instances: Mapping[str, BackendInstance]
    today: datetime.date

    def check_arguments(self, backend: str | Sequence[str] | None, model: str | None) -> None:
        """Check the backend names of a request's arguments; an unknown one is refused with a suggestion, or the package to install."""
        named = [] if backend in (None, "auto") else [backend] if isinstance(backend, str) else list(backend or ())
        head = model.partition("/")[0] if model is not None and "/" in model else ""
        if not named and head in self.registry.installable and not any(i.matrix.model(str(model)) for i in self.instances.values()):
            named.append(head)
        for name in named:
            if name not in self.instances and name.partition("/")[0] in self.instances:
                raise UnknownBackend(f"no backend named {name!r}", fix=("use ", Argument("model", name)))
            if name not in self.instances:
                raise self.registry.unknown(name, self.instances)

    def check_settings(self, policy: Policy, default: tuple[str, str] | None, *, named: bool) -> list[Warning]:
        """Check the names that decide something for a request, which may have a default (key and value), or has a backend or model named.

        Return warnings: preferred backends that cannot be loaded (the next one is tried), names in ``disable`` that look misspelled,
        configured instances with wrong settings.

        Raises:
            SettingsError: for a name that does not exist, with the setting and a suggestion.
        """
        found: list[NameProblem] = []
        if not named:
            found += () if default is None else self._default(*default)
            found += self._preferences(policy)
        found += self._caps(policy)
        found += (problem for problem in self._plugin_problems if problem.decides == "always" or not named)
        if deciding := [problem for problem in found if problem.decides != "nothing"]:
            raise deciding[0].settings_error()
        unused = (Warning("preference_unused", str(problem)) for problem in found if problem not in self._plugin_problems)
        others = (Warning("setting_unused", str(problem)) for problem in (*self._disabled(), *self._instances()))
        return [*unused, *others]

    def problems(self) -> list[NameProblem]:
        """Return every name in the settings that does not exist."""
        defaults = [problem for default in self.settings.defaults.items() for problem in self._default(*default)]
        policy = self.settings.policy
        found = [*defaults, *self._preferences(policy), *self._caps(policy)]
        return [*found, *self._plugin_problems, *self._instances(), *self._keys()]

    # Kinds of settings

    def _preferences(self, policy: Policy) -> Iterator[NameProblem]:
        for name in policy.prefer:
            yield from self._reference(self._place("prefer", name), name, "nothing" if self._is_unavailable(name) else "unnamed")

    def _default(self, key: str, value: str) -> Iterator[NameProblem]:
        yield from self._reference(f"[defaults] {key} = {value!r}", value, "unnamed", key)

    def _place(self, setting: str, name: str) -> str:
        """Return where a name was given: the setting, or the environment variable in its place."""
        return f"{self.settings.variables.get((setting, name), setting)} = {name!r}"

    def _is_unavailable(self, name: str) -> bool:
        """Whether a backend's name is right although it is not installed, not loaded or disabled."""
        backend = name.partition("/")[0]
        registry = self.registry
        return any(backend in names for names in (registry.installable, registry.broken, registry.blocked, self.settings.disabled))

    def _reference(self, setting: str, name: str, decides: Decides, medium_or_operation: str = "") -> Iterator[NameProblem]:
        """Yield the problem of a ``backend`` or ``backend/model``."""
        backend, slash, model = name.partition("/")
        instance = self.instances.get(backend)
        owner = next((other.name for other in self.instances.values() if other.matrix.model(name)), None)
        if instance is not None and slash and instance.matrix.models and not instance.matrix.model(model):
            views = [other.view for other in self.instances.values()]
            yield NameProblem(setting, unknown_model_error(model, [instance.view], views, self.today, medium_or_operation), decides)
        elif instance is None and owner is not None:
            error = UnknownBackend(f"no backend named {name!r}", fix=f"write the backend, too: '{owner}/{name}'")
            yield NameProblem(setting, error, decides)
        elif instance is None and backend in self.settings.disabled and backend in self.settings.instances:
            text = f"backend {backend!r} is disabled (ANYMEDIA_DISABLE or plugins.disable)"
            yield NameProblem(setting, UnknownBackend(text, fix="enable it"), decides)
        elif instance is None:
            yield NameProblem(setting, self.registry.unknown(backend, self.instances), decides)

    def _absent(self, setting: str, name: str, decides: Decides = "nothing") -> Iterator[NameProblem]:
        """Yield the problem of a backend's name, unless the backend is only unavailable."""
        if name not in self.instances and not self._is_unavailable(name):
            yield NameProblem(setting, self.registry.unknown(name, self.instances), decides)

    def _caps(self, policy: Policy) -> Iterator[NameProblem]:
        for name in policy.budget.per_backend:
            yield from self._absent(f"[policy.budget] per_backend.{name}", name, "always")

    @functools.cached_property
    def _plugin_problems(self) -> tuple[NameProblem, ...]:
        return (*self._plugins(), *self._disabled(), *self._allowed())

    def _plugins(self) -> Iterator[NameProblem]:
        for name, own in self.settings.instances.items():
            if own.plugin not in self.registry.plugins and name in self.instances:
                decides: Decides = "nothing" if self._is_unavailable(own.plugin) else "unnamed"
                yield NameProblem(f"{own.where}: plugin = {own.plugin!r}", self.registry.unknown(own.plugin), decides)

    def _instances(self) -> Iterator[NameProblem]:
        """Yield what is wrong in the settings of each instance, which cannot be used for that reason."""
        for instance in self.instances.values():
            for text in instance.wrong:
                yield NameProblem(f"[backends.{instance.name}]", RequestError(text.removeprefix(f"{instance.settings.where}.")))

    def _disabled(self) -> Iterator[NameProblem]:
        installed = {*self.registry.plugins, *self.registry.blocked, *self.registry.broken, *self.settings.instances}
        for name in sorted(self.settings.disabled - installed - self.registry.installable.keys()):
            if near := did_you_mean(name, installed):
                yield NameProblem(self._place("disable", name), UnknownBackend(f"no backend named {name!r} is installed{near}"))

    def _allowed(self) -> Iterator[NameProblem]:
        installed = {normal(name): name for name in self.registry.distributions}
        allowed = {normal(entry.partition("==")[0].strip()) for entry in self.settings.plugins_allow or ()}
        for name in sorted(allowed - installed.keys()):
            if near := did_you_mean(name, [installed[other] for other in installed.keys() - allowed]):
                error = UnknownBackend(f"no distribution named {name!r} is installed{near}")
                yield NameProblem(f"[plugins] allow = {name!r}", error, "unnamed")

    def _keys(self) -> Iterator[NameProblem]:
        """Yield the names in the keys file of a backend, a credential or a variable that nothing reads."""
        sets = [credentials for matrix in self._matrices() for credentials in matrix.credentials]
        credentials = {name for one in sets for name in one.names}
        for backend, own in self.settings.keys.by_instance.items():
            yield from self._absent(f"keys.toml [{backend}]", backend)
            for name in own.keys() - credentials:
                error = UnknownBackend(f"no backend has a credential {name!r}{did_you_mean(name, credentials)}")
                yield NameProblem(f"keys.toml [{backend}] {name}", error)
        variables = {v for instance in self.instances.values() for c in instance.credentials for v in c.variables}
        variables |= {variable for one in sets for names in one.names.values() for variable in names}
        for name in self.settings.keys.by_variable.keys() - variables:
            if near := did_you_mean(name, variables):
                yield NameProblem(f"keys.toml {name}", UnknownBackend(f"no backend reads {name}{near}"))

    def _matrices(self) -> Iterator[CapabilityMatrix]:
        for name in list(self.registry.plugins):
            with contextlib.suppress(PluginError):  # reported where the plugin is used
                yield self.registry.capabilities(name)


@frozen(kw_only=True)
class PlanMaker:
    """Makes plans.

    Attributes:
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

    @telemetry.span("plan")
    def plan(
        self,
        request: Request,
        policy: Policy | None = None,
        backend: str | Sequence[str] | None = None,
        model: str | None = None,
        inputs: InputReader | None = None,
    ) -> Plan:
        """Return the plan for a request whose continuation is resolved; see `Router.plan`.

        ``inputs`` reads the input files; by default only their headers are read.
        """
        planner = self.planner(request, policy)
        backend = self._in_its_case(backend) if isinstance(backend, str) else backend and [self._in_its_case(name) for name in backend]
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
        return _bridged_plan(request, planner, backend, model)

    def _in_its_case(self, name: str) -> str:
        """Return the name of an instance as it is spelled in the settings."""
        return name if name in self.instances else next((own for own in self.instances if own.lower() == name.lower()), name)


def run_request(instances: Mapping[str, BackendInstance], model: str, inputs: Mapping[str, Any]) -> Transform:
    """Return the request that runs a model by its own inputs: files, the prompt and options, as its spec tells them apart.

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
    fix = "use BACKEND/MODEL as in the list of models; a provider's own list describes more of them: anymedia models --refresh"
    try:
        selection = Selection.of(views, None, model, datetime.datetime.now(datetime.UTC).date())
    except UnknownModel as error:  # the model cannot be omitted here
        raise UnknownModel(error.message, fix=fix) from None
    specs = [spec for view in views for spec in view.matrix.models if selection.includes(view, spec)]
    found = next((own for spec in specs if (own := spec.operations.get(f"transform.{RUN}")) is not None), None)
    if found is None:
        raise UnsupportedOperation(f"{model!r} is not described by its own inputs: use its operations", fix=fix)
    return found


def _bridged_plan(request: ContinueVideo, planner: Planner, backend: str | Sequence[str] | None, model: str | None) -> Plan:
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

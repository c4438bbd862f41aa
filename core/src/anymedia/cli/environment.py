"""Installed and configured backends, without opening the journal: for models, capabilities, doctor and plan; shared options."""

from __future__ import annotations

import datetime
import functools
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from ..records import frozen
from . import complete

if TYPE_CHECKING:
    from ..plugins.instances import BackendInstance
    from ..plugins.registry import Registry
    from ..settings import Settings

Decorator = Callable[[Any], Any]


def apply(*decorators: Decorator) -> Decorator:
    """Combine several decorators into one; their options appear in the given order."""
    return lambda function: functools.reduce(lambda made, decorator: decorator(made), reversed(decorators), function)


AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print exactly one JSON document on stdout, for errors too.")


def amount(_ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    """Accept only finite numbers: a limit or deadline of NaN would have no effect."""
    zero = param.name in {"max_cost_usd", "ask_above"}
    if value is None or (math.isfinite(value) and (value > 0 or (zero and value == 0))):
        return value
    raise click.BadParameter(f"expected a number {'of at least 0' if zero else 'above 0'}, got {value:g}")


VERBOSE = click.option("-v", "--verbose", is_flag=True, help="Print all notes instead of at most three lines.")


def amount_option(*names: str, metavar: str = "USD", help: str) -> Decorator:
    """Declare an option for a limit: US dollars, or seconds."""
    return click.option(*names, type=float, callback=amount, metavar=metavar, help=help)


DEADLINE = amount_option("--deadline", metavar="SECONDS", help="Stop waiting after this time; the job continues.")
run_options = apply(
    click.option(
        "-m", "--model", metavar="[BACKEND/]MODEL", shell_complete=complete.models, help="Model, backend/model, or the name of a backend."
    ),
    click.option("-b", "--backend", metavar="NAME", shell_complete=complete.backends, help="Backend (default: the best usable one)."),
    click.option(
        "-o", "--output", metavar="FILE|DIR|-", help="Output file, e.g. 'fox-{index:03d}-{seed}.png', or directory/; - is stdout."
    ),
    click.option("-f", "--force", "overwrite", is_flag=True, help="Overwrite an existing file."),
    click.option(
        "--format", "output_format", metavar="NAME", help="File format (png, jpeg, webp, mp4, wav ...); default: the extension of -o."
    ),
    click.option("--extra", multiple=True, metavar="KEY=JSON", help="Model-specific option; may be repeated."),
    click.option("--config", metavar="FILE.json|-", help="Read a GenerationConfig; command-line options override it."),
    click.option("--strict", is_flag=True, help="Fail instead of adjusting the request."),
    amount_option("--max-cost", "max_cost_usd", help="Refuse requests that may cost more or have no known price."),
    amount_option("--ask-above", help="Ask before spending more; overrides ask_above_usd."),
    DEADLINE,
    click.option("--no-wait", is_flag=True, help="Submit and print the job id without waiting for the result."),
    click.option("--open", "open_files", is_flag=True, help="Open the result with the program for such files."),
    click.option("--dry-run", is_flag=True, help="Print the plan; spends nothing."),
    AS_JSON,
    click.option("-q", "--quiet", is_flag=True, help="Print no notes and no progress on stderr, only errors."),
    VERBOSE,
)
advice_options = apply(
    click.option("--seed", type=int, metavar="INT", help="Random seed, for reproducible results."),
    click.option("--negative", "negative_prompt", metavar="TEXT", help="Negative prompt: what to avoid."),
)
frame_options = apply(
    click.option("--size", metavar="WxH", help="Size in pixels, or auto."),
    click.option("--aspect-ratio", metavar="W:H", help="Aspect ratio, or auto."),
    click.option("--resolution", metavar="TIER", help="Tier such as 1K, 2K, 720p, 1080p."),
    click.option("--quality", metavar="WORD", help="Quality level, as named by the model."),
    click.option("--guidance", "guidance_scale", type=float, metavar="NUMBER", help="How closely to follow the prompt."),
)
picture_options = apply(
    click.option("-n", "n", type=int, metavar="COUNT", help="Number of results."),
    click.option("--background", metavar="WORD", help="transparent, opaque or auto."),
)


@frozen(kw_only=True)
class Environment:
    """The current settings, plugins and backend instances."""

    settings: Settings
    registry: Registry
    instances: Mapping[str, BackendInstance]

    def name_warnings(self) -> list[str]:
        """Return a warning for each name in the settings that does not exist."""
        if not _has_names(self.settings) and not any(instance.wrong for instance in self.instances.values()):
            return []
        from ..plan_maker import Names

        today = datetime.datetime.now(datetime.UTC).date()
        names = Names(settings=self.settings, registry=self.registry, instances=self.instances, today=today)
        return [f"warning: {problem}" for problem in names.problems()]

    def read_on_demand(self, backend: str | None, model: str | None) -> None:
        """Read the model that was named, if it is not known and its provider describes models on demand."""
        if model is not None and any(instance.matrix.on_demand for instance in self.instances.values()):
            from ..execution.listing import read_on_demand
            from .process import run

            run(read_on_demand(self.registry, self.settings, self.instances, backend, model))

    def pick(self, name: str | None) -> list[BackendInstance]:
        """Return one instance by name, or all."""
        if name is None:
            return list(self.instances.values())
        if name in self.instances:
            return [self.instances[name]]
        raise self.registry.unknown(name, self.instances)


def _has_names(settings: Settings) -> bool:
    names = (settings.defaults, settings.policy.prefer, settings.policy.budget.per_backend, settings.instances, settings.plugins_allow)
    return any(names) or bool(settings.disabled) or settings.keys.path is not None


def warn_about_names(settings: Settings) -> None:
    """Print a warning on stderr for each name in the settings that does not exist; loads no plugin if there are no names."""
    if _has_names(settings):
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

"""The options that several commands share. A parameter is named after the request field it sets."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import click

__all__ = ["AS_JSON", "DEADLINE", "advice_options", "apply", "frame_options", "picture_options", "run_options"]

_F = TypeVar("_F", bound=Callable[..., Any])
Decorator = Callable[[Any], Any]

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print exactly one JSON document on stdout, also for an error.")


def _amount(_ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    """Refuse what is no finite number: a cap or a deadline of NaN would hold nothing."""
    zero = param.name == "max_cost"
    if value is None or (math.isfinite(value) and (value > 0 or (zero and value == 0))):
        return value
    raise click.BadParameter(f"expected a number {'from 0 up' if zero else 'above 0'}, got {value:g}")


DEADLINE = click.option("--deadline", type=float, callback=_amount, metavar="SECONDS", help="Stop waiting then; the job goes on.")
_RUN: tuple[Decorator, ...] = (
    click.option("-m", "--model", metavar="[BACKEND/]MODEL", help="Model, backend/model, or a backend's name."),
    click.option("-b", "--backend", metavar="NAME", help="Backend; without it the best usable one."),
    click.option("-o", "--output", metavar="FILE|DIR|-", help="Where to write; a directory ends in /; - writes the bytes to stdout."),
    click.option("-f", "--force", is_flag=True, help="Overwrite an existing file."),
    click.option("--format", "output_format", metavar="NAME", help="File format (png, jpeg, webp, mp4, wav ...); else by -o."),
    click.option("--extra", multiple=True, metavar="KEY=JSON", help="An option of this model alone; may be repeated."),
    click.option("--config", metavar="FILE.json|-", help="Read a GenerationConfig; options given here win over it."),
    click.option("--strict", is_flag=True, help="Refuse instead of adjusting anything."),
    click.option("--max-cost", type=float, callback=_amount, metavar="USD", help="Refuse what may cost more, or has no known price."),
    DEADLINE,
    click.option("--no-wait", is_flag=True, help="Submit, print the job id, do not wait for the result."),
    click.option("--dry-run", is_flag=True, help="Print the plan; spend nothing."),
    AS_JSON,
    click.option("-q", "--quiet", is_flag=True, help="No notes and no progress on stderr; errors still show."),
)
_ADVICE: tuple[Decorator, ...] = (
    click.option("--seed", type=int, metavar="INT", help="For reproducible results."),
    click.option("--negative", "negative_prompt", metavar="TEXT", help="What to avoid."),
)
_FRAME: tuple[Decorator, ...] = (
    click.option("--size", metavar="WxH", help="Size in pixels, or auto."),
    click.option("--aspect-ratio", metavar="W:H", help="Aspect ratio, or auto."),
    click.option("--resolution", metavar="TIER", help="Tier such as 1K, 2K, 720p, 1080p."),
    click.option("--quality", metavar="WORD", help="How much effort, in the model's own words."),
    click.option("--guidance", "guidance_scale", type=float, metavar="NUMBER", help="How closely to follow the prompt."),
)
_PICTURE: tuple[Decorator, ...] = (
    click.option("-n", "n", type=int, metavar="COUNT", help="How many."),
    click.option("--background", metavar="WORD", help="transparent, opaque or auto."),
)


def apply(*decorators: Decorator) -> Callable[[_F], _F]:
    """Make one decorator of several, shown in their order."""

    def decorate(function: _F) -> _F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


run_options = apply(*_RUN)
advice_options = apply(*_ADVICE)
frame_options = apply(*_FRAME)
picture_options = apply(*_PICTURE)

"""``anymedia edit``: change an image."""

from __future__ import annotations

from typing import Any

import click

from .options import advice_options, apply, frame_options, picture_options, run_options

__all__ = ["edit"]


@click.command("edit")
@click.argument("words", nargs=-1, metavar="[IMAGE]... PROMPT")
@apply(
    click.option(
        "--mask", metavar="FILE|WORD", help="What to change: a file (white or transparent), foreground, background, semantic:1,2."
    ),
    click.option("--protect", type=click.Choice(["exact"]), help="exact: copy the pixels outside the mask back."),
    click.option("--outpaint", metavar="W:H|WxH", help="Extend the picture beyond its edges to this shape."),
    click.option("--style", multiple=True, metavar="FILE", help="Take the style of this picture."),
    click.option("--style-description", metavar="TEXT", help="What to take from it, in words."),
    click.option("--control", multiple=True, metavar="[TYPE:]FILE", help="Keep the structure of this picture (edges:plan.png)."),
    click.option("--subject", multiple=True, metavar="[TYPE:]FILE", help="Put this subject in (animal:cat.png)."),
    click.option("--subject-description", metavar="TEXT", help="What it is, in words."),
    click.option("--continue", "go_on", metavar="last|ID|FILE", help="Change an earlier image, with its history."),
    picture_options,
    frame_options,
    advice_options,
    run_options,
)
def edit(**given: Any) -> None:
    """Change IMAGE as PROMPT says (- reads it from stdin). Several images are all sources."""
    from .carrying_out import carry_out

    carry_out("edit", given)

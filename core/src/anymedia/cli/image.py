"""``anymedia image``: make an image from words."""

from __future__ import annotations

from typing import Any

import click

from .options import advice_options, apply, frame_options, picture_options, run_options

__all__ = ["image"]


@click.command("image")
@click.argument("prompt", required=False)
@apply(
    click.option("--continue", "go_on", metavar="last|ID|FILE", help="Go on with an earlier image."),
    picture_options,
    frame_options,
    advice_options,
    run_options,
)
def image(**given: Any) -> None:
    """Make an image from PROMPT (- reads it from stdin)."""
    from .carrying_out import carry_out

    carry_out("image", given)

"""``anymedia video``: make a video, or go on from one."""

from __future__ import annotations

from typing import Any

import click

from .options import advice_options, apply, frame_options, run_options

__all__ = ["video"]


@click.command("video")
@click.argument("words", nargs=-1, metavar="[IMAGE] PROMPT")
@apply(
    click.option("-s", "--seconds", "duration", type=float, metavar="SECONDS", help="How long it is to be."),
    click.option("--first", "first_frame", metavar="FILE", help="The picture it starts from."),
    click.option("--last", "last_frame", metavar="FILE", help="The picture it ends on."),
    click.option("--reference", multiple=True, metavar="[ROLE:]FILE", help="A picture with a part to play: subject (default), style ..."),
    click.option("--continue", "go_on", metavar="last|ID|FILE", help="Go on from an earlier video, or from a file."),
    click.option("--as", "continue_as", type=click.Choice(["extend", "edit", "remix"]), help="What going on means."),
    click.option("-n", "n", type=int, metavar="COUNT", help="How many."),
    frame_options,
    advice_options,
    run_options,
)
def video(**given: Any) -> None:
    """Make a video from PROMPT (- reads it from stdin), starting from IMAGE if one is given."""
    from .carrying_out import carry_out

    carry_out("video", given)

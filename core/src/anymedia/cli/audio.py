"""``anymedia audio``: speak a text, or make music."""

from __future__ import annotations

from typing import Any

import click

from .options import advice_options, apply, run_options

__all__ = ["audio"]


@click.command("audio")
@click.argument("prompt", required=False)
@apply(
    click.option("--type", "audio_type", type=click.Choice(["speech", "music"]), help="Speech (default) or music."),
    click.option("--voice", metavar="NAME", help="Voice."),
    click.option("--speed", type=float, metavar="NUMBER", help="1.0 is normal."),
    click.option("--instructions", metavar="TEXT", help="How to speak or play."),
    click.option("-s", "--seconds", "duration", type=float, metavar="SECONDS", help="How long the music is to be."),
    advice_options,
    run_options,
)
def audio(**given: Any) -> None:
    """Speak PROMPT (- reads it from stdin), or make music from it."""
    from .carrying_out import carry_out

    carry_out("audio", given)

"""``anymedia image``, ``edit``, ``video``, ``audio`` and ``plan``."""

from __future__ import annotations

from typing import Any

import click

from .app import MEDIA, LazyGroup
from .options import advice_options, apply, frame_options, picture_options, run_options

__all__ = [
    "audio",
    "edit",
    "image",
    "plan",
    "video",
]


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
    from .run_media import run_media_command

    run_media_command("image", given)


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
    from .run_media import run_media_command

    run_media_command("edit", given)


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
    from .run_media import run_media_command

    run_media_command("video", given)


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
    from .run_media import run_media_command

    run_media_command("audio", given)


class _Planning(LazyGroup):
    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return name, command, ["--dry-run", *rest]


plan = _Planning(
    name="plan",
    lazy=MEDIA,
    help="Say what would be sent, where, at what price, and why not elsewhere; spend nothing. Takes what the command itself takes.",
    no_args_is_help=True,
)

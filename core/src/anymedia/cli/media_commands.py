"""``anymedia image``, ``edit``, ``video``, ``audio``, ``transform`` and ``plan``."""

from __future__ import annotations

from typing import Any

import click

from . import complete
from .app import COMMANDS, MEDIA, LazyGroup
from .environment import advice_options, apply, frame_options, picture_options, run_options


@click.command("image")
@click.argument("prompt", required=False)
@apply(
    click.option(
        "--continue", "continue_from", metavar="last|ID|FILE", shell_complete=complete.continuations, help="Continue an earlier image."
    ),
    picture_options,
    frame_options,
    advice_options,
    run_options,
)
def image(**given: Any) -> None:
    """Generate an image from PROMPT (- reads it from stdin)."""
    from .run_media import run_media_command

    run_media_command("image", given)


@click.command("edit")
@click.argument("words", nargs=-1, metavar="[IMAGE]... PROMPT")
@apply(
    click.option(
        "--mask", metavar="FILE|WORD", help="Area to change: a file (white or transparent), foreground, background, semantic:1,2."
    ),
    click.option("--protect", type=click.Choice(["exact"]), help="exact: restore the pixels outside the mask."),
    click.option("--outpaint", metavar="W:H|WxH", help="Extend the image beyond its edges to this shape."),
    click.option("--style", multiple=True, metavar="FILE", help="Style reference image."),
    click.option("--style-description", metavar="TEXT", help="Description of the style to use."),
    click.option("--control", multiple=True, metavar="[TYPE:]FILE", help="Control image whose structure is kept (edges:plan.png)."),
    click.option("--subject", multiple=True, metavar="[TYPE:]FILE", help="Subject reference image (animal:cat.png)."),
    click.option("--subject-description", metavar="TEXT", help="Description of the subject."),
    click.option(
        "--continue",
        "continue_from",
        metavar="last|ID|FILE",
        shell_complete=complete.continuations,
        help="Edit an earlier image, with its history.",
    ),
    picture_options,
    frame_options,
    advice_options,
    run_options,
)
def edit(**given: Any) -> None:
    """Edit IMAGE as PROMPT describes (- reads it from stdin). Several images are all used as sources."""
    from .run_media import run_media_command

    run_media_command("edit", given)


@click.command("video")
@click.argument("words", nargs=-1, metavar="[IMAGE] PROMPT")
@apply(
    click.option("-s", "--seconds", "duration", type=float, metavar="SECONDS", help="Duration in seconds."),
    click.option("--first", "first_frame", metavar="FILE", help="First frame."),
    click.option("--last", "last_frame", metavar="FILE", help="Last frame."),
    click.option("--reference", multiple=True, metavar="[ROLE:]FILE", help="Reference image: subject (default), style ..."),
    click.option(
        "--continue",
        "continue_from",
        metavar="last|ID|FILE",
        shell_complete=complete.continuations,
        help="Continue an earlier video or a video file.",
    ),
    click.option("--as", "continue_as", type=click.Choice(["extend", "edit", "remix"]), help="How to continue."),
    click.option("-n", "n", type=int, metavar="COUNT", help="Number of results."),
    frame_options,
    advice_options,
    run_options,
)
def video(**given: Any) -> None:
    """Generate a video from PROMPT (- reads it from stdin), with IMAGE as its first frame if given."""
    from .run_media import run_media_command

    run_media_command("video", given)


@click.command("audio")
@click.argument("prompt", required=False)
@apply(
    click.option("--type", "audio_type", type=click.Choice(["speech", "music"]), help="Speech (default) or music."),
    click.option("--voice", metavar="NAME", shell_complete=complete.voices, help="Voice."),
    click.option("--speed", type=float, metavar="NUMBER", help="Speaking rate; 1.0 is normal."),
    click.option("--instructions", metavar="TEXT", help="Instructions for the performance."),
    click.option("-s", "--seconds", "duration", type=float, metavar="SECONDS", help="Duration of music in seconds."),
    advice_options,
    run_options,
)
def audio(**given: Any) -> None:
    """Generate speech or music from PROMPT (- reads it from stdin)."""
    from .run_media import run_media_command

    run_media_command("audio", given)


@click.command("music")
@click.argument("prompt", required=False)
@apply(
    click.option("-s", "--seconds", "duration", type=float, metavar="SECONDS", help="Duration in seconds."),
    click.option("--instructions", metavar="TEXT", help="Instructions for the performance."),
    advice_options,
    run_options,
)
def music(**given: Any) -> None:
    """Generate music from PROMPT (- reads it from stdin)."""
    from .run_media import run_media_command

    run_media_command("audio", {**given, "audio_type": "music"})


_FILES = click.argument("files", nargs=-1, required=True, metavar="[ROLE=]FILE...")
_PROMPT = click.option("--prompt", metavar="TEXT", help="Prompt, for a task that takes one (- reads it from stdin).")


@click.command("transform")
@click.argument("task", shell_complete=complete.tasks)
@_FILES
@apply(_PROMPT, run_options)
def transform(**given: Any) -> None:
    """Do TASK on the files, each under its role (mask=m.png); without one, it is the image, the video or the audio.

    ``anymedia models --task TASK`` lists the models that have it; its options are given with --extra.
    """
    from .run_media import run_media_command

    run_media_command("transform", given)


@click.command("upscale")
@_FILES
@apply(click.option("--scale", type=click.IntRange(1, 16), metavar="NUMBER", help="Factor for width and height."), _PROMPT, run_options)
def upscale(scale: int | None, **given: Any) -> None:
    """Enlarge FILE."""
    from .run_media import run_media_command

    extra = given["extra"] if scale is None else (*given["extra"], f"scale={scale}")
    run_media_command("transform", {**given, "task": "upscale", "extra": extra})


@click.command("remove-background")
@_FILES
@apply(run_options)
def remove_background(**given: Any) -> None:
    """Make everything behind the foreground of FILE transparent."""
    from .run_media import run_media_command

    run_media_command("transform", {**given, "task": "remove_background"})


@click.command("run")
@click.argument("target", metavar="BACKEND/MODEL", shell_complete=complete.models)
@click.argument("pairs", nargs=-1, metavar="[NAME=VALUE]...")
@apply(run_options)
def run(target: str, pairs: tuple[str, ...], **given: Any) -> None:
    """Run BACKEND/MODEL with inputs under its own names: prompt=TEXT, a file as a path or URL, any other value as JSON or text.

    ``anymedia capabilities BACKEND`` shows the inputs. A model without a known price needs --max-cost where a cap is set.
    """
    from .build_request import run_fields
    from .run_media import run_media_command

    run_media_command("run", {**given, "model": target, **run_fields(target, pairs)})


class _Planning(LazyGroup):
    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return name, command, ["--dry-run", *rest]


plan = _Planning(
    name="plan",
    lazy=MEDIA | {"batch": COMMANDS["batch"]},
    help="Show what would be sent, where, at what price, and why other models were rejected; spends nothing. "
    "Takes the same arguments as the command itself.",
    no_args_is_help=True,
)

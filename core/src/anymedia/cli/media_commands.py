"""``anymedia image``, ``edit``, ``video``, ``audio``, ``transform`` and ``plan``."""

from __future__ import annotations

from typing import Any

import click

from . import complete
from .app import COMMANDS, MEDIA, LazyGroup
from .environment import Decorator, advice_options, apply, frame_options, picture_options, run_options


def _command(name: str, help: str, *options: Decorator, kind: str | None = None, **fixed: Any) -> click.Command:
    """Return a command that makes media: as the kind of command says, with its options and some fixed parameters."""

    def run(**given: Any) -> None:
        from .run_media import run_media_command

        run_media_command(kind or name, {**given, **fixed})

    command: click.Command = click.command(name, help=help)(apply(*options, run_options)(run))
    return command


def _continue(help: str) -> Decorator:
    return click.option("--continue", "continue_from", metavar="last|ID|FILE", shell_complete=complete.continuations, help=help)


_PROMPT = click.argument("prompt", required=False)
_COUNT = click.option("-n", "n", type=int, metavar="COUNT", help="Number of results.")
_INSTRUCTIONS = click.option("--instructions", metavar="TEXT", help="Instructions for the performance.")
_FILES = click.argument("files", nargs=-1, required=True, metavar="[ROLE=]FILE...")
_PROMPT_OPTION = click.option("--prompt", metavar="TEXT", help="Prompt, for a task that takes one (- reads it from stdin).")


def _seconds(help: str) -> Decorator:
    return click.option("-s", "--seconds", "duration", type=float, metavar="SECONDS", help=help)


image = _command(
    "image",
    "Generate an image from PROMPT (- reads it from stdin).",
    _PROMPT,
    _continue("Continue an earlier image."),
    picture_options,
    frame_options,
    advice_options,
)
edit = _command(
    "edit",
    "Edit IMAGE as PROMPT describes (- reads it from stdin). Several images are all used as sources.",
    click.argument("words", nargs=-1, metavar="[IMAGE]... PROMPT"),
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
    _continue("Edit an earlier image, with its history."),
    picture_options,
    frame_options,
    advice_options,
)
video = _command(
    "video",
    "Generate a video from PROMPT (- reads it from stdin), with IMAGE as its first frame if given.",
    click.argument("words", nargs=-1, metavar="[IMAGE] PROMPT"),
    _seconds("Duration in seconds."),
    click.option("--first", "first_frame", metavar="FILE", help="First frame."),
    click.option("--last", "last_frame_path", metavar="FILE", help="Last frame."),
    click.option("--reference", multiple=True, metavar="[ROLE:]FILE", help="Reference image: subject (default), style ..."),
    _continue("Continue an earlier video or a video file."),
    click.option("--as", "continue_as", type=click.Choice(["extend", "edit", "remix"]), help="How to continue."),
    _COUNT,
    frame_options,
    advice_options,
)
audio = _command(
    "audio",
    "Generate speech or music from PROMPT (- reads it from stdin).",
    _PROMPT,
    click.option("--type", "audio_type", type=click.Choice(["speech", "music"]), help="Speech (default) or music."),
    click.option("--voice", metavar="NAME", shell_complete=complete.voices, help="Voice."),
    click.option("--speed", type=float, metavar="NUMBER", help="Speaking rate; 1.0 is normal."),
    _INSTRUCTIONS,
    _seconds("Duration of music in seconds."),
    advice_options,
)
music = _command(
    "music",
    "Generate music from PROMPT (- reads it from stdin).",
    _PROMPT,
    _seconds("Duration in seconds."),
    _INSTRUCTIONS,
    advice_options,
    kind="audio",
    audio_type="music",
)
transform = _command(
    "transform",
    """Do TASK on the files, each under its role (mask=m.png); without one, it is the image, the video or the audio.

    ``anymedia models --task TASK`` lists the models that have it; its options are given with --extra.
    """,
    click.argument("task", shell_complete=complete.tasks),
    _FILES,
    _PROMPT_OPTION,
)
remove_background = _command(
    "remove-background",
    "Make everything behind the foreground of FILE transparent.",
    _FILES,
    kind="transform",
    task="remove_background",
)


@click.command("upscale")
@_FILES
@click.option("--scale", type=click.IntRange(1, 16), metavar="NUMBER", help="Factor for width and height.")
@_PROMPT_OPTION
@run_options
def upscale(scale: int | None, **given: Any) -> None:
    """Enlarge FILE."""
    from .run_media import run_media_command

    extra = given["extra"] if scale is None else (*given["extra"], f"scale={scale}")
    run_media_command("transform", {**given, "task": "upscale", "extra": extra})


@click.command("run")
@click.argument("target", metavar="BACKEND/MODEL", shell_complete=complete.models)
@click.argument("pairs", nargs=-1, metavar="[NAME=VALUE]...")
@run_options
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

"""The command group and its exit codes; every error becomes a message, a JSON document and an exit code.

Names, aliases and one-line descriptions are static, so ``--help`` and a misspelt name import no command.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import re
import sys
from collections.abc import Mapping, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any, NoReturn

import click

from ..errors import (
    BackendError,
    BackendTimeout,
    ContentRefused,
    MediaError,
    ModelRetired,
    NoBackendAvailable,
    PluginError,
    RequestError,
    SubmissionUnknown,
    UnsupportedInput,
    UnsupportedOperation,
    did_you_mean,
)
from ..records import frozen
from .console import Console, StdoutClosed, drop_stdout
from .process import job_ids, reserve_stdout, stoppable


class Exit(IntEnum):
    """The exit codes of every command."""

    OK = 0
    INTERNAL = 1
    USAGE = 2
    NOTHING_USABLE = 3
    UNSUPPORTED = 4
    REFUSED = 5
    PROVIDER = 6
    TIMEOUT = 7
    OUTCOME_UNKNOWN = 8
    INTERRUPTED = 130
    PIPE_CLOSED = 141


class Interrupted(MediaError):
    """The command was interrupted; jobs at a provider continue and can be resumed."""

    code = "interrupted"


_TABLE: tuple[tuple[type[MediaError], Exit], ...] = (
    (Interrupted, Exit.INTERRUPTED),
    (NoBackendAvailable, Exit.NOTHING_USABLE),
    (UnsupportedOperation, Exit.UNSUPPORTED),
    (UnsupportedInput, Exit.UNSUPPORTED),
    (ModelRetired, Exit.UNSUPPORTED),
    (ContentRefused, Exit.REFUSED),
    (BackendTimeout, Exit.TIMEOUT),
    (SubmissionUnknown, Exit.OUTCOME_UNKNOWN),
    (BackendError, Exit.PROVIDER),
    (PluginError, Exit.PROVIDER),
)


def exit_of(error: MediaError) -> Exit:
    """Return the exit code of an error; errors not listed are usage errors, except a full disk."""
    if error.code == "cannot_write":
        return Exit.INTERNAL
    return next((code for kind, code in _TABLE if isinstance(error, kind)), Exit.USAGE)


@frozen
class Lazy:
    """Where a command is defined (``module:attribute`` in this package), its one-line help and its aliases."""

    where: str
    help: str
    aliases: tuple[str, ...] = ()

    def load(self) -> click.Command:
        """Import and return the command."""
        module, _, name = self.where.partition(":")
        command: click.Command = getattr(importlib.import_module(f"{__package__}.{module}"), name)
        return command


class Group(click.Group):
    """A group that suggests a similar name for a misspelt one, without importing any command."""

    @property
    def names(self) -> list[str]:
        """All names of its commands."""
        return list(self.commands)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve the first argument to a command."""
        name = args[0]
        if name not in self.names and not name.startswith("-"):
            raise click.UsageError(f"no command {name!r}{did_you_mean(name, self.names)}", ctx)
        return super().resolve_command(ctx, args)


class LazyGroup(Group):
    """A group of `Lazy` commands."""

    def __init__(self, *args: Any, lazy: Mapping[str, Lazy], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in definition order, the most common first."""
        return list(self.lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command by its name or an alias."""
        found = self.lazy.get(cmd_name) or next((c for c in self.lazy.values() if cmd_name in c.aliases), None)
        return None if found is None else found.load()

    @property
    def names(self) -> list[str]:
        """All names of its commands, with their aliases."""
        return [name for key, command in self.lazy.items() for name in (key, *command.aliases)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command list without importing the commands."""
        rows = [(", ".join((name, *c.aliases)), c.help) for name, c in self.lazy.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


#: The commands that generate media; ``plan`` takes the same arguments.
MEDIA = {
    "image": Lazy("media_commands:image", "Generate an image from a prompt."),
    "edit": Lazy("media_commands:edit", "Edit an image: mask, style, structure, subject or outpainting."),
    "video": Lazy("media_commands:video", "Generate a video from a prompt or images, or continue one."),
    "audio": Lazy("media_commands:audio", "Generate speech or music.", ("say",)),
    "music": Lazy("media_commands:music", "Generate music."),
    "upscale": Lazy("media_commands:upscale", "Enlarge an image or a video."),
    "remove-background": Lazy("media_commands:remove_background", "Cut out the foreground of an image."),
    "transform": Lazy("media_commands:transform", "Do a task of a model on media: restore, upscale ..."),
    "run": Lazy("media_commands:run", "Run a model by its own inputs."),
}
COMMANDS = MEDIA | {
    "batch": Lazy("batch:batch", "Run the requests of a file; a repeat does only what is left."),
    "plan": Lazy("media_commands:plan", "Show what would be sent, where and at what price; spends nothing."),
    "models": Lazy("models:models", "List models with operations, prices and availability."),
    "capabilities": Lazy("models:capabilities", "Show the full capabilities of each backend."),
    "doctor": Lazy("doctor:doctor", "Check plugins, credentials, settings, codecs and directories."),
    "gallery": Lazy("gallery:gallery", "Write a page that shows earlier results."),
    "gc": Lazy("jobs:gc", "Remove stored inputs and results that are old or exceed the limit."),
    "jobs": Lazy("jobs:jobs", "List, show, resume, cancel or forget jobs."),
    "worker": Lazy("fleet:worker", "Carry out queued calls of other machines."),
    "fleet": Lazy("fleet:fleet", "Show workers and queued calls; migrate, drain, import."),
    "keys": Lazy("keys:keys", "Set, list, remove or test API keys."),
    "cost": Lazy("jobs:cost", "Show quoted and actual costs."),
    "completion": Lazy("complete:completion", "Print the line that sets up shell completion."),
    "new-backend": Lazy("new_backend:new_backend", "Create the skeleton of a new backend."),
    "tour": Lazy("tour:tour", "Generate sample media without an API key, and a page that shows them."),
    "mcp": Lazy("agent_commands:mcp", "Serve agents over the Model Context Protocol."),
    "schema": Lazy("agent_commands:schema", "Print the tool schema for an agent host."),
    "guide": Lazy("agent_commands:guide", "Print guidance for an agent's system prompt."),
}


#: The environment variable with which a shell asks click for completions.
_COMPLETE = "_ANYMEDIA_COMPLETE"
#: Error numbers of a full or failing disk.
_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS})


class _Root(LazyGroup):
    """The root group; its only way out is an exit code."""

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any) -> NoReturn:  # type: ignore[override]
        """Run a command and exit with its code."""
        words = list(sys.argv[1:] if args is None else args)
        if words[:1] == ["help"]:
            words = [*words[1:], "--help"]
        extra.pop("standalone_mode", None)
        prints_help = not {"-h", "--help", "--version"}.isdisjoint(words) or _COMPLETE in os.environ
        try:
            with stoppable(), contextlib.nullcontext() if prints_help else reserve_stdout():
                code = self._guarded(words, prog_name or "anymedia", extra)
        except KeyboardInterrupt:  # before the command began, or after it ended
            code = Exit.INTERRUPTED
        sys.exit(int(code))

    def _guarded(self, words: list[str], prog_name: str, extra: dict[str, Any]) -> Exit:
        console = Console(json="--json" in words[: words.index("--") if "--" in words else None])
        try:
            return self._run(words, prog_name, extra, console)
        except (StdoutClosed, BrokenPipeError) as error:
            with contextlib.suppress(OSError, ValueError):
                drop_stdout()
            if not str(error) or isinstance(error, BrokenPipeError):
                return Exit.PIPE_CLOSED
            click.echo(f"anymedia: cannot write to stdout: {error}", err=True)
            return Exit.INTERNAL

    def _run(self, words: list[str], prog_name: str, extra: dict[str, Any], console: Console) -> Exit:
        try:
            code = super().main(args=words, prog_name=prog_name, standalone_mode=False, **extra)
            return Exit(code) if isinstance(code, int) else Exit.OK
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            return Exit.USAGE
        except click.ClickException as error:
            return _usage(error, console)
        except MediaError as error:
            console.error(error)
            return exit_of(error)
        except (click.Abort, KeyboardInterrupt):
            console.error(Interrupted("interrupted.", fix="list unfinished jobs with: anymedia jobs list --open"))
            return Exit.INTERRUPTED
        except (StdoutClosed, BrokenPipeError):
            raise
        except OSError as error:
            if isinstance(error, FileNotFoundError) and not _has_working_directory():
                console.error(_DiskError("the working directory does not exist any more", fix="change to another one"))
                return Exit.USAGE
            return _disk(error, console) if error.errno in _DISK else _internal(error, console)
        except Exception as error:  # noqa: BLE001 - a bug must still produce a document and an exit code
            if isinstance(error, ExceptionGroup) and error.split(BrokenPipeError)[1] is None:  # the client of a server is gone
                raise BrokenPipeError from None
            return _internal(error, console)


def _usage(error: click.ClickException, console: Console) -> Exit:
    where = getattr(error, "ctx", None)
    hint = f"see '{where.command_path} --help'" if where is not None else ""
    if where is not None and where.parent is None and isinstance(error, click.NoSuchOption):
        hint = f"options follow the command, such as 'anymedia image PROMPT --size 512x512'; {hint}"
    elif where is not None and where.params.get("prompt") is not None and error.message.startswith("Got unexpected extra argument"):
        hint = f"put the prompt in quotes: '{where.command_path} \"{where.params['prompt']} ...\"'; {hint}"
    message = re.sub(r"is not a valid (integer|float)( range)?\.", lambda kind: _NUMBERS[kind[1]], error.format_message())
    console.error(_UsageError(message, fix=hint))
    return Exit.USAGE


#: Type of a number in click's messages -> what is wrong with a text that is none.
_NUMBERS = {"integer": "is not a whole number.", "float": "is not a number."}


class _UsageError(RequestError):
    """The command line is invalid."""

    code = "usage"


class _DiskError(MediaError):
    """A file or stream could not be written."""

    code = "cannot_write"


def _disk(error: OSError, console: Console) -> Exit:
    try:
        sys.stdout.flush()
    except OSError:
        drop_stdout()
    console.error(_DiskError(f"cannot write: {error.strerror}", fix="free disk space or choose another directory"))
    return Exit.INTERNAL


def _has_working_directory() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return False
    return True


class _InternalError(MediaError):
    """A bug in anymedia."""

    code = "internal_error"


def _internal(error: Exception, console: Console) -> Exit:
    """Report where the error was raised, without the exception text, which may contain a secret."""
    import traceback

    frame = traceback.extract_tb(error.__traceback__)[-1]
    message = f"internal error: {type(error).__name__} in {Path(frame.filename).name}, line {frame.lineno}"
    fix = "this is a bug; ANYMEDIA_DEBUG=1 shows the traceback"
    if isinstance(error, MemoryError):
        message, fix = "there is not enough memory", "free some, or raise the limit of the process (ulimit -v)"
    jobs = f"; unfinished jobs continue with: anymedia jobs resume ID (of {', '.join(job_ids)})" if job_ids else ""
    console.error(_InternalError(message, fix=fix + jobs))
    if os.environ.get("ANYMEDIA_DEBUG"):
        traceback.print_exception(error)
    return Exit.INTERNAL


def _version(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from ..distributions import version_of

        click.echo(f"anymedia {version_of('anymedia')}")
        ctx.exit()


cli = _Root(
    name="anymedia",
    lazy=COMMANDS,
    help="Generate images, video and audio with any installed backend. Paths go to stdout, everything else to stderr.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    no_args_is_help=True,
    params=[
        click.Option(["--version"], is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version."),
    ],
)


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line; always exits."""
    cli.main(args)

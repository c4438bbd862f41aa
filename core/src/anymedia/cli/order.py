"""One call of a media command: what was given, taken apart, with the config file it may name."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import attrs
import click

from ..errors import InvalidRequest, Problem
from .arguments import prompt_of, stdin_text
from .console import is_terminal

if TYPE_CHECKING:
    from ..generation_config import GenerationConfig
    from ..policy import Policy

__all__ = ["Order", "medium_of"]


def medium_of(command: str) -> str:
    """Return the medium that a command makes."""
    return "image" if command == "edit" else command


@attrs.frozen(kw_only=True)
class Order:
    """What was given on the command line, by parameter name, and the config file beside it.

    What the command line says wins over the file.
    """

    command: str
    given: Mapping[str, Any]
    config: GenerationConfig | None

    @classmethod
    def of(cls, command: str, given: Mapping[str, Any]) -> Self:
        """Take the words apart, read stdin and the config file.

        Raises:
            click.UsageError: options that contradict each other.
            InvalidRequest: the config file is wrong.
        """
        _check_stdout(given)
        taken = _words(command, given)
        if taken["prompt"] is not None:
            if taken["prompt"] == given["config"] == "-":
                raise click.UsageError("the prompt and the config cannot both be read from stdin")
            taken["prompt"] = prompt_of(taken["prompt"])
        return cls(command=command, given=taken, config=_read_config(command, taken))

    def either(self, name: str) -> Any:
        """Return what the command line says, or else the config file."""
        return self.given[name] if self.given[name] is not None else getattr(self.config, name, None)

    @property
    def output(self) -> str | None:
        """Where to write, or None for a made-up name."""
        output: str | None = self.given["output"]
        return output if output is not None or self.config is None else self.config.output_path

    @property
    def force(self) -> bool:
        """Whether an existing file may be replaced."""
        return bool(self.given["force"] or (self.config is not None and self.config.overwrite))

    def policy(self, base: Policy) -> Policy:
        """Return the configured policy with what this call changes; a cap is only ever made tighter."""
        policy = base if self.config is None else self.config.policy(base)
        cap, budget = self.given["max_cost"], policy.budget
        if cap is not None:
            tighter = cap if budget.per_request is None else min(cap, budget.per_request)
            budget = attrs.evolve(budget, per_request=tighter, allow_unknown=False)
        return policy.but(strict=self.given["strict"] or policy.strict, budget=budget)


def _check_stdout(given: Mapping[str, Any]) -> None:
    if given["output"] != "-" or given["dry_run"]:
        return
    for name, flag in (("as_json", "--json"), ("no_wait", "--no-wait")):
        if given[name]:
            raise click.UsageError(f"-o - writes the file's bytes to stdout; that excludes {flag}")
    if (given.get("n") or 1) > 1:
        raise click.UsageError("-o - writes one file to stdout; give -o DIR/ for several")
    if is_terminal(sys.stdout):
        raise click.UsageError("-o - writes bytes to stdout, which is a terminal; redirect it")


def _words(command: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was given with its positional words taken apart: pictures first, the prompt last."""
    taken = dict(given)
    words: tuple[str, ...] | None = taken.pop("words", None)
    if words is None:
        return taken
    if command == "video" and len(words) > 2:
        raise click.UsageError(f"expected [IMAGE] PROMPT, got {len(words)} arguments (quote the prompt)")
    if len(words) == 1 and given["config"] is None and Path(words[0]).is_file():
        raise click.UsageError(f"a prompt is needed beside the file {words[0]!r}")
    return taken | {"prompt": words[-1] if words else None, "sources": words[:-1]}


def _read_config(command: str, given: Mapping[str, Any]) -> GenerationConfig | None:
    """Read the file that ``--config`` names; the medium is the command's, and a prompt given beside it wins."""
    source = given["config"]
    if source is None:
        return None
    from ..generation_config import GenerationConfig
    from ..strict_json import parse_json

    raw = parse_json(stdin_text("config") if source == "-" else _text(source))
    if isinstance(raw, dict):
        if given["prompt"] is not None:
            raw["prompt"] = given["prompt"]
        if "media_type" not in raw:
            raw.setdefault("mode", medium_of(command))
    config = GenerationConfig.from_json(raw)
    if config.media_type != medium_of(command):
        text = f"the config asks for {config.media_type}, the command is {command!r}"
        raise InvalidRequest([Problem("$.media_type", text, f"use: anymedia {config.media_type} --config {source}")])
    return config


def _text(source: str) -> str:
    try:
        return Path(source).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise InvalidRequest([Problem("$", f"cannot read the config {source!r}: {why}")]) from None

"""Shell completion: models, backends, voices, tasks and job ids. A problem gives no suggestions, never a message."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeAlias

import click

from ..errors import MediaError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from ..capabilities import OperationSpec

Completer: TypeAlias = "Callable[[click.Context, click.Parameter, str], list[CompletionItem]]"
#: Job ids that are suggested at most, the newest first.
_MOST_JOBS = 50

SCRIPTS = {
    "bash": 'eval "$(_ANYMEDIA_COMPLETE=bash_source anymedia)"',
    "zsh": 'eval "$(_ANYMEDIA_COMPLETE=zsh_source anymedia)"',
    "fish": "_ANYMEDIA_COMPLETE=fish_source anymedia | source",
}


def _completer(names: Callable[[], Iterable[tuple[str, str]]]) -> Completer:
    """Return a completer for names, each with a description; what matches anywhere in the name is suggested after its beginnings."""

    def complete(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        try:
            found = list(dict(names()).items())
        except (MediaError, OSError):
            return []
        begins = [pair for pair in found if pair[0].startswith(incomplete)]
        inside = [pair for pair in found if incomplete in pair[0] and pair not in begins]
        return [CompletionItem(name, help=about) for name, about in begins or inside]

    return complete


def _backends() -> Iterator[tuple[str, str]]:
    from .environment import load_environment

    for instance in load_environment().instances.values():
        yield instance.name, "usable" if instance.usable else f"missing: {', '.join(instance.missing)}"


def _models() -> Iterator[tuple[str, str]]:
    import datetime

    from ..plugins.instances import list_models
    from .environment import load_environment

    for model in list_models(load_environment().instances.values(), datetime.datetime.now(datetime.UTC).date()):
        yield str(model), f"{model.media}, {model.stage}" + ("" if model.usable else ", not usable")


def _operations() -> Iterator[tuple[OperationSpec, str]]:
    """Yield each operation spec with the name of its model."""
    from .environment import load_environment

    for instance in load_environment().instances.values():
        for spec in instance.matrix.models:
            yield from ((operation, f"{instance.name}/{spec.id}") for operation in spec.operations.values())


def _voices() -> Iterator[tuple[str, str]]:
    for operation, model in _operations():
        yield from ((str(name), model) for name in getattr(operation.options.get("voice"), "one_of", ()))


def _jobs() -> Iterator[tuple[str, str]]:
    import asyncio

    from ..settings import load_settings
    from ..state.sqlite import store_at
    from ..state.store import CallRecord

    async def read() -> list[CallRecord]:
        async with contextlib.aclosing(store_at(load_settings().journal)) as store:
            return list(await store.calls(limit=_MOST_JOBS))

    yield "last", "the newest job"
    for record in asyncio.run(read()):
        yield record.id, f"{record.state}, {record.request.get('prompt', '')}"[:60]


def _tasks() -> Iterator[tuple[str, str]]:
    return ((operation.task, model) for operation, model in _operations() if operation.task)


backends, models, voices, tasks, job_ids = map(_completer, (_backends, _models, _voices, _tasks, _jobs))


def continuations(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Suggest ``last`` and files."""
    from click.shell_completion import CompletionItem

    return [*([CompletionItem("last")] if "last".startswith(incomplete) else []), CompletionItem(incomplete, type="file")]


@click.command("completion")
@click.argument("shell", type=click.Choice(sorted(SCRIPTS)))
def completion(shell: str) -> None:
    """Print the line for the start-up file of SHELL that completes commands, options, models, backends, voices and job ids."""
    from .console import Console

    Console().result(SCRIPTS[shell])

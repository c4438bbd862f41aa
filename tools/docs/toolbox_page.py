"""The toolbox page: requests, context, results, errors, HTTP and media for a fake."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import attrs

from anymedia import http, testing
from anymedia.answers.envelopes import documents, read_error
from anymedia.answers.media import ExtractedMedia, FoundMedia, extract_media
from anymedia.context import Context, LoadedMedia, describe_references
from anymedia.credentials import Secret
from anymedia.errors import BackendError
from anymedia.fields import role_of
from anymedia.hookspecs import ListedModel, SubmissionRecord
from anymedia.requests import KINDS, Continuation, Mask, Reference
from anymedia.results import ContinuationData, Failed, Job, Outcome, Piece, Running, Succeeded
from anymedia.testing import fakes

from .parts import NOTE, attribute_docs, default, function, record

__all__ = ["toolbox"]

_HEAD = """A plugin imports these names from `anymedia`, `anymedia.errors` and `anymedia.http`; its tests import from `anymedia.testing`.
The [hooks](hooks.md), the [matrix](capabilities.md) and all [errors](errors.md) have their own pages.
"""
_FIELDS = """Options arrive as the planner adapted them to the model. An option that the model does not have, or that the caller did not
give, is None (a `default` of the matrix is not filled in). Images and masks are handles: `context.read` returns their bytes, in
a format that the model accepts.
"""
_RAISED = """Any `BackendError`, with a message for people and, inside `context.submission()`, with what is known about the delivery:

    raise ContentRefused("no foxes here", delivery="refused")

Without `delivery`, a failed submit may have been received and charged (`submission_unknown`), unless it was certainly not sent.
`raise_for_status` and `refusal` set it. Any other exception is a bug of the plugin; it is reported with its position in the code.
"""


def toolbox() -> str:
    """Return the toolbox page."""
    out = ["# Toolbox for plugins\n", NOTE, _HEAD]
    out += ["## The request\n", _FIELDS, *_fields(), "", *_records(Reference, Mask, Continuation, LoadedMedia)]
    out += ["## The context\n", *_context(), *function("describe_references", describe_references)]
    out += ["## What a hook returns\n", *_records(Outcome, Piece, ContinuationData, Job, Running, Succeeded, Failed)]
    out += ["## What a hook raises\n", _RAISED, *_attributes(BackendError)]
    out += ["## What the other hooks receive and return\n", *_records(SubmissionRecord, ListedModel)]
    out += [f"## `{http.__name__}`\n", inspect.cleandoc(http.__doc__ or "").replace("``", "`") + "\n"]
    for name in http.__all__:
        tool = getattr(http, name)
        out += record(tool) if inspect.isclass(tool) else function(name, tool)
    out += ["## Media and errors in an answer, in `anymedia.answers.media` and `anymedia.answers.envelopes`\n"]
    out += [*function("extract_media", extract_media), *_records(ExtractedMedia, FoundMedia)]
    out += [*function("read_error", read_error), *function("documents", documents)]
    out += ["## Media for a fake, in `anymedia.testing`\n"]
    for name, value in sorted(vars(testing).items()):
        if getattr(value, "__module__", "") == fakes.__name__ and inspect.isfunction(inspect.unwrap(value)):
            out += function(name, inspect.unwrap(value))
    return "\n".join(out)


def _records(*classes: type) -> Iterator[str]:
    for cls in classes:
        yield from record(cls)


def _fields() -> Iterator[str]:
    """Yield a table of the fields of all requests."""
    yield "| field | role | default | meaning | operations |\n|---|---|---|---|---|"
    of: dict[str, list[str]] = {}
    seen: dict[str, attrs.Attribute[object]] = {}
    meanings: dict[str, dict[str, None]] = {}
    for operation, cls in KINDS.items():
        for field in attrs.fields(cls):
            of.setdefault(field.name, []).append(operation)
            seen.setdefault(field.name, field)
            meanings.setdefault(field.name, {})[field.metadata["doc"]] = None
    for name, field in seen.items():
        where = "all" if len(of[name]) == len(KINDS) else ", ".join(of[name])
        yield f"| `{name}` | {role_of(field)} | {default(field)} | {'; '.join(meanings[name])} | {where} |"


def _attributes(cls: type, prefix: str = "") -> Iterator[str]:
    """Yield the description of a class and a table of its attributes."""
    prose, meanings = attribute_docs(cls)
    yield prose + "\n"
    yield "| attribute | meaning |\n|---|---|"
    yield from (f"| `{prefix}{name}` | {meaning} |" for name, meaning in meanings.items())
    yield ""


def _context() -> Iterator[str]:
    yield from _attributes(Context, "context.")
    for name in ("secret", "has_secret", "read", "submission", "takes", "client", "progress", "run_blocking", "fetch", "stream", "now"):
        made = getattr(Context, name)
        if name == "submission":
            yield from function("async with context.submission", inspect.unwrap(made), awaited=False)
        else:
            yield from function(f"context.{name}", made)
    yield f"A `Secret` has one method, `reveal()`: {inspect.cleandoc(Secret.reveal.__doc__ or '')[7:]}\n"

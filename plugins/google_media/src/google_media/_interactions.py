"""The Interactions API: one turn that is waited for, or a job in the background, and its result."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any

from anymedia.answers.base64_text import decode_base64
from anymedia.answers.envelopes import quote
from anymedia.context import Context, LoadedMedia
from anymedia.errors import BackendError, QuotaExceeded
from anymedia.http import job_status
from anymedia.redaction import clean_text
from anymedia.results import ContinuationData, Failed, Job, JobState, Outcome, Piece, Running, Succeeded

from ._client import Connection, connect, seconds_for
from ._content import COST_BASIS, cost_of
from ._errors import bad_answer, translated
from ._files import download
from ._recipes import Message
from ._refusals import filtered

__all__ = ["KIND", "cancel", "check_status", "content_of", "start", "take_turn"]

#: Statuses of an interaction that has ended without its answer, besides the usual ones.
_ENDED = ("incomplete", "budget_exceeded", "requires_action", "requires_continuation", "idle")
#: What marks a job's data as an interaction's.
KIND = "interaction"


def content_of(message: Message) -> list[dict[str, Any]]:
    """Return a message as the API takes it: pictures inline, then the text."""
    return [*(picture_block(p) for p in message.pictures), {"type": "text", "text": message.text}]


def picture_block(picture: LoadedMedia) -> dict[str, Any]:
    """Return a picture as a content block."""
    return {"type": "image", "mime_type": picture.mime, "data": base64.b64encode(picture.data).decode()}


async def _create(context: Context, body: Mapping[str, Any]) -> tuple[Any, Connection]:
    connection = await connect(context)
    given = {key: value for key, value in body.items() if value not in (None, {})}
    async with context.submission():
        with translated(context, "turn" if "previous_interaction_id" in given else "model"):
            made = await connection.aio.interactions.create(model=context.model, timeout=seconds_for(context), **given)
    return made, connection


async def take_turn(context: Context, kind: str, body: Mapping[str, Any]) -> Outcome:
    """Send one turn and wait for its picture or sound.

    Args:
        context: the call's context.
        kind: ``image`` or ``audio``.
        body: fields of the interaction.

    Raises:
        ContentRefused: it was blocked.
        BadBackendResponse: it holds nothing of that kind.
    """
    # automatic_continuation would continue the interaction step by step, each of them billed.
    made, connection = await _create(context, {**body, "automatic_continuation": False})
    state = _judge(made, kind, context, connection, {})
    if isinstance(state, Failed):
        raise state.error
    if isinstance(state, Running):
        raise bad_answer(f"it is still {made.status}", request_id=made.id)
    return state.outcome


async def start(context: Context, body: Mapping[str, Any], *, way: str | None = None) -> Job:
    """Start a video in the background; its id is all that status checks need."""
    made, _ = await _create(context, {**body, "background": True, "store": True})
    if not made.id:
        raise bad_answer("it gives no id")
    return Job(id=made.id, data={"kind": KIND, **({"way": way} if way else {})})


async def check_status(job: Job, context: Context) -> JobState:
    """Check an interaction once.

    Raises:
        JobNotFound: the service does not know it, yet or any more.
        MediaError: the check failed.
    """
    connection = await connect(context)
    with translated(context, "job"):
        found = await connection.aio.interactions.get(job.id, timeout=seconds_for(context, is_check=True))
    return _judge(found, "video", context, connection, job.data)


async def cancel(job: Job, context: Context) -> None:
    """Ask for an interaction to be stopped."""
    connection = await connect(context)
    with translated(context, "job"):
        await connection.aio.interactions.cancel(job.id, timeout=seconds_for(context, is_check=True))


def _judge(found: Any, kind: str, context: Context, connection: Connection, data: Mapping[str, Any]) -> JobState:
    ended = job_status(found.status, failed=_ENDED)
    if ended == "running":
        return Running(note=clean_text(str(found.status), 40))
    if ended == "done":
        return _completed(found, kind, context, connection, data)
    return Failed(error=_failed(found, kind, context))


def _completed(found: Any, kind: str, context: Context, connection: Connection, data: Mapping[str, Any]) -> JobState:
    blocks = list(_answer_blocks(found))
    media = [b for b in blocks if b.type == kind and (b.data or b.uri)]
    words = " ".join(b.text for b in blocks if b.type == "text" and b.text)
    if not media:
        return Failed(error=_nothing(found, kind, words, context))
    pieces = tuple(_piece(block, words if block is media[0] else "", found, kind, connection) for block in media)
    usage = found.usage.model_dump(mode="json", exclude_none=True) if found.usage is not None else {}
    cost = cost_of(usage, context, kind)
    basis = "" if cost is None else COST_BASIS
    made = Outcome(pieces=pieces, continued_as=data.get("way"), usage=usage, cost_usd=cost, cost_basis=basis, request_id=found.id)
    return Succeeded(outcome=made)


def _answer_blocks(found: Any) -> Iterable[Any]:
    """Yield the content of the latest answer: what follows the last input."""
    steps = list(found.steps or ())
    said = max((i for i, step in enumerate(steps) if step.type == "user_input"), default=-1)
    for step in steps[said + 1 :]:
        if step.type == "model_output":
            yield from (block for block in step.content or () if block.type in {"text", "image", "video", "audio"})


def _piece(block: Any, words: str, found: Any, kind: str, connection: Connection) -> Piece:
    handle = None if kind == "audio" else ContinuationData(data={"interaction": found.id})
    if block.data:
        try:
            data = decode_base64(block.data)
        except ValueError as error:
            raise bad_answer(f"its {kind} cannot be decoded: {error}", request_id=found.id) from None
        return Piece(data=data, mime=block.mime_type, text=words or None, continuation=handle)
    where, headers = download(block.uri, connection)
    return Piece(url=where, headers=headers, mime=block.mime_type, text=words or None, continuation=handle)


def _problems(found: Any) -> list[str]:
    """Return what the interaction says went wrong: its own errors, and those of its steps."""
    listed = [(e.code, e.message) for e in found.errors or ()]
    of_steps = [getattr(step, "error", None) for step in found.steps or ()]
    listed += [(str(e.code or ""), e.message) for e in of_steps if e is not None]
    return [": ".join(part for part in (code, message) if part) for code, message in listed]


_SAFETY = ("safety", "blocked", "prohibited", "policy", "responsible ai", "sensitive", "usage guidelines")


def _is_refusal(said: str) -> bool:
    return any(word in said.lower() for word in _SAFETY)


def _nothing(found: Any, kind: str, words: str, context: Context) -> BackendError:
    said = "; ".join(_problems(found))
    if _is_refusal(said):
        return filtered(context, said)
    if said or words:
        error = bad_answer(f"it was completed without {kind}; {quote(said or words)}", request_id=found.id)
        error.provider_message = clean_text(said or words)
        return error
    # Google completes at once and empty where a video may not be uploaded for editing (EEA, Switzerland, UK, some US states).
    region = " (in some regions Google edits no uploaded video)" if kind == "video" else ""
    return bad_answer(f"it was completed without {kind} and says nothing of why{region}", request_id=found.id)


def _failed(found: Any, kind: str, context: Context) -> BackendError:
    said = clean_text("; ".join(_problems(found)))
    quoted = f"; {quote(said)}" if said else ""
    if _is_refusal(said):
        return filtered(context, said, what=f"the {kind}")
    if found.status == "budget_exceeded":
        error: BackendError = QuotaExceeded(f"the provider's own budget for '{context.backend}' is used up{quoted}", request_id=found.id)
    else:
        text = f"'{context.backend}' generated no {kind}: the interaction is {found.status}{quoted}"
        error = BackendError(text, request_id=found.id, delivery="unknown")
        error.charged = "unknown"
    error.provider_message = said
    return error

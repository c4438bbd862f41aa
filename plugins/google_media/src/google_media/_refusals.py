"""Answers with status 200 that hold no media: the prompt or the output was blocked, there is only text, or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from anymedia.answers.envelopes import quote, read_error
from anymedia.context import Context
from anymedia.errors import BackendError, ContentRefused, MediaError
from anymedia.http import no_media
from anymedia.redaction import clean_text

if TYPE_CHECKING:
    from ._content import Answer

__all__ = ["blocked", "filtered", "without_media"]

#: Finish reasons of the safety system (google.genai.types.FinishReason).
_BLOCKING = frozenset(
    {
        *("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT"),
        *("IMAGE_RECITATION", "ESCALATION", "MODEL_ARMOR"),
    }
)
_FIX = "change the prompt or the inputs; the same request will be refused again"


def filtered(context: Context, reasons: object, *, what: str = "what was generated", charged: bool = True) -> ContentRefused:
    """Return the error for something the safety system withheld; whether it was charged is not known then."""
    said = clean_text(reasons)
    who = f"'{context.backend}/{context.model}'" if context.model else f"'{context.backend}'"
    text = f"the safety system of {who} withheld {what}" + (f"; {quote(said)}" if said else " without a reason")
    error = ContentRefused(text, reason=said[:120] or "safety", fix=_FIX, delivery="refused")
    error.charged, error.provider_message = "unknown" if charged else "no", said
    return error


def blocked(context: Context, body: Mapping[str, Any]) -> BackendError | None:
    """Return the error for a generate_content answer that was blocked as a whole, or None."""
    feedback = body.get("promptFeedback")
    if isinstance(feedback, Mapping) and feedback.get("blockReason"):
        said = ": ".join(str(part) for part in (feedback["blockReason"], feedback.get("blockReasonMessage")) if part)
        return filtered(context, said, what="the answer, for the prompt or an input", charged=False)
    return None


def without_media(context: Context, answer: Answer, what: str) -> MediaError:
    """Return the error for an answer without the media that were requested: blocked, an error object, only text, or empty."""
    reason = str(answer.candidate.get("finishReason") or "")
    said = ": ".join(str(part) for part in (reason, answer.candidate.get("finishMessage")) if part)
    if reason in _BLOCKING:
        return filtered(context, said)
    error = read_error(answer.body) if answer.body.get("error") else read_error(": ".join(part for part in (said, answer.words) if part))
    return no_media(context, error, answer.found, what=what, request_id=answer.id)

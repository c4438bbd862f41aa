"""Answers with status 200 that hold no media: the prompt or the output was blocked, there is only text, or nothing."""

from __future__ import annotations

from typing import Any

from anymedia.answers.envelopes import quote, read_error
from anymedia.answers.media import ExtractedMedia
from anymedia.context import Context
from anymedia.errors import BackendError, ContentRefused, MediaError
from anymedia.http import no_media
from anymedia.redaction import clean_text

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


def blocked(context: Context, response: Any) -> BackendError | None:
    """Return the error for a generate_content answer that was blocked as a whole, or None."""
    feedback = response.prompt_feedback
    if feedback is not None and feedback.block_reason is not None:
        reason = getattr(feedback.block_reason, "value", str(feedback.block_reason))
        said = ": ".join(part for part in (reason, feedback.block_reason_message) if part)
        return filtered(context, said, what="the answer, for the prompt or an input", charged=False)
    return None


def without_media(context: Context, candidate: Any, text: str, what: str, request_id: str | None) -> MediaError:
    """Return the error for a candidate without the media that were requested: blocked, or only text, or empty."""
    finish = getattr(candidate, "finish_reason", None)
    reason = getattr(finish, "value", str(finish)) if finish is not None else ""
    said = ": ".join(part for part in (reason, getattr(candidate, "finish_message", None)) if part)
    if reason in _BLOCKING:
        return filtered(context, said)
    return no_media(
        context, read_error(": ".join(part for part in (said, text) if part)), ExtractedMedia(), what=what, request_id=request_id
    )

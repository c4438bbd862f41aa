"""Answers with status 200 that hold no media: the prompt or the output was blocked, only words came, or nothing."""

from __future__ import annotations

from typing import Any

from anymedia.context import Context
from anymedia.errors import BackendError, ContentRefused
from anymedia.redaction import clean_text

from ._errors import bad_answer

__all__ = ["blocked", "filtered", "no_media"]

#: Finish reasons by which a safety system speaks (google.genai.types.FinishReason).
_BLOCKING = frozenset(
    {
        "SAFETY",
        "RECITATION",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
        "ESCALATION",
        "MODEL_ARMOR",
    }
)
_FIX = "change the prompt or the inputs; the same again will be refused again"


def filtered(context: Context, reasons: object, *, what: str = "what was made", charged: bool = True) -> ContentRefused:
    """Return the error for something the safety system kept back; whether it was paid for is not known then."""
    said = clean_text(reasons) or "no reason given"
    who = f"'{context.backend}/{context.model}'" if context.model else f"'{context.backend}'"
    error = ContentRefused(f"the safety system of {who} kept back {what}: {said}", reason=said[:120], fix=_FIX, delivery="refused")
    error.charged = "unknown" if charged else "no"
    return error


def blocked(context: Context, response: Any) -> BackendError | None:
    """Return the error for a generate_content answer that was blocked as a whole, or None."""
    feedback = response.prompt_feedback
    if feedback is not None and feedback.block_reason is not None:
        reason = getattr(feedback.block_reason, "value", str(feedback.block_reason))
        said = ": ".join(part for part in (reason, feedback.block_reason_message) if part)
        return filtered(context, said, what="the answer, for the prompt or an input", charged=False)
    return None


def no_media(context: Context, candidate: Any, words: str, what: str, request_id: str | None) -> BackendError:
    """Return the error for a candidate without the media asked for: blocked, or only words, or empty."""
    finish = getattr(candidate, "finish_reason", None)
    reason = getattr(finish, "value", str(finish)) if finish is not None else ""
    said = ": ".join(part for part in (reason, getattr(candidate, "finish_message", None)) if part)
    if reason in _BLOCKING:
        return filtered(context, said)
    if words:
        return bad_answer(f"it holds words and no {what} ({reason or 'no finish reason'}): {clean_text(words)}", request_id=request_id)
    return bad_answer(f"it holds no {what} ({clean_text(said) or 'and says nothing of why'})", request_id=request_id)

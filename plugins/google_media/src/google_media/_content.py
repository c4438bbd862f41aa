"""generate_content: one turn, or a chat sent again from its saved files with their thought signatures.

A chat is stored as JSON, ``{"chat": [{"said": text, "answer": [part, ...]}, ...]}``, where a part is ``{"text": ...}`` or
``{"file": sha256 of a saved file}``, with its ``signature`` (base64) where it had one; ``"file": null`` is the newest file.
Input pictures are not sent again: the answer's picture holds the result.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any

from anymedia.answers.base64_text import HEAD, format_of_head
from anymedia.context import Context
from anymedia.errors import UnknownContinuation
from anymedia.media import FORMATS
from anymedia.requests import Continuation
from anymedia.results import ContinuationData, Outcome, Piece, Warning

from ._client import call_options, connect, on_agent_platform
from ._errors import translated
from ._recipes import Message
from ._refusals import blocked, without_media

__all__ = ["COST_BASIS", "ask", "cost_of", "draw"]

COST_BASIS = "the tokens of the answer at the rates of the matrix (github.com/BerriAI/litellm, 2026-11-21)"


async def draw(message: Message, context: Context, config: Mapping[str, Any], continuation: Continuation | None = None) -> Outcome:
    """Generate a picture, as the next turn of a chat where there is one.

    Args:
        message: the prompt and pictures of this turn.
        context: the call's context.
        config: further fields of GenerateContentConfig.
        continuation: the chat to continue.

    Raises:
        ContentRefused: the prompt or the picture was blocked.
        BadBackendResponse: the answer holds no picture.
        UnknownContinuation: a file of the chat is gone or has changed.
    """
    earlier = [] if continuation is None else _resolved(continuation)
    contents = [*_history(earlier, continuation, context), _turn("user", [*_pictures(message), _text(message.text)])]
    response, candidate = await ask(contents, context, {"response_modalities": ["TEXT", "IMAGE"], **config})
    parts, pictures, warnings = _answer_parts(candidate)
    words = " ".join(p.text for p in parts if p.text and not p.thought)
    if not pictures:
        raise without_media(context, candidate, words, "image", response.response_id)
    pieces: list[Piece] = []
    for picture in pictures:  # usually one; each of several can be continued by itself
        resent = [p for p in parts if p is picture or (p.inline_data is None and (p.text or p.thought_signature))]
        kept = [_kept(p, is_file=p is picture) for p in resent]
        chat = ContinuationData(data={"chat": [*earlier, {"said": message.text, "answer": kept}]})
        blob = picture.inline_data
        pieces.append(Piece(data=blob.data, mime=_mime(blob), text=None if pieces else words or None, continuation=chat))
    usage = _usage(response)
    cost = cost_of(usage, context, "image")
    return Outcome(
        pieces=tuple(pieces),
        usage=usage,
        cost_usd=cost,
        cost_basis="" if cost is None else COST_BASIS,
        request_id=response.response_id,
        warnings=warnings,
    )


async def ask(contents: Any, context: Context, config: Mapping[str, Any]) -> tuple[Any, Any]:
    """Send one generate_content call; return the response and its first candidate (None where there is none).

    Raises:
        ContentRefused: the whole answer was blocked.
    """
    from google.genai import types

    connection = await connect(context)
    # Only the Gemini API stores such calls and knows the field; the SDK refuses it on Agent Platform.
    store: dict[str, Any] = {} if on_agent_platform(context) or context.settings.get("store") is not False else {"store": False}
    # automatic_continuation would send the same prompt again, billed each time.
    complete = types.GenerateContentConfig(automatic_continuation=False, http_options=call_options(context), **store, **config)
    async with context.submission():
        with translated(context):
            response = await connection.aio.models.generate_content(model=context.model, contents=contents, config=complete)
    if (refusal := blocked(context, response)) is not None:
        raise refusal
    return response, (response.candidates or [None])[0]


def _is_picture(part: Any) -> bool:
    blob = part.inline_data
    return blob is not None and bool(blob.data) and (_mime(blob) or "image/").startswith("image/")


def _mime(blob: Any) -> str | None:
    """Return the type that the bytes show, or the one that is claimed; None for neither."""
    name = format_of_head(blob.data[:HEAD])
    claimed = (blob.mime_type or "").lower()
    return FORMATS.get(name or "") or (claimed if "/" in claimed and "octet-stream" not in claimed else None)


def _answer_parts(candidate: Any) -> tuple[list[Any], list[Any], list[Warning]]:
    """Return the parts of the answer, the pictures among them, and warnings.

    Pictures in parts that are marked as thoughts are drafts; where there are no others, they are the result that is paid for.
    """
    content = getattr(candidate, "content", None)
    every = list((content.parts if content is not None else None) or ())
    final = [part for part in every if not part.thought]
    if pictures := [part for part in final if _is_picture(part)]:
        return final, pictures, []
    drafts = [part for part in every if _is_picture(part)]
    warnings = [Warning("media_in_thought", "the media stood in a part that is marked as a thought")] if drafts else []
    return [part for part in every if not part.thought or part in drafts[-1:]], drafts[-1:], warnings


def _usage(response: Any) -> dict[str, Any]:
    found = response.usage_metadata
    return {} if found is None else found.model_dump(mode="json", exclude_none=True)


def cost_of(usage: Mapping[str, Any], context: Context, kind: str) -> float | None:
    """Return US dollars by the row's token rates, or None where counts or rates are not known.

    Output whose kind the answer does not name is counted as media, so the figure is an upper bound.

    Args:
        usage: of generate_content or of an interaction.
        context: of the call; a compatible server has its own prices.
        kind: of the media: ``image`` ...
    """
    rates = {} if context.row is None else context.row.wire.get("usd_per_million") or {}
    given = usage.get("prompt_token_count", usage.get("total_input_tokens"))
    output = usage.get("candidates_token_count", usage.get("total_output_tokens"))
    if context.service == "compatible" or not {"input", "text", kind} <= rates.keys() or given is None or output is None:
        return None
    details = usage.get("candidates_tokens_details") or usage.get("output_tokens_by_modality") or ()
    words = sum(int(part.get("token_count", part.get("tokens")) or 0) for part in details if str(part.get("modality")).lower() == "text")
    thoughts = int(usage.get("thoughts_token_count", usage.get("total_thought_tokens")) or 0)
    counts = {"input": int(given), "text": words + thoughts, kind: max(0, int(output) - words)}
    return round(sum(float(rates[name]) * count for name, count in counts.items()) / 1_000_000, 6)


def _pictures(message: Message) -> Iterable[Any]:
    from google.genai import types

    return [types.Part.from_bytes(data=picture.data, mime_type=picture.mime) for picture in message.pictures]


def _text(text: str) -> Any:
    from google.genai import types

    return types.Part(text=text)


def _turn(role: str, parts: Iterable[Any]) -> Any:
    from google.genai import types

    return types.Content(role=role, parts=list(parts))


def _kept(part: Any, *, is_file: bool) -> dict[str, Any]:
    kept: dict[str, Any] = {"file": None} if is_file else {"text": part.text or ""}
    if part.thought_signature:
        kept["signature"] = base64.b64encode(part.thought_signature).decode()
    return kept


def _resolved(continuation: Continuation) -> list[dict[str, Any]]:
    """Return the chat so far, the newest file named by its checksum like the others."""
    newest = continuation.files[0].sha256 if continuation.files else None
    turns: list[dict[str, Any]] = []
    stored: list[dict[str, Any]] = continuation.data.get("chat") or [{"said": "", "answer": [{"file": None}]}]
    for turn in stored:
        answer = [part | {"file": newest} if "file" in part and part["file"] is None else dict(part) for part in turn["answer"]]
        turns.append({"said": turn["said"], "answer": answer})
    return turns


def _history(turns: Iterable[Mapping[str, Any]], continuation: Continuation | None, context: Context) -> Iterable[Any]:
    for turn in turns:
        if turn["said"]:
            yield _turn("user", [_text(turn["said"])])
            yield _turn("model", [_resent(part, continuation, context) for part in turn["answer"]])
        else:  # a picture of another origin opens the chat, sent by the user
            yield _turn("user", [_resent(part, continuation, context) for part in turn["answer"]])


def _resent(part: Mapping[str, Any], continuation: Continuation | None, context: Context) -> Any:
    from google.genai import types

    signature = base64.b64decode(part["signature"]) if "signature" in part else None
    if "text" in part:
        return types.Part(text=part["text"], thought_signature=signature)
    file = next((f for f in (continuation.files if continuation else ()) if f.sha256 == part["file"]), None)
    if file is None:
        raise UnknownContinuation("a picture of the chat is not stored any more", fix="give the latest picture as an input instead")
    loaded = context.read(file)
    blob = types.Blob(data=loaded.data, mime_type=loaded.mime)
    return types.Part(inline_data=blob, thought_signature=signature)

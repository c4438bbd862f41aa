"""generate_content: one turn, or a chat told again from its collected files with their thought signatures.

A chat is kept as JSON, ``{"chat": [{"said": text, "answer": [part, ...]}, ...]}``, where a part is ``{"text": ...}`` or
``{"file": sha256 of a collected file}``, with its ``signature`` (base64) where it had one; ``"file": null`` is the newest file.
Pictures that the caller gave along are not told again: what became of them is in the answer's picture.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any

from anymedia.context import Context
from anymedia.errors import UnknownContinuation
from anymedia.requests import Continuation
from anymedia.results import ContinuationData, Outcome, Piece

from ._client import call_options, connect, on_agent_platform
from ._errors import translated
from ._recipes import Message
from ._refusals import blocked, no_media

__all__ = ["ask", "draw"]


async def draw(message: Message, context: Context, config: Mapping[str, Any], continuation: Continuation | None = None) -> Outcome:
    """Have a picture made, as the next turn of a chat where there is one.

    Args:
        message: what is said now.
        context: the call's context.
        config: further fields of GenerateContentConfig.
        continuation: the chat to go on with.

    Raises:
        ContentRefused: the prompt or the picture was blocked.
        BadBackendResponse: the answer holds no picture.
        UnknownContinuation: a file of the chat is gone or has changed.
    """
    earlier = [] if continuation is None else _resolved(continuation)
    contents = [*_history(earlier, continuation, context), _turn("user", [*_pictures(message), _text(message.text)])]
    response, candidate = await ask(contents, context, {"response_modalities": ["TEXT", "IMAGE"], **config})
    parts = _final_parts(candidate)
    words = " ".join(p.text for p in parts if p.text)
    pictures = [p for p in parts if _is(p, "image/")]
    if not pictures:
        raise no_media(context, candidate, words, "image", response.response_id)
    pieces: list[Piece] = []
    for picture in pictures:  # one as a rule; whoever goes on from one of several goes on from that one
        told = [p for p in parts if p is picture or (p.inline_data is None and (p.text or p.thought_signature))]
        kept = [_kept(p, is_file=p is picture) for p in told]
        chat = ContinuationData(data={"chat": [*earlier, {"said": message.text, "answer": kept}]})
        blob = picture.inline_data
        pieces.append(Piece(data=blob.data, mime=blob.mime_type, text=None if pieces else words or None, continuation=chat))
    return Outcome(pieces=tuple(pieces), usage=_usage(response), request_id=response.response_id)


async def ask(contents: Any, context: Context, config: Mapping[str, Any]) -> tuple[Any, Any]:
    """Send one generate_content call; return the response and its first candidate (None where there is none).

    Raises:
        ContentRefused: the whole answer was blocked.
    """
    from google.genai import types

    connection = await connect(context)
    # Only the Gemini API keeps such calls, and only there is the field known: the SDK refuses it elsewhere.
    store: dict[str, Any] = {} if on_agent_platform(context) or context.settings.get("store") is not False else {"store": False}
    # automatic_continuation would send the same prompt again, billed each time.
    made = types.GenerateContentConfig(automatic_continuation=False, http_options=call_options(context), **store, **config)
    async with context.submission():
        with translated(context):
            response = await connection.aio.models.generate_content(model=context.model, contents=contents, config=made)
    if (refusal := blocked(context, response)) is not None:
        raise refusal
    return response, (response.candidates or [None])[0]


def _is(part: Any, start: str) -> bool:
    blob = part.inline_data
    return blob is not None and bool(blob.data) and (blob.mime_type or "").startswith(start)


def _final_parts(candidate: Any) -> list[Any]:
    """Return the parts of the answer itself: pictures drawn while thinking are not what was asked for."""
    content = getattr(candidate, "content", None)
    return [part for part in (content.parts if content is not None else None) or () if not part.thought]


def _usage(response: Any) -> dict[str, Any]:
    found = response.usage_metadata
    return {} if found is None else found.model_dump(mode="json", exclude_none=True)


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
    """Return the chat so far, the newest file called by its checksum like the others."""
    newest = continuation.files[0].sha256 if continuation.files else None
    turns: list[dict[str, Any]] = []
    told: list[dict[str, Any]] = continuation.data.get("chat") or [{"said": "", "answer": [{"file": None}]}]
    for turn in told:
        answer = [part | {"file": newest} if "file" in part and part["file"] is None else dict(part) for part in turn["answer"]]
        turns.append({"said": turn["said"], "answer": answer})
    return turns


def _history(turns: Iterable[Mapping[str, Any]], continuation: Continuation | None, context: Context) -> Iterable[Any]:
    for turn in turns:
        if turn["said"]:
            yield _turn("user", [_text(turn["said"])])
            yield _turn("model", [_told_again(part, continuation, context) for part in turn["answer"]])
        else:  # a picture from elsewhere opens the chat: the caller shows it
            yield _turn("user", [_told_again(part, continuation, context) for part in turn["answer"]])


def _told_again(part: Mapping[str, Any], continuation: Continuation | None, context: Context) -> Any:
    from google.genai import types

    signature = base64.b64decode(part["signature"]) if "signature" in part else None
    if "text" in part:
        return types.Part(text=part["text"], thought_signature=signature)
    file = next((f for f in (continuation.files if continuation else ()) if f.sha256 == part["file"]), None)
    if file is None:
        raise UnknownContinuation("a picture of the chat is not kept any more", fix="give the latest picture as an input instead")
    loaded = context.read(file)
    blob = types.Blob(data=loaded.data, mime_type=loaded.mime)
    return types.Part(inline_data=blob, thought_signature=signature)

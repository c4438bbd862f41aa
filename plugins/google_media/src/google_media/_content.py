"""generate_content: one turn, or a chat sent again from its saved files with their thought signatures.

A chat is stored as JSON, ``{"chat": [{"said": text, "answer": [part, ...]}, ...]}``, where a part is ``{"text": ...}`` or
``{"file": sha256 of a saved file}``, with its ``signature`` (base64) where it had one; ``"file": null`` is the newest file.
Input pictures are not sent again: the answer's picture holds the result.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from anymedia.answers.base64_text import decode_base64
from anymedia.answers.media import ExtractedMedia, extract_media
from anymedia.context import Context
from anymedia.errors import UnknownContinuation
from anymedia.http import decode_json, decode_object
from anymedia.requests import Continuation
from anymedia.results import ContinuationData, Outcome, Piece

from ._client import call_options, connect, on_agent_platform
from ._errors import translated
from ._recipes import Message
from ._refusals import blocked, without_media

__all__ = ["COST_BASIS", "Answer", "ask", "cost_of", "draw"]

COST_BASIS = "the tokens of the answer at the rates of the matrix, which are reported by third parties"

#: Longer answers are decoded off the event loop.
_OFF_LOOP = 256 * 1024


@attrs.frozen(kw_only=True)
class Answer:
    """What generate_content answered: the decoded JSON, and the media in it."""

    body: Mapping[str, Any]
    found: ExtractedMedia

    @property
    def candidate(self) -> Mapping[str, Any]:
        """The first candidate, empty where there is none."""
        return next((found for found in _listed(self.body.get("candidates")) if found), {})

    @property
    def parts(self) -> list[Mapping[str, Any]]:
        """The parts of the first candidate."""
        content = self.candidate.get("content")
        return _listed(content.get("parts")) if isinstance(content, Mapping) else []

    @property
    def words(self) -> str:
        """What it says beside its media."""
        return " ".join(str(part["text"]) for part in self.parts if part.get("text") and not part.get("thought"))

    @property
    def usage(self) -> dict[str, Any]:
        """Token counts, with the names of the SDK."""
        found = _renamed(self.body.get("usageMetadata"))
        return found if isinstance(found, dict) else {}

    @property
    def id(self) -> str | None:
        """The provider's id of the exchange."""
        found = self.body.get("responseId")
        return found if isinstance(found, str) else None


def _listed(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _renamed(value: Any) -> Any:
    if isinstance(value, dict):
        return {re.sub(r"(?<!^)([A-Z])", r"_\1", key).lower(): _renamed(item) for key, item in value.items() if item is not None}
    return [_renamed(item) for item in value] if isinstance(value, list) else value


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
    answer = await ask(contents, context, {"response_modalities": ["TEXT", "IMAGE"], **config})
    pictures = [item for item in answer.found.items if (item.mime or "image/").startswith("image/")]
    if not pictures:
        raise without_media(context, answer, "image")
    if pictures[0].thought:  # drafts, and nothing else: the last one is the result that is paid for
        pictures = pictures[-1:]
    pieces: list[Piece] = []
    for picture in pictures:  # usually one; each of several can be continued by itself
        kept = [
            _kept(part, is_file=part is picture.item)
            for part in answer.parts
            if part is picture.item or (_said(part) and not part.get("thought"))
        ]
        chat = ContinuationData(data={"chat": [*earlier, {"said": message.text, "answer": kept}]})
        pieces.append(attrs.evolve(picture, text=None if pieces else answer.words or None).to_piece(continuation=chat))
    cost = cost_of(answer.usage, context, "image")
    return Outcome(
        pieces=tuple(pieces),
        usage=answer.usage,
        cost_usd=cost,
        cost_basis="" if cost is None else COST_BASIS,
        request_id=answer.id,
        warnings=answer.found.warnings,
    )


def _said(part: Mapping[str, Any]) -> bool:
    """Whether a part holds words or a signature, and no media."""
    return bool(part.get("text") or part.get("thoughtSignature")) and not part.get("inlineData") and not part.get("fileData")


async def ask(contents: Any, context: Context, config: Mapping[str, Any]) -> Answer:
    """Send one generate_content call and return its answer, which is read as it came: the SDK's types accept one spelling of base64.

    Raises:
        ContentRefused: the whole answer was blocked.
        BadBackendResponse: it is not JSON.
    """
    from google.genai import types

    connection = await connect(context)
    # Only the Gemini API stores such calls and knows the field; the SDK refuses it on Agent Platform.
    store: dict[str, Any] = {} if on_agent_platform(context) or context.settings.get("store") is not False else {"store": False}
    # automatic_continuation would send the same prompt again, billed each time.
    complete = types.GenerateContentConfig(
        automatic_continuation=False, should_return_http_response=True, http_options=call_options(context), **store, **config
    )
    async with context.submission():
        with translated(context):
            response = await connection.aio.models.generate_content(model=context.model, contents=contents, config=complete)
        text = response.sdk_http_response.body or ""
        answer = await asyncio.to_thread(_decoded, text) if len(text) > _OFF_LOOP else _decoded(text)
    if (refusal := blocked(context, answer.body)) is not None:
        raise refusal
    return answer


def _decoded(text: str) -> Answer:
    body = decode_json(text.encode())
    if isinstance(body, list):
        body = _joined(_listed(body))
    if not isinstance(body, dict):
        body = decode_object(text.encode())
    return Answer(body=body, found=extract_media(body, ["candidates[].content.parts[]"]))


def _joined(chunks: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the chunks of a streamed answer as one."""
    whole = {name: value for chunk in chunks for name, value in chunk.items()}
    candidates = [candidate for chunk in chunks for candidate in _listed(chunk.get("candidates"))[:1]]
    contents = [candidate["content"] for candidate in candidates if isinstance(candidate.get("content"), Mapping)]
    parts = [part for content in contents for part in _listed(content.get("parts"))]
    joined = {name: value for candidate in candidates for name, value in candidate.items()}
    return whole | {"candidates": [joined | {"content": {"role": "model", "parts": parts}}]}


def cost_of(usage: Mapping[str, Any], context: Context, kind: str) -> float | None:
    """Return US dollars by the row's token rates, or None where counts or rates are not known.

    Output whose kind the answer does not name is counted as media, so the figure is an upper bound.

    Args:
        usage: of generate_content or of an interaction.
        context: of the call; a compatible server has its own prices.
        kind: of the media: ``image`` ...
    """
    rates = context.spec.wire.get("usd_per_million") or {}
    given = usage.get("prompt_token_count", usage.get("total_input_tokens"))
    output = usage.get("candidates_token_count", usage.get("total_output_tokens"))
    if context.service == "compatible" or not rates or given is None or output is None:
        return None
    details = usage.get("candidates_tokens_details") or usage.get("output_tokens_by_modality") or ()
    try:
        words = sum(
            int(part.get("token_count", part.get("tokens")) or 0) for part in details if str(part.get("modality")).lower() == "text"
        )
        thoughts = int(usage.get("thoughts_token_count", usage.get("total_thought_tokens")) or 0)
        counts = {"input": int(given), "text": words + thoughts, kind: max(0, int(output) - words)}
    except (TypeError, ValueError, AttributeError, OverflowError):  # no counts: what was made is delivered all the same
        return None
    if any(count and name not in rates for name, count in counts.items()):
        return None
    return round(sum(float(rates[name]) * count for name, count in counts.items() if count) / 1_000_000, 6)


def _pictures(message: Message) -> Iterable[Any]:
    from google.genai import types

    return [types.Part.from_bytes(data=picture.data, mime_type=picture.mime) for picture in message.pictures]


def _text(text: str) -> Any:
    from google.genai import types

    return types.Part(text=text)


def _turn(role: str, parts: Iterable[Any]) -> Any:
    from google.genai import types

    return types.Content(role=role, parts=list(parts))


def _kept(part: Mapping[str, Any], *, is_file: bool) -> dict[str, Any]:
    kept: dict[str, Any] = {"file": None} if is_file else {"text": str(part.get("text") or "")}
    if signature := part.get("thoughtSignature"):
        with contextlib.suppress(ValueError):
            kept["signature"] = base64.b64encode(decode_base64(str(signature))).decode()
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

"""generateContent, as both services speak it: pictures, speech, blocked answers, thought signatures that must come back."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

import attrs
from wire.google_values import Refused, bytes_of, camel, fit, shape_of, unbase64, want
from wire.http_server import Received, Reply
from wire.media_bytes import image, sound

__all__ = ["IMAGE_MODELS", "TTS_MODELS", "Content", "Turn"]

IMAGE_MODELS = (
    "gemini-nano-banana-2.1",
    "gemini-3-pro-image",
    "gemini-3.1-flash-image",
    "gemini-3.1-flash-lite-image",
    "gemini-2.5-flash-image",
    "nano-banana-pro-preview",
)
TTS_MODELS = (
    "gemini-3.8-flash-tts",
    "gemini-3.8-flash-lite-tts",
    "gemini-2.5-flash-tts",
    "gemini-2.5-pro-tts",
    "gemini-3.1-flash-tts-preview",
    "gemini-2.5-flash-preview-tts",
    "gemini-2.5-pro-preview-tts",
)
_RATIOS = ("1:1", "1:4", "1:8", "2:3", "3:2", "3:4", "4:1", "4:3", "4:5", "5:4", "8:1", "9:16", "16:9", "21:9")
_SPEECH = {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": str}}, "languageCode": str}
_IMAGE = {"aspectRatio": _RATIOS, "imageSize": ("512", "1K", "2K", "4K")}
#: What only Agent Platform takes; the words as google-genai documents them in ``types.ImageConfig``.
_PLATFORM_IMAGE = {
    "personGeneration": ("ALLOW_ALL", "ALLOW_ADULT", "ALLOW_NONE"),
    "imageOutputOptions": {"mimeType": ("image/png", "image/jpeg"), "compressionQuality": int},
}
_PART = {"text": str, "inlineData": {"mimeType": str, "data": str}, "thoughtSignature": str}


def _request(*, agent_platform: bool) -> Mapping[str, Any]:
    config = {
        "responseModalities": [("TEXT", "IMAGE", "AUDIO")],
        "imageConfig": _IMAGE | (_PLATFORM_IMAGE if agent_platform else {}),
        "seed": int,
        "thinkingConfig": {"thinkingLevel": ("MINIMAL", "LOW", "MEDIUM", "HIGH")},
        "speechConfig": _SPEECH,
        "candidateCount": int,
        "maxOutputTokens": int,
    }
    contents = [{"role": ("user", "model"), "parts": [_PART]}]
    return {"contents": contents, "generationConfig": config, **({} if agent_platform else {"store": bool})}


@attrs.frozen(kw_only=True)
class Turn:
    """One call as it was understood: what was said and shown in each turn, and the configuration."""

    model: str
    contents: tuple[Mapping[str, Any], ...]
    config: Mapping[str, Any]

    def texts(self) -> list[str]:
        """Return all texts, in order."""
        return [p["text"] for c in self.contents for p in c["parts"] if "text" in p]

    def pictures(self) -> list[bytes]:
        """Return all pictures, in order."""
        return [unbase64(p["inlineData"]["data"]) for c in self.contents for p in c["parts"] if "inlineData" in p]


@attrs.define(kw_only=True, eq=False)
class Content:
    """The method's state: what was asked, what is answered next, and the signatures that were given out.

    ``next_answers`` are taken one a call: ``blocked_prompt``, ``blocked_candidate``, ``text_only``, ``empty``, ``two``
    (pictures), ``signed_end`` (the signature of the turn comes in a part of its own, without words).
    """

    turns: list[Turn] = attrs.field(factory=list)
    next_answers: list[str] = attrs.field(factory=list)
    signed: dict[str, str] = attrs.field(factory=dict)
    sound_mime: str | None = None
    made: list[bytes] = attrs.field(factory=list)

    def answer(self, received: Received, model: str, *, agent_platform: bool) -> Reply:
        """Answer one call, or refuse it as the service would."""
        body = camel(received.json())
        fit(body, _request(agent_platform=agent_platform), "request")
        if model not in (*IMAGE_MODELS, *TTS_MODELS):
            raise Refused("This model only supports Interactions API." if "omni" in model else f"models/{model} is not found", 404)
        contents = self._checked(body.get("contents"))
        self.turns.append(Turn(model=model, contents=tuple(contents), config=body.get("generationConfig", {})))
        return Reply.of_json(self._made(self.turns[-1]))

    def _checked(self, contents: Any) -> list[Mapping[str, Any]]:
        want(isinstance(contents, list) and contents, "contents is not specified")
        for content in contents:
            for part in content["parts"]:
                self._check_part(part, content["role"])
        want(contents[-1]["role"] == "user", "the last turn must be the user's")
        return list(contents)

    def _check_part(self, part: Mapping[str, Any], role: str) -> None:
        want(("text" in part) != ("inlineData" in part), "a part must have one of text and inline_data")
        key = part.get("text", "")
        if "inlineData" in part:
            data = bytes_of(part["inlineData"].get("data"), part["inlineData"].get("mimeType"), "inline_data")
            key = hashlib.sha256(data).hexdigest()
        if role == "model" and key in self.signed:
            given = unbase64(part.get("thoughtSignature", ""))
            want(given == unbase64(self.signed[key]), "Image part is missing a thought_signature in content position")

    def _made(self, turn: Turn) -> Any:
        kind = self.next_answers.pop(0) if self.next_answers else "media"
        base = {"responseId": f"resp-{len(self.turns)}", "modelVersion": turn.model}
        usage = {"promptTokenCount": 12, "candidatesTokenCount": 1120, "totalTokenCount": 1132}
        if kind == "blocked_prompt":
            return base | {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT", "blockReasonMessage": "not this"}}
        if kind == "blocked_candidate":
            return base | {"candidates": [{"finishReason": "IMAGE_SAFETY", "finishMessage": "Unable to show the generated image."}]}
        if kind == "text_only":
            answer = {"role": "model", "parts": [{"text": "I would rather describe it."}]}
            return base | {"candidates": [{"content": answer, "finishReason": "STOP"}], "usageMetadata": usage}
        if kind == "empty":
            return base | {"candidates": [{"finishReason": "NO_IMAGE"}]}
        parts = self._speech(turn) if turn.model in TTS_MODELS else self._drawn(turn)
        if kind == "two":
            parts += self._drawn(turn)[-1:]
        if kind == "signed_end":
            parts.append({"text": "", "thoughtSignature": self._sign("")})
        return base | {"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}], "usageMetadata": usage}

    def _drawn(self, turn: Turn) -> list[Mapping[str, Any]]:
        found = turn.config.get("imageConfig", {})
        want("IMAGE" in turn.config.get("responseModalities", ()), "no image was asked for")
        tiers = ("512", "1K", "2K", "4K") if turn.model == "gemini-3.1-flash-image" else ("1K", "2K", "4K")
        want(found.get("imageSize", "1K") in tiers, "image_size is not supported")
        form = found.get("imageOutputOptions", {}).get("mimeType", "image/png").removeprefix("image/")
        number = len(self.made) + 1
        width, height = shape_of(found.get("aspectRatio"), found.get("imageSize"))
        data = image(width, height, form, tint=number)
        self.made.append(data)
        words = f"Here is picture {number}."
        draft = {"mimeType": "image/png", "data": base64.b64encode(image(8, 8, tint=200)).decode()}
        return [
            {"text": "thinking of it", "thought": True},
            {"inlineData": draft, "thought": True},
            {"text": words, "thoughtSignature": self._sign(words)},
            {
                "inlineData": {"mimeType": f"image/{form}", "data": base64.b64encode(data).decode()},
                "thoughtSignature": self._sign(hashlib.sha256(data).hexdigest()),
            },
        ]

    def _sign(self, key: str) -> str:
        self.signed[key] = base64.b64encode(f"signature of {key[:12]} {len(self.signed)}".encode()).decode()
        return self.signed[key]

    def _speech(self, turn: Turn) -> list[Mapping[str, Any]]:
        want(turn.config.get("responseModalities") == ["AUDIO"], "this model makes sound only")
        if "voiceConfig" in (speech := turn.config.get("speechConfig", {})):
            want(speech["voiceConfig"].get("prebuiltVoiceConfig", {}).get("voiceName"), "voice_name is not specified")
        mime = self.sound_mime or ("audio/wav" if "3.8" in turn.model else "audio/L16;codec=pcm;rate=24000")
        data = sound("wav" if mime == "audio/wav" else "pcm", 0.5 + len(turn.texts()[-1]) / 100)
        self.made.append(data)
        return [{"inlineData": {"mimeType": mime, "data": base64.b64encode(data).decode()}}]

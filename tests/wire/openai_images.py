"""The image endpoints of the OpenAI fake: generations, edits, and the image tool of Responses."""

from __future__ import annotations

import base64
import io
import time
import uuid
from collections.abc import Sequence
from typing import Any

import attrs

from .forms import Form, Part, read_form
from .http_server import Received, Reply
from .media_bytes import image, with_mark
from .openai_params import (
    EDIT_FIELDS,
    GENERATE_FIELDS,
    TOOL_FIELDS,
    Refusal,
    check_fields,
    check_image_options,
    form_values,
)

__all__ = ["Images", "refuse_words"]

_FORMATS = {"PNG": "png", "JPEG": "jpeg", "WEBP": "webp"}
_TOKENS = {"low": 272, "medium": 1056, "high": 4160, "xhigh": 6000, "max": 8000, "auto": 1056}
_MAINLINE = ("gpt-6-sol", "gpt-6-luna", "gpt-5.6-sol", "gpt-5.6-terra", "gpt-5.5", "gpt-5.4")
_CREATE_FIELDS = {
    "model": str,
    "input": (str, list),
    "tools": list,
    "tool_choice": (str, dict),
    "previous_response_id": str,
    "instructions": str,
    "store": bool,
    "reasoning": dict,
    "safety_identifier": str,
}


def refuse_words(prompt: str) -> Refusal | None:
    """Return the moderation refusal of a prompt that has the word FORBIDDEN in it."""
    if "FORBIDDEN" not in prompt:
        return None
    return Refusal(
        "Your request was rejected by the safety system.",
        type="image_generation_user_error",
        code="moderation_blocked",
        more={"moderation_details": {"moderation_stage": "input", "categories": ["violence"]}},
    )


@attrs.define
class Images:
    """State and handlers; ``made`` keeps each picture's bytes as they were sent, ``turns`` the conversations."""

    made: list[bytes] = attrs.field(factory=list)
    turns: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    fixed: bytes | None = None
    say_instead: str | None = None

    def generations(self, received: Received) -> Reply:
        """POST /images/generations (JSON)."""
        options = received.json()
        check_fields(options, GENERATE_FIELDS, ("prompt",))
        check_image_options(options, editing=False)
        if refused := refuse_words(options["prompt"]):
            raise refused
        pictures = [self._draw(options, mark=f"{options['prompt'][:40]} #{i}", tint=i) for i in range(options.get("n", 1))]
        return self._answer(pictures, options, input_images=0)

    def edits(self, received: Received) -> Reply:
        """POST /images/edits (multipart)."""
        form = read_form(received.headers.get("content-type", ""), received.body)
        options = form_values(form.texts(), EDIT_FIELDS)
        check_fields(options, EDIT_FIELDS, ("prompt",))
        check_image_options(options, editing=True)
        sources = form.files("image", "image[]")
        known = {"image", "image[]", "mask"}
        if unknown := [p.name for p in form.parts if p.filename is not None and p.name not in known]:
            raise Refusal(f"Unknown parameter: '{unknown[0]}'.", param=unknown[0], code="unknown_parameter")
        self._check_sources(sources)
        masked = self._check_mask(form, sources[0])
        if refused := refuse_words(options["prompt"]):
            raise refused
        pictures = [self._paint(sources[0], masked, options, tint=i) for i in range(options.get("n", 1))]
        return self._answer(pictures, options, input_images=len(sources))

    def _check_sources(self, sources: Sequence[Part]) -> None:
        if not 1 <= len(sources) <= 16:
            raise Refusal("Between 1 and 16 images are needed.", param="image", code="invalid_value")
        for part in sources:
            if len(part.data) >= 50_000_000:
                raise Refusal("An image is too large.", param="image", code="image_too_large")
            _open(part, "image")

    def _check_mask(self, form: Form, source: Part) -> Any:
        masks = form.files("mask")
        if not masks:
            return None
        mask = _open(masks[0], "mask")
        wrong = (
            len(masks) != 1
            or mask.format != "PNG"
            or "A" not in mask.getbands()
            or mask.size != _open(source, "image").size
            or len(masks[0].data) >= 4_000_000
        )
        if wrong:
            raise Refusal("Invalid mask image.", type="image_generation_user_error", param="mask", code="invalid_image_file")
        return mask.getchannel("A").point(lambda a: 255 if a == 0 else 0)

    def _draw(self, options: dict[str, Any], *, mark: str, tint: int) -> bytes:
        if self.fixed is not None:
            return self.fixed
        width, height = (1024, 1024) if options.get("size", "auto") == "auto" else map(int, options["size"].split("x"))
        form = options.get("output_format", "png")
        data = image(width, height, form, alpha=options.get("background") == "transparent", tint=tint)
        return with_mark(data, mark) if form == "png" else data

    def _paint(self, source: Part, masked: Any, options: dict[str, Any], *, tint: int) -> bytes:
        from PIL import Image

        picture = _open(source, "image").convert("RGBA")
        colour = (200, tint * 40 % 256, 30, 0 if options.get("background") == "transparent" else 255)
        region = masked or Image.linear_gradient("L").resize(picture.size)
        picture.paste(colour, (0, 0), region)
        if (size := options.get("size", "auto")) != "auto":
            picture = picture.resize(tuple(map(int, size.split("x"))))
        form = options.get("output_format", "png")
        out = io.BytesIO()
        (picture.convert("RGB") if form == "jpeg" else picture).save(out, form.upper())
        return with_mark(out.getvalue(), "edited") if form == "png" else out.getvalue()

    def _answer(self, pictures: list[bytes], options: dict[str, Any], *, input_images: int) -> Reply:
        self.made += pictures
        words, drawn = 12, _TOKENS[options.get("quality", "auto")] * len(pictures)
        usage = {
            "input_tokens": words + 200 * input_images,
            "input_tokens_details": {"text_tokens": words, "image_tokens": 200 * input_images},
            "output_tokens": drawn,
            "total_tokens": words + 200 * input_images + drawn,
        }
        quality = options.get("quality", "auto")
        body = {
            "created": int(time.time()),
            "background": "transparent" if options.get("background") == "transparent" else "opaque",
            "output_format": options.get("output_format", "png"),
            "quality": "medium" if quality == "auto" else quality,
            "size": "1024x1024" if options.get("size", "auto") == "auto" else options["size"],
            "usage": usage,
            "data": [{"b64_json": base64.b64encode(p).decode()} for p in pictures],
        }
        return Reply.of_json(body)

    def responses(self, received: Received) -> Reply:
        """POST /responses with the image_generation tool."""
        asked = received.json()
        check_fields(asked, _CREATE_FIELDS, ("model", "input"))
        if asked["model"] not in _MAINLINE:
            raise Refusal(f"The requested model '{asked['model']}' does not exist.", param="model", code="model_not_found")
        before = asked.get("previous_response_id")
        if before is not None and before not in self.turns:
            raise Refusal(
                f"Previous response with id '{before}' not found.", param="previous_response_id", code="previous_response_not_found"
            )
        tools = asked.get("tools", [])
        if [t.get("type") for t in tools] != ["image_generation"]:
            raise Refusal("This fake only knows the image_generation tool.", param="tools", code="invalid_value")
        check_fields(tools[0], TOOL_FIELDS, ("type",), where="tools[0].")
        options = {"model": "gpt-image-2.6-sunburst", **tools[0]}
        check_image_options(options, editing=True)
        return Reply.of_json(self._turn(asked, options, before))

    def _turn(self, asked: dict[str, Any], options: dict[str, Any], before: str | None) -> dict[str, Any]:
        identity = "resp_" + uuid.uuid4().hex
        depth = self.turns[before]["depth"] + 1 if before else 0
        prompt = asked["input"] if isinstance(asked["input"], str) else _words_of(asked["input"])
        item = self._tool_call(options, prompt, depth)
        text = self.say_instead or "Here it is."
        message = {
            "type": "message",
            "id": "msg_" + uuid.uuid4().hex,
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": text, "annotations": []}],
        }
        self.turns[identity] = {"depth": depth, "prompt": prompt, "before": before, "options": options}
        return {
            "id": identity,
            "object": "response",
            "created_at": int(time.time()),
            "status": "completed",
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "metadata": {},
            "model": asked["model"],
            "output": [message] if self.say_instead else [item, message],
            "parallel_tool_calls": True,
            "previous_response_id": before,
            "temperature": 1.0,
            "tool_choice": asked.get("tool_choice", "auto"),
            "tools": asked["tools"],
            "top_p": 1.0,
            "usage": {
                "input_tokens": 300,
                "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
                "output_tokens": 40,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": 340,
            },
        }

    def _tool_call(self, options: dict[str, Any], prompt: str, depth: int) -> dict[str, Any]:
        call: dict[str, Any] = {"type": "image_generation_call", "id": "ig_" + uuid.uuid4().hex, "status": "completed"}
        if refused := refuse_words(prompt):
            error = {"code": refused.code, "message": refused.message, "type": refused.type, "param": None, **refused.more}
            return call | {"status": "failed", "result": None, "error": error}
        data = self._draw(options, mark=f"turn {depth}: {prompt[:40]}", tint=depth)
        self.made.append(data)
        return call | {
            "result": base64.b64encode(data).decode(),
            "action": "edit" if depth else "generate",
            "background": "opaque",
            "output_format": options.get("output_format", "png"),
            "quality": "medium",
            "size": options.get("size", "1024x1024"),
            "revised_prompt": f"Revised: {prompt}",
        }


def _words_of(messages: list[dict[str, Any]]) -> str:
    """Return the text of a list of input messages, having looked at their pictures."""
    words = []
    for message in messages:
        check_fields(message, {"role": ("user", "system", "developer"), "content": list}, ("role", "content"), where="input.")
        for part in message["content"]:
            if part.get("type") == "input_text":
                words.append(str(part["text"]))
            elif part.get("type") == "input_image" and str(part.get("image_url", "")).startswith("data:"):
                head, _, data = part["image_url"].partition(";base64,")
                _open(Part(name="image", data=base64.b64decode(data, validate=True), mime=head[5:]), "input")
            else:
                raise Refusal(f"Invalid value: {part.get('type')!r}.", param="input", code="invalid_value")
    return " ".join(words)


def _open(part: Part, param: str) -> Any:
    from PIL import Image, UnidentifiedImageError

    try:
        picture = Image.open(io.BytesIO(part.data))
        picture.load()
    except (UnidentifiedImageError, OSError, SyntaxError):
        picture = None
    if picture is None or picture.format not in _FORMATS or part.mime != f"image/{_FORMATS[picture.format]}":
        raise Refusal("Invalid image file or mode.", type="image_generation_user_error", param=param, code="invalid_image_file")
    return picture

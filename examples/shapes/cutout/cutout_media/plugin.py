"""A task without a prompt, and one that answers with text."""

from __future__ import annotations

import base64
from pathlib import Path

from anymedia import CapabilityMatrix, Context, Outcome, Transform, hookimpl, load_matrix
from anymedia.answers.media import ExtractedMedia, extract_media
from anymedia.errors import ContentRefused
from anymedia.http import no_media, post_json


@hookimpl
def capabilities() -> CapabilityMatrix:
    return load_matrix(Path(__file__).with_name("capabilities.toml"))


@hookimpl
async def transform(request: Transform, context: Context) -> Outcome:
    url = context.settings.get("base_url", "https://api.cutout.example") + f"/{request.task}"
    image = base64.b64encode(context.read(request.inputs["image"]).data).decode()
    headers = {"x-key": context.secret("api_key").reveal()}
    body = {"image": image, "format": request.output_format, **request.options}
    async with context.submission():
        answer = await post_json(context, url, body, headers=headers, by_code={"unsafe_image": ContentRefused})
        if context.operation.output == "text":
            if not answer.get("text"):
                raise no_media(context, answer, ExtractedMedia(), what="text")
            return Outcome(data=answer["text"])
        found = extract_media(answer, ["image"])
        if not found.items:
            raise no_media(context, answer, found, what="image")
    return Outcome(pieces=[item.to_piece() for item in found.items], warnings=found.warnings)

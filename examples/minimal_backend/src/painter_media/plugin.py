"""An anymedia backend for images from Painter."""

import base64
from pathlib import Path

from anymedia import CapabilityMatrix, Context, GenerateImage, Outcome, Piece, hookimpl, load_matrix
from anymedia.errors import ContentRefused
from anymedia.http import post_json


@hookimpl
def capabilities() -> CapabilityMatrix:
    return load_matrix(Path(__file__).with_name("capabilities.toml"))


@hookimpl
async def generate_image(request: GenerateImage, context: Context) -> Outcome:
    url = context.settings.get("base_url", "https://api.painter.example/v1") + "/images"
    headers = {"x-key": context.secret("api_key").reveal()}
    body = {"prompt": request.prompt, "size": request.size, "seed": request.seed}
    async with context.submission():
        answer = await post_json(context, url, body, headers=headers, by_code={"unsafe_prompt": ContentRefused})
    return Outcome(pieces=[Piece(data=base64.b64decode(answer["image"]))], request_id=answer["id"])

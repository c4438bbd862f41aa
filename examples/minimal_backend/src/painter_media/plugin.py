"""An anymedia backend for images from Painter."""

from pathlib import Path

from anymedia import CapabilityMatrix, Context, GenerateImage, Outcome, hookimpl, load_matrix
from anymedia.answers.media import extract_media
from anymedia.errors import ContentRefused
from anymedia.http import no_media, post_json


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
        found = extract_media(answer, ["image"])
        if not found.items:
            raise no_media(context, answer, found, what="image")
    return Outcome(pieces=[item.to_piece() for item in found.items], warnings=found.warnings, request_id=answer.get("id"))

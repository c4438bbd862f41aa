"""Two services of one provider, with a key, an address and a dialect each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from anymedia import CapabilityMatrix, Context, GenerateImage, Outcome, hookimpl, load_matrix
from anymedia.answers.media import extract_media
from anymedia.errors import ContentRefused
from anymedia.http import no_media, post_json

ADDRESSES = {"cloud": "https://cloud.twins.example", "studio": "https://studio.twins.example"}
CODES = {"unsafe_prompt": ContentRefused}


@hookimpl
def capabilities() -> CapabilityMatrix:
    return load_matrix(Path(__file__).with_name("capabilities.toml"))


@hookimpl
async def generate_image(request: GenerateImage, context: Context) -> Outcome:
    base = context.settings.get("base_url", ADDRESSES[context.service])
    key = context.secret("api_key").reveal()
    if context.service == "cloud":
        url, headers = f"{base}/v2/images", {"authorization": f"Bearer {key}"}
        body: dict[str, Any] = {"prompt": request.prompt, "seed": request.seed}
    else:
        url, headers = f"{base}/render", {"x-studio-key": key}
        body = {"text": request.prompt, "random_state": request.seed}
    async with context.submission():
        answer = await post_json(context, url, body, headers=headers, by_code=CODES)
        found = extract_media(answer, ["image", "output[].picture"])
        if not found.items:
            raise no_media(context, answer, found, what="image")
    return Outcome(pieces=[item.to_piece() for item in found.items], warnings=found.warnings)

"""A masked edit, sent as a form; the answer is the image itself, and a header has its seed."""

from __future__ import annotations

from pathlib import Path

from anymedia import CapabilityMatrix, Context, Inpaint, Outcome, Piece, hookimpl, load_matrix
from anymedia.answers.media import extract_media
from anymedia.errors import ContentRefused
from anymedia.http import no_media, post_bytes


@hookimpl
def capabilities() -> CapabilityMatrix:
    return load_matrix(Path(__file__).with_name("capabilities.toml"))


@hookimpl
async def inpaint(request: Inpaint, context: Context) -> Outcome:
    url = context.settings.get("base_url", "https://api.retouch.example") + "/inpaint"
    fields = {"prompt": request.prompt, "seed": request.seed, "output_format": request.output_format}
    # The core has converted the mask as the capability file says: white is what the service paints.
    files = {"image": context.read(request.source), "mask": context.read(request.mask)}
    headers = {"authorization": f"Bearer {context.secret('api_key').reveal()}", "accept": "image/*"}
    async with context.submission():
        answer = await post_bytes(context, url, fields, files=files, headers=headers, by_code={"content_moderation": ContentRefused})
        found = extract_media(answer.data)
        if not found.items:
            raise no_media(context, answer.data, found, what="image")
    seed = answer.headers.get("seed")
    piece = Piece(data=answer.data, mime=answer.mime or None, text=f"seed {seed}" if seed else None)
    return Outcome(pieces=[piece], request_id=answer.headers.get("x-request-id"))

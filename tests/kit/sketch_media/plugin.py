"""Images, edits by a mask, going on; over plain HTTP."""

import base64
from pathlib import Path

from anymedia import CapabilityMatrix, Context, ContinuationData, GenerateImage, Inpaint, Outcome, Piece, hookimpl, load_matrix
from anymedia.errors import ContentRefused
from anymedia.http import post_json


@hookimpl
def capabilities() -> CapabilityMatrix:
    return load_matrix(Path(__file__).with_name("capabilities.toml"))


@hookimpl
async def generate_image(request: GenerateImage, context: Context) -> Outcome:
    body = {"prompt": request.prompt, "quality": request.quality, "background": request.background, **request.extra_params}
    if request.continue_from is not None:
        body["after"] = request.continue_from.data["id"]
    return await _ask(context, body)


@hookimpl
async def inpaint(request: Inpaint, context: Context) -> Outcome:
    pictures = {"image": context.read(request.source).data, "mask": context.read(request.mask).data}
    return await _ask(context, {"prompt": request.prompt, **{k: base64.b64encode(v).decode() for k, v in pictures.items()}})


async def _ask(context: Context, body: dict[str, object]) -> Outcome:
    headers = {"x-key": context.secret("api_key").reveal()}
    async with context.submission():
        answer = await post_json(context, context.settings["base_url"], body, headers=headers, by_code={"unsafe_prompt": ContentRefused})
    piece = Piece(data=base64.b64decode(answer["image"]), continuation=ContinuationData(data={"id": answer["id"]}))
    return Outcome(pieces=[piece], request_id=answer["id"])

"""An edit of several images, sent as a form with files."""

from __future__ import annotations

from pathlib import Path

from anymedia import CapabilityMatrix, Context, EditWithReferences, Outcome, hookimpl, load_matrix
from anymedia.answers.media import extract_media
from anymedia.context import describe_references
from anymedia.errors import ContentRefused
from anymedia.http import no_media, post_form


@hookimpl
def capabilities() -> CapabilityMatrix:
    return load_matrix(Path(__file__).with_name("capabilities.toml"))


@hookimpl
async def edit_with_references(request: EditWithReferences, context: Context) -> Outcome:
    url = context.settings.get("base_url", "https://api.collage.example") + "/edits"
    prompt, images = describe_references(request, context)  # the service has no field for what each image is: the prompt says it
    fields = {"prompt": prompt, "strength": request.extra_params.get("strength"), "format": request.output_format}
    files = [("image[]", image) for image in images]
    headers = {"authorization": f"Bearer {context.secret('api_key').reveal()}"}
    async with context.submission():
        answer = await post_form(context, url, fields, files=files, headers=headers, by_code={"unsafe_prompt": ContentRefused})
        found = extract_media(answer, ["data[].b64"])
        if not found.items:
            raise no_media(context, answer, found, what="image")
    return Outcome(pieces=[item.to_piece() for item in found.items], warnings=found.warnings, request_id=answer.get("id"))

"""Which failures of Google's services are not charged, by its own pages; and pictures that are part of a thought only."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from wire.google_server import GoogleServer
from wire.media_bytes import image

from anymedia.errors import AuthenticationFailed, BackendUnavailable
from anymedia.requests import GenerateImage
from google_media import plugin, veo

pytestmark = pytest.mark.anyio
MODEL = "gemini-3-pro-image"
DATA = image(64, 64)


def picture(*, thought: bool, data: bytes = DATA, mime: str = "image/png") -> dict[str, Any]:
    return {"inlineData": {"mimeType": mime, "data": base64.b64encode(data).decode()}, **({"thought": True} if thought else {})}


async def draw(fake: GoogleServer, make_context: Any, *parts: dict[str, Any]) -> Any:
    content = {"role": "model", "parts": list(parts)}
    fake.fail("status", on="POST", status=200, json={"candidates": [{"content": content, "finishReason": "STOP"}]})
    return await plugin.generate_image(GenerateImage(prompt="a boat"), make_context(MODEL, "generate_image", store=False))


async def test_picture_in_a_thought_only_is_delivered_with_a_warning(fake: GoogleServer, make_context: Any) -> None:
    made = await draw(fake, make_context, {"text": "thinking", "thought": True}, picture(thought=True), {"text": "Here it is."})
    assert [piece.data for piece in made.pieces] == [DATA]
    assert [warning.code for warning in made.warnings] == ["media_in_thought"]
    assert made.pieces[0].text == "Here it is."


async def test_picture_in_a_thought_beside_a_final_one_is_left_out(fake: GoogleServer, make_context: Any) -> None:
    final = image(96, 64)
    made = await draw(fake, make_context, picture(thought=True), picture(thought=False, data=final))
    assert [piece.data for piece in made.pieces] == [final]


@pytest.mark.parametrize("mime", ["application/octet-stream", "image/jpeg", "binary"])
async def test_picture_of_another_claimed_type_is_what_its_bytes_show(fake: GoogleServer, make_context: Any, mime: str) -> None:
    made = await draw(fake, make_context, picture(thought=False, mime=mime))
    assert [(piece.data, piece.mime) for piece in made.pieces] == [(DATA, "image/png")]


@pytest.mark.parametrize(
    ("status", "name", "delivery"), [(500, "INTERNAL", "refused"), (503, "UNAVAILABLE", "refused"), (504, "DEADLINE_EXCEEDED", "unknown")]
)
@pytest.mark.parametrize("envelope", [True, False])
async def test_server_error_is_free_only_in_googles_own_envelope(
    fake: GoogleServer, make_context: Any, status: int, name: str, delivery: str, envelope: bool
) -> None:
    body = {"error": {"code": status, "status": name, "message": "The model is overloaded."}} if envelope else {"message": "overloaded"}
    fake.fail("status", on="POST", times=None, status=status, json=body)
    with pytest.raises(BackendUnavailable, match="overloaded") as caught:
        await plugin.generate_image(GenerateImage(prompt="a boat"), make_context(MODEL, "generate_image", store=False))
    assert caught.value.delivery == (delivery if envelope else "unknown")
    assert "overloaded" in caught.value.provider_message
    assert fake.submits() == 1


async def test_server_error_of_a_compatible_server_stays_unknown(fake: GoogleServer, make_context: Any) -> None:
    fake.fail("status", on="POST", times=None, status=503, json={"error": {"code": 503, "status": "UNAVAILABLE", "message": "busy"}})
    with pytest.raises(BackendUnavailable) as caught:
        context = make_context(MODEL, "generate_image", service="compatible", store=False)
        await plugin.generate_image(GenerateImage(prompt="a boat"), context)
    assert caught.value.delivery == "unknown"


async def test_failed_veo_operation_without_capacity_is_reported_and_not_acted_on(fake: GoogleServer, make_context: Any) -> None:
    context = make_context("veo-3.1-generate-001", "generate_video", service="agent_platform", project="p", location="l")
    error = veo._failed({"code": 8, "message": "The service is currently experiencing high load."}, context)
    assert (error.charged, error.delivery) == ("unknown", None)
    assert "report that this failure is not charged" in error.fix
    assert error.provider_message == "The service is currently experiencing high load."


async def test_key_with_a_typographic_quote_is_not_sent(fake: GoogleServer, make_context: Any) -> None:
    with pytest.raises(AuthenticationFailed, match="nothing was sent") as caught:
        context = make_context(MODEL, "generate_image", secrets={"api_key": "\u201cAIza0123456789\u201d"})
        await plugin.generate_image(GenerateImage(prompt="a boat"), context)
    assert (caught.value.delivery, caught.value.charged, fake.received) == ("not_sent", "no", [])

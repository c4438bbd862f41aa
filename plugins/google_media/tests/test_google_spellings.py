"""Media of Google's answers in any spelling of base64, streamed, in thoughts, and beside nulls."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire.google_server import LOCATION, PROJECT, GoogleServer
from wire.media_bytes import image

from anymedia.requests import GenerateAudio, GenerateImage
from anymedia.results import Job, Succeeded
from google_media import plugin
from google_media._respelling import respelled

pytestmark = pytest.mark.anyio
DATA = image(64, 64)
PLAIN = base64.b64encode(DATA).decode()
SPELLINGS = {
    "usual": PLAIN,
    "line breaks": "\n".join(PLAIN[i : i + 76] for i in range(0, len(PLAIN), 76)),
    "no padding": PLAIN.rstrip("="),
    "URL-safe": PLAIN.replace("+", "-").replace("/", "_"),
    "data URL": f"data:image/png;base64,{PLAIN}",
}
PLACE = {"service": "agent_platform", "project": PROJECT, "location": LOCATION}
MODEL = "gemini-3-pro-image"


@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_picture_of_generate_content_is_decoded_in_any_spelling(fake: GoogleServer, make_context: Any, spelling: str) -> None:
    parts = [None, {"text": "Here."}, {"inlineData": {"mimeType": "image/png", "data": SPELLINGS[spelling]}, "thoughtSignature": "c2ln"}]
    candidates = [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}, None]
    fake.fail("status", on="POST", status=200, json={"candidates": candidates, "usageMetadata": {"totalTokenCount": 7}, "responseId": "r"})
    made = await plugin.generate_image(GenerateImage(prompt="a boat"), make_context(MODEL, "generate_image", store=False))
    assert [(piece.data, piece.mime, piece.text) for piece in made.pieces] == [(DATA, "image/png", "Here.")]
    assert made.pieces[0].continuation.data["chat"][-1]["answer"][-1] == {"file": None, "signature": "c2ln"}
    assert (made.usage, made.request_id) == ({"total_token_count": 7}, "r")


async def test_streamed_answer_is_one_answer(fake: GoogleServer, make_context: Any) -> None:
    samples = [bytes([0xFF, 0xFB, 1, 2]) * 300, b"\0\1" * 500]
    chunks = [{"inlineData": {"mimeType": "audio/L16;rate=24000", "data": base64.b64encode(part).decode()}} for part in samples]
    answers: list[Any] = [{"candidates": [{"content": {"parts": [chunk]}}]} for chunk in chunks]
    fake.fail("status", on="POST", status=200, json=[*answers, {"candidates": [{"finishReason": "STOP"}], "responseId": "r"}])
    asked = GenerateAudio(prompt="hello", output_format="pcm")
    made = await plugin.generate_audio(asked, make_context("gemini-3.8-flash-tts", "generate_audio"))
    assert made.pieces[0].data == b"".join(samples)
    assert made.request_id == "r"


async def test_error_object_in_an_answer_keeps_the_providers_words(fake: GoogleServer, make_context: Any) -> None:
    fake.fail(
        "status", on="POST", status=200, json={"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}
    )
    with pytest.raises(Exception, match="overloaded") as caught:
        await plugin.generate_image(GenerateImage(prompt="a boat"), make_context(MODEL, "generate_image", store=False))
    assert caught.value.provider_message == "The model is overloaded."  # type: ignore[attr-defined]


@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_imagen_and_veo_are_decoded_in_any_spelling(fake: GoogleServer, make_context: Any, spelling: str) -> None:
    fake.fail(
        "status", on="POST", status=200, json={"predictions": [None, {"mimeType": "image/png", "bytesBase64Encoded": SPELLINGS[spelling]}]}
    )
    made = await plugin.generate_image(GenerateImage(prompt="a boat"), make_context("imagen-4.0-generate-001", "generate_image", **PLACE))
    assert [piece.data for piece in made.pieces] == [DATA]
    response = {"videos": [None, {"mimeType": "video/mp4", "bytesBase64Encoded": SPELLINGS[spelling]}]}
    fake.fail("status", on="POST", status=200, json={"name": "operations/o", "done": True, "response": response})
    job = Job(id="projects/p/locations/l/publishers/google/models/veo-3.1-generate-001/operations/o", data={"kind": "veo"})
    state = await plugin.check_job(job, make_context("veo-3.1-generate-001", "generate_video", **PLACE))
    assert isinstance(state, Succeeded)
    assert [piece.data for piece in state.outcome.pieces] == [DATA]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=9,
)


@given(_JSON)
def test_answer_without_odd_media_loses_only_nulls_in_lists(answer: Any) -> None:
    def without(node: Any) -> Any:
        if isinstance(node, list):
            return [without(item) for item in node if item is not None]
        return {name: without(value) for name, value in node.items()} if isinstance(node, dict) else node

    assert json.loads(respelled(json.dumps(answer).encode())) == without(answer)

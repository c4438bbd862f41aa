"""The fake of Google's services refuses what the services refuse: else what is tested against it would prove nothing."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from wire.google_server import KEY, LOCATION, PROJECT, GoogleServer
from wire.media_bytes import image

GEMINI = "/v1/models/gemini-nano-banana-2.1:generateContent"
PLATFORM = f"/v1beta1/projects/{PROJECT}/locations/{LOCATION}/publishers/google/models"
EDIT, VEO = f"{PLATFORM}/imagen-3.0-capability-001:predict", f"{PLATFORM}/veo-3.1-generate-001:predictLongRunning"
INTERACTIONS = "/v1/interactions"
PICTURE = {"bytesBase64Encoded": base64.b64encode(image(8, 8)).decode(), "mimeType": "image/png"}
RAW = {"referenceType": "REFERENCE_TYPE_RAW", "referenceId": 1, "referenceImage": PICTURE}


def asked(**config: Any) -> dict[str, Any]:
    contents = [{"role": "user", "parts": [{"text": "a fox"}]}]
    return {"contents": contents, "generationConfig": {"responseModalities": ["IMAGE"], **config}}


def edit(*references: dict[str, Any], **parameters: Any) -> dict[str, Any]:
    given = {"editMode": "EDIT_MODE_DEFAULT", **parameters}
    return {"instances": [{"prompt": "a lake", "referenceImages": list(references or [RAW])}], "parameters": given}


def mask(**more: Any) -> dict[str, Any]:
    return {"referenceType": "REFERENCE_TYPE_MASK", "referenceId": 2, "maskImageConfig": {"maskMode": "MASK_MODE_FOREGROUND", **more}}


def film(**parameters: Any) -> dict[str, Any]:
    return {"instances": [{"prompt": "waves"}], "parameters": parameters}


def interaction(**more: Any) -> dict[str, Any]:
    content = [{"type": "text", "text": "a fox"}]
    return {"model": "gemini-nano-banana-2.1", "input": [{"type": "user_input", "content": content}], **more}


@pytest.fixture(scope="module")
def fake() -> Iterator[GoogleServer]:
    with GoogleServer() as server:
        yield server


def post(fake: GoogleServer, path: str, body: dict[str, Any], **headers: str) -> tuple[int, dict[str, Any]]:
    given = {"content-type": "application/json", "x-goog-api-key": KEY, **headers}
    request = urllib.request.Request(fake.url + path, json.dumps(body).encode(), given)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (GEMINI, asked(seed=42, imageConfig={"aspectRatio": "16:9"})),
        (GEMINI.replace("v1", "v1beta", 1), asked()),
        (f"{PLATFORM}/gemini-nano-banana-2.1:generateContent", asked(imageConfig={"imageOutputOptions": {"mimeType": "image/jpeg"}})),
        ("/v1beta1/publishers/google/models/gemini-nano-banana-2.1:generateContent", asked()),
        (EDIT, edit(seed=42, guidanceScale=7)),
        (EDIT, edit(RAW, mask(), editMode="EDIT_MODE_INPAINT_INSERTION")),
        (VEO, film(durationSeconds=4, resolution="1080p")),
        (INTERACTIONS, interaction(response_format={"type": "image", "aspect_ratio": "1:1"})),
    ],
)
def test_valid_request_is_accepted(fake: GoogleServer, path: str, body: dict[str, Any]) -> None:
    assert post(fake, path, body)[0] == 200


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        (GEMINI, asked(negativePrompt="blurry"), "negativePrompt"),
        (GEMINI, asked(seed="42"), "seed"),
        (GEMINI, asked(imageConfig={"aspectRatio": "7:5"}), "aspectRatio"),
        (GEMINI, asked(imageConfig={"imageOutputOptions": {"mimeType": "image/jpeg"}}), "imageOutputOptions"),
        (f"{PLATFORM}/gemini-nano-banana-2.1:generateContent", asked(imageConfig={"personGeneration": "DONT_ALLOW"}), "personGeneration"),
        (f"{PLATFORM}/gemini-nano-banana-2.1:generateContent", asked() | {"store": False}, "store"),
        (EDIT, edit(negative_prompt="blurry"), "negative_prompt"),
        (EDIT, edit(guidanceScale="strong"), "guidanceScale"),
        (EDIT, edit(seed=42, addWatermark=True), "watermark"),
        (EDIT, edit(editMode="OUTPAINT"), "editMode"),
        (EDIT, edit(RAW, mask()), "edit mode"),
        (EDIT, edit(RAW, editMode="EDIT_MODE_OUTPAINT"), "edit mode"),
        (EDIT, edit(mask(), editMode="EDIT_MODE_OUTPAINT"), "raw picture"),
        (EDIT, edit(RAW, mask(maskMode="MASK_MODE_AUTO"), editMode="EDIT_MODE_OUTPAINT"), "maskMode"),
        (EDIT, edit(RAW, mask(maskClasses=[3]), editMode="EDIT_MODE_OUTPAINT"), "MASK_MODE_SEMANTIC"),
        (EDIT, edit(RAW | {"referenceImage": {}}), "referenceImage"),
        (EDIT, edit(RAW | {"referenceImage": PICTURE | {"mimeType": "image/jpeg"}}), "is not image/jpeg"),
        (VEO, film(durationSeconds=5), "durationSeconds"),
        (VEO, film(durationSeconds="4"), "durationSeconds"),
        (VEO, film(resolution="4K"), "resolution"),
        (INTERACTIONS, interaction(imageConfig={}), "imageConfig"),
        (INTERACTIONS, interaction(generation_config={"seed": 1.5}), "seed"),
        (INTERACTIONS, interaction(generation_config={"thinking_level": "MINIMAL"}), "thinking_level"),
        (INTERACTIONS, interaction(response_format={"type": "image", "image_size": "3K"}), "image_size"),
        (INTERACTIONS, interaction(background=True), "background"),
    ],
)
def test_invalid_request_is_refused_and_named(fake: GoogleServer, path: str, body: dict[str, Any], said: str) -> None:
    before = len(fake.content.turns), len(fake.predictions.calls), len(fake.interactions.made)
    status, answer = post(fake, path, body)
    assert status == 400
    shape = {"code": "invalid_request"} if path == INTERACTIONS else {"code": 400, "status": "INVALID_ARGUMENT", "details": []}
    assert answer["error"] == shape | {"message": answer["error"]["message"]}
    assert said in answer["error"]["message"]
    assert before == (len(fake.content.turns), len(fake.predictions.calls), len(fake.interactions.made))


@pytest.mark.parametrize(
    "path",
    [
        "/v1/publishers/google/models/gemini-nano-banana-2.1:generateContent",
        "/v1beta1/models/gemini-nano-banana-2.1:generateContent",
        "/v1/models/imagen-3.0-capability-001:predict",
        "/v1/models/veo-3.1-generate-001:predictLongRunning",
        "/v2/interactions",
    ],
)
def test_path_of_the_other_service_is_not_there(fake: GoogleServer, path: str) -> None:
    assert post(fake, path, asked())[0] == 404


def test_each_service_has_its_own_credentials(fake: GoogleServer) -> None:
    bearer = {"x-goog-api-key": "", "authorization": f"Bearer {fake.token}"}
    status, answer = post(fake, GEMINI, asked(), **bearer)
    assert (status, answer["error"]["details"][0]["reason"]) == (400, "API_KEY_INVALID")
    assert post(fake, f"{PLATFORM}/gemini-nano-banana-2.1:generateContent", asked(), **bearer)[0] == 200
    assert post(fake, f"{GEMINI}?key={KEY}", asked(), **{"x-goog-api-key": ""})[0] == 400

"""Answers in any spelling and place are delivered; the service's words arrive; what is billed is known by its own rules."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
from wire.media_bytes import image
from wire.openrouter_server import OpenRouterServer

from anymedia.errors import BackendUnavailable, MediaError
from anymedia.router import Router

SPELLINGS: dict[str, Callable[[bytes], str]] = {
    "plain": lambda data: base64.b64encode(data).decode(),
    "data URL": lambda data: f"data:image/png;base64,{base64.b64encode(data).decode()}",
    "lines": lambda data: base64.encodebytes(data).decode(),
    "no padding": lambda data: base64.b64encode(data).decode().rstrip("="),
    "URL-safe": lambda data: base64.urlsafe_b64encode(data).decode(),
}


@pytest.mark.anyio
@pytest.mark.parametrize("spelling", sorted(SPELLINGS))
async def test_image_beside_a_null_item_is_delivered(fresh: Router, fake: OpenRouterServer, tmp_path: Any, spelling: str) -> None:
    data = image(64, 64)
    body = {"data": [None, {"b64_json": SPELLINGS[spelling](data)}], "usage": {"cost": 0.05}}
    fake.fail("status", on="POST", status=200, json=body)
    result = await fresh.generate_image(prompt="a boat", backend="openrouter", output=f"{tmp_path}/")
    assert result.path.read_bytes() == data
    assert "item_missing" in [warning.code for warning in result.warnings]
    assert result.cost.actual_usd == 0.05


@pytest.mark.anyio
@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 429, 500, 502, 503])
@pytest.mark.parametrize("envelope", ["error", "text", "detail"])
async def test_any_error_keeps_the_words_of_the_service(
    fresh: Router, fake: OpenRouterServer, tmp_path: Any, status: int, envelope: str
) -> None:
    words = "WHY123 the reason"
    body = {"error": {"error": {"code": status, "message": words}}, "text": {"error": words}, "detail": {"detail": words}}[envelope]
    fake.fail("status", on="POST", times=None, status=status, json=body)
    with pytest.raises(MediaError) as caught:
        await fresh.generate_image(prompt="a boat", backend="openrouter", output=f"{tmp_path}/")
    assert caught.value.provider_message == words
    assert words in caught.value.message
    assert fake.count("POST") == 1


@pytest.mark.anyio
async def test_failed_image_generation_by_another_server_stays_unknown(fresh: Router, fake: OpenRouterServer, tmp_path: Any) -> None:
    fake.fail("status", on="POST", times=None, status=502, json={"message": "bad gateway"})
    with pytest.raises(MediaError) as caught:
        await fresh.generate_image(prompt="a boat", backend="openrouter", output=f"{tmp_path}/")
    assert not isinstance(caught.value, BackendUnavailable)
    assert caught.value.charged == "unknown"

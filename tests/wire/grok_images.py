"""The Image service of the Grok fake: it refuses what the provider is documented to refuse, and makes real JPEGs."""

from __future__ import annotations

import io
from typing import Any

from xai_sdk.proto import image_pb2, usage_pb2

from .grok_media import Depot, Refusal
from .media_bytes import image

__all__ = ["Images", "check_prompt", "usage"]

#: Model -> (most pictures to edit, whether it has a quality).
MODELS = {"grok-imagine-image-2.0": (5, True), "grok-imagine-image": (3, False)}
_PIXELS = {0: 1024 * 1024, 1: 1024 * 1024, 2: 2048 * 2048}
_TICKS = 10_000_000_000


def usage(usd: float) -> Any:
    """Return a usage message that names a cost."""
    return usage_pb2.SamplingUsage(cost_in_usd_ticks=round(usd * _TICKS))


def check_prompt(prompt: str) -> None:
    """Refuse a prompt with the word FORBIDDEN, and an empty one."""
    if not prompt:
        raise Refusal("INVALID_ARGUMENT", "Prompt cannot be empty.")
    if "FORBIDDEN" in prompt:
        raise Refusal("INVALID_ARGUMENT", "Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_DATA")


def _ratio(number: int) -> float:
    name: str = image_pb2.ImageAspectRatio.Name(number).removeprefix("IMG_ASPECT_RATIO_")
    if name in {"INVALID", "AUTO"}:
        return 1.0
    words = {"9_19_5": 9 / 19.5, "19_5_9": 19.5 / 9}
    if name in words:
        return words[name]
    width, height = name.split("_")
    return int(width) / int(height)


class Images:
    """Answers ``GenerateImage``. A prompt with BLOCKED is made and held back; with HALF, every second image is."""

    def __init__(self, depot: Depot) -> None:
        self.depot = depot
        self.made: list[bytes] = []
        self.short_by = 0
        self.as_base64 = False
        #: Whether answers say that moderation was respected; xAI's own test server never sets it.
        self.moderated = True
        self.oversize = 0  # characters of base64 in place of an image

    def GenerateImage(self, request: Any, context: Any) -> Any:
        if request.model not in MODELS:
            raise Refusal("NOT_FOUND", f"The model {request.model} does not exist or your team does not have access to it.")
        check_prompt(request.prompt)
        most, has_quality = MODELS[request.model]
        sources = self._sources(request, most)
        if request.HasField("quality") and not has_quality:
            raise Refusal("INVALID_ARGUMENT", "quality is not supported by this model.")
        if request.HasField("quality") and request.quality not in {1, 2}:
            raise Refusal("INVALID_ARGUMENT", "quality must be low or medium.")
        if not 1 <= request.n <= 10:
            raise Refusal("INVALID_ARGUMENT", f"n must be between 1 and 10, got {request.n}.")
        size = self._size(request, sources)
        answer = image_pb2.ImageResponse(model=request.model, usage=usage(0.05 * request.n))
        for index in range(request.n - self.short_by):
            answer.images.append(self._one(request, size, index))
        return answer

    def _sources(self, request: Any, most: int) -> list[bytes]:
        if request.HasField("image") and request.images:
            raise Refusal("INVALID_ARGUMENT", "Only one of image and images can be set.")
        contents = [request.image] if request.HasField("image") else list(request.images)
        if len(contents) > most:
            raise Refusal("INVALID_ARGUMENT", f"At most {most} input images are supported.")
        return [self.depot.image(content) for content in contents]

    def _size(self, request: Any, sources: list[bytes]) -> tuple[int, int]:
        from PIL import Image

        ratio = _ratio(request.aspect_ratio)
        if len(sources) == 1:
            with Image.open(io.BytesIO(sources[0])) as picture:
                ratio = picture.width / picture.height
        height = (_PIXELS[request.resolution] / ratio) ** 0.5
        return round(height * ratio / 16) * 16, round(height / 16) * 16

    def _one(self, request: Any, size: tuple[int, int], index: int) -> Any:
        if "BLOCKED" in request.prompt or ("HALF" in request.prompt and index % 2):
            return image_pb2.GeneratedImage(respect_moderation=False, url="")
        if self.oversize:
            return image_pb2.GeneratedImage(respect_moderation=True, base64="A" * self.oversize)
        data = image(*size, "jpeg", tint=len(self.made))
        self.made.append(data)
        if self.as_base64:
            import base64

            return image_pb2.GeneratedImage(
                respect_moderation=self.moderated, base64="data:image/jpeg;base64," + base64.b64encode(data).decode()
            )
        return image_pb2.GeneratedImage(respect_moderation=self.moderated, url=self.depot.publish(data, "jpg"))

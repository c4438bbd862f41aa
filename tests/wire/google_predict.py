"""The predict methods of Agent Platform: Imagen's pictures (:predict) and Veo's operations (:predictLongRunning)."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import attrs
from wire.google_values import Refused, bytes_of, only, seconds_of, shape_of, unbase64, want
from wire.http_server import Received, Reply
from wire.media_bytes import image, video

__all__ = ["Predicted", "Predictions"]

_REFERENCES = {
    "REFERENCE_TYPE_RAW": None,
    "REFERENCE_TYPE_MASK": "maskImageConfig",
    "REFERENCE_TYPE_STYLE": "styleImageConfig",
    "REFERENCE_TYPE_CONTROL": "controlImageConfig",
    "REFERENCE_TYPE_SUBJECT": "subjectImageConfig",
}
#: Protobuf's JSON takes both spellings of a field; google-genai 3.4 sends these as they are written here.
_CONFIGS = {
    "maskImageConfig": ("maskMode", "maskClasses", "dilation"),
    "styleImageConfig": ("style_description",),
    "controlImageConfig": ("controlType", "computeControl"),
    "subjectImageConfig": ("subject_type", "subject_description"),
}
_IMAGEN_PARAMETERS = (
    "sampleCount",
    "negativePrompt",
    "guidanceScale",
    "seed",
    "aspectRatio",
    "sampleImageSize",
    "outputOptions",
    "editMode",
    "editConfig",
    "personGeneration",
    "addWatermark",
    "includeRaiReason",
    "enhancePrompt",
    "storageUri",
)
_VEO_PARAMETERS = (
    "sampleCount",
    "storageUri",
    "durationSeconds",
    "seed",
    "aspectRatio",
    "resolution",
    "personGeneration",
    "negativePrompt",
    "enhancePrompt",
    "generateAudio",
)


@attrs.define(kw_only=True, eq=False)
class Predicted:
    """One call: the model, its instance and its parameters; for Veo the operation's name and looks."""

    model: str
    instance: Mapping[str, Any]
    parameters: Mapping[str, Any]
    name: str = ""
    looks: int = 0
    videos: tuple[bytes, ...] = ()

    def references(self, kind: str) -> list[Mapping[str, Any]]:
        """Return the reference images of a kind: ``raw``, ``mask``, ``style``, ``control``, ``subject``."""
        return [r for r in self.instance.get("referenceImages", ()) if r["referenceType"] == f"REFERENCE_TYPE_{kind.upper()}"]

    def picture(self, kind: str) -> bytes:
        """Return the bytes of the first reference of a kind."""
        return unbase64(self.references(kind)[0]["referenceImage"]["bytesBase64Encoded"])


@attrs.define(kw_only=True, eq=False)
class Predictions:
    """What was asked of the predict methods. ``looks``: how often an operation is looked at before it is done.

    ``next_ends``: ``done``, ``filtered``, ``partly`` (the first of several kept back), ``error``.
    """

    looks: int = 1
    imagen: tuple[str, ...] = ("imagen-3.0-capability-001", "imagen-4.0-generate-001")
    veo: tuple[str, ...] = ("veo-3.1-generate-001", "veo-3.1-fast-generate-001", "veo-3.1-lite-generate-001")
    calls: list[Predicted] = attrs.field(factory=list)
    next_ends: list[str] = attrs.field(factory=list)
    ends: dict[str, str] = attrs.field(factory=dict)
    stored: dict[str, bytes] = attrs.field(factory=dict)

    def _read(self, received: Received, model: str, known: tuple[str, ...], parameters: tuple[str, ...]) -> Predicted:
        if model not in known:
            raise Refused(
                f"Publisher Model `publishers/google/models/{model}` was not found or your project does not have access to it.", 404
            )
        body = received.json()
        only(body, ("instances", "parameters"), "request")
        want(len(body.get("instances", ())) == 1, "just one instance is taken")
        found = Predicted(model=model, instance=body["instances"][0], parameters=body.get("parameters", {}))
        only(found.parameters, parameters, "parameters")
        want(found.instance.get("prompt"), "prompt is required")
        want(1 <= found.parameters.get("sampleCount", 1) <= 4, "sampleCount must be 1 to 4")
        return found

    def predict(self, received: Received, model: str) -> Reply:
        """Make pictures."""
        found = self._read(received, model, self.imagen, _IMAGEN_PARAMETERS)
        only(found.instance, ("prompt", "referenceImages"), "instances")
        self._check_references(found)
        self.calls.append(found)
        end = self.next_ends.pop(0) if self.next_ends else "done"
        if end == "filtered":
            return Reply.of_json({"predictions": [{"raiFilteredReason": "Blocked by Responsible AI practices. Support codes: 39322892"}]})
        form = found.parameters.get("outputOptions", {}).get("mimeType", "image/png").removeprefix("image/")
        width, height = shape_of(found.parameters.get("aspectRatio"), found.parameters.get("sampleImageSize"))
        made: list[Mapping[str, Any]] = []
        for i in range(found.parameters.get("sampleCount", 1)):
            data = image(width, height, form, tint=len(self.calls) * 4 + i)
            made.append({"mimeType": f"image/{form}", "bytesBase64Encoded": base64.b64encode(data).decode()})
        if end == "partly":
            made[0] = {"raiFilteredReason": "Blocked by Responsible AI practices."}
        return Reply.of_json({"predictions": made})

    def _check_references(self, found: Predicted) -> None:
        given = found.instance.get("referenceImages", [])
        if "capability" in found.model:
            want(given, "referenceImages are required by this model")
        ids = [r.get("referenceId") for r in given]
        want(len(set(ids)) == len(ids) and None not in ids, "each reference needs an id of its own")
        for reference in given:
            kind = reference.get("referenceType")
            want(kind in _REFERENCES, f"unknown referenceType {kind!r}")
            config = _REFERENCES[kind]
            only(reference, ("referenceType", "referenceId", "referenceImage", *([config] if config else [])), "referenceImages")
            if config:
                only(reference.get(config, {}), _CONFIGS[config], config)
            picture = reference.get("referenceImage")
            own_mask = kind == "REFERENCE_TYPE_MASK" and reference["maskImageConfig"]["maskMode"] != "MASK_MODE_USER_PROVIDED"
            if not own_mask:
                want(picture, "referenceImage is required")
                bytes_of(picture.get("bytesBase64Encoded"), picture.get("mimeType"), "referenceImage")
        if found.references("mask"):
            want(found.references("raw"), "a mask needs the raw picture it belongs to")
            classes = found.references("mask")[0]["maskImageConfig"].get("maskClasses", [])
            want(len(classes) <= 5, "at most 5 segmentation classes")

    def start(self, received: Received, model: str, place: str) -> Reply:
        """Start a video."""
        found = self._read(received, model, self.veo, _VEO_PARAMETERS)
        only(found.instance, ("prompt", "image", "video", "lastFrame", "referenceImages"), "instances")
        for name in ("image", "video", "lastFrame"):
            self._check_media(found.instance.get(name), name)
        for reference in found.instance.get("referenceImages", ()):
            want(reference.get("referenceType") == "ASSET", "only ASSET references are supported")
            self._check_media(reference.get("image"), "referenceImages")
        want(found.parameters.get("durationSeconds", 8) in {4, 6, 8}, "durationSeconds must be 4, 6 or 8")
        want(found.parameters.get("resolution", "720p") in {"720p", "1080p", "4k"}, "resolution is not supported")
        found.name = f"{place}/publishers/google/models/{model}/operations/{len(self.calls) + 1:08d}"
        self.calls.append(found)
        self.ends[found.name] = self.next_ends.pop(0) if self.next_ends else "done"
        return Reply.of_json({"name": found.name})

    def _check_media(self, media: Any, where: str) -> None:
        if media is None:
            return
        if "gcsUri" in media:
            want(media["gcsUri"] in self.stored, f"{where}: {media['gcsUri']} is not there")
            return
        bytes_of(media.get("bytesBase64Encoded"), media.get("mimeType"), where)

    def look(self, received: Received) -> Reply:
        """Answer a look at an operation."""
        name = received.json()["operationName"]
        found = next((c for c in self.calls if c.name == name), None)
        if found is None:
            raise Refused(f"Operation {name} was not found", 404)
        found.looks += 1
        if found.looks <= self.looks:
            return Reply.of_json({"name": name, "metadata": {"progressPercentage": 40}})
        end = self.ends[name]
        if end == "error":
            said = "The prompt could not be submitted. It contains words that violate our usage guidelines."
            return Reply.of_json({"name": name, "done": True, "error": {"code": 3, "message": said}})
        response: dict[str, Any] = {"@type": "type.googleapis.com/cloud.ai.large_models.vision.GenerateVideoResponse"}
        if end == "filtered":
            response |= {"raiMediaFilteredCount": 1, "raiMediaFilteredReasons": ["Veo found the sound unsafe. Support codes: 15236754"]}
        else:
            response["videos"] = self._made(found)
        return Reply.of_json({"name": name, "done": True, "response": response})

    def _made(self, found: Predicted) -> list[Mapping[str, Any]]:
        seconds = float(found.parameters.get("durationSeconds", 8))
        if (source := found.instance.get("video")) is not None:
            data = self.stored[source["gcsUri"]] if "gcsUri" in source else unbase64(source["bytesBase64Encoded"])
            seconds = seconds_of(data) + 7
        size = (64, 112) if found.parameters.get("aspectRatio") == "9:16" else (112, 64)
        count = found.parameters.get("sampleCount", 1)
        found.videos = tuple(video(*size, seconds, tint=len(self.calls) * 4 + i) for i in range(count))
        place = found.parameters.get("storageUri")
        if not place:
            return [{"bytesBase64Encoded": base64.b64encode(v).decode(), "mimeType": "video/mp4"} for v in found.videos]
        names = [f"{place.rstrip('/')}/{found.name.rsplit('/', 1)[-1]}/sample_{i}.mp4" for i in range(count)]
        self.stored |= dict(zip(names, found.videos, strict=True))
        return [{"gcsUri": name, "mimeType": "video/mp4"} for name in names]

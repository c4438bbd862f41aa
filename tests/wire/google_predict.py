"""The predict methods of Agent Platform: Imagen's pictures (:predict) and Veo's operations (:predictLongRunning)."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import attrs
from wire.google_values import Refused, bytes_of, fit, only, seconds_of, shape_of, unbase64, want
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
_PICTURE = {"bytesBase64Encoded": str, "mimeType": str}
#: The fields are written as google-genai 3.4 sends them: it hands on two of the four configurations without renaming.
_CONFIGS: Mapping[str, Mapping[str, Any]] = {
    "maskImageConfig": {
        "maskMode": tuple(f"MASK_MODE_{w}" for w in ("DEFAULT", "USER_PROVIDED", "BACKGROUND", "FOREGROUND", "SEMANTIC")),
        "maskClasses": [int],
        "dilation": float,
    },
    "styleImageConfig": {"style_description": str},
    "controlImageConfig": {
        "controlType": tuple(f"CONTROL_TYPE_{w}" for w in ("DEFAULT", "CANNY", "SCRIBBLE", "FACE_MESH")),
        "computeControl": bool,
    },
    "subjectImageConfig": {
        "subject_type": tuple(f"SUBJECT_TYPE_{w}" for w in ("DEFAULT", "PERSON", "ANIMAL", "PRODUCT")),
        "subject_description": str,
    },
}
#: Edit modes that are about a masked region.
_MASKED = tuple(f"EDIT_MODE_{w}" for w in ("INPAINT_REMOVAL", "INPAINT_INSERTION", "OUTPAINT", "BGSWAP"))
_IMAGEN_PARAMETERS: Mapping[str, Any] = {
    "sampleCount": int,
    "negativePrompt": str,
    "guidanceScale": float,
    "seed": int,
    "aspectRatio": ("1:1", "3:4", "4:3", "9:16", "16:9"),
    "sampleImageSize": ("1K", "2K"),
    "outputOptions": {"mimeType": ("image/png", "image/jpeg"), "compressionQuality": int},
    "editMode": ("EDIT_MODE_DEFAULT", *_MASKED, "EDIT_MODE_CONTROLLED_EDITING", "EDIT_MODE_STYLE", "EDIT_MODE_PRODUCT_IMAGE"),
    "editConfig": {"baseSteps": int},
    "personGeneration": ("DONT_ALLOW", "ALLOW_ADULT", "ALLOW_ALL"),
    "addWatermark": bool,
    "includeRaiReason": bool,
    "includeSafetyAttributes": bool,
    "safetySetting": str,
    "language": str,
    "enhancePrompt": bool,
    "storageUri": str,
}
_VEO_PARAMETERS: Mapping[str, Any] = {
    "sampleCount": int,
    "storageUri": str,
    "durationSeconds": int,
    "seed": int,
    "aspectRatio": ("16:9", "9:16"),
    "resolution": ("720p", "1080p", "4k"),
    "personGeneration": ("dont_allow", "allow_adult", "allow_all"),
    "negativePrompt": str,
    "enhancePrompt": bool,
    "generateAudio": bool,
}
_MEDIA = _PICTURE | {"gcsUri": str}
_VEO_INSTANCE: Mapping[str, Any] = {
    "prompt": str,
    "image": _MEDIA,
    "video": _MEDIA,
    "lastFrame": _MEDIA,
    "referenceImages": [{"image": _MEDIA, "referenceType": ("ASSET",)}],
}


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

    def _read(self, received: Received, model: str, known: tuple[str, ...], parameters: Mapping[str, Any]) -> Predicted:
        if model not in known:
            raise Refused(
                f"Publisher Model `publishers/google/models/{model}` was not found or your project does not have access to it.", 404
            )
        body = received.json()
        only(body, ("instances", "parameters", "labels"), "request")
        want(len(body.get("instances", ())) == 1, "just one instance is taken")
        found = Predicted(model=model, instance=body["instances"][0], parameters=body.get("parameters", {}))
        fit(found.parameters, parameters, "parameters")
        want(found.instance.get("prompt"), "prompt is required")
        want(1 <= found.parameters.get("sampleCount", 1) <= 4, "sampleCount must be 1 to 4")
        return found

    def predict(self, received: Received, model: str) -> Reply:
        """Make pictures."""
        found = self._read(received, model, self.imagen, _IMAGEN_PARAMETERS)
        only(found.instance, ("prompt", "referenceImages"), "instances")
        self._check_references(found)
        want(not (found.parameters.get("seed") and found.parameters.get("addWatermark")), "seed is not available with a watermark")
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
            more = {config: _CONFIGS[config]} if config else {}
            fit(reference, {"referenceType": str, "referenceId": int, "referenceImage": _PICTURE, **more}, "referenceImages")
            picture = reference.get("referenceImage")
            own_mask = kind == "REFERENCE_TYPE_MASK" and reference["maskImageConfig"]["maskMode"] != "MASK_MODE_USER_PROVIDED"
            if not own_mask:
                want(picture, "referenceImage is required")
                bytes_of(picture.get("bytesBase64Encoded"), picture.get("mimeType"), "referenceImage")
        masks = found.references("mask")
        want(bool(masks) == (found.parameters.get("editMode") in _MASKED), "the edit mode does not go with the references")
        if masks:
            want(found.references("raw"), "a mask needs the raw picture it belongs to")
            config = masks[0]["maskImageConfig"]
            want(bool(config.get("maskClasses")) == (config["maskMode"] == "MASK_MODE_SEMANTIC"), "classes go with MASK_MODE_SEMANTIC")
            want(len(config.get("maskClasses", [])) <= 5, "at most 5 segmentation classes")

    def start(self, received: Received, model: str, place: str) -> Reply:
        """Start a video."""
        found = self._read(received, model, self.veo, _VEO_PARAMETERS)
        fit(found.instance, _VEO_INSTANCE, "instances")
        for name in ("image", "video", "lastFrame"):
            self._check_media(found.instance.get(name), name)
        for reference in found.instance.get("referenceImages", ()):
            self._check_media(reference.get("image"), "referenceImages")
        want(found.parameters.get("durationSeconds", 8) in {4, 6, 8}, "durationSeconds must be 4, 6 or 8")
        want(str(found.parameters.get("storageUri", "gs://")).startswith("gs://"), "storageUri is not a Cloud Storage URI")
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

    def look(self, received: Received, model: str) -> Reply:
        """Answer a look at an operation, which is asked of the model that it runs on."""
        fit(received.json(), {"operationName": str}, "request")
        name = received.json()["operationName"]
        want(f"/models/{model}/operations/" in name, "the operation is not of this model")
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
        if end in {"filtered", "partly"}:
            response |= {"raiMediaFilteredCount": 1, "raiMediaFilteredReasons": ["Veo found the sound unsafe. Support codes: 15236754"]}
        if end != "filtered":
            response["videos"] = self._made(found)[1 if end == "partly" else 0 :]
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

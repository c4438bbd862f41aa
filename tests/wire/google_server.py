"""A fake of Google's two services on the loopback: the Gemini API (/v1/...) and Agent Platform (/v1beta1/...).

    with GoogleServer() as fake:
        fake.url                              # base_url of both
        fake.content.turns[-1].pictures()     # what arrived, decoded
        fake.submits()                        # how many billable requests arrived

Requests are read strictly: a field that the service does not know, media that are not what they say, a thought signature
that did not come back are refused in Google's own words. Pictures and videos are real, and small.
"""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Mapping
from typing import Any

from wire.google_content import IMAGE_MODELS, TTS_MODELS, Content
from wire.google_interactions import OMNI_MODELS, Interactions
from wire.google_predict import Predictions
from wire.google_values import Refused, error, unbase64, worded
from wire.http_server import HttpServer, Received, Reply

__all__ = ["KEY", "LOCATION", "PROJECT", "GoogleServer", "flat"]

KEY = "AIzaFakeKeyForTests0123456789abcdefghij"
PROJECT = "my-project"
LOCATION = "us-central1"
_BILLABLE = re.compile(r"POST /.*(?::generateContent|:predict|:predictLongRunning|/interactions)$")
_GEMINI = r"(?:v1|v1beta)"
#: A key alone names no project; a request with a token names one, in either version.
_PLATFORM = r"(?P<platform>v1beta1|(?:v1|v1beta1)/(?P<place>projects/[^/]+/locations/[^/]+))"
_MODEL = rf"POST /{_PLATFORM}/publishers/google/models/(?P<model>[^/:]+)"
_ROUTES = {
    "content": re.compile(rf"POST /(?:{_GEMINI}|{_PLATFORM}/publishers/google)/models/(?P<model>[^/:]+):generateContent"),
    "predict": re.compile(rf"{_MODEL}:predict"),
    "start": re.compile(rf"{_MODEL}:predictLongRunning"),
    "operation": re.compile(rf"{_MODEL}:fetchPredictOperation"),
    "create": re.compile(rf"POST /(?:{_GEMINI}|{_PLATFORM})/interactions"),
    "get": re.compile(rf"GET /(?:{_GEMINI}|{_PLATFORM})/interactions/(?P<id>[^/]+)"),
    "cancel": re.compile(rf"POST /(?:{_GEMINI}|{_PLATFORM})/interactions/(?P<id>[^/]+)/cancel"),
    "begin_upload": re.compile(rf"POST /upload/{_GEMINI}/files"),
    "download": re.compile(rf"GET /{_GEMINI}/files/(?P<id>[A-Za-z0-9_-]+):download"),
    "file": re.compile(rf"GET /{_GEMINI}/files/(?P<id>[A-Za-z0-9_-]+)"),
    "models": re.compile(rf"GET /{_GEMINI}/models"),
    "publisher_models": re.compile(r"GET /(?P<platform>v1beta1)/publishers/google/models"),
    "stored": re.compile(r"GET /(?P<platform>storage)/v1/b/(?P<bucket>[^/]+)/o/(?P<name>.+)"),
    "token": re.compile(r"POST /token"),
}


class GoogleServer(HttpServer):
    """Both services. ``token`` is the access token that ``POST /token`` gives out and Agent Platform takes."""

    def __init__(self, *, key: str = KEY) -> None:
        super().__init__(self._route)
        self.key = key
        self.token = "ya29.fake-access-token-0123456789"
        self.content = Content()
        self.interactions = Interactions()
        self.predictions = Predictions()
        #: So many looks at jobs find nothing yet.
        self.unseen = 0

    def submits(self) -> int:
        """How many billable requests have arrived."""
        return len(self.billed())

    def billed(self) -> list[Received]:
        """Return the billable requests that have arrived, in order."""
        return [r for r in self.received if _BILLABLE.fullmatch(r.line)]

    def sent(self) -> list[dict[str, Any]]:
        """Return the billable requests as flat mappings; a stored file that one names is in it as bytes."""
        found = [flat(r) for r in self.billed()]
        for submit in found:
            for key, value in list(submit.items()):
                name = re.search(r"/files/([A-Za-z0-9_-]+)$", str(value)) if key.endswith(".uri") else None
                if name is not None:
                    submit[key] = self.interactions.files[name[1]]
        return found

    def _route(self, received: Received) -> Reply:
        for name, pattern in _ROUTES.items():
            if (found := pattern.fullmatch(received.line)) is not None:
                try:
                    return self._answered(name, received, found.groupdict())
                except Refused as refused:
                    # A bad key is turned away in front of all methods, in the shape they share.
                    return worded(refused) if name in {"create", "get", "cancel"} and not refused.reason else refused.reply
        return error(404, f"The requested URL {received.path} was not found on this server.")

    def _answered(self, name: str, received: Received, parts: Mapping[str, str | None]) -> Reply:
        if name == "token":
            return Reply.of_json({"access_token": self.token, "expires_in": 3600, "token_type": "Bearer"})
        if name == "begin_upload" and "upload_id" in received.query:
            return self.interactions.take_upload(received)  # the address is the secret
        agent_platform = parts.get("platform") is not None
        self._authorize(received, agent_platform=agent_platform)
        model, id_ = str(parts.get("model")), str(parts.get("id"))
        if name in {"get", "operation"} and self.unseen:
            self.unseen -= 1
            raise Refused(f"{id_ if name == 'get' else 'The operation'} was not found.", 404)
        if name == "content":
            return self.content.answer(received, model, agent_platform=agent_platform)
        if name == "create":
            return self.interactions.create(received, agent_platform=agent_platform)
        if name == "start":
            return self.predictions.start(received, model, parts.get("place") or f"projects/{PROJECT}/locations/{LOCATION}")
        if name in {"predict", "operation"}:
            return (self.predictions.predict if name == "predict" else self.predictions.look)(received, model)
        if name == "stored":
            return self._stored(str(parts["bucket"]), str(parts["name"]))
        if name == "begin_upload":
            return self.interactions.begin_upload(received, self.url)
        if name == "file":
            return Reply.of_json(self.interactions.file_json(id_))
        if name == "download":
            return self.interactions.download(received, id_)
        if name in {"get", "cancel"}:
            return (self.interactions.get if name == "get" else self.interactions.cancel)(id_)
        return self._listed(agent_platform=agent_platform)

    def _authorize(self, received: Received, *, agent_platform: bool) -> None:
        if received.headers.get("x-goog-api-key") == self.key:
            return
        if agent_platform and received.headers.get("authorization") == f"Bearer {self.token}":
            return
        if agent_platform:
            raise Refused("Request had invalid authentication credentials.", 401, reason="ACCESS_TOKEN_TYPE_UNSUPPORTED")
        raise Refused("API key not valid. Please pass a valid API key.", 400, reason="API_KEY_INVALID")

    def _stored(self, bucket: str, name: str) -> Reply:
        data = self.predictions.stored.get(f"gs://{bucket}/{urllib.parse.unquote(name)}")
        return error(404, "No such object") if data is None else Reply(body=data, headers={"content-type": "video/mp4"})

    def _listed(self, *, agent_platform: bool) -> Reply:
        if agent_platform:
            named = [{"name": f"publishers/google/models/{m}"} for m in (*IMAGE_MODELS[:2], *self.predictions.veo)]
            return Reply.of_json({"publisherModels": named})
        ids = (*IMAGE_MODELS, *TTS_MODELS[:2], *OMNI_MODELS[:2])
        return Reply.of_json(
            {"models": [{"name": f"models/{m}", "displayName": m, "supportedGenerationMethods": ["generateContent"]} for m in ids]}
        )


def flat(received: Received) -> dict[str, Any]:
    """Return one submit as a flat mapping of dotted field to text, number or bytes."""
    found: dict[str, Any] = {"path": received.path}

    def walk(value: Any, where: str) -> None:
        if isinstance(value, Mapping):
            for key, inner in value.items():
                walk(inner, f"{where}.{key}")
        elif isinstance(value, list):
            for index, inner in enumerate(value):
                walk(inner, f"{where}.{index}")
        elif isinstance(value, str) and where.endswith((".data", ".bytesBase64Encoded")):
            found[where] = unbase64(value)
        else:
            found[where] = json.dumps(value) if isinstance(value, bool) or value is None else value

    walk(received.json(), "body")
    return found

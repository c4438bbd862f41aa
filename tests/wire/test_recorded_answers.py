"""Answers that the providers document or that were recorded: delivered, or the right error with the provider's own words.

Each file of ``answers`` holds a provider's cases: what was asked, what was answered (in the shape of the source, the words
often our own), and the outcome. The real plugin and SDK receive them from a socket. ``$png`` and the like stand for media,
``$link/a.png`` for a link to one, ``$url/...`` for another address.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from clocks import FastClock
from google.protobuf import json_format
from wire import fal_server, google_server, grok_server, openai_server, openrouter_server
from wire.http_server import HttpServer, Received, Reply
from wire.media_bytes import image, video
from xai_sdk.proto import deferred_pb2, image_pb2, video_pb2

from anymedia.errors import MediaError
from anymedia.policy import Policy
from anymedia.requests import KINDS
from anymedia.router import Router
from anymedia.settings import InstanceSettings, Settings
from anymedia.testing.harness import loaded_registry

pytestmark = pytest.mark.anyio
_FOLDER = Path(__file__).with_name("answers")
_PLUGINS = {
    **dict.fromkeys(("openai", "gateways", "videos"), ("openai", "OPENAI_API_KEY", openai_server.KEY, "/v1")),
    **dict.fromkeys(("gemini", "imagen", "veo", "omni"), ("google", "GOOGLE_API_KEY", google_server.KEY, "")),
    "fal": ("fal", "FAL_KEY", fal_server.KEY, ""),
    "grok": ("grok", "XAI_API_KEY", grok_server.KEY, ""),
    "openrouter": ("openrouter", "OPENROUTER_API_KEY", openrouter_server.KEY, "/api/v1"),
}
#: The message that each method of xAI's services answers with.
_MESSAGES: Mapping[str, Any] = {
    "GenerateImage": image_pb2.ImageResponse,
    "GenerateVideo": deferred_pb2.StartDeferredResponse,
    "GetDeferredVideo": video_pb2.GetDeferredVideoResponse,
}
_FIELDS = ("prompt", "n", "duration", "resolution")


def _media(form: str) -> bytes:
    return video(1280, 720, 1.0) if form == "mp4" else image(64, 64, form)


def _filled(node: Any, url: str) -> Any:
    """Return an answer with its media and links."""
    if isinstance(node, dict | list):
        return {k: _filled(v, url) for k, v in node.items()} if isinstance(node, dict) else [_filled(item, url) for item in node]
    if not isinstance(node, str) or "$" not in node:
        return node
    before, _, mark = node.partition("$")
    if mark.startswith("url/"):
        return f"{before}{url}{mark[3:]}"
    if mark.startswith("link/"):
        return f"{before}{url}/{mark}"
    return before + base64.b64encode(_media(mark)).decode() if mark in {"png", "jpeg", "mp4"} else node


def _linked(received: Received) -> Reply:
    return Reply(body=_media(received.path.rpartition(".")[2]))


class _Recorded(HttpServer):
    """Gives the answers of a case; each as often as it is asked for."""

    def __init__(self, answers: list[Mapping[str, Any]]) -> None:
        super().__init__(self._recorded)
        self.recorded = answers

    def _recorded(self, received: Received) -> Reply:
        if received.path.startswith("/link/"):
            return _linked(received)
        answer = next((a for a in self.recorded if a["on"] in received.line), None)
        if answer is None:
            return Reply.of_json({"error": {"message": f"not recorded: {received.line}"}}, status=418)
        headers = answer.get("headers")
        if "json" in answer:
            return Reply.of_json(_filled(answer["json"], self.url), status=answer["status"], headers=headers)
        body = _media(answer["body"][1:]) if "body" in answer else answer["text"].encode()
        return Reply(status=answer["status"], body=body, headers=headers or {})


def _recorded_grok(answers: list[Mapping[str, Any]]) -> grok_server.GrokServer:
    fake = grok_server.GrokServer()
    fake.http._handler = _linked
    for answer in answers:
        if "code" in answer:
            fake.fail("status", on=answer["on"], times=None, code=answer["code"], details=answer["details"])
        else:
            servicer = fake.images if answer["on"] == "GenerateImage" else fake.videos
            setattr(servicer, answer["on"], _method(fake, answer))
    return fake


def _method(fake: grok_server.GrokServer, answer: Mapping[str, Any]) -> Any:
    return lambda request, context: json_format.ParseDict(_filled(answer["message"], fake.base_url), _MESSAGES[answer["on"]]())


def _cases() -> Iterator[Any]:
    for path in sorted(_FOLDER.glob("*.json")):
        for case in json.loads(path.read_text("utf-8")):
            yield pytest.param(path.stem, case, id=f"{path.stem}: {case['name']}")


@contextlib.contextmanager
def _router(family: str, case: Mapping[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Router]:
    plugin, variable, key, path = _PLUGINS[family]
    monkeypatch.setenv(variable, key)
    asked = case["asked"]
    with contextlib.ExitStack() as opened:
        options = dict(asked.get("options", {}))
        if plugin == "grok":
            fake = opened.enter_context(_recorded_grok(case["answers"]))
            url, options = fake.base_url, {"grpc_host": fake.host}
        else:
            url = opened.enter_context(_Recorded(case["answers"])).url + path
        models = {asked["model"]: {"like": asked["like"]}} if "like" in asked else {}
        own = InstanceSettings(
            name=plugin,
            plugin=plugin,
            service=asked.get("service", ""),
            base_url=url,
            options=options,
            models=models,
            credentials={"api_key": variable},
        )
        settings = Settings(instances={plugin: own}, fetch_allow=("127.0.0.1",), state_dir=folder / "state")
        yield Router(
            settings=settings,
            registry=loaded_registry(),
            today=lambda: datetime.date(2026, 6, 1) if family == "imagen" else datetime.date(2026, 11, 21),
            policy=Policy(retries=0, preview=True),
            clock=FastClock(),
        )


@pytest.mark.parametrize(("family", "case"), list(_cases()))
async def test_recorded_answer_is_delivered_or_is_its_error_with_the_providers_words(
    family: str, case: Mapping[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, expected = case["asked"], case["expected"]
    fields = {name: asked[name] for name in _FIELDS if name in asked}
    with _router(family, case, tmp_path, monkeypatch) as opened:
        async with opened as router:
            request: Any = KINDS[asked["kind"]](**fields)
            try:
                made = await router.execute(request, model=asked["model"], output=f"{tmp_path}/out/", deadline=120.0)
            except MediaError as error:
                seen = {"error": error.code, "says": error.provider_message, "charged": error.charged}
                assert "error" in expected, seen
                assert {**seen, "says": ""} == {**expected, "says": ""}, seen
                assert expected["says"] in error.provider_message
                assert bool(expected["says"]) == bool(error.provider_message)
                assert not error.provider_message or error.provider_message not in error.fix
                return
    assert "files" in expected, f"delivered instead of {expected}"
    assert len(made.files) == expected["files"]
    assert set(expected["warnings"]) <= {warning.code for warning in made.warnings}


def test_every_recorded_answer_names_its_source_and_its_day() -> None:
    for parameters in _cases():
        _, case = parameters.values
        assert datetime.date.fromisoformat(case["source"][-10:]) <= datetime.date(2026, 11, 29), case["name"]

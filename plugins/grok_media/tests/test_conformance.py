"""The conformance kit, over the fake: gRPC for images and videos, REST for speech."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from wire.grok_server import GrokServer

from anymedia.testing import CANARY, BackendConformance, Scenario, Wire

#: Scenario -> how gRPC says it, and how the REST half does.
_ANSWERS: Mapping[str, tuple[dict[str, Any], tuple[int, str]]] = {
    "unauthorized": ({"code": "UNAUTHENTICATED", "details": "Invalid authentication credentials."}, (401, "Invalid authentication")),
    "rate_limited": (
        {"code": "RESOURCE_EXHAUSTED", "details": "Too many requests.", "trailing": (("retry-after", "2"),)},
        (429, "Too many requests for your team."),
    ),
    "quota": (
        {"code": "RESOURCE_EXHAUSTED", "details": "Your team has used all available credits or reached its monthly spending limit."},
        (429, "Your team has used all available credits."),
    ),
    "refused": ({"code": "INVALID_ARGUMENT", "details": "Content violates usage guidelines."}, (400, "Content violates usage guidelines.")),
    "down": ({"code": "UNAVAILABLE", "details": "no healthy upstream"}, (503, "no healthy upstream")),
}
_SUBMITS = "GenerateImage|GenerateVideo|ExtendVideo"
_TTS = "POST /v1/tts"
_REDIRECTS: Mapping[str, int] = {"redirected": 307, "moved": 302}


def play(fake: GrokServer, scenario: Scenario, redirect_to: str) -> None:
    """Have both halves of the fake behave as the scenario says."""
    if scenario in _ANSWERS:
        status, (code, words) = _ANSWERS[scenario]
        fake.fail("status", on=_SUBMITS, times=None, **status)
        fake.http.fail("status", on=_TTS, times=None, status=code, json={"error": words}, headers={"retry-after": "2"})
    elif scenario in _REDIRECTS:
        headers = {"location": redirect_to}
        fake.http.fail("status", on=_TTS, times=None, status=_REDIRECTS[scenario], json={}, headers=headers)
    elif scenario == "slow":
        fake.fail("hang", on=_SUBMITS, times=None)
        fake.http.fail("hang", on=_TTS, times=None)
    elif scenario in {"endless", "bomb"}:
        fake.fail(scenario, on=_SUBMITS, times=None)
        fake.http.fail(scenario, on=_TTS, times=None)
    elif scenario == "garbage":
        fake.fail("garbage", on=_SUBMITS, times=None)
        fake.http.fail("garbage", on=_TTS, times=None)
    elif scenario == "truncated":
        fake.fail("truncate", on=_SUBMITS, times=None)
        fake.http.fail("truncate", on=_TTS, times=None, keep=20)
    elif scenario == "lost_reply":
        fake.fail("lost", on=_SUBMITS, times=None)
        fake.http.fail("lost", on=_TTS, times=None)
    elif scenario in {"unseen", "forgotten"}:
        times = 2 if scenario == "unseen" else None
        fake.fail("status", on="GetDeferredVideo", times=times, code="NOT_FOUND", details="Request not found.")


class TestGrok(BackendConformance):
    """xAI."""

    backend = "grok"
    not_http = ("generate_image", "edit_with_references", "generate_video", "continue_video")  # gRPC knows no redirects
    sdks = ("xai_sdk", "google.protobuf", "opentelemetry", "pydantic")

    @contextlib.contextmanager
    def wire(self, scenario: Scenario, service: str) -> Iterator[Wire]:
        fake = GrokServer(key=CANARY)
        fake.speech.voices |= {"one", "two"}  # the kit's words for a text that is free
        play(fake, scenario, self.redirect_to)
        with fake:
            yield Wire(
                base_url=fake.base_url,
                options={"grpc_host": fake.host},
                environ={"XAI_API_KEY": CANARY},
                submits=lambda: len(fake.submits()),
                sent=fake.submits,
                hosts=(fake.behind,),  # the fake's own relay connects to it
                hidden=(fake.depot.signature,),
            )

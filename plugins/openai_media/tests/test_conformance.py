"""The conformance kit, over the fake: as OpenAI itself, and as a third-party server for the videos protocol."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import attrs
from wire.forms import read_form
from wire.http_server import Received
from wire.openai_server import OpenAIServer
from wire.openai_videos import Videos

from anymedia.capabilities import CapabilityMatrix, Lifecycle
from anymedia.testing import CANARY, BackendConformance, Scenario, Wire

_NO = {"message": "No."}
_ANSWERS: Mapping[str, tuple[int, dict[str, Any], dict[str, str]]] = {
    "unauthorized": (401, {**_NO, "code": "invalid_api_key"}, {}),
    "rate_limited": (429, {**_NO, "type": "requests", "code": "rate_limit_exceeded"}, {"retry-after": "2"}),
    "quota": (429, {**_NO, "type": "insufficient_quota", "code": "credit_balance_exhausted"}, {}),
    "refused": (400, {**_NO, "type": "image_generation_user_error", "code": "moderation_blocked"}, {}),
    "down": (500, {**_NO, "type": "server_error"}, {}),
}
_REDIRECTS: Mapping[str, int] = {"redirected": 307, "moved": 302}
#: At how many looks a job is not found; None: ever.
_UNSEEN: Mapping[str, int | None] = {"unseen": 2, "forgotten": None}


def flat(received: Received) -> Mapping[str, Any]:
    """One submit as field to text, number or bytes."""
    kind = received.headers.get("content-type", "")
    if kind.startswith("multipart/"):
        form = read_form(kind, received.body)
        files = [p for p in form.parts if p.filename is not None]
        return {"path": received.path, **form.texts(), **{f"{p.name} {i}": p.data for i, p in enumerate(files)}}
    return {"path": received.path, **{k: v if isinstance(v, str | int | float) else json.dumps(v) for k, v in received.json().items()}}


@contextlib.contextmanager
def playing(fake: OpenAIServer, scenario: Scenario, redirect_to: str, *, key: str | None) -> Iterator[Wire]:
    if scenario in _ANSWERS:
        status, error, headers = _ANSWERS[scenario]
        fake.fail("status", on="POST", times=None, status=status, json={"error": error}, headers=headers)
    elif scenario == "slow":
        fake.fail("hang", on="POST", times=None)
    elif scenario in {"endless", "bomb"}:
        fake.fail(scenario, on="POST", times=None)
    elif scenario == "garbage":
        fake.fail("garbage", on="POST", times=None)
    elif scenario == "truncated":
        fake.fail("truncate", on="POST", times=None, keep=20)
    elif scenario == "lost_reply":
        fake.fail("lost", on="POST", times=None)
    elif scenario in _REDIRECTS:
        headers = {"location": redirect_to}
        fake.fail("status", on="POST", times=None, status=_REDIRECTS[scenario], json={}, headers=headers)
    elif scenario in _UNSEEN:
        fake.fail("status", on="GET /v1/videos/", times=_UNSEEN[scenario], status=404, json={"error": {"message": "No such video."}})
    with fake:

        def sent() -> Sequence[Mapping[str, Any]]:
            return [flat(r) for r in fake.received if r.method == "POST"]

        yield Wire(
            base_url=fake.base_url,
            environ={} if key is None else {"OPENAI_API_KEY": key},
            submits=lambda: fake.count("POST"),
            sent=sent,
            stops=lambda: fake.count("DELETE /v1/videos/"),
        )


class TestOpenAI(BackendConformance):
    """OpenAI itself."""

    backend = "openai"
    services = ("openai",)
    sdks = ("openai", "httpx2", "pydantic")

    @contextlib.contextmanager
    def wire(self, scenario: Scenario, service: str) -> Iterator[Wire]:
        fake = OpenAIServer()
        fake.key = CANARY
        with playing(fake, scenario, self.redirect_to, key=CANARY) as wire:
            yield wire


class TestSomebodyElsesVideos(BackendConformance):
    """A compatible server that speaks the videos protocol, without a list to look a lost submit up in."""

    backend = "openai"
    services = ("compatible",)
    kept: ClassVar[str] = "video"

    def matrix(self, service: str) -> CapabilityMatrix:
        """Return the video rows without their end: that was the maker's, not this server's."""
        found = super().matrix(service)
        rows = [attrs.evolve(row, lifecycle=Lifecycle()) for row in found.models if row.media == self.kept]
        return attrs.evolve(found, models=tuple(rows))

    @contextlib.contextmanager
    def wire(self, scenario: Scenario, service: str) -> Iterator[Wire]:
        fake = OpenAIServer(any_key=True, videos=Videos())
        if scenario not in {"success", "slow", *_UNSEEN}:  # else the lost submit would be found, and followed to its end
            fake.fail("status", on="GET /v1/videos", times=None, status=404, json={"error": _NO})
        with playing(fake, scenario, self.redirect_to, key=None) as wire:
            yield wire

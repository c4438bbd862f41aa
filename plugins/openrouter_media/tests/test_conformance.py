"""The conformance kit, over the shipped rows and over a snapshot taken from the fake by the real command line."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from wire.http_server import Received
from wire.openrouter_server import OpenRouterServer
from wire.openrouter_videos import SIGNATURE

from anymedia.testing import CANARY, BackendConformance, Scenario, Wire

_ANSWERS: Mapping[str, tuple[int, dict[str, Any], dict[str, str]]] = {
    "unauthorized": (401, {}, {}),
    "rate_limited": (429, {"error_type": "rate_limit_exceeded"}, {"retry-after": "2"}),
    "quota": (402, {"error_type": "payment_required"}, {}),
    "refused": (403, {"reasons": ["violence"], "flagged_input": "a red fox", "provider_name": "Maker"}, {}),
    "down": (500, {}, {}),
}
_FAULTS: Mapping[str, dict[str, Any]] = {
    "slow": {"kind": "hang"},
    "garbage": {"kind": "garbage"},
    "endless": {"kind": "endless"},
    "bomb": {"kind": "bomb"},
    "truncated": {"kind": "truncate", "keep": 20},
    "lost_reply": {"kind": "lost"},
}
_REDIRECTS: Mapping[str, int] = {"redirected": 307, "moved": 302}
_GONE = {"kind": "status", "on": "GET /api/v1/videos/gen", "status": 404, "json": {"error": {"code": 404, "message": "Job not found"}}}
#: What is done to status checks, if the submit is answered normally.
_LOOKS: Mapping[str, dict[str, Any]] = {"unseen": {**_GONE, "times": 2}, "forgotten": {**_GONE, "times": None}}


def flat(received: Received) -> Mapping[str, Any]:
    """One submit as field to text or number."""
    return {"path": received.path, **{k: v if isinstance(v, str | int | float) else json.dumps(v) for k, v in received.json().items()}}


@contextlib.contextmanager
def playing(scenario: Scenario, redirect_to: str) -> Iterator[Wire]:
    with OpenRouterServer(key=CANARY, links="signed") as fake:
        if scenario in _ANSWERS:
            status, metadata, headers = _ANSWERS[scenario]
            error = {"code": status, "message": "No.", **({"metadata": metadata} if metadata else {})}
            fake.fail("status", on="POST", times=None, status=status, json={"error": error, "user_id": "user_2x"}, headers=headers)
        elif scenario in _REDIRECTS:
            headers = {"location": redirect_to}
            fake.fail("status", on="POST", times=None, status=_REDIRECTS[scenario], json={}, headers=headers)
        elif scenario in _FAULTS:
            fake.fail(on="POST", times=None, **_FAULTS[scenario])
        elif scenario in _LOOKS:
            fake.fail(**_LOOKS[scenario])

        def sent() -> Sequence[Mapping[str, Any]]:
            return [flat(r) for r in fake.received if r.method == "POST"]

        yield Wire(
            base_url=fake.base_url,
            environ={"OPENROUTER_API_KEY": CANARY},
            submits=lambda: fake.count("POST"),
            sent=sent,
            hosts=(fake.elsewhere.url.removeprefix("http://"),),  # where signed links lead
            hidden=(SIGNATURE,),
        )


class TestShippedRows(BackendConformance):
    """The capability file of the plugin."""

    backend = "openrouter"
    sdks = ("openrouter", "openai", "msgspec")

    @contextlib.contextmanager
    def wire(self, scenario: Scenario, service: str) -> Iterator[Wire]:
        with playing(scenario, self.redirect_to) as wire:
            yield wire


@pytest.mark.exhaustive  # the plugin's code is the one of the shipped rows
class TestRefreshedSnapshot(TestShippedRows):
    """What the fake lists."""

    listed = True

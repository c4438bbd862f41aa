"""The conformance kit, over the fake: the shipped specs, and what a refresh finds in the fake's catalogue."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
from wire.fal_server import SIGNATURE, FalServer

from anymedia.capabilities import CapabilityMatrix
from anymedia.testing import CANARY, BackendConformance, Scenario, Wire

_SUBMIT = "POST /fal-ai"
_FLAGGED = {"loc": ["body", "prompt"], "msg": "It was flagged by a content checker.", "type": "content_policy_violation"}
_ANSWERS: Mapping[str, tuple[int, dict[str, Any], dict[str, str]]] = {
    "unauthorized": (401, {"detail": "No user found for Key ID and Secret"}, {}),
    "rate_limited": (429, {"detail": "Too many requests", "error_type": "concurrent_requests_limit"}, {"retry-after": "2"}),
    "quota": (403, {"detail": "User is locked. Reason: Exhausted balance. Top up your balance at fal.ai/dashboard/billing."}, {}),
    "refused": (422, {"detail": [_FLAGGED]}, {}),
    "down": (503, {"detail": "No runner is available", "error_type": "runner_scheduling_failure"}, {}),
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
#: How many status checks do not find a request; None: none finds it.
_UNSEEN: Mapping[str, int | None] = {"unseen": 2, "forgotten": None}


@contextlib.contextmanager
def playing(scenario: Scenario, redirect_to: str) -> Iterator[Wire]:
    with FalServer(key=CANARY) as fake:
        if scenario in _ANSWERS:
            status, body, headers = _ANSWERS[scenario]
            fake.fail("status", on=_SUBMIT, times=None, status=status, json=body, headers=headers)
        elif scenario in _REDIRECTS:
            fake.fail("status", on=_SUBMIT, times=None, status=_REDIRECTS[scenario], json={}, headers={"location": redirect_to})
        elif scenario in _FAULTS:
            fake.fail(on=_SUBMIT, times=None, **_FAULTS[scenario])
        elif scenario in _UNSEEN:
            fake.fail("status", on="GET /fal-ai", times=_UNSEEN[scenario], status=404, json={"status": "NOT_FOUND"})
        yield Wire(
            base_url=fake.url,
            environ={"FAL_KEY": CANARY},
            submits=fake.submits,
            sent=fake.sent,
            stops=lambda: fake.count("PUT /fal-ai"),
            hosts=(fake.url.removeprefix("http://"),),
            hidden=(SIGNATURE,),
        )
        assert fake.refused_keys == 0, "the key was sent to a signed link"


class TestShippedSpecs(BackendConformance):
    """The capability file of the plugin."""

    backend = "fal"

    @contextlib.contextmanager
    def wire(self, scenario: Scenario, service: str) -> Iterator[Wire]:
        with playing(scenario, self.redirect_to) as wire:
            yield wire


class TestListedSpecs(BackendConformance):
    """The models of the catalogue that the capability file does not have."""

    backend = "fal"
    listed = True

    def matrix(self, service: str) -> CapabilityMatrix:
        """Return the listed models of the matrix."""
        found = super().matrix(service)
        return attrs.evolve(found, models=tuple(model for model in found.models if model.id.startswith("fal-ai/painter")))

    @contextlib.contextmanager
    def wire(self, scenario: Scenario, service: str) -> Iterator[Wire]:
        with playing(scenario, self.redirect_to) as wire:
            yield wire

"""The conformance kit, over the fake: with a Gemini key, on Agent Platform, and on an endpoint that still has Imagen."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, ClassVar

import attrs
from wire.google_server import LOCATION, PROJECT, GoogleServer

from anymedia.capabilities import CapabilityMatrix, Lifecycle
from anymedia.testing import CANARY, BackendConformance, Scenario, Wire

_DAY = "GenerateRequestsPerDayPerProjectPerModel"
_RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "2s"}


def _error(code: int, status: str, message: str, *details: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    return code, {"error": {"code": code, "status": status, "message": message, "details": list(details)}}


_ANSWERS = {
    "unauthorized": _error(400, "INVALID_ARGUMENT", "API key not valid.", {"reason": "API_KEY_INVALID"}),
    "rate_limited": _error(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota.", _RETRY),
    "quota": _error(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota.", {"violations": [{"quotaId": _DAY}]}),
    "refused": _error(400, "INVALID_ARGUMENT", "It contains words that violate our usage guidelines."),
    "down": _error(503, "UNAVAILABLE", "The model is overloaded."),
}
_REDIRECTS = {"redirected": 307, "moved": 302}


@contextlib.contextmanager
def playing(scenario: Scenario, redirect_to: str, environ: dict[str, str], options: dict[str, Any]) -> Iterator[Wire]:
    fake = GoogleServer(key=CANARY if environ else "none")  # a compatible server is given no key that is not its own
    if scenario in _ANSWERS:
        status, body = _ANSWERS[scenario]
        fake.fail("status", on="POST", times=None, status=status, json=body)
    elif scenario in _REDIRECTS:
        headers = {"location": redirect_to}
        fake.fail("status", on="POST", times=None, status=_REDIRECTS[scenario], json={}, headers=headers)
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
    fake.unseen = {"unseen": 2, "forgotten": 1_000_000}.get(scenario, 0)
    with fake:
        yield Wire(
            base_url=fake.url,
            environ=environ,
            options=options,
            submits=fake.submits,
            sent=fake.sent,
            stops=lambda: sum(r.line.endswith("/cancel") for r in fake.received),
        )


class TestGoogle(BackendConformance):
    """Google itself, both services."""

    backend = "google"
    services = ("gemini", "agent_platform")
    sdks = ("google", "google.auth", "pydantic")

    @contextlib.contextmanager
    def wire(self, scenario: Scenario, service: str) -> Iterator[Wire]:
        with playing(scenario, self.redirect_to, {"GOOGLE_API_KEY": CANARY}, {}) as wire:
            yield wire


class TestAnEndpointWithImagen(BackendConformance):
    """An Agent Platform whose models have not been shut down: the rows of Imagen, without their end."""

    backend = "google"
    services = ("compatible",)
    kept: ClassVar[tuple[str, ...]] = ("imagen-3.0-capability-001", "imagen-4.0-generate-001")

    def matrix(self, service: str) -> CapabilityMatrix:
        """Return the rows of Imagen without their end: that was Google's, not this endpoint's."""
        found = super().matrix(service)
        rows = [attrs.evolve(row, lifecycle=Lifecycle()) for row in found.models if row.id in self.kept]
        return attrs.evolve(found, models=tuple(rows))

    @contextlib.contextmanager
    def wire(self, scenario: Scenario, service: str) -> Iterator[Wire]:
        options = {"mode": "agent_platform", "project": PROJECT, "location": LOCATION}
        with playing(scenario, self.redirect_to, {}, options) as wire:
            yield wire

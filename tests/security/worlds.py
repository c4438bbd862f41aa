"""Each backend over its wire fake, with failures that quote the key and a signed link, for the canary matrix."""

from __future__ import annotations

import asyncio
import datetime
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
from core import fake_backend
from core.fake_service import FakeService
from core.routing import KEY as FAKE_KEY
from wire.fal_server import KEY as FAL_KEY
from wire.fal_server import FalServer
from wire.google_server import KEY as GOOGLE_KEY
from wire.google_server import GoogleServer
from wire.grok_server import KEY as GROK_KEY
from wire.grok_server import GrokServer
from wire.http_server import Reply
from wire.openai_server import KEY as OPENAI_KEY
from wire.openai_server import OpenAIServer
from wire.openrouter_server import KEY as OPENROUTER_KEY
from wire.openrouter_server import OpenRouterServer

from anymedia.plugins.registry import Registry, discover
from anymedia.policy import Policy
from anymedia.router import Router
from anymedia.settings import InstanceSettings, Settings
from anymedia.state.sql import Store

SIGNATURE = "CANARYsignature4711"
PROMPT = "CANARYPROMPT of a quiet harbour"
SUBMITS = {"fake": "POST", "openai": "POST", "google": "POST", "grok": "GenerateImage", "openrouter": "POST", "fal": "POST /fal-ai"}
KEYS = {"fake": FAKE_KEY, "openai": OPENAI_KEY, "google": GOOGLE_KEY, "grok": GROK_KEY, "openrouter": OPENROUTER_KEY, "fal": FAL_KEY}
VARIABLES = {
    "fake": "FAKE_KEY",
    "openai": "OPENAI_API_KEY",
    "google": "GOOGLE_API_KEY",
    "grok": "XAI_API_KEY",
    "openrouter": "OPENROUTER_API_KEY",
    "fal": "FAL_KEY",
}
_SERVERS: dict[str, Callable[[], Any]] = {
    "fake": FakeService,
    "openai": OpenAIServer,
    "google": GoogleServer,
    "grok": GrokServer,
    "openrouter": OpenRouterServer,
    "fal": FalServer,
}
#: How gRPC says what HTTP says by a status.
_CODES = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 429: "RESOURCE_EXHAUSTED", 400: "INVALID_ARGUMENT", 500: "INTERNAL"}


class FastClock:
    """The machine's clock; a pause takes a hundredth of a second at most."""

    def now(self) -> float:
        return time.time()

    def steady(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.01))


def quoting(name: str) -> str:
    """What an ill-behaved service says: the key, a signed link, escapes, and a line that poses as one of ours."""
    link = f"https://files.example/x.mp4?X-Amz-Signature={SIGNATURE}"
    return f"bad request with {KEYS[name]} for {link}\nanymedia: done \x1b[31m\u202e"


@attrs.define
class World:
    """A backend's fake service, and a router over it whose store is a file."""

    name: str
    server: Any
    folder: Path
    #: What else the settings of its instance say.
    more: dict[str, Any] = attrs.field(factory=dict)

    def router(self, store: Store | None = None) -> Router:
        options: dict[str, Any] = {"grpc_host": self.server.host} if self.name == "grok" else {}
        place = {"fake": "http.url", "google": "url"}.get(self.name, "base_url")
        url = self.server
        for part in place.split("."):
            url = getattr(url, part)
        own = InstanceSettings(name=self.name, plugin=self.name, base_url=url, options=options, **self.more)
        settings = Settings(instances={self.name: own}, state_dir=self.folder / "state", fetch_allow=("127.0.0.1",))
        if self.name == "fake":
            registry = Registry()
            registry.register("fake", fake_backend.as_module("fake"))
        else:
            registry = discover()
        day = datetime.date(2026, 11, 21)
        return Router(settings=settings, registry=registry, today=lambda: day, policy=Policy(retries=0), clock=FastClock(), store=store)

    @property
    def files(self) -> Any:
        """The server from which finished files are fetched."""
        return {"fake": lambda: self.server.files, "grok": lambda: self.server.http}.get(self.name, lambda: self.server)()

    @property
    def wire(self) -> Any:
        return self.server.http if self.name == "fake" else self.server

    def fail(self, kind: str) -> None:
        """Arrange a failure by its name: a status, or a fault of the transport."""
        on = SUBMITS[self.name]
        if kind.isdigit():
            status, said = int(kind), quoting(self.name)
            if self.name == "grok":
                self.wire.fail("status", on=on, code=_CODES[status], details=said.encode("ascii", "ignore").decode())
                return
            body = {"error": {"message": said, "code": status, "type": "odd", "status": said}}
            self.wire.fail("status", on=on, reply=Reply.of_json(body, status=status, headers={"x-request-id": "req-1"}))
            return
        more = {"seconds": 5.0} if kind == "delay" else {}
        self.wire.fail(kind, on=on, **more)

    def arrived(self) -> int:
        return int(self.wire.count(SUBMITS[self.name]))


def world(name: str, folder: Path) -> Any:
    """Return the context manager of a backend's fake service."""
    return _SERVERS[name]()

"""All backends at once: a router over the wire fakes of four providers, two servers that speak their protocols, and local."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from wire import google_server, grok_server, openai_server, openrouter_server
from wire.openai_videos import Videos

from anymedia import Policy, Router, SqliteStore
from anymedia.agents import MediaTool, tell
from anymedia.plugins.registry import discover
from anymedia.settings import InstanceSettings, Settings
from anymedia.testing.harness import FastClock

TODAY = datetime.date(2026, 11, 21)


@attrs.frozen(kw_only=True)
class World:
    """The tool, and the fakes it talks to."""

    tool: MediaTool
    router: Router
    openai: Any
    gpu: Any
    google: Any
    imagen: Any
    grok: Any
    openrouter: Any

    def submits(self) -> int:
        """How many billable requests have reached any of the fakes."""
        posts = sum(fake.count("POST") for fake in (self.openai, self.gpu, self.openrouter))
        return posts + self.google.submits() + self.imagen.submits() + len(self.grok.submits())

    def arrived(self) -> int:
        """How many requests of any kind have reached any of the fakes."""
        plain = (self.openai, self.gpu, self.google, self.imagen, self.openrouter.http, self.grok.http)
        return sum(len(fake.received) for fake in plain) + len(self.grok.calls)


@contextlib.asynccontextmanager
async def all_backends(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """Open every backend over its fake.

    ``mygpu`` speaks Sora's protocol, ``cloud`` is Google's Agent Platform, which has Veo, and ``imagen`` an endpoint like
    it that still has Imagen.
    """
    keys = {
        "OPENAI_API_KEY": openai_server.KEY,
        "GOOGLE_API_KEY": google_server.KEY,
        "XAI_API_KEY": grok_server.KEY,
        "OPENROUTER_API_KEY": openrouter_server.KEY,
        "ANYMEDIA_CACHE": str(folder.parent / "cache"),
    }
    for name, value in keys.items():
        monkeypatch.setenv(name, value)
    with (
        openai_server.OpenAIServer() as openai,
        openai_server.OpenAIServer(any_key=True, videos=Videos(models=("wan-2.2",), free_values=True)) as gpu,
        google_server.GoogleServer() as google,
        google_server.GoogleServer(key="none") as imagen,
        grok_server.GrokServer() as grok,
        openrouter_server.OpenRouterServer(links="signed") as openrouter,
    ):
        own = {"api_key": "GOOGLE_API_KEY"}  # without it, the place alone would mean the application default credentials
        place = {"mode": "agent_platform", "project": google_server.PROJECT, "location": google_server.LOCATION}
        old = {name: {"like": name} for name in ("imagen-4.0-generate-001", "imagen-3.0-capability-001")}
        instances = [
            InstanceSettings(name="openai", plugin="openai", base_url=openai.base_url),
            InstanceSettings(
                name="mygpu", plugin="openai", service="compatible", base_url=gpu.base_url, models={"wan-2.2": {"like": "sora-2"}}
            ),
            InstanceSettings(name="google", plugin="google", service="gemini", base_url=google.url),
            InstanceSettings(name="cloud", plugin="google", service="agent_platform", base_url=google.url, options=place, credentials=own),
            InstanceSettings(name="imagen", plugin="google", service="compatible", base_url=imagen.url, options=place, models=old),
            InstanceSettings(name="grok", plugin="grok", base_url=grok.base_url, options={"grpc_host": grok.host}),
            InstanceSettings(name="openrouter", plugin="openrouter", base_url=openrouter.base_url),
        ]
        settings = Settings(
            instances={one.name: one for one in instances}, fetch_allow=("127.0.0.1", "localhost"), state_dir=folder.parent / "state"
        )
        router = Router(
            settings=settings, registry=discover(), store=SqliteStore(":memory:"), policy=Policy(retries=0, preview=True),
            today=lambda: TODAY, clock=FastClock(), on_progress=tell,
        )  # fmt: skip
        async with router:
            yield World(
                tool=MediaTool(router),
                router=router,
                openai=openai,
                gpu=gpu,
                google=google,
                imagen=imagen,
                grok=grok,
                openrouter=openrouter,
            )

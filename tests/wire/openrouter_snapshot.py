"""Refreshing from the fake by the real command line, in a process and with a cache of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import attrs

from .openrouter_server import OpenRouterServer

__all__ = ["Told", "refresh", "run_cli"]


@attrs.frozen
class Told:
    """What a call of the command line gave back."""

    code: int
    out: str
    err: str


def run_cli(fake: OpenRouterServer | str, folder: Path, *words: str, key: str | None = None, service: str = "") -> Told:
    """Call the command line with an OpenRouter instance at an address; everything it keeps lies in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    address = fake if isinstance(fake, str) else fake.base_url
    (folder / "config.toml").write_text(
        f'[backends.openrouter]\nbase_url = "{address}"\n' + (f'service = "{service}"\n' if service else "")
    )
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR", "SYSTEMROOT") if name in os.environ}
    places = {
        "ANYMEDIA_CACHE": folder / "cache",
        "ANYMEDIA_STATE": folder / "state",
        "ANYMEDIA_CONFIG": folder / "config.toml",
        "HOME": folder,
    }
    environ = {**kept, **{name: str(place) for name, place in places.items()}, **({"OPENROUTER_API_KEY": key} if key else {})}
    done = subprocess.run([sys.executable, "-m", "anymedia", *words], env=environ, cwd=folder, capture_output=True, text=True, check=False)
    return Told(done.returncode, done.stdout, done.stderr)


def refresh(fake: OpenRouterServer | str, folder: Path, *words: str, key: str | None = None, service: str = "") -> Told:
    """Call ``anymedia models --refresh openrouter``; the snapshot lies under ``folder / "cache"``."""
    return run_cli(fake, folder, "models", "--refresh", "openrouter", *words, key=key, service=service)

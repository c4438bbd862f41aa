"""Refreshing from the fake by the command line, called in this process with an environment and a cache of its own."""

from __future__ import annotations

import contextlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import attrs
from click.testing import CliRunner

from .openrouter_server import OpenRouterServer

__all__ = ["Told", "refresh", "run_cli"]


@attrs.frozen
class Told:
    """What a call of the command line gave back."""

    code: int
    out: str
    err: str


def run_cli(
    fake: OpenRouterServer | str,
    folder: Path,
    *words: str,
    key: str | None = None,
    service: str = "",
    backend: str = "openrouter",
    settings: str = "",
) -> Told:
    """Call the command line with an instance of a backend at an address; everything it keeps lies in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    address = fake if isinstance(fake, str) else fake.base_url
    (folder / "config.toml").write_text(
        f'[fetch]\nallow = ["127.0.0.1"]\n[backends.{backend}]\nbase_url = "{address}"\n{settings}'
        + (f'service = "{service}"\n' if service else "")
    )
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR", "SYSTEMROOT") if name in os.environ}
    places = {
        "ANYMEDIA_CACHE": folder / "cache",
        "ANYMEDIA_STATE": folder / "state",
        "ANYMEDIA_CONFIG": folder / "config.toml",
        "HOME": folder,
    }
    environ = {**kept, **{name: str(place) for name, place in places.items()}, **({f"{backend.upper()}_API_KEY": key} if key else {})}
    _read_anew()
    with mock.patch.dict(os.environ, environ, clear=True), contextlib.chdir(folder), ThreadPoolExecutor(1) as beside:
        from anymedia.cli.app import cli

        done = beside.submit(CliRunner().invoke, cli, words).result()  # beside the event loop that the test may run in
    _read_anew()
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Told(done.exit_code, done.stdout, done.stderr)


def _read_anew() -> None:
    """Forget what this process knows of a snapshot, as another process would not know it."""
    from anymedia.testing.harness import forget_plugins

    forget_plugins()


def refresh(fake: OpenRouterServer | str, folder: Path, *words: str, key: str | None = None, service: str = "") -> Told:
    """Call ``anymedia models --refresh openrouter``; the snapshot lies under ``folder / "cache"``."""
    return run_cli(fake, folder, "models", "--refresh", "openrouter", *words, key=key, service=service)

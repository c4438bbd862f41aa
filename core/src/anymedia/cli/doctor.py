"""``anymedia doctor``: what is installed and configured, what is missing, and why."""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import attrs
import click

from ..directories import user_dir
from ..distributions import version_of
from ..errors import MediaError, SettingsError
from ..media import without_query
from ..records import frozen
from ..settings import Settings, load_settings
from .console import Console
from .environment import AS_JSON, Environment, load_environment
from .keys import edit_toml, read_toml, write_toml

Status = Literal["ok", "note", "problem"]
_LIBRARIES = ("pillow", "aiohttp", "av", "numpy", "opencv-python-headless", "openai", "google-genai", "xai-sdk", "mcp")


@frozen
class Finding:
    """One checked item: its section, name, status and description."""

    part: str
    name: str
    status: Status
    text: str


@click.command("doctor")
@click.option("--write-allowlist", is_flag=True, help="Allow the plugins that are in use now, with their versions, and no others.")
@AS_JSON
def doctor(write_allowlist: bool, as_json: bool) -> None:
    """Check Python, plugins, credentials (names only), addresses, directories and codecs. Needs no key and no network."""
    console = Console(json=as_json)
    if write_allowlist:
        path, allowed = _write_allowlist()
        console.answer({"file": str(path), "allow": allowed}, [f"{path}: [plugins] allow = {json.dumps(allowed)}"])
        return
    found = list(_findings())
    problems = sum(f.status == "problem" for f in found)
    groups = {f.part: [f"  {one.status:7}  {one.name}: {one.text}" for one in found if one.part == f.part] for f in found}
    lines = [line for part, inner in groups.items() for line in (part, *inner)]
    console.answer({"problems": problems, "findings": [attrs.asdict(f) for f in found]}, lines)


def _write_allowlist() -> tuple[Path, list[str]]:
    """Write the distributions of the loaded plugins to the user's settings; return the file and the entries."""
    settings = load_settings()
    plugins = load_environment(settings).registry.plugins.values()
    if unnamed := [plugin.name for plugin in plugins if not plugin.distribution]:
        raise SettingsError(f"the plugin {unnamed[0]!r} belongs to no installed distribution", fix="install it with pip")
    allowed = sorted({f"{plugin.distribution}=={plugin.version}" for plugin in plugins})
    path = settings.files[-1] if settings.files else user_dir("config") / "config.toml"
    write_toml(path, edit_toml(read_toml(path), "plugins", "allow", allowed, path.name), private=False)
    return path, allowed


def _findings() -> Iterator[Finding]:
    yield Finding("system", "python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}, {sys.prefix}")
    yield Finding("system", "anymedia", "ok", version_of("anymedia") or "not installed")
    settings, finding = _settings()
    yield finding
    yield from _network(settings)
    environment = load_environment(settings)
    for warning in environment.name_warnings():
        yield Finding("system", "settings", "note", warning)
    yield from _plugins(environment)
    yield from _backends(environment)
    yield from _directories(environment)
    yield from _libraries()
    yield from _codecs()


def _settings() -> tuple[Settings, Finding]:
    try:
        settings = load_settings()
    except MediaError as error:
        return Settings(), Finding("system", "settings", "problem", str(error))
    files = ", ".join(str(f) for f in settings.files) or "no file"
    keys = f"; keys file {settings.keys.path}" if settings.keys.path else ""
    return settings, Finding("system", "settings", "ok", files + keys)


def _network(settings: Settings) -> Iterator[Finding]:
    network = settings.network
    proxies = dict.fromkeys(f"{scheme} through {proxy}" for scheme, proxy in network.proxies.items())
    authorities = [f"authorities of {file}" for file in (os.environ.get("SSL_CERT_FILE"), network.ca_file) if file]
    fetches = ["links and URLs are fetched " + ("through it, too" if network.fetch_by_proxy else "directly")] if proxies else []
    for variable, why in network.unusable.items():
        yield Finding("system", "network", "problem", f"the proxy of {variable} is not used: {why}")
    try:
        network.ssl_context  # noqa: B018 - it reads the files
    except MediaError as error:
        authorities = []
        yield Finding("system", "network", "problem", str(error))
    if proxies or authorities:
        yield Finding("system", "network", "ok", "; ".join([*proxies, *fetches, *authorities]))


def _plugins(environment: Environment) -> Iterator[Finding]:
    for name, plugin in environment.registry.plugins.items():
        yield Finding("plugins", name, "ok", f"{plugin.distribution} {plugin.version}".strip())
    for name, broken in environment.registry.broken.items():
        maker = f"{broken.distribution} {broken.version}: ".lstrip() if broken.distribution else ""
        yield Finding("plugins", name, "problem", f"not loaded: {maker}{broken.reason}")
    for name, why in environment.registry.blocked.items():
        yield Finding("plugins", name, "note", f"not imported: {why}")
    if not (environment.registry.plugins or environment.registry.broken or environment.registry.blocked):
        yield Finding("plugins", "none", "problem", "no backend is installed; from a checkout: pip install -e plugins/local_media")


def _backends(environment: Environment) -> Iterator[Finding]:
    for name, instance in environment.instances.items():
        count = len(instance.matrix.models)
        parts = [f"{count} model{'s' * (count != 1)}"]
        if instance.service:
            parts.append(f"service {instance.service}")
        parts += [f"{c.name} found in {c.found_in}" for c in instance.credentials if c.found_in]
        if instance.base_url:
            parts.append(f"requests go to {without_query(instance.base_url)} (from {instance.base_url_from})")
        if instance.missing:
            parts.append(f"missing: {', '.join(instance.missing)}")
        yield Finding("backends", name, "ok" if instance.usable else "note", "; ".join(parts))
        for model, install in instance.not_installed.items():
            yield Finding("backends", f"{name}/{model}", "note", f"not installed: {install}")


def _directories(environment: Environment) -> Iterator[Finding]:
    for name, folder in (("state", environment.settings.state_dir), ("working directory", Path.cwd())):
        wrong = _not_writable(folder)
        yield Finding("directories", name, "problem" if wrong else "ok", f"{folder}" + (f": {wrong}" if wrong else ""))


def _not_writable(folder: Path) -> str:
    """Try to write to a directory or its nearest existing parent; return the error, or an empty string."""
    try:
        existing = next(p for p in (folder, *folder.parents) if p.exists())
        with tempfile.TemporaryFile(dir=existing):
            return ""
    except OSError as error:
        return f"cannot write: {os.strerror(error.errno or 0)}"


def _libraries() -> Iterator[Finding]:
    for name in _LIBRARIES:
        version = version_of(name)
        yield Finding("libraries", name, "ok" if version else "note", version or "not installed")


def _codecs() -> Iterator[Finding]:
    for name, check in (("images", _image_codecs), ("video and sound", _av_codecs)):
        try:
            yield Finding("codecs", name, "ok", check())
        except Exception as error:  # noqa: BLE001 - a missing or broken library is a finding
            yield Finding("codecs", name, "note", f"not available ({type(error).__name__})")


def _image_codecs() -> str:
    from PIL import features

    asked: dict[str, Any] = {"png": "zlib", "jpeg": "jpg", "webp": "webp", "avif": "avif"}
    return "writes " + ", ".join(["gif", *(name for name, feature in asked.items() if features.check(feature))])


def _av_codecs() -> str:
    import av

    names = {"libx264": "H.264", "libvpx-vp9": "VP9", "aac": "AAC", "libmp3lame": "MP3", "libopus": "Opus", "flac": "FLAC"}
    return "encodes " + ", ".join(label for codec, label in names.items() if codec in av.codecs_available)

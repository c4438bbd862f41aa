"""What a provider said about its models, per instance and account: corrections of the shipped matrix.

Two sources: an answer that refuses a model (not found, not served, no access) demotes it for a day, and the provider's
own list, saved by ``anymedia models --refresh``, says which models exist and when they are shut down. An overlay is a JSON
file in the state directory; a missing or damaged one is an empty overlay.
"""

from __future__ import annotations

import datetime
import functools
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from ..directories import write_atomically
from ..errors import SettingsError
from ..records import frozen
from .model import CapabilityMatrix, ModelSpec

#: A refused model is not chosen automatically for this many seconds.
DEMOTED_SECONDS = 86_400.0
#: A provider's list counts for this many seconds.
_LIST_SECONDS = 30 * 86_400.0
_TEXT = 400
_MODELS = 5_000


def _log(level: str, text: str, *values: object) -> None:
    import logging  # slow to import, and rarely needed

    getattr(logging.getLogger("anymedia"), level)(text, *values)


@frozen(kw_only=True)
class Overlay:
    """What a provider said about the models of one instance and account.

    Attributes:
        refusals: model -> (time of the refusal in seconds since the epoch, the provider's message).
        listed: the ids in the provider's list, each with its shutdown date if that is given; empty if it was never listed.
        listed_at: time of the list in seconds since the epoch.
    """

    refusals: Mapping[str, tuple[float, str]] = attrs.field(factory=dict, hash=False)
    listed: Mapping[str, datetime.date | None] = attrs.field(factory=dict, hash=False)
    listed_at: float = 0.0

    def demoted(self, matrix: CapabilityMatrix, now: float) -> dict[str, str]:
        """Return the models that are not chosen automatically at a time, each with the reason."""
        missing = f"it is not in the provider's list of {_utc(self.listed_at)[:10]}"
        found = dict.fromkeys(self.not_listed(matrix, now), missing)
        for model, (at, message) in self.refusals.items():
            if 0 <= now - at < DEMOTED_SECONDS:
                until = f"it is not chosen automatically until {_utc(at + DEMOTED_SECONDS)}"
                found[model] = f"the provider refused it for this account on {_utc(at)} ({message}); {until}"
        return found

    def not_listed(self, matrix: CapabilityMatrix, now: float) -> list[str]:
        """Return the models that the provider does not list; none if the list is outdated or has none of the matrix's models."""
        missing = [spec.id for spec in matrix.models if self._name(spec) is None]
        is_current = 0 <= now - self.listed_at < _LIST_SECONDS
        return missing if is_current and len(missing) < len(matrix.models) else []

    def correct(self, matrix: CapabilityMatrix) -> CapabilityMatrix:
        """Return a matrix with the shutdown dates of the provider's list."""
        changed = {}
        for spec in matrix.models:
            day = self.listed.get(self._name(spec) or "")
            if day is not None and day != spec.lifecycle.retires:
                source = f"the provider's list of {_utc(self.listed_at)[:10]}"
                life = attrs.evolve(spec.lifecycle, retires=day, certainty="firm", source=source)
                changed[spec.id] = attrs.evolve(spec, lifecycle=life)
        return attrs.evolve(matrix, models=tuple(changed.get(s.id, s) for s in matrix.models)) if changed else matrix

    def unknown_to(self, matrix: CapabilityMatrix) -> list[str]:
        """Return the listed ids that a matrix does not have."""
        return sorted(model for model in self.listed if matrix.model(model) is None)

    def _name(self, spec: ModelSpec) -> str | None:
        return next((name for name in (spec.id, *spec.aliases) if name in self.listed), None)

    def to_json(self) -> dict[str, Any]:
        """Return the overlay JSON-ready."""
        return {
            "refusals": {model: [at, message] for model, (at, message) in self.refusals.items()},
            "listed": {model: day and day.isoformat() for model, day in self.listed.items()},
            "listed_at": self.listed_at,
        }


def _utc(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")


def _read(raw: Any) -> Overlay:
    """Build an overlay from its JSON.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: it is not one.
    """
    return Overlay(
        refusals={str(model): (float(at), str(message)[:_TEXT]) for model, (at, message) in raw["refusals"].items()},
        listed={str(model): None if day is None else datetime.date.fromisoformat(day) for model, day in raw["listed"].items()},
        listed_at=float(raw["listed_at"]),
    )


@frozen
class OverlayStore:
    """The overlays in a directory, one file per instance and account.

    Attributes:
        directory: where the files are; created on the first write.
    """

    directory: Path

    def load(self, key: str) -> Overlay:
        """Return the overlay of an instance's ``account_key``; an empty one if there is none."""
        path = self.path(key)
        try:
            status = path.stat()
        except OSError:
            return Overlay()
        return _load(path, status.st_mtime_ns, status.st_size)

    def load_for(self, instance: Any) -> Overlay:
        """Return the overlay of an instance; its ``account_key``, which loads OpenSSL, is computed only if there are overlays."""
        try:
            return self.load(instance.account_key) if self.directory.is_dir() else Overlay()
        except (OSError, SettingsError):  # the directory of another user; no key from the system's keyring, as a call will say
            return Overlay()

    def refuse(self, key: str, model: str, message: str, now: float) -> None:
        """Record that a provider refused a model of the instance with an ``account_key``, and its sanitized message."""
        own = self.load(key)
        recent = {name: found for name, found in own.refusals.items() if 0 <= now - found[0] < DEMOTED_SECONDS}
        self._write(key, attrs.evolve(own, refusals={**recent, model: (now, message[:_TEXT])}))

    def accept(self, key: str, model: str) -> None:
        """Forget the refusal of a model that the provider has accepted."""
        own = self.load(key)
        if model in own.refusals:
            self._write(key, attrs.evolve(own, refusals={name: found for name, found in own.refusals.items() if name != model}))

    def list_models(self, key: str, models: Mapping[str, datetime.date | None], now: float) -> Overlay:
        """Replace the provider's list of an instance, see `Overlay.listed`; return the new overlay."""
        found = attrs.evolve(self.load(key), listed=dict(itertools.islice(models.items(), _MODELS)), listed_at=now)
        self._write(key, found)
        return found

    def path(self, key: str) -> Path:
        """Return the file of an instance's overlay."""
        return self.directory / f"{key}.json"

    def _write(self, key: str, overlay: Overlay) -> None:
        try:
            write_atomically(self.path(key), json.dumps(overlay.to_json()).encode())
        except OSError as error:
            _log("warning", "the overlay of %s cannot be written: %s", key, error.strerror)


@functools.lru_cache(maxsize=64)
def _load(path: Path, modified: int, size: int) -> Overlay:
    """Read an overlay; ``modified`` (nanoseconds) and ``size`` (bytes) invalidate the cached one."""
    try:
        return _read(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        _log("debug", "the overlay %s is ignored: %s", path.name, type(error).__name__)
        return Overlay()

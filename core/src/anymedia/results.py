"""Piece and Outcome (what a hook returns), Job and its states, Result (what a caller gets)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from .adjustments import Adjustment, AdjustmentKind
from .errors import BackendError, Delivery, PluginContractError
from .media import without_query

__all__ = [
    "Adjustment",
    "AdjustmentKind",
    "Attempt",
    "ContinuationData",
    "Cost",
    "Failed",
    "Job",
    "JobState",
    "MediaFile",
    "Outcome",
    "Piece",
    "Provenance",
    "Result",
    "Running",
    "Succeeded",
    "Warning",
    "to_warnings",
]


@attrs.frozen
class Warning:
    """Something the caller should know about a plan or a result.

    Attributes:
        code: a stable identifier (``fewer_pieces``, ``size_differs``, ``backend_note`` ...).
        text: the sentence for a person; it quotes the provider's text, if at all.
    """

    code: str
    text: str

    def __str__(self) -> str:
        """Return the sentence."""
        return self.text

    def to_json(self) -> dict[str, str]:
        """Return the warning JSON-ready."""
        return {"code": self.code, "text": self.text}


def to_warnings(values: Iterable[Warning | str | Mapping[str, str]], code: str = "backend_note") -> tuple[Warning, ...]:
    """Return warnings without duplicates.

    Args:
        values: warnings, their JSON, or plain texts (from plugins, and from journals of the first edition).
        code: the code given to plain texts.
    """
    found = [Warning(code, v) if isinstance(v, str) else Warning(v["code"], v["text"]) if isinstance(v, Mapping) else v for v in values]
    return tuple(dict.fromkeys(found))


@attrs.frozen(kw_only=True)
class ContinuationData:
    """What a backend needs to go on from a piece: JSON only, no bytes; short-lived URLs go into ``secret``.

    What is no JSON, or a file as a data URL, is not kept: the result says so, and only the piece itself can be gone on from.

    Attributes:
        data: provider ids and the like (JSON).
        secret: signed URLs and the like (JSON); kept in memory or in a private column.
        expires_at: when the provider forgets it, seconds since the epoch.
    """

    data: Mapping[str, Any] = attrs.field(factory=dict, hash=False)
    secret: Mapping[str, Any] = attrs.field(factory=dict, hash=False, repr=False)
    expires_at: float | None = None


@attrs.frozen(kw_only=True)
class Piece:
    """One image, video or sound of an outcome: bytes, a URL to fetch, or an async byte stream (just one).

    Attributes:
        data: the provider's bytes, verbatim.
        url: where the core fetches it.
        headers: what goes along with the url (the key, say; never shown), to the hosts the instance declares alone.
        stream: a function that opens the byte stream, called anew for each try; it is given the offset to
            start at (0, or more when a broken download is taken up again) and yields byte chunks, or raises
            ValueError for an offset it cannot start at.
        mime: the provider's own claim; the bytes decide.
        continuation: how to go on from this piece; without one the core uses the collected file alone.
        text: words that came with it (a revised prompt, lyrics).
    """

    data: bytes | None = attrs.field(default=None, repr=lambda d: "None" if d is None else f"<{len(d)} bytes>")
    url: str | None = attrs.field(default=None, repr=lambda u: repr(u and without_query(u)))
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False, hash=False)
    stream: Callable[[int], AsyncIterator[bytes]] | None = attrs.field(default=None, repr=False)
    mime: str | None = None
    continuation: ContinuationData | None = None
    text: str | None = None

    def __attrs_post_init__(self) -> None:
        if sum(x is not None for x in (self.data, self.url, self.stream)) != 1:
            raise PluginContractError("a Piece takes just one of data, url and stream")


def _pieces(value: Iterable[Piece]) -> tuple[Piece, ...]:
    return tuple(value)


def _notes(value: Iterable[Warning | str]) -> tuple[Warning | str, ...]:
    return tuple(value)


@attrs.frozen(kw_only=True)
class Outcome:
    """What a hook returns when the work is done.

    Attributes:
        pieces: what was made, at least one.
        continued_as: for continue_video, what going on meant (extend, edit, remix).
        cost_usd: what the provider says it cost; None when it does not say.
        usage: the provider's usage numbers (JSON).
        request_id: the provider's id of the exchange.
        warnings: for the caller; plain text gets the code ``backend_note``.
    """

    pieces: tuple[Piece, ...] = attrs.field(converter=_pieces)
    continued_as: str | None = None
    cost_usd: float | None = None
    usage: Mapping[str, Any] = attrs.field(factory=dict, hash=False)
    request_id: str | None = None
    warnings: tuple[Warning | str, ...] = attrs.field(default=(), converter=_notes)


@attrs.frozen(kw_only=True)
class Job:
    """Work running at the provider, known by a handle. JSON only: any process may pick it up.

    Attributes:
        id: the provider's own id of it.
        data: what else ``check_job`` needs (JSON; no secrets).
        poll_after: seconds the provider asks to wait before the first look.
        expires_at: when the provider forgets it, seconds since the epoch.
    """

    id: str
    data: Mapping[str, Any] = attrs.field(factory=dict, hash=False)
    poll_after: float | None = None
    expires_at: float | None = None


@attrs.frozen(kw_only=True)
class Running:
    """Still at work.

    Attributes:
        progress: how far it is, from 0 to 1; None where that is not known.
        note: a few words for whoever waits.
        poll_after: seconds the provider asks to wait before the next look.
    """

    progress: float | None = None
    note: str = ""
    poll_after: float | None = None


@attrs.frozen(kw_only=True)
class Succeeded:
    """The job is done; here is what it made."""

    outcome: Outcome


@attrs.frozen(kw_only=True)
class Failed:
    """The job ended without a result, for good (a failed look, or one that finds no job, is raised instead, and looked at again)."""

    error: BackendError


JobState = Running | Succeeded | Failed


@attrs.frozen(kw_only=True)
class MediaFile:
    """A collected, checked file: what its bytes really are. Pixels and seconds where they apply."""

    path: Path
    mime: str
    size: int
    sha256: str
    width: int | None = None
    height: int | None = None
    seconds: float | None = None
    continuation_id: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it JSON-ready, without what is not known."""
        out = {
            "path": str(self.path),
            "mime": self.mime,
            "bytes": self.size,
            "sha256": self.sha256,
            "width": self.width,
            "height": self.height,
            "seconds": self.seconds,
            "continuation_id": self.continuation_id,
        }
        return {k: v for k, v in out.items() if v is not None}


@attrs.frozen(kw_only=True)
class Cost:
    """US dollars: quoted beforehand as (low, high) or None for unknown; actual where known; and on what basis."""

    quoted_usd: tuple[float, float] | None = None
    actual_usd: float | None = None
    basis: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return it JSON-ready; unknown is null, never 0."""
        quoted = None if self.quoted_usd is None else list(self.quoted_usd)
        return {"quoted_usd": quoted, "actual_usd": self.actual_usd, "basis": self.basis}


@attrs.frozen(kw_only=True)
class Attempt:
    """One submit that did not work out, and what is known of its delivery."""

    backend: str
    model: str
    error: str
    delivery: Delivery | None = None


@attrs.frozen(kw_only=True)
class Provenance:
    """Who made it: backend, model, the provider's request ids, and a disclosure where the maker asks for one."""

    backend: str
    model: str
    request_ids: tuple[str, ...] = ()
    disclosure: str = ""


@attrs.frozen(kw_only=True)
class Result:
    """What a caller gets: files, a handle to go on from, and everything that was adjusted.

    Attributes:
        seconds: wall time of the whole call.
        continued_as: what going on meant, for continue_video.
        outside_mask_difference: with a mask image, the mean absolute difference (0 to 255) of the pixels outside
            the mask between source and what the provider returned; None where it was not measured.
    """

    operation: str
    files: tuple[MediaFile, ...]
    provenance: Provenance
    job_id: str
    continuation_id: str | None = None
    continued_as: str | None = None
    adjustments: tuple[Adjustment, ...] = ()
    warnings: tuple[Warning, ...] = ()
    cost: Cost = Cost()
    attempts: tuple[Attempt, ...] = ()
    seconds: float = 0.0
    outside_mask_difference: float | None = None
    texts: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """The first file's path."""
        return self.files[0].path

    def to_json(self) -> dict[str, Any]:
        """Return the result as an agent gets it (JSON-ready)."""
        out: dict[str, Any] = {
            "success": True,
            "operation": self.operation,
            "backend": self.provenance.backend,
            "model": self.provenance.model,
            "files": [f.to_json() for f in self.files],
            "continuation_id": self.continuation_id,
            "job_id": self.job_id,
            "adjustments": [attrs.asdict(a) for a in self.adjustments],
            "ignored": [a.field for a in self.adjustments if a.kind == "ignored"],
            "warnings": [w.to_json() for w in self.warnings],
            "cost": self.cost.to_json(),
            "seconds": round(self.seconds, 3),
        }
        optional: dict[str, Any] = {
            "continued_as": self.continued_as,
            "outside_mask_difference": self.outside_mask_difference,
            "attempts": [attrs.asdict(a) for a in self.attempts] or None,
            "texts": list(self.texts) or None,
            "disclosure": self.provenance.disclosure or None,
        }
        return out | {k: v for k, v in optional.items() if v is not None}

"""Piece, Outcome and Job (returned by hooks), the states of a job, Result (returned to callers)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import attrs

from .errors import BackendError, Delivery, PluginContractError
from .media import without_query
from .media_view import MediaView, html_of, save_file
from .notes import Adjustment, AdjustmentKind, Warning, to_warnings
from .records import frozen

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


@frozen(kw_only=True)
class ContinuationData:
    """Continuation data of one piece: JSON only, no bytes; short-lived URLs belong into ``secret``.

    Data that is not JSON, or contains a file as a data URL, is not saved; a warning says so, and only the file can be continued.

    Attributes:
        data: provider ids and the like (JSON).
        secret: signed URLs and the like (JSON), stored in a private column.
        expires_at: when it expires at the provider, seconds since the epoch.
    """

    data: Mapping[str, Any] = attrs.field(factory=dict, hash=False)
    secret: Mapping[str, Any] = attrs.field(factory=dict, hash=False, repr=False)
    expires_at: float | None = None


@frozen(kw_only=True)
class Piece:
    """One image, video or sound of an outcome: exactly one of bytes, a URL to fetch, and an async byte stream.

    Attributes:
        data: the provider's bytes, verbatim.
        url: where the core fetches it.
        headers: request headers for the url (credentials, for example; never shown), sent only to the hosts that the instance declares.
        stream: opens the byte stream, once per attempt. Its argument is the offset in bytes to start at (more than 0 when a
            broken download is resumed). It yields chunks, or raises ValueError for an offset that it cannot start at.
        mime: the type that the provider claims; the bytes decide.
        continuation: data for continuing from this piece; without it, the core continues from the saved file only.
        text: text that belongs to the piece (a revised prompt, lyrics).
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
            raise PluginContractError("a Piece needs exactly one of data, url and stream")


def _pieces(value: Iterable[Piece]) -> tuple[Piece, ...]:
    pieces = tuple(value)
    for piece in pieces:
        if not isinstance(piece, Piece):
            hint = " (its to_piece() makes one)" if hasattr(piece, "to_piece") else ""
            raise TypeError(f"a piece of an Outcome must be a Piece, not {type(piece).__name__}{hint}")
    return pieces


def _notes(value: Iterable[Warning | str]) -> tuple[Warning | str, ...]:
    return tuple(value)


@frozen(kw_only=True)
class Outcome:
    """What a hook returns when the work is done.

    Attributes:
        pieces: the generated media, at least one piece; none from a task that returns JSON or text.
        data: what a task returns that is not media: JSON values or a text, of at most a million characters.
        continued_as: for continue_video, how it was continued (extend, edit, remix).
        cost_usd: the cost in US dollars; None if it is not known.
        cost_basis: where ``cost_usd`` comes from, if it was computed, such as from token rates; empty if the provider reports it.
        usage: the provider's usage figures (JSON).
        request_id: the provider's id of the request.
        warnings: for the caller; plain text gets the code ``backend_note``.
    """

    pieces: tuple[Piece, ...] = attrs.field(default=(), converter=_pieces)
    data: Any = attrs.field(default=None, hash=False)
    continued_as: str | None = None
    cost_usd: float | None = None
    cost_basis: str = ""
    usage: Mapping[str, Any] = attrs.field(factory=dict, hash=False)
    request_id: str | None = None
    warnings: tuple[Warning | str, ...] = attrs.field(default=(), converter=_notes)


@frozen(kw_only=True)
class Job:
    """An asynchronous job at the provider. JSON only, so that any process can continue it.

    Attributes:
        id: the provider's id of the job.
        data: what else ``check_job`` needs (JSON; no secrets).
        poll_after: seconds to wait before the first status check, as requested by the provider.
        expires_at: when the job expires at the provider, seconds since the epoch.
    """

    id: str
    data: Mapping[str, Any] = attrs.field(factory=dict, hash=False)
    poll_after: float | None = None
    expires_at: float | None = None


@frozen(kw_only=True)
class Running:
    """The job is still running.

    Attributes:
        progress: from 0 to 1; None if unknown.
        note: a short text for the person who waits.
        poll_after: seconds to wait before the next status check, as requested by the provider.
    """

    progress: float | None = None
    note: str = ""
    poll_after: float | None = None


@frozen(kw_only=True)
class Succeeded:
    """The job is done."""

    outcome: Outcome


@frozen(kw_only=True)
class Failed:
    """The job has failed for good; a status check that fails, or does not find the job, raises instead and is repeated."""

    error: BackendError


JobState = Running | Succeeded | Failed


@frozen(kw_only=True)
class MediaFile(MediaView):
    """A saved file with the facts read from its bytes; pixels and seconds where they apply.

    ``url``: where the artifacts are in object storage, a link that anyone can read the file by for an hour.
    It is path-like (``open(file)``), can be an input of a request, and a notebook shows it. See `MediaView` for its contents.
    """

    path: Path
    mime: str
    size: int
    sha256: str
    width: int | None = None
    height: int | None = None
    seconds: float | None = None
    continuation_id: str | None = None
    url: str | None = attrs.field(default=None, eq=False, repr=False)

    def to_json(self) -> dict[str, Any]:
        """Return the file JSON-ready, without unknown values and without its link."""
        facts = {name: getattr(self, name) for name in ("sha256", "width", "height", "seconds", "continuation_id")}
        out = {"path": str(self.path), "mime": self.mime, "bytes": self.size} | facts
        return {k: v for k, v in out.items() if v is not None}

    def __str__(self) -> str:
        """Return one line: type, size in pixels, seconds, path."""
        facts = [self.mime, *([f"{self.width}x{self.height}"] if self.width else []), *([f"{self.seconds:.1f} s"] if self.seconds else [])]
        return f"{' '.join(facts)} {self.path}"


@frozen(kw_only=True)
class Cost:
    """US dollars: the quote as (low, high), the actual cost (both None if unknown), and their basis."""

    quoted_usd: tuple[float, float] | None = None
    actual_usd: float | None = None
    basis: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the cost JSON-ready; unknown is null, never 0."""
        quoted = None if self.quoted_usd is None else list(self.quoted_usd)
        return {"quoted_usd": quoted, "actual_usd": self.actual_usd, "basis": self.basis}


@frozen(kw_only=True)
class Attempt:
    """One submit that failed, and whether it was delivered."""

    backend: str
    model: str
    error: str
    delivery: Delivery | None = None


@frozen(kw_only=True)
class Provenance:
    """The origin of a result: backend, model, the provider's request ids, and a disclosure if the provider requires one."""

    backend: str
    model: str
    request_ids: tuple[str, ...] = ()
    disclosure: str = ""


@frozen(kw_only=True, repr=False)
class Result(MediaView):
    """The result of a run: files, a continuation id, and everything that was adjusted.

    ``path``, ``bytes``, ``pil()``, ``numpy()`` and ``show()`` are those of the first file; `save` and a notebook's display are for all.
    It is path-like and can be an input of the next request.

    Attributes:
        seconds: wall time of the whole run.
        continued_as: for continue_video, how it was continued.
        outside_mask_difference: with a mask image, the mean absolute difference (0 to 255) of the pixels outside
            the mask between the source and the provider's image; None if it was not measured.
        data: what a task has returned that is not media (JSON or text); such a result may have no files.
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
    data: Any = attrs.field(default=None, hash=False)

    @property
    def path(self) -> Path:
        """The first file's path; without an ``output``, a read-only artifact that exists as long as this process."""
        return self._first.path

    @property
    def url(self) -> str | None:
        """The first file's link, see `MediaFile`."""
        return self._first.url

    @property
    def _first(self) -> MediaFile:
        if not self.files:
            raise ValueError(f"{self.operation} has returned data, not files: see result.data")
        return self.files[0]

    @property
    def mime(self) -> str:
        """The first file's type."""
        return self._first.mime

    @property
    def data_text(self) -> str:
        """`data` as text: a text as it is, anything else as JSON."""
        return self.data if isinstance(self.data, str) else json.dumps(self.data, ensure_ascii=False)

    def save(self, path: str | PathLike[str], *, overwrite: bool = True) -> Path:
        """Save all files; see `MediaView.save`. Several are numbered (``fox-1.png``, ``fox-2.png``)."""
        saved = [save_file(file, path, i, len(self.files), overwrite=overwrite) for i, file in enumerate(self.files)]
        return saved[0]

    def __repr__(self) -> str:
        made_by = f"{self.provenance.backend}/{self.provenance.model}"
        made = ", ".join(map(str, self.files)) or "data"
        return f"<Result of {self.operation} by {made_by}: {made}>"

    def _repr_html_(self) -> str:
        return "\n".join(map(html_of, self.files))

    def to_json(self) -> dict[str, Any]:
        """Return the result JSON-ready."""
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
            "data": self.data,
            "disclosure": self.provenance.disclosure or None,
        }
        return out | {k: v for k, v in optional.items() if v is not None}

"""Records and continuations <-> columns of plain values and JSON text; requests, jobs, outcomes and errors <-> JSON; bytes are refused."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, cast

import attrs
import msgspec

from ..credentials import Secret
from ..errors import BackendError, Fix, MediaError, PluginContractError, Problem
from ..fields import names_of
from ..media import Media
from ..requests import Continuation, Mask, Reference, Request, StoredFile
from ..results import ContinuationData, Job, Outcome, Piece, to_warnings
from .store import CallRecord, CallState, NewCall

#: A media file as text: a data URL with more than a token amount of base64.
_DATA_URL = re.compile(r'"data:[^",]{0,200};base64,[^"]{64}')
_JSON_COLUMNS = ("request", "plan", "target", "attempts", "job", "outcome", "secret", "result", "error")
_PLAIN_COLUMNS = (
    *("id", "run", "index", "state", "backend", "model", "operation", "idempotency_key", "session"),
    *("created_at", "updated_at", "submits", "cost_usd", "owner", "lease_until", "fence"),
    *("realm", "account", "project", "run_key", "conflict", "priority"),
)
#: What the journal has in place of a secret option.
HIDDEN = "***"
_FILE_COLUMNS = tuple(field.name for field in attrs.fields(StoredFile))
#: The columns of an encoded call. The reserved amount is stored in the ledger only.
CALL_COLUMNS: tuple[str, ...] = (*_PLAIN_COLUMNS, "quote_low", "quote_high", *_JSON_COLUMNS, "provider_job")
#: What msgspec raises for JSON that only `json` writes (large integers, lone surrogates) and for values that are not JSON.
_NOT_ORDINARY = (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError)
_encoder, _decoder = msgspec.json.Encoder(), msgspec.json.Decoder()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def dump(value: Any, where: str) -> str:
    """Return a value as JSON text; ``where``: what it is, for the error message.

    Raises:
        PluginContractError: bytes, NaN or anything else that is not JSON.
    """
    # Much faster than `json`, which is left what decodes to another value here: bytes, NaN and tuples.
    with contextlib.suppress(*_NOT_ORDINARY):
        if _decoder.decode(encoded := _encoder.encode(value)) == value:
            return encoded.decode()
    try:
        return json.dumps(value, default=_plain, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        detail = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise PluginContractError(f"{where} must be plain JSON, without bytes: {detail}") from None


def check_storable(value: Any, where: str) -> str:
    """Return a value as JSON text, if a store may contain it.

    Raises:
        PluginContractError: not JSON (see `dump`), or media as a data URL.
    """
    text = dump(value, where)
    if ";base64," in text and _DATA_URL.search(text):
        raise PluginContractError(f"{where} contains media as a data URL; a store accepts paths, checksums and provider ids only")
    return text


def check_call(call: NewCall) -> None:
    """Refuse a call that cannot be stored.

    Raises:
        PluginContractError: bytes or a data URL in its JSON, or text that is not Unicode.
    """
    for name in ("id", "run", "backend", "model", "operation", "idempotency_key", "session"):
        try:
            getattr(call, name).encode()
        except (UnicodeEncodeError, AttributeError):
            raise PluginContractError(f"{name} of a call must be Unicode text") from None
    for name in ("request", "plan", "target"):
        check_storable(getattr(call, name), f"{name} of call {call.id!r}")


def encode_call(record: CallRecord) -> dict[str, Any]:
    """Return a record as columns of plain values (`CALL_COLUMNS`)."""
    row: dict[str, Any] = {name: getattr(record, name) for name in _PLAIN_COLUMNS}
    low, high = record.quote_usd or (None, None)
    row |= {"quote_low": low, "quote_high": high}
    for name in _JSON_COLUMNS:
        value = getattr(record, name)
        row[name] = None if value is None else dump(value, f"{name} of call {record.id!r}")
    row["provider_job"] = None if record.job is None else str(record.job.get("id"))
    return row


def decode_call(row: Mapping[str, Any], reserved_usd: float, read_at: float) -> CallRecord:
    """Return the record that `encode_call` wrote; ``reserved_usd`` comes from the ledger."""
    fields: dict[str, Any] = {name: row[name] for name in _PLAIN_COLUMNS}
    fields |= {name: None if row[name] is None else json.loads(row[name]) for name in _JSON_COLUMNS}
    fields["attempts"] = tuple(fields["attempts"] or ())
    fields["state"] = cast(CallState, row["state"])
    quote = None if row["quote_high"] is None else (row["quote_low"], row["quote_high"])
    return CallRecord(quote_usd=quote, reserved_usd=reserved_usd, read_at=read_at, **fields)


def encode_continuation(continuation: Continuation) -> tuple[str, str]:
    """Return a continuation as two JSON texts: the public part and the secret part.

    Raises:
        PluginContractError: it names no backend, or contains bytes.
    """
    where = f"continuation {continuation.id!r}"
    if not continuation.resolved:
        raise PluginContractError(f"{where} names no backend; only a resolved continuation can be saved")
    shown = {field.name: getattr(continuation, field.name) for field in attrs.fields(Continuation) if field.name != "secret"}
    shown["files"] = [{name: getattr(file, name) for name in _FILE_COLUMNS} for file in continuation.files]
    return check_storable(shown, where), check_storable(continuation.secret, f"the secret part of {where}")


def decode_continuation(shown: str, secret: str) -> Continuation:
    """Return the continuation that `encode_continuation` wrote."""
    fields = json.loads(shown)
    fields["files"] = tuple(StoredFile(**file) for file in fields["files"])
    return Continuation(secret=json.loads(secret), **fields)


def request_json(request: Request) -> dict[str, Any]:
    """Return a request as the journal keeps it: inputs by where they come from, bytes by their checksum."""
    return {"kind": request.kind, **_fields(request)}


def _fields(thing: Any) -> dict[str, Any]:
    given = {name: value for name in names_of(thing) if (value := getattr(thing, name)) not in (None, (), {})}
    return {name: stored for name, value in given.items() if (stored := _stored(value)) not in (None, [], {})}


def _stored(value: Any) -> Any:
    if isinstance(value, str | int | float):
        return value
    if isinstance(value, Secret):
        return HIDDEN
    if isinstance(value, Media):
        if value.data is not None:
            import hashlib

            return f"sha256:{hashlib.sha256(value.data).hexdigest()}"
        return str(value)
    if isinstance(value, Continuation):
        return value.id
    if isinstance(value, Mask | Reference):
        return _fields(value)
    if isinstance(value, tuple | list):
        return [_stored(v) for v in value]
    if isinstance(value, Mapping):
        return {k: _stored(v) for k, v in value.items()}
    return value


#: A provider's time that is further away, in seconds, is not in seconds.
_LONGEST_EXPIRY = 10 * 366 * 86_400.0


def plausible_expiry(expires_at: object, now: float) -> float | None:
    """Return when something expires at the provider, in seconds since the epoch; None where it says nothing plausible.

    A time that has passed when it is received, or is years away, shows another unit or a clock that differs.
    """
    if isinstance(expires_at, bool) or not isinstance(expires_at, int | float) or not now < expires_at < now + _LONGEST_EXPIRY:
        return None
    return float(expires_at)


def job_json(job: Job, now: float) -> dict[str, Any]:
    """Return a job handle, received at a time on the store's clock, as JSON."""
    expires_at = plausible_expiry(job.expires_at, now)
    return {"id": job.id, "data": dict(job.data), "poll_after": job.poll_after, "expires_at": expires_at}


def job_from_json(raw: Mapping[str, Any]) -> Job:
    """Return the job handle that `job_json` wrote."""
    return Job(id=raw["id"], data=raw["data"], poll_after=raw["poll_after"], expires_at=raw["expires_at"])


def outcome_json(outcome: Outcome, artifacts: Mapping[int, str], now: float) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return an outcome as JSON in two parts: what may be shown, and the URLs and handles that may not.

    Headers are left out: they contain keys, and the provider can be asked for the job again. ``artifacts``: index of a piece -> key of the
    artifact with its bytes.
    """
    pieces, secret = [], []
    for index, piece in enumerate(outcome.pieces):
        given = piece.continuation
        kept = None if given is None else {"data": dict(given.data), "expires_at": plausible_expiry(given.expires_at, now)}
        pieces.append({"mime": piece.mime, "text": piece.text, "continuation": kept, "artifact": artifacts.get(index)})
        hidden = piece.url if piece.url is not None and not piece.headers else None
        secret.append({"url": hidden, "continuation": dict(given.secret) if given else {}})
    shown = {
        "pieces": pieces,
        "continued_as": outcome.continued_as,
        "data": outcome.data,
        "cost_usd": outcome.cost_usd,
        "cost_basis": outcome.cost_basis,
        "usage": dict(outcome.usage),
        "request_id": outcome.request_id,
        "warnings": [warning.to_json() for warning in to_warnings(outcome.warnings)],
    }
    return shown, {"pieces": secret}


def outcome_from_json(
    raw: Mapping[str, Any], secret: Mapping[str, Any] | None, stored: Mapping[int, Callable[[int], AsyncIterator[bytes]]]
) -> Outcome | None:
    """Return the outcome that `outcome_json` was called with, or None if a piece is available only from the provider.

    ``stored``: index of a piece -> opens its bytes in the artifact store.
    """
    hidden = (secret or {}).get("pieces") or [{} for _ in raw["pieces"]]
    pieces = []
    for index, (kept, apart) in enumerate(zip(raw["pieces"], hidden, strict=True)):
        if index not in stored and not apart.get("url"):
            return None
        given = kept["continuation"]
        continuation = None if given is None else ContinuationData(**given, secret=apart.get("continuation") or {})
        source: dict[str, Any] = {"url": apart["url"]} if apart.get("url") else {"stream": stored[index]}
        pieces.append(Piece(mime=kept["mime"], text=kept["text"], continuation=continuation, **source))
    rest = {k: raw[k] for k in ("continued_as", "cost_usd", "usage", "request_id")} | {
        "cost_basis": raw.get("cost_basis", ""),
        "data": raw.get("data"),
    }
    return Outcome(pieces=tuple(pieces), warnings=to_warnings(raw["warnings"]), **rest)


def error_json(error: BaseException) -> dict[str, Any]:
    """Return an error as the journal keeps it."""
    if isinstance(error, MediaError):
        out = error.to_json()
        if isinstance(error, BackendError):
            out["delivery"] = error.delivery
        return out | ({"kept": error.kept} if error.kept else {})
    return {"code": "internal", "message": type(error).__name__}


def cost_of(error: BaseException) -> float | None:
    """Return what a call that failed has cost in US dollars, where the provider said so."""
    return error.cost_usd if isinstance(error, BackendError) else None


def error_from_json(raw: Mapping[str, Any]) -> MediaError:
    """Return an error like the one that `error_json` wrote: its class by its code, its words, what is charged."""
    found = _class_of(MediaError, str(raw.get("code"))) or MediaError
    message = str(raw.get("message", "it failed"))
    error = found([Problem(**p) for p in raw["problems"]]) if "problems" in raw else found(message)  # type: ignore[arg-type]
    error.fix, error.job_id, error.kept = str(raw.get("fix", "")), raw.get("job_id"), str(raw.get("kept", ""))
    if raw.get("action"):
        error.action = Fix(**raw["action"])
    error.provider_message = str(raw.get("provider_message", ""))
    error.retry, error.charged = bool(raw.get("retry")), raw.get("charged", "unknown")
    if isinstance(error, BackendError):
        error.backend, error.model = raw.get("backend", ""), raw.get("model", "")
        error.request_id, error.delivery = raw.get("request_id"), raw.get("delivery")
    return error


def _class_of(base: type[MediaError], code: str) -> type[MediaError] | None:
    if base.code == code:
        return base
    return next((found for sub in base.__subclasses__() if (found := _class_of(sub, code))), None)

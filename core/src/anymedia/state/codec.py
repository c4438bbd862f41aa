"""Conversion of records and continuations to and from columns: plain values and JSON text; bytes are refused."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, cast

import attrs
import msgspec

from ..errors import PluginContractError
from ..requests import Continuation, StoredFile
from .store import CallRecord, CallState, NewCall

__all__ = [
    "CALL_COLUMNS",
    "check_call",
    "check_storable",
    "decode_call",
    "decode_continuation",
    "dump",
    "encode_call",
    "encode_continuation",
]

#: A media file as text: a data URL with more than a token amount of base64.
_DATA_URL = re.compile(r'"data:[^",]{0,200};base64,[^"]{64}')
_JSON_COLUMNS = ("request", "plan", "target", "attempts", "job", "outcome", "secret", "result", "error")
_PLAIN_COLUMNS = (
    *("id", "run", "index", "state", "backend", "model", "operation", "idempotency_key", "session"),
    *("created_at", "updated_at", "submits", "cost_usd", "owner", "lease_until", "fence"),
    *("realm", "account", "project", "run_key", "conflict"),
)
_FILE_COLUMNS = tuple(field.name for field in attrs.fields(StoredFile))
#: The columns of an encoded call. The reserved amount is stored in the ledger only.
CALL_COLUMNS: tuple[str, ...] = (*_PLAIN_COLUMNS, "quote_low", "quote_high", *_JSON_COLUMNS, "provider_job")
#: What msgspec raises for JSON that only `json` writes (large integers, lone surrogates) and for values that are not JSON.
_NOT_ORDINARY = (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError)
_encoder, _decoder = msgspec.json.Encoder(), msgspec.json.Decoder()


def _fast_json(value: Any) -> str | None:
    """Return a value's JSON, or None where decoding it gives another value, as for bytes, NaN and tuples.

    Much faster than `json`; whatever it cannot handle is left to `json`.
    """
    try:
        text = _encoder.encode(value)
        return text.decode() if _decoder.decode(text) == value else None
    except _NOT_ORDINARY:
        return None


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def dump(value: Any, where: str) -> str:
    """Return a value as JSON text.

    Args:
        value: the value.
        where: what it is, for the error message.

    Raises:
        PluginContractError: bytes, NaN or anything else that is not JSON.
    """
    if (found := _fast_json(value)) is not None:
        return found
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

"""Rows and continuations as JSON text and plain values; bytes are refused. The same for all stores."""

from __future__ import annotations

import json
import marshal
import re
from collections.abc import Mapping
from typing import Any, cast

import attrs
import msgspec

from ..errors import PluginContractError
from ..requests import Continuation, StoredFile
from .store import CallRecord, CallState, NewCall, changed

__all__ = [
    "CALL_COLUMNS",
    "decode_call",
    "decode_continuation",
    "dump",
    "encode_call",
    "encode_continuation",
    "handed_out",
    "jsonable",
    "own_columns",
    "own_copies",
]

#: A media file as text: a data URL with more than a token amount of base64.
_DATA_URL = re.compile(r'"data:[^",]{0,200};base64,[^"]{64}')
_JSON_COLUMNS = ("request", "plan", "target", "attempts", "job", "outcome", "secret", "result", "error")
_PLAIN_COLUMNS = (
    *("id", "run", "index", "state", "backend", "model", "operation", "idempotency_key", "session"),
    *("created_at", "updated_at", "submits", "cost_usd", "owner", "lease_until", "fence"),
)
_FILE_COLUMNS = tuple(field.name for field in attrs.fields(StoredFile))
#: The columns of an encoded call; what is reserved for it stands in the ledger alone.
CALL_COLUMNS: tuple[str, ...] = (*_PLAIN_COLUMNS, "quote_low", "quote_high", *_JSON_COLUMNS)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


#: What msgspec raises for JSON that only `json` writes (endless integers, half characters) and for what is none.
_NOT_ORDINARY = (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError)
_writer, _reader = msgspec.json.Encoder(), msgspec.json.Decoder()


def _round_trip(value: Any) -> tuple[bytes, Any] | None:
    """Return a value's JSON and what comes back from it; None where the two differ, as bytes, NaN and tuples do.

    Much quicker than `json`, and all that is ordinary gets through; what does not is judged by `json`.
    """
    try:
        text = _writer.encode(value)
        back = _reader.decode(text)
        return (text, back) if back == value else None
    except _NOT_ORDINARY:
        return None


def dump(value: Any, where: str) -> str:
    """Return a value as JSON text.

    Raises:
        PluginContractError: for bytes, NaN and everything else that is not JSON; ``where`` says what it was.
    """
    if (found := _round_trip(value)) is not None:
        return found[0].decode()
    try:
        return json.dumps(value, default=_plain, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        detail = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise PluginContractError(f"{where} must be plain JSON, without bytes: {detail}") from None


def jsonable(value: Any, where: str) -> Any:
    """Return a value as it comes back from a store (a copy; tuples become lists); refuses what `dump` refuses."""
    found = _round_trip(value)
    return json.loads(dump(value, where)) if found is None else found[1]


def _without_media(value: Any, where: str) -> tuple[str, Any]:
    """Return a value's JSON and a copy of the value; refuses what `dump` refuses, and media."""
    found = _round_trip(value)
    text = dump(value, where) if found is None else found[0].decode()
    if ";base64," in text and _DATA_URL.search(text):
        raise PluginContractError(f"{where} holds media as a data URL; a store takes paths, checksums and provider ids only")
    return text, json.loads(text) if found is None else found[1]


def own_columns(call: NewCall) -> dict[str, Any]:
    """Return the JSON of a call so that it shares nothing with its maker, as from a file; refuse one that cannot be written down.

    Raises:
        PluginContractError: for bytes (or media as a data URL) in its JSON, or text that is not Unicode.
    """
    for name in ("id", "run", "backend", "model", "operation", "idempotency_key", "session"):
        try:
            getattr(call, name).encode()
        except (UnicodeEncodeError, AttributeError):
            raise PluginContractError(f"{name} of a call must be Unicode text") from None
    return {name: _without_media(getattr(call, name), f"{name} of call {call.id!r}")[1] for name in ("request", "plan", "target")}


def encode_call(record: CallRecord) -> dict[str, Any]:
    """Return a record as columns of plain values (`CALL_COLUMNS`)."""
    row: dict[str, Any] = {name: getattr(record, name) for name in _PLAIN_COLUMNS}
    low, high = record.quote_usd or (None, None)
    row |= {"quote_low": low, "quote_high": high}
    for name in _JSON_COLUMNS:
        value = getattr(record, name)
        row[name] = None if value is None else dump(value, f"{name} of call {record.id!r}")
    return row


def decode_call(row: Mapping[str, Any], reserved_usd: float) -> CallRecord:
    """Return the record that `encode_call` wrote, with what the ledger holds for it."""
    fields: dict[str, Any] = {name: row[name] for name in _PLAIN_COLUMNS}
    fields |= {name: None if row[name] is None else json.loads(row[name]) for name in _JSON_COLUMNS}
    fields["attempts"] = tuple(fields["attempts"] or ())
    fields["state"] = cast(CallState, row["state"])
    quote = None if row["quote_high"] is None else (row["quote_low"], row["quote_high"])
    return CallRecord(quote_usd=quote, reserved_usd=reserved_usd, **fields)


def own_copies(columns: Mapping[str, Any], call_id: str) -> dict[str, Any]:
    """Return columns of a call that share nothing with their maker, as from a file; refuses what `dump` refuses."""
    own = dict(columns)
    for name in _JSON_COLUMNS:
        value = own.get(name)
        if value is not None and value != ():
            own[name] = jsonable(value, f"{name} of call {call_id!r}")
    return own


def handed_out(record: CallRecord, reserved_usd: float) -> CallRecord:
    """Return a copy of a store's own record that its receiver may change, with what the ledger holds for it."""
    held = {name: value for name in _JSON_COLUMNS if (value := getattr(record, name)) is not None}
    try:  # what has been taken in comes out the same, so there is nothing to compare
        copied: dict[str, Any] = _reader.decode(_writer.encode(held))
    except _NOT_ORDINARY:
        # What only `json` can hold is plain JSON too, in memory, never on disk and from nobody else.
        copied = marshal.loads(marshal.dumps(held))  # noqa: S302
    copied["attempts"] = tuple(copied["attempts"])
    return changed(record, reserved_usd=reserved_usd, **copied)


def encode_continuation(continuation: Continuation) -> tuple[str, str]:
    """Return a continuation as two JSON texts: what may be shown, and its secret.

    Raises:
        PluginContractError: for one that names no backend, or holds bytes.
    """
    where = f"continuation {continuation.id!r}"
    if not continuation.resolved:
        raise PluginContractError(f"{where} names no backend; only a resolved one can be kept")
    shown = {field.name: getattr(continuation, field.name) for field in attrs.fields(Continuation) if field.name != "secret"}
    shown["files"] = [{name: getattr(file, name) for name in _FILE_COLUMNS} for file in continuation.files]
    return _without_media(shown, where)[0], _without_media(continuation.secret, f"the secret part of {where}")[0]


def decode_continuation(shown: str, secret: str) -> Continuation:
    """Return the continuation that `encode_continuation` wrote."""
    fields = json.loads(shown)
    fields["files"] = tuple(StoredFile(**file) for file in fields["files"])
    return Continuation(secret=json.loads(secret), **fields)

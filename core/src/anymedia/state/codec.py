"""Rows and continuations as JSON text and plain values; bytes are refused. The same for all stores."""

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
    "check_keepable",
    "decode_call",
    "decode_continuation",
    "dump",
    "encode_call",
    "encode_continuation",
    "own_texts",
    "texts_of",
    "value_of",
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


def _round_trip(value: Any) -> bytes | None:
    """Return a value's JSON; None where something else comes back from it, as for bytes, NaN and tuples.

    Much quicker than `json`, and all that is ordinary gets through; what does not is judged by `json`.
    """
    try:
        text = _writer.encode(value)
        return text if _reader.decode(text) == value else None
    except _NOT_ORDINARY:
        return None


def _written(value: Any, where: str) -> bytes | str:
    """Return a value as JSON: bytes where `_reader` reads it back as it was, text where only `json` does."""
    if (found := _round_trip(value)) is not None:
        return found
    try:
        return json.dumps(value, default=_plain, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        detail = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise PluginContractError(f"{where} must be plain JSON, without bytes: {detail}") from None


def dump(value: Any, where: str) -> str:
    """Return a value as JSON text.

    Raises:
        PluginContractError: for bytes, NaN and everything else that is not JSON; ``where`` says what it was.
    """
    return _as_text(_written(value, where))


def _as_text(written: bytes | str) -> str:
    return written if isinstance(written, str) else written.decode()


def _without_media(value: Any, where: str) -> bytes | str:
    """Return a value's JSON; refuses what `dump` refuses, and media."""
    text = _written(value, where)
    if (";base64," in text if isinstance(text, str) else b";base64," in text) and _DATA_URL.search(_as_text(text)):
        raise PluginContractError(f"{where} holds media as a data URL; a store takes paths, checksums and provider ids only")
    return text


def check_keepable(value: Any, where: str) -> None:
    """Refuse what no store takes.

    Raises:
        PluginContractError: for what `dump` refuses, and for media as a data URL.
    """
    _without_media(value, where)


def own_texts(call: NewCall) -> dict[str, bytes | str]:
    """Return the JSON columns of a call written down; refuse one that cannot be.

    Raises:
        PluginContractError: for bytes (or media as a data URL) in its JSON, or text that is not Unicode.
    """
    for name in ("id", "run", "backend", "model", "operation", "idempotency_key", "session"):
        try:
            getattr(call, name).encode()
        except (UnicodeEncodeError, AttributeError):
            raise PluginContractError(f"{name} of a call must be Unicode text") from None
    return {name: _without_media(getattr(call, name), f"{name} of call {call.id!r}") for name in ("request", "plan", "target")}


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


def texts_of(columns: Mapping[str, Any], call_id: str) -> dict[str, bytes | str]:
    """Return the columns of a call that are JSON and hold something, written down; refuses what `dump` refuses."""
    held = [(name, value) for name in _JSON_COLUMNS if (value := columns.get(name)) is not None and value != ()]
    return {name: _written(value, f"{name} of call {call_id!r}") for name, value in held}


def value_of(column: str, text: bytes | str) -> Any:
    """Return what `own_texts` and `texts_of` wrote down, shared with nobody."""
    value = json.loads(text) if isinstance(text, str) else _reader.decode(text)
    return tuple(value) if column == "attempts" else value


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
    return _as_text(_without_media(shown, where)), _as_text(_without_media(continuation.secret, f"the secret part of {where}"))


def decode_continuation(shown: str, secret: str) -> Continuation:
    """Return the continuation that `encode_continuation` wrote."""
    fields = json.loads(shown)
    fields["files"] = tuple(StoredFile(**file) for file in fields["files"])
    return Continuation(secret=json.loads(secret), **fields)

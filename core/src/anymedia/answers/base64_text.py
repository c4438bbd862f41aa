"""Decode base64 however it is spelled: data URLs, PEM, line breaks, missing padding, the URL-safe alphabet, JSON escapes.

A text in the usual spelling is decoded straight from where it lies; only an unusual one is copied once.
"""

from __future__ import annotations

import binascii
import json
import re
import urllib.parse
from typing import Literal

import attrs

from ..probe.probe import HEAD, format_of_head

Text = str | bytes | bytearray | memoryview

_SAFE = bytes.maketrans(b"-_", b"+/")
_SPACE = b" \t\r\n\v\f\0"
_QUOTES = b"\"'`"
#: The head of a data URL, with or without its scheme: gateways drop either end of it.
_HEAD = re.compile(
    rb"(?:url\(|b(?=[\"']))?[\s\"'`\xef\xbb\xbf]{0,16}(?P<scheme>data:)?\s{0,9}(?P<mime>[\w.+-]{1,80}\\?/[\w.+-]{1,80})?"
    rb"(?P<parameters>(?:;[\w.+=\"-]{0,80}){0,9}?)(?P<base64>;?\s{0,9}base64[,:])?(?(base64)|,)",
    re.IGNORECASE,
)
_QUOTED_HEAD = re.compile(rb"[\s\"'`]{0,16}data%3a", re.IGNORECASE)
_HEX = re.compile(rb"(?:[0-9a-f]{2})+|(?:[0-9A-F]{2})+")
#: The lines around base64 in PEM (and in uuencode's base64).
_PEM_HEAD = re.compile(
    rb"(?:[\s\"'`\xef\xbb\xbf]|\\[nrt]){0,16}(?:-----BEGIN [^-]{0,80}-----|begin-base64 [0-7]{3,4} [^\s\\]{1,80})", re.IGNORECASE
)
_PEM_END = re.compile(rb"-----END[^-]{0,80}-----|(?<=[\sn])====(?=[\s\\\"]*\Z)", re.IGNORECASE)
#: A data URL's head is not longer than this.
_LONGEST_HEAD = 512


@attrs.frozen
class Base64Text:
    """The payload of a base64 text or data URL, and the mime type it names.

    Attributes:
        payload: what follows the head of the data URL; the whole text where there is none.
        mime: the mime type in the head, in lower case and with its parameters, or None.
        is_data_url: whether there was such a head.
        is_base64: whether the head says so; True without a head.
    """

    payload: Text
    mime: str | None = None
    is_data_url: bool = False
    is_base64: bool = True


def split_data_url(text: Text) -> Base64Text:
    """Split a text into the head of a data URL, where it has one or two, and the payload."""
    start = text[:_LONGEST_HEAD]
    head = start.encode("utf-8", "replace") if isinstance(start, str) else bytes(start)
    if _QUOTED_HEAD.match(head):
        text = urllib.parse.unquote_to_bytes(text if isinstance(text, str) else bytes(text))
        head = text[:_LONGEST_HEAD]
    found = _HEAD.match(head)
    if found is None or not (found["scheme"] or found["base64"]):
        return Base64Text(_without_pem_head(text))
    mime = (found["mime"] or b"").decode("ascii", "replace").replace("\\", "").lower()
    parameters = (found["parameters"] or b"").decode("ascii", "replace")
    end = len(head[: found.end()].decode("utf-8", "replace")) if isinstance(text, str) else found.end()
    own = Base64Text(_without_pem_head(text[end:]), (mime + parameters) or None, is_data_url=True, is_base64=found["base64"] is not None)
    inner = split_data_url(own.payload) if own.is_base64 else own  # a head that was put before a data URL
    return attrs.evolve(inner, mime=inner.mime or own.mime) if inner.is_data_url else own


def _without_pem_head(text: Text) -> Text:
    start = text[:_LONGEST_HEAD]
    found = _PEM_HEAD.match(start.encode("ascii", "replace") if isinstance(start, str) else bytes(start))
    return text[found.end() :] if found else text


def decode_base64(text: Text | Base64Text) -> bytes:
    """Decode base64 in any spelling.

    Args:
        text: the text of a JSON string, or its bytes, with its quotes or without; a data URL's head is skipped. What
            `split_data_url` gave is not split again.

    Raises:
        ValueError: if the text is not base64 in any of its variants; the message never repeats the text.
    """
    found = text if isinstance(text, Base64Text) else split_data_url(text)
    payload = found.payload
    if isinstance(payload, memoryview) and len(payload) > 1 and payload[-1] == _QUOTES[0]:
        payload = payload[payload[0] == _QUOTES[0] : -1]
    if found.is_data_url and not found.is_base64:
        return _percent_encoded(payload)
    try:
        data = binascii.a2b_base64(payload, strict_mode=True) if len(payload) else b""
    except ValueError:
        data = _decode_unusual(payload)
    if format_of_head(data) is None and (layer := _layer(payload, data)) is not None:
        return decode_base64(data) if layer == "base64" else bytes.fromhex(_ascii(payload))
    return data


def _ascii(text: Text) -> str:
    return (text if isinstance(text, str) else bytes(text).decode("ascii", "replace")).strip()


def _layer(payload: Text, data: bytes) -> Literal["hex", "base64"] | None:
    """Say what a text is that is not base64 of media itself: hexadecimal digits, or base64 of base64."""
    start = _ascii(payload[: 4 * HEAD]).encode("ascii", "replace")
    if _HEX.fullmatch(start) and format_of_head(bytes.fromhex(start.decode())) is not None:
        return "hex"
    return "base64" if format_of_head(_head(data[: _LONGEST_HEAD + 4 * HEAD])) is not None else None


def head_of_base64(text: Text) -> bytes:
    """Return the first bytes that a base64 text would give, or nothing where it does not start like base64."""
    payload = split_data_url(text).payload
    head = _head(payload)
    if format_of_head(head) is None and (layer := _layer(payload, _head(payload, 2 * _LONGEST_HEAD))) is not None:
        return _head(_head(payload, 2 * _LONGEST_HEAD)) if layer == "base64" else bytes.fromhex(_ascii(payload[: 2 * HEAD]))
    return head


def _head(text: Text, count: int = HEAD) -> bytes:
    try:
        return _decode_unusual(split_data_url(text).payload[: 4 * count], lenient_end=True)[:count]
    except ValueError:
        return b""


def _percent_encoded(payload: Text) -> bytes:
    """Decode the payload of a data URL that does not call itself base64; some are all the same."""
    if format_of_head(head_of_base64(payload)) is not None:
        return _decode_unusual(payload)
    return urllib.parse.unquote_to_bytes(payload if isinstance(payload, str) else bytes(payload))


def _decode_unusual(text: Text, *, lenient_end: bool = False) -> bytes:
    try:
        raw = text.encode("ascii") if isinstance(text, str) else bytes(text)
    except UnicodeEncodeError:
        raw = _without_marks(str(text))
    raw = _PEM_END.sub(b"", raw)
    if b"%" in raw:
        raw = urllib.parse.unquote_to_bytes(raw)
    if b"\\" in raw:
        raw = _unescaped(raw)
    raw = _with_plus(raw).translate(_SAFE, _SPACE)
    raw = (raw[1:] if raw[:2] in {b"b'", b'b"'} else raw).strip(_QUOTES + b"()")
    # Padding in the middle: pieces that were encoded one by one and joined.
    parts = [part for part in re.split(rb"=+", raw) if part] if b"=" in raw else [raw]
    if lenient_end and parts and len(parts[-1]) % 4 == 1:
        parts[-1] = parts[-1][:-1]
    decoded = [_strictly(part) for part in parts]
    return decoded[0] if len(decoded) == 1 else b"".join(decoded)


def _with_plus(raw: bytes) -> bytes:
    """Put back the plus signs of a text that was read as a form, where its spaces do not break lines."""
    groups = raw.strip(_SPACE + _QUOTES).split(b" ")
    if len(groups) < 2 or b"+" in raw or b"-" in raw or len({len(group) for group in groups[:-1]}) == 1:
        return raw
    return b"+".join(groups)


def _strictly(part: bytes) -> bytes:
    if len(part) % 4 == 1:
        raise ValueError("the base64 text was cut off in the middle of a byte")
    try:
        return binascii.a2b_base64(part + b"=" * (-len(part) % 4), strict_mode=True) if part else b""
    except binascii.Error:
        pass
    if re.search(rb"[^A-Za-z0-9+/]", part):
        raise ValueError("the text holds characters that are not base64")
    return binascii.a2b_base64(part + b"=" * (-len(part) % 4))  # bits beyond the last byte that are not zero


def _without_marks(text: str) -> bytes:
    """Drop byte order marks and invisible spaces; any other character outside ASCII is not base64."""
    try:
        return re.sub("[\ufeff\u200b-\u200d\u2060\u00a0\u2028\u2029]", "", text).encode("ascii")
    except UnicodeEncodeError:
        raise ValueError("the text holds characters that are not base64") from None


def _unescaped(raw: bytes) -> bytes:
    """Undo JSON's escapes in a text that was taken from JSON unread, or encoded twice."""
    try:
        return _without_marks(str(json.loads(b'"' + raw.strip(_SPACE + _QUOTES) + b'"')))
    except ValueError:
        return re.sub(rb"\\[nrt]?", b"", raw)

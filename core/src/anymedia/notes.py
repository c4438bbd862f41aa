"""What changed in a request, and what the caller should know: part of plans and of results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from .records import frozen

AdjustmentKind = Literal["ignored", "snapped", "transcoded", "bridged", "emulated"]


@frozen(kw_only=True)
class Adjustment:
    """One change to a request: field, kind, value before, value after, reason. JSON values only."""

    field: str
    kind: AdjustmentKind
    asked: Any
    sent: Any
    why: str

    def __str__(self) -> str:
        """Return kind, field, both values if they differ, and the reason."""
        change = "" if self.asked == self.sent else f" {_in_words(self.asked, 'not given')} -> {_in_words(self.sent, 'left out')}"
        return f"{self.kind}: {self.field}{change} ({self.why})"


def _in_words(value: Any, absent: str) -> str:
    """Return a value for a message; of equal ones in a list only the first and their number."""
    if isinstance(value, list | tuple):
        return f"{len(value)} times {value[0]}" if len(value) > 2 and len(set(map(str, value))) == 1 else ", ".join(map(str, value))
    return absent if value is None else str(value)


@frozen
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

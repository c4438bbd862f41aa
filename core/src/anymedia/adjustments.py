"""What was done to make a request fit; apart from the results, so that a plan loads none of those."""

from __future__ import annotations

from typing import Any, Literal

import attrs

__all__ = ["Adjustment", "AdjustmentKind"]

AdjustmentKind = Literal["ignored", "snapped", "transcoded", "bridged", "emulated"]


@attrs.frozen(kw_only=True)
class Adjustment:
    """One thing that was done to make a request fit: field, kind, before, after, why. JSON values only."""

    field: str
    kind: AdjustmentKind
    asked: Any
    sent: Any
    why: str

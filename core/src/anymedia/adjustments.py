"""Changes that make a request fit a model; separate from the results, so that planning does not load them."""

from __future__ import annotations

from typing import Any, Literal

import attrs

__all__ = ["Adjustment", "AdjustmentKind"]

AdjustmentKind = Literal["ignored", "snapped", "transcoded", "bridged", "emulated"]


@attrs.frozen(kw_only=True)
class Adjustment:
    """One change to a request: field, kind, value before, value after, reason. JSON values only."""

    field: str
    kind: AdjustmentKind
    asked: Any
    sent: Any
    why: str

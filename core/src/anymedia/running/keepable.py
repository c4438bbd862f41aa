"""What a plugin hands over to be gone on with: what cannot be kept is told and left out, and costs nobody the picture."""

from __future__ import annotations

import math

import attrs

from ..errors import PluginContractError
from ..results import ContinuationData, Outcome
from ..state.codec import check_keepable

__all__ = ["NOT_KEPT", "keepable"]

#: What a result says of data that was not kept; the conformance kit listens for it.
NOT_KEPT = "wanted to go on with was no JSON, or a file in itself, and is not kept"


def keepable(outcome: Outcome, backend: str) -> Outcome:
    """Return an outcome without the continuation data that no store takes, with a warning in their place."""
    lost = [piece for piece in outcome.pieces if piece.continuation is not None and not _is_keepable(piece.continuation)]
    if not lost:
        return outcome
    pieces = tuple([attrs.evolve(piece, continuation=None) if piece in lost else piece for piece in outcome.pieces])
    return attrs.evolve(outcome, pieces=pieces, warnings=(*outcome.warnings, f"what '{backend}' {NOT_KEPT}"))


def _is_keepable(onward: ContinuationData) -> bool:
    expires = onward.expires_at
    if isinstance(expires, bool) or not (expires is None or (isinstance(expires, int | float) and math.isfinite(expires))):
        return False
    try:
        for part in (onward.data, onward.secret):
            check_keepable(dict(part), "it")
    except (PluginContractError, TypeError, ValueError):  # no mapping at all, or one of what is no JSON
        return False
    return True

"""Pixels outside the mask: measured, and copied back from the source where that was asked for."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import attrs

from ..errors import MediaError

__all__ = ["Pasted", "Protection", "paste_back"]


@attrs.frozen(kw_only=True)
class Protection:
    """A masked edit's source, its mask (white = edit) as PNG, and whether the protected pixels are copied back.

    ``places``: the files that source and mask were read from; None for what was none.
    """

    source: bytes = attrs.field(repr=False)
    mask: bytes = attrs.field(repr=False)
    exact: bool
    places: tuple[Path | None, Path | None] = (None, None)

    def to_json(self) -> dict[str, Any]:
        """Return it as the journal keeps it: where it can be read again, and a checksum to know it by."""
        source, mask = (None if place is None else str(place.absolute()) for place in self.places)
        digest = hashlib.sha256(self.source)
        digest.update(self.mask)
        return {"source": source, "mask": mask, "sha256": digest.hexdigest()}


@attrs.frozen(kw_only=True)
class Pasted:
    """The picture to keep, the difference outside the mask as the provider returned it (0 to 255), and remarks."""

    data: bytes = attrs.field(repr=False)
    difference: float | None
    mime: str | None = None
    warnings: tuple[str, ...] = ()


def paste_back(protection: Protection, data: bytes) -> Pasted:
    """Measure the difference outside the mask; with ``exact`` copy the protected pixels back from the source."""
    from .. import masks

    try:
        if not protection.exact:
            return Pasted(data=data, difference=masks.outside_difference(protection.source, data, protection.mask))
        made = masks.paste_back(protection.source, data, protection.mask)
    except MediaError as error:
        text = "the protected pixels could not be copied back" if protection.exact else "pixels outside the mask were not compared"
        return Pasted(data=data, difference=None, warnings=(f"{text}: {error.message}",))
    return Pasted(data=made.data, difference=made.difference, mime="image/png", warnings=tuple(made.warnings))

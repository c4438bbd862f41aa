"""Names of operations, roles and mask modes, without imports, so that reading a matrix does not load the requests."""

from __future__ import annotations

from typing import Literal

__all__ = ["INPUTS", "MASK_MODES", "REFERENCE_ROLES", "MaskMode", "Operation", "ReferenceRole", "Way"]

Operation = Literal["generate_image", "inpaint", "edit_with_references", "generate_video", "continue_video", "generate_audio"]
ReferenceRole = Literal["source", "style", "control", "subject"]
MaskMode = Literal["user_provided", "foreground", "background", "semantic"]
Way = Literal["extend", "edit", "remix"]

#: Request fields with images, videos, masks or continuations; all other fields except prompt are options.
INPUTS = frozenset({"source", "mask", "references", "first_frame", "last_frame", "continue_from"})

REFERENCE_ROLES: tuple[ReferenceRole, ...] = ("source", "style", "control", "subject")
MASK_MODES: tuple[MaskMode, ...] = ("user_provided", "foreground", "background", "semantic")

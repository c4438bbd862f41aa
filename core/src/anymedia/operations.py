"""The words that requests, matrices and hooks have in common; light, so that reading a matrix loads no request."""

from __future__ import annotations

from typing import Literal

__all__ = ["INPUTS", "MASK_MODES", "REFERENCE_ROLES", "MaskMode", "Operation", "ReferenceRole", "Way"]

Operation = Literal["generate_image", "inpaint", "edit_with_references", "generate_video", "continue_video", "generate_audio"]
ReferenceRole = Literal["source", "style", "control", "subject"]
MaskMode = Literal["user_provided", "foreground", "background", "semantic"]
Way = Literal["extend", "edit", "remix"]

#: Request fields that hold pictures, videos, masks or handles; all other fields but prompt are options.
INPUTS = frozenset({"source", "mask", "references", "first_frame", "last_frame", "continue_from"})

REFERENCE_ROLES: tuple[ReferenceRole, ...] = ("source", "style", "control", "subject")
MASK_MODES: tuple[MaskMode, ...] = ("user_provided", "foreground", "background", "semantic")

"""A finished picture in another format; an animation stays one where the target can hold it."""

from __future__ import annotations

__all__ = ["transcode_picture"]

_MOVING = frozenset({"gif", "webp", "png", "avif"})


def transcode_picture(data: bytes, to_format: str, quality: int | None) -> tuple[bytes, list[str]]:
    """Return a picture, upright, in another format, and what was lost, as sentences.

    Raises:
        InvalidRequest: refused by the guard, no picture, or not to be decoded.
    """
    from .encoding import encode_animation, encode_picture
    from .pictures import decoding, open_frames, open_picture
    from .sniff import check_kind, sniff

    facts = sniff(data)
    check_kind(facts, "image")
    frames = facts.frames or 1
    if frames > 1 and to_format in _MOVING:
        pictures, durations = open_frames(data, facts)
        with decoding():
            made, warnings = encode_animation(pictures, durations, to_format, quality=quality)
        return made, list(warnings)
    picture = open_picture(data, facts=facts)
    with decoding():
        made, warnings = encode_picture(picture, to_format, quality=quality)
    return made, [*warnings, *([f"only the first of its {frames} frames was kept"] if frames > 1 else [])]

"""An input picture in a form that a model takes: upright, still, 8 bits per channel, in one of its formats."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from ..errors import UnsupportedInput
from .encoding import ALPHA_FORMATS, LOSSLESS_FORMATS, WRITABLE, encode_picture, has_alpha
from .headers_reader import Facts, Limits
from .pictures import decoding, open_picture, plain_colours

__all__ = ["Converted", "convert_picture", "is_plain"]

#: The quality taken when the best does not fit into the model's limit in bytes.
_SMALLER = 85


@attrs.frozen(kw_only=True)
class Converted:
    """A picture in another form, and what was lost on the way, as sentences."""

    data: bytes = attrs.field(repr=lambda d: f"<{len(d)} bytes>")
    format: str
    warnings: tuple[str, ...] = ()


def is_plain(facts: Facts) -> bool:
    """Whether a picture can go out byte for byte: upright, still, 8 bits per channel and no print colours.

    Services differ in what they make of the rest, so none of it is left to them.
    """
    return facts.orientation == 1 and (facts.frames or 1) == 1 and facts.bits <= 8 and not facts.mode.startswith(("CMYK", "LAB"))


def convert_picture(
    data: bytes, formats: Sequence[str], *, max_bytes: int | None = None, limits: Limits | None = None, where: str = "$"
) -> Converted:
    """Return a picture upright, still and with 8 bits per channel, in one of the given formats.

    A file that is in none of the formats becomes the first of them (that holds its transparency); one that only
    had to be turned or stilled keeps its pixels: a lossless format is taken where one is allowed and fits into
    ``max_bytes``, else its own at high quality.

    Raises:
        InvalidRequest: no picture, or not to be decoded.
        UnsupportedInput: none of the formats can be written, or none fits.
    """
    from .sniff import check_kind, sniff

    facts = sniff(data, limits=limits, where=where)
    check_kind(facts, "image", where=where)
    picture = open_picture(data, limits=limits, where=where, facts=facts)
    deep = picture.mode.startswith("I") or picture.mode == "F" or facts.bits > 8
    with decoding(where):
        plain = plain_colours(picture)
    smallest = 0
    for fmt, quality in _candidates(facts.format, formats, alpha=has_alpha(plain)):
        with decoding(where):
            made, lost = encode_picture(plain, fmt, quality=quality, lossless=quality is None)
        warnings = (*(("16 bits per channel were reduced to 8",) if deep else ()), *lost)
        if (facts.frames or 1) > 1:
            warnings += (f"only the first of its {facts.frames} frames is used",)
        if max_bytes is None or len(made) <= max_bytes:
            return Converted(data=made, format=fmt, warnings=warnings)
        smallest = min(smallest or len(made), len(made))
    if smallest:
        raise UnsupportedInput(
            f"the picture has {smallest} bytes in the form the model takes; it takes {max_bytes} at most.", fix="Scale it down."
        )
    raise UnsupportedInput(f"the model takes {', '.join(formats)}; a {facts.format} picture cannot be converted to that")


def _candidates(own: str, formats: Sequence[str], *, alpha: bool) -> list[tuple[str, int | None]]:
    """Return the formats to try with their qualities (None: the best), best first."""
    allowed = [f for f in formats if f in WRITABLE] if formats else ["png", own]
    if own in allowed:
        found = [f for f in ("png", "webp") if f in allowed] + [own] + [f for f in allowed if f in LOSSLESS_FORMATS]
    else:
        found = allowed
    found = sorted(dict.fromkeys(found), key=lambda f: alpha and f not in ALPHA_FORMATS)
    smaller: list[tuple[str, int | None]] = [(f, _SMALLER) for f in found if f in {"jpeg", "webp", "avif"}]
    return [(f, None) for f in found] + smaller

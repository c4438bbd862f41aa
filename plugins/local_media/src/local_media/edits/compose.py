"""Several pictures with their roles -> one picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from anymedia.requests import Reference
from anymedia.results import Warning

from ..heavy import cv
from ..pictures import Picture
from ..recipe import resolve
from ..scenes import Scene
from ..vocabulary import PLACES
from ..words import Wish, ignored, mood_words, scene_words, tokens
from .adjust import adjust, adjustment_words
from .control import repaint
from .fill import fill, paste
from .style import restyle
from .subject import PLACING, cut_out, place

if TYPE_CHECKING:
    from .regions import Region

__all__ = ["Ingredients", "compose"]

_EDGE = 1024
_NOTE = "no word of the prompt is known to this procedural backend: it changed the colours only by the prompt's letters"


@attrs.frozen(kw_only=True, eq=False)
class Ingredients:
    """The pictures by role, the region of the source to change (None: all of it), the size asked for."""

    source: Picture | None
    style: list[tuple[Reference, Picture]]
    control: list[tuple[Reference, Picture]]
    subjects: list[tuple[Reference, Picture]]
    region: Region | None
    size: tuple[int, int] | None


def compose(given: Ingredients, wish: Wish, prompt: str, seed: int) -> tuple[Picture, list[Warning]]:
    """Return the picture, and the warning about the words that were not used.

    The ground is the control's structure, else the source, else a scene; then come the style, the subjects, and
    last the mask, outside of which the source stays as it is.
    """
    ground, used, unknown = _ground(given, wish, prompt, seed)
    used += adjustment_words(prompt) if given.style else []
    used += PLACING if given.subjects else []
    for reference, picture in given.style:
        ground = restyle(ground, picture, f"{prompt} {reference.description or ''}")
    box = None
    if given.region is not None:
        from .regions import bounds

        box = bounds(given.region)
    for index, (reference, picture) in enumerate(given.subjects):
        thing = cut_out(picture, reference.type)
        words = f"{reference.description or ''} {prompt}"
        ground = place(ground, thing, words, index, len(given.subjects), box)
    if given.region is not None and given.source is not None:
        kept = _scaled(ground, given.source.size)
        ground = paste(given.source, kept.rgb, given.region)
    return ground, ignored(prompt, used, unknown)


def _scaled(picture: Picture, size: tuple[int, int]) -> Picture:
    return picture if picture.size == size else Picture(cv().resize(picture.rgb, size, interpolation=cv().INTER_AREA))


def _ground(given: Ingredients, wish: Wish, prompt: str, seed: int) -> tuple[Picture, list[str], str]:
    """Return the ground, the words of the prompt that it used, and what happened if none was known."""
    asked = adjustment_words(prompt)
    if given.control:
        structure = given.control[0][1]
        used = [*mood_words(wish), *PLACES.get(wish.place or "", ())] if given.source is None else []
        return repaint(structure, wish, prompt, seed, colours=given.source), used, ""
    if given.source is None:
        size = given.size or _size_of(given)
        return Picture(Scene(resolve(wish, seed, prompt), *size).frame()), list(scene_words(wish)), ""
    if given.region is not None and not given.style and not given.subjects and not asked and not wish.is_empty:
        used = tokens(prompt) if wish.remove else list(scene_words(wish))
        return fill(given.source, given.region, wish, seed, prompt), used, ""
    if (given.style or given.subjects) and wish.is_empty and not asked:
        return given.source, [], ""
    picture, known = adjust(given.source, prompt, wish, seed)
    return picture, [*mood_words(wish), *asked], "" if known else _NOTE


def _size_of(given: Ingredients) -> tuple[int, int]:
    """Return the size of a new ground: about 1024 squared, in the ratio of the first picture."""
    first = (given.style or given.subjects)[0][1]
    ratio = min(max(first.size[0] / first.size[1], 1 / 3), 3.0)
    return round(_EDGE * ratio**0.5), round(_EDGE / ratio**0.5)

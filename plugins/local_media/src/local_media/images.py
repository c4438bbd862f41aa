"""The three image operations: request -> outcome. All pixels are made in a thread."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

from anymedia.context import Context
from anymedia.errors import InvalidRequest, Problem
from anymedia.requests import EditWithReferences, GenerateImage, Inpaint, Mask, Reference
from anymedia.results import ContinuationData, Outcome, Piece, Warning

from ._errors import work
from .pictures import Picture, parse_size, read_picture, write_picture
from .recipe import Recipe, fresh_seed, resolve
from .text import misdrawn
from .words import Wish, ignored, mood_words, read, scene_words

if TYPE_CHECKING:
    from .edits.regions import Region

__all__ = ["covering", "edit", "generate", "inpaint", "size_for"]

_DEFAULT_EDGE = 1024
#: What happens where no word is known.
UNKNOWN = "no word of the prompt is known to this procedural backend: {} (its README lists the words it knows)"


def size_for(size: str | None, aspect_ratio: str | None, edge: int = _DEFAULT_EDGE, multiple: int = 1) -> tuple[int, int]:
    """Return (width, height) in pixels: the size as given, else the ratio with as many pixels as ``edge`` squared."""
    if size and size != "auto":
        return parse_size(size)
    if not aspect_ratio or aspect_ratio == "auto":
        return edge, edge
    across, down = (float(part) for part in aspect_ratio.split(":"))
    width = edge * (across / down) ** 0.5
    return (max(multiple, round(width / multiple) * multiple), max(multiple, round(edge * edge / width / multiple) * multiple))


def _seeds(request: GenerateImage | Inpaint | EditWithReferences) -> list[int]:
    first = fresh_seed() if request.seed is None else request.seed
    return [first + i for i in range(request.n)]


def _piece(picture: Picture, request: Any, seed: int, data: dict[str, Any], *, lossless: bool = False) -> Piece:
    encoded, mime = write_picture(picture, request.output_format or "png", lossless=lossless)
    text = f"seed {seed}" if request.seed is None else None
    return Piece(data=encoded, mime=mime, continuation=ContinuationData(data=data), text=text)


async def _make(context: Context, seeds: list[int], draw: Callable[[int], Piece], warnings: Callable[[], list[Warning | str]]) -> Outcome:
    def all_of_them() -> list[Piece]:
        pieces = []
        for done, seed in enumerate(seeds):
            pieces.append(draw(seed))
            context.progress((done + 1) / len(seeds))
        return pieces

    return Outcome(pieces=tuple(await work(context, all_of_them)), cost_usd=0.0, warnings=tuple(warnings()))


async def generate(request: GenerateImage, context: Context) -> Outcome:
    """Draw a scene; to continue an earlier picture, draw its recipe again with the new words, or adjust its pixels."""
    if request.continue_from is not None:
        return await _go_on(request, context)
    wish = read(request.prompt, request.negative_prompt)
    width, height = size_for(request.size, request.aspect_ratio)
    unknown = UNKNOWN.format("the scene is chosen by chance") if wish.is_empty else ""
    warnings = ignored(request.prompt, scene_words(wish), unknown)

    def draw(seed: int) -> Piece:
        recipe = resolve(wish, seed, request.prompt)
        picture = _draw(recipe, width, height, transparent=request.background == "transparent")
        return _piece(picture, request, seed, {"recipe": recipe.to_json(), "adjusted": []})

    return await _make(context, _seeds(request), draw, lambda: [*warnings, *misdrawn(wish.texts)])


def _draw(recipe: Recipe, width: int, height: int, *, transparent: bool = False) -> Picture:
    from .scenes import Scene

    drawn_at = (max(width, 16), max(height, 16))
    scene = Scene(recipe, *drawn_at)
    if not transparent:
        return Picture(scene.frame()[:height, :width])
    rgb, alpha = scene.cut_out()
    return Picture(rgb[:height, :width], alpha[:height, :width])


async def _go_on(request: GenerateImage, context: Context) -> Outcome:
    assert request.continue_from is not None
    data = request.continue_from.data
    wish = read(request.prompt, request.negative_prompt)
    stored = context.read(request.continue_from.files[0])
    if "recipe" in data and not wish.is_empty:
        return await _redraw(request, context, Recipe.from_json(data["recipe"]), list(data.get("adjusted", ())), wish, stored.data)
    return await _adjust_file(request, context, wish, stored.data)


async def _redraw(request: GenerateImage, context: Context, old: Recipe, adjusted: list[str], wish: Wish, stored: bytes) -> Outcome:
    from .edits.adjust import ADJUSTMENTS, adjustment_words, adjustments_in

    names = [*adjusted, *(name for name in adjustments_in(request.prompt) if name not in adjusted and name != "blue sky")]

    def draw(seed: int) -> Piece:
        recipe = old.changed(wish) if request.seed is None else attrs.evolve(old.changed(wish), seed=seed)
        before = read_picture(stored, "$.continue_from")
        width, height = before.size if not (request.size or request.aspect_ratio) else size_for(request.size, request.aspect_ratio)
        transparent = request.background == "transparent" or (request.background is None and before.alpha is not None)
        picture = _draw(recipe, width, height, transparent=transparent)
        for name in names:
            picture = Picture(ADJUSTMENTS[name][1](picture.rgb), picture.alpha)
        return _piece(picture, request, recipe.seed, {"recipe": recipe.to_json(), "adjusted": names})

    warnings = ignored(request.prompt, [*scene_words(wish), *adjustment_words(request.prompt)])
    return await _make(context, _seeds(request), draw, lambda: [*warnings, *misdrawn(wish.texts)])


async def _adjust_file(request: GenerateImage, context: Context, wish: Wish, stored: bytes) -> Outcome:
    from .edits.adjust import adjust, adjustment_words

    warnings: list[Warning] = []

    def draw(seed: int) -> Piece:
        picture, known = adjust(read_picture(stored, "$.continue_from"), request.prompt, wish, seed)
        unknown = "" if known else UNKNOWN.format("the colours are graded by chance")
        warnings[:] = ignored(request.prompt, [*mood_words(wish), *adjustment_words(request.prompt)], unknown)
        if request.size or request.aspect_ratio:
            picture = covering(picture, *size_for(request.size, request.aspect_ratio))
        return _piece(picture, request, seed, {})

    return await _make(context, _seeds(request), draw, lambda: [*warnings, *misdrawn(wish.texts)])


def covering(picture: Picture, width: int, height: int) -> Picture:
    """Return the picture scaled to cover a size, its middle kept."""
    from .heavy import cv

    old_width, old_height = picture.size
    if (old_width, old_height) == (width, height):
        return picture
    scale = max(width / old_width, height / old_height)
    # Only what will be seen is scaled: all of a thin strip would be larger than any memory.
    seen = (min(old_width, math.ceil(width / scale)), min(old_height, math.ceil(height / scale)))
    x, y = (old_width - seen[0]) // 2, (old_height - seen[1]) // 2
    size = (max(width, round(seen[0] * scale)), max(height, round(seen[1] * scale)))
    way = cv().INTER_AREA if scale < 1 else cv().INTER_CUBIC
    left, top = (size[0] - width) // 2, (size[1] - height) // 2

    def fit(pixels: Any) -> Any:
        part = pixels[y : y + seen[1], x : x + seen[0]]
        return cv().resize(part, size, interpolation=way)[top : top + height, left : left + width].copy()

    return Picture(fit(picture.rgb), None if picture.alpha is None else fit(picture.alpha))


def _region(mask: Mask, context: Context, picture: Picture) -> Region:
    """Return the region to change.

    Raises:
        InvalidRequest: for a mask that does not fit, or no foreground to be found.
        UnsupportedInput: for semantic classes, which no rule of this backend knows.
    """
    from .edits.regions import foreground, read_mask

    if mask.image is not None:
        return read_mask(context.read(mask).data, picture.size)
    if mask.mode == "semantic":
        from anymedia.errors import UnsupportedInput

        raise UnsupportedInput("local finds no semantic classes", fix="use mask_mode FOREGROUND or BACKGROUND, or give a mask image")
    found = foreground(picture)
    return found if mask.mode == "foreground" else ~found


async def inpaint(request: Inpaint, context: Context) -> Outcome:
    """Erase or fill a region, or grow the picture; every pixel outside the region stays as it is."""
    wish = read(request.prompt, request.negative_prompt)
    assert request.source is not None  # a continued image is the source by now
    picture = read_picture(context.read(request.source).data)
    if request.edit_mode == "outpaint" and request.mask is None:
        size = _grown_size(request, picture)
    warnings = _ignored_by_mask(request, wish)

    def draw(seed: int) -> Piece:
        from .edits.fill import fill, grow

        if request.edit_mode == "outpaint" and request.mask is None:
            done = _outpaint(*grow(picture, *size), wish, seed, request.prompt)
        else:
            assert request.mask is not None
            region = _region(request.mask, context, picture)
            done = fill(picture, region, wish, seed, request.prompt)
        return _piece(done, request, seed, {}, lossless=True)

    return await _make(context, _seeds(request), draw, lambda: [*warnings, *misdrawn(wish.texts)])


def _ignored_by_mask(request: Inpaint, wish: Wish) -> list[Warning]:
    if request.edit_mode == "outpaint" and request.mask is None:
        unknown = "" if wish.has_scene else "the picture is continued beyond its edges as it is"
        return ignored(request.prompt, scene_words(wish) if wish.has_scene else (), unknown if request.prompt.strip() else "")
    if wish.remove:  # the mask says what
        return []
    return ignored(
        request.prompt, scene_words(wish), UNKNOWN.format("the region is filled from what surrounds it") if wish.is_empty else ""
    )


def _grown_size(request: Inpaint, picture: Picture) -> tuple[int, int]:
    """Return the size to grow to: as given, or the smallest one around the picture that has the ratio."""
    width, height = picture.size
    if request.size and request.size != "auto":
        wanted = parse_size(request.size)
    else:
        across, down = (float(part) for part in (request.aspect_ratio or "1:1").split(":"))
        ratio = across / down
        wanted = (max(width, round(height * ratio)), height) if ratio * height >= width else (width, max(height, round(width / ratio)))
    if wanted[0] < width or wanted[1] < height:
        message = f"outpainting to {wanted[0]}x{wanted[1]} would cut the {width}x{height} picture"
        raise InvalidRequest([Problem("$.size", message, f"ask for at least {width}x{height}")])
    if wanted == (width, height):
        raise InvalidRequest([Problem("$.size", f"the picture already is {width}x{height}", "ask for a larger size or another ratio")])
    return wanted


def _outpaint(grown: Picture, region: Region, wish: Wish, seed: int, prompt: str) -> Picture:
    """Let the prompt's scene take over, the farther from the old picture the more; its keywords unknown: mirrored only."""
    import numpy as np

    from .edits.fill import paste
    from .edits.regions import feather

    if not wish.has_scene:
        return grown
    scene = _draw(resolve(wish, seed, prompt), *grown.size).rgb
    reach = float(feather(region, 1e9).shape[0]) * 0.12
    weight = feather(region, max(reach, 8.0))[..., None] * 0.85
    mixed = np.clip(np.rint(grown.rgb + (scene.astype(np.float32) - grown.rgb) * weight), 0, 255).astype(np.uint8)
    return paste(grown, mixed, region)


async def edit(request: EditWithReferences, context: Context) -> Outcome:
    """Make a picture from words and pictures, each with its role."""
    from .edits.compose import Ingredients, compose

    wish = read(request.prompt, request.negative_prompt)

    def load(reference: Reference) -> tuple[Reference, Picture]:
        return reference, read_picture(context.read(reference.image).data, "$.references")

    loaded = [load(reference) for reference in request.references]
    by_role = {role: [pair for pair in loaded if pair[0].role == role] for role in ("source", "style", "control", "subject")}
    warnings: list[Warning] = []

    def draw(seed: int) -> Piece:
        source = by_role["source"][0][1] if by_role["source"] else None
        region = None if request.mask is None or source is None else _region(request.mask, context, source)
        size = None if not (request.size or request.aspect_ratio) else size_for(request.size, request.aspect_ratio)
        ingredients = Ingredients(
            source=source,
            style=by_role["style"],
            control=by_role["control"],
            subjects=by_role["subject"],
            region=region,
            size=size,
        )
        picture, warnings[:] = compose(ingredients, wish, request.prompt, seed)
        if size is not None:
            picture = covering(picture, *size)
        return _piece(picture, request, seed, {}, lossless=region is not None)

    return await _make(context, _seeds(request), draw, lambda: [*warnings, *misdrawn(wish.texts)])

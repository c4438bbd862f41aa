"""Colours of the times of day, as (R, G, B) 0 to 255, and what a season and a tint do to them."""

from __future__ import annotations

import attrs

from ..recipe import Recipe
from ..vocabulary import COLOURS

__all__ = ["PALETTES", "Colour", "Palette", "mix", "palette_of"]

Colour = tuple[float, float, float]


def mix(a: Colour, b: Colour, part: float) -> Colour:
    """Return ``a`` with ``part`` (0 to 1) of ``b``."""
    return (a[0] + (b[0] - a[0]) * part, a[1] + (b[1] - a[1]) * part, a[2] + (b[2] - a[2]) * part)


@attrs.frozen(kw_only=True)
class Palette:
    """What a time of day looks like.

    Attributes:
        sky: colours from the zenith to the horizon.
        glow: light of the sun or moon around it.
        cloud: lit side, shaded side.
        far, near: land far away and close by.
        lit: what direct light does to the land.
        foliage: leaves and grass.
        water: deep water.
        snow: lit and shaded snow.
        sand: lit and shaded sand.
        dark: silhouettes.
        night: 0 by day, 1 by night: how many windows are lit.
    """

    sky: tuple[Colour, ...]
    glow: Colour
    cloud: tuple[Colour, Colour]
    far: Colour
    near: Colour
    lit: Colour
    foliage: Colour
    water: Colour
    snow: tuple[Colour, Colour]
    sand: tuple[Colour, Colour]
    dark: Colour
    night: float = 0.0


PALETTES = {
    "dawn": Palette(
        sky=((86, 112, 168), (164, 160, 196), (240, 190, 190), (255, 220, 186)),
        glow=(255, 226, 180),
        cloud=((255, 214, 198), (158, 146, 182)),
        far=(186, 172, 196),
        near=(62, 66, 96),
        lit=(255, 206, 176),
        foliage=(58, 78, 74),
        water=(86, 106, 148),
        snow=((255, 226, 214), (150, 152, 190)),
        sand=((240, 198, 160), (154, 116, 116)),
        dark=(38, 40, 60),
        night=0.35,
    ),
    "day": Palette(
        sky=((34, 92, 176), (72, 140, 212), (146, 194, 232), (208, 230, 240)),
        glow=(255, 250, 226),
        cloud=((255, 255, 255), (168, 186, 210)),
        far=(150, 182, 208),
        near=(58, 84, 88),
        lit=(255, 244, 216),
        foliage=(66, 116, 58),
        water=(28, 92, 130),
        snow=((252, 253, 255), (156, 180, 216)),
        sand=((238, 208, 152), (186, 140, 92)),
        dark=(30, 46, 44),
    ),
    "sunset": Palette(
        sky=((44, 44, 98), (122, 66, 122), (228, 104, 84), (255, 190, 104)),
        glow=(255, 212, 132),
        cloud=((255, 156, 104), (108, 62, 108)),
        far=(196, 108, 106),
        near=(50, 30, 58),
        lit=(255, 158, 96),
        foliage=(50, 40, 48),
        water=(70, 48, 92),
        snow=((255, 196, 168), (128, 92, 140)),
        sand=((238, 146, 88), (116, 58, 76)),
        dark=(26, 16, 34),
        night=0.5,
    ),
    "dusk": Palette(
        sky=((14, 22, 58), (38, 52, 108), (106, 92, 146), (222, 150, 138)),
        glow=(240, 190, 170),
        cloud=((156, 122, 156), (54, 54, 100)),
        far=(98, 90, 138),
        near=(24, 28, 58),
        lit=(190, 150, 170),
        foliage=(26, 38, 56),
        water=(34, 44, 92),
        snow=((176, 172, 206), (88, 94, 148)),
        sand=((150, 112, 126), (66, 54, 92)),
        dark=(12, 15, 34),
        night=0.85,
    ),
    "night": Palette(
        sky=((4, 7, 24), (9, 18, 48), (20, 38, 78), (44, 70, 108)),
        glow=(214, 226, 246),
        cloud=((70, 84, 118), (20, 28, 54)),
        far=(38, 58, 92),
        near=(8, 14, 30),
        lit=(126, 150, 196),
        foliage=(10, 22, 32),
        water=(10, 22, 50),
        snow=((142, 164, 206), (50, 68, 112)),
        sand=((92, 96, 122), (34, 40, 68)),
        dark=(4, 7, 16),
        night=1.0,
    ),
    "storm": Palette(
        sky=((44, 52, 64), (74, 84, 98), (116, 126, 136), (164, 168, 168)),
        glow=(196, 200, 196),
        cloud=((134, 142, 150), (46, 54, 66)),
        far=(112, 124, 134),
        near=(42, 52, 58),
        lit=(176, 186, 188),
        foliage=(44, 62, 52),
        water=(48, 66, 78),
        snow=((198, 206, 214), (120, 134, 152)),
        sand=((156, 140, 116), (100, 90, 82)),
        dark=(22, 28, 32),
        night=0.5,
    ),
}

_FOLIAGE = {
    "spring": ((120, 168, 70), 0.35),
    "summer": ((66, 116, 58), 0.0),
    "autumn": ((196, 104, 36), 0.6),
    "winter": ((70, 88, 92), 0.5),
}


def palette_of(recipe: Recipe) -> Palette:
    """Return the palette of a recipe: its time of day, changed by season and tint."""
    base = PALETTES[recipe.time]
    colour, part = _FOLIAGE[recipe.season]
    day = 1 - 0.65 * base.night
    base = attrs.evolve(base, foliage=mix(base.foliage, (colour[0] * day, colour[1] * day, colour[2] * day), part))
    if recipe.tint is None:
        return base
    return _tinted(base, COLOURS[recipe.tint])


def _tinted(palette: Palette, colour: Colour) -> Palette:
    """Draw every colour towards the tint, keeping how light it is."""

    def to(value: Colour, part: float = 0.45) -> Colour:
        light = 0.3 * value[0] + 0.59 * value[1] + 0.11 * value[2]
        own = max(1.0, 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2])
        wanted = (min(255.0, colour[0] * light / own), min(255.0, colour[1] * light / own), min(255.0, colour[2] * light / own))
        return mix(value, wanted, part)

    return attrs.evolve(
        palette,
        sky=tuple(to(c) for c in palette.sky),
        far=to(palette.far, 0.6),
        near=to(palette.near, 0.6),
        lit=to(palette.lit),
        cloud=(to(palette.cloud[0]), to(palette.cloud[1])),
        foliage=to(palette.foliage, 0.6),
        water=to(palette.water, 0.6),
        sand=(to(palette.sand[0]), to(palette.sand[1])),
    )

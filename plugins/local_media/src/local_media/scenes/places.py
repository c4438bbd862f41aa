"""Which layers make which place, back to front."""

from __future__ import annotations

from .city import city_layers
from .land import desert_layers, hill_layers, mountain_layers
from .palettes import mix
from .plants import Stamp, cactus, flowers, leafy, palm, pine, rows_of
from .sky import moon, rainbow, sun
from .stage import Layer, Stage
from .things import balloon, balloons, birds, boat, house, island, lighthouse, shore
from .water import water
from .weather import fog

__all__ = ["ground_layers", "things_alone"]


def ground_layers(stage: Stage) -> list[Layer]:
    """Return everything between sky and weather."""
    has, place = stage.recipe.has, stage.recipe.place
    layers: list[Layer] = []
    if has("balloon"):
        layers += balloons(stage)
    layers += _LAND.get(place, _mountains)(stage)
    if has("birds"):
        layers.append(birds(stage))
    return layers


def things_alone(stage: Stage) -> list[Layer]:
    """Return the things of a plain picture, with no land under them."""
    has = stage.recipe.has
    layers: list[Layer] = []
    if has("rainbow"):
        layers.append(rainbow(stage))
    if has("moon"):
        layers.append(moon(stage))
    if has("sun"):
        layers.append(sun(stage))
    if has("balloon"):
        layers.append(balloon(stage))
    for word, make in (("house", house), ("lighthouse", lighthouse), ("boat", boat), ("birds", birds)):
        if has(word):
            layers.append(make(stage))
    return layers


def _tree(stage: Stage) -> Stamp:
    """Return the kind of tree that grows here."""
    return leafy if stage.recipe.place in {"hills", "meadow", "city"} else pine


def _row(stage: Stage, name: str, *, base: int, tall: float, depth: float, speed: float, spacing: float = 0.22, **more: bool) -> Layer:
    """Return a row of trees; ``tall`` in picture heights, ``depth`` 0 near to 1 far."""
    colour = mix(mix(stage.palette.foliage, stage.palette.dark, 0.45), stage.palette.far, 0.75 * depth)
    height = max(6.0, tall * stage.height)
    return rows_of(stage, _tree(stage), name, base=base, height=height, spacing=spacing, colour=colour, speed=speed, **more)


def _lake(stage: Stage) -> list[Layer]:
    layers: list[Layer] = [water(stage, top=stage.horizon, bottom=stage.height)]
    if stage.recipe.has("boat"):
        layers.append(boat(stage))
    return layers


def _mountains(stage: Stage) -> list[Layer]:
    has = stage.recipe.has
    layers = mountain_layers(stage)
    if has("trees"):
        layers.append(_row(stage, "bank", base=stage.horizon + 1, tall=0.045, depth=0.45, speed=8, spacing=0.2, filled=False))
    if not has("water"):
        layers += hill_layers(stage, mountains=False)
    if has("house"):
        layers.append(house(stage))
    if has("water"):
        layers += _lake(stage)
    if has("lighthouse"):
        layers.append(lighthouse(stage))
    if has("trees"):
        layers.append(_row(stage, "frame", base=round(stage.height * 1.02), tall=0.34, depth=0.0, speed=22, spacing=0.17, clearing=True))
    if has("flowers"):
        layers.append(flowers(stage, base=round(stage.height * 0.86), speed=24))
    return layers


def _hills(stage: Stage) -> list[Layer]:
    has = stage.recipe.has
    first, *rest = hill_layers(stage)
    layers: list[Layer] = [first]
    room = stage.height - stage.horizon
    for index, strip in enumerate(rest):
        layers.append(strip)
        if has("trees") and index < 2:
            base = stage.horizon + round(room * (0.12 + 0.3 * index))
            row = _row(
                stage,
                f"hedge{index}",
                base=base,
                tall=0.05 + 0.05 * index,
                depth=0.6 - 0.4 * index,
                speed=3 + 3 * index,
                spacing=0.9,
                filled=False,
            )
            layers.append(row)
        if has("house") and index == 1:
            layers.append(house(stage))
    if has("water"):
        layers.append(water(stage, top=round(stage.height * 0.86), bottom=stage.height))
    if has("flowers"):
        layers.append(flowers(stage, base=round(stage.height * 0.72), speed=14))
    return layers


def _forest(stage: Stage) -> list[Layer]:
    has = stage.recipe.has
    layers: list[Layer] = [mountain_layers(stage)[0]]
    bottom = stage.horizon if has("water") else stage.height
    depths = (
        ((0.0, 0.16, 0.95, 3), (0.0, 0.2, 0.7, 5)) if has("water") else ((-0.02, 0.22, 0.95, 3), (0.08, 0.3, 0.75, 5), (0.22, 0.4, 0.5, 9))
    )
    for index, (low, tall, depth, speed) in enumerate(depths):
        base = stage.horizon + round(stage.height * low)
        row = _row(stage, f"wood{index}", base=base, tall=tall, depth=depth, speed=speed, spacing=0.2, filled=not has("water"))
        layers.append(row)
    if has("house"):
        layers.append(house(stage))
    if has("water"):
        layers.append(water(stage, top=bottom, bottom=stage.height))
    if has("fog"):
        layers.append(fog(stage))
    if not has("water"):
        layers.append(_row(stage, "near", base=round(stage.height * 0.93), tall=0.3, depth=0.2, speed=15, spacing=0.24))
    layers.append(_row(stage, "frame", base=round(stage.height * 1.04), tall=0.6, depth=0.0, speed=24, spacing=0.2, clearing=True))
    return layers


def _sea(stage: Stage) -> list[Layer]:
    has = stage.recipe.has
    layers: list[Layer] = [island(stage)]
    layers.append(water(stage, top=stage.horizon, bottom=stage.height, choppy=2.2 if stage.recipe.time != "storm" else 3.6))
    if has("boat"):
        layers.append(boat(stage))
    if has("lighthouse"):
        layers.append(lighthouse(stage))
    if has("trees"):
        layers.append(_row(stage, "frame", base=round(stage.height * 1.02), tall=0.36, depth=0.0, speed=22, spacing=0.2, clearing=True))
    return layers


def _beach(stage: Stage) -> list[Layer]:
    has = stage.recipe.has
    layers: list[Layer] = [island(stage), water(stage, top=stage.horizon, bottom=stage.height, choppy=1.5)]
    if has("boat"):
        layers.append(boat(stage))
    layers.append(shore(stage))
    if has("palms"):
        height = stage.height * 0.5
        dark = mix(stage.palette.foliage, stage.palette.dark, 0.55)
        base = round(stage.height * 0.99)
        layers.append(
            rows_of(stage, palm, "palms", base=base, height=height, spacing=0.5, colour=dark, speed=20, filled=False, clearing=True)
        )
    return layers


def _meadow(stage: Stage) -> list[Layer]:
    recipe_has = stage.recipe.has
    layers = _hills(stage)
    if not recipe_has("flowers") and recipe_has("trees"):
        layers.append(_row(stage, "frame", base=round(stage.height * 1.03), tall=0.3, depth=0.0, speed=20, spacing=0.6, clearing=True))
    return layers


def _desert(stage: Stage) -> list[Layer]:
    has = stage.recipe.has
    layers = desert_layers(stage)
    if has("water"):
        layers.insert(-1, water(stage, top=stage.horizon + round((stage.height - stage.horizon) * 0.4), bottom=stage.height))
    stamps: list[tuple[str, Stamp]] = [("cactus", cactus), ("palms", palm)]
    for word, stamp in stamps:
        if has(word):
            colour = mix(stage.palette.foliage, stage.palette.dark, 0.6)
            base, height = round(stage.height * 0.95), stage.height * 0.3
            layers.append(rows_of(stage, stamp, word, base=base, height=height, spacing=1.6, colour=colour, speed=12, filled=False))
    return layers


def _city(stage: Stage) -> list[Layer]:
    layers: list[Layer] = list(city_layers(stage))
    if stage.recipe.has("water"):
        layers += _lake(stage)
    else:
        layers.append(_row(stage, "park", base=round(stage.height * 1.0), tall=0.13, depth=0.05, speed=20, spacing=0.5))
    return layers


_LAND = {
    "mountains": _mountains,
    "hills": _hills,
    "forest": _forest,
    "sea": _sea,
    "beach": _beach,
    "meadow": _meadow,
    "desert": _desert,
    "city": _city,
}

"""Wish + seed -> Recipe: every choice made. JSON in and out, so that any process can draw the same again."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import attrs

from .heavy import rng
from .words import Shape, Wish

__all__ = ["THINGS", "Recipe", "fresh_seed", "resolve"]

_TIMES = ("sunset", "dawn", "day", "dusk", "sunset", "night")
_PLACES = ("mountains", "mountains", "hills", "forest", "sea", "meadow", "desert")


@attrs.frozen(kw_only=True)
class Recipe:
    """A picture, fully decided. ``place`` may be ``plain`` (only a backdrop) besides those of a Wish."""

    seed: int
    time: str
    place: str
    season: str
    features: tuple[str, ...]
    texts: tuple[str, ...] = ()
    shapes: tuple[Shape, ...] = ()
    backdrop: str | None = None
    tint: str | None = None

    def has(self, feature: str) -> bool:
        """Whether a feature is in the picture."""
        return feature in self.features

    def to_json(self) -> dict[str, Any]:
        """Return it JSON-ready."""
        out = attrs.asdict(self)
        return out | {"features": list(self.features), "texts": list(self.texts), "shapes": [attrs.asdict(s) for s in self.shapes]}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Recipe:
        """Read back what `to_json` wrote."""
        lists = {"features": tuple(raw["features"]), "texts": tuple(raw["texts"]), "shapes": tuple(Shape(**s) for s in raw["shapes"])}
        return cls(**(dict(raw) | lists))

    def changed(self, wish: Wish) -> Recipe:
        """Return the recipe as a further prompt changes it: what it does not speak of stays."""
        time = wish.time or self.time
        place = wish.place or (self.place if self.place != "plain" or not wish.has_scene else "mountains")
        features = set(self.features)
        if wish.time:
            features -= {"sun", "moon", "stars"}
            features |= _lights(time)
        if wish.place and wish.place != self.place:
            features -= _OF_PLACE
            features |= _of_place(place, rng(self.seed, "place"))
        if wish.season and wish.season != "winter":
            features -= {"snow", "snowfall"}
        return attrs.evolve(
            self,
            time=time,
            place=place,
            season=wish.season or self.season,
            features=tuple(sorted((features | wish.features) - wish.absent)),
            texts=wish.texts or self.texts,
            shapes=wish.shapes or self.shapes,
            backdrop=wish.backdrop or self.backdrop,
            tint=wish.tint or self.tint,
        )


#: Features that can stand by themselves, without a landscape.
THINGS = frozenset({"balloon", "birds", "moon", "sun", "boat", "house", "lighthouse", "rainbow"})
_OF_PLACE = {"water", "trees", "boat", "palms", "cactus", "flowers", "house", "lighthouse"}


def fresh_seed() -> int:
    """Return a seed from the system's chance, for requests that give none."""
    import secrets

    return secrets.randbits(31)


def _lights(time: str) -> set[str]:
    """Return what shines at a time of day."""
    if time == "night":
        return {"stars", "moon"}
    if time == "dusk":
        return {"stars"}
    return set() if time == "storm" else {"sun"}


def _of_place(place: str, chance: Any) -> set[str]:
    """Return what a place has by itself, some of it by chance."""
    roll = chance.random(4)
    found = {
        "mountains": {"trees"} | ({"water"} if roll[0] < 0.65 else set()),
        "hills": {"trees"} | ({"house"} if roll[0] < 0.4 else set()),
        "forest": {"trees", "fog"},
        "sea": {"water"} | ({"boat"} if roll[0] < 0.7 else set()),
        "beach": {"water", "palms"},
        "city": {"water"} if roll[0] < 0.6 else set(),
        "meadow": {"flowers", "trees"},
        "desert": {"cactus"} if roll[0] < 0.4 else set(),
    }.get(place, set())
    if place in {"sea", "beach", "hills"} and roll[1] < 0.6:
        found = found | {"birds"}
    return found


def resolve(wish: Wish, seed: int, prompt: str = "") -> Recipe:
    """Decide everything that a wish leaves open, by its seed (and, where no word is known, by the prompt's letters)."""
    salt = str(zlib.crc32(prompt.encode())) if wish.is_empty else ""
    chance = rng(seed, "choices", salt)
    times = [t for t in _TIMES if t not in wish.absent]
    places = [p for p in _PLACES if p not in wish.absent]
    time = wish.time or str(chance.choice(times or ["day"]))
    if wish.time is None and wish.features & {"moon", "stars"} and wish.place != "space":
        time = "night"
    elif wish.time is None and wish.features & {"rainbow", "sun"}:
        time = "day"
    elif wish.time is None and "rain" in wish.features:
        time = "storm"
    place = wish.place or _place(wish, str(chance.choice(places or ["hills"])))
    season = wish.season or str(chance.choice(["summer", "summer", "spring", "autumn"]))
    features = wish.features | _lights(time) | _of_place(place, rng(seed, "place"))
    if time in {"day", "dawn", "sunset", "storm"} and chance.random() < 0.9:
        features = features | {"clouds"}
    if place == "plain":
        features = wish.features & THINGS
    return Recipe(
        seed=seed,
        time=time,
        place=place,
        season=season,
        features=tuple(sorted(features - wish.absent)),
        texts=wish.texts,
        shapes=wish.shapes,
        backdrop=wish.backdrop,
        tint=wish.tint,
    )


def _place(wish: Wish, fallback: str) -> str:
    """Return the place that goes with what is asked for, where none is named."""
    if wish.backdrop or (wish.has_things and not wish.has_scene and not wish.features):
        return "plain"
    for feature, place in (("cactus", "desert"), ("palms", "beach"), ("lighthouse", "sea"), ("boat", "sea"), ("flowers", "meadow")):
        if feature in wish.features:
            return "mountains" if "water" in wish.features and feature == "boat" else place
    if wish.features & {"water", "aurora"}:
        return "mountains"
    return "forest" if "trees" in wish.features else fallback

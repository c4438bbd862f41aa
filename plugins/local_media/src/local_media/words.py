"""Prompt -> Wish: the keywords that this backend knows. Pure; nothing is understood beyond the word lists."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

import attrs

from anymedia.results import Warning

from .vocabulary import ABSENT, COLOURS, FEATURES, INSIGNIFICANT, NUMBERS, PLACES, REMOVAL, SEASONS, SHAPES, TIMES

__all__ = ["Shape", "Wish", "ignored", "mood_words", "quoted", "read", "scene_words", "tokens"]

_QUOTES = re.compile(r"\"([^\"\n]{1,1000})\"|“([^”\n]{1,1000})”|«([^»\n]{1,1000})»|「([^」\n]{1,1000})」|(?<!\w)'([^'\n]{1,200})'(?!\w)")


#: Colours of a sky -> the time of day that they mean.
_SKIES = {"blue": "day", "black": "night", "red": "sunset", "orange": "sunset", "pink": "dawn"}
_MOST_IGNORED = 8
_SIZES = frozenset({"big", "small", "large", "little", "tiny", "huge", "bright", "dark"})


@attrs.frozen(kw_only=True)
class Shape:
    """A number of shapes of a kind and colour (None: chosen at random)."""

    kind: str
    count: int = 1
    colour: str | None = None


@attrs.frozen(kw_only=True)
class Wish:
    """What a prompt asks for, as far as its words are known. None and empty mean: not said.

    Attributes:
        time: dawn, day, sunset, dusk, night or storm.
        place: mountains, hills, desert, forest, sea, beach, city, meadow or space.
        season: spring, summer, autumn or winter.
        features: what is to be there (``moon``, ``boat`` ...).
        absent: what is to be left out.
        texts: quoted words, to be drawn as they are.
        shapes: plain shapes.
        backdrop: colour of a plain background, where one is asked for.
        tint: a colour for the whole mood.
        remove: it speaks of taking something away.
    """

    time: str | None = None
    place: str | None = None
    season: str | None = None
    features: frozenset[str] = frozenset()
    absent: frozenset[str] = frozenset()
    texts: tuple[str, ...] = ()
    shapes: tuple[Shape, ...] = ()
    backdrop: str | None = None
    tint: str | None = None
    remove: bool = False

    @property
    def has_scene(self) -> bool:
        """Whether a landscape is asked for, not just things to put somewhere."""
        return bool(
            self.time
            or self.place
            or self.season
            or self.features & {"water", "snow", "fog", "aurora", "stars", "clouds", "trees", "flowers"}
        )

    @property
    def has_things(self) -> bool:
        """Whether there is something to draw on top: shapes or text."""
        return bool(self.shapes or self.texts)

    @property
    def is_empty(self) -> bool:
        """Whether no word was known."""
        return attrs.evolve(self, absent=frozenset()) == Wish()


def quoted(prompt: str) -> tuple[str, ...]:
    """Return the quoted pieces of text, in order."""
    return tuple(next(g for g in m.groups() if g is not None).strip() for m in _QUOTES.finditer(prompt) if m.group(0)[1:-1].strip())


def tokens(text: str) -> list[str]:
    """Return the words, lower case, without what is quoted."""
    return re.findall(r"[a-z]+|[0-9]+", _QUOTES.sub(" ", text).lower())


def _lookup(words: list[str], table: Mapping[str, Iterable[str]]) -> list[tuple[int, int, str]]:
    """Return (position, length, name) of each known word or phrase."""
    places: dict[str, list[int]] = {}
    for at, word in enumerate(words):
        places.setdefault(word, []).append(at)
    found: list[tuple[int, int, str]] = []
    for name, known in table.items():
        for parts in (phrase.split() for phrase in known):
            length = len(parts)
            found += ((at, length, name) for at in places.get(parts[0], ()) if words[at : at + length] == parts)
    return sorted(found, key=lambda hit: (hit[0], -hit[1]))


def _is_absent(words: list[str], at: int) -> bool:
    return any(word in ABSENT for word in words[max(0, at - 2) : at])


def _first(words: list[str], table: Mapping[str, Iterable[str]]) -> str | None:
    return next((name for at, _, name in _lookup(words, table) if not _is_absent(words, at)), None)


def _count(word: str) -> int | None:
    if word.isdigit():
        return max(1, min(int(word), 60))
    return NUMBERS.get(word)


def _described_from(words: list[str], at: int) -> int:
    """Return where the words begin that describe the noun at a position: numbers, colours, sizes, without a gap."""
    start = at
    while start > 0 and at - start < 4 and (words[start - 1] in COLOURS or words[start - 1] in _SIZES or _count(words[start - 1])):
        start -= 1
    return start


def _shapes(words: list[str]) -> tuple[tuple[Shape, ...], set[int]]:
    """Return the shapes and the positions of the words they use up."""
    found, used = [], set()
    for at, _, kind in _lookup(words, SHAPES):
        before = range(_described_from(words, at), at)
        colour = next((COLOURS.get(words[i]) and words[i] for i in reversed(before) if words[i] in COLOURS and i not in used), None)
        count = next((_count(words[i]) for i in reversed(before) if _count(words[i]) and i not in used), None)
        if kind == "star" and not (colour or count):
            continue  # stars without number or colour are those in the sky
        many = words[at].endswith("s") and words[at] not in {"cross"}
        found.append(Shape(kind=kind, count=count or (5 if many else 1), colour=colour))
        used |= {at, *(i for i in before if words[i] in COLOURS or _count(words[i]))}
    return tuple(found), used


def _colour_before(words: list[str], nouns: set[str], used: set[int]) -> str | None:
    for i, word in enumerate(words):
        if word in nouns:
            for j in range(max(0, i - 2), i):
                if words[j] in COLOURS and j not in used:
                    used |= {i, j}
                    return words[j]
    return None


def read(prompt: str, negative: str | None = None) -> Wish:
    """Read a prompt and, if there is one, a negative prompt (its known words are left out of the picture)."""
    words = tokens(prompt)
    shapes, used = _shapes(words)
    backdrop = _colour_before(words, {"background", "backdrop"}, used)
    sky = _colour_before(words, {"sky", "skies"}, used)
    hits = [(at, name) for at, _, name in _lookup(words, FEATURES) if not (name == "stars" and at in used)]
    absent = {name for at, name in hits if _is_absent(words, at)}
    absent |= {name for _, _, name in _lookup(tokens(negative or ""), {**FEATURES, **PLACES, **TIMES})}
    tint = next((w for i, w in enumerate(words) if w in COLOURS and i not in used), None)
    time = _first(words, TIMES) or _SKIES.get(sky or "")
    return Wish(
        time=time,
        place=_first(words, PLACES),
        season=_first(words, SEASONS),
        features=frozenset(name for _, name in hits) - absent,
        absent=frozenset(absent),
        texts=quoted(prompt),
        shapes=shapes,
        backdrop=backdrop,
        tint=tint,
        remove=any(w in REMOVAL for w in words),
    )


def scene_words(wish: Wish) -> Iterator[str]:
    """Yield the words and phrases that stand for what is drawn of a wish as a scene."""
    yield from mood_words(wish)
    yield from PLACES.get(wish.place or "", ())
    for name in wish.features | wish.absent:
        for table in (FEATURES, PLACES, TIMES):
            yield from table.get(name, ())
    for shape in wish.shapes:
        yield from (*SHAPES[shape.kind], shape.colour or "")


def mood_words(wish: Wish) -> Iterator[str]:
    """Yield the words and phrases that stand for what an adjustment of pixels takes of a wish."""
    for table, name in ((TIMES, wish.time), (SEASONS, wish.season)):
        yield from table.get(name or "", ())
    for name in wish.features & {"fog", "snowfall", "rain", *(("snow",) if wish.season == "winter" else ())}:
        yield from FEATURES[name]
    yield from ("background", "backdrop") if wish.backdrop else ()
    yield from (wish.tint or "", wish.backdrop or "", *(f"{colour} {sky}" for colour in _SKIES for sky in ("sky", "skies")))


def ignored(prompt: str, used: Iterable[str], unknown: str = "") -> list[Warning]:
    """Return the warning about the significant words of a prompt that changed nothing, if there are any.

    Args:
        prompt: the prompt; quoted text is drawn as it is.
        used: the words and phrases that were used.
        unknown: what happened because no word was known.
    """
    words = re.findall(r"[^\W\d_]+|[0-9]+", _QUOTES.sub(" ", prompt).lower())
    hits = _lookup(words, {"used": set(used) - {""}})
    taken = {at + i for at, length, _ in hits for i in range(length)}
    left = [w for i, w in enumerate(words) if i not in taken and len(w) > 1 and not w.isdigit()]
    left = [w for w in dict.fromkeys(left) if w not in INSIGNIFICANT and w not in NUMBERS and w not in ABSENT]
    more = [f"and {len(left) - _MOST_IGNORED} more"] if len(left) > _MOST_IGNORED else []
    said = [f"ignored: prompt words: {', '.join([*left[:_MOST_IGNORED], *more])}"] if left else []
    text = "; ".join(filter(None, [*said, unknown]))
    return [Warning("ignored_words", text)] if text else []

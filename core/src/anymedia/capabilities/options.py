"""The values that an option accepts, and the nearest accepted value to another one."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable, Iterator
from typing import Any

from ..credentials import Secret
from ..errors import shown
from ..formatting import in_digits
from ..records import frozen
from ..strict_json import json_kind


def _same_kind(a: Any, b: Any) -> bool:
    if type(a) is type(b):
        return True
    return isinstance(a, bool) == isinstance(b, bool) and isinstance(a, int | float) == isinstance(b, int | float)


def _is_number(value: Any) -> bool:
    """Whether it is a finite number (an integer of any size: it may be compared, but not converted to float)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, int) or math.isfinite(value)


def _edges(value: Any) -> tuple[int, int] | None:
    """Return width and height of a ``WIDTHxHEIGHT`` text, or None for anything else."""
    return _edges_of(value) if isinstance(value, str) else None


@functools.lru_cache(maxsize=256)
def _edges_of(text: str) -> tuple[int, int] | None:
    found = re.fullmatch(r"([1-9][0-9]{0,5})x([1-9][0-9]{0,5})", text)
    return (int(found[1]), int(found[2])) if found else None


def listed_values(values: Iterable[Any], most: int = 12) -> str:
    """Return values in a list for a message, at most so many: ``a, b and 108 more``."""
    texts = [str(value) for value in values]
    return ", ".join(texts) if len(texts) <= most else f"{', '.join(texts[: most - 1])} and {len(texts) - most + 1} more"


@frozen(kw_only=True)
class Choice:
    """One of a list of values. ``fixed``: the model always behaves like this, so nothing is sent.

    ``default``, here and below: the service's behaviour if nothing is sent. It is not sent; prices and rules assume it.
    ``required``: an option in ``extra_params``, or the prompt of a task, without which the service refuses the request.
    """

    one_of: tuple[Any, ...]
    fixed: bool = False
    default: Any = None
    doc: str = ""
    required: bool = False

    def takes(self, value: Any) -> bool:
        """Whether a value is allowed."""
        return value in self.one_of and (isinstance(value, str) or any(value == v and _same_kind(value, v) for v in self.one_of))

    def problem(self, value: Any) -> str | None:
        """Return what is wrong with a value, or None."""
        return None if self.takes(value) else f"accepts {listed_values(self.one_of)}, not {shown(value)}"

    def nearest(self, value: Any) -> Any:
        """Return the nearest allowed number (the smaller of two equally near ones), or the same word in another case; else None."""
        if isinstance(value, str):
            return next((v for v in self.one_of if isinstance(v, str) and v.casefold() == value.strip().casefold()), None)
        numbers = [v for v in self.one_of if isinstance(v, int | float) and not isinstance(v, bool)]
        if not numbers or not _is_number(value):
            return None
        inside = min(max(value, min(numbers)), max(numbers))
        return min(numbers, key=lambda v: (abs(v - inside), v))


@frozen(kw_only=True)
class Range:
    """A number between two inclusive bounds, in steps from the lower one."""

    min: float
    max: float
    step: float | None = None
    default: float | None = None
    doc: str = ""
    required: bool = False
    fixed = False

    @property
    def integer(self) -> bool:
        """Whether only integers are allowed."""
        return self.step is not None and float(self.step).is_integer() and float(self.min).is_integer()

    def takes(self, value: Any) -> bool:
        """Whether a value is allowed."""
        if not _is_number(value) or not self.min <= value <= self.max:
            return False
        return not self.step or abs(self._on_grid(value) - value) <= 1e-9

    def text(self) -> str:
        """Return the allowed numbers as text."""
        steps = f" in steps of {in_digits(self.step)}" if self.step else ""
        return f"{in_digits(self.min)} to {in_digits(self.max)}{steps}"

    def problem(self, value: Any) -> str | None:
        """Return what is wrong with a value, or None."""
        if self.takes(value):
            return None
        if not _is_number(value):
            return f"accepts a number, not {shown(value)}"
        return f"accepts {self.text()}, not {shown(value)}"

    def nearest(self, value: Any) -> Any:
        """Return the nearest allowed number."""
        if not _is_number(value):
            return None
        fitted = self._on_grid(min(max(value, self.min), self.max))
        return int(fitted) if self.integer or (isinstance(value, int) and float(fitted).is_integer()) else fitted

    def _on_grid(self, value: float) -> float:
        if not self.step:
            return value
        if self.integer and isinstance(value, int):  # exact: a float has no number for each seed above 2**53
            low, step = int(self.min), int(self.step)
            steps, rest = divmod(value - low, step)
            steps += 2 * rest > step or (2 * rest == step and steps % 2)
            return low + max(min(steps, (math.floor(self.max) - low) // step), 0) * step
        steps = min(round((value - self.min) / self.step), math.floor((self.max - self.min) / self.step + 1e-9))
        return round(self.min + max(steps, 0) * self.step, 9)


@frozen(kw_only=True)
class Text:
    """Free text of at most ``max_chars`` characters (None: no known limit)."""

    max_chars: int | None = None
    default: str | None = None
    doc: str = ""
    required: bool = False
    fixed = False

    def takes(self, value: Any) -> bool:
        """Whether a value is allowed."""
        return isinstance(value, str) and (self.max_chars is None or len(value) <= self.max_chars)

    def problem(self, value: Any) -> str | None:
        """Return what is wrong with a value, or None."""
        if not isinstance(value, str):
            return f"accepts text, not {json_kind(value)}"
        if self.max_chars is not None and len(value) > self.max_chars:
            return f"accepts at most {self.max_chars} characters, not {len(value)}"
        return None

    def nearest(self, value: Any) -> Any:
        """Return None: text is never shortened."""
        return None


#: Type of a JSON value -> its name in a message.
_TYPE_NAMES = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
    "secret": "text",
}


@frozen(kw_only=True)
class Anything:
    """Any JSON value of a type: ``string``, ``integer``, ``number``, ``boolean``, ``array``, ``object`` or ``any``.

    A ``secret`` is a text that is sent and never stored or shown: the hook receives a `Secret`.
    """

    type: str
    default: Any = None
    doc: str = ""
    required: bool = False
    fixed = False

    def takes(self, value: Any) -> bool:
        """Whether a value is allowed."""
        return self.problem(value) is None

    def problem(self, value: Any) -> str | None:
        """Return what is wrong with a value, or None."""
        kinds: dict[str, tuple[type, ...]] = {
            "string": (str,),
            "integer": (int,),
            "number": (int, float),
            "boolean": (bool,),
            "array": (list, tuple),
            "object": (dict,),
            "secret": (str, Secret),
            "any": (object,),
        }
        if isinstance(value, kinds[self.type]) and (self.type in {"boolean", "any"} or not isinstance(value, bool)):
            return None
        return f"accepts {_TYPE_NAMES[self.type]}, not {json_kind(value)}"

    def nearest(self, value: Any) -> Any:
        """Return None: there is no order among the values."""
        return None


@frozen(kw_only=True)
class Pixels:
    """Any ``WIDTHxHEIGHT`` within limits: multiples, edge lengths, aspect ratio and total pixels."""

    multiple_of: int = 1
    min_edge: int = 1
    max_edge: int = 1_000_000
    max_ratio: float | None = None
    pixels: tuple[int, int] | None = None
    auto: bool = False
    default: str | None = None
    doc: str = ""
    required: bool = False
    fixed = False

    def takes(self, value: Any) -> bool:
        """Whether a value is allowed."""
        if value == "auto":
            return self.auto
        edges = _edges(value)
        return edges is not None and self._fits(*edges)

    def problem(self, value: Any) -> str | None:
        """Return what is wrong with a value, or None."""
        if self.takes(value):
            return None
        if value == "auto":
            return "does not accept 'auto'"
        edges = _edges(value)
        if edges is None:
            return f"accepts {self.text()}, not {shown(value)}"
        return f"accepts {self.text()}, not {value}: {', '.join(self._problems(*edges))}"

    def _fits(self, width: int, height: int) -> bool:
        short, long = (width, height) if width < height else (height, width)
        return (
            not (width % self.multiple_of or height % self.multiple_of)
            and self.min_edge <= short
            and long <= self.max_edge
            and (not self.max_ratio or long <= self.max_ratio * short * (1 + 1e-9))
            and (not self.pixels or self.pixels[0] <= width * height <= self.pixels[1])
        )

    def _problems(self, width: int, height: int) -> list[str]:
        wrong = []
        if width % self.multiple_of or height % self.multiple_of:
            wrong.append(f"edges must be multiples of {self.multiple_of}")
        if not self.min_edge <= min(width, height) <= max(width, height) <= self.max_edge:
            wrong.append(f"edges must be {self.min_edge} to {self.max_edge}")
        if self.max_ratio and max(width, height) > self.max_ratio * min(width, height) * (1 + 1e-9):
            wrong.append(f"the ratio must be at most {self.max_ratio:g}")
        if self.pixels and not self.pixels[0] <= width * height <= self.pixels[1]:
            wrong.append(f"the total must be {self.pixels[0]} to {self.pixels[1]} pixels")
        return wrong

    def text(self) -> str:
        """Return the limits as text."""
        parts = [f"WIDTHxHEIGHT in multiples of {self.multiple_of}" if self.multiple_of > 1 else "WIDTHxHEIGHT"]
        if self.max_edge < 1_000_000:
            parts.append(f"edges {self.min_edge} to {self.max_edge}")
        if self.max_ratio:
            parts.append(f"ratio up to {self.max_ratio:g}")
        if self.pixels:
            parts.append(f"{self.pixels[0]} to {self.pixels[1]} pixels")
        return ", ".join(parts)

    def nearest(self, value: Any) -> str | None:
        """Return the nearest allowed size, keeping first the aspect ratio and then the pixel count; or None."""
        edges = _edges(value)
        if edges is None:
            return None
        shape, total = edges[0] / edges[1], float(edges[0] * edges[1])
        low, high = self.pixels or (1, self.max_edge**2)
        step = self.multiple_of
        short, long = -(-self.min_edge // step) * step, max(self.max_edge // step, 1) * step
        # The most extreme ratio at which the limits on edges and pixels can both be met; then the pixel counts possible with it.
        most = max(1.0, min(self.max_ratio or math.inf, long / short, high / short**2, long**2 / max(low, 1)))
        shape = min(max(shape, 1 / most), most)
        wide = max(shape, 1 / shape)
        total = min(max(total, low, short**2 * wide), high, long**2 / wide)
        return self._search(math.sqrt(total * shape), math.sqrt(total / shape))

    def _search(self, width: float, height: float) -> str | None:
        """Search the grid around an ideal size for the allowed size with the smallest change."""
        best: tuple[float, str] | None = None
        for w, h in self._around(width, height):
            if not self._fits(w, h):
                continue
            change = abs(math.log(w / width)) + abs(math.log(h / height))
            if best is None or change < best[0] - 1e-12:
                best = (change, f"{w}x{h}")
        return best[1] if best else None

    def _around(self, width: float, height: float) -> Iterator[tuple[int, int]]:
        """Yield sizes with one edge near its ideal and the other as near as the limits allow."""
        step = self.multiple_of
        for i in range(-3, 4):
            if (w := (math.floor(width / step) + i) * step) > 0:
                yield from ((w, h) for h in self._other_edges(w, height))
            if (h := (math.floor(height / step) + i) * step) > 0:
                yield from ((w, h) for w in self._other_edges(h, width))

    def _other_edges(self, edge: int, wanted: float) -> set[int]:
        """Return the lengths just below and above the wanted one, moved into the limits for a given edge."""
        low, high = self.pixels or (1, self.max_edge**2)
        ratio, step = self.max_ratio or math.inf, self.multiple_of
        least = math.ceil(max(self.min_edge, low / edge, edge / ratio, 1) / step - 1e-9) * step
        most = math.floor(min(self.max_edge, high / edge, edge * ratio) / step + 1e-9) * step
        near = math.floor(wanted / step) * step
        return {min(max(length, least), most) for length in (near, near + step)} if least <= most else set()


Option = Choice | Range | Text | Anything | Pixels

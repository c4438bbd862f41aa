"""Words as they are, drawn with OpenCV's own fonts (Latin, Greek, Cyrillic, Chinese, Japanese, Korean)."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any

import attrs

from .heavy import cv

if TYPE_CHECKING:
    from .heavy import Floats, Pixels

__all__ = ["Lettering", "draw_texts", "lettering", "misdrawn", "text_mask"]


def _font(text: str) -> Any:
    """Return the font that has the letters: `sans`, or `uni` for what lies beyond Greek and Cyrillic."""
    return cv().FontFace("sans" if all(ord(c) < 0x530 or 0x2000 <= ord(c) < 0x2070 for c in text) else "uni")


def _measure(text: str, font: Any, size: int) -> tuple[int, int, int, int]:
    box = cv().getTextSize((0, 0), text, (0, 0), font, size, 700)
    return int(box[0]), int(box[1]), int(box[2]), int(box[3])


def _wrap(text: str, font: Any, size: int, width: int) -> list[str]:
    """Break a text into lines that fit; where there are no spaces, between letters."""
    lines, line = [], ""
    for word in text.split(" "):
        trial = f"{line} {word}".strip()
        if line and _measure(trial, font, size)[2] > width:
            lines.append(line)
            line = word
        else:
            line = trial
        while len(line) > 1 and _measure(line, font, size)[2] > width:
            cut = next((n for n in range(len(line) - 1, 0, -1) if _measure(line[:n], font, size)[2] <= width), 1)
            lines.append(line[:cut])
            line = line[cut:]
    return [*lines, line] if line else lines


def _lay_out(text: str, width: int, height: int) -> tuple[list[str], int]:
    """Return the lines and the largest letter size (pixels) that fit a box."""
    font = _font(text)
    size = max(6, round(height * 0.6))
    while size > 6:
        lines = _wrap(text, font, size, width)
        longest = max(_measure(line, font, size)[2] for line in lines)
        if longest <= width and len(lines) * size * 1.25 <= height and (len(lines) <= 1 + len(text) // 18):
            return lines, size
        size = min(size - 1, round(size * 0.92))
    return _wrap(text, font, size, width), size


def text_mask(text: str, width: int, height: int) -> Pixels:
    """Return a text as large as fits, centred, white on black, (height, width)."""
    import numpy as np

    lines, size = _lay_out(text, round(width * 0.94), height)
    font = _font(text)
    canvas = np.zeros((height, width, 3), np.uint8)
    step = size * 1.25
    first = (height - step * len(lines)) / 2
    for index, line in enumerate(lines):
        box = _measure(line, font, size)
        left = round((width - box[2]) / 2) - box[0]
        baseline = round(first + step * index + size * 0.95)
        cv().putText(canvas, line, (left, baseline), (255, 255, 255), font, size, 700, 0, (0, 1 << 20))
    grey: Pixels = canvas[..., 0]
    return grey


def misdrawn(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Say what of these texts does not come out as it is written: letters that no font has, writing from right to left."""
    letters = {c for text in texts for c in text}
    strange = sorted(c for c in letters if ord(c) > 0x24F and not c.isspace())
    none = text_mask("\U0010fffd", 32, 32).tobytes() if strange else b""  # not assigned to any letter
    lost = [c for c in strange if text_mask(c, 32, 32).tobytes() == none]
    said = []
    if lost:
        said.append(f"no font here has these letters, so '?' or nothing is drawn for them: {' '.join(lost)}")
    if any(unicodedata.bidirectional(c) in {"R", "AL"} for c in letters):
        said.append("writing from right to left is not laid out: its letters stand one by one from left to right")
    return tuple(said)


@attrs.frozen(eq=False)
class Lettering:
    """Words ready to be laid over a picture: straight colour (h, w, 3) and strength (h, w), 0 to 1."""

    colour: Floats
    strength: Floats
    top: int
    left: int

    def paint(self, rgb: Pixels, alpha: Pixels | None = None) -> None:
        """Draw the words into a picture, in place; ``alpha`` is made opaque where letters stand."""
        import numpy as np

        height, width = self.strength.shape
        box = (slice(self.top, self.top + height), slice(self.left, self.left + width))
        mixed = rgb[box] + (self.colour - rgb[box]) * self.strength[..., None]
        rgb[box] = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
        if alpha is not None:
            alpha[box] = np.maximum(alpha[box], np.rint(self.strength * 255).astype(np.uint8))


def _letter(part: Pixels, letters: Pixels, top: int, left: int) -> Lettering:
    """Return white letters with a soft dark rim, or dark ones with a white rim where the picture is pale."""
    import numpy as np

    thick = max(1, letters.shape[0] // 40)
    rim = cv().GaussianBlur(cv().dilate(letters, np.ones((2 * thick + 1,) * 2, np.uint8)), (0, 0), thick)
    pale = float(part.mean()) > 175
    ink, edge = ((24, 26, 36), (255, 255, 255)) if pale else ((255, 255, 255), (10, 12, 24))
    full, soft = letters.astype(np.float32) / 255, rim.astype(np.float32) / 255 * 0.75
    strength = full + soft * (1 - full)
    share = (full / np.maximum(strength, 1e-6))[..., None]
    return Lettering(np.array(ink, np.float32) * share + np.array(edge, np.float32) * (1 - share), strength, top, left)


def lettering(rgb: Pixels, texts: tuple[str, ...], box: tuple[int, int, int, int] | None = None) -> list[Lettering]:
    """Return texts as they are to stand on a picture: stacked below its upper edge, or filling a box (x, y, w, h)."""
    found = []
    height, width = rgb.shape[:2]
    room = min(0.26, 0.8 / max(1, len(texts)))
    for index, text in enumerate(texts):
        if box is None:
            left, top, wide, tall = round(width * 0.05), round(height * (0.08 + room * index)), round(width * 0.9), round(height * room)
        else:
            left, wide, tall = box[0], box[2], box[3] // len(texts)
            top = box[1] + tall * index
        wide, tall = max(1, wide), max(1, min(tall, height - top))
        part = rgb[top : top + tall, left : left + wide]
        found.append(_letter(part, text_mask(text, wide, tall), top, left))
    return found


def draw_texts(rgb: Pixels, texts: tuple[str, ...], alpha: Pixels | None = None, box: tuple[int, int, int, int] | None = None) -> None:
    """Draw texts into a picture, in place."""
    for words in lettering(rgb, texts, box):
        words.paint(rgb, alpha)

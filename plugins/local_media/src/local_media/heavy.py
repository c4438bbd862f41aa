"""The heavy modules, imported when first needed and set up the same way everywhere."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    #: Pixels, (height, width, 3) RGB or (height, width) grey, 0 to 255.
    Pixels = npt.NDArray[np.uint8]
    #: Numbers for arithmetic, mostly 0 to 1.
    Floats = npt.NDArray[np.float32]

__all__ = ["cv", "pyav", "rng", "to_pixels"]


def cv() -> Any:
    """Return OpenCV, told to keep quiet: it writes to the C-level stderr."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    import cv2

    return cv2


def pyav() -> Any:
    """Return PyAV."""
    import av

    return av


def to_pixels(values: Any) -> Pixels:
    """Return numbers around 0 to 255 as pixels: rounded, what lies outside cut off."""
    import numpy as np

    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


def rng(seed: int, *names: str) -> np.random.Generator:
    """Return the generator of one part of a picture.

    Each part has its own stream, so a changed word moves nothing but what it names.
    """
    import zlib

    import numpy as np

    return np.random.default_rng([seed & (2**63 - 1), *(zlib.crc32(n.encode()) for n in names)])

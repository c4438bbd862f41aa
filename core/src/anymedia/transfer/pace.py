"""How long a disk takes to make a small file durable. With a quick one the event loop waits; a slow one is left to a thread.

Handing work to a thread and being told of its end costs several times what naming a small file costs, and a sync of a
local disk is over in less. A network disk may take its time, so each device is judged by how long it took of late.
"""

from __future__ import annotations

import math

__all__ = ["SMALL", "is_quick", "note"]

#: The most bytes that are written there and then.
SMALL = 262_144
#: The event loop is not held up for longer than this, in seconds.
_QUICK = 0.002
#: One slow sync, on a busy machine, is no slow disk; two in a row are.
_AT_MOST_TIMES = 4

_seconds: dict[int, float] = {}


def is_quick(device: int) -> bool:
    """Whether a device (``st_dev``) has been quick of late; one that was never synced is not."""
    return _seconds.get(device, math.inf) < _QUICK


def note(device: int, seconds: float) -> None:
    """Remember how long syncing a file and its folder took."""
    _seconds[device] = min(seconds, _AT_MOST_TIMES * _seconds.get(device, math.inf))

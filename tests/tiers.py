"""Which cases of a test run in the quick suite, and how many examples a property gets there."""

from collections.abc import Iterable
from typing import Any

import pytest


def quick_first(values: Iterable[Any], count: int = 1) -> list[Any]:
    """Leave the first values to the quick suite and mark the others exhaustive.

    Args:
        values: Arguments for ``pytest.mark.parametrize``; a tuple holds the arguments of one case.
        count: How many of them the quick suite runs.
    """
    cases = [value if isinstance(value, tuple) else (value,) for value in values]
    return [pytest.param(*case, marks=[] if n < count else [pytest.mark.exhaustive]) for n, case in enumerate(cases)]


def sandboxed_once(names: Iterable[str]) -> list[Any]:
    """Mark all but the first of the files that a child process reads exhaustive: each costs the start of a process.

    Args:
        names: Names of files, which begin with their format.
    """
    from anymedia.convert.sandbox import SANDBOXED_FORMATS

    ordered = sorted(names, key=lambda name: name.startswith(tuple(SANDBOXED_FORMATS)))
    return quick_first(ordered, 1 + sum(not name.startswith(tuple(SANDBOXED_FORMATS)) for name in ordered))


def examples(count: int, **more: Any) -> Any:
    """Return Hypothesis settings with ``count`` examples in the exhaustive tier and a fifth of them (10 at least) in the quick one."""
    from hypothesis import settings

    scale = settings.default.max_examples  # type: ignore[union-attr]  # 100 in the exhaustive tier: see the root conftest.py
    return settings(max_examples=min(count, max(10, count * scale // 100)), **more)

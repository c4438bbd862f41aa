"""Keys: a type for them that never shows them. Where keys are found is in settings.py."""

from __future__ import annotations

import attrs

__all__ = ["Secret"]


@attrs.frozen(repr=False, str=False)
class Secret:
    """A text that never shows itself: str, repr, format and pickling give no hint of it."""

    _text: str = attrs.field()

    def reveal(self) -> str:
        """Return the text itself, for the one who sends it."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(...)"

    __str__ = __repr__

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a secret is not written down")

    def __bool__(self) -> bool:
        return bool(self._text)

"""Who was not taken, and why: worded when somebody looks. Of hundreds of candidates nobody looks at most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

from ..requests import Operation
from .types import Candidate, Reason, Rejection

__all__ = ["Rejections"]


class Rejections(Sequence[Rejection]):
    """A tuple of `Rejection`, each made when it is first asked for.

    Args:
        operation: what was asked for.
        found: backend, model, reasons; no reasons where the model has no row for the operation at all.
    """

    __slots__ = ("_found", "_made", "_operation")

    def __init__(self, operation: Operation, found: Sequence[tuple[str, str, tuple[Reason, ...]]] = ()) -> None:
        self._operation = operation
        self._found = tuple(found)
        self._made: tuple[Rejection, ...] | None = None

    def _all(self) -> tuple[Rejection, ...]:
        if self._made is None:
            self._made = tuple(self._one(*entry) for entry in self._found)
        return self._made

    def _one(self, backend: str, model: str, reasons: tuple[Reason, ...]) -> Rejection:
        candidate = Candidate(backend=backend, model=model, operation=self._operation)
        no_row = Reason(code="operation_unsupported", text=f"'{candidate}' does no {self._operation}")
        return Rejection(candidate=candidate, reasons=reasons or (no_row,))

    @overload
    def __getitem__(self, index: int) -> Rejection: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Rejection, ...]: ...
    def __getitem__(self, index: int | slice) -> Rejection | tuple[Rejection, ...]:
        return self._all()[index]

    def __len__(self) -> int:
        return len(self._found)

    def __eq__(self, other: object) -> bool:
        return self._all() == (other._all() if isinstance(other, Rejections) else other)

    def __hash__(self) -> int:
        return hash(self._all())

    def __repr__(self) -> str:
        return repr(self._all())

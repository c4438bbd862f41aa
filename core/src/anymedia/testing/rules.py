"""The rules by their public ids. An id is never reused for another rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar, get_args

__all__ = ["RULES", "CasesPer", "cases_per", "is_decided_by_core", "known_gap", "rule", "rule_of"]

_F = TypeVar("_F", bound=Callable[..., Any])

#: Rule id -> what it requires.
RULES: dict[str, str] = {
    "A01": "the plugin loads through its entry point, as a module, under one name",
    "A02": "loading the plugin and reading its matrix imports no SDK",
    "A03": "every hook has the signature of its specification and is async where that is",
    "A04": "reading the matrix is pure: no socket, no key, equal on each call",
    "A05": "every operation that the matrix claims is implemented, and every job can be checked",
    "A06": "no rule and no scenario is left out, overridden or skipped: a gap is declared, with its reason",
    "B01": "every claimed operation returns media that an independent decoder accepts, with one submit",
    "B02": "every claimed option reaches the wire: each value makes a different submit, and the media match it",
    "B03": "every claimed input reaches the wire, the last of several too, with its role, type and description",
    "B04": "every operation and input that is not claimed is rejected before any submit",
    "B05": "every option that is not claimed is reported, and rejected by strict",
    "B06": "every rule between fields holds in what is sent",
    "B07": "an undeclared extra parameter is rejected, and each declared one reaches the wire",
    "B08": "a retired model is rejected with its date; one near its end carries a warning",
    "B09": "each image and each video has a new continuation id, and continuing from it works",
    "B10": "a mask reaches the wire in the format that the matrix declares, and only the masked region is edited",
    "B11": "a prompt of the maximum length arrives whole; a longer one is rejected before any submit",
    "B12": "a model whose requirement is not installed is rejected before any submit, with the command that installs it",
    "C01": "each failure of the service raises its own error, which says whether it may be charged and how long to wait",
    "C02": "whatever fails, there is at most one submit, unless it was certainly refused or not delivered",
    "C03": "no key and no signed URL appears in any error, its causes, a log, a stream, a note, a record, a file or a result",
    "C04": "another process can resume a running job from its stored handle alone",
    "C05": "a cancelled call propagates the cancellation and leaves a record of what is known; a job can be cancelled",
    "C06": "a continuation of another backend is rejected before any submit",
    "C07": "the backend connects to the hosts of the scenario only",
    "C08": "an exceeded deadline reports what is known: the job's id, and whether it may be charged",
    "C09": "looking up a submit finds exactly that one or nothing",
    "C10": "a job that a status check does not find is checked again; one that is never found ends after a bounded number of checks",
    "C11": "a submit follows no redirect: it is sent once, and neither the key nor the inputs reach the redirect's target",
    "L01": "with real keys (--anymedia-live), each operation works once, within the budget",
}

#: What a test is repeated for: each distinct operation spec of the matrix (``shape``), or those of some kind, or what is
#: named in the spec. ``operation``, ``submit_failure`` and ``redirect`` take one spec for each operation.
CasesPer = Literal[
    "shape",
    "visual",
    "video",
    "continuation",
    "continuable",
    "mask",
    "prompt_limit",
    "operation",
    "job",
    "option",
    "choice",
    "several",
    "input",
    "reference_part",
    "extra_parameter",
    "unclaimed_option",
    "field_rule",
    "requirement",
    "submit_failure",
    "redirect",
]


def rule(rule_id: str, *, per: CasesPer = "shape", decided_by_core: bool = False) -> Callable[[_F], _F]:
    """Mark a test as one for a rule.

    Args:
        rule_id: the rule.
        per: what the test is repeated for, if it has the argument ``case``.
        decided_by_core: the core decides the outcome before it reaches the plugin.
    """
    assert rule_id in RULES
    assert per in get_args(CasesPer)

    def mark(function: _F) -> _F:
        vars(function).update(__anymedia_rule__=rule_id, __anymedia_per__=per, __anymedia_core__=decided_by_core)
        return function

    return mark


def rule_of(test: Any) -> str | None:
    """Return the id of a test function's rule, or None."""
    return getattr(test, "__anymedia_rule__", None)


def cases_per(test: Any) -> CasesPer:
    """Return what a test function is repeated for."""
    return getattr(test, "__anymedia_per__", "shape")


def is_decided_by_core(test: Any) -> bool:
    """Whether the core decides the outcome of a test before it reaches the plugin."""
    return getattr(test, "__anymedia_core__", False)


def known_gap(rule_id: str, reason: str) -> Callable[[type], type]:
    """Declare that a backend does not keep a rule, and why: the only way to leave one out.

    The rule's tests still run and are expected to fail; the closing table shows the gap with its reason.

    Args:
        rule_id: the rule.
        reason: why the backend does not keep it.

    Raises:
        ValueError: for an unknown rule or an empty reason.
    """
    if rule_id not in RULES:
        raise ValueError(f"unknown rule {rule_id!r}")
    if not reason.strip():
        raise ValueError("a known gap needs a reason")

    def mark(cls: type) -> type:
        gaps: Mapping[str, str] = getattr(cls, "known_gaps", {})
        cls.known_gaps = {**gaps, rule_id: reason}  # type: ignore[attr-defined]
        return cls

    return mark

"""One word, one thing: hook, request kind, matrix row and router method are called alike."""

import inspect
from typing import get_args

import attrs

import anymedia
from anymedia import hookspecs
from anymedia.fields import role_of
from anymedia.requests import KINDS, Operation
from anymedia.router import Router


def test_hooks_kinds_and_router_methods_have_the_same_names() -> None:
    operations = set(get_args(Operation))
    assert operations == set(KINDS) == {cls.kind for cls in KINDS.values()}
    assert operations <= set(hookspecs.HOOKS)
    for name in operations:
        assert inspect.iscoroutinefunction(getattr(Router, name))


def test_every_operation_hook_takes_just_a_request_and_a_context() -> None:
    for name in get_args(Operation):
        parameters = list(inspect.signature(getattr(hookspecs.HOOKS[name], name)).parameters)
        assert parameters == ["self", "request", "context"]


def test_every_hook_and_its_protocol_say_what_they_are_for() -> None:
    for name, spec in hookspecs.HOOKS.items():
        assert spec.__doc__
        assert getattr(spec, name).__doc__


def test_every_request_field_has_a_role_and_a_meaning() -> None:
    for cls in KINDS.values():
        for field in attrs.fields(cls):
            assert role_of(field) in {"intent", "adjustable", "advisory"}
            assert field.metadata["doc"]


def test_requests_are_frozen_slotted_and_keyword_only() -> None:
    for cls in KINDS.values():
        assert not hasattr(cls(prompt="x", **_needed(cls)), "__dict__")  # type: ignore[arg-type]
        assert all(field.kw_only for field in attrs.fields(cls))


def _needed(cls: type) -> dict[str, object]:
    from anymedia import ContinueVideo, EditWithReferences, Inpaint

    return {
        Inpaint: {"source": "a.png", "mask": "m.png"},
        EditWithReferences: {"references": ["a.png"]},
        ContinueVideo: {"continue_from": "vid_0123456789ab"},
    }.get(cls, {})


def test_the_public_names_are_sorted_and_all_there() -> None:
    assert anymedia.__all__ == sorted(anymedia.__all__)
    assert set(anymedia.__all__) == set(anymedia._MODULES)
    for name in anymedia.__all__:
        assert getattr(anymedia, name) is not None

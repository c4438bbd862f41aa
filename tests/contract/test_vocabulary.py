"""One name per concept across hooks, requests and router methods, and no return of retired phrases and identifiers."""

import inspect
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import get_args

import attrs
import pytest

import anymedia
from anymedia import hookspecs
from anymedia.fields import role_of
from anymedia.requests import KINDS, Operation
from anymedia.router import Router

ROOT = Path(__file__).parents[2]
TREES = ("core", "plugins", "tests", "docs", "examples", "benchmarks", "tools", "changelog.d")
SUFFIXES = {".py", ".md", ".toml", ".txt"}
#: Retired phrases, in lower case; each matches whole words within one line.
PHRASES = (
    r"g(?:o|oes|oing|one) on (?:with|from|as)",
    r"to be gone on",
    r"(?<!there )(?:is|are|was|were|be) no (?!longer\b|more than\b|less than\b|later than\b|earlier than\b)[a-z]\w*",
    r"(?:is|are|was|were|be|been|being) told",
    r"told (?:apart|alike|truly|exactly|of)",
    r"tells? (?:no|the|what|how|that)\b.{0,20}\bsecrets?",
    r"(?:nobody|somebody|whoever|whomever|strangers?)",
    r"to be had",
    r"can(?:not)? be had",
    r"(?:take|takes|taken|taking|took) (?:it |them |one |that |this )?up",
    r"leave to spend",
    r"to put it right",
    r"it says(?=:)",
    r"at the nearest",
    r"what (?:a|an|the|it|each) ?[a-z]* is of",
    r"(?:a|each|first|last|one|every|next|another|failed|single) looks?(?![ -](?:at|like|up|back|into)\b)",
    r"look(?:s|ed)? at (?:a|the|its|his) job",
    r"looks in a row",
    r"(?:bring|brings|brought|bringing) (?:home|nothing|anything|it home|them home|about)",
    r"at work",
    r"anew",
    r"in vain",
    r"for want of",
    r"but for",
    r"hand(?:s|ed|ing)? over",
    r"made[- ]up (?:name|stem)",
    r"(?:of|from) elsewhere",
    r"gone wrong with",
    r"just (?:as|so) (?:it|they|he) (?:is|are|was)",
    r"what (?:stands|came) in (?:its|the) way",
    r"none of theirs",
    r"by and by",
    r"could do it if",
    r"sign of life",
    r"sets? out",
    r"the ways? on",
    r"is (?:wanted|meant) of",
    r"(?:that|what|whatever|which) stands? (?:in|beside|behind|there)",
    r"may stand in",
    r"go(?:es)? along(?= as| to)",
    r"looks? once at",
    r"nor can we",
    r"left to chance",
    r"notes? (?:it|them) down",
)
#: Retired words of identifiers in shipped code.
WORDS = (
    "told|tells|brought|brings|standing|strangers?|nobody|somebody|whoever|onward|anew|purses?|walled|walls|elsewhere|beside|born"
    "|look|looks|looked|underway|conduct|conductor|doors|takenover|gravest|homes?"
)
PHRASE = re.compile(rf"\b(?:{'|'.join(PHRASES)})\b")
IDENTIFIER = re.compile(rf"(?:^|_)(?:{WORDS})(?:_|$)", re.IGNORECASE)
TEST_NAME = re.compile(r"\bdef test_\w+")


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
    from anymedia import ContinueVideo, EditWithReferences, Inpaint, Transform

    return {
        Inpaint: {"source": "a.png", "mask": "m.png"},
        EditWithReferences: {"references": ["a.png"]},
        ContinueVideo: {"continue_from": "vid_0123456789ab"},
        Transform: {"task": "upscale"},
    }.get(cls, {})


def test_public_names_are_sorted_and_all_there() -> None:
    assert anymedia.__all__ == sorted(anymedia.__all__)
    assert set(anymedia.__all__) == set(anymedia._MODULES)
    for name in anymedia.__all__:
        assert getattr(anymedia, name) is not None


@cache
def _texts() -> dict[str, str]:
    """Return the text of each file of the repository that may hold prose, by its path from the root."""
    files = [*ROOT.glob("*.md"), *(f for tree in TREES for f in (ROOT / tree).rglob("*") if f.suffix in SUFFIXES)]
    return {f.relative_to(ROOT).as_posix(): f.read_text("utf-8") for f in files if f != Path(__file__)}


def _phrases(text: str) -> Iterator[tuple[int, str]]:
    """Yield the line number and the text of each retired phrase; names of tests are read as sentences."""
    plain = TEST_NAME.sub(lambda name: name[0].replace("_", " "), text).lower()
    for match in PHRASE.finditer(plain):
        yield plain.count("\n", 0, match.start()) + 1, match[0]


def _identifiers(text: str) -> set[str]:
    """Return the identifiers of Python code with a retired word; comments and strings do not count."""
    if not any(IDENTIFIER.search(word) for word in set(re.findall(r"\w+", text))):
        return set()
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return {t.string for t in tokens if t.type == tokenize.NAME and IDENTIFIER.search(t.string)}


def test_retired_phrases_are_not_used_in_any_text() -> None:
    assert [f"{name}:{line}: {phrase}" for name, text in _texts().items() for line, phrase in _phrases(text)] == []


def test_retired_words_are_not_used_in_identifiers_of_shipped_code() -> None:
    shipped = {name: text for name, text in _texts().items() if re.match(r"(core|plugins/[^/]+)/src/.*\.py$", name)}
    assert shipped
    assert {name: found for name, text in shipped.items() if (found := _identifiers(text))} == {}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It goes on with\nthe call.", [(1, "goes on with")]),
        ("One.\nThis is no error.", [(2, "is no error")]),
        ("There is no error; it is no longer there, and no more.", []),
        ("def test_job_is_told_to_wait() -> None:", [(1, "is told")]),
        ("with a look-up, a look at it and a look up", []),
        ("After each look, Nobody waits.", [(1, "each look"), (1, "nobody")]),
    ],
)
def test_retired_phrase_is_found_with_its_line(text: str, found: list[tuple[int, str]]) -> None:
    assert list(_phrases(text)) == found


def test_retired_identifier_is_found_outside_comments_and_strings() -> None:
    assert _identifiers("look_up = 1  # somebody\nnote = 'nobody'\noutlook = 2\n") == {"look_up"}

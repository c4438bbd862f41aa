"""Rules about what a backend makes: every claim is true."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from ..capabilities import Choice, ContinueRule, ReferencesRule
from ..execution.engine import ODD_PROGRESS
from ..execution.finalize import NOT_KEPT, mismatches
from ..media import format_of
from ..results import Result
from .cases import Case, CaseMaker
from .decoding import container, decode
from .harness import Bench, run
from .rules import rule
from .shapes import minimal_fields, references_for, required_along

__all__ = ["MakingRules", "distinct"]

#: Fields of a submit that differ from call to call by themselves are found by sending the same request twice.
_Flat = dict[str, Any]


def _judge(result: Result, case: Case) -> None:
    """Hold what came back against what the core says of it, with another decoder."""
    media, always = case.shape.model.media, case.shape.row.options.get("output_format")
    for file in result.files:
        seen = decode(file.path, media)
        if isinstance(always, Choice) and always.fixed:
            assert format_of(file.mime) in always.one_of, f"it always makes {', '.join(always.one_of)}, says the row; {file.mime} came"
        assert seen.format == container(format_of(file.mime)), f"the bytes are {seen.format}, the result says {file.mime}"
        if file.width is not None and seen.width is not None:
            assert (seen.width, seen.height) == (file.width, file.height)
        if media != "image":
            assert seen.seconds and seen.seconds > 0
            if file.seconds is not None:
                assert abs(file.seconds - seen.seconds) < 0.5, f"{file.seconds} s said, {seen.seconds} s decoded"


def _growing(case: Case) -> dict[str, Any]:
    """Return what makes an option mean something: outpainting for the shape of an edit, extending for a video's length."""
    onward = case.shape.row.inputs.get("continue_from")
    if case.what == "duration" and isinstance(onward, ContinueRule) and "extend" in onward.ways:
        return {"continue_as": "extend"}
    if more := _as_many_as_it_means_something_for(case):
        return more
    modes = case.shape.row.options.get("edit_mode")
    if case.what not in {"size", "aspect_ratio"} or not isinstance(modes, Choice) or "outpaint" not in modes.one_of:
        return {}
    return {"edit_mode": "outpaint", "mask": None}


def _as_many_as_it_means_something_for(case: Case) -> dict[str, Any]:
    """Return one reference more than the least, where a rule of the row forbids the option for the least alone."""
    references = case.shape.row.inputs.get("references")
    least = len(minimal_fields(case.shape).get("references", ()))
    forbidding = [r for r in case.shape.row.rules if case.what in r.forbid and r.when.get("references.count") == (least,)]
    if not isinstance(references, ReferencesRule) or not forbidding or references.count[1] <= least:
        return {}
    role = next(iter(references.roles))
    return {"references": (*references_for(references, 1), *references_for(references, 2, role))}


def distinct(sent: Sequence[_Flat]) -> tuple[int, int] | None:
    """Return the places of two submits that are the same, or None; the first two are of one and the same request.

    What differs between those two differs by itself, from call to call (ids, boundaries), and does not count.
    """
    restless = {name for name in sent[0].keys() | sent[1].keys() if sent[0].get(name) != sent[1].get(name)}
    seen: list[_Flat] = []
    for place, one in enumerate(sent[1:], 1):
        steady = {name: value for name, value in one.items() if name not in restless}
        if steady in seen:
            return seen.index(steady) + 1, place
        seen.append(steady)
    return None


class MakingRules(CaseMaker):
    """Success, options, inputs, continuations."""

    async def _make(self, bench: Bench, case: Case, **changes: Any) -> tuple[Result, _Flat | None]:
        """Make something and return the result with the submit that made it."""
        async with bench.router() as router:
            request = await bench.request(router, case.shape, self.maker(case), **changes)
            before = bench.submits()
            result = await bench.execute(router, request, case.shape)
            assert bench.submits() == before + 1, f"{bench.submits() - before} submits for one call"
            sent = bench.wire.sent
            return result, None if sent is None else dict(sent()[-1])

    @rule("B01")
    def test_b01_each_claimed_operation_makes_real_media_with_one_submit(self, case: Case) -> None:
        """If this fails: the hook must submit once, inside ``context.submission()``, and return the provider's bytes."""
        with self.bench(case) as bench:
            result, _ = run(self._make(bench, case))
            _judge(result, case)
            odd = [text for text in bench.texts if ODD_PROGRESS in text]
            odd += [warning for warning in result.warnings if NOT_KEPT in warning]
            assert not odd, odd[0]
            assert result.provenance.backend == self.backend
            assert result.provenance.model == case.shape.model.id

    @rule("B02")
    def test_b02_each_option_reaches_the_wire(self, case: Case) -> None:
        """If this fails: send the option in the provider's field, or take it out of the matrix."""
        assert case.pair is not None
        growing = _growing(case)
        with self.bench(case) as bench:
            self._differ(bench, case, growing | {case.what: case.pair[0]}, growing | {case.what: case.pair[1]})

    @rule("B03")
    def test_b03_each_input_reaches_the_wire(self, case: Case) -> None:
        """If this fails: send the bytes of ``context.read(...)``, or take the input out of the matrix."""
        assert case.pair is not None
        with self.bench(case) as bench:
            self._differ(bench, case, *case.pair)

    @rule("B07")
    def test_b07_each_extra_parameter_reaches_the_wire(self, case: Case) -> None:
        """If this fails: send ``request.extra_params`` on, each key in its place."""
        assert case.pair is not None
        with self.bench(case) as bench:
            along = required_along(case.shape, f"extra_params.{case.what}")
            one, two = (along | {"extra_params": {case.what: value}} for value in case.pair)
            self._differ(bench, case, one, two)

    def _differ(self, bench: Bench, case: Case, one: dict[str, Any], two: dict[str, Any]) -> None:
        """Send two requests that differ in just one thing: what is sent (or made) must differ too."""

        async def go() -> tuple[Any, Any, Any]:
            first = await self._make(bench, case, **one)
            # What differs from call to call by itself (ids, boundaries) is found by sending the same twice.
            again = first if bench.wire.sent is None else await self._make(bench, case, **one)
            other = await self._make(bench, case, **two)
            return first, again, other

        (made_1, sent_1), (_, sent_2), (made_3, sent_3) = run(go())
        for made in (made_1, made_3):
            self._fits(bench, made)
            ignored = [a for a in made.adjustments if a.field in {case.what, *one} and a.kind in {"ignored", "snapped"}]
            assert not ignored, f"claimed, but not honoured: {ignored}"
        if sent_1 is None or sent_2 is None or sent_3 is None:
            self._media_differ(case, made_1, made_3)
            return
        assert not distinct([sent_1, sent_2, sent_3]), f"{case.what}: {one} and {two} made the same submit"

    def _fits(self, bench: Bench, made: Result) -> None:
        """Hold what came back against what was sent: pixels, seconds and format."""
        for row in bench.store.run(made.job_id):
            for file in made.files:
                wrong = mismatches(row.request, file, row.target["transcode_to"])
                assert not wrong, "; ".join(wrong)

    def _media_differ(self, case: Case, one: Result, other: Result) -> None:
        media = case.shape.model.media
        first, third = (decode(r.path, media) for r in (one, other))
        assert attrs.astuple(first) != attrs.astuple(third), f"{case.what} made no difference to what came out"

"""Rules about what a backend produces: every claim of its matrix holds."""

from __future__ import annotations

import base64
import binascii
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from ..capabilities import Choice, ContinueRule, MaskRule, ReferencesRule
from ..errors import MediaError, RequestError
from ..execution.finalize import mismatches
from ..media import format_of
from ..requests import Continuation, Request
from ..results import Result
from .case_values import beside_continued, mask_for, minimal_fields, references_for, required_along
from .cases import Case, CaseMaker
from .harness import Bench, run
from .rules import rule
from .verify_media import container, decode

__all__ = [
    "ContinuationRules",
    "EveryValueRules",
    "OperationRules",
    "distinct",
]

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


class OperationRules(CaseMaker):
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
            assert not bench.looks.invalid, bench.looks.invalid
            lost = [warning.text for warning in result.warnings if warning.code == "continuation_not_stored"]
            assert not lost, lost[0]
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
                assert not wrong, "; ".join(map(str, wrong))

    def _media_differ(self, case: Case, one: Result, other: Result) -> None:
        media = case.shape.model.media
        first, third = (decode(r.path, media) for r in (one, other))
        assert attrs.astuple(first) != attrs.astuple(third), f"{case.what} made no difference to what came out"


class EveryValueRules(OperationRules):
    """Choices, several at once, the parts of references."""

    @rule("B02")
    def test_b02_each_choice_sends_every_value(self, case: Case) -> None:
        """If this fails: let the plugin's table hold every value of the matrix, or take the value out of it."""
        assert case.pair is not None
        head, _, tail = case.what.partition(".")
        along = required_along(case.shape, case.what)
        with self.bench(case) as bench:
            sent = [run(self._sent_with(bench, case, along, head, {tail: v} if tail else v)) for v in (case.pair[0], *case.pair)]
            found = [(value, one) for value, one in zip((case.pair[0], *case.pair), sent, strict=True) if one is not None]
            if len(found) > 2 and sent[0] is not None:
                same = distinct([one for _, one in found])
                assert not same, f"{case.what}: {found[same[0]][0]!r} and {found[same[1]][0]!r} made the same submit"

    async def _sent_with(self, bench: Bench, case: Case, along: dict[str, object], name: str, value: object) -> dict[str, object] | None:
        """Return the submit of a value; None where the row's rules, as the plan says, do not let it stand beside the least."""
        async with bench.router() as router:
            fields = {**along, name: value}
            try:
                request = await bench.request(router, case.shape, self.maker(case), **fields)
                plan = router.plan(request, backend=self.backend, model=case.shape.model.id)
            except RequestError:
                return None
            if bench.wire.sent is None or any(a.field == name for a in plan.adjustments):
                return None
        return (await self._make(bench, case, **fields))[1]

    @rule("B02")
    def test_b02_each_several_come_from_one_submit(self, case: Case) -> None:
        """If this fails: send ``request.n``, and return a piece for each thing that was made."""
        with self.bench(case) as bench:
            made, _ = run(self._make(bench, case, n=2))
            assert len(made.files) == 2, f"two were asked for, {len(made.files)} came back"
            one, two = (decode(file.path, case.shape.model.media) for file in made.files)
            assert one.content != two.content, "the same came back twice"

    @rule("B03")
    def test_b03_each_part_of_references_reaches_the_wire(self, case: Case) -> None:
        """If this fails: send every reference, with its role, ``type`` and ``description``, in the service's fields or in words."""
        assert case.pair is not None
        with self.bench(case) as bench:
            if bench.wire.sent is None and case.what.endswith((".description", ".type")):
                return  # what is made by rules on this machine may not follow every word
            self._differ(bench, case, *case.pair)


#: How a PNG begins in base64.
_PNG64 = re.compile(r"iVBORw0KGgo[A-Za-z0-9+/_=-]+")
_END = "the end, 7f3e"
#: A pixel that differs by more (of 255) was changed, and not only compressed.
_VISIBLE = 64


def _pictures(sent: Mapping[str, Any]) -> Iterator[bytes]:
    """Yield every PNG of a submit, plain or in base64."""
    for value in sent.values():
        if isinstance(value, bytes) and value.startswith(b"\x89PNG"):
            yield value
        for found in _PNG64.findall(str(value) if not isinstance(value, bytes) else value.decode("latin-1")):
            try:
                yield base64.b64decode(found.replace("-", "+").replace("_", "/") + "===")
            except (binascii.Error, ValueError):
                continue


def _edits_left(data: bytes, form: str) -> bool:
    """Whether a picture is a mask of a form that edits the left half and nothing else."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as opened:
        opened.load()
        if form == "alpha":
            if "A" not in opened.getbands():
                return False
            channel, edit = opened.getchannel("A"), 0
        else:
            channel, edit = opened.convert("L"), 0 if form == "black" else 255
    middle = channel.width // 2
    halves = (channel.crop((0, 0, middle, channel.height)), channel.crop((middle, 0, channel.width, channel.height)))
    return [half.getextrema() for half in halves] == [(edit, edit), (255 - edit, 255 - edit)]


def _only_outside(source: bytes, made: Path) -> bool:
    """Whether an edit by a mask of the left half has changed the right half, and nothing of the left."""
    from PIL import Image, ImageChops

    with Image.open(io.BytesIO(source)) as before, Image.open(made) as after:
        if before.size != after.size:
            return False
        changed = ImageChops.difference(before.convert("RGB"), after.convert("RGB"))
    middle = changed.width // 2
    halves = (changed.crop((0, 0, middle, changed.height)), changed.crop((middle, 0, changed.width, changed.height)))
    left, right = (max(high for _, high in half.getextrema()) > _VISIBLE for half in halves)  # type: ignore[misc]
    return right and not left


class ContinuationRules(OperationRules):
    """Continuations, masks, prompts."""

    @rule("B09")
    def test_b09_each_visual_result_has_a_continuation_id_of_its_own(self, case: Case) -> None:
        """If this fails: return the provider's files as pieces; the core gives each of them an id."""
        with self.bench(case) as bench:
            (first, _), (second, _) = run(self._make(bench, case)), run(self._make(bench, case))
            ids = [file.continuation_id for made in (first, second) for file in made.files]
            assert all(ids)
            assert len(set(ids)) == len(ids)

    @rule("B09")
    def test_b09_each_onward_row_sends_what_it_goes_on_from(self, case: Case) -> None:
        """If this fails: let each Piece carry ContinuationData, and send ``request.continue_from`` on."""
        with self.bench(case) as bench:
            one, two = run(self._handles(bench, case))
            beside = beside_continued(case.shape)
            self._differ(bench, case, {"continue_from": one, **beside}, {"continue_from": two, **beside})

    async def _handles(self, bench: Bench, case: Case) -> tuple[Continuation, Continuation]:
        """Make two different things, and return a handle to each."""
        async with bench.router() as router:
            find = self.maker(case)
            first = await bench.handle(router, case.shape, find, prompt="a red fox in the snow")
            return first, await bench.handle(router, case.shape, find, prompt="a blue boat at night")

    @rule("B10")
    def test_b10_each_mask_arrives_in_the_rows_own_form(self, case: Case) -> None:
        """If this fails: send ``context.read(request.mask)`` as it is; the core has converted it by the row's ``format``."""
        taken = case.shape.row.inputs["mask"]
        assert isinstance(taken, MaskRule)
        source = minimal_fields(case.shape).get("source")
        with self.bench(case) as bench:
            made, sent = run(self._make(bench, case, mask=mask_for(taken, source, mode="user_provided")))
            assert made.files
            if sent is not None:
                found = list(_pictures(sent))
                assert any(_edits_left(data, taken.format) for data in found), (
                    f"none of the {len(found)} pictures sent is the mask as {taken.format!r}, which edits the left half"
                )
            assert not (source is not None and source.data and _only_outside(source.data, made.path)), (
                f"what came back is changed outside the mask alone: the service reads it in another form than {taken.format!r}"
            )

    @rule("B11")
    def test_b11_each_limit_of_a_prompt_is_kept(self, case: Case) -> None:
        """If this fails: send ``request.prompt`` whole, or lower ``prompt.max_chars`` in the matrix."""
        longest = case.shape.row.prompt.max_chars
        assert longest is not None
        with self.bench(case) as bench:
            if longest < 10_000 or bench.wire.sent is not None:  # a longer text proves nothing where it is spoken on this machine
                prompt = ("snow " * longest)[: longest - len(_END)] + _END
                _, sent = run(self._make(bench, case, prompt=prompt))
                assert sent is None or any(prompt in str(value) for value in sent.values()), "the prompt did not arrive whole"
            run(self._too_long(bench, case, longest))

    async def _too_long(self, bench: Bench, case: Case, longest: int) -> None:
        async with bench.router() as router:
            request: Request = await bench.request(router, case.shape, self.maker(case), prompt="x" * (longest + 1))
            before = bench.submits()
            try:
                await bench.execute(router, request, case.shape)
            except MediaError as error:
                assert isinstance(error, RequestError), error
                assert bench.submits() == before
            else:
                raise AssertionError(f"a prompt of {longest + 1} characters was taken")

"""Rules about what a backend produces: every claim of its matrix holds."""

from __future__ import annotations

import base64
import binascii
import io
import re
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from ..answers.compare import differences
from ..capabilities import Choice, ContinueRule, MaskRule, ReferencesRule
from ..errors import RequestError
from ..media import format_of
from ..results import Result
from .case_values import input_fields, large_fields, mask_for, minimal_fields, references_for, references_with_continuation, required_with
from .cases import Case, CaseMaker, rule
from .harness import Bench


@attrs.frozen(kw_only=True)
class Decoded:
    """A decoded file: its format, pixels, seconds, and its decoded content or a hash of it."""

    format: str
    width: int | None = None
    height: int | None = None
    seconds: float | None = None
    content: bytes = attrs.field(default=b"", repr=False)


#: Different names of the same container: the decoder's, and those of formats that share it.
_CONTAINERS = {"mov,mp4,m4a,3gp,3g2,mj2": "mp4", "mov": "mp4", "m4a": "mp4", "matroska,webm": "webm", "opus": "ogg"}


def container(name: str | None) -> str | None:
    """Return the canonical name of a format's container."""
    return None if name is None else _CONTAINERS.get(name, name)


def decode(path: Path, media: str) -> Decoded:
    """Decode a whole file with Pillow or PyAV, not with the core's own header reader; a broken one raises what they raise."""
    return _picture(path) if media == "image" else _stream(path, media)


def _picture(path: Path) -> Decoded:
    from PIL import Image

    with Image.open(path) as image:
        image.load()
        format_name = str(image.format).lower()
        return Decoded(format=format_name, width=image.width, height=image.height, content=image.convert("RGBA").tobytes())


def _stream(path: Path, media: str) -> Decoded:
    import hashlib

    import av

    digest = hashlib.sha256()
    with av.open(str(path)) as found:
        opened: Any = found
        kind = "video" if media == "video" else "audio"
        stream = next(s for s in opened.streams if s.type == kind)
        last = 0.0
        for frame in opened.decode(stream):
            digest.update(frame.to_image().tobytes() if kind == "video" else b"".join(bytes(plane) for plane in frame.planes))
            if frame.time is not None:
                length = 1 / float(stream.average_rate) if kind == "video" else frame.samples / frame.sample_rate
                last = float(frame.time) + length
        size = (stream.width, stream.height) if kind == "video" else (None, None)
        return Decoded(
            format=str(container(opened.format.name)),
            width=size[0],
            height=size[1],
            seconds=last,
            content=digest.digest(),
        )


#: A submit as field -> value.
_Flat = dict[str, Any]


def check_media(result: Result, case: Case) -> None:
    """Compare the files with what the result says about them, by means of an independent decoder."""
    media, always = case.shape.media, case.shape.spec.options.get("output_format")
    if media in {"json", "text"}:
        assert result.data not in (None, "", {}, []), "the task returned no data: give Outcome(data=...)"
        assert media == "json" or isinstance(result.data, str), f"the matrix says text; the data is {type(result.data).__name__}"
        return
    for file in result.files:
        seen = decode(file.path, media)
        if isinstance(always, Choice) and always.fixed:
            assert format_of(file.mime) in always.one_of, (
                f"the matrix says that the format is always {', '.join(always.one_of)}; the result is {file.mime}"
            )
        assert seen.format == container(format_of(file.mime)), f"the bytes are {seen.format}, the result says {file.mime}"
        if file.width is not None and seen.width is not None:
            assert (seen.width, seen.height) == (file.width, file.height)
        if media != "image":
            assert seen.seconds and seen.seconds > 0
            if file.seconds is not None:
                assert abs(file.seconds - seen.seconds) < 0.5, f"the result says {file.seconds} s, decoded are {seen.seconds} s"


def _enabling_fields(case: Case) -> dict[str, Any]:
    """Return the fields without which an option has no effect: outpainting for the shape of an edit, extending for a duration."""
    continuation = case.shape.spec.inputs.get("continue_from")
    if case.subject == "duration" and isinstance(continuation, ContinueRule) and "extend" in continuation.ways:
        return {"continue_as": "extend"}
    if more := _more_references(case):
        return more
    modes = case.shape.spec.options.get("edit_mode")
    if case.subject not in {"size", "aspect_ratio"} or not isinstance(modes, Choice) or "outpaint" not in modes.one_of:
        return {}
    return {"edit_mode": "outpaint", "mask": None}


def _more_references(case: Case) -> dict[str, Any]:
    """Return one reference more than the minimum, where a rule forbids the option for the minimum alone."""
    references = case.shape.spec.inputs.get("references")
    least = len(minimal_fields(case.shape).get("references", ()))
    forbidding = [r for r in case.shape.spec.rules if case.subject in r.forbid and r.when.get("references.count") == (least,)]
    if not isinstance(references, ReferencesRule) or not forbidding or references.count[1] <= least:
        return {}
    role = next(iter(references.roles))
    return {"references": (*references_for(references, 1), *references_for(references, 2, role))}


def duplicates(sent: Sequence[_Flat], varying: frozenset[str]) -> tuple[int, int] | None:
    """Return the indexes of two equal submits, or None; fields that vary from call to call (ids, boundaries) are ignored."""
    seen: list[_Flat] = []
    for index, one in enumerate(sent):
        stable = {name: value for name, value in one.items() if name not in varying}
        if stable in seen:
            return seen.index(stable), index
        seen.append(stable)
    return None


#: Test class -> (service, operation, fields of a submit) -> those of the fields that vary from call to call.
_VARYING: weakref.WeakKeyDictionary[type, dict[tuple[str, str, frozenset[str]], frozenset[str]]] = weakref.WeakKeyDictionary()


class OperationRules(CaseMaker):
    """Success, options, inputs, extra parameters, references, continuations, masks, prompt lengths."""

    @rule("B01")
    async def test_b01_operation_returns_media_with_one_submit(self, case: Case, bench: Bench) -> None:
        """If this fails: the hook must submit once, inside ``context.submission()``, and return the provider's bytes."""
        result, _ = await bench.make()
        check_media(result, case)
        assert not bench.checks.invalid_progress, "the backend reported a progress that is not a number from 0 to 1"
        lost = [warning.text for warning in result.warnings if warning.code == "continuation_not_stored"]
        assert not lost, lost[0]
        assert result.provenance.backend == self.backend
        assert result.provenance.model == case.shape.model.id

    @rule("B02", per="option")
    async def test_b02_option_reaches_the_wire(self, case: Case, bench: Bench) -> None:
        """If this fails: send the option in the provider's field, or remove it from the matrix."""
        enabling = _enabling_fields(case)
        await self._differ(bench, case, *(enabling | {case.subject: value} for value in case.values or ()))

    @rule("B03", per="input")
    async def test_b03_input_reaches_the_wire(self, case: Case, bench: Bench) -> None:
        """If this fails: send the bytes of ``context.read(...)``, or remove the input from the matrix."""
        await self._differ(bench, case, *(input_fields(case.shape, case.subject, seed) for seed in (2, 7)))

    @rule("B07", per="extra_parameter")
    async def test_b07_extra_parameter_reaches_the_wire(self, case: Case, bench: Bench) -> None:
        """If this fails: send each key of ``request.extra_params`` in the provider's field."""
        required = required_with(case.shape, f"{case.shape.extras}.{case.subject}")
        await self._differ(bench, case, *(required | {case.shape.extras: {case.subject: value}} for value in case.values or ()))

    async def _differ(self, bench: Bench, case: Case, one: dict[str, Any], two: dict[str, Any]) -> None:
        """Execute two requests that differ in one field: the submits (or the media) must differ too."""
        (made_1, sent_1), (made_2, sent_2) = await bench.make(**one), await bench.make(**two)
        varying = await self._varying_fields(bench, case, sent_1, one)
        for made in (made_1, made_2):
            await self._check_result(bench, made)
            ignored = [a for a in made.adjustments if a.field in {case.subject, *one} and a.kind in {"ignored", "snapped"}]
            assert not ignored, f"claimed in the matrix, but not honoured: {ignored}"
        if sent_1 is not None and sent_2 is not None:
            assert not duplicates([sent_1, sent_2], varying), f"{case.subject}: {one} and {two} made the same submit"
        elif made_1.files:
            first, other = (attrs.astuple(decode(made.path, case.shape.media)) for made in (made_1, made_2))
            assert first != other, f"{case.subject} made no difference to the media"
        else:
            assert made_1.data != made_2.data, f"{case.subject} made no difference to the data"

    async def _varying_fields(self, bench: Bench, case: Case, sent: _Flat | None, fields: dict[str, Any]) -> frozenset[str]:
        """Return the fields of a submit that vary from call to call, by executing the request again, once per set of fields."""
        if sent is None:
            return frozenset()
        known = _VARYING.setdefault(type(self), {})
        key = (case.service, case.shape.spec.name, frozenset(sent))
        if key not in known:
            again = (await bench.make(**fields))[1] or {}
            known[key] = frozenset(name for name in sent.keys() | again.keys() if sent.get(name) != again.get(name))
        return known[key]

    async def _check_result(self, bench: Bench, made: Result) -> None:
        """Compare the files with what was requested: pixels, seconds and format."""
        for call in await bench.store.run(made.job_id):
            for file in made.files:
                wrong = differences(call.request, file, converted_to=call.target["transcode_to"])
                assert not wrong, "; ".join(map(str, wrong))

    @rule("B13", per="large_input")
    async def test_b13_large_file_arrives_whole(self, case: Case, bench: Bench) -> None:
        """If this fails: correct how large files are sent (an upload, a form), or declare ``max_bytes``; the fake gives all their bytes."""
        fields, size = large_fields(case.shape, case.subject)
        made, sent = await bench.make(**fields)
        await self._check_result(bench, made)
        longest = max((len(v) for v in (sent or {}).values() if isinstance(v, str | bytes)), default=0)
        assert sent is None or longest >= size, f"a file of {size} bytes was given; the longest field of the submit has {longest} bytes"

    @rule("B02", per="choice")
    async def test_b02_choice_sends_every_value(self, case: Case, bench: Bench) -> None:
        """If this fails: add the missing values to the plugin's table, or remove them from the matrix."""
        head, _, tail = case.subject.partition(".")
        required = required_with(case.shape, case.subject)
        found = []
        for value in case.values or ():
            fields = {**required, head: {tail: value} if tail else value}
            if (sent := await self._sent_with(bench, fields, head)) is not None:
                found.append((value, fields, sent))
        if len(found) > 1:
            varying = await self._varying_fields(bench, case, found[0][2], found[0][1])
            same = duplicates([one for *_, one in found], varying)
            assert not same, f"{case.subject}: {found[same[0]][0]!r} and {found[same[1]][0]!r} made the same submit"

    async def _sent_with(self, bench: Bench, fields: dict[str, Any], name: str) -> _Flat | None:
        """Return the submit of a value; None where the spec's rules do not permit the value in a minimal request."""
        async with bench.router() as router:
            try:
                plan = await bench.plan(router, await bench.request(router, **fields))
            except RequestError:
                return None
        if bench.wire.sent is None or any(a.field == name for a in plan.adjustments):
            return None
        return (await bench.make(**fields))[1]

    @rule("B02", per="several")
    async def test_b02_several_outputs_come_from_one_submit(self, case: Case, bench: Bench) -> None:
        """If this fails: send ``request.n``, and return a piece for each output."""
        made, _ = await bench.make(n=2)
        assert len(made.files) == 2, f"2 outputs were requested, {len(made.files)} returned"
        one, two = (decode(file.path, case.shape.media) for file in made.files)
        assert one.content != two.content, "the same output was returned twice"

    @rule("B03", per="reference_part")
    async def test_b03_reference_part_reaches_the_wire(self, case: Case, bench: Bench) -> None:
        """If this fails: send every reference, with its role, ``type`` and ``description``, in the service's fields or in the prompt."""
        if bench.wire.sent is None and case.subject.endswith((".description", ".type")):
            return  # a backend on this machine may not follow a description
        await self._differ(bench, case, *case.values or ())

    @rule("B09", per="visual")
    async def test_b09_result_has_its_own_continuation_id(self, case: Case, bench: Bench) -> None:
        """If this fails: return the provider's files as pieces; the core assigns each of them an id."""
        ids = [file.continuation_id for _ in range(2) for file in (await bench.make())[0].files]
        assert all(ids)
        assert len(set(ids)) == len(ids)

    @rule("B09", per="continuation")
    async def test_b09_continuation_reaches_the_wire(self, case: Case, bench: Bench) -> None:
        """If this fails: return ContinuationData with each Piece, and send the data of ``request.continue_from``."""
        async with bench.router() as router:
            handles = [await bench.handle(router, prompt=words) for words in ("a red fox in the snow", "a blue boat at night")]
        references = references_with_continuation(case.shape)
        await self._differ(bench, case, *({"continue_from": handle, **references} for handle in handles))

    @rule("B10", per="mask")
    async def test_b10_mask_reaches_the_wire_in_the_declared_format(self, case: Case, bench: Bench) -> None:
        """If this fails: send ``context.read(request.mask)`` unchanged; the core has converted it to the matrix's ``format``."""
        declared = case.shape.spec.inputs["mask"]
        assert isinstance(declared, MaskRule)
        least = minimal_fields(case.shape)
        source = least.get("source") or least.get("inputs", {}).get("image")
        mask = {"mask": mask_for(declared, source, mode="user_provided")}
        made, sent = await bench.make(**{"inputs": mask} if case.shape.spec.task else mask)
        assert made.files
        if sent is not None:
            found = list(_png_images(sent))
            assert any(_edits_left(data, declared.format) for data in found), (
                f"none of the {len(found)} images sent is the mask in the format {declared.format!r}, which edits the left half"
            )
        assert not (source is not None and source.data and _only_outside(source.data, made.path)), (
            f"the result is edited outside the mask only: the service reads masks in another format than {declared.format!r}"
        )

    @rule("B11", per="prompt_limit")
    async def test_b11_longest_prompt_arrives_whole_and_longer_is_rejected(self, case: Case, bench: Bench) -> None:
        """If this fails: send ``request.prompt`` whole, or lower ``prompt.max_chars`` in the matrix."""
        longest = case.shape.spec.prompt.max_chars or 0
        if longest < 10_000 or bench.wire.sent is not None:  # speaking a longer text on this machine proves nothing
            prompt = ("snow " * longest)[: longest - len(_END)] + _END
            _, sent = await bench.make(prompt=prompt)
            assert sent is None or any(prompt in str(value) for value in sent.values()), "the prompt did not arrive whole"
        await bench.refuses(RequestError, f"a prompt of {longest + 1} characters was not rejected", prompt="x" * (longest + 1))


#: A PNG in base64.
_PNG64 = re.compile(r"iVBORw0KGgo[A-Za-z0-9+/_=-]+")
_END = "the end, 7f3e"
#: A pixel that differs by more (of 255) was edited, not only compressed.
_VISIBLE = 64


def _png_images(sent: Mapping[str, Any]) -> Iterator[bytes]:
    """Yield every PNG in a submit, as bytes or in base64."""
    for value in sent.values():
        if isinstance(value, bytes) and value.startswith(b"\x89PNG"):
            yield value
        for found in _PNG64.findall(str(value) if not isinstance(value, bytes) else value.decode("latin-1")):
            try:
                yield base64.b64decode(found.replace("-", "+").replace("_", "/") + "===")
            except (binascii.Error, ValueError):
                continue


def _edits_left(data: bytes, form: str) -> bool:
    """Whether an image is a mask in a format that edits exactly the left half."""
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
    """Whether an edit with a mask of the left half has changed the right half only."""
    from PIL import Image, ImageChops

    with Image.open(io.BytesIO(source)) as before, Image.open(made) as after:
        if before.size != after.size:
            return False
        changed = ImageChops.difference(before.convert("RGB"), after.convert("RGB"))
    middle = changed.width // 2
    halves = (changed.crop((0, 0, middle, changed.height)), changed.crop((middle, 0, changed.width, changed.height)))
    left, right = (max(high for _, high in half.getextrema()) > _VISIBLE for half in halves)  # type: ignore[misc]
    return right and not left

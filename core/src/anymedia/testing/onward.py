"""Rules about what arrives: a handle that is gone on from, a mask's polarity, a long prompt."""

from __future__ import annotations

import base64
import binascii
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..capabilities import MaskRule
from ..errors import MediaError, RequestError
from ..requests import Continuation, Request
from .cases import Case
from .harness import Bench, run
from .making import MakingRules
from .rules import rule
from .shapes import beside_continued, mask_for, minimal_fields

__all__ = ["OnwardRules"]

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


class OnwardRules(MakingRules):
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

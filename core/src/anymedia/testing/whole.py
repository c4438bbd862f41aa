"""Rules about the whole of a claim: every value of an option, every one of many, every word about a reference."""

from __future__ import annotations

from ..errors import RequestError
from .cases import Case
from .decoding import decode
from .harness import Bench, run
from .making import MakingRules, distinct
from .rules import rule
from .shapes import required_along

__all__ = ["WholeRules"]


class WholeRules(MakingRules):
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

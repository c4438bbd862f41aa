"""Rules about jobs: picked up from their handle alone, told apart, stopped, found again, and not given up too soon."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from typing import Any

from ..clock import SystemClock
from ..errors import JobNotFound, MediaError, UnsupportedOperation
from ..hookspecs import SubmissionRecord
from ..plugins.registry import Registry
from ..results import Job
from ..router import Router
from ..state.store import FINAL_STATES, CallRecord
from .cases import Case, CaseMaker
from .harness import Bench, fresh_registry, loaded_registry, run
from .rules import rule

__all__ = ["JobRules"]

#: How long the looks at a job that nobody finds may take here, in seconds; the pauses between them are none.
_LONG_ENOUGH = 10.0


def _stops(bench: Bench) -> int:
    return 0 if bench.wire.stops is None else bench.wire.stops()


class JobRules(CaseMaker):
    """Resuming, stopping, looking up."""

    def _anew(self, bench: Bench) -> AbstractContextManager[Registry]:
        """Return the plugins as another process would load them."""
        # What works on this machine may be at it in a thread of its own, under which no module is taken away.
        return contextlib.nullcontext(loaded_registry()) if bench.wire.submits is None else fresh_registry(self.backend)

    async def _submit(self, bench: Bench, router: Router, case: Case, **changes: Any) -> CallRecord:
        request = await bench.request(router, case.shape, self.maker(case), **changes)
        return await router.submit(request, backend=self.backend, model=case.shape.model.id, output=f"{bench.folder}/out/")

    @rule("C04")
    def test_c04_each_video_job_is_picked_up_by_another_process(self, case: Case) -> None:
        """If this fails: put everything that ``check_job`` needs into ``Job.id`` and ``Job.data``."""
        with self.bench(case) as bench:

            async def go() -> None:
                store = bench.store
                async with bench.router(store=store) as first:
                    request = await bench.request(first, case.shape, self.maker(case))
                    before = bench.submits()
                    row = await first.submit(request, backend=self.backend, model=case.shape.model.id, output=f"{bench.folder}/out/")
                with self._anew(bench) as registry:
                    async with bench.router(store=store, registry=registry) as second:
                        result = await second.resume(row.id, deadline=60.0)
                assert result.files
                assert bench.submits() - before == 1, f"{bench.submits() - before} submits for one call"

            run(go())

    @rule("C04")
    def test_c04_each_kind_of_job_has_a_handle_of_its_own(self, case: Case) -> None:
        """If this fails: return the id that the service answered with, in ``Job.id``."""
        with self.bench(case) as bench:

            async def go() -> None:
                async with bench.router() as first:
                    rows = [await self._submit(bench, first, case, prompt=words) for words in ("a red fox", "a blue boat")]
                rows = [first.job(row.id) for row in rows]  # the router has waited until each submit was answered
                if any(row.job is None for row in rows):
                    return  # finished at once: there is no job
                handles = [(row.job or {})["id"] for row in rows]
                assert len(set(handles)) == len(handles), f"two jobs, and one handle: {handles}"
                with self._anew(bench) as registry:
                    async with bench.router(registry=registry) as second:
                        for row in rows:
                            assert (await second.resume(row.id, deadline=60.0)).files

            run(go())

    @rule("C05")
    def test_c05_each_kind_of_job_can_be_stopped(self, case: Case) -> None:
        """If this fails: ``cancel_job`` asks the service once, and makes nothing."""
        if "cancel_job" not in loaded_registry().plugins[self.backend].hooks:
            return
        with self.bench(case) as bench:

            async def go() -> None:
                async with bench.router(clock=SystemClock()) as router:  # nobody looks at it before it is stopped
                    row = await self._submit(bench, router, case)
                    before, asked = bench.submits(), _stops(bench)
                    try:
                        ended = await router.cancel(row.id)
                    except UnsupportedOperation:
                        return  # its service cannot stop such a job, and that is said
                    asked = _stops(bench) - asked
                assert ended.state in FINAL_STATES, f"the row says {ended.state!r}"
                assert bench.submits() <= max(before, 1), "stopping it made another submit"
                if ended.state == "cancelled" and ended.job is not None and bench.wire.stops is not None:
                    assert asked == 1, f"{asked} requests to stop it have reached the service"

            run(go())

    @rule("C10")
    def test_c10_each_job_not_found_at_first_is_brought_home(self, case: Case) -> None:
        """If this fails: raise ``JobNotFound`` in ``check_job`` for a job that the service does not find; never return Failed for it."""
        with self.bench(case, "unseen") as bench:

            async def go() -> None:
                async with bench.router() as router:
                    request = await bench.request(router, case.shape, self.maker(case))
                    result = await bench.execute(router, request, case.shape)
                    row = router.job(result.job_id)
                assert result.files
                assert bench.submits() == 1, f"{bench.submits()} submits for one call"
                if row.job is not None:  # else it was finished at once, and nobody looked at it
                    told = any(JobNotFound.code in text for text in bench.texts)
                    assert told, "no look raised JobNotFound: does check_job say so, and does the wire play 'unseen'?"

            run(go())

    @rule("C10")
    def test_c10_each_job_not_found_ever_comes_to_an_end(self, case: Case) -> None:
        """If this fails: raise ``JobNotFound`` in ``check_job``, and no other error, for a job that the service does not find."""
        with self.bench(case, "forgotten") as bench:

            async def go() -> None:
                async with bench.router() as router:
                    request = await bench.request(router, case.shape, self.maker(case))
                    try:
                        result = await bench.execute(router, request, case.shape, deadline=_LONG_ENOUGH)
                    except MediaError as error:
                        assert isinstance(error, JobNotFound), f"{type(error).__name__}: {error}"
                        assert error.job_id
                        assert error.charged in {"unknown", "yes"}, f"charged is {error.charged!r}, and the job was taken"
                    else:
                        row = router.job(result.job_id)
                        assert row.job is None, f"the forgotten scenario succeeded: {result}"
                assert bench.submits() == 1, f"{bench.submits()} submits for one call"

            run(go())

    @rule("C09")
    def test_c09_each_kind_of_look_up_finds_the_very_submit_or_nothing(self, case: Case) -> None:
        """If this fails: compare what the service lists with ``record.label`` (or whatever names just one); never take the newest."""
        if "find_submission" not in loaded_registry().plugins[self.backend].hooks:
            return
        with self.bench(case) as bench:

            async def go() -> None:
                async with bench.router() as router:
                    made = []
                    for words in ("a red fox", "a blue boat"):
                        request = await bench.request(router, case.shape, self.maker(case), prompt=words)
                        made.append(router.job((await bench.execute(router, request, case.shape)).job_id))
                    before = bench.submits()
                    found = [await self._look_up(router, row, row.id) for row in made]
                    stranger = await self._look_up(router, made[-1], "job_000000000000", prompt="never asked for")
                assert stranger is None, f"it found {stranger} for a submit that never was"
                for row, one in zip(made, found, strict=True):
                    if isinstance(one, Job) and row.job is not None:
                        assert one.id == row.job["id"], f"it found {one.id!r} for {row.job['id']!r}"
                assert found[0] is None or found[0] != found[1], f"it found {found[0]} for both of two submits"
                assert bench.submits() == before, "looking it up made another submit"

            run(go())

    async def _look_up(self, router: Router, row: CallRecord, label: str, prompt: str | None = None) -> Any:
        record = SubmissionRecord(
            label=label,
            model=row.model,
            operation=row.operation,  # type: ignore[arg-type]
            prompt=str(row.request["prompt"]) if prompt is None else prompt,
            started_at=row.created_at,
        )
        engine = router._engine
        context = engine.context(row, engine.instance(row.backend).matrix.model(row.model))
        with contextlib.suppress(MediaError):  # a look that failed is looked again; it finds nothing
            return await engine.call(row.backend, "find_submission", record=record, context=context)

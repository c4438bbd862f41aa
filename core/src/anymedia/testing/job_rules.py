"""Rules about jobs: resumed from their handle alone, distinguished, cancelled, looked up, and not given up too early."""

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
from .cases import Case, CaseMaker, rule
from .harness import Bench, fresh_registry, loaded_registry, run

__all__ = ["JobRules"]

#: Seconds that the status checks of a job that is never found may take; the kit's clock does not pause between them.
_DEADLINE = 10.0


def _stops(bench: Bench) -> int:
    return 0 if bench.wire.stops is None else bench.wire.stops()


class JobRules(CaseMaker):
    """Resuming, cancelling, looking up."""

    def _reloaded_registry(self, bench: Bench) -> AbstractContextManager[Registry]:
        """Return the plugins as another process would load them."""
        # A backend that works on this machine may use a thread, whose modules must not be unloaded.
        return contextlib.nullcontext(loaded_registry()) if bench.wire.submits is None else fresh_registry(self.backend)

    async def _submit(self, bench: Bench, router: Router, case: Case, **changes: Any) -> CallRecord:
        request = await bench.request(router, case.shape, self.maker(case), **changes)
        return await router.submit(request, backend=self.backend, model=case.shape.model.id, output=f"{bench.folder}/out/")

    @rule("C04", per="video")
    def test_c04_video_job_is_resumed_by_another_process(self, case: Case) -> None:
        """If this fails: put everything that ``check_job`` needs into ``Job.id`` and ``Job.data``."""
        with self.bench(case) as bench:

            async def go() -> None:
                store = bench.store
                async with bench.router(store=store) as first:
                    request = await bench.request(first, case.shape, self.maker(case))
                    before = bench.submits()
                    call = await first.submit(request, backend=self.backend, model=case.shape.model.id, output=f"{bench.folder}/out/")
                with self._reloaded_registry(bench) as registry:
                    async with bench.router(store=store, registry=registry) as second:
                        result = await second.resume(call.id, deadline=60.0)
                assert result.files
                assert bench.submits() - before == 1, f"{bench.submits() - before} submits for one call"

            run(go())

    @rule("C04", per="operation")
    def test_c04_jobs_have_distinct_handles(self, case: Case) -> None:
        """If this fails: return the id from the service's answer as ``Job.id``."""
        with self.bench(case) as bench:

            async def go() -> None:
                async with bench.router() as first:
                    calls = [await self._submit(bench, first, case, prompt=words) for words in ("a red fox", "a blue boat")]
                calls = [await first.job(call.id) for call in calls]  # closing the router waited for the answer to each submit
                if any(call.job is None for call in calls):
                    return  # finished immediately: there is no job
                handles = [(call.job or {})["id"] for call in calls]
                assert len(set(handles)) == len(handles), f"two jobs have the same handle: {handles}"
                with self._reloaded_registry(bench) as registry:
                    async with bench.router(registry=registry) as second:
                        for call in calls:
                            assert (await second.resume(call.id, deadline=60.0)).files

            run(go())

    @rule("C05", per="operation")
    def test_c05_job_can_be_cancelled(self, case: Case) -> None:
        """If this fails: ``cancel_job`` must send one cancel request to the service, and submit nothing."""
        if "cancel_job" not in loaded_registry().plugins[self.backend].hooks:
            return
        with self.bench(case) as bench:

            async def go() -> None:
                async with bench.router(clock=SystemClock()) as router:  # no status check before it is cancelled
                    call = await self._submit(bench, router, case)
                    before, asked = bench.submits(), _stops(bench)
                    try:
                        ended = await router.cancel(call.id)
                    except UnsupportedOperation:
                        return  # the service cannot cancel such a job, and the backend reports that
                    asked = _stops(bench) - asked
                assert ended.state in FINAL_STATES, f"the run ended as {ended.state!r}"
                assert bench.submits() <= max(before, 1), "cancelling it made another submit"
                if ended.state == "cancelled" and ended.job is not None and bench.wire.stops is not None:
                    assert asked == 1, f"{asked} cancel requests have reached the service, instead of 1"

            run(go())

    @rule("C10", per="job")
    def test_c10_job_not_found_at_first_is_checked_again(self, case: Case) -> None:
        """If this fails: raise ``JobNotFound`` in ``check_job`` for a job that the service does not find; never return Failed for it."""
        with self.bench(case, "unseen") as bench:

            async def go() -> None:
                async with bench.router() as router:
                    request = await bench.request(router, case.shape, self.maker(case))
                    result = await bench.execute(router, request, case.shape)
                    call = await router.job(result.job_id)
                assert result.files
                assert bench.submits() == 1, f"{bench.submits()} submits for one call"
                if call.job is not None:  # else it finished immediately, without a status check
                    raised = any(JobNotFound.code in text for text in bench.texts)
                    assert raised, "no status check raised JobNotFound: does check_job raise it, and does the wire play 'unseen'?"

            run(go())

    @rule("C10", per="job")
    def test_c10_job_still_not_found_ends(self, case: Case) -> None:
        """If this fails: raise ``JobNotFound`` in ``check_job``, and no other error, for a job that the service does not find."""
        with self.bench(case, "forgotten") as bench:

            async def go() -> None:
                async with bench.router() as router:
                    request = await bench.request(router, case.shape, self.maker(case))
                    try:
                        result = await bench.execute(router, request, case.shape, deadline=_DEADLINE)
                    except MediaError as error:
                        assert isinstance(error, JobNotFound), f"{type(error).__name__}: {error}"
                        assert error.job_id
                        assert error.charged in {"unknown", "yes"}, f"charged is {error.charged!r}, but the service accepted the job"
                    else:
                        call = await router.job(result.job_id)
                        assert call.job is None, f"the forgotten scenario succeeded: {result}"
                assert bench.submits() == 1, f"{bench.submits()} submits for one call"

            run(go())

    @rule("C09", per="operation")
    def test_c09_lookup_finds_the_exact_submit_or_nothing(self, case: Case) -> None:
        """If this fails: compare what the service lists with ``record.label`` (or another unique field); never return the newest."""
        if "find_submission" not in loaded_registry().plugins[self.backend].hooks:
            return
        with self.bench(case) as bench:

            async def go() -> None:
                async with bench.router() as router:
                    made = []
                    for words in ("a red fox", "a blue boat"):
                        request = await bench.request(router, case.shape, self.maker(case), prompt=words)
                        made.append(await router.job((await bench.execute(router, request, case.shape)).job_id))
                    before = bench.submits()
                    found = [await self._lookup(router, call, call.id) for call in made]
                    unrelated = await self._lookup(router, made[-1], "job_000000000000", prompt="never asked for")
                assert unrelated is None, f"it found {unrelated} for a submit that was never made"
                for call, one in zip(made, found, strict=True):
                    if isinstance(one, Job) and call.job is not None:
                        assert one.id == call.job["id"], f"it found {one.id!r} for {call.job['id']!r}"
                assert found[0] is None or found[0] != found[1], f"it found {found[0]} for two different submits"
                assert bench.submits() == before, "looking it up made another submit"

            run(go())

    async def _lookup(self, router: Router, call: CallRecord, label: str, prompt: str | None = None) -> Any:
        record = SubmissionRecord(
            label=label,
            model=call.model,
            operation=call.operation,  # type: ignore[arg-type]
            prompt=str(call.request["prompt"]) if prompt is None else prompt,
            started_at=call.created_at,
        )
        engine = router._engine
        context = engine.context(call, engine.instance(call.backend).matrix.model(call.model))
        with contextlib.suppress(MediaError):  # a lookup that fails finds nothing
            return await engine.call(call.backend, "find_submission", record=record, context=context)

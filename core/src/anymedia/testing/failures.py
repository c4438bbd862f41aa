"""Rules about failures: each has its own error, nothing is sent twice, nothing secret is told, no job is lost."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from ..errors import (
    AuthenticationFailed,
    BackendError,
    BackendTimeout,
    BackendUnavailable,
    BadBackendResponse,
    ContentRefused,
    MediaError,
    QuotaExceeded,
    RateLimited,
    SubmissionUnknown,
)
from ..policy import Policy
from .cases import Case, CaseMaker
from .harness import Bench, KeptStore, run
from .rules import rule
from .wire import CANARY

__all__ = ["FailureRules"]

#: Scenario -> the errors that tell it truly. What may have been delivered is never a plain failure.
_EXPECTED: dict[str, tuple[type[MediaError], ...]] = {
    "unauthorized": (AuthenticationFailed,),
    "rate_limited": (RateLimited,),
    "quota": (QuotaExceeded,),
    "refused": (ContentRefused,),
    "down": (BackendUnavailable, SubmissionUnknown),
    "garbage": (BadBackendResponse, SubmissionUnknown),
    "truncated": (BadBackendResponse, SubmissionUnknown),
    "lost_reply": (SubmissionUnknown,),
}


class FailureRules(CaseMaker):
    """Failures, secrets, resuming, cancelling."""

    async def _fail(self, bench: Bench, case: Case) -> MediaError:
        async with bench.router(policy=Policy(retries=0, preview=True)) as router:
            request = await bench.request(router, case.shape, self.maker(case))
            try:
                result = await bench.execute(router, request, case.shape)
            except MediaError as error:
                return error
            raise AssertionError(f"the {case.what} scenario succeeded: {result}")

    @rule("C01")
    def test_c01_each_failure_has_its_own_error(self, case: Case) -> None:
        """If this fails: translate the SDK's error in ``_errors.py``, by the provider's code before its status."""
        with self.bench(case, case.what) as bench:  # type: ignore[arg-type]
            error = run(self._fail(bench, case))
            assert isinstance(error, _EXPECTED[case.what]), f"{type(error).__name__}: {error}"
            assert isinstance(error, BackendError)
            assert error.backend == self.backend
            assert error.job_id
            if case.what == "rate_limited":
                assert error.retry_after, "the provider's hint was not read"
            if case.what == "lost_reply":
                assert error.charged == "unknown"

    @rule("C02")
    def test_c02_each_failure_makes_at_most_one_submit(self, case: Case) -> None:
        """If this fails: switch the SDK's own retries off."""
        with self.bench(case, case.what) as bench:  # type: ignore[arg-type]
            run(self._fail(bench, case))
            assert bench.submits() <= 1, f"{bench.submits()} submits for one call"

    @rule("C03")
    def test_c03_each_failure_tells_no_secret(self, case: Case) -> None:
        """If this fails: build messages from the provider's own words, never from a request, a URL or an object's repr."""
        with self.bench(case, case.what) as bench:  # type: ignore[arg-type]
            error = run(self._fail(bench, case))
            self._see_no_secret(bench, [str(error), repr(error), str(error.to_json()), *getattr(error, "__notes__", [])])

    def _see_no_secret(self, bench: Bench, texts: list[str]) -> None:
        rows = [repr(row) for row in bench.store.calls()]
        for text in [*texts, *rows, *bench.texts]:
            for hidden in (CANARY, *bench.wire.hidden):
                assert hidden not in text, f"{hidden!r} turned up in: {text[:300]}"

    @rule("C03")
    def test_c03_a_success_tells_no_secret(self, case: Case) -> None:
        """If this fails: keep signed URLs in ``ContinuationData.secret`` and ``Piece.url`` alone."""
        with self.bench(case) as bench:

            async def go() -> str:
                async with bench.router() as router:
                    request = await bench.request(router, case.shape, self.maker(case))
                    result = await bench.execute(router, request, case.shape)
                    return repr(result) + str(result.to_json())

            self._see_no_secret(bench, [run(go())])

    @rule("C04")
    def test_c04_a_running_job_is_picked_up_by_another_router(self, case: Case) -> None:
        """If this fails: put everything that ``check_job`` needs into ``Job.id`` and ``Job.data``."""
        if case.shape.model.media != "video":
            return
        with self.bench(case) as bench:

            async def go() -> None:
                store = KeptStore()
                async with bench.router(store=store) as first:
                    request = await bench.request(first, case.shape, self.maker(case))
                    before = bench.submits()
                    with contextlib.suppress(BackendTimeout, SubmissionUnknown):
                        await bench.execute(first, request, case.shape, deadline=0.0)
                    row = store.calls()[0]
                    if row.job is None:
                        row = await first.submit(request, backend=self.backend, model=case.shape.model.id, output=f"{bench.folder}/out/")
                async with bench.router(store=store) as second:
                    result = await second.resume(row.id, deadline=60.0)
                    assert result.files
                assert bench.submits() - before <= 2

            run(go())

    @rule("C05")
    def test_c05_a_cancelled_call_passes_the_cancellation_on(self, case: Case) -> None:
        """If this fails: catch ``Exception``, never ``BaseException``."""
        with self.bench(case, "slow" if "slow" in self.scenarios else "success") as bench:

            async def go() -> Any:
                async with bench.router() as router:
                    request = await bench.request(router, case.shape, self.maker(case))
                    task = asyncio.create_task(bench.execute(router, request, case.shape))
                    await asyncio.sleep(0.2)
                    task.cancel()
                    ended = (await asyncio.gather(task, return_exceptions=True))[0]
                    return ended, router.store.calls()

            ended, rows = run(go())
            assert isinstance(ended, asyncio.CancelledError | MediaError) or ended.files
            if rows and isinstance(ended, asyncio.CancelledError):
                assert rows[0].state in {"unknown", "cancelled", "submitted", "running", "collecting", "done"}

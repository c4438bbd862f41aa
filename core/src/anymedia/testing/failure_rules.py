"""Rules about failures: the right error, one submit, no redirect, no secret in any text, cancellation, deadlines, hosts; about jobs."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import re
import traceback
import warnings
import weakref
from asyncio import run
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import attrs

from ..clock import SystemClock
from ..errors import (
    AuthenticationFailed,
    BackendError,
    BackendTimeout,
    BackendUnavailable,
    BadBackendResponse,
    ContentRefused,
    JobNotFound,
    MediaError,
    QuotaExceeded,
    RateLimited,
    SubmissionUnknown,
    UnsupportedOperation,
)
from ..hookspecs import SubmissionRecord
from ..plugins.registry import Registry
from ..policy import Policy
from ..results import Job
from ..router import Router
from ..state.store import FINAL_STATES, CallRecord
from .cases import Case, CaseMaker, rule
from .fakes import RETRY_AFTER
from .harness import Bench, JumpingClock, fresh_registry, loaded_registry

_NO, _PERHAPS = ("no",), ("unknown", "yes")
#: Scenario -> the errors it may raise, and the values ``charged`` may have. A submit that may have been delivered is never a definite
#: failure. A rejection costs nothing, and the service explains it: its message must arrive in ``provider_message``.
_EXPECTED: dict[str, tuple[tuple[type[MediaError], ...], tuple[str, ...]]] = {
    "unauthorized": ((AuthenticationFailed,), _NO),
    "rate_limited": ((RateLimited,), _NO),
    "quota": ((QuotaExceeded,), _NO),
    "refused": ((ContentRefused,), _NO),
    "down": ((BackendUnavailable, SubmissionUnknown), ("no", *_PERHAPS)),
    "garbage": ((BadBackendResponse, SubmissionUnknown), _PERHAPS),
    "truncated": ((BadBackendResponse, SubmissionUnknown), _PERHAPS),
    "lost_reply": ((SubmissionUnknown,), ("unknown",)),
}


#: MiB by which the memory of the process may grow for one answer.
_MOST_MEMORY = 300


def _memory(name: str) -> int:
    """Return the memory of this process in bytes: now (``VmRSS``, which begins a measurement), or its peak since then (``VmHWM``)."""
    try:
        if name == "VmRSS":
            Path("/proc/self/clear_refs").write_text("5")
        found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:  # only Linux can measure it
        return 0
    return 0 if found is None else int(found[1]) * 1024


@attrs.frozen(kw_only=True)
class Failure:
    """The outcome of a scenario: all texts that were logged, printed, stored or reported, and the secrets that must not be in them."""

    error: MediaError
    submits: int
    had_job: bool
    texts: tuple[str, ...]
    hidden: tuple[str, ...]


#: Test class -> case -> its outcome.
_FAILURES: weakref.WeakKeyDictionary[type, dict[str, Failure]] = weakref.WeakKeyDictionary()


class FailureRules(CaseMaker):
    """Failures, secrets, cancellation, deadlines, hosts."""

    def _failure(self, case: Case) -> Failure:
        """Return the outcome of a scenario, which is played once for all rules about failures."""
        kept = _FAILURES.setdefault(type(self), {})
        if str(case) not in kept:
            with self.bench(case, case.subject) as bench:  # type: ignore[arg-type]
                error = run(bench.outcome())
                if not isinstance(error, MediaError):
                    found = " (if by a lookup: a fake lists what `Call.listed` gives)" if _has_lookup(self.backend) else ""
                    raise AssertionError(f"the {case.subject} scenario succeeded{found}: {error}")
                trace = "".join(traceback.format_exception(error))  # with its notes and causes
                calls = run(bench.store.calls())
                texts = (str(error), repr(error), str(error.to_json()), trace, *_recorded_texts(bench, calls))
                had_job = any(call.job is not None for call in calls)
                kept[str(case)] = Failure(
                    error=_without_frames(error), submits=bench.submits(), had_job=had_job, texts=texts, hidden=bench.hidden
                )
        return kept[str(case)]

    @rule("C01", per="submit_failure")
    def test_c01_failure_raises_its_own_error(self, case: Case) -> None:
        """If this fails: translate the SDK's error with ``anymedia.http.answered_error``, which reads the code before the status."""
        error = self._failure(case).error
        expected, usual = _EXPECTED[case.subject]
        charged = usual
        if case.subject == "refused" and case.shape.operation in self.refused_in_status:
            assert self._failure(case).had_job, "refused_in_status names this operation, but the wire refused the submit"
            billing = loaded_registry().capabilities(self.backend).billing
            documented = any(rule.evidence == "documented" for rule in billing)
            charged = (*charged, *_PERHAPS) if documented else _PERHAPS
        early = error.charged == "no" and "no" not in charged
        hint = "; is the submit inside `async with context.submission():`?" if early else ""
        assert isinstance(error, expected), f"{type(error).__name__}: {error}{hint or _delivery_hint(error, expected)}"
        assert isinstance(error, BackendError)
        assert error.backend == self.backend
        assert error.job_id
        assert error.charged in charged, f"charged is {error.charged!r} instead of {' or '.join(charged)}{hint}"
        if isinstance(error, RateLimited):
            wait = error.retry_after
            assert wait is not None, "the provider's hint how long to wait was not read"
            assert RETRY_AFTER / 2 <= wait <= RETRY_AFTER, f"the provider's hint was {RETRY_AFTER:g} s, not {wait:g} s"
        if usual == _NO:
            assert error.provider_message, f"provider_message is empty, the provider's own words are lost: {error}"
            assert error.provider_message not in error.fix, f"fix contains the provider's own words: {error.fix}"

    @rule("C02", per="submit_failure")
    def test_c02_failure_makes_at_most_one_submit(self, case: Case) -> None:
        """If this fails: disable the SDK's own retries."""
        submits = self._failure(case).submits
        assert submits <= 1, f"{submits} submits for one call"

    @rule("C03", per="submit_failure")
    def test_c03_failure_reveals_no_secret(self, case: Case) -> None:
        """If this fails: build messages from the provider's message, never from a request, a URL or an object's repr."""
        failure = self._failure(case)
        _assert_no_secret(failure.texts, failure.hidden)

    @rule("C03")
    async def test_c03_success_reveals_no_secret(self, case: Case, bench: Bench) -> None:
        """If this fails: keep signed URLs only in ``ContinuationData.secret`` and ``Piece.url``."""
        result, _ = await bench.make()
        handles = [repr(await bench.store.load_continuation(file.continuation_id)) for file in result.files if file.continuation_id]
        contents = [file.path.read_bytes().decode("latin-1") for file in result.files]
        texts = (repr(result), str(result.to_json()), *handles, *contents, *_recorded_texts(bench, await bench.store.calls()))
        _assert_no_secret(texts, bench.hidden)

    @rule("C11", per="redirect")
    async def test_c11_submit_follows_no_redirect(self, case: Case, bench: Bench) -> None:
        """If this fails: disable redirects in your HTTP client or SDK (``follow_redirects``, ``allow_redirects``)."""
        assert bench.redirect_target is not None
        error = await bench.outcome()
        arrived = bench.redirect_target.state.get("arrived")
        assert not arrived, f"it followed the redirect: {'; '.join(arrived)}"
        assert isinstance(error, MediaError), f"the {case.subject} scenario succeeded: does the wire play it?"
        assert bench.submits() == 1, f"{bench.submits()} submits for one call"
        assert isinstance(error, BadBackendResponse | BackendUnavailable | SubmissionUnknown), f"{type(error).__name__}: {error}"
        assert error.job_id
        assert error.charged in {"no", "unknown"}, f"charged is {error.charged!r}, but the service gave no result"

    @rule("C12", per="flood")
    def test_c12_answer_that_is_too_large_is_cut_off(self, case: Case) -> None:
        """If this fails: give the SDK ``anymedia.http.sdk_client``, or read your own session's answers with ``anymedia.http.read_body``."""
        before = _memory("VmRSS")
        failure = self._failure(case)
        grown = (_memory("VmHWM") - before) // 2**20
        assert grown < _MOST_MEMORY, f"the answer filled {grown} MiB of memory: nothing counts its bytes while they are decoded"
        assert failure.submits <= 1, f"{failure.submits} submits for one call"
        assert isinstance(failure.error, BadBackendResponse | SubmissionUnknown), f"{type(failure.error).__name__}: {failure.error}"
        assert failure.error.charged in _PERHAPS, f"charged is {failure.error.charged!r}, but the service answered"
        _assert_no_secret(failure.texts, failure.hidden)

    @rule("C05", per="operation")
    def test_c05_cancelled_call_propagates_the_cancellation(self, case: Case) -> None:
        """If this fails: catch ``Exception``, never ``BaseException``; create clients with ``context.client``."""
        slow = "slow" in self.scenarios
        with self.bench(case, "slow" if slow else "success") as bench:

            async def go() -> tuple[Any, Any]:
                async with bench.router() as router:
                    task = asyncio.create_task(bench.execute(router, await bench.request(router)))
                    await _submitted(bench, task)
                    task.cancel()
                    ended = (await asyncio.gather(task, return_exceptions=True))[0]
                    call = (await router.store.calls())[0]
                return ended, call

            with _unclosed_sessions() as unclosed:
                ended, call = run(go())
                if isinstance(ended, BaseException):
                    traceback.clear_frames(ended.__traceback__)  # release what the frames of a hook still reference
                gc.collect()
            assert not unclosed, f"left open: {unclosed}"
            if not slow and not isinstance(ended, BaseException):
                return  # it works on this machine, and finished before it could be cancelled
            assert isinstance(ended, asyncio.CancelledError), f"the cancelled call returned {ended!r}"
            # A backend that works on this machine may have finished just before the cancellation arrived; or it sends nothing.
            states = _STATES_AFTER_CANCELLATION if slow else _STATES_AFTER_CANCELLATION | {"done", "queued", "cancelled"}
            assert call.state in states, f"the call is recorded as {call.state!r}"

    @rule("C08", per="operation")
    def test_c08_deadline_is_kept(self, case: Case) -> None:
        """If this fails: a hook must make one SDK call and not wait beyond it; the core polls and watches the deadline."""
        if "slow" not in self.scenarios:
            return
        with self.bench(case, "slow") as bench:

            async def go() -> MediaError:
                clock = JumpingClock()
                async with bench.router(policy=Policy(retries=0, preview=True), clock=clock) as router:
                    request = await bench.request(router)
                    task = asyncio.create_task(bench.execute(router, request, deadline=_DEADLINE))
                    await _submitted(bench, task)
                    clock.ahead = _DEADLINE
                    try:
                        result = await task
                    except MediaError as error:
                        return error
                    raise AssertionError(f"the slow scenario succeeded before the deadline: {result}")

            error = run(go())
            assert isinstance(error, BackendTimeout | SubmissionUnknown), f"{type(error).__name__}: {error}"
            assert error.job_id
            assert bench.submits() <= 1, f"{bench.submits()} submits for one call"
            if bench.submits() and isinstance(error, SubmissionUnknown):
                assert error.charged == "unknown"

    @rule("C13", per="operation")
    async def test_c13_event_loop_is_free_during_a_call(self, case: Case, bench: Bench) -> None:
        """If this fails: use the SDK's asynchronous client, or ``await context.run_blocking(function, ...)`` for what blocks."""
        async with bench.router() as router:
            request = await bench.request(router)
            blocked: dict[str, float] = {}
            for again in range(_BLOCKED_TIMES):  # on a machine that is busy, one step may take long; a hook that blocks always does
                router.registry.longest_steps = {}
                await bench.execute(router, request)
                steps = {hook: seconds for hook, seconds in router.registry.longest_steps.items() if seconds > _MOST_BLOCKED}
                blocked = {hook: steps[hook] for hook in steps if not again or hook in blocked}
                if not blocked:
                    break
        assert not bench.blocking, f"on the event loop, the backend called {', '.join(sorted(set(bench.blocking)))}"
        said = " and ".join(f"{hook} blocked the event loop for {seconds:.1f} s" for hook, seconds in blocked.items())
        assert not blocked, f"{said}, each time: all other calls stood still"

    @rule("C07", per="operation")
    async def test_c07_call_connects_to_its_own_hosts_only(self, case: Case, bench: Bench) -> None:
        """If this fails: use the address ``context.settings["base_url"]``, and connect to no other host."""
        await bench.outcome()
        assert not bench.tried, f"connections left this machine: {bench.tried}"

    @rule("C07")
    def test_c07_credentials_have_declared_hosts(self) -> None:
        """If this fails: list the service's hosts in the matrix's ``hosts``: without a base_url only those receive the key."""
        matrix = loaded_registry().capabilities(self.backend)
        keys = [name for found in matrix.credentials for name in found.names if name not in found.public]
        assert matrix.hosts or not keys, f"the matrix names {', '.join(keys)}, but no `hosts` that may receive it"


def _has_lookup(backend: str) -> bool:
    return "find_submission" in loaded_registry().plugins[backend].hooks


def _without_frames(error: MediaError) -> MediaError:
    """Return an error without the frames of its traceback and causes: they would keep clients and sockets open."""
    pending: list[BaseException | None] = [error]
    while pending:
        if (one := pending.pop()) is not None and one.__traceback__ is not None:
            traceback.clear_frames(one.__traceback__)
            one.__traceback__ = None
            pending += [one.__cause__, one.__context__]
    return error


def _recorded_texts(bench: Bench, calls: Sequence[CallRecord]) -> list[str]:
    """Return what was written to the journal, logs and streams, and reported to the caller."""
    assert calls, "the journal has no record of the call"
    return [*map(repr, calls), *bench.texts]


def _assert_no_secret(texts: Iterable[str], secrets: tuple[str, ...]) -> None:
    for text in texts:
        for hidden in secrets:
            assert hidden not in text, f"{hidden!r} appears in: {text[:300]}"


def _delivery_hint(error: MediaError, expected: tuple[type[MediaError], ...]) -> str:
    """Return a hint where the hook raised the right error without a delivery."""
    raised = error.__cause__
    if not isinstance(error, SubmissionUnknown) or not isinstance(raised, expected):
        return ""
    return f"; the hook raised {type(raised).__name__} without saying whether the service accepted the request: give it delivery='refused'"


#: The deadline of a call in seconds; the clock jumps to it once the service has received the submit.
_DEADLINE = 20.0
#: Seconds for which a hook may keep the event loop waiting, in each of some calls.
_MOST_BLOCKED, _BLOCKED_TIMES = 0.75, 4
#: The states that a call may be recorded in after it was cancelled while the service was working.
_STATES_AFTER_CANCELLATION = frozenset({"unknown", "submitted", "running", "collecting"})


#: Waits of 10 ms for a submit to arrive.
_MOST_WAITS = 1_000


async def _submitted(bench: Bench, task: asyncio.Task[Any]) -> None:
    """Wait until the service has received the submit; without a wire that counts, until the call is recorded and has begun."""
    counted = bench.wire.submits is not None
    for _ in range(_MOST_WAITS):
        if task.done() or (bench.submits() if counted else await bench.store.calls()):
            break
        await asyncio.sleep(0.01)
    if not counted:
        await asyncio.sleep(0.05)


@contextlib.contextmanager
def _unclosed_sessions() -> Iterator[list[str]]:
    """Collect the warnings about client sessions that were not closed."""
    found: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        yield found
    found += [str(w.message) for w in caught if "client session" in str(w.message).lower()]


#: Seconds until a cancelled job must have been found to have ended; the kit's clock does not pause between the status checks.
_CANCELLED_DEADLINE = 60.0
#: Seconds that the status checks of a job that is never found may take; the kit's clock does not pause between them.
_JOB_DEADLINE = 10.0


class JobRules(CaseMaker):
    """Resuming, cancelling, looking up."""

    def _reloaded_registry(self, bench: Bench) -> AbstractContextManager[Registry]:
        """Return the plugins as another process would load them."""
        # A backend that works on this machine may use a thread, whose modules must not be unloaded.
        return contextlib.nullcontext(loaded_registry()) if bench.wire.submits is None else fresh_registry(self.backend)

    async def _submit(self, bench: Bench, router: Router, **changes: Any) -> CallRecord:
        request = await bench.request(router, **changes)
        return await router.submit(request, backend=self.backend, model=bench.shape.model.id, output=f"{bench.folder}/out/")

    @rule("C04", per="video")
    async def test_c04_video_job_is_resumed_by_another_process(self, case: Case, bench: Bench) -> None:
        """If this fails: put everything that ``check_job`` needs into ``Job.id`` and ``Job.data``."""
        async with bench.router() as first:
            await bench.request(first)  # what it continues is made now
            before = bench.submits()
            call = await self._submit(bench, first)
        with self._reloaded_registry(bench) as registry:
            async with bench.router(registry=registry) as second:
                result = await second.resume(call.id, deadline=60.0)
        assert result.files
        assert bench.submits() - before == 1, f"{bench.submits() - before} submits for one call"

    @rule("C04", per="operation")
    async def test_c04_jobs_have_distinct_handles(self, case: Case, bench: Bench) -> None:
        """If this fails: return the id from the service's answer as ``Job.id``."""
        async with bench.router() as first:
            calls = [await self._submit(bench, first, prompt=words) for words in ("a red fox", "a blue boat")]
        calls = [await first.job(call.id) for call in calls]  # closing the router waited for the answer to each submit
        if any(call.job is None for call in calls):
            return  # finished immediately: there is no job
        handles = [(call.job or {})["id"] for call in calls]
        assert len(set(handles)) == len(handles), f"two jobs have the same handle: {handles}"
        with self._reloaded_registry(bench) as registry:
            async with bench.router(registry=registry) as second:
                for call in calls:
                    result = await second.resume(call.id, deadline=60.0)
                    assert result.files or result.data is not None

    @rule("C05", per="operation")
    async def test_c05_job_can_be_cancelled(self, case: Case, bench: Bench) -> None:
        """If this fails: ``cancel_job`` must send one cancel request, and ``check_job`` return Failed for a job that was cancelled."""
        if "cancel_job" not in loaded_registry().plugins[self.backend].hooks:
            return
        async with bench.router(clock=SystemClock()) as router:  # no status check before it is cancelled
            call = await self._submit(bench, router)
            count = bench.wire.stops or (lambda: 0)
            before, asked = bench.submits(), count()
            try:
                ended = await router.cancel(call.id)
            except UnsupportedOperation:
                return  # the service cannot cancel such a job, and the backend reports that
            asked = count() - asked
        assert ended.state in FINAL_STATES, f"the run ended as {ended.state!r}"
        assert bench.submits() <= max(before, 1), "cancelling it made another submit"
        if ended.state == "cancelled" and ended.job is not None:
            assert asked == 1 or bench.wire.stops is None, f"{asked} cancel requests have reached the service, instead of 1"
            await self._ends(bench, call)

    async def _ends(self, bench: Bench, call: CallRecord) -> None:
        """Check a cancelled job again: the service says that it has ended, in its own word for it."""
        async with bench.router() as router:
            try:
                result = await router.resume(call.id, deadline=_CANCELLED_DEADLINE)
            except BackendTimeout as error:
                raise AssertionError(
                    "a status check of the cancelled job found it running: compare the status with the service's own words, such as "
                    f"'canceled' or 'cancelled', and return Failed for them; {error}"
                ) from None
            except MediaError:
                return
            raise AssertionError(f"the cancelled job was completed: does the wire stop it? {result}")

    @rule("C10", per="job", scenario="unseen")
    async def test_c10_job_not_found_at_first_is_checked_again(self, case: Case, bench: Bench) -> None:
        """If this fails: raise ``JobNotFound`` in ``check_job`` for a job that the service does not find; never return Failed for it."""
        result, _ = await bench.make()
        assert result.files or result.data is not None
        if (await bench.store.run(result.job_id))[0].job is not None:  # else it finished immediately, without a status check
            raised = any(JobNotFound.code in text for text in bench.texts)
            assert raised, "no status check raised JobNotFound: does check_job raise it, and does the wire play 'unseen'?"

    @rule("C10", per="job", scenario="forgotten")
    async def test_c10_job_still_not_found_ends(self, case: Case, bench: Bench) -> None:
        """If this fails: raise ``JobNotFound`` in ``check_job``, and no other error, for a job that the service does not find."""
        ended = await bench.outcome(deadline=_JOB_DEADLINE)
        if isinstance(ended, MediaError):
            assert isinstance(ended, JobNotFound), f"{type(ended).__name__}: {ended}"
            assert ended.job_id
            assert ended.charged in {"unknown", "yes"}, f"charged is {ended.charged!r}, but the service accepted the job"
        else:
            assert (await bench.store.run(ended.job_id))[0].job is None, f"the forgotten scenario succeeded: {ended}"
        assert bench.submits() == 1, f"{bench.submits()} submits for one call"

    @rule("C09", per="operation")
    async def test_c09_lookup_finds_the_exact_submit_or_nothing(self, case: Case, bench: Bench) -> None:
        """If this fails: compare what the service lists with ``record.label`` (or another unique field); never return the newest."""
        if not _has_lookup(self.backend):
            return
        async with bench.router() as router:
            made = []
            for words in ("a red fox", "a blue boat"):
                request = await bench.request(router, prompt=words)
                made.append(await router.job((await bench.execute(router, request)).job_id))
            before = bench.submits()
            found = [await self._lookup(router, call, call.id) for call in made]
            unrelated = await self._lookup(router, made[-1], "job_000000000000", prompt="never asked for")
        assert unrelated is None, f"it found {unrelated} for a submit that was never made"
        for call, one in zip(made, found, strict=True):
            if isinstance(one, Job) and call.job is not None:
                assert one.id == call.job["id"], f"it found {one.id!r} for {call.job['id']!r}"
        assert found[0] is None or found[0] != found[1], f"it found {found[0]} for two different submits"
        assert bench.submits() == before, "looking it up made another submit"

    async def _lookup(self, router: Router, call: CallRecord, label: str, prompt: str | None = None) -> Any:
        record = SubmissionRecord(
            label=label,
            model=call.model,
            operation=call.operation,
            prompt=str(call.request["prompt"]) if prompt is None else prompt,
            started_at=call.created_at,
        )
        engine = router._engine
        context = engine.context(call, engine.instance(call.backend).matrix.model(call.model))
        with contextlib.suppress(MediaError):  # a lookup that fails finds nothing
            return await engine.call(call.backend, "find_submission", record=record, context=context)

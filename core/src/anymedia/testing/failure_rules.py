"""Rules about failures: the right error, one submit, no redirect, no secret in a message, no job lost."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import traceback
import warnings
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

import attrs

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
from .fake_service import CANARY, RETRY_AFTER
from .harness import Bench, JumpingClock, loaded_registry, run
from .rules import rule

__all__ = [
    "FailureRules",
    "RedirectRules",
]

#: What an answer that leads elsewhere may come out as.
_REDIRECT_ERRORS = (BadBackendResponse, BackendUnavailable, SubmissionUnknown)


class RedirectRules(CaseMaker):
    """No submit goes where its service sends it."""

    @rule("C11")
    def test_c11_each_kind_of_submit_follows_no_redirect(self, case: Case) -> None:
        """If this fails: switch redirects off in the client of your SDK (``follow_redirects``, ``allow_redirects``)."""
        with self.bench(case, case.what) as bench:  # type: ignore[arg-type]
            assert bench.elsewhere is not None
            error = run(self._sent_on(bench, case))
            arrived = bench.elsewhere.arrived
            assert not arrived, f"it followed the redirect: {'; '.join(arrived)}"
            assert error is not None, f"the {case.what} scenario succeeded: does the wire play it?"
            assert bench.submits() == 1, f"{bench.submits()} submits for one call"
            assert isinstance(error, _REDIRECT_ERRORS), f"{type(error).__name__}: {error}"
            assert error.job_id
            assert error.charged in {"no", "unknown"}, f"charged is {error.charged!r}, and nothing was answered"

    async def _sent_on(self, bench: Bench, case: Case) -> MediaError | None:
        async with bench.router(policy=Policy(retries=0, preview=True)) as router:
            request = await bench.request(router, case.shape, self.maker(case))
            try:
                await bench.execute(router, request, case.shape)
            except MediaError as error:
                return error
        return None


#: Scenario -> the errors that tell it truly. What may have been delivered is never a plain failure.
_EXPECTED_ERRORS: dict[str, tuple[type[MediaError], ...]] = {
    "unauthorized": (AuthenticationFailed,),
    "rate_limited": (RateLimited,),
    "quota": (QuotaExceeded,),
    "refused": (ContentRefused,),
    "down": (BackendUnavailable, SubmissionUnknown),
    "garbage": (BadBackendResponse, SubmissionUnknown),
    "truncated": (BadBackendResponse, SubmissionUnknown),
    "lost_reply": (SubmissionUnknown,),
}


_NO, _UNKNOWN, _PERHAPS = ("no",), ("unknown",), ("unknown", "yes")
#: Scenario -> what may be said of the money. A rejection is an answer; what a service does that is down is its own affair.
_CHARGED: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("unauthorized", "rate_limited", "quota", "refused"), _NO),
    **dict.fromkeys(("garbage", "truncated"), _PERHAPS),
    "lost_reply": _UNKNOWN,
    "down": ("no", *_PERHAPS),
}


@attrs.frozen(kw_only=True)
class Failure:
    """What came of a scenario: the error, how many submits arrived, all that was told, and what must not be in it."""

    error: MediaError
    submits: int
    texts: tuple[str, ...]
    hidden: tuple[str, ...]


#: Class of tests -> case -> what came of it.
_FAILURES: weakref.WeakKeyDictionary[type, dict[str, Failure]] = weakref.WeakKeyDictionary()


class FailureRules(CaseMaker):
    """Failures, secrets, resuming, cancelling."""

    def _failure(self, case: Case) -> Failure:
        """Return what came of a scenario; it is played once, and the rules about failures look at the same outcome."""
        kept = _FAILURES.setdefault(type(self), {})
        if str(case) not in kept:
            with self.bench(case, case.what) as bench:  # type: ignore[arg-type]
                error = run(self._fail(bench, case))
                told = "".join(traceback.format_exception(error))  # with its notes, and everything that it came of
                texts = (str(error), repr(error), str(error.to_json()), told, *_told(bench))
                kept[str(case)] = Failure(error=_let_go(error), submits=bench.submits(), texts=texts, hidden=_hidden(bench))
        return kept[str(case)]

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
        error = self._failure(case).error
        charged = _CHARGED[case.what]
        early = error.charged == "no" and "no" not in charged
        hint = "; is the submit inside `async with context.submission():`?" if early else ""
        assert isinstance(error, _EXPECTED_ERRORS[case.what]), f"{type(error).__name__}: {error}{hint or _left_open(error, case.what)}"
        assert isinstance(error, BackendError)
        assert error.backend == self.backend
        assert error.job_id
        assert error.charged in charged, f"charged is {error.charged!r}, and should be {' or '.join(charged)}{hint}"
        if isinstance(error, RateLimited):
            wait = error.retry_after
            assert wait is not None, "the provider's hint was not read"
            assert RETRY_AFTER / 2 <= wait <= RETRY_AFTER, f"the provider's hint was {RETRY_AFTER:g} s, not {wait:g} s"

    @rule("C02")
    def test_c02_each_failure_makes_at_most_one_submit(self, case: Case) -> None:
        """If this fails: switch the SDK's own retries off."""
        submits = self._failure(case).submits
        assert submits <= 1, f"{submits} submits for one call"

    @rule("C03")
    def test_c03_each_failure_tells_no_secret(self, case: Case) -> None:
        """If this fails: build messages from the provider's own words, never from a request, a URL or an object's repr."""
        failure = self._failure(case)
        _see_no_secret(failure.texts, failure.hidden)

    @rule("C03")
    def test_c03_a_success_tells_no_secret(self, case: Case) -> None:
        """If this fails: keep signed URLs in ``ContinuationData.secret`` and ``Piece.url`` alone."""
        with self.bench(case) as bench:

            async def go() -> list[str]:
                async with bench.router() as router:
                    request = await bench.request(router, case.shape, self.maker(case))
                    result = await bench.execute(router, request, case.shape)
                    handles = [repr(bench.store.load_continuation(f.continuation_id, now=0.0)) for f in result.files if f.continuation_id]
                    return [repr(result), str(result.to_json()), *handles, *(f.path.read_bytes().decode("latin-1") for f in result.files)]

            _see_no_secret((*run(go()), *_told(bench)), _hidden(bench))

    @rule("C05")
    def test_c05_each_kind_of_call_passes_a_cancellation_on(self, case: Case) -> None:
        """If this fails: catch ``Exception``, never ``BaseException``; make clients with ``context.client``."""
        slow = "slow" in self.scenarios
        with self.bench(case, "slow" if slow else "success") as bench:

            async def go() -> tuple[Any, Any]:
                async with bench.router() as router:
                    request = await bench.request(router, case.shape, self.maker(case))
                    task = asyncio.create_task(bench.execute(router, request, case.shape))
                    await _under_way(bench, task)
                    task.cancel()
                    ended = (await asyncio.gather(task, return_exceptions=True))[0]
                    row = router.store.calls()[0]
                return ended, row

            with _leaks() as left:
                ended, row = run(go())
                if isinstance(ended, BaseException):
                    traceback.clear_frames(ended.__traceback__)  # what a hook left in its own names is let go
                gc.collect()
            assert not left, f"left open: {left}"
            if not slow and not isinstance(ended, BaseException):
                return  # it works on this machine, and was done before it could be cancelled
            assert isinstance(ended, asyncio.CancelledError), f"the cancellation came out as {ended!r}"
            assert row.state in _KNOWN, f"the row says {row.state!r}"

    @rule("C08")
    def test_c08_each_kind_of_call_keeps_its_deadline(self, case: Case) -> None:
        """If this fails: never wait in a hook longer than the SDK's one call; the core polls, and keeps the time."""
        if "slow" not in self.scenarios:
            return
        with self.bench(case, "slow") as bench:

            async def go() -> MediaError:
                clock = JumpingClock()
                async with bench.router(policy=Policy(retries=0, preview=True), clock=clock) as router:
                    request = await bench.request(router, case.shape, self.maker(case))
                    task = asyncio.create_task(bench.execute(router, request, case.shape, deadline=_DEADLINE))
                    await _under_way(bench, task)
                    clock.ahead = _DEADLINE
                    try:
                        result = await task
                    except MediaError as error:
                        return error
                    raise AssertionError(f"the slow scenario ended in time: {result}")

            error = run(go())
            assert isinstance(error, BackendTimeout | SubmissionUnknown), f"{type(error).__name__}: {error}"
            assert error.job_id
            assert bench.submits() <= 1, f"{bench.submits()} submits for one call"
            if bench.submits() and isinstance(error, SubmissionUnknown):
                assert error.charged == "unknown"

    @rule("C07")
    def test_c07_each_kind_of_call_connects_to_its_own_hosts_only(self, case: Case) -> None:
        """If this fails: take the address from ``context.settings["base_url"]``, and call nobody else."""
        with self.bench(case) as bench:

            async def go() -> None:
                async with bench.router() as router:
                    request = await bench.request(router, case.shape, self.maker(case))
                    with contextlib.suppress(MediaError):
                        await bench.execute(router, request, case.shape)

            run(go())
            assert not bench.tried, f"connections left this machine: {bench.tried}"

    @rule("C07")
    def test_c07_a_key_has_hosts_to_go_to(self) -> None:
        """If this fails: list the service's hosts in the matrix's ``hosts``: where no base_url is set, no others are given the key."""
        matrix = loaded_registry().capabilities(self.backend)
        keys = [name for found in matrix.credentials for name in found.names if name not in found.public]
        assert matrix.hosts or not keys, f"the matrix names {', '.join(keys)}, and no `hosts` that it may be sent to"


def _let_go(error: MediaError) -> MediaError:
    """Return an error without the frames that it and its causes came through: they would keep clients and sockets."""
    left: list[BaseException | None] = [error]
    while left:
        if (one := left.pop()) is not None and one.__traceback__ is not None:
            traceback.clear_frames(one.__traceback__)
            one.__traceback__ = None
            left += [one.__cause__, one.__context__]
    return error


def _told(bench: Bench) -> list[str]:
    """Return what was journalled, and what was said to logs, streams and the caller."""
    rows = [repr(row) for row in bench.store.calls()]
    assert rows, "nothing was journalled"
    return [*rows, *bench.texts]


def _hidden(bench: Bench) -> tuple[str, ...]:
    return (CANARY, *bench.wire.hidden)


def _see_no_secret(texts: Iterable[str], secrets: tuple[str, ...]) -> None:
    for text in texts:
        for hidden in secrets:
            assert hidden not in text, f"{hidden!r} turned up in: {text[:300]}"


def _left_open(error: MediaError, scenario: str) -> str:
    """Return what to do where the hook raised the right error, and did not say that nothing was taken."""
    raised = error.__cause__
    if not isinstance(error, SubmissionUnknown) or not isinstance(raised, _EXPECTED_ERRORS[scenario]):
        return ""
    return f"; the hook raised {type(raised).__name__} and left open whether the service had taken the request: give it delivery='refused'"


#: Seconds that a call has, of which none is waited: the clock jumps when the submit has arrived.
_DEADLINE = 20.0
#: What a row may say of a call that was cancelled while the service was at work.
_KNOWN = frozenset({"unknown", "submitted", "running", "collecting"})


async def _under_way(bench: Bench, task: asyncio.Task[Any]) -> None:
    """Wait until the submit has reached the service, as far as the wire can tell."""
    if bench.wire.submits is None:
        await asyncio.sleep(0.05)
        return
    for _ in range(500):
        if bench.submits() or task.done():
            return
        await asyncio.sleep(0.01)


@contextlib.contextmanager
def _leaks() -> Iterator[list[str]]:
    """Collect what is told of sessions that nobody closed."""
    found: list[str] = []
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always", ResourceWarning)
        yield found
    found += [str(w.message) for w in heard if "client session" in str(w.message).lower()]

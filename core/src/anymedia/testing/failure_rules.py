"""Rules about failures: the right error, one submit, no redirect, no secret in any text, cancellation, deadlines, hosts."""

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
from .cases import Case, CaseMaker, rule
from .fake_service import CANARY, RETRY_AFTER
from .harness import Bench, JumpingClock, loaded_registry, run

__all__ = [
    "FailureRules",
    "RedirectRules",
]

#: The errors that a redirected submit may raise.
_REDIRECT_ERRORS = (BadBackendResponse, BackendUnavailable, SubmissionUnknown)


class RedirectRules(CaseMaker):
    """No submit follows a redirect."""

    @rule("C11", per="redirect")
    def test_c11_submit_follows_no_redirect(self, case: Case) -> None:
        """If this fails: disable redirects in your HTTP client or SDK (``follow_redirects``, ``allow_redirects``)."""
        with self.bench(case, case.subject) as bench:  # type: ignore[arg-type]
            assert bench.redirect_target is not None
            error = run(self._redirected_error(bench, case))
            arrived = bench.redirect_target.arrived
            assert not arrived, f"it followed the redirect: {'; '.join(arrived)}"
            assert error is not None, f"the {case.subject} scenario succeeded: does the wire play it?"
            assert bench.submits() == 1, f"{bench.submits()} submits for one call"
            assert isinstance(error, _REDIRECT_ERRORS), f"{type(error).__name__}: {error}"
            assert error.job_id
            assert error.charged in {"no", "unknown"}, f"charged is {error.charged!r}, but the service gave no result"

    async def _redirected_error(self, bench: Bench, case: Case) -> MediaError | None:
        async with bench.router(policy=Policy(retries=0, preview=True)) as router:
            request = await bench.request(router, case.shape, self.maker(case))
            try:
                await bench.execute(router, request, case.shape)
            except MediaError as error:
                return error
        return None


#: Scenario -> the errors it may raise. A submit that may have been delivered is never a definite failure.
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


#: Scenarios in which the service explains its rejection; its message must arrive in ``provider_message``.
_EXPLAINED = frozenset({"unauthorized", "rate_limited", "quota", "refused"})
_NO, _UNKNOWN, _PERHAPS = ("no",), ("unknown",), ("unknown", "yes")
#: Scenario -> the values ``charged`` may have. A rejection costs nothing; a service that is down may have charged.
_CHARGED: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("unauthorized", "rate_limited", "quota", "refused"), _NO),
    **dict.fromkeys(("garbage", "truncated"), _PERHAPS),
    "lost_reply": _UNKNOWN,
    "down": ("no", *_PERHAPS),
}


@attrs.frozen(kw_only=True)
class Failure:
    """The outcome of a scenario.

    Attributes:
        error: the error that was raised.
        submits: how many submits the service received.
        texts: all texts that were logged, printed, stored or reported.
        hidden: the secrets that must not be in them.
    """

    error: MediaError
    submits: int
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
                error = run(self._fail(bench, case))
                trace = "".join(traceback.format_exception(error))  # with its notes and causes
                texts = (str(error), repr(error), str(error.to_json()), trace, *_recorded_texts(bench))
                kept[str(case)] = Failure(error=_without_frames(error), submits=bench.submits(), texts=texts, hidden=_hidden(bench))
        return kept[str(case)]

    async def _fail(self, bench: Bench, case: Case) -> MediaError:
        async with bench.router(policy=Policy(retries=0, preview=True)) as router:
            request = await bench.request(router, case.shape, self.maker(case))
            try:
                result = await bench.execute(router, request, case.shape)
            except MediaError as error:
                return error
            raise AssertionError(f"the {case.subject} scenario succeeded: {result}")

    @rule("C01", per="submit_failure")
    def test_c01_failure_raises_its_own_error(self, case: Case) -> None:
        """If this fails: translate the SDK's error with ``anymedia.http.answered_error``, which reads the code before the status."""
        error = self._failure(case).error
        charged = _CHARGED[case.subject]
        early = error.charged == "no" and "no" not in charged
        hint = "; is the submit inside `async with context.submission():`?" if early else ""
        assert isinstance(error, _EXPECTED_ERRORS[case.subject]), (
            f"{type(error).__name__}: {error}{hint or _delivery_hint(error, case.subject)}"
        )
        assert isinstance(error, BackendError)
        assert error.backend == self.backend
        assert error.job_id
        assert error.charged in charged, f"charged is {error.charged!r} instead of {' or '.join(charged)}{hint}"
        if isinstance(error, RateLimited):
            wait = error.retry_after
            assert wait is not None, "the provider's hint how long to wait was not read"
            assert RETRY_AFTER / 2 <= wait <= RETRY_AFTER, f"the provider's hint was {RETRY_AFTER:g} s, not {wait:g} s"
        if case.subject in _EXPLAINED:
            assert error.provider_message, f"provider_message is empty, the provider's own words are lost: {error}"
            assert error.provider_message not in error.fix, f"the provider's own words stand in fix: {error.fix}"

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
    def test_c03_success_reveals_no_secret(self, case: Case) -> None:
        """If this fails: keep signed URLs only in ``ContinuationData.secret`` and ``Piece.url``."""
        with self.bench(case) as bench:

            async def go() -> list[str]:
                async with bench.router() as router:
                    request = await bench.request(router, case.shape, self.maker(case))
                    result = await bench.execute(router, request, case.shape)
                    handles = [repr(await bench.store.load_continuation(f.continuation_id)) for f in result.files if f.continuation_id]
                    return [repr(result), str(result.to_json()), *handles, *(f.path.read_bytes().decode("latin-1") for f in result.files)]

            _assert_no_secret((*run(go()), *_recorded_texts(bench)), _hidden(bench))

    @rule("C05", per="operation")
    def test_c05_cancelled_call_propagates_the_cancellation(self, case: Case) -> None:
        """If this fails: catch ``Exception``, never ``BaseException``; create clients with ``context.client``."""
        slow = "slow" in self.scenarios
        with self.bench(case, "slow" if slow else "success") as bench:

            async def go() -> tuple[Any, Any]:
                async with bench.router() as router:
                    request = await bench.request(router, case.shape, self.maker(case))
                    task = asyncio.create_task(bench.execute(router, request, case.shape))
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
            assert call.state in _STATES_AFTER_CANCELLATION, f"the call is recorded as {call.state!r}"

    @rule("C08", per="operation")
    def test_c08_deadline_is_kept(self, case: Case) -> None:
        """If this fails: a hook must make one SDK call and not wait beyond it; the core polls and watches the deadline."""
        if "slow" not in self.scenarios:
            return
        with self.bench(case, "slow") as bench:

            async def go() -> MediaError:
                clock = JumpingClock()
                async with bench.router(policy=Policy(retries=0, preview=True), clock=clock) as router:
                    request = await bench.request(router, case.shape, self.maker(case))
                    task = asyncio.create_task(bench.execute(router, request, case.shape, deadline=_DEADLINE))
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

    @rule("C07", per="operation")
    def test_c07_call_connects_to_its_own_hosts_only(self, case: Case) -> None:
        """If this fails: use the address ``context.settings["base_url"]``, and connect to no other host."""
        with self.bench(case) as bench:

            async def go() -> None:
                async with bench.router() as router:
                    request = await bench.request(router, case.shape, self.maker(case))
                    with contextlib.suppress(MediaError):
                        await bench.execute(router, request, case.shape)

            run(go())
            assert not bench.tried, f"connections left this machine: {bench.tried}"

    @rule("C07")
    def test_c07_credentials_have_declared_hosts(self) -> None:
        """If this fails: list the service's hosts in the matrix's ``hosts``: without a base_url only those receive the key."""
        matrix = loaded_registry().capabilities(self.backend)
        keys = [name for found in matrix.credentials for name in found.names if name not in found.public]
        assert matrix.hosts or not keys, f"the matrix names {', '.join(keys)}, but no `hosts` that may receive it"


def _without_frames(error: MediaError) -> MediaError:
    """Return an error without the frames of its traceback and causes: they would keep clients and sockets open."""
    pending: list[BaseException | None] = [error]
    while pending:
        if (one := pending.pop()) is not None and one.__traceback__ is not None:
            traceback.clear_frames(one.__traceback__)
            one.__traceback__ = None
            pending += [one.__cause__, one.__context__]
    return error


def _recorded_texts(bench: Bench) -> list[str]:
    """Return what was written to the journal, logs and streams, and reported to the caller."""
    records = [repr(call) for call in run(bench.store.calls())]
    assert records, "the journal has no record of the call"
    return [*records, *bench.texts]


def _hidden(bench: Bench) -> tuple[str, ...]:
    return (CANARY, *bench.wire.hidden)


def _assert_no_secret(texts: Iterable[str], secrets: tuple[str, ...]) -> None:
    for text in texts:
        for hidden in secrets:
            assert hidden not in text, f"{hidden!r} appears in: {text[:300]}"


def _delivery_hint(error: MediaError, scenario: str) -> str:
    """Return a hint where the hook raised the right error without a delivery."""
    raised = error.__cause__
    if not isinstance(error, SubmissionUnknown) or not isinstance(raised, _EXPECTED_ERRORS[scenario]):
        return ""
    return f"; the hook raised {type(raised).__name__} without saying whether the service accepted the request: give it delivery='refused'"


#: The deadline of a call in seconds; the clock jumps to it once the service has received the submit.
_DEADLINE = 20.0
#: The states that a call may be recorded in after it was cancelled while the service was working.
_STATES_AFTER_CANCELLATION = frozenset({"unknown", "submitted", "running", "collecting"})


async def _submitted(bench: Bench, task: asyncio.Task[Any]) -> None:
    """Wait until the service has received the submit, as far as the wire can tell."""
    if bench.wire.submits is None:
        await asyncio.sleep(0.05)
        return
    for _ in range(500):
        if bench.submits() or task.done():
            return
        await asyncio.sleep(0.01)


@contextlib.contextmanager
def _unclosed_sessions() -> Iterator[list[str]]:
    """Collect the warnings about client sessions that were not closed."""
    found: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        yield found
    found += [str(w.message) for w in caught if "client session" in str(w.message).lower()]

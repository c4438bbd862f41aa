"""A submit that is sent on: it would go out twice, and take the key and the pictures along to wherever it is sent."""

from __future__ import annotations

from ..errors import BackendUnavailable, BadBackendResponse, MediaError, SubmissionUnknown
from ..policy import Policy
from .cases import Case, CaseMaker
from .harness import Bench, run
from .rules import rule

__all__ = ["RedirectRules"]

#: What an answer that leads elsewhere may come out as.
_EXPECTED = (BadBackendResponse, BackendUnavailable, SubmissionUnknown)


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
            assert isinstance(error, _EXPECTED), f"{type(error).__name__}: {error}"
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

"""What a backend's author provides: a fake of the service, with a behaviour for each scenario."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import attrs

__all__ = ["CANARY", "MEANINGS", "REDIRECTS", "RETRY_AFTER", "SCENARIOS", "Scenario", "Wire"]

#: A key to give to the backend: it must never appear in any text.
CANARY = "canary-key-7f3e91d2c4"
#: The seconds that the answer of the ``rate_limited`` scenario asks to wait, in whatever form the service uses.
RETRY_AFTER = 2.0

Scenario = Literal[
    "success",
    "unauthorized",
    "rate_limited",
    "quota",
    "refused",
    "down",
    "slow",
    "garbage",
    "truncated",
    "lost_reply",
    "unseen",
    "forgotten",
    "redirected",
    "moved",
]
SCENARIOS: tuple[Scenario, ...] = get_args(Scenario)
#: Scenario -> how the service treats a billable submit; a backend without jobs never sees `unseen` and `forgotten`.
MEANINGS: Mapping[Scenario, str] = {
    "success": "makes what was requested, and edits where its mask format says (`anymedia.testing.painted` does this); "
    "rejects fields, values and types that the service does not know",
    "unauthorized": "answers that the key is not accepted",
    "rate_limited": f"answers that there are too many requests, with a hint to wait {RETRY_AFTER:g} seconds",
    "quota": "answers that the account's money or quota is used up",
    "refused": "answers that its safety system refused the prompt",
    "down": "answers that it is down or overloaded",
    "slow": "makes it, and holds the answer back until the client has disconnected",
    "garbage": "answers 200 with meaningless bytes",
    "truncated": "ends its answer too early",
    "lost_reply": "makes it, and closes the connection without an answer; no list shows it",
    "unseen": "starts a job, and does not find it at the first one or two status checks, as a distributed service may",
    "forgotten": "starts a job, and finds it at no status check",
    "redirected": "answers 307, with `self.redirect_to` (an address that the kit gives) as its `location`",
    "moved": "answers 302, with the same `location`",
}
assert set(MEANINGS) == set(SCENARIOS)
#: The scenarios in which a submit is redirected.
REDIRECTS: tuple[Scenario, ...] = ("redirected", "moved")


def _nothing_sent() -> Sequence[Mapping[str, Any]]:
    return ()


@attrs.frozen(kw_only=True)
class Wire:
    """A running fake of the service.

    Attributes:
        submits: returns how many billable submits it has received; None for a backend that works on this machine.
        sent: returns the billable submits it has received, each as a flat mapping of field to text, number or bytes (the
            fake decides how to flatten the wire format); None for a backend that works on this machine: the media
            themselves must then differ.
        stops: returns how many requests to cancel a job it has received; for a backend with the hook ``cancel_job``.
        environ: the credentials, by the names of the matrix's environment variables; give `CANARY` as the key.
        base_url: where the backend's requests are sent instead of to the service.
        options: further settings of the instance.
        hosts: ``host:port`` that results may be fetched from.
        hidden: texts that must not appear anywhere (signatures of URLs).
    """

    submits: Callable[[], int] | None
    sent: Callable[[], Sequence[Mapping[str, Any]]] | None = _nothing_sent
    stops: Callable[[], int] | None = None
    environ: Mapping[str, str] = attrs.field(factory=dict)
    base_url: str | None = None
    options: Mapping[str, Any] = attrs.field(factory=dict)
    hosts: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()

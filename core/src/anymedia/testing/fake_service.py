"""What a backend's author provides: a fake of the service, one way for each scenario."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import attrs

__all__ = ["CANARY", "MEANINGS", "REDIRECTS", "RETRY_AFTER", "SCENARIOS", "Scenario", "Wire"]

#: A key to give to the backend: it must never turn up in any text.
CANARY = "canary-key-7f3e91d2c4"
#: The seconds that the ``rate_limited`` scenario's answer asks to wait, in whatever way the service says it.
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
#: Scenario -> what the service does with a billable submit; a backend without jobs never sees `unseen` and `forgotten`.
MEANINGS: Mapping[Scenario, str] = {
    "success": "makes what was asked for, and edits where the service reads a mask to say so (`anymedia.testing.painted` does); "
    "refuses fields, values and types that the service does not know",
    "unauthorized": "answers that the key is not accepted",
    "rate_limited": f"answers that there are too many requests, with a hint to wait {RETRY_AFTER:g} seconds",
    "quota": "answers that the account's money or quota is used up",
    "refused": "answers that its safety system refused the prompt",
    "down": "answers that it is down or overloaded",
    "slow": "makes it, and holds the answer back until the client has gone",
    "garbage": "answers 200 with bytes that mean nothing",
    "truncated": "breaks its answer off",
    "lost_reply": "makes it, and closes the connection unanswered; no list shows it",
    "unseen": "starts a job, and does not find it at the first look or two (it has many machines, and not all have heard of it)",
    "forgotten": "starts a job, and finds it at no look",
    "redirected": "answers 307, with `self.elsewhere` (an address that the kit gives) as its `location`",
    "moved": "answers 302, with the same `location`",
}
assert set(MEANINGS) == set(SCENARIOS)
#: Those in which a submit is sent on to another place.
REDIRECTS: tuple[Scenario, ...] = ("redirected", "moved")


def _nothing_sent() -> Sequence[Mapping[str, Any]]:
    return ()


@attrs.frozen(kw_only=True)
class Wire:
    """A running fake of the service.

    Attributes:
        submits: how many billable submits have reached it; None where there is no wire.
        sent: the billable submits that have reached it, each as a flat mapping of field to text, number or bytes
            (what the wire format makes of it is the fake's business); None where there is no wire (a backend that
            works on this machine): then the media themselves must differ.
        stops: how many requests to stop a job have reached it; for a backend with the hook ``cancel_job``.
        environ: the credentials, by the names of the matrix's environment variables; give `CANARY` as the key.
        base_url: where the backend's requests go instead of the service.
        options: further settings of the instance.
        hosts: ``host:port`` that results may be fetched from.
        hidden: texts that must not turn up anywhere (signatures of URLs).
    """

    submits: Callable[[], int] | None
    sent: Callable[[], Sequence[Mapping[str, Any]]] | None = _nothing_sent
    stops: Callable[[], int] | None = None
    environ: Mapping[str, str] = attrs.field(factory=dict)
    base_url: str | None = None
    options: Mapping[str, Any] = attrs.field(factory=dict)
    hosts: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()

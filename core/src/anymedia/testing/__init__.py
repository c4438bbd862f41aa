"""The conformance kit: tests with which a backend's author checks that the backend keeps the contract.

    class TestAcme(BackendConformance):
        backend = "acme"

        @contextlib.contextmanager
        def wire(self, scenario, service):
            with AcmeFake(scenario, self.redirect_to) as fake:  # AcmeFake = fake_service(handler, failures)
                yield fake.wire(environ={"ACME_KEY": CANARY})

The tests are generated from the backend's own matrix: one set per distinct operation spec, not per model id.

    fakes.py            what the author provides: a fake of the service for each scenario; media for it
    conformance.py      the class to subclass; its tests are in
    operation_rules.py  what the backend produces, checked by an independent decoder
    rejection_rules.py  what it does not support or lacks
    failure_rules.py    failures, and what must be known after them; jobs: resumed, distinguished, cancelled, looked up
    answer_rules.py     answers that are good but odd, changed by a relay between the backend and its fake
    cases.py            the rules by id, and the cases of each test; case_values.py their requests
    harness.py          a real Router over the fake, with sockets, logs and streams watched
"""

from .cases import RULES, known_gap
from .conformance import BackendConformance
from .fakes import (
    CANARY,
    RETRY_AFTER,
    SCENARIOS,
    Answer,
    Call,
    FakeService,
    Scenario,
    Wire,
    fake_service,
    flood,
    half_mask,
    painted,
    picture,
    sound,
    video,
    write_flood,
)  # fmt: skip

__all__ = [
    "CANARY",
    "RETRY_AFTER",
    "RULES",
    "SCENARIOS",
    "Answer",
    "BackendConformance",
    "Call",
    "FakeService",
    "Scenario",
    "Wire",
    "fake_service",
    "flood",
    "half_mask",
    "known_gap",
    "painted",
    "picture",
    "sound",
    "video",
    "write_flood",
]

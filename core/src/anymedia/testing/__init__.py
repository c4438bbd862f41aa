"""The conformance kit: tests that a backend's author runs to check that the backend keeps the contract.

    class TestAcme(BackendConformance):
        backend = "acme"

        @contextlib.contextmanager
        def wire(self, scenario, service):
            with AcmeFake(scenario) as fake:
                yield Wire(base_url=fake.url, environ={"ACME_KEY": CANARY}, submits=fake.submits)

The tests are generated from the backend's own matrix: one set per distinct shape of a model spec, not per model id.

    fake_service.py     what the author provides: a fake of the service for each scenario
    conformance.py      the class to subclass; its tests are in
    operation_rules.py  what the backend produces
    rejection_rules.py  what it does not support or lacks
    failure_rules.py    failures, and what must be known after them
    jobs.py             jobs: resumed, distinguished, cancelled, looked up
    live.py             the same with real keys, within a budget
    cases.py            one case per rule and shape; case_values.py their requests
    harness.py          a real Router over the fake
    samples.py          small real pictures, videos and sounds
    verify_media.py     an independent decoder that checks the output
    guarding.py         watches sockets, logs and streams
"""

from .conformance import BackendConformance
from .fake_service import CANARY, RETRY_AFTER, SCENARIOS, Scenario, Wire
from .rules import RULES, known_gap
from .samples import half_mask, painted, picture, sound, video

__all__ = [
    "CANARY",
    "RETRY_AFTER",
    "RULES",
    "SCENARIOS",
    "BackendConformance",
    "Scenario",
    "Wire",
    "half_mask",
    "known_gap",
    "painted",
    "picture",
    "sound",
    "video",
]

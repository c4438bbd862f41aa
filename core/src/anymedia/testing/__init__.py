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

from .cases import RULES as RULES
from .cases import known_gap as known_gap
from .conformance import BackendConformance as BackendConformance
from .fakes import CANARY as CANARY
from .fakes import RETRY_AFTER as RETRY_AFTER
from .fakes import SCENARIOS as SCENARIOS
from .fakes import Answer as Answer
from .fakes import Call as Call
from .fakes import FakeService as FakeService
from .fakes import Scenario as Scenario
from .fakes import Wire as Wire
from .fakes import fake_service as fake_service
from .fakes import flood as flood
from .fakes import half_mask as half_mask
from .fakes import painted as painted
from .fakes import picture as picture
from .fakes import sound as sound
from .fakes import video as video
from .fakes import write_flood as write_flood

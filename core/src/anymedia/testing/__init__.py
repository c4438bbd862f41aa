"""The conformance kit: what a backend's author runs to know that the backend keeps its word.

    class TestAcme(BackendConformance):
        backend = "acme"

        @contextlib.contextmanager
        def wire(self, scenario, service):
            with AcmeFake(scenario) as fake:
                yield Wire(base_url=fake.url, environ={"ACME_KEY": CANARY}, submits=fake.submits)

The rules are generated from the backend's own matrix: one set per distinct row shape, not per model id.

    wire.py          what the author provides: a fake of the service for each scenario
    shapes.py        the distinct rows of a matrix, and requests that fit them
    samples.py       small real pictures and videos
    decoding.py      an independent decoder that judges what came back
    harness.py       a real Router over the wire, with a guard on sockets
    conformance.py   the rules
"""

from .conformance import BackendConformance
from .rules import RULES, known_gap
from .wire import CANARY, SCENARIOS, Scenario, Wire

__all__ = ["CANARY", "RULES", "SCENARIOS", "BackendConformance", "Scenario", "Wire", "known_gap"]

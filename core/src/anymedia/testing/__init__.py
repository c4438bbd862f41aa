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
    pictures.py      references in pairs that differ in one part
    samples.py       small real pictures and videos
    decoding.py      an independent decoder that judges what came back
    guarding.py      whom a backend calls, and what it says to logs and streams
    looks.py         how long to wait for a job
    harness.py       a real Router over the wire
    conformance.py   the rules, as one class to subclass; it is made of
    making.py        what the backend makes: operations, options, inputs
    whole.py         the whole of a claim: every value, every one of many
    onward.py        going on, masks, long prompts
    refusing.py      what it must refuse
    installing.py    what is asked for where a library is wanting
    failures.py      what may go wrong, and what must be known then
    elsewhere.py     another place, which a submit may be sent on to
    redirects.py     that no submit goes there
    jobs.py          picked up, told apart, stopped, looked up
    live.py          the same with real keys, within a budget
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

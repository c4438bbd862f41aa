import contextlib

from reel_fake import SIGNATURE, ReelFake

from anymedia.testing import CANARY, BackendConformance, Wire


class TestReel(BackendConformance):
    backend = "reel"

    @contextlib.contextmanager
    def wire(self, scenario, service):
        with ReelFake(scenario, self.redirect_to) as fake:
            yield Wire(
                base_url=fake.url,
                environ={"REEL_KEY": CANARY},
                submits=lambda: len(fake.received),
                sent=lambda: fake.received,
                stops=lambda: fake.stops,
                hosts=(fake.url.removeprefix("http://"),),
                hidden=(SIGNATURE,),
            )
            fake.shutdown()

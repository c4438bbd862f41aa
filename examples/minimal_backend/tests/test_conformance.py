import contextlib

from painter_fake import PainterFake

from anymedia.testing import CANARY, BackendConformance, Wire


class TestPainter(BackendConformance):
    backend = "painter"

    @contextlib.contextmanager
    def wire(self, scenario, service):
        with PainterFake(scenario, self.redirect_to) as fake:
            yield Wire(base_url=fake.url, environ={"PAINTER_KEY": CANARY}, submits=lambda: len(fake.received), sent=lambda: fake.received)
            fake.shutdown()

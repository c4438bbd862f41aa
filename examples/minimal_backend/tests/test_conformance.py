import contextlib

from painter_fake import PainterFake

from anymedia.testing import CANARY, BackendConformance


class TestPainter(BackendConformance):
    backend = "painter"

    @contextlib.contextmanager
    def wire(self, scenario, service):
        with PainterFake(scenario, self.redirect_to) as fake:
            yield fake.wire(environ={"PAINTER_KEY": CANARY})

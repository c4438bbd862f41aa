import contextlib

from anymedia.testing import BackendConformance, Wire


class TestPipeline(BackendConformance):
    backend = "pipeline"
    scenarios = ("success",)

    @contextlib.contextmanager
    def wire(self, scenario, service):
        yield Wire(submits=None, sent=None)

"""OpenTelemetry: which steps are recorded, what is never recorded, and one trace across two processes. The SDK itself records."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest
from core.fake_service import FakeService
from core.routing import fake_router, fake_settings
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from anymedia import GenerateVideo, MediaError, SqliteStore

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("fake_key")]


@attrs.frozen
class Recorded:
    exporter: InMemorySpanExporter
    reader: InMemoryMetricReader

    @property
    def spans(self) -> list[Any]:
        return list(self.exporter.get_finished_spans())

    def points(self, name: str) -> list[Any]:
        data = self.reader.get_metrics_data()
        found = [m for r in data.resource_metrics for scope in r.scope_metrics for m in scope.metrics] if data else []
        return [point for metric in found if metric.name == name for point in metric.data.data_points]


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    tracers, reader = TracerProvider(), InMemoryMetricReader()
    meters, exporter = MeterProvider([reader]), InMemorySpanExporter()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", tracers.get_tracer)
    monkeypatch.setattr(metrics, "get_meter_provider", lambda: meters)
    return Recorded(exporter, reader)


async def test_telemetry_of_a_video_records_each_step_and_no_content(recorded: Recorded, tmp_path: Path) -> None:
    with FakeService(looks=2) as service:
        async with fake_router(service) as router:
            result = await router.generate_video(prompt="a secret fox", output=tmp_path / "fox.mp4")
    names = [span.name for span in recorded.spans]
    model = result.provenance.model
    looks = names.count(f"check_job {model}")
    assert names == ["plan", f"queue {model}", f"generate_video {model}", *[f"check_job {model}"] * looks, f"collect {model}"]
    assert looks >= 2
    calls = {span.attributes.get("anymedia.call.id") for span in recorded.spans[1:]}
    assert calls == {result.job_id}
    submit = recorded.spans[2]
    assert submit.kind is trace.SpanKind.CLIENT
    assert dict(submit.attributes) == {
        "gen_ai.operation.name": "generate_video",
        "gen_ai.provider.name": "fake",
        "gen_ai.request.model": model,
        "anymedia.call.id": result.job_id,
    }
    everything = "".join(span.to_json() for span in recorded.spans)
    assert "secret fox" not in everything and str(tmp_path) not in everything and service.http.url not in everything
    durations = recorded.points("gen_ai.client.operation.duration")
    assert sum(point.count for point in durations) == len(names)
    assert "anymedia.call.id" not in {name for point in durations for name in point.attributes}
    assert [point.value for point in recorded.points("anymedia.cost")] == [pytest.approx(result.cost.actual_usd)]


async def test_telemetry_of_a_refused_call_names_the_error_and_not_its_message(recorded: Recorded) -> None:
    with FakeService() as service:
        service.http.fail("status", on="POST", status=400, json={"error": {"message": "no foxes here"}})
        async with fake_router(service) as router:
            with pytest.raises(MediaError) as caught:
                await router.generate_image(prompt="a fox")
    submit = next(span for span in recorded.spans if span.name.startswith("generate_image"))
    assert submit.attributes["error.type"] == caught.value.code
    assert (submit.status.status_code, submit.status.description, submit.events) == (trace.StatusCode.ERROR, None, ())


@pytest.mark.parametrize("state", ["queued", "running"])
async def test_telemetry_of_a_call_that_another_process_continues_belongs_to_its_trace(
    recorded: Recorded, tmp_path: Path, state: str
) -> None:
    with FakeService(looks=10**6 if state == "running" else 1) as service:
        settings = fake_settings(service, state=tmp_path / "state")
        async with fake_router(service, settings=settings, store=SqliteStore(tmp_path / "state.db")) as router:
            with trace.get_tracer("caller").start_as_current_span("request") as caller:
                if state == "running":
                    record = await router.submit(GenerateVideo(prompt="waves"))
                else:
                    runner = router._plan_runner(await router.plan(GenerateVideo(prompt="waves")), None, False, None)
                    (record,) = await runner.open()
                    await router.store.release(record.lease)
        recorded.exporter.clear()
        for job in service.jobs.values():
            job["left"] = 0
        async with fake_router(service, settings=settings, store=SqliteStore(tmp_path / "state.db")) as router:
            await router.resume(record.run)
    assert {span.context.trace_id for span in recorded.spans} == {caller.get_span_context().trace_id}
    steps = {"queue", "generate_video"} if state == "queued" else set()
    assert {span.name.split()[0] for span in recorded.spans} == steps | {"check_job", "collect"}


def test_telemetry_is_off_and_imports_nothing_in_a_program_without_opentelemetry() -> None:
    program = (
        "import sys; from anymedia import telemetry\n"
        "with telemetry.span('plan'): telemetry.spent(1.0, backend='a', model='b')\n"
        "assert telemetry.trace_context() == {}\n"
        "with telemetry.continued({'traceparent': '00-' + 'a' * 32 + '-' + 'b' * 16 + '-01'}): pass\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=300)
    assert ended.stdout.strip() == "[]"

"""Spans and metrics for OpenTelemetry, in a program that uses it.

Nothing is imported for it: the OpenTelemetry API is called only where the program has imported it, or was started by
``opentelemetry-instrument``. Names follow the semantic conventions for generative AI where these have one. Prompts, inputs, results and
addresses are never attributes.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any


def _in_use() -> bool:
    return "opentelemetry.trace" in sys.modules


@functools.lru_cache(maxsize=1)  # without an SDK, the API keeps every meter and instrument in case one is set up later
def _instruments(provider: Any) -> tuple[Any, Any]:
    """Return the histogram of durations and the counter of costs."""
    meter = provider.get_meter("anymedia")
    return (
        meter.create_histogram("gen_ai.client.operation.duration", unit="s", description="Duration of a step of a call"),
        meter.create_counter("anymedia.cost", unit="{USD}", description="Cost of calls in US dollars"),
    )


@contextlib.contextmanager
def span(step: str, *, backend: str = "", model: str = "", call: str = "") -> Iterator[None]:
    """Record a step of a call: a span named after the step and the model, and its duration.

    ``step``: ``plan``, ``queue``, ``collect``, or the name of the hook that is called; ``call``: the id of the call.
    """
    if not _in_use():
        yield
        return
    from opentelemetry import metrics, trace

    named = {"gen_ai.operation.name": step, "gen_ai.provider.name": backend, "gen_ai.request.model": model}
    attributes = {name: value for name, value in named.items() if value}
    kind = trace.SpanKind.CLIENT if backend and step not in {"queue", "collect"} else trace.SpanKind.INTERNAL
    tracer, begun = trace.get_tracer("anymedia"), time.perf_counter()
    with tracer.start_as_current_span(
        f"{step} {model}".rstrip(),
        kind=kind,
        attributes=attributes | ({"anymedia.call.id": call} if call else {}),
        record_exception=False,  # a message may quote what the caller wrote
        set_status_on_exception=False,
    ) as current:
        try:
            yield
        except BaseException as error:
            attributes["error.type"] = getattr(error, "code", type(error).__name__)
            current.set_attribute("error.type", attributes["error.type"])
            current.set_status(trace.StatusCode.ERROR)
            raise
        finally:
            duration, _ = _instruments(metrics.get_meter_provider())
            duration.record(time.perf_counter() - begun, attributes)


def spent(usd: float | None, *, backend: str, model: str) -> None:
    """Count what a call has cost, in US dollars; None if it is not known."""
    if usd is None or not _in_use():
        return
    from opentelemetry import metrics

    _, cost = _instruments(metrics.get_meter_provider())
    cost.add(usd, {"gen_ai.provider.name": backend, "gen_ai.request.model": model})


def trace_context() -> dict[str, str]:
    """Return the current trace context, to be stored with a call that another process may execute."""
    carrier: dict[str, str] = {}
    if _in_use():
        from opentelemetry import propagate

        propagate.inject(carrier)
    return carrier


@contextlib.contextmanager
def continued(carrier: Mapping[str, Any]) -> Iterator[None]:
    """Make the spans of a block part of the trace that `trace_context` has returned, perhaps in another process."""
    if not carrier or not _in_use():
        yield
        return
    from opentelemetry import context, propagate

    token = context.attach(propagate.extract({name: str(value) for name, value in carrier.items()}))
    try:
        yield
    finally:
        context.detach(token)

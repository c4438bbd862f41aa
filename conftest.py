"""Shared by all tests: async tests run on asyncio; no test changes how the process is scheduled; whom an error names is able."""

import contextlib
import os
from collections.abc import Iterator

import pytest

pytest_plugins = ["named_backends"]
_SCHEDULER = os.sched_getscheduler(0) if hasattr(os, "sched_getscheduler") else None

with contextlib.suppress(ImportError):  # a backend's kit alone needs none
    from hypothesis import HealthCheck, settings

    # How long an example takes says how busy the machine is, and nothing about the code.
    settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("patient")


@pytest.fixture
def anyio_backend() -> str:
    """Name the event loop that the anyio plugin uses."""
    return "asyncio"


@pytest.fixture(autouse=True)
def as_patient_as_before() -> Iterator[None]:
    """A codec that makes this process a real-time one would take the machine from everybody else's tests."""
    yield
    if _SCHEDULER is not None:
        assert os.sched_getscheduler(0) == _SCHEDULER

"""Shared by all tests: async tests run on asyncio; no test changes how the process is scheduled; whom an error names is able."""

import contextlib
import os
from collections.abc import Iterator

import pytest

pytest_plugins = ["named_backends"]
_SCHEDULER = os.sched_getscheduler(0) if hasattr(os, "sched_getscheduler") else None

with contextlib.suppress(ImportError):
    from hypothesis import settings

    settings.register_profile("any machine", deadline=None)  # a busy machine may take long over one example
    settings.load_profile("any machine")


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

"""Shared by all tests: async tests run on asyncio; a backend that an error names must be able to do what was asked."""

import contextlib

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is, and nothing about the code.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

pytest_plugins = ["named_backends"]

with contextlib.suppress(ImportError):
    from hypothesis import settings

    settings.register_profile("any machine", deadline=None)  # a busy machine may take long over one example
    settings.load_profile("any machine")


@pytest.fixture
def anyio_backend() -> str:
    """Name the event loop that the anyio plugin uses."""
    return "asyncio"

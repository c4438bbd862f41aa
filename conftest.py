"""Shared by all tests: async tests run on asyncio."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """Name the event loop that the anyio plugin uses."""
    return "asyncio"

"""Shared by all tests: async tests run on asyncio; a backend that an error names must be able to do what was asked."""

import pytest

pytest_plugins = ["named_backends"]


@pytest.fixture
def anyio_backend() -> str:
    """Name the event loop that the anyio plugin uses."""
    return "asyncio"

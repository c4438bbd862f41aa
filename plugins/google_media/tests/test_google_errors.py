"""The table of errors: every exception class of the SDK has its place in it, and nothing secret gets through."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anymedia.context import Context
from anymedia.errors import AuthenticationFailed, BackendError, BackendUnavailable, BadBackendResponse, InvalidRequest, MediaError
from google_media import plugin
from google_media._errors import BY_EXCEPTION, translated

CONTEXT = Context(backend="google", model="gemini-nano-banana-2.1", spec=plugin.capabilities().model("gemini-nano-banana-2.1"))
#: Modules of the SDK that name its exceptions; where a class is written differs between versions.
MODULES = (
    "google.genai.errors",
    "google.genai._api_client",
    "google.genai._interactions_continuation",
    "google.genai._gaos",
    "google.genai._gaos.lib.compat_errors",
)


def exceptions() -> Iterator[type[Exception]]:
    for name in MODULES:
        module = importlib.import_module(name)
        found = [name]
        if hasattr(module, "__path__"):
            found += [m.name for m in pkgutil.walk_packages(module.__path__, f"{name}.") if ".tests" not in m.name]
        for each in found:
            for _, cls in inspect.getmembers(importlib.import_module(each), inspect.isclass):
                if issubclass(cls, Exception) and not issubclass(cls, Warning) and cls.__module__.startswith("google.genai."):
                    yield cls


@pytest.fixture(scope="module")
def all_exceptions() -> set[type[Exception]]:
    """Every exception class of the SDK; its modules take seconds to load, so not while tests are collected."""
    return set(exceptions())


class Response:
    """What the exceptions carry along of the answer."""

    status_code = 429
    text = "slow down"
    headers: dict[str, str] = {"retry-after": "7"}  # noqa: RUF012
    request = None


def instance(cls: type[Exception]) -> Exception:
    """Make one without its constructor, with the attributes that its constructor would give it."""
    error = cls.__new__(cls)
    Exception.__init__(error, "said the SDK")
    wanted = [base.__name__ for base in cls.__mro__]
    if "APIError" in wanted and "google.genai.errors" in cls.__module__:
        error.code, error.status, error.message, error.details = 429, "X", "slow down", {}  # type: ignore[attr-defined]
        error.response = Response()  # type: ignore[attr-defined]
    elif "APIStatusError" in wanted or (cls.__module__.startswith("google.genai._gaos.errors.") and "GenAiError" in wanted):
        error.status_code, error.body, error.response, error.message = 429, {}, Response(), "slow down"  # type: ignore[attr-defined]
    return error


def translate(error: Exception, context: Context = CONTEXT) -> MediaError:
    with pytest.raises(MediaError) as caught, translated(context):
        raise error
    return caught.value


def test_sdk_has_the_two_families_that_are_known_here(all_exceptions: set[type[Exception]]) -> None:
    from google.genai import errors
    from google.genai._gaos.lib import compat_errors

    assert len(all_exceptions) > 30
    assert {errors.ClientError, compat_errors.RateLimitError} <= all_exceptions


def test_each_exception_of_the_sdk_becomes_its_own_error(all_exceptions: set[type[Exception]]) -> None:
    for cls in all_exceptions:
        error = translate(instance(cls))
        assert isinstance(error, BackendError), cls
        assert error.code in {"rate_limited", "bad_backend_response", "backend_unavailable", "authentication_failed"}, cls
        by_status = isinstance(getattr(instance(cls), "status_code", getattr(instance(cls), "code", None)), int)
        assert by_status or any(base.__name__ in BY_EXCEPTION for base in cls.__mro__), cls


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TimeoutError(), BackendUnavailable),
        (ConnectionResetError(), BackendUnavailable),
        (UnicodeDecodeError("utf-8", b"\x9f", 0, 1, "bad"), BadBackendResponse),
        (ValueError("vertexai is not the matter"), BadBackendResponse),
        (ValueError("output_mime_type parameter is only supported in Gemini Enterprise Agent Platform mode"), InvalidRequest),
    ],
    ids=repr,
)
def test_exception_of_transport_or_python_becomes_its_own_error(error: Exception, expected: type[MediaError]) -> None:
    assert type(translate(error)) is expected


def test_unknown_exception_is_passed_on() -> None:
    with pytest.raises(KeyError), translated(CONTEXT):
        raise KeyError("a mistake of ours")


def test_error_of_ours_is_passed_on_as_it_is() -> None:
    own = BadBackendResponse("it holds nothing")
    assert translate(own) is own


def test_credentials_that_cannot_be_obtained_were_never_sent() -> None:
    from google.auth.exceptions import DefaultCredentialsError, RefreshError, TransportError

    for cls, expected in (
        (DefaultCredentialsError, AuthenticationFailed),
        (RefreshError, AuthenticationFailed),
        (TransportError, BackendUnavailable),
    ):
        error = translate(cls("no"))
        assert type(error) is expected
        assert isinstance(error, BackendError)
        assert error.delivery == "not_sent"


def rejection(message: str, code: int = 400, **inner: Any) -> Exception:
    from google.genai import errors

    return errors.ClientError(code, {"error": {"code": code, "message": message, **inner}})


@given(st.text(max_size=200), st.sampled_from([400, 401, 403, 404, 409, 418, 429, 500, 503, 599]))
def test_any_message_with_any_status_gives_an_error_in_one_line(message: str, code: int) -> None:
    error = translate(rejection(message, code))
    assert "\n" not in str(error)
    assert "\x1b" not in str(error)


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
)
def test_any_shape_of_an_error_body_gives_an_error(details: Any) -> None:
    from google.genai import errors

    error = errors.ServerError(503, {})
    error.details = details
    assert isinstance(translate(error), BackendUnavailable)


def test_key_in_googles_own_words_is_not_told() -> None:
    said = "Permission denied: Consumer 'api_key:AIzaSyA0123456789abcdefghijklmnopqrstuv' has been suspended."
    error = translate(rejection(said, 403))
    assert "AIzaSyA0123456789" not in str(error)
    assert isinstance(error, AuthenticationFailed)

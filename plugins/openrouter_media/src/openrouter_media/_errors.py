"""What this service's errors mean, where `anymedia.answers` does not know it.

``error.code`` is the HTTP status as a number; ``metadata.error_type`` says more where the service gives one (source: the API's
error guide).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import attrs

from anymedia.answers.envelopes import read_error
from anymedia.context import Context
from anymedia.errors import MediaError
from anymedia.http import answered_error, no_answer, transport_errors

from ._client import Answer

if TYPE_CHECKING:
    from anymedia.answers.errors import ErrorKind

__all__ = ["BY_CODE", "About", "error_of", "raise_for_answer", "translated"]

#: What a call names that may be missing: a model, or a job that was accepted before.
About = Literal["request", "job"]

#: ``metadata.error_type`` -> kind; ``in_flight_budget`` stands for a 402 that passes by itself, see `_IN_FLIGHT`.
BY_CODE: Mapping[str, ErrorKind] = {"authentication": "auth", "in_flight_budget": "rate"}
#: The ``limit_source`` of a 402 because requests in progress have reserved the account's whole balance.
_IN_FLIGHT = "openrouter_in_flight_budget"
_LONGEST_ERROR = 64 * 1024


@contextlib.contextmanager
def translated(context: Context) -> Iterator[None]:
    """Turn whatever the transport raises into our errors; around a submit it belongs inside ``context.submission()``."""
    with transport_errors(context):
        try:
            yield
        except ValueError as error:  # headers that cannot be parsed
            raise no_answer(context, error) from error


def raise_for_answer(answer: Answer, context: Context, about: About = "request") -> None:
    """Raise for an answer whose status is an error.

    Raises:
        MediaError: by the provider's code, its message and the status.
    """
    if not 200 <= answer.status < 300:
        raise error_of(answer, context, about)


def error_of(answer: Answer, context: Context, about: About = "request", body: Any = None) -> MediaError:
    """Return our error for an answer; ``body`` is the decoded answer, where it was decoded."""
    found = read_error(answer.body if body is None else body)
    if _IN_FLIGHT.encode() in answer.body[:_LONGEST_ERROR]:
        found = attrs.evolve(found, labels=(*found.labels, "inflightbudget"))
    return answered_error(
        context,
        found,
        status=answer.status,
        headers=answer.headers,
        by_code=BY_CODE,
        request_id=answer.generation,
        about=about,
    )

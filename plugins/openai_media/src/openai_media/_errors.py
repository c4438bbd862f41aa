"""What the SDK's exceptions mean. Answered errors are read by `anymedia.http.answered_error`; only our own codes stand here."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Literal

from anymedia.context import Context
from anymedia.errors import MediaError
from anymedia.http import answered_error, bad_answer, no_answer, transport_errors

if TYPE_CHECKING:
    import openai

    from anymedia.answers.errors import ErrorKind

__all__ = ["BY_CODE", "About", "translated"]

#: What a call names that may be missing: a model, or a job that was accepted before.
About = Literal["request", "job"]

#: Codes of this provider that `anymedia.answers` does not know (source: the API's error guide).
BY_CODE: Mapping[str, ErrorKind] = {
    "organization_usage_limit_exceeded": "billing",
    "organization_spend_limit_exceeded": "billing",
    "project_spend_limit_exceeded": "billing",
}


@contextlib.contextmanager
def translated(context: Context, about: About = "request") -> Iterator[None]:
    """Turn the exceptions of the SDK and its transport into ours; around a submit it belongs inside ``context.submission()``."""
    import httpx2
    import openai

    with transport_errors(context):
        try:
            yield
        except openai.OpenAIError as error:
            raise _from_sdk(error, context, about) from error
        except (httpx2.HTTPError, httpx2.StreamError) as error:
            raise no_answer(context, error) from error


def _from_sdk(error: openai.OpenAIError, context: Context, about: About) -> MediaError:
    import httpx2
    import openai

    if isinstance(error, openai.APIResponseValidationError):
        return bad_answer(type(error).__name__)
    if not isinstance(error, openai.APIStatusError):
        return no_answer(context, error)
    try:
        body: object = error.response.content
    except httpx2.ResponseNotRead:
        body = error.body
    return answered_error(
        context,
        body,
        status=error.status_code,
        headers=error.response.headers,
        by_code=BY_CODE,
        request_id=error.request_id,
        about=about,
    )

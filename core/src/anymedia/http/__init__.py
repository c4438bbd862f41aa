"""Plain HTTP for backends without an SDK, and what a failed exchange means for all backends.

    async with context.submission():
        answer = await post_json(context, url, {"prompt": request.prompt}, headers={"x-key": key})

A POST is sent once and follows no redirect. Headers, which carry the key, go only to the backend's own hosts: those in
``hosts`` of its matrix or its settings, and its ``base_url``. The connections are kept per instance and closed with the
router. Plugins that use an SDK map its failures with `answered_error`, `no_answer`, `transport_errors` and `bad_answer`,
and give it the HTTP client that `sdk_client` makes (or read their own session's answers with `read_body`): its answers
have a size, which `Context.answer_bytes` limits, however they are encoded.
"""

from .client import HttpAnswer, get_json, post_bytes, post_form, post_json, put_file, raise_for_status, refusal, secret_for_header, stop
from .failures import answered_error, bad_answer, decode_json, decode_object, failed_job, no_answer, no_media, retry_after, transport_errors
from .jobs import job_object, job_status, provider_time
from .transport import body_chunks, new_session, read_body, request_body, sdk_client

__all__ = [
    "HttpAnswer", "answered_error", "bad_answer", "body_chunks", "decode_json", "decode_object", "failed_job", "get_json", "job_object",
    "job_status", "new_session", "no_answer", "no_media", "post_bytes", "post_form", "post_json", "provider_time", "put_file",
    "raise_for_status", "read_body", "refusal", "request_body", "retry_after", "sdk_client", "secret_for_header", "stop",
    "transport_errors",
]  # fmt: skip

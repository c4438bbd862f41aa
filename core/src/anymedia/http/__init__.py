"""Plain HTTP for backends without an SDK: one request, sent once, its answer read as JSON, its failure named.

    async with context.submission():
        answer = await post_json(context, url, {"prompt": request.prompt}, headers={"x-key": key})

A POST goes out once and follows no redirect; headers (the key is among them) go to the backend's own hosts alone: those
in ``hosts`` of its matrix or its settings, and its ``base_url``. The connections are kept per instance and closed with
the router.
"""

from .client import get_json, post_form, post_json, raise_for_status, refusal, retry_after, stop

__all__ = ["get_json", "post_form", "post_json", "raise_for_status", "refusal", "retry_after", "stop"]

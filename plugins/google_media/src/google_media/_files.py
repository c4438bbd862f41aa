"""Where files lie: what Google stored, and what we store there for a call.

``files.download`` of the SDK is never used: it follows redirects and takes the key along. The core fetches instead, and
gives the key to the instance's own hosts alone.
"""

from __future__ import annotations

import asyncio
import io
import re
import urllib.parse
from typing import Any

from anymedia.context import Context, LoadedMedia
from anymedia.errors import BackendTimeout, InvalidRequest, Problem
from anymedia.redaction import clean_text

from ._client import Connection, call_options, seconds_for
from ._errors import bad_answer, translated

__all__ = ["download", "upload"]

_FILE = re.compile(r"(?:^|/)(files/[A-Za-z0-9_-]+)(?::download)?(?:$|[/?])")
_POLL_SECONDS = 1.0


def download(uri: str, connection: Connection) -> tuple[str, dict[str, str]]:
    """Return where to fetch what an answer points to, and the headers to send along to the instance's own hosts.

    A file of the Gemini API is fetched from the address that is in force, as the SDK does; anything else as it stands,
    without credentials.
    """
    if uri.startswith("gs://"):
        return _cloud_storage(uri, connection)
    found = _FILE.search(uri)
    key = connection.sdk._api_client.api_key
    if found is None or not key:
        return uri, {}
    return f"{connection.base_url}/{connection.api_version}/{found[1]}:download?alt=media", {"x-goog-api-key": key}


def _cloud_storage(uri: str, connection: Connection) -> tuple[str, dict[str, str]]:
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    where = f"{connection.storage_url}/storage/v1/b/{urllib.parse.quote(bucket, safe='')}/o/{urllib.parse.quote(name, safe='')}?alt=media"
    token = getattr(connection.credentials, "token", None)
    return where, {"authorization": f"Bearer {token}"} if token else {}


async def upload(media: LoadedMedia, context: Context, connection: Connection) -> str:
    """Store a video with the Files API (not billed; Google keeps it 48 h) and return its uri once it can be used.

    Raises:
        BackendTimeout: it was not ready in time; nothing was spent.
        InvalidRequest: Google could not read it.
    """
    from google.genai import types

    with translated(context):
        config = types.UploadFileConfig(mime_type=media.mime, http_options=call_options(context))
        try:
            file = await connection.aio.files.upload(file=io.BytesIO(media.data), config=config)
        except KeyError as error:  # the SDK takes it for granted that the answers have what it looks for
            raise bad_answer(f"it has no {clean_text(error)}") from error
        for _ in range(max(1, round(seconds_for(context) / _POLL_SECONDS))):
            state = _state(file)
            if state == "ACTIVE":
                return str(file.uri)
            if state == "FAILED":
                raise InvalidRequest([Problem("source", f"'{context.backend}' could not read the video")], fix="give it as an MP4")
            await asyncio.sleep(_POLL_SECONDS)
            file = await connection.aio.files.get(
                name=file.name, config=types.GetFileConfig(http_options=call_options(context, is_check=True))
            )
    raise BackendTimeout("the uploaded video was not ready in time; nothing was spent", delivery="not_sent")


def _state(file: Any) -> str:
    return str(getattr(file.state, "value", file.state))

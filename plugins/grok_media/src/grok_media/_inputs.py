"""Input bytes in a message: as data URLs, or through the Files API when the message would grow too large."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Sequence
from typing import Any

import attrs

from anymedia.context import Context, LoadedMedia
from anymedia.http import bad_answer

from ._client import Connection
from ._errors import translated

__all__ = ["INLINE_BYTES", "Sent", "upload_inputs"]

#: A message of the protocol holds 20 MiB. Inputs in it may have this size as text; the rest is for the prompt.
INLINE_BYTES = 16 * 1024 * 1024
#: Uploads are sent in pieces of this size, and the provider deletes them after a day: a job reads its inputs at once.
_PIECE, _KEPT_SECONDS = 3 * 1024 * 1024, 86_400


@attrs.frozen
class Sent:
    """One input as a message names it: a data URL, or the id of an uploaded file."""

    url: str | None = attrs.field(default=None, repr=lambda u: "None" if u is None else f"<{len(u)} characters>")
    file_id: str | None = None

    def named(self, name: str) -> dict[str, str]:
        """Return it as an argument of the SDK: ``NAME_url`` or ``NAME_file_id``."""
        return {f"{name}_url": self.url} if self.url is not None else {f"{name}_file_id": str(self.file_id)}


async def upload_inputs(inputs: Sequence[LoadedMedia], connection: Connection, context: Context) -> list[Sent]:
    """Return the inputs as one message names them, in their order: all of them inside it, or all uploaded beforehand.

    Raises:
        BackendError: an upload failed; nothing was billed.
    """
    if sum(len(one.data) * 4 // 3 + 64 for one in inputs) <= INLINE_BYTES:
        return [Sent(url=f"data:{one.mime};base64,{base64.b64encode(one.data).decode()}") for one in inputs]
    context.progress(None, "uploading the inputs")
    return [Sent(file_id=await _upload(one, connection, context)) for one in inputs]


async def _upload(media: LoadedMedia, connection: Connection, context: Context) -> str:
    """Upload one file. The SDK's own upload has no deadline, and no key on a channel without TLS."""
    import grpc
    from xai_sdk.proto import files_pb2, files_pb2_grpc

    async def pieces() -> AsyncIterator[Any]:
        start = files_pb2.UploadFileInit(name=media.filename, expires_after=_KEPT_SECONDS)
        yield files_pb2.UploadFileChunk(init=start)
        for offset in range(0, len(media.data), _PIECE):
            yield files_pb2.UploadFileChunk(data=media.data[offset : offset + _PIECE])

    stub = files_pb2_grpc.FilesStub(connection.channel)
    with translated(context):
        try:
            file = await stub.UploadFile(pieces(), metadata=connection.login, timeout=connection.seconds)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.INTERNAL:
                # When the service ends a stream early, gRPC may lose its reason: a small request returns it (a wrong key).
                await connection.sdk.files.list(limit=1)
            raise
    if file is None or not file.id:
        raise bad_answer("an upload returned no file id", charged="no")
    return str(file.id)

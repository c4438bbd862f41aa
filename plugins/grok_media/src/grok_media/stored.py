"""Finished videos that the provider stores as files (option ``keep_videos``), found by the call's label."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from anymedia.context import Context
from anymedia.hookspecs import SubmissionRecord
from anymedia.results import ContinuationData, Outcome, Piece

from ._client import STATUS_SECONDS, connect
from ._errors import translated
from .videos import file_name, kept_seconds

__all__ = ["find"]


async def find(record: SubmissionRecord, context: Context) -> Outcome | None:
    """Search for the video of a call whose start was never answered; a video in progress has no file yet."""
    if record.operation not in {"generate_video", "continue_video"} or kept_seconds(context) is None:
        return None
    name = file_name(record.label)
    with translated(context):
        async with asyncio.timeout(STATUS_SECONDS):
            found = await connect(context).sdk.files.list(filter=f'name = "{name}"', limit=2)
    files = [file for file in found.data if file.filename == name] if found is not None else []
    if len(files) != 1:
        return None
    file = files[0]
    handle = ContinuationData(data={"file_id": file.id})  # its time of expiry comes without the provider's Date
    return Outcome(pieces=(Piece(stream=lambda start: _content(file.id, start, context), mime="video/mp4", continuation=handle),))


async def _content(file_id: str, start: int, context: Context) -> AsyncIterator[bytes]:
    """Stream a file.

    Raises:
        ValueError: for an offset above 0; the provider starts at the beginning.
    """
    from xai_sdk.proto import files_pb2, files_pb2_grpc

    if start:
        raise ValueError("the provider sends a file from its beginning only")
    stub: Any = files_pb2_grpc.FilesStub(connect(context).channel)
    with translated(context):
        async for chunk in stub.RetrieveFileContent(files_pb2.RetrieveFileContentRequest(file_id=file_id)):
            yield chunk.data

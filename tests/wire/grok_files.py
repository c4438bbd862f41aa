"""The Files service of the Grok fake: uploads in pieces, listing by name, content in pieces."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from xai_sdk.proto import files_pb2

from .grok_media import Depot, Refusal, StoredFile

__all__ = ["Files"]

_MOST_PIECE = 4 * 1024 * 1024


class Files:
    """Answers ``UploadFile``, ``ListFiles`` and ``RetrieveFileContent``."""

    def __init__(self, depot: Depot) -> None:
        self.depot = depot
        self.uploads: list[StoredFile] = []

    def UploadFile(self, requests: Iterator[Any], context: Any) -> Any:
        first = next(requests)
        if first.WhichOneof("chunk") != "init" or not first.init.name:
            raise Refusal("INVALID_ARGUMENT", "The first message must name the file.")
        data = bytearray()
        for piece in requests:
            if len(piece.data) > _MOST_PIECE:
                raise Refusal("INVALID_ARGUMENT", "A chunk is too large.")
            data += piece.data
        expires_after = first.init.expires_after if first.init.HasField("expires_after") else None
        file = self.depot.store(first.init.name, bytes(data), expires_after)
        self.uploads.append(file)
        return _message(file)

    def ListFiles(self, request: Any, context: Any) -> Any:
        wanted = re.fullmatch(r'name = "([^"]*)"', request.filter)
        if request.filter and wanted is None:
            raise Refusal("INVALID_ARGUMENT", "Invalid filter.")
        found = [file for file in self.depot.files.values() if wanted is None or file.name == wanted[1]]
        return files_pb2.ListFilesResponse(data=[_message(file) for file in found[: request.limit or 100]])

    def RetrieveFileContent(self, request: Any, context: Any) -> Iterator[Any]:
        file = self.depot.files.get(request.file_id)
        if file is None:
            raise Refusal("NOT_FOUND", f"File {request.file_id} not found.")
        return iter([files_pb2.FileContentChunk(data=file.data[at : at + 65536]) for at in range(0, len(file.data), 65536)])

    # Called by the registration of the servicer; the fake has no use for them.
    def RetrieveFile(self, request: Any, context: Any) -> Any:
        raise Refusal("UNIMPLEMENTED", "not here")

    DeleteFile = CreatePublicUrl = RevokePublicUrl = RetrieveFile


def _message(file: StoredFile) -> Any:
    made = files_pb2.File(id=file.id, filename=file.name, size=len(file.data))
    made.created_at.FromSeconds(file.created_at)
    if file.expires_at is not None:
        made.expires_at.FromSeconds(file.expires_at)
    return made

"""A backend for the tests of the command line: it makes real media, and fails in the way that a word of the prompt selects.

Each submit is appended to the file named by DEMO_SUBMITS, so that a test can count them from another process.
"""

from __future__ import annotations

import asyncio
import io
import os
import time
import zlib
from pathlib import Path

from anymedia.capabilities import load_matrix
from anymedia.errors import AuthenticationFailed, BackendUnavailable, BadBackendResponse, ContentRefused
from anymedia.hookspecs import hookimpl
from anymedia.results import ContinuationData, Failed, Job, Outcome, Piece, Running, Succeeded


@hookimpl
def capabilities():
    return load_matrix(Path(__file__).with_name("demo_capabilities.toml"))


def _note(line):
    with Path(os.environ["DEMO_SUBMITS"]).open("a") as file:
        file.write(line + "\n")


def _fail_if_requested(prompt):
    if "unsafe" in prompt:
        raise ContentRefused("the demo does not make this", reason="safety", delivery="refused")
    if "wrong key" in prompt:
        raise AuthenticationFailed("the demo does not know this key", delivery="refused")
    if "down" in prompt:
        raise BackendUnavailable("the demo is closed", delivery="refused")
    if "garbage" in prompt:
        raise BadBackendResponse("the demo answered nonsense", delivery="refused")
    if "lost" in prompt:
        raise ConnectionResetError("secret-in-an-exception")


async def _submit(context, request):
    async with context.submission():
        _note(f"{request.kind} {request.prompt}")
        if "stuck" in request.prompt:
            await asyncio.sleep(60)
        if "blocking" in request.prompt:
            time.sleep(600)  # noqa: ASYNC251 - a plugin that blocks the event loop
        _fail_if_requested(request.prompt)


def _png(prompt, size):
    import PIL.Image

    width, height = (int(edge) for edge in (size or "64x48").split("x"))
    if "undecodable" in prompt:
        return b"\x89PNG\r\n\x1a\n" + bytes(20)
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (width, height), zlib.crc32(prompt.encode()) & 0xFFFFFF).save(buffer, "PNG")
    return buffer.getvalue()


def _mp4(said, frames):
    import av
    import PIL.Image

    shade = zlib.crc32(said[0].encode()) % 256
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(frames):
            frame = av.VideoFrame.from_image(PIL.Image.new("RGB", (64, 48), (index * 7 % 256, shade, 120)))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return buffer.getvalue()


@hookimpl
async def generate_image(request, context):
    await _submit(context, request)
    earlier = request.continue_from.data["said"] if request.continue_from else []
    said = [*earlier, request.prompt]
    continuation = ContinuationData(data={"said": said})
    pieces = [Piece(data=_png(f"{request.prompt}{i}", request.size), continuation=continuation) for i in range(request.n)]
    return Outcome(pieces=tuple(pieces), cost_usd=0.03 * request.n)


@hookimpl
async def generate_video(request, context):
    await _submit(context, request)
    return Job(id="demo-1", data={"said": [request.prompt], "frames": int(8 * (request.duration or 1))}, poll_after=0.01)


@hookimpl
async def continue_video(request, context):
    await _submit(context, request)
    if request.source is not None:
        loaded = context.read(request.source)
        said, frames = [f"file of {loaded.width}x{loaded.height}"], round(8 * (loaded.seconds or 0))
    else:
        said, frames = request.continue_from.data["said"], request.continue_from.data["frames"]
    more = int(8 * (request.duration or 1))
    return Job(id="demo-2", data={"said": [*said, request.prompt], "frames": frames + more}, poll_after=0.01)


@hookimpl
async def check_job(job, context):
    if f"cancelled {job.id}" in Path(os.environ["DEMO_SUBMITS"]).read_text().splitlines():
        return Failed(error=BadBackendResponse("the demo has stopped it"))
    if any("slow" in words for words in job.data["said"]) and not os.environ.get("DEMO_HURRY"):
        return Running(progress=0.4, note="rendering", poll_after=0.05)
    data = {"said": job.data["said"], "frames": job.data["frames"]}
    piece = Piece(
        data=_mp4(job.data["said"], job.data["frames"]), continuation=ContinuationData(data=data), text=" > ".join(job.data["said"])
    )
    return Succeeded(outcome=Outcome(pieces=(piece,), continued_as="extend", cost_usd=0.2))


@hookimpl
async def cancel_job(job, context):
    _note(f"cancelled {job.id}")

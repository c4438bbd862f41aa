"""Every fault at every step of a call, and what the server and the journal say of it afterwards."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import attrs
from clocks import FastClock
from core.fake_service import FakeService
from core.routing import KEY, fake_router, fake_settings
from wire.http_server import closed_port

from anymedia.errors import MediaError
from anymedia.testing.harness import KeptStore

STATUSES = (408, 409, 425, 429, 500, 502, 503, 504, 529)
TRANSPORT = ("refused", "drop", "lost", "reset", "timeout", "truncate", "garbage")
FAULTS = (*TRANSPORT, *map(str, STATUSES))
STEPS = ("submit", "poll", "download")


@attrs.frozen(kw_only=True)
class Cell:
    """One operation, one step, one fault."""

    operation: str
    step: str
    fault: str

    def __str__(self) -> str:
        return f"{self.operation}-{self.step}-{self.fault}"


@attrs.frozen(kw_only=True)
class Seen:
    """What came of it: POSTs the server saw, the row's state and its attempts, the error's code, what is charged."""

    posts: int
    state: str
    deliveries: tuple[str, ...]
    error: str
    charged: str


OPERATIONS = ("generate_image", "inpaint", "edit_with_references", "generate_video", "continue_video")


def cells() -> Iterator[Cell]:
    for operation in OPERATIONS:
        moving = operation.endswith("video")
        for step in STEPS if moving else STEPS[:1]:
            for fault in FAULTS:
                if fault != "refused" or step == "submit":
                    yield Cell(operation=operation, step=step, fault=fault)


def expected(cell: Cell) -> tuple[str, str]:
    """Return (state, charged) as documented: see docs/architecture.md."""
    if cell.step == "submit":
        if cell.fault == "refused":
            return "failed", "no"
        return ("done", "-") if cell.fault in {"429", "503"} else ("unknown", "unknown")
    if cell.step == "download" and cell.fault in {"409", "garbage"}:
        # A link that is refused or yields no media: the work is done and paid; a resume fetches it again.
        return "collecting", "yes"
    return "done", "-"


def _arrange(service: FakeService, cell: Cell) -> None:
    server = service.files if cell.step == "download" else service.http
    on = {"submit": "POST", "poll": "GET /videos", "download": "GET"}[cell.step]
    if cell.fault.isdigit():
        times = 1 if cell.step == "submit" else 2
        server.fail("status", on=on, times=times, status=int(cell.fault))
    elif cell.fault == "timeout":
        server.fail("delay", on=on, times=1, seconds=4.0)
    elif cell.fault != "refused":
        server.fail(cell.fault, on=on, times=1 if cell.step == "submit" else 2)  # type: ignore[arg-type]


async def run_cell(cell: Cell) -> Seen:
    """Play one cell through the real router over real sockets."""
    before, os.environ["FAKE_KEY"] = os.environ.get("FAKE_KEY"), KEY
    try:
        with tempfile.TemporaryDirectory() as scratch, FakeService(looks=1) as service:
            return await _play(cell, service, Path(scratch))
    finally:
        os.environ.pop("FAKE_KEY") if before is None else os.environ.update(FAKE_KEY=before)


async def _play(cell: Cell, service: FakeService, folder: Path) -> Seen:
    store = KeptStore()
    fields = {"prompt": "a fox"} | await _inputs(cell, service, store, folder)
    posts = len([r for r in service.http.received if r.method == "POST"])
    url = f"http://127.0.0.1:{closed_port()}" if cell.fault == "refused" else service.http.url
    settings = fake_settings(url, timeout=1.5)
    settings = attrs.evolve(settings, fetch_allow=(f"127.0.0.1:{service.files.port}",))
    _arrange(service, cell)
    error: MediaError | None = None
    async with fake_router(service, settings=settings, store=store, clock=FastClock()) as router:
        router._engine.polls.rate = 1e6
        try:
            await getattr(router, cell.operation)(output=f"{folder}/out/", deadline=60, **fields)
        except MediaError as caught:
            error = caught
        row = (await router.jobs())[0]
    seen = len([r for r in service.http.received if r.method == "POST"]) - posts
    deliveries = tuple(str(a["delivery"]) for a in row.attempts)
    return Seen(
        posts=seen, state=row.state, deliveries=deliveries, error=error.code if error else "-", charged=error.charged if error else "-"
    )


async def _inputs(cell: Cell, service: FakeService, store: KeptStore, folder: Path) -> dict[str, object]:
    from PIL import Image

    if cell.operation == "continue_video":
        async with fake_router(service, store=store, clock=FastClock()) as router:
            made = await router.generate_video(prompt="first", output=f"{folder}/first/")
        return {"continue_from": made.continuation_id}
    if cell.operation in {"inpaint", "edit_with_references"}:
        source, mask = Image.new("RGB", (32, 32), "green"), Image.new("L", (32, 32), 0)
        mask.paste(255, (0, 0, 16, 32))
        source.save(folder / "source.png")
        mask.save(folder / "mask.png")
        if cell.operation == "inpaint":
            return {"source": folder / "source.png", "mask": folder / "mask.png"}
        return {"references": [folder / "source.png"]}
    return {}

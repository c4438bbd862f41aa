"""Give a copy of a result to another realm, or of what was received in place of one to its caller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from ..artifacts import Artifact
from ..errors import RequestError, UnknownContinuation
from ..files.paths import plan_output
from ..policy import Budget, Policy
from ..requests import Continuation
from ..results import MediaFile
from ..state.store import CallRecord, NewCall
from .engine import Engine, new_id
from .lease import LEASE_SECONDS
from .run_result import latest, run_status
from .save_piece import may_be_copied


async def share_run(engine: Engine, records: Sequence[CallRecord], realm: str) -> CallRecord:
    """Record the finished calls of a run as a run of another realm, which costs nothing there.

    The copy refers to the same artifacts and has continuations with the same ids; each realm deletes its own references only.

    Args:
        engine: store and artifacts.
        records: the records of the run.
        realm: the realm that receives it.

    Returns:
        The first record of the copy.

    Raises:
        RequestError: the run has no result.
    """
    done = [record for record in latest(records) if record.state == "done"]
    if not done:
        record = run_status(records)
        raise RequestError(f"{record.id} is {record.state}; only a result can be shared")
    run = new_id("job")
    copies = [await _share(engine, record, realm, run, run if len(done) == 1 else f"{run}-{record.index}") for record in done]
    return copies[0]


async def export_received(engine: Engine, records: Sequence[CallRecord], output: str | Path | None, policy: Policy) -> list[MediaFile]:
    """Copy what was received for a run and could not be interpreted to files with the suffix ``.bin``.

    Args:
        engine: store and artifacts.
        records: the records of the run.
        output: a directory, or a file named ``.bin``.
        policy: whose directories the files must lie in.

    Raises:
        RequestError: nothing was received, its files were delivered, or what was received is not media (it may hold signed links).
        InvalidRequest: the output is outside of the directories.
    """
    shown = run_status(records)
    target = plan_output(output, roots=policy.output_roots, default_stem=shown.run, suffix=".bin", only=".bin", field="$.output")
    found: dict[str, Artifact] = {}
    for record in latest(records):
        if record.state != "done":
            kept = [artifact for artifact in await engine.artifacts.find(record.id) if artifact.kind != "input"]
            raw = [artifact for artifact in kept if artifact.kind == "raw"]  # a piece was made of it
            found |= {artifact.sha256: artifact for artifact in raw or kept}
    if not found:
        raise RequestError(f"{shown.run} is {shown.state}, and nothing is kept that was not delivered")

    def suffix(stored: Path) -> str:
        if not may_be_copied(stored):
            raise RequestError("what was received is not media, or holds links; it is not copied", fix="Tell the user.")
        return ".bin"

    files = []
    for index, artifact in enumerate(found.values()):
        path = await engine.artifacts.export(artifact, target, index=index, of=len(found), suffix=suffix)
        files.append(MediaFile(path=path, mime="application/octet-stream", size=artifact.size, sha256=artifact.sha256))
    return files


async def _share(engine: Engine, record: CallRecord, realm: str, run: str, call_id: str) -> CallRecord:
    links: dict[str, Artifact] = {}
    try:
        for artifact in await engine.artifacts.find(record.id):
            links[artifact.key] = await engine.artifacts.link(artifact, call_id, artifact.kind, artifact.index)
        return await _record(engine, record, realm, run, call_id, links)
    except BaseException:
        await engine.artifacts.release(call_id)
        raise


async def _record(engine: Engine, record: CallRecord, realm: str, run: str, call_id: str, links: Mapping[str, Artifact]) -> CallRecord:
    fields: dict[str, Any] = {name: getattr(record, name) for name in ("index", "backend", "model", "operation", "request", "plan")}
    new = NewCall(
        id=call_id,
        run=run,
        target={**record.target, "inputs": [], "sent": None, "protection": None, "earlier_files": []},  # never to be sent
        idempotency_key=new_id("key"),
        session=engine.session,
        quote_usd=(0.0, 0.0),
        realm=realm,
        account=record.account,
        **fields,
    )
    result = dict(record.result or {})
    if record.target["output"] is None:  # its files are artifacts
        pieces = {link.index: link for link in links.values() if link.kind == "piece"}
        result["files"] = [
            {**file, "path": str(await engine.artifacts.keep(pieces[index], Path(file["path"]).suffix))} if index in pieces else file
            for index, file in enumerate(result["files"])
        ]
    keys = {key: link.key for key, link in links.items()}
    continuations = [
        attrs.evolve(found, files=tuple([attrs.evolve(file, artifact=keys.get(file.artifact, "")) for file in found.files]))
        for found in await _continuations(engine, record)
    ]
    opened = await engine.store.open_call(new, Budget(), owner=engine.owner, lease_seconds=LEASE_SECONDS)
    for state in ("submitting", "collecting"):
        await engine.store.advance(opened.lease, state)
    return await engine.store.advance(opened.lease, "done", result=result, cost_usd=0.0, continuations=continuations)


async def _continuations(engine: Engine, record: CallRecord) -> list[Continuation]:
    """Return the continuations of a call's files that have not expired."""
    found = []
    for file in (record.result or {}).get("files", ()):
        try:
            if file.get("continuation_id"):
                found.append(await engine.store.scoped(record.realm).load_continuation(file["continuation_id"]))
        except UnknownContinuation:
            continue
    return found

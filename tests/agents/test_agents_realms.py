"""Realms of agents: a confined agent can neither use nor learn what belongs to another one, over MCP too."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from core.routing import fake_registry
from mcp_clients import connect
from starlette.requests import Request

from anymedia import Router, SqliteStore
from anymedia.agents import MediaTool, generate_media, media_job
from anymedia.agents.mcp_server import MediaServer, serve_http
from anymedia.errors import RequestError
from anymedia.settings import Settings
from anymedia.testing.harness import FastClock

if TYPE_CHECKING:
    from mcp import Client

pytestmark = pytest.mark.anyio


@pytest.fixture
def folders(work: Path) -> tuple[Path, Path]:
    for name in ("one", "two"):
        (work / name).mkdir()
    return work / "one", work / "two"


async def everything_about(tool: MediaTool, made: dict[str, Any], job_id: str) -> list[dict[str, Any]]:
    """Return what a tool says about another one's job and continuation."""
    answers = [await tool.job(job_id, action) for action in ("status", "wait", "cancel")]
    for handle in (made["continuation_id"], made["continuation_id"][:-1] + "x"):
        answers.append(await tool.generate({"prompt": "darker", "continuation_id": handle, "output_path": "got.png"}))
        answers.append(await tool.plan({"prompt": "darker", "continuation_id": handle, "output_path": "got.png"}))
    return answers


async def test_agent_can_neither_use_nor_learn_the_ids_of_other_roots(router: Router, folders: tuple[Path, Path]) -> None:
    one, two = (MediaTool(router, roots=[folder], base=folder) for folder in folders)
    made = await one.generate({"prompt": "a fox", "output_path": "fox.png"})
    mine = await router.generate_image(prompt="the user's own", output=folders[0] / "own.png")
    for job_id in (made["job_id"], mine.job_id, "job_000000000000", "last"):
        answers = await everything_about(two, made, job_id)
        assert {answer["success"] for answer in answers} == {False}
        said = json.dumps(answers).replace(repr(job_id), "").replace(repr(made["continuation_id"]), "")
        assert not [known for known in (made["job_id"], made["continuation_id"], mine.job_id) if known in said]
    assert (await two.jobs())["jobs"] == []
    assert [job["job_id"] for job in (await one.jobs())["jobs"]] == [made["job_id"]]
    assert (await one.job("last"))["files"] == made["files"]


async def test_realm_follows_the_resolved_roots_unless_it_is_named(router: Router, work: Path, folders: tuple[Path, Path]) -> None:
    one, two = folders
    (work / "link").symlink_to(one)

    def realm(*roots: Path, **named: str) -> str | None:
        return MediaTool(router, roots=roots, **named).router.realm

    assert realm(one) == realm(work / "link") == realm(one, one) != realm(two)
    assert realm(one, two) == realm(two, one)
    assert realm(one, realm="kept") == realm(two, realm="kept") == "kept"
    assert MediaTool(router.scoped(realm="tenant"), roots=[one]).router.realm == "tenant"
    with pytest.raises(RequestError):
        MediaTool(router.scoped(realm="tenant"), roots=[one], realm="another")


async def test_functions_find_a_job_with_its_directories_or_its_realm(router: Router, folders: tuple[Path, Path]) -> None:
    here = {"router": router, "agent_cwd": folders[0]}
    made = await generate_media(prompt="a fox", output_path="fox.png", **here)
    assert (await media_job(made["job_id"], **here))["success"]
    assert (await media_job(made["job_id"], router=router))["error"]["code"] == "unknown_job"
    named = await generate_media(prompt="a fox", output_path="fox2.png", realm="agents", **here)
    assert (await media_job(named["job_id"], router=router, realm="agents"))["success"]


@pytest.fixture
async def url(settings: Settings, work: Path) -> AsyncIterator[str]:
    """A server over HTTP on the loopback."""
    store = SqliteStore(":memory:")
    instances = Router(settings=settings, registry=fake_registry(), store=store).instances
    server = MediaServer(
        work,
        make_router=lambda tell: Router(settings=settings, registry=fake_registry(), store=store, clock=FastClock(), on_progress=tell),
        instances=instances,
    )
    found: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve_http(server, port=0, ready=found.set_result))
    try:
        yield await found
    finally:
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving


async def test_two_http_sessions_are_separate_realms(url: str) -> None:
    async with connect(url) as one, connect(url) as two:

        async def ask(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
            found = (await client.call_tool(tool, arguments)).structured_content
            assert found is not None
            return found

        made = await ask(one, "generate_media", prompt="a fox", output_path="fox.png")
        for tool in ("media_job", "media_cancel"):
            assert (await ask(two, tool, job_id=made["job_id"]))["error"]["code"] == "unknown_job"
        again = {"prompt": "darker", "continuation_id": made["continuation_id"], "output_path": "got.png"}
        assert (await ask(two, "generate_media", **again))["error"]["code"] == "unknown_continuation"
        assert (await ask(two, "media_jobs"))["jobs"] == []
        assert made["job_id"] not in json.dumps(await ask(two, "media_job", job_id=made["job_id"][:-1] + "x"))
        assert (await ask(one, "media_job", job_id=made["job_id"]))["files"] == made["files"]
        assert (await ask(one, "generate_media", **again))["success"]


def request(client_id: str | None = None, session: str | None = None, **token: Any) -> Request:
    from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
    from mcp.server.auth.provider import AccessToken

    headers = [] if session is None else [(b"mcp-session-id", session.encode())]
    scope: dict[str, Any] = {"type": "http", "headers": headers}
    if client_id is not None:
        scope["user"] = AuthenticatedUser(AccessToken(token="t", client_id=client_id, scopes=[], **token))
    return Request(scope)


def test_realm_of_an_http_client_is_its_identity_or_else_its_session(work: Path) -> None:
    server, again = MediaServer(work, instances={}), MediaServer(work, instances={})
    realms = [
        server.realm(),
        server.realm(request("alice")),
        server.realm(request("alice", subject="a")),
        server.realm(request("bob")),
        server.realm(request(session="s1")),
        server.realm(request(session="s2")),
    ]
    assert len(set(realms)) == len(realms)
    assert server.realm(request("alice", session="s1")) == server.realm(request("alice", session="s2")) == realms[1]
    assert (again.realm(), again.realm(request("alice"))) == (realms[0], realms[1])  # as after a restart
    assert MediaServer(work, instances={}, realm="kept").realm() == "kept"
    with pytest.raises(RequestError, match="no session"):
        server.realm(request())

"""What was received and could not be interpreted: a confined caller copies it into its directory, without links."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from core.fake_service import FakeService
from core.routing import fake_router
from core.test_plugin_data import answering
from mcp_clients import connect

from anymedia import Router, SqliteStore
from anymedia.agents.mcp_server import MediaServer
from anymedia.errors import BadBackendResponse, RequestError
from anymedia.settings import Settings

pytestmark = pytest.mark.anyio
#: The start of a WebP, and nothing that could be decoded.
DAMAGED = b"RIFF\xff\xff\0\0WEBPVP8 \xf0\xff\0\0" + bytes(range(64))
LINK = "https://bucket.example/a.png?X-Amz-Signature=CANARY"


def received(data: bytes) -> Callable[[Any], Any]:
    def change(outcome: Any) -> Any:
        return attrs.evolve(outcome, pieces=tuple(attrs.evolve(piece, data=data, mime=None) for piece in outcome.pieces))

    return change


def server_that_receives(data: bytes, settings: Settings, root: Path) -> MediaServer:
    registry = answering("generate_image", received(data))
    store = SqliteStore(root.parent / "journal.db")
    return MediaServer(
        root,
        make_router=lambda tell: Router(settings=settings, registry=registry, store=store, on_progress=tell),
        instances=Router(settings=settings, registry=registry, store=SqliteStore(":memory:")).instances,
    )


@pytest.mark.usefixtures("service")
async def test_kept_bytes_are_copied_into_the_root_of_a_confined_host(settings: Settings, work: Path) -> None:
    server = server_that_receives(DAMAGED, settings, work)
    async with server.closing(), connect(server.server) as client:
        answer = (await client.call_tool("generate_media", {"prompt": "a fox", "output_path": "fox.png"})).structured_content
        error = answer["error"]
        assert (error["code"], error["charged"]) == ("bad_backend_response", "yes")
        call = f"media_job(job_id={error['job_id']!r}, action='export', output_path='./')"
        assert call in error["fix"]
        assert "artifacts" not in json.dumps(answer)  # the path is the local user's
        asked = {"job_id": error["job_id"], "action": "export", "output_path": "./"}
        made = (await client.call_tool("media_job", asked)).structured_content
        assert [warning["code"] for warning in made["warnings"]] == ["not_media"]
        (file,) = made["files"]
        assert Path(file["path"]).parent == work
        assert (Path(file["path"]).suffix, Path(file["path"]).read_bytes()) == (".bin", DAMAGED)
        for place in ("../outside.bin", "/etc/", "fox.png", "fox.py"):
            refused = (await client.call_tool("media_job", asked | {"output_path": place})).structured_content
            assert refused["error"]["code"] == "invalid_request", place
        assert [path.suffix for path in work.iterdir() if path.suffix != ".png"] == [".bin"]


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize(
    "data",
    [
        json.dumps({"picture": LINK.replace("/", "\\/")}).encode(),
        f"see {LINK}".encode(),
        f"<html><a href='{LINK}'>".encode(),
        DAMAGED + LINK.encode(),
        DAMAGED + b' xmlns:x="http://ns.example/x/" ' + LINK.encode(),
        DAMAGED + urllib.parse.quote(LINK, safe="").encode(),
        DAMAGED + LINK.replace("?", "\\u003f").encode(),
        DAMAGED + LINK.replace("?", "/" + 9000 * "a" + "?").encode(),
        LINK.encode("utf-16"),
        b"\x01\x02 https%3A%2F%2Fbucket.example%2Fa.png",
    ],
    ids=["json", "text", "page", "damaged-media", "second-link", "encoded-query", "escaped-query", "long-path", "utf-16", "encoded"],
)
async def test_text_with_a_signed_link_is_not_copied(data: bytes, settings: Settings, work: Path) -> None:
    server = server_that_receives(data, settings, work)
    before = {*work.iterdir()}
    async with server.closing(), connect(server.server) as client:
        answer = (await client.call_tool("generate_media", {"prompt": "a fox", "output_path": "fox.png"})).structured_content
        assert "export" not in answer["error"]["fix"]
        asked = {"job_id": answer["error"]["job_id"], "action": "export"}
        refused = (await client.call_tool("media_job", asked)).structured_content
        assert not refused["success"]
        assert "CANARY" not in json.dumps([answer, refused])
        assert {*work.iterdir()} == before


async def test_other_realm_does_not_find_what_was_received(service: FakeService, work: Path) -> None:
    async with fake_router(service, registry=answering("generate_image", received(DAMAGED))) as router:
        with pytest.raises(BadBackendResponse) as caught:
            await router.scoped(realm="one").generate_image(prompt="a fox")
        job = caught.value.job_id or ""
        with pytest.raises(RequestError, match="no job"):
            await router.scoped(realm="two").export(job, work)
        (file,) = await router.scoped(realm="one").export(job, work)
        assert file.path.read_bytes() == DAMAGED


async def test_result_that_was_delivered_is_not_copied(service: FakeService, work: Path) -> None:
    async with fake_router(service) as router:
        result = await router.generate_image(prompt="a fox")
        with pytest.raises(RequestError, match="is done"):
            await router.export(result.job_id, work)

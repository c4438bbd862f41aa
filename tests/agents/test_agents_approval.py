"""The MCP server asks the person at the host about money, never the agent; the official client, in both forms of the protocol."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from mcp_clients import connect, connect_stdio
from wire.openai_server import KEY, OpenAIServer

from anymedia import Router
from anymedia.agents.mcp_server import MediaServer
from anymedia.testing.harness import FastClock

if TYPE_CHECKING:
    from mcp import Client

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]
FOX = {"prompt": "a fox", "backend": "openai", "output_path": "fox.png"}


class Person:
    """The person at the host, who answers what is asked."""

    def __init__(self, action: Any, content: dict[str, Any] | None = None) -> None:
        self.action, self.content = action, content
        self.asked: list[str] = []

    async def __call__(self, context: Any, params: Any) -> Any:
        import mcp_types

        self.asked.append(params.message)
        return mcp_types.ElicitResult(action=self.action, content=self.content)


@pytest.fixture
def fake() -> Iterator[OpenAIServer]:
    with OpenAIServer() as server:
        yield server


@pytest.fixture
def env(tmp_path: Path, fake: OpenAIServer, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    (tmp_path / "root").mkdir()
    (tmp_path / "config.toml").write_text("[policy]\nask_above_usd = 0.0001\n")
    own = {
        "OPENAI_API_KEY": KEY,
        "OPENAI_BASE_URL": fake.base_url,
        "ANYMEDIA_CONFIG": str(tmp_path / "config.toml"),
        "ANYMEDIA_STATE": str(tmp_path / "state"),
        "HOME": str(tmp_path),
    }
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    return own


def in_process(folder: Path, **more: Any) -> tuple[MediaServer, Client]:
    server = MediaServer(folder / "root", make_router=lambda tell: Router(clock=FastClock(), on_progress=tell))
    return server, connect(server.server, **more)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize(
    ("person", "paid"),
    [
        (Person("accept", {"approve": True}), True),
        (Person("accept", {"approve": False}), False),
        (Person("accept", {}), False),
        (Person("accept", {"approve": "true"}), False),
        (Person("decline"), False),
        (Person("cancel"), False),
        (None, False),
    ],
    ids=["approved", "no", "empty", "a text", "declined", "cancelled", "no elicitation"],
)
async def test_person_at_the_host_decides(
    mode: str, person: Person | None, paid: bool, tmp_path: Path, env: dict[str, str], fake: OpenAIServer
) -> None:
    if person is not None:
        person.asked.clear()
    server, client = in_process(tmp_path, mode=mode, elicitation_callback=person)
    async with server.closing(), client:
        answer = (await client.call_tool("generate_media", FOX)).structured_content
        assert answer["success"] is paid, answer
        assert fake.count("POST") == int(paid)
        if person is not None:
            assert len(person.asked) == 1
            assert "USD: a fox" in person.asked[0]
        if not paid:
            assert answer["error"]["code"] == "not_approved"
            assert "ask_above" not in answer["error"]["fix"]  # the agent is not told how to avoid the question
            assert person is not None or "no elicitation" in answer["error"]["message"]
            assert not answer["error"]["retry"]


async def test_one_question_covers_all_calls_of_a_request(tmp_path: Path, env: dict[str, str], fake: OpenAIServer) -> None:
    person = Person("accept", {"approve": True})
    server, client = in_process(tmp_path, elicitation_callback=person)
    async with server.closing(), client:
        given = {"prompts": ["a fox", "a hare"], "backend": "openai", "output_path": "out/"}
        answer = (await client.call_tool("generate_media", given)).structured_content
    assert answer["success"], answer
    assert len(person.asked) == 1
    assert "a fox" in person.asked[0]
    assert "a hare" in person.asked[0]
    assert fake.count("POST") == 2


async def test_free_backend_and_plan_need_no_approval(tmp_path: Path, env: dict[str, str], fake: OpenAIServer) -> None:
    server, client = in_process(tmp_path, elicitation_callback=(person := Person("decline")))
    async with server.closing(), client:
        plan = (await client.call_tool("plan_media", FOX)).structured_content
        free = (await client.call_tool("generate_media", FOX | {"backend": "local", "prompt": "a boat on a lake"})).structured_content
    assert plan["success"]
    assert free["success"], free
    assert person.asked == []


@pytest.mark.parametrize("argument", ["ask_above_usd", "approved", "approve"])
async def test_arguments_of_an_agent_do_not_approve(argument: str, tmp_path: Path, env: dict[str, str], fake: OpenAIServer) -> None:
    server, client = in_process(tmp_path, elicitation_callback=Person("decline"))
    async with server.closing(), client:
        answer = (await client.call_tool("generate_media", FOX | {argument: 1000})).structured_content
    assert not answer["success"]
    assert fake.count("POST") == 0


@pytest.mark.exhaustive
@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize("approves", [True, None])
async def test_process_of_its_own_over_stdio_asks_the_host(
    approves: bool | None, mode: str, tmp_path: Path, env: dict[str, str], fake: OpenAIServer
) -> None:
    kept = {k: v for k, v in os.environ.items() if k in {"PATH", "LANG", "LC_ALL", "TMPDIR"}}
    words = ["-m", "anymedia", "mcp", "--root", str(tmp_path / "root")]
    person = None if approves is None else Person("accept", {"approve": approves})
    async with connect_stdio(words, kept | env, tmp_path, mode=mode, elicitation_callback=person) as client:
        answer = (await client.call_tool("generate_media", FOX)).structured_content
    assert answer["success"] is bool(approves), answer
    assert fake.count("POST") == int(bool(approves))

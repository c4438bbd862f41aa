"""Each example of the hook reference is a module that works: loaded as a plugin, and called through a Router over HTTP."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import importlib
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tools.docs.pages import hook_example
from wire.forms import read_form
from wire.http_server import HttpServer, Received, Reply

from anymedia import Image, Mask, Reference, Router, SqliteStore
from anymedia.context import Context
from anymedia.credentials import Secret
from anymedia.execution.engine import Clients
from anymedia.hookspecs import HOOKS, ListedModel
from anymedia.plugins.registry import Registry, discover
from anymedia.requests import KINDS
from anymedia.results import Result
from anymedia.settings import InstanceSettings, Settings
from anymedia.testing import half_mask, picture, sound, video
from anymedia.testing.harness import FastClock

KEY = "acme-key-0123456789"
MATRIX = """
schema = 1
checked = 2026-11-21
hosts = ["api.acme.example"]
credentials = [{ names = { api_key = ["ACME_KEY"] } }]
"""
#: Media -> operation -> what Acme supports.
OPERATIONS: dict[str, dict[str, str]] = {
    "image": {
        "generate_image": 'size = { one_of = ["256x256", "512x512"] }\nseed = { min = 0, max = 100, step = 1 }',
        "inpaint": 'source = {}\nmask = { format = "black" }',
        "transform.upscale": "inputs = { image = {} }\noptions = { scale = { one_of = [2, 4] } }",
        "edit_with_references": "references = { count = [1, 2], roles = { source = { count = [0, 1] }, style = { count = [0, 2] } } }",
    },
    "video": {
        "generate_video": "duration = { min = 2, max = 8, step = 2, default = 2 }",
        "continue_video": 'continue_from = { ways = ["extend"] }',
    },
    "audio": {"generate_audio": 'voice = { one_of = ["ann", "bob"] }'},
}


def matrix(hooks: Sequence[str]) -> str:
    """Return a capability file that claims the operations among some hooks."""
    text = MATRIX
    for media, operations in OPERATIONS.items():
        if claimed := [f"[models.{name}]\n{body}\n" for name, body in operations.items() if name.partition(".")[0] in hooks]:
            text += f'[[models]]\nid = "acme-{media}"\nmedia = "{media}"\ncontinuation_prefix = "acme_{media[:3]}"\n' + "".join(claimed)
    return text


#: Hook -> the hooks whose examples belong in the same module for it to run.
NEEDS = {
    "generate_video": ("check_job",),
    "continue_video": ("generate_video", "check_job"),
    "check_job": ("generate_video",),
    "cancel_job": ("generate_video", "check_job"),
    "find_submission": ("generate_video", "check_job"),
}


class Acme:
    """The service of the examples: JSON and multipart over HTTP; jobs are done at the second status check."""

    def __init__(self) -> None:
        self.http = HttpServer(self.handle)
        self.sent: list[dict[str, Any]] = []
        self.cancelled: list[str] = []
        self.checks: dict[str, int] = {}

    def handle(self, received: Received) -> Reply:
        if received.path.startswith("/files/"):
            return Reply(body=video(2.0), headers={"content-type": "video/mp4"})
        if received.headers.get("x-key") != KEY:
            return Reply.of_json({"error": {"code": "bad_key", "message": "bad key"}}, status=401)
        if received.method == "POST":
            return self.submit(received)
        if received.path == "/models":
            return Reply.of_json({"models": [{"id": "acme-image", "last_day": "2027-05-01"}, {"id": "acme-video", "last_day": None}]})
        if received.path == "/videos":
            return Reply.of_json({"videos": [{"id": str(i), "label": asked.get("label")} for i, asked in enumerate(self.sent)]})
        job = received.path.removeprefix("/videos/")
        if received.method == "DELETE":
            self.cancelled.append(job)
            return Reply(status=204)
        return self.status(job)

    def submit(self, received: Received) -> Reply:
        kind = received.headers["content-type"]
        if kind.startswith("multipart/"):
            form = read_form(kind, received.body)
            asked: dict[str, Any] = {**form.texts(), **{p.name: p.data for p in form.parts if p.filename is not None}}
        else:
            asked = received.json()
        self.sent.append({"path": received.path, **asked})
        answer = {"id": str(len(self.sent) - 1)}
        if received.path == "/speech":
            answer["audio"] = base64.b64encode(sound()).decode()
        elif received.path != "/videos":
            width, height = map(int, asked.get("size", "256x256").split("x"))
            answer["image"] = base64.b64encode(picture(width, height, 3)).decode()
        return Reply.of_json(answer)

    def status(self, job: str) -> Reply:
        if not job.isdigit() or int(job) >= len(self.sent):
            return Reply.of_json({"error": {"code": "not_found", "message": "no such video"}}, status=404)
        self.checks[job] = self.checks.get(job, 0) + 1
        if self.checks[job] < 2:
            return Reply.of_json({"status": "running", "progress": 0.5})
        done = {"status": "done", "url": f"{self.http.url}/files/{job}.mp4", "extends": self.sent[int(job)].get("extends")}
        return Reply.of_json(done)


@pytest.fixture
def acme() -> Iterator[Acme]:
    service = Acme()
    with service.http:
        yield service


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return a function that installs the examples of some hooks as one plugin and discovers it."""

    def put(*hooks: str) -> Registry:
        package = tmp_path / "acme_media"
        package.mkdir()
        (package / "__init__.py").write_text("", "utf-8")
        (package / "capabilities.toml").write_text(matrix(hooks), "utf-8")
        (package / "plugin.py").write_text("\n\n".join(hook_example(name) for name in hooks), "utf-8")
        info = tmp_path / "acme_media-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-media\nVersion: 1.0\n", "utf-8")
        (info / "entry_points.txt").write_text("[anymedia]\nacme = acme_media.plugin\n", "utf-8")
        monkeypatch.syspath_prepend(str(tmp_path))
        importlib.invalidate_caches()
        registry = discover()
        assert "acme" in registry.plugins, registry.broken
        return registry

    yield put
    for name in [name for name in sys.modules if name.partition(".")[0] == "acme_media"]:
        del sys.modules[name]


@contextlib.asynccontextmanager
async def routed(acme: Acme, registry: Registry, tmp_path: Path) -> AsyncIterator[Router]:
    own = InstanceSettings(name="acme", plugin="acme", base_url=acme.http.url)
    settings = Settings(instances={"acme": own}, fetch_allow=(f"127.0.0.1:{acme.http.port}",), state_dir=tmp_path / "state")
    async with Router(store=SqliteStore(":memory:"), settings=settings, registry=registry, clock=FastClock()) as router:
        yield router


async def _make(router: Router, operation: str, output: Path, **fields: Any) -> Result:
    prompt = {} if operation == "transform" else {"prompt": "a red fox in snow"}
    made: Result = await router.execute(KINDS[operation](**prompt, **fields), backend="acme", output=f"{output}/")  # type: ignore[index]
    return made


#: Hook -> the fields of a request for it.
FIELDS: dict[str, dict[str, Any]] = {
    "generate_image": {"size": "512x512", "seed": 7},
    "inpaint": {"source": Image(data=picture(256, 256)), "mask": Mask(image=Image(data=half_mask(256, 256)))},
    "edit_with_references": {"references": (Reference(image=Image(data=picture(256, 256)), role="style", description="the lines"),)},
    "generate_video": {"duration": 4.0},
    "generate_audio": {"voice": "bob"},
    "transform": {"task": "upscale", "inputs": {"image": Image(data=picture(256, 256))}, "options": {"scale": 4}},
}


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_KEY", KEY)


@pytest.mark.parametrize("hook", FIELDS)
def test_operation_example_submits_once_and_returns_media(hook: str, acme: Acme, install: Any, tmp_path: Path) -> None:
    registry = install("capabilities", hook, *NEEDS.get(hook, ()))

    async def go() -> Result:
        async with routed(acme, registry, tmp_path) as router:
            return await _make(router, hook, tmp_path / "out", **FIELDS[hook])

    result = asyncio.run(go())
    assert result.path.stat().st_size > 0
    (sent,) = acme.sent
    assert hook == "transform" or "a red fox in snow" in {sent.get("prompt"), sent.get("text")}
    expected = {"generate_image": ("seed", 7), "generate_video": ("seconds", 4), "generate_audio": ("voice", "bob")}
    name, value = expected.get(
        hook, ("path", {"inpaint": "/edits", "edit_with_references": "/compositions", "transform": "/upscale"}.get(hook))
    )
    assert sent[name] == value


def test_edit_examples_send_the_bytes_of_their_inputs(acme: Acme, install: Any, tmp_path: Path) -> None:
    registry = install("capabilities", "inpaint", "edit_with_references")

    async def go() -> None:
        async with routed(acme, registry, tmp_path) as router:
            for hook in ("inpaint", "edit_with_references"):
                await _make(router, hook, tmp_path / "out", **FIELDS[hook])

    asyncio.run(go())
    edited, composed = acme.sent
    assert edited["image"].startswith(b"\x89PNG")
    assert edited["mask"].startswith(b"\x89PNG")
    (image,) = composed["images"]
    assert (image["role"], image["about"]) == ("style", "the lines")
    assert base64.b64decode(image["data"]).startswith(b"\x89PNG")


def test_video_examples_continue_an_earlier_video(acme: Acme, install: Any, tmp_path: Path) -> None:
    registry = install("capabilities", "continue_video", *NEEDS["continue_video"])

    async def go() -> Result:
        async with routed(acme, registry, tmp_path) as router:
            first = await _make(router, "generate_video", tmp_path / "out")
            return await _make(router, "continue_video", tmp_path / "out", continue_from=first.continuation_id)

    result = asyncio.run(go())
    assert result.continued_as == "extend"
    assert acme.sent[1]["extends"] == "0"
    assert acme.checks == {"0": 2, "1": 2}


def test_cancel_example_asks_the_service_once(acme: Acme, install: Any, tmp_path: Path) -> None:
    registry = install("capabilities", "cancel_job", *NEEDS["cancel_job"])

    async def go() -> str:
        async with routed(acme, registry, tmp_path) as router:
            run = await router.submit(KINDS["generate_video"](prompt="a red fox"), backend="acme", output=f"{tmp_path}/")
            return (await router.cancel(run.id)).state

    assert asyncio.run(go()) == "cancelled"
    assert acme.cancelled == ["0"]


def test_find_submission_example_finds_a_video_whose_answer_was_lost(acme: Acme, install: Any, tmp_path: Path) -> None:
    registry = install("capabilities", "find_submission", *NEEDS["find_submission"])
    acme.http.fail("lost", on="POST /videos")

    async def go() -> Result:
        async with routed(acme, registry, tmp_path) as router:
            return await _make(router, "generate_video", tmp_path / "out")

    assert asyncio.run(go()).path.stat().st_size > 0
    assert len(acme.sent) == 1


def test_list_models_example_returns_the_listed_models(acme: Acme, install: Any) -> None:
    registry = install("capabilities", "generate_image", "list_models")
    clients, secrets = Clients(), {"api_key": Secret(KEY)}
    own = {"settings": {"base_url": acme.http.url}, "secrets": secrets}
    context = Context(backend="acme", clients=lambda name, factory: clients.get("acme", "digest", name, factory), **own)  # type: ignore[arg-type]

    async def go() -> tuple[ListedModel, ...]:
        found: tuple[ListedModel, ...] = await registry.call("acme", "list_models", context=context)
        await clients.aclose()
        return found

    assert asyncio.run(go()) == (ListedModel(id="acme-image", retires="2027-05-01"), ListedModel(id="acme-video"))


@pytest.mark.parametrize("hook", HOOKS)
def test_each_hook_has_an_example_and_documents_its_parameters(hook: str) -> None:
    example = hook_example(hook)
    compile(example, hook, "exec")
    assert f"def {hook}(" in example
    text = getattr(HOOKS[hook], hook).__doc__
    assert "        Returns:\n" in text
    assert "        Raises:\n" in text
    names = [
        name for name in ("request", "job", "record", "context") if f"{name}: " in example.partition(f"def {hook}(")[2].partition(")")[0]
    ]
    assert [name for name in names if f"            {name}: " not in text] == []

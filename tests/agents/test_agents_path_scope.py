"""Directories named by a call narrow the allowed ones and are as untrusted as any other name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from core.fake_service import FakeService, mp4, png
from core.routing import fake_registry

from anymedia import Policy, Router, SqliteStore
from anymedia.agents import MediaTool, generate_media
from anymedia.settings import Settings

pytestmark = pytest.mark.anyio
NARROWED: list[dict[str, Any]] = [{"agent_cwd": "sub"}, {"allowed_paths": ["sub"], "output_path": "sub/w.mp4"}]


def swap(folder: Path, outside: Path) -> Path:
    """Put a link to the outside in a folder's place, and return where the folder is now."""
    moved = folder.with_name("moved")
    folder.rename(moved)
    folder.symlink_to(outside)
    return moved


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    found = tmp_path / "outside"
    found.mkdir()
    return found


@pytest.mark.parametrize("narrowed", NARROWED, ids=["agent_cwd", "allowed_paths"])
async def test_narrowed_directory_replaced_by_a_link_writes_nothing_outside(
    tool: MediaTool, service: FakeService, work: Path, outside: Path, narrowed: dict[str, Any]
) -> None:
    (work / "sub").mkdir()
    service.looks = 10**6
    job = await tool.generate({"mode": "video", "prompt": "waves", "output_path": "w.mp4", "wait": False, **narrowed})
    assert job["success"], job
    moved = swap(work / "sub", outside)
    service.jobs["vid-1"]["left"] = 0
    error = (await tool.job(job["job_id"], "wait", 30))["error"]
    assert (error["code"], error["charged"]) == ("invalid_request", "yes")
    assert "symbolic link" in error["message"]
    assert list(outside.iterdir()) == []
    (work / "sub").unlink()
    moved.rename(work / "sub")
    done = await tool.job(job["job_id"], "wait", 30)  # nothing that was paid for is lost by that
    assert done["success"], done
    assert (work / "sub/w.mp4").read_bytes() == mp4()


async def test_narrowed_directory_replaced_by_a_link_reads_nothing_outside(
    settings: Settings, service: FakeService, work: Path, outside: Path
) -> None:
    (work / "sub").mkdir()
    for folder in (work / "sub", outside):
        (folder / "photo.png").write_bytes(png())

    def meanwhile(_plan: object) -> bool:
        swap(work / "sub", outside)
        return True

    policy = Policy(on_quote=meanwhile)
    async with Router(settings=settings, registry=fake_registry(), store=SqliteStore(":memory:"), policy=policy) as router:
        error = (await MediaTool(router).generate({"prompt": "x", "input_images": ["photo.png"], "agent_cwd": "sub"}))["error"]
    assert error["code"] == "invalid_request"
    assert "symbolic link" in error["message"]
    assert service.submits == []


async def test_narrowed_directory_limits_every_path(tool: MediaTool, work: Path, service: FakeService) -> None:
    (work / "sub").mkdir()
    (work / "sub/photo.png").write_bytes(png())
    made = await tool.generate(prompt="x", agent_cwd="sub", input_images=["photo.png", {"path": str(work / "sub/photo.png")}])
    assert Path(made["files"][0]["path"]).parent == work / "sub"
    outer = str(work / "photo.png")
    wrong: list[dict[str, Any]] = [
        {"agent_cwd": "sub", "input_images": [outer]},
        {"agent_cwd": "sub", "input_images": [{"path": outer}]},
        {"agent_cwd": "sub", "input_images": ["../photo.png"]},
        {"agent_cwd": "sub", "style_image": outer},
        {"agent_cwd": "sub", "input_images": ["photo.png"], "mask": str(work / "mask.png")},
        {"agent_cwd": "sub", "mode": "video", "video_reference_images": [outer]},
        {"agent_cwd": "sub", "output_path": str(work / "x.png")},
        {"agent_cwd": "sub", "output_path": "../x.png"},
        {"agent_cwd": "sub", "storage_path": str(work)},
        {"agent_cwd": "sub", "output_path": f"{work}/sub-x.png"},
        {"allowed_paths": ["sub"]},
        {"allowed_paths": ["sub"], "output_path": "x.png"},
    ]
    for asked in wrong:
        error = (await tool.generate({"prompt": "x", **asked}))["error"]
        assert (error["code"], error["charged"]) == ("invalid_request", "no"), asked
    assert len(service.submits) == 1


async def test_narrowed_directory_named_by_an_inner_link_is_allowed(tool: MediaTool, work: Path) -> None:
    (work / "real").mkdir()
    (work / "link").symlink_to(work / "real")
    made = await tool.generate(prompt="x", agent_cwd="link", output_path="x.png")
    assert made["success"], made
    assert (work / "real/x.png").exists()


async def test_narrowed_directory_that_does_not_exist_yet_is_allowed(tool: MediaTool, work: Path) -> None:
    made = await tool.generate(prompt="x", agent_cwd="new/er", output_path="x.png")
    assert made["success"], made
    assert (work / "new/er/x.png").exists()


async def test_relative_directories_from_code_start_at_the_working_directory(tool: MediaTool, work: Path, outside: Path) -> None:
    other = MediaTool(tool.router, roots=["../outside"], base="../outside")
    made = await other.generate(prompt="x", output_path="x.png")
    assert made["success"], made
    assert Path(made["files"][0]["path"]) == outside / "x.png"


@pytest.mark.parametrize("wanting", [False, True], ids=["both roots", "input roots alone"])
async def test_input_and_output_roots_of_the_policy_are_separate(
    settings: Settings, service: FakeService, work: Path, outside: Path, wanting: bool
) -> None:
    (outside / "in.png").write_bytes(png())
    (outside / "pictures").mkdir()
    (outside / "pictures/in.png").write_bytes(png())
    (work / "out").mkdir()
    policy = Policy(input_roots=(outside,), output_roots=None if wanting else (work / "out",))
    async with Router(settings=settings, registry=fake_registry(), store=SqliteStore(":memory:"), policy=policy) as router:
        tool = MediaTool(router)
        made = await tool.generate(prompt="x", input_images=[str(outside / "in.png")], output_path=str(work / "out/x.png"))
        assert made["success"], made
        narrowed = {"allowed_paths": [str(outside / "pictures"), str(work / "out")], "output_path": str(work / "out/y.png")}
        made = await tool.generate({"prompt": "x", "input_images": [str(outside / "pictures/in.png")], **narrowed})
        assert made["success"], made
        wrong: list[dict[str, Any]] = [
            {"input_images": [str(work / "out/x.png")]},
            {"input_images": ["photo.png"]},
            {"output_path": str(outside / "x.png")},
            {"input_images": [str(outside / "in.png")], **narrowed, "output_path": str(work / "out/z.png")},
        ]
        for asked in wrong:
            whole = {"prompt": "x", "output_path": str(work / "out/w.png"), **asked}
            for answer in (await tool.generate(whole), await generate_media(whole, router=router, agent_cwd=work)):
                assert answer["error"]["code"] == "invalid_request", asked
    assert len(service.submits) == 2


@pytest.mark.parametrize("given", ["str", "path"])
async def test_single_directory_instead_of_a_list_is_accepted(tool: MediaTool, work: Path, outside: Path, given: str) -> None:
    """Taken apart into its characters it would be, among others, the root of all."""
    one: Any = str(work) if given == "str" else work
    for asked in ({"output_path": str(outside / "x.png")}, {"input_images": [str(outside / "in.png")]}):
        error = (await generate_media({"prompt": "x", **asked}, router=tool.router, allowed_paths=one))["error"]
        assert "outside" in error["message"]
        error = (await MediaTool(tool.router, roots=one).generate(prompt="x", **asked))["error"]
        assert "outside" in error["message"]
    made = await generate_media({"prompt": "x", "output_path": "x.png"}, router=tool.router, allowed_paths=one)
    assert made["success"], made
    assert list(outside.iterdir()) == []

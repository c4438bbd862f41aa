"""The fix of an error: one thing that an agent can do with its tools."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from core.fake_service import FakeService
from core.routing import KEY, fake_registry

from anymedia import Router, SqliteStore
from anymedia.agents import MediaTool
from anymedia.agents.mcp_server import arguments_problem
from anymedia.agents.responses import error_answer
from anymedia.errors import BackendTimeout, Fix, InvalidRequest, JobCancelled, MediaError, SubmissionUnknown
from anymedia.settings import InstanceSettings, Settings

pytestmark = pytest.mark.anyio

#: An odd call -> what the fix has to say, so that the next one is right.
ODD: list[tuple[Any, str]] = [
    ({"mode": "video", "duration": "5s"}, "duration: write 5, without quotes"),
    ({"mode": "video", "duration": "2.5 sec"}, "duration: write 2.5, without quotes"),
    ({"n": "2 images"}, "n: write 2, without quotes"),
    ({"mode": "video", "n": "three"}, "n: expected a whole number"),
    ({"seed": "42nd"}, "seed: write 42, without quotes"),
    ({"strict": "yes"}, "strict: expected true or false"),
    ({"wait": "0"}, "wait: expected true or false"),
    ({"deadline": "60 s"}, "deadline: write 60, without quotes"),
    ({"max_cost_usd": "0.05 USD"}, "max_cost_usd: write 0.05, without quotes"),
    ({"input_images": "photo.png"}, 'input_images: write ["photo.png"]'),
    ({"input_images": '["photo.png"]'}, "input_images: give the list itself, not a text that holds it"),
    ({"input_images": {"path": "photo.png"}}, "input_images: write [{...}]"),
    ({"extra_params": '{"a": 1}'}, "extra_params: give the object itself, not a text that holds it"),
    ({"aspect_ratio": 1.78}, "aspect_ratio: expected text, got a number (W:H, or auto)"),
    ({"size": [64, 48]}, "size: expected text, got a list (WIDTHxHEIGHT in pixels, or auto)"),
    ({"size": "64 by 48"}, "size: expected WIDTHxHEIGHT in pixels like '1024x1024'"),
    ({"width": 64, "height": 48}, "height: use size='WIDTHxHEIGHT'; width: use size='WIDTHxHEIGHT'"),
    ({"provider": "fake"}, "provider: use backend"),
    ({"type": "video"}, "type: use mode"),
    ({"image": "photo.png"}, "image: use input_images"),
    ({"image_url": "https://example.com/a.png"}, "image_url: use input_images"),
    ({"num_images": 2}, "num_images: use n"),
    ({"seconds": 4, "mode": "video"}, "seconds: use duration"),
    ({"filename": "a.png"}, "filename: use output_path"),
    ({"style": "watercolour"}, "style: use prompt, or style_image_path"),
    ({"arguments": {"prompt": "x"}}, "arguments: give its fields directly"),
    ({"promt": "x"}, "promt: did you mean 'prompt'?"),
    ({"prompt": ["a", "b"]}, "prompt: expected text, got a list"),
    ({"prompt": None}, "prompt: is missing"),
    ({"mode": "picture"}, "mode: expected one of image, video, audio"),
    ({"duration": 4}, "duration: it goes with mode 'video' or 'audio'"),
    ({"mask_path": "mask.png"}, "input_images: give a source image or continue_from"),
    ({"output_path": "~/fox.png"}, "output_path: write a path in the working directory, such as 'fox.png'"),
    ({"input_images": ["~/photo.png"]}, "input_images: write a path in the working directory, such as 'photo.png'"),
    ({"mask_path": "~/mask.png", "input_images": ["photo.png"]}, "mask_path: write a path in the working directory, such as 'mask.png'"),
    ({"storage_path": "~"}, "output_path: write a path in the working directory"),
    ({"backend": "Fakes"}, 'use "backend": "fake"'),
    ({"backend": "gemini"}, 'use "backend": "fake"'),
    ({"model": "no-such-model"}, "omit model"),
    ({"model": "stil"}, 'use "model": "still", or omit model'),
    ({"prompts": "a fox", "prompt": None}, 'prompts: write ["a fox"]'),
    ({"extra_params": {"no": 1}}, "leave it out"),
    ("make a fox", 'give an object like {"prompt": "a red fox in snow"}'),
]


@pytest.mark.parametrize(("asked", "received"), ODD, ids=[str(asked)[:60] for asked, _ in ODD])
async def test_fix_of_a_wrong_call_names_what_to_write(tool: MediaTool, asked: Any, received: str) -> None:
    answer = await tool.plan({"prompt": "a fox", **asked} if isinstance(asked, dict) else asked)
    assert answer["success"] is False
    assert received in answer["error"]["fix"], answer["error"]


@pytest.mark.parametrize(
    ("asked", "message", "fix"),
    [
        ({"output_path": "/etc/fox.png"}, "$.output_path: '/etc/fox.png' lies outside", "correct output_path: give a path inside "),
        ({"output_path": "fox"}, "$.output_path: ", "correct output_path: use a media suffix"),
        ({"input_images": ["none.png"]}, "$.input_images[0]: ", "correct input_images[0]: "),
        ({"input_image_paths": ["/etc/passwd"]}, "$.input_image_paths[0]: ", "correct input_image_paths[0]: give a path inside "),
        (
            {"input_images": [{"image_url": "http://192.0.2.1/a.png"}]},
            "$.input_images[0]: ",
            "correct input_images[0]: give a public https URL",
        ),
    ],
    ids=str,
)
async def test_fix_of_a_wrong_path_names_its_field(tool: MediaTool, asked: dict[str, Any], message: str, fix: str) -> None:
    error = (await tool.generate({"prompt": "a fox", **asked}))["error"]
    assert error["message"].startswith(message), error
    assert error["fix"].startswith(fix), error


async def test_fix_of_a_wrong_call_has_no_shell_command(tool: MediaTool) -> None:
    for asked, _ in ODD:
        error = (await tool.plan({"prompt": "a fox", **asked} if isinstance(asked, dict) else asked))["error"]
        assert error["fix"]
        assert "anymedia " not in error["fix"], error


@pytest.mark.parametrize(
    ("asked", "path", "words"),
    [
        ({"input_images": ["gone.png"]}, "$.input_images[0]", "gone.png' does not exist"),
        ({"input_images": ["photo.png", "gone.png"]}, "$.input_images[1]", "gone.png' does not exist"),
        ({"input_images": ["photo.png"], "style_image": "gone.png"}, "$.style_image", "gone.png' does not exist"),
        ({"mask_path": "gone.png", "input_images": ["photo.png"]}, "$.mask_path", "gone.png' does not exist"),
        ({"mask_path": "mask.png", "input_images": ["gone.png"]}, "$.input_images[0]", "gone.png' does not exist"),
        ({"mode": "video", "input_images": ["gone.png"]}, "$.input_images[0]", "gone.png' does not exist"),
        ({"mode": "video", "input_images": ["photo.png"], "last_frame": "gone.png"}, "$.last_frame", "gone.png' does not exist"),
    ],
)
async def test_problem_path_is_the_field_as_the_caller_wrote_it(tool: MediaTool, asked: dict[str, Any], path: str, words: str) -> None:
    error = (await tool.plan({"prompt": "a fox", **asked}))["error"]
    (problem,) = error["problems"]
    assert problem["path"] == path
    assert words in problem["message"]
    assert error["message"].startswith(f"{path}: ")
    assert error["message"].count("gone.png") == 1


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"output_path": "/etc/fox.png"}, "invalid_request"),
        ({"output_path": "../fox.png"}, "invalid_request"),
        ({"output_path": "photo.png"}, "invalid_request"),
        ({"output_path": "photo.png/fox.png"}, "invalid_request"),
        ({"max_cost_usd": 0.001}, "budget_exceeded"),
    ],
)
async def test_plan_refuses_what_generate_refuses(
    tool: MediaTool, service: FakeService, work: Path, asked: dict[str, Any], code: str
) -> None:
    before = sorted(work.rglob("*"))
    planned, made = await tool.plan({"prompt": "a fox", **asked}), await tool.generate({"prompt": "a fox", **asked})
    assert planned["success"] is made["success"] is False
    assert planned["error"]["code"] == made["error"]["code"] == code
    assert planned["error"]["message"] == made["error"]["message"]
    assert planned["error"]["fix"]
    assert service.submits == []
    assert sorted(work.rglob("*")) == before


async def test_unknown_outcome_is_never_to_be_repeated(tool: MediaTool, service: FakeService) -> None:
    service.http.fail("lost", on="POST")
    answer = await tool.generate(prompt="a fox")
    error = answer["error"]
    assert (error["code"], error["charged"], error["retry"], error["try_backends"]) == ("submission_unknown", "unknown", False, [])
    assert error["fix"].startswith("do not repeat it")
    assert f"media_job(job_id='{error['job_id']}', action='wait')" in error["fix"]
    assert len(service.submits) == 1


async def test_deadline_error_names_the_call_that_waits(tool: MediaTool, service: FakeService) -> None:
    service.looks = 10**6
    error = (await tool.generate(mode="video", prompt="waves", deadline=0.01))["error"]
    assert error["code"] == "backend_timeout"
    assert error["fix"] == f"the job is not lost, follow it: media_job(job_id='{error['job_id']}', action='wait')"
    await tool.job(error["job_id"], "cancel")


@pytest.mark.parametrize(
    ("asked", "fix"),
    [
        ({"task": "upscal", "task_inputs": {"image": "photo.png"}}, 'use "task": "upscale"'),
        ({"task": "sing", "task_inputs": {"image": "photo.png"}}, "use one of: upscale, remove_background"),
        ({"task": "upscale"}, "add the input that is missing"),
        ({"task": "upscale", "input_images": ["photo.png"], "prompt": "x"}, "takes no prompt: leave it out"),
    ],
    ids=["misspelt", "unknown", "without-input", "needless-prompt"],
)
async def test_fix_of_a_wrong_task_names_what_to_do(work: Path, asked: dict[str, Any], fix: str) -> None:
    pytest.importorskip("local_media")
    async with Router(settings=Settings(), store=SqliteStore(":memory:")) as router:
        error = (await MediaTool(router).plan({**asked, "backend": "local"}))["error"]
    assert fix in error["fix"]


def test_fix_of_an_unknown_tool_lists_the_tools() -> None:
    error = error_answer(arguments_problem("media_pob", {}, ["media_job", "plan_media"]) or MediaError("none"))["error"]
    assert error["fix"] == "use one of: media_job, plan_media"


def test_unknown_argument_of_a_tool_is_named_with_those_it_takes() -> None:
    problem = arguments_problem("media_job", {"id": "last"}, ["media_job"])
    assert problem is not None
    assert str(problem).startswith("id=: there is no such argument (it takes action, deadline, job_id")
    assert "job_id=: is missing" in str(problem)


async def test_cancelled_job_fix_does_not_suggest_a_repeat(tool: MediaTool, service: FakeService) -> None:
    service.looks = 10**6
    job = await tool.generate(mode="video", prompt="waves", wait=False)
    await tool.job(job["job_id"], "cancel")
    found = await tool.job(job["job_id"])
    assert (found["state"], found["charged"]) == ("cancelled", "unknown")
    error = error_answer(JobCancelled("it was cancelled", job_id=job["job_id"]))["error"]
    assert error["fix"] == "it was cancelled; ask the user before you repeat the call"


async def test_unknown_job_fix_says_where_ids_are(tool: MediaTool) -> None:
    error = (await tool.job("job_nope"))["error"]
    assert error["fix"] == "use the job_id of an earlier answer, error or progress message"


async def test_status_of_an_unknown_outcome_repeats_its_error(tool: MediaTool, service: FakeService) -> None:
    service.http.fail("lost", on="POST")
    first = (await tool.generate(prompt="a fox"))["error"]
    status = await tool.job(first["job_id"])
    assert (status["success"], status["state"]) == (False, "unknown")
    assert status["error"]["code"] == "submission_unknown"
    assert status["error"]["fix"] == first["fix"]
    assert status["error"]["charged"] == "unknown"


def test_every_error_class_has_a_fix_that_repeats_no_charged_call() -> None:
    def below(kind: type[MediaError]) -> Iterator[type[MediaError]]:
        yield kind
        for inner in kind.__subclasses__():
            yield from below(inner)

    kinds = [kind for kind in below(MediaError) if kind.__module__ == "anymedia.errors"]
    assert len(kinds) > 25
    for kind in kinds:
        for job_id in (None, "job_1"):
            for charged in ("no", "yes", "unknown"):
                error = kind("it failed")
                error.job_id, error.charged = job_id, charged
                received = error_answer(error)["error"]["fix"]
                assert received, kind
                if charged != "no" and kind is not InvalidRequest:
                    assert not re.search("same call|a ?new|try again|retry", received), (kind, received)


def test_fix_of_usual_errors_has_no_shell_command() -> None:
    for made in (BackendTimeout("x", job_id="job_1"), BackendTimeout("x"), SubmissionUnknown("x", job_id="job_1")):
        made.action = Fix("resume", "job_1")
        assert not re.search("anymedia|router", error_answer(made)["error"]["fix"])


async def test_model_of_another_backend_and_unknown_model_have_different_fixes(service: FakeService, work: Path) -> None:
    own = {
        "one": InstanceSettings(name="one", plugin="fake", base_url=service.http.url, models={"special": {"like": "still"}}),
        "two": InstanceSettings(name="two", plugin="fake", base_url=service.http.url),
    }
    async with Router(settings=Settings(instances=own), registry=fake_registry(), store=SqliteStore(":memory:")) as router:
        error = (await MediaTool(router).plan(prompt="x", backend="two", model="special"))["error"]
        assert error["code"] == "unknown_model"
        assert "'one' has it" in error["message"]
        assert error["fix"] == 'use "backend": "one", or omit model'
        error = (await MediaTool(router).plan(prompt="x", backend="two", model="nothing"))["error"]
        assert error["fix"].startswith("omit model, or use one of: ")


async def test_suggested_backend_after_a_named_model_says_to_omit_it(service: FakeService, work: Path) -> None:
    own = {name: InstanceSettings(name=name, plugin="fake", base_url=service.http.url) for name in ("one", "two")}
    own["one"] = InstanceSettings(name="one", plugin="fake", base_url=service.http.url, models={"still": {"like": "moving"}})
    assert KEY
    async with Router(settings=Settings(instances=own), registry=fake_registry(), store=SqliteStore(":memory:")) as router:
        error = (await MediaTool(router).plan(prompt="x", model="one/moving", output_format="png"))["error"]
        assert error["try_backends"]
        assert "without model" in error["fix"]


async def test_suggested_backends_fit_the_cap(service: FakeService, work: Path) -> None:
    own = {name: InstanceSettings(name=name, plugin="fake", base_url=service.http.url) for name in ("one", "two")}
    async with Router(settings=Settings(instances=own), registry=fake_registry(), store=SqliteStore(":memory:")) as router:
        for cap, named in ((1, True), (0, False)):
            error = (await MediaTool(router).plan(prompt="x", backend="unknown", max_cost_usd=cap))["error"]
            assert bool(error["try_backends"]) is named
            error = (await MediaTool(router).plan(prompt="x", backend="one", model="moving", max_cost_usd=cap))["error"]
            assert bool(error["try_backends"]) is named

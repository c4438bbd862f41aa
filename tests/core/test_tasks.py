"""Tasks: declared in the matrix, planned by their names, done by one hook, returned as media or as data."""

import base64
import datetime
import tomllib
import types
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any

import attrs
import pytest
from clocks import FastClock
from core.fake_service import png
from PIL import Image as Pictures
from wire.forms import read_form
from wire.http_server import HttpServer, Received, Reply

from anymedia import (
    Context,
    EditWithReferences,
    GenerateImage,
    GenerationConfig,
    Image,
    Job,
    LoadedMedia,
    Mask,
    Outcome,
    Piece,
    Policy,
    Router,
    SqliteStore,
    Succeeded,
    Transform,
    Video,
    hookimpl,
)
from anymedia.agents import MediaTool
from anymedia.agents.schema import call_fields, input_schema
from anymedia.artifacts import ArtifactStore
from anymedia.capabilities import CapabilityMatrix, parse_matrix
from anymedia.errors import InvalidRequest, MediaError, PluginContractError, RequestError, UnsupportedInput, UnsupportedOperation
from anymedia.execution.prepare_inputs import restore_inputs, store_inputs
from anymedia.http import post_form
from anymedia.media import Media
from anymedia.planning import BackendView, plan
from anymedia.plugins.registry import Registry
from anymedia.settings import InstanceSettings, Settings
from anymedia.state.codec import HIDDEN, outcome_from_json, outcome_json, request_json
from anymedia.testing import half_mask

pytestmark = pytest.mark.anyio

LAB = """
schema = 1
[[models]]
id = "lab"
media = "image"
prices = [{ per = "call", usd = 0.02 }]
[models.transform.upscale]
inputs = { image = { max_pixels = 1_000_000 } }
options = { scale = { one_of = [2, 4], default = 2 } }
output_format = { one_of = ["png"] }
prices = [{ per = "call", usd = 0.05, when = { "options.scale" = [4] } }, { per = "call", usd = 0.02 }]
[models.transform.erase]
inputs = { image = {}, mask = { format = "black" } }
rules = [{ when = { "inputs.image" = true }, require = { "inputs.mask" = true }, because = "it erases what a mask shows" }]
[models.transform.dress]
inputs = { person = {}, garments = { count = [1, 2] }, clip = { media = "video", count = [0, 1] } }
prompt = { max_chars = 100, required = true }
options = { fit = { one_of = ["loose", "tight"], required = true } }
[models.transform.describe]
inputs = { image = {} }
output = "text"
[models.transform.detect]
like = "describe"
output = "json"
[[models]]
id = "other"
media = "image"
rank = 1
[models.transform.upscale]
inputs = { image = {} }
options = { scale = { one_of = [2] } }
[models.edit_with_references]
references = { count = [1, 1], roles.source = { count = [1, 1] } }
"""
PNG = png(64, 48)
DRESS = {"task": "dress", "inputs": {"person": "p.png", "garments": "g.png"}}


def matrix() -> CapabilityMatrix:
    return parse_matrix(tomllib.loads(LAB), "lab.toml")


@hookimpl
def capabilities() -> CapabilityMatrix:
    return matrix()


@hookimpl
async def edit_with_references(request: EditWithReferences, context: Context) -> Outcome:
    raise AssertionError("a task reached another hook")


@hookimpl
async def transform(request: Transform, context: Context) -> Job | Outcome:
    files = {role: context.read(value) for role, value in request.inputs.items() if isinstance(value, Media | Mask)}
    assert context.operation.task == request.task
    async with context.submission():
        answer = await post_form(context, f"{context.settings['base_url']}/{request.task}", request.options, files=files)
    if "job" in answer:
        return Job(id=answer["job"])
    return Outcome(data=answer["data"]) if "data" in answer else Outcome(pieces=[Piece(data=base64.b64decode(answer["image"]))])


@hookimpl
async def check_job(job: Job, context: Context) -> Succeeded:
    return Succeeded(outcome=Outcome(data={"job": job.id, "boxes": [[1, 2, 3, 4]]}))


class Lab:
    """A service with an endpoint for each task."""

    def __init__(self) -> None:
        self.http = HttpServer(self.handle)
        self.sent: list[dict[str, Any]] = []

    def handle(self, received: Received) -> Reply:
        form = read_form(received.headers["content-type"], received.body)
        self.sent.append({"path": received.path, **form.texts(), **{p.name: p.data for p in form.parts if p.filename is not None}})
        answers = {"/describe": {"data": "a fox\nin snow"}, "/detect": {"job": "7"}}
        return Reply.of_json(answers.get(received.path, {"image": base64.b64encode(PNG).decode()}))


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[tuple[Lab, Router]]:
    registry, module, service = Registry(), types.ModuleType("lab"), Lab()
    for hook in (capabilities, edit_with_references, transform, check_job):
        setattr(module, hook.__name__, hook)
    registry.register("lab", module)
    with service.http:
        own = InstanceSettings(name="lab", plugin="lab", base_url=service.http.url)
        settings = Settings(instances={"lab": own}, state_dir=tmp_path / "state")
        async with Router(settings=settings, registry=registry, clock=FastClock(), store=SqliteStore()) as router:
            yield service, router


def planned(request: Any, **named: Any) -> Any:
    view = BackendView(name="lab", matrix=matrix())
    return plan(request, [view], Policy(), datetime.date(2026, 11, 21), **named)


def fox(**more: Any) -> Image:
    return Image(data=PNG, mime="image/png", size=len(PNG), width=64, height=48, **more)


def test_task_is_planned_only_on_models_that_declare_it() -> None:
    assert str(planned(Transform(task="upscale", inputs={"image": fox()})).chosen) == "lab/other"
    assert str(planned(Transform(task="upscale", inputs={"image": fox()}, options={"scale": 4})).chosen) == "lab/lab"
    assert str(planned(Transform(task="describe", inputs={"image": fox()})).chosen) == "lab/lab"


def test_task_is_never_a_candidate_for_another_operation() -> None:
    found = planned(EditWithReferences(prompt="winter", references=[fox()]))
    assert str(found.chosen) == "lab/other"
    assert found.alternatives == ()
    with pytest.raises(UnsupportedOperation):
        planned(GenerateImage(prompt="a fox"))


def test_unknown_task_names_the_nearest_one() -> None:
    with pytest.raises(UnsupportedOperation, match="did you mean 'upscale'"):
        planned(Transform(task="upscal", inputs={"image": fox()}))


def test_price_of_a_task_depends_on_its_options() -> None:
    quotes = [planned(Transform(task="upscale", inputs={"image": fox()}, options=o), model="lab").quote.usd for o in ({}, {"scale": 4})]
    assert quotes == [(0.02, 0.02), (0.05, 0.05)]


@pytest.mark.parametrize(
    ("fields", "expected", "says"),
    [
        ({"task": "upscale"}, UnsupportedInput, "needs the input 'image'"),
        ({"task": "describe", "inputs": {"image": "f.png", "audio": "a.wav"}}, UnsupportedInput, "no input 'audio'"),
        ({"task": "describe", "inputs": {"image": Video(path="f.mp4")}}, UnsupportedInput, "accepts image as 'image'"),
        ({"task": "describe", "inputs": {"image": ["a.png", "b.png"]}}, UnsupportedInput, "accepts 1 to 1 files"),
        ({"task": "describe", "inputs": {"image": "f.png"}, "prompt": "well"}, InvalidRequest, "takes no prompt"),
        ({"task": "erase", "inputs": {"image": "f.png"}}, UnsupportedInput, "what a mask shows"),
        ({**DRESS, "prompt": "red"}, InvalidRequest, "needs the option 'fit'"),
        (
            {"task": "dress", "inputs": {"person": "p.png", "garments": "g.png"}, "options": {"fit": "loose"}},
            InvalidRequest,
            "needs a prompt",
        ),
        ({"task": "upscale", "inputs": {"image": "f.png"}, "options": {"size": 4}}, InvalidRequest, "no option 'size'"),
        ({"task": "describe", "inputs": {"image": "f.png"}, "output_format": "png"}, InvalidRequest, "not a format for text"),
    ],
)
def test_task_that_does_not_fit_is_rejected_with_its_reason(fields: dict[str, Any], expected: type[MediaError], says: str) -> None:
    with pytest.raises(expected, match=says):
        planned(Transform(**fields), model="lab")


def test_inputs_of_a_task_get_the_medium_of_their_role_or_suffix() -> None:
    made = Transform(
        task="dress", inputs={"person": "p.jpg", "clip": "c.mp4", "garments": ["a.png", b"x"], "mask": "m.png", "voice": "v.mp3"}
    )
    kinds = {role: type(value).__name__ for role, value in made.inputs.items()}
    assert kinds == {"person": "Image", "clip": "Video", "garments": "tuple", "mask": "Mask", "voice": "Audio"}
    assert made.operation == "transform.dress"


@pytest.mark.parametrize("task", ["", "Upscale", "up scale", "../x", "1st", "x" * 61])
def test_task_with_a_wrong_name_is_refused(task: str) -> None:
    with pytest.raises(InvalidRequest, match="task"):
        Transform(task=task)


def test_matrix_with_a_wrong_task_is_reported_with_its_place() -> None:
    raw = {"id": "m", "transform": {"upscale": {"inputs": {"image": {"media": "smell"}}, "size": {}}, "Bad Name": {}}}
    with pytest.raises(PluginContractError) as caught:
        parse_matrix({"schema": 1, "models": [raw]}, "x.toml")
    text = str(caught.value)
    assert "x.toml: m.transform.upscale" in text
    assert "expected one of image, video, audio, got 'smell'" in text
    assert "has no field 'size'" in text
    assert "'Bad Name'" in text


async def test_task_sends_its_inputs_once_and_returns_a_file(lab: tuple[Lab, Router], tmp_path: Path) -> None:
    service, router = lab
    (tmp_path / "fox.png").write_bytes(PNG)
    result = await router.transform("upscale", {"image": tmp_path / "fox.png"}, options={"scale": 4}, output=tmp_path / "big.png")
    assert service.sent == [{"path": "/upscale", "scale": "4", "image": PNG}]
    assert result.path == tmp_path / "big.png"
    assert result.operation == "transform.upscale"
    (record,) = await router.jobs()
    assert record.request == {
        "kind": "transform",
        "task": "upscale",
        "inputs": {"image": str(tmp_path / "fox.png")},
        "prompt": "",
        "options": {"scale": 4},
        "output_format": "png",
    }


async def test_mask_of_a_task_is_sent_in_the_declared_format(lab: tuple[Lab, Router]) -> None:
    service, router = lab
    await router.transform("erase", {"image": PNG, "mask": half_mask(64, 48)})
    with Pictures.open(BytesIO(service.sent[0]["mask"])) as sent:
        assert [sent.convert("L").getpixel(place) for place in ((2, 20), (60, 20))] == [0, 255]


async def test_task_with_text_returns_it_as_data_without_a_file(lab: tuple[Lab, Router], tmp_path: Path) -> None:
    _, router = lab
    result = await router.transform("describe", {"image": PNG}, output=f"{tmp_path}/out/")
    assert (result.data, result.files) == ("a fox\nin snow", ())
    assert result.to_json()["data"] == "a fox\nin snow"
    assert not list(tmp_path.glob("out/*"))
    with pytest.raises(ValueError, match=r"see result\.data"):
        _ = result.path


async def test_job_of_a_task_returns_its_data_to_a_later_process(lab: tuple[Lab, Router]) -> None:
    _, router = lab
    record = await router.submit(Transform(task="detect", inputs={"image": fox()}))
    result = await router.wait(record.run)
    assert result.data == {"job": "7", "boxes": [[1, 2, 3, 4]]}
    assert (await router.resume(record.run)).data == result.data


def test_data_of_an_outcome_survives_the_journal() -> None:
    shown, secret = outcome_json(Outcome(data={"boxes": [1]}), {}, 0.0)
    assert outcome_from_json(shown, secret, {}) == Outcome(data={"boxes": [1]})


async def test_queued_task_is_restored_from_the_store_as_it_would_be_sent(tmp_path: Path) -> None:
    request = Transform(task="dress", inputs={"person": fox(), "garments": [fox()], "mask": half_mask(64, 48)}, options={"fit": "loose"})
    found = LoadedMedia(data=PNG, mime="image/png", filename="image.png", width=64, height=48)
    loaded: Any = {request.inputs["person"]: found, request.inputs["mask"]: attrs.evolve(found, data=half_mask(64, 48))}
    artifacts = ArtifactStore(tmp_path)
    stored = await store_inputs(artifacts, "job_1", request, loaded, None)
    target = {"sent": stored.sent, "inputs": list(stored.keys), "earlier_files": []}
    record: Any = types.SimpleNamespace(id="job_1", request=request_json(request), target=target, operation=request.operation)
    again, contents, _ = await restore_inputs(artifacts, record, None)
    assert (again.task, again.options, again.inputs.keys()) == (request.task, request.options, request.inputs.keys())
    assert again.inputs["garments"] == request.inputs["garments"]
    assert contents[again.inputs["mask"]].data == half_mask(64, 48)  # type: ignore[union-attr, index]
    record.request["options"] = {"token": HIDDEN}
    with pytest.raises(RequestError, match="secret"):
        await restore_inputs(artifacts, record, None)


async def test_agent_does_a_task_within_its_roots(lab: tuple[Lab, Router], tmp_path: Path) -> None:
    service, router = lab
    (tmp_path / "fox.png").write_bytes(PNG)
    tool = MediaTool(router, roots=[tmp_path], base=tmp_path)
    answer = await tool.generate(task="upscale", input_images=["fox.png"], extra_params={"scale": 4})
    assert answer["success"], answer
    assert answer["operation"] == "transform.upscale"
    told = await tool.generate(task="describe", task_inputs={"image": "fox.png"})
    assert told["data"] == "a fox in snow"
    outside = await tool.generate(task="describe", task_inputs={"image": "/etc/passwd"})
    assert outside["error"]["code"] == "invalid_request"
    assert len(service.sent) == 2


async def test_schema_of_the_tool_offers_the_tasks_and_their_roles(lab: tuple[Lab, Router]) -> None:
    _, router = lab
    schema = input_schema(router.instances)
    assert schema["required"] == []
    fields = schema["properties"]
    assert fields["task"]["enum"] == ["upscale", "erase", "dress", "describe", "detect"]
    assert set(fields["task_inputs"]["properties"]) == {"image", "mask", "person", "garments", "clip"}
    assert fields["extra_params"]["properties"]["scale"]["maximum"] == 4
    assert "task" not in call_fields([])


@pytest.mark.parametrize(
    ("fields", "inputs"),
    [
        ({"input_images": ["a.png"], "mask_path": "m.png"}, {"image": Image(path="a.png"), "mask": Mask(image=Image(path="m.png"))}),
        ({"input_video_path": "v.mp4"}, {"video": Video(path="v.mp4")}),
        (
            {"task_inputs": {"person": {"path": "p.png"}, "garments": ["g.png"]}},
            {"person": Image(path="p.png"), "garments": (Image(path="g.png"),)},
        ),
    ],
)
def test_config_with_a_task_becomes_its_request(fields: dict[str, Any], inputs: dict[str, Any]) -> None:
    made = GenerationConfig.from_json({"task": "restore", "extra_params": {"a": 1}, **fields}).to_request()
    assert made == Transform(task="restore", inputs=inputs, options={"a": 1})


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"task": "restore", "input_images": ["a.png", "b.png"]}, "input_images"),
        ({"task": "restore", "input_images": ["a.png"], "task_inputs": {"image": "b.png"}}, "task_inputs.image"),
        ({"task": "restore", "duration": 4}, "duration"),
        ({"task_inputs": {"image": "b.png"}, "prompt": "x"}, "task_inputs"),
        ({"task": "restore", "task_inputs": {"image": 4}}, "task_inputs"),
        ({"task": "Restore!"}, "task"),
    ],
)
def test_config_with_a_wrong_task_names_the_field(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        GenerationConfig.from_json(fields).to_request()
    assert [problem.path for problem in caught.value.problems] == [f"$.{path}"]

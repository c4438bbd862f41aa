"""Models described by their provider's own schema: listed, merged into the instance's matrix, run by their own inputs."""

import base64
import json
import types
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from clocks import FastClock
from core.fake_service import png
from wire.http_server import HttpServer, Received, Reply

from anymedia import Budget, Context, GenerationConfig, Outcome, Piece, Policy, Router, SqliteStore, Transform, hookimpl
from anymedia.agents import MediaTool
from anymedia.capabilities import CapabilityMatrix, from_json_schema, parse_matrix
from anymedia.capabilities.matrix_cache import write_snapshot
from anymedia.credentials import Secret
from anymedia.errors import BudgetExceeded, InvalidRequest, PluginContractError, UnknownModel, UnsupportedOperation
from anymedia.http import post_json
from anymedia.media import Media
from anymedia.plugins.registry import Registry
from anymedia.settings import InstanceSettings, Settings

pytestmark = pytest.mark.anyio
PNG = png(64, 48)

SCHEMA: dict[str, Any] = {
    "openapi": "3.0.4",
    "paths": {
        "/x": {"post": {"requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Input"}}}}}},
        "/x/requests/{id}": {"get": {}},
    },
    "components": {
        "schemas": {
            "Size": {"type": "object", "properties": {"width": {"type": "integer"}}},
            "Input": {
                "type": "object",
                "required": ["prompt", "image_url", "steps"],
                "properties": {
                    "prompt": {"type": "string", "maxLength": 50},
                    "image_url": {"type": "string", "description": "the  picture\nto change"},
                    "reference_video_urls": {"type": "array", "items": {"type": "string"}, "maxItems": 3},
                    "mask_url": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                    "size": {
                        "anyOf": [{"$ref": "#/components/schemas/Size"}, {"enum": ["big", "small"], "type": "string"}],
                        "default": "big",
                    },
                    "steps": {"type": "integer", "minimum": 1, "maximum": 8},
                    "strength": {"type": "number", "minimum": 0, "maximum": 1, "default": 0.5},
                    "seed": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
                    "style": {"enum": ["oil", "ink"], "default": "none of them"},
                    "title": {"type": "string"},
                    "hub_token": {"type": "string", "format": "password"},
                    "sync_mode": {"type": "boolean", "default": False},
                    "not an identifier": {"type": "string"},
                },
            },
        }
    },
}


def spec(**more: str) -> dict[str, Any]:
    return from_json_schema(SCHEMA, roles={"sync_mode": "none", **more})


def document(**more: Any) -> dict[str, Any]:
    row = {"id": "zoo/painter", "media": "image", "transform": {"run": spec()}, **more}
    return {"schema": 1, "checked": "2026-11-30", "models": [row]}


def test_schema_becomes_a_spec_with_roles_enums_ranges_and_secrets() -> None:
    assert spec() == {
        "inputs": {
            "image_url": {"media": "image", "count": [1, 1], "doc": "the picture to change"},
            "reference_video_urls": {"media": "video", "count": [0, 3]},
            "mask_url": {"media": "image", "count": [0, 1]},
        },
        "options": {
            "size": {"type": "any", "default": "big"},
            "steps": {"min": 1, "max": 8, "step": 1, "required": True},
            "strength": {"min": 0, "max": 1, "default": 0.5},
            "seed": {"type": "integer"},
            "style": {"one_of": ["oil", "ink"]},
            "title": {"type": "string"},
            "hub_token": {"type": "secret"},
        },
        "prompt": {"required": True, "max_chars": 50},
    }


def test_role_that_is_given_wins_over_the_one_of_the_name() -> None:
    found = spec(image_url="option", title="audio")
    assert "image_url" in found["options"]
    assert found["inputs"]["title"]["media"] == "audio"


@pytest.mark.parametrize(
    ("schema", "roles", "says"),
    [
        ({"type": "object"}, {}, "has no properties"),
        ({"openapi": "3.0.4", "paths": {"/x": {"get": {}}}}, {}, "no POST that takes JSON"),
        ({"properties": {}}, {"a": "picture"}, "a: 'picture'"),
    ],
)
def test_schema_that_cannot_be_read_is_reported(schema: dict[str, Any], roles: dict[str, str], says: str) -> None:
    with pytest.raises(PluginContractError, match=says):
        from_json_schema(schema, roles=roles)


@pytest.mark.parametrize(
    "one",
    [
        {"type": "number", "minimum": 0.1, "maximum": 2, "multipleOf": 0.25, "default": 0.5},
        {"type": "integer", "minimum": 1, "maximum": 8, "default": 9},
        {"type": "integer", "default": 2.5},
        {"type": "string", "maxLength": 3, "default": "oils"},
        {"type": "array", "items": {"type": "number"}, "default": "none"},
        {"type": "object", "default": 3},
        {"enum": [1, 2], "default": True},
    ],
)
def test_default_that_the_option_does_not_take_is_left_out_and_the_model_is_read(one: dict[str, Any]) -> None:
    run = from_json_schema({"properties": {"x": one}})
    assert "default" not in run["options"]["x"]
    row = {"id": "a", "transform": {"run": run}}
    assert parse_matrix({"schema": 1, "models": [row]}, "x").models[0].operations["transform.run"].extra_params["x"].default is None


def test_reference_that_leads_to_itself_ends() -> None:
    loop = {"properties": {"a": {"$ref": "#/properties/a"}}}
    assert from_json_schema(loop)["options"] == {"a": {"type": "any"}}


@hookimpl
def capabilities() -> CapabilityMatrix:
    return parse_matrix({"schema": 1, "models": []}, "zoo.toml")


@hookimpl
async def transform(request: Transform, context: Context) -> Outcome:
    files = {role: base64.b64encode(context.read(item).data).decode() for role, item in request.inputs.items() if isinstance(item, Media)}
    options = {name: value.reveal() if isinstance(value, Secret) else value for name, value in request.options.items()}
    async with context.submission():
        answer = await post_json(context, context.settings["base_url"], {"prompt": request.prompt, **files, **options})
    return Outcome(pieces=[Piece(data=base64.b64decode(answer["image"]))])


class Zoo:
    def __init__(self) -> None:
        self.http = HttpServer(self.handle)
        self.sent: list[dict[str, Any]] = []

    def handle(self, received: Received) -> Reply:
        self.sent.append(received.json())
        return Reply.of_json({"image": base64.b64encode(PNG).decode()})


@pytest.fixture
async def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Zoo, Router]]:
    monkeypatch.setenv("ANYMEDIA_CACHE", str(tmp_path / "cache"))
    registry, module, service = Registry(), types.ModuleType("zoo"), Zoo()
    module.capabilities, module.transform = capabilities, transform  # type: ignore[attr-defined]
    registry.register("zoo", module)
    write_snapshot("zoo", document(), registry.capabilities("zoo"))
    with service.http:
        instances = {name: InstanceSettings(name=name, plugin="zoo", base_url=service.http.url) for name in ("zoo", "other")}
        settings = Settings(instances=instances, state_dir=tmp_path / "state")
        async with Router(settings=settings, registry=registry, clock=FastClock(), store=SqliteStore()) as router:
            yield service, router


def given(**more: Any) -> dict[str, Any]:
    return {"prompt": "a fox", "image_url": PNG, "steps": 4, **more}


async def test_listed_model_runs_by_its_own_inputs(zoo: tuple[Zoo, Router], tmp_path: Path) -> None:
    service, router = zoo
    result = await router.run_model("zoo/zoo/painter", given(strength=0.25, size={"width": 64}), output=tmp_path / "out.png")
    image = base64.b64encode(PNG).decode()
    assert service.sent == [{"prompt": "a fox", "image_url": image, "steps": 4, "strength": 0.25, "size": {"width": 64}}]
    assert result.path.read_bytes() == PNG
    assert result.operation == "transform.run"


async def test_list_of_one_instance_does_not_describe_another(zoo: tuple[Zoo, Router]) -> None:
    _, router = zoo
    assert [model.backend for model in router.models()] == ["zoo"]
    with pytest.raises(UnknownModel):
        await router.run_model("other/zoo/painter", given())


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        (given(steps=9), "option 'steps' accepts 1 to 8"),
        ({"prompt": "a fox", "image_url": PNG}, "needs the option 'steps'"),
        (given(colour="red"), "no option 'colour'"),
        (given(prompt="x" * 51), "at most 50 characters"),
    ],
)
async def test_inputs_that_do_not_fit_the_schema_are_rejected_before_anything_is_sent(
    zoo: tuple[Zoo, Router], inputs: dict[str, Any], says: str
) -> None:
    service, router = zoo
    with pytest.raises(InvalidRequest, match=says):
        await router.run_model("zoo/zoo/painter", inputs)
    assert service.sent == []


async def test_model_without_a_price_needs_max_cost_where_a_cap_is_set(zoo: tuple[Zoo, Router]) -> None:
    service, router = zoo
    capped = Policy(budget=Budget(per_day=1.0, per_request=0.5))
    with pytest.raises(BudgetExceeded):
        await router.run_model("zoo/zoo/painter", given(), policy=capped)
    with pytest.raises(BudgetExceeded):
        await router.run_model("zoo/zoo/painter", given(), policy=capped, max_cost=0.6)
    assert service.sent == []
    result = await router.run_model("zoo/zoo/painter", given(), policy=capped, max_cost=0.2)
    assert result.cost.quoted_usd == (0.0, 0.2)


async def test_secret_option_is_sent_and_never_stored_or_shown(zoo: tuple[Zoo, Router], tmp_path: Path) -> None:
    service, router = zoo
    await router.run_model("zoo/zoo/painter", given(hub_token="hf-7f3e91d2c4aa"))
    assert service.sent[0]["hub_token"] == "hf-7f3e91d2c4aa"
    plan = await router.plan(
        Transform(task="run", inputs={"image_url": PNG}, prompt="x", options={"steps": 1, "hub_token": "hf-7f3e91d2c4aa"})
    )
    (record,) = await router.jobs()
    assert record.request["options"] == {"steps": 4, "hub_token": "***"}
    assert "hf-7f3e91d2c4aa" not in repr(plan) + json.dumps(plan.to_json()) + repr(record)


async def test_model_without_a_schema_cannot_be_run(zoo: tuple[Zoo, Router]) -> None:
    _, router = zoo
    row = {"id": "zoo/painter", "media": "image", "transform": {"upscale": spec()}}
    write_snapshot("zoo", {"schema": 1, "checked": "2026-11-30", "models": [row]}, router.registry.capabilities("zoo"))
    async with Router(settings=router.settings, registry=router.registry, store=SqliteStore()) as fresh:
        with pytest.raises(UnsupportedOperation, match="own inputs"):
            await fresh.run_model("zoo/zoo/painter", given())


async def test_agent_runs_a_model_with_files_under_their_roles_only(zoo: tuple[Zoo, Router], tmp_path: Path) -> None:
    service, router = zoo
    (tmp_path / "fox.png").write_bytes(PNG)
    tool = MediaTool(router, roots=[tmp_path], base=tmp_path)
    call: dict[str, Any] = {"task": "run", "model": "zoo/zoo/painter", "prompt": "a fox"}
    answer = await tool.generate(call, task_inputs={"image_url": "fox.png"}, extra_params={"steps": 2})
    assert answer["success"], answer
    assert service.sent[0]["image_url"] == base64.b64encode(PNG).decode()


@pytest.mark.parametrize(
    "text",
    [
        "/etc/passwd",
        "~/x",
        "../x",
        "a/../b",
        "file:///etc/passwd",
        "http://10.0.0.1/",
        "s3://bucket/x",
        "data:x,",
        "fox.png",
        "C:\\x",
        "//host/x",
    ],
)
async def test_agent_option_that_looks_like_a_file_is_refused(zoo: tuple[Zoo, Router], tmp_path: Path, text: str) -> None:
    service, router = zoo
    tool = MediaTool(router, roots=[tmp_path], base=tmp_path)
    answer = await tool.generate(task="run", model="zoo/zoo/painter", prompt="x", extra_params={"steps": 2, "title": [{"deep": text}]})
    assert answer["error"]["code"] == "invalid_request"
    assert "extra_params.title[0].deep" in answer["error"]["message"]
    assert service.sent == []


@pytest.mark.parametrize("text", ["a fox, red. And more", "16:9", "1.5", "owner/name", "v1.2", "50/50", "e.g. this"])
def test_agent_option_that_is_plain_text_is_kept(text: str, tmp_path: Path) -> None:
    from anymedia.agents.normalize import PathScope, resolve_paths

    fields = {"prompt": "x", "extra_params": {"title": text}}
    assert resolve_paths(fields, PathScope.of(tmp_path, [tmp_path], Policy()))["extra_params"] == {"title": text}


def test_max_cost_of_a_config_counts_for_a_run_only() -> None:
    run = GenerationConfig(prompt="", task="run", max_cost_usd=0.3).policy(Policy())
    other = GenerationConfig(prompt="x", max_cost_usd=0.3).policy(Policy())
    assert (run.max_cost, other.max_cost) == (0.3, None)
    assert run.budget.per_request == other.budget.per_request == 0.3

"""The schema in each dialect: valid by its rules, true to the matrices; the aliases, one by one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import jsonschema
import pytest

from anymedia.agents import MediaTool, tool_schema
from anymedia.agents.prompt import guidance
from anymedia.errors import InvalidRequest
from anymedia.generation_config import GenerationConfig
from anymedia.plugins.instances import BackendInstance, make_instances
from anymedia.plugins.registry import discover
from anymedia.settings import Settings

KEYS = {"OPENAI_API_KEY": "k" * 20, "GOOGLE_API_KEY": "k" * 20, "XAI_API_KEY": "k" * 20, "OPENROUTER_API_KEY": "k" * 20}


def instances_with(**keys: str) -> dict[str, BackendInstance]:
    return make_instances(discover(), Settings(), keys)


def walk(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        if "type" in schema or "anyOf" in schema:
            yield schema
        for inner in [*schema.get("properties", {}).values(), schema.get("items"), *schema.get("anyOf", ())]:
            yield from walk(inner)


@pytest.fixture(params=["none", "all"])
def instances(request: pytest.FixtureRequest) -> dict[str, BackendInstance]:
    return instances_with(**(KEYS if request.param == "all" else {}))


def test_schema_has_the_structure_of_its_dialect(instances: dict[str, BackendInstance]) -> None:
    openai = tool_schema("openai", instances=instances)
    assert (openai["type"], openai["name"], openai["strict"]) == ("function", "generate_media", False)
    assert tool_schema("openai-strict", instances=instances)["strict"] is True
    assert tool_schema("anthropic", instances=instances, name="make").keys() == {"name", "description", "input_schema"}
    mcp = tool_schema("mcp", instances=instances)
    assert mcp.keys() == {"name", "title", "description", "inputSchema", "outputSchema", "annotations"}
    anthropic = tool_schema("anthropic", instances=instances)
    for schema in (openai["parameters"], anthropic["input_schema"], mcp["inputSchema"], mcp["outputSchema"]):
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema["type"] == "object"
        assert not schema.keys() & {"$ref", "$defs", "anyOf", "oneOf", "allOf"}  # hosts refuse these at the root
        assert "$ref" not in json.dumps(schema)
    assert len(openai["description"]) <= 1024
    with pytest.raises(InvalidRequest, match="dialect"):
        tool_schema("pidgin", instances=instances)  # type: ignore[arg-type]


def test_strict_schema_follows_the_strict_rules(instances: dict[str, BackendInstance]) -> None:
    schema = tool_schema("openai-strict", instances=instances)["parameters"]
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["type"] == "object" and "anyOf" not in schema
    values = 0
    for one in walk(schema):
        assert not one.keys() & {"default", "allOf", "oneOf", "not", "if", "$ref", "patternProperties", "minLength", "maxLength"}
        values += len(one.get("enum", ()))
        if "properties" in one:
            assert one["additionalProperties"] is False
            assert one["required"] == list(one["properties"])
    assert values <= 500
    assert sum(len(one.get("properties", ())) for one in walk(schema)) <= 100
    words = [word for one in walk(schema) for word in [*one.get("properties", ()), *map(str, one.get("enum", ()))]]
    assert sum(map(len, words)) <= 15_000
    everything = dict.fromkeys(schema["properties"]) | {"prompt": "a fox"}
    jsonschema.validate(everything, schema)


def test_nulls_of_a_strict_caller_mean_not_given(instances: dict[str, BackendInstance]) -> None:
    from anymedia.agents.normalize import flat, read_tool_call

    schema = tool_schema("openai-strict", instances=instances)["parameters"]
    given = dict.fromkeys(schema["properties"]) | {"prompt": "a fox", "extra_params": {"moderation": None}}
    (call,) = read_tool_call(flat(given, {})).calls
    assert GenerationConfig.from_json(call) == GenerationConfig(prompt="a fox")


def test_schema_has_only_what_usable_backends_support() -> None:
    none, everything = (tool_schema("mcp", instances=instances_with(**keys))["inputSchema"]["properties"] for keys in ({}, KEYS))
    known = {f.name for f in attrs.fields(GenerationConfig)} | {"mode", "again", "wait", "deadline"}
    assert none.keys() <= everything.keys() <= known
    assert none["backend"]["anyOf"][0]["enum"] == ["auto", "local"]
    assert set(everything["backend"]["anyOf"][0]["enum"]) == {"auto", "local", "openai", "google", "grok", "openrouter"}
    assert none["background"]["enum"] == ["transparent", "opaque", "auto"]
    assert "quality" not in none and "quality" in everything
    assert "segmentation_classes" not in none
    assert none["mask_mode"]["enum"][1:] == ["foreground", "background"]
    assert none["continue_as"]["enum"] == ["extend"]
    assert none["duration"] == {"type": "number", "minimum": 0.5, "maximum": 120, "description": none["duration"]["description"]}
    assert "local: " in none["duration"]["description"]
    jsonschema.validate({"prompt": "x", "mode": "video", "input_images": ["a.png", {"path": "b"}]}, {"type": "object", "properties": none})
    for wrong in ({"mode": "smell"}, {"backend": "openai"}, {"duration": 500}, {"background": "red"}, {"input_images": [{"file": "x"}]}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"prompt": "x", **wrong}, {"type": "object", "properties": none})


def test_schema_and_guidance_without_backends_say_so() -> None:
    schema = tool_schema("mcp", instances={})
    jsonschema.Draft202012Validator.check_schema(schema["inputSchema"])
    assert "Usable backends: none" in schema["description"]
    assert "No backend is usable" in guidance(instances={})


def test_retired_model_is_not_mentioned() -> None:
    text = json.dumps(tool_schema("mcp", instances=instances_with(**KEYS))) + guidance(instances=instances_with(**KEYS))
    assert "sora-2" not in text


SAME: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"backend_type": "fake"}, {"backend": "fake"}),
    ({"backend_type": "auto"}, {}),
    ({"storage_path": "out"}, {"output_path": "out/"}),
    ({"storage_path": "out/", "output_path": "a.png"}, {"output_path": "out/a.png"}),
    ({"prompts": ["a fox"], "prompt": None}, {}),
    ({"mode": "IMAGE"}, {"media_type": "image"}),
    ({"max_concurrent": 4}, {}),
    ({"input_images": ["photo.png"]}, {"input_images": [{"path": "photo.png"}]}),
    ({"input_images": ["photo.png"]}, {"input_image_paths": ["photo.png"]}),
    ({"input_images": ["photo.png"], "style_image": "style.png"}, {"input_images": ["photo.png"], "style_image_path": "style.png"}),
    ({"input_images": ["photo.png"], "mask": "mask.png"}, {"input_images": ["photo.png"], "mask_path": "mask.png"}),
    ({"multimodal_config": {"image": {"backend": "fake", "model": "still"}}}, {"backend": "fake", "model": "still"}),
    ({"multimodal_config": {"video": {"backend": "unknown"}}}, {}),
    ({"agent_cwd": "."}, {}),
    ({"allowed_paths": ["."]}, {}),
    ({"seed": None, "extra_params": {"x": None}}, {}),
]


@pytest.mark.anyio
@pytest.mark.parametrize(("theirs", "ours"), SAME, ids=[json.dumps(t)[:60] for t, _ in SAME])
async def test_other_name_of_a_field_means_the_same(tool: MediaTool, theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    first, second = [await tool.plan({"prompt": "a fox", **fields}) for fields in (theirs, ours)]
    assert first["success"], first
    assert first == second


@pytest.mark.anyio
async def test_default_of_the_host_does_not_prevent_a_continuation(tool: MediaTool) -> None:
    made = await tool.generate(prompt="a fox", output_path="a.png")
    default = {"image": {"backend": "unknown", "model": "nothing"}}
    assert (await tool.plan(prompt="x", multimodal_config=default))["error"]["code"] == "unknown_backend"
    for name in ("continue_from", "continuation_id"):
        more = await tool.plan({"prompt": "on", name: made["continuation_id"], "multimodal_config": default})
        assert more.get("backend") == "fake", more


@pytest.mark.parametrize("name", ["", "make media", "a" * 65, "é", "a/b"])
def test_invalid_tool_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^name=: .*letters, digits"):
        tool_schema("openai", instances={}, name=name)


@pytest.mark.parametrize(
    ("theirs", "field", "value"),
    [
        ("audio_format", "output_format", "mp3"),
        ("control_image", "control_image_path", "c.png"),
        ("subject_image", "subject_image_path", "s.png"),
        ("last_frame", "last_frame_path", "l.png"),
        ("input_video", "input_video_path", "v.mp4"),
        ("continuation_id", "continue_from", "x_vid_0123456789ab"),
        ("audio_type", "audio_type", "music"),
        ("instructions", "instructions", "softly"),
        ("speed", "speed", 1.5),
        ("voice", "voice", "nova"),
        ("style_image_path", "style_image_path", "s.png"),
        ("extra_params", "extra_params", {"a": 1}),
    ],
)
def test_other_name_sets_its_field(theirs: str, field: str, value: Any) -> None:
    from anymedia.agents.normalize import flat, read_tool_call

    (call,) = read_tool_call(flat({"prompt": "x", theirs: value}, {})).calls
    config = GenerationConfig.from_json(call)
    assert getattr(config, field) == (Path(value) if field.endswith("_path") else value)


@pytest.mark.anyio
async def test_other_name_together_with_its_field_is_refused(tool: MediaTool) -> None:
    error = (await tool.plan(prompt="x", backend="fake", backend_type="fake"))["error"]
    assert error["problems"][0]["path"] == "$.backend_type"
    error = (await tool.plan(prompt="x", bakend_type="fake"))["error"]
    assert "did you mean 'backend_type'" in error["message"]


@pytest.mark.anyio
async def test_video_reference_images_become_subjects(work: Path) -> None:
    from agents.conftest import half_mask

    from anymedia import Router, SqliteStore

    (work / "a.png").write_bytes(half_mask(512, 512))
    instances = Settings()
    async with Router(settings=instances, store=SqliteStore(":memory:")) as router:
        tool = MediaTool(router)
        found = await tool.plan(prompt="x", mode="video", video_reference_images=["a.png", {"path": "a.png"}])
        assert found["error"]["code"] in {"unsupported_input", "no_backend_available"}  # local takes none
        wrong = await tool.plan(prompt="x", video_reference_images=["a.png"])
        assert wrong["error"]["problems"][0]["path"] == "$.video_reference_images"


def test_guidance_covers_every_error_code() -> None:
    """Codes of a family stand together: ``unknown_*``."""
    from anymedia.agents import responses
    from anymedia.errors import BackendError, MediaError, PluginError, RequestError

    def below(kind: type[MediaError]) -> Iterator[type[MediaError]]:
        yield kind
        for inner in kind.__subclasses__():
            yield from below(inner)

    ours = [kind for kind in below(MediaError) if kind.__module__ in ("anymedia.errors", "anymedia.agents.responses")]
    codes = {kind.code for kind in ours} - {kind.code for kind in (MediaError, RequestError, BackendError, PluginError)} | {"some_failed"}
    assert responses.Internal.code in codes and len(codes) > 20
    text = guidance(instances=instances_with())
    received = set(re.findall(r"[a-z]+(?:_[a-z*]+)*", text[text.index("## When success is false") :]))
    families = tuple(word.removesuffix("*") for word in received if word.endswith("_*"))
    assert sorted(code for code in codes if code not in received and not code.startswith(families)) == []


def test_guidance_covers_every_feature() -> None:
    text = guidance(instances=instances_with(**KEYS))
    for words in (
        "|image from words|", "|inpaint, mask_path|", "|style_image_path|", "|image to video (input_images)|", "|continue a video",
        "transparent = change", "white = change", "extend (appends to it)", "image to video:", "advanced parameters:", "style reference:",
        "subject reference:", "control reference:", "max_cost_usd", "emulated",
    ):  # fmt: skip
        assert words in text, words

"""Models that are not installed are not offered; asking for one names what to install."""

from __future__ import annotations

import json
import types
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from anymedia import Router, SqliteStore
from anymedia.agents import MediaTool, tool_schema
from anymedia.agents.available import able_rows, describe_backends, sound_makers
from anymedia.agents.prompt import guidance
from anymedia.capabilities import CapabilityMatrix, parse_matrix
from anymedia.hookspecs import hookimpl
from anymedia.plugins.instances import BackendInstance, make_instances
from anymedia.plugins.registry import Registry
from anymedia.settings import Settings

MODULE, INSTALL = "a_larynx", "pip install 'sounds[speech]'"
NEEDS = {"module": MODULE, "install": INSTALL}
SOUNDS: dict[str, Any] = {
    "schema": 1,
    "models": [
        {
            "id": "sayer",
            "media": "audio",
            "requires": NEEDS,
            "generate_audio": {"audio_type": {"one_of": ["speech"], "fixed": True}, "voice": {"one_of": ["anna", "otto"]}},
        },
        {"id": "tones", "media": "audio", "generate_audio": {"audio_type": {"one_of": ["music"], "fixed": True}}},
    ],
}
ONLY: dict[str, Any] = {"schema": 1, "models": [SOUNDS["models"][0]]}


def registry_of(matrix: dict[str, Any]) -> Registry:
    module = types.ModuleType("sounds")

    @hookimpl
    def capabilities() -> CapabilityMatrix:
        return parse_matrix(matrix, "sounds.toml")

    @hookimpl
    async def generate_audio(request: Any, context: Any) -> Any:
        raise AssertionError("it was called")

    module.capabilities, module.generate_audio = capabilities, generate_audio  # type: ignore[attr-defined]
    registry = Registry()
    registry.register("sounds", module)
    return registry


def instances(matrix: dict[str, Any] = SOUNDS) -> dict[str, BackendInstance]:
    return make_instances(registry_of(matrix), Settings(), {})


@pytest.fixture
def larynx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install what the model requires."""
    (tmp_path / f"{MODULE}.py").write_text("raise AssertionError('it was imported')")
    monkeypatch.syspath_prepend(str(tmp_path))


def offered() -> dict[str, Any]:
    properties: dict[str, Any] = tool_schema("mcp", instances=instances())["inputSchema"]["properties"]
    return properties


def takes(**fields: Any) -> bool:
    schema = {"type": "object", "properties": offered(), "additionalProperties": False}
    return jsonschema.Draft202012Validator(schema).is_valid({"prompt": "x", **fields})


def test_schema_omits_fields_of_models_that_are_not_installed() -> None:
    assert "voice" not in offered()
    assert not takes(audio_type="speech")
    assert takes(audio_type="music")
    assert "sayer" not in json.dumps(offered())


def test_guidance_omits_models_that_are_not_installed() -> None:
    for compact in (False, True):
        text = guidance(instances=instances(), compact=compact)
        assert "|speech|" not in text
        assert "|music|native|" in text
        assert "sayer" not in text


def test_installed_model_is_offered(larynx: None) -> None:
    assert takes(audio_type="speech", voice="anna")
    assert "|speech|native|" in guidance(instances=instances())
    assert [able.model.id for able in able_rows(instances())] == ["sayer", "tones"]
    assert describe_backends(instances())["sounds"].keys() == {"usable", "models"}


def test_audio_backends_omit_models_that_are_not_installed() -> None:
    assert [able.model.id for able in able_rows(instances())] == ["tones"]
    assert sound_makers(instances()) == {"speech": [], "music": ["sounds"]}


def test_capabilities_list_what_has_to_be_installed() -> None:
    received = describe_backends(instances())["sounds"]
    assert list(received["models"]) == ["tones"]
    assert received["not_installed"] == {"sayer": INSTALL}


def test_backend_without_an_installed_model_is_not_usable() -> None:
    schema = tool_schema("mcp", instances=instances(ONLY))
    assert "Usable backends: none" in schema["description"]
    assert "sounds" not in json.dumps(schema)
    assert "No backend is usable" in guidance(instances=instances(ONLY))
    assert describe_backends(instances(ONLY))["sounds"] == {"usable": False, "missing": [], "not_installed": {"sayer": INSTALL}}


@pytest.mark.anyio
async def test_call_of_a_model_not_installed_names_the_install_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with Router(registry=registry_of(SOUNDS), settings=Settings(), store=SqliteStore(":memory:")) as router:
        tool = MediaTool(router)
        for answer in (await tool.plan({"prompt": "hello", "mode": "audio"}), await tool.generate({"prompt": "hello", "mode": "audio"})):
            error = answer["error"]
            assert (error["code"], error["charged"], error["retry"]) == ("no_backend_available", "no", False)
            assert error["fix"] == INSTALL
            assert error["try_backends"] == []
        assert list(await router.store.calls()) == []

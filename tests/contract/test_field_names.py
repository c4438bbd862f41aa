"""Errors name a field, and what to write instead, as the caller of each interface writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click.testing
import pytest
from core.routing import fake_registry

from anymedia import GenerationConfig, Router, SqliteStore
from anymedia.agents import MediaTool
from anymedia.agents.responses import error_answer
from anymedia.cli.app import cli
from anymedia.cli.build_request import option_text
from anymedia.errors import Argument, InvalidRequest, MediaError
from anymedia.settings import Settings

#: A wrong field: its name in Python and in JSON, its value, and the words of the command line.
WRONG: list[tuple[str, Any, list[str]]] = [
    ("size", "64 by 48", ["image", "--size", "64 by 48"]),
    ("size", "1x99999999", ["image", "--size", "1x99999999"]),
    ("aspect_ratio", "broad", ["image", "--aspect-ratio", "broad"]),
    ("resolution", "a\0b", ["image", "--resolution", "a\0b"]),
    ("background", "blue", ["image", "--background", "blue"]),
    ("quality", "", ["image", "--quality", ""]),
    ("output_format", "pdf", ["image", "--format", "pdf"]),
    ("n", 0, ["image", "-n", "0"]),
    ("n", 101, ["image", "-n", "101"]),
    ("seed", -5, ["image", "--seed", "-5"]),
    ("guidance_scale", 5000.0, ["image", "--guidance", "5000"]),
    ("negative_prompt", "a\0b", ["image", "--negative", "a\0b"]),
    ("prompt", " ", ["image", " "]),
    ("output_path", "fox.pdf", ["image", "-o", "fox.pdf"]),
    ("input_images", ["gone.png"], ["edit", "gone.png"]),
    ("duration", 100_000.0, ["video", "--seconds", "100000"]),
    ("duration", 0.0, ["video", "--seconds", "0"]),
    ("speed", 99.0, ["audio", "--speed", "99"]),
    ("voice", "", ["audio", "--voice", ""]),
    ("instructions", "a\0b", ["audio", "--instructions", "a\0b"]),
    ("mask_path", "gone.png", ["edit", "photo.png", "--mask", "gone.png"]),
]
IDS = [f"{name}={value!r}" for name, value, _ in WRONG]


def _fields(name: str, value: Any, words: list[str]) -> dict[str, Any]:
    medium = "image" if words[0] == "edit" else words[0]
    more = {"input_images": ["photo.png"]} if name == "mask_path" else {}
    return {"prompt": "a fox", "media_type": medium, **more, name: value}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import PIL.Image

    PIL.Image.new("RGB", (64, 48)).save(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


@pytest.mark.anyio
@pytest.mark.parametrize(("name", "value", "words"), WRONG, ids=IDS)
async def test_wrong_field_in_python_is_named_as_an_argument(name: str, value: Any, words: list[str]) -> None:
    async with Router(settings=Settings(), registry=fake_registry(), store=SqliteStore(":memory:")) as router:
        with pytest.raises(InvalidRequest, match=rf"^{name}(\[\d\])?=?: "):
            config = GenerationConfig(**_fields(name, value, words))
            try:
                await router.check(await router.plan(config.to_request()), output=config.output_path)
            except InvalidRequest as error:
                raise config.locate(error) from None


@pytest.mark.anyio
@pytest.mark.parametrize(("name", "value", "words"), WRONG, ids=IDS)
async def test_wrong_field_of_an_agent_is_named_by_its_path(name: str, value: Any, words: list[str]) -> None:
    async with Router(settings=Settings(), registry=fake_registry(), store=SqliteStore(":memory:")) as router:
        error = (await MediaTool(router).plan(_fields(name, value, words)))["error"]
    assert error["problems"][0]["path"].partition("[")[0] == f"$.{name}"
    assert error["message"].startswith(f"$.{name}")


@pytest.mark.parametrize(("name", "value", "words"), WRONG, ids=IDS)
def test_wrong_field_on_the_command_line_is_named_by_its_option(name: str, value: Any, words: list[str]) -> None:
    given = words if name == "prompt" else [words[0], *(w for w in words[1:] if w == "photo.png"), *_rest(name, words)]
    done = click.testing.CliRunner().invoke(cli, [*given, "--dry-run"])
    option = {"prompt": "PROMPT", "input_images": "IMAGE"}.get(name, words[-2])
    assert done.exit_code != 0
    assert done.stderr.startswith(f"anymedia: {option}: "), done.stderr


def _rest(name: str, words: list[str]) -> list[str]:
    """Return the words after the source of an edit, with a prompt at its place."""
    return [*words[1:], "a fox"] if name == "input_images" else ["a fox", *words[-2:]]


@pytest.mark.parametrize(
    ("argument", "python", "option", "agent"),
    [
        (Argument("backend", "local"), "backend='local'", "--backend local", '"backend": "local"'),
        (Argument("model", "a b"), "model='a b'", "--model 'a b'", '"model": "a b"'),
        (Argument("continue_from"), "continue_from", "--continue", "continue_from"),
        (Argument("overwrite", True), "overwrite=True", "--force", '"overwrite": true'),
        (Argument("per_request"), "per_request", "--max-cost", "max_cost_usd"),
    ],
)
def test_fix_names_an_argument_in_the_words_of_each_interface(argument: Argument, python: str, option: str, agent: str) -> None:
    error = MediaError("it failed", fix=("use ", argument, ", or stop"))
    assert error.fix == f"use {python}, or stop"
    assert error.hint(argument=option_text) == f"use {option}, or stop"
    assert error_answer(error)["error"]["fix"] == f"use {agent}, or stop"

"""GenerationConfig: what is taken from JSON, what is refused, with which path and words."""

import json
import re
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiers import examples

from anymedia.errors import InvalidRequest
from anymedia.generation_config import AMBIENT, GenerationConfig
from anymedia.policy import Budget, Policy

#: The names that callers rely on, in full.
# fmt: off
NAMES = frozenset(
    {
        "prompt", "output_path", "media_type", "backend", "model", "quality", "duration", "voice", "aspect_ratio", "size", "extra_params",
        "input_images", "input_image_paths", "continue_from", "mask_path", "edit_mode", "output_format", "background", "negative_prompt",
        "seed", "guidance_scale", "style_image_path", "style_description", "control_image_path", "control_type", "subject_image_path",
        "subject_type", "subject_description", "mask_mode", "segmentation_classes", "last_frame_path", "strict", "n", "resolution",
        "references", "continue_as", "protect", "audio_type", "speed", "instructions", "input_video_path", "overwrite", "fallback",
        "prefer", "max_cost_usd", "preview", "bridge", "task", "task_inputs",
    }
)
# fmt: on


def refusal(given: object) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        GenerationConfig.from_json(given)  # type: ignore[arg-type]
    return caught.value


def paths(error: InvalidRequest) -> list[str]:
    return [problem.path for problem in error.problems]


def test_field_names_are_exactly_those_that_callers_use() -> None:
    assert {field.name for field in attrs.fields(GenerationConfig)} == NAMES
    assert NAMES > AMBIENT


def test_every_field_has_a_meaning_in_words() -> None:
    assert all(field.metadata["doc"] for field in attrs.fields(GenerationConfig))


def test_whole_json_text_is_read() -> None:
    config = GenerationConfig.from_json(
        b'{"prompt": "a fox", "mode": "image", "seed": 0, "guidance_scale": 7, "extra_params": {"a": [1, null]},'
        b' "input_images": ["a.png", {"path": "b.png"}, {"image_url": "https://example.org/c.png"}], "prefer": ["google"],'
        b' "segmentation_classes": [3, 1], "mask_path": "m.png", "strict": true, "output_path": "out/"}'
    )
    assert config.media_type == "image"
    assert config.seed == 0
    assert config.is_set("seed")
    assert config.guidance_scale == 7
    assert config.extra_params == {"a": [1, None]}
    assert config.input_images == ("a.png", {"path": "b.png"}, {"image_url": "https://example.org/c.png"})
    assert config.segmentation_classes == (3, 1)
    assert config.mask_path == Path("m.png")
    assert config.output_path == "out/"
    assert config.strict is True


def test_text_bytes_and_object_give_the_same_config() -> None:
    value = {"prompt": "a fox", "n": 2}
    text = json.dumps(value)
    assert GenerationConfig.from_json(value) == GenerationConfig.from_json(text) == GenerationConfig.from_json(text.encode())


def test_words_are_taken_in_any_case() -> None:
    config = GenerationConfig(prompt="x", mask_mode="AUTO", media_type="IMAGE", output_format=".JPG")
    assert (config.mask_mode, config.media_type, config.output_format) == ("auto", "image", "jpeg")


@pytest.mark.parametrize(
    ("field", "near"),
    [("promt", "prompt"), ("negative_promt", "negative_prompt"), ("style_image", "style_image_path"), ("Seed", "seed")],
)
def test_unknown_field_is_refused_with_a_did_you_mean(field: str, near: str) -> None:
    (problem,) = refusal({"prompt": "x", field: "y"}).problems
    assert problem.path == f"$.{field}"
    assert problem.message == "there is no such field"
    assert problem.suggestion == f"did you mean {near!r}?"


@pytest.mark.parametrize(
    ("given", "path", "words"),
    [
        ({"prompt": None}, "$.prompt", "missing"),
        ({}, "$.prompt", "missing"),
        ({"prompt": 12}, "$.prompt", "expected text, got a number"),
        ({"prompt": "x", "n": "two"}, "$.n", "expected a whole number, got text"),
        ({"prompt": "x", "n": "2.5"}, "$.n", "expected a whole number, got text"),
        ({"prompt": "x", "n": True}, "$.n", "expected a whole number, got true"),
        ({"prompt": "x", "n": 2.5}, "$.n", "expected a whole number, got a number"),
        ({"prompt": "x", "n": 0}, "$.n", "between 1 and 100"),
        ({"prompt": "x", "duration": "8s"}, "$.duration", "expected a number, got text"),
        ({"prompt": "x", "duration": False}, "$.duration", "expected a number, got false"),
        ({"prompt": "x", "strict": 1}, "$.strict", "expected true or false, got a number"),
        ({"prompt": "x", "size": "big"}, "$.size", "WIDTHxHEIGHT"),
        ({"prompt": "x", "aspect_ratio": "16-9"}, "$.aspect_ratio", "W:H"),
        ({"prompt": "x", "mode": "film"}, "$.mode", "image, video, audio"),
        ({"prompt": "x", "media_type": "film"}, "$.media_type", "image, video, audio"),
        ({"prompt": "x", "mode": "image", "media_type": "image"}, "$.mode", "another name for media_type"),
        ({"prompt": "x", "extra_params": []}, "$.extra_params", "expected an object, got a list"),
        ({"prompt": "x", "input_images": "a.png"}, "$.input_images", "expected a list, got text"),
        ({"prompt": "x", "input_images": [{"file": "a.png"}]}, "$.input_images", "item 0"),
        ({"prompt": "x", "input_images": ["a", {"path": "b", "url": "c"}]}, "$.input_images", "item 1"),
        ({"prompt": "x", "input_images": [{"image_url": "/etc/passwd"}]}, "$.input_images", "a local file goes under 'path'"),
        ({"prompt": "x", "input_images": [{"image_url": "file:///etc/passwd"}]}, "$.input_images", "http(s) or data"),
        ({"prompt": "x", "input_images": [{"path": "https://example.org/a.png"}]}, "$.input_images", "goes under 'image_url'"),
        ({"prompt": "x", "input_images": ["ftp://example.org/a.png"]}, "$.input_images", "not a URL"),
        ({"prompt": "x", "input_images": [7]}, "$.input_images", "expected a path"),
        ({"prompt": "x", "input_image_paths": ["a", 1]}, "$.input_image_paths[1]", "expected a path"),
        ({"prompt": "x", "input_image_paths": ["a.png"] * 101}, "$.input_image_paths", "at most 100"),
        ({"prompt": "x", "segmentation_classes": [1.5]}, "$.segmentation_classes[0]", "whole number"),
        ({"prompt": "x", "segmentation_classes": [-1]}, "$.segmentation_classes", "item 0"),
        ({"prompt": "x", "mask_path": "https://example.org/m.png"}, "$.mask_path", "not a URL"),
        ({"prompt": "x", "mask_path": "data:image/png;base64,AA"}, "$.mask_path", "not a URL"),
        ({"prompt": "x", "mask_path": " "}, "$.mask_path", "must not be empty"),
        ({"prompt": "x", "mask_path": "a" * 5000}, "$.mask_path", "longer than"),
        ({"prompt": "x", "seed": 2**63}, "$.seed", "between"),
        ({"prompt": "x", "seed": -1}, "$.seed", "between"),
        ({"prompt": "x", "output_format": "pgn"}, "$.output_format", "did you mean 'png'"),
        ({"prompt": " \n"}, "$.prompt", "empty"),
        ({"prompt": "a\0b"}, "$.prompt", "NUL"),
        ({"prompt": "\ud800"}, "$.prompt", "Unicode"),
        ({"prompt": "x" * 1_000_000}, "$.prompt", "at most 200000"),
        ({"prompt": "x", "guidance_scale": float("nan")}, "$.guidance_scale", "not a finite number"),
        ({"prompt": "x", "seed": 10**5000}, "$.seed", "too large"),
        ({"prompt": "x", "extra_params": {"a": {1: 2}}}, "$.extra_params.a", "not text"),
        ({"prompt": "x", "extra_params": {"a": b"bytes"}}, "$.extra_params.a", "bytes"),
    ],
)
def test_wrong_value_is_refused_with_its_path(given: dict[str, object], path: str, words: str) -> None:
    (problem,) = refusal(given).problems
    assert problem.path == path
    assert words in problem.message


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        '"prompt"',
        "{",
        '{"prompt": "a", "prompt": "b"}',
        '{"prompt": "a", "extra_params": {"b": 1, "b": 2}}',
        '{"prompt": "a", "seed": NaN}',
        '{"prompt": "a", "guidance_scale": Infinity}',
        '{"prompt": "a", "guidance_scale": 1e999}',
        '{"prompt": "a", "seed": 1' + "0" * 5000 + "}",
        "[" * 200_000,
        '{"prompt": "a", "extra_params": ' + '{"a":' * 40 + "1" + "}" * 41,
        '{"prompt": "\\ud800"}',
        '{"prompt": "a\\u0000b"}',
        '{"prompt": "a", "\\ud800": 1}',
        b"\xff\xfe\x00",
        b'{"prompt": "\xc3\x28"}',
        '{"prompt": "a"} trailing',
    ],
)
def test_hostile_json_is_an_invalid_request_and_never_anything_else(text: str | bytes) -> None:
    error = refusal(text)
    assert len(str(error)) < 500
    str(error).encode()


def test_cyclic_object_is_refused() -> None:
    loop: dict[str, object] = {"prompt": "x"}
    loop["extra_params"] = loop
    assert "nested too deeply" in str(refusal(loop))


def test_list_may_be_nested_as_deep_as_it_says_and_no_deeper() -> None:
    def nested(depth: int) -> dict[str, object]:
        value: object = 1
        for _ in range(depth):
            value = [value]
        return {"prompt": "x", "extra_params": {"a": value}}

    GenerationConfig.from_json(nested(19))
    assert "nested too deeply" in str(refusal(nested(20)))


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ({"n": "2"}, {"n": 2}),
        ({"n": " 2.0 "}, {"n": 2}),
        ({"n": 2.0}, {"n": 2}),
        ({"seed": "42"}, {"seed": 42}),
        ({"duration": "2.5", "mode": "video"}, {"duration": 2.5}),
        ({"max_cost_usd": "0.05"}, {"max_cost_usd": 0.05}),
        ({"strict": "True", "overwrite": "false"}, {"strict": True, "overwrite": False}),
    ],
)
def test_number_or_flag_written_as_text_is_read(given: dict[str, Any], read: dict[str, Any]) -> None:
    found = GenerationConfig.from_json({"prompt": "x", **given})
    assert {name: getattr(found, name) for name in read} == read
    assert {name: type(getattr(found, name)) for name in read} == {name: type(value) for name, value in read.items()}


def test_typed_fields_of_the_constructor_stay_typed() -> None:
    with pytest.raises(InvalidRequest, match="expected an integer"):
        GenerationConfig(prompt="x", n="2")  # type: ignore[arg-type]


def test_segmentation_class_is_a_number_from_0_to_9999() -> None:
    assert GenerationConfig(prompt="x", segmentation_classes=(0, 9999)).segmentation_classes == (0, 9999)
    for wrong in (-1, 10_000):
        (problem,) = refusal({"prompt": "x", "segmentation_classes": [wrong]}).problems
        assert problem.path == "$.segmentation_classes"
        assert problem.message.endswith("expected a class number from 0 to 9999")


def test_all_problems_are_reported_at_once() -> None:
    assert sorted(paths(refusal({"n": "two", "seed": "many", "colour": "red"}))) == ["$.colour", "$.n", "$.prompt", "$.seed"]


def test_hostile_key_is_quoted_and_cut_in_the_path() -> None:
    (problem,) = refusal({"prompt": "x", "a\u202e\x1b[31m" + "b" * 500: 1}).problems
    assert problem.path.isascii()
    assert problem.path.isprintable()
    assert len(problem.path) < 100


def test_field_given_as_none_is_not_given() -> None:
    nothing = {field.name: None for field in attrs.fields(GenerationConfig)} | {"prompt": "x"}
    assert GenerationConfig(**nothing) == GenerationConfig(prompt="x")  # type: ignore[arg-type]
    assert GenerationConfig.from_json(nothing) == GenerationConfig(prompt="x")
    assert GenerationConfig(prompt="x", extra_params={"a": None, "b": 1}).extra_params == {"b": 1}


def test_prompt_given_as_none_is_missing() -> None:
    with pytest.raises(InvalidRequest, match=r"^prompt=: is missing$"):
        GenerationConfig(prompt=None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "name", "value"),
    [
        ("control_type", "CONTROL_TYPE_CANNY", "edges"),
        ("control_type", "CONTROL_TYPE_SCRIBBLE", "scribble"),
        ("control_type", "CONTROL_TYPE_FACE_MESH", "face_mesh"),
        ("control_type", "CONTROL_TYPE_DEFAULT", None),
        ("subject_type", "SUBJECT_TYPE_ANIMAL", "animal"),
        ("subject_type", "subject_type_person", "person"),
        ("subject_type", "SUBJECT_TYPE_PRODUCT", "product"),
        ("subject_type", "SUBJECT_TYPE_DEFAULT", None),
        ("mask_mode", "MASK_MODE_FOREGROUND", "foreground"),
        ("mask_mode", "MASK_MODE_USER_PROVIDED", "user_provided"),
        ("mask_mode", "MASK_MODE_DEFAULT", None),
        ("edit_mode", "EDIT_MODE_INPAINT_INSERTION", "inpaint"),
        ("edit_mode", "EDIT_MODE_OUTPAINT", "outpaint"),
        ("edit_mode", "EDIT_MODE_DEFAULT", None),
    ],
)
def test_enumeration_name_of_google_is_read_as_our_word(field: str, name: str, value: str | None) -> None:
    config = GenerationConfig.from_json({"prompt": "x", field: name})
    assert getattr(config, field) == value


@pytest.mark.parametrize("name", ["EDIT_MODE_INPAINT_REMOVAL", "EDIT_MODE_BGSWAP"])
def test_enumeration_name_without_an_equivalent_is_refused_and_not_weakened(name: str) -> None:
    (problem,) = refusal({"prompt": "x", "edit_mode": name}).problems
    assert (problem.path, problem.message) == ("$.edit_mode", f"expected one of inpaint, outpaint, got {name!r}")


def test_field_in_a_message_is_named_as_python_or_json_writes_it() -> None:
    with pytest.raises(InvalidRequest) as caught:
        GenerationConfig(prompt="x", size="big")
    assert str(caught.value).startswith("size=: expected WIDTHxHEIGHT")
    assert caught.value.to_json()["message"].startswith("$.size: expected WIDTHxHEIGHT")
    assert caught.value.renamed({"size": "--size"}).message.startswith("--size: expected")


def test_config_made_in_python_is_checked_as_well() -> None:
    with pytest.raises(InvalidRequest) as caught:
        GenerationConfig(prompt="x", seed="7", input_image_paths="abc", prefer="google", overwrite="yes")  # type: ignore[arg-type]
    assert sorted(paths(caught.value)) == ["$.input_image_paths", "$.overwrite", "$.prefer", "$.seed"]


def test_path_object_is_taken_where_text_is() -> None:
    config = GenerationConfig.from_json(
        {"prompt": "x", "output_path": Path("a.png"), "mask_path": Path("m.png"), "input_images": [Path("i.png")]}
    )
    assert (config.output_path, config.mask_path, config.input_images) == ("a.png", Path("m.png"), (Path("i.png"),))


def test_call_tightens_the_policy_and_never_loosens_it() -> None:
    base = Policy(strict=True, budget=Budget(per_request=1.0, per_day=5.0), prefer=("a",))
    found = GenerationConfig(prompt="x", strict=False, max_cost_usd=9.0).policy(base)
    assert found == base
    found = GenerationConfig(prompt="x", max_cost_usd=0.5, fallback="off", prefer=("b",), preview=True, bridge=True).policy(base)
    assert found == base.but(budget=Budget(per_request=0.5, per_day=5.0), fallback="off", prefer=("b",), preview=True, bridge=True)
    assert GenerationConfig(prompt="x", strict=True).policy(Policy()).strict
    assert GenerationConfig(prompt="x", max_cost_usd=0.5).policy(Policy()).budget.per_request == 0.5
    assert GenerationConfig(prompt="x").policy(base) == base


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@examples(400)
@given(st.dictionaries(st.sampled_from([*sorted(NAMES), "mode", "x"]), json_values, max_size=6))
def test_any_object_gives_a_config_or_an_invalid_request(given: dict[str, object]) -> None:
    try:
        config = GenerationConfig.from_json({"prompt": "x", **given})
        config.to_request()
    except InvalidRequest as error:
        assert error.problems
        assert all(re.match(r"\$", problem.path) and problem.message for problem in error.problems)
        str(error).encode()


@examples(200)
@given(st.binary(max_size=200) | st.text(max_size=200))
def test_any_text_gives_a_config_or_an_invalid_request(text: str | bytes) -> None:
    try:
        GenerationConfig.from_json(text)
    except InvalidRequest as error:
        str(error).encode()


def test_from_json_blanks_around_words_mean_nothing() -> None:
    given = {
        "prompt": " a fox ",
        "mode": " Image ",
        "backend": "local\n",
        "quality": " high",
        "background": "OPAQUE ",
        "output_format": " png ",
    }
    config = GenerationConfig.from_json(given)
    assert (config.media_type, config.backend, config.quality) == ("image", "local", "high")
    assert (config.background, config.output_format, config.prompt) == ("opaque", "png", " a fox ")
    with pytest.raises(InvalidRequest, match="quality"):
        GenerationConfig.from_json({"prompt": "a fox", "quality": "  "})

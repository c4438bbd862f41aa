"""A listed model becomes a row that holds, whatever the list says; what it does not say is not offered."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire.openrouter_catalog import images, speech, videos

from anymedia.capabilities import Choice, ModelSpec, Range, ReferencesRule, parse_matrix
from openrouter_media.rows import image_row, speech_row, video_row

SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-5, 5000), st.floats(allow_nan=False), st.text(max_size=8), st.just("16:9"))
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3), max_leaves=8
)
DESCRIPTORS = st.one_of(
    ANYTHING,
    st.fixed_dictionaries({"type": st.just("enum"), "values": st.lists(SCALARS, max_size=4)}),
    st.fixed_dictionaries({"type": st.just("range"), "min": SCALARS, "max": SCALARS}),
    st.fixed_dictionaries({"type": st.sampled_from(["boolean", "lattice", "set"])}),
)
FIELDS = ("n", "size", "aspect_ratio", "resolution", "quality", "background", "output_format", "seed", "output_compression")
NAMES = st.sampled_from([*FIELDS, "input_references", "style"])
ENDPOINT = st.fixed_dictionaries({"supported_parameters": st.dictionaries(NAMES, DESCRIPTORS, max_size=6)})
VIDEO_KEYS = (
    "supported_resolutions", "supported_aspect_ratios", "supported_sizes", "supported_durations", "supported_frame_images",
    "generate_audio", "seed", "upscale_factor", "creativity", "pricing_skus", "description", "canonical_slug",
)  # fmt: skip


def read(row: dict[str, Any]) -> ModelSpec:
    return parse_matrix({"schema": 1, "models": [row]}, "list").models[0]


def image(*parameters: dict[str, Any]) -> tuple[ModelSpec, list[str]]:
    row, notes = image_row({"id": "a/b"}, [{"supported_parameters": p, "pricing": []} for p in parameters])
    return read(row), notes


def video(**entry: Any) -> tuple[ModelSpec, list[str]]:
    row, notes = video_row({"id": "a/b", **entry}, ())
    return read(row), notes


def test_list_of_the_fake_becomes_model_specs_with_nothing_ignored() -> None:
    for model in images().values():
        assert read(image_row(model.listed(), model.endpoints)[0]).operations
    for film in videos().values():
        assert read(video_row(film.listed(), film.modalities)[0]).operations
    for voice in speech().values():
        assert read(speech_row(voice.listed())[0]).operations


@given(st.lists(ENDPOINT, max_size=3))
def test_model_spec_from_any_endpoints_is_valid_and_offers_only_what_all_name(endpoints: list[dict[str, Any]]) -> None:
    row, _ = image_row({"id": "a/b"}, endpoints)
    read_row = read(row)
    for operation in read_row.operations.values():
        offered = {*operation.options, *operation.extra_params} - {"provider"}
        assert all(offered <= e["supported_parameters"].keys() for e in endpoints)


@given(
    st.dictionaries(st.sampled_from(VIDEO_KEYS), ANYTHING | st.lists(SCALARS, max_size=4), max_size=8),
    st.lists(st.text(max_size=5), max_size=2),
)
def test_model_spec_from_any_video_list_is_valid(entry: dict[str, Any], modalities: list[str]) -> None:
    row, _ = video_row({"id": "a/b", **entry}, modalities)
    assert read(row).operations


@given(st.dictionaries(st.sampled_from(["supported_voices", "supported_parameters", "canonical_slug"]), ANYTHING, max_size=3))
def test_model_spec_from_any_speech_list_is_valid(entry: dict[str, Any]) -> None:
    assert read(speech_row({"id": "a/b", **entry})[0]).operations


def test_descriptors_become_options() -> None:
    listed = {
        "n": {"type": "range", "min": 1, "max": 6},
        "seed": {"type": "range", "min": 0, "max": 99},
        "output_compression": {"type": "range", "min": 0, "max": 100},
        "quality": {"type": "enum", "values": ["low", "high"]},
        "resolution": {"type": "enum", "values": [512, "1K"]},
        "output_format": {"type": "enum", "values": ["png", "jpg"]},
        "watermark": {"type": "boolean"},
    }
    row, notes = image(listed)
    operation = row.operations["generate_image"]
    assert operation.options["n"] == Range(min=1, max=6, step=1)
    assert operation.options["seed"] == Range(min=0, max=99, step=1)
    assert operation.options["resolution"] == Choice(one_of=("512", "1K"))
    assert operation.options["output_format"] == Choice(one_of=("png", "jpeg"))
    assert operation.extra_params.keys() == {"provider", "output_compression", "watermark"}
    assert notes == []
    assert "edit_with_references" not in row.operations
    assert operation.inputs == {}


@pytest.mark.parametrize(
    ("descriptor", "most"),
    [({"type": "range", "min": 0, "max": 14}, 14), ({"type": "boolean"}, 1), ({"type": "enum", "values": [0, 3]}, 3)],
)
def test_pictures_are_offered_as_many_as_the_list_says(descriptor: dict[str, Any], most: int) -> None:
    row, _ = image({"input_references": descriptor})
    rule = row.operations["edit_with_references"].inputs["references"]
    assert isinstance(rule, ReferencesRule)
    assert rule.count[1] == most
    assert "continue_from" in row.operations["generate_image"].inputs


def test_model_that_must_be_given_a_picture_makes_none_from_words_alone() -> None:
    row, _ = image({"input_references": {"type": "range", "min": 1, "max": 2}})
    assert row.operations.keys() == {"edit_with_references"}


@pytest.mark.parametrize("descriptor", [None, {"type": "range", "min": 0, "max": 0}, {"type": "lattice"}, "yes"])
def test_pictures_that_are_not_certain_are_not_offered(descriptor: Any) -> None:
    row, _ = image({"input_references": descriptor})
    assert row.operations.keys() == {"generate_image"}


def test_endpoints_that_differ_offer_what_they_have_in_common() -> None:
    def endpoint(most: int, qualities: list[str], **more: Any) -> dict[str, Any]:
        return {"n": {"type": "range", "min": 1, "max": most}, "quality": {"type": "enum", "values": qualities}, **more}

    one = endpoint(6, ["low", "mid"], seed={"type": "boolean"}, size=None)
    row, notes = image(one, endpoint(2, ["mid", "high"], size={"type": "enum", "values": ["8x8"]}))
    options = row.operations["generate_image"].options
    assert options == {"n": Range(min=1, max=2, step=1), "quality": Choice(one_of=("mid",))}
    assert [note.partition(":")[0] for note in notes] == ["seed", "size"]


def test_null_and_absent_are_both_left_out_and_only_null_is_noted() -> None:
    row, notes = video(supported_durations=None, supported_resolutions=["720p"], seed=None)
    assert row.operations["generate_video"].options.keys() == {"resolution"}
    assert len(notes) == 2
    assert any("supported_durations" in n for n in notes)
    assert any(n.startswith("seed") for n in notes)


def test_false_means_unsupported_and_is_not_noted() -> None:
    row, notes = video(supported_durations=[5], seed=False, generate_audio=False)
    assert row.operations["generate_video"].options.keys() == {"duration"}
    assert notes == []


PRICES: list[tuple[dict[str, Any], list[tuple[str, tuple[float, float], Any]]]] = [
    ({"per-video-second": "0.50", "per-video-second-1080p": "0.75"}, [("second", (0.75, 0.75), ("1080p",)), ("second", (0.5, 0.5), None)]),
    ({"duration_seconds_with_audio": "0.40", "duration_seconds_without_audio": "0.20"}, [("second", (0.2, 0.4), None)]),
    (
        {"cents_per_video_output_second_720p": "3", "cents_per_image_input": "1"},
        [("second", (0.03, 0.03), ("720p",)), ("input_image", (0.01, 0.01), None)],
    ),
    ({"video_tokens": "0.000007"}, []),
    ({"per-video-second": "0.5", "per-output-megapixel": "0.1"}, []),
    ({"per-video-second": "?"}, []),
]


@pytest.mark.parametrize(("skus", "expected"), PRICES)
def test_prices_are_quoted_only_where_every_name_is_understood(skus: dict[str, Any], expected: list[Any]) -> None:
    row, _ = video(supported_durations=[5], supported_resolutions=["720p", "1080p"], pricing_skus=skus)
    prices = row.operations["generate_video"].prices
    assert [(p.per, p.usd, p.when.get("resolution")) for p in prices] == expected

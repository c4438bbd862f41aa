"""The matrix says what the provider's documentation says, with a source and a date for each row."""

from __future__ import annotations

import datetime
import subprocess
import sys

import pytest

from anymedia.capabilities import ModelSpec, Pixels, Stage
from anymedia.planning import BackendView, plan
from anymedia.policy import Policy
from anymedia.requests import GenerateImage, Operation
from openai_media import plugin

ROWS = plugin.capabilities().models
TODAY = datetime.date(2026, 11, 21)
NAMED = {
    "gpt-image-2.6-sunburst", "gpt-image-2.6-flare", "gpt-image-2.5-sunburst", "gpt-image-2.5-flare",
    "gpt-image-2.5-sunburst-2026-09-08", "gpt-image-2.5-flare-2026-09-08", "gpt-image-2", "gpt-image-2-2026-04-21",
    "gpt-image-1.5", "gpt-image-1.5-2025-12-16", "gpt-image-1-mini", "chatgpt-image-latest", "gpt-image-1", "dall-e-2",
    "dall-e-3", "sora-2", "sora-2-pro", "gpt-4o-mini-tts", "gpt-4o-mini-tts-2025-12-15", "gpt-4o-mini-tts-2025-03-20", "tts-1",
    "tts-1-hd",
}  # fmt: skip
# id -> (last day, certainty, stage on 2026-11-21)
ENDS: dict[str, tuple[str, str, Stage]] = {
    "dall-e-2": ("2026-05-12", "firm", "retired"),
    "dall-e-3": ("2026-05-12", "firm", "retired"),
    "gpt-image-1": ("2026-10-23", "firm", "retired"),
    "sora-2": ("2026-09-24", "firm", "retired"),
    "sora-2-pro": ("2026-09-24", "firm", "retired"),
    "gpt-image-1.5": ("2026-12-01", "firm", "retiring"),
    "gpt-image-1-mini": ("2026-12-01", "firm", "retiring"),
    "chatgpt-image-latest": ("2026-12-01", "firm", "retiring"),
    "gpt-4o-mini-tts": ("2027-01-06", "firm", "active"),
    "tts-1": ("2027-01-06", "firm", "active"),
    "tts-1-hd": ("2027-01-06", "firm", "active"),
}


def row(model: str) -> ModelSpec:
    found = plugin.capabilities().model(model)
    assert found is not None
    return found


def test_model_named_in_the_documentation_has_a_model_spec() -> None:
    assert {r.id for r in ROWS} == NAMED


@pytest.mark.parametrize("found", ROWS, ids=lambda r: r.id)
def test_model_spec_names_a_public_source_and_the_dates_of_check_and_price(found: ModelSpec) -> None:
    assert found.lifecycle.source.startswith("https://")
    assert found.lifecycle.checked is not None
    for operation in found.operations.values():
        for price in operation.prices:
            assert price.source.startswith("https://"), operation
            assert price.checked is not None
            assert price.basis
            assert 0 < price.usd[0] <= price.usd[1]


@pytest.mark.parametrize(("model", "end"), ENDS.items(), ids=ENDS)
def test_end_of_each_model_is_dated_and_judged(model: str, end: tuple[str, str, Stage]) -> None:
    life = row(model).lifecycle
    assert (str(life.retires), life.certainty, life.stage_on(TODAY)) == end


def test_replacement_of_a_retiring_image_model_is_active() -> None:
    for found in ROWS:
        if found.media == "image" and found.lifecycle.retires is not None:
            assert found.lifecycle.replacement is not None
            assert row(found.lifecycle.replacement).lifecycle.stage_on(TODAY) == "active"


def test_best_ranked_model_of_each_operation_is_active_unless_the_whole_api_ended() -> None:
    for operation in ("generate_image", "inpaint", "edit_with_references", "generate_audio"):
        best = min((r for r in ROWS if operation in r.operations), key=lambda r: r.rank)
        assert best.lifecycle.stage_on(TODAY) == "active", operation
    assert min((r for r in ROWS if r.media == "image"), key=lambda r: r.rank).id == "gpt-image-2.6-sunburst"


def test_image_of_an_active_model_can_be_continued_by_an_active_one() -> None:
    for found in (r for r in ROWS if r.id.startswith(("gpt-image", "chatgpt"))):
        assert found.continues_with[0] == found.id
        assert any(row(other).lifecycle.stage_on(TODAY) == "active" for other in found.continues_with)


@pytest.mark.parametrize(
    ("size", "taken"),
    [
        ("1024x1024", True),
        ("1024x640", True),
        ("1536x864", True),
        ("3840x2160", True),
        ("1920x1088", True),
        ("auto", True),
        ("1920x1080", False),  # 1080 is not a multiple of 16
        ("3856x2160", False),
        ("3840x2176", False),  # above 8,294,400 pixels
        ("1024x624", False),  # below 655,360 pixels
        ("3072x1008", False),  # beyond 3:1
    ],
)
def test_free_sizes_obey_the_sixteen_pixel_rule_and_its_bounds(size: str, taken: bool) -> None:
    for model in ("gpt-image-2.6-sunburst", "gpt-image-2.5-flare", "gpt-image-2"):
        option = row(model).operations["generate_image"].options["size"]
        assert isinstance(option, Pixels)
        assert (option.problem(size) is None) is taken
        if size != "auto":
            near = option.nearest(size)
            assert near is not None
            assert option.problem(near) is None


def test_differences_between_models_are_as_documented() -> None:
    def values(model: str, operation: Operation, name: str) -> tuple[str, ...]:
        found = row(model).operations[operation]
        option = found.options.get(name) or found.extra_params.get(name)
        return () if option is None else tuple(getattr(option, "one_of", ()))

    assert set(values("gpt-image-2.6-flare", "inpaint", "quality")) == {"low", "medium", "high", "xhigh", "max", "auto"}
    assert set(values("gpt-image-2.5-flare", "inpaint", "quality")) == {"low", "medium", "high", "xhigh", "max", "auto"}
    assert set(values("gpt-image-2", "inpaint", "quality")) == {"low", "medium", "high", "auto"}
    assert set(values("gpt-image-1-mini", "generate_image", "size")) == {"1024x1024", "1536x1024", "1024x1536", "auto"}
    takes_complexity = {r.id for r in ROWS if "inpaint" in r.operations and "complexity" in r.operations["inpaint"].extra_params}
    assert takes_complexity == {"gpt-image-2.6-sunburst", "gpt-image-2.6-flare"}
    fidelity = {r.id: values(r.id, "inpaint", "input_fidelity") for r in ROWS if "inpaint" in r.operations}
    assert {k: v for k, v in fidelity.items() if v} == {
        "gpt-image-1.5": ("high", "low"),
        "gpt-image-1.5-2025-12-16": ("high", "low"),
        "gpt-image-1-mini": ("low",),
    }
    for found in (r for r in ROWS if "inpaint" in r.operations and r.media == "image"):
        assert not {"gif", "svg"} & set(getattr(found.operations["generate_image"].options["output_format"], "one_of", ()))


def test_plugin_loads_its_matrix_without_the_sdk_or_any_http_library() -> None:
    program = (
        "import sys; from openai_media import plugin; plugin.capabilities();"
        "print(sorted({'openai','httpx2','httpx','aiohttp','asyncio','pydantic','PIL','msgspec'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("size", ["1024x1024", "1536x1024", "1024x1536", "1360x768", "3840x2160", "1920x1088"])
@pytest.mark.parametrize(("quality", "q"), [("low", 16), ("medium", 48), ("high", 96)])
def test_quote_of_an_image_with_size_and_quality_follows_from_the_count_of_tokens(size: str, quality: str, q: int) -> None:
    width, height = map(int, size.split("x"))
    tokens = q * round(q * min(width, height) / max(width, height)) * (2_000_000 + width * height) / 4_000_000
    usd = tokens * 30 / 1_000_000
    view = BackendView(name="openai", matrix=plugin.capabilities(), service="openai")
    request = GenerateImage(prompt="a fox", size=size, quality=quality)
    quotes = {model: plan(request, [view], Policy(), TODAY, model=model).quote.usd for model in ("gpt-image-2", "gpt-image-2.6-sunburst")}
    assert quotes["gpt-image-2"] == pytest.approx((usd, usd), abs=2e-6)
    assert quotes["gpt-image-2.6-sunburst"] == pytest.approx((usd, usd * (1 if quality == "high" else 4)), abs=2e-6)

"""The matrix says, per service, what is there, and until when."""

from __future__ import annotations

import datetime

import pytest

from anymedia.capabilities import Choice, ModelSpec, ReferencesRule
from anymedia.requests import Operation
from google_media.plugin import capabilities

TODAY = datetime.date(2026, 11, 21)
ROWS = capabilities().models


def rows(service: str, operation: Operation, stage: str = "active") -> list[str]:
    found = [r for r in ROWS if service in r.services and operation in r.operations and r.lifecycle.stage_on(TODAY) == stage]
    return [r.id for r in sorted(found, key=lambda r: r.rank)]


def row(model: str, service: str) -> ModelSpec:
    return next(r for r in ROWS if r.id == model and service in r.services)


def test_default_models_are_the_successors() -> None:
    for service in ("gemini", "agent_platform"):
        assert rows(service, "generate_image")[0] == "gemini-nano-banana-2.1"
        assert rows(service, "generate_video")[0] == "gemini-omni-1.2-flash"
        assert rows(service, "generate_audio")[0] == "gemini-3.8-flash-tts"


def test_veo_is_active_on_agent_platform_only() -> None:
    assert not [m for m in rows("gemini", "generate_video") if m.startswith("veo")]
    assert "veo-3.1-generate-001" in rows("agent_platform", "generate_video")


def test_every_imagen_model_is_retired_with_a_replacement() -> None:
    found = [r for r in ROWS if r.id.startswith("imagen")]
    assert len(found) == 6
    assert all(r.lifecycle.stage_on(TODAY) == "retired" and r.lifecycle.certainty == "firm" and r.lifecycle.replacement for r in found)


@pytest.mark.parametrize("model", ["veo-3.1-generate-001", "gemini-2.5-pro-preview-tts"])
def test_dates_that_sources_differ_on_are_reported_ones(model: str) -> None:
    assert all(r.lifecycle.certainty == "reported" for r in ROWS if r.id == model)


def test_model_spec_names_its_source_and_the_date_of_the_check() -> None:
    for r in ROWS:
        if r.lifecycle.released or r.lifecycle.retires or r.lifecycle.deprecated:
            assert r.lifecycle.source, r.id
            assert r.lifecycle.checked, r.id
        for operation in r.operations.values():
            assert all(p.source and p.checked and p.basis for p in operation.prices), r.id


def test_replacements_are_models_of_the_matrix() -> None:
    ids = {r.id for r in ROWS}
    assert {r.lifecycle.replacement for r in ROWS if r.lifecycle.replacement} <= ids


def test_only_agent_platform_takes_the_outputs_type() -> None:
    here, there = (row("gemini-nano-banana-2.1", s).operations["generate_image"] for s in ("gemini", "agent_platform"))
    assert "output_format" not in here.options
    assert there.options["output_format"] == Choice(one_of=("png", "jpeg"))
    assert "seed" in here.options
    assert "seed" in there.options
    omni = (row("gemini-omni-1.2-flash", s).operations["generate_video"].options for s in ("gemini", "agent_platform"))
    assert ["seed" in options for options in omni] == [False, True]


def test_512_pixels_are_for_one_model() -> None:
    with_512 = [
        r.id for r in ROWS if (o := r.operations.get("generate_image")) and "512" in getattr(o.options.get("resolution"), "one_of", ())
    ]
    assert set(with_512) == {"gemini-3.1-flash-image", "gemini-3.1-flash-image-preview"}


def test_masks_and_roles_are_native_on_the_typed_endpoint_and_emulated_elsewhere() -> None:
    for r in ROWS:
        operation = r.operations.get("edit_with_references")
        if operation is None:
            continue
        references = operation.inputs["references"]
        assert isinstance(references, ReferencesRule)
        levels = {role: rule.fidelity.level for role, rule in references.roles.items()}
        expected = "native" if r.id.startswith("imagen") else "emulated"
        assert levels == {"source": "native", "style": expected, "control": expected, "subject": expected}
        assert r.operations["inpaint"].fidelity.level == expected


WIDE = {"1:4", "4:1", "1:8", "8:1"}


def test_widest_shapes_are_for_the_flash_models_of_the_third_generation_on() -> None:
    for r in ROWS:
        for name, operation in r.operations.items():
            ratios = getattr(operation.options.get("aspect_ratio"), "one_of", ())
            if r.id.startswith(("gemini", "nano")) and r.media == "image":
                wide = r.id.startswith(("gemini-nano-banana-2.1", "gemini-3.1-flash-image"))
                assert (len(ratios), set(ratios) >= WIDE) == ((14, True) if wide else (10, False)), (r.id, name)


@pytest.mark.parametrize(("model", "most"), [("gemini-nano-banana-2.1", 14), ("gemini-3-pro-image", 14), ("gemini-2.5-flash-image", 3)])
def test_reference_pictures_are_bounded_as_published(model: str, most: int) -> None:
    for r in ROWS:
        if r.id == model:
            rule = r.operations["edit_with_references"].inputs["references"]
            assert isinstance(rule, ReferencesRule)
            assert (rule.count[1], {found.count[1] for found in rule.roles.values()}) == (most, {most})


def test_people_are_allowed_in_the_words_of_each_endpoint() -> None:
    """``types.ImageConfig`` knows ALLOW_NONE, ``types.PersonGeneration`` (Imagen) DONT_ALLOW, Veo small letters."""
    words = {"gemini": {"ALLOW_NONE", "ALLOW_ADULT", "ALLOW_ALL"}, "imagen": {"DONT_ALLOW", "ALLOW_ADULT", "ALLOW_ALL"}}
    words["veo"] = {"dont_allow", "allow_adult", "allow_all"}
    seen = set()
    for r in ROWS:
        for operation in r.operations.values():
            if (option := operation.extra_params.get("person_generation")) is not None:
                family = r.id.partition("-")[0]
                assert isinstance(option, Choice)
                assert set(option.one_of) == words[family], r.id
                seen.add(family)
    assert seen == set(words)


#: As the makers and the trade published it by the day of the check: model, service, stage then, its end, cheapest and dearest dollars.
PUBLISHED = [
    ("gemini-nano-banana-2.1", "gemini", "active", None, (0.0336, 0.0336)),
    ("gemini-nano-banana-2.1", "agent_platform", "active", None, (0.0336, 0.0336)),
    ("gemini-3-pro-image", "gemini", "active", None, (0.134, 0.134)),
    ("gemini-3-pro-image", "agent_platform", "active", "2027-05-28", (0.134, 0.134)),
    ("gemini-3.1-flash-image", "gemini", "retired", "2026-10-29", (0.045, 0.067)),
    ("gemini-3.1-flash-image", "agent_platform", "active", "2027-05-28", (0.045, 0.067)),
    ("gemini-3.1-flash-lite-image", "gemini", "active", None, (0.0336, 0.0336)),
    ("gemini-3.1-flash-lite-image", "agent_platform", "active", "2027-06-28", (0.0336, 0.0336)),
    ("gemini-2.5-flash-image", "gemini", "active", "2027-03-15", (0.039, 0.039)),
    ("gemini-3-pro-image-preview", "gemini", "retired", "2026-06-25", None),
    ("gemini-3.1-flash-image-preview", "gemini", "retired", "2026-06-25", None),
    ("imagen-4.0-generate-001", "gemini", "retired", "2026-08-17", None),
    ("imagen-4.0-ultra-generate-001", "agent_platform", "retired", "2026-08-17", None),
    ("imagen-4.0-fast-generate-001", "agent_platform", "retired", "2026-08-17", None),
    ("imagen-3.0-generate-002", "agent_platform", "retired", "2026-06-30", None),
    ("imagen-3.0-capability-001", "agent_platform", "retired", "2026-06-30", None),
    ("imagen-3.0-capability-002", "agent_platform", "retired", "2026-06-30", None),
    ("gemini-omni-1.2-flash", "gemini", "active", None, (0.023, 0.21)),
    ("gemini-omni-1.2-flash", "agent_platform", "active", None, (0.023, 0.21)),
    ("gemini-omni-1.1-flash", "gemini", "active", None, (0.09, 0.11)),
    ("gemini-omni-flash-preview", "gemini", "doubtful", "2026-09-30", None),
    ("veo-3.1-generate-001", "agent_platform", "active", "2027-05-04", (0.40, 0.40)),
    ("veo-3.1-fast-generate-001", "agent_platform", "active", "2027-05-04", (0.10, 0.12)),
    ("veo-3.1-lite-generate-001", "agent_platform", "active", None, (0.05, 0.08)),
    ("veo-3.1-generate-preview", "gemini", "retired", "2026-10-22", None),
    ("veo-3.0-generate-001", "agent_platform", "retired", "2026-06-30", None),
    ("veo-2.0-generate-001", "gemini", "retired", "2026-06-30", None),
    ("gemini-3.8-flash-tts", "gemini", "active", None, None),
    ("gemini-3.8-flash-lite-tts", "agent_platform", "active", None, None),
    ("gemini-2.5-pro-tts", "agent_platform", "active", None, None),
    ("gemini-3.1-flash-tts-preview", "gemini", "doubtful", "2026-11-17", None),
    ("gemini-2.5-flash-preview-tts", "gemini", "doubtful", "2026-11-17", None),
    ("lyria-3.5", "gemini", "active", None, (0.08, 0.08)),
    ("lyria-3-clip-preview", "gemini", "active", None, (0.04, 0.04)),
]


@pytest.mark.parametrize(("model", "service", "stage", "end", "dollars"), PUBLISHED, ids=lambda v: v if isinstance(v, str) else None)
def test_ends_and_prices_are_the_published_ones(
    model: str, service: str, stage: str, end: str | None, dollars: tuple[float, float] | None
) -> None:
    found = row(model, service)
    assert found.lifecycle.stage_on(TODAY) == stage
    assert (None if found.lifecycle.retires is None else str(found.lifecycle.retires)) == end
    if dollars is not None:
        usd = [price.usd for operation in found.operations.values() for price in operation.prices]
        assert (min(low for low, _ in usd), max(high for _, high in usd)) == dollars

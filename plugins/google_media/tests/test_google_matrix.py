"""The matrix says, per service, what is there, and until when."""

from __future__ import annotations

import datetime

import pytest

from anymedia.capabilities import Choice, ModelRow, ReferencesRule
from anymedia.requests import Operation
from google_media.plugin import capabilities

TODAY = datetime.date(2026, 11, 21)
ROWS = capabilities().models


def rows(service: str, operation: Operation, stage: str = "active") -> list[str]:
    found = [r for r in ROWS if service in r.services and operation in r.operations and r.lifecycle.stage_on(TODAY) == stage]
    return [r.id for r in sorted(found, key=lambda r: r.rank)]


def row(model: str, service: str) -> ModelRow:
    return next(r for r in ROWS if r.id == model and service in r.services)


def test_the_default_models_are_the_successors() -> None:
    for service in ("gemini", "agent_platform"):
        assert rows(service, "generate_image")[0] == "gemini-nano-banana-2.1"
        assert rows(service, "generate_video")[0] == "gemini-omni-1.2-flash"
        assert rows(service, "generate_audio")[0] == "gemini-3.8-flash-tts"


def test_veo_is_alive_on_agent_platform_only() -> None:
    assert not [m for m in rows("gemini", "generate_video") if m.startswith("veo")]
    assert "veo-3.1-generate-001" in rows("agent_platform", "generate_video")


def test_every_imagen_model_is_retired_with_a_replacement() -> None:
    found = [r for r in ROWS if r.id.startswith("imagen")]
    assert len(found) == 5
    assert all(r.lifecycle.stage_on(TODAY) == "retired" and r.lifecycle.certainty == "firm" and r.lifecycle.replacement for r in found)


@pytest.mark.parametrize("model", ["gemini-3.1-flash-image", "veo-3.1-generate-001", "gemini-2.5-pro-preview-tts"])
def test_dates_that_sources_differ_on_are_reported_ones(model: str) -> None:
    assert all(r.lifecycle.certainty == "reported" for r in ROWS if r.id == model)


def test_every_row_names_its_source_and_the_day_it_was_checked() -> None:
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

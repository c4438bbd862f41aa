"""Fitting options: a size expressed by other options is one change; unknown values are refused; case does not matter."""

from __future__ import annotations

import datetime
import tomllib

import pytest
from core.planning_matrices import matrix, views

from anymedia.capabilities import parse_matrix
from anymedia.errors import InvalidRequest
from anymedia.planning import BackendView, Plan, plan
from anymedia.policy import Policy
from anymedia.requests import GenerateImage

TODAY = datetime.date(2026, 11, 21)
FAMILY = """
schema = 1
[[models]]
id = "best"
media = "image"
rank = 10
[models.generate_image]
aspect_ratio = { one_of = ["1:1", "16:9"] }
resolution = { one_of = ["1K", "2K", "4K"], default = "1K" }
[[models]]
id = "lite"
like = "best"
rank = 20
[models.generate_image]
without = ["resolution"]
[[models]]
id = "exact"
media = "image"
rank = 30
[models.generate_image]
size = { one_of = ["1024x1024"] }
"""
VIEWS = [BackendView(name="family", matrix=parse_matrix(tomllib.loads(FAMILY), "family.toml"))]


@pytest.mark.parametrize(
    ("size", "model", "tier"), [("2048x2048", "best", "2K"), ("4096x4096", "best", "4K"), ("1024x1024", "exact", None)]
)
def test_size_in_model_specific_form_chooses_best_model(size: str, model: str, tier: str | None) -> None:
    found = plan(GenerateImage(prompt="a fox", size=size), VIEWS, Policy(), TODAY)
    assert found.chosen.model == model
    sent = found.calls[0].request
    assert isinstance(sent, GenerateImage)
    assert sent.resolution == tier


def planned(request: GenerateImage, policy: Policy | None = None, **named: str) -> Plan:
    return plan(request, views(), policy or Policy(), TODAY, **named)  # type: ignore[arg-type]


@pytest.mark.parametrize(("field", "value", "sent"), [("quality", "HIGH", "high")])
def test_option_word_in_another_case_is_sent_without_adjustment(field: str, value: str, sent: str) -> None:
    found = planned(GenerateImage(prompt="a fox", **{field: value}), Policy(strict=True), backend="pix")  # type: ignore[arg-type]
    assert getattr(found.calls[0].request, field) == sent
    assert found.adjustments == ()


@pytest.mark.parametrize(("quality", "sent"), [("HD", "high"), ("hq", "high"), ("fast", "low")])
def test_another_word_for_a_level_of_quality_is_sent_as_the_model_names_it(quality: str, sent: str) -> None:
    found = planned(GenerateImage(prompt="a fox", quality=quality), backend="pix")
    assert found.calls[0].request.quality == sent  # type: ignore[union-attr]
    assert [(a.field, a.kind, a.asked, a.sent) for a in found.adjustments] == [("quality", "snapped", quality, sent)]


def test_resolution_in_another_case_is_sent_without_adjustment() -> None:
    found = planned(GenerateImage(prompt="a fox", resolution="2k"), Policy(strict=True), backend="tiers")
    assert (found.calls[0].request.resolution, found.adjustments) == ("2K", ())  # type: ignore[union-attr]


@pytest.mark.parametrize("named", [{}, {"backend": "pix"}, {"model": "pix-2"}], ids=str)
@pytest.mark.parametrize(
    ("field", "value", "hint"),
    [("quality", "extreme", "low, high"), ("quality", "ultra", "high"), ("quality", "Draft", "low"), ("quality", "hihg", "high")],
)
def test_option_value_unknown_to_every_backend_is_refused_with_nearest(field: str, value: str, hint: str, named: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        planned(GenerateImage(prompt="a fox", **{field: value}), **named)  # type: ignore[arg-type]
    (problem,) = caught.value.problems
    assert problem.path == f"$.{field}"
    assert value in problem.message
    assert f"nearest supported: {hint}" in caught.value.fix
    assert [reason.code for reason in caught.value.reasons] == ["option_value"]


def test_nearest_value_is_that_of_the_backend_that_would_be_chosen() -> None:
    options = "generate_image.size = {{ one_of = {} }}\ngenerate_image.quality = {{ one_of = {} }}"
    row = f'schema = 1\n[[models]]\nid = "m"\nmedia = "image"\n{options}'
    small, large = row.format('["512x512"]', '["low", "medium"]'), row.format('["1024x1024"]', '["low", "high"]')
    found = [BackendView(name=name, matrix=matrix(text)) for name, text in (("a", small), ("b", large), ("c", small))]
    with pytest.raises(InvalidRequest) as caught:
        plan(GenerateImage(prompt="a fox", quality="ultra", size="1024x1024"), found, Policy(), TODAY)
    assert "'b/m': quality" in caught.value.message
    assert "nearest supported: high" in caught.value.fix


def test_option_value_with_a_named_backend_without_that_option_is_ignored_and_reported() -> None:
    found = planned(GenerateImage(prompt="a fox", quality="ultra"), backend="tiers")
    assert [(a.field, a.kind) for a in found.adjustments] == [("quality", "ignored")]


def test_option_value_known_to_one_model_only_chooses_that_model() -> None:
    special = 'schema = 1\n[[models]]\nid = "special"\nmedia = "image"\ngenerate_image.quality = { one_of = ["ultra"] }'
    found = [*views(), BackendView(name="special", matrix=matrix(special))]
    chosen = plan(GenerateImage(prompt="a fox", quality="ultra"), found, Policy(prefer=("pix", "special")), TODAY)
    assert chosen.chosen.model == "special"


def test_resolution_that_is_not_a_tier_is_refused_with_the_tiers() -> None:
    with pytest.raises(InvalidRequest, match=r"resolution accepts 1K, 2K, 4K, not 'huge'"):
        planned(GenerateImage(prompt="a fox", resolution="huge"), backend="tiers")

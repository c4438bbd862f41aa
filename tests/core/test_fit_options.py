"""A size in pixels expressed by other options counts as one change, so that it does not favour a lesser model."""

from __future__ import annotations

import datetime
import tomllib

import pytest

from anymedia.capabilities import parse_matrix
from anymedia.planning import BackendView, plan
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

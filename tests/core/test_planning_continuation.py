"""What is continued goes on with the model that made it, as long as that one lives and nothing is lost by it."""

from __future__ import annotations

import datetime

import pytest

from anymedia.capabilities import parse_matrix
from anymedia.planning import BackendView, plan
from anymedia.policy import Policy
from anymedia.requests import Continuation, GenerateImage

_ALL = ["best", "second", "old"]
_ROW = {"prompt": {}, "size": {"one_of": ["512x512"]}, "continue_from": {"ways": ["chat"]}}
_WIDE = {**_ROW, "size": {"one_of": ["512x512", "2048x512"]}}
_ENDED = {"retires": "2026-11-01", "certainty": "reported"}
MATRIX = parse_matrix(
    {
        "schema": 1,
        "models": [
            {"id": "best", "rank": 1, "continues_with": _ALL, "generate_image": _WIDE},
            {"id": "second", "rank": 2, "continues_with": _ALL, "generate_image": _ROW},
            {
                "id": "old",
                "rank": 3,
                "continues_with": _ALL,
                "generate_image": _ROW,
                "lifecycle": {"retires": "2026-11-01", "certainty": "reported"},
            },
        ],
    },
    "test",
)


def chosen(model: str, **options: str) -> str:
    handle = Continuation(id=f"x_{model}", backend="a", model=model, media="image")
    request = GenerateImage(prompt="on", continue_from=handle, **options)  # type: ignore[arg-type]
    return plan(request, [BackendView(name="a", matrix=MATRIX)], Policy(), datetime.date(2026, 11, 21)).chosen.model


@pytest.mark.parametrize("model", ["best", "second"])
def test_a_model_goes_on_with_its_own_work_although_another_ranks_better(model: str) -> None:
    assert chosen(model) == model


def test_a_model_that_may_have_ended_leaves_it_to_the_best_that_lives() -> None:
    assert chosen("old") == "best"


def test_a_model_that_would_have_to_change_what_is_asked_leaves_it_to_one_that_would_not() -> None:
    assert chosen("second", size="2048x512") == "best"


def test_without_a_continuation_the_rank_decides() -> None:
    found = plan(GenerateImage(prompt="x"), [BackendView(name="a", matrix=MATRIX)], Policy(), datetime.date(2026, 11, 21))
    assert found.chosen.model == "best"

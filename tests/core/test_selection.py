"""Errors for unknown models: another service or instance that has them, the nearest name."""

from __future__ import annotations

import datetime

import pytest
from core.test_instances import MATRIX, plugin

from anymedia.errors import UnknownModel
from anymedia.planning import BackendView, plan
from anymedia.plugins.instances import make_instances
from anymedia.plugins.registry import Registry
from anymedia.policy import Policy
from anymedia.requests import GenerateImage
from anymedia.settings import InstanceSettings, Settings

TODAY = datetime.date(2026, 11, 21)


def views(*services: str) -> list[BackendView]:
    registry = Registry()
    registry.register("maker", plugin(MATRIX))
    own = {f"my{s}": InstanceSettings(name=f"my{s}", plugin="maker", service=s) for s in services}
    made = make_instances(registry, Settings(instances=own, disabled=frozenset({"maker"})), {})
    return [instance.view for instance in made.values()]


@pytest.mark.parametrize("model", ["vertex-only", "myplain/vertex-only"])
def test_model_of_other_service_names_the_service(model: str) -> None:
    with pytest.raises(UnknownModel) as caught:
        plan(GenerateImage(prompt="a fox"), views("plain"), Policy(), TODAY, backend="myplain", model=model)
    assert caught.value.message == "'myplain' has no model 'vertex-only': it belongs to the service 'vertex', this instance uses 'plain'"
    assert caught.value.fix == "configure an instance with service = 'vertex'"


def test_model_of_other_instance_names_the_instance() -> None:
    with pytest.raises(UnknownModel) as caught:
        plan(
            GenerateImage(prompt="a fox"),
            views("plain", "vertex"),
            Policy(),
            TODAY,
            backend="myplain",
            model="vertex-only",
        )
    assert caught.value.fix == "use backend='myvertex'"


def test_model_unknown_everywhere_suggests_nearest() -> None:
    with pytest.raises(UnknownModel, match=r"no model of 'myplain' named 'plain-onlie'; did you mean 'plain-only'\?"):
        plan(GenerateImage(prompt="a fox"), views("plain"), Policy(), TODAY, backend="myplain", model="plain-onlie")

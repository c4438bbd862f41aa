"""Planner: preferences outrank our own ranking; ``prefer`` is an order, a default of the settings is a choice."""

from __future__ import annotations

import datetime
import itertools
import tomllib
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from core.planning_matrices import LOCAL, matrix, views

from anymedia.capabilities import parse_matrix
from anymedia.errors import InvalidRequest, NoBackendAvailable, RequestError, UnsupportedOperation
from anymedia.media import Image, Video
from anymedia.planning import BackendView, Default, Plan, Planner, plan
from anymedia.plugins.instances import make_instances
from anymedia.plugins.registry import discover
from anymedia.policy import Policy
from anymedia.requests import (
    Continuation,
    ContinueVideo,
    EditWithReferences,
    GenerateAudio,
    GenerateImage,
    GenerateVideo,
    Inpaint,
    Mask,
    Reference,
    Request,
    Transform,
)
from anymedia.settings import Settings

TODAY = datetime.date(2026, 11, 21)
FOX = GenerateImage(prompt="a fox")
MASKED = Inpaint(prompt="a hat", source=Image(path="a.png"), mask=Mask(image=Image(path="m.png")))
#: One or more requests of each operation, some of which only one of the backends can honour.
REQUESTS: list[Request] = [
    FOX,
    GenerateImage(prompt="a fox", seed=3, output_format="webp"),
    GenerateImage(prompt="a fox", n=3, quality="high"),
    GenerateImage(prompt="a fox", extra_params={"moderation": "low"}),
    MASKED,
    Inpaint(prompt="a hat", source=Image(path="a.png"), mask=Mask(mode="semantic", classes=(1,))),
    EditWithReferences(prompt="a hat", references=(Reference(image=Image(path="a.png")),)),
    EditWithReferences(prompt="a hat", references=(Reference(image=Image(path="a.png"), role="style"),)),
    GenerateVideo(prompt="waves"),
    GenerateVideo(prompt="waves", duration=60),
    ContinueVideo(prompt="on", continue_from=Continuation(id="v", backend="tiers", model="tier-video", media="video")),
    GenerateAudio(prompt="hello"),
]
NAMES = ("pix", "tiers", "local", "pix/pix-2", "pix/pix-0", "tiers/tier-image", "tiers/tier-video", "local/scene")


def planner(*prefer: str, default: str | None = None, unusable: tuple[str, ...] = (), free: bool = True) -> Planner:
    found = [attrs.evolve(view, missing=("KEY",) if view.name in unusable else ()) for view in views()]
    if not free:
        text = LOCAL.replace("usd = 0", "usd = 0.5")
        found = [BackendView(name="local", matrix=matrix(text)) if view.name == "local" else view for view in found]
    chosen = None if default is None else Default(name=default, setting="[defaults] image")
    return Planner(views=found, policy=Policy(prefer=prefer), today=TODAY, default=chosen)


def outcome(planner: Planner, request: Request, **named: Any) -> Plan | RequestError:
    try:
        return planner.plan(request, **named)
    except RequestError as error:
        return error


def able(request: Request, name: str, unusable: tuple[str, ...] = ()) -> bool:
    """Whether a backend or model can honour a request if the caller names it."""
    key = "model" if "/" in name else "backend"
    return isinstance(outcome(planner(unusable=unusable), request, **{key: name}), Plan)


def preferences() -> Iterator[tuple[Request, tuple[str, ...]]]:
    """Yield each request with each order of two backends, and with each single model."""
    yield from itertools.product(REQUESTS, itertools.permutations(NAMES[:3], 2))
    yield from itertools.product(REQUESTS, ((name,) for name in NAMES[3:]))


UNUSABLE = pytest.mark.parametrize("unusable", [(), ("pix",), ("tiers",)], ids=["all usable", "pix unusable", "tiers unusable"])


@UNUSABLE
def test_prefer_any_backends_and_operation_chooses_first_able_one(unusable: tuple[str, ...]) -> None:
    for request, names in preferences():
        found = outcome(planner(*names, unusable=unusable), request)
        first = next((name for name in names if able(request, name, unusable)), None)
        if not isinstance(found, Plan):
            assert not any(able(request, view.name, unusable) for view in views()), (request, names)
            continue
        if first is not None:
            assert first in {found.chosen.backend, str(found.chosen)}, (request, names)
        passed_over = names if first is None else names[: names.index(first)]
        texts = [warning.text for warning in found.warnings if warning.code == "preference_unused"]
        assert [text.split("'")[1] for text in texts] == list(passed_over), (request, names)


@UNUSABLE
def test_default_any_backend_and_operation_is_chosen_if_able_and_else_refused_unless_free(unusable: tuple[str, ...]) -> None:
    for request, name in itertools.product(REQUESTS, NAMES):
        found = outcome(planner(default=name, unusable=unusable), request)
        plain = outcome(planner(unusable=unusable), request)
        if getattr(request, "continue_from", None) is not None:
            assert str(found) == str(plain)  # a continuation stays where it was made
        elif able(request, name, unusable):
            assert isinstance(found, Plan), (request, name)
            assert name in {found.chosen.backend, str(found.chosen)}
            assert found.named  # no fallback to another backend
        elif isinstance(plain, Plan) and plain.quote.usd == (0, 0):
            assert isinstance(found, Plan), (request, name)
            assert found.chosen == plain.chosen
            assert [w.code for w in found.warnings if "[defaults]" in w.text] == ["default_unused"]
        else:
            assert isinstance(found, RequestError), (request, name)
            assert f"[defaults] image = '{name}'" in str(found)
            assert "backend=" in found.fix and "[defaults] image" in found.fix
            assert all(able(request, other, unusable) for other in found.try_backends)


@pytest.mark.parametrize("name", ["tiers", "local", "local/scene"])
def test_preference_outranks_native_and_last_resort(name: str) -> None:
    assert name in {(chosen := planner(name).plan(FOX).chosen).backend, str(chosen)}
    assert name in {(chosen := planner(default=name).plan(FOX).chosen).backend, str(chosen)}
    assert planner("tiers").plan(MASKED).chosen.backend == "tiers"  # emulated there, native on pix


def test_default_local_with_a_key_set_stays_free() -> None:
    assert planner().plan(FOX).chosen.backend == "pix"
    assert planner(default="local").plan(FOX).quote.usd == (0, 0)


def test_default_unusable_is_refused_with_setting_and_alternative() -> None:
    with pytest.raises(NoBackendAvailable) as caught:
        planner(default="tiers", unusable=("tiers",)).plan(GenerateImage(prompt="a fox"))
    assert caught.value.message == "[defaults] image = 'tiers': 'tiers' is not usable: KEY is not set."
    fix = "set KEY; use another backend for this request (backend='pix'), or change [defaults] image"
    assert caught.value.fix == fix
    assert caught.value.try_backends == ("pix", "local")


@pytest.mark.parametrize(("limit", "able"), [(None, ("pix", "tiers")), (0.15, ("tiers", "pix"))])
def test_suggested_backend_that_needs_no_approval_comes_first(limit: float | None, able: tuple[str, ...]) -> None:
    picture = EditWithReferences(prompt="a hat", references=(Reference(image=Image(path="a.png")),))
    with pytest.raises(UnsupportedOperation) as caught:
        plan(picture, views(), policy=Policy(ask_above_usd=limit), today=TODAY, backend="local")
    assert caught.value.try_backends == able
    assert f"use backend={able[0]!r}" in caught.value.fix


def test_default_unable_is_refused_and_prefer_unable_is_passed_over() -> None:
    request = GenerateImage(prompt="a fox", extra_params={"moderation": "low"})
    with pytest.raises(RequestError, match=r"\[defaults\] image = 'tiers': 'tiers/tier-image' has no extra parameter"):
        planner(default="tiers").plan(request)
    found = planner("tiers").plan(request)
    assert found.chosen.backend == "pix"
    assert [w.code for w in found.warnings if w.code == "preference_unused"] == ["preference_unused"]


def test_default_unable_with_free_alternative_uses_it_with_warning() -> None:
    found = planner(default="tiers", unusable=("tiers", "pix")).plan(FOX)
    assert found.chosen.backend == "local"
    warning = "[defaults] image = 'tiers' cannot be used: 'tiers' is not usable: KEY is not set; 'local/scene' is used instead"
    assert f"{warning}, which costs nothing" in [w.text for w in found.warnings]
    with pytest.raises(NoBackendAvailable):
        planner(default="tiers", unusable=("tiers", "pix"), free=False).plan(FOX)


def test_default_that_is_chosen_gives_no_reason_against_a_preference() -> None:
    found = planner("pix", default="local").plan(FOX)
    assert found.chosen.backend == "local"
    assert "preference_unused" not in {warning.code for warning in found.warnings}


def test_name_given_by_the_caller_outranks_default_and_prefer() -> None:
    assert planner("tiers", default="local").plan(FOX, backend="pix").chosen.backend == "pix"
    assert planner("local", default="tiers").plan(FOX, model="pix-2").chosen.model == "pix-2"


def test_preferred_alias_and_preview_model_are_understood() -> None:
    text = """
schema = 1
[[models]]
id = "paint-2"
aliases = ["paint"]
media = "image"
preview = true
generate_image = {}
"""
    found = [*views(), BackendView(name="other", matrix=matrix(text))]
    default = Default(name="other/paint", setting="[defaults] image")
    for own in (Planner(views=found, policy=Policy(prefer=("other/paint",)), today=TODAY),
                Planner(views=found, policy=Policy(), today=TODAY, default=default)):  # fmt: skip
        assert str(own.plan(FOX).chosen) == "other/paint-2"


def test_default_without_any_able_backend_names_the_setting() -> None:
    with pytest.raises(UnsupportedOperation, match=r"\[defaults\] image = 'pix': "):
        planner(default="pix").plan(GenerateAudio(prompt="hello"))


ADVICE = """
schema = 1
[[models]]
id = "m"
media = "image"
[models.generate_image]
%s
"""


@pytest.mark.parametrize(
    ("fields", "chosen"),
    [
        ({}, "a"),
        ({"quality": "high"}, "b"),
        ({"quality": "High"}, "b"),
        ({"seed": 3}, "a"),
        ({"quality": "high", "seed": 3}, "c"),
        ({"quality": "high", "seed": 3, "size": "256x256"}, "a"),  # an adjustable field counts first
    ],
)
def test_candidate_that_honours_more_advisory_options_is_chosen(fields: dict[str, Any], chosen: str) -> None:
    size = 'size = { one_of = ["256x256", "512x512"] }'
    quality = 'quality = { one_of = ["low", "high"] }'
    options = {
        "a": [size, "seed = { min = 0, max = 9, step = 1 }"],
        "b": [size, quality],
        "c": [quality, "seed = { min = 0, max = 9, step = 1 }"],
    }
    views = [BackendView(name=n, matrix=parse_matrix(tomllib.loads(ADVICE % "\n".join(o)), "x")) for n, o in options.items()]
    assert plan(GenerateImage(prompt="a fox", **fields), views, Policy(), TODAY).chosen.backend == chosen


def test_error_is_about_the_candidate_that_would_be_chosen_first() -> None:
    quality = 'quality = { one_of = ["low", "high"] }'
    views = [BackendView(name=n, matrix=parse_matrix(tomllib.loads(ADVICE % quality), "x")) for n in "abc"]
    for prefer in ((), ("b",), ("c", "a")):
        with pytest.raises(InvalidRequest) as caught:
            plan(GenerateImage(prompt="a fox", quality="extreme"), views, Policy(prefer=prefer), TODAY)
        assert f"'{(*prefer, 'a')[0]}/m'" in caught.value.message


KEYS = {
    "openai": "OPENAI_API_KEY",
    "google": "GEMINI_API_KEY",
    "grok": "XAI_API_KEY",
    "openrouter": "OPENROUTER_API_KEY",
    "fal": "FAL_KEY",
    "local": "",
}
#: What the published backends are asked for: each operation, with and without options that some of them lack.
SHIPPED: list[Request] = [
    *(request for request in REQUESTS if getattr(request, "continue_from", None) is None and not request.extra_params),
    GenerateImage(prompt="a fox", size="1024x1024", quality="high", seed=3),
    GenerateImage(prompt="a fox", background="transparent"),
    GenerateVideo(prompt="waves", first_frame=Image(path="a.png")),
    ContinueVideo(prompt="on", source=Video(path="a.mp4", seconds=4.0)),
    GenerateAudio(prompt="calm piano", audio_type="music"),
    Transform(task="upscale", inputs={"image": Image(path="a.png")}),
    Transform(task="remove_background", inputs={"image": Image(path="a.png")}),
]


@pytest.fixture(scope="module")
def shipped() -> tuple[BackendView, ...]:
    keys = dict.fromkeys(KEYS.values(), "k-0123456789")
    return tuple(instance.view for instance in make_instances(discover(), Settings(), keys).values())


@pytest.mark.parametrize("name", KEYS)
def test_prefer_published_backend_is_chosen_whenever_it_is_able(name: str, shipped: tuple[BackendView, ...]) -> None:
    chosen = 0
    for request in SHIPPED:
        alone = outcome(Planner(views=shipped, policy=Policy(), today=TODAY), request, backend=name)
        preferred = outcome(Planner(views=shipped, policy=Policy(prefer=(name,)), today=TODAY), request)
        default = outcome(Planner(views=shipped, policy=Policy(), today=TODAY, default=Default(name=name, setting="[defaults] x")), request)
        if isinstance(alone, Plan):
            assert isinstance(preferred, Plan) and isinstance(default, Plan)
            assert preferred.chosen == default.chosen == alone.chosen, request
            chosen += 1
            continue
        unused = [] if isinstance(preferred, RequestError) else [w.text for w in preferred.warnings if w.code == "preference_unused"]
        assert isinstance(preferred, RequestError) or unused[0].startswith(f"'{name}' is preferred, but "), request
        assert isinstance(default, RequestError) or default.quote.usd == (0, 0), request
    assert chosen >= 2
    assert sorted(KEYS) == sorted(view.name for view in shipped)

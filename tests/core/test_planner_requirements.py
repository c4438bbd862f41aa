"""Planner: a model whose required library is absent is not chosen, and the error names the install command."""

from __future__ import annotations

import datetime
from typing import Any

import attrs
import pytest
from core.planning_matrices import PIXELS, matrix
from core.test_planner import NAMED, policies, requests
from hypothesis import given
from hypothesis import strategies as st
from tiers import examples

from anymedia.errors import InvalidRequest, ModelRetired, NoBackendAvailable, RequestError, UnsupportedInput, UnsupportedOperation
from anymedia.media import Image
from anymedia.planning import BackendView, Plan, plan
from anymedia.policy import Budget, Policy
from anymedia.requests import GenerateAudio, GenerateImage, Inpaint, Mask, Request

TODAY = datetime.date(2026, 11, 21)
NEEDS = """requires = { module = "larynx", install = "pip install 'sounds[speech]'" }"""
SOUNDS = f"""
schema = 1
last_resort = true
[[models]]
id = "voice"
media = "audio"
{NEEDS}
prices = [{{ per = "call", usd = 1 }}]
[models.generate_audio]
prompt = {{ max_chars = 20 }}
audio_type = {{ one_of = ["speech"], fixed = true }}
[[models]]
id = "tones"
media = "audio"
[models.generate_audio]
audio_type = {{ one_of = ["music"], fixed = true }}
"""
TALKER = """
schema = 1
[[models]]
id = "talker"
media = "audio"
[models.generate_audio]
audio_type = { one_of = ["speech"] }
"""
SPEECH = GenerateAudio(prompt="hello")
INSTALL = "pip install 'sounds[speech]'"


def sounds(*absent: str, text: str = SOUNDS, **more: Any) -> BackendView:
    return BackendView(name="sounds", matrix=matrix(text), absent=frozenset(absent), **more)


def talker(**more: Any) -> BackendView:
    return BackendView(name="talker", matrix=matrix(TALKER), **more)


def planned(request: Request, *views: BackendView, policy: Policy | None = None, **named: Any) -> Plan:
    return plan(request, views, policy or Policy(), TODAY, **named)


def refused(request: Request, *views: BackendView, policy: Policy | None = None, **named: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        planned(request, *views, policy=policy, **named)
    return caught.value


def test_view_without_absent_modules_is_complete() -> None:
    assert planned(SPEECH, BackendView(name="sounds", matrix=matrix(SOUNDS))).chosen.model == "voice"
    assert planned(SPEECH, sounds("something_else")).chosen.model == "voice"


@pytest.mark.parametrize("named", [{}, {"backend": "sounds"}, {"model": "voice"}, {"model": "sounds/voice"}], ids=str)
def test_requirement_absent_is_refused_with_install_command(named: dict[str, str]) -> None:
    error = refused(SPEECH, sounds("larynx"), **named)
    assert type(error) is NoBackendAvailable
    assert error.message == "'sounds/voice' needs 'larynx', which is not installed."
    assert error.fix == INSTALL
    assert (error.try_backends, error.charged, error.retry) == ((), "no", False)


def test_requirement_absent_for_other_model_is_ignored() -> None:
    assert planned(GenerateAudio(prompt="C4", audio_type="music"), sounds("larynx")).chosen.model == "tones"


def test_requirement_absent_uses_other_backend_with_reason() -> None:
    found = planned(SPEECH, sounds("larynx"), talker())
    assert (found.chosen.backend, found.alternatives) == ("talker", ())
    (reason,) = next(r.reasons for r in found.rejected if str(r.candidate) == "sounds/voice")
    assert (reason.code, reason.field, reason.nearest) == ("not_installed", "", INSTALL)
    assert reason.text == "'sounds/voice' needs 'larynx', which is not installed"


def test_requirement_absent_suggests_able_backend_and_command() -> None:
    error = refused(SPEECH, sounds("larynx"), talker(), backend="sounds")
    assert error.try_backends == ("talker",)
    assert error.fix == f"{INSTALL}; or omit backend and model, or use backend='talker'"
    assert planned(SPEECH, sounds("larynx"), talker(), backend="talker").chosen.backend == "talker"


def test_requirement_absent_is_nearer_than_missing_key() -> None:
    error = refused(SPEECH, sounds("larynx"), talker(missing=("TALKER_KEY",)))
    assert error.message == "'sounds/voice' needs 'larynx', which is not installed."
    assert error.fix == f"{INSTALL}; also possible after setup: talker (set TALKER_KEY)"


def test_requirement_absent_is_nearer_than_changed_request() -> None:
    """Without it 'tones' is nearest, which would need a request for music instead."""
    without = attrs.evolve(matrix(SOUNDS), models=matrix(SOUNDS).models[1:])
    assert isinstance(refused(SPEECH, BackendView(name="sounds", matrix=without)), UnsupportedOperation)
    assert INSTALL in refused(SPEECH, sounds("larynx")).fix


def test_requirement_useless_once_installed_is_not_suggested() -> None:
    long = GenerateAudio(prompt="x" * 21)
    voice = sounds("larynx", text=SOUNDS.partition('[[models]]\nid = "tones"')[0])
    error = refused(long, voice, talker(missing=("TALKER_KEY",)))
    assert error.message == "'talker' is not usable: TALKER_KEY is not set."
    assert INSTALL not in str(error)
    assert INSTALL not in str(refused(long, sounds("larynx")))
    assert isinstance(refused(long, sounds("larynx"), model="voice"), NoBackendAvailable)  # the only named one


def test_requirement_over_cap_is_not_suggested() -> None:
    error = refused(SPEECH, sounds("larynx"), policy=Policy(budget=Budget(per_request=0.5)))
    assert INSTALL not in str(error)
    assert INSTALL in str(refused(SPEECH, sounds("larynx"), policy=Policy(budget=Budget(per_request=1.5))))


def test_requirement_and_key_missing_are_both_reported() -> None:
    error = refused(SPEECH, sounds("larynx", missing=("SOUNDS_KEY",)), model="voice")
    assert type(error) is NoBackendAvailable
    assert error.message == "'sounds' is not usable: SOUNDS_KEY is not set; 'sounds/voice' needs 'larynx', which is not installed."
    assert error.fix == f"set SOUNDS_KEY; {INSTALL}"


def test_requirement_of_retired_model_is_not_suggested() -> None:
    text = SOUNDS.replace(NEEDS, f'{NEEDS}\nlifecycle = {{ retires = 2026-01-01, certainty = "firm", source = "x" }}')
    assert isinstance(refused(SPEECH, sounds("larynx", text=text), model="voice"), ModelRetired)
    assert INSTALL not in str(refused(SPEECH, sounds("larynx", text=text)))


def test_request_invalid_is_refused_before_requirement() -> None:
    one = PIXELS.replace('id = "pix-2"', f'id = "pix-2"\n{NEEDS}')  # pix-1 and pix-0 are like it
    view = BackendView(name="pix", matrix=matrix(one), absent=frozenset({"larynx"}))
    other = BackendView(name="other", matrix=matrix(PIXELS))
    error = refused(GenerateImage(prompt="a fox", extra_params={"sparkle": 1}), view, other)
    assert isinstance(error, InvalidRequest)
    assert "sparkle" in error.message


def test_try_backends_excludes_backend_with_absent_requirement() -> None:
    request = Inpaint(prompt="a hat", source=Image(path="a.png"), mask=Mask(mode="semantic", classes=(1,)))
    error = refused(request, *views(tiers=True), backend="pix")
    assert isinstance(error, UnsupportedInput)
    assert error.try_backends == ()
    assert refused(request, *views(), backend="pix").try_backends == ("tiers",)


# Properties


def views(**absent: bool) -> list[BackendView]:
    """Return the usual three views, each requiring its own module; the named ones are absent."""
    found = []
    for name, text in NAMED.items():
        rows = matrix(text).models
        needs = matrix(SOUNDS).models[0].requires
        assert needs is not None
        own = attrs.evolve(needs, module=name, install=f"pip install {name}")
        whole = attrs.evolve(matrix(text), models=tuple(attrs.evolve(row, requires=own) for row in rows))
        found.append(BackendView(name=name, matrix=whole, absent=frozenset({name} if absent.get(name) else ())))
    return found


absences = st.fixed_dictionaries(dict.fromkeys(NAMED, st.booleans()))


def outcome(request: Request, policy: Policy, backends: list[BackendView], **named: Any) -> Plan | RequestError:
    try:
        return plan(request, backends, policy, TODAY, **named)
    except RequestError as error:
        return error


@examples(120)
@given(requests, policies, absences)
def test_plan_with_absent_modules_equals_plan_without_those_models(request: Request, policy: Policy, absent: dict[str, bool]) -> None:
    found = outcome(request, policy, views(**absent))
    left = outcome(request, policy, [view for view in views() if not absent[view.name]])
    if isinstance(found, Plan):
        assert isinstance(left, Plan)
        assert (found.chosen, found.calls, found.alternatives) == (left.chosen, left.calls, left.alternatives)
    else:
        assert isinstance(left, RequestError)


@examples(120)
@given(requests, policies, absences, st.sampled_from([None, *NAMED]))
def test_install_command_any_request_is_suggested_only_if_it_helps(
    request: Request, policy: Policy, absent: dict[str, bool], named: str | None
) -> None:
    error = outcome(request, policy, views(**absent), backend=named)
    if isinstance(error, Plan):
        return
    in_question = [name for name in NAMED if absent[name] and named in {None, name}]
    helpful = [name for name in in_question if isinstance(outcome(request, policy, views(), backend=name), Plan)]
    suggested = [name for name in NAMED if f"pip install {name}" in error.fix]
    if helpful:
        assert isinstance(error, NoBackendAvailable)
        assert set(suggested) <= set(helpful)
        assert len(suggested) == 1
    elif not isinstance(error, NoBackendAvailable):
        assert suggested == []
    for name in error.try_backends:
        assert isinstance(outcome(request, policy, views(**absent), backend=name), Plan)

"""plan(): a model that requires what is not installed is not chosen, and whoever asks for it is told how to install it."""

from __future__ import annotations

import datetime
from typing import Any

import attrs
import pytest
from core.planning_matrices import PIXELS, matrix
from core.test_planning import NAMED, policies, requests
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


def test_a_view_made_without_a_word_of_it_lacks_nothing() -> None:
    assert planned(SPEECH, BackendView(name="sounds", matrix=matrix(SOUNDS))).chosen.model == "voice"
    assert planned(SPEECH, sounds("something_else")).chosen.model == "voice"


@pytest.mark.parametrize("named", [{}, {"backend": "sounds"}, {"model": "voice"}, {"model": "sounds/voice"}], ids=str)
def test_what_is_not_installed_is_refused_with_the_command_that_installs_it(named: dict[str, str]) -> None:
    error = refused(SPEECH, sounds("larynx"), **named)
    assert type(error) is NoBackendAvailable
    assert error.message == "'sounds/voice' needs 'larynx', which is not installed."
    assert error.fix == INSTALL
    assert (error.try_backends, error.charged, error.retry) == ((), "no", False)


def test_what_is_asked_for_otherwise_goes_on_as_ever() -> None:
    assert planned(GenerateAudio(prompt="C4", audio_type="music"), sounds("larynx")).chosen.model == "tones"


def test_another_backend_takes_it_and_the_plan_says_why_the_first_did_not() -> None:
    found = planned(SPEECH, sounds("larynx"), talker())
    assert (found.chosen.backend, found.alternatives) == ("talker", ())
    (reason,) = next(r.reasons for r in found.rejected if str(r.candidate) == "sounds/voice")
    assert (reason.code, reason.field, reason.nearest) == ("not_installed", "", INSTALL)
    assert reason.text == "'sounds/voice' needs 'larynx', which is not installed"


def test_who_can_do_it_here_and_now_is_named_beside_the_command() -> None:
    error = refused(SPEECH, sounds("larynx"), talker(), backend="sounds")
    assert error.try_backends == ("talker",)
    assert error.fix == f"{INSTALL}; or omit backend and model, or use backend='talker'"
    assert planned(SPEECH, sounds("larynx"), talker(), backend="talker").chosen.backend == "talker"


def test_one_command_is_nearer_than_a_key() -> None:
    error = refused(SPEECH, sounds("larynx"), talker(missing=("TALKER_KEY",)))
    assert error.message == "'sounds/voice' needs 'larynx', which is not installed."
    assert error.fix == f"{INSTALL}; also possible after setup: talker (set TALKER_KEY)"


def test_one_command_is_nearer_than_another_request() -> None:
    """Of what can be used as it is, 'tones' is nearest: it would have the caller ask for music instead."""
    without = attrs.evolve(matrix(SOUNDS), models=matrix(SOUNDS).models[1:])
    assert isinstance(refused(SPEECH, BackendView(name="sounds", matrix=without)), UnsupportedOperation)
    assert INSTALL in refused(SPEECH, sounds("larynx")).fix


def test_what_would_not_do_once_installed_either_is_not_recommended() -> None:
    long = GenerateAudio(prompt="x" * 21)
    voice = sounds("larynx", text=SOUNDS.partition('[[models]]\nid = "tones"')[0])
    error = refused(long, voice, talker(missing=("TALKER_KEY",)))
    assert error.message == "'talker' is not usable: TALKER_KEY is not set."
    assert INSTALL not in str(error)
    assert INSTALL not in str(refused(long, sounds("larynx")))
    assert isinstance(refused(long, sounds("larynx"), model="voice"), NoBackendAvailable)  # the only one that was named


def test_what_would_cost_more_than_may_be_spent_is_not_recommended() -> None:
    error = refused(SPEECH, sounds("larynx"), policy=Policy(budget=Budget(per_request=0.5)))
    assert INSTALL not in str(error)
    assert INSTALL in str(refused(SPEECH, sounds("larynx"), policy=Policy(budget=Budget(per_request=1.5))))


def test_a_key_and_a_command_that_are_both_wanting_are_both_told() -> None:
    error = refused(SPEECH, sounds("larynx", missing=("SOUNDS_KEY",)), model="voice")
    assert type(error) is NoBackendAvailable
    assert error.message == "'sounds' is not usable: SOUNDS_KEY is not set; 'sounds/voice' needs 'larynx', which is not installed."
    assert error.fix == f"set SOUNDS_KEY; {INSTALL}"


def test_a_model_that_was_shut_down_is_not_worth_installing_for() -> None:
    text = SOUNDS.replace(NEEDS, f'{NEEDS}\nlifecycle = {{ retires = 2026-01-01, certainty = "firm", source = "x" }}')
    assert isinstance(refused(SPEECH, sounds("larynx", text=text), model="voice"), ModelRetired)
    assert INSTALL not in str(refused(SPEECH, sounds("larynx", text=text)))


def test_a_wrong_request_is_refused_for_what_is_wrong_with_it() -> None:
    one = PIXELS.replace('id = "pix-2"', f'id = "pix-2"\n{NEEDS}')  # pix-1 and pix-0 are like it
    view = BackendView(name="pix", matrix=matrix(one), absent=frozenset({"larynx"}))
    other = BackendView(name="other", matrix=matrix(PIXELS))
    error = refused(GenerateImage(prompt="a fox", extra_params={"sparkle": 1}), view, other)
    assert isinstance(error, InvalidRequest)
    assert "sparkle" in error.message


def test_what_is_not_installed_is_not_among_those_that_could_do_it_here_and_now() -> None:
    request = Inpaint(prompt="a hat", source=Image(path="a.png"), mask=Mask(mode="semantic", classes=(1,)))
    error = refused(request, *views(tiers=True), backend="pix")
    assert isinstance(error, UnsupportedInput)
    assert error.try_backends == ()
    assert refused(request, *views(), backend="pix").try_backends == ("tiers",)


# Properties


def views(**absent: bool) -> list[BackendView]:
    """Return the usual three, each of whose models requires a module of its own; those named are absent."""
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
def test_with_something_absent_it_is_as_if_those_models_were_not_there(request: Request, policy: Policy, absent: dict[str, bool]) -> None:
    found = outcome(request, policy, views(**absent))
    left = outcome(request, policy, [view for view in views() if not absent[view.name]])
    if isinstance(found, Plan):
        assert isinstance(left, Plan)
        assert (found.chosen, found.calls, found.alternatives) == (left.chosen, left.calls, left.alternatives)
    else:
        assert isinstance(left, RequestError)


@examples(120)
@given(requests, policies, absences, st.sampled_from([None, *NAMED]))
def test_a_command_is_told_just_where_running_it_helps(
    request: Request, policy: Policy, absent: dict[str, bool], named: str | None
) -> None:
    error = outcome(request, policy, views(**absent), backend=named)
    if isinstance(error, Plan):
        return
    in_question = [name for name in NAMED if absent[name] and named in {None, name}]
    helpful = [name for name in in_question if isinstance(outcome(request, policy, views(), backend=name), Plan)]
    told = [name for name in NAMED if f"pip install {name}" in error.fix]
    if helpful:
        assert isinstance(error, NoBackendAvailable)
        assert set(told) <= set(helpful)
        assert len(told) == 1
    elif not isinstance(error, NoBackendAvailable):
        assert told == []
    for name in error.try_backends:
        assert isinstance(outcome(request, policy, views(**absent), backend=name), Plan)

"""Planner: intent is honoured or refused, every difference is reported, the outcome is deterministic."""

import datetime

import attrs
import pytest
from core.planning_matrices import LOCAL, PIXELS, TIERS, matrix, views
from hypothesis import assume, given
from hypothesis import strategies as st
from tiers import examples

from anymedia.errors import (
    InvalidRequest,
    ModelRetired,
    NoBackendAvailable,
    RequestError,
    UnknownBackend,
    UnknownModel,
    UnsupportedInput,
    UnsupportedOperation,
)
from anymedia.fields import is_set, role_of
from anymedia.media import Image
from anymedia.planning import BackendView, Plan, plan
from anymedia.policy import Policy, Tolerance
from anymedia.requests import (
    Continuation,
    ContinueVideo,
    EditWithReferences,
    GenerateImage,
    GenerateVideo,
    Inpaint,
    Mask,
    Reference,
    Request,
)

TODAY = datetime.date(2026, 11, 21)
WIDE = Policy(tolerance=Tolerance(duration=100, aspect_ratio=100, pixels=1e9))


DEFAULT = Policy()


def planned(request: Request, policy: Policy = DEFAULT, **chosen: object) -> Plan:
    return plan(request, views(), policy, TODAY, **chosen)  # type: ignore[arg-type]


def test_request_supported_exactly_is_unchanged() -> None:
    found = planned(GenerateImage(prompt="a fox", size="1024x1024", quality="high"), model="pix-2")
    assert found.adjustments == ()
    assert found.calls[0].request == found.request
    assert found.quote.usd == (0.01, 0.25)


def test_advisory_option_unsupported_is_ignored_and_reported() -> None:
    found = planned(GenerateImage(prompt="a fox", negative_prompt="blur"), backend="pix")
    assert [(a.field, a.kind, a.asked, a.sent) for a in found.adjustments] == [("negative_prompt", "ignored", "blur", None)]
    assert found.calls[0].request.negative_prompt is None  # type: ignore[union-attr]


def test_size_off_the_grid_is_snapped_to_nearest() -> None:
    found = planned(GenerateImage(prompt="a fox", size="1920x1080"), backend="pix")
    assert found.calls[0].request.size == "1920x1088"  # type: ignore[union-attr]
    assert [(a.field, a.kind) for a in found.adjustments] == [("size", "snapped")]


def test_size_without_size_option_becomes_aspect_ratio_and_resolution() -> None:
    sent = planned(GenerateImage(prompt="a fox", size="3840x2160"), backend="tiers").calls[0].request
    assert (sent.size, sent.aspect_ratio, sent.resolution) == (None, "16:9", "2K")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("asked", "size", "kinds"),
    [
        ({"aspect_ratio": "1:1"}, "1024x1024", {"aspect_ratio": "snapped", "size": "snapped"}),
        ({"resolution": "2K"}, "2048x2048", {"resolution": "snapped", "size": "snapped"}),
        (
            {"aspect_ratio": "1:1", "resolution": "2K"},
            "2048x2048",
            {"aspect_ratio": "snapped", "resolution": "snapped", "size": "snapped"},
        ),
        ({"size": "1024x1024", "resolution": "2K"}, "1024x1024", {"resolution": "ignored"}),
        ({"size": "1024x1024", "aspect_ratio": "16:9"}, "1024x1024", {"aspect_ratio": "ignored"}),
    ],
)
def test_aspect_ratio_or_resolution_with_size_option_becomes_usual_size(asked: dict[str, str], size: str, kinds: dict[str, str]) -> None:
    found = planned(GenerateImage(prompt="a fox", **asked), WIDE, backend="pix")  # type: ignore[arg-type]
    assert found.calls[0].request.size == size  # type: ignore[union-attr]
    assert {a.field: a.kind for a in found.adjustments} == kinds


def test_aspect_ratio_and_resolution_with_size_option_become_size() -> None:
    sent = planned(GenerateImage(prompt="a fox", aspect_ratio="16:9", resolution="2K"), backend="pix").calls[0].request
    width, height = map(int, sent.size.split("x"))  # type: ignore[union-attr]
    assert abs(width / height - 16 / 9) < 0.03
    assert 0.8 < width * height / 2048**2 < 1.25


def test_aspect_ratio_beyond_tolerance_rejects_candidate() -> None:
    with pytest.raises(UnsupportedOperation, match="supports no aspect ratio near 8:1"):
        planned(GenerateImage(prompt="a banner", aspect_ratio="8:1"), backend="tiers")


def test_duration_within_tolerance_is_snapped_and_beyond_is_refused() -> None:
    assert planned(GenerateVideo(prompt="waves", duration=5)).calls[0].request.duration == 4  # type: ignore[union-attr]
    with pytest.raises(UnsupportedOperation, match=r"supports at most 8 s \(you asked for 60 s\)"):
        planned(GenerateVideo(prompt="waves", duration=60))


def test_rule_on_adjustable_field_changes_it() -> None:
    found = planned(GenerateVideo(prompt="waves", duration=6, resolution="1080p"))
    assert found.calls[0].request.duration == 8  # type: ignore[union-attr]
    assert found.adjustments[0].why == "1080p is 8 s only"


def test_rule_on_input_refuses_request() -> None:
    frames = {"first_frame": Image(path="a.png"), "references": (Reference(image="b.png", role="subject"),)}
    with pytest.raises(UnsupportedInput, match="references exclude a first frame"):
        planned(GenerateVideo(prompt="waves", **frames))  # type: ignore[arg-type]


def test_n_above_limit_is_split_into_calls() -> None:
    found = planned(GenerateImage(prompt="a fox", n=3), backend="tiers")
    assert [getattr(c.request, "n", 0) for c in found.calls] == [1, 1, 1]
    assert found.adjustments[0].kind == "bridged"
    assert found.quote.usd == (0.09, 0.09)


def test_output_format_unsupported_is_transcoded() -> None:
    found = planned(GenerateImage(prompt="a fox", output_format="avif"), backend="pix")
    assert (found.transcode_to, found.calls[0].request.output_format) == ("avif", "png")
    assert found.adjustments[0].kind == "transcoded"


def test_output_format_without_option_is_explained_as_no_choice() -> None:
    clip = GenerateVideo(prompt="waves", output_format="mp4")
    found = planned(clip, Policy(transcode=frozenset({"mp4"})))
    assert "output_format" not in found.operation_spec.options
    assert (found.transcode_to, found.calls[0].request.output_format) == ("mp4", None)
    model = found.chosen.model
    assert found.adjustments[0].why == f"{model} has no choice of formats; the output is converted if it has another"
    ignored = planned(clip, Policy(transcode=frozenset())).adjustments[0]
    assert (ignored.kind, ignored.why) == ("ignored", f"{model} has no choice of formats, and it cannot be converted here")


def test_strict_with_adjustment_is_refused() -> None:
    with pytest.raises(UnsupportedOperation, match="strict allows no adjustment"):
        planned(GenerateImage(prompt="a fox", negative_prompt="blur"), Policy(strict=True), backend="pix")
    assert planned(GenerateImage(prompt="a fox", seed=3), Policy(strict=True)).chosen.backend == "tiers"


def test_order_native_before_emulated_and_emulation_is_reported() -> None:
    request = Inpaint(prompt="a hat", source="a.png", mask="m.png")
    assert planned(request).chosen.backend == "pix"
    kinds = planned(request, backend="tiers").adjustments
    assert [(a.field, a.kind, a.why) for a in kinds] == [("mask", "emulated", "the mask is only shown to the model")]


def test_mask_mode_unsupported_is_refused() -> None:
    request = Inpaint(prompt="a hat", source="a.png", mask=Mask(mode="semantic", classes=(1, 2)))
    assert planned(request).chosen.backend == "tiers"
    with pytest.raises(UnsupportedInput, match="does not accept mask mode 'semantic'") as caught:
        planned(request, backend="pix")
    assert caught.value.try_backends == ("tiers",)


def test_operation_unsupported_by_named_backend_suggests_able_one() -> None:
    with pytest.raises(UnsupportedOperation) as caught:
        planned(GenerateVideo(prompt="waves"), backend="pix")
    assert caught.value.try_backends == ("tiers",)
    assert "backend='tiers'" in caught.value.fix


def test_backend_without_key_is_named_but_not_suggested() -> None:
    without_key = views(missing=("TIERS_KEY",))
    with pytest.raises(NoBackendAvailable, match="TIERS_KEY") as caught:
        plan(GenerateVideo(prompt="waves"), without_key, Policy(), TODAY)
    assert caught.value.try_backends == ()


def test_rejected_candidates_printed_show_candidates_and_reasons() -> None:
    found = planned(GenerateImage(prompt="a cat", seed=7))
    assert repr(found.rejected) == repr(tuple(found.rejected))
    assert "retired" in repr(found.rejected)


def test_model_retired_is_refused_with_date_and_replacement() -> None:
    with pytest.raises(ModelRetired, match=r"2026-10-23.*'pix-2'"):
        planned(GenerateImage(prompt="a fox"), model="pix-1")


def test_model_retired_on_compatible_server_causes_warning_only() -> None:
    view = BackendView(name="mine", matrix=matrix(PIXELS), enforce_lifecycle=False)
    found = plan(GenerateImage(prompt="a fox"), [view], Policy(), TODAY, model="pix-1")
    assert found.warnings[0].code == "model_retired_by_maker"


def test_model_near_end_warns_and_past_reported_end_ranks_last() -> None:
    assert "2026-12-01" in planned(GenerateImage(prompt="a fox"), backend="pix").warnings[0].text
    later = plan(GenerateImage(prompt="a fox"), views(), Policy(), datetime.date(2026, 12, 2), backend="pix")
    assert later.chosen.model == "pix-2"
    assert later.warnings == ()


def test_unknown_name_suggests_nearest() -> None:
    with pytest.raises(UnknownBackend, match="did you mean 'pix'"):
        planned(GenerateImage(prompt="a fox"), backend="pixx")
    with pytest.raises(UnknownModel, match="did you mean 'pix-2'"):
        planned(GenerateImage(prompt="a fox"), model="pix-22")
    assert planned(GenerateImage(prompt="a fox"), model="pix/pix-2").chosen.model == "pix-2"


def _with_extra_param(option: str, written: object) -> Plan:
    text = PIXELS.replace('{ one_of = ["auto", "low"] }', f"{{ {option} }}")
    request = GenerateImage(prompt="a fox", extra_params={"moderation": written})
    return plan(request, [BackendView(name="pix", matrix=matrix(text))], DEFAULT, TODAY)


@pytest.mark.parametrize(
    ("option", "written", "meant"),
    [
        ('one_of = ["auto", "low"]', "LOW ", "low"),
        ('one_of = ["1", "2"]', 2, "2"),
        ("one_of = [8000, 16000]", "16000", 16000),
        ("min = 0, max = 100, step = 1", "80", 80),
        ("min = 0.5, max = 2", "1.5", 1.5),
        ('type = "integer"', 4.0, 4),
        ('type = "boolean"', "False", False),
        ('type = "string"', 7, "7"),
    ],
)
def test_extra_param_in_another_spelling_is_sent_as_the_model_writes_it(option: str, written: object, meant: object) -> None:
    made = _with_extra_param(option, written)
    sent = made.calls[0].request.extra_params["moderation"]
    assert (sent, type(sent)) == (meant, type(meant))
    assert not made.adjustments


@pytest.mark.parametrize(
    ("option", "written"),
    [
        ('one_of = ["auto", "low"]', "lowest"),
        ("min = 0, max = 100, step = 1", "101"),
        ('type = "integer"', 4.5),
        ('type = "boolean"', "no"),
        ('type = "string"', ["7"]),
        ('type = "integer"', True),
    ],
)
def test_extra_param_of_another_value_is_refused(option: str, written: object) -> None:
    with pytest.raises(InvalidRequest, match="moderation"):
        _with_extra_param(option, written)


def test_extra_param_undeclared_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="no extra parameter 'sparkle'"):
        planned(GenerateImage(prompt="a fox", extra_params={"sparkle": 1}), backend="pix")


def test_continuation_stays_with_its_backend_and_model() -> None:
    handle = Continuation(id="tier_vid_0123456789ab", backend="tiers", model="tier-video", media="video")
    found = planned(ContinueVideo(prompt="on", continue_from=handle))
    assert (found.chosen.backend, found.continued_as) == ("tiers", "extend")
    with pytest.raises(UnsupportedInput, match="made by 'tiers'"):
        planned(ContinueVideo(prompt="on", continue_from=attrs.evolve(handle, media="video")), backend="pix")
    with pytest.raises(InvalidRequest, match="is of video, not image"):
        planned(GenerateImage(prompt="on", continue_from=handle))


def test_mask_size_unlike_source_is_refused_for_every_backend() -> None:
    source = Image(path="a.png", mime="image/png", width=64, height=64, size=99)
    mask = Image(path="m.png", mime="image/png", width=64, height=32, size=99)
    with pytest.raises(InvalidRequest, match="64x32 pixels, the source 64x64"):
        planned(Inpaint(prompt="a hat", source=source, mask=mask))


def test_order_preferred_first_and_last_resort_last() -> None:
    request = GenerateImage(prompt="a fox")
    assert planned(request, Policy(prefer=("tiers",))).chosen.backend == "tiers"
    assert planned(request).alternatives[-1].backend == "local"
    assert planned(request, backend="local").disclosure == "procedural"


def test_quote_without_price_is_unknown_and_not_zero() -> None:
    text = PIXELS.replace('prices = [{ per = "image", usd = [0.01, 0.25], basis = "metered" }]', "")
    found = plan(GenerateImage(prompt="a fox"), [BackendView(name="p", matrix=matrix(text))], Policy(), TODAY)
    assert found.quote.usd is None
    assert str(found.quote) == "price unknown"


def test_quote_with_conditions_uses_matching_line() -> None:
    assert planned(GenerateImage(prompt="a fox", resolution="4K"), backend="tiers").quote.usd == (0.12, 0.12)
    assert planned(GenerateImage(prompt="a fox"), backend="tiers").quote.usd == (0.03, 0.03)
    assert planned(GenerateVideo(prompt="waves", duration=4)).quote.usd == (0.4, 0.4)


# Properties

pictures = st.builds(
    lambda name, w, h: Image(path=f"{name}.png", mime="image/png", size=1000, width=w, height=h),
    st.sampled_from("abc"),
    st.sampled_from([64, 512, 2000]),
    st.sampled_from([64, 512, 2000]),
)
shared = {
    "prompt": st.text("abc \U0001f98a", min_size=1, max_size=30).filter(str.strip),
    "size": st.none() | st.sampled_from(["auto", "1024x1024", "1920x1080", "64x64", "3000x1000", "9999x1"]),
    "aspect_ratio": st.none() | st.sampled_from(["auto", "1:1", "16:9", "2.39:1", "1:8"]),
    "resolution": st.none() | st.sampled_from(["1K", "2k", "4K", "720p", "1080p", "huge"]),
    "negative_prompt": st.none() | st.just("blur"),
    "seed": st.none() | st.integers(0, 2**63 - 1),
    "quality": st.none() | st.sampled_from(["low", "high", "ultra"]),
    "output_format": st.none(),
    "extra_params": st.sampled_from([{}, {}, {"moderation": "low"}, {"other": 1}]),
}
image_options = shared | {
    "n": st.integers(1, 25),
    "background": st.none() | st.sampled_from(["transparent", "opaque"]),
    "output_format": st.none() | st.sampled_from(["png", "jpeg", "webp", "avif", "mp4"]),
}
masks = st.one_of(
    st.builds(lambda p: Mask(image=p), pictures),
    st.sampled_from([Mask(mode="foreground"), Mask(mode="semantic", classes=(1,)), Mask(mode="semantic", classes=tuple(range(9)))]),
)
references = st.lists(
    st.builds(lambda i, r: Reference(image=i, role=r), pictures, st.sampled_from(["source", "style", "subject"])), min_size=1, max_size=5
)
video_options = shared | {"duration": st.none() | st.sampled_from([1, 4, 5.5, 8, 15, 60])}
requests: st.SearchStrategy[Request] = st.one_of(
    st.builds(GenerateImage, **image_options),
    st.builds(Inpaint, source=pictures, mask=masks, **image_options),
    st.builds(EditWithReferences, references=references, **image_options),
    st.builds(
        GenerateVideo,
        first_frame=st.none() | pictures,
        last_frame=st.none() | pictures,
        references=st.just(()) | references,
        **video_options,
    ),
)
policies = st.builds(
    Policy,
    strict=st.booleans(),
    tolerance=st.sampled_from([Tolerance(), WIDE.tolerance]),
    prefer=st.sampled_from([(), ("tiers",), ("local", "pix")]),
)
NAMED = {"pix": PIXELS, "tiers": TIERS, "local": LOCAL}


def try_plan(request: Request, policy: Policy, names: list[str]) -> Plan | None:
    try:
        return plan(request, [BackendView(name=n, matrix=matrix(NAMED[n])) for n in names], policy, TODAY)
    except RequestError:
        return None


@examples(300)
@given(requests, policies)
def test_plan_any_request_honours_intent_and_reports_every_difference(request: Request, policy: Policy) -> None:
    found = try_plan(request, policy, ["pix", "tiers", "local"])
    if found is None:
        return
    kinds = {a.field: a for a in found.adjustments}
    asked_n = getattr(request, "n", 1)
    assert sum(getattr(call.request, "n", 1) for call in found.calls) == asked_n
    for call in found.calls:
        for field in attrs.fields(type(request)):
            before, after = getattr(request, field.name), getattr(call.request, field.name)
            if before == after:
                continue
            assert role_of(field) != "intent", f"{field.name} was changed"
            assert field.name in kinds
            if field.name != "n":
                assert kinds[field.name].sent == after
    for name in found.operation_spec.inputs.keys() | {"mask", "source", "references", "first_frame", "last_frame"}:
        if hasattr(request, name) and is_set(request, name):
            assert name in found.operation_spec.inputs
    if policy.strict:
        assert found.adjustments == ()


@examples(200)
@given(requests, policies)
def test_plan_of_planned_request_is_unchanged(request: Request, policy: Policy) -> None:
    first = try_plan(request, policy, ["pix", "tiers", "local"])
    if first is None:
        return
    for call in first.calls:
        again = plan(call.request, views(), policy, TODAY, backend=first.chosen.backend, model=first.chosen.model)
        assert [c.request for c in again.calls] == [call.request]
        assert all(a.kind == "emulated" for a in again.adjustments)


@examples(100)
@given(requests, policies, st.permutations(["pix", "tiers", "local"]))
def test_plan_any_order_of_backends_is_equal(request: Request, policy: Policy, order: list[str]) -> None:
    assert try_plan(request, policy, order) == try_plan(request, policy, ["local", "pix", "tiers"])


@examples(150)
@given(requests, policies, st.permutations(["pix", "tiers", "local"]), st.integers(1, 2))
def test_plan_with_another_backend_still_succeeds(request: Request, policy: Policy, order: list[str], few: int) -> None:
    assume(getattr(request, "quality", None) != "ultra")  # a word that the better backend does not know is an error
    if try_plan(request, policy, order[:few]) is not None:
        assert try_plan(request, policy, order) is not None


@examples(150)
@given(requests, policies, st.dates(datetime.date(2026, 9, 1), datetime.date(2027, 3, 1)))
def test_plan_any_request_never_chooses_retired_model(request: Request, policy: Policy, day: datetime.date) -> None:
    try:
        found = plan(request, views(), policy, day)
    except RequestError:
        return
    assert found.model_spec.lifecycle.stage_on(day) != "retired"
    for other in found.alternatives:
        row = next(v for v in views() if v.name == other.backend).matrix.model(other.model)
        assert row is not None
        assert row.lifecycle.stage_on(day) != "retired"


@examples(150)
@given(requests, policies, st.sampled_from(["pix", "tiers", "local"]))
def test_try_backends_any_error_names_able_backends_only(request: Request, policy: Policy, named: str) -> None:
    try:
        plan(request, views(), policy, TODAY, backend=named)
    except RequestError as error:
        for name in error.try_backends:
            assert plan(request, views(), policy, TODAY, backend=name).chosen.backend == name

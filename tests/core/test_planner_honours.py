"""Planner against an independent oracle: the chosen candidate accepts every input within its limits."""

import datetime
from collections import Counter

import attrs
import pytest
from core.planning_matrices import matrix
from hypothesis import given
from hypothesis import strategies as st
from tiers import examples

from anymedia.capabilities import ContinueRule, InputRule, MaskRule, OperationSpec, ReferencesRule
from anymedia.errors import RequestError, UnsupportedInput, UnsupportedOperation
from anymedia.fields import role_of
from anymedia.media import Image, Video
from anymedia.planning import BackendView, Plan, plan
from anymedia.policy import Policy, Tolerance
from anymedia.requests import Continuation, ContinueVideo, EditWithReferences, GenerateVideo, Inpaint, Mask, Reference, Request, StoredFile

TODAY = datetime.date(2026, 11, 21)
WIDE = Policy(tolerance=Tolerance(duration=100, aspect_ratio=100, pixels=1e9))

NARROW = """
schema = 1
[[models]]
id = "narrow"
media = "image"
[models.inpaint]
prompt = { max_chars = 4 }
source = { count = [1, 1], formats = ["png"], max_bytes = 1000, min_edge = 64, max_edge = 512, max_pixels = 131072, max_ratio = 4 }
mask = { format = "white", modes = ["user_provided", "foreground"] }
extra_params.level = { min = 1, max = 3, step = 1 }
[models.edit_with_references]
references.count = [1, 3]
references.max_total_bytes = 2001
references.roles.source = { count = [1, 2], max_edge = 512 }
references.roles.subject = { count = [0, 1], types = ["person"] }
[[models]]
id = "narrow-video"
media = "video"
[models.generate_video]
duration = { min = 2, max = 6 }
first_frame = { max_edge = 512, max_bytes = 1000 }
[models.continue_video]
duration = { min = 2, max = 6 }
continue_from = { ways = ["extend"], seconds = [1, 8] }
source = { formats = ["mp4"], seconds = [1, 8], max_edge = 512 }
"""
BROAD = """
schema = 1
[[models]]
id = "broad"
media = "image"
[models.inpaint]
source = { count = [1, 1], max_edge = 2000 }
mask = { format = "alpha", modes = ["semantic"], classes = 2 }
[models.edit_with_references]
references = { count = [1, 2], roles = { style = { count = [0, 2] }, source = { count = [0, 1] } } }
[[models]]
id = "broad-video"
media = "video"
[models.generate_video]
first_frame = {}
last_frame = {}
references = { count = [0, 2], roles.subject = { count = [0, 2] } }
[models.continue_video]
continue_from = { ways = ["remix", "edit"] }
source = { formats = ["mp4", "webm"], seconds = [0, 60] }
"""
VIEWS = [BackendView(name="narrow", matrix=matrix(NARROW)), BackendView(name="broad", matrix=matrix(BROAD))]

edges = st.sampled_from([32, 64, 256, 512, 513, 2000, 2001])
pictures = st.builds(
    lambda name, w, h, size, fmt: Image(path=f"{name}.{fmt}", mime=f"image/{fmt}", size=size, width=w, height=h),
    st.sampled_from("abc"),
    edges,
    edges,
    st.sampled_from([1000, 1001]),
    st.sampled_from(["png", "jpeg"]),
)
films = st.builds(
    lambda seconds, edge, fmt: Video(path=f"v.{fmt}", mime=f"video/{fmt}", size=9, width=edge, height=64, seconds=seconds),
    st.sampled_from([0.5, 1.0, 8.0, 8.5, 61.0]),
    edges,
    st.sampled_from(["mp4", "webm"]),
)
masks = st.builds(lambda image: Mask(image=image), pictures) | st.sampled_from(
    [Mask(mode="foreground"), Mask(mode="background"), Mask(mode="semantic", classes=(1, 2)), Mask(mode="semantic", classes=(1, 2, 3))]
)
references = st.lists(
    st.builds(
        lambda image, role, kind: Reference(image=image, role=role, type=kind if role == "subject" else None),
        pictures,
        st.sampled_from(["source", "style", "subject"]),
        st.sampled_from([None, "person", "animal"]),
    ),
    min_size=1,
    max_size=4,
)
prompts = st.sampled_from(["fox", "four", "a fox"])
files = st.builds(
    lambda seconds: (StoredFile(path="v.mp4", sha256="0" * 64, mime="video/mp4", seconds=seconds),), st.sampled_from([0.5, 1.0, 8.0, 8.5])
)
handles = st.builds(
    lambda owner, stored: Continuation(id="x_vid_0", backend=owner, model=f"{owner}-video", media="video", files=stored),
    st.sampled_from(["narrow", "broad"]),
    files,
)
extras = st.sampled_from([{}, {"level": 3}, {"level": 4}, {"x": 1}])
requests: st.SearchStrategy[Request] = st.one_of(
    st.builds(
        Inpaint, prompt=prompts, source=pictures, mask=masks, extra_params=st.sampled_from([{}, {"level": 3}, {"level": 4}, {"x": 1}])
    ),
    st.builds(EditWithReferences, prompt=prompts, references=references),
    st.builds(GenerateVideo, prompt=prompts, first_frame=st.none() | pictures, last_frame=st.none() | pictures),
    st.builds(GenerateVideo, prompt=prompts, references=references),
    st.builds(ContinueVideo, prompt=prompts, source=films, continue_as=st.sampled_from([None, "extend", "edit"])),
    st.builds(ContinueVideo, prompt=prompts, continue_from=handles, continue_as=st.sampled_from([None, "extend", "remix", "edit"])),
)


def takes_media(rule: InputRule, media: Image | Video) -> bool:
    """Whether an image or video complies with a rule; an image in another format is converted, which changes its size."""
    fmt = media.format
    converted = bool(rule.formats) and fmt not in rule.formats
    if converted and isinstance(media, Video):
        return False
    short, long = sorted((media.width or 0, media.height or 0))
    return (
        (converted or rule.max_bytes is None or (media.size or 0) <= rule.max_bytes)
        and short >= (rule.min_edge or 0)
        and long <= (rule.max_edge or 10**9)
        and short * long <= (rule.max_pixels or 10**18)
        and long <= (rule.max_ratio or 10**9) * short
        and (rule.seconds is None or not isinstance(media, Video) or rule.seconds[0] <= (media.seconds or 0) <= rule.seconds[1])
    )


def takes_references(rule: ReferencesRule, given_references: tuple[Reference, ...]) -> bool:
    roles = Counter(reference.role for reference in given_references)
    return (
        rule.count[0] <= len(given_references) <= rule.count[1]
        and sum(reference.image.size or 0 for reference in given_references) <= (rule.max_total_bytes or 10**18)
        and all(role in rule.roles for role in roles)
        and all(own.count[0] <= roles[role] <= own.count[1] for role, own in rule.roles.items())
        and all(takes_media(rule.roles[r.role], r.image) for r in given_references)
        and all(not rule.roles[r.role].types or r.type in (None, *rule.roles[r.role].types) for r in given_references)
    )


def honours(found: OperationSpec, owner: str, request: Request) -> bool:
    """Whether an operation spec can honour all intent of a request."""
    inputs = found.inputs
    for field in attrs.fields(type(request)):
        value = getattr(request, field.name)
        if value in (None, (), {}) or role_of(field) != "intent":
            continue
        rule = inputs.get(field.name)
        if field.name == "prompt":
            ok = found.prompt.max_chars is None or len(value) <= found.prompt.max_chars
        elif field.name == "extra_params":
            ok = all(key in found.extra_params and found.extra_params[key].problem(v) is None for key, v in value.items())
        elif isinstance(value, Mask):
            ok = isinstance(rule, MaskRule) and value.mode in rule.modes and len(value.classes) <= (rule.classes or 10**6)
        elif isinstance(value, Continuation):
            seconds = value.files[0].seconds or 0
            limits = rule.seconds if isinstance(rule, ContinueRule) else None
            ok = isinstance(rule, ContinueRule) and value.backend == owner and (limits is None or limits[0] <= seconds <= limits[1])
        elif field.name == "references":
            ok = isinstance(rule, ReferencesRule) and takes_references(rule, value)
        elif field.name == "continue_as":
            ways = inputs.get("continue_from")
            ok = isinstance(ways, ContinueRule) and value in ways.ways
        elif isinstance(value, Image | Video):
            ok = isinstance(rule, InputRule) and takes_media(rule, value)
        else:
            ok = True
        if not ok:
            return False
    return all(not (isinstance(r, InputRule | ReferencesRule) and r.count[0]) or getattr(request, n, None) for n, r in inputs.items())


def able(request: Request) -> set[str]:
    """Return the backends that can honour a request, by the oracle."""
    found = [(view.name, model.operations.get(request.kind)) for view in VIEWS for model in view.matrix.models]
    return {name for name, row in found if row is not None and honours(row, name, request)}


def planned(request: Request) -> Plan | None:
    try:
        return plan(request, VIEWS, WIDE, TODAY)
    except RequestError:
        return None


@examples(1000)
@given(requests)
def test_candidates_any_request_are_exactly_the_able_ones(request: Request) -> None:
    mask, source = getattr(request, "mask", None), getattr(request, "source", None)
    if mask is not None and mask.image is not None and (mask.image.width, mask.image.height) != (source.width, source.height):
        assert planned(request) is None
        return
    found = planned(request)
    chosen = set() if found is None else {found.chosen.backend, *(other.backend for other in found.alternatives)}
    assert chosen == able(request)


@examples(300)
@given(requests)
def test_adjustment_any_request_states_asked_and_sent_values(request: Request) -> None:
    found = planned(request)
    for change in () if found is None else found.adjustments:
        if change.kind in {"ignored", "snapped"}:
            assert change.asked == getattr(request, change.field)
            assert change.asked != change.sent
            assert all(getattr(call.request, change.field) == change.sent for call in found.calls)  # type: ignore[union-attr]


def test_continue_as_unsupported_with_file_is_refused() -> None:
    film = Video(path="v.mp4", mime="video/mp4", size=9, width=256, height=256, seconds=4.0)
    for way, chosen in (("extend", "narrow"), ("remix", "broad"), ("edit", "broad")):
        found = planned(ContinueVideo(prompt="on", source=film, continue_as=way))  # type: ignore[arg-type]
        assert found is not None and found.chosen.backend == chosen
    with pytest.raises(UnsupportedOperation, match=r"'narrow/narrow-video' cannot remix a video \(it can extend\)"):
        plan(ContinueVideo(prompt="on", source=film, continue_as="remix"), VIEWS, WIDE, TODAY, backend="narrow")


def test_references_total_bytes_after_loading_are_checked() -> None:
    from anymedia.context import LoadedMedia
    from anymedia.execution.prepare_inputs import _check_total

    pictures = [Image(url=f"https://example.org/{n}.png") for n in range(2)]
    found = plan(EditWithReferences(prompt="fox", references=pictures), VIEWS, WIDE, TODAY, backend="narrow")
    loaded = {picture: LoadedMedia(data=b"x" * 1000, mime="image/png", filename="a.png") for picture in pictures}
    _check_total(found, loaded)
    loaded[pictures[0]] = attrs.evolve(loaded[pictures[0]], data=b"x" * 1002)
    with pytest.raises(UnsupportedInput, match="2001 bytes of reference images in all, not 2002"):
        _check_total(found, loaded)


def test_rule_on_references_matches_role_and_count() -> None:
    text = """
schema = 1
[[models]]
id = "m"
media = "image"
[models.edit_with_references]
background = { one_of = ["opaque"] }
references = { count = [1, 3], roles = { source = { count = [0, 3] }, style = { count = [0, 3] } } }
rules = [
  { when = { "references.count" = [2] }, forbid = { background = true }, because = "two are enough" },
  { when = { "references.style" = true }, require = { "references.source" = true }, because = "a style needs something to be put on" },
]
"""
    view = BackendView(name="b", matrix=matrix(text))
    a, b, c = (Image(path=f"{n}.png", mime="image/png", size=1, width=64, height=64) for n in "abc")

    def refused(*given_references: Reference, **more: str) -> str:
        try:
            plan(EditWithReferences(prompt="fox", references=given_references, **more), [view], WIDE, TODAY)  # type: ignore[arg-type]
        except RequestError as error:
            return str(error)
        return ""

    one, two, style = Reference(image=a), Reference(image=b), Reference(image=c, role="style")
    assert refused(one, background="opaque") == ""
    assert refused(one, two) == ""
    assert "a style needs something" in refused(style)
    assert refused(one, style) == ""
    found = plan(EditWithReferences(prompt="fox", references=(one, two), background="opaque"), [view], WIDE, TODAY)
    assert found.calls[0].request.background is None  # type: ignore[union-attr]
    assert [a.field for a in found.adjustments] == ["background"]

"""Options: accepted values, problems, nearest values."""

import math
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tiers import examples

from anymedia.agents.available import option_words
from anymedia.capabilities import Anything, Choice, Option, Pixels, Range, Text
from anymedia.errors import InvalidRequest
from anymedia.requests import GenerateImage

numbers = st.integers(-(10**6), 10**6) | st.floats(-1e6, 1e6, allow_nan=False)
anything = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.lists(st.integers(), max_size=2)
    | st.builds(lambda: 10**5000)
)


@st.composite
def ranges(draw: st.DrawFn) -> Range:
    low = draw(st.integers(-100, 100))
    high = low + draw(st.integers(0, 200))
    step = draw(st.sampled_from([None, 1, 2, 5, 0.5, 0.25, 0.1]))
    return Range(min=low, max=high, step=step)


@st.composite
def pixel_rules(draw: st.DrawFn) -> tuple[Pixels, str]:
    """A rule, and a size that it allows."""
    step = draw(st.sampled_from([1, 2, 8, 16, 32, 64]))
    width, height = (draw(st.integers(1, 4096 // step)) * step for _ in range(2))
    low, high = min(width, height), max(width, height)
    rule = Pixels(
        multiple_of=step,
        min_edge=draw(st.integers(1, low)),
        max_edge=draw(st.integers(high, 8192)),
        max_ratio=draw(st.none() | st.floats(high / low, 50.0) if high / low <= 50 else st.none()),
        pixels=draw(st.none() | st.tuples(st.integers(1, width * height), st.integers(width * height, 2**26))),
        auto=draw(st.booleans()),
    )
    return rule, f"{width}x{height}"


sizes = st.builds(lambda w, h: f"{w}x{h}", st.integers(1, 9999), st.integers(1, 9999))


options = (
    st.builds(
        lambda values: Choice(one_of=tuple(values)), st.lists(numbers | st.booleans() | st.sampled_from(["a", "1"]), min_size=1, max_size=4)
    )
    | ranges()
    | pixel_rules().map(lambda made: made[0])
    | st.builds(Text, max_chars=st.none() | st.integers(0, 9))
    | st.sampled_from(["string", "integer", "number", "boolean", "array", "object"]).map(lambda kind: Anything(type=kind))
)


@given(options, anything | numbers | sizes | st.sampled_from(["auto", "a", "1", 1, True, 1.0]))
def test_option_accepts_value_exactly_without_problem(option: Option, value: Any) -> None:
    problem = option.problem(value)
    assert option.takes(value) is (problem is None)
    assert problem is None or not problem.endswith(": ")


@given(st.lists(numbers, min_size=1, max_size=6), numbers)
def test_choice_nearest_is_minimal(values: list[Any], value: Any) -> None:
    choice = Choice(one_of=tuple(values))
    nearest = choice.nearest(value)
    assert choice.problem(nearest) is None
    assert all(abs(nearest - value) <= abs(other - value) for other in values)


def test_choice_equally_near_numbers_gives_smaller() -> None:
    assert Choice(one_of=(8, 4, 12)).nearest(6) == 4
    assert Choice(one_of=(8, 4, 12)).nearest(10) == 8


def test_choice_nearest_word_is_the_same_in_another_case() -> None:
    assert Choice(one_of=("low", "high")).nearest("medium") is None
    assert Choice(one_of=("low", "high")).nearest("HIGH") == "high"
    assert Choice(one_of=("auto", 4)).nearest(9) == 4
    assert Choice(one_of=(4, 8)).nearest("6") is None


@pytest.mark.parametrize(
    ("allowed", "value", "fits"), [(1, 1.0, True), (1, True, False), (True, 1, False), ("1", 1, False), (4, "4", False)]
)
def test_choice_distinguishes_types(allowed: Any, value: Any, fits: bool) -> None:
    assert (Choice(one_of=(allowed,)).problem(value) is None) is fits


@given(ranges(), numbers)
def test_range_nearest_is_accepted_and_stable(rule: Range, value: Any) -> None:
    nearest = rule.nearest(value)
    assert rule.problem(nearest) is None
    assert rule.nearest(nearest) == nearest
    if rule.problem(value) is None:
        assert nearest == pytest.approx(value, abs=1e-8)


@given(ranges(), numbers)
def test_range_nearest_is_minimal(rule: Range, value: Any) -> None:
    if rule.step is None:
        others = [rule.min, rule.max, min(max(value, rule.min), rule.max)]
    else:
        others = [rule.min + i * rule.step for i in range(int((rule.max - rule.min) / rule.step + 1e-9) + 1)]
    nearest = rule.nearest(value)
    assert all(abs(nearest - value) <= abs(other - value) + 1e-6 for other in others)


@pytest.mark.parametrize("value", [2**53 + 1, 2**62 + 1, 2**63 - 1])
def test_range_with_integer_steps_is_exact_above_the_precision_of_a_float(value: int) -> None:
    seeds = Range(min=0, max=2**63 - 1, step=1)
    assert seeds.problem(value) is None
    assert seeds.nearest(value) == value
    assert seeds.nearest(2**64) == 2**63 - 1
    assert Range(min=0, max=2**63 - 1, step=2).nearest(2**60 + 1) == 2**60
    assert Range(min=0, max=10, step=2).nearest(7) == 8  # to the even number of steps, as a float is rounded


def test_range_with_integer_steps_gives_integers() -> None:
    assert repr(Range(min=1, max=10, step=1).nearest(7.6)) == "8"
    assert repr(Range(min=1, max=10).nearest(12)) == "10"
    assert repr(Range(min=0.5, max=10).nearest(7.6)) == "7.6"
    assert Range(min=1, max=10, step=1).integer
    assert not Range(min=1, max=10, step=0.5).integer
    assert not Range(min=1, max=10).integer
    assert Range(min=4, max=9, step=2).nearest(9) == 8  # the grid counts from the lower bound


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -math.inf, True, "5", None, [5]])
def test_range_of_non_number_is_refused(value: Any) -> None:
    assert "accepts a number" in str(Range(min=0, max=9).problem(value))
    assert Range(min=0, max=9).nearest(value) is None


@examples(200)
@given(pixel_rules(), sizes)
def test_pixels_nearest_is_accepted_and_stable(made: tuple[Pixels, str], size: str) -> None:
    rule, allowed = made
    assert rule.problem(allowed) is None
    assert rule.nearest(allowed) == allowed
    nearest = rule.nearest(size)
    if nearest is not None:
        assert rule.problem(nearest) is None
        assert rule.nearest(nearest) == nearest


@examples(200)
@given(pixel_rules(), sizes)
def test_pixels_with_loose_limits_always_has_nearest(made: tuple[Pixels, str], size: str) -> None:
    rule, _ = made
    low, high = rule.pixels or (1, 2**40)
    edge = max(rule.min_edge, rule.multiple_of)
    assume(rule.max_ratio is None or rule.max_ratio >= 1.5)
    assume(rule.max_edge >= 4 * edge and rule.max_edge >= 16 * rule.multiple_of)
    assume(low <= rule.max_edge**2 / 4 and high >= 16 * edge**2 and high >= 2 * low)
    assert rule.nearest(size) is not None


def test_pixels_nearest_keeps_ratio_and_count() -> None:
    rule = Pixels(multiple_of=16, max_edge=3840, max_ratio=3.0, pixels=(655360, 8294400), auto=True)
    assert rule.nearest("1920x1080") == "1920x1088"
    assert rule.nearest("512x512") in {"816x816", "832x832"}
    assert rule.nearest("3000x300") is not None
    width, height = map(int, str(rule.nearest("3000x300")).split("x"))
    assert width <= 3 * height
    assert rule.problem("auto") is None
    assert rule.nearest("auto") is None
    assert Pixels().problem("auto") == "does not accept 'auto'"


def test_pixels_refused_lists_every_reason() -> None:
    rule = Pixels(multiple_of=16, min_edge=256, max_edge=1024, max_ratio=2, pixels=(65536, 200000))
    problem = str(rule.problem("2001x100"))
    for words in ("multiples of 16", "256 to 1024", "at most 2", "65536 to 200000 pixels"):
        assert words in problem


@pytest.mark.parametrize(
    "value", ["big", "0x5", "5x0", "-1x5", "1x2x3", "1 x 2", "", 5, None, True, "9999999x1", pytest.param(10**5000, id="huge")]
)
def test_pixels_of_non_size_is_refused(value: Any) -> None:
    assert "accepts WIDTHxHEIGHT" in str(Pixels().problem(value))
    assert Pixels().nearest(value) is None


def test_text_has_length_limit_and_no_nearest() -> None:
    assert Text().problem("x" * 10_000) is None
    assert Text(max_chars=3).problem("abc") is None
    assert Text(max_chars=3).problem("abcd") == "accepts at most 3 characters, not 4"
    assert Text().problem(3) == "accepts text, not a number"
    assert Text(max_chars=3).nearest("abcd") is None


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("string", ["", "a"], [1, None, ["a"]]),
        ("integer", [0, -3], [0.5, "1", True]),
        ("number", [0, 0.5], ["1", False]),
        ("boolean", [True, False], [0, 1, "true"]),
        ("array", [[], (1,)], ["ab", {}]),
        ("object", [{}, {"a": 1}], [[], "{}"]),
    ],
)
def test_anything_accepts_its_json_type_only(kind: str, good: list[Any], bad: list[Any]) -> None:
    rule = Anything(type=kind)
    assert [rule.problem(value) for value in good] == [None] * len(good)
    assert all(rule.problem(value) for value in bad)
    assert rule.nearest(good[0]) is None


@settings(deadline=None)
@given(
    st.sampled_from(
        [Choice(one_of=(1, "a", 2.5)), Range(min=0, max=9, step=1), Range(min=0.5, max=1), Text(max_chars=2), Pixels(multiple_of=8)]
    )
    | st.sampled_from(["string", "integer", "number", "boolean", "array", "object"]).map(lambda kind: Anything(type=kind)),
    anything,
)
def test_option_any_value_never_raises(rule: Option, value: Any) -> None:
    problem = rule.problem(value)
    assert problem is None or (isinstance(problem, str) and len(problem) < 300)
    nearest = rule.nearest(value)
    assert nearest is None or rule.problem(nearest) is None


@pytest.mark.parametrize(
    "given",
    [
        {"seed": 10**400},
        {"seed": 10**5000},
        {"n": 10**400},
        {"guidance_scale": 10**400},
        {"guidance_scale": float("nan")},
        {"size": 10**5000},
    ]
    + [{"extra_params": {"a": value}} for value in (10**5000, "\ud800", "a\0b", {"\ud800": 1}, float("inf"), object())],
)
def test_request_with_hostile_values_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        GenerateImage(prompt="x", **given)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (Range(min=0, max=2**32 - 1, step=1), "0 to 4294967295 in steps of 1"),
        (Range(min=0.5, max=2), "0.5 to 2"),
        (Range(min=-1, max=1, step=0.1), "-1 to 1 in steps of 0.1"),
        (Range(min=0, max=float(2**31 - 1), step=1), "0 to 2147483647 in steps of 1"),
    ],
)
def test_range_problem_states_exact_bounds(rule: Range, said: str) -> None:
    assert rule.problem(rule.max + 1) == f"accepts {said}, not {rule.max + 1!r}"
    assert option_words(rule) == said.partition(" in steps")[0]


def test_range_problem_of_huge_seed_states_exact_bound() -> None:
    with pytest.raises(InvalidRequest, match=f"between 0 and {2**63 - 1}, got {2**63}"):
        GenerateImage(prompt="x", seed=2**63)

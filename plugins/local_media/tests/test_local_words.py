"""Prompt -> Wish -> Recipe: pure, so it is tested without a pixel."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from local_media.recipe import Recipe, resolve
from local_media.words import Shape, quoted, read


def test_scene_is_read_word_by_word() -> None:
    wish = read("A quiet mountain lake at sunset, with birds and a boat")
    assert (wish.place, wish.time) == ("mountains", "sunset")
    assert wish.features >= {"water", "birds", "boat"}


def test_long_prompt_is_read_as_a_short_one() -> None:
    wish = read("a quiet " * 20_000 + "mountain lake at sunset with a hot air balloon")
    assert (wish.place, wish.time) == ("mountains", "sunset")
    assert wish.features == read("mountain lake at sunset with a hot air balloon").features


def test_negative_prompt_removes_what_it_names() -> None:
    assert "trees" in read("mountains without trees").absent
    assert "trees" not in read("mountains without trees").features
    negative = read("a mountain lake with clouds", "clouds, boat")
    assert "clouds" not in negative.features
    assert {"clouds", "boat"} <= negative.absent
    assert not {"clouds", "boat"} & set(resolve(negative, 5).features)


def test_quoted_text_is_taken_as_it_is_and_not_read_for_keywords() -> None:
    assert quoted('a sign "Night Sea" and “Привет” and 「你好」') == ("Night Sea", "Привет", "你好")
    wish = read('a desert with "Night Sea"')
    assert (wish.place, wish.time) == ("desert", None)


def test_apostrophe_opens_no_quotation() -> None:
    assert quoted("it's the farmer's field") == ()


def test_shapes_have_number_kind_and_colour() -> None:
    assert read("three red circles and 2 blue stars on a white background").shapes == (
        Shape(kind="circle", count=3, colour="red"),
        Shape(kind="star", count=2, colour="blue"),
    )
    assert read("three red circles on a white background").backdrop == "white"


def test_stars_without_number_or_colour_stand_in_the_sky() -> None:
    wish = read("a city under the stars")
    assert wish.shapes == ()
    assert read("a circle").shapes == (Shape(kind="circle", count=1),)
    assert "stars" in wish.features
    assert resolve(wish, 1).time == "night"


def test_same_wish_and_seed_give_the_same_recipe_and_another_seed_another_one() -> None:
    wish = read("a landscape")
    assert resolve(wish, 4) == resolve(wish, 4)
    assert len({resolve(wish, seed).time for seed in range(20)}) > 1


def test_unknown_words_still_choose_by_their_letters() -> None:
    wish = read("qwertz")
    assert wish.is_empty
    assert len({resolve(read(p), 4, p).place for p in ("qwertz", "asdf", "yxcv", "poiu", "lkjh", "mnbv")}) > 1


def test_further_prompt_changes_only_what_it_speaks_of() -> None:
    old = resolve(read("a mountain lake at sunset with a boat"), 7)
    new = old.changed(read("now at night"))
    assert (new.time, new.place, new.seed) == ("night", old.place, old.seed)
    assert new.has("moon")
    assert not new.has("sun")
    assert new.has("boat")


@given(st.text(max_size=300), st.none() | st.text(max_size=80), st.integers(0, 2**63 - 1))
def test_any_prompt_gives_a_recipe_that_survives_json(prompt: str, negative: str | None, seed: int) -> None:
    recipe = resolve(read(prompt, negative), seed, prompt)
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe
    again = recipe.changed(read(prompt, negative))
    assert Recipe.from_json(json.loads(json.dumps(again.to_json()))) == again

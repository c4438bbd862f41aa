"""The words of a command line become one request, and nothing of them is lost."""

from __future__ import annotations

import json
import unicodedata

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anymedia.cli.build_request import any_reference, ask, extra_params, format_of_output, mask, reference, shape, split_model, split_type
from anymedia.cli.console import clean
from anymedia.errors import InvalidRequest
from anymedia.media import Video
from anymedia.requests import Continuation, ContinueVideo, EditWithReferences, GenerateAudio, GenerateImage, GenerateVideo, Inpaint


@pytest.mark.parametrize(
    ("model", "backend", "found"),
    [
        ("local", None, ("local", None)),
        ("local", "local", ("local", None)),
        ("openrouter/google/veo-3.1", None, (None, "openrouter/google/veo-3.1")),
        ("google/veo-3.1", "openrouter", ("openrouter", "google/veo-3.1")),
        ("veo-3.1", None, (None, "veo-3.1")),
        (None, "google", ("google", None)),
        (None, None, (None, None)),
    ],
)
def test_a_model_may_be_a_backend_and_keeps_its_slashes(model, backend, found):
    assert split_model(model, backend, ["local", "google", "openrouter"]) == found


def test_a_model_id_with_slashes_reaches_the_plan_verbatim(call):
    for words in (("-m", "demo/demo/painter-1"), ("-b", "demo", "-m", "demo/painter-1"), ("-m", "demo/painter")):
        plan = call("plan", "image", "a boat", *words, "--json")
        assert plan.json["backend"] == "demo", plan.err
        assert plan.json["model"] == "painter"


def test_extra_takes_json_and_words():
    found = extra_params(['a={"b": [1]}', "c=3", "d=true", "e=vivid", "f=", "g=x=y"])
    assert found == {"a": {"b": [1]}, "c": 3, "d": True, "e": "vivid", "f": "", "g": "x=y"}


@pytest.mark.parametrize("pair", ["novalue", "=3", ""])
def test_extra_without_a_key_is_refused(pair):
    with pytest.raises(InvalidRequest, match="KEY=JSON"):
        extra_params([pair])


def test_a_mask_is_a_file_or_a_way_to_find_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert mask("foreground").mode == "foreground"
    assert mask("background").mode == "background"
    assert mask("auto").mode == "foreground"
    assert mask("semantic:1,22").classes == (1, 22)
    assert str(mask("sky.png").image.path) == "sky.png"
    (tmp_path / "foregroun").write_bytes(b"")
    assert str(mask("foregroun").image.path) == "foregroun"


@pytest.mark.parametrize(("text", "hint"), [("semantic:a", "NUMBER"), ("semantic:", "NUMBER"), ("forground", "did you mean 'foreground'")])
def test_a_wrong_mask_word_says_what_is_right(text, hint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidRequest, match=hint):
        mask(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("edges:plan.png", ("edges", "plan.png")),
        ("plan.png", (None, "plan.png")),
        ("https://host/x.png", (None, "https://host/x.png")),
        ("data:image/png;base64,AAAA", (None, "data:image/png;base64,AAAA")),
        ("C:\\x.png", (None, "C:\\x.png")),
        ("edges:https://host/x.png", ("edges", "https://host/x.png")),
    ],
)
def test_a_type_before_a_file_is_told_from_a_url(text, found):
    assert split_type(text) == found


def test_a_file_that_really_has_a_colon_in_its_name_stays_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "edges:plan.png").write_bytes(b"")
    assert split_type("edges:plan.png") == (None, "edges:plan.png")


def test_references_have_roles_and_types():
    assert reference("animal:cat.png", "subject", "a cat").type == "animal"
    assert reference("animal:cat.png", "style").type is None
    assert any_reference("style:van.png").role == "style"
    assert any_reference("cat.png").role == "subject"
    with pytest.raises(InvalidRequest, match="did you mean 'style'"):
        any_reference("styel:van.png")


def test_a_shape_is_a_ratio_or_a_size():
    assert shape("16:9") == {"aspect_ratio": "16:9"}
    assert shape("1920x1080") == {"size": "1920x1080"}


@pytest.mark.parametrize(
    ("output", "chosen", "found"),
    [
        ("a.jpg", None, "jpeg"),
        ("a.JPEG", None, "jpeg"),
        ("a.mp4", None, "mp4"),
        ("a.m4v", None, "mp4"),
        ("a.ogg", "opus", "opus"),
        ("a.png", "png", "png"),
        ("folder.png/", None, None),
        ("-", "webp", "webp"),
        ("-", None, None),
        (None, "jpg", "jpeg"),
        ("folder", None, None),
    ],
)
def test_the_extension_decides_the_format(output, chosen, found):
    assert format_of_output(output, chosen) == found


def test_a_format_that_contradicts_the_file_name_is_refused():
    with pytest.raises(InvalidRequest, match="contradicts"):
        format_of_output("a.png", "jpeg")


def test_words_alone_make_an_image():
    found = ask("image", {"prompt": "a boat", "size": "64x64", "extra": ("grain=3",)})
    assert found == GenerateImage(prompt="a boat", size="64x64", extra_params={"grain": 3})


def test_a_mask_makes_it_an_inpaint():
    found = ask("edit", {"prompt": "blue", "sources": ("a.png",), "mask": "sky.png", "protect": "exact"})
    assert isinstance(found, Inpaint)
    assert (str(found.source.path), str(found.mask.image.path), found.protect) == ("a.png", "sky.png", "exact")


def test_an_outpaint_says_its_shape_once():
    found = ask("edit", {"prompt": "wider", "sources": ("a.png",), "outpaint": "16:9"})
    assert isinstance(found, Inpaint)
    assert (found.edit_mode, found.aspect_ratio) == ("outpaint", "16:9")
    with pytest.raises(InvalidRequest, match="already says"):
        ask("edit", {"prompt": "wider", "sources": ("a.png",), "outpaint": "16:9", "aspect_ratio": "4:3"})


def test_styles_controls_and_subjects_are_references_beside_the_sources():
    given = {"style": ("s.png",), "style_description": "brush strokes", "control": ("edges:c.png",), "subject": ("animal:x.png",)}
    found = ask("edit", {"prompt": "p", "sources": ("a.png", "b.png"), **given})
    assert isinstance(found, EditWithReferences)
    told = [(r.role, str(r.image.path), r.type, r.description) for r in found.references]
    assert told == [
        ("source", "a.png", None, None),
        ("source", "b.png", None, None),
        ("style", "s.png", None, "brush strokes"),
        ("control", "c.png", "edges", None),
        ("subject", "x.png", "animal", None),
    ]


def test_a_mask_beside_a_style_is_not_lost():
    found = ask("edit", {"prompt": "p", "sources": ("a.png",), "style": ("s.png",), "mask": "m.png", "protect": "exact"})
    assert isinstance(found, EditWithReferences)
    assert str(found.mask.image.path) == "m.png"
    assert found.protect == "exact"


def test_one_picture_is_a_videos_first_frame():
    found = ask("video", {"prompt": "p", "sources": ("a.png",), "last_frame": "b.png", "duration": 4.0, "reference": ("c.png",)})
    assert isinstance(found, GenerateVideo)
    assert (str(found.first_frame.path), str(found.last_frame.path), found.duration) == ("a.png", "b.png", 4.0)
    assert found.references[0].role == "subject"


def test_two_first_frames_are_refused():
    with pytest.raises(InvalidRequest, match="several need roles"):
        ask("video", {"prompt": "p", "sources": ("a.png",), "first_frame": "b.png"})


def test_going_on_from_a_handle_or_a_file():
    handle = Continuation(id="demo_vid_0123456789ab")
    assert ask("video", {"prompt": "p", "continue_as": "edit"}, handle) == ContinueVideo(
        prompt="p", continue_from=handle, continue_as="edit"
    )
    assert str(ask("video", {"prompt": "p"}, Video(path="a.mp4")).source.path) == "a.mp4"
    assert ask("image", {"prompt": "p"}, handle).continue_from == handle


@pytest.mark.parametrize(
    ("command", "fields", "start", "flag"),
    [
        ("video", {"n": 2}, Continuation(id="demo_vid_0123456789ab"), "-n means nothing"),
        ("video", {"first_frame": "a.png"}, Continuation(id="demo_vid_0123456789ab"), "--first means nothing"),
        ("video", {"continue_as": "extend"}, None, "--as means nothing"),
        ("edit", {"protect": "exact", "sources": ("a.png",)}, None, "mask"),
        ("edit", {"style": ("s.png",), "outpaint": "1:1", "sources": ("a.png",)}, None, "--outpaint"),
    ],
)
def test_what_means_nothing_together_is_refused_and_not_dropped(command, fields, start, flag):
    with pytest.raises(InvalidRequest, match=flag):
        ask(command, {"prompt": "p", **fields}, start)


def test_no_prompt_is_wrong_usage():
    with pytest.raises(click.UsageError, match="prompt"):
        ask("audio", {"voice": "anna"})


def test_audio_takes_its_own_options():
    found = ask("audio", {"prompt": "hi", "voice": "anna", "speed": 1.5, "audio_type": "music", "duration": 3.0, "instructions": "soft"})
    assert found == GenerateAudio(prompt="hi", voice="anna", speed=1.5, audio_type="music", duration=3.0, instructions="soft")


def test_an_image_is_needed_beside_the_words(call, work):
    told = call("edit", "make it blue", "-b", "demo")
    assert told.code == 2
    assert "reference image" in told.err
    (work / "a.png").write_bytes(b"")
    told = call("edit", "a.png", "-b", "demo")
    assert told.code == 2
    assert "a prompt is needed beside the file 'a.png'" in told.err


def test_an_unquoted_prompt_is_noticed(call):
    told = call("video", "the", "camera", "moves", "-b", "demo")
    assert told.code == 2
    assert "quote the prompt" in told.err


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False), lambda inner: st.lists(inner, max_size=3)
)


@given(st.text(min_size=1).filter(lambda key: "=" not in key), _json)
def test_any_json_value_comes_through_extra(key, value):
    assert extra_params([f"{key}={json.dumps(value)}"]) == {key: value}


@given(st.text())
def test_nothing_that_steers_a_terminal_comes_through(text):
    shown = clean(text)
    assert len(shown) == len(text)
    assert clean(shown) == shown
    assert not any(unicodedata.category(c) == "Cc" and c not in "\t\n" for c in shown)

"""Arguments and the config file become one request."""

from __future__ import annotations

import json
import unicodedata

import attrs
import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anymedia.cli.build_request import CliInvocation, extra_params, mask_fields, reference, split_model, split_type
from anymedia.cli.console import clean
from anymedia.errors import InvalidRequest
from anymedia.requests import EditWithReferences, GenerateAudio, GenerateImage, GenerateVideo, Inpaint, Request

_DEFAULTS = {"prompt": None, "config": None, "output": None, "dry_run": False, "as_json": False, "no_wait": False}


def ask(command: str, given: dict[str, object]) -> Request:
    """Return the request of a command line, given by parameter name."""
    invocation = CliInvocation.of(command, _DEFAULTS | given)
    with invocation.naming_options():
        return invocation.config.to_request()


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
def test_model_option_names_a_backend_or_keeps_its_slashes(model, backend, found):
    assert split_model(model, backend, ["local", "google", "openrouter"]) == found


def test_model_id_with_slashes_reaches_the_plan_unchanged(call):
    for words in (("-m", "demo/demo/painter-1"), ("-b", "demo", "-m", "demo/painter-1"), ("-m", "demo/painter")):
        plan = call("plan", "image", "a boat", *words, "--json")
        assert plan.json["backend"] == "demo", plan.err
        assert plan.json["model"] == "painter"


def test_extra_value_is_json_or_text():
    found = extra_params(['a={"b": [1]}', "c=3", "d=true", "e=vivid", "f=", "g=x=y"])
    assert found == {"a": {"b": [1]}, "c": 3, "d": True, "e": "vivid", "f": "", "g": "x=y"}


@pytest.mark.parametrize("pair", ["novalue", "=3", ""])
def test_extra_without_a_key_is_rejected(pair):
    with pytest.raises(InvalidRequest, match="KEY=JSON"):
        extra_params([pair])


def test_mask_of_a_file_or_a_word_sets_the_fields_for_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for word in ("foreground", "background", "auto"):
        assert mask_fields(word) == {"mask_mode": word}
    assert mask_fields("semantic:1,22") == {"mask_mode": "semantic", "segmentation_classes": (1, 22)}
    assert mask_fields("sky.png") == {"mask_path": "sky.png"}
    (tmp_path / "foregroun").write_bytes(b"")
    assert mask_fields("foregroun") == {"mask_path": "foregroun"}


@pytest.mark.parametrize(("text", "hint"), [("semantic:a", "NUMBER"), ("semantic:", "NUMBER"), ("forground", "did you mean 'foreground'")])
def test_mask_with_an_unknown_word_suggests_a_valid_one(text, hint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidRequest, match=hint):
        mask_fields(text)


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
def test_type_prefix_of_a_file_is_distinguished_from_a_url(text, found):
    assert split_type(text) == found


def test_existing_file_with_a_colon_in_its_name_is_not_split(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "edges:plan.png").write_bytes(b"")
    assert split_type("edges:plan.png") == (None, "edges:plan.png")


def test_reference_of_a_file_has_its_role_and_type():
    assert reference("animal:cat.png", "subject") == {"path": "cat.png", "role": "subject", "type": "animal"}
    assert reference("animal:cat.png", "style") == {"path": "animal:cat.png", "role": "style"}
    assert reference("style:van.png") == {"path": "van.png", "role": "style"}
    assert reference("https://host/cat.png") == {"image_url": "https://host/cat.png", "role": "subject"}
    with pytest.raises(InvalidRequest, match="did you mean 'style'"):
        reference("styel:van.png")


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
        (".", None, None),
    ],
)
def test_format_of_an_output_follows_its_suffix(output, chosen, found, monkeypatch):
    monkeypatch.setattr("anymedia.cli.build_request.stdout_is_terminal", lambda: False)
    command = {"mp4": "video", "opus": "audio"}.get(found, "image")
    assert ask(command, {"prompt": "x", "output": output, "output_format": chosen}).output_format == found


def test_format_that_contradicts_the_file_name_is_refused_by_option():
    with pytest.raises(InvalidRequest, match=r"^--format: jpeg contradicts the suffix of -o \(png\)"):
        ask("image", {"prompt": "x", "output": "a.png", "output_format": "jpeg"})


def test_existing_directory_with_a_suffix_is_a_directory(tmp_path):
    (tmp_path / "pictures.old").mkdir()
    invocation = CliInvocation.of("image", _DEFAULTS | {"prompt": "x", "output": f"{tmp_path}/pictures.old"})
    assert invocation.output == f"{tmp_path}/pictures.old/"
    assert invocation.config.to_request().output_format is None


def test_image_command_builds_generate_image():
    found = ask("image", {"prompt": "a boat", "size": "64x64", "extra": ("grain=3",)})
    assert found == GenerateImage(prompt="a boat", size="64x64", extra_params={"grain": 3})


def test_edit_with_a_mask_builds_inpaint():
    found = ask("edit", {"prompt": "blue", "sources": ("a.png",), "mask": "sky.png", "protect": "exact"})
    assert isinstance(found, Inpaint)
    assert (str(found.source.path), str(found.mask.image.path), found.protect) == ("a.png", "sky.png", "exact")


def test_outpaint_with_a_second_shape_is_rejected():
    found = ask("edit", {"prompt": "wider", "sources": ("a.png",), "outpaint": "16:9"})
    assert isinstance(found, Inpaint)
    assert (found.edit_mode, found.aspect_ratio) == ("outpaint", "16:9")
    with pytest.raises(InvalidRequest, match=r"^--outpaint: contradicts --aspect-ratio"):
        ask("edit", {"prompt": "wider", "sources": ("a.png",), "outpaint": "16:9", "aspect_ratio": "4:3"})


def test_edit_with_style_control_and_subject_builds_references():
    given = {"style": ("s.png",), "style_description": "brush strokes", "control": ("edges:c.png",), "subject": ("animal:x.png",)}
    found = ask("edit", {"prompt": "p", "sources": ("a.png", "b.png"), **given})
    assert isinstance(found, EditWithReferences)
    result = [(r.role, str(r.image.path), r.type, r.description) for r in found.references]
    assert result == [
        ("source", "a.png", None, None),
        ("source", "b.png", None, None),
        ("style", "s.png", None, "brush strokes"),
        ("control", "c.png", "edges", None),
        ("subject", "x.png", "animal", None),
    ]


def test_edit_with_a_mask_and_a_style_keeps_the_mask():
    found = ask("edit", {"prompt": "p", "sources": ("a.png",), "style": ("s.png",), "mask": "m.png", "protect": "exact"})
    assert isinstance(found, EditWithReferences)
    assert str(found.mask.image.path) == "m.png"
    assert found.protect == "exact"


def test_video_with_one_image_uses_it_as_first_frame():
    found = ask("video", {"prompt": "p", "sources": ("a.png",), "last_frame_path": "b.png", "duration": 4.0, "reference": ("c.png",)})
    assert isinstance(found, GenerateVideo)
    assert (str(found.first_frame.path), str(found.last_frame.path), found.duration) == ("a.png", "b.png", 4.0)
    assert found.references[0].role == "subject"


def test_video_with_two_first_frames_is_rejected():
    with pytest.raises(InvalidRequest, match=r"^IMAGE: 2 images for a video"):
        ask("video", {"prompt": "p", "sources": ("a.png",), "first_frame": "b.png"})


@pytest.mark.parametrize(
    ("command", "fields", "message"),
    [
        ("video", {"continue_as": "extend"}, r"^--as: has no meaning .*goes with mode 'video' and --continue"),
        ("edit", {"protect": "exact", "sources": ("a.png",)}, r"^--protect: .*mask"),
        ("edit", {"style": ("s.png",), "outpaint": "1:1", "sources": ("a.png",)}, r"^--outpaint: has no meaning"),
        ("image", {"size": "64"}, r"^--size: expected WIDTHxHEIGHT"),
        ("image", {"n": 0}, r"^-n: must be between"),
        ("video", {"last_frame_path": "https://host/a.png"}, r"^--last: expected a file path, not a URL"),
        ("edit", {"sources": ("a.png", "ftp://host/b.png")}, r"^IMAGE: item 1"),
        ("video", {"reference": ("data:image/png;base64,%",)}, r"^--reference: .*base64"),
    ],
)
def test_option_without_meaning_or_with_a_wrong_value_is_refused_by_its_name(command, fields, message):
    with pytest.raises(InvalidRequest, match=message):
        ask(command, {"prompt": "p", **fields})


@pytest.mark.parametrize(("fields", "option"), [({"n": 2}, "-n"), ({"first_frame": "a.png"}, "--first")])
def test_option_without_meaning_for_a_continued_video_is_refused(call, fields, option):
    invocation = CliInvocation.of("video", _DEFAULTS | {"prompt": "p", **fields})
    config = attrs.evolve(invocation.config, continue_from="demo_vid_0123456789ab")
    with pytest.raises(InvalidRequest, match=f"^{option}: "), invocation.naming_options():
        config.to_request()


@pytest.mark.parametrize(
    ("size", "field", "value"), [("480p", "resolution", "480p"), ("16x9", "aspect_ratio", "16:9"), ("96*64", "size", "96x64")]
)
def test_size_written_in_another_way_is_read_and_noted_in_the_plan(call, size, field, value):
    result = call("plan", "image", "a boat", "-b", "demo", "--size", size, "--json")
    assert result.code == 0, result.err
    assert {"code": "field_interpreted", "text": f"size {size!r} is read as {field} {value!r}"} in result.json["warnings"]


def test_missing_prompt_is_a_usage_error():
    with pytest.raises(click.UsageError, match="prompt"):
        ask("audio", {"voice": "anna"})


def test_audio_options_set_the_fields_of_the_request():
    found = ask("audio", {"prompt": "hi", "voice": "anna", "speed": 1.5, "audio_type": "music", "duration": 3.0, "instructions": "soft"})
    assert found == GenerateAudio(prompt="hi", voice="anna", speed=1.5, audio_type="music", duration=3.0, instructions="soft")


def test_edit_without_an_image_or_a_prompt_is_a_usage_error(call, work):
    result = call("edit", "make it blue", "-b", "demo")
    assert result.code == 2
    assert "IMAGE: an image to edit is missing" in result.err
    (work / "a.png").write_bytes(b"")
    result = call("edit", "a.png", "-b", "demo")
    assert result.code == 2
    assert "a prompt is missing; the only argument is the file 'a.png'" in result.err


def test_unquoted_prompt_is_a_usage_error(call):
    result = call("video", "the", "camera", "moves", "-b", "demo")
    assert result.code == 2
    assert "quote the prompt" in result.err


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False), lambda inner: st.lists(inner, max_size=3)
)


@given(st.text(min_size=1).filter(lambda key: "=" not in key), _json)
def test_extra_with_any_json_value_round_trips(key, value):
    assert extra_params([f"{key}={json.dumps(value)}"]) == {key: value}


@given(st.text())
def test_clean_of_any_text_removes_control_characters(text):
    shown = clean(text)
    assert len(shown) == len(text)
    assert clean(shown) == shown
    assert not any(unicodedata.category(c) == "Cc" and c not in "\t\n" for c in shown)

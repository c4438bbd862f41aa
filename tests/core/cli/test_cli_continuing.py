"""Going on from what an earlier process made."""

from __future__ import annotations

import shutil
from pathlib import Path


def _frames(path):
    import av

    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_last_is_what_an_earlier_call_made(call, work):
    first = call("video", "waves", "-b", "demo", "-s", "1", "-o", "a.mp4", "--json")
    assert first.code == 0, first.err
    second = call("video", "--continue", "last", "a gull", "-s", "2", "-o", "b.mp4", "--json")
    assert second.code == 0, second.err
    assert second.json["texts"] == ["waves > a gull"]
    assert second.json["continued_as"] == "extend"
    assert (_frames(work / "a.mp4"), _frames(work / "b.mp4")) == (8, 24)
    assert second.json["continuation_id"] != first.json["continuation_id"]


def test_an_id_goes_on_from_that_one_not_the_last(call):
    first = call("video", "waves", "-b", "demo", "--json").json
    call("video", "hills", "-b", "demo", "-o", "hills.mp4")
    third = call("video", "--continue", first["continuation_id"], "a gull", "-o", "c.mp4", "--json").json
    assert third["texts"] == ["waves > a gull"]


def test_a_file_is_known_by_its_checksum_wherever_it_lies(call, work):
    call("video", "waves", "-b", "demo", "-o", "a.mp4")
    call("video", "hills", "-b", "demo", "-o", "b.mp4")
    shutil.copy(work / "a.mp4", work / "renamed.mp4")
    told = call("video", "--continue", "renamed.mp4", "a gull", "-o", "c.mp4", "--json")
    assert told.json["texts"] == ["waves > a gull"]


def test_a_file_that_nobody_here_made_is_itself_the_source(call, work, tmp_path, monkeypatch):
    call("video", "waves", "-b", "demo", "-o", "a.mp4")
    monkeypatch.setenv("ANYMEDIA_STATE", str(tmp_path / "another-state"))
    told = call("video", "--continue", "a.mp4", "a gull", "-b", "demo", "-o", "b.mp4", "--json")
    assert told.code == 0, told.err
    assert told.json["texts"] == ["file of 64x48 > a gull"]


def test_images_go_on_too_and_media_are_kept_apart(call, work):
    call("image", "a boat", "-b", "demo", "-o", "boat.png")
    call("video", "waves", "-b", "demo", "-o", "waves.mp4")
    plan = call("plan", "image", "with a sail", "--continue", "last", "--json")
    assert (plan.json["backend"], plan.json["operation"]) == ("demo", "generate_image")
    told = call("image", "with a sail", "--continue", "boat.png", "-o", "sail.png")
    assert told.code == 0, told.err


def test_nothing_to_go_on_from_is_said(call):
    told = call("video", "--continue", "last", "more", "-b", "demo")
    assert told.code == 2
    assert "no earlier video" in told.err


def test_an_image_file_without_a_history_is_sent_to_edit(call, work):
    (work / "found.png").write_bytes(b"\x89PNG\r\n")
    told = call("image", "more", "--continue", "found.png", "-b", "demo")
    assert told.code == 2
    assert "anymedia edit found.png" in told.err


def test_a_result_says_how_to_go_on(call):
    told = call("video", "waves", "-b", "demo", "-o", "a.mp4")
    identity = told.err.split("--continue ")[1].split()[0]
    assert call("video", "--continue", identity, "a gull", "-o", "b.mp4").code == 0
    assert Path("b.mp4").is_file()

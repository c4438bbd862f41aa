"""Continuing the results of earlier processes."""

from __future__ import annotations

import shutil
from pathlib import Path


def _frames(path):
    import av

    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_continue_last_uses_the_newest_result(call, work):
    first = call("video", "waves", "-b", "demo", "-s", "1", "-o", "a.mp4", "--json")
    assert first.code == 0, first.err
    second = call("video", "--continue", "last", "a gull", "-s", "2", "-o", "b.mp4", "--json")
    assert second.code == 0, second.err
    assert second.json["texts"] == ["waves > a gull"]
    assert second.json["continued_as"] == "extend"
    assert (_frames(work / "a.mp4"), _frames(work / "b.mp4")) == (8, 24)
    assert second.json["continuation_id"] != first.json["continuation_id"]


def test_continue_id_uses_that_result(call):
    first = call("video", "waves", "-b", "demo", "--json").json
    call("video", "hills", "-b", "demo", "-o", "hills.mp4")
    third = call("video", "--continue", first["continuation_id"], "a gull", "-o", "c.mp4", "--json").json
    assert third["texts"] == ["waves > a gull"]


def test_continue_file_finds_a_renamed_copy_by_checksum(call, work):
    call("video", "waves", "-b", "demo", "-o", "a.mp4")
    call("video", "hills", "-b", "demo", "-o", "b.mp4")
    shutil.copy(work / "a.mp4", work / "renamed.mp4")
    result = call("video", "--continue", "renamed.mp4", "a gull", "-o", "c.mp4", "--json")
    assert result.json["texts"] == ["waves > a gull"]


def test_continue_file_not_in_the_journal_uses_the_file(call, work, tmp_path, monkeypatch):
    call("video", "waves", "-b", "demo", "-o", "a.mp4")
    monkeypatch.setenv("ANYMEDIA_STATE", str(tmp_path / "another-state"))
    result = call("video", "--continue", "a.mp4", "a gull", "-b", "demo", "-o", "b.mp4", "--json")
    assert result.code == 0, result.err
    assert result.json["texts"] == ["file of 64x48 > a gull"]


def test_continue_last_image_ignores_newer_videos(call, work):
    call("image", "a boat", "-b", "demo", "-o", "boat.png")
    call("video", "waves", "-b", "demo", "-o", "waves.mp4")
    plan = call("plan", "image", "with a sail", "--continue", "last", "--json")
    assert (plan.json["backend"], plan.json["operation"]) == ("demo", "generate_image")
    result = call("image", "with a sail", "--continue", "boat.png", "-o", "sail.png")
    assert result.code == 0, result.err


def test_continue_last_without_an_earlier_result_is_an_error(call):
    result = call("video", "--continue", "last", "more", "-b", "demo")
    assert result.code == 2
    assert "no earlier video" in result.err


def test_continue_image_file_not_in_the_journal_suggests_edit(call, work):
    (work / "found.png").write_bytes(b"\x89PNG\r\n")
    result = call("image", "more", "--continue", "found.png", "-b", "demo")
    assert result.code == 2
    assert "anymedia edit found.png" in result.err


def test_result_prints_its_continuation_id(call):
    result = call("video", "waves", "-b", "demo", "-o", "a.mp4")
    identity = result.err.split("--continue ")[1].split()[0]
    assert call("video", "--continue", identity, "a gull", "-o", "b.mp4").code == 0
    assert Path("b.mp4").is_file()

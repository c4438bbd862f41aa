"""Where results go is decided, and tried, before anything is spent."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anymedia.errors import InvalidRequest
from anymedia.files import paths
from anymedia.files.atomic_writer import Writer
from anymedia.files.names import name_problem
from anymedia.files.paths import OutputTarget, plan_output
from anymedia.files.safe_dir import Directory

GOOD = b"good bytes"
posix = pytest.mark.skipif(os.name != "posix", reason="directories of POSIX")


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def plain_target(folder: Path, **changes: object) -> OutputTarget:
    arguments: dict[str, object] = {"default_stem": "fox", "suffix": ".png"} | changes
    return plan_output(folder / "x.png", **arguments)  # type: ignore[arg-type]


def test_existing_file_is_refused_before_spending_and_replaced_only_when_asked(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"old")
    with pytest.raises(InvalidRequest, match=r"exists \(choose another name, or replace the file with overwrite=True\)"):
        plain_target(tmp_path).check()
    target = plain_target(tmp_path, overwrite=True)
    target.check()
    with Writer(target, call_id="c") as writer:
        writer.write(b"new")
        assert (tmp_path / "x.png").read_bytes() == b"old"
        assert writer.commit() == tmp_path / "x.png"
    assert (tmp_path / "x.png").read_bytes() == b"new"
    assert names_in(tmp_path) == ["x.png"]


def test_check_of_several_outputs_covers_each_name(tmp_path: Path) -> None:
    (tmp_path / "x-3.png").write_bytes(b"old")
    plain_target(tmp_path).check(of=2)
    with pytest.raises(InvalidRequest, match=r"x-3\.png"):
        plain_target(tmp_path).check(of=3)


def test_missing_directory_is_refused_unless_a_directory_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="create the directory first"):
        plan_output(tmp_path / "no" / "x.png", default_stem="s", suffix=".png").check()
    target = plan_output(f"{tmp_path}/no/deeper/", default_stem="s", suffix=".png")
    target.check()
    assert not (tmp_path / "no").exists()
    with Writer(target, call_id="c") as writer:
        writer.write(b"x")
        assert writer.commit() == tmp_path / "no" / "deeper" / "s-1.png"


@pytest.mark.parametrize("output", [None, "x.png", "made/", "sub/x.mp4"])
@pytest.mark.parametrize("confined", [True, False])
def test_target_means_the_same_place_to_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str | None, confined: bool
) -> None:
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path)
    target = plan_output(output, roots=[Path()] if confined else None, overwrite=True, default_stem="s", suffix=".png")
    kept = json.dumps(target.to_json())
    monkeypatch.chdir("/")
    again = OutputTarget.from_json(json.loads(kept))
    assert again == target
    again.check()
    with Writer(again, call_id="c") as writer:
        writer.write(GOOD)
        assert writer.commit().is_relative_to(tmp_path)


@posix
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs a directory without write permission")
def test_unwritable_directory_is_found_out_before_spending() -> None:
    with pytest.raises(InvalidRequest, match=r"cannot be used|may not be opened|does not exist|read-only"):
        plan_output("/proc/self/x.png", default_stem="s", suffix=".png").check()


def test_trial_leaves_nothing_behind(tmp_path: Path) -> None:
    plain_target(tmp_path).check()
    assert names_in(tmp_path) == []


def test_unnamed_output_goes_to_the_working_directory_under_a_default_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number in (1, 2, 3):
        with Writer(plan_output(None, default_stem="2026-11-21-red-fox", suffix=".webp"), call_id=f"c{number}") as writer:
            writer.write(b"x")
            assert writer.commit() == tmp_path / f"2026-11-21-red-fox-{number}.webp"


def test_default_name_replaces_nothing_even_when_overwriting(tmp_path: Path) -> None:
    (tmp_path / "s-1.png").write_bytes(b"old")
    with Writer(plan_output(tmp_path, overwrite=True, default_stem="s", suffix=".png"), call_id="c") as writer:
        writer.write(b"x")
        assert writer.commit().name == "s-2.png"
    assert (tmp_path / "s-1.png").read_bytes() == b"old"


@given(st.text(max_size=60))
def test_planned_output_is_inside_its_root_or_refused(text: str) -> None:
    root = Path.cwd()
    try:
        target = plan_output(text, roots=[root], default_stem="s", suffix=".png")
    except InvalidRequest:
        return
    assert target.folder.is_relative_to(root)
    assert name_problem(next(target.names())) is None


@posix
@pytest.mark.parametrize("mask", [0o077, 0o027, 0o002])
def test_file_has_the_permissions_that_a_new_one_had_when_the_output_was_tried(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        target = plain_target(tmp_path).check()
    finally:
        os.umask(before)
    again = OutputTarget.from_json(json.loads(json.dumps(target.to_json())))
    assert again == target
    with Writer(again, call_id="c") as writer:
        writer.write(GOOD)
        assert writer.commit().stat().st_mode & 0o777 == 0o666 & ~mask
    older = {name: value for name, value in target.to_json().items() if name != "mode"}
    assert OutputTarget.from_json(older).mode is None


def test_name_is_made_up_only_where_none_was_given(tmp_path: Path) -> None:
    def never() -> str:
        raise AssertionError("a name was given")

    assert plan_output(tmp_path / "x.png", default_stem=never, suffix=".png").stem == "x"
    assert plan_output(tmp_path, default_stem=lambda: "made-up", suffix=".png").stem == "made-up"


@posix
def test_folder_is_not_tried_twice_in_a_row_unless_something_about_it_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    real = Directory.open

    def noted(self: Directory, name: str, flags: int, mode: int = 0o600) -> int:
        made.append(name)
        return real(self, name, flags, mode)

    monkeypatch.setattr(Directory, "open", noted)
    first = plain_target(tmp_path).check()
    assert len(made) == 1 and list(tmp_path.iterdir()) == []
    assert plain_target(tmp_path).check() == first
    assert len(made) == 1
    tmp_path.chmod(0o750)
    plain_target(tmp_path).check()
    assert len(made) == 2
    monkeypatch.setattr(paths, "_TRIED_SECONDS", 0.0)
    plain_target(tmp_path).check()
    assert len(made) == 3


@posix
def test_folder_that_could_not_be_written_to_is_tried_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Directory, name: str, flags: int, mode: int = 0o600) -> int:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patched:
        patched.setattr(Directory, "open", full)
        for _ in range(2):
            with pytest.raises(InvalidRequest, match="full disk"):
                plain_target(tmp_path).check()
    plain_target(tmp_path).check()


def test_output_target_of_an_earlier_journal_stays_confined(tmp_path: Path) -> None:
    target = plan_output("a.png", roots=[tmp_path], overwrite=False, default_stem="s", suffix=".png")
    data = target.to_json()
    data["walled"] = data.pop("confined")
    assert OutputTarget.from_json(data) == target
    assert OutputTarget.from_json(data).confined

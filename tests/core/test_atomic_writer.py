"""A file appears whole or not at all, replaces nothing by itself, and bears a name every system can hold."""

from __future__ import annotations

import datetime
import hashlib
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anymedia.errors import MediaError
from anymedia.files.atomic_writer import Writer, part_name
from anymedia.files.names import MEDIA_SUFFIXES, fits_suffix, made_up_stem, name_problem, suffix_for
from anymedia.files.paths import OutputTarget, plan_output

posix = pytest.mark.skipif(os.name != "posix", reason="locks and links of POSIX")
CANARY = b"CANARY-this-is-none-of-our-business"


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def plain_target(folder: Path, **changes: object) -> OutputTarget:
    arguments: dict[str, object] = {"default_stem": "fox", "suffix": ".png"} | changes
    return plan_output(folder / "x.png", **arguments)  # type: ignore[arg-type]


def test_file_that_appears_meanwhile_is_not_replaced_and_nothing_is_lost(tmp_path: Path) -> None:
    with Writer(plain_target(tmp_path), call_id="c") as writer:
        writer.write(b"mine")
        (tmp_path / "x.png").write_bytes(b"theirs")
        (tmp_path / "x-2.png").write_bytes(b"theirs")
        assert writer.commit().name == "x-3.png"
    assert (tmp_path / "x.png").read_bytes() == b"theirs"


def test_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="on the way"), Writer(plain_target(tmp_path), call_id="c") as writer:
        writer.write(b"half")
        assert stat.S_IMODE(writer.path.stat().st_mode) == 0o600
        raise RuntimeError("on the way")
    assert names_in(tmp_path) == []


def abandon(target: OutputTarget, data: bytes, call_id: str = "call1") -> None:
    """Leave a temporary behind as a killed process does: closed by the system, not removed."""
    writer = Writer(target, call_id=call_id).open()
    writer.write(data)
    os.close(writer._fd)
    writer._fd = -1
    writer.abort()


def test_temporary_of_a_dead_call_is_resumed(tmp_path: Path) -> None:
    abandon(plain_target(tmp_path), b"first half, ")
    with Writer(plain_target(tmp_path), call_id="call1") as writer:
        assert writer.size == 12
        assert writer.tail(5) == b"alf, "
        writer.write(b"second half")
        digest = writer.sha256
        assert writer.commit().read_bytes() == b"first half, second half"
    assert digest == hashlib.sha256(b"first half, second half").hexdigest()
    assert names_in(tmp_path) == ["x.png"]


@posix
def test_live_calls_temporary_is_left_alone(tmp_path: Path) -> None:
    with Writer(plain_target(tmp_path), call_id="call1") as first:
        first.write(b"first")
        with Writer(plain_target(tmp_path), call_id="call1") as second:
            assert second.size == 0
            second.write(b"second")
            assert second.commit().read_bytes() == b"second"
        assert first.commit().read_bytes() == b"first"
    assert names_in(tmp_path) == ["x-2.png", "x.png"]


@posix
def test_planted_temporary_that_is_a_link_is_left_alone(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(CANARY)
    (tmp_path / part_name("call1", 0)).symlink_to(secret)
    with Writer(plain_target(tmp_path), call_id="call1") as writer:
        assert writer.size == 0
        writer.write(b"mine")
        writer.commit()
    assert secret.read_bytes() == CANARY


@posix
@pytest.mark.parametrize("twice", [False, True])
def test_planted_temporary_that_is_another_name_of_a_file_elsewhere_is_left_alone(tmp_path: Path, twice: bool) -> None:
    """What was written to it would be written there, and its mode be changed there."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "root").mkdir()
    secret = tmp_path / "outside" / "secret"
    secret.write_bytes(CANARY)
    secret.chmod(0o600)
    os.link(secret, tmp_path / "root" / part_name("call1", 0))
    if twice:
        os.link(secret, tmp_path / "root" / "theirs.png")
    with Writer(plain_target(tmp_path / "root"), call_id="call1") as writer:
        assert writer.size == 0
        writer.write(b"mine")
        assert writer.commit().read_bytes() == b"mine"
    assert secret.read_bytes() == CANARY
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600


def test_of_two_calls_that_replace_one_file_the_later_ones_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The earlier one finds another file in its place: it says so, and does not remove it."""
    (tmp_path / "x.png").write_bytes(b"old")
    first = Writer(plain_target(tmp_path, overwrite=True), call_id="call1").open()
    second = Writer(plain_target(tmp_path, overwrite=True), call_id="call2").open()
    first.write(b"first")
    second.write(b"second")
    verified = Writer._verified

    def slowly(self: Writer, name: str) -> str:
        if self is first:
            second.commit()
        return verified(self, name)

    monkeypatch.setattr(Writer, "_verified", slowly)
    with pytest.raises(MediaError, match="changed"), first:
        first.commit()
    assert (tmp_path / "x.png").read_bytes() == b"second"
    assert names_in(tmp_path) == ["x.png"]


@posix
def test_file_of_a_call_that_died_between_naming_and_tidying_up_is_not_changed(tmp_path: Path) -> None:
    abandon(plain_target(tmp_path), b"whole")
    os.link(tmp_path / part_name("call1", 0), tmp_path / "x.png")
    with Writer(plain_target(tmp_path), call_id="call1") as writer:
        assert writer.size == 0
        writer.write(b"again")
        assert writer.commit() == tmp_path / "x-2.png"
    assert (tmp_path / "x.png").read_bytes() == b"whole"


def test_file_system_without_hard_links_still_replaces_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    (tmp_path / "x.png").write_bytes(b"theirs")
    with Writer(plain_target(tmp_path), call_id="c") as writer:
        writer.write(b"mine")
        assert writer.commit().name == "x-2.png"
    assert (tmp_path / "x.png").read_bytes() == b"theirs"
    assert (tmp_path / "x-2.png").read_bytes() == b"mine"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk_is_a_clear_error(tmp_path: Path) -> None:
    writer = Writer(plain_target(tmp_path), call_id="c").open()
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, writer._fd)
    os.close(full)
    with pytest.raises(MediaError, match="full disk"):
        writer.write(b"x")
    writer.abort()
    assert names_in(tmp_path) == []


# Names


def test_default_name_contains_the_date_and_the_prompt() -> None:
    day = datetime.date(2026, 11, 21)
    assert made_up_stem("A red fox!", day) == "2026-11-21-a-red-fox"
    assert made_up_stem("Éclair au café", day) == "2026-11-21-eclair-au-cafe"
    assert made_up_stem("狐", day) == "2026-11-21-media"
    assert made_up_stem("../../etc/passwd\0", day) == "2026-11-21-etc-passwd"
    assert len(made_up_stem("word " * 1000, day)) <= 51


@given(st.text())
def test_default_name_is_valid_on_every_system(prompt: str) -> None:
    assert name_problem(made_up_stem(prompt, datetime.date(2026, 11, 21)) + "-1.png") is None


def test_formats_know_their_suffixes() -> None:
    assert suffix_for("jpeg") == ".jpg"
    assert suffix_for("png") == ".png"
    assert fits_suffix(".JPEG", "jpeg")
    assert not fits_suffix(".png", "jpeg")
    assert {".jpg", ".jpeg", ".mp4", ".wav", ".tif"} <= MEDIA_SUFFIXES
    assert not {".svg", ".html", ".py", ".txt", ""} & MEDIA_SUFFIXES


def test_commit_syncs_all_bytes_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    real = os.fsync

    def noted(fd: int) -> None:
        if stat.S_ISREG(os.fstat(fd).st_mode):
            synced.append(os.fstat(fd).st_size)
        real(fd)

    monkeypatch.setattr(os, "fsync", noted)
    with Writer(plain_target(tmp_path), call_id="c") as writer:
        writer.write(b"one")
        writer.write(b" and two")
        writer.commit()
    assert synced == [11]
    with Writer(plain_target(tmp_path), call_id="d") as writer:
        writer.write(b"one")
        writer.restart()
        writer.write(b"two")
        writer.commit()
    assert synced == [11, 3]

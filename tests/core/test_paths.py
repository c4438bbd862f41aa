"""Paths in and out: what is refused, what passes, and that nothing escapes an allowed root."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from anymedia.errors import InvalidRequest, MediaError
from anymedia.files import safe_dir as walking
from anymedia.files.atomic_writer import Writer
from anymedia.files.paths import open_input, plan_output

CANARY = b"CANARY-this-is-outside-the-root"
GOOD = b"good bytes"
posix = pytest.mark.skipif(os.name != "posix", reason="pipes, devices and symbolic links of POSIX")


@attrs.frozen
class House:
    """A root with good files in it, and secrets outside; hostile things of every kind lie around."""

    root: Path
    outside: Path


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    root, outside = tmp_path / "inside", tmp_path / "outside"
    for folder in (root / "sub" / "deep", outside, tmp_path / "inside-not", root / "folder.png"):
        folder.mkdir(parents=True)
    for good in ("a.png", "sub/b.JPG", "sub/deep/c.mp4", "with space.webp", "ünïcode.png", ".hidden/d.wav"):
        (root / good).parent.mkdir(exist_ok=True)
        (root / good).write_bytes(GOOD)
    for bad in (
        outside / "secret.png",
        outside / "id_rsa",
        tmp_path / "inside-not" / "x.png",
        root / "id_rsa",
        root / ".env",
        root / "notes.txt",
    ):
        bad.write_bytes(CANARY)
    for name, target in {
        "link.png": outside / "secret.png",
        "link-key.png": outside / "id_rsa",
        "link-up.png": Path("../outside/secret.png"),
        "link-inside.png": root / "a.png",
        "link-proc.png": Path("/proc/self/environ"),
        "link-self.png": root / "link-self.png",
        "link-dangling.png": root / "nothing",
        "dir-link": outside,
        "dir-link-up": Path(".."),
        "dir-link-inside": root / "sub",
        "dir-root": Path("/"),
        "sub/dir-link": outside,
        "folder-link.png": outside,
    }.items():
        (root / name).symlink_to(target)
    os.link(outside / "secret.png", root / "hard.png")
    os.link(outside / "id_rsa", root / "sub" / "hard.mp4")
    os.mkfifo(root / "pipe.png")
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("inside/socket.png")
        monkeypatch.chdir(root)
        yield House(root, outside)


def hostile_inputs(house: House) -> list[str]:
    """Path texts that must not be read, with the house's root as the only root."""
    return corpus("paths_in", root=house.root, outside=house.outside, pid=os.getpid())


def corpus(name: str, **places: object) -> list[str]:
    """Read a corpus: texts with ``{places}``, or a text to be repeated."""
    groups = json.loads((Path(__file__).with_name("corpora") / f"{name}.json").read_text())
    texts = []
    for entry in (entry for group in groups.values() for entry in group):
        text = entry if isinstance(entry, str) else entry["repeat"] * entry["times"] + entry["then"]
        for key, value in places.items():
            text = text.replace(f"{{{key}}}", str(value))
        texts.append(text)
    return texts


@posix
def test_hostile_input_path_is_never_read(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    paths = hostile_inputs(house)
    assert len(set(paths)) >= 100
    refused = 0
    for text in paths:
        try:
            open_input(text, [house.root])
        except InvalidRequest as error:
            refused += 1
            assert "CANARY" not in str(error)
            assert str(error).isprintable()
        else:
            pytest.fail(f"{text!r} was opened")
    with capsys.disabled():
        print(f"\ninput paths: {len(paths)} tried, {refused} refused")
    assert refused == len(paths)


@posix
def test_good_inputs_within_the_root_are_read(house: House) -> None:
    for text in (
        "a.png",
        "./a.png",
        "sub/b.JPG",
        "sub//deep/./c.mp4",
        "with space.webp",
        "ünïcode.png",
        ".hidden/d.wav",
        str(house.root / "a.png"),
    ):
        with open_input(text, [house.root]) as file:
            assert file.read() == GOOD
        assert file.closed


@posix
def test_root_may_itself_be_reached_through_a_link(house: House) -> None:
    alias = house.outside / "alias"
    alias.symlink_to(house.root)
    for root, text in ((alias, "a.png"), (alias, str(alias / "a.png")), (alias, str(house.root / "sub/b.JPG"))):
        with open_input(text, [root]) as file:
            assert file.read() == GOOD
    with pytest.raises(InvalidRequest, match="outside the allowed directories"):
        open_input(alias / "a.png", [house.root])


@posix
def test_relative_path_starts_at_the_first_root_if_the_working_directory_is_not_a_root(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(house.outside)
    with open_input("a.png", [house.root]) as file:
        assert file.read() == GOOD
    with pytest.raises(InvalidRequest, match="does not exist"):
        open_input("secret.png", [house.root])


@posix
def test_empty_list_of_roots_permits_no_path(house: House) -> None:
    with pytest.raises(InvalidRequest, match="outside the allowed"):
        open_input("a.png", [])
    with pytest.raises(InvalidRequest, match="outside the allowed"):
        open_input("a.png", [house.root / "not there"])


@posix
@pytest.mark.parametrize("root", ["/", "/proc", "/dev"])
def test_system_directories_stay_closed_under_the_widest_root(root: str) -> None:
    for text in ("/proc/self/environ.png", "/dev/x.png", "/sys/a.png"):
        with pytest.raises(InvalidRequest, match=r"in a system directory|outside"):
            open_input(text, [Path(root)])


@posix
def test_person_may_read_through_links_and_anywhere_but_only_regular_files(house: House) -> None:
    for text in ("link.png", "dir-link/secret.png", "../outside/secret.png", "hard.png", "id_rsa"):
        with open_input(text) as file:
            assert file.read() == CANARY
    for text in (
        "pipe.png",
        "socket.png",
        "sub",
        "folder.png",
        "/dev/null",
        "/dev/zero",
        "missing",
        "link-self.png",
        "link-dangling.png",
        "\0",
        "",
    ):
        with pytest.raises(InvalidRequest):
            open_input(text)


@posix
def test_fallback_without_descriptor_walks_refuses_the_same_paths(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walking, "CAN_WALK", False)
    for text in hostile_inputs(house):
        with pytest.raises(InvalidRequest):
            open_input(text, [house.root])
    with open_input("sub/b.JPG", [house.root]) as file:
        assert file.read() == GOOD
    with Writer(plan_output("new/x.png", roots=[house.root], default_stem="s", suffix=".png"), call_id="c") as writer:
        writer.write(GOOD)
        assert writer.commit().read_bytes() == GOOD
    with pytest.raises(InvalidRequest):
        write_to("dir-link/x.png", house)


@posix
def test_descriptors_are_closed_whatever_happens(house: House) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for text in [*hostile_inputs(house), "a.png"]:
        with contextlib.suppress(InvalidRequest), open_input(text, [house.root]):
            pass
    for text in hostile_outputs(house):
        with contextlib.suppress(InvalidRequest):
            write_to(text, house)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def write_to(text: str, house: House, *, makes_folders: bool = True) -> Path:
    target = plan_output(text, roots=[house.root], default_stem="2026-11-21-fox", suffix=".png")
    target = attrs.evolve(target, makes_folders=makes_folders)
    target.check()
    with Writer(target, call_id="call1") as writer:
        writer.write(GOOD)
        return writer.commit()


def hostile_outputs(house: House) -> list[str]:
    """Path texts that must not be written to."""
    return corpus("paths_out", root=house.root, outside=house.outside, pid=os.getpid())


@posix
def test_hostile_output_path_is_never_written(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    def everything() -> dict[str, bytes | None]:
        found = [p for top in (house.root, house.outside, house.root.parent / "inside-not") for p in top.rglob("*")]
        return {str(p): p.read_bytes() if p.is_file() and not p.is_symlink() else None for p in found}

    before = everything()
    for text in hostile_outputs(house):
        with pytest.raises(InvalidRequest) as caught:
            write_to(text, house)
        assert "CANARY" not in str(caught.value)
    after = everything()
    assert after == before
    with capsys.disabled():
        print(f"\noutput paths: {len(hostile_outputs(house))} tried, all refused, nothing changed")


@posix
def test_good_outputs_are_written_whole_with_the_usual_mode(house: House) -> None:
    os.umask(mask := os.umask(0o022))
    for text, expected in {
        "out.png": "out.png",
        "sub/out.JPEG": "sub/out.JPEG",
        "new/deeper/out.mp4": "new/deeper/out.mp4",
        "made/": "made/2026-11-21-fox-1.png",
        "sub": "sub/2026-11-21-fox-1.png",
        str(house.root / "abs.webp"): "abs.webp",
    }.items():
        path = write_to(text, house)
        assert path == house.root / expected
        assert path.read_bytes() == GOOD
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask
        assert path.stat().st_nlink == 1
    assert not list(house.root.rglob(".anymedia-*"))


SWAPPER = """
import os, sys
os.chdir(sys.argv[1])
swaps = 0
while swaps < int(sys.argv[2]) or not os.path.exists(sys.argv[3]):
    swaps += 1
    os.rename("flip", "away")
    os.rename("link", "flip")  # the folder is a link to the outside now
    os.rename("flip", "link")
    os.rename("away", "flip")
"""


@posix
@pytest.mark.timeout(600)
def test_symlink_race_with_ten_thousand_swaps_never_escapes(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    """Another process swaps a folder for a link to the outside and back, while this one reads and writes through it."""
    (house.root / "link").symlink_to(house.outside)
    (house.root / "flip").mkdir()
    (house.root / "flip" / "secret.png").write_bytes(GOOD)
    before = {path.name: path.read_bytes() for path in house.outside.iterdir()}
    swaps, tried, read, written, refused = 10_000, 0, 0, 0, 0
    enough = house.root.parent / "enough"
    swapper = subprocess.Popen([sys.executable, "-I", "-S", "-c", SWAPPER, str(house.root), str(swaps), str(enough)])
    try:
        while swapper.poll() is None:
            tried += 1
            if tried == 200:
                enough.touch()  # a busy machine may let one of the two run far ahead of the other
            try:
                with open_input("flip/secret.png", [house.root]) as file:
                    assert file.read() == GOOD
                read += 1
                if tried % 3 == 0:
                    write_to("flip/", house, makes_folders=False)
                    written += 1
            except MediaError:
                refused += 1
    finally:
        swapper.wait(60)
    assert swapper.returncode == 0
    assert {path.name: path.read_bytes() for path in house.outside.iterdir()} == before
    assert not list(house.root.rglob(".anymedia-*"))
    assert tried > 100
    with capsys.disabled():
        print(f"\nsymlink race: {swaps} swaps, {read} read and {written} written inside, {refused} refused, 0 escapes")


@posix
@pytest.mark.parametrize("text", ["sub/deep/c.mp4", "a.png"])
def test_file_swapped_for_a_link_after_its_check_is_not_followed(house: House, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    look = walking.Directory.lstat
    (house.outside / "c.mp4").write_bytes(CANARY)

    def look_then_swap(self: walking.Directory, name: str) -> os.stat_result:
        found = look(self, name)
        if name in {"deep", "a.png"}:
            (self.path / name).rename(house.root / "away")
            (self.path / name).symlink_to(house.outside if name == "deep" else house.outside / "secret.png")
        return found

    monkeypatch.setattr(walking.Directory, "lstat", look_then_swap)
    with pytest.raises(InvalidRequest, match=r"link|has a component"):
        open_input(text, [house.root])


@posix
def test_temporary_that_is_swapped_for_a_link_is_not_given_the_name(house: House) -> None:
    target = plan_output("out.png", roots=[house.root], default_stem="s", suffix=".png")
    with pytest.raises(MediaError, match="changed"), Writer(target, call_id="c") as writer:
        writer.write(GOOD)
        writer.path.unlink()
        writer.path.symlink_to(house.outside / "secret.png")
        writer.commit()
    assert not os.path.lexists(house.root / "out.png")
    assert (house.outside / "secret.png").read_bytes() == CANARY


@pytest.mark.parametrize("name", ["upload_7f3a", "photo.heic", "scan.jfif", "upload.tmp", "blob.bin", ".cached"])
def test_input_without_a_media_suffix_is_opened_when_its_signature_is_media(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\n" + b"rest")
    with open_input(tmp_path / name, [tmp_path]) as file:
        assert file.read() == b"\x89PNG\r\n\x1a\nrest"


@pytest.mark.parametrize("name", ["upload_7f3a", "photo.heic", "secrets.txt", ".hidden"])
def test_input_without_a_media_suffix_that_is_not_media_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"-----BEGIN PRIVATE KEY-----")
    with pytest.raises(InvalidRequest) as caught:
        open_input(tmp_path / name, [tmp_path])
    assert "PRIVATE" not in str(caught.value)


@pytest.mark.parametrize(
    ("real", "asked"),
    [
        ("Shot at 9.41\u202fAM.png", "Shot at 9.41 AM.png"),
        ("cafe\u0301.png", "caf\u00e9.png"),
        ("A\u00a0B.PNG", "a b.png"),
        ("a  b.png", "a b.png"),
        ("a\u200bb.png", "ab.png"),
        ("a b.png", "a\\ b.png"),
        ("a b.png", "a+b.png"),
        ("a_b.png", "a b.png"),
        ("a\ua789b.png", "a:b.png"),
    ],
)
@pytest.mark.parametrize("confined", [True, False])
def test_missing_input_with_a_similar_name_is_named_in_the_error(tmp_path: Path, real: str, asked: str, confined: bool) -> None:
    (tmp_path / real).write_bytes(b"x")
    with pytest.raises(InvalidRequest) as caught:
        open_input(tmp_path / asked, [tmp_path] if confined else None)
    assert ascii(real) in str(caught.value) + caught.value.fix


def test_missing_input_below_a_folder_with_a_similar_name_is_named_with_it(tmp_path: Path) -> None:
    (tmp_path / "de\u0301ja\u0300").mkdir()
    (tmp_path / "de\u0301ja\u0300" / "a\u00a0b.png").write_bytes(b"x")
    with pytest.raises(InvalidRequest) as caught:
        open_input(tmp_path / "d\u00e9j\u00e0" / "a b.png", [tmp_path])
    assert ascii("de\u0301ja\u0300/a\u00a0b.png") in str(caught.value)


@pytest.mark.parametrize("confined", [True, False])
@pytest.mark.parametrize("count", [250, 5000])
def test_base64_given_as_a_path_names_the_data_url(tmp_path: Path, count: int, *, confined: bool) -> None:
    with pytest.raises(InvalidRequest) as caught:
        open_input("iVBORw0KGgo" + "A" * count, [tmp_path] if confined else None)
    assert "data:image/png;base64" in str(caught.value) + caught.value.fix


@pytest.mark.parametrize(("name", "head"), [("logo.svg", b"<svg/>"), ("scan.pdf", b"%PDF-1.4"), ("a.psd", b"8BPS"), ("b.jxl", b"\xff\n")])
def test_input_that_no_model_takes_is_to_be_converted_and_not_renamed(tmp_path: Path, name: str, head: bytes) -> None:
    (tmp_path / name).write_bytes(head + bytes(40))
    with pytest.raises(InvalidRequest) as caught:
        open_input(tmp_path / name, [tmp_path])
    assert "convert it to PNG" in str(caught.value)
    assert "suffix" not in str(caught.value) + caught.value.fix


def test_missing_input_with_two_look_alike_names_names_neither(tmp_path: Path) -> None:
    for real in ("a\u00a0b.png", "a  b.png"):
        (tmp_path / real).write_bytes(b"x")
    with pytest.raises(InvalidRequest) as caught:
        open_input(tmp_path / "a b.png", [tmp_path])
    assert "similar" not in str(caught.value) + caught.value.fix

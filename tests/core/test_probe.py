"""What bytes are: every supported kind passes, with the facts a decoder finds; common bad input is refused clearly."""

import os
from pathlib import Path

import media_samples as samples
import pytest
from tiers import quick_first, sandboxed_once

from anymedia.convert.sandbox import SANDBOXED_FORMATS
from anymedia.errors import InvalidRequest
from anymedia.media import Audio, Image, Video
from anymedia.probe.probe import Limits, describe, sniff

#: Files whose structure is parsed to the exact end, before and without any decoder.
STRUCTURED = [name for name, (fmt, _) in samples.GOOD.items() if fmt not in SANDBOXED_FORMATS]
SANDBOXED = [name for name in samples.GOOD if name not in STRUCTURED]


@pytest.mark.parametrize("name", sandboxed_once([*STRUCTURED, *sorted(SANDBOXED_FORMATS)]))
def test_really_encoded_file_passes_and_is_named_by_its_bytes(name: str, tmp_path: Path) -> None:
    data = samples.good(name)
    facts = sniff(data)
    assert facts.format == samples.GOOD[name][0]
    assert facts.size == len(data)
    assert facts.end <= len(data)
    path = tmp_path / "misnamed.txt"
    path.write_bytes(data)
    assert sniff(path) == facts
    with path.open("rb") as file:
        assert sniff(file) == facts
        assert not file.closed


@pytest.mark.parametrize("zeros", [3, 16, 70_000])
@pytest.mark.parametrize(
    "name", [name for name in STRUCTURED if name not in {"wav streamed", "mp3 id3v1"}]
)  # their end is that of the file
def test_zeros_behind_a_file_are_not_part_of_it(name: str, zeros: int) -> None:
    data = samples.good(name)
    facts = sniff(data)
    padded = sniff(data + bytes(zeros))
    assert (padded.end, padded.size) == (facts.end, len(data) + zeros)
    assert (padded.format, padded.seconds) == (facts.format, facts.seconds)


PICTURES = [n for n, (f, _) in samples.GOOD.items() if f in {"png", "jpeg", "webp", "gif", "avif", "bmp", "tiff"}]


@pytest.mark.parametrize("name", sandboxed_once(PICTURES))
def test_picture_facts_agree_with_a_decoder(name: str) -> None:
    import io

    from PIL import Image as Pillow
    from PIL import ImageOps

    data = samples.good(name)
    facts = sniff(data)
    with Pillow.open(io.BytesIO(data)) as image:
        turned = ImageOps.exif_transpose(image)
        assert (facts.width, facts.height) == turned.size
        # a JPEG is its first picture here; the others are a camera's previews
        assert facts.frames == (1 if facts.format == "jpeg" else getattr(image, "n_frames", 1))
        if facts.format in {"png", "jpeg"}:
            assert facts.mode.split(";")[0] == image.mode.split(";")[0]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("fmt", ["PNG", "JPEG", "WEBP"])
def test_orientation_is_found_and_size_is_as_shown(fmt: str, orientation: int) -> None:
    check_orientation(fmt, orientation)


@pytest.mark.parametrize("orientation", quick_first([6, 3]))
@pytest.mark.parametrize("fmt", quick_first(["AVIF", "TIFF"]))
def test_orientation_of_a_sandboxed_format_is_found_by_its_decoder(fmt: str, orientation: int) -> None:
    check_orientation(fmt, orientation)


def check_orientation(fmt: str, orientation: int) -> None:
    facts = sniff(samples.encode(samples.picture(), fmt, exif=samples.exif(orientation)))
    assert facts.orientation == orientation
    assert (facts.width, facts.height) == ((32, 48) if orientation >= 5 else (48, 32))


@pytest.mark.parametrize(
    ("name", "seconds", "tolerance"),
    [
        ("mp4", 1.0, 0.001),
        ("mp4 fragmented", 1.1, 0.05),
        ("mov", 1.0, 0.05),
        ("webm vp8", 1.0, 0.001),
        ("webm live", 1.0, 0.05),
        ("mp3", 1.0, 0.06),
        ("wav", 1.0, 0.0),
        ("wav streamed", 1.0, 0.0),
        ("flac long", 5.0, 0.0),
        ("opus", 1.0, 0.01),
        ("m4a", 1.0, 0.05),
        ("aac", 1.0, 0.05),
        ("wav mu-law", 1.0, 0.0),
        ("mp3 22 kHz", 1.0, 0.1),
        ("ogg flac", 1.0, 0.0),
    ],
)
def test_running_time_is_found(name: str, seconds: float, tolerance: float) -> None:
    found = sniff(samples.good(name)).seconds
    assert found is not None
    assert abs(found - seconds) <= tolerance


def test_video_says_its_pixels_and_frames() -> None:
    facts = sniff(samples.good("mp4 with sound"))
    assert (facts.width, facts.height, facts.frames, facts.kind) == (64, 48, 24, "video")


def test_sound_alone_in_a_video_container_is_sound() -> None:
    assert sniff(samples.good("m4a in mp4")).kind == "audio"
    assert sniff(samples.good("webm sound")).kind == "audio"


def test_trailer_that_a_camera_appends_to_a_jpeg_is_not_part_of_it() -> None:
    plain = samples.encode(samples.picture(), "JPEG")
    for name in ("jpeg motion photo", "jpeg zero padded", "jpeg samsung"):
        assert sniff(samples.good(name)).end == len(plain)


def test_raw_samples_pass_only_when_told() -> None:
    data = bytes(range(256)) * 10
    assert sniff(data, format_hint="pcm").format == "pcm"
    with pytest.raises(InvalidRequest):
        sniff(data)


# a streamed WAV does not say how long it is
@pytest.mark.parametrize("name", [n for n in STRUCTURED if n != "wav streamed"])
def test_truncated_file_is_refused(name: str) -> None:
    data = samples.good(name)
    end = sniff(data).end
    for cut in {1, 7, end // 3, end // 2, end - 10, end - 1}:
        with pytest.raises(InvalidRequest):
            sniff(data[:cut])


@pytest.mark.parametrize("name", quick_first(SANDBOXED))
def test_truncated_file_of_a_sandboxed_format_is_refused(name: str) -> None:
    data = samples.good(name)
    with pytest.raises(InvalidRequest):
        sniff(data[: len(data) // 2])


@pytest.mark.parametrize("name", [n for n in STRUCTURED if n != "wav streamed"])
@pytest.mark.parametrize("tail", [b"root:x:0:0:root:/root:/bin/sh\n", b"PK\x03\x04secret", b"<script>alert(1)</script>", b"\x01"])
def test_whatever_follows_after_the_end_is_refused_or_left_out(name: str, tail: bytes) -> None:
    data = samples.good(name)
    if name.startswith(("jpeg", "png", "gif", "webp", "wav")):  # their end is known: what follows does not belong to them and is not sent
        assert sniff(data + tail).end == sniff(data).end
        return
    with pytest.raises(InvalidRequest):
        sniff(data + tail)


MAGIC = [
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff\xe0",
    b"RIFF\x40\0\0\0WEBPVP8 ",
    b"RIFF\x40\0\0\0WAVEfmt ",
    b"GIF89a",
    b"BM",
    b"II*\0",
    b"MM\0*",
]
MAGIC += [
    b"\x1aE\xdf\xa3",
    b"fLaC",
    b"OggS",
    b"ID3\x04\0\0\0\0\0\0",
    b"\xff\xfb\x90\0",
    b"\xff\xf1\x50\x80",
    b"\0\0\0\x18ftypmp42",
    b"\0\0\0\x1cftypavif",
]


@pytest.mark.parametrize("magic", MAGIC)
def test_text_behind_magic_bytes_is_refused_and_not_repeated(magic: bytes) -> None:
    with pytest.raises(InvalidRequest) as caught:
        sniff(magic + b"root:x:0:0:root:/root:/bin/sh\n" * 40)
    assert "root" not in str(caught.value)


OTHER_FORMATS = {
    b"#EXTM3U\n#EXT-X-VERSION:3\n": "playlist",
    b"ffconcat version 1.0\nfile /etc/passwd\n": "playlist",
    b"%PDF-1.7\n": "PDF",
    b"PK\x03\x04abc": "ZIP",
    b"<svg xmlns='x'/>": "SVG",
    b"<!doctype html><html>": "web page",
    b"RIFF\x10\0\0\0AVI LIST": "AVI",
    b"hello, this is text": "text file",
    b"\0\0\0\x18ftypheic\0\0\0\0mif1heic": "HEIC",
    b"\x00\x01\x02\x03\x04": "not a media file",
}


@pytest.mark.parametrize("data", OTHER_FORMATS)
def test_other_format_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(InvalidRequest, match=OTHER_FORMATS[data]):
        sniff(data)


def test_caps_on_pixels_edges_and_time_hold() -> None:
    png = samples.good("png 20000x1")
    with pytest.raises(InvalidRequest, match="20000 x 1 pixels; the maximum for an edge"):
        sniff(png, limits=Limits(edge=19_999))
    with pytest.raises(InvalidRequest, match="Scale it down"):
        sniff(png, limits=Limits(pixels=19_999))
    with pytest.raises(InvalidRequest, match="runs for 5 s; the maximum is 4 s"):
        sniff(samples.good("flac long"), limits=Limits(seconds=4))
    with pytest.raises(InvalidRequest, match="3 frames; the maximum is 2"):
        sniff(samples.good("gif animated"), limits=Limits(frames=2))
    with pytest.raises(InvalidRequest, match=f"{len(png)} bytes; the maximum is 100"):
        sniff(png, limits=Limits(bytes=100))


def test_decompression_bomb_is_refused() -> None:
    from PIL import Image as Pillow

    data = samples.encode(Pillow.new("RGBA", (9000, 9000)), "PNG")
    assert len(data) < 400_000
    with pytest.raises(InvalidRequest, match="decompression bomb"):
        sniff(data)


def test_describe_fills_in_facts_and_keeps_the_path(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"  # the bytes decide: it is a JPEG
    path.write_bytes(samples.good("jpeg exif"))
    found = describe(Image(path=path))
    assert (found.path, found.mime, found.width, found.height, found.size) == (path, "image/jpeg", 32, 48, path.stat().st_size)
    video = describe(Video(data=samples.good("mp4")))
    assert (video.width, video.height, video.seconds, video.mime) == (64, 48, 1.0, "video/mp4")
    assert describe(Audio(data=samples.good("wav"))).seconds == 1.0
    url = Image(url="https://example.org/a.png")
    assert describe(url) is url


def test_describe_reads_through_the_opener_it_is_given(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(samples.good("png"))
    opened = []

    def opener(asked: Path):  # type: ignore[no-untyped-def]
        opened.append(asked)
        return path.open("rb")

    assert describe(Image(path=Path("elsewhere.png")), opener=opener).width == 48
    assert opened == [Path("elsewhere.png")]


def test_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(samples.good("mp4"))
    with pytest.raises(InvalidRequest, match=r"a\.png.*is a video \(mp4\), not an image"):
        describe(Image(path=path), where="$.source")
    with pytest.raises(InvalidRequest, match="is an image"):
        describe(Video(data=samples.good("gif animated")))


def test_unreadable_paths_are_refused_with_their_reason(tmp_path: Path) -> None:
    empty, text, fifo = tmp_path / "empty.png", tmp_path / "text.png", tmp_path / "pipe.png"
    empty.write_bytes(b"")
    text.write_text("just text")
    os.mkfifo(fifo)
    loop = tmp_path / "loop.png"
    loop.symlink_to(loop)
    cases = {
        tmp_path / "missing.png": "no such file",
        tmp_path: "directory",
        empty: "empty",
        text: "text file",
        fifo: "not a regular file",
        loop: "circle",
        tmp_path / ("n" * 300): "too long",
        tmp_path / "a\0b": "path is not valid",
    }
    for path, words in cases.items():
        with pytest.raises(InvalidRequest, match=words) as caught:
            describe(Image(path=path), where="$.source")
        assert caught.value.problems[0].path == "$.source"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_file_without_permission_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(samples.good("png"))
    path.chmod(0)
    with pytest.raises(InvalidRequest, match="permission denied"):
        describe(Image(path=path))

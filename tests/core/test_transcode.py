"""Files in another format: decoded independently afterwards; what is lost is said."""

import importlib.util
import io
import stat
from pathlib import Path
from typing import Any

import av
import media_samples as samples
import numpy as np
import pytest
from PIL import Image, ImageChops, ImageStat
from tiers import quick_first

from anymedia.convert.load_input import last_frame, transcode
from anymedia.errors import InvalidRequest, UnsupportedInput
from anymedia.files.names import formats_available
from anymedia.probe.probe import sniff


def put(folder: Path, name: str) -> Path:
    path = folder / "came"
    path.write_bytes(samples.good(name))
    return path


def pixels(path: Path) -> Image.Image:
    return Image.open(io.BytesIO(path.read_bytes()))


def decode_facts(path: Path) -> dict[str, Any]:
    """What decoders find in a file, independently of `sniff`: pictures by Pillow, video and audio decoded to the end by PyAV."""
    try:
        with Image.open(path) as image:
            frames = getattr(image, "n_frames", 1)
            image.load()
            return {"width": image.width, "height": image.height, "frames": frames, "mode": image.mode}
    except OSError:
        pass
    source: Any
    with av.open(path) as source:
        found: dict[str, Any] = {"seconds": source.duration / 1_000_000 if source.duration else None}
        if source.streams.video:
            stream = source.streams.video[0]
            frames = sum(1 for _ in source.decode(stream))
            return found | {"width": stream.width, "height": stream.height, "frames": frames, "mode": stream.codec_context.name}
        stream = source.streams.audio[0]
        samples_ = sum(frame.samples for frame in source.decode(audio=0))
        return found | {"decoded_seconds": samples_ / stream.sample_rate, "rate": stream.sample_rate, "mode": stream.codec_context.name}


def as_picture(frame: Any) -> Image.Image:
    found: Image.Image = frame.to_image()
    return found


def difference(one: Image.Image, other: Image.Image) -> float:
    return float(np.mean(ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB"))).mean))


@pytest.mark.parametrize("target", ["png", "jpeg", "webp", "gif", "avif"])
@pytest.mark.parametrize(
    "name",
    quick_first(["png rgba", "jpeg cmyk", "png", "png 16 bit", "png palette", "jpeg", "webp alpha", "gif", "avif", "bmp", "tiff lzw"], 2),
)
def test_picture_is_converted_to_any_other_format(name: str, target: str, tmp_path: Path) -> None:
    path = put(tmp_path, name)
    made = transcode(path, target)
    assert sniff(made.path).format == target
    found = decode_facts(made.path)
    own = sniff(path)
    assert (found["width"], found["height"]) == (own.width, own.height)
    assert path.exists()
    assert (made.path == path) == (own.format == target)
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o600 or made.path == path


def test_lossless_conversion_keeps_every_pixel(tmp_path: Path) -> None:
    path = put(tmp_path, "webp lossless alpha")
    made = transcode(path, "png")
    assert pixels(made.path).convert("RGBA").tobytes() == pixels(path).convert("RGBA").tobytes()
    assert made.warnings == ()


@pytest.mark.parametrize("target", ["jpeg", "webp", "avif"])
def test_lossy_conversion_stays_close_to_the_source(target: str, tmp_path: Path) -> None:
    path = tmp_path / "came"
    path.write_bytes(samples.encode(samples.picture(size=(256, 192)), "PNG"))
    assert difference(pixels(transcode(path, target).path), pixels(path)) < 3


def test_transparency_becomes_white_in_a_jpeg_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "came"
    path.write_bytes(samples.encode(Image.new("RGBA", (32, 32), (255, 0, 0, 0)), "PNG"))
    made = transcode(path, "jpeg")
    assert min(pixels(made.path).convert("RGB").getpixel((16, 16))) > 250  # type: ignore[arg-type]
    assert any("white" in w for w in made.warnings)
    path.write_bytes(samples.encode(Image.new("RGBA", (32, 32), (255, 0, 0, 255)), "PNG"))
    assert transcode(path, "jpeg").warnings == ()


def test_conversion_to_gif_reports_what_is_lost(tmp_path: Path) -> None:
    warnings = transcode(put(tmp_path, "png rgba"), "gif").warnings
    assert any("partial transparency" in w for w in warnings)
    path = tmp_path / "many"
    path.write_bytes(samples.encode(Image.effect_noise((64, 64), 90).convert("RGB").resize((80, 80), Image.Resampling.BICUBIC), "PNG"))
    many = Image.merge("RGB", [Image.effect_noise((64, 64), 90) for _ in range(3)])
    path.write_bytes(samples.encode(many, "PNG"))
    assert any("256 colours" in w for w in transcode(path, "gif").warnings)


def test_picture_with_exif_orientation_is_written_upright(tmp_path: Path) -> None:
    made = transcode(put(tmp_path, "jpeg exif"), "png")
    assert pixels(made.path).size == (32, 48)
    assert sniff(made.path).orientation == 1


@pytest.mark.parametrize("target", ["gif", "webp", "png"])
@pytest.mark.parametrize("name", ["gif animated", "webp animated", "png animated"])
def test_animation_stays_animated(name: str, target: str, tmp_path: Path) -> None:
    made = transcode(put(tmp_path, name), target)
    assert sniff(made.path).frames == 3
    assert decode_facts(made.path)["frames"] == 3


def test_animation_converted_to_jpeg_keeps_the_first_frame_with_a_warning(tmp_path: Path) -> None:
    made = transcode(put(tmp_path, "gif animated"), "jpeg")
    assert any("first of its 3 frames" in w for w in made.warnings)


def test_colour_profile_is_kept(tmp_path: Path) -> None:
    made = transcode(put(tmp_path, "png icc"), "jpeg")
    assert pixels(made.path).info["icc_profile"]


@pytest.mark.parametrize("target", ["wav", "mp3", "flac", "opus", "m4a", "aac"])
@pytest.mark.parametrize("name", quick_first(["wav", "wav 24 bit stereo", "mp3 22 kHz", "ogg flac", "mp4 with sound"]))
def test_sound_is_converted_to_any_other_format(name: str, target: str, tmp_path: Path) -> None:
    path = put(tmp_path, name)
    made = transcode(path, target)
    assert sniff(made.path).format == target
    found = decode_facts(made.path)
    assert abs(found["decoded_seconds"] - 1.0) < 0.12
    assert ("only the audio of the video was kept" in made.warnings) == (name == "mp4 with sound")


def test_converted_sound_keeps_its_pitch(tmp_path: Path) -> None:
    for target in ("mp3", "opus", "m4a"):
        with av.open(str(transcode(put(tmp_path, "wav"), target).path)) as file:
            rate = file.streams.audio[0].sample_rate
            wave = np.concatenate([f.to_ndarray()[0].astype(float) for f in file.decode(audio=0)])
        spectrum = np.abs(np.fft.rfft(wave))
        assert abs(np.argmax(spectrum) * rate / len(wave) - 440) < 3


def test_raw_samples_with_known_rate_are_written(tmp_path: Path) -> None:
    path = tmp_path / "came"
    path.write_bytes((np.sin(np.arange(24_000) / 9) * 9000).astype("<i2").tobytes())
    made = transcode(path, "wav", pcm_rate=24_000)
    assert abs((sniff(made.path).seconds or 0) - 1.0) < 0.001
    with pytest.raises(InvalidRequest):
        transcode(path, "wav")


@pytest.mark.parametrize(
    ("name", "target"), quick_first([("mp4 with sound", "webm"), ("webm vp9 opus", "mp4"), ("mov mjpeg", "mp4"), ("webm vp8", "mov")])
)
def test_reencoded_video_has_a_warning(name: str, target: str, tmp_path: Path) -> None:
    path = put(tmp_path, name)
    made = transcode(path, target)
    before, after = decode_facts(path), decode_facts(made.path)
    assert sniff(made.path).format == target
    assert (after["width"], after["height"], after["frames"]) == (before["width"], before["height"], before["frames"])
    assert abs(after["seconds"] - before["seconds"]) < 0.1
    assert any("was re-encoded" in w for w in made.warnings)


@pytest.mark.parametrize(("name", "target"), [("mp4 with sound", "mov"), ("mov", "mp4"), ("mp4 fragmented", "mov")])
def test_video_whose_codecs_fit_is_remuxed_without_loss(name: str, target: str, tmp_path: Path) -> None:
    path = put(tmp_path, name)
    made = transcode(path, target)
    assert made.warnings == ()

    def packets(file: Path) -> list[bytes]:
        with av.open(str(file)) as found:
            return [bytes(p) for p in found.demux(video=0) if p.size]

    assert packets(made.path) == packets(path)
    assert sniff(made.path).format == target


def test_odd_sized_picture_rate_and_size_survive(tmp_path: Path) -> None:
    path = tmp_path / "came"
    path.write_bytes(samples.movie("webm", "libvpx", size=(65, 49)))
    after = decode_facts(transcode(path, "mp4").path)
    assert (after["width"], after["height"]) == (66, 50)  # what 4:2:0 allows
    assert after["frames"] == 24


def test_impossible_conversion_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    for name, target, words in (
        ("png", "mp4", "an image .png. cannot be written as mp4"),
        ("mp4", "png", "a video .mp4. cannot be written as png"),
        ("wav", "webm", "an audio file .wav. cannot be written as webm"),
        ("png", "ogg", "cannot be written as ogg"),
    ):
        path = put(tmp_path, name)
        with pytest.raises(UnsupportedInput, match=words):
            transcode(path, target)
    path.write_bytes(b"text")
    with pytest.raises(InvalidRequest):
        transcode(path, "png")
    assert list(tmp_path.iterdir()) == [path]


def test_failed_conversion_leaves_no_file(tmp_path: Path) -> None:
    data = bytearray(samples.good("webm vp8"))
    start = data.index(b"\x9d\x01\x2a")
    data[start - 3 : start + 200] = b"\0" * 203
    path = tmp_path / "came"
    path.write_bytes(bytes(data))
    with pytest.raises(InvalidRequest):
        transcode(path, "mp4")
    with pytest.raises(InvalidRequest, match="no stream that mp3 supports"):
        silent = tmp_path / "came"
        silent.write_bytes(samples.good("mp4"))
        transcode(silent, "mp3")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "name", quick_first(["mp4 with sound", "webm vp9 opus", "mov", "mp4 fragmented", "webm live", "mp4 av1", "mp4 hevc"])
)
def test_last_frame_is_the_last_one_decoded(name: str, tmp_path: Path) -> None:
    path = put(tmp_path, name)
    with av.open(str(path)) as file:
        for frame in file.decode(video=0):
            wanted = as_picture(frame)
    found = Image.open(io.BytesIO(last_frame(path)))
    assert found.format == "PNG"
    assert difference(found, wanted) == 0


def test_last_frame_of_a_longer_video_is_found_from_its_last_key_frame(tmp_path: Path) -> None:
    path = tmp_path / "came"
    path.write_bytes(samples.movie("mp4", seconds=6, stream_options={"g": "24"}))
    with av.open(str(path)) as file:
        for frame in file.decode(video=0):
            wanted = as_picture(frame)
    assert difference(Image.open(io.BytesIO(last_frame(path))), wanted) == 0


def turned(data: bytes) -> bytes:
    """Write a rotation by 90 degrees into the track's matrix, as a phone does."""
    at = data.index(b"tkhd") + 4 + 40
    one = 0x10000
    matrix = [0, one, 0, -one, 0, 0, 0, 0, 0x40000000]
    return data[:at] + b"".join(v.to_bytes(4, "big", signed=True) for v in matrix) + data[at + 36 :]


def test_phone_video_is_shown_upright(tmp_path: Path) -> None:
    path = tmp_path / "came"
    path.write_bytes(turned(samples.good("mp4 with sound")))
    facts = sniff(path)
    assert (facts.width, facts.height, facts.orientation) == (48, 64, 6)
    with av.open(str(path)) as file:
        for frame in file.decode(video=0):
            stored = as_picture(frame)
    wanted = stored.transpose(Image.Transpose.ROTATE_270)  # EXIF 6: turn clockwise to show
    assert difference(Image.open(io.BytesIO(last_frame(path))), wanted) < 2
    again = transcode(path, "webm")
    after = sniff(again.path)
    assert (after.width, after.height) == (48, 64)
    assert decode_facts(again.path)["width"] == 48
    copied = sniff(transcode(path, "mov").path)
    assert (copied.width, copied.height) == (48, 64)


def test_error_without_pyav_names_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "av" else real(name, *rest))
    assert formats_available() == {"png", "jpeg", "webp", "gif", "avif", "bmp", "tiff"}
    for call in (lambda path: transcode(path, "webm"), last_frame):
        with pytest.raises(UnsupportedInput, match="pip install av"):
            call(put(tmp_path, "mp4"))


def test_every_available_format_is_a_known_one_and_can_be_written() -> None:
    from anymedia.media import FORMATS

    assert formats_available() <= set(FORMATS)
    assert formats_available() >= {"png", "jpeg", "webp", "gif", "avif", "wav", "mp3", "flac", "opus", "m4a", "mp4", "webm"}


@pytest.mark.parametrize("name", ["png", "mp4"])
def test_last_frame_of_a_text_file_is_refused(name: str, tmp_path: Path) -> None:
    path = put(tmp_path, name)
    path.write_bytes(b"text")
    with pytest.raises(InvalidRequest, match=r"not a video|text file"):
        last_frame(path)


@pytest.mark.parametrize("work", [last_frame, lambda path: transcode(path, "webm")], ids=["last frame", "transcode"])
def test_error_with_a_pyav_that_cannot_be_imported_does_not_blame_the_file(
    work: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    (broken / "av").mkdir(parents=True)
    (broken / "av" / "__init__.py").write_text("raise ImportError('libavcodec.so: cannot open shared object file')")
    path = put(tmp_path, "mp4")
    monkeypatch.syspath_prepend(str(broken))
    with pytest.raises(UnsupportedInput, match="PyAV, which cannot be imported") as caught:
        work(path)
    assert "pip install av" in caught.value.fix

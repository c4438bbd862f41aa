"""Inputs become bytes: verbatim where they are fine, converted where they must be, refused with limit and fact."""

import asyncio
import io
import os
import signal
import sys
from pathlib import Path
from typing import Any

import media_samples as samples
import pytest
from hostile_media import SECRET, TOLERATED, TRAILED
from PIL import Image as Pillow
from PIL import ImageChops, ImageOps
from tiers import quick_first, sandboxed_once

from anymedia.context import LoadedMedia
from anymedia.convert import sandbox
from anymedia.convert.load_input import load
from anymedia.errors import InvalidRequest, MediaError, UnsupportedInput
from anymedia.masks import read_mask
from anymedia.media import Audio, Image, Media, Video
from anymedia.planning.types import InputForm
from anymedia.probe.probe import sniff
from anymedia.requests import Mask
from anymedia.results import Warning

pytestmark = pytest.mark.anyio


async def read(media: Media) -> bytes:
    if media.data is not None:
        return media.data
    assert media.path is not None
    return media.path.read_bytes()


async def loaded(data: bytes, form: InputForm | None = None, kind: type[Media] = Image, **options: Any) -> LoadedMedia:
    return await load(kind(data=data), form or InputForm(), read=read, **options)


def opened(found: LoadedMedia) -> Pillow.Image:
    return Pillow.open(io.BytesIO(found.data))


@pytest.mark.parametrize("name", ["png", "png rgba", "png palette", "png icc", "jpeg", "jpeg progressive", "webp alpha", "gif"])
async def test_what_is_fine_goes_out_byte_for_byte(name: str) -> None:
    data = samples.good(name)
    found = await loaded(data, InputForm(formats=(samples.GOOD[name][0], "png")))
    assert found.data == data
    facts = sniff(data)
    assert (found.mime, found.width, found.height) == (facts.mime, facts.width, facts.height)
    assert found.warnings == ()


@pytest.mark.parametrize("fmt", quick_first(["avif", "bmp", "tiff"]))
async def test_a_sandboxed_format_is_encoded_again_with_the_same_pixels(fmt: str, children: list[Any]) -> None:
    found = await loaded(samples.good(fmt), InputForm(formats=(fmt, "png")))
    image = opened(found)
    assert (image.format, found.mime, found.width, found.height) == ("PNG", "image/png", 48, 32)
    assert ImageChops.difference(image.convert("RGB"), Pillow.open(io.BytesIO(samples.good(fmt))).convert("RGB")).getbbox() is None
    assert len(children) == 2  # one for the size, one for the pixels


@pytest.mark.parametrize("name", quick_first(TOLERATED))
async def test_a_hostile_file_that_its_decoder_accepts_is_passed_on_as_pixels_alone(name: str) -> None:
    data = TOLERATED[name]()
    facts = sniff(data)
    assert (facts.width or 0) * (facts.height or 0) <= 48 * 32
    found = await loaded(data, InputForm(formats=(facts.format, "png")))
    assert (sniff(found.data).format, opened(found).size) == ("png", (facts.width, facts.height))
    assert SECRET not in found.data


@pytest.mark.parametrize("is_converted", [False, True])
@pytest.mark.parametrize("name", TRAILED)
async def test_what_is_behind_the_end_of_a_file_is_not_sent_and_reported(name: str, *, is_converted: bool) -> None:
    data = TRAILED[name]()
    facts = sniff(data)
    end, other = facts.end, {"png": "jpeg", "wav": "wav"}.get(facts.format, "png")
    form = InputForm(formats=(other,) if is_converted else (facts.format,), max_bytes=max(end, 4000))
    found = await loaded(data, form, Audio if facts.kind == "audio" else Image)
    assert facts.kind == "audio" or opened(found).size == opened(await loaded(data[:end])).size
    assert is_converted or found.data == data[:end]
    assert SECRET not in found.data
    assert [warning.code for warning in found.warnings if isinstance(warning, Warning)] == ["trailing_bytes_not_sent"]


async def test_input_larger_than_the_model_accepts_is_refused_before_it_is_read() -> None:
    async def never(_: Media) -> bytes:
        raise AssertionError("it was read")

    picture = Image(path=Path("a.png"), mime="image/png", size=100, width=8, height=8)
    with pytest.raises(UnsupportedInput, match="has 100 bytes; the model accepts at most 99"):
        await load(picture, InputForm(formats=("png",), max_bytes=99), read=never)


@pytest.mark.parametrize("fmt", quick_first(["avif", "bmp", "tiff"]))
async def test_a_decoder_crash_in_a_sandboxed_format_is_an_invalid_request(fmt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    start = sandbox._start

    def crashing(*args: Any) -> Any:
        child = start(*args)
        child.send_signal(signal.SIGSEGV)
        return child

    monkeypatch.setattr(sandbox, "_start", crashing)
    with pytest.raises(InvalidRequest, match="decoder crashed"):
        sniff(samples.good(fmt))


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP"])
async def test_a_turned_picture_goes_out_upright_with_the_same_pixels(fmt: str, orientation: int) -> None:
    data = samples.encode(samples.picture(), fmt, exif=samples.exif(orientation))
    found = await loaded(data, InputForm(formats=("jpeg", "png", "webp")))
    image = opened(found)
    assert image.format == "PNG"
    wanted = ImageOps.exif_transpose(Pillow.open(io.BytesIO(data)))
    assert image.size == wanted.size == (found.width, found.height)
    assert image.convert("RGB").tobytes() == wanted.convert("RGB").tobytes()
    assert image.getexif().get(0x0112, 1) == 1


async def test_a_turned_jpeg_stays_one_where_nothing_else_is_taken_or_png_is_too_large() -> None:
    noisy = Pillow.effect_noise((200, 100), 60).convert("RGB")
    data = samples.encode(noisy, "JPEG", exif=samples.exif(6))
    only = await loaded(data, InputForm(formats=("jpeg",)))
    assert (only.mime, only.width, only.height) == ("image/jpeg", 100, 200)
    tight = await loaded(data, InputForm(formats=("png", "jpeg"), max_bytes=19_000))
    assert tight.mime == "image/jpeg"
    assert len(tight.data) <= 19_000


async def test_other_formats_become_the_first_that_is_taken() -> None:
    for name in ("gif", "bmp", "tiff lzw", "avif", "webp lossless", "png palette"):
        found = await loaded(
            samples.good(name), InputForm(formats=("jpeg", "png")) if name != "png palette" else InputForm(formats=("webp",))
        )
        assert found.mime == ("image/webp" if name == "png palette" else "image/jpeg"), name
        assert found.filename in {"image.jpg", "image.webp"}
        assert sniff(found.data).mime == found.mime


async def test_transparency_is_kept_where_a_format_taken_has_it_and_else_laid_on_white() -> None:
    data = samples.encode(Pillow.new("RGBA", (20, 10), (255, 0, 0, 0)), "WEBP", lossless=True)
    kept = await loaded(data, InputForm(formats=("jpeg", "png")))
    assert opened(kept).mode == "RGBA"
    flat = await loaded(data, InputForm(formats=("jpeg",)))
    assert opened(flat).convert("RGB").getpixel((5, 5)) == (255, 255, 255)
    assert any("white" in w for w in flat.warnings)


async def test_print_colours_become_screen_colours() -> None:
    found = await loaded(samples.encode(Pillow.new("CMYK", (20, 10), (0, 255, 255, 0)), "JPEG", quality=100), InputForm(formats=("jpeg",)))
    image = opened(found)
    assert image.mode == "RGB"
    red, green, blue = image.getpixel((5, 5))  # type: ignore[misc]
    assert red > 240
    assert green < 20
    assert blue < 20


async def test_sixteen_bits_become_eight_by_scaling() -> None:
    deep = Pillow.new("I;16", (20, 10), 0x8000)
    for fmt in ("PNG", "TIFF"):
        found = await loaded(samples.encode(deep, fmt), InputForm(formats=("png",)))
        assert opened(found).convert("L").getpixel((0, 0)) == 128
        assert any("16 bits" in w for w in found.warnings)


@pytest.mark.parametrize("name", sandboxed_once(["gif animated", "webp animated", "png animated", "avif animated", "tiff pages"]))
async def test_of_an_animation_the_first_frame_goes_out(name: str) -> None:
    found = await loaded(samples.good(name), InputForm(formats=("png", "gif", "webp", "avif", "tiff")))
    image = opened(found)
    assert getattr(image, "n_frames", 1) == 1
    first = Pillow.open(io.BytesIO(samples.good(name))).convert("RGB")
    assert ImageChops.difference(image.convert("RGB"), first).getbbox() is None
    assert any("first of its 3 frames" in w for w in found.warnings)


async def test_what_a_camera_put_behind_a_jpeg_is_not_sent() -> None:
    found = await loaded(samples.good("jpeg motion photo"), InputForm(formats=("jpeg",)))
    assert found.data == samples.encode(samples.picture(), "JPEG")


async def test_tiny_and_very_wide_pictures_pass() -> None:
    for name, size in (("png 1x1", (1, 1)), ("png 20000x1", (20000, 1))):
        found = await loaded(samples.good(name))
        assert (found.width, found.height) == size


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ({"max_bytes": 100}, "168 bytes; the model accepts at most 100"),
        ({"min_edge": 33}, "48 x 32 pixels; the model needs edges of at least 33"),
        ({"max_edge": 47}, "48 x 32 pixels; the model accepts edges of at most 47"),
        ({"max_pixels": 1535}, "1536 in total; the model accepts at most 1535"),
        ({"max_ratio": 1.4}, "1.5:1; the model accepts at most 1.4:1"),
        ({"formats": ("mp4",)}, "accepts mp4; a png image cannot"),
    ],
)
async def test_a_limit_is_refused_with_limit_and_fact(limit: dict[str, Any], words: str) -> None:
    with pytest.raises(UnsupportedInput, match=words):
        await loaded(samples.good("png"), InputForm(**limit))


async def test_limits_hold_for_the_picture_as_shown() -> None:
    data = samples.good("jpeg exif")
    found = await loaded(data, InputForm(formats=("jpeg",), max_ratio=1.5, min_edge=32, max_edge=48))
    assert (found.width, found.height) == (32, 48)


async def test_a_converted_picture_that_is_too_large_is_refused() -> None:
    noisy = samples.encode(Pillow.effect_noise((200, 200), 90), "BMP")
    with pytest.raises(UnsupportedInput, match=r"bytes in the format the model accepts; the maximum is 500"):
        await loaded(noisy, InputForm(formats=("png",), max_bytes=500))


async def test_video_and_sound_go_out_as_they_are_within_their_seconds() -> None:
    video = await loaded(samples.good("mp4 with sound"), InputForm(formats=("mp4",), seconds=(0.5, 1.0)), Video)
    assert (video.data, video.mime, video.width, video.filename) == (samples.good("mp4 with sound"), "video/mp4", 64, "video.mp4")
    sound = await loaded(samples.good("flac long"), InputForm(seconds=(2, 8)), Audio)
    assert (sound.seconds, sound.filename) == (5.0, "audio.flac")
    with pytest.raises(UnsupportedInput, match=r"runs for 5\.00 s; the model accepts 6 to 8 s"):
        await loaded(samples.good("flac long"), InputForm(seconds=(6, 8)), Audio)
    with pytest.raises(UnsupportedInput, match="edges of at least 65"):
        await loaded(samples.good("mp4"), InputForm(min_edge=65), Video)


async def test_video_and_sound_are_converted_in_a_child() -> None:
    video = await loaded(samples.good("webm vp9 opus"), InputForm(formats=("mp4",)), Video)
    facts = sniff(video.data)
    assert (facts.format, facts.width, facts.height, facts.mode) == ("mp4", 64, 48, "avc1")
    assert any("was re-encoded" in w for w in video.warnings)
    sound = await loaded(samples.good("flac"), InputForm(formats=("mp3",)), Audio)
    assert sniff(sound.data).format == "mp3"


async def test_the_wrong_kind_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="is a video"):
        await loaded(samples.good("mp4"))
    with pytest.raises(InvalidRequest, match="is an image"):
        await loaded(samples.good("gif animated"), kind=Video)


BAD = {
    "zero bytes": b"",
    "text": b"this is not an image",
    "truncated": samples.good("png")[:-30],
    "damaged data": b"",
    "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
}


@pytest.mark.parametrize("name", [n for n in BAD if n != "damaged data"])
async def test_bad_bytes_are_refused(name: str) -> None:
    with pytest.raises(InvalidRequest):
        await loaded(BAD[name], InputForm(formats=("jpeg",)))


async def test_damage_that_only_a_decoder_sees_is_refused() -> None:
    data = bytearray(samples.good("jpeg exif"))
    table = data.index(b"\xff\xc4")
    data[table + 5 : table + 21] = b"\xff" * 16
    with pytest.raises(InvalidRequest, match=r"damaged|decoded"):
        await loaded(bytes(data), InputForm(formats=("jpeg",)))


def mask_of(image: Pillow.Image) -> Mask:
    return Mask(image=Image(data=samples.encode(image, "PNG")))


def half() -> Pillow.Image:
    image = Pillow.new("L", (48, 32), 0)
    image.paste(255, (0, 0, 24, 32))
    return image


@pytest.mark.parametrize("form", ["alpha", "white", "black", "guidance"])
async def test_a_mask_goes_out_in_the_form_the_model_takes(form: str) -> None:
    found = await load(mask_of(half()), InputForm(mask_format=form), read=read, source_size=(48, 32))
    convention: Any = "black" if form == "black" else "auto"
    assert read_mask(found.data, (48, 32), convention=convention).pixels == half().tobytes()
    assert (found.mime, found.filename, found.width, found.height) == ("image/png", "mask.png", 48, 32)


async def test_masks_are_checked() -> None:
    for image, size, words in (
        (half(), (32, 48), "48 x 32 pixels, its source 32 x 48"),
        (Pillow.new("L", (48, 32), 0), (48, 32), "empty"),
        (Pillow.new("L", (48, 32), 255), (48, 32), "without a mask"),
    ):
        with pytest.raises(InvalidRequest, match=words):
            await load(mask_of(image), InputForm(mask_format="white"), read=read, source_size=size)
    with pytest.raises(UnsupportedInput, match="the mask has"):
        await load(mask_of(half()), InputForm(mask_format="white", max_bytes=20), read=read, source_size=(48, 32))
    with pytest.raises(InvalidRequest, match="is a video"):
        await load(Mask(image=Image(data=samples.good("mp4"))), InputForm(), read=read)


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Makes all but the tiniest picture large, and notes the children that were started for it."""
    started: list[Any] = []
    start = sandbox._start

    def noted(*args: Any) -> Any:
        started.append(start(*args))
        return started[-1]

    monkeypatch.setattr(sandbox, "_start", noted)
    monkeypatch.setattr(sys.modules["anymedia.convert.load_input"], "LARGE_PIXELS", 1000)
    return started


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Children stop before they begin, so that they are there to be looked at however busy the machine is."""
    launcher = tmp_path / "python"
    launcher.write_text(f'#!/bin/sh\nkill -STOP $$\nexec "{sys.executable}" "$@"\n')
    launcher.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(launcher))


async def test_a_large_picture_is_converted_in_a_child(children: list[Any]) -> None:
    found = await loaded(samples.good("jpeg exif"), InputForm(formats=("png",)))
    assert (found.width, found.height) == (32, 48) == (sniff(found.data).width, sniff(found.data).height)
    assert len(children) == 1
    with pytest.raises(UnsupportedInput, match="the maximum is 20"):
        await loaded(samples.good("jpeg exif"), InputForm(formats=("png",), max_bytes=20))


async def test_a_large_mask_is_read_in_a_child(children: list[Any]) -> None:
    found = await load(mask_of(half()), InputForm(mask_format="alpha"), read=read, source_size=(48, 32))
    assert read_mask(found.data, (48, 32)).pixels == half().tobytes()
    with pytest.raises(InvalidRequest, match="48 x 32 pixels, its source 10 x 10"):
        await load(mask_of(half()), InputForm(mask_format="alpha"), read=read, source_size=(10, 10))
    assert len(children) == 2


@pytest.mark.exhaustive
async def test_mask_of_a_42_megapixel_photo_is_accepted() -> None:
    image = Pillow.new("RGBA", (7000, 6000), (0, 0, 0, 255))
    image.paste((0, 0, 0, 0), (0, 0, 100, 100))
    assert sniff(samples.encode(image, "PNG")).width == 7000


@pytest.mark.skipif(sys.platform == "win32", reason="no address space limit there")
async def test_a_child_that_needs_too_much_memory_is_an_invalid_request(held: None, monkeypatch: pytest.MonkeyPatch) -> None:
    # the limit is set in the child from its own hard limit, so it is lowered here for children alone
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    data = samples.encode(Pillow.linear_gradient("L").resize((7000, 3000)), "PNG", exif=samples.exif(6))
    start = sandbox._start

    def tight(*args: Any) -> Any:
        child = start(*args)
        os.waitpid(child.pid, os.WUNTRACED)
        resource.prlimit(child.pid, resource.RLIMIT_AS, (120 * 1024**2, 120 * 1024**2))
        child.send_signal(signal.SIGCONT)
        return child

    monkeypatch.setattr(sandbox, "_start", tight)
    with pytest.raises(InvalidRequest, match="memory"):
        await sandbox.run_on_bytes("picture", {"formats": ["png"], "max_bytes": None}, data)
    assert resource.getrlimit(resource.RLIMIT_AS) == (soft, hard)


@pytest.mark.skipif(sys.platform == "win32", reason="no file size limit there")
async def test_what_a_child_makes_has_a_size_limit(held: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few bytes of sound can stand for days of samples."""
    import resource

    start = sandbox._start

    def tight(*args: Any) -> Any:
        child = start(*args)
        os.waitpid(child.pid, os.WUNTRACED)
        resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (50_000, 50_000))
        child.send_signal(signal.SIGCONT)
        return child

    monkeypatch.setattr(sandbox, "_start", tight)
    with pytest.raises(InvalidRequest, match="cannot be converted"):
        await sandbox.run_on_bytes("transcode", {"from": "flac", "to": "wav", "quality": None, "pcm_rate": 0}, samples.good("flac"))


@pytest.mark.skipif(sys.platform == "win32", reason="no stopped processes there")
async def test_a_child_sees_no_keys_and_ends_with_its_task(held: None, children: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "secret-canary")
    task = asyncio.create_task(loaded(samples.good("jpeg exif"), InputForm(formats=("png",))))
    while not children:
        await asyncio.sleep(0.01)
    if sys.platform == "linux":
        await asyncio.to_thread(os.waitpid, children[0].pid, os.WUNTRACED)  # before it runs its environment may be read as empty
        environment = Path(f"/proc/{children[0].pid}/environ").read_bytes()
        assert b"PYTHONPATH" in environment
        assert b"secret-canary" not in environment
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(children[0].wait, 10) != 0


@pytest.mark.parametrize("name", sandboxed_once(sorted(samples.GOOD.keys() - {"png 1x1"})))
async def test_any_file_given_as_anything_loads_or_is_refused_by_an_error_of_ours(name: str) -> None:
    form = InputForm(formats=("jpeg", "mp4", "wav"), max_edge=5)
    for kind in (Image, Video, Audio):
        wanted = sniff(samples.good(name)).kind == kind.media
        if wanted and kind is Audio:
            continue  # nothing to refuse
        with pytest.raises(MediaError) as caught:
            await load(kind(data=samples.good(name)), form, read=read)
        assert isinstance(caught.value, UnsupportedInput if wanted else InvalidRequest)


async def test_a_path_is_named_in_the_error(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(samples.good("png"))
    with pytest.raises(UnsupportedInput, match=r"photo\.png' has 48 x 32 pixels"):
        await load(Image(path=path), InputForm(max_edge=40), read=read)

"""What came back against what was asked."""

from pathlib import Path

import pytest

from anymedia.execution.finalize import mismatches
from anymedia.results import MediaFile


def _file(mime: str, **facts: object) -> MediaFile:
    return MediaFile(path=Path("x"), mime=mime, size=1, sha256="0" * 64, **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("asked", "mime", "said"),
    [
        ("ogg", "audio/ogg", []),
        ("ogg", "audio/opus", []),
        ("opus", "audio/ogg", ["opus was asked for and ogg came back"]),
        ("wav", "audio/mpeg", ["wav was asked for and mp3 came back"]),
        (None, "audio/mpeg", []),
    ],
)
def test_another_format_is_told_but_opus_is_an_ogg(asked: str | None, mime: str, said: list[str]) -> None:
    assert mismatches({"kind": "generate_audio", "output_format": asked}, _file(mime), None) == said


def test_another_size_or_length_is_told_and_a_little_more_is_not() -> None:
    request = {"kind": "generate_video", "size": "64x48", "duration": 4}
    assert mismatches(request, _file("video/mp4", width=64, height=48, seconds=4.5), None) == []
    assert mismatches(request, _file("video/mp4", width=64, height=64, seconds=5.0), None) == [
        "64x48 pixels were asked for and 64x64 came back",
        "4 s were asked for and 5.0 s came back",
    ]
    assert mismatches({**request, "kind": "continue_video"}, _file("video/mp4", width=64, height=48, seconds=9.0), None) == []


def test_what_was_converted_is_held_against_the_format_it_was_converted_to() -> None:
    assert mismatches({"output_format": "png"}, _file("image/webp"), "webp") == []
    assert mismatches({"output_format": "png"}, _file("image/png"), "webp") == ["webp was asked for and png came back"]

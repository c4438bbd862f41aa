"""The matrix: it loads, it is honest about what it is, and importing the plugin costs nothing heavy."""

from __future__ import annotations

import datetime
import re
import subprocess
import sys
from importlib import metadata

import pytest

from anymedia.capabilities import Choice, MaskRule
from anymedia.requests import Operation
from local_media import plugin


def test_matrix_says_what_the_backend_is() -> None:
    matrix = plugin.capabilities()
    assert matrix == plugin.capabilities()
    assert matrix.last_resort
    assert "keywords" in matrix.disclosure
    assert matrix.credentials == ()
    assert {row.id: row.media for row in matrix.models} == {
        "landscape": "image",
        "opencv": "image",
        "landscape-video": "video",
        "voice": "audio",
        "tones": "audio",
    }
    assert {row.continuation_prefix for row in matrix.models if row.media != "audio"} == {"local_img", "local_cv", "local_vid"}


def test_model_spec_is_active_and_free_and_has_a_typical_time() -> None:
    for row in plugin.capabilities().models:
        assert row.lifecycle.stage_on(datetime.date(2026, 11, 21)) == "active"
        for operation in row.operations.values():
            assert [price.usd for price in operation.prices] == [(0.0, 0.0)]
            assert operation.prices[0].basis == "runs on this machine"
            assert operation.typical_seconds is not None


def test_semantic_masks_are_not_claimed() -> None:
    landscape = plugin.capabilities().model("landscape")
    assert landscape is not None
    operations: tuple[Operation, ...] = ("inpaint", "edit_with_references")
    for operation in operations:
        rule = landscape.operations[operation].inputs["mask"]
        assert isinstance(rule, MaskRule)
        assert rule.modes == ("user_provided", "foreground", "background")


def test_speech_requires_what_its_extra_installs() -> None:
    rows = plugin.capabilities().models
    assert {row.id: row.requires and row.requires.module for row in rows if row.requires} == {"voice": "espeakng_loader"}
    voice = plugin.capabilities().model("voice")
    assert voice is not None
    assert voice.requires is not None
    assert voice.requires.install == "pip install espeakng-loader"
    (only,) = [line for line in metadata.requires("anymedia-local") or () if "extra ==" in line]
    assert re.fullmatch(r"espeakng-loader\b.*; extra == ['\"]speech['\"]", only)


def test_voices_of_the_matrix_are_those_of_the_library() -> None:
    pytest.importorskip("espeakng_loader")
    from local_media.sounds.espeak import voices

    row = plugin.capabilities().model("voice")
    assert row is not None
    voice = row.operations["generate_audio"].options["voice"]
    assert isinstance(voice, Choice)
    assert set(voice.one_of) == set(voices())


def test_reading_the_capabilities_loads_nothing_heavy() -> None:
    code = (
        "import sys; from local_media import plugin; plugin.capabilities();"
        "print([m for m in ('numpy', 'cv2', 'av', 'PIL', 'asyncio', 'espeakng_loader') if m in sys.modules and m != 'asyncio'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

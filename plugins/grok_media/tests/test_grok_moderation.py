"""The moderation flag is false unless a server sets it: media that came are delivered, and a warning says so."""

from __future__ import annotations

from pathlib import Path

import pytest
from wire.grok_server import GrokServer

from anymedia.errors import ContentRefused
from anymedia.router import Router

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("as_base64", [False, True])
async def test_image_without_the_flag_is_delivered_with_a_warning(
    router: Router, fake: GrokServer, tmp_path: Path, as_base64: bool
) -> None:
    fake.images.moderated, fake.images.as_base64 = False, as_base64
    result = await router.generate_image(prompt="foxes", n=2, backend="grok", output=f"{tmp_path}/")
    assert [file.path.read_bytes() for file in result.files] == fake.images.made
    assert [warning.code for warning in result.warnings] == ["moderation_not_confirmed"]


async def test_image_with_the_flag_has_no_warning(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    result = await router.generate_image(prompt="a fox", backend="grok", output=f"{tmp_path}/")
    assert result.warnings == ()


async def test_video_without_the_flag_is_delivered_with_a_warning(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    fake.videos.moderated = False
    result = await router.generate_video(prompt="waves", duration=1, backend="grok", output=f"{tmp_path}/")
    assert result.path.stat().st_size
    assert "moderation_not_confirmed" in [warning.code for warning in result.warnings]


async def test_video_without_flag_and_address_is_refused_content(router: Router, fake: GrokServer, tmp_path: Path) -> None:
    with pytest.raises(ContentRefused, match="withheld the video"):
        await router.generate_video(prompt="BLOCKED waves", duration=1, backend="grok", output=f"{tmp_path}/")

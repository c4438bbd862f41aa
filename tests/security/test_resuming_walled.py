"""Files that a call was not allowed to read at first are not read when it is resumed, either."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from core.fake_service import FakeService
from core.routing import KEY, fake_router
from PIL import Image

from anymedia import Policy
from anymedia.files.atomic_writer import Writer

pytestmark = pytest.mark.anyio


def picture(path: Path, colour: tuple[int, int, int] | int) -> Path:
    made = Image.new("RGB" if isinstance(colour, tuple) else "L", (64, 48), colour)
    if colour == 0:
        made.paste(255, (0, 0, 32, 48))
    made.save(path)
    return path


@pytest.mark.parametrize("per_call", [True, False])
async def test_link_put_in_a_sources_place_before_the_resume_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, per_call: bool
) -> None:
    """The pixels outside the mask are copied from the source: a link would bring those of a picture outside the root."""
    monkeypatch.setenv("FAKE_KEY", KEY)
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    source, mask = picture(root / "source.png", (10, 200, 30)), picture(root / "mask.png", 0)
    secret = picture(outside / "secret.png", (1, 2, 3))
    walls = Policy(input_roots=(root,), output_roots=(root,))
    commit, broken = Writer.commit, True

    def full(*arguments: object, **more: object) -> object:
        if broken:
            raise OSError(28, "No space left on device")
        return commit(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Writer, "commit", full)
    with FakeService() as service:
        async with fake_router(service, policy=None if per_call else walls) as router:
            with pytest.raises(OSError, match="No space"):
                await router.inpaint(
                    prompt="x", source=source, mask=mask, protect="exact", output=root / "out.png", policy=walls if per_call else None
                )
            source.unlink()
            source.symlink_to(secret)
            broken = False
            result = await router.resume((await router.jobs())[0].id)
            assert len(service.submits) == 1
    with Image.open(io.BytesIO(result.path.read_bytes())) as made:
        assert made.convert("RGB").getpixel((60, 40)) != (1, 2, 3)

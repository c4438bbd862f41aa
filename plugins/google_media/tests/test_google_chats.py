"""Pictures by Gemini image models: several at once, their type, and chats that continue them."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import pytest
from wire.google_server import GoogleServer
from wire.google_values import unbase64
from wire.media_reading import opened

from anymedia.errors import UnknownContinuation
from anymedia.generation_config import GenerationConfig
from anymedia.results import Result
from anymedia.router import Router
from anymedia.testing.fakes import half_mask

pytestmark = pytest.mark.anyio


async def test_more_pictures_than_one_are_made_by_as_many_calls(router: Router, fake: GoogleServer, out: str) -> None:
    result = await router.generate_image(prompt="a fox", n=3, backend="google", output=out)
    assert fake.submits() == 3
    assert len(result.files) == 3
    assert [(a.field, a.kind) for a in result.adjustments] == [("n", "bridged")]


async def test_agent_platform_takes_the_output_type_and_the_gemini_key_is_converted(router: Router, fake: GoogleServer, out: str) -> None:
    there = await router.generate_image(prompt="a fox", output_format="jpeg", seed=42, aspect_ratio="16:9", backend="cloud", output=out)
    config = fake.content.turns[-1].config
    assert config["imageConfig"] == {"aspectRatio": "16:9", "imageOutputOptions": {"mimeType": "image/jpeg"}}
    assert config["seed"] == 42
    here = await router.generate_image(prompt="a fox", output_format="jpeg", seed=42, resolution="2K", backend="google", output=out)
    body = fake.interactions.made[-1].body
    assert body["response_format"] == {"type": "image", "image_size": "2K"}
    assert body["generation_config"] == {"seed": 42}
    assert [(a.field, a.kind) for a in here.adjustments] == [("output_format", "transcoded")]
    assert opened(there.path).format == opened(here.path).format == "JPEG"


async def chat(router: Router, backend: str, out: str, turns: int = 3) -> list[Result]:
    said = ["a fox", "make it blue", "now at night"][:turns]
    results: list[Result] = []
    for prompt in said:
        goes_on = results[-1].continuation_id if results else None
        chosen = {} if goes_on else {"backend": backend}
        results.append(await router.generate_image(prompt=prompt, continue_from=goes_on, output=out, **chosen))
    return results


async def test_chat_with_a_gemini_key_names_the_interaction_before(router: Router, fake: GoogleServer, out: str) -> None:
    results = await chat(router, "google", out)
    bodies = [i.body for i in fake.interactions.made]
    assert [b.get("previous_interaction_id") for b in bodies] == [None, fake.interactions.made[0].id, fake.interactions.made[1].id]
    assert [i.text() for i in fake.interactions.made] == ["a fox", "make it blue", "now at night"]
    assert not any(i.pictures() for i in fake.interactions.made)
    ids = [r.continuation_id for r in results]
    assert len(set(ids)) == 3
    assert all(str(i).startswith("gemini_img_") for i in ids)


async def test_replayed_chat_over_three_turns_keeps_its_signatures(router: Router, fake: GoogleServer, out: str) -> None:
    results = await chat(router, "cloud", out)
    last = fake.content.turns[-1]
    assert [c["role"] for c in last.contents] == ["user", "model", "user", "model", "user"]
    assert last.pictures() == fake.content.made[:2]
    assert [c["parts"][0]["text"] for c in last.contents if c["role"] == "user"] == ["a fox", "make it blue", "now at night"]
    for content in last.contents:
        if content["role"] == "model":
            assert ["thoughtSignature" in part for part in content["parts"]] == [True, True]
    told = [unbase64(p["thoughtSignature"]) for c in last.contents if c["role"] == "model" for p in c["parts"]]
    assert set(told) < {unbase64(signature) for signature in fake.content.signed.values()}
    assert Path(results[0].path).read_bytes() == fake.content.made[0]


async def test_signature_that_came_without_words_goes_back_too(router: Router, fake: GoogleServer, out: str) -> None:
    fake.content.next_answers.append("signed_end")
    await chat(router, "cloud", out, 2)
    end = fake.content.turns[-1].contents[1]["parts"][-1]
    assert end == {"text": "", "thoughtSignature": fake.content.signed[""]}


@pytest.mark.parametrize("backend", ["cloud", "google"])
async def test_every_picture_of_an_answer_is_saved_and_can_be_continued(router: Router, fake: GoogleServer, out: str, backend: str) -> None:
    fake.content.next_answers.append("two")
    fake.interactions.next_ends.append("two")
    result = await router.generate_image(prompt="two foxes", backend=backend, output=out)
    assert len(result.files) == 2
    assert len({Path(f.path).read_bytes() for f in result.files}) == 2
    assert fake.submits() == 1
    for number, file in enumerate(result.files):
        await router.generate_image(prompt="make it blue", continue_from=file.continuation_id, output=out)
        if backend == "cloud":
            assert fake.content.turns[-1].pictures() == [fake.content.made[number]] == [Path(file.path).read_bytes()]


async def test_stored_chat_holds_no_media_bytes(router: Router, fake: GoogleServer, out: str) -> None:
    result = (await chat(router, "cloud", out, 2))[-1]
    assert result.continuation_id is not None
    kept = repr((await router.store.load_continuation(result.continuation_id)).data)
    for made in fake.content.made:
        assert base64.b64encode(made).decode()[:40] not in kept
    assert len(kept) < 2000


async def test_chat_outlives_the_router_that_began_it(new_router: Callable[..., Router], fake: GoogleServer, out: str) -> None:
    async with new_router() as first:
        began = await first.generate_image(prompt="a fox", backend="cloud", output=out)
    async with new_router() as second:
        await second.generate_image(prompt="make it blue", continue_from=began.continuation_id, output=out)
    assert fake.content.turns[-1].pictures() == fake.content.made[:1]


async def test_chat_whose_file_was_deleted_continues_from_the_artifact(router: Router, fake: GoogleServer, out: str) -> None:
    results = await chat(router, "cloud", out, 2)
    Path(results[0].path).unlink()
    await router.generate_image(prompt="now at night", continue_from=results[1].continuation_id, output=out)
    assert fake.content.turns[-1].pictures() == fake.content.made[:2]


async def test_chat_whose_picture_is_gone_is_an_error_and_nothing_is_sent(router: Router, fake: GoogleServer, out: str) -> None:
    results = await chat(router, "cloud", out, 2)
    Path(results[0].path).unlink()
    for artifact in (router.settings.state_dir / "artifacts").rglob(f"*{results[0].files[0].sha256}*"):
        artifact.unlink()
    with pytest.raises(UnknownContinuation, match="missing or has changed"):
        await router.generate_image(prompt="now at night", continue_from=results[1].continuation_id, output=out)
    assert fake.submits() == 2


async def test_forgotten_interaction_is_an_unknown_continuation(router: Router, fake: GoogleServer, out: str) -> None:
    results = await chat(router, "google", out, 1)
    fake.interactions.made.clear()
    with pytest.raises(UnknownContinuation, match="earlier turn"):
        await router.generate_image(prompt="now at night", continue_from=results[0].continuation_id, output=out)


async def test_edit_of_a_continuation_sends_the_continued_picture(router: Router, fake: GoogleServer, out: str) -> None:
    began = await router.generate_image(prompt="a fox", backend="google", output=out)
    mask = Path(out) / "mask.png"
    mask.write_bytes(half_mask(256, 256))
    asked = {"continue_from": began.continuation_id, "mask_path": str(mask), "prompt": "a lake"}
    found = GenerationConfig.from_json({"mode": "image", **asked})
    await router.execute(found.to_request(), output=out)
    assert fake.interactions.made[-1].pictures()[0] == Path(began.path).read_bytes()
    assert "previous_interaction_id" not in fake.interactions.made[-1].body

"""Answers are decoded cheaply and tolerantly: every byte of an image in any spelling, and an error for what holds none."""

from __future__ import annotations

import base64
import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anymedia.answers.media import decode_images
from anymedia.errors import BadBackendResponse
from anymedia.http import decode_json, decode_object
from openai_media._answers import decode_turn

SPELLINGS: dict[str, Any] = {
    "plain": lambda b: base64.b64encode(b).decode(),
    "data URL": lambda b: "data:image/png;base64," + base64.b64encode(b).decode(),
    "lines": lambda b: base64.encodebytes(b).decode(),
    "no padding": lambda b: base64.b64encode(b).decode().rstrip("="),
    "URL-safe": lambda b: base64.urlsafe_b64encode(b).decode(),
}


def answer(*pictures: bytes, spell: Any = SPELLINGS["plain"], **more: object) -> bytes:
    return json.dumps({"created": 1, "data": [{"b64_json": spell(p)} for p in pictures], **more}).encode()


@given(st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=4), st.booleans(), st.sampled_from(sorted(SPELLINGS)))
def test_decode_images_any_spelling_gives_every_byte(pictures: list[bytes], escaped: bool, spelling: str) -> None:
    body = answer(*pictures, spell=SPELLINGS[spelling])
    if escaped:
        body = body.replace(b"/", b"\\/").replace(b"+", b"\\u002b")
    assert [item.data for item in decode_images(body).found.items] == pictures


@given(st.binary(max_size=300))
def test_decode_images_any_bytes_never_raises(body: bytes) -> None:
    decode_images(body)


@given(st.binary(max_size=300))
def test_decode_turn_any_bytes_raises_only_bad_backend_response(body: bytes) -> None:
    for decode in (decode_turn, decode_object):
        try:
            decode(body)
        except BadBackendResponse as error:
            assert (error.delivery, error.charged) == ("unknown", "unknown")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'{"data": []}',
        b'{"data": [{}]}',
        b'{"data": [{"b64_json": null}]}',
        b'{"data": [{"b64_json": ""}]}',
        b'{"data": [{"b64_json": "not base64!"}]}',
        b'{"data": [{"b64_json": 1234}]}',
        b'{"data": [{"b64_json": {"a": 1}}]}',
        b'{"data": [{"b64_json": "QUJD"}',
        b"[" * 100_000,
    ],
)
def test_decode_images_without_an_image_finds_none(body: bytes) -> None:
    answered = decode_images(body)
    assert answered.found.items == ()
    assert answered.rest == decode_json(body)


def test_decode_images_null_item_beside_a_good_one_is_reported() -> None:
    body = b'{"data": [null, {"b64_json": "QUJD"}]}'
    found = decode_images(body).found
    assert [item.data for item in found.items] == [b"ABC"]
    assert [warning.code for warning in found.warnings] == ["item_missing"]


@pytest.mark.parametrize("place", ["images", "output", "artifacts"])
def test_decode_images_media_in_the_place_of_another_server_is_found(place: str) -> None:
    body = json.dumps({place: [{"base64": base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()}]}).encode()
    assert [item.data for item in decode_images(body).found.items] == [b"\x89PNG\r\n\x1a\n"]


def test_decode_images_relative_link_is_resolved_against_the_base_url() -> None:
    body = b'{"data": [{"url": "/files/a b.png", "revised_prompt": "a boat"}]}'
    (item,) = decode_images(body, "http://127.0.0.1:8000/v1").found.items
    assert (item.url, item.text) == ("http://127.0.0.1:8000/files/a%20b.png", "a boat")


def test_decode_turn_reads_past_items_of_other_kinds() -> None:
    items = [
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "program_output", "result": "this is not base64"},
        {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": base64.b64encode(b"picture").decode()},
        {"type": "message", "content": [{"type": "output_text", "text": "Here"}, {"type": "refusal", "refusal": "but"}]},
    ]
    turn = decode_turn(json.dumps({"id": "resp_1", "output": items, "created_at": 5, "status": "completed"}).encode())
    assert [item.data for item in turn.found.items] == [b"picture"]
    assert (turn.id, turn.body["created_at"]) == ("resp_1", 5)
    assert turn.body["output"][-1] == items[-1]


def test_decode_images_large_picture_takes_little_more_memory_than_itself() -> None:
    picture = bytes(4_000_000)
    body = answer(picture)
    decode_images(body)
    tracemalloc.start()
    try:
        answered = decode_images(body)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert answered.found.items[0].data == picture
    assert peak < 1.1 * len(picture)

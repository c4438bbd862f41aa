"""Answers are decoded strictly and cheaply: every byte of a picture, and nothing that is no picture."""

from __future__ import annotations

import base64
import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anymedia.errors import BadBackendResponse
from openai_media._answers import decode_images, decode_json, decode_turn


def answer(*pictures: bytes, **more: object) -> bytes:
    return json.dumps({"created": 1, "data": [{"b64_json": base64.b64encode(p).decode()} for p in pictures], **more}).encode()


@given(st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=4), st.booleans())
def test_every_byte_comes_back_however_the_json_is_written(pictures: list[bytes], escaped: bool) -> None:
    body = answer(*pictures)
    if escaped:
        body = body.replace(b"/", b"\\/").replace(b"+", b"\\u002b")
    assert [p.data for p in decode_images(body).data or ()] == pictures


@given(st.binary(max_size=300))
def test_no_bytes_at_all_raise_anything_but_the_error_for_a_bad_answer(body: bytes) -> None:
    for decode in (decode_images, decode_turn, decode_json):
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
        b'{"data": [{"b64_json": "QUJ"}]}',
        b'{"data": [{"b64_json": 1234}]}',
        b'{"data": [{"b64_json": 12}]}',
        b'{"data": [{"b64_json": {"a": 1}}]}',
        b'{"data": [{"b64_json": "QUJD"}',
        b"[" * 100_000,
    ],
)
def test_what_holds_no_picture_is_a_bad_answer(body: bytes) -> None:
    with pytest.raises(BadBackendResponse):
        decode_images(body)


def test_a_turn_is_read_past_items_of_other_kinds() -> None:
    items = [
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "program_output", "result": "this is no base64"},
        {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": base64.b64encode(b"picture").decode()},
        {"type": "message", "content": [{"type": "output_text", "text": "Here"}, {"type": "refusal", "refusal": "but"}]},
    ]
    turn = decode_turn(json.dumps({"id": "resp_1", "output": items, "created_at": 5, "status": "completed"}).encode())
    assert ([c.data for c in turn.calls], turn.said, turn.refused, turn.created_at) == ([b"picture"], "Here", "but", 5)


def test_a_big_picture_takes_little_more_memory_than_itself() -> None:
    picture = bytes(4_000_000)
    body = answer(picture)
    decode_images(body)
    tracemalloc.start()
    try:
        found = decode_images(body)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (found.data or [])[0].data == picture
    assert peak < 1.1 * len(picture)

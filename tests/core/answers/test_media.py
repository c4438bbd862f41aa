"""Media are found and decoded in answers however they are spelled, wherever they stand."""

from __future__ import annotations

import base64
import json
import tracemalloc
import types
import urllib.parse
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anymedia.answers.base64_text import decode_base64
from anymedia.answers.media import USUAL_PLACES, decode_images, encode_link, extract_media, resolve_link

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
JPEG = b"\xff\xd8\xff\xe0" + bytes(range(255, -1, -1))
B64 = base64.b64encode(PNG).decode()

HEADS = (
    "",
    "data:image/png;base64,",
    "data:;base64,",
    "DATA:image/PNG;charset=utf-8;base64,",
    "image/png;base64,",
    "base64,",
    "data:image/png,",
)


def _lines(text: str, width: int, end: str) -> str:
    return "".join(text[i : i + width] + end for i in range(0, len(text), width))


@st.composite
def spellings(draw: st.DrawFn) -> tuple[bytes, str]:
    """Bytes that start like a picture, and a spelling of them in base64."""
    data = draw(st.sampled_from([PNG[:8], JPEG[:4], b"RIFF\0\0\0\0WAVE"])) + draw(st.binary(min_size=0, max_size=200))
    text = base64.b64encode(data).decode()
    if draw(st.booleans()):
        text = text.replace("+", "-").replace("/", "_")
    if draw(st.booleans()):
        text = text.rstrip("=")
    if draw(st.booleans()):
        text = _lines(text, draw(st.sampled_from([4, 64, 76])), draw(st.sampled_from(["\n", "\r\n", " ", "\\n"])))
    if draw(st.booleans()):
        text = text.replace("/", "\\/")
    if draw(st.integers(0, 4)) == 0:
        text = urllib.parse.quote(text, safe="")
    head = draw(st.sampled_from(HEADS))
    around = draw(st.sampled_from(["", " ", "\n", "\ufeff", '"']))
    return data, around + head + text + (around if around != "\ufeff" else "")


@given(spellings())
def test_base64_in_any_spelling_is_decoded_exactly(spelled: tuple[bytes, str]) -> None:
    data, text = spelled
    assert decode_base64(text) == data
    if text.isascii():
        assert decode_base64(memoryview(text.encode())) == data


@given(
    spellings(), st.sampled_from([p for p in USUAL_PLACES if "[]" in p]), st.sampled_from(["b64_json", "base64", "url", "data", "image"])
)
def test_media_in_any_usual_place_is_extracted(spelled: tuple[bytes, str], place: str, key: str) -> None:
    data, text = spelled
    answer = _at(place, {key: text})
    found = extract_media(answer)
    assert [item.data for item in found.items] == [data]
    assert not found.unreadable


def _at(place: str, item: Any) -> Any:
    node: Any = item
    for part in reversed(place.split(".")):
        node = {part.removesuffix("[]"): [node] if part.endswith("[]") else node}
    return node


@given(
    st.text(max_size=80).filter(lambda t: any(ord(c) > 127 and not c.isspace() and c not in "\ufeff\u200b\u200c\u200d\u2060" for c in t))
)
def test_base64_with_letters_beyond_ascii_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="base64"):
        decode_base64("AAAA" + text)


def test_base64_of_pieces_joined_with_padding_inside_is_decoded() -> None:
    assert decode_base64(base64.b64encode(PNG[:10]).decode() + base64.b64encode(PNG[10:]).decode()) == PNG


def test_base64_cut_in_the_middle_of_a_byte_is_kept_as_unreadable() -> None:
    found = extract_media({"data": [{"b64_json": B64.rstrip("=")[:13]}]})
    assert not found.items
    assert found.unreadable[0].data == B64[:13].encode()
    assert found.warnings[0].code == "item_unreadable"


def test_json_escapes_in_text_taken_unread_are_undone() -> None:
    raw = b'"' + B64.replace("=", "\\u003d").replace("/", "\\/").encode() + b'"'
    assert decode_base64(memoryview(raw)) == PNG


CASES: dict[str, Any] = {
    "images_api": {"data": [{"b64_json": B64, "revised_prompt": "said"}]},
    "chat_images": {
        "choices": [
            {"message": {"content": "Here.", "images": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{B64}"}}]}}
        ]
    },
    "chat_content_parts": {
        "choices": [
            {
                "message": {
                    "content": [
                        {"type": "text", "text": "Here."},
                        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{B64}"}},
                    ]
                }
            }
        ]
    },
    "chat_markdown": {"choices": [{"message": {"content": f"Here you are: ![boat](data:image/png;base64,{B64})"}}]},
    "tool_call": {"output": [{"type": "reasoning"}, {"type": "image_generation_call", "result": B64, "status": "completed"}]},
    "parts_camel": {"candidates": [{"content": {"parts": [{"text": "Here."}, {"inlineData": {"mimeType": "image/png", "data": B64}}]}}]},
    "parts_snake": {"candidates": [{"content": {"parts": [{"inline_data": {"mime_type": "image/png", "data": B64}}]}}]},
    "artifacts": {"artifacts": [{"base64": B64, "finishReason": "SUCCESS", "seed": 1}]},
    "plain_list": {"images": [B64]},
    "predictions": {"predictions": [{"bytesBase64Encoded": B64, "mimeType": "image/png"}]},
    "wrapped": {"response": {"data": [{"b64_json": B64}]}},
    "url_holds_data": {"data": [{"url": f"data:image/png;base64,{B64}"}]},
    "url_holds_bare_base64": {"data": [{"url": B64}]},
    "generic_mime": {"data": [{"b64_json": B64, "mime_type": "application/octet-stream"}]},
    "wrong_mime": {"data": [{"b64_json": B64, "mime_type": "image/jpeg"}]},
    "null_beside": {"data": [None, {"b64_json": None}, {"b64_json": B64}]},
    "whole_body": PNG,
    "sdk_bytes": {"generated_images": [types.SimpleNamespace(image=types.SimpleNamespace(image_bytes=PNG, mime_type=None))]},
}


@pytest.mark.parametrize("name", CASES)
def test_answer_of_known_shape_gives_its_picture(name: str) -> None:
    answer = CASES[name]
    found = extract_media(answer)
    assert [(item.data, item.mime) for item in found.items] == [(PNG, "image/png")]
    if isinstance(answer, dict) and name != "sdk_bytes":  # the same as an SDK's objects
        objects = json.loads(json.dumps(answer), object_hook=lambda d: types.SimpleNamespace(**d))
        assert [item.data for item in extract_media(objects).items] == [PNG]


def test_null_and_refused_items_beside_good_ones_are_reported() -> None:
    refused = {"error": {"code": "moderation_blocked", "message": "WHY123 refused"}}
    found = extract_media({"data": [None, refused, {"b64_json": B64}, {"b64_json": ""}]}, ["data[]"])
    assert [item.data for item in found.items] == [PNG]
    assert [warning.code for warning in found.warnings] == ["item_missing", "item_refused", "item_missing"]
    assert found.refusals == ("WHY123 refused",)


def test_error_beside_the_media_is_reported_with_the_providers_words() -> None:
    body = {"data": [{"b64_json": B64}], "error": {"message": "1 of 2 was blocked"}}
    for found in (extract_media(body, ["data[]"]), decode_images(json.dumps(body).encode()).found):
        assert len(found.items) == 1
        assert [warning.code for warning in found.warnings] == ["item_refused"]
        assert "1 of 2 was blocked" in found.warnings[0].text
    assert not extract_media({**body, "error": None, "errors": []}, ["data[]"]).warnings


def test_item_refused_beside_a_good_one_says_why() -> None:
    refused = {"error": {"code": "moderation_blocked", "message": "too much fox"}}
    body = {"data": [refused, {"b64_json": B64}]}
    found = decode_images(json.dumps(body).encode()).found
    assert len(found.items) == 1
    assert [warning.code for warning in found.warnings] == ["item_refused"]
    assert "too much fox" in found.warnings[0].text


def test_refused_items_alone_are_reported_with_the_providers_words() -> None:
    found = extract_media(
        {"artifacts": [{"finishReason": "CONTENT_FILTERED"}], "predictions": [{"raiFilteredReason": "WHY123"}]}, ["predictions[]"]
    )
    assert not found.items
    assert found.refusals == ("WHY123",)


def test_answer_with_words_only_gives_nothing_and_no_warnings() -> None:
    found = extract_media({"choices": [{"message": {"content": "I cannot draw. See manual.pdf or v1.2"}}]})
    assert not found.items
    assert not found.warnings


def test_plugin_places_come_before_the_usual_ones() -> None:
    answer = {"data": [{"b64_json": base64.b64encode(JPEG).decode()}], "mine": {"pics": [{"inner": {"b64_json": B64}}]}}
    assert extract_media(answer, ["mine.pics[].inner"]).items[0].data == PNG


def test_media_in_thoughts_are_delivered_only_where_there_are_no_others() -> None:
    draft = {"inlineData": {"data": base64.b64encode(JPEG).decode()}, "thought": True}
    final = {"inlineData": {"data": B64}}

    def answer(*parts: Any) -> Any:
        return {"candidates": [{"content": {"parts": list(parts)}}]}

    both = extract_media(answer(draft, final))
    assert [item.data for item in both.items] == [PNG]
    assert [warning.code for warning in both.warnings] == ["drafts_left_out"]
    alone = extract_media(answer({"text": "hm", "thought": True}, draft))
    assert [item.data for item in alone.items] == [JPEG]
    assert alone.items[0].thought
    assert alone.items[0].item == draft


@pytest.mark.parametrize(
    ("link", "whole"),
    [
        ("/files/a.png", "http://127.0.0.1:8188/files/a.png"),
        ("view?filename=a.png", "http://127.0.0.1:8188/v1/view?filename=a.png"),
        ("a b.png", "http://127.0.0.1:8188/v1/a%20b.png"),
        ("//cdn.example.com/a.png", "http://cdn.example.com/a.png"),
        ("https://example.com/caf\u00e9 1.png?q=%20a b", "https://example.com/caf%C3%A9%201.png?q=%20a%20b"),
        ("https://b\u00fccher.example/x.png", "https://xn--bcher-kva.example/x.png"),
        (" https://example.com/a.png\n", "https://example.com/a.png"),
    ],
)
def test_links_are_made_absolute_and_encoded(link: str, whole: str) -> None:
    found = extract_media({"data": [{"url": link}]}, ["data[]"], base_url="http://127.0.0.1:8188/v1")
    assert [item.url for item in found.items] == [whole]


def test_link_that_cannot_be_fetched_is_reported() -> None:
    found = extract_media({"data": [{"url": "gs://bucket/a.png"}]}, ["data[]"])
    assert not found.items
    assert [warning.code for warning in found.warnings] == ["link_unsupported"]


@pytest.mark.parametrize("link", ["//[", "//[/x.png", "//a[b]/x.png", "https://["])
def test_link_with_broken_brackets_does_not_cost_the_good_ones(link: str) -> None:
    found = extract_media({"data": [{"url": link}, {"url": "/a.png"}]}, ["data[]"], base_url="https://api.example/v1")
    assert found.items[-1].url == "https://api.example/a.png"
    assert resolve_link(link, "https://api.example/v1") == link


def test_links_under_b64_json_and_in_markdown_are_taken_as_links() -> None:
    assert extract_media({"data": [{"b64_json": "https://e.example/a.png"}]}).items[0].url == "https://e.example/a.png"
    text = {"choices": [{"message": {"content": "![a](https://e.example/a.png) and ![b](https://e.example/b.png)"}}]}
    assert [item.url for item in extract_media(text).items] == ["https://e.example/a.png", "https://e.example/b.png"]


@given(st.from_regex(r"https://[a-z]{1,9}\.example/[^\s?#\x00-\x1f\ud800-\udfff]{0,30}", fullmatch=True))
def test_encoded_link_is_ascii_and_encoding_twice_changes_nothing(url: str) -> None:
    once = encode_link(url)
    assert once.isascii()
    assert encode_link(once) == once
    assert resolve_link(url, "http://other.example") == once


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=40),
        lambda c: (
            st.lists(c, max_size=3)
            | st.dictionaries(
                st.sampled_from(["data", "url", "b64_json", "images", "error", "image", "content", "parts", "x"]), c, max_size=4
            )
        ),
        max_leaves=12,
    )
)
def test_any_json_is_read_without_an_exception(answer: Any) -> None:
    extract_media(answer, ["data[]", "images[].image"], base_url="http://127.0.0.1:1")


def test_piece_carries_bytes_or_link_with_headers() -> None:
    item = extract_media({"data": [{"url": "https://e.example/a.png", "revised_prompt": "said"}]}).items[0]
    piece = item.to_piece(headers={"x-key": "k"})
    assert (piece.url, piece.text, piece.headers) == ("https://e.example/a.png", "said", {"x-key": "k"})
    assert extract_media({"data": [{"b64_json": B64}]}).items[0].to_piece().data == PNG


@pytest.mark.parametrize("mime", ["audio/L16;codec=pcm;rate=24000", "audio/pcm"])
def test_samples_without_a_header_keep_the_claimed_type(mime: str) -> None:
    part = {"inlineData": {"mimeType": mime, "data": base64.b64encode(bytes(64)).decode()}}
    item = extract_media({"candidates": [{"content": {"parts": [part]}}]}).items[0]
    assert (item.data, item.mime) == (bytes(64), mime.lower())


@pytest.mark.parametrize(("head", "copies"), [("", 1.1), ("data:image/png;base64,", 2.5)])
def test_large_base64_is_decoded_without_needless_copies(head: str, copies: float) -> None:
    data = PNG + bytes(8_000_000)
    answer = {"data": [{"b64_json": head + base64.b64encode(data).decode()}]}
    tracemalloc.start()
    try:
        found = extract_media(answer, ["data[]"])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.items[0].data == data
    assert peak < copies * len(data)


def test_json_left_unread_is_decoded_from_where_it_lies() -> None:
    raw = memoryview(f'"{B64}"'.encode())
    found = extract_media({"data": [{"b64_json": raw}, {"b64_json": memoryview(b"null")}]}, ["data[]"])
    assert [item.data for item in found.items] == [PNG]
    assert [warning.code for warning in found.warnings] == ["item_missing"]

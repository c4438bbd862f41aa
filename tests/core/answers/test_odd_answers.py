"""Spellings, envelopes and damage that services, gateways and wrappers are known for, beside the usual ones."""

from __future__ import annotations

import base64
import io
import json
import struct
import urllib.parse
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from anymedia.answers.containers import repair_bytes, repair_file
from anymedia.answers.envelopes import read_error
from anymedia.answers.errors import classify, error_from
from anymedia.answers.media import decode_images, extract_media
from anymedia.execution.save_piece import recognise_file
from anymedia.files.names import plain_name
from anymedia.media import Image as MediaImage

SAID = "The heliotrope otter declines to paint"


def _noise(form: str, count: int = 1) -> bytes:
    pictures = [Image.effect_noise((64, 48), 60).convert("RGB") for _ in range(count)]
    out = io.BytesIO()
    pictures[0].save(out, form, **({"save_all": True, "append_images": pictures[1:]} if count > 1 else {}))
    return out.getvalue()


PNG = _noise("PNG")
B64 = base64.b64encode(PNG).decode()
LINES = "\n".join(B64[i : i + 76] for i in range(0, len(B64), 76))
URL = f"data:image/png;base64,{B64}"
SPELLED = {
    "data URL encoded as a whole": urllib.parse.quote(URL, safe=""),
    "data URL with a name": f'data:image/png;name="a.png";base64,{B64}',
    "data URL in front of a data URL": f"data:image/png;base64,{URL}",
    "representation of bytes": repr(B64.encode()),
    "form in which a plus is a space": B64.replace("+", " "),
    "prefix with a colon": f"base64:{B64}",
    "base64 of base64": base64.b64encode(B64.encode()).decode(),
    "base64 of a data URL": base64.b64encode(URL.encode()).decode(),
    "hexadecimal digits": PNG.hex(),
    "capital hexadecimal digits": PNG.hex().upper(),
    "url of a style sheet": f"url('{URL}')",
    "element of a page": f'<p>Here: <img alt="x" src="{URL}"/></p>',
    "link of Markdown": f"Here it is: ![fox]({URL})",
    "data URL in a sentence": f"Here it is: {URL}",
    "JSON in a text": json.dumps({"image": B64}),
    "invisible space": f"{B64[:100]}\u200b{B64[100:]}",
    "byte order mark": f"\ufeff{B64}",
    "percent-encoded bytes": "data:image/png," + urllib.parse.quote_from_bytes(PNG),
    "lines of PEM": f"-----BEGIN PNG IMAGE-----\n{LINES}\n-----END PNG IMAGE-----\n",
    "PEM in a data URL": f"data:image/png;base64,-----BEGIN IMAGE-----\r\n{LINES}\r\n-----END IMAGE-----",
    "uuencoded base64": f"begin-base64 644 fox.png\n{LINES}\n====\n",
    "tabs and line breaks": LINES.replace("\n", "\r\n\t"),
}


@pytest.mark.parametrize("name", SPELLED)
def test_media_in_an_odd_spelling_are_found_at_every_place(name: str) -> None:
    text = SPELLED[name]
    parts = {"candidates": [{"content": {"parts": [{"inlineData": {"data": text, "mimeType": "image/png"}}]}}]}
    for answer in ({"data": [{"b64_json": text}]}, {"data": [{"url": text}]}, parts, {"choices": [{"message": {"content": text}}]}):
        found = extract_media(answer, ["data[]"], base_url="http://host/v1").items
        assert [item.data for item in found] == [PNG], answer.keys()
    whole = decode_images(json.dumps({"data": [{"b64_json": text}]}).encode()).found.items
    assert [item.data for item in whole] == [PNG]


def test_sentence_that_mentions_markup_gives_no_media() -> None:
    for text in ("a < b and data: none", "<p>no picture</p>", '{"answer": "no"}', "[1, 2", "base64 is a spelling", "deadbeef"):
        assert not extract_media({"choices": [{"message": {"content": text}}]}).items


ENVELOPES: dict[str, Any] = {
    "JSON lines": f'{{"status": "started"}}\n{{"error": {{"message": "{SAID}"}}}}\n',
    "fault": {"fault": {"faultstring": SAID, "detail": {"errorcode": "x"}}},
    "OData": {"odata.error": {"message": {"lang": "en", "value": SAID}}},
    "capital keys": {"Error": {"Message": SAID, "Code": "X"}},
    "capital message": {"Message": SAID},
    "err": {"err": SAID},
    "err_msg": {"err_msg": SAID, "err_code": 1001},
    "base_resp": {"base_resp": {"status_code": 1026, "status_msg": SAID}},
    "ResponseMetadata": {"ResponseMetadata": {"RequestId": "1", "Error": {"Code": "X", "Message": SAID}}},
    "Response": {"Response": {"Error": {"Code": "X", "Message": SAID}, "RequestId": "1"}},
    "state of a task": {"output": {"task_status": "FAILED", "code": "X", "message": SAID}},
    "number of the service": {"code": 1301, "message": SAID, "data": None},
    "moderated": {"status": "Request Moderated", "result": None, "details": {"Reasons": [SAID]}},
    "JSON-RPC": {"jsonrpc": "2.0", "error": {"code": -32000, "message": "Server error", "data": SAID}, "id": 1},
    "refusal of a chat": {"choices": [{"message": {"refusal": SAID, "content": None}, "finish_reason": "stop"}]},
    "refusal of a response": {"output": [{"type": "message", "content": [{"type": "refusal", "refusal": SAID}]}]},
    "violations": {"error": {"code": 400, "message": "Invalid.", "details": [{"fieldViolations": [{"field": "x", "description": SAID}]}]}},
    "page with a number for a title": f"<html><head><title>413</title></head><body><p>{SAID}</p></body></html>",
    "UTF-16": json.dumps({"error": SAID}).encode("utf-16"),
    "CDATA": f"<Error><Message><![CDATA[{SAID}]]></Message></Error>",
    "name space": f"<e:Error xmlns:e='x'><e:Message>{SAID}</e:Message></e:Error>",
    "SOAP": f"<s:Envelope><s:Body><s:Fault><faultcode>x</faultcode><faultstring>{SAID}</faultstring></s:Fault></s:Body></s:Envelope>",
    "event with an id": f'id: 1\r\nevent: error\r\ndata: {{"error": "{SAID}"}}\r\n\r\n',
}


@pytest.mark.parametrize("name", ENVELOPES)
def test_words_in_an_odd_envelope_arrive_and_are_an_error(name: str) -> None:
    found = read_error(ENVELOPES[name])
    assert SAID in found.text
    is_bare = name in {"err_msg", "capital message"}  # which of them is an error, only the status says
    assert found.is_error or found.form in {"html", "xml"} or is_bare


@pytest.mark.parametrize("name", ["refusal of a chat", "refusal of a response", "moderated"])
def test_refusal_in_an_answer_with_status_200_is_one(name: str) -> None:
    assert classify(read_error(ENVELOPES[name]), 200) == "content"


def test_answer_of_success_is_not_an_error() -> None:
    good = (
        {"code": 0, "message": "success", "data": {}},
        {"code": 200, "msg": "ok"},
        {"base_resp": {"status_code": 0, "status_msg": "success"}},
        {"output": {"task_status": "SUCCEEDED"}},
        {"choices": [{"message": {"content": "x", "refusal": None}, "finish_reason": "stop"}]},
    )
    for answer in good:
        assert not read_error(answer).is_error, answer


TAILS = (b"\n", b"\r\n--boundary--\r\n", b"<!-- cached -->", b'{"ok": true}', bytes(512), b"TAG" + bytes(125))


@pytest.mark.parametrize("tail", TAILS)
def test_what_follows_a_picture_is_cut_and_a_second_picture_is_kept(tail: bytes) -> None:
    for data in (_noise("MPO", 2), _noise("BMP"), _noise("JPEG")):
        made, warnings = repair_bytes(data + tail)
        assert made == data
        assert [warning.code for warning in warnings] == ["trailing_bytes_removed"]


@pytest.mark.parametrize("tail", TAILS)
def test_what_follows_a_flac_is_cut_by_the_checksum_of_its_last_frame(tail: bytes) -> None:
    from odd_samples import good

    data = good("flac")
    made, warnings = repair_bytes(data + tail)
    assert made == data
    assert [warning.code for warning in warnings] == ["trailing_bytes_removed"]


@pytest.mark.parametrize(
    ("wanted", "there"),
    [
        ("a's.png", "a\u2019s.png"),
        ("em-dash.png", "em\u2014dash.png"),
        ("na\u00efve.png", "na\udcefve.png"),
        ('"a b.png"', "a\u00a0b.png"),
        ("a%20b.png", "A b.PNG"),
        ("cafe\u0301.png", "CAF\u00c9.png"),
    ],
)
def test_names_that_look_alike_have_one_plain_form(wanted: str, there: str) -> None:
    assert plain_name(wanted) == plain_name(there)


def test_data_url_without_base64_is_read_as_percent_encoded_bytes() -> None:
    given = MediaImage.of("DATA:image/png," + urllib.parse.quote_from_bytes(PNG))
    assert (given.data, given.mime) == (PNG, "image/png")


def _numbers(key: str) -> dict[str, Any]:
    return {key: {"type": "Buffer", "data": list(PNG)}}


UNNAMED: dict[str, Any] = {
    "the answer is the list": [{"b64_json": B64}],
    "the answer is the text": B64,
    "another case of the key": {"data": [{"b64Json": B64}]},
    "unknown key": {"payload": {"picture_of_the_day": B64}},
    "unknown key of a list": {"data": {"binary_data_base64": [B64]}},
    "content of a message": {"content": [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": B64}}]},
    "list of an endpoint": [{"generated_image": URL}],
    "bytes as numbers": {"data": [_numbers("b64_json")]},
    "bytes as numbers at an unknown key": {"answer": _numbers("made")},
    "input beside it": {"inputs": {"init_image": base64.b64encode(_noise("JPEG")).decode()}, "made": {"x": B64}},
    "link beside it": {"made": {"x": B64, "link": "https://host/a.png"}},
    "twice": {"made": {"x": B64, "y": URL}},
}


@pytest.mark.parametrize("name", UNNAMED)
def test_media_at_a_place_that_no_one_named_are_found_once(name: str) -> None:
    assert [item.data for item in extract_media(UNNAMED[name], ["images[]"]).items] == [PNG]
    assert [item.data for item in decode_images(json.dumps(UNNAMED[name]).encode()).found.items] == [PNG]


def test_link_at_a_place_that_no_one_named_is_found_by_its_suffix() -> None:
    answer = {"task": {"made": "https://host/a.png?x=1", "docs": "https://host/docs", "prompt_image": "https://host/b.png"}}
    assert [item.url for item in extract_media(answer).items] == ["https://host/a.png?x=1"]


def test_repeated_input_is_not_taken_for_the_result() -> None:
    for key in ("input", "init_images", "mask", "parameters", "original", "thumbnail"):
        assert not extract_media({"status": "failed", key: {"image_of_it": [B64]}}).items


WHOLE = json.dumps({"data": [{"b64_json": B64}]})
DRAFT = json.dumps({"type": "image_generation.partial_image", "b64_json": base64.b64encode(_noise("PNG")).decode()})
FORMS: dict[str, bytes] = {
    "byte order mark": WHOLE.encode("utf-8-sig"),
    "UTF-16": WHOLE.encode("utf-16"),
    "UTF-32": WHOLE.encode("utf-32"),
    "another encoding in a text": json.dumps({"data": [{"b64_json": B64, "revised_prompt": "caf\u00e9"}]}, ensure_ascii=False).encode(
        "latin-1"
    ),
    "not a number": json.dumps({"data": [{"b64_json": B64}], "score": float("nan")}).encode(),
    "line breaks in the text": json.dumps({"data": [{"b64_json": LINES}]}).replace("\\n", "\n").encode(),
    "JSON lines": f'{{"progress": 0.5}}\n{DRAFT}\n{WHOLE}\n'.encode(),
    "the same twice": (WHOLE * 2).encode(),
    "events": f"data: {WHOLE}\n\ndata: [DONE]\n\n".encode(),
    "events after a draft": f"event: partial\ndata: {DRAFT}\n\n: ping\n\nevent: done\ndata: {WHOLE}\n\n".encode(),
    "zeros behind it": WHOLE.encode() + b"\0\0",
    "words behind it": WHOLE.encode() + b"\nOK",
    "base64 alone": B64.encode(),
    "picture": PNG,
}


@pytest.mark.parametrize("name", FORMS)
def test_answer_in_an_odd_form_gives_its_picture(name: str) -> None:
    assert [item.data for item in decode_images(FORMS[name]).found.items] == [PNG]


def test_error_after_progress_is_the_one_that_is_read() -> None:
    answer = decode_images(f'{{"progress": 1}}\n{{"error": "{SAID}"}}\n'.encode())
    assert read_error(answer.rest).text == SAID


def test_base64_of_an_input_is_left_out_of_the_words_about_it() -> None:
    found = read_error({"detail": [{"loc": ["body", "image"], "msg": f"{SAID}: {B64}", "input": B64}]})
    assert found.text == f"image: {SAID}: (...)"


def test_code_with_a_message_in_an_answer_with_status_200_is_an_error() -> None:
    assert classify(read_error({"code": "InvalidApiKey", "message": SAID, "request_id": "x"}), 200) == "auth"
    assert classify(read_error({"data": [{"finish_reason": "content_filter", "message": SAID}]}), 200) == "content"
    assert not read_error({"code": "Success", "message": "ok", "data": {}}).is_error


def _repaired(data: bytes, folder: Path) -> tuple[bytes, list[str]]:
    """Repair bytes, and a file in place: both must give the same."""
    made, warnings = repair_bytes(data)
    path = folder / "file"
    path.write_bytes(data)
    assert (repair_file(path), path.read_bytes()) == (warnings, made)
    return made, [warning.code for warning in warnings]


@pytest.mark.parametrize("lead", [b"\n", b"\r\n\r\n", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "TIFF"])
def test_line_breaks_before_a_picture_are_cut(form: str, lead: bytes, tmp_path: Path) -> None:
    data = _noise(form)
    assert _repaired(lead + data, tmp_path) == (data, ["leading_bytes_removed"])


@pytest.mark.parametrize(("form", "length"), [("PNG", 12), ("JPEG", 2), ("GIF", 2)])
def test_picture_that_lacks_only_its_end_gets_it(form: str, length: int, tmp_path: Path) -> None:
    data = _noise(form)
    for missing in range(1, length + 1):
        assert _repaired(data[:-missing], tmp_path) == (data, ["container_corrected"])


def test_picture_that_lacks_more_than_its_end_is_left_as_it_is(tmp_path: Path) -> None:
    for form in ("PNG", "GIF", "WEBP"):
        data = _noise(form)
        assert _repaired(data[: len(data) // 2], tmp_path) == (data[: len(data) // 2], [])


@pytest.mark.parametrize("claimed", [0, 10, 10_000_000, 0xFFFFFFFF])
def test_webp_with_a_wrong_size_gets_its_own(claimed: int, tmp_path: Path) -> None:
    data = _noise("WEBP")
    assert _repaired(data[:4] + claimed.to_bytes(4, "little") + data[8:], tmp_path) == (data, ["container_corrected"])


def test_tag_behind_a_wav_is_cut(tmp_path: Path) -> None:
    from odd_samples import good

    data = good("wav")
    for tag in (b"TAG" + bytes(125), b"ID3\x03\0\0\0\0\0\x20" + bytes(32)):
        assert _repaired(data + tag, tmp_path) == (data, ["trailing_bytes_removed"])


@pytest.mark.parametrize(
    "answer",
    [
        {"error": {"code": "OutputImageSensitiveContentDetected", "message": "x"}},
        {"code": "DataInspectionFailed", "message": "x"},
        {"Response": {"Error": {"Code": "OperationDenied.TextIllegalDetected", "Message": "x"}}},
        {"code": "prompt_violates_policy", "message": "x"},
        {"error": {"message": "x", "code": "guardrail_violation"}},
        {"artifacts": [{"base64": "", "finishReason": "CONTENT_FILTERED"}]},
        {"error": "Prompt failed safety check"},
        {"code": 24, "description": "Banned prompt"},
        {"error": {"message": "litellm.ContentPolicyViolationError: content_policy_violation", "code": "400"}},
        {"error": {"message": "similarity to third-party content"}},
        {"error": {"code": "1301", "message": "\u5185\u5bb9\u53ef\u80fd\u5305\u542b\u4e0d\u5b89\u5168\u6216\u654f\u611f\u5185\u5bb9"}},
    ],
)
def test_refusal_of_content_in_other_words_is_one(answer: Any) -> None:
    assert {classify(read_error(answer), status) for status in (200, 400)} == {"content"}


def test_words_that_only_resemble_a_refusal_of_content_are_none() -> None:
    for said in (
        "the name is case sensitive",
        "sensitivity must be below 1",
        "content-type is not supported",
        "the file is not safe to open",
    ):
        assert classify(read_error({"error": {"message": said, "code": "invalid_value"}}), 400) == "invalid"


@pytest.mark.parametrize(
    "answer",
    [
        {"prompt": [SAID]},
        {"\u9519\u8bef": SAID},
        {"error": {"message": "failed"}, "node_errors": {"4": {"errors": [{"message": "not in list", "details": SAID}]}}},
        {"error": "CUDA", "warnings": [SAID]},
    ],
)
def test_words_at_a_place_that_no_one_named_arrive(answer: Any) -> None:
    assert SAID in error_from(answer, who="'a/b'", status=400).provider_message


def test_file_that_follows_line_breaks_is_found_as_a_whole_answer() -> None:
    assert [item.data for item in extract_media(b"\r\n" + PNG).items] == [b"\r\n" + PNG]  # the breaks are cut when it is repaired


@pytest.mark.parametrize("streamed", [False, True])
def test_aiff_that_was_made_is_delivered_with_its_length(tmp_path: Path, *, streamed: bool) -> None:
    samples = bytes(2) * 24_000
    head = struct.pack(">hIh", 1, 0 if streamed else 24_000, 16) + b"\x40\x0d\xbb\x80" + bytes(6)  # 24000 Hz
    sizes = (0, 0) if streamed else (4 + 8 + len(head) + 16 + len(samples), 8 + len(samples))
    chunks = b"AIFFCOMM" + struct.pack(">I", len(head)) + head + b"SSND" + struct.pack(">I", sizes[1]) + bytes(8) + samples
    path = tmp_path / "sound"
    path.write_bytes(b"FORM" + struct.pack(">I", sizes[0]) + chunks)
    assert [warning.code for warning in repair_file(path)] == ["audio_sizes_corrected"] * streamed
    facts = recognise_file(path, "audio/aiff", "audio")
    assert (facts.format, facts.mime, facts.kind, facts.seconds) == ("aiff", "audio/aiff", "audio", 1.0)

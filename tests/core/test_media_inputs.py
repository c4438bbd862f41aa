"""Whatever stands for an input is taken or refused with an error of ours, and shown without what may be secret."""

from __future__ import annotations

import base64
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anymedia.errors import InvalidRequest
from anymedia.media import Image, without_query

BROKEN = ["https://[bad/x", "https://[::1", "http://]/", "https://[1::2::3]/a", "http://\u2100.example/", "https://a[b]c/"]


@pytest.mark.parametrize("url", BROKEN)
def test_a_url_that_cannot_be_read_is_an_invalid_request(url: str) -> None:
    with pytest.raises(InvalidRequest, match="URL"):
        Image(url=url)
    with pytest.raises(InvalidRequest, match="URL"):
        Image.of(url)


@pytest.mark.parametrize("port", ["99999", "x", "-1", "0x50"])
def test_a_url_with_an_impossible_port_is_shown_without_its_query(port: str) -> None:
    image = Image(url=f"https://files.example:{port}/a?sig=CANARY#CANARY")
    assert "CANARY" not in str(image) + repr(image)


@pytest.mark.parametrize("body", ["\u00e9", "=", "A", "AAAAA", "\ud800", "AAAA\n!"])
def test_data_uri_with_invalid_base64_is_an_invalid_request(body: str) -> None:
    with pytest.raises(InvalidRequest, match="base64"):
        Image.of(f"data:image/png;base64,{body}")


@given(st.binary(min_size=1, max_size=90), st.sampled_from(["", "\n", "\r\n\t", "%0A", " "]), st.booleans(), st.booleans(), st.booleans())
def test_data_uri_in_any_spelling_is_decoded(data: bytes, gap: str, safe: bool, padded: bool, percent: bool) -> None:
    body = (base64.urlsafe_b64encode if safe else base64.b64encode)(data).decode()
    body = body if padded else body.rstrip("=")
    if percent and gap != "%0A":  # a line may end inside an escape, an escaped line end may not
        body = urllib.parse.quote(body, safe="")
    image = Image.of(f"DATA:image/png; base64,{gap.join(body[i : i + 30] for i in range(0, len(body), 30))}")
    assert (image.data, image.mime) == (data, "image/png")


@given(st.text(max_size=60) | st.from_regex(r"(https?|data|file|ftp)://?[\[\]0-9a-z.:@%;,?#-]{0,30}", fullmatch=True))
def test_any_text_is_an_input_or_an_invalid_request(text: str) -> None:
    try:
        image = Image.of(text)
    except InvalidRequest as error:
        str(error).encode("utf-8", "replace")
        return
    assert isinstance(str(image) + repr(image), str)


@pytest.mark.parametrize("text", ["file://[", "file://]/a.png", "file://[::1/a.png"])
def test_file_url_that_cannot_be_read_is_an_invalid_request(text: str) -> None:
    with pytest.raises(InvalidRequest, match="'file' URLs"):
        Image.of(text)


def test_user_info_and_query_are_not_shown() -> None:
    assert without_query("https://user:pass@files.example:8443/a/b?sig=x#y") == "https://files.example:8443/a/b"

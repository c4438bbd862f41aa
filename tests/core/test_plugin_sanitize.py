"""Texts of plugins become clean, short lines, and the exceptions of their SDKs are dropped."""

from __future__ import annotations

import base64
import re
import time
import traceback
import types
from typing import Any

import pytest
from aiohttp import ClientError
from hypothesis import given
from hypothesis import strategies as st

from anymedia import Context, hookimpl
from anymedia.answers.media import FoundMedia
from anymedia.capabilities import CapabilityMatrix
from anymedia.errors import BackendUnavailable, ContentRefused, InvalidRequest, MediaError, PluginContractError, Problem, SubmissionUnknown
from anymedia.hookspecs import ListedModel
from anymedia.plugins.registry import Registry
from anymedia.plugins.sanitize import PluginRaised, clean_error, clean_returned
from anymedia.results import Failed, Job, Outcome, Piece, Running, Succeeded

KEY = "sk-CANARYCANARYCANARY0123"
SIGNED = "https://files.example/v.mp4?X-Amz-Signature=CANARYsignature"
EVIL = {
    "colours": "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x9b2J text",
    "a link for terminals": "\x1b]8;;https://evil.example\x1b\\click\x1b]8;;\x1b\\",
    "lines of ours": "refused.\nanymedia: the job is done\r\n  hint: rm -rf ~",
    "other line ends": "a\u2028b\u2029c\x85d\x0be\x0cf",
    "turned around": "abc\u202egnp.exe\u2066x\u2069\u200f",
    "invisible": "a\u200bb\ufeffc\U000e0041d\xade",
    "a key": f"Incorrect API key provided: {KEY}.",
    "a signature": f"could not read {SIGNED}",
    "nul and bells": "a\0b\x07c\x08d",
    "a lone surrogate": "a\ud800b",
    "a megabyte": "x" * 1_000_000,
    "a megabyte of escapes": "\x1b[31m" * 200_000,
}


def is_clean(text: str, limit: int = 1_100) -> None:
    assert text.isprintable()
    assert len(text) <= limit
    assert "CANARY" not in text
    assert not set(text) & set("\u202e\u2066\u200b\ufeff\x1b\n\r")
    text.encode()


def texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [t for pair in value.items() for v in pair for t in texts(v)]
    return [t for v in value for t in texts(v)] if isinstance(value, list | tuple) else []


def module(hook: Any) -> Registry:
    made = types.ModuleType("evil")

    @hookimpl
    def capabilities() -> CapabilityMatrix:
        return CapabilityMatrix(models=())

    made.capabilities, made.check_job = capabilities, hookimpl(hook)  # type: ignore[attr-defined]
    registry = Registry()
    registry.register("evil", made)
    return registry


async def check(hook: Any) -> Any:
    return await module(hook).call("evil", "check_job", job=Job(id="1"), context=Context(backend="evil"))


@pytest.mark.parametrize("name", EVIL)
def test_error_every_field_is_sanitized(name: str) -> None:
    evil = EVIL[name]
    errors: list[MediaError] = [
        BackendUnavailable(evil, fix=evil, request_id=evil),
        ContentRefused(evil, reason=evil),
        InvalidRequest([Problem(evil, evil, evil)] * 50, fix=evil),
    ]
    for error in errors:
        assert clean_error(error) is error
        for text in [str(error.message), *texts(error.to_json())]:
            is_clean(text, 22_000 if isinstance(error, InvalidRequest) else 1_100)
        is_clean(repr(error), 45_000)


@pytest.mark.parametrize("name", EVIL)
def test_result_every_text_is_sanitized(name: str) -> None:
    evil = EVIL[name]
    outcome = Outcome(
        pieces=(Piece(data=b"\0raw\x1b", mime=evil, text=evil),),
        warnings=(evil,) * 100,
        request_id=evil,
        continued_as=evil,
        usage={evil: {"deep": [evil, {evil: 3}]}, "tokens": 12, "cost": 0.5},
    )
    done = clean_returned(Succeeded(outcome=outcome)).outcome
    assert done.pieces[0].data == b"\0raw\x1b"
    assert len(done.warnings) == 20
    assert done.usage["tokens"] == 12
    for text in (done.pieces[0].mime, *done.warnings, done.request_id, done.continued_as, *texts(dict(done.usage))):
        is_clean(text)
    is_clean(done.pieces[0].text, 10_000)
    is_clean(clean_returned(Running(note=evil)).note)
    is_clean(clean_returned(Failed(error=BackendUnavailable(evil))).error.message)
    (listed,) = clean_returned((ListedModel(id=evil, retires=evil, notes=(evil,)),))
    for text in (listed.id, listed.retires, *listed.notes):
        is_clean(text)
    noted: list[str] = []
    Context(backend="evil", on_progress=lambda fraction, note: noted.append(note)).progress(0.5, evil)
    is_clean(noted[0])


def test_result_already_clean_is_same_object() -> None:
    outcome = Outcome(pieces=(Piece(data=b"x", mime="image/png", text="a fox"),), warnings=("it is small",), usage={"a": [1, {"b": None}]})
    state = Running(note="rendering", progress=0.5)
    job = Job(id="a\nb")  # a handle, read by the provider only
    assert clean_returned(outcome) is outcome
    assert clean_returned(state) is state
    assert clean_returned(job) is job


@pytest.mark.anyio
async def test_sdk_exception_is_dropped_with_frames() -> None:
    class SdkError(Exception):
        def __init__(self, text: str) -> None:
            super().__init__(text)
            self.request = {"authorization": KEY}

    async def check_job(job: Any, context: Any) -> Any:
        headers = {"authorization": f"Bearer {KEY}"}
        try:
            raise SdkError(f"{headers} {SIGNED}\n\x1b[31m")
        except SdkError as error:
            raise BackendUnavailable("it is down") from error

    with pytest.raises(BackendUnavailable) as caught:
        await check(check_job)
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "CANARY" not in shown
    assert "SdkError" in shown  # class, text and position
    assert "test_plugin_sanitize.py:" in shown
    assert not any(isinstance(e, SdkError) for e in (caught.value.__cause__, caught.value.__context__))


@pytest.mark.anyio
@pytest.mark.parametrize("error", [KeyError("a"), ValueError(KEY), TimeoutError(), RuntimeError("\x1b[31m\nanymedia: done")])
async def test_foreign_exception_becomes_plugin_raised(error: Exception) -> None:
    async def check_job(job: Any, context: Any) -> Any:
        raise error

    with pytest.raises(PluginRaised, match=f"'evil' raised {type(error).__name__}") as caught:
        await check(check_job)
    assert isinstance(caught.value, PluginContractError)
    is_clean(str(caught.value))
    assert "CANARY" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.anyio
async def test_exception_without_text_is_named_by_class() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    async def check_job(job: Any, context: Any) -> Any:
        raise Mute

    with pytest.raises(PluginRaised, match="raised Mute"):
        await check(check_job)


NOTHING: Any = None


@pytest.mark.anyio
@pytest.mark.parametrize(
    "mistake", [lambda: {}["image"], lambda: NOTHING["image"], lambda: base64.b64decode("a")], ids=["key", "none", "value"]
)
async def test_submission_block_bug_is_reported_with_position(mistake: Any) -> None:
    context = Context(backend="careless")
    with pytest.raises(SubmissionUnknown) as caught:
        async with context.submission():
            mistake()
    assert caught.value.delivery == "unknown"
    assert "no answer came back" not in caught.value.message
    kind = type(caught.value.__cause__).__name__
    message = caught.value.message
    assert re.search(rf"'careless' raised {kind}: .+ \((test_plugin_sanitize|base64)\.py:\d+\)$", message), message


@pytest.mark.anyio
@pytest.mark.parametrize("error", [ConnectionResetError("gone"), TimeoutError(), ClientError("gone")], ids=lambda e: type(e).__name__)
async def test_submission_block_transport_error_is_unknown_delivery(error: Exception) -> None:
    with pytest.raises(SubmissionUnknown, match=rf"^no answer came back \({type(error).__name__}\)$"):
        async with Context(backend="careless").submission():
            raise error


@given(st.text(max_size=300))
def test_text_any_content_is_sanitized(text: str) -> None:
    error = clean_error(BackendUnavailable(text, fix=text))
    assert error.message.isprintable()
    assert error.fix.isprintable()


def test_text_of_a_megabyte_is_cheap() -> None:
    begin = time.process_time()
    clean_error(BackendUnavailable("\x1b]" + "a\u202e" * 500_000))
    assert time.process_time() - begin < 20.0


def test_outcome_with_something_else_than_pieces_says_what_makes_one() -> None:
    picture = FoundMedia(data=b"x")
    with pytest.raises(TypeError, match=r"must be a Piece, not FoundMedia \(its to_piece\(\) makes one\)"):
        Outcome(pieces=[picture])  # type: ignore[list-item]
    assert len(Outcome(pieces=[picture.to_piece()]).pieces) == 1

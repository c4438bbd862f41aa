"""Rules about answers that are good but odd: media in any spelling, error envelopes of any shape, damaged containers.

A relay between the backend and its fake changes the answers, so that no author has to imitate them.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import http.client
import json
import re
import socket
import threading
from asyncio import run
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import attrs

from ..answers.base64_text import decode_base64
from ..errors import MediaError, UnknownModel
from ..hookspecs import ListedModel
from ..plugins.instances import COMPATIBLE
from ..probe.probe import format_of_head
from ..results import Result
from .cases import Case, CaseMaker, classes_of, rule
from .fakes import CANARY, LocalHandler, LocalServer, Scenario
from .harness import Bench, loaded_registry
from .operation_rules import check_media

#: The keys whose value is a mime type.
_MIME_KEYS = frozenset({"mime_type", "mimeType", "media_type", "mediaType", "content_type", "contentType"})


@attrs.define
class Answer:
    """An answer of the fake; changed in place."""

    method: str
    status: int
    headers: dict[str, str]
    body: bytes


class AnswerRelay(LocalServer):
    """Receives what the backend sends to local ports, asks the fake there, and changes its answers; a context manager.

    Only Python's sockets are rerouted: what a native library sends (gRPC) reaches the fake as it is.

    Args:
        edit: changes an answer; returns whether it did.
    """

    def __init__(self, edit: Callable[[Answer], bool]) -> None:
        self.edit = edit
        self.changed = 0
        self.own = threading.local()
        self.fakes = set(threading.enumerate()) - {threading.current_thread()}  # a fake may connect to itself
        super().__init__(_RelayHandler)

    @contextlib.contextmanager
    def rerouting(self) -> Iterator[None]:
        """Reroute the connections of this thread, and of threads that it starts, while the block runs."""

        def rerouted(name: str) -> Callable[[socket.socket, Any], Any]:
            real = getattr(socket.socket, name)

            def call(sock: socket.socket, address: Any) -> Any:
                is_ours = getattr(self.own, "on", False) or threading.current_thread() in self.fakes
                is_local = isinstance(address, tuple) and address[0] in {"127.0.0.1", "localhost"}
                return real(sock, address if is_ours or not is_local else self.server_address)

            return call

        with self, mock.patch.multiple(socket.socket, connect=rerouted("connect"), connect_ex=rerouted("connect_ex")):
            yield


class _RelayHandler(LocalHandler):
    server: AnswerRelay

    def answer(self) -> None:
        """Ask the fake, and answer what the edit makes of its answer."""
        self.server.own.on = True
        hop = {"content-length", "connection", "accept-encoding", "transfer-encoding"}
        headers = {n.lower(): v for n, v in self.headers.items() if n.lower() not in hop}
        with contextlib.closing(http.client.HTTPConnection(headers.pop("host"), timeout=60)) as fake:
            fake.request(self.command, self.path, self.body() or None, headers)
            found = fake.getresponse()
            kept = {n.lower(): v for n, v in found.getheaders() if n.lower() not in hop}
            answer = Answer(self.command, found.status, kept, found.read())
        self.server.changed += self.server.edit(answer)
        self.send(answer.status, answer.headers, answer.body)


def _media_of(text: Any) -> bytes | None:
    """Return the media that a base64 text of an answer holds."""
    if not isinstance(text, str) or len(text) < 64 or text.startswith(("http:", "https:")):
        return None
    with contextlib.suppress(ValueError):
        data = decode_base64(text)
        return data if format_of_head(data) is not None else None
    return None


def _media_in(node: Any) -> Iterator[tuple[Any, Any, bytes]]:
    """Yield (holder, key, media) for each text with media in decoded JSON."""
    items: list[tuple[Any, Any]] = list(node.items()) if isinstance(node, dict) else list(enumerate(node)) if isinstance(node, list) else []
    for key, value in items:
        if (media := _media_of(value)) is not None:
            yield node, key, media
        else:
            yield from _media_in(value)


def _edit_json(answer: Answer, change: Callable[[Any, Any, bytes], None]) -> bool:
    """Call ``change(holder, key, media)`` for each text with media in the JSON of an answer; return whether there is one."""
    try:
        tree = json.loads(answer.body)
    except ValueError:
        return False
    found = list(_media_in(tree))
    for place in found:
        change(*place)
    answer.body = json.dumps(tree).encode() if found else answer.body
    return bool(found)


def _lines(text: str, between: str, width: int = 76) -> str:
    return between.join(re.findall(f".{{1,{width}}}", text))


def _spelled(name: str, media: bytes) -> str:
    plain = base64.b64encode(media).decode()
    url_safe = plain.translate(str.maketrans("+/", "-_"))
    mime = f"image/{format_of_head(media)}"
    return {
        "data_url": f"data:{mime};base64,{plain}",
        "data_url_with_charset": f"DATA:{mime};charset=utf-8;BASE64,{plain.rstrip('=')}",
        "head_without_scheme": f"{mime};base64,{plain}",
        "crlf_lines": _lines(plain, "\r\n") + "\r\n",
        "unpadded": plain.rstrip("="),
        "url_safe": url_safe,
        "url_safe_unpadded_lines": _lines(url_safe.rstrip("="), "\n", 64),
        "percent_encoded": f"data:{mime};base64," + plain.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D"),
        "joined_parts": base64.b64encode(media[:1000]).decode() + base64.b64encode(media[1000:]).decode(),
    }.get(name, plain)


def _respell(name: str, answer: Answer) -> bool:
    """Spell media, or their mime types, in another way."""
    mime = {"no_mime": None, "generic_mime": "application/octet-stream", "wrong_mime": "text/html; charset=utf-8"}

    def change(holder: Any, key: Any, media: bytes) -> None:
        holder[key] = _spelled(name, media)
        if isinstance(holder, dict) and name in mime:
            holder.update(dict.fromkeys(_MIME_KEYS & holder.keys(), mime[name]))

    if answer.status != 200:
        return False
    if format_of_head(answer.body) is None:
        return _edit_json(answer, change)
    if name in mime:
        answer.headers.pop("content-type", None)
        answer.headers |= {"content-type": claimed} if (claimed := mime[name]) else {}
    return name in mime


def _enveloped(name: str, status: int, said: str) -> tuple[str, bytes]:
    """Return the type and the body of an error that says something."""
    inner = {"code": status, "message": said, "type": "invalid_request_error", "param": None}
    page = f"<!DOCTYPE html><html><head><title>{said}</title></head><body><h1>{status}</h1></body></html>"
    texts = {
        "plain_text": ("text/plain", said),
        "html": ("text/html", page),
        "xml": ("application/xml", f"<?xml version='1.0'?><Error><Code>Refused</Code><Message>{said}</Message></Error>"),
        "event_stream": ("text/event-stream", f"event: error\ndata: {json.dumps({'error': inner})}\n\ndata: [DONE]\n\n"),
    }
    if name in texts:
        kind, text = texts[name]
        return kind, text.encode()
    trees: Mapping[str, Any] = {
        "error_object": {"error": inner},
        "error_text": {"error": said},
        "error_code_and_message": {"error": "refused_by_rules", "message": said},
        "message": {"message": said, "statusCode": status},
        "detail": {"detail": said},
        "detail_list": {"detail": [{"loc": ["body", "prompt"], "msg": said, "type": "value_error"}]},
        "errors": {"errors": [{"message": said, "code": "E17"}]},
        "error_texts": {"success": False, "errors": [said]},
        "errors_by_field": {"errors": {"prompt": [said]}},
        "problem": {"type": "about:blank", "title": "Bad request", "status": status, "detail": said},
        "name_and_message": {"name": "validation_error", "message": said, "statusCode": status},
        "list": [{"error": inner}],
        "json_in_text": {"error": {"message": json.dumps({"error": inner}), "code": str(status)}},
        "wrapped_by_a_gateway": {"error": {"message": "Provider returned error", "metadata": {"raw": json.dumps({"error": inner})}}},
        "object_in_200": {"error": inner},
        "text_in_200": {"error": said},
    }
    return "application/json", json.dumps(trees[name]).encode()


def _envelop(name: str, said: str, answer: Answer) -> bool:
    if answer.method != "POST" or answer.status < 400:
        return False
    kind, answer.body = _enveloped(name, answer.status, said)
    answer.headers = {"content-type": kind}
    answer.status = 200 if name.endswith("_in_200") else answer.status
    return True


def _reword(words: str, answer: Answer) -> bool:
    """Say something else, and the key, in place of the provider's words in a status."""
    old, new = (json.dumps(text)[1:-1].encode() for text in (words, f"{_SAID}, {CANARY}"))
    if answer.method != "GET" or old not in answer.body:
        return False
    answer.body = answer.body.replace(old, new)
    return True


def _damaged(name: str, media: bytes) -> bytes:
    if name == "cut":
        return media[: len(media) * 3 // 5]
    if name in {"streamed_zero", "streamed_open"} and media[:4] == b"RIFF" and (at := media.find(b"data")) > 0:
        size = bytes(4) if name == "streamed_zero" else b"\xff" * 4
        return media[:4] + size + media[8 : at + 4] + size + media[at + 8 :]
    return media + {"line_break": b"\r\n", "zeros": bytes(7), "text": b"\n<!-- cached -->\n"}.get(name, b"")


def _damage(name: str, answer: Answer) -> bool:
    if answer.status != 200:
        return False
    changed: list[bool] = []

    def change(holder: Any, key: Any, media: bytes) -> None:
        bad = _damaged(name, media)
        changed.append(bad != media)
        holder[key] = base64.b64encode(bad).decode()

    if format_of_head(answer.body) is None:
        _edit_json(answer, change)
        return any(changed)
    before, answer.body = answer.body, _damaged(name, answer.body)
    return answer.body != before


#: A provider's message, as no code of ours would word it, with the key that providers echo.
_SAID = "The heliotrope otter declines to paint"


def _fail(answer: Answer) -> bool:
    answer.status, answer.body, answer.headers = 503, b'{"error": "down for maintenance"}', {"content-type": "application/json"}
    return True


def _check_words(bench: Bench, error: MediaError) -> None:
    assert _SAID in error.provider_message, f"the provider's words were lost: {error.provider_message!r} in {error!r}"
    for text in (error.provider_message, error.message, error.fix):
        assert CANARY not in text, f"the key that the provider repeated appears in: {text}"
    assert _SAID not in error.fix, f"fix contains the provider's own words: {error.fix}"
    assert bench.submits() == 1, f"{bench.submits()} submits for one call"


class AnswerRules(CaseMaker):
    """What was paid for arrives, and the provider's words and lists do."""

    @contextlib.contextmanager
    def _relayed(self, case: Case, edit: Callable[[Answer], bool], scenario: Scenario = "success") -> Iterator[tuple[Bench, AnswerRelay]]:
        with self.wire(scenario, case.service) as wire:
            relay = AnswerRelay(edit)
            with relay.rerouting(), self.over(case, wire) as bench:
                yield bench, relay

    @rule("C14", per="spelling")
    def test_c14_media_arrive_however_they_are_spelled(self, case: Case) -> None:
        """If this fails: find the media with ``anymedia.answers.media.extract_media``, which reads every spelling."""
        with self._relayed(case, functools.partial(_respell, case.subject)) as (bench, relay):
            made = run(bench.outcome())
            if not relay.changed and isinstance(made, Result):
                return  # its media come as bytes
            assert isinstance(made, Result), f"media spelled as {case.subject!r} were not delivered: {type(made).__name__}: {made}"
            check_media(made, case)
            assert bench.submits() == 1, f"{bench.submits()} submits for one call"

    @rule("C15", per="envelope")
    def test_c15_words_of_the_provider_arrive_from_every_envelope(self, case: Case) -> None:
        """If this fails: translate failed answers with ``anymedia.http.answered_error``, and answers without media with ``no_media``."""
        if case.shape.operation in self.refused_in_status:
            self._check_words_in_a_status(case)
            return
        with self._relayed(case, lambda answer: _envelop(case.subject, said, answer), "refused") as (bench, relay):
            has_key = any(CANARY in value for value in bench.wire.environ.values())
            said = f"{_SAID}, {CANARY}" if has_key else _SAID
            error = run(bench.outcome())
            assert relay.changed, "the refused scenario answered no POST with a status of 400 or above"
            assert isinstance(error, MediaError), f"an error in the envelope {case.subject!r} was taken for a success: {error}"
            _check_words(bench, error)
            charged = {"no", "unknown"} if case.subject.endswith("_in_200") else {"no"}
            assert error.charged in charged, f"charged is {error.charged!r}, but the service answered with an error"

    def _check_words_in_a_status(self, case: Case) -> None:
        """A service that refuses in a job's status words it there: with other words, and the key, the error has these."""
        with self._relayed(case, lambda answer: False, "refused") as (bench, _):
            first = run(bench.outcome())
        assert isinstance(first, MediaError), "the refused scenario succeeded: does the wire play it in the job's status?"
        assert first.provider_message, f"provider_message is empty, the provider's own words are lost: {first}"
        with self._relayed(case, functools.partial(_reword, first.provider_message), "refused") as (bench, relay):
            error = run(bench.outcome())
            assert relay.changed, f"no status check of the refused scenario was answered with {first.provider_message!r}"
            assert isinstance(error, MediaError), f"a refusal in other words was taken for a success: {error}"
            _check_words(bench, error)
            assert error.charged != "no" or first.charged == "no", "whether a refusal is charged depends on its words"

    @rule("C16", per="damage")
    def test_c16_imperfect_media_are_delivered_or_kept(self, case: Case) -> None:
        """If this fails: return the provider's bytes as they are; the core repairs what can be, and keeps the rest."""
        with self._relayed(case, functools.partial(_damage, case.subject)) as (bench, relay):
            made = run(bench.outcome())
            assert bench.submits() == 1, f"{bench.submits()} submits for one call"
            if isinstance(made, Result):
                if relay.changed and case.subject != "cut":
                    check_media(made, case)
                return
            assert relay.changed, f"{type(made).__name__}: {made}"
            assert case.subject == "cut", f"media with {case.subject!r} were not delivered: {type(made).__name__}: {made}"
            assert made.charged in {"yes", "unknown"}, f"charged is {made.charged!r}, but the service made it"
            can_resume = made.action is not None and made.action.action == "resume"  # the service has it under its link
            assert made.kept or can_resume, f"the bytes that were paid for are lost: {type(made).__name__}: {made}"
            assert can_resume or Path(made.kept).stat().st_size, f"{made.kept} is empty"

    @rule("C17", per="service")
    def test_c17_list_of_models_can_be_merged(self, case: Case) -> None:
        """If this fails: ``list_models`` returns what the service lists, raises where that does not answer, and submits nothing."""
        if "list_models" not in loaded_registry().plugins[self.backend].hooks or case.service == COMPATIBLE:
            return
        with self.bench(case) as bench:
            found = run(bench.listed())
            assert found, "the list is empty: every shipped model would count as no longer served"
            assert bench.submits() == 0, f"listing the models made {bench.submits()} submits"
            described = any(model.row for model in found) and not any(cls.listed for cls in classes_of(self.backend))
            assert not described, "list_models describes models: have them tested, with `listed = True` on a test class"
            if loaded_registry().capabilities(self.backend).on_demand:
                self._check_on_demand(bench, found)
        with self._relayed(case, _fail) as (bench, relay), contextlib.suppress(MediaError):
            found = run(bench.listed())
            assert not relay.changed, f"a service that answered 503 to everything was taken for a list of {len(found)} models"

    def _check_on_demand(self, bench: Bench, found: Sequence[ListedModel]) -> None:
        """With ``on_demand``, ``context.model`` names the only model that is wanted, and one that does not exist is not an error."""
        one = next((model for model in found if model.row), found[0])
        again = run(bench.listed(one.id))
        assert [model.id for model in again] == [one.id], f"asked for {one.id!r} alone, list_models returned {len(again)} models"
        assert again[0].row == one.row, f"{one.id!r} alone is described in another way than in the list"
        with contextlib.suppress(UnknownModel):
            assert not run(bench.listed("no-such/model")), "list_models returned a model that the service does not have"
        assert bench.submits() == 0, "reading a model made a submit"

"""Read what a provider says in an error, whatever envelope it comes in.

Understood are ``error`` as a text or an object, ``message``, ``detail`` as a text or a list, ``errors``, ``title``, ``name``,
``finishMessage``, filter results, JSON inside of a text, event streams, XML, HTML pages and plain text. What is in no
known place is quoted as it is, so that a reason is never lost.
"""

from __future__ import annotations

import ast
import html
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

import attrs

from ..redaction import clean_text

#: Characters of a provider's message that are kept, and of a code.
_MESSAGE, _CODE = 1_000, 120
#: The most bytes of a body that are read; an error is not longer.
_MOST = 256 * 1024
_DEEPEST, _MOST_PARTS, _MOST_NODES = 8, 12, 1_000

#: Keys that hold the words themselves, or another object with them; in the order in which they are quoted.
_WORDS = (
    "title", "error", "message", "msg", "error_message", "error_msg", "error_description", "detail", "details", "errors", "description",
    "exception", "fault", "cause", "failure", "failure_reason", "finish_message", "block_reason_message", "rai_filtered_reason",
    "rai_media_filtered_reasons", "refusal", "status_message", "reason", "warnings",
)  # fmt: skip
#: Keys below which an error may stand, too.
_BELOW = (
    "inner_error", "metadata", "raw", "body", "response", "candidates", "prompt_feedback", "incomplete_details", "choices",
    "moderation_details", "data", "result", "output", "meta", "content", "base_resp", "response_metadata", "field_violations",
    "violations", "last_error", "status_details", "node_errors", "artifacts", "predictions",
)  # fmt: skip
#: Keys that hold a code, used as words where there are none.
_CODES = (
    "code", "type", "status", "error_type", "error_code", "reason", "name", "finish_reason", "block_reason", "moderation_stage", "title",
    "error",
)  # fmt: skip
#: Keys of the items that are made, each of which may have been refused.
_ITEMS = ("candidates", "choices", "data", "artifacts", "images", "predictions")
#: What some services call these keys.
_ALIASES = {"err": "error", "odataerror": "error", "errmsg": "error_message", "faultstring": "message", "statusmsg": "status_message"}
_ALIASES |= {"errcode": "error_code", "fault_code": "code", "usermessage": "message", "info": "description"}
_ALIASES |= dict.fromkeys(("failreason", "failmsg"), "failure_reason")
_NAMED = ("code", "error_code", "type", "error_type", "name", "param", "field", "moderation_stage")
_FILTERS = ("content_filter_result", "content_filter_results", "content_filter", "safety_ratings")
#: A key's letters and digits -> the spelling that is looked for.
_SPELLINGS = {"".join(c for c in key.lower() if c.isalnum()): key for key in (*_WORDS, *_BELOW, *_CODES, *_NAMED, *_FILTERS)} | _ALIASES
#: What stands around an answer, and what an event stream starts with.
_AROUND, _EVENT = "\ufeff\0 \t\r\n", ("data:", "event:", "id:", "retry:", ":")
_ENCODED = re.compile(r"[A-Za-z0-9+/_=-]{160,}")
_CODE_LIKE = re.compile(r"[A-Za-z][\w.\-/]{1,79}")
_VALUE = re.compile(r"\s*([{\[\"])")
_DAMAGED = re.compile(r'"(?:message|detail|msg|error|error_message|title)"\s*:\s*"((?:[^"\\]|\\.){1,4000})')
_XML = re.compile(
    r"<(?:\w+:)?(?P<tag>code|message|faultstring|error_?description|description|detail|reason)\b[^>]*>"
    r"\s*(?:<!\[CDATA\[)?(?P<text>[^<]{1,4000}?)(?:\]\]>)?\s*</(?:\w+:)?(?P=tag)>",
    re.IGNORECASE,
)
_XML_TAGS = ("message", "faultstring", "error_description", "errordescription", "description", "detail", "reason", "code")
_HTML = re.compile(r"\s*(?:<!--.{0,2000}?-->\s*)?<(?:!doctype html|html|head|body|title|center|h1)\b", re.IGNORECASE | re.DOTALL)


@attrs.frozen(kw_only=True)
class AnsweredError:
    """What a provider says went wrong. Every text is third-party data: one line, redacted, cut.

    Attributes:
        text: the provider's message; empty where it gave none.
        code: its own code, or an empty string.
        type: its own type of error, or an empty string.
        param: the parameter that it names, or an empty string.
        status: the status number in the body, if any.
        codes: every code in the envelope, in lower case without separators, the outermost first.
        labels: as ``codes``, with the texts of several words found in the place of one: for a plugin's own table.
        reasons: names of filters that matched.
        stage: ``input`` or ``output`` where the provider says which of them its moderation refused, or an empty string.
        form: how it came.
        whole: the object itself as text where none of its words stand in a known place, or an empty string.
        is_error: whether the body itself says that it is an error, whatever the HTTP status.
    """

    text: str = ""
    code: str = ""
    type: str = ""
    param: str = ""
    status: int | None = None
    codes: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    stage: str = ""
    form: Literal["json", "html", "xml", "text", "empty"] = "empty"
    whole: str = ""
    is_error: bool = False

    @property
    def quoted(self) -> str:
        """The provider's message marked as foreign: ``the provider says: “...”``, or an empty string."""
        return quote(self.text or self.code)


def quote(text: str) -> str:
    """Quote a provider's words inside one of our sentences; they cannot close the quotation."""
    inner = _shown(text).replace("\u201c", '"').replace("\u201d", '"')
    return f"the provider says: \u201c{inner}\u201d" if inner else ""


def _shown(text: str) -> str:
    """Return a provider's words without what no one reads: the base64 of an input that is repeated in them."""
    return clean_text(_ENCODED.sub("(...)", text[:_MOST]), _MESSAGE)


def documents(body: bytes) -> list[Any]:
    """Return the JSON values of an answer, the last first; none where it is not JSON.

    Read are all encodings of Unicode, with a byte order mark or without; line breaks in texts; JSON lines; event streams, whose last
    event follows drafts; and values that something else follows.
    """
    try:
        return [json.loads(body, strict=False)]
    except (ValueError, RecursionError):
        pass
    text = body.decode(json.detect_encoding(body), "replace").strip(_AROUND)
    decoder, found, at = json.JSONDecoder(strict=False), [], 0
    if text.startswith(_EVENT):
        text = "".join(line[5:] for line in text.splitlines() if line.startswith("data:"))
    try:
        while start := _VALUE.match(text, at):
            value, at = decoder.raw_decode(text, start.start(1))
            found.append(value)
    except (ValueError, RecursionError):
        pass
    return found[::-1]


def read_error(body: Any) -> AnsweredError:
    """Read an error's body.

    Args:
        body: bytes or text as received, decoded JSON, or an SDK's object with attributes.

    Returns:
        What it says. An answer without any error gives one with ``is_error=False``.
    """
    form: Literal["json", "html", "xml", "text", "empty"] = "json"
    if isinstance(body, bytes | bytearray | memoryview):
        head = bytes(body[:_MOST])
        body = head.decode(json.detect_encoding(head), "replace")
    if isinstance(body, str):
        body = body[:_MOST].strip(_AROUND)
        form, loaded = _form_of(body)
        if form != "json":
            codes = tuple(_plain(found) for found in _xml_parts(body, "code")) if form == "xml" else ()
            return AnsweredError(text=_shown(loaded), codes=codes, labels=codes, form=form)
        body = loaded
    return _of_object(body)


def _of_object(received: Any) -> AnsweredError:
    body = _canonical(received)
    nodes = list(itertools.islice(_objects(body), _MOST_NODES))
    strings = {key: _first(nodes, key) for key in _NAMED}
    codes = [_plain(value) for node in nodes for key in _CODES if (value := _code(_member(node, key)))]
    texts = [_text(_member(node, key)) for node in nodes for key in _CODES]
    labels = [plain for text in texts if len(text) <= _CODE and (plain := _plain(text))]
    codes += ["moderated" for node in nodes if "moderated" in _plain(_text(_member(node, "status")))]
    codes += ["refusal" for node in nodes if _text(_member(node, "refusal"))]
    worded = _first(nodes, "error", lambda code: "_" in code)
    numbers = (_number(_member(node, key)) for node in nodes for key in ("code", "status", "status_code"))
    text = _words(body, 0, iter(range(_MOST_NODES)))
    whole = "" if text else _shown(_dumped(received))
    return AnsweredError(
        text=_shown(text) or (whole if _admits(body) else ""),
        whole=whole,
        code=strings["code"] or strings["error_code"] or worded or strings["name"] or _first(nodes, "status", str.isupper),
        type=strings["error_type"] or strings["type"],
        param=strings["param"] or strings["field"],
        status=next((number for number in numbers if number is not None and 100 <= number < 600), None),
        codes=tuple(dict.fromkeys(codes)),
        labels=tuple(dict.fromkeys([*labels, *codes])),
        reasons=tuple(dict.fromkeys(reason for node in nodes for reason in _reasons(node))),
        stage=strings["moderation_stage"],
        form="json",
        is_error=_admits(body) or "refusal" in codes,
    )


def _form_of(text: str) -> tuple[Literal["json", "html", "xml", "text", "empty"], Any]:
    if not text:
        return "empty", ""
    if _HTML.match(text[:4096]):
        return "html", _title(text)
    if (loaded := _loaded(text)) is not None:
        return "json", loaded
    if text[:1] == "<" and (parts := next(filter(None, (_xml_parts(text, tag) for tag in _XML_TAGS)), None)):
        return "xml", ": ".join(parts)
    if text[:1] in "{[" and (found := _DAMAGED.search(text)):
        return "text", _unescaped(found[1])
    return "text", text


def _title(text: str) -> str:
    """Return what an HTML page is called, and its first heading where that says something else; all its words if that is too little."""
    text = text[:20_000]
    found = [re.search(rf"<{tag}\b[^>]*>(.{{0,2000}}?)</{tag}>", text, re.IGNORECASE | re.DOTALL) for tag in ("title", "h1")]
    parts = [" ".join(html.unescape(re.sub(r"<[^>]*>", " ", part[1])).split()) for part in found if part is not None]
    if len(" ".join(parts).split()) < _FEW_WORDS:
        visible = re.sub(r"<(script|style)\b.*?</\1>|<[^>]*>", " ", text, flags=re.IGNORECASE | re.DOTALL)
        parts = [" ".join(html.unescape(visible).split())]
    return _joined(parts)


#: A title that is no longer is a number or "Error".
_FEW_WORDS = 3


def _xml_parts(text: str, tag: str) -> list[str]:
    return [html.unescape(found["text"].strip()) for found in _XML.finditer(text) if found["tag"].lower() == tag]


def _unescaped(text: str) -> str:
    try:
        return str(json.loads(f'"{text}"'))
    except ValueError:
        return text


def _loaded(text: str) -> Any:
    """Return the JSON that a text is, or the JSON object that stands somewhere in it; None where there is none."""
    if text.startswith(_EVENT):
        return _event(text)
    start = re.search(r"[{\[]", text)
    if text[:1] == '"' and text[-1:] == '"':
        return _json(text)
    if start is None:
        return None
    found = _json(text[start.start() :])
    if not isinstance(found, dict | list) or not found:
        return None
    if "\n{" in text and not _admits(_canonical(found)):  # JSON lines
        found = next((line for text in text.splitlines() if _admits(_canonical(line := _json(text)))), found)
    return found if start.start() == 0 or not _is_list_of_plain(found) else None


def _is_list_of_plain(found: Any) -> bool:
    return isinstance(found, list) and not any(isinstance(item, dict) for item in found)


def _event(text: str) -> Any:
    """Return the first error in a stream of events, or else its last object."""
    found = [node for line in text.splitlines() if line.startswith("data:") if (node := _json(line[5:].strip())) is not None]
    return next((node for node in found if _admits(_canonical(node))), found[-1] if found else None)


def _canonical(node: Any, depth: int = 0) -> Any:
    """Return decoded JSON whose keys that matter here are spelled as here."""
    if depth > _DEEPEST:
        return node
    if isinstance(node, list):
        return [_canonical(item, depth + 1) for item in node]
    if not isinstance(node, Mapping):
        return node
    found = {key: _canonical(value, depth + 1) for key, value in node.items()}
    if isinstance(nodes := found.get("node_errors"), dict):  # by the numbers of a workflow's nodes
        found["node_errors"] = list(nodes.values())
    spelled = {_SPELLINGS.get(_plain(str(key)), key): value for key, value in found.items()}
    return spelled | {key: value for key, value in found.items() if key in spelled}


def _member(node: Any, key: str) -> Any:
    """Return a member of decoded JSON, which is spelled as here, or of an SDK's object, which may be spelled or hold JSON that is not."""
    if isinstance(node, Mapping):
        return node.get(key)
    joined = key.title().replace("_", "")
    names = dict.fromkeys((key, key[0] + joined[1:], joined.lower()))  # finish_reason, finishReason, innererror
    return _canonical(next((found for name in names if (found := child(node, name)) is not None), None))


def _json(text: str) -> Any:
    """Return the value at the start of a text, as JSON or as Python writes it."""
    try:
        return json.JSONDecoder().raw_decode(text)[0]
    except (ValueError, RecursionError):
        pass
    end = text.rfind("}") + 1
    if text[:1] != "{" or not 0 < end <= 20_000:
        return None
    try:
        return ast.literal_eval(text[:end])
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _objects(node: Any, depth: int = 0) -> Iterator[Any]:
    """Yield every object of an envelope that may carry a code, the outermost first."""
    if depth > _DEEPEST:
        return
    if isinstance(node, str):
        node = _canonical(_loaded(node.strip()[:_MOST])) if "{" in node else None
    if (listed := items_of(node)) is not None:
        for item, _ in zip(listed, range(_MOST_PARTS), strict=False):
            yield from _objects(item, depth + 1)
    elif is_object(node):
        yield node
        for key in dict.fromkeys((*_WORDS, *_BELOW)):
            if not isinstance(below := _member(node, key), int | float | type(None)):
                yield from _objects(below, depth + 1)


def _words(node: Any, depth: int, left: Iterator[int]) -> str:
    """Return the words in a node and below it; ``left`` counts how many more nodes are read."""
    if depth > _DEEPEST or next(left, None) is None:
        return ""
    if isinstance(node, str):
        loaded = _canonical(_loaded(node.strip()[:_MOST])) if "{" in node else None
        return (_words(loaded, depth + 1, left) if loaded is not None else "") or _of_text(node)
    if (listed := items_of(node)) is not None:
        return _joined([_words(item, depth + 1, left) for item, _ in zip(listed, range(_MOST_PARTS), strict=False)], "; ")
    if not is_object(node):
        return ""
    parts = [
        _words(below, depth + 1, left) or _by_field(below, depth + 1, left) for key in _WORDS if (below := _member(node, key)) is not None
    ]
    parts += [_words(below, depth + 1, left) for key in _BELOW if _may_be_words(key, below := _member(node, key))]
    if any(part and not _is_name(part) for part in parts):
        parts = [part for part in parts if not _is_name(part)]  # a code beside a message
    text = _joined(parts)
    if not text:
        text = next((found for key in ("name", "block_reason") if (found := _text(_member(node, key)))), "")
    return _located(node, text)


def _may_be_words(key: str, value: Any) -> bool:
    """Whether what stands at one of `_BELOW` is to be read: an object, or a sentence of a JSON-RPC error; no media."""
    return not isinstance(value, str) or key == "raw" or (key == "data" and len(value) < _MESSAGE and " " in value.strip())


def _is_name(text: str) -> bool:
    return "_" in text and _CODE_LIKE.fullmatch(text) is not None


def _of_text(text: str) -> str:
    return _title(text) if _HTML.match(text[:4096]) else text.strip()


def _by_field(node: Any, depth: int, left: Iterator[int]) -> str:
    """Return the words of an object that maps the names of fields to what is wrong with them."""
    if not isinstance(node, Mapping) or not all(isinstance(text, str) for value in node.values() for text in _listed(value)):
        return ""
    if any(key in _CODES or key.startswith("@") for key in map(str, node)):
        return ""
    return _joined([f"{key}: {found}" for key, value in node.items() if (found := _words(value, depth + 1, left))], "; ")


def _located(node: Any, text: str) -> str:
    """Put the field before the words where the object says which one it is."""
    where = items_of(_member(node, "loc"))
    if not text or where is None:
        return text
    path = ".".join(str(part) for part in where if part not in ("body", "query"))
    return f"{path}: {text}" if path else text


def _joined(parts: list[str], between: str = ": ") -> str:
    """Join texts, each of them once; what another one contains is left out."""
    kept: list[str] = []
    for part in (part.strip() for part in parts):
        if part and not any(part in other for other in kept):
            kept = [other for other in kept if other not in part] + [part]
    return between.join(kept)


def _dumped(body: Any) -> str:
    try:
        return json.dumps(body, ensure_ascii=False, default=str) if body else ""
    except (ValueError, TypeError, RecursionError):
        return ""


def _admits(body: Any) -> bool:
    """Whether a body says by itself that it is an error."""
    if not is_object(body):
        return False
    error, errors = _member(body, "error"), _member(body, "errors")
    if error not in (None, False, "", 0, [], {}) or (errors is not None and items_of(errors) != [] and errors not in ("", {}, ())):
        return True
    if is_object(_member(body, "fault")) or any(_member(body, key) is False for key in ("success", "ok")):
        return True
    state = {_plain(_text(_member(body, key))) for key in ("status", "type", "object", "state", "task_status")}
    if state & {"error", "failed", "failure", "rejected", "blocked"} or any("moderated" in one for one in state):
        return True
    if any(_failed_number(_member(body, key)) and _words(body, 0, iter(range(_MOST_NODES))) for key in ("code", "error_code")):
        return True
    if any(_admits(_member(body, key)) for key in ("output", "response", "response_metadata", "prompt_feedback")):
        return True
    if is_object(base := _member(body, "base_resp")) and _failed_number(_member(base, "status_code")):
        return True
    if any(_text(_member(body, key)) for key in ("rai_filtered_reason", "refusal", "block_reason")) or _finished_badly(body):
        return True
    code = _code(_member(body, "code"))
    if code and _text(_member(body, "message")) and not _plain(code).startswith(("success", "ok")):
        return True
    items = [item for key in _ITEMS for item in _listed(_member(body, key)) if is_object(item)]
    return any(_finished_badly(item) or _text(_member(_member(item, "message"), "refusal")) for item in items)


def _failed_number(value: Any) -> bool:
    """Whether a service's own number says that a request failed: none of 0, 1 and 2xx."""
    number = _number(value)
    return number is not None and number not in {0, 1} and not 200 <= number < 300


def _finished_badly(body: Any) -> bool:
    reason = _plain(_code(_member(body, "finish_reason")))
    return any(word in reason for word in ("safety", "filter", "prohibited", "recitation", "blocklist", "spii", "refus", "imageother"))


def _first(nodes: list[Any], key: str, is_wanted: Callable[[str], bool] = bool) -> str:
    """Return the first code under a key that is wanted."""
    codes = (_code(_member(node, key)) for node in nodes)
    return next((clean_text(code, _CODE) for code in codes if code and is_wanted(code)), "")


def _code(value: Any) -> str:
    """Return a code as text: a short name; an enumeration's member by its value."""
    text = _text(value)
    return text if _CODE_LIKE.fullmatch(text) else ""


def _text(value: Any) -> str:
    value = getattr(value, "value", value)
    return value.strip() if isinstance(value, str) else ""


def _plain(code: str) -> str:
    return re.sub(r"[^a-z0-9]", "", code.lower())


def _number(value: Any) -> int | None:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value):
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _reasons(node: Any) -> Iterator[str]:
    """Yield the names of the filters that matched."""
    for key in _FILTERS:
        for results in _listed(_member(node, key)):
            if isinstance(results, Mapping):
                own = _text(results.get("category"))
                if own and (results.get("blocked") is True or results.get("filtered") is True):
                    yield clean_text(own, _CODE)
                for name, found in results.items():
                    if isinstance(found, Mapping) and (found.get("filtered") is True or found.get("detected") is True):
                        yield clean_text(name, _CODE)
    for key in ("categories", "reasons", "violations"):
        yield from (clean_text(found, _CODE) for found in _listed(_member(node, key)) if isinstance(found, str))


def _listed(value: Any) -> list[Any]:
    listed = items_of(value)
    return list(listed)[:50] if listed is not None else [] if value is None else [value]


_PLAIN = (str, bytes, bytearray, memoryview, int, float, bool, type(None))


def is_object(node: Any) -> bool:
    """Whether a node can have members: a mapping, or an object with attributes."""
    return isinstance(node, Mapping) or not (isinstance(node, _PLAIN) or items_of(node) is not None or callable(node))


def items_of(node: Any) -> Iterable[Any] | None:
    """Return the items of a list, a tuple or a repeated field; None for anything else."""
    if isinstance(node, list | tuple):
        return node
    if isinstance(node, (Mapping, *_PLAIN)) or not hasattr(type(node), "__getitem__"):
        return None
    return node if hasattr(type(node), "__len__") and hasattr(type(node), "__iter__") else None


def child(node: Any, name: str) -> Any:
    """Return a member of a node by its name, or None where it has none or does not give it away."""
    if isinstance(node, Mapping):
        return node.get(name)
    try:
        found = getattr(node, name, None)
    except (ValueError, RuntimeError):  # some SDKs raise instead of returning nothing
        return None
    return None if callable(found) else found

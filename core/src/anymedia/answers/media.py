"""Find the media in a decoded answer: the plugin names the places, this module reads what they hold.

    found = extract_media(answer, ["data[]"], base_url=connection.base_url)
    pieces = [item.to_piece() for item in found.items]

A place may hold a text (base64, a data URL, a link), bytes, an object with one of the usual keys, or a list of any of
them. Servers that imitate an API and gateways in front of one put media elsewhere, so the usual places are searched
where those of the plugin hold nothing. What was refused, or cannot be read, is reported beside what is good.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs
import msgspec

from ..media import FORMATS
from ..probe.probe import HEAD, format_of_head
from ..results import ContinuationData, Piece, Warning
from .base64_text import Base64Text, decode_base64, head_of_base64, split_data_url
from .envelopes import child, documents, is_object, items_of, read_error

#: Where services, gateways and wrappers put media; searched in this order where the plugin's own places hold nothing.
USUAL_PLACES: tuple[str, ...] = (
    "data[]",
    "images[]",
    "image",
    "artifacts[]",
    "generated_images[]",
    "generatedImages[]",
    "predictions[]",
    "candidates[].content.parts[]",
    "output[]",
    "outputs[]",
    "output.choices[].message.content[]",
    "output.results[]",
    "choices[].message.images[]",
    "choices[].message.content",
    "choices[].message.audio",
    "result",
    "results[]",
    "videos[]",
    "video",
    "generated_videos[]",
    "audio",
    "audios[]",
    "response",
    "data.data[]",
    "data.images[]",
    "body.data[]",
)

#: Keys whose value is the media itself.
_DATA_KEYS = (
    "b64_json", "base64", "b64", "image_base64", "imageBase64", "image_b64", "video_base64", "audio_base64", "bytesBase64Encoded",
    "bytes_base64_encoded", "image_bytes", "imageBytes", "video_bytes", "videoBytes", "audio_bytes", "audioBytes", "encodedVideo",
    "data", "result", "binary", "blob",
)  # fmt: skip
#: Keys whose value says where the media lies.
_LINK_KEYS = (
    "url", "image_url", "imageUrl", "video_url", "videoUrl", "audio_url", "audioUrl", "uri", "file_uri", "fileUri", "gcsUri",
    "download_url", "downloadUrl", "content_url", "href", "src", "unsigned_urls", "urls", "sample",
)  # fmt: skip
#: Keys whose value is an object that holds one of the others.
_HOLDERS = (
    "inline_data", "inlineData", "file_data", "fileData", "image", "images", "video", "audio", "output_image", "file", "source",
    "content", "parts",
)  # fmt: skip
_MIME_KEYS = ("mime_type", "mimeType", "media_type", "mediaType", "content_type", "contentType", "mime", "output_format", "format")
_TEXT_KEYS = ("revised_prompt", "revisedPrompt", "enhanced_prompt", "caption")
_GENERIC = {"", "application/octet-stream", "binary/octet-stream", "application/unknown", "application/x-binary", "text/plain"}
_GENERIC |= {"application/json", "text/html", "image/*", "video/*", "audio/*", "image", "video", "audio", "*/*"}
#: Format name -> mime type, those included that no model takes.
_MIMES = FORMATS | {"aiff": "audio/aiff", "heic": "image/heic", "jpg": "image/jpeg"}
#: Media in a text: an image of Markdown or HTML, or a data URL as it stands.
_IN_TEXT = re.compile(
    r"!\[[^\]]{0,500}\]\(\s*<?(?P<link>data:[^)>\s]+|https?://[^)>\s]+|/[^)>\s]+)"
    r"|<(?:img|video|audio|source)\b[^>]{0,500}?\bsrc\s*=\s*[\"']?(?P<source>[^\"'>\s]+)"
    r"|(?P<data>data:(?:image|video|audio)/[^,\s\"']{1,200};base64,[\w+/=%-]+)",
    re.IGNORECASE,
)
#: Places nested deeper than this are not media; and how many parts of an answer are looked at where no place is known.
_DEEPEST, _MOST_NODES = 6, 20_000
#: Names of what a service repeats from the request.
_INPUT = re.compile(
    r"input|init|mask|param|request|prompt|control|reference|original|thumb|preview|avatar|logo|icon|watermark", re.IGNORECASE
)


@attrs.frozen(kw_only=True)
class FoundMedia:
    """One image, video or sound that an answer holds or points to.

    Attributes:
        data: its bytes, decoded; None where it is only linked.
        url: where it lies, absolute.
        mime: what the bytes show; for a link, and where the bytes show nothing, what the answer claims; None if neither.
        text: what the service says about it (a revised prompt).
        place: the path in the answer, for messages.
        thought: whether it stood in a part that is marked as a thought.
        item: the object in the answer that it was found in, for whatever else the plugin needs from there.
    """

    data: bytes | None = attrs.field(default=None, repr=lambda d: "None" if d is None else f"<{len(d)} bytes>")
    url: str | None = attrs.field(default=None, repr=False)
    mime: str | None = None
    text: str | None = None
    place: str = "$"
    thought: bool = False
    item: Any = attrs.field(default=None, repr=False, eq=False)

    def to_piece(self, *, continuation: ContinuationData | None = None, headers: Mapping[str, str] | None = None) -> Piece:
        """Return it as a piece of an outcome; ``headers`` are used for a link only."""
        common: dict[str, Any] = {"mime": self.mime, "text": self.text, "continuation": continuation}
        if self.data is not None:
            return Piece(data=self.data, **common)
        return Piece(url=self.url, headers=headers or {}, **common)


@attrs.frozen(kw_only=True)
class Unreadable:
    """Something that stood where media should be and could not be decoded; it is paid for, so its bytes are kept."""

    data: bytes = attrs.field(repr=lambda d: f"<{len(d)} bytes>")
    place: str
    reason: str


@attrs.frozen(kw_only=True)
class ExtractedMedia:
    """What was found in an answer, in its order.

    Attributes:
        items: the media to deliver.
        warnings: what was missing, refused or left out beside them.
        unreadable: what could not be decoded.
        refusals: the provider's own words on refused items, sanitized.
    """

    items: tuple[FoundMedia, ...] = ()
    warnings: tuple[Warning, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()
    refusals: tuple[str, ...] = ()


def extract_media(answer: Any, places: Iterable[str] = (), *, base_url: str = "", usual: bool = True) -> ExtractedMedia:
    """Find and decode all media in an answer.

    Args:
        answer: the decoded JSON, an SDK's object with attributes, or the media's bytes themselves. A ``memoryview`` in it is a
            JSON string that was left unread (``memoryview(msgspec.Raw)``): its base64 is decoded from where it lies.
        places: where this service puts media, as paths: ``data[]``, ``output[].result``, ``candidates[].content.parts[]``.
            Lists are walked whether or not the path says ``[]``. The first place that holds media counts; give several where
            the service has several.
        base_url: the service's address, to resolve relative links.
        usual: whether `USUAL_PLACES` are searched where the plugin's own hold nothing.

    Returns:
        What was found. Media in parts that are marked as thoughts are delivered only where there are no others.
    """
    if isinstance(answer, bytes | bytearray | memoryview):
        answer, usual = bytes(answer), True
    found = [_Search(base_url)]
    for path in dict.fromkeys(place.replace("[]", "") for place in (*places, *(USUAL_PLACES if usual else ()))):
        search = _Search(base_url)
        for node, where, thought in _nodes(answer, path.split("."), "$", thought=False):
            search.slot(node, where, thought=thought)
        if search.items:
            return _with_remark(search.result(), answer)
        found.append(search)
    if usual:
        search = _Search(base_url)
        search.anywhere(answer)
        if search.items:
            return search.result()
    return max(found, key=lambda search: bool(search.warnings or search.unreadable)).result()


def _with_remark(found: ExtractedMedia, answer: Any) -> ExtractedMedia:
    """Add what an answer says of an error beside its media."""
    error = {key: value for key in ("error", "errors") if is_object(answer) and (value := child(answer, key))}
    said = read_error(error) if error else None
    if said is None or not said.text:
        return found
    remark = Warning("item_refused", f"the answer holds an error beside its media: {said.quoted}")
    return attrs.evolve(found, warnings=(*found.warnings, remark), refusals=(*found.refusals, said.text))


def _nodes(node: Any, path: list[str], where: str, *, thought: bool) -> Iterator[tuple[Any, str, bool]]:
    """Yield what stands at a path, each item of a list by itself, with whether it lies inside of a thought."""
    if (listed := items_of(node)) is not None:
        for index, item in enumerate(listed):
            yield from _nodes(item, path, f"{where}[{index}]", thought=thought)
        return
    if not path:
        yield node, where, thought
        return
    if not is_object(node):
        return
    below = child(node, path[0])
    if below is not None:
        yield from _nodes(below, path[1:], f"{where}.{path[0]}", thought=thought or _is_thought(node))


def _is_thought(node: Any) -> bool:
    return is_object(node) and (child(node, "thought") is True or child(node, "type") == "thought")


class _Search:
    """What one place holds."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self.items: list[FoundMedia] = []
        self.warnings: list[Warning] = []
        self.unreadable: list[Unreadable] = []
        self.refusals: list[str] = []

    def result(self) -> ExtractedMedia:
        """Return it, without the drafts where there is a final version."""
        final = [item for item in self.items if not item.thought]
        warnings = list(self.warnings)
        if final and len(final) < len(self.items):
            count = len(self.items) - len(final)
            warnings.append(Warning("drafts_left_out", f"{count} of the answer's media are marked as thoughts and were left out"))
        elif self.items and not final:
            warnings.append(Warning("media_in_thought", "the media stood in a part that is marked as a thought"))
        return ExtractedMedia(
            items=tuple(final or self.items),
            warnings=tuple(warnings),
            unreadable=tuple(self.unreadable),
            refusals=tuple(self.refusals),
        )

    def anywhere(self, answer: Any) -> None:
        """Take whatever shows by itself that it is media, at places that no one has named; what repeats an input is left out."""
        nodes = [(answer, "$", FoundMedia(item=answer))]
        for node, where, context in itertools.islice(_below(nodes), _MOST_NODES):
            if isinstance(node, str | bytes | bytearray | memoryview):
                start = node[:_LONGEST_START].strip() if isinstance(node, str) else node[:_LONGEST_START]
                if _shows_media(start):
                    self._value(node, where, context, link=False)
            elif (data := _bytes_of(node)) is not None:
                self._add(data, None, context, where)
        encoded_items = [item for item in self.items if item.data is not None]
        self.items = list({item.data or item.url: item for item in encoded_items or self.items}.values())

    def slot(self, node: Any, where: str, *, thought: bool) -> None:
        """Read one place where a piece of media may stand, and report where it does not."""
        before = len(self.items), len(self.warnings)
        empty = self._read(node, where, FoundMedia(item=node, thought=thought), 0)
        if (len(self.items), len(self.warnings)) != before:
            return
        error = read_error(node) if is_object(node) else None
        if error is not None and error.is_error:
            reason = error.text or error.code
            self.refusals.append(reason)
            self.warnings.append(Warning("item_refused", f"the provider refused one of the items ({where}): {reason or 'no reason given'}"))
        elif node is None or empty or (isinstance(node, Mapping) and not node):
            self.warnings.append(Warning("item_missing", f"one of the items in the answer is empty ({where})"))

    def _read(self, node: Any, where: str, context: FoundMedia, depth: int) -> bool:
        """Take what stands at a node; return whether a key for media is there and holds nothing.

        ``context`` is what the objects around it say about it.
        """
        if isinstance(node, str | bytes | bytearray | memoryview):
            self._value(node, where, context, link=False)
            return False
        if (data := _bytes_of(node)) is not None:
            self._add(data, None, context, where)
            return False
        if (listed := items_of(node)) is not None:
            for index, item in enumerate(listed):
                self._read(item, f"{where}[{index}]", context, depth + 1)
            return False
        if not is_object(node) or depth > _DEEPEST:
            return False
        context = _inside(context, node)
        empty = False
        for keys, link in ((_DATA_KEYS, False), (_LINK_KEYS, True), (_HOLDERS, False)):
            for key in keys:
                value = child(node, key)
                before = len(self.items)
                if isinstance(value, str | bytes | bytearray | memoryview):
                    if len(value):
                        self._value(value, f"{where}.{key}", context, link=link)
                elif value is not None:
                    self._read(value, f"{where}.{key}", context, depth + 1)
                if len(self.items) > before:
                    return False  # the same media may stand under another key as well
                empty = empty or (keys is not _HOLDERS and isinstance(node, Mapping) and key in node)
        return empty

    def _value(self, value: Any, where: str, context: FoundMedia, *, link: bool) -> None:
        """Take a text or bytes as what they look like, whatever the key suggests."""
        if not isinstance(value, str):
            self._bytes(value, where, context)
            return
        start = value[:_LONGEST_START].lstrip("\ufeff \t\r\n\"'`")
        if is_absolute_link(start):
            self._link(value.strip("\ufeff \t\r\n\"'`"), where, context)
        elif (found := split_data_url(value)).is_data_url or format_of_head(head_of_base64(found.payload)) is not None:
            self._encoded(found, where, context)
        elif start[:1] in {"{", "["} and (inner := _json_in(value)) is not None:
            self._read(inner, where, context, _DEEPEST - 3)
        elif ("![" in value or "<" in value or "data:" in value) and (found_in := [*_IN_TEXT.finditer(value)]):
            for index, one in enumerate(found_in):
                self._value(str(one[one.lastgroup or 0]), f"{where}({index})", context, link=True)
        elif is_relative_link(value[: _LONGEST_START + 1], expected=link):
            self._link(value, where, context)
        elif scheme_of(start):
            text = f"an item of the answer lies at an address that cannot be fetched ({scheme_of(start)}:)"
            self.warnings.append(Warning("link_unsupported", text))
        elif not link and where.rpartition(".")[2] in _DATA_KEYS:
            self._encoded(found, where, context)

    def _bytes(self, value: bytes | bytearray | memoryview, where: str, context: FoundMedia) -> None:
        """Take bytes as the media, unless they are base64 that an SDK left as it was; a memoryview is unread JSON."""
        if isinstance(value, memoryview):
            self._unread(value, where, context)
            return
        if format_of_head(memoryview(value)[:HEAD]) is None and format_of_head(head_of_base64(value)) is not None:
            self._encoded(split_data_url(value), where, context)
        elif len(value) and value != b"null":
            self._add(value if isinstance(value, bytes) else bytes(value), None, context, where)

    def _unread(self, value: memoryview, where: str, context: FoundMedia) -> None:
        if bytes(value[:1]) != b'"':
            return  # null, a number or an object: no media
        start = bytes(value[1:_LONGEST_START])
        if start.lstrip().lower().startswith((b"http:", b"https:")):
            self._value(str(json.loads(bytes(value))), where, context, link=True)
        elif len(value) > 2:
            self._encoded(split_data_url(value), where, context)

    def _encoded(self, found: Base64Text, where: str, context: FoundMedia) -> None:
        try:
            data = decode_base64(found)
        except ValueError as error:
            raw = found.payload.encode("utf-8", "replace") if isinstance(found.payload, str) else bytes(found.payload)
            self.unreadable.append(Unreadable(data=raw, place=where, reason=str(error)))
            self.warnings.append(Warning("item_unreadable", f"one of the items in the answer cannot be decoded ({where}): {error}"))
            return
        if data:
            self._add(data, found.mime, context, where)

    def _add(self, data: bytes, claim: str | None, context: FoundMedia, where: str) -> None:
        mime = _MIMES.get(format_of_head(memoryview(data)) or "") or _usable(claim) or context.mime
        self.items.append(attrs.evolve(context, data=data, mime=mime, place=where))

    def _link(self, url: str, where: str, context: FoundMedia) -> None:
        whole = resolve_link(url, self._base_url)
        if not is_absolute_link(whole):
            self.warnings.append(Warning("link_unsupported", f"one of the items is a relative link without an address ({where})"))
            return
        self.items.append(attrs.evolve(context, url=whole, place=where))


def _shows_media(start: str | bytes | bytearray | memoryview) -> bool:
    """Whether a text or bytes start like a file, like base64 of one, or link one."""
    if isinstance(start, str):
        if (is_absolute_link(start) and _FILE.fullmatch(start)) or ("data:" in start and _IN_TEXT.search(start)):
            return True
    elif format_of_head(bytes(start[: 2 * HEAD]).lstrip(b"\xef\xbb\xbf \t\r\n")) is not None:
        return True
    return format_of_head(head_of_base64(split_data_url(start).payload)) is not None


def _below(nodes: list[tuple[Any, str, FoundMedia]]) -> Iterator[tuple[Any, str, FoundMedia]]:
    """Yield nodes and all that is below them, level by level, without what names an input."""
    for node, where, context in nodes:  # the list grows
        yield node, where, context
        if _bytes_of(node) is None and (listed := items_of(node)) is not None:
            nodes += [(item, f"{where}[{index}]", context) for index, item in enumerate(listed)]
        elif isinstance(node, Mapping):
            inside = attrs.evolve(_inside(context, node), item=node)
            nodes += [(value, f"{where}.{key}", inside) for key, value in node.items() if not _INPUT.search(str(key))]


def _bytes_of(node: Any) -> bytes | None:
    """Return a file whose bytes a server wrote as a list of numbers."""
    if not isinstance(node, list) or len(node) < HEAD or not all(type(item) is int for item in node[:HEAD]):
        return None
    try:
        data = bytes(node)
    except (TypeError, ValueError):
        return None
    return data if format_of_head(data[:HEAD]) is not None else None


def _json_in(text: str) -> Any:
    """Return the object or list that a text is, or None."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError):
        return None


#: Longer texts are not looked through for the start of a link.
_LONGEST_START = 8193


def _inside(context: FoundMedia, node: Any) -> FoundMedia:
    """Return the context of the members of an object."""
    mime = next((found for key in _MIME_KEYS if (found := _usable(child(node, key))) is not None), context.mime)
    text = next((found for key in _TEXT_KEYS if isinstance(found := child(node, key), str) and found), context.text)
    return attrs.evolve(context, mime=mime, text=text, thought=context.thought or _is_thought(node))


def _usable(claim: Any) -> str | None:
    """Return a claimed mime type, or None where it says nothing; a format's name is taken too."""
    value = getattr(claim, "value", claim)
    if not isinstance(value, str):
        return None
    name = value.strip().lower()
    if name.partition(";")[0] in _GENERIC:
        return None
    return name if "/" in name else _MIMES.get(name)


class _Image(msgspec.Struct):
    b64_json: msgspec.Raw = msgspec.Raw(b"null")
    url: Any = None
    media_type: Any = None
    output_format: Any = None
    revised_prompt: Any = None


class _Images(msgspec.Struct):
    data: list[_Image | None]
    error: Any = None
    output_format: Any = None
    usage: Any = None


@attrs.frozen(kw_only=True)
class ImagesAnswer:
    """A decoded answer with images in ``data[]``.

    Attributes:
        found: the media in it.
        output_format: the format that it names, or None.
        usage: what it says was used, or an empty mapping.
        rest: the whole answer where it holds no media, for its error; else None.
    """

    found: ExtractedMedia
    output_format: str | None = None
    usage: Mapping[str, Any] = attrs.field(factory=dict)
    rest: Any = None


def decode_images(body: bytes, base_url: str = "") -> ImagesAnswer:
    """Decode a JSON answer whose images are in ``data[]``, without a copy of their base64; other places and spellings are read, too.

    Args:
        body: the answer as received.
        base_url: the address of the service, for relative links.
    """
    try:
        answer = msgspec.json.decode(body, type=_Images)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        answer = None
    if answer is not None:
        items = [item and {**msgspec.structs.asdict(item), "b64_json": memoryview(item.b64_json)} for item in answer.data]
        found = extract_media({"data": items, "error": answer.error}, ["data[]"], base_url=base_url, usual=False)
        if found.items and not found.warnings:  # the items say why one of them is missing
            form = answer.output_format if isinstance(answer.output_format, str) else None
            return ImagesAnswer(found=found, output_format=form, usage=answer.usage if isinstance(answer.usage, dict) else {})
    values = documents(body)
    for rest in values if len(values) == 1 else (*values, body):
        usage = rest.get("usage") if isinstance(rest, dict) else None
        found = extract_media(rest, ["data[]"], base_url=base_url)
        if found.items:
            break
    return ImagesAnswer(found=found, usage=usage if isinstance(usage, dict) else {}, rest=rest)


_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]{1,15}):")
#: Characters of a URL that are not encoded; a percent sign stays, since what is encoded must not be encoded again.
_KEPT = "%/:=&?~#+!$,;'@()*[]|"
_LONGEST = 8192
_FILE = re.compile(
    r"[^\s<>\"{}\\^`]+\.(?:png|jpe?g|webp|gif|avif|bmp|tiff?|mp4|webm|mov|mp3|wav|flac|ogg|opus|aac|m4a|pcm)(?:[?#]\S*)?", re.IGNORECASE
)


def scheme_of(text: str) -> str:
    """Return the scheme of an absolute URL in lower case, or an empty string."""
    found = _SCHEME.match(text.strip()[:64])
    return found["scheme"].lower() if found else ""


def is_absolute_link(text: str) -> bool:
    """Whether a text is an ``http`` or ``https`` URL."""
    return scheme_of(text) in {"http", "https"} and len(text) <= _LONGEST


def is_relative_link(text: str, *, expected: bool = False) -> bool:
    """Whether a text may be a path on the service: it ends like a media file's name.

    Args:
        text: without a scheme.
        expected: whether a link is expected there; then any path counts.
    """
    line = text.strip()
    if not line or len(line) > _LONGEST or "\n" in line or scheme_of(line):
        return False
    return expected or _FILE.fullmatch(line) is not None


def resolve_link(text: str, base_url: str) -> str:
    """Return the absolute URL of a link in an answer.

    Args:
        text: absolute, without scheme (``//host/a.png``), or relative.
        base_url: the address of the service; a path in it counts as a folder.
    """
    line = text.strip()
    if not is_absolute_link(line) and base_url:
        base = urllib.parse.urlsplit(base_url)
        folder = urllib.parse.urlunsplit((base.scheme, base.netloc, base.path.rstrip("/") + "/", "", ""))
        with contextlib.suppress(ValueError):  # brackets that do not match: such a link leads nowhere
            line = urllib.parse.urljoin(folder, line)
    return encode_link(line)


def encode_link(url: str) -> str:
    """Return a URL as it can be sent: its host in ASCII, spaces and letters beyond ASCII encoded as UTF-8.

    What is encoded already is left as it is.
    """
    if url.isascii() and not re.search(r"[\s\"<>\\^`{}]|%(?![0-9A-Fa-f]{2})", url):
        return url
    try:
        parts = urllib.parse.urlsplit(url.strip())
        host = (parts.hostname or "").encode("idna").decode("ascii") if not (parts.hostname or "").isascii() else None
    except ValueError:  # brackets that do not match, a host that has no ASCII form: the fetcher names the problem
        return url
    netloc = parts.netloc if host is None else parts.netloc.replace(parts.netloc.rpartition("@")[2].partition(":")[0], host)
    rest = [_encoded(part) for part in (parts.path, parts.query, parts.fragment)]
    return urllib.parse.urlunsplit((parts.scheme, netloc, *rest))


def _encoded(part: str) -> str:
    plain = re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", part)
    return urllib.parse.quote(plain, safe=_KEPT.replace("#", ""))

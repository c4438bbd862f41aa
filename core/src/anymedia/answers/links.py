"""Addresses in answers: relative ones resolved against the service's own, spaces and letters beyond ASCII encoded."""

from __future__ import annotations

import re
import urllib.parse

__all__ = ["encode_link", "is_absolute_link", "is_relative_link", "resolve_link", "scheme_of"]

_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]{1,15}):")
#: What may stand in a URL unencoded; a percent sign stays, since what is encoded must not be encoded again.
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
        expected: whether it stands where a link should; then any path counts.
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
        line = urllib.parse.urljoin(urllib.parse.urlunsplit((base.scheme, base.netloc, base.path.rstrip("/") + "/", "", "")), line)
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

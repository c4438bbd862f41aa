"""Keep secrets out of texts: API keys, signatures in URLs, invisible characters in provider texts.

`clean_text` is for foreign text shown to a person, a terminal or an agent; `redact` is for our own text that might
contain a secret; `RedactingFilter` applies it to log records.
"""

from __future__ import annotations

import functools
import os
import re
import threading
import unicodedata
import urllib.parse
import weakref
from typing import TYPE_CHECKING

from .credentials import Secret

if TYPE_CHECKING:
    import logging  # slow to import; only what writes or filters log records imports it

HIDDEN = "[hidden]"
#: Shorter texts are not treated as secrets: replacing them would garble everything.
_SHORTEST = 6
#: Minimum length of a recognized key pattern.
_SHORTEST_KEY = 19
#: Maximum number of characters of a foreign text that are processed.
_LONGEST = 20_000

_weak: set[weakref.ref[Secret]] = set()
_strong: set[str] = set()
#: Texts to replace, longest first, without and with their URL-quoted forms; rebuilt when a secret is added or removed.
_forms: dict[bool, tuple[str, ...]] = {}
_changing = threading.RLock()

_ANSI = (
    r"(?s)\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|\x1b[\]PX^_].*?(?:\x07|\x1b\\|\x9c|$)"  # OSC (titles, links), DCS, SOS, PM, APC
    r"|\x9b[0-?]*[ -/]*[@-~]"
    r"|\x1b[ -/]*[0-~]"
)
_URL = r"(?P<scheme>\b[a-zA-Z][a-zA-Z0-9+.-]{1,15}://)(?P<user>[^\s/?#\"'<>@]*@)?(?P<rest>[^\s?#\"'<>]*)(?P<query>[?#][^\s\"'<>]*)?"
_REQUEST_LINE = r"(?P<path>(?<![\w/])/[^\s?#\"'<>]*)\?[^\s\"'<>]+"
_PARAMETER = (
    r"(?i)(?P<name>\b(?:x-amz-(?:signature|credential|security-token)|x-goog-(?:signature|credential|api-key)|googleaccessid"
    r"|[a-z_-]{0,40}signature|sig|sv|se|access[_-]?token|refresh[_-]?token|id[_-]?token|token|api[_-]?key|apikey|key|password|secret)=)"
    r"(?P<value>[^\s&\"'<>,;)]{4,})"
)
_HEADER = (
    r"(?i)(?P<name>[\"']?\b(?:proxy-authorization|authorization|x-api-key|api-key|x-goog-api-key|x-key|cookie|set-cookie)"
    r"(?:[\"']?\s{0,9}[:=]\s{0,9}|[\"']\s{0,9},\s{0,9}))"
    r"(?P<value>b?[\"'](?:[^\"'\\]|\\.)*[\"']|[^\r\n\"',}]+)"
)
_BEARER = r"(?i)\b(?P<name>bearer|basic)\s{1,9}(?=[a-z.~/-]{0,99}[0-9_=+]|[a-z.~/-]{24})[a-z0-9._~+/=-]{8,}"
_KEY_SHAPES = (
    r"\b(?:sk-[A-Za-z0-9_-]{16,}|AIza[A-Za-z0-9_-]{30,}|xai-[A-Za-z0-9_-]{20,}"
    r"|gh[pousr]_[A-Za-z0-9]{20,}|ya29\.[A-Za-z0-9._-]{20,})"
)


def register_secret(secret: Secret | str) -> None:
    """Replace a secret in every text from now on: a Secret during its lifetime, a text until `forget_secret`."""
    with _changing:
        if isinstance(secret, Secret):
            _weak.add(weakref.ref(secret, _gone))
        elif len(secret) >= _SHORTEST:
            _strong.add(secret)
        _forms.clear()


def forget_secret(secret: Secret | str) -> None:
    """Stop replacing a secret."""
    with _changing:
        if isinstance(secret, Secret):
            _weak.discard(weakref.ref(secret))
        else:
            _strong.discard(secret)
        _forms.clear()


def _gone(reference: weakref.ref[Secret]) -> None:
    _weak.discard(reference)
    _forms.clear()


def _secrets(*, quoted: bool) -> tuple[str, ...]:
    found = _forms.get(quoted)
    return _build_forms(quoted=quoted) if found is None else found


def _build_forms(*, quoted: bool) -> tuple[str, ...]:
    with _changing:  # no secret may be registered in the meantime
        known = {secret.known for reference in list(_weak) if (secret := reference()) is not None} | _strong
        forms = {text for text in known if text is not None and len(text) >= _SHORTEST}
        if quoted:
            forms |= {urllib.parse.quote(text, safe="") for text in forms}
        found = tuple(sorted(forms, key=len, reverse=True))  # longest first: a secret may begin like another
        if None not in known:  # else a key of the system's keyring may be read at any time
            _forms[quoted] = found
        return found


def _show_url(found: re.Match[str]) -> str:
    return found["scheme"] + found["rest"] + ("?..." if found["query"] else "")


def redact(text: str) -> str:
    """Return a text without registered secrets, text that looks like an API key, and queries of URLs (they contain signatures)."""
    if len(text) < _SHORTEST:
        return text
    for secret in _secrets(quoted="%" in text):
        text = text.replace(secret, HIDDEN)
    if "://" in text:
        text = re.sub(_URL, _show_url, text)
    if "?" in text:
        text = re.sub(_REQUEST_LINE, r"\g<path>?...", text)
    # Most texts are single words: a pattern is applied only if a character that it requires is present.
    if "=" in text or ":" in text or "," in text:
        text = re.sub(_HEADER, rf"\g<name>{HIDDEN}", text)
    if len(text.split(None, 1)) > 1:
        text = re.sub(_BEARER, rf"\g<name> {HIDDEN}", text)
    if "=" in text:
        text = re.sub(_PARAMETER, rf"\g<name>{HIDDEN}", text)
    return text if len(text) < _SHORTEST_KEY else re.sub(_KEY_SHAPES, HIDDEN, text)


def clean_text(text: object, limit: int = 300) -> str:
    """Return foreign text for quoting: one line, redacted, at most ``limit`` characters.

    Terminal escapes, control characters, bidirectional marks, invisible characters and lone surrogates are removed;
    white space becomes one blank.
    """
    raw = text if isinstance(text, str) else str(text)
    visible = raw[:_LONGEST]
    if not (visible.isascii() and visible.isprintable()):
        visible = "".join(_visible(c) for c in re.sub(_ANSI, "", visible))
    if visible.isidentifier() and len(visible) < _SHORTEST_KEY:  # a plain name is too short for a key pattern
        for secret in _secrets(quoted=False):
            if secret in visible:
                return redact(visible)[:limit]
        return visible
    line = " ".join(redact(visible).split())
    return line if len(line) <= limit else line[: max(0, limit - 3)].rstrip() + "..."


#: Invisible characters that Unicode counts as letters or marks (default ignorables, blank letters); text can hide in them.
_UNSEEN = "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]"


@functools.lru_cache(maxsize=4096)
def _visible(character: str) -> str:
    if character.isascii() and character.isprintable():
        return character
    if re.match(_UNSEEN, character):
        return ""
    category = unicodedata.category(character)
    if category in {"Cc", "Zl", "Zp", "Zs"}:
        return " "
    return "" if category in {"Cf", "Cs", "Co", "Cn"} else character


def summarize_exception(error: BaseException, limit: int = 400, *, place: bool = True) -> str:
    """Return an exception of foreign code for quoting: its class, message and place in the code."""
    try:
        text = clean_text(error, limit)
    except Exception:  # noqa: BLE001 - a message that cannot be rendered must not hide the exception
        text = ""
    where, here = error.__traceback__ if place else None, ""
    while where is not None:
        here = f"{where.tb_frame.f_code.co_filename.replace(os.sep, '/').rpartition('/')[2]}:{where.tb_lineno}"
        where = where.tb_next
    return f"{type(error).__name__}{': ' if text else ''}{text}{f' ({here})' if here else ''}"


@functools.cache
def _plain_fields() -> frozenset[str]:
    import logging

    return frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class RedactingFilter:
    """Remove secrets from log records, including tracebacks and extra fields. Add it to handlers; it passes every record."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record if it contains a secret."""
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001 - a badly formatted log call must not stop the program
            message = str(record.msg)
        if (safe := redact(message)) != message or record.args:
            record.msg, record.args = safe, ()
        self._filter_traceback(record)
        if record.stack_info:
            record.stack_info = redact(record.stack_info)
        for name, value in vars(record).items():
            if name not in _plain_fields() and isinstance(value, str):
                setattr(record, name, redact(value))
        return True

    def _filter_traceback(self, record: logging.LogRecord) -> None:
        if not record.exc_text and record.exc_info and record.exc_info[0] is not None:
            import logging

            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text and (safe := redact(record.exc_text)) != record.exc_text:
            # Without exc_info no later handler can render the secret again.
            record.exc_text, record.exc_info = safe, None


_filter = RedactingFilter()


def install_log_redaction(*loggers: logging.Logger) -> None:
    """Put the filter on every handler of the given loggers (by default the root logger and ours); idempotent."""
    import logging

    for logger in loggers or (logging.getLogger(), logging.getLogger("anymedia")):
        for handler in logger.handlers:
            if _filter not in handler.filters:
                handler.addFilter(_filter)


#: Libraries that log whole URLs, headers or bodies below WARNING.
_NOISY = (
    "aiohttp", "google", "google_genai", "grpc", "h11", "h2", "hpack", "httpcore", "httpcore2", "httpx", "httpx2",
    "openai", "requests", "urllib3", "xai_sdk",
)  # fmt: skip


def quiet_loggers() -> None:
    """Keep the HTTP and SDK loggers at WARNING or above, their children included.

    An SDK may set its own level when it is imported (``OPENAI_LOG=debug``), so call it again after that.
    """
    import logging

    known = [name for name, found in logging.root.manager.loggerDict.items() if isinstance(found, logging.Logger)]
    for top in _NOISY:
        for name in [top, *(n for n in known if n.startswith(top + "."))]:
            logger = logging.getLogger(name)
            if logger.level < logging.WARNING and (name == top or logger.level != logging.NOTSET):
                logger.setLevel(logging.WARNING)

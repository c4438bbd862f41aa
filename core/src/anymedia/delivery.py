"""Whether a request was delivered, judged by the deepest cause of an error, never by an SDK's exception class.

SDKs raise the same class for a refused connection and for a reply that was lost after the request arrived; only
the innermost exception differs. What is not certainly undelivered counts as possibly delivered.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

__all__ = ["causes", "is_not_sent"]

#: Errors of connecting: no byte of a request can have been sent. (A reset is not among them.)
_REFUSED = frozenset(
    {errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EADDRNOTAVAIL}
    | {errno.EMFILE, errno.ENFILE}  # no socket could be opened
)


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, then its cause (or context) and so on down to the deepest; each once."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        below = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
        current = below if below is not None else _kept_inside(current)


def _kept_inside(error: BaseException) -> BaseException | None:
    """Return the operating system's error where a library hides it: aiohttp in ``os_error``, httpcore as its only argument."""
    found = getattr(error, "os_error", None) or (error.args[0] if len(error.args) == 1 else None)
    return found if isinstance(found, BaseException) else None


def _is_connecting(error: BaseException) -> bool:
    import socket  # here, so that looking at what is installed does not load OpenSSL
    import ssl

    if isinstance(error, socket.gaierror | ConnectionRefusedError | ssl.SSLCertVerificationError):
        return True
    return isinstance(error, OSError) and error.errno in _REFUSED


def is_not_sent(error: BaseException) -> bool:
    """Whether the deepest cause shows that no byte of the request can have reached the provider."""
    chain = list(causes(error))
    deepest = chain[-1]
    if isinstance(deepest, BaseExceptionGroup):  # one try for each address of a name
        return all(is_not_sent(inner) for inner in deepest.exceptions)
    return _is_connecting(deepest)

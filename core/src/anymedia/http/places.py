"""Where a key may go: to the backend's own hosts, and in the clear only where its own address is one."""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping

from ..context import Context
from ..errors import PluginContractError
from ..media import without_query

__all__ = ["check_place"]

_FIX = "list the service's host under `hosts` in capabilities.toml, or in the settings under [backends.{}]"


def check_place(context: Context, url: str, headers: Mapping[str, str]) -> None:
    """See that what is secret goes to the backend itself: an address that an answer named may be anybody's.

    Raises:
        PluginContractError: it is another's address, or plain http; nothing was sent there.
    """
    if not headers or context.hosts is None:
        return
    scheme, host, port = _parts(url)
    if not any(own.lower() in {host, f"{host}:{port}"} for own in context.hosts if host):
        raise _not_sent(f"{without_query(url)!r} is no address of {context.backend!r}: its key was not sent there", context)
    clear = str(context.settings.get("base_url", "")).lower().startswith("http:")
    if scheme != "https" and not (scheme == "http" and clear):
        raise _not_sent(f"{without_query(url)!r} is plain http: the key of {context.backend!r} was not sent there", context)


def _parts(url: str) -> tuple[str, str, int | None]:
    try:
        parts = urllib.parse.urlsplit(url)
        return parts.scheme, (parts.hostname or "").lower(), parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return "", "", None


def _not_sent(text: str, context: Context) -> PluginContractError:
    error = PluginContractError(text, fix=_FIX.format(context.backend))
    error.delivery = "not_sent"
    return error

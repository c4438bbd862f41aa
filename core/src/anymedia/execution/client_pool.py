"""SDK clients are dear to build: one per backend instance, key, event loop and name, closed with the router."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import logging
from collections.abc import Callable, Mapping
from typing import Any

from ..credentials import Secret
from ..redaction import quiet_loggers

__all__ = ["Clients", "digest_of"]

_log = logging.getLogger("anymedia")


def digest_of(secrets: Mapping[str, Secret]) -> str:
    """Return a checksum of some keys: the same for the same account."""
    return hashlib.sha256(repr(sorted((k, v.reveal()) for k, v in secrets.items())).encode()).hexdigest()


class Clients:
    """A cache of SDK clients."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, tuple[tuple[str, Secret], ...], asyncio.AbstractEventLoop, str], Any] = {}

    def get(self, instance: str, secrets: Mapping[str, Secret], name: str, factory: Callable[[], Any]) -> Any:
        """Return the client of an instance with these keys on the running loop, made on first use."""
        # The secrets and the loop themselves: a later one may have the id of one that is gone.
        key = (instance, tuple(secrets.items()), asyncio.get_running_loop(), name)
        if key not in self._made:
            self._made[key] = factory()
            quiet_loggers()  # some SDKs set their loggers' levels when they are imported
        return self._made[key]

    async def aclose(self) -> None:
        """Close every client, by whichever of aclose and close it has; a failure to close is only logged."""
        made, self._made = list(self._made.values()), {}
        for client in made:
            close = getattr(client, "aclose", None) or getattr(client, "close", None)
            if close is None:
                continue
            try:
                done = close()
                if inspect.isawaitable(done):
                    await done
            except Exception as error:  # noqa: BLE001 - closing must go on with the others
                _log.debug("closing a client failed: %s", type(error).__name__)

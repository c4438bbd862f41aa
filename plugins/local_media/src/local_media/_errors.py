"""Where work is done, and what its failures mean: nothing was sent anywhere, nothing was spent."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from anymedia.context import Context
from anymedia.errors import BackendError, BackendUnavailable, BadBackendResponse, RequestError

__all__ = ["not_loaded", "work"]

_T = TypeVar("_T")


async def work(context: Context, job: Callable[[], _T]) -> _T:
    """Do heavy work in a thread, as this call's one submit; the event loop stays free.

    Raises:
        RequestError: when the inputs turn out not to allow it.
        BadBackendResponse: when the work fails (``refused``: nothing is left running, nothing was spent).
    """
    import asyncio

    refused: RequestError | None = None
    async with context.submission():
        try:
            return await asyncio.to_thread(job)
        except RequestError as error:
            refused = error
        except BackendError as error:
            error.delivery = "refused"
            raise
        except MemoryError as error:
            raise BackendUnavailable(
                "this machine has too little memory for it", fix="ask for a smaller size", delivery="refused"
            ) from error
        except Exception as error:
            raise BadBackendResponse(f"drawing failed: {type(error).__name__}: {error!s:.200}", delivery="refused") from error
    assert refused is not None
    raise refused


def not_loaded(what: str, error: Exception, context: Context) -> BackendUnavailable:
    """Return the error for a library that is there, as far as could be seen, and does not load."""
    needs = context.spec.requires
    found = BackendUnavailable(
        f"{what} cannot be loaded: {type(error).__name__}: {error!s:.200}",
        fix="" if needs is None else f"reinstall it: {needs.install}",
        delivery="not_sent",
    )
    found.retry = False
    return found

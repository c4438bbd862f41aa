"""Which models the provider lists right now, and until when."""

from __future__ import annotations

from anymedia.context import Context
from anymedia.hookspecs import ListedModel

from ._client import STATUS_SECONDS, connect
from ._errors import translated

__all__ = ["listed"]


async def listed(context: Context) -> tuple[ListedModel, ...]:
    """Return all models the key may use, with ``shutdown_date`` where the provider gives one."""
    connection = connect(context)
    with translated(context):
        page = await connection.sdk.models.list(timeout=STATUS_SECONDS)
        models = [model async for model in page]
    return tuple(
        ListedModel(
            id=model.id,
            retires=getattr(model, "shutdown_date", None),
            data={"created": getattr(model, "created", None), "owned_by": getattr(model, "owned_by", None)},
        )
        for model in models
    )

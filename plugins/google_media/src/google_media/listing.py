"""What the service lists now."""

from __future__ import annotations

from anymedia.context import Context
from anymedia.hookspecs import ListedModel

from ._client import call_options, connect
from ._errors import translated

__all__ = ["listed"]


async def listed(context: Context) -> tuple[ListedModel, ...]:
    """Return all models the service lists, by their short ids."""
    from google.genai import types

    connection = await connect(context)
    found = []
    with translated(context):
        config = types.ListModelsConfig(page_size=100, http_options=call_options(context, is_check=True))
        async for model in await connection.aio.models.list(config=config):
            about = {"name": model.display_name, "actions": model.supported_actions, "about": model.description}
            data = {k: v for k, v in about.items() if v}
            found.append(ListedModel(id=str(model.name).rsplit("/", 1)[-1], data=data))
    return tuple(found)

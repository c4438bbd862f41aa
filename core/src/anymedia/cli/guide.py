"""``anymedia guide``: the words of a system prompt."""

from __future__ import annotations

import click

from .console import Console
from .options import AS_JSON

__all__ = ["guide"]


@click.command("guide")
@click.option("--compact", is_flag=True, help="Only the table, what going on means, and the rules.")
@AS_JSON
def guide(compact: bool, as_json: bool) -> None:
    """Print guidance for an agent: what the backends that are usable here and now can do, with calls that work."""
    from ..agents.prompt import estimate_tokens, guidance

    text = guidance(compact=compact)
    if as_json:
        Console(json=True).document({"success": True, "guidance": text, "tokens_estimated": estimate_tokens(text)})
        return
    Console().data(text.encode() + b"\n")

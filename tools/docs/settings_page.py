"""The settings page: the file, its tables, the environment variables and the keys file."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import attrs

from anymedia import credentials, network
from anymedia import settings as source
from anymedia.policy import Budget, Policy, Tolerance

from .parts import NOTE, attribute_docs, default

__all__ = ["VARIABLES", "example", "settings"]

#: Environment variable -> its meaning, without those that hold keys.
VARIABLES = {
    "ANYMEDIA_CONFIG": "files to read instead of the user's `config.toml`, separated like `PATH`; later ones take precedence",
    "ANYMEDIA_STATE": "the state directory: journal, ledger, continuations",
    "ANYMEDIA_CACHE": "the cache directory; it may be deleted",
    "ANYMEDIA_PREFER": "`a,b`: the backends to prefer",
    "ANYMEDIA_DISABLE": "`a,b`: plugins and backends to disable",
    "ANYMEDIA_DEBUG": "`1`: show the traceback of an internal error",
}
#: Fields of a policy that a file cannot set.
_IN_CODE = {"transcode", "on_quote", "max_cost"}


def example() -> str:
    """Return the example file from the docstring of the settings module."""
    text = inspect.cleandoc(source.__doc__ or "")
    return inspect.cleandoc("\n" + "\n".join(line for line in text.splitlines() if line.startswith("    ") or not line).strip("\n"))


def settings() -> str:
    """Return the settings page."""
    prose = inspect.cleandoc(source.__doc__ or "").partition("\n\n")[2].partition("\n\n    ")[0]
    keys = inspect.cleandoc(credentials.__doc__ or "").partition("\n\n")[2].replace("::\n", ":\n")
    out = ["# Settings\n", NOTE, "No settings are required. `anymedia doctor` shows which file is used and the resulting settings.\n"]
    out += [prose.replace("``", "`").replace("`anymedia.credentials`", "[below](#keys)") + "\n", f"```toml\n{_blocks(example())}\n```\n"]
    for title, cls in (("[policy]", Policy), ("policy.budget", Budget), ("policy.tolerance", Tolerance)):
        out += [f"## `{title}`\n", *_table(cls)]
    out += ["## `[network]`\n", inspect.cleandoc(network.__doc__ or "").partition("\n\n")[2].replace("``", "`") + "\n"]
    out += ["## Environment variables\n", "| variable | meaning |\n|---|---|"]
    out += [f"| `{name}` | {meaning} |" for name, meaning in VARIABLES.items()]
    out += ["\n## Keys\n", keys.replace("``", "`") + "\n"]
    return "\n".join(out)


def _blocks(text: str) -> str:
    return re.sub(r"\n{3,}", "\n\n", text)


def _table(cls: type) -> Iterator[str]:
    prose, meanings = attribute_docs(cls)
    yield prose + "\n"
    fields = [field for field in attrs.fields(cls) if field.name not in _IN_CODE]
    yield "| key | default | meaning |\n|---|---|---|"
    for field in fields:
        yield f"| `{field.name}` | {default(field)} | {meanings.get(field.name, '')} |"
    yield ""

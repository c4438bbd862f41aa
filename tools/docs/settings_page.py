"""The page of settings: the file, its tables, the environment variables and the keys file."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import attrs

from anymedia import credentials
from anymedia import settings as source
from anymedia.policy import Budget, Policy, Tolerance

from .parts import NOTE, default, told

__all__ = ["VARIABLES", "example", "settings"]

#: Environment variable -> what it does, beside those that hold keys.
VARIABLES = {
    "ANYMEDIA_CONFIG": "files that are read instead of the user's `config.toml`, separated like `PATH`; later ones win",
    "ANYMEDIA_STATE": "the state directory: journal, ledger, continuations",
    "ANYMEDIA_CACHE": "the directory of what can be made anew",
    "ANYMEDIA_PREFER": "`a,b`: the backends to prefer",
    "ANYMEDIA_DISABLE": "`a,b`: plugins and backends that are kept out",
    "ANYMEDIA_DEBUG": "`1`: a bug of anymedia shows its traceback",
}
#: What of a policy a file cannot set.
_IN_CODE = {"transcode", "on_quote"}


def example() -> str:
    """Return the example file that the settings' own docstring holds."""
    text = inspect.cleandoc(source.__doc__ or "")
    return inspect.cleandoc("\n" + "\n".join(line for line in text.splitlines() if line.startswith("    ") or not line).strip("\n"))


def settings() -> str:
    """Return the page of settings."""
    prose = inspect.cleandoc(source.__doc__ or "").partition("\n\n")[2].partition("\n\n    ")[0]
    keys = inspect.cleandoc(credentials.__doc__ or "").partition("\n\n")[2].replace("::\n", ":\n")
    out = ["# Settings\n", NOTE, "None are needed. `anymedia doctor` shows which file is in force, and what it comes to.\n"]
    out += [prose.replace("``", "`").replace("`anymedia.credentials`", "[below](#keys)") + "\n", f"```toml\n{_blocks(example())}\n```\n"]
    for title, cls in (("[policy]", Policy), ("policy.budget", Budget), ("policy.tolerance", Tolerance)):
        out += [f"## `{title}`\n", *_table(cls)]
    out += ["## Environment variables\n", "| variable | meaning |\n|---|---|"]
    out += [f"| `{name}` | {meaning} |" for name, meaning in VARIABLES.items()]
    out += ["\n## Keys\n", keys.replace("``", "`") + "\n"]
    return "\n".join(out)


def _blocks(text: str) -> str:
    return re.sub(r"\n{3,}", "\n\n", text)


def _table(cls: type) -> Iterator[str]:
    prose, said = told(cls)
    yield prose + "\n"
    fields = [field for field in attrs.fields(cls) if field.name not in _IN_CODE]
    yield "| key | default | meaning |\n|---|---|---|"
    for field in fields:
        yield f"| `{field.name}` | {default(field)} | {said.get(field.name, '')} |"
    yield ""

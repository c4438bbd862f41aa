"""Compare the shipped model specs with a provider's model lists and published pages, saved as files.

    python -m tools.drift openai models.json deprecations.md

A JSON file is an answer of the provider's list endpoint: which models exist, and their shutdown dates where it has any. In any other
file, a line (or a table row) with a model's id and a date after it gives that model's shutdown. Prints the differences, and exits
with 1 if there are any. It asks no service and changes nothing.
"""

from __future__ import annotations

import datetime
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from anymedia.capabilities import CapabilityMatrix
from anymedia.plugins.registry import discover

__all__ = ["differences", "main", "read_list", "read_page"]

_ID = re.compile(r"[a-z][a-z0-9]*(?:[-./][a-z0-9.]+)+")
_ISO = re.compile(r"\b(20[0-9]{2})-([01][0-9])-([0-3][0-9])\b")
_WORDS = re.compile(r"\b([A-Z][a-z]{2})[a-z]*\.? ([0-9]{1,2}),? (20[0-9]{2})\b")
#: The date in the id of a snapshot is not a shutdown date.
_SNAPSHOT = re.compile(r"(?<=[a-z0-9])-20[0-9]{2}-[0-9]{2}-[0-9]{2}\b")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def read_list(document: Any) -> dict[str, datetime.date | None]:
    """Return the ids of a provider's list with their shutdown dates, from any of the usual envelopes."""
    items = document if isinstance(document, list) else next((v for v in document.values() if isinstance(v, list)), [])
    found = {}
    for item in items:
        name = item if isinstance(item, str) else str(item.get("id") or item.get("name") or "")
        date = None if isinstance(item, str) else next((item[k] for k in ("shutdown_date", "expiration_date") if item.get(k)), None)
        found[name.removeprefix("models/")] = None if date is None else next(_dates(str(date)), None)
    return found


def read_page(text: str) -> dict[str, datetime.date]:
    """Return the shutdown dates of a page: the first date on a line that names a model; the first such line of a model counts."""
    found: dict[str, datetime.date] = {}
    for line in text.splitlines():
        date = next(_dates(_SNAPSHOT.sub("", line)), None)
        for name in _ID.findall(line.lower()) if date is not None else ():
            found.setdefault(name, date)
    return found


def _dates(text: str) -> Iterator[datetime.date]:
    for year, month, day in _ISO.findall(text):
        yield datetime.date(int(year), int(month), int(day))
    for month, day, year in _WORDS.findall(text):
        if month in _MONTHS:
            yield datetime.date(int(year), _MONTHS.index(month) + 1, int(day))


def differences(
    matrix: CapabilityMatrix, listed: Mapping[str, datetime.date | None] | None, published: Mapping[str, datetime.date]
) -> list[str]:
    """Return the differences between a matrix, a provider's list (None: none was given) and the dates of its pages."""
    found = []
    families = {_family(spec.id) for spec in matrix.models}
    for spec in matrix.models:
        names, life = (spec.id, *spec.aliases), spec.lifecycle
        if listed is not None and life.retires is None and not any(name in listed for name in names):
            found.append(f"{spec.id}: shipped as alive, and not in the list")
        said = {date for source in (listed or {}, published) for name in names if (date := source.get(name)) is not None}
        shipped = f"{spec.id}: shipped with retires = {life.retires or 'none'}"
        found += [f"{shipped}; the provider says {date}" for date in sorted(said - {life.retires})]
    known = {name for spec in matrix.models for name in (spec.id, *spec.aliases)}
    found += [f"{name}: in the list, and not shipped" for name in sorted(listed or ()) if name not in known and _family(name) in families]
    return found


def _family(name: str) -> str:
    """Return the part of an id that models of a kind share: its first two words without numbers."""
    words = [word for word in re.split(r"[-/.]", name) if not re.search(r"[0-9]", word)]
    return "-".join(words[:2])


def main(arguments: Sequence[str]) -> int:
    """Run the command; return its exit code."""
    if len(arguments) < 2:
        print("usage: python -m tools.drift PLUGIN FILE...", file=sys.stderr)
        return 2
    matrix = discover().capabilities(arguments[0])
    listed: dict[str, datetime.date | None] | None = None
    published: dict[str, datetime.date] = {}
    for name in arguments[1:]:
        text = Path(name).read_text("utf-8")
        if name.endswith(".json"):
            listed = {**(listed or {}), **read_list(json.loads(text))}
        else:
            published |= read_page(text)
    found = differences(matrix, listed, published)
    print("\n".join(found) or "no difference")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Print ``name==floor`` for every lower bound that the given projects claim: constraints for a run with the lowest versions."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path


def floors(projects: Iterable[Path]) -> dict[str, str]:
    """Return the highest of the floors of each dependency; the repository's own packages have none."""
    found: dict[str, str] = {}
    for project in projects:
        for wanted in tomllib.loads((project / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]:
            match = re.match(r"([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?\s*>=\s*([0-9.]+)", wanted)
            if match is None:
                raise SystemExit(f"{project.name}: {wanted!r} claims no lowest version")
            name, floor = match[1].lower(), match[2]
            if not name.startswith("anymedia") and _key(floor) >= _key(found.get(name, "0")):
                found[name] = floor
    return found


def _key(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


if __name__ == "__main__":
    for name, floor in sorted(floors(map(Path, sys.argv[1:])).items()):
        print(f"{name}=={floor}")

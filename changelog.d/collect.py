"""Move the fragments of this folder into CHANGELOG.md: ``python changelog.d/collect.py VERSION [DATE]``."""

import datetime
import sys
from pathlib import Path

KINDS = ("added", "changed", "fixed", "removed")
MARK = "<!-- changelog.d/collect.py puts new versions here -->\n"


def collect(folder: Path, log: Path, version: str, date: str) -> None:
    """Write one section for a version, and delete its fragments."""
    fragments = sorted(folder.glob("*.md"))
    unknown = [f.name for f in fragments if f.name.split(".")[-2] not in KINDS]
    if unknown or not fragments:
        raise SystemExit(f"no fragments, or fragments without a kind in their name: {unknown}")
    lines = [f"\n## {version} ({date})\n"]
    for kind in KINDS:
        texts = [f.read_text("utf-8").strip() for f in fragments if f.name.split(".")[-2] == kind]
        lines += [f"\n### {kind.capitalize()}\n\n", *(f"- {text}\n" for text in texts)] if texts else []
    before, mark, after = log.read_text("utf-8").partition(MARK)
    if not mark:
        raise SystemExit(f"{log.name} lacks the line {MARK.strip()!r}")
    log.write_text(before + mark + "".join(lines) + after, "utf-8")
    for fragment in fragments:
        fragment.unlink()


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    here = Path(__file__).parent
    collect(here, here.parent / "CHANGELOG.md", sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else str(datetime.date.today()))

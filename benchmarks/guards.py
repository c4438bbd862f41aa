"""What safety adds to a small call: the header guard over what came back, and walking to where it is written."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .figures import Figure, milliseconds


def figures(quick: bool) -> Iterator[Figure]:
    """Measure."""
    from PIL import Image

    from anymedia.transfer.paths import open_input, plan_output
    from anymedia.transfer.sniff import sniff

    rounds, times = (5, 20) if quick else (20, 50)
    out = io.BytesIO()
    Image.effect_noise((1024, 1024), 64).convert("RGB").save(out, "PNG")
    data = out.getvalue()
    with tempfile.TemporaryDirectory(prefix="anymedia-bench-") as made:
        root = Path(made).resolve()
        (root / "in").mkdir()
        (root / "in" / "a.png").write_bytes(data)

        def guard() -> None:
            sniff(data)

        def ways() -> None:
            open_input(root / "in" / "a.png", [root]).close()
            plan_output(root / "out" / "b.png", roots=[root], default_stem="b", suffix=".png")

        guarding = milliseconds(guard, rounds=rounds, times=times)
        walking = milliseconds(ways, rounds=rounds, times=times)
    note = f"guard over a PNG of {len(data) / 1e6:.1f} MB {guarding:.2f} ms, walking to an input and an output {walking:.2f} ms; CPU time"
    yield Figure(name="header guard and path walk, a call", value=guarding + walking, unit="ms", bar=1.0, note=note)

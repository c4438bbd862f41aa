"""What safety adds to a small call: the header guard, walking to where files lie, reading a URL, cleaning a plugin's words.

python -m benchmarks.guards
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .figures import Figure, milliseconds


def figures(quick: bool) -> Iterator[Figure]:
    """Measure."""
    from PIL import Image

    from anymedia.errors import BackendUnavailable
    from anymedia.files.paths import open_input, plan_output
    from anymedia.net.fetcher import Fetcher
    from anymedia.plugins.sanitize import clean_error, clean_returned
    from anymedia.probe.probe import sniff
    from anymedia.results import Outcome, Piece

    rounds, times = (5, 20) if quick else (20, 50)
    out = io.BytesIO()
    Image.effect_noise((1024, 1024), 64).convert("RGB").save(out, "PNG")
    large = out.getvalue()
    out = io.BytesIO()
    Image.effect_noise((64, 64), 64).convert("RGB").save(out, "PNG")
    data = out.getvalue()
    with tempfile.TemporaryDirectory(prefix="anymedia-bench-") as made:
        root = Path(made).resolve()
        (root / "in").mkdir()
        (root / "in" / "a.png").write_bytes(data)

        def guard() -> None:
            sniff(data)

        def guard_large() -> None:
            sniff(large)

        def ways() -> None:
            open_input(root / "in" / "a.png", [root]).close()
            plan_output(root / "out" / "b.png", roots=[root], default_stem="b", suffix=".png")

        fetcher = Fetcher()
        signed = "https://files.example/video/1.mp4?X-Amz-Signature=" + "0" * 64

        def reading() -> None:
            fetcher.check_url(signed)

        outcome = Outcome(pieces=(Piece(data=data, mime="image/png", text="a harbour"),), warnings=("smaller than asked",))

        def words() -> None:
            clean_returned(outcome)
            clean_error(BackendUnavailable(f"could not read {signed}", fix="try again later"))

        guarding = milliseconds(guard, rounds=rounds, times=times)
        guarding_large = milliseconds(guard_large, rounds=rounds, times=times)
        walking = milliseconds(ways, rounds=rounds, times=times)
        urls = milliseconds(reading, rounds=rounds, times=times)
        said = milliseconds(words, rounds=rounds, times=times)
    note = f"guard over a PNG of {len(data) / 1e3:.0f} kB {guarding:.2f} ms (of {len(large) / 1e6:.1f} MB, whose checksums "
    note += f"count: {guarding_large:.2f} ms), walking to an input and an output {walking:.2f} ms, "
    note += f"checking a URL {urls:.2f} ms, cleaning words {said:.2f} ms; CPU time"
    yield Figure(
        name="header guard, path walk, URL check, clean words, a call",
        value=guarding + walking + urls + said,
        unit="ms",
        bar=1.0,
        note=note,
    )


if __name__ == "__main__":
    for figure in figures(quick=False):
        print(f"{figure.name}: {figure.value:.2f} {figure.unit} (bar {figure.bar})\n  {figure.note}")

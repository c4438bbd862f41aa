"""Cost of the safety checks of a small call: header check, path resolution, URL check, sanitizing the texts of a plugin.

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

        def check_header() -> None:
            sniff(data)

        def check_large_header() -> None:
            sniff(large)

        def resolve_paths() -> None:
            open_input(root / "in" / "a.png", [root]).close()
            plan_output(root / "out" / "b.png", roots=[root], default_stem="b", suffix=".png")

        fetcher = Fetcher()
        signed = "https://files.example/video/1.mp4?X-Amz-Signature=" + "0" * 64

        def check_url() -> None:
            fetcher.check_url(signed)

        outcome = Outcome(pieces=(Piece(data=data, mime="image/png", text="a harbour"),), warnings=("smaller than requested",))

        def sanitize() -> None:
            clean_returned(outcome)
            clean_error(BackendUnavailable(f"could not read {signed}", fix="try again later"))

        header = milliseconds(check_header, rounds=rounds, times=times)
        large_header = milliseconds(check_large_header, rounds=rounds, times=times)
        paths = milliseconds(resolve_paths, rounds=rounds, times=times)
        url = milliseconds(check_url, rounds=rounds, times=times)
        texts = milliseconds(sanitize, rounds=rounds, times=times)
    note = f"header of a PNG of {len(data) / 1e3:.0f} kB {header:.2f} ms (of {len(large) / 1e6:.1f} MB, with checksums: "
    note += f"{large_header:.2f} ms), paths of an input and an output {paths:.2f} ms, "
    note += f"URL {url:.2f} ms, texts {texts:.2f} ms; CPU time"
    yield Figure(
        name="header, path, URL and text checks of a call",
        value=header + paths + url + texts,
        unit="ms",
        bar=1.0,
        note=note,
    )


if __name__ == "__main__":
    for figure in figures(quick=False):
        print(f"{figure.name}: {figure.value:.2f} {figure.unit} (limit {figure.bar})\n  {figure.note}")

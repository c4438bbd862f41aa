"""What is thrown at the readers of hostile input: the header guard, the sandboxed decoder, the JSON reader, the mask reader.

Run one for long with ``python tests/security/fuzzing.py header|decoder|json|mask SECONDS``; the tests run each for short.
Whatever is not taken must be refused with an error of ours, which repeats nothing of what is in a file.
"""
# ruff: noqa: E402 - run as a program, it has to find the corpora first

from __future__ import annotations

import contextlib
import functools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "core")]

import attrs
import media_samples as samples
from hostile_media import HOSTILE
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from anymedia import GenerationConfig
from anymedia.convert import sandbox
from anymedia.errors import InvalidRequest, MediaError
from anymedia.masks import read_mask
from anymedia.probe.probe import sniff
from anymedia.probe.reader import Limits

#: Their encoders take minutes on a busy machine.
_SLOW = {"mp4 av1", "mp4 hevc"}
#: Each of these is decoded in a child process, which takes too long for thousands of examples.
_SANDBOXED = ("avif", "bmp", "tiff")


@functools.cache
def seeds() -> dict[str, bytes]:
    """Good files small enough to be mutated often, and every hostile one that is."""
    made = {name: samples.good(name) for name in samples.GOOD if name not in _SLOW}
    made |= {f"hostile {name}": make() for name, make in HOSTILE.items()}
    return {name: data for name, data in made.items() if len(data) < 60_000}


def sandboxed() -> list[str]:
    """The names of the seeds that are decoded in a child process."""
    return [name for name in seeds() if name.removeprefix("hostile ").startswith(_SANDBOXED)]


def guarded() -> list[str]:
    """The names of the seeds that are read in this process."""
    return [name for name in seeds() if name not in sandboxed()]


def pictures() -> list[str]:
    """The names of the seeds that are pictures."""
    return [name for name in seeds() if name.removeprefix("hostile ").startswith(("png", "jpeg", "webp", "gif"))]


#: What a mask of the fuzzer may have in pixels: the search is for errors, not for load.
_SMALL = Limits(pixels=1_000_000, total_pixels=1_000_000)
_NUMBERS = [0, 1, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF]


@st.composite
def spoiled(draw: st.DrawFn, names: list[str]) -> bytes:
    """A file with numbers replaced, parts cut out, repeated, or taken from another file."""
    data = bytearray(seeds()[draw(st.sampled_from(names))])
    for _ in range(draw(st.integers(1, 8))):
        reach = len(data) if draw(st.booleans()) else min(len(data), 300)
        at = draw(st.integers(0, max(0, reach - 1)))
        how = draw(st.sampled_from(["byte", "number", "cut", "put", "repeat", "splice", "end"]))
        if how == "byte" and data:
            data[at] = draw(st.integers(0, 255))
        elif how == "number":
            width, order = draw(st.sampled_from([1, 2, 4, 8])), draw(st.sampled_from(["big", "little"]))
            data[at : at + width] = (draw(st.sampled_from(_NUMBERS)) % 256**width).to_bytes(width, order)  # type: ignore[arg-type]
        elif how == "cut":
            del data[at : at + draw(st.integers(1, 400))]
        elif how == "put":
            data[at:at] = draw(st.binary(min_size=1, max_size=16))
        elif how == "repeat":
            data[at:at] = data[at : at + draw(st.integers(1, 400))] * draw(st.integers(1, 4))
        elif how == "splice":
            other = seeds()[draw(st.sampled_from(names))]
            begin = draw(st.integers(0, max(0, len(other) - 1)))
            data[at:] = other[begin:]
        else:
            del data[at:]
    return bytes(data)


def check_header(data: bytes) -> None:
    """The guard takes a file or refuses it, whatever it is; within a time that no small file may exceed."""
    begin, memory = time.process_time(), _own_peak()
    try:
        facts = sniff(data)
    except InvalidRequest as error:
        assert str(error).isprintable()
        assert "root:" not in str(error)
    else:
        assert 0 < facts.end <= facts.size == len(data)
        assert facts.kind != "image" or (facts.width and facts.height)
    assert time.process_time() - begin < 10.0, "took too long"
    assert _own_peak() - memory < _MOST_MEMORY, "took too much memory"


def _own_peak() -> int:
    """Return the most memory in KiB that this process has had; 0 where that is not known."""
    if sys.platform != "linux":
        return 0
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


#: Memory in KiB that a small file may take, in the reader of headers or in a decoder (its interpreter and libraries included).
_MOST_MEMORY = 150 * 1024
#: The largest peak of a decoder so far, in KiB.
_peak = [0]


@contextlib.contextmanager
def peaks(to: Path) -> Iterator[None]:
    """Let each decoder write its peak memory to a file; the resource usage of children also counts the parent's, before `exec`."""
    original = subprocess.Popen

    class Told(original):  # type: ignore[type-arg, valid-type, misc]
        def __init__(self, command: list[str], **more: Any) -> None:
            tell = f"; open({str(to)!r}, 'w').write(open('/proc/self/status').read())"
            super().__init__([word + tell if word.endswith("main()") else word for word in command], **more)

    sandbox.subprocess.Popen = Told  # type: ignore[attr-defined]
    try:
        yield
    finally:
        sandbox.subprocess.Popen = original  # type: ignore[attr-defined]


def check_decoder(data: bytes) -> None:
    """The child decodes a picture or refuses it: it does not crash, hang, or use much memory."""
    with tempfile.TemporaryDirectory() as folder, peaks(Path(folder) / "status"):
        try:
            sniff(data, limits=_SMALL)
        except InvalidRequest as error:
            assert str(error).isprintable()
            assert "or the decoder crashed" not in str(error)
        if sys.platform == "linux" and (status := Path(folder) / "status").exists():  # not even the signature is right in some
            peak = int(status.read_text().partition("VmHWM:")[2].split()[0])
            _peak[0] = max(_peak[0], peak)
            assert peak < _MOST_MEMORY, peak


def check_mask(data: bytes) -> None:
    """What passes the guard is read as a mask or refused: no stray error of a decoder."""
    try:
        sniff(data, limits=_SMALL)
    except InvalidRequest:
        return
    try:
        plane = read_mask(data)
    except MediaError as error:
        assert str(error).isprintable()
        return
    assert set(plane.pixels) <= {0, 255}
    assert len(plane.pixels) == plane.width * plane.height


_ODD = ["mode", "nothing", "__class__", "Prompt", "", "\ud800", "\x00"]
_FIELDS = [*sorted(f.name for f in attrs.fields(GenerationConfig)), *_ODD]
_ATOMS: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30)
    | st.sampled_from(["image", "video", "audio", "a.png", "https://example.com/a.png", "data:image/png;base64,AA==", "16:9", "64x64"])
    | st.just(10**400)
)  # fmt: skip
_VALUES = st.recursive(
    _ATOMS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4), max_leaves=12
)


@st.composite
def json_texts(draw: st.DrawFn) -> str | bytes | Any:
    """A configuration as an object, as text, or as text with something wrong in it."""
    names = st.sampled_from(_FIELDS) | st.text(max_size=12)
    value = draw(st.dictionaries(names, _VALUES, max_size=8) | _VALUES)
    how = draw(st.integers(0, 4))
    if how == 0:
        return value
    text = json.dumps(value)
    if how == 1:
        return text
    if how == 2:
        at = draw(st.integers(0, len(text)))
        return (
            text[:at] + draw(st.text(max_size=6) | st.sampled_from(['{"a":' * 2000, "[" * 100_000, "9" * 5000, '"', "\\ud800"])) + text[at:]
        )
    if how == 3:
        return text[: draw(st.integers(0, len(text)))] + text
    return text.encode() + draw(st.binary(max_size=6))


def check_json(given_: Any) -> None:
    """A configuration is read and becomes a request, or is refused with paths; the text is one that can be shown."""
    try:
        config = GenerationConfig.from_json(given_)
    except InvalidRequest as error:
        json.dumps(error.to_json())
        assert len(str(error)) < 200_000
        return
    try:
        config.to_request()
    except MediaError as error:
        json.dumps(error.to_json())


CHECKS: dict[str, tuple[Callable[[Any], None], Callable[[], st.SearchStrategy[Any]]]] = {
    "header": (check_header, lambda: spoiled(guarded())),
    "decoder": (check_decoder, lambda: spoiled(sandboxed())),
    "json": (check_json, json_texts),
    "mask": (check_mask, lambda: spoiled(pictures())),
}


def run(name: str, examples: int, start: int = 0, *, shrink: bool = True) -> None:
    """Try so many inputs; the first that fails is made small and told by hypothesis."""
    check, strategy = CHECKS[name]
    phases = [Phase.generate, *([Phase.shrink] if shrink else [])]
    with_settings = settings(max_examples=examples, deadline=None, database=None, phases=phases, suppress_health_check=list(HealthCheck))
    seed(start)(with_settings(given(strategy())(check)))()
    if name == "decoder":
        print(f"{examples} inputs decoded, the largest child had {_peak[0] >> 10} MiB")


def main() -> None:
    """Go on until the time is over, printing how many inputs were tried; stops at the first finding."""
    name, seconds = sys.argv[1], float(sys.argv[2])
    begin, rounds = time.monotonic(), 0
    while time.monotonic() - begin < seconds:
        run(name, 500, rounds)
        rounds += 1
    print(f"{name}: {rounds * 500} inputs in {time.monotonic() - begin:.0f} s, nothing found")


if __name__ == "__main__":
    main()

"""Hostile files do not pass the guard, cost next to nothing, and no mutation of a real file gets a stray error out of it."""

import contextlib
import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import media_samples as samples
import pytest
from hostile_media import HOSTILE, SECRET, TOLERATED
from hypothesis import given
from hypothesis import strategies as st
from tiers import examples, sandboxed_once

from anymedia.convert.sandbox import SANDBOXED_FORMATS
from anymedia.errors import InvalidRequest, MediaError
from anymedia.masks import read_mask
from anymedia.probe import probe as guard
from anymedia.probe.probe import Limits, sniff


@pytest.mark.parametrize("name", sandboxed_once(HOSTILE))
def test_hostile_file_is_refused_without_repeating_it(name: str) -> None:
    data = HOSTILE[name]()
    with pytest.raises(InvalidRequest) as caught:
        sniff(data)
    assert "root" not in str(caught.value)
    assert "passwd" not in str(caught.value)


def test_corpus_is_large_enough() -> None:
    assert len(HOSTILE) + len(TOLERATED) >= 100
    assert len(samples.GOOD) >= 60


def calls_of(work: Callable[[], object]) -> int:
    """Count the calls, of Python and of C, that some work makes: the same on a busy machine and on an idle one."""
    count = 0

    def counting(_frame: object, event: str, _more: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    sys.setprofile(counting)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.exhaustive
def test_refusing_costs_little_work(tmp_path: Path) -> None:
    """A call takes a tenth of a microsecond, so this is ten milliseconds; tests/security prints the time itself."""
    heavy = {}
    for name, make in HOSTILE.items():
        path = tmp_path / "file"
        path.write_bytes(make())

        def refused(path: Path = path) -> None:
            with pytest.raises(InvalidRequest):
                sniff(path)

        if (calls := calls_of(refused)) > 100_000:
            heavy[name] = calls
    assert not heavy


MEASURE = """
import json, sys
from collections.abc import Callable
from pathlib import Path
from anymedia.errors import InvalidRequest
from anymedia.probe.probe import sniff
def peak():  # ru_maxrss would begin with the parent's
    return next(int(line.split()[1]) for line in open('/proc/self/status') if line.startswith('VmHWM'))

before = peak()
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        sniff(path)
    except InvalidRequest:
        continue
    raise SystemExit(f"{path} passed")
print(json.dumps(peak() - before))
"""


@pytest.mark.exhaustive
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is counted in other units elsewhere")
def test_refusing_the_whole_corpus_takes_little_memory(tmp_path: Path) -> None:
    for index, make in enumerate(HOSTILE.values()):
        (tmp_path / f"{index:03}").write_bytes(make())
    big = tmp_path / "big.png"
    with big.open("wb") as file:  # 300 MB whose last chunk is cut off
        file.write(samples.good("png")[:33] + b"\x11\xe1\xa3\x00IDAT")
        file.truncate(300_000_000)
    done = subprocess.run([sys.executable, "-c", MEASURE, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout) < 20 * 1024  # KiB


def test_refused_formats_are_named() -> None:
    for name, words in (
        ("a playlist", "playlist"),
        ("matroska", "Matroska"),
        ("png with a zip in a chunk", "ZIP"),
        ("etc passwd", "text file"),
    ):
        with pytest.raises(InvalidRequest, match=words):
            sniff(HOSTILE[name]())


_LARGE = {"wav float", "wav 24 bit stereo", "png mask rgba 4096", "jpeg blank", "jpeg blank progressive"}
SANDBOXED = [n for n, (fmt, _) in samples.GOOD.items() if fmt in SANDBOXED_FORMATS]
SMALL = [n for n in samples.GOOD if n not in _LARGE and n not in SANDBOXED]


@st.composite
def mutated(draw: st.DrawFn, names: list[str]) -> bytes:
    """A real file with some bytes changed, cut out, put in or repeated, mostly near its start."""
    data = bytearray(samples.good(draw(st.sampled_from(names))))
    for _ in range(draw(st.integers(1, 6))):
        reach = len(data) if draw(st.booleans()) else min(len(data), 200)
        at = draw(st.integers(0, max(0, reach - 1)))
        how = draw(st.integers(0, 4))
        if how == 0 and data:
            data[at] = draw(st.integers(0, 255))
        elif how == 1:
            data[at : at + 4] = draw(st.sampled_from([b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\0\0\0\1", b"\0\0\0\x08"]))
        elif how == 2:
            del data[at : at + draw(st.integers(1, 50))]
        elif how == 3:
            data[at:at] = draw(st.binary(min_size=1, max_size=8))
        else:
            begin = draw(st.integers(0, max(0, len(data) - 1)))
            data[at:at] = data[begin : begin + draw(st.integers(1, 200))]
    return bytes(data)


@examples(1500)
@given(mutated(SMALL))
def test_mutated_file_passes_or_is_refused_and_nothing_else(data: bytes) -> None:
    try:
        facts = sniff(data)
    except InvalidRequest:
        return
    assert 0 < facts.end <= facts.size == len(data)
    assert facts.kind != "image" or (facts.width and facts.height)


def test_net_under_the_readers_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "DAMAGED", ())  # struct.error, IndexError ... would come through
    chance = random.Random(20261121)
    for _ in range(3000):
        data = bytearray(samples.good(chance.choice(SMALL)))
        for _ in range(chance.randrange(1, 5)):
            at = chance.randrange(len(data)) if chance.random() < 0.5 else chance.randrange(min(len(data), 200))
            data[at : at + chance.choice([1, 4])] = chance.choice([b"\xff" * 4, b"\0" * 4, bytes([chance.randrange(256)]), b""])
        if not data:
            continue
        with contextlib.suppress(InvalidRequest):
            sniff(bytes(data))


@examples(12)
@given(mutated(SANDBOXED))
def test_mutated_file_of_a_sandboxed_format_is_decoded_or_refused_in_the_child(data: bytes) -> None:
    try:
        facts = sniff(data)
    except InvalidRequest:
        return
    assert 0 < (facts.width or 0) * (facts.height or 0) <= Limits().pixels


@examples(300)
@given(mutated([n for n in SMALL if n.startswith(("png", "jpeg", "webp", "gif")) and "20000" not in n and "4000" not in n]))
def test_mutated_mask_is_read_or_refused_and_nothing_else(data: bytes) -> None:
    try:
        plane = read_mask(data)
    except MediaError as error:
        assert "root" not in str(error)
        return
    assert set(plane.pixels) == {0, 255}
    assert len(plane.pixels) == plane.width * plane.height


@examples(300)
@given(st.binary(max_size=400), st.sampled_from(SMALL), st.sampled_from([12, 40]))
def test_garbage_behind_a_real_beginning_is_refused(tail: bytes, name: str, length: int) -> None:
    try:
        facts = sniff(samples.good(name)[:length] + tail + SECRET)
    except InvalidRequest:
        return
    assert facts.format == "wav"  # only samples without a stated length can be anything

"""What a backend's author provides: a fake of the service, with a behaviour for each scenario; small media for it to return."""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import json
import math
import re
import struct
import threading
import urllib.parse
import wave
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, BinaryIO, Literal, get_args

import attrs

#: A key to give to the backend: it must never appear in any text.
CANARY = "canary-key-7f3e91d2c4"
#: The seconds that the answer of the ``rate_limited`` scenario asks to wait, in whatever form the service uses.
RETRY_AFTER = 2.0

Scenario = Literal[
    "success",
    "unauthorized",
    "rate_limited",
    "quota",
    "refused",
    "down",
    "slow",
    "garbage",
    "truncated",
    "endless",
    "bomb",
    "lost_reply",
    "unseen",
    "forgotten",
    "redirected",
    "moved",
]
SCENARIOS: tuple[Scenario, ...] = get_args(Scenario)
#: Scenario -> how the service treats a billable submit; a backend without jobs never sees `unseen` and `forgotten`.
MEANINGS: Mapping[Scenario, str] = {
    "success": "makes what was requested, and edits where its mask format says (`anymedia.testing.painted` does this); "
    "rejects fields, values and types that the service does not know",
    "unauthorized": "answers that the key is not accepted",
    "rate_limited": f"answers that there are too many requests, with a hint to wait {RETRY_AFTER:g} seconds",
    "quota": "answers that the account's money or quota is used up",
    "refused": "answers that its safety system refused the prompt",
    "down": "answers that it is down or overloaded",
    "slow": "makes it, and holds the answer back until the client has disconnected",
    "garbage": "answers 200 with meaningless bytes",
    "truncated": "ends its answer too early",
    "endless": "answers 200 with far more bytes than any answer has, without saying how many (`anymedia.testing.flood`)",
    "bomb": "the same, in an encoding in which they are few (`anymedia.testing.flood`)",
    "lost_reply": "makes it, and closes the connection without an answer; no list shows it",
    "unseen": "starts a job, and does not find it at the first one or two status checks, as a distributed service may",
    "forgotten": "starts a job, and finds it at no status check",
    "redirected": "answers 307, with `self.redirect_to` (an address that the kit gives) as its `location`",
    "moved": "answers 302, with the same `location`",
}
assert set(MEANINGS) == set(SCENARIOS)
#: The scenarios in which a submit is redirected.
REDIRECTS: tuple[Scenario, ...] = ("redirected", "moved")
#: The scenarios in which the answer is too large.
FLOODS: tuple[Scenario, ...] = ("endless", "bomb")


@attrs.frozen(kw_only=True)
class Wire:
    """A running fake of the service.

    Attributes:
        submits: returns how many billable submits it has received; None for a backend that works on this machine.
        sent: returns the billable submits it has received, each as a flat mapping of field to text, number or bytes (the
            fake decides how to flatten the wire format); None for a backend that works on this machine: the media
            themselves must then differ.
        stops: returns how many requests to cancel a job it has received; for a backend with the hook ``cancel_job``.
        environ: the credentials, by the names of the matrix's environment variables; give `CANARY` as the key.
        base_url: where the backend's requests are sent instead of to the service.
        options: further settings of the instance.
        hosts: ``host:port`` that results may be fetched from.
        hidden: texts that must not appear anywhere (signatures of URLs).
    """

    submits: Callable[[], int] | None
    sent: Callable[[], Sequence[Mapping[str, Any]]] | None = tuple
    stops: Callable[[], int] | None = None
    environ: Mapping[str, str] = attrs.field(factory=dict)
    base_url: str | None = None
    options: Mapping[str, Any] = attrs.field(factory=dict)
    hosts: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()


@attrs.frozen
class Answer:
    """What a fake answers.

    Attributes:
        body: JSON, or bytes as they are.
        status: the HTTP status.
        headers: further headers.
    """

    body: Any = b""
    status: int = 200
    headers: Mapping[str, str] = attrs.field(factory=dict)


@attrs.define
class Call:
    """A request that a fake has received.

    Attributes:
        fake: the fake; its ``url`` begins the links of answers.
        line: method and path, without the query: ``POST /images``.
        query: the query's fields.
        headers: by their names in lower case.
        body: the bytes.
        is_submit: whether it was recorded as a billable submit.
    """

    fake: FakeService
    line: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = attrs.field(repr=False)
    is_submit: bool = False

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)

    def form(self) -> dict[str, str | bytes]:
        """Return the fields of a multipart form; files as bytes, and a name that is used again as ``image 1``, ``image 2``."""
        edge = b"--" + self.headers["content-type"].partition("boundary=")[2].strip('"').encode()
        found: dict[str, str | bytes] = {}
        for part in (b"\r\n" + self.body).split(b"\r\n" + edge)[1:-1]:
            head, _, value = part.partition(b"\r\n\r\n")
            (name,) = re.findall(rb'[; ]name="([^"]*)"', head)
            key, count = name.decode(), sum(known.partition(" ")[0] == name.decode() for known in found)
            found[f"{key} {count}" if count else key] = value if b"filename=" in head else value.decode()
        return found

    def submit(self, fields: Mapping[str, Any]) -> int:
        """Record a billable submit, as a flat mapping, and return its number; the scenario decides how it is answered."""
        self.is_submit = True
        self.fake.received.append(dict(fields))
        return len(self.fake.received) - 1

    def listed(self) -> dict[int, dict[str, Any]]:
        """Return the submits that a list of the service shows, by number: those it accepted, but none whose answer was lost."""
        return dict(enumerate(self.fake.received if self.fake.scenario in {"success", "slow"} else ()))

    def check(self, job: Any) -> int:
        """Count a status check of a job: 1, 2 ...; 0 or below while the scenario has it not found."""
        self.fake.checks[str(job)] = self.fake.checks.get(str(job), 0) + 1
        return self.fake.checks[str(job)] - {"unseen": 2, "forgotten": 1_000_000}.get(self.fake.scenario, 0)

    def stop(self, job: Any) -> None:
        """Count a request to cancel a job, which is among ``fake.stopped`` from then on."""
        self.fake.stops += 1
        self.fake.stopped.add(str(job))


class LocalServer(ThreadingHTTPServer):
    """A server on a free port of this machine, which serves from the start; a context manager.

    Attributes:
        url: its address.
    """

    def __init__(self, handler: type[LocalHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, args=(0.01,), name="anymedia-fake-service", daemon=True).start()

    def server_close(self) -> None:
        """Stop serving."""
        self.shutdown()
        super().server_close()


class LocalHandler(BaseHTTPRequestHandler):
    """Handles a request of any method with `answer`."""

    def answer(self) -> None:
        """Handle a request."""
        raise NotImplementedError

    def do_GET(self) -> None:
        """Handle a request of any method."""
        self.answer()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = do_GET  # noqa: N815 - http.server's names

    def body(self) -> bytes:
        """Read the body of the request."""
        if "transfer-encoding" not in self.headers:
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        parts = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def send(self, status: int, headers: Mapping[str, str], body: bytes, *, cut: bool = False) -> None:
        """Send an answer; ``cut``: with less than its body."""
        lines = [f"HTTP/1.0 {status} -", *(f"{n}: {v}" for n, v in headers.items()), f"content-length: {len(body)}", "", ""]
        with contextlib.suppress(ConnectionError):
            self.wfile.write("\r\n".join(lines).encode("latin-1", "replace") + (body[:1] if cut else body))

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


class FakeService(LocalServer):
    """A running fake, see `fake_service`.

    Attributes:
        received: the billable submits.
        checks: job -> how often its status was checked.
        stops: how many requests to cancel a job it has received.
        stopped: the jobs that were cancelled.
        state: whatever the handler remembers.
    """

    def __init__(self, handler: Handler, failures: Mapping[Scenario, Answer], scenario: Scenario, redirect_to: str) -> None:
        self.handler, self.failures, self.scenario, self.redirect_to = handler, failures, scenario, redirect_to
        self.received: list[dict[str, Any]] = []
        self.checks: dict[str, int] = {}
        self.stops, self.stopped, self.state = 0, set[str](), dict[str, Any]()
        super().__init__(_FakeHandler)

    def wire(self, **more: Any) -> Wire:
        """Return the wire of this fake.

        Args:
            more: ``environ``, ``options`` and ``hidden`` of `Wire`, say.
        """
        given: dict[str, Any] = {"base_url": self.url, "hosts": (self.url.removeprefix("http://"),), **more}
        return Wire(submits=lambda: len(self.received), sent=lambda: self.received, stops=lambda: self.stops, **given)


Handler = Callable[[Call], Any]


def fake_service(handler: Handler, failures: Mapping[Scenario, Answer]) -> Callable[..., FakeService]:
    """Return a fake of a service over HTTP, to be started with a scenario and an address to redirect to.

    How a submit fails is played by `FakeService`; the handler plays a service that works, and refuses what the service does not know.

    Args:
        handler: answers a call with JSON, bytes or an `Answer`.
        failures: what the service answers in ``unauthorized``, ``rate_limited`` (the header ``retry-after`` is added), ``quota``,
            ``refused`` and ``down``.
    """

    def start(scenario: Scenario, redirect_to: str = "") -> FakeService:
        return FakeService(handler, failures, scenario, redirect_to)

    return start


class _FakeHandler(LocalHandler):
    server: FakeService

    def answer(self) -> None:
        """Answer as the author's code says, and a submit as the scenario says."""
        path, _, query = self.path.partition("?")
        headers = {name.lower(): value for name, value in self.headers.items()}
        call = Call(self.server, f"{self.command} {path}", dict(urllib.parse.parse_qsl(query)), headers, self.body())
        try:
            made = self.server.handler(call)
        except Exception as error:  # noqa: BLE001 - the author's code; the plugin's error shows it
            made = Answer({"error": f"the fake raised {error!r}"}, 500)
        answer = made if isinstance(made, Answer) else Answer(made)
        if not call.is_submit:
            self._send(answer)
        else:
            self._play(answer)

    def _play(self, answer: Answer) -> None:
        """Answer a submit as the scenario says."""
        scenario = self.server.scenario
        if scenario == "slow":
            self.connection.recv(1)  # hold the answer back until the client has disconnected
        elif scenario in FLOODS:
            write_flood(scenario, self.wfile)
        elif scenario == "lost_reply":
            self.connection.close()
        elif scenario in REDIRECTS:
            self._send(Answer({}, 307 if scenario == "redirected" else 302, {"location": self.server.redirect_to}))
        elif scenario == "garbage":
            self._send(Answer(b"%!"))
        else:
            answer = self.server.failures.get(scenario, answer)
            more = {"retry-after": f"{RETRY_AFTER:g}"} if scenario == "rate_limited" else {}
            self._send(attrs.evolve(answer, headers={**more, **answer.headers}), cut=scenario == "truncated")

    def _send(self, answer: Answer, *, cut: bool = False) -> None:
        plain = isinstance(answer.body, bytes)
        headers = {"content-type": "application/octet-stream" if plain else "application/json", **answer.headers}
        self.send(answer.status, headers, answer.body if plain else json.dumps(answer.body).encode(), cut=cut)


def flood(scenario: Scenario, size: int = 400_000_000) -> tuple[Mapping[str, str], Iterator[bytes]]:
    """Return the headers and the body of an answer that is too large; send it until the client disconnects, without a length.

    Args:
        scenario: ``endless`` or ``bomb``.
        size: bytes of the body once it is decoded.
    """
    part = b"A" * 65_536
    if scenario == "endless":
        return {"content-type": "application/json"}, itertools.chain((b'{"data": "',), itertools.repeat(part, size // len(part)))
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = packer.compress(part * 16) + packer.flush(zlib.Z_FULL_FLUSH)  # it can be repeated
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    return headers, itertools.chain((b"\x1f\x8b\x08" + bytes(7),), itertools.repeat(packed, size // (16 * len(part))))


def write_flood(scenario: Scenario, out: BinaryIO | io.BufferedIOBase) -> None:
    """Write such an answer as HTTP/1.0 to a socket's file (``wfile`` of ``http.server``), until the client disconnects."""
    headers, parts = flood(scenario)
    lines = ["HTTP/1.0 200 OK", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    with contextlib.suppress(ConnectionError):
        out.writelines(itertools.chain(("\r\n".join(lines).encode(),), parts))


@functools.lru_cache(maxsize=64)
def picture(width: int, height: int, seed: int = 0, format_name: str = "png") -> bytes:
    """Return an image file with two colours that depend on the seed.

    Args:
        width: in pixels.
        height: in pixels.
        seed: images with different seeds differ.
        format_name: png, jpeg or webp.
    """
    from PIL import Image, ImageDraw

    shades = [((seed * 67 + 40 * i) % 256, (seed * 131 + 90 * i) % 256, (seed * 29 + 150 * i) % 256) for i in (1, 2)]
    image = Image.new("RGB", (width, height), shades[0])
    ImageDraw.Draw(image).ellipse((width // 4, height // 4, width * 3 // 4, height * 3 // 4), fill=shades[1])
    return _saved(image, {"jpg": "JPEG"}.get(format_name, format_name.upper()))


def _saved(image: Any, format_name: str = "PNG") -> bytes:
    out = io.BytesIO()
    image.save(out, format_name)
    return out.getvalue()


@functools.lru_cache(maxsize=16)
def half_mask(width: int, height: int, *, left: bool = True) -> bytes:
    """Return a black and white mask (PNG): white (edit) on one half.

    Args:
        width: in pixels.
        height: in pixels.
        left: the left half is white, else the right half.
    """
    from PIL import Image

    image = Image.new("L", (width, height), 0)
    image.paste(255, (0, 0, width // 2, height) if left else (width // 2, 0, width, height))
    return _saved(image)


def painted(image: bytes, mask: bytes, form: Literal["alpha", "white", "black"]) -> bytes:
    """Return an image (PNG) with the masked region painted over, as a service does that reads masks in a format.

    Args:
        image: the source.
        mask: the mask, of the same size.
        form: which part of the mask is edited, as in the matrix: transparent (``alpha``), ``white`` or ``black``.

    Raises:
        ValueError: the mask has another size than the image, or no transparency.
    """
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(image)) as first, Image.open(io.BytesIO(mask)) as second:
        if form == "alpha" and "A" not in second.getbands():
            raise ValueError("the mask has no transparency")
        region = second.getchannel("A") if form == "alpha" else second.convert("L")
        if region.size != first.size:
            raise ValueError(f"the mask is {region.size}, the image {first.size}")
        before = first.convert("RGB")
        where = region if form == "white" else ImageOps.invert(region)
        after = Image.composite(before.point(lambda value: (value + 128) % 256), before, where)
    return _saved(after)


@functools.lru_cache(maxsize=16)
def sound(seconds: float = 1.0, seed: int = 0) -> bytes:
    """Return a tone as WAV, 16 bits at 16 kHz.

    Args:
        seconds: its duration.
        seed: its pitch depends on the seed.
    """
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        step = 2 * math.pi * (220 + 20 * (seed % 40)) / 16_000
        file.writeframes(b"".join(struct.pack("<h", int(9_000 * math.sin(step * i))) for i in range(int(seconds * 16_000))))
    return out.getvalue()


@functools.lru_cache(maxsize=16)
def video(seconds: float = 2.0, width: int = 320, height: int = 180, seed: int = 0) -> bytes:
    """Return an H.264 MP4 at 24 frames a second whose brightness rises; needs PyAV.

    Args:
        seconds: its duration.
        width: in pixels.
        height: in pixels.
        seed: videos with different seeds differ.
    """
    import av
    from PIL import Image

    frames: Any = av.VideoFrame
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        count = int(seconds * 24)
        for i in range(count):
            shade = (i * 200 // count + seed * 37) % 256
            frame = Image.new("RGB", (width, height), (shade, shade, shade))
            container.mux(stream.encode(frames.from_image(frame)))
        container.mux(stream.encode())
    return out.getvalue()

"""A fake of the service of the sketch backend: it accepts the fields that it knows, with their types only."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from anymedia.testing import painted, picture, write_flood

FAILURES = {
    "unauthorized": (401, "bad_key"),
    "rate_limited": (429, "too_fast"),
    "quota": (402, "no_credit"),
    "refused": (422, "unsafe_prompt"),
    "down": (503, "overloaded"),
    "redirected": (307, "moved"),
    "moved": (302, "moved"),
}
#: The field of a mask -> its format.
_MASKS: dict[str, Literal["alpha", "black"]] = {"mask": "alpha", "stencil": "black"}
_TEXTS = {"prompt", "size", "format", "quality", "background", "paper", "after", "image", "mask", "stencil"}


class SketchFake(ThreadingHTTPServer):
    def __init__(self, scenario: str, redirect_to: str = "") -> None:
        super().__init__(("127.0.0.1", 0), Sketch)
        self.scenario: Any
        self.scenario, self.redirect_to, self.url = scenario, redirect_to, f"http://127.0.0.1:{self.server_port}"
        self.received: list[dict[str, Any]] = []
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def server_close(self) -> None:
        self.shutdown()
        super().server_close()


def _knows(name: str, value: Any) -> bool:
    if name == "n":
        return isinstance(value, int)
    return isinstance(value, str) and (name in _TEXTS or name.startswith(("picture_", "about_")))


class Sketch(BaseHTTPRequestHandler):
    server: SketchFake

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.received.append(request)
        status, code = FAILURES.get(self.server.scenario, (200, ""))
        if wrong := [name for name, value in request.items() if not _knows(name, value)]:
            status, code = 400, f"unknown: {', '.join(wrong)}"
        body = json.dumps({"error": {"code": code, "message": code}} if code else self.response(request)).encode()
        if self.server.scenario == "garbage":
            body = b"%!"
        if self.server.scenario in {"endless", "bomb"}:
            write_flood(self.server.scenario, self.wfile)
            return
        if self.server.scenario == "slow":
            self.connection.recv(1)  # hold the answer back until the client has disconnected
            return
        if self.server.scenario == "lost_reply":
            self.connection.close()
            return
        headers = f"content-length: {len(body)}\r\nretry-after: 2\r\nlocation: {self.server.redirect_to}"
        self.wfile.write(f"HTTP/1.0 {status} -\r\n{headers}\r\n\r\n".encode())
        self.wfile.write(body[:1] if self.server.scenario == "truncated" else body)

    def response(self, request: dict[str, Any]) -> dict[str, Any]:
        width, height = map(int, request.get("size", "256x256").split("x"))
        number = len(self.server.received)
        for name, form in _MASKS.items():
            if name in request:
                with contextlib.suppress(Exception):  # an invalid mask is ignored silently, as some services do
                    return self.answer(number, [painted(*(base64.b64decode(request[part]) for part in ("image", name)), form)])
        images = [picture(width, height, number + i, request.get("format", "png")) for i in range(request.get("n", 1))]
        return self.answer(number, images)

    def answer(self, number: int, images: list[bytes]) -> dict[str, Any]:
        found = [{"id": f"img-{number}-{i}", "image": base64.b64encode(data).decode()} for i, data in enumerate(images)]
        return {"id": f"ask-{number}", "images": found}

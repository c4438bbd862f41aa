"""Painter, as its documentation says it answers: good pictures, and each way to fail."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from anymedia.testing import picture

TAKES = {"prompt": str, "size": str, "seed": int}
FAILURES = {
    "unauthorized": (401, "bad_key"),
    "rate_limited": (429, "too_fast"),
    "quota": (402, "no_credit"),
    "refused": (422, "unsafe_prompt"),
    "down": (503, "overloaded"),
    "redirected": (307, "elsewhere"),
    "moved": (302, "elsewhere"),
}


class PainterFake(ThreadingHTTPServer):
    def __init__(self, scenario, elsewhere=""):
        super().__init__(("127.0.0.1", 0), Painter)
        self.scenario, self.elsewhere, self.received, self.url = scenario, elsewhere, [], f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()


class Painter(BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.received.append(asked)
        status, code = FAILURES.get(self.server.scenario, (200, ""))
        if not all(isinstance(value, TAKES.get(name, ())) for name, value in asked.items()):
            status, code = 400, "unknown_field"
        answer = {"error": {"code": code, "message": code}} if code else self.made(asked)
        body = b"%!" if self.server.scenario == "garbage" else json.dumps(answer).encode()
        if self.server.scenario == "slow":
            return self.connection.recv(1)  # the answer is held back until the client has gone
        if self.server.scenario == "lost_reply":
            return self.connection.close()
        head = f"HTTP/1.0 {status} -\r\ncontent-length: {len(body)}\r\nretry-after: 2\r\nlocation: {self.server.elsewhere}\r\n\r\n"
        return self.wfile.write(head.encode() + (body[:1] if self.server.scenario == "truncated" else body))

    def made(self, asked):
        width, height = map(int, asked.get("size", "512x512").split("x"))
        image = base64.b64encode(picture(width, height, asked.get("seed", 0))).decode()
        return {"id": f"img-{len(self.server.received)}", "image": image}

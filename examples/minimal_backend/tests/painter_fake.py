"""A fake of Painter that follows its documentation: images, and an answer for each scenario of the kit."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from anymedia.testing import picture, write_flood

FIELDS = {"prompt": str, "size": str, "seed": int}
FAILURES = {
    "unauthorized": (401, "bad_key"),
    "rate_limited": (429, "too_fast"),
    "quota": (402, "no_credit"),
    "refused": (422, "unsafe_prompt"),
    "down": (503, "overloaded"),
    "redirected": (307, "moved"),
    "moved": (302, "moved"),
}


class PainterFake(ThreadingHTTPServer):
    def __init__(self, scenario, redirect_to=""):
        super().__init__(("127.0.0.1", 0), Painter)
        self.scenario, self.redirect_to, self.received, self.url = scenario, redirect_to, [], f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def server_close(self):
        self.shutdown()
        super().server_close()


class Painter(BaseHTTPRequestHandler):
    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.received.append(request)
        status, code = FAILURES.get(self.server.scenario, (200, ""))
        if not all(isinstance(value, FIELDS.get(name, ())) for name, value in request.items()):
            status, code = 400, "unknown_field"
        answer = {"error": {"code": code, "message": code}} if code else self.response(request)
        body = b"%!" if self.server.scenario == "garbage" else json.dumps(answer).encode()
        if self.server.scenario in {"endless", "bomb"}:
            return write_flood(self.server.scenario, self.wfile)
        if self.server.scenario == "slow":
            return self.connection.recv(1)  # hold the answer back until the client has disconnected
        if self.server.scenario == "lost_reply":
            return self.connection.close()
        head = f"HTTP/1.0 {status} -\r\ncontent-length: {len(body)}\r\nretry-after: 2\r\nlocation: {self.server.redirect_to}\r\n\r\n"
        return self.wfile.write(head.encode() + (body[:1] if self.server.scenario == "truncated" else body))

    def response(self, request):
        width, height = map(int, request.get("size", "512x512").split("x"))
        image = base64.b64encode(picture(width, height, request.get("seed", 0))).decode()
        return {"id": f"img-{len(self.server.received)}", "image": image}

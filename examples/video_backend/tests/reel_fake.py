"""A fake of Reel that follows its documentation: jobs done at the second status check, signed URLs, and each scenario of the kit."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from anymedia.testing import video, write_flood

SIGNATURE = "sig-5b0c19d2e7"
NUMBERS = {"seconds", "seed"}
TEXTS = {"prompt", "resolution", "camera", "first_frame", "extends", "label"}
FAILURES = {
    "unauthorized": (401, "bad_key"),
    "rate_limited": (429, "too_fast"),
    "quota": (402, "no_credit"),
    "refused": (422, "unsafe_prompt"),
    "down": (503, "overloaded"),
    "redirected": (307, "moved"),
    "moved": (302, "moved"),
}
#: Scenario -> how many status checks do not find a job.
UNSEEN = {"unseen": 2, "forgotten": 1_000_000}


class ReelFake(ThreadingHTTPServer):
    def __init__(self, scenario, redirect_to=""):
        super().__init__(("127.0.0.1", 0), Reel)
        self.scenario, self.redirect_to, self.received, self.checks, self.stops, self.stopped = scenario, redirect_to, [], {}, 0, set()
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def server_close(self):
        self.shutdown()
        super().server_close()


class Reel(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        name = self.path.partition("?")[0].rpartition("/")[2]
        if self.path.startswith("/files/"):
            seconds = self.server.received[int(name)]["seconds"]
            return self.answer(200, video(float(seconds)), "video/mp4")
        if name == "models":
            return self.answer(200, b'{"models": [{"id": "reel-1"}, {"id": "reel-2"}]}')
        if name == "videos":  # a submit whose reply was lost is never listed
            made = enumerate(self.server.received if self.server.scenario in {"success", "slow"} else ())
            listed = [{"id": str(number), "label": asked["label"]} for number, asked in made]
            return self.answer(200, json.dumps({"videos": listed[::-1]}).encode())
        self.server.checks[name] = self.server.checks.get(name, 0) + 1
        unseen = UNSEEN.get(self.server.scenario, 0)
        if self.server.checks[name] <= unseen:
            return self.answer(404, b'{"error": {"code": "no_such_video", "message": "no such video"}}')
        if name not in map(str, range(len(self.server.received))):
            return self.answer(404, b'{"error": {"code": "not_found", "message": "not found"}}')
        if name in self.server.stopped:
            return self.answer(200, b'{"status": "canceled"}')
        asked = self.server.received[int(name)]
        if self.server.checks[name] < 2 + unseen:
            return self.answer(200, b'{"status": "running", "progress": 0.5}')
        url = f"{self.server.url}/files/{name}?signature={SIGNATURE}"
        done = {"id": name, "status": "done", "url": url, "extends": asked.get("extends")}
        return self.answer(200, json.dumps(done).encode())

    def do_POST(self):
        if self.path.endswith("/cancel"):
            self.server.stops += 1
            self.server.stopped.add(self.path.split("/")[-2])
            return self.answer(204, b"")
        if not self.path.endswith("/videos"):
            return self.answer(404, b'{"error": {"code": "not_found", "message": "not found"}}')
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        wrong = [k for k, v in asked.items() if not (isinstance(v, str) if k in TEXTS else k in NUMBERS and isinstance(v, int | float))]
        asked.setdefault("seconds", 4)
        if "first_frame" in asked:
            asked["first_frame"] = base64.b64decode(asked["first_frame"])
        self.server.received.append(asked)
        scenario = self.server.scenario
        if scenario == "slow":
            return self.connection.recv(1)  # hold the answer back until the client has disconnected
        if scenario in {"endless", "bomb"}:
            return write_flood(scenario, self.wfile)
        if scenario == "lost_reply":
            return self.connection.close()
        status, code = FAILURES.get(scenario, (400, "unknown_field") if wrong else (200, ""))
        answer = {"error": {"code": code, "message": code}} if code else {"id": str(len(self.server.received) - 1)}
        body = b"%!" if scenario == "garbage" else json.dumps(answer).encode()
        return self.answer(status, body, cut=scenario == "truncated")

    def answer(self, status, body, kind="application/json", *, cut=False):
        headers = f"content-type: {kind}\r\ncontent-length: {len(body)}\r\nretry-after: 2\r\nlocation: {self.server.redirect_to}"
        self.wfile.write(f"HTTP/1.0 {status} -\r\n{headers}\r\n\r\n".encode() + (body[:1] if cut else body))

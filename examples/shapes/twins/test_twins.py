import base64
import contextlib

from anymedia.testing import CANARY, Answer, BackendConformance, Call, fake_service, picture

FIELDS = {"POST /v2/images": {"prompt": str, "seed": int}, "POST /render": {"text": str, "random_state": int}}


def error(status: int, code: str) -> Answer:
    return Answer({"error": {"code": code, "message": code}}, status)


FAILURES = {
    "unauthorized": error(401, "bad_key"),
    "rate_limited": error(429, "too_fast"),
    "quota": error(402, "no_credit"),
    "refused": error(422, "unsafe_prompt"),
    "down": error(503, "overloaded"),
}


def answer(call: Call) -> object:
    if call.line not in FIELDS:
        return error(404, "not_found")
    asked = call.json()
    number = call.submit(asked)
    if not all(isinstance(value, FIELDS[call.line].get(name, ())) for name, value in asked.items()):
        return error(400, "unknown_field")
    image = base64.b64encode(picture(256, 256, number)).decode()
    return {"image": image} if call.line == "POST /v2/images" else {"output": [{"picture": image}]}


TwinsFake = fake_service(answer, FAILURES)


class TestTwins(BackendConformance):
    backend = "twins"

    @contextlib.contextmanager
    def wire(self, scenario, service):
        with TwinsFake(scenario, self.redirect_to) as fake:
            yield fake.wire(environ={f"TWINS_{service.upper()}_KEY": CANARY})

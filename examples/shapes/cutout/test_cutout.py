import base64
import contextlib
import hashlib

from anymedia.testing import CANARY, Answer, BackendConformance, Call, fake_service, picture

FIELDS = {"POST /remove_background": {"image": str, "format": str, "feather": (int, float)}, "POST /describe": {"image": str}}


def error(status: int, code: str) -> Answer:
    return Answer({"error": {"code": code, "message": code}}, status)


FAILURES = {
    "unauthorized": error(401, "bad_key"),
    "rate_limited": error(429, "too_fast"),
    "quota": error(402, "no_credit"),
    "refused": error(422, "unsafe_image"),
    "down": error(503, "overloaded"),
}


def answer(call: Call) -> object:
    if call.line not in FIELDS:
        return error(404, "not_found")
    asked = call.json()
    number = call.submit({**asked, "image": base64.b64decode(asked["image"])})
    if not all(isinstance(value, FIELDS[call.line].get(name, ())) for name, value in asked.items()):
        return error(400, "unknown_field")
    if call.line == "POST /describe":
        return {"text": f"a picture with the checksum {hashlib.sha256(asked['image'].encode()).hexdigest()[:8]}"}
    return {"image": base64.b64encode(picture(256, 256, number, asked.get("format", "png"))).decode()}


CutoutFake = fake_service(answer, FAILURES)


class TestCutout(BackendConformance):
    backend = "cutout"

    @contextlib.contextmanager
    def wire(self, scenario, service):
        with CutoutFake(scenario, self.redirect_to) as fake:
            yield fake.wire(environ={"CUTOUT_KEY": CANARY})

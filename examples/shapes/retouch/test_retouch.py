import contextlib
import io

from PIL import Image

from anymedia.testing import CANARY, Answer, BackendConformance, Call, fake_service, painted

FIELDS = {"prompt": str, "seed": str, "output_format": str, "image": bytes, "mask": bytes}


def error(status: int, code: str) -> Answer:
    return Answer({"id": "0b1e", "name": code, "errors": [code]}, status)


FAILURES = {
    "unauthorized": error(401, "unauthorized"),
    "rate_limited": error(429, "rate_limit_exceeded"),
    "quota": error(402, "payment_required"),
    "refused": error(403, "content_moderation"),
    "down": error(503, "overloaded"),
}


def answer(call: Call) -> object:
    if call.line != "POST /inpaint":
        return error(404, "not_found")
    asked = call.form()
    call.submit(asked)
    if not all(isinstance(value, FIELDS.get(name, ())) for name, value in asked.items()):
        return error(400, "bad_request")
    kind, out = asked.get("output_format", "png"), io.BytesIO()
    with Image.open(io.BytesIO(painted(asked["image"], asked["mask"], "white"))) as image:
        image.save(out, kind.upper())
    return Answer(out.getvalue(), headers={"content-type": f"image/{kind}", "seed": asked.get("seed", "7"), "x-request-id": "r-1"})


RetouchFake = fake_service(answer, FAILURES)


class TestRetouch(BackendConformance):
    backend = "retouch"

    @contextlib.contextmanager
    def wire(self, scenario, service):
        with RetouchFake(scenario, self.redirect_to) as fake:
            yield fake.wire(environ={"RETOUCH_KEY": CANARY})

import base64
import contextlib

from anymedia.testing import CANARY, Answer, BackendConformance, Call, fake_service, picture


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
    if call.line != "POST /edits":
        return error(404, "not_found")
    asked = call.form()
    number = call.submit(asked)
    if unknown := {name.partition(" ")[0] for name in asked} - {"prompt", "strength", "format", "image[]"}:
        return error(400, f"unknown: {unknown}")
    image = picture(256, 256, number, asked.get("format", "png"))
    return {"id": f"edit-{number}", "data": [{"b64": base64.b64encode(image).decode()}]}


CollageFake = fake_service(answer, FAILURES)


class TestCollage(BackendConformance):
    backend = "collage"

    @contextlib.contextmanager
    def wire(self, scenario, service):
        with CollageFake(scenario, self.redirect_to) as fake:
            yield fake.wire(environ={"COLLAGE_KEY": CANARY})

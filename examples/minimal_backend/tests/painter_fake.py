"""A fake of Painter that follows its documentation."""

import base64

from anymedia.testing import Answer, Call, fake_service, picture

FIELDS = {"prompt": str, "size": str, "seed": int}


def error(status: int, code: str) -> Answer:
    return Answer({"error": {"code": code, "message": code}}, status)


def painter(call: Call) -> object:
    if call.line != "POST /images":
        return error(404, "not_found")
    asked = call.json()
    call.submit(asked)
    if not all(isinstance(value, FIELDS.get(name, ())) for name, value in asked.items()):
        return error(400, "unknown_field")
    width, height = map(int, asked.get("size", "512x512").split("x"))
    image = base64.b64encode(picture(width, height, asked.get("seed", 0))).decode()
    return {"id": f"img-{len(call.fake.received)}", "image": image}


FAILURES = {
    "unauthorized": error(401, "bad_key"),
    "rate_limited": error(429, "too_fast"),
    "quota": error(402, "no_credit"),
    "refused": error(422, "unsafe_prompt"),
    "down": error(503, "overloaded"),
}
PainterFake = fake_service(painter, FAILURES)

import base64
import contextlib

from anymedia.testing import CANARY, Answer, BackendConformance, Call, fake_service, picture

TEXT, FILE = {"type": "string"}, {"type": "string", "format": "uri"}
SCHEMAS = {
    "lion": {"properties": {"prompt": TEXT, "seed": {"type": "integer"}}, "required": ["prompt"]},
    "owl": {
        "properties": {
            "image_url": FILE,
            "style": {"type": "string", "enum": ["night", "day", "dusk"]},
            "strength": {"type": "number", "minimum": 0, "maximum": 1, "default": 0.5},
        },
        "required": ["image_url", "style"],
    },
}


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
    if call.line == "GET /models":
        return {"models": [{"id": name, "input_schema": {"type": "object", **schema}} for name, schema in SCHEMAS.items()]}
    schema = SCHEMAS.get(call.line.removeprefix("POST /run/"))
    if schema is None:
        return error(404, "not_found")
    asked = call.json()
    number = call.submit({name: value if isinstance(value, str) else repr(value) for name, value in asked.items()})
    if asked.keys() - schema["properties"].keys() or set(schema["required"]) - asked.keys():
        return error(400, "invalid_input")
    return {"output": [f"data:image/png;base64,{base64.b64encode(picture(256, 256, number)).decode()}"]}


ZooFake = fake_service(answer, FAILURES)


class TestZoo(BackendConformance):
    backend = "zoo"
    listed = True

    @contextlib.contextmanager
    def wire(self, scenario, service):
        with ZooFake(scenario, self.redirect_to) as fake:
            yield fake.wire(environ={"ZOO_TOKEN": CANARY})

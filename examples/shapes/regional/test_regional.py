import contextlib

from anymedia.testing import CANARY, Answer, BackendConformance, Call, fake_service, picture

SIGNATURE = "sig-81b0c3f77a"
FIELDS = {"prompt": str, "width": int, "height": int, "seed": int}


def error(status: int, code: str) -> Answer:
    return Answer({"error": {"code": code, "message": code}}, status)


FAILURES = {
    "unauthorized": error(401, "bad_key"),
    "rate_limited": error(429, "too_fast"),
    "quota": error(402, "no_credit"),
    "down": error(503, "overloaded"),
}


def answer(call: Call) -> object:
    number = call.query.get("id", "")
    if call.line == "POST /v1/regional-pro":
        asked = call.json()
        made = call.submit(asked)
        if not all(isinstance(value, FIELDS.get(name, ())) for name, value in asked.items()):
            return error(400, "unknown_field")
        return {"id": f"job-{made}", "polling_url": f"{call.fake.url}/eu/result?id={made}"}
    if call.line == "GET /eu/result":
        checks = call.check(number)
        if checks < 1:
            return error(404, "not_found")
        if checks == 1:
            return {"id": f"job-{number}", "status": "Pending", "progress": 0.4}
        if call.fake.scenario == "refused":
            return {"id": f"job-{number}", "status": "Request Moderated", "message": "The prompt breaks rule 4."}
        link = f"{call.fake.url}/files/{number}?signature={SIGNATURE}"
        return {"id": f"job-{number}", "status": "Ready", "result": {"sample": link}}
    if call.line.startswith("GET /files/") and call.query.get("signature") == SIGNATURE:
        asked = call.fake.received[int(call.line.rpartition("/")[2])]
        return picture(asked.get("width", 512), asked.get("height", 512), asked.get("seed", 0))
    return error(404, "not_found")


RegionalFake = fake_service(answer, FAILURES)


class TestRegional(BackendConformance):
    backend = "regional"
    refused_in_status = ("generate_image",)

    @contextlib.contextmanager
    def wire(self, scenario, service):
        with RegionalFake(scenario, self.redirect_to) as fake:
            yield fake.wire(environ={"REGIONAL_KEY": CANARY}, hidden=(SIGNATURE,))

"""Backends with one defect each: the rule that must detect it, the backend, the file, and the replacement that makes it."""

from __future__ import annotations

import attrs


@attrs.frozen
class Mutant:
    """One defect.

    Attributes:
        rule: the rule that must detect it.
        backend: the backend that gets it.
        file: the file of the backend's package.
        old: the text that is replaced.
        new: the replacement.
        what: the defect, in words.
        says: a regular expression that the rule's failure must match, so that another defect does not count as detected.
        also: further replacements in the same file, where one alone would not be valid Python.
        alone: whether all other rules are run too, none of which may fail.
    """

    rule: str
    backend: str
    file: str
    old: str
    new: str
    what: str
    says: str
    also: tuple[tuple[str, str], ...] = ()
    alone: bool = False

    def __str__(self) -> str:
        return f"{self.rule}-{self.what.replace(' ', '-')}"


_P, _T = "plugin.py", "capabilities.toml"
_POST = 'answer = await post_json(context, url, body, headers=headers, by_code={"unsafe_prompt": ContentRefused})'
_WRAPPED = f"""try:
            {_POST}
        except %s"""
_SUBMIT = 'answer = await post_json(context, f"{_base(context)}/videos", body, headers=_key(context), by_code=CODES)'
_ASK = 'answer = await post_json(context, context.settings["base_url"], body, headers=headers, by_code={"unsafe_prompt": ContentRefused})'
_REDIRECTING_CLIENT = """class _Redirecting:
    def __init__(self):
        import aiohttp

        self.session, self.real = self, aiohttp.ClientSession()

    def request(self, *args, **kwargs):
        return self.real.request(*args, **{**kwargs, "allow_redirects": True})

    async def aclose(self):
        await self.real.close()


@hookimpl
async def generate_image"""
_READS = '    return load_matrix(Path(__file__).with_name("capabilities.toml"))'
_CHECKS_LIBRARIES = """    import importlib.util

    import attrs

    def lacks_library(row):
        return row.requires is not None and importlib.util.find_spec(row.requires.module) is None

    found = load_matrix(Path(__file__).with_name("capabilities.toml"))
    return attrs.evolve(found, models=tuple(%s))"""
_INVERT = """

def _inverted(data: bytes) -> bytes:
    import io

    from PIL import Image, ImageOps

    image = Image.open(io.BytesIO(data)).convert("RGBA")
    image.putalpha(ImageOps.invert(image.getchannel("A")))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()
"""

MUTANTS = [
    # A: loading
    Mutant("A01", "painter", _P, "from pathlib import Path", "from pathlib import Pathh", "does not import", "could not be loaded"),
    Mutant(
        "A02",
        "painter",
        _P,
        "from pathlib import Path\n",
        "from pathlib import Path\n\nimport PIL\n",
        "imports a library when loaded",
        "imports PIL",
    ),
    Mutant(
        "A02",
        "painter",
        _P,
        "    return load_matrix(",
        "    import yarl\n\n    assert yarl\n    return load_matrix(",
        "imports an unlisted library when its matrix is read",
        "imports .*yarl",
    ),
    Mutant(
        "A03",
        "painter",
        _P,
        "(request: GenerateImage, context: Context)",
        "(request: GenerateImage, context: Context, more: int)",
        "a third argument",
        "has other parameters",
    ),
    Mutant(
        "A03",
        "painter",
        _P,
        "async def generate_image",
        "async def draw_image",
        "a hook that does not exist",
        "there is no hook 'draw_image'",
    ),
    Mutant(
        "A03",
        "painter",
        _P,
        "@hookimpl\nasync def generate_image",
        "@hookimpl\ndef generate_image(request: GenerateImage, context: Context) -> Outcome:\n"
        "    return _made(request, context)\n\n\nasync def _made",
        "a hook that is not async",
        "generate_image is not async",
    ),
    Mutant(
        "A04",
        "painter",
        _P,
        '    return load_matrix(Path(__file__).with_name("capabilities.toml"))',
        "    import attrs, random\n\n"
        '    return attrs.evolve(load_matrix(Path(__file__).with_name("capabilities.toml")), warnings=(str(random.random()),))',
        "differs on each call",
        "returned different matrices",
    ),
    Mutant(
        "A04",
        "painter",
        _P,
        '    return load_matrix(Path(__file__).with_name("capabilities.toml"))',
        "    import attrs, os\n\n"
        '    found = load_matrix(Path(__file__).with_name("capabilities.toml"))\n'
        '    return found if os.environ.get("PAINTER_KEY") else attrs.evolve(found, models=found.models[:0])',
        "has no models without a key",
        "changes when a key is set",
    ),
    Mutant(
        "A04",
        "painter",
        _P,
        "    return load_matrix(",
        "    import contextlib, socket\n\n    with contextlib.suppress(OSError):\n"
        '        socket.getaddrinfo("api.painter.example", 443)\n    return load_matrix(',
        "requests the matrix from its service",
        "tried to connect to .*painter.example",
    ),
    Mutant(
        "A05",
        "painter",
        _T,
        "[models.generate_image]",
        "[models.inpaint]\nsource = {}\nmask = {}\n[models.generate_image]",
        "claims an operation that it does not implement",
        "claims inpaint, but the plugin has no such hook",
    ),
    Mutant("A05", "reel", _P, "@hookimpl\nasync def check_job", "async def check_job", "returns jobs without a status check", "check_job"),
    # B: claims
    Mutant(
        "B01",
        "painter",
        _P,
        "pieces=[item.to_piece() for item in found.items]",
        "pieces=[__import__('attrs').evolve(item, data=item.data[:60]).to_piece() for item in found.items]",
        "returns half an image",
        "the file is truncated",
    ),
    Mutant(
        "B01",
        "painter",
        _P,
        f"        {_POST}",
        f"        await post_json(context, url, body, headers=headers)\n        {_POST}",
        "submits twice",
        "2 submits for one call",
    ),
    Mutant("B01", "reel", _P, 'answer["status"] in {"failed", "canceled"}', "True", "its jobs always fail", "the video (running|done)"),
    Mutant(
        "B01",
        "reel",
        _P,
        'progress=answer.get("progress")',
        'progress=100 * answer.get("progress", 0)',
        "reports its progress in percent",
        "a progress that is not a number from 0 to 1",
        alone=True,
    ),
    Mutant(
        "B01",
        "reel",
        _P,
        'Piece(url=answer["url"]',
        'Piece(url=answer["link"]',
        "reads a field that does not exist",
        r"KeyError: 'link' \(plugin.py:",
    ),
    Mutant(
        "B01",
        "sketch",
        _P,
        'ContinuationData(data={"id": made.item["id"]})',
        'ContinuationData(data={"id": made.item["id"], "raw": b"x"})',
        "returns continuation data that is not JSON",
        "was not saved",
    ),
    Mutant("B01", "reel", _P, 'answer["status"] != "done"', "True", "never reports that a job is done", "called 500 times for one job"),
    Mutant(
        "B01",
        "painter",
        _T,
        'one_of = ["png"], fixed',
        'one_of = ["webp"], fixed',
        "declares another fixed format than it returns",
        "the result is image/png",
    ),
    Mutant("B02", "painter", _P, '"seed": request.seed', '"seed": 7', "drops the seed", "seed: .* made the same submit"),
    Mutant(
        "B02",
        "painter",
        _P,
        '"seed": request.seed',
        '"seed": request.seed and str(request.seed)',
        "sends the seed as text",
        "rejected the request",
    ),
    Mutant("B02", "painter", _P, '"size": request.size', '"dimensions": request.size', "sends the size under another name", "request"),
    Mutant(
        "B02",
        "painter",
        _P,
        '"size": request.size',
        '"size": {"256x256": "512x512", "512x512": "256x256"}.get(request.size, request.size)',
        "swaps two sizes",
        "512x512 pixels were requested and 256x256 were returned",
    ),
    Mutant("B02", "reel", _P, '"seconds": request.duration,\n', '"seconds": 4,\n', "drops the duration", "were returned|the same submit"),
    Mutant(
        "B02",
        "sketch",
        _P,
        '"quality": request.quality,',
        '"quality": {"low": "low", "high": "high"}.get(request.quality or "low", "high"),',
        "has two of three qualities",
        "quality: .* made the same submit",
    ),
    Mutant("B02", "sketch", _P, '        "n": request.n,\n', "", "drops n", "2 outputs were requested, 1 returned"),
    Mutant(
        "B02",
        "sketch",
        _P,
        "for made in found.items",
        "for made in found.items[:1] * len(found.items)",
        "returns the first of two twice",
        "the same output was returned twice",
    ),
    Mutant(
        "B02",
        "sketch",
        _P,
        '"format": request.output_format,',
        '"format": request.output_format and "png",',
        "always requests PNG",
        "and png was returned|the same submit",
    ),
    Mutant(
        "B03", "reel", _P, "context.read(request.first_frame).data", 'b"frame"', "drops the first frame", "first_frame: .* the same submit"
    ),
    Mutant(
        "B03",
        "sketch",
        _P,
        "field: context.read(request.mask).data",
        'field: b"mask"',
        "drops the mask",
        "mask.user_provided: .* the same submit",
    ),
    Mutant(
        "B03",
        "reel",
        _T,
        "[models.continue_video]\n",
        "[models.continue_video]\nsource = {}\n",
        "claims a source that it cannot send",
        "NoneType|AssertionError|internal",
    ),
    Mutant(
        "B03",
        "sketch",
        _P,
        "in enumerate(request.references)",
        "in enumerate(request.references[:2])",
        "drops the last of three references",
        "references.last: .* the same submit",
    ),
    Mutant("B03", "sketch", _P, "{reference.role} ", "", "does not distinguish a style from a subject", "-or-\\w+: .* the same submit"),
    Mutant("B03", "sketch", _P, "{reference.type or ''} ", "", "drops the type of a subject", "subject.type: .* the same submit"),
    Mutant(
        "B03",
        "sketch",
        _P,
        "{reference.description or ''}",
        "",
        "drops the description of a reference",
        "description: .* the same submit",
    ),
    Mutant(
        "B06",
        "sketch",
        _T,
        'forbid = { quality = ["high"] }',
        'forbid = { quality = ["ultra"] }',
        "a rule about a value that does not exist",
        "never has the value",
    ),
    Mutant(
        "B06",
        "sketch",
        _T,
        'forbid = { quality = ["high"] }',
        "forbid = { guidance_scale = true }",
        "a rule about a field that does not exist",
        "is neither an option nor an input",
    ),
    Mutant("B07", "sketch", _P, "        **request.extra_params,\n", "", "drops extra parameters", "paper: .* the same submit"),
    Mutant(
        "B08",
        "reel",
        _T,
        'certainty = "firm", replacement = "reel-3", source = "https://reel.example/models"',
        'certainty = "firm"',
        "an end date without a source",
        "without a source",
    ),
    Mutant(
        "B09", "sketch", _P, 'body["after"] = request.continue_from.data["id"]', "pass", "does not send its continuation", "the same submit"
    ),
    Mutant(
        "B09",
        "sketch",
        _P,
        'data={"id": made.item["id"]}',
        'data={"id": "img-1-0"}',
        "returns the same handle for every result",
        "the same submit",
    ),
    Mutant(
        "B09",
        "reel",
        _P,
        '"extends": request.continue_from.data["id"]',
        '"extends": "0"',
        "always extends the same video",
        "the same submit",
    ),
    Mutant(
        "B10",
        "sketch",
        _P,
        "field: context.read(request.mask).data",
        "field: _inverted(context.read(request.mask).data)",
        "inverts the mask",
        "is the mask in the format 'alpha'",
        (
            (
                '    return Outcome(pieces=pieces, warnings=found.warnings, request_id=answer["id"])\n',
                f'    return Outcome(pieces=pieces, warnings=found.warnings, request_id=answer["id"])\n{_INVERT}',
            ),
        ),
    ),
    Mutant(
        "B10",
        "sketch",
        _T,
        'mask = { format = "black" }',
        'mask = { format = "white" }',
        "declares the opposite polarity of its service's masks",
        "edited outside the mask only: the service reads masks in another format than 'white'",
        alone=True,
    ),
    Mutant(
        "B11", "painter", _P, '"prompt": request.prompt', '"prompt": request.prompt[:100]', "truncates the prompt", "did not arrive whole"
    ),
    Mutant(
        "B11",
        "painter",
        _P,
        '"prompt": request.prompt',
        '"prompt": request.prompt if len(request.prompt) < 1000 else request.prompt[:900] + request.prompt[-100:]',
        "shortens a long prompt in the middle",
        "did not arrive whole",
    ),
    Mutant(
        "B01",
        "sketch",
        _T,
        """requires = { module = "a_library_that_does_not_exist", install = "pip install 'sketch-media[woven]'" }\n""",
        "",
        "does not declare that a model requires a library",
        "a_library_that_does_not_exist|ModuleNotFoundError",
    ),
    Mutant(
        "B12",
        "sketch",
        _P,
        _READS,
        _CHECKS_LIBRARIES % "attrs.evolve(row, requires=None) if lacks_library(row) else row for row in found.models",
        "claims a model although its library is absent",
        "without 'colorsys' the request was not rejected",
    ),
    Mutant(
        "B12",
        "sketch",
        _P,
        _READS,
        _CHECKS_LIBRARIES % "row for row in found.models if not lacks_library(row)",
        "hides a model where its library is absent",
        "without 'colorsys' the request was not rejected .*UnknownModel",
    ),
    Mutant(
        "B01",
        "twins",
        _P,
        '        url, headers = f"{base}/render"',
        '        raise NotImplementedError("studio")\n        url, headers = f"{base}/render"',
        "raises at its second service",
        "NotImplementedError",
    ),
    Mutant(
        "B13",
        "sketch",
        _P,
        'pictures = {"image": context.read(request.source).data,',
        'pictures = {"image": context.read(request.source).data[:10_000_000],',
        "cuts large files",
        "a file of 2516582. bytes was given; the longest field",
    ),
    Mutant(
        "B13",
        "reel",
        _P,
        "    return await _submit(context, body)\n",
        """    if len(body.get("first_frame", "")) > 5_000_000:
        await post_json(context, f"{_base(context)}/uploads/new", {"file": "..."}, headers=_key(context))
    return await _submit(context, body)
""",
        "uploads large files to a path that does not exist",
        "not found",
        alone=True,
    ),
    # C: failures
    Mutant(
        "C01",
        "painter",
        _P,
        '"unsafe_prompt": ContentRefused',
        '"unsafe_prompt": QuotaExceeded',
        "takes a refusal for a used-up quota",
        "QuotaExceeded",
        (("import ContentRefused", "import QuotaExceeded"),),
    ),
    Mutant(
        "C01",
        "painter",
        _P,
        _POST,
        _WRAPPED % 'ContentRefused:\n            raise ContentRefused("no") from None',
        "raises a refusal without a delivery",
        "the hook raised ContentRefused .* give it delivery='refused'",
    ),
    Mutant(
        "C01",
        "painter",
        _P,
        _POST,
        _WRAPPED % "Exception as error:\n            raise ContentRefused(str(error)) from error",
        "raises one error for all failures",
        "SubmissionUnknown|ContentRefused",
    ),
    Mutant(
        "C01",
        "painter",
        _P,
        _POST,
        _WRAPPED % 'QuotaExceeded as error:\n            raise AuthenticationFailed(str(error), delivery="refused") from error',
        "reports an empty account as a bad key",
        "AuthenticationFailed",
        (("import ContentRefused", "import AuthenticationFailed, ContentRefused, QuotaExceeded"),),
    ),
    Mutant(
        "C01",
        "painter",
        _P,
        _POST,
        _WRAPPED % 'RateLimited as error:\n            raise RateLimited(str(error), delivery="refused") from error',
        "ignores the hint how long to wait",
        "hint how long to wait was not read",
        (("import ContentRefused", "import ContentRefused, RateLimited"),),
    ),
    Mutant(
        "C01",
        "painter",
        _P,
        _POST,
        _WRAPPED % "RateLimited as error:\n            error.retry_after = 2000.0\n            raise",
        "reports milliseconds as seconds",
        "hint was 2 s, not 2000 s",
        (("import ContentRefused", "import ContentRefused, RateLimited"),),
    ),
    Mutant(
        "C01",
        "painter",
        _P,
        _POST,
        _WRAPPED
        % 'TypeError:\n            raise\n        except Exception as error:\n            error.delivery = "refused"\n            raise',
        "reports a lost answer as a rejection",
        "charged is .no. instead of unknown",
    ),
    Mutant(
        "C01",
        "painter",
        _P,
        _POST,
        _WRAPPED % 'ContentRefused:\n            raise ContentRefused("no", delivery="refused") from None',
        "loses the provider's own words",
        "provider_message is empty",
    ),
    Mutant("C02", "painter", _P, _POST, _WRAPPED % f"Exception:\n            {_POST}", "retries every failure", "2 submits for one call"),
    Mutant(
        "C02",
        "painter",
        _P,
        _POST,
        _WRAPPED % f"BackendUnavailable:\n            {_POST}",
        "retries when the service is down",
        "2 submits for one call",
        (("import ContentRefused", "import BackendUnavailable, ContentRefused"),),
    ),
    Mutant(
        "C03",
        "reel",
        _P,
        'data={"id": answer["id"]})',
        'data={"id": answer["id"], "url": answer["url"]})',
        "stores a signed URL in the open",
        "'sig-5b0c19d2e7' appears in",
    ),
    Mutant(
        "C03",
        "painter",
        _P,
        f"        {_POST}",
        f"        print(headers)\n        {_POST}",
        "prints its key",
        "'canary-key-7f3e91d2c4' appears in",
    ),
    Mutant(
        "C03",
        "painter",
        _P,
        _POST,
        _WRAPPED % 'Exception as error:\n            error.add_note(f"sent with {headers}")\n            raise',
        "adds its key to an error as a note",
        "'canary-key-7f3e91d2c4' appears in",
    ),
    Mutant(
        "C04",
        "reel",
        _P,
        "    return _state(await",
        "    JOBS[job.id]\n    return _state(await",
        "keeps its jobs in memory",
        "KeyError|raised|Timeout",
        (
            ("CODES = ", "JOBS = {}\nCODES = "),
            ('    return Job(id=answer["id"])\n\n\ndef', '    JOBS[answer["id"]] = 1\n    return Job(id=answer["id"])\n\n\ndef'),
        ),
    ),
    Mutant(
        "C04",
        "reel",
        _P,
        '    return Job(id=answer["id"])\n\n\ndef',
        '    return Job(id="0")\n\n\ndef',
        "loses the job's id",
        "have the same handle",
    ),
    Mutant(
        "C05",
        "painter",
        _P,
        _POST,
        _WRAPPED % "BaseException as error:\n            raise ContentRefused('no') from None",
        "swallows a cancellation",
        "the cancelled call returned",
    ),
    Mutant(
        "C05",
        "painter",
        _P,
        f"        {_POST}",
        f"        import aiohttp\n        LEFT = aiohttp.ClientSession()\n        {_POST}",
        "leaves a session open",
        "left open: .*client session",
    ),
    Mutant(
        "C05",
        "reel",
        _P,
        'await stop(context, f"{_base(context)}/videos/{job.id}/cancel", method="POST", headers=_key(context))',
        "return None",
        "sends no cancel request",
        "0 cancel requests have reached the service",
        alone=True,
    ),
    Mutant(
        "C05",
        "reel",
        _P,
        'stop(context, f"{_base(context)}/videos/{job.id}/cancel", method="POST", headers',
        'post_json(context, f"{_base(context)}/videos", {"prompt": "stop"}, headers',
        "submits when it should cancel",
        "another submit",
    ),
    Mutant(
        "C05",
        "reel",
        _P,
        '"canceled"}',
        '"cancelled"}',
        "misspells the service's word for cancelled",
        "found it running: compare the status with the service's own words|never returned Succeeded or Failed",
        alone=True,
    ),
    Mutant(
        "C07",
        "painter",
        _T,
        'hosts = ["api.painter.example"]\n',
        "",
        "declares no host for its key",
        "names api_key, but no `hosts`",
        alone=True,
    ),
    Mutant(
        "C07",
        "painter",
        _P,
        _POST,
        f'import socket\n        socket.socket().connect_ex(("192.0.2.1", 80))\n        {_POST}',
        "connects to a foreign host",
        "192.0.2.1",
    ),
    Mutant(
        "C07",
        "painter",
        _P,
        _POST,
        "import contextlib\n        import socket\n\n        with contextlib.suppress(OSError):\n"
        f'            socket.getaddrinfo("home.example", 80)\n        {_POST}',
        "resolves a foreign host name",
        "home.example",
    ),
    Mutant(
        "C07",
        "painter",
        _P,
        _POST,
        f'import socket\n        socket.socket().connect_ex(("127.0.0.1", 9))\n        {_POST}',
        "connects to another local port",
        "127.0.0.1",
    ),
    Mutant(
        "C08",
        "painter",
        _P,
        _POST,
        _WRAPPED % "BaseException:\n            return Outcome(pieces=[__import__('anymedia').Piece(data=b'')])",
        "hides that the deadline has passed",
        "BadBackendResponse|OutputMismatch|succeeded before the deadline",
    ),
    Mutant(
        "C13",
        "painter",
        _P,
        _POST,
        f"__import__('time').sleep(0.001)\n        {_POST}",
        "sleeps on the event loop",
        r"on the event loop, the backend called time\.sleep",
    ),
    Mutant(
        "C13",
        "painter",
        _P,
        _POST,
        f"""import socket, urllib.parse
        url_parts = urllib.parse.urlsplit(url)
        socket.create_connection((url_parts.hostname, url_parts.port)).close()
        {_POST}""",
        "connects on the event loop",
        r"on the event loop, the backend called socket\.connect",
    ),
    Mutant(
        "C13",
        "painter",
        _P,
        _POST,
        f"""import time
        enough = time.thread_time() + 1.2
        while time.thread_time() < enough:
            pass
        {_POST}""",
        "computes on the event loop",
        r"generate_image blocked the event loop for \d\.\d s, each time",
    ),
    Mutant(
        "C13",
        "painter",
        _P,
        _POST,
        f"__import__('threading').Event().wait(1.0)\n        {_POST}",
        "blocks the event loop for a second while it submits",
        r"generate_image blocked the event loop for \d\.\d s, each time",
    ),
    Mutant(
        "C13",
        "reel",
        _P,
        '    url = f"{_base(context)}/videos/{job.id}"\n',
        '    __import__("threading").Event().wait(1.0)\n    url = f"{_base(context)}/videos/{job.id}"\n',
        "blocks the event loop for a second in a status check",
        r"check_job blocked the event loop for \d\.\d s, each time",
    ),
    Mutant(
        "C01",
        "regional",
        _P,
        'failed_job(context, answer, kind="content", request_id=answer["id"])',
        'BadBackendResponse("it ended without a result")',
        "takes a refusal in a status for any failure",
        "BadBackendResponse: it ended without a result",
        (("from anymedia.errors import JobNotFound", "from anymedia.errors import BadBackendResponse, JobNotFound"),),
    ),
    Mutant(
        "C01",
        "regional",
        _P,
        'failed_job(context, answer, kind="content", request_id=answer["id"])',
        'refusal({"error": {"code": "unsafe", "message": answer["message"]}}, {"unsafe": ContentRefused}, context=context)',
        "says that a refusal in a status is not charged, and no rule says so",
        "charged is 'no' instead of unknown or yes",
        (
            ("import failed_job, get_json, no_media, post_json", "import failed_job, get_json, no_media, post_json, refusal"),
            ("from anymedia.errors import JobNotFound", "from anymedia.errors import ContentRefused, JobNotFound"),
        ),
    ),
    Mutant(
        "C15",
        "regional",
        _P,
        'failed_job(context, answer, kind="content", request_id=answer["id"])',
        'failed_job(context, {"message": "moderated"}, kind="content", request_id=answer["id"])',
        "replaces the words of a status by its own",
        "no status check of the refused scenario was answered with 'moderated'",
    ),
    Mutant(
        "C17",
        "reel",
        _P,
        'f"{_base(context)}/models"',
        'f"{_base(context)}/model-list"',
        "asks for its models where there are none",
        "not found",
        alone=True,
    ),
    Mutant(
        "C17",
        "reel",
        _P,
        '    return tuple(ListedModel(id=model["id"]) for model in listed["models"])\n',
        """    return tuple(ListedModel(id=model["id"]) for model in listed.get("models", []))
""",
        "takes any failure for an empty list",
        "was taken for a list of 0 models",
        (
            (
                '    listed = await get_json(context, f"{_base(context)}/models", headers=_key(context))\n',
                """    try:
        listed = await get_json(context, f"{_base(context)}/models", headers=_key(context))
    except Exception:
        listed = {}
""",
            ),
        ),
    ),
    Mutant(
        "C17",
        "reel",
        _P,
        'ListedModel(id=model["id"])',
        'ListedModel(id=model["id"], row={"id": model["id"], "media": "film"})',
        "describes a model that cannot be merged",
        "media|listed = True",
    ),
    Mutant(
        "C17",
        "zoo",
        _P,
        ' if context.model in ("", model["id"]))',
        ")",
        "returns the whole list for one model",
        "asked for 'owl' alone, list_models returned 2 models|asked for 'lion' alone",
    ),
    Mutant(
        "C17",
        "zoo",
        _P,
        'ListedModel(id=model["id"], row=_row(model)) for model in listed["models"] if context.model in ("", model["id"])',
        'ListedModel(id=context.model or model["id"], row=_row(model)) for model in listed["models"][: 1 if context.model else 9]',
        "describes a model that does not exist",
        "a model that the service does not have|described in another way",
    ),
    Mutant(
        "C10",
        "reel",
        _P,
        'return _state(await get_json(context, url, headers=_key(context), by_code={"404": JobNotFound}), context)',
        """try:
        return _state(await get_json(context, url, headers=_key(context), by_code={"404": JobNotFound}), context)
    except JobNotFound as gone:
        return Failed(error=gone)""",
        "loses a job at the first status check that does not find it",
        "JobNotFound: .*no such video",
        alone=True,
    ),
    Mutant(
        "C10",
        "reel",
        _P,
        ', by_code={"404": JobNotFound}',
        "",
        "never raises JobNotFound",
        "no status check raised JobNotFound",
    ),
    Mutant(
        "C10",
        "reel",
        _P,
        'by_code={"404": JobNotFound}), context)',
        "by_code=_once(job)), context)",
        "raises JobNotFound at the first status check only",
        r"20 status checks in a row failed; the last: a status check failed .*no such video",
        (
            (
                "@hookimpl\nasync def check_job",
                "SEEN = set()\n\n\ndef _once(job):\n    first = job.id not in SEEN\n    SEEN.add(job.id)\n"
                '    return {"404": JobNotFound} if first else {"404": BadBackendResponse}\n\n\n@hookimpl\nasync def check_job',
            ),
        ),
    ),
    Mutant(
        "C12",
        "painter",
        _P,
        _POST,
        "import aiohttp\n\n"
        "        async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=headers) as given:\n"
        "            answer = __import__('json').loads(await given.read())",
        "reads whatever comes",
        r"the answer filled \d+ MiB of memory",
    ),
    Mutant(
        "C14",
        "painter",
        _P,
        'found = extract_media(answer, ["image"])',
        'found = extract_media(__import__("base64").b64decode(answer["image"]))',
        "decodes base64 itself",
        "media spelled as 'data_url' were not delivered",
    ),
    Mutant(
        "C14",
        "painter",
        _P,
        'found = extract_media(answer, ["image"])',
        'found = extract_media(__import__("base64").b64decode(answer["image"].rpartition(",")[2] + "=="))',
        "knows data URLs and missing padding only",
        "media spelled as 'url_safe_unpadded_lines' were not delivered",
    ),
    Mutant(
        "C15",
        "painter",
        _P,
        _POST,
        _WRAPPED
        % 'BackendError as error:\n            error.provider_message = error.provider_message and "see our page"\n            raise',
        "has words of its own for every failure",
        "the provider's words were lost",
        (("import ContentRefused", "import ContentRefused, MediaError"),),
    ),
    Mutant(
        "C15",
        "painter",
        _P,
        'raise no_media(context, answer, found, what="image")',
        'raise BadBackendResponse("the answer holds no image")',
        "does not read what an answer without media says",
        "the provider's words were lost",
        (("import ContentRefused", "import BadBackendResponse, ContentRefused"),),
    ),
    Mutant(
        "C15",
        "painter",
        _P,
        _POST,
        _WRAPPED % "MediaError as error:\n            error.fix = error.provider_message\n            raise",
        "gives the provider's words as its own advice",
        "fix contains the provider's own words",
        (("import ContentRefused", "import ContentRefused, MediaError"),),
    ),
    Mutant(
        "C16",
        "painter",
        _P,
        "        if not found.items:",
        '        if not found.items or not found.items[0].data.endswith(b"IEND\\xaeB`\\x82"):',
        "checks the end of the file itself",
        "media with 'line_break' were not delivered",
    ),
    Mutant(
        "C16",
        "painter",
        _P,
        "        if not found.items:",
        "        from PIL import Image\n        import io\n\n        try:\n            Image.open(io.BytesIO(found.items[0].data)).load()"
        "\n        except Exception as error:\n            raise BadBackendResponse(str(error)) from None\n        if not found.items:",
        "throws away what it cannot decode",
        "the bytes that were paid for are lost",
        (("import ContentRefused", "import BadBackendResponse, ContentRefused"),),
    ),
    Mutant(
        "C11",
        "painter",
        _P,
        "@hookimpl\nasync def generate_image",
        _REDIRECTING_CLIENT,
        "follows a redirect with its key",
        r"it followed the redirect: POST / with .*x-key.* and [1-9]\d* bytes",
        ((_POST, f'context.client(_Redirecting, name="anymedia.http")\n        {_POST}'),),
        alone=True,
    ),
    Mutant(
        "C11",
        "painter",
        _P,
        _POST,
        _WRAPPED % "BadBackendResponse as error:\n"
        "            if error.status != 302:\n                raise\n"
        '            answer = await post_json(context, url, {"moved": 1}, headers=headers)',
        "submits again after a redirect",
        "2 submits for one call",
        (("import ContentRefused", "import BadBackendResponse, ContentRefused"),),
        alone=True,
    ),
    Mutant(
        "C09",
        "reel",
        _P,
        'if v["label"] == record.label',
        "",
        "returns the newest submit for every lookup",
        "for a submit that was never made",
    ),
]
#: Defects that put a key into text which the core redacts: no rule may fail for them.
REDACTED_BY_CORE = [
    Mutant(
        "C03",
        "painter",
        _P,
        "    async with context.submission():",
        "    context.progress(0.1, str(headers))\n    async with context.submission():",
        "reports its key as progress",
        "'canary-key-7f3e91d2c4' appears in",
    ),
    Mutant(
        "C03",
        "painter",
        _P,
        _POST,
        _WRAPPED % 'Exception as error:\n            raise BadBackendResponse(f"no answer to {headers}") from error',
        "names its key in an error",
        "'canary-key-7f3e91d2c4' appears in",
        (("import ContentRefused", "import BadBackendResponse, ContentRefused"),),
    ),
    Mutant(
        "C03",
        "painter",
        _P,
        _POST,
        _WRAPPED % 'ContentRefused as error:\n            raise ContentRefused("no", delivery="refused") from RuntimeError(str(headers))',
        "names its key in the cause of an error",
        "'canary-key-7f3e91d2c4' appears in",
    ),
    Mutant(
        "C03",
        "painter",
        _P,
        f"        {_POST}",
        f"        logging.getLogger(__name__).debug('client %r', Client(headers))\n        {_POST}",
        "shows its key in the repr of a client",
        "'canary-key-7f3e91d2c4' appears in",
        (
            (
                "@hookimpl\nasync def generate_image",
                "class Client:\n    def __init__(self, headers):\n        self.headers = headers\n\n"
                '    def __repr__(self):\n        return f"<Client {self.headers}>"\n\n\n@hookimpl\nasync def generate_image',
            ),
            ("from pathlib import Path\n", "import logging\nfrom pathlib import Path\n"),
        ),
    ),
]
#: Rules that the core keeps on its own: no backend can break them; test_core_rejections.py tests them.
KEPT_BY_CORE = frozenset({"B04", "B05", "C06"})
#: Rules that the pytest plugin and the class itself keep; tested in test_mutants.py and test_pytest_plugin.py.
KEPT_BY_KIT = frozenset({"A06", "L01"})

"""Backends broken in just one way: the rule that must see it, the backend, the file, what is replaced by what."""

from __future__ import annotations

import attrs


@attrs.frozen
class Mutant:
    """One way to be broken."""

    rule: str
    backend: str
    file: str
    old: str
    new: str
    what: str

    def __str__(self) -> str:
        return f"{self.rule}-{self.what.replace(' ', '-')}"


_P, _T = "plugin.py", "capabilities.toml"
_POST = 'answer = await post_json(context, url, body, headers=headers, by_code={"unsafe_prompt": ContentRefused})'
_WRAPPED = f"""try:
            {_POST}
        except %s"""

MUTANTS = [
    Mutant("A01", "painter", _P, "from pathlib import Path", "from pathlib import Pathh", "does not import"),
    Mutant("A02", "painter", _P, "import base64\n", "import base64\nimport PIL\n", "imports a library when loaded"),
    Mutant(
        "A03",
        "painter",
        _P,
        "(request: GenerateImage, context: Context)",
        "(request: GenerateImage, context: Context, more: int)",
        "a third argument",
    ),
    Mutant("A03", "painter", _P, "async def generate_image", "async def draw_image", "a hook that is none"),
    Mutant(
        "A04",
        "painter",
        _P,
        "    return load_matrix(",
        "    import attrs, random\n    return attrs.evolve(load_matrix(",
        "differs on each call",
    ),
    Mutant(
        "A05",
        "painter",
        _T,
        "[models.generate_image]",
        "[models.inpaint]\nsource = {}\nmask = {}\n[models.generate_image]",
        "claims what it has not",
    ),
    Mutant("B01", "painter", _P, 'data=base64.b64decode(answer["image"])', 'data=base64.b64decode(answer["image"])[:60]', "half a picture"),
    Mutant(
        "B01",
        "painter",
        _P,
        f"        {_POST}",
        f"        await post_json(context, url, body, headers=headers)\n        {_POST}",
        "submits twice",
    ),
    Mutant("B01", "reel", _P, 'answer["status"] == "failed"', "True", "its jobs always fail"),
    Mutant("B02", "painter", _P, '"seed": request.seed', '"seed": 7', "drops the seed"),
    Mutant("B02", "reel", _P, '"seconds": request.duration,\n', '"seconds": 4,\n', "drops the duration"),
    Mutant("B03", "reel", _P, "context.read(request.first_frame).data", 'b"frame"', "drops the first frame"),
    Mutant("B03", "sketch", _P, '"mask": context.read(request.mask).data', '"mask": b"mask"', "drops the mask"),
    Mutant("B03", "reel", _T, "[models.continue_video]\n", "[models.continue_video]\nsource = {}\n", "takes a source it cannot send"),
    Mutant("B06", "sketch", _T, 'forbid = { quality = ["high"] }', 'forbid = { quality = ["ultra"] }', "a rule about a value that is not"),
    Mutant(
        "B06", "sketch", _T, 'forbid = { quality = ["high"] }', 'forbid = { output_format = ["png"] }', "a rule about a field that is not"
    ),
    Mutant("B07", "sketch", _P, ", **request.extra_params}", "}", "drops extra parameters"),
    Mutant(
        "B08",
        "reel",
        _T,
        'certainty = "firm", replacement = "reel-3", source = "https://reel.example/models"',
        'certainty = "firm"',
        "an end without a source",
    ),
    Mutant("B09", "sketch", _P, 'body["after"] = request.continue_from.data["id"]', "pass", "does not go on"),
    Mutant("B09", "reel", _P, '"extends": request.continue_from.data["id"]', '"extends": "0"', "extends always the same"),
    Mutant(
        "B10",
        "sketch",
        _P,
        '"mask": context.read(request.mask).data',
        '"mask": _turned(context.read(request.mask).data)',
        "turns the mask round",
    ),
    Mutant("B11", "painter", _P, '"prompt": request.prompt', '"prompt": request.prompt[:100]', "cuts the prompt"),
    Mutant("C01", "painter", _P, ', by_code={"unsafe_prompt": ContentRefused}', "", "does not know a refusal"),
    Mutant(
        "C01",
        "painter",
        _P,
        _POST,
        _WRAPPED % "Exception as error:\n            raise ContentRefused(str(error)) from error",
        "one error for all",
    ),
    Mutant("C02", "painter", _P, _POST, _WRAPPED % f"Exception:\n            {_POST}", "tries again by itself"),
    Mutant(
        "C03",
        "reel",
        _P,
        'data={"id": answer["id"]})',
        'data={"id": answer["id"], "url": answer["url"]})',
        "keeps a signed address in the open",
    ),
    Mutant("C04", "reel", _P, "    return _state(await", "    JOBS[job.id]\n    return _state(await", "keeps its jobs in the process"),
    Mutant(
        "C05",
        "painter",
        _P,
        _POST,
        _WRAPPED % "BaseException as error:\n            raise ContentRefused('no') from None",
        "swallows a cancellation",
    ),
    Mutant(
        "C05",
        "painter",
        _P,
        f"        {_POST}",
        f"        import aiohttp\n        LEFT = aiohttp.ClientSession()\n        {_POST}",
        "leaves a session open",
    ),
    Mutant("C06", "painter", _P, "", "", "no plugin can break it"),
    Mutant(
        "C07", "painter", _P, _POST, f'import socket\n        socket.socket().connect_ex(("192.0.2.1", 80))\n        {_POST}', "calls home"
    ),
    Mutant(
        "C08",
        "painter",
        _P,
        _POST,
        _WRAPPED % "BaseException:\n            return Outcome(pieces=[Piece(data=b'')])",
        "hides that the time is up",
    ),
]
MUTANTS = [m for m in MUTANTS if m.old]
#: What the core alone keeps: no backend can break these, so they are tried against the core's own tests instead.
KEPT_BY_THE_CORE = frozenset({"A06", "B04", "B05", "C06", "L01"})

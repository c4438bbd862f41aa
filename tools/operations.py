"""Write the functions with the fields of the requests: ``python -m tools.operations`` writes operations.py and aio.py of anymedia."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from anymedia.requests import (
    KINDS,
    ContinueVideo,
    EditWithReferences,
    GenerateAudio,
    GenerateImage,
    GenerateVideo,
    Inpaint,
    Request,
    Transform,
)

PACKAGE = Path(__file__).parents[1] / "core/src/anymedia"
WIDTH = 140
Fields = dict[str, "attrs.Attribute[Any]"]

#: The type of a field -> what a method accepts.
TYPES = {
    "Image | None": "MediaInput | None",
    "Video | None": "MediaInput | None",
    "Mask | None": "MaskInput | None",
    "Continuation | None": "ContinuationInput | None",
    "tuple[Reference, ...]": "References",
    "Mapping[str, Any]": "Mapping[str, Any] | None",
}
#: Fields -> what a method accepts for them.
PAIRS = dict.fromkeys(("size", "aspect_ratio"), "str | tuple[int, int] | None")
#: What every method accepts beside the fields of its request; see `anymedia.Router.execute`.
CALL: Mapping[str, str] = {
    "backend": "str | Sequence[str] | None = None",
    "model": "str | None = None",
    "policy": "Policy | None = None",
    "output": "OutputTo = None",
    "overwrite": "bool = False",
    "deadline": "float | None = None",
    "key": "str | None = None",
    "on_progress": "OnProgress | None = None",
    "keys": "GivenKeys | None = None",
}
CALL_DOC = {
    "backend": "which backend, or several to choose from; by default the best one.",
    "model": "which model, also as ``backend/model``.",
    "policy": "what is allowed: budget, fallback, roots.",
    "output": "a file, a directory (``foxes/``) or an open binary file; by default none is written, see ``result.path``.",
    "overwrite": "whether an existing file may be replaced.",
    "deadline": "seconds after which waiting ends; the job can be resumed.",
    "key": "a run key, such as an order number: a repeat returns the result of the first request.",
    "on_progress": "called with each progress event.",
    "keys": "API keys by backend, for this call only; they win over the environment and the settings.",
}
#: Examples of the operations.
EXAMPLES = {
    "generate_image": 'router.generate_image("a red fox in snow", size="1024x1024", n=2, output="foxes/")',
    "inpaint": 'router.inpaint("a wooden bench", source="park.png", mask="mask.png", protect="exact")',
    "edit_with_references": 'router.edit_with_references("the cat on a beach", references=["cat.png", "beach.png"])',
    "generate_video": 'router.generate_video("waves at sunset", first_frame="beach.png", duration=4)',
    "continue_video": 'router.continue_video("night falls", continue_from=result, continue_as="extend")',
    "generate_audio": 'router.generate_audio("Hello.", voice="alloy", output_format="mp3")',
    "transform": 'router.transform("upscale", {"image": "fox.png"}, options={"scale": 4})',
}
#: One-line functions: what they do, the requests whose fields they accept, the fields left out, their own first parameters, an example.
SHORTCUTS: Mapping[str, tuple[str, tuple[type[Request], ...], tuple[str, ...], Mapping[str, str], str]] = {
    "image": ("Generate an image.", (GenerateImage,), (), {}, 'anymedia.image("a red fox in snow").show()'),
    "edit": (
        'Edit an image: change a region (``mask``), extend it (``edit_mode="outpaint"``), or use references.',
        (Inpaint, EditWithReferences),
        ("source",),
        {"image": "MediaInput"},
        'anymedia.edit("fox.png", "make it winter", output="winter.png")',
    ),
    "video": (
        "Generate a video, or continue an earlier one (``continue_from``, ``source``).",
        (GenerateVideo, ContinueVideo),
        (),
        {},
        'anymedia.video("waves at sunset", first_frame=image, duration=4)',
    ),
    "speech": ("Speak a text.", (GenerateAudio,), ("audio_type", "duration", "negative_prompt"), {}, 'anymedia.speech("Hello.")'),
    "music": ("Generate music.", (GenerateAudio,), ("audio_type", "voice", "speed"), {}, 'anymedia.music("calm piano", duration=20)'),
}

_NOTE = '''
Written by ``python -m tools.operations``; a test compares it with the requests. Do not edit it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

'''
_TYPES = """
from .fields import Way
from .media import MediaInput
from .policy import Policy
from .requests import (
    ContinuationInput,
    ContinueVideo,
    EditWithReferences,
    GenerateAudio,
    GenerateImage,
    GenerateVideo,
    Inpaint,
    MaskInput,
    Reference,
    References,
    Request,
    TaskInput,
    Transform,
    listed,
)
from .results import Result
"""
OPERATIONS_HEAD = f'''"""The operations as methods with the fields of their requests, for `Router`; `SyncRouter` has their twins.
{_NOTE}import attrs

from .credentials import GivenKeys
from .errors import InvalidRequest, Problem
from .execution.asked import OutputTo, checked
from .execution.engine import OnProgress{_TYPES}
#: What every operation accepts beside the fields of its request; see `Router.execute`.
CALL_OPTIONS = (@CALL@)


def split_options(kind: type[Request], given: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of `Router.execute` for the arguments of an operation.

    Raises:
        InvalidRequest: the request has no such field, or a value is wrong.
    """
    fields = {{f.name: given[f.name] for f in attrs.fields(kind) if given.get(f.name) is not None or f.default is attrs.NOTHING}}
    known = {{*fields, *CALL_OPTIONS, "self"}}
    unused = [name for name, value in given.items() if name not in known and value is not None and not isinstance(value, tuple)]
    if unused:
        raise InvalidRequest([Problem(f"$.{{name}}", f"has no meaning for {{kind.kind}}") for name in unused])
    return {{"request": kind(**fields), **{{name: given[name] for name in CALL_OPTIONS}}}}


# fmt: off
class Operations:
    """The operations."""

    async def _ask(self, kind: type[Request], given: dict[str, Any]) -> Result:
        raise NotImplementedError
'''
AIO_HEAD = f'''"""The one-line functions for code with ``await``: ``await anymedia.aio.image("a red fox in snow")``.
{_NOTE}from .credentials import GivenKeys
from .execution.asked import OutputTo, checked
from .execution.engine import OnProgress{_TYPES}from .sync_router import ask

__all__ = ["edit", "image", "music", "speech", "video"]


# fmt: off
'''

_FIRST_DOCS = {
    "image": "the image to edit.",
    "task": "the task, as the model declares it.",
    "inputs": "the inputs by role: ``image``, ``mask``, ``video``, ``audio`` and those that the model names.",
}
#: How a one-line function chooses its request.
BODIES = {
    "image": "return await ask(GenerateImage, locals())",
    "edit": """given = dict(locals())
    given["source"] = given.pop("image")
    if (mask is not None or edit_mode == "outpaint") and not listed(references):
        return await ask(Inpaint, given, {"source": "$.image"})
    given["references"] = (Reference(image=given.pop("source")), *(others := listed(references, "subject")))
    names = {"references[0]": "$.image"} | {f"references[{n}]": f"$.references[{n - 1}]" for n in range(1, len(others) + 1)}
    return await ask(EditWithReferences, {**given, "edit_mode": None}, names)""",
    "video": """given = dict(locals())
    if continue_from is None and source is None:
        return await ask(GenerateVideo, given)
    return await ask(ContinueVideo, given if n != 1 else {**given, "n": None})""",
    "speech": 'return await ask(GenerateAudio, {**locals(), "audio_type": "speech"})',
    "music": 'return await ask(GenerateAudio, {**locals(), "audio_type": "music"})',
}


def _wrapped(words: Iterable[str], indent: int) -> str:
    return textwrap.fill(" ".join(words), WIDTH, initial_indent=" " * indent, subsequent_indent=" " * indent, break_long_words=False)


def _parameters(fields: Fields, first: Mapping[str, str]) -> list[str]:
    shown = [f"{name}: {kind}," if kind else f"{name}," for name, kind in first.items()]
    shown += ["*,"] if "prompt" in fields else ["prompt: str,", "*,"]
    for name, field in fields.items():
        kind = PAIRS.get(name) or TYPES.get(str(field.type), str(field.type))
        default = "()" if kind == "References" else "None" if isinstance(field.default, attrs.Factory) else repr(field.default)  # type: ignore[arg-type]
        shown.append(f"{name}: {kind} = {default},".replace("'", '"'))
    return shown + [f"{name}: {kind}," for name, kind in CALL.items()]


def _unbroken(text: str) -> str:
    return text.replace(" ", "\0")


def _function(
    name: str, about: str, fields: Fields, body: str, example: str, *, first: Mapping[str, str], prompt: str, depth: int = 0
) -> str:
    """Return the source of a coroutine function, or of a method with a ``depth`` of 4 spaces."""
    outer, inner = " " * depth, " " * (depth + 4)
    parameters = _wrapped(map(_unbroken, _parameters(fields, first)), depth + 4).replace("\0", " ")
    docs = {n: _FIRST_DOCS[n] for n in first if n != "self"} | ({} if "prompt" in fields else {"prompt": f"{prompt}."})
    docs |= {n: f"{f.metadata['doc']}." for n, f in fields.items()} | CALL_DOC
    lines = [f"{outer}@checked", f"{outer}async def {name}(", parameters, f"{outer}) -> Result:", f'{inner}"""{about}', ""]
    lines += [f"{inner}    {example}", "", f"{inner}Args:"]
    for word, doc in docs.items():
        lines.append(textwrap.fill(f"{word}: {doc}", WIDTH, initial_indent=f"{inner}    ", subsequent_indent=f"{inner}        "))
    return "\n".join([*lines, f'{inner}"""', f"{inner}{body}", ""])


def _fields(kinds: Iterable[type[Request]], without: Iterable[str]) -> Fields:
    """Return the fields of some requests: the most specific ones first, those of every request last."""
    every = [field for kind in kinds for field in attrs.fields(kind)]
    last = ("output_format", "extra_params")
    found = {field.name: field for field in sorted(every, key=lambda f: (f.name in last, f.inherited))}
    if Transform not in kinds:
        without = {"prompt", *without}
    return {name: field for name, field in found.items() if name not in without}


def sources() -> dict[Path, str]:
    """Return the text of both modules."""
    methods = []
    for name, kind in KINDS.items():
        about, prompt = (kind.__doc__ or "").splitlines()[0], attrs.fields_dict(kind)["prompt"].metadata["doc"]
        body = f"return await self._ask({kind.__name__}, locals())"
        first = {"self": ""} | ({"task": "str", "inputs": "Mapping[str, TaskInput]"} if kind is Transform else {})
        methods.append(_function(name, about, _fields([kind], first), body, EXAMPLES[name], first=first, prompt=prompt, depth=4))
    functions = []
    for short, (about, kinds, without, first, example) in SHORTCUTS.items():
        prompt = "the text to speak" if short == "speech" else "what to make"
        functions.append(_function(short, about, _fields(kinds, without), BODIES[short], example, first=first, prompt=prompt))
    call = ", ".join(f'"{name}"' for name in CALL)
    return {
        PACKAGE / "operations.py": "\n".join([_needed(OPERATIONS_HEAD, methods).replace("@CALL@", call), *methods]),
        PACKAGE / "aio.py": _needed(AIO_HEAD, functions) + "\n\n".join(functions),
    }


def _needed(head: str, functions: list[str]) -> str:
    """Return the head of a module without the imports that its functions do not use."""
    text = "".join(functions) + head[head.index("# fmt: off") :]
    kept = [line for line in head.splitlines() if not (name := re.fullmatch(r"    (\w+),", line)) or re.search(rf"\b{name[1]}\b", text)]
    return "\n".join(kept) + "\n"


if __name__ == "__main__":
    for path, text in sources().items():
        path.write_text(text, "utf-8")

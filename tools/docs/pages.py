"""The pages that are generated from the code: ``python -m tools.docs FOLDER`` writes them.

A test compares the committed pages with the generated ones, so that docs and code agree.
"""

from __future__ import annotations

import ast
import datetime
import inspect
import re
import textwrap
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from anymedia import errors, hookspecs
from anymedia.capabilities import (
    Anything,
    BillingRule,
    CapabilityMatrix,
    Choice,
    ContinueRule,
    CredentialSet,
    Fidelity,
    InputRule,
    Lifecycle,
    MaskRule,
    ModelSpec,
    OperationSpec,
    Option,
    Pixels,
    Price,
    Range,
    ReferencesRule,
    Requirement,
    Rule,
    Text,
    TypicalSeconds,
)
from anymedia.capabilities.loader import SCHEMA
from anymedia.formatting import in_digits
from anymedia.hookspecs import HOOKS
from anymedia.testing.cases import RULES, rule_of
from anymedia.testing.conformance import BackendConformance
from anymedia.testing.fakes import MEANINGS, Answer, Call, Wire, fake_service
from anymedia.testing.harness import loaded_registry

from .commands_page import commands
from .parts import NOTE, attribute_docs, default, listed, summary
from .settings_page import settings
from .toolbox_page import toolbox

__all__ = ["PAGES", "api_shapes", "backends", "capabilities", "conformance", "error_tree", "hook_example", "hooks", "settings", "toolbox"]

_TABLES = (CapabilityMatrix, CredentialSet, ModelSpec, Lifecycle, OperationSpec, InputRule, MaskRule, ReferencesRule, ContinueRule)
_SMALL = (Choice, Range, Text, Pixels, Anything, Requirement, Rule, BillingRule, Fidelity, Price, TypicalSeconds)


#: Fields that are not keys of the file, with the tables and keys from which they are built.
_READ_FROM = {
    ("CapabilityMatrix", "warnings"): None,
    ("CapabilityMatrix", "stale_after_days"): None,
    (
        "ModelSpec",
        "operations",
    ): "a table for each operation: `[models.generate_image]` and so on, and for each task: `[models.transform.upscale]`; `prices` and "
    "`typical_seconds` for all of them",
    ("OperationSpec", "operation"): None,
    ("OperationSpec", "task"): None,
    (
        "OperationSpec",
        "inputs",
    ): "a key for each input: `source`, `mask`, `references`, `first_frame`, `last_frame`, `continue_from`; of a task a table `inputs` "
    "with a key for each role",
    ("OperationSpec", "options"): "a key for each option: `size`, `duration`, `seed` ...; of a task `output_format`, and a table `options`",
}


_FAKE = Path(__file__).parents[2] / "examples/minimal_backend/tests/painter_fake.py"
_TASKS = """
A task is what a model does with media and has no operation of its own: upscale, remove the background, restore, describe. It is planned
by its name, and a model that has it is a candidate for nothing else. Inputs are required unless their `count` begins with 0; without
`prompt`, the task takes none. Rules and prices name its parts as `inputs.mask` and `options.scale`.

```toml
[models.transform.upscale]
inputs = { image = { formats = ["png", "jpeg"], max_pixels = 4194304 } }
options = { scale = { one_of = [2, 4], default = 2 }, face = { type = "boolean" } }
output_format = { one_of = ["png"], fixed = true }

[models.transform.describe]
inputs = { image = {}, context = { media = "audio", count = [0, 1] } }
prompt = { max_chars = 500, required = true }
output = "text"
```
"""


def capabilities() -> str:
    """Return the reference of capabilities.toml, from the types that it is read into."""
    out = [
        "# capabilities.toml\n",
        NOTE,
        "What is absent from the file is not supported. Every problem, such as an unknown key, is reported with file, model and field.",
    ]
    out.append(
        '`like = "other"` inherits: a model from an earlier model, an operation from another operation of the same model. '
        "The keys written next to it override what is inherited: operations of a model are merged key by key, any other value is "
        "replaced as a whole; `without = [...]` drops inherited keys. A model's `aliases` and `lifecycle` are not inherited."
    )
    out.append("An option is a `Choice`, `Range`, `Text`, `Pixels` or (as an extra parameter) `Anything`; its keys decide which.")
    out.append(_TASKS)
    out.append(f"The first key is `schema = {SCHEMA}`. The [tutorial](first-backend.md) contains a complete file.\n")
    for cls in (*_TABLES, *_SMALL):
        prose, meanings = attribute_docs(cls)
        head = ["| key | type | default | meaning |", "|---|---|---|---|"] if meanings else ["| key | type | default |", "|---|---|---|"]
        out += [f"## {cls.__name__}\n", prose + "\n", *head, *_keys(cls, meanings), ""]
    return "\n".join(out)


def _keys(cls: type, meanings: Mapping[str, str]) -> Iterator[str]:
    for field in attrs.fields(cls):
        read_from = _READ_FROM.get((cls.__name__, field.name), "")
        more = f" {meanings.get(field.name, '')} |" if meanings else ""
        if read_from:
            yield f"| {read_from} | | |" + (" |" if meanings else "")
        elif read_from is not None:
            yield f"| `{field.name}` | `{_typed(field)}` | {default(field)} |{more}"


def _typed(field: attrs.Attribute[Any]) -> str:
    text = field.type if isinstance(field.type, str) else getattr(field.type, "__name__", str(field.type))
    return str(text).replace("|", "\\|")


def error_tree() -> str:
    """Return the page of errors."""
    out = [
        "# Errors\n",
        NOTE,
        "Grouped by who must act. Agents receive the same as JSON: `code`, `message`, `fix`, `try_backends`, `retry`, `charged`.\n",
    ]
    out += ["| error | code | retry | charged | when |", "|---|---|---|---|---|"]
    out += [
        f"| {'&nbsp;' * 4 * depth}`{c.__name__}` | `{c.code}` | {'yes' if c.retry else 'no'} | {c.charged} | {summary(c)} |"
        for depth, c in _below(errors.MediaError, 0)
    ]
    out.append(
        "\n`retry`: the same call may succeed later. `charged`: whether it may be charged; an individual error may be more precise.\n"
    )
    return "\n".join(out)


def _below(cls: type[errors.MediaError], depth: int) -> Iterator[tuple[int, type[errors.MediaError]]]:
    yield depth, cls
    for child in cls.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from _below(child, depth + 1)


def conformance() -> str:
    """Return the page of the kit's rules."""
    out = ["# The conformance rules\n", NOTE, "An id is never reused for another rule. The only way to leave out a rule is"]
    out += ['`@known_gap("B02", "why")` on the test class; the table at the end of the test run shows the gap.\n']
    out += ["Real services: `pytest --anymedia-live --anymedia-live-budget 0.50` (off without both).\n"]
    out += ["If the library that a model requires is not installed, only its rejection is tested (B12); a line under the table says so.\n"]
    must = inspect.cleandoc(BackendConformance.__doc__ or "").partition("Must override:")[2]
    out += [
        "## What the author provides\n",
        "A subclass of `BackendConformance`. It must override:\n",
        *listed(must.partition("May override:")[0]),
    ]
    out += ["\nIt may override:\n", *listed(must.partition("May override:")[2].partition("Nothing else.")[0])]
    out += ["\nNothing else: an overridden or skipped rule fails. `wire` runs a fake of the service and yields a `Wire` with\n"]
    out += [
        *listed(inspect.cleandoc(Wire.__doc__ or "").partition("Attributes:")[2]),
        "\n| scenario | behaviour of the fake |\n|---|---|",
    ]
    out += [f"| `{name}` | {text} |" for name, text in MEANINGS.items()] + [""]
    prose, meanings = inspect.cleandoc(fake_service.__doc__ or "").split("\n\nArgs:\n")
    out += [
        "## A fake of the service\n",
        "`PainterFake = fake_service(handler, failures)`: " + prose.replace("``", "`").replace("\n\n", " ") + "\n",
    ]
    out += [*listed(meanings), "\nThe handler receives a `Call`:\n"]
    out += ["| call | meaning |\n|---|---|", *(f"| `{n}` | {text} |" for n, text in attribute_docs(Call)[1].items())]
    out += [
        f"| `{name}()` | {summary(getattr(Call, name)).replace('``', '`')} |"
        for name in ("json", "form", "submit", "listed", "check", "stop")
    ]
    out += ["\nand answers JSON, bytes or an `Answer`:\n", *listed(inspect.cleandoc(Answer.__doc__ or "").partition("Attributes:")[2]), ""]
    out += ["The whole fake of the [tutorial](first-backend.md):\n", f"```python\n{_FAKE.read_text('utf-8')}```\n"]
    for rule, text in RULES.items():
        out.append(f"## {rule}\n\n{text[:1].upper()}{text[1:]}.\n")
        tests = [getattr(BackendConformance, n) for n in dir(BackendConformance) if n.startswith("test_")]
        out += [f"- `{t.__name__}`: {summary(t)}" for t in tests if rule_of(t) == rule] + [""]
    return "\n".join(out)


def hooks() -> str:
    """Return the page of hooks: each heading is the exact call."""
    out = ["# Hooks\n", NOTE, inspect.cleandoc(hookspecs.__doc__ or "").partition("\n\n")[2].replace("``", "`") + "\n"]
    out[-1] = _fenced(out[-1])
    for name, spec in HOOKS.items():
        function = getattr(spec, name)
        names = [p for p in inspect.signature(function).parameters if p != "self"]
        word = "async def" if inspect.iscoroutinefunction(function) else "def"
        returns = inspect.signature(function).return_annotation
        prose, sections = _hook_sections(name)
        out += [f"## `{word} {name}({', '.join(names)}) -> {returns}`\n", prose.replace("``", "`") + "\n"]
        for title, heading in (("Args", "Parameters"), ("Returns", "Returns"), ("Raises", "Raises")):
            if text := sections.get(title, ""):
                body = "\n".join(listed(text)) if title != "Returns" else " ".join(text.split()).replace("``", "`")
                out.append(f"**{heading}**\n\n{body}\n")
        out.append(f"**Example**\n\n```python\n{hook_example(name)}```\n")
    return "\n".join(out)


def _fenced(text: str) -> str:
    """Return a docstring's text with its indented block as a code block."""
    return re.sub(r"\n\n((?:    .*\n)+)", lambda found: f"\n\n```text\n{inspect.cleandoc(found[1])}\n```\n", text)


def _hook_sections(name: str) -> tuple[str, dict[str, str]]:
    """Return the prose of a hook's docstring, and its sections by their titles, still indented."""
    text = inspect.cleandoc(getattr(HOOKS[name], name).__doc__ or "")
    prose, *sections = re.split(r"\n\n(Args|Returns|Raises|Example):\n", text)
    return prose, dict(zip(sections[::2], sections[1::2], strict=True))


def hook_example(name: str) -> str:
    """Return the code of a hook's example, as a module."""
    return textwrap.dedent(_hook_sections(name)[1]["Example"]) + "\n"


def _option(option: Option) -> str:
    if isinstance(option, Choice):
        return ", ".join(str(v) for v in option.one_of)
    if isinstance(option, Range):
        return f"{in_digits(option.min)} to {in_digits(option.max)}"
    return option.text() if isinstance(option, Pixels) else type(option).__name__.lower()


def backends() -> str:
    """Return the page of the plugins in this repository, from their shipped capability files."""
    out = [
        "# Backends\n",
        NOTE,
        "The models of the shipped capability files. Dates and prices are those of their sources on the day in `checked`.\n",
    ]
    registry = loaded_registry()
    for name, plugin in registry.plugins.items():
        if not plugin.distribution.startswith("anymedia-"):
            continue
        matrix = _shipped(plugin.module)
        out += [f"## {name}\n", f"Checked {matrix.checked}.\n", "| model | operations | shut down on |", "|---|---|---|"]
        out += [f"| `{m.id}` | {', '.join(m.operations)} | {_end(m.lifecycle.retires)} |" for m in matrix.models] + [""]
        out += [f"- `{m.id}` requires `{m.requires.module}`: `{m.requires.install}`" for m in matrix.models if m.requires is not None]
        for model in matrix.models[:1]:
            for spec in model.operations.values():
                options = [f"`{k}`: {_option(o)}" for k, o in spec.options.items()]
                out.append(
                    f"- `{model.id}` {spec.operation}: inputs {', '.join(spec.inputs) or 'none'}; {'; '.join(options) or 'no options'}"
                )
        out.append("")
    return "\n".join(out)


def readme_table() -> str:
    """Return the README's table of the plugins in this repository: folder, name, description and keys."""
    out = ["| folder | backend | description | key |", "|---|---|---|---|"]
    for name, plugin in loaded_registry().plugins.items():
        if plugin.distribution.startswith("anymedia-"):
            folder = Path(str(plugin.module.__file__)).parents[2]
            what = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]["description"]
            first = next(iter(_shipped(plugin.module).credentials), None)
            keys = [] if first is None else [" or ".join(f"`{n}`" for n in names) for names in first.names.values()]
            out.append(f"| `plugins/{folder.name}` | `{name}` | {what} | {', '.join(keys) or 'none'} |")
    return "\n".join(out)


def with_table(readme: str) -> str:
    """Return the README's text with the table between its markers."""
    before, _, rest = readme.partition("<!-- backends -->\n")
    return f"{before}<!-- backends -->\n\n{readme_table()}\n\n<!-- /backends -->{rest.partition('<!-- /backends -->')[2]}"


def _shipped(module: Any) -> CapabilityMatrix:
    from anymedia.capabilities import load_matrix

    return load_matrix(Path(module.__file__).with_name("capabilities.toml"))


def _end(day: datetime.date | None) -> str:
    return "" if day is None else str(day)


_SHAPES = Path(__file__).parents[2] / "examples/shapes"
_ABOUT_SHAPES = """How to write a backend for the usual kinds of API. Each is a whole plugin that passes the [kit](conformance.md), with its
capability file; its fake of the service and its test class are in `examples/shapes`. A masked edit is [Retouch](#retouch), an image
as a job [Regional](#regional), a pipeline on this machine [Pipeline](#pipeline). A service that answers with the image, also as the last
event of a stream, is the subject of the [tutorial](first-backend.md); `examples/video_backend` makes videos as jobs, with cancelling and a
lookup.
"""


def api_shapes() -> str:
    """Return the cookbook of API shapes, from the examples that the kit tests."""
    out = ["# Shapes of APIs\n", NOTE, _ABOUT_SHAPES]
    for folder in sorted(path for path in _SHAPES.iterdir() if (path / f"test_{path.name}.py").exists()):
        text = (folder / f"{folder.name}_media/plugin.py").read_text("utf-8")
        title = inspect.cleandoc(ast.get_docstring(ast.parse(text)) or "")
        facts = (folder / f"{folder.name}_media/capabilities.toml").read_text("utf-8")
        out += [f"## {folder.name.capitalize()}\n", title + "\n", f"```python\n{text}```\n", f"```toml\n{facts}```\n"]
    return "\n".join(out)


PAGES = {
    "api-shapes.md": api_shapes,
    "capabilities.md": capabilities,
    "errors.md": error_tree,
    "conformance.md": conformance,
    "hooks.md": hooks,
    "toolbox.md": toolbox,
    "settings.md": settings,
    "commands.md": commands,
    "backends.md": backends,
}


def main(folder: Path) -> None:
    """Write every page into a folder, and the table into the README next to it."""
    for name, page in PAGES.items():
        (folder / name).write_text(page().rstrip() + "\n", "utf-8")
    if (readme := folder.parent / "README.md").is_file():
        readme.write_text(with_table(readme.read_text("utf-8")), "utf-8")

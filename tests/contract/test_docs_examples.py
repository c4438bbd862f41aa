"""Every code block of the tutorials, the cookbook and the guides is executed as it is printed, in an empty directory.

A section with ``<!-- with: NAME -->`` runs with a fake of the service, see `_services`. A block with a title is written to the file of
that name; ``python`` and ``sh`` blocks without one run in order, the Python blocks of a section in one process.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import attrs
import click
import pytest

from anymedia.cli.app import cli

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = ("cookbook.md", "without-a-key.md", *sorted(str(page.relative_to(DOCS)) for page in DOCS.glob("tutorials/*.md")))
_BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
_WITH = re.compile(r"^<!-- with: (\w+) -->$", re.MULTILINE)


@attrs.frozen
class Unit:
    """Blocks that build on each other: a section that stands alone, or the rest of a page."""

    name: str
    service: str | None
    blocks: tuple[tuple[str, str, str], ...]  # language, title, text


def units(page: str) -> Iterator[Unit]:
    """Yield the units of a page."""
    text = (DOCS / page).read_text("utf-8")
    sections = re.split(r"^(?=## )", text, flags=re.MULTILINE)
    whole = _WITH.search(sections[0])
    if page != "cookbook.md":
        alone = [section for section in sections[1:] if _WITH.search(section)]
        sections = ["\n".join(section for section in sections if section not in alone), *alone]
    for section in sections:
        service, title = whole or _WITH.search(section), re.search(r"^#+ (.*)", section, re.MULTILINE)
        if blocks := _BLOCK.findall(section):
            yield Unit(f"{page}: {title[1] if title else ''}", None if service is None else service[1], tuple(blocks))


UNITS = [unit for page in PAGES for unit in units(page)]

#: Runs the steps of a unit; each Python block in the namespace of the earlier ones.
_DRIVER = """
import json, pathlib, subprocess, sys
names = {"__name__": "__main__"}
for number, (language, title, text) in enumerate(json.loads(pathlib.Path(sys.argv[1]).read_text())):
    print(f"--- block {number}: {language} {title}", flush=True)
    if title:
        pathlib.Path(title).write_text(text)
    elif language == "python":
        exec(compile(text, f"block {number}", "exec"), names)
    elif language == "sh":
        subprocess.run(["bash", "-euo", "pipefail", "-c", text], check=True, stdin=subprocess.DEVNULL)
    sys.stdout.flush()
"""


@contextlib.contextmanager
def _service(name: str | None, work: Path) -> Iterator[tuple[Mapping[str, str], Callable[[str], str]]]:
    """Yield the environment that a section needs, and how its addresses are replaced by those of the fakes."""
    from wire.corporate_network import CorporateNetwork
    from wire.openai_server import KEY, OpenAIServer
    from wire.openai_videos import Videos

    with contextlib.ExitStack() as stack:
        if name == "openai":
            fake = stack.enter_context(OpenAIServer())
            yield {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": fake.base_url}, str
            assert all(received.line.startswith(("POST /v1/images", "GET /v1/models")) for received in fake.received)
        elif name == "proxy":
            fake = stack.enter_context(OpenAIServer())
            network = stack.enter_context(CorporateNetwork(work, {"api.openai.com": fake.port}))
            yield {"OPENAI_API_KEY": KEY}, lambda text: text.replace("http://proxy.example:3128", network.url)
            assert network.asked == ["CONNECT api.openai.com:443"]
        elif name == "selfhosted":
            fake = stack.enter_context(OpenAIServer(any_key=True, videos=Videos(models=("wan-2.2",), free_values=True)))
            yield {}, lambda text: text.replace("http://127.0.0.1:8000/v1", fake.base_url)
            assert fake.count("POST /v1/videos") == 1
        elif name == "checkout":
            (work / ".venv").symlink_to(Path(sys.executable).parents[1])
            (work / "tests").symlink_to(ROOT / "tests")
            yield {}, str
        else:
            assert name is None
            yield {}, str


@pytest.mark.exhaustive  # a process or several for each section
@pytest.mark.timeout(550)
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: re.sub(r"\W+", "_", unit.name))
def test_section_of_the_docs_runs_as_printed(unit: Unit, tmp_path: Path) -> None:
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    kept = {name: value for name, value in os.environ.items() if name in {"LANG", "LC_ALL", "TMPDIR"}}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with _service(unit.service, work) as (environment, replaced):
        (tmp_path / "steps.json").write_text(json.dumps([(language, title, replaced(text)) for language, title, text in unit.blocks]))
        command = [sys.executable, "-W", "error", "-c", _DRIVER, str(tmp_path / "steps.json")]
        own = kept | {"PATH": path, "HOME": str(home), "MPLBACKEND": "agg"} | environment
        done = subprocess.run(command, env=own, cwd=work, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{unit.name}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


def _commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each command of anymedia in a shell block."""
    for line in text.replace("\\\n", " ").splitlines():
        for part in re.split(r"[|;]|&&|\$\(", line.partition("<")[0] if " - " in line else line):
            with contextlib.suppress(ValueError):
                words = shlex.split(part.strip().rstrip(")"), comments=True)
                while words and "=" in words[0]:
                    words = words[1:]
                if words and words[0].endswith("anymedia"):
                    yield words[1 : words.index(">") if ">" in words else None]


_SHELL = [(page, text) for page in sorted(DOCS.rglob("*.md")) for kind, _, text in _BLOCK.findall(page.read_text("utf-8")) if kind == "sh"]


@functools.cache
def _written() -> list[tuple[str, list[str]]]:
    return [(page.name, words) for page, text in _SHELL for words in _commands(text)]


def test_commands_in_the_docs_have_the_options_that_they_are_given() -> None:
    """A cheap check of every command, without running it."""
    assert len(_written()) > 40
    for page, words in _written():
        command: click.Command = cli
        context, rest = None, list(words)
        try:
            while isinstance(command, click.Group) and not (context and command.invoke_without_command and not rest):
                found, made, rest = command.resolve_command(click.Context(command), rest)
                assert made is not None
                command, context = made, click.Context(made, info_name=found)
            if "--help" not in rest and "-h" not in rest:
                command.make_context("anymedia", list(rest)).close()
        except (click.UsageError, IndexError) as error:
            assert isinstance(error, click.BadParameter) and "does not exist" in str(error), (page, words, error)


def test_pictures_in_which_the_docs_find_a_subject_are_the_same_each_time() -> None:
    """One picture in hundreds of the local backend has no subject that can be found, so that these examples give a seed."""
    for unit in UNITS:
        commands = [words for language, _, text in unit.blocks if language == "sh" for words in _commands(text)]
        seeded = {words[words.index("-o") + 1] for words in commands if {"--seed", "-o"} <= set(words)}
        searched = [words for words in commands if words[0] == "remove-background" or {"foreground", "background", "auto"} & set(words)]
        assert all(seeded & set(words) for words in searched), unit.name


@pytest.mark.exhaustive  # mypy reads the whole package
def test_python_in_the_docs_has_no_type_errors(tmp_path: Path) -> None:
    for number, unit in enumerate(UNITS):
        code = "\n".join(text for language, _, text in unit.blocks if language == "python")
        (tmp_path / f"section_{number}.py").write_text(f"# {unit.name}\n{code}")
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "--hide-error-context"]
    files = [f"section_{number}.py" for number in range(len(UNITS))]
    done = subprocess.run([*command, *files], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout

"""Help texts, import cost and suggestions for misspelt words."""

from __future__ import annotations

import json

import pytest

from anymedia.cli.app import COMMANDS, MEDIA, cli

#: ``asyncio`` and ``email`` (of importlib.metadata) are a third of a start each.
HEAVY = ("asyncio", "email", "numpy", "cv2", "av", "PIL", "rich", "openai", "google", "grpc", "mcp", "aiohttp", "xai_sdk")
_SPY = """
import json, sys
sys.argv[0] = "anymedia"
from anymedia.cli import main
try:
    main(sys.argv[1:])
finally:
    print(json.dumps(sorted({name.split(".")[0] for name in sys.modules} & set(%r))), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "words",
    [
        ["plan", "image", "x"],
        *(
            pytest.param(words, marks=pytest.mark.exhaustive)
            for words in (["--help"], ["image", "--help"], ["plan", "video", "--help"], ["imagge"], ["models", "--json"], ["jobs", "list"])
        ),
    ],
)
def test_command_without_media_imports_no_heavy_module(environment, tmp_path, words):
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-c", _SPY % (HEAVY,), *words],
        env={**environment, "ANYMEDIA_DISABLE": "demo"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {0, 2}, done.stderr
    needed = ["asyncio"] if words[0] == "jobs" else []  # the store is asynchronous
    assert json.loads(done.stderr.splitlines()[-1]) == needed


def test_help_imports_no_command(environment, tmp_path):
    import subprocess
    import sys

    spy = "import sys\nfrom anymedia.cli import main\ntry:\n main(['--help'])\nfinally:\n print(*sys.modules, sep='\\n', file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", spy], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    loaded = set(done.stderr.splitlines())
    assert not loaded & {f"anymedia.cli.{command.where.partition(':')[0]}" for command in COMMANDS.values()}
    assert not loaded & {"asyncio", "sqlite3", "anymedia.router", "anymedia.plugins.registry"}


def test_help_lists_every_command(call):
    result = call("--help")
    assert result.code == 0
    for name, command in COMMANDS.items():
        assert f"  {name}" in result.out.decode()
        assert command.help.split()[0] in result.out.decode()


def _all_commands():
    return (
        [[name] for name in COMMANDS] + [["plan", name] for name in MEDIA] + [["say"], *(["jobs", n] for n in ("list", "show", "resume"))]
    )


@pytest.mark.parametrize("words", _all_commands(), ids=" ".join)
def test_every_command_has_help(call, words):
    result = call(*words, "--help")
    assert result.code == 0, result.err
    assert result.out.startswith(f"Usage: anymedia {' '.join(words)}".encode())


@pytest.mark.parametrize("words", [[], ["plan"], ["keys"]])
def test_group_without_a_command_shows_its_help_and_is_a_usage_error(call, words):
    result = call(*words)
    assert result.code == 2
    assert b"Traceback" not in result.out
    assert "Commands:" in result.err


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("imge", "image"), ("capabilites", "capabilities"), ("docter", "doctor"), ("sya", "say"),
        ("plan vidoe", "video"), ("jobs shw", "show"), ("keys lst", "list"), ("fleet statsu", "status"),
    ],
)  # fmt: skip
def test_misspelt_command_suggests_the_nearest(call, typed, meant):
    result = call(*typed.split())
    assert result.code == 2
    assert f"did you mean {meant!r}?" in result.err


def test_misspelt_option_suggests_the_nearest(call):
    result = call("image", "x", "--formt", "png")
    assert result.code == 2
    assert "--format" in result.err


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (("image", "x", "--seed", "1e3"), "'1e3' is not a whole number."),
        (("image", "x", "--max-cost", "free"), "'free' is not a number."),
        (("upscale", "x.png", "--scale", "3.5"), "'3.5' is not a whole number."),
    ],
)
def test_text_in_place_of_a_number_is_refused_in_plain_words(call, words, wrong):
    result = call(*words)
    assert result.code == 2
    assert wrong in result.err


def test_version_is_the_installed_one(call):
    from importlib.metadata import version

    assert call("--version").lines == [f"anymedia {version('anymedia')}"]


def test_static_command_names_match_the_commands():
    for name, lazy in COMMANDS.items():
        assert lazy.load().name == name
    assert list(cli.lazy) == list(COMMANDS)


def test_module_runs_the_same_command_line(process):
    result = process("--version")
    assert result.code == 0
    assert result.out.startswith(b"anymedia ")

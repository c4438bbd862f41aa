"""The modules that a start loads, according to sys.modules of a new process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = (
    "keyring",
    "opentelemetry",
    "numpy",
    "cv2",
    "av",
    "PIL",
    "rich",
    "openai",
    "google.genai",
    "grpc",
    "xai_sdk",
    "mcp",
    "aiohttp",
    "httpx",
    "httpx2",
)
#: What a start of the command line does without: parts of the standard library that take long to import, and what only calls need.
SLOW = ("asyncio", "hashlib", "importlib.metadata", "logging", "ssl", "tempfile", "tomllib", "traceback", "urllib.request")
UNUSED = ("agents", "answers", "artifacts", "convert", "execution.engine", "http", "net", "probe", "router", "state", "testing")
PRINT_MODULES = "import json, sys; print(json.dumps(sorted(sys.modules)), file=sys.stderr)"


def _loaded(code: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", f"{code}\n{PRINT_MODULES}"], capture_output=True, text=True, check=True)
    return set(json.loads(done.stderr.splitlines()[-1]))


def test_import_anymedia_loads_nothing_heavy() -> None:
    assert not _loaded("import anymedia") & set(HEAVY)


def test_accessing_every_public_name_loads_nothing_heavy() -> None:
    assert not _loaded("import anymedia; [getattr(anymedia, n) for n in anymedia.__all__]") & set(HEAVY)


def test_help_loads_nothing_heavy() -> None:
    start = "import runpy, sys\nsys.argv = ['anymedia', '--help']"
    run = "try:\n    runpy.run_module('anymedia', run_name='__main__')\nexcept SystemExit:\n    pass"
    assert not _loaded(f"{start}\n{run}") & set(HEAVY)


def test_loading_every_plugin_and_its_matrix_loads_no_sdk() -> None:
    code = "from anymedia.plugins.registry import discover\nr = discover()\n[r.capabilities(n) for n in list(r.plugins)]"
    assert not _loaded(code) & set(HEAVY)


def test_pytest_plugin_imports_no_module_of_the_core() -> None:
    source = Path(__file__).parents[2] / "core/src"
    loaded = _loaded(f"import sys; sys.path.insert(0, {str(source)!r})\nimport _anymedia_pytest")
    assert not any(name == "anymedia" or name.startswith("anymedia.") for name in loaded)


STARTS = ("plan image x", "models", "models search image")


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings, no journal, and matrices in the cache, as after the first command of a user."""
    for name in ("HOME", "XDG_CONFIG_HOME", "ANYMEDIA_STATE"):
        monkeypatch.setenv(name, str(tmp_path))


def _started(command: str, report: str) -> set[str]:
    code = f"import sys\nsys.argv = ['anymedia', *{command.split()!r}]\nfrom anymedia.cli import main\n"
    return _loaded(f"{code}try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n{report}")


@pytest.mark.usefixtures("own_home")
@pytest.mark.parametrize("command", STARTS)
def test_start_of_a_command_loads_only_what_it_uses(command: str) -> None:
    _started(command, "")  # fills the cache of matrices
    loaded = _started(command, "")
    unused = {name for name in loaded for part in UNUSED if name == f"anymedia.{part}" or name.startswith(f"anymedia.{part}.")}
    assert not unused | loaded & {*HEAVY, *SLOW, "anymedia.capabilities.loader", "cattrs", "msgspec"}


COMPILED = """
import attrs
kinds = {k for n, m in list(sys.modules.items()) if n.split(".")[0] == "anymedia" for k in vars(m).values() if isinstance(k, type)}
made = {k for k in kinds if attrs.has(k) and getattr(k.__repr__, "__code__", main.__code__).co_filename.startswith("<attrs")}
sys.modules.update({f"compiled:{k.__module__}.{k.__name__}": None for k in made})
"""


@pytest.mark.usefixtures("own_home")
def test_start_of_a_command_compiles_no_comparison_or_repr() -> None:
    assert not {name for name in _started("plan image x", COMPILED) if name.startswith("compiled:")}, "decorate it with records.frozen"

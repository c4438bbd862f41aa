"""The modules that a start loads, according to sys.modules of a new process."""

import json
import subprocess
import sys
from pathlib import Path

HEAVY = ("numpy", "cv2", "av", "PIL", "rich", "openai", "google.genai", "grpc", "xai_sdk", "mcp", "aiohttp", "httpx", "httpx2")
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

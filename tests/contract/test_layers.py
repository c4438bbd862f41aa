"""Imports go one way, in the order of the package's docstring; plugins import public names only, and never each other."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = ROOT / "core/src/anymedia"
PLUGINS = sorted(p for p in (ROOT / "plugins").glob("*/src/*") if p.is_dir() and (p / "plugin.py").exists())

#: From the inside out; a module may import from its own layer and from those before it.
LAYERS = [
    {"records"},
    {"errors", "directories", "distributions", "resources", "threads"},
    {"media", "media_view", "clock", "redaction", "credentials", "system_keyring", "strict_json", "table", "formatting", "telemetry"},
    {"network"},
    {"fields"},
    {"requests", "notes"},
    {"results", "masks"},
    {"capabilities", "delivery"},
    {"policy"},
    {"planning"},
    {"context"},
    {"hookspecs"},
    {"settings"},
    {"plugins"},
    {"probe"},
    {"files"},
    {"net", "artifacts"},
    {"convert"},
    {"state", "answers"},
    {"http"},
    {"execution"},
    {"plan_maker"},
    {"operations", "realms"},
    {"router"},
    {"sync_router", "worker"},
    {"aio"},
    {"shortcuts"},
    {"generation_config"},
    {"agents", "testing"},
    {"cli"},
]
HEAVY = {"keyring", "opentelemetry", "openai", "google", "xai_sdk", "grpc", "mcp", "numpy", "cv2", "av", "PIL", "rich", "aiohttp"}


def _layer(name: str) -> int:
    for index, names in enumerate(LAYERS):
        if name in names:
            return index
    raise AssertionError(f"{name} is in no layer: add it to LAYERS")


def _module_level(tree: ast.Module) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield the imports that run when a module is loaded (not those for type checkers)."""
    pending: list[ast.stmt] = list(tree.body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and not (isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
            pending += node.body + node.orelse
        elif isinstance(node, ast.Try):
            pending += node.body


def _core_imports(path: Path) -> Iterator[str]:
    package = ["anymedia", *path.relative_to(CORE).with_suffix("").parts][:-1]
    for node in _module_level(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            target = base + (node.module.split(".") if node.module else [])
            if len(target) > 1:
                yield target[1]
            else:
                yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("anymedia."):
            yield node.module.split(".")[1]


def test_imports_go_one_way() -> None:
    wrong = []
    for path in CORE.rglob("*.py"):
        own = path.relative_to(CORE).parts[0].removesuffix(".py")
        if own.startswith("__"):
            continue
        for name in _core_imports(path):
            if name != own and _layer(name) > _layer(own):
                wrong.append(f"{path.relative_to(CORE)} imports {name}")
    assert wrong == []


def test_modules_import_nothing_heavy_when_loaded() -> None:
    wrong = []
    for path in [*CORE.rglob("*.py"), *(p for plugin in PLUGINS for p in plugin.rglob("*.py"))]:
        for node in _module_level(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            wrong += [f"{path.relative_to(ROOT)}: {n}" for n in names if n.split(".")[0] in HEAVY and not getattr(node, "level", 0)]
    assert wrong == []


def test_core_compares_with_no_provider_name() -> None:
    words = ("openai", "google", "gemini", "grok", "xai", "openrouter", "fal")
    wrong = []
    for path in CORE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare | ast.Match):
                for part in ast.walk(node):
                    if isinstance(part, ast.Constant) and isinstance(part.value, str) and part.value.lower() in words:
                        wrong.append(f"{path.relative_to(ROOT)}:{part.lineno} compares with {part.value!r}")
    assert wrong == []


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda p: p.name)
def test_plugin_imports_public_names_and_no_other_plugin(plugin: Path) -> None:
    others = {p.name for p in PLUGINS} - {plugin.name}
    private = {"plugins", "router", "execution", "planning", "state", "cli", "settings", "probe", "files", "net", "convert"}
    for path in plugin.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                parts = node.module.split(".")
                assert parts[0] not in others
                assert not (parts[0] == "anymedia" and len(parts) > 1 and parts[1] in private), f"{path}: {node.module}"


def test_files_have_at_most_600_lines() -> None:
    sizes = sorted(len(p.read_text().splitlines()) for p in [*CORE.rglob("*.py"), *(f for d in PLUGINS for f in d.rglob("*.py"))])
    assert sizes[-1] <= 600

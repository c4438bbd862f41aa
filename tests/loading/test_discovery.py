"""Discovery: plugins are loaded separately; a broken one is recorded and the others work."""

import json
import sys
import textwrap
from importlib.metadata import EntryPoint, distributions
from typing import Any

import pytest

from anymedia.distributions import plugin_points
from anymedia.errors import DuplicateBackend, PluginContractError, PluginError, PluginLoadError, UnknownBackend
from anymedia.plugins.registry import discover

HEAD = """
    from anymedia.capabilities import CapabilityMatrix
    from anymedia.hookspecs import hookimpl

    @hookimpl
    def capabilities():
        return CapabilityMatrix(models=())
"""

#: name -> (what is wrong with it, its error, text that the reason must contain)
BROKEN: dict[str, tuple[str, type[PluginError], str]] = {
    "importerror": ("import no_such_module_anywhere", PluginLoadError, "No module named 'no_such_module_anywhere'"),
    "syntaxerror": ("def broken(:", PluginLoadError, "SyntaxError"),
    "exits": ("import sys; sys.exit(3)", PluginLoadError, "SystemExit: 3"),
    "raises": ("raise BaseException('nope')", PluginLoadError, "BaseException: nope"),
    "speechless": (
        "class Odd(Exception):\n        def __str__(self): raise ValueError\n    raise Odd()",
        PluginLoadError,
        "Odd",
    ),
    "shouting": (r"raise ImportError('\x1b[31m' + 'x' * 5000 + '\n' * 9)", PluginLoadError, "xxx"),
    "hookless": ("", PluginContractError, "it has no hook capabilities()"),
    "unmarked": ("def capabilities(): ...", PluginContractError, "not marked with @hookimpl"),
    "misspelt": (
        HEAD + "\n    @hookimpl\n    async def generate_imgae(request, context): ...",
        PluginContractError,
        "did you mean 'generate_image'",
    ),
    "sync": (HEAD + "\n    @hookimpl\n    def inpaint(request, context): ...", PluginContractError, "inpaint is not async"),
    "asyncwrong": (
        "from anymedia.hookspecs import hookimpl\n    @hookimpl\n    async def capabilities(): ...",
        PluginContractError,
        "capabilities is async; expected 'def capabilities()'",
    ),
    "extra": (
        HEAD + "\n    @hookimpl\n    async def inpaint(request, context, mask): ...",
        PluginContractError,
        "'async def inpaint(request, context)'",
    ),
    "fewer": (HEAD + "\n    @hookimpl\n    async def inpaint(request): ...", PluginContractError, "other parameters"),
    "keyword": (HEAD + "\n    @hookimpl\n    async def inpaint(request, *, context): ...", PluginContractError, "other parameters"),
    "catchall": (HEAD + "\n    @hookimpl\n    async def inpaint(request, context, **more): ...", PluginContractError, "other parameters"),
    "renamed": (HEAD + "\n    @hookimpl\n    async def check_job(request, context): ...", PluginContractError, "check_job(job, context)"),
    "wrapping": (HEAD + "\n    @hookimpl(wrapper=True)\n    def inpaint(request, context): yield", PluginContractError, "wrapper"),
    "posing": (
        HEAD + "\n    @hookimpl(specname='inpaint')\n    async def generate_image(request, context): ...",
        PluginContractError,
        "specname",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_plugin_broken_is_recorded_and_others_work(site: Any, good: str, name: str) -> None:
    source, kind, words = BROKEN[name]
    site.install("maker-of-broken", f"{name} = mod_{name}", version="0.3", **{f"mod_{name}": f"\n    {source}"})
    site.install("maker-of-good", "aaa = mod_good\nzzz = mod_good_too", mod_good=good, mod_good_too=good)
    registry = discover(entry_points=only(site))
    assert {"aaa", "zzz"} <= registry.plugins.keys()
    assert name not in registry.plugins
    found = registry.broken[name]
    assert (found.name, found.distribution, found.version) == (name, "maker-of-broken", "0.3")
    assert type(found.reason) is kind
    assert words in found.reason.message
    assert found.reason.message.isprintable()
    assert len(found.reason.message) < 600
    with pytest.raises(UnknownBackend, match="installed but broken"):
        registry.get(name)
    assert registry.capabilities("aaa").models == ()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("mod_things:Backend", "not a class"),
        ("mod_things:backend", "not 'Backend' object"),
        ("mod_things:capabilities", "not 'function' object"),
        ("mod_things:missing", "no attribute 'missing'"),
        ("not a module at all!", "could not be loaded"),
    ],
)
def test_entry_point_to_non_module_is_refused(site: Any, value: str, words: str) -> None:
    source = HEAD + "\n    class Backend:\n        capabilities = staticmethod(capabilities)\n    backend = Backend()"
    site.install("maker", f"thing = {value}", mod_things=source)
    assert words in discover(entry_points=only(site)).broken["thing"].reason.message


def test_import_keyboard_interrupt_is_raised(site: Any) -> None:
    site.install("maker", "thing = mod_interrupted", mod_interrupted="\n    raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        discover()


@pytest.mark.parametrize("name", ["auto", "a/b", "a b", ".hidden", "x" * 65])
def test_plugin_name_with_invalid_characters_is_refused(site: Any, good: str, name: str) -> None:
    site.install("maker", f"{name} = mod_good", mod_good=good)
    assert isinstance(discover(entry_points=only(site)).broken[name].reason, PluginContractError)


def test_plugin_loaded_has_distribution_version_and_hooks(site: Any) -> None:
    source = HEAD + "\n    @hookimpl\n    async def inpaint(request, context): ..."
    site.install("anymedia-paint", "paint = mod_paint", version="2.1", mod_paint=source)
    found = discover().plugins["paint"]
    assert (found.name, found.distribution, found.version) == ("paint", "anymedia-paint", "2.1")
    assert found.hooks == {"capabilities", "inpaint"}
    assert found.module is sys.modules["mod_paint"]


def test_hook_unknown_but_optional_is_allowed(site: Any) -> None:
    source = HEAD + "\n    @hookimpl(optionalhook=True)\n    async def upscale(request, context): ..."
    site.install("maker", "paint = mod_paint", mod_paint=source)
    assert discover().plugins["paint"].hooks == {"capabilities"}


def test_plugin_name_of_two_distributions_is_broken_and_not_imported(site: Any, good: str) -> None:
    site.install("first-maker", "paint = mod_first", mod_first=good)
    site.install("second-maker", "paint = mod_second", mod_second=good)
    registry = discover()
    reason = registry.broken["paint"].reason
    assert isinstance(reason, DuplicateBackend)
    assert "first-maker, second-maker" in reason.message
    assert "paint" not in registry.plugins
    assert site.loaded() == set()


def test_module_under_two_names_loads_once_with_hint(site: Any, good: str) -> None:
    site.install("maker", "one = mod_good\ntwo = mod_good", mod_good=good)
    registry = discover()
    assert "one" in registry.plugins
    assert "'one' and 'two' are the same module" in registry.broken["two"].reason.message


LOUD = "\n    from pathlib import Path\n    Path(__file__).with_suffix('.ran').touch()\n" + HEAD


def only(site: Any) -> list[EntryPoint]:
    """The entry points installed here, without those of the machine, which take far longer to read."""
    return [point for found in distributions(path=[str(site.path)]) for point in found.entry_points.select(group="anymedia")]


def ran(site: Any) -> set[str]:
    return {path.stem for path in site.path.glob("*.ran")}


def test_plugin_outside_allow_list_is_not_imported(site: Any) -> None:
    site.install("trusted-maker", "trusted = mod_trusted", mod_trusted=LOUD)
    site.install("other-dist", "strange = mod_strange", mod_strange=LOUD)
    registry = discover(allow=("Trusted_Maker",))
    assert ran(site) == {"mod_trusted"}
    assert set(registry.plugins) == {"trusted"}
    assert registry.blocked["strange"] == "other-dist 1.0 is not in plugins.allow"
    with pytest.raises(UnknownBackend, match=r"blocked: other-dist 1\.0 is not in plugins\.allow"):
        registry.get("strange")


@pytest.mark.parametrize(
    ("allow", "runs"),
    [
        (("maker==1.0",), True),
        (("other", " maker == 1.0 "), True),
        (("maker==1.1",), False),
        (("maker==1.0.0",), False),
        (("maker==",), False),
        (("maker>=1.0",), False),
        (("mak",), False),
        (("",), False),
        ((), False),
        (None, True),
    ],
)
def test_allow_list_can_pin_version(site: Any, allow: tuple[str, ...] | None, runs: bool) -> None:
    site.install("maker", "paint = mod_paint", mod_paint=LOUD)
    registry = discover(allow=allow)
    assert ("paint" in registry.plugins) is runs
    assert ran(site) == ({"mod_paint"} if runs else set())


def test_plugin_not_allowed_cannot_block_allowed_name(site: Any) -> None:
    site.install("trusted-maker", "paint = mod_trusted", mod_trusted=LOUD)
    site.install("other-dist", "paint = mod_strange", mod_strange=LOUD)
    registry = discover(allow=("trusted-maker",), entry_points=only(site))
    assert ran(site) == {"mod_trusted"}
    assert registry.get("paint").distribution == "trusted-maker"
    assert registry.blocked == {"paint (other-dist)": "other-dist 1.0 is not in plugins.allow"}


def record(site: Any, distribution: str, *files: str) -> None:
    """Write the list of a distribution's files, as installers do."""
    (info,) = site.path.glob(f"{distribution.replace('-', '_')}-*.dist-info")
    (info / "RECORD").write_text("".join(f"{file},,\n" for file in (*files, f"{info.name}/METADATA")))


@pytest.mark.parametrize("as_package", [False, True])
@pytest.mark.parametrize("allow", [("maker",), None])
def test_module_shadowing_allowed_plugin_is_not_imported(
    site: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, allow: tuple[str, ...] | None, as_package: bool
) -> None:
    """A foreign module of the same name comes earlier on the path; without an allow-list, Python's order applies."""
    site.install("maker", "paint = mod_paint.plugin" if as_package else "paint = mod_paint", **({} if as_package else {"mod_paint": LOUD}))
    if as_package:
        (site.path / "mod_paint").mkdir()
        for name in ("__init__", "plugin"):
            (site.path / "mod_paint" / f"{name}.py").write_text(textwrap.dedent(LOUD))
    record(site, "maker", *(["mod_paint/__init__.py", "mod_paint/plugin.py"] if as_package else ["mod_paint.py"]))
    other_place = tmp_path / "other_place"
    shadow = other_place / "mod_paint" / "__init__.py" if as_package else other_place / "mod_paint.py"
    shadow.parent.mkdir(parents=True)
    shadow.write_text(textwrap.dedent(LOUD))
    monkeypatch.syspath_prepend(str(other_place))
    registry = discover(allow=allow, entry_points=only(site))
    assert shadow.with_suffix(".ran").exists() is (allow is None)
    if allow is not None:
        assert "did not install" in registry.blocked["paint"]
        assert not list(site.path.rglob("*.ran"))


def test_module_of_allowed_plugin_is_imported(site: Any) -> None:
    site.install("maker", "paint = mod_paint", mod_paint=LOUD)
    record(site, "maker", "mod_paint.py")
    assert "paint" in discover(allow=("maker",), entry_points=only(site)).plugins


def test_editable_installation_origin_is_accepted(site: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "checkout" / "src"
    source.mkdir(parents=True)
    (source / "mod_paint.py").write_text(textwrap.dedent(LOUD))
    site.install("maker", "paint = mod_paint")
    (site.path / "_maker.pth").write_text(f"{source}\n")
    record(site, "maker", "_maker.pth")
    monkeypatch.syspath_prepend(str(source))
    assert "paint" in discover(allow=("maker",), entry_points=only(site)).plugins
    (site.path / "_maker.pth").write_text(f"{source}-else\n")
    del sys.modules["mod_paint"]
    (source / "mod_paint.ran").unlink()
    assert "did not install" in discover(allow=("maker",), entry_points=only(site)).blocked["paint"]
    assert not (source / "mod_paint.ran").exists()
    (info,) = site.path.glob("maker-*.dist-info")
    (info / "direct_url.json").write_text(json.dumps({"dir_info": {"editable": True}, "url": source.parent.as_uri()}))
    assert "paint" in discover(allow=("maker",), entry_points=only(site)).plugins
    del sys.modules["mod_paint"]


@pytest.mark.parametrize("name", ["Anymedia_Evil", "anymedia.evil", "ANYMEDIA--EVIL", "anymedia_Evil"])
def test_distribution_name_spelling_does_not_matter(site: Any, name: str) -> None:
    site.install("anymedia-evil", "paint = mod_paint", mod_paint=LOUD)
    (info,) = site.path.glob("anymedia_evil-*.dist-info")
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    for allow in (("anymedia",), ("anymedia-evi",), ("evil",), ("anymediaevil",), ("anymedia-evil-2", "anymedia_e", "*")):
        assert "paint" in discover(allow=allow, entry_points=only(site)).blocked
    assert ran(site) == set()
    assert "paint" in discover(allow=("anymedia-evil",), entry_points=only(site)).plugins


def test_distribution_without_name_is_not_allowed(site: Any) -> None:
    site.install("nameless", "paint = mod_paint", mod_paint=LOUD)
    (site.path / "nameless-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\n")
    registry = discover(allow=("", "nameless"))
    assert ran(site) == set()
    assert "paint" in registry.blocked


def test_plugin_disabled_is_not_imported(site: Any) -> None:
    site.install("maker", "paint = mod_paint\nother = mod_other", mod_paint=LOUD, mod_other=LOUD)
    registry = discover(disabled=frozenset({"paint", "absent"}))
    assert ran(site) == {"mod_other"}
    assert "ANYMEDIA_DISABLE" in registry.blocked["paint"]


def test_entry_points_file_unreadable_is_ignored(site: Any, good: str) -> None:
    site.install("aaa-rubbish", "this line is not an entry point", version="9")
    site.install("maker", "paint = mod_paint", mod_paint=good)
    site.install("second-maker", "two = mod_two", mod_two=good)
    assert {"paint", "two"} <= set(discover().plugins)


def test_metadata_file_broken_is_ignored(site: Any, good: str) -> None:
    site.install("maker", "paint = mod_paint", mod_paint=good)
    site.install("rubbish", "bad = mod_bad", mod_bad=good)
    (site.path / "rubbish-1.0.dist-info" / "METADATA").write_bytes(b"\xff\xfe\x00\x01")
    assert "paint" in discover().plugins


def test_discover_is_independent_of_order_on_disk(site: Any, good: str) -> None:
    for i in (3, 1, 2):
        site.install(f"maker-{i}", f"paint{i} = mod_paint{i}", **{f"mod_paint{i}": good})
    assert [name for name in discover().plugins if name.startswith("paint")] == ["paint1", "paint2", "paint3"]


def test_discover_with_given_entry_points(site: Any, good: str) -> None:
    site.install("maker", "paint = mod_paint", mod_paint=good)
    registry = discover(entry_points=[EntryPoint("mine", "mod_paint", "anymedia")])
    assert set(registry.plugins) == {"mine"}
    assert registry.get("mine").distribution == ""


def test_plugin_with_the_name_of_a_backend_of_this_project_does_not_disable_it(
    site: Any, good: str, caplog: pytest.LogCaptureFixture
) -> None:
    site.install("anymedia-openai", "openai = mod_genuine", mod_genuine=good)
    site.install("nice-tools", "openai = mod_taken", mod_taken=good)
    registry = discover(entry_points=[point for point in plugin_points("anymedia") if point.module in {"mod_genuine", "mod_taken"}])
    assert registry.plugins["openai"].distribution == "anymedia-openai"
    assert registry.blocked == {"openai (nice-tools)": "the backend of that name is anymedia-openai's"}
    assert registry.broken == {}
    assert "mod_taken" not in site.loaded()
    assert "'nice-tools' is not imported" in caplog.text

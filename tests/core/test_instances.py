"""Backend instances: models, services, credentials, addresses, custom models."""

import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from anymedia.capabilities import CapabilityMatrix, Choice, Lifecycle, MaskRule, Range, parse_matrix
from anymedia.credentials import Keys, Secret
from anymedia.hookspecs import HOOKS, hookimpl
from anymedia.plugins.instances import BackendInstance, make_instances
from anymedia.plugins.registry import Registry
from anymedia.redaction import redact
from anymedia.settings import Settings, load_settings

OPERATION = {"seed": {"min": 0, "max": 9, "step": 1}, "prompt": {"max_chars": 100}}
MATRIX = {
    "schema": 1,
    "services": ["plain", "vertex"],
    "hosts": ["api.example.org"],
    "base_url_env": ["MAKER_BASE_URL", "MAKER_OLD_URL"],
    "credentials": [
        {"service": "plain", "names": {"api_key": ["MAKER_KEY", "MAKER_OLD_KEY"]}},
        {"service": "vertex", "names": {"project": ["MAKER_PROJECT"], "location": ["MAKER_LOCATION"]}},
    ],
    "models": [
        {
            "id": "both",
            "media": "image",
            "rank": 5,
            "aliases": ["b"],
            "continuation_prefix": "both_img",
            "lifecycle": {"retires": "2020-01-01", "certainty": "firm"},
            "continues_with": ["plain-only"],
            "prices": [{"per": "image", "usd": 1}],
            "typical_seconds": {"median": 1, "p95": 2},
            "wire": {"path": "/x"},
            "generate_image": {**OPERATION, "rules": [{"when": {"seed": True}, "forbid": {"n": True}, "because": "so it is"}]},
            "inpaint": {"source": {}, "mask": {"format": "alpha"}, **OPERATION},
        },
        {"id": "plain-only", "services": ["plain"], "generate_image": {}},
        {"id": "vertex-only", "services": ["vertex"], "generate_image": {}},
    ],
}


def plugin(matrix: Any) -> types.ModuleType:
    module = types.ModuleType("maker")

    @hookimpl
    def capabilities() -> CapabilityMatrix:
        return parse_matrix(matrix, "maker.toml") if isinstance(matrix, dict) else matrix

    module.capabilities = capabilities  # type: ignore[attr-defined]
    for name in HOOKS.keys() & {"generate_image", "inpaint", "generate_video"}:

        async def operation(request: Any, context: Any) -> Any:
            raise NotImplementedError

        operation.__name__ = name
        setattr(module, name, hookimpl(operation))
    return module


def instances(
    text: str = "", *, tmp_path: Path | None = None, keys: Keys | None = None, matrix: Any = MATRIX, **environ: Any
) -> dict[str, BackendInstance]:
    registry = Registry()
    registry.register("maker", plugin(matrix))
    settings = Settings(keys=keys or Keys())
    if text:
        assert tmp_path is not None
        (tmp_path / "c.toml").write_text(text)
        settings = load_settings(environ={}, files=[tmp_path / "c.toml"])
    return make_instances(registry, settings, environ)


def ids(instance: BackendInstance) -> list[str]:
    return [row.id for row in instance.matrix.models]


def test_instance_per_plugin_has_its_name() -> None:
    found = instances(MAKER_KEY="k")["maker"]
    assert (found.name, found.plugin, found.service, found.usable, found.missing) == ("maker", "maker", "plain", True, ())
    assert found.secrets()["api_key"].reveal() == "k"
    assert (found.base_url, found.base_url_from, found.hosts) == (None, "", ("api.example.org",))
    assert found.enforce_lifecycle
    assert found.context_settings == {}


def test_instance_view_has_planner_facts() -> None:
    found = instances()["maker"]
    view = found.view
    assert (view.name, view.matrix, view.missing, view.service) == ("maker", found.matrix, ("MAKER_KEY or MAKER_OLD_KEY",), "plain")
    assert view.enforce_lifecycle


@pytest.mark.parametrize(
    ("environ", "service", "missing"),
    [
        ({}, "plain", ("MAKER_KEY or MAKER_OLD_KEY",)),
        ({"MAKER_KEY": ""}, "plain", ("MAKER_KEY or MAKER_OLD_KEY",)),
        ({"MAKER_OLD_KEY": "k"}, "plain", ()),
        ({"MAKER_PROJECT": "p", "MAKER_LOCATION": "l"}, "vertex", ()),
        ({"MAKER_PROJECT": "p"}, "plain", ("MAKER_KEY or MAKER_OLD_KEY",)),
        ({"MAKER_KEY": "k", "MAKER_PROJECT": "p", "MAKER_LOCATION": "l"}, "plain", ()),
    ],
)
def test_service_unset_is_first_with_complete_credentials(environ: dict[str, Any], service: str, missing: tuple[str, ...]) -> None:
    found = instances(**environ)["maker"]
    assert (found.service, found.missing) == (service, missing)


def test_matrix_of_instance_has_models_of_its_service() -> None:
    assert ids(instances(MAKER_KEY="k")["maker"]) == ["both", "plain-only"]
    found = instances(MAKER_PROJECT="p", MAKER_LOCATION="l")["maker"]
    assert ids(found) == ["both", "vertex-only"]
    assert [s.service for s in found.matrix.credentials] == ["vertex"]


def test_service_configured_wins_and_reports_missing(tmp_path: Path) -> None:
    found = instances("[backends.maker]\nservice = 'vertex'", tmp_path=tmp_path, MAKER_KEY="k", MAKER_PROJECT="p")["maker"]
    assert (found.service, found.missing) == ("vertex", ("MAKER_LOCATION",))
    assert {c.name: c.found_in for c in found.credentials} == {"project": "MAKER_PROJECT", "location": ""}


def test_instance_without_credential_sets_is_usable() -> None:
    found = instances(matrix={"schema": 1, "models": []})["maker"]
    assert (found.usable, found.service, found.credentials) == (True, "", ())


def test_instance_second_has_own_name_key_and_address(tmp_path: Path) -> None:
    text = """
        [backends.work]
        plugin = "maker"
        service = "plain"
        base_url = "https://proxy.example.org:8443/v1"
        credentials = { api_key = "WORK_KEY" }
        hosts = ["files.example.org"]
        options = { timeout = 9 }
    """
    found = instances(text, tmp_path=tmp_path, MAKER_KEY="private", WORK_KEY="work", MAKER_BASE_URL="https://elsewhere.example.org")
    assert set(found) == {"maker", "work"}
    work = found["work"]
    assert work.secrets()["api_key"].reveal() == "work"
    assert work.hosts == ("api.example.org", "proxy.example.org:8443", "files.example.org")
    assert work.base_url_from.endswith("c.toml.backends.work")
    assert work.context_settings == {"timeout": 9, "base_url": "https://proxy.example.org:8443/v1"}
    assert found["maker"].secrets()["api_key"].reveal() == "private"
    assert (found["maker"].base_url, found["maker"].base_url_from) == ("https://elsewhere.example.org", "MAKER_BASE_URL")


def test_credential_variable_configured_is_the_only_one_read(tmp_path: Path) -> None:
    found = instances("[backends.maker]\ncredentials = { api_key = 'WORK_KEY' }", tmp_path=tmp_path, MAKER_KEY="private")["maker"]
    assert found.missing == ("WORK_KEY",)
    assert found.secrets() == {}


def test_key_of_an_instance_wins_over_the_environment_and_that_over_the_keys_file() -> None:
    shared = {"MAKER_KEY": Secret("shared")}
    keys = Keys(by_variable=shared, by_instance={"maker": {"api_key": Secret("own")}})
    assert instances(keys=keys, MAKER_OLD_KEY="env")["maker"].secrets()["api_key"].reveal() == "own"
    assert instances(keys=Keys(by_variable=shared), MAKER_OLD_KEY="env")["maker"].secrets()["api_key"].reveal() == "env"
    (credential,) = instances(keys=keys)["maker"].credentials
    assert credential.found_in == "keys.toml [maker] api_key"


COMPATIBLE = """
    [backends.gpu]
    plugin = "maker"
    service = "compatible"
    base_url = "http://127.0.0.1:30010/v1"
"""


def test_compatible_server_without_key_gets_none_of_the_makers(tmp_path: Path) -> None:
    environ: dict[str, Any] = {"MAKER_KEY": "private", "MAKER_BASE_URL": "https://elsewhere.example.org"}
    found = instances(COMPATIBLE, tmp_path=tmp_path, **environ)["gpu"]
    assert found.usable
    assert found.secrets() == {}
    assert found.hosts == ("127.0.0.1:30010",)
    assert found.base_url == "http://127.0.0.1:30010/v1"
    assert not found.enforce_lifecycle
    assert not found.matrix.first_party


def test_compatible_server_gets_key_of_its_table(tmp_path: Path) -> None:
    text = COMPATIBLE + 'credentials = { api_key = "GPU_KEY" }'
    assert instances(text, tmp_path=tmp_path, MAKER_KEY="private")["gpu"].missing == ("GPU_KEY",)
    assert instances(text, tmp_path=tmp_path, GPU_KEY="gpu")["gpu"].secrets()["api_key"].reveal() == "gpu"


def test_compatible_server_gets_key_of_keys_file_table(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(COMPATIBLE)
    (tmp_path / "keys.toml").write_text("MAKER_KEY = 'private'\n[gpu]\napi_key = 'gpu'")
    (tmp_path / "keys.toml").chmod(0o600)
    registry = Registry()
    registry.register("maker", plugin(MATRIX))
    settings = load_settings(environ={}, files=[tmp_path / "c.toml"], keys_file=tmp_path / "keys.toml")
    found = make_instances(registry, settings, {})
    assert found["gpu"].secrets()["api_key"].reveal() == "gpu"
    assert found["maker"].secrets()["api_key"].reveal() == "private"


def test_compatible_server_without_models_table_has_models_without_prices(tmp_path: Path) -> None:
    found = instances(COMPATIBLE, tmp_path=tmp_path)["gpu"]
    assert ids(found) == ["both", "plain-only"]
    assert all(not row.prices and row.typical_seconds is None for model in found.matrix.models for row in model.operations.values())
    assert found.matrix.models[0].lifecycle.retires is not None


def test_compatible_service_in_plugin_decides_its_models(tmp_path: Path) -> None:
    matrix = MATRIX | {
        "services": ["plain", "compatible"],
        "credentials": [],
        "models": [{"id": "a", "services": ["plain"]}, {"id": "b", "services": ["compatible"]}, {"id": "c"}],
    }
    found = instances(COMPATIBLE, tmp_path=tmp_path, matrix=matrix)
    assert ids(found["gpu"]) == ["b", "c"]
    assert (found["maker"].service, ids(found["maker"])) == ("plain", ["a", "c"])


def test_models_table_of_compatible_server_replaces_models(tmp_path: Path) -> None:
    text = (
        COMPATIBLE
        + """
        [backends.gpu.models.wan]
        like = "b"
        aliases = ["w"]
        rank = 1
        without = ["generate_image.seed"]
        wire = { extra = 1 }
        inpaint = { mask = { format = "black" }, quality = { one_of = ["fast"] } }
        generate_image.n = { min = 1, max = 4, step = 1 }
        [backends.gpu.models.own]
        media = "video"
        generate_video = { duration = { one_of = [4] } }
    """
    )
    found = instances(text, tmp_path=tmp_path)["gpu"]
    assert found.missing == ()
    assert ids(found) == ["wan", "own"]
    wan, own = found.matrix.models
    assert (wan.rank, wan.aliases, wan.media, wan.lifecycle, wan.continues_with) == (1, ("w",), "image", Lifecycle(), ())
    assert wan.wire == {"path": "/x", "extra": 1}
    assert wan.continuation_prefix == "both_img"
    image, inpaint = wan.operations["generate_image"], wan.operations["inpaint"]
    assert image.options == {"n": Range(min=1, max=4, step=1)}
    assert image.rules == ()  # the rule mentioned the seed
    assert image.prompt.max_chars == 100
    assert inpaint.inputs["mask"] == MaskRule(format="black")
    assert set(inpaint.inputs) == {"source", "mask"}
    assert inpaint.options["quality"] == Choice(one_of=("fast",))
    assert not inpaint.prices
    assert inpaint.typical_seconds is None
    assert own.operations["generate_video"].options["duration"] == Choice(one_of=(4,))


def test_models_table_of_maker_service_adds_models(tmp_path: Path) -> None:
    found = instances("[backends.maker.models.new]\nlike = 'both'\nwithout = ['inpaint']", tmp_path=tmp_path, MAKER_KEY="k")["maker"]
    assert ids(found) == ["new", "both", "plain-only"]
    assert set(found.matrix.models[0].operations) == {"generate_image"}


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("like = 'bot'", "like: the plugin has no model 'bot'; did you mean 'both'?"),
        ("like = 3", "no model 3"),
        ("", "give like"),
        ("like = 'both'\nrequires = { module = 'a.b', install = 'x' }", "one top-level module"),
        ("like = 'both'\nlikes = 1", "unknown key 'likes'"),
        ("like = 'both'\nwithout = 'inpaint'", "without: expected a list"),
        ("like = 'both'\nwithout = ['inpant']", "did you mean 'inpaint'"),
        ("like = 'both'\nwithout = ['inpaint.sead']", "did you mean 'seed'"),
        ("like = 'both'\ninpaint = { duration = {} }", "inpaint has no field 'duration'"),
        ("like = 'both'\ninpaint = { seed = { min = 3, max = 1 } }", "min is above max"),
    ],
)
def test_models_table_malformed_makes_instance_unusable(tmp_path: Path, table: str, words: str) -> None:
    found = instances(f"{COMPATIBLE}\n[backends.gpu.models.wan]\n{table}", tmp_path=tmp_path, MAKER_KEY="k")
    (missing,) = found["gpu"].missing
    assert words in missing
    assert "backends.gpu.models.wan" in missing
    assert ids(found["gpu"]) == []
    assert found["maker"].usable


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[backends.x]\nplugin = 'makr'", "no backend named 'makr' (installed: maker); did you mean 'maker'?"),
        ("[backends.x]", "no backend named 'x'"),
        (
            "[backends.x]\nplugin = 'maker'\nservice = 'vertx'",
            "has no service 'vertx' (available: plain, vertex, compatible); did you mean 'vertex'?",
        ),
        ("[backends.x]\nplugin = 'maker'\nservice = 'compatible'", "needs a base_url"),
        ("[backends.x]\nplugin = 'maker'\ncredentials = { apikey = 'A' }", "unknown credential 'apikey'; did you mean 'api_key'?"),
    ],
)
def test_instance_misconfigured_leaves_others_usable(tmp_path: Path, text: str, words: str) -> None:
    found = instances(text, tmp_path=tmp_path, MAKER_KEY="k")
    assert words in " ".join(found["x"].missing)
    assert not found["x"].usable
    assert found["maker"].usable


NEEDY = {
    "schema": 1,
    "services": ["plain", "vertex"],
    "models": [
        {"id": "bare", "services": ["plain"], "generate_image": {}},
        {"id": "here", "services": ["plain"], "requires": {"module": "json", "install": "pip install json"}, "generate_image": {}},
        {"id": "gone", "services": ["plain"], "requires": {"module": "no_brushes", "install": "pip install brushes"}, "generate_image": {}},
        {"id": "away", "services": ["vertex"], "requires": {"module": "no_paper", "install": "pip install paper"}, "generate_image": {}},
    ],
}


def test_instance_with_absent_requirement_stays_usable() -> None:
    found = instances(matrix=NEEDY)["maker"]
    assert ids(found) == ["bare", "here", "gone"]
    assert found.absent == {"no_brushes"}  # requirements of other services are not checked
    assert found.view.absent == {"no_brushes"}
    assert (found.usable, found.missing) == (True, ())


def test_requirement_installed_later_is_found_by_new_instances(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    assert instances(matrix=NEEDY)["maker"].absent == {"no_brushes"}
    (tmp_path / "no_brushes.py").write_text("raise AssertionError('it was imported')")
    assert instances(matrix=NEEDY)["maker"].absent == frozenset()


@pytest.mark.parametrize(
    ("table", "module"),
    [
        ("like = 'gone'", "no_brushes"),
        ("like = 'gone'\nrequires = { module = 'no_chisels', install = 'pip install chisels' }", "no_chisels"),
        ("requires = { module = 'no_chisels', install = 'pip install chisels' }\ngenerate_image = {}", "no_chisels"),
    ],
)
def test_models_table_requirement_is_inherited_or_own(tmp_path: Path, table: str, module: str) -> None:
    found = instances(f"{COMPATIBLE}\n[backends.gpu.models.wan]\n{table}", tmp_path=tmp_path, matrix=NEEDY)["gpu"]
    assert found.missing == ()
    assert found.absent == {module}
    assert found.matrix.models[0].unmet(found.absent) is not None


def test_compatible_server_models_keep_requirements(tmp_path: Path) -> None:
    assert instances(COMPATIBLE, tmp_path=tmp_path, matrix=NEEDY)["gpu"].absent == {"no_brushes"}


def test_plugin_broken_gives_reason_only_if_configured(tmp_path: Path) -> None:
    broken = RuntimeError("no matrix today")
    registry = Registry()
    module = plugin(MATRIX)

    @hookimpl
    def capabilities() -> CapabilityMatrix:
        raise broken

    module.capabilities = capabilities  # type: ignore[attr-defined]
    registry.register("maker", module)
    registry.register("other", plugin(MATRIX))
    (tmp_path / "c.toml").write_text("[backends.mine]\nplugin = 'maker'")
    found = make_instances(registry, load_settings(environ={}, files=[tmp_path / "c.toml"]), {})
    assert set(found) == {"mine", "other"}
    assert "no matrix today" in found["mine"].missing[0]
    assert "maker" in registry.broken


@pytest.mark.parametrize("url", ["http://example.org", "https://u:sk-canary@example.org", "not a url"])
def test_base_url_from_environment_is_checked(url: str) -> None:
    found = instances(MAKER_KEY="k", MAKER_OLD_URL=url)["maker"]
    assert found.base_url is None
    assert found.missing[0].startswith("MAKER_OLD_URL: ")
    assert "canary" not in str(found.missing)
    assert found.hosts == ("api.example.org",)


def test_base_url_variable_of_service_applies_to_it_only(tmp_path: Path) -> None:
    matrix = MATRIX | {"base_url_env": ["plain:MAKER_BASE_URL", "vertex:CLOUD_URL"]}
    text = "[backends.cloud]\nplugin = 'maker'\nservice = 'vertex'\n[backends.gpu]\nplugin = 'maker'\nservice = 'compatible'"
    found = instances(text, tmp_path=tmp_path, matrix=matrix, CLOUD_URL="https://cloud.example.org")
    assert (found["maker"].base_url, found["maker"].matrix.base_url_env) == (None, ("MAKER_BASE_URL",))
    assert (found["cloud"].base_url, found["cloud"].base_url_from) == ("https://cloud.example.org", "CLOUD_URL")
    assert found["gpu"].base_url is None


def test_instance_disabled_is_omitted(tmp_path: Path) -> None:
    text = COMPATIBLE + "\n[plugins]\ndisable = ['gpu']"
    assert set(instances(text, tmp_path=tmp_path)) == {"maker"}


def test_instances_are_sorted_by_name(tmp_path: Path) -> None:
    text = "".join(f"[backends.{name}]\nplugin = 'maker'\n" for name in ("zeta", "alpha", "nu"))
    assert list(instances(text, tmp_path=tmp_path)) == ["alpha", "maker", "nu", "zeta"]


def everything(found: BackendInstance) -> Iterator[str]:
    yield from (str(found), repr(found), repr(found.view), repr(found.secrets()), repr(found.credentials))


def test_key_of_instance_is_redacted() -> None:
    found = instances(MAKER_KEY="canary-0123456789")["maker"]
    assert not any("canary" in text for text in everything(found))
    assert redact("it said canary-0123456789") == "it said [hidden]"

"""Names in settings: each place where a name occurs, misspelled; what stops a request and what only warns."""

from __future__ import annotations

import datetime
import itertools
import re
import types
from pathlib import Path
from typing import Any

import attrs
import pytest

from anymedia.capabilities import CapabilityMatrix, parse_matrix
from anymedia.capabilities.loader import read_matrix
from anymedia.errors import MediaError, RequestError, SettingsError, UnknownBackend, UnknownModel
from anymedia.hookspecs import HOOKS, hookimpl
from anymedia.plan_maker import PlanMaker
from anymedia.planning import Plan
from anymedia.planning.explain import reason_against
from anymedia.planning.planner import Rejections
from anymedia.plugins.instances import make_instances
from anymedia.plugins.registry import PUBLISHED, Registry
from anymedia.policy import Policy
from anymedia.requests import GenerateAudio, GenerateImage
from anymedia.settings import load_settings

TODAY = datetime.date(2026, 11, 29)
FOX = GenerateImage(prompt="a fox")
MATRICES: dict[str, Any] = {
    "painter": {
        "schema": 1,
        "credentials": [{"names": {"api_key": ["PAINTER_API_KEY"], "region": ["PAINTER_REGION"]}, "public": ["region"]}],
        "options": {"timeout": {"min": 1, "max": 900}, "keep_days": {"type": "integer"}},
        "models": [
            {"id": "landscape-2", "media": "image", "prices": [{"per": "call", "usd": 0.1}], "generate_image": {}},
            {"id": "flux-pro", "media": "image", "prices": [{"per": "call", "usd": 0.1}], "generate_image": {}},
            {"id": "flux-schnell", "media": "image", "prices": [{"per": "call", "usd": 0.1}], "generate_image": {}},
            {"id": "dall-e-3", "media": "image", "lifecycle": {"retires": "2026-01-01", "certainty": "firm"}, "generate_image": {}},
        ],
    },
    "sculptor": {
        "schema": 1,
        "services": ["plain", "vertex"],
        "models": [{"id": name, "media": "image", "generate_image": {}} for name in ("clay", "google/clay")],
    },
}


def plugin(matrix: Any) -> types.ModuleType:
    module = types.ModuleType("some")

    @hookimpl
    def capabilities() -> CapabilityMatrix:
        return parse_matrix(matrix, "some.toml")

    module.capabilities = capabilities  # type: ignore[attr-defined]

    async def generate_image(request: Any, context: Any) -> Any:
        raise NotImplementedError

    assert "generate_image" in HOOKS
    module.generate_image = hookimpl(generate_image)  # type: ignore[attr-defined]
    return module


def plans(tmp_path: Path, text: str = "", keys: str = "", **environ: str) -> PlanMaker:
    """Return the plans of a configuration, with two plugins of which one needs a key."""
    config, keys_file = tmp_path / "config.toml", tmp_path / "keys.toml"
    config.write_text(text)
    keys_file.write_text(keys)
    keys_file.chmod(0o600)
    settings = load_settings(environ=environ, files=[config], keys_file=keys_file)
    registry = Registry()
    for name, matrix in MATRICES.items():
        registry.distributions.add(f"anymedia-{name}")
        if settings.plugins_allow is not None and f"anymedia-{name}" not in settings.plugins_allow:
            registry.block(name, "it is not in plugins.allow")
        elif name in settings.disabled:
            registry.block(name, "it is disabled")
        else:
            registry.register(name, plugin(matrix), distribution=f"anymedia-{name}")
    usual = {"PAINTER_API_KEY": "k-0123456789", "PAINTER_REGION": "north"}
    instances = make_instances(registry, settings, {**usual, **environ})
    return PlanMaker(settings=settings, registry=registry, instances=instances, policy=settings.policy, today=lambda: TODAY)


@attrs.frozen
class Place:
    """A setting that contains a name.

    Attributes:
        text: config.toml, with ``{}`` for the name.
        name: the right name.
        decides: ``unnamed``: stops a request without a named backend; ``always``: stops every request; ``nothing``: warns.
        keys: keys.toml, with ``{}`` for the name.
        variable: the environment variable with the name.
    """

    text: str
    name: str
    decides: str = "unnamed"
    keys: str = ""
    variable: str = ""


PLACES = {
    "default backend": Place('[defaults]\nimage = "{}"', "painter"),
    "default backend of an operation": Place('[defaults]\ngenerate_image = "{}"', "sculptor"),
    "default backend with model": Place('[defaults]\nimage = "{}/flux-pro"', "painter"),
    "default model": Place('[defaults]\nimage = "painter/{}"', "landscape-2"),
    "prefer backend": Place('[policy]\nprefer = ["sculptor", "{}"]', "painter"),
    "prefer model": Place('[policy]\nprefer = ["painter/{}"]', "landscape-2"),
    "prefer variable": Place("", "painter", variable="ANYMEDIA_PREFER"),
    "cap per backend": Place("[policy.budget]\nper_backend = {{ {} = 2.0 }}", "painter", "always"),
    "disable": Place('[plugins]\ndisable = ["{}"]', "sculptor", "nothing"),
    "disable variable": Place("", "sculptor", "nothing", variable="ANYMEDIA_DISABLE"),
    "allow": Place('[plugins]\nallow = ["anymedia-sculptor", "anymedia-{}"]', "painter"),
    "plugin of an instance": Place('[backends.mine]\nplugin = "{}"', "painter"),
    "instance without plugin": Place("[backends.{}]\noptions = {{}}", "painter"),
    "keys of an instance": Place("", "painter", "nothing", keys='[{}]\napi_key = "k-9876543210"'),
    "credential in the keys": Place("", "api_key", "nothing", keys='[painter]\n{} = "k-9876543210"'),
    "keys of a variable": Place("", "PAINTER_API_KEY", "nothing", keys='{} = "k-9876543210"'),
}
#: Settings in which a wrong name makes its own instance unusable, with the suggestion in the reason.
OF_ONE_INSTANCE = {
    "service": ('[backends.mine]\nplugin = "sculptor"\nservice = "{}"', "vertex"),
    "option": ('[backends.mine]\nplugin = "painter"\noptions = {{ {} = 9 }}', "timeout"),
    "second option": (
        '[backends.painter.options]\nkeep_days = 3\n[backends.mine]\nplugin = "painter"\noptions = {{ {} = 9 }}',
        "keep_days",
    ),
    "public credential as option": ('[backends.mine]\nplugin = "painter"\noptions = {{ {} = "9" }}', "region"),
    "credential": ('[backends.mine]\nplugin = "painter"\ncredentials = {{ {} = "MINE" }}', "api_key"),
    "like": ('[backends.mine]\nplugin = "painter"\nmodels.own = {{ like = "{}" }}', "landscape-2"),
}


def misspelled(name: str) -> list[str]:
    """Return a name with a letter missing, with two letters swapped, and with a letter doubled."""
    return [name[:2] + name[3:], name[:2] + name[3] + name[2] + name[4:], name[:3] + name[2:]]


def configured(tmp_path: Path, place: Place, name: str) -> PlanMaker:
    environ = {place.variable: name} if place.variable else {}
    return plans(tmp_path, place.text.format(name), place.keys.format(name), **environ)


def test_published_backends_are_the_plugins_of_this_repository() -> None:
    folders = (Path(__file__).parents[2] / "plugins").glob("*_media")
    assert sorted(folder.name.removesuffix("_media") for folder in folders) == sorted(PUBLISHED)


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_name_right_in_any_setting_plans_without_warning(tmp_path: Path, place: Place) -> None:
    found = configured(tmp_path, place, place.name)
    assert found.names.problems() == []
    assert isinstance(found.plan(FOX), Plan)


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_name_misspelled_in_any_setting_is_refused_where_it_decides_and_else_warned(tmp_path: Path, place: Place) -> None:
    for wrong in misspelled(place.name):
        found = configured(tmp_path, place, wrong)
        (problem,) = found.names.problems()
        assert problem.decides == place.decides
        assert wrong in str(problem)
        assert f"did you mean '{'anymedia-' * ('allow' in place.text)}{place.name}'?" in str(problem)
        named: list[dict[str, str]] = [{}, {"backend": "sculptor"}, {"model": "sculptor/clay"}]
        for arguments in named:
            stops = place.decides == "always" or (place.decides == "unnamed" and not arguments)
            if not stops:
                plan = found.plan(FOX, None, **arguments)
                warned = [warning.text for warning in plan.warnings if warning.code == "setting_unused"]
                assert warned == ([str(problem)] if "disable" in problem.setting.lower() else [])
                continue
            with pytest.raises(SettingsError, match="did you mean") as caught:
                found.plan(FOX, None, **arguments)
            assert caught.value.message.startswith(problem.setting)
            assert ("backend='NAME'" in caught.value.fix) is (place.decides == "unnamed")


@pytest.mark.parametrize(("text", "right"), OF_ONE_INSTANCE.values(), ids=OF_ONE_INSTANCE)
def test_name_misspelled_in_an_instance_makes_it_unusable_with_suggestion(tmp_path: Path, text: str, right: str) -> None:
    for wrong in misspelled(right):
        found = plans(tmp_path, text.format(wrong))
        (problem,) = found.names.problems()
        warned = [warning.text for warning in found.plan(FOX).warnings if warning.code == "setting_unused"]
        assert warned == [str(problem)]
        assert problem.setting == "[backends.mine]"
        assert "config.toml" not in str(problem)
        with pytest.raises(RequestError, match=f"did you mean '{right}'"):
            found.plan(FOX, None, "mine")


@pytest.mark.parametrize(("text", "right"), OF_ONE_INSTANCE.values(), ids=OF_ONE_INSTANCE)
def test_name_right_in_an_instance_plans_without_warning(tmp_path: Path, text: str, right: str) -> None:
    found = plans(tmp_path, text.format(right), MINE="k-5555555555")
    assert found.names.problems() == []
    assert "setting_unused" not in [warning.code for warning in found.plan(FOX).warnings]


@pytest.mark.parametrize(("name", "value"), [("timeout", "'long'"), ("timeout", "0"), ("keep_days", "1.5"), ("region", "7")])
def test_option_with_a_wrong_value_makes_its_instance_unusable_with_the_reason(tmp_path: Path, name: str, value: str) -> None:
    found = plans(tmp_path, f"[backends.painter]\noptions = {{ {name} = {value} }}")
    with pytest.raises(RequestError, match=f"option '{name}': accepts"):
        found.plan(FOX, None, "painter")


def test_options_of_a_plugin_that_does_not_say_which_there_are_are_not_checked(tmp_path: Path) -> None:
    assert plans(tmp_path, "[backends.sculptor]\noptions = { any = 1 }").names.problems() == []


@pytest.mark.parametrize("name", PUBLISHED)
def test_options_that_a_plugin_reads_are_those_that_its_matrix_names(name: str) -> None:
    folder = Path(__file__).parents[2] / f"plugins/{name}_media/src/{name}_media"
    code = "".join(path.read_text() for path in folder.rglob("*.py"))
    matrix = read_matrix(folder / "capabilities.toml")
    public = {name for credentials in matrix.credentials for name in credentials.public}
    read = set(re.findall(r"""(?:settings(?:\.get\(|\[)|address\(context, )["'](\w+)["']""", code))
    assert read - public - {"base_url"} == (matrix.options or {}).keys()


def test_name_of_another_operation_decides_nothing(tmp_path: Path) -> None:
    found = plans(tmp_path, '[defaults]\nvideo = "paintr"')
    assert isinstance(found.plan(FOX), Plan)
    assert len(found.names.problems()) == 1


@pytest.mark.parametrize("name", PUBLISHED)
def test_backend_not_installed_names_the_package(tmp_path: Path, name: str) -> None:
    command = f"in a checkout: pip install -e plugins/{name}_media"
    found = plans(tmp_path, f'[defaults]\nimage = "{name}"\n[backends.other]\nplugin = "{name}"')
    errors: list[MediaError] = []
    for arguments in ({}, {"backend": name}, {"model": f"{name}/some"}, {"backend": "other"}, {"backend": name[:-1]}):
        with pytest.raises(RequestError) as caught:
            found.plan(FOX, None, **arguments)
        errors.append(caught.value)
    assert [command in str(error) for error in errors] == [True] * 5
    assert errors[0].message == f"[defaults] image = '{name}': backend '{name}' is not installed"
    assert (errors[1].message, errors[1].fix) == (f"backend '{name}' is not installed", command)


def test_preferred_backend_not_installed_is_passed_over_with_warning(tmp_path: Path) -> None:
    found = plans(tmp_path, '[policy]\nprefer = ["google", "sculptor"]').plan(FOX)
    assert found.chosen.backend == "sculptor"
    warning = next(w.text for w in found.warnings if w.code == "preference_unused")
    assert warning == "prefer = 'google': backend 'google' is not installed (in a checkout: pip install -e plugins/google_media)"


def test_preferred_backend_disabled_is_passed_over_with_warning(tmp_path: Path) -> None:
    found = plans(tmp_path, '[policy]\nprefer = ["sculptor"]\n[plugins]\ndisable = ["sculptor"]').plan(FOX)
    assert found.chosen.backend == "painter"
    assert [w.code for w in found.warnings] == ["preference_unused"]


@pytest.mark.parametrize("variable", ["ANYMEDIA_PREFER", "ANYMEDIA_DISABLE"])
def test_name_misspelled_in_a_variable_is_reported_with_the_variable(tmp_path: Path, variable: str) -> None:
    found = plans(tmp_path, '[policy]\nprefer = ["sculptor"]\n[plugins]\ndisable = ["grok"]', **{variable: "paintr"})
    (problem,) = found.names.problems()
    assert problem.setting == f"{variable} = 'paintr'"


def test_default_that_is_disabled_names_both_settings(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        plans(tmp_path, '[defaults]\nimage = "painter"\n[plugins]\ndisable = ["painter"]').plan(FOX)
    assert caught.value.message == "[defaults] image = 'painter': backend 'painter' is blocked: it is disabled"
    assert caught.value.fix.startswith("change that setting; or name a backend")


def test_preference_without_a_model_for_the_operation_is_reported_for_the_backend() -> None:
    rejected = Rejections("transform.upscale", [("painter", "flux-pro", ()), ("painter", "landscape-2", ())])
    assert reason_against("painter", rejected) == "'painter' does not support transform.upscale"


@pytest.mark.parametrize(("name", "text"), [("clya", "did you mean 'clay'"), ("flux", r"\('flux-pro' is not for generate_audio\)")])
def test_model_unknown_suggests_only_those_of_the_operation(tmp_path: Path, name: str, text: str) -> None:
    request: Any = FOX if name == "clya" else GenerateAudio(prompt="a fox")
    with pytest.raises(UnknownModel, match=text) as caught:
        plans(tmp_path).plan(request, None, None, name)
    assert "did you mean" not in caught.value.message or name == "clya"


def test_disabled_name_unlike_any_installed_one_is_silent(tmp_path: Path) -> None:
    assert plans(tmp_path, '[plugins]\ndisable = ["zebra", "grok"]').names.problems() == []


def test_prefer_of_the_request_misspelled_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"prefer = 'paintr': .*did you mean 'painter'"):
        plans(tmp_path).plan(FOX, Policy(prefer=("paintr",)))


def test_backend_argument_with_a_model_names_the_argument_for_it(tmp_path: Path) -> None:
    with pytest.raises(UnknownBackend) as caught:
        plans(tmp_path).plan(FOX, None, "painter/flux-pro")
    assert caught.value.fix == "use model='painter/flux-pro'"


def test_default_that_does_not_support_the_operation_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequestError) as caught:
        plans(tmp_path, '[defaults]\naudio = "painter/flux-pro"').plan(GenerateAudio(prompt="a fox"))
    assert "[defaults] audio = 'painter/flux-pro': 'painter/flux-pro' does not support generate_audio" in caught.value.message


def test_model_without_backend_in_a_setting_suggests_both(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="write the backend, too: 'painter/flux-pro'"):
        plans(tmp_path, '[defaults]\nimage = "flux-pro"').plan(FOX)


@pytest.mark.parametrize(
    ("model", "suggested"),
    [
        ("flux", ["flux-pro", "flux-schnell"]),
        ("FLUX", ["flux-pro", "flux-schnell"]),
        ("landscpe-2", ["landscape-2"]),
        ("dalle", []),
        ("dall-e-4", []),
    ],
)
def test_model_unknown_suggests_family_and_never_a_retired_one(tmp_path: Path, model: str, suggested: list[str]) -> None:
    with pytest.raises(UnknownModel) as caught:
        plans(tmp_path).plan(FOX, None, None, model)
    text = str(caught.value)
    assert "dall-e-3" not in text
    hint = f"did you mean {' or '.join(map(repr, suggested))}?"
    assert (hint in text) is bool(suggested)


def test_backend_argument_misspelled_suggests_name(tmp_path: Path) -> None:
    found = plans(tmp_path)
    for wrong in misspelled("painter"):
        with pytest.raises(UnknownBackend, match="did you mean 'painter'"):
            found.plan(FOX, None, [wrong])


@pytest.mark.parametrize("backend", [None, "auto", "sculptor", ["sculptor"]])
def test_model_whose_id_begins_with_the_name_of_a_backend_that_is_not_installed_is_planned(tmp_path: Path, backend: Any) -> None:
    found = plans(tmp_path)
    assert found.plan(FOX, None, backend, "google/clay").chosen.model == "google/clay"
    with pytest.raises(UnknownBackend, match="'google' is not installed"):
        found.plan(FOX, None, None, "google/stone")


def test_names_of_any_two_places_are_checked_independently(tmp_path: Path) -> None:
    alone = {key: Place for key, Place in PLACES.items() if Place.text and not Place.variable and not Place.keys}
    for (one, first), (two, second) in itertools.combinations(alone.items(), 2):
        if first.text.partition("]")[0] == second.text.partition("]")[0] or ("policy" in first.text and "policy" in second.text):
            continue  # TOML has each table once
        found = plans(tmp_path, first.text.format(misspelled(first.name)[0]) + "\n" + second.text.format(second.name))
        assert any(misspelled(first.name)[0] in str(problem) for problem in found.names.problems()), (one, two)


def test_default_of_settings_is_chosen_and_a_preference_of_the_call_outranks_it(tmp_path: Path) -> None:
    found = plans(tmp_path, '[defaults]\nimage = "painter/flux-schnell"\n[policy]\nprefer = ["sculptor"]')
    assert str(found.plan(FOX).chosen) == "painter/flux-schnell"
    assert found.plan(FOX, Policy(prefer=("painter/flux-pro",))).chosen.model == "flux-pro"
    assert plans(tmp_path, ANYMEDIA_PREFER="sculptor").plan(FOX).chosen.backend == "sculptor"


def test_default_without_its_key_is_refused_with_the_setting(tmp_path: Path) -> None:
    with pytest.raises(RequestError) as caught:
        plans(tmp_path, '[defaults]\nimage = "painter"', PAINTER_API_KEY="").plan(FOX)
    assert caught.value.message == "[defaults] image = 'painter': 'painter' is not usable: PAINTER_API_KEY is not set."
    assert caught.value.fix.startswith("set PAINTER_API_KEY; use another backend for this request (backend='sculptor')")

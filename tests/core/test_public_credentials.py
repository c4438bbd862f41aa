"""Public credentials, such as a project id: allowed in the settings and not hidden in texts."""

from __future__ import annotations

from typing import Any

import pytest
from core.test_instances import MATRIX, plugin

from anymedia.capabilities import parse_matrix
from anymedia.errors import PluginContractError
from anymedia.plugins.instances import BackendInstance, make_instances
from anymedia.plugins.registry import Registry
from anymedia.redaction import redact
from anymedia.settings import InstanceSettings, Settings

PLACE = {"project": "my-project-1", "location": "us-central-1"}
VERTEX = {
    **MATRIX,
    "credentials": [
        {"service": "vertex", "names": {"project": ["MAKER_PROJECT"], "location": ["MAKER_LOCATION"]}, "public": ["project", "location"]},
        {"service": "vertex", "names": {"api_key": ["MAKER_KEY"]}},
    ],
}


def made(environ: dict[str, str], options: dict[str, Any] | None = None, **own: Any) -> BackendInstance:
    registry = Registry()
    registry.register("maker", plugin(VERTEX))
    cloud = InstanceSettings(name="cloud", plugin="maker", service="vertex", options=options or {}, **own)
    return make_instances(registry, Settings(instances={"cloud": cloud}), environ)["cloud"]


def told(found: BackendInstance) -> dict[str, str]:
    return {name: secret.reveal() for name, secret in found.secrets().items()}


def test_place_in_the_options_is_enough() -> None:
    found = made({}, PLACE)
    assert (found.usable, told(found)) == (True, PLACE)
    assert {c.found_in for c in found.credentials} == {"options of cloud"}


def test_options_win_over_the_environment_one_by_one() -> None:
    found = made({"MAKER_PROJECT": "another", "MAKER_LOCATION": "mars"}, {"project": "my-project-1"})
    assert told(found) == {"project": "my-project-1", "location": "mars"}


def test_stray_key_does_not_replace_a_configured_project() -> None:
    assert told(made({"MAKER_KEY": "k"}, PLACE)) == PLACE


def test_key_that_the_instance_names_itself_does() -> None:
    assert told(made({"OWN": "k"}, PLACE, credentials={"api_key": "OWN"})) == {"api_key": "k"}


@pytest.mark.parametrize("value", ["", "  ", 7, None])
def test_empty_or_odd_option_is_none(value: Any) -> None:
    assert made({}, {"project": value, "location": "l"}).missing == ("MAKER_PROJECT",)


def test_secret_in_the_options_counts_for_nothing() -> None:
    assert "MAKER_KEY" in made({}, {"api_key": "k"}).missing


def test_public_credential_is_not_redacted() -> None:
    made({}, PLACE)
    made({"MAKER_PROJECT": "a-public-project", "MAKER_LOCATION": "a-public-place"})
    text = "no model in projects/my-project-1/locations/us-central-1, none in a-public-project at a-public-place"
    assert redact(text) == text


def test_only_names_of_the_set_can_be_public() -> None:
    wrong = {**VERTEX, "credentials": [{"names": {"project": ["P"]}, "public": ["place"]}]}
    with pytest.raises(PluginContractError, match="place"):
        parse_matrix(wrong, "maker.toml")

"""The commands that only read: models, capabilities, doctor, cost."""

from __future__ import annotations

import datetime
import time
import tomllib
from pathlib import Path

import pytest

from anymedia.capabilities.model import ModelSpec, OperationSpec, Price
from anymedia.cli.console import Console
from anymedia.cli.jobs import since_when
from anymedia.cli.keys import edit_toml
from anymedia.cli.models import _print_table
from anymedia.cli.render import prices
from anymedia.errors import InvalidRequest
from anymedia.plugins.instances import make_instances
from anymedia.plugins.registry import discover
from anymedia.settings import Settings


def test_models_json_has_operations_prices_and_availability(call):
    found = {f"{m['backend']}/{m['model']}": m for m in call("models", "--json").json["models"]}
    painter, old, voice = found["demo/painter"], found["demo/old-film"], found["locked/voice"]
    assert painter["usable"] is True
    assert painter["operations"] == ["generate_image"]
    assert painter["prices"][0]["usd"] == [0.02, 0.04]
    assert (old["lifecycle"]["stage"], old["lifecycle"]["replacement"]) == ("retired", "film")
    assert (found["demo/etching"]["lifecycle"]["deprecated"], found["demo/painter"]["lifecycle"]["deprecated"]) == ("2026-02-01", None)
    assert (voice["usable"], voice["missing"]) == (False, ["LOCKED_API_KEY"])


@pytest.mark.parametrize(
    ("price", "shown"),
    [
        ({"per": "image", "usd": (0.02, 0.03), "first": (0.05, 0.05)}, "0.02-0.03/image (first 0.05)"),
        ({"per": "megapixel", "usd": (0.01, 0.01), "first": (0.03, 0.04)}, "0.01/MP (first 0.03-0.04)"),
        ({"per": "megapixel", "usd": (0.01, 0.01), "first": (0.03, 0.03), "usual": (1.0, 3.0)}, "0.03-0.05/image"),
        ({"per": "megapixel", "usd": (0.01, 0.01), "usual": (1.0, 3.0)}, "0.01-0.03/image"),
    ],
)
def test_price_of_the_first_unit_is_shown(price, shown):
    operation = OperationSpec(operation="generate_image", prices=(Price(**price),))
    spec = ModelSpec(id="x", media="image", operations={"generate_image": operation})
    assert prices(spec) == shown


def test_models_are_filtered_by_backend_and_task(call):
    assert {m["backend"] for m in call("models", "demo", "--json").json["models"]} == {"demo"}
    tasks = call("models", "demo", "--task", "continue_video", "--json").json["models"]
    assert [m["model"] for m in tasks] == ["film"]
    assert {m["media"] for m in call("models", "--task", "image", "--json").json["models"]} == {"image"}


def test_models_table_has_price_stage_and_availability(call):
    result = call("models", "demo")
    lines = result.lines
    assert lines[0].split()[:2] == ["MODEL", "TASKS"]
    assert any(line.startswith("demo/painter") and "0.02-0.04/image" in line and line.endswith("active") for line in lines)
    assert any(line.startswith("demo/etching") and "until 2999-12-31" in line for line in lines)
    assert "old-film" not in result.out.decode()
    assert "1 retired model not shown (--all shows them)" in result.err
    lines = call("models", "demo", "--all").lines
    assert any(line.startswith("demo/old-film") and "retired 2026-01-15" in line and "unknown" in line for line in lines)


@pytest.mark.parametrize("columns", ["80", None])
def test_models_table_fits_and_shows_usable_models_first(call, monkeypatch, columns):
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    lines = call("models").lines
    assert max(map(len, lines)) <= int(columns or 100)
    assert not [line for line in lines if "…" in line]
    assert lines.index("not usable: missing: LOCKED_API_KEY") > next(i for i, line in enumerate(lines) if line.startswith("demo/painter"))


def test_models_table_of_the_published_backends_is_not_cut_at_100_columns(monkeypatch, capfd):
    monkeypatch.setenv("COLUMNS", "100")
    instances = make_instances(discover(), Settings(), {})
    today = datetime.date(2026, 11, 30)
    found = [(i, spec, "") for i in instances.values() for spec in i.matrix.models if spec.lifecycle.stage_on(today) != "retired"]
    _print_table(Console(), found, today)
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) > 60
    assert [line for line in lines if "…" in line or len(line) > 100] == []


def test_models_search_finds_all_words_in_names_and_operations(call):
    assert [m["model"] for m in call("models", "search", "DEMO", "video", "--json").json["models"]] == ["film", "old-film"]
    assert [m["model"] for m in call("models", "search", "painter-1", "--json").json["models"]] == ["painter"]
    nothing = call("models", "search", "zebra")
    assert (nothing.code, nothing.out) == (0, b"")
    assert "no model matches 'zebra'" in nothing.err
    assert "anymedia models lists all" in nothing.err
    assert "no model matches 'demo paintr'; did you mean 'painter'?" in call("models", "search", "demo", "paintr").err
    assert call("models", "search").code == 2
    assert call("models", "demo", "local").code == 2


@pytest.mark.parametrize("command", ["models", "capabilities"])
def test_unknown_backend_suggests_the_nearest(call, command):
    result = call(command, "dmeo")
    assert result.code == 2
    assert "did you mean 'demo'" in result.err


@pytest.mark.parametrize("command", ["models", "capabilities"])
def test_broken_backend_is_reported_as_broken(call, command):
    result = call(command, "torn")
    assert result.code == 2
    assert "broken" in result.err


def test_capabilities_json_is_the_matrix_without_wire_data(call):
    demo = call("capabilities", "demo", "--json").json["backends"]["demo"]
    painter = next(m for m in demo["models"] if m["id"] == "painter")
    image = painter["operations"]["generate_image"]
    assert image["options"]["quality"]["one_of"] == ["low", "high"]
    assert image["options"]["size"] == {"multiple_of": 8, "max_edge": 512}
    assert image["inputs"]["continue_from"]["ways"] == ["chat"]
    assert demo["checked"] == "2026-11-21"


def test_capabilities_text_lists_options_and_inputs(call):
    lines = call("capabilities", "demo").lines
    assert lines[0].startswith("demo (usable: yes)")
    assert "      n: 1 to 2" in lines
    assert "      --extra grain=: 0 to 9 in steps of 1" in lines
    assert "      input first_frame: png" in lines


INSTALL = "pip install 'anymedia-clitest[press]'"


def test_models_with_a_requirement_name_its_install_command(call, site):
    found = {m["model"]: m for m in call("models", "demo", "--json").json["models"]}
    assert found["etching"]["usable"] is False
    assert found["etching"]["requires"] == {"module": "demo_press", "install": INSTALL, "installed": False}
    assert (found["painter"]["usable"], found["painter"]["requires"]) == (True, None)
    lines = call("models", "demo").lines
    assert lines.index(f"not usable: not installed: {INSTALL}") < next(i for i, line in enumerate(lines) if line.startswith("demo/etching"))

    (site / "demo_press.py").write_text("raise AssertionError('it was imported')")
    found = {m["model"]: m for m in call("models", "demo", "--json").json["models"]}
    assert found["etching"]["usable"] is True
    assert found["etching"]["requires"] == {"module": "demo_press", "install": INSTALL, "installed": True}
    assert not [line for line in call("models", "demo").lines if line.startswith("not usable")]


def test_capabilities_with_a_requirement_name_its_install_command(call, site):
    def requires():
        models = call("capabilities", "demo", "--json").json["backends"]["demo"]["models"]
        return next(m for m in models if m["id"] == "etching")["requires"]

    assert requires() == {"module": "demo_press", "install": INSTALL, "installed": False}
    lines = call("capabilities", "demo").lines
    assert f"    not installed: {INSTALL}" in lines
    assert lines.index(f"    not installed: {INSTALL}") == 1 + next(i for i, line in enumerate(lines) if line.startswith("  demo/etching"))
    (site / "demo_press.py").write_text("raise AssertionError('it was imported')")
    assert requires() == {"module": "demo_press", "install": INSTALL, "installed": True}
    assert not [line for line in call("capabilities", "demo").lines if "not installed" in line]


def test_doctor_with_a_requirement_names_its_install_command(call, site):
    def findings():
        return {(f["part"], f["name"]): f for f in call("doctor", "--json").json["findings"]}

    found = findings()
    assert found["backends", "demo"]["status"] == "ok"
    assert found["backends", "demo/etching"]["status"] == "note"
    assert found["backends", "demo/etching"]["text"] == f"not installed: {INSTALL}"
    (site / "demo_press.py").write_text("raise AssertionError('it was imported')")
    assert ("backends", "demo/etching") not in findings()


def test_model_with_an_absent_requirement_is_rejected_before_submit(call, submits):
    for words in (("image", "a boat", "-m", "demo/etching"), ("plan", "image", "a boat", "-m", "etching")):
        result = call(*words)
        assert result.code == 3
        assert "'demo/etching' needs 'demo_press', which is not installed" in result.err
        assert INSTALL in result.err
    assert call("image", "a boat", "-m", "demo/etching", "--json").json["error"]["fix"].startswith(INSTALL)
    assert submits() == []


def test_doctor_with_problems_reports_them_and_exits_with_zero(call, monkeypatch):
    monkeypatch.setenv("DEMO_BASE_URL", "https://user-host.example/v1")
    result = call("doctor", "--json")
    found = {(f["part"], f["name"]): f for f in result.json["findings"]}
    assert result.code == 0
    assert found["plugins", "demo"]["text"] == "anymedia-clitest 0.1"
    assert found["plugins", "torn"]["status"] == "problem"
    assert "a_module_that_is_nowhere" in found["plugins", "torn"]["text"]
    assert (found["backends", "locked"]["status"], "LOCKED_API_KEY" in found["backends", "locked"]["text"]) == ("note", True)
    assert "requests go to https://user-host.example/v1 (from DEMO_BASE_URL)" in found["backends", "demo"]["text"]
    assert found["directories", "state"]["status"] == "ok"
    assert "png" in found["codecs", "images"]["text"]
    assert result.json["problems"] >= 1


def test_doctor_with_a_key_names_it_without_showing_it(call, monkeypatch):
    monkeypatch.setenv("LOCKED_API_KEY", "sk-very-secret-1234")
    for words in (("doctor",), ("doctor", "--json"), ("models", "--json"), ("capabilities", "--json")):
        result = call(*words)
        assert result.code == 0
        assert b"secret" not in result.out
        assert b"1234" not in result.out
    assert "api_key found in LOCKED_API_KEY" in call("doctor").out.decode()


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("HTTPS_PROXY", "socks5://user:word-4711@p:1", "the proxy of HTTPS_PROXY is not used"),
        ("ALL_PROXY", "not a url", "the proxy of ALL_PROXY is not used"),
        ("SSL_CERT_FILE", "/none/ca.pem", "SSL_CERT_FILE: /none/ca.pem cannot be read"),
    ],
)
def test_doctor_with_a_network_that_cannot_be_used_reports_a_problem(call, monkeypatch, variable, value, words):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv(variable, value)
    found = [f for f in call("doctor", "--json").json["findings"] if f["name"] == "network"]
    assert [f["status"] for f in found] == ["problem"]
    assert words in found[0]["text"]
    assert "word-4711" not in str(found)


def test_doctor_with_invalid_settings_reports_them_and_continues(call, tmp_path, monkeypatch):
    wrong = tmp_path / "config.toml"
    wrong.write_text("[polcy]\n")
    monkeypatch.setenv("ANYMEDIA_CONFIG", str(wrong))
    result = call("doctor", "--json")
    settings = next(f for f in result.json["findings"] if f["name"] == "settings")
    assert result.code == 0
    assert settings["status"] == "problem"
    assert "polcy" in settings["text"]
    assert call("image", "x", "-b", "demo").code == 2


def test_doctor_lists_blocked_plugins(call, monkeypatch):
    monkeypatch.setenv("ANYMEDIA_DISABLE", "demo")
    found = {(f["part"], f["name"]): f for f in call("doctor", "--json").json["findings"]}
    assert found["plugins", "demo"]["status"] == "note"
    assert "not imported" in found["plugins", "demo"]["text"]


def test_doctor_reports_a_state_directory_that_is_not_writable(call, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ANYMEDIA_STATE", str(tmp_path / "file" / "state"))
    found = {f["name"]: f for f in call("doctor", "--json").json["findings"]}
    assert found["state"]["status"] == "problem"


def test_cost_totals_the_spending_by_backend(call):
    call("image", "a boat", "-b", "demo", "-o", "a.png")
    call("image", "unsafe", "-b", "demo")
    call("video", "waves", "-b", "demo", "-s", "2", "-o", "a.mp4")
    result = call("cost", "--json").json
    assert result["backends"]["demo"]["committed_usd"] == pytest.approx(0.23)
    assert result["total"]["committed_usd"] == pytest.approx(0.23)
    assert result["total"]["reserved_usd"] == 0
    assert [(c["state"], c["actual_usd"]) for c in result["calls"] if c["state"] == "done"] == [("done", 0.2), ("done", 0.03)]
    assert call("cost", "--since", "1h", "--json").json["total"]["calls"] == result["total"]["calls"]
    lines = call("cost").lines
    assert lines[0].split()[0] == "BACKEND"
    assert any(line.startswith("demo") and "0.2300" in line for line in lines)


def test_cost_with_a_limit_totals_all_calls(call):
    for number in range(3):
        call("image", "a boat", "-b", "demo", "-o", f"{number}.png")
    result = call("cost", "--limit", "2", "--json").json
    assert (len(result["calls"]), result["total"]["calls"], result["backends"]["demo"]["calls"]) == (2, 3, 3)
    assert call("cost", "--limit", "2").lines[-1].startswith("older calls are not listed; --limit 3 ")
    assert "older" not in call("cost", "--limit", "3").out.decode()
    newest = call("jobs", "list", "--limit", "1", "--json").json["jobs"]
    assert [job["id"] for job in newest] == [result["calls"][0]["job_id"]]


def test_cost_of_a_forgotten_call_of_a_removed_backend_is_kept(call, monkeypatch):
    call("image", "a boat", "-b", "demo", "-o", "a.png")
    job = call("jobs", "list", "--json").json["jobs"][0]["id"]
    assert call("jobs", "forget", job).code == 0
    monkeypatch.setenv("ANYMEDIA_DISABLE", "demo")
    result = call("cost", "--json").json
    assert result["calls"] == []
    assert result["backends"]["demo"]["committed_usd"] == result["total"]["committed_usd"] == pytest.approx(0.03)


def test_cost_without_calls_is_zero(call):
    assert call("cost", "--json").json["total"]["calls"] == 0
    assert call("cost").code == 0


def test_since_accepts_spans_and_dates():
    now = datetime.datetime(2026, 11, 21, 15, 30, tzinfo=datetime.UTC)
    midnight = datetime.datetime(2026, 11, 21, tzinfo=datetime.UTC).timestamp()
    assert since_when(None, now) == 0.0
    assert since_when("today", now) == midnight
    assert since_when("2026-11-21", now) == midnight
    assert since_when("2d", now) == now.timestamp() - 2 * 86400
    assert since_when("12h", now) == now.timestamp() - 12 * 3600
    with pytest.raises(InvalidRequest, match="7d"):
        since_when("yesterday-ish", now)


@pytest.mark.parametrize(
    ("command", "code"),
    [(["doctor"], None), (["models"], 0), (["jobs", "list"], 0), (["jobs", "resume", "job_x"], 2), (["jobs", "cancel", "job_x"], 2)],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)  # fmt: skip
def test_name_misspelled_in_settings_warns_and_stops_only_plans(
    command: list[str], code: int | None, call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[defaults]\nimage = "dmeo"\n')
    monkeypatch.setenv("ANYMEDIA_CONFIG", str(config))
    done = call(*command)
    assert code in {None, done.code}
    assert "did you mean 'demo'?" in done.err + done.out.decode()
    refused = call("plan", "image", "a fox")
    assert refused.code == 2
    assert "[defaults] image = 'dmeo'" in refused.err and "--backend" in refused.err
    assert call("plan", "image", "a fox", "--backend", "demo").code == 0


@pytest.mark.parametrize(
    "before",
    [
        "",
        "# mine\nstate_dir = 'x'\n[policy]\nretries = 1\n",
        "[plugins]\ndisable = ['grok'] # not this\n[defaults]\nimage = 'demo'\n",
        "[plugins]   # which\nallow = [\n  'old==1',\n  \"older\",\n]\ndisable = ['grok']\n\n[policy]\nretries = 1",
        "[plugins]",
    ],
)
def test_doctor_writes_the_allowlist_and_nothing_else(before, tmp_path):
    allowed = ["anymedia-local==0.1.0", "anymedia-openai==0.1.0"]
    after = edit_toml(before, "plugins", "allow", allowed)
    old, new = tomllib.loads(before), tomllib.loads(after)
    assert new["plugins"].pop("allow") == allowed
    old.get("plugins", {}).pop("allow", None)
    assert new == {"plugins": {}} | old
    assert edit_toml(after, "plugins", "allow", allowed) == after
    assert [line for line in before.splitlines() if "#" in line] == [line for line in after.splitlines() if "#" in line]


def test_doctor_allowlist_is_written_to_the_settings_and_then_holds(call, tmp_path, monkeypatch):
    config = tmp_path / "own.toml"
    monkeypatch.setenv("ANYMEDIA_CONFIG", str(config))
    config.write_text("[policy]\nretries = 1\n")
    config.chmod(0o600)
    said = call("doctor", "--write-allowlist", "--json").json
    written = tomllib.loads(config.read_text())
    assert said["file"] == str(config)
    assert said["allow"] == written["plugins"]["allow"]
    assert written["policy"] == {"retries": 1}
    assert all("==" in entry for entry in said["allow"])
    assert config.stat().st_mode & 0o777 == 0o600
    assert not [f for f in call("doctor", "--json").json["findings"] if "is not in plugins.allow" in f["text"]]


def test_models_show_what_the_provider_said(call, tmp_path):
    from anymedia.capabilities.overlay import OverlayStore
    from anymedia.cli.environment import load_environment

    call("models")
    instance, overlays = load_environment().instances["demo"], OverlayStore(tmp_path / "state/overlays")
    ids = [spec.id for spec in instance.matrix.models]
    shutdown = datetime.date(2099, 5, 1)
    listed = {name: shutdown if name == "painter" else None for name in ids if name != "etching"}
    overlays.list_models(instance.account_key, listed, time.time())
    overlays.refuse(instance.account_key, "painter", "no access", time.time())
    found = {m["model"]: m for m in call("models", "demo", "--json").json["models"]}
    assert found["painter"]["lifecycle"]["retires"] == "2099-05-01"
    assert "no access" in found["painter"]["demoted"]
    assert "list of" in found["etching"]["demoted"]
    lines = call("models", "demo").lines
    assert next(line for line in lines if line.startswith("demo/painter")).endswith("until 2099-05-01, refused")
    assert next(line for line in lines if line.startswith("demo/etching")).endswith("not listed")
    assert max(map(len, lines)) <= 100

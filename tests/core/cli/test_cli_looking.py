"""models, capabilities, doctor, cost: looking without asking anybody."""

from __future__ import annotations

import datetime

import pytest

from anymedia.cli.cost import since_when
from anymedia.errors import InvalidRequest


def test_models_say_what_they_do_and_whether_they_are_usable(call):
    found = {f"{m['backend']}/{m['model']}": m for m in call("models", "--json").json["models"]}
    painter, old, voice = found["demo/painter"], found["demo/old-film"], found["locked/voice"]
    assert painter["usable"] is True
    assert painter["operations"] == ["generate_image"]
    assert painter["prices"][0]["usd"] == [0.02, 0.04]
    assert (old["lifecycle"]["stage"], old["lifecycle"]["replacement"]) == ("retired", "film")
    assert (found["demo/etching"]["lifecycle"]["deprecated"], found["demo/painter"]["lifecycle"]["deprecated"]) == ("2026-02-01", None)
    assert (voice["usable"], voice["missing"]) == (False, ["LOCKED_API_KEY"])


def test_models_can_be_narrowed(call):
    assert {m["backend"] for m in call("models", "demo", "--json").json["models"]} == {"demo"}
    tasks = call("models", "demo", "--task", "continue_video", "--json").json["models"]
    assert [m["model"] for m in tasks] == ["film"]
    assert {m["media"] for m in call("models", "--task", "image", "--json").json["models"]} == {"image"}


def test_models_as_a_table(call):
    lines = call("models", "demo").lines
    assert lines[0].split()[:2] == ["MODEL", "DOES"]
    assert any(line.startswith("demo/painter") and "0.02-0.04/image" in line and line.endswith("yes") for line in lines)
    assert any(line.startswith("demo/old-film") and "retired 2026-01-15" in line and "unknown" in line for line in lines)
    assert any(line.startswith("demo/etching") and "active until 2999-12-31" in line for line in lines)


@pytest.mark.parametrize("command", ["models", "capabilities"])
def test_an_unknown_backend_gets_the_near_one(call, command):
    told = call(command, "dmeo")
    assert told.code == 2
    assert "did you mean 'demo'" in told.err


@pytest.mark.parametrize("command", ["models", "capabilities"])
def test_a_broken_backend_is_not_called_unknown(call, command):
    told = call(command, "torn")
    assert told.code == 2
    assert "broken" in told.err


def test_capabilities_are_the_whole_matrix_without_the_plugins_own_notes(call):
    demo = call("capabilities", "demo", "--json").json["backends"]["demo"]
    painter = next(m for m in demo["models"] if m["id"] == "painter")
    image = painter["operations"]["generate_image"]
    assert image["options"]["quality"]["one_of"] == ["low", "high"]
    assert image["options"]["size"] == {"multiple_of": 8, "max_edge": 512}
    assert image["inputs"]["continue_from"]["ways"] == ["chat"]
    assert demo["checked"] == "2026-11-21"


def test_capabilities_in_words(call):
    lines = call("capabilities", "demo").lines
    assert lines[0].startswith("demo (usable here: yes)")
    assert "      n: 1 to 2" in lines
    assert "      --extra grain=: 0 to 9 in steps of 1" in lines
    assert "      takes first_frame: png" in lines


INSTALL = "pip install 'anymedia-clitest[press]'"


def test_models_say_what_has_to_be_installed_for_which(call, site):
    found = {m["model"]: m for m in call("models", "demo", "--json").json["models"]}
    assert found["etching"]["usable"] is False
    assert found["etching"]["requires"] == {"module": "demo_press", "install": INSTALL, "installed": False}
    assert (found["painter"]["usable"], found["painter"]["requires"]) == (True, None)
    assert any(line.startswith("demo/etching") and line.endswith(f"  not installed: {INSTALL}") for line in call("models", "demo").lines)

    (site / "demo_press.py").write_text("raise AssertionError('it was imported')")
    found = {m["model"]: m for m in call("models", "demo", "--json").json["models"]}
    assert found["etching"]["usable"] is True
    assert found["etching"]["requires"] == {"module": "demo_press", "install": INSTALL, "installed": True}
    assert any(line.startswith("demo/etching") and line.endswith("  yes") for line in call("models", "demo").lines)


def test_capabilities_say_what_has_to_be_installed(call, site):
    def told():
        models = call("capabilities", "demo", "--json").json["backends"]["demo"]["models"]
        return next(m for m in models if m["id"] == "etching")["requires"]

    assert told() == {"module": "demo_press", "install": INSTALL, "installed": False}
    lines = call("capabilities", "demo").lines
    assert f"    not installed: {INSTALL}" in lines
    assert lines.index(f"    not installed: {INSTALL}") == 1 + next(i for i, line in enumerate(lines) if line.startswith("  demo/etching"))
    (site / "demo_press.py").write_text("raise AssertionError('it was imported')")
    assert told() == {"module": "demo_press", "install": INSTALL, "installed": True}
    assert not [line for line in call("capabilities", "demo").lines if "not installed" in line]


def test_doctor_tells_what_has_to_be_installed(call, site):
    def told():
        return {(f["part"], f["name"]): f for f in call("doctor", "--json").json["findings"]}

    found = told()
    assert found["backends", "demo"]["status"] == "ok"
    assert found["backends", "demo/etching"]["status"] == "note"
    assert found["backends", "demo/etching"]["text"] == f"not installed: {INSTALL}"
    (site / "demo_press.py").write_text("raise AssertionError('it was imported')")
    assert ("backends", "demo/etching") not in told()


def test_a_model_whose_requirement_is_absent_is_refused_before_anything_is_sent(call, submits):
    for words in (("image", "a boat", "-m", "demo/etching"), ("plan", "image", "a boat", "-m", "etching")):
        told = call(*words)
        assert told.code == 3
        assert "'demo/etching' needs 'demo_press', which is not installed" in told.err
        assert INSTALL in told.err
    assert call("image", "a boat", "-m", "demo/etching", "--json").json["error"]["fix"].startswith(INSTALL)
    assert submits() == []


def test_doctor_tells_what_is_broken_missing_and_in_force_and_never_fails(call, monkeypatch):
    monkeypatch.setenv("DEMO_BASE_URL", "https://user-host.example/v1")
    told = call("doctor", "--json")
    found = {(f["part"], f["name"]): f for f in told.json["findings"]}
    assert told.code == 0
    assert found["plugins", "demo"]["text"] == "anymedia-clitest 0.1"
    assert found["plugins", "torn"]["status"] == "problem"
    assert "a_module_that_is_nowhere" in found["plugins", "torn"]["text"]
    assert (found["backends", "locked"]["status"], "LOCKED_API_KEY" in found["backends", "locked"]["text"]) == ("note", True)
    assert "requests go to https://user-host.example/v1 (from DEMO_BASE_URL)" in found["backends", "demo"]["text"]
    assert found["folders", "state"]["status"] == "ok"
    assert "png" in found["codecs", "images"]["text"]
    assert told.json["problems"] >= 1


def test_doctor_never_shows_a_key(call, monkeypatch):
    monkeypatch.setenv("LOCKED_API_KEY", "sk-very-secret-1234")
    for words in (("doctor",), ("doctor", "--json"), ("models", "--json"), ("capabilities", "--json")):
        told = call(*words)
        assert told.code == 0
        assert b"secret" not in told.out
        assert b"1234" not in told.out
    assert "api_key found in LOCKED_API_KEY" in call("doctor").out.decode()


def test_doctor_tells_wrong_settings_and_goes_on(call, tmp_path, monkeypatch):
    wrong = tmp_path / "config.toml"
    wrong.write_text("[polcy]\n")
    monkeypatch.setenv("ANYMEDIA_CONFIG", str(wrong))
    told = call("doctor", "--json")
    settings = next(f for f in told.json["findings"] if f["name"] == "settings")
    assert told.code == 0
    assert settings["status"] == "problem"
    assert "polcy" in settings["text"]
    assert call("image", "x", "-b", "demo").code == 2


def test_doctor_shows_what_is_blocked(call, monkeypatch):
    monkeypatch.setenv("ANYMEDIA_DISABLE", "demo")
    found = {(f["part"], f["name"]): f for f in call("doctor", "--json").json["findings"]}
    assert found["plugins", "demo"]["status"] == "note"
    assert "not imported" in found["plugins", "demo"]["text"]


def test_a_state_directory_that_cannot_be_written_is_said(call, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ANYMEDIA_STATE", str(tmp_path / "file" / "state"))
    found = {f["name"]: f for f in call("doctor", "--json").json["findings"]}
    assert found["state"]["status"] == "problem"


def test_cost_sums_up_what_was_spent(call):
    call("image", "a boat", "-b", "demo", "-o", "a.png")
    call("image", "unsafe", "-b", "demo")
    call("video", "waves", "-b", "demo", "-s", "2", "-o", "a.mp4")
    told = call("cost", "--json").json
    assert told["backends"]["demo"]["committed_usd"] == pytest.approx(0.23)
    assert told["total"]["committed_usd"] == pytest.approx(0.23)
    assert told["total"]["reserved_usd"] == 0
    assert [(c["state"], c["actual_usd"]) for c in told["calls"] if c["state"] == "done"] == [("done", 0.2), ("done", 0.03)]
    assert call("cost", "--since", "1h", "--json").json["total"]["calls"] == told["total"]["calls"]
    lines = call("cost").lines
    assert lines[0].split()[0] == "BACKEND"
    assert any(line.startswith("demo") and "0.2300" in line for line in lines)


def test_what_is_not_listed_is_counted_all_the_same_and_said(call):
    for number in range(3):
        call("image", "a boat", "-b", "demo", "-o", f"{number}.png")
    told = call("cost", "--limit", "2", "--json").json
    assert (len(told["calls"]), told["total"]["calls"], told["backends"]["demo"]["calls"]) == (2, 3, 3)
    assert call("cost", "--limit", "2").lines[-1].startswith("and older ones; --limit 3 ")
    assert "older" not in call("cost", "--limit", "3").out.decode()
    newest = call("jobs", "list", "--limit", "1", "--json").json["jobs"]
    assert [job["id"] for job in newest] == [told["calls"][0]["job_id"]]


def test_the_cost_of_a_forgotten_call_of_a_backend_that_is_gone_is_told_by_name(call, monkeypatch):
    call("image", "a boat", "-b", "demo", "-o", "a.png")
    job = call("jobs", "list", "--json").json["jobs"][0]["id"]
    assert call("jobs", "forget", job).code == 0
    monkeypatch.setenv("ANYMEDIA_DISABLE", "demo")
    told = call("cost", "--json").json
    assert told["calls"] == []
    assert told["backends"]["demo"]["committed_usd"] == told["total"]["committed_usd"] == pytest.approx(0.03)


def test_cost_of_nothing(call):
    assert call("cost", "--json").json["total"]["calls"] == 0
    assert call("cost").code == 0


def test_since_takes_spans_and_dates():
    now = datetime.datetime(2026, 11, 21, 15, 30, tzinfo=datetime.UTC)
    midnight = datetime.datetime(2026, 11, 21, tzinfo=datetime.UTC).timestamp()
    assert since_when(None, now) == 0.0
    assert since_when("today", now) == midnight
    assert since_when("2026-11-21", now) == midnight
    assert since_when("2d", now) == now.timestamp() - 2 * 86400
    assert since_when("12h", now) == now.timestamp() - 12 * 3600
    with pytest.raises(InvalidRequest, match="7d"):
        since_when("yesterday-ish", now)

"""Settings and keys: reading, precedence, and error messages."""

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tools.docs.settings_page import example

from anymedia.credentials import Keys, Secret, find_credential, read_keys
from anymedia.errors import SettingsError
from anymedia.policy import Budget, Policy, Tolerance
from anymedia.settings import Settings, base_url_problem, load_settings

WHOLE = """
state_dir = "state"

[policy]
strict = true
fallback = "off"
prefer = ["google", "openai"]
preview = true
bridge = true
retries = 0
input_roots = ["~/pictures", "in"]
output_roots = ["out"]
budget = { per_call = 2, per_session = 5.5, per_day = 20.0, per_backend = { openai = 3 }, allow_unknown = true }
tolerance = { duration = 0, aspect_ratio = 0.1, pixels = 4 }

[defaults]
image = "google"
generate_video = "openai/sora-2"

[plugins]
allow = ["anymedia-openai", "anymedia-google==0.1.0"]
disable = ["grok"]

[fetch]
allow = ["127.0.0.1", "media.lan:8080", "10.0.0.0/8", "::1"]

[fleet]
store = "postgresql://anymedia@db/media"

[backends.google]

[backends.mygpu]
plugin = "openai"
service = "compatible"
base_url = "http://127.0.0.1:30010/v1"
credentials = { api_key = "MYGPU_API_KEY" }
hosts = ["Files.MyGPU.lan"]
options = { timeout = 600 }
models."wan-2.2" = { like = "sora-2" }
"""


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def load(tmp_path: Path, text: str, **environ: str) -> Settings:
    return load_settings(environ=environ, files=[write(tmp_path / "config.toml", text)])


def refused(tmp_path: Path, text: str) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, text)
    return caught.value


def test_file_with_every_table_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    found = load(tmp_path, WHOLE)
    assert found.state_dir == tmp_path / "state"
    assert found.policy == Policy(
        strict=True,
        fallback="off",
        prefer=("google", "openai"),
        preview=True,
        bridge=True,
        retries=0,
        input_roots=(tmp_path / "home" / "pictures", tmp_path / "in"),
        output_roots=(tmp_path / "out",),
        budget=Budget(per_call=2.0, per_session=5.5, per_day=20.0, per_backend={"openai": 3.0}, allow_unknown=True),
        tolerance=Tolerance(duration=0.0, aspect_ratio=0.1, pixels=4.0),
    )
    assert found.defaults == {"image": "google", "generate_video": "openai/sora-2"}
    assert found.plugins_allow == ("anymedia-openai", "anymedia-google==0.1.0")
    assert found.disabled == {"grok"}
    assert found.fetch_allow == ("127.0.0.1", "media.lan:8080", "10.0.0.0/8", "::1")
    assert set(found.instances) == {"google", "mygpu"}
    assert found.instances["google"].plugin == "google"
    mygpu = found.instances["mygpu"]
    assert (mygpu.plugin, mygpu.service, mygpu.base_url) == ("openai", "compatible", "http://127.0.0.1:30010/v1")
    assert mygpu.credentials == {"api_key": "MYGPU_API_KEY"}
    assert mygpu.hosts == ("files.mygpu.lan",)
    assert mygpu.options == {"timeout": 600}
    assert mygpu.models == {"wan-2.2": {"like": "sora-2"}}


def test_example_in_the_docs_is_read(tmp_path: Path) -> None:
    import textwrap

    import anymedia.settings

    doc = anymedia.settings.__doc__ or ""
    example = textwrap.dedent("\n".join(line for line in doc.splitlines() if line.startswith("    ") or not line))
    found = load(tmp_path, example)
    assert set(found.instances) == {"mygpu"}
    assert found.policy.budget.per_call == 2.0


def test_settings_without_files_and_environment_are_the_defaults() -> None:
    found = load_settings(environ={}, files=())
    assert (found.policy, dict(found.instances), found.plugins_allow, found.disabled) == (Policy(), {}, None, frozenset())
    assert found.state_dir.is_absolute()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("polcy = {}", "config.toml: unknown key 'polcy'; did you mean 'policy'?"),
        ("[policy]\nstrikt = true", "config.toml.policy: unknown key 'strikt'; did you mean 'strict'?"),
        ("[policy]\nstrict = 1", "config.toml.policy: strict: expected true or false, got 1"),
        ("[policy]\nprefer = [1]", "prefer: expected a list of names"),
        ("[policy]\nprefer = 1", "prefer: expected a list of names"),
        ("[policy]\nfallback = 'equivalant'", "did you mean 'equivalent'"),
        ("[policy]\nretries = 11", "retries: expected 0 to 10, got 11"),
        ("[policy]\nretries = 1.5", "retries: expected 0 to 10, got 1.5"),
        ("[policy.budget]\nper_call = -1", "per_call: expected a number from 0 up, got -1"),
        ("[policy.budget]\nper_call = inf", "per_call: expected a number"),
        ("[policy.budget]\nper_cal = 1", "did you mean 'per_call'"),
        ("[policy.budget]\nper_call = true", "per_call: expected a number from 0 up, got True"),
        ("[policy.budget]\nper_backend = { x = -1 }", "per_backend: expected a number from 0 up for each name"),
        ("[policy.budget]\nper_backend = 1", "per_backend: expected"),
        ("[policy.tolerance]\npixels = -1", "pixels: expected a number from 0 up"),
        ("[policy]\nmax_cost = 1", "unknown key 'max_cost'"),
        ("[defaults]\nimages = 'google'", "did you mean 'image'"),
        ("[plugins]\nallow = ['anymedia>=1']", "expected a distribution like"),
        ("[plugins]\nallow = ['a==']", "expected a distribution like"),
        ("[fetch]\nallow = ['http://x/']", "expected a host like"),
        ("[fetch]\nallow = ['10.0.0.0/33']", "or a network"),
        ("backends = []", "backends: expected table, got list"),
        ("[backends]\nx = 1", "x: expected table, got int"),
        ("[backends.'a/b']", "a backend's name"),
        ("[backends.auto]", "a backend's name"),
        ("[backends.x]\nbase_ulr = 'http://localhost'", "unknown key 'base_ulr'; did you mean 'base_url'"),
        ("[backends.x]\ntimeout = 3", "goes under options"),
        ("[backends.x]\noptions = { base_url = 'http://localhost' }", "base_url belongs next to options"),
        ("[backends.x]\nbase_url = 'http://example.org/v1'", "keys in the clear"),
        ("[backends.x]\nhosts = ['https://example.org']", "expected a host"),
        ("[backends.x.models]\nm = 'sora-2'", "m: expected table, got str"),
        ("a = ", "not valid TOML"),
        ("a = 1\na = 2", "not valid TOML"),
    ],
)
def test_wrong_setting_is_refused_with_file_table_and_key(tmp_path: Path, text: str, words: str) -> None:
    error = refused(tmp_path, text)
    assert words in error.message
    assert str(tmp_path / "config.toml") in error.message
    assert error.code == "settings_error"


def test_every_problem_of_a_file_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(
        '[policy]\nretries = 99\nstict = true\n[policy.budget]\nper_day = -1\n[backends.x]\nbase_url = "ftp://x"\nhosts = ["a b"]\n'
    )
    with pytest.raises(SettingsError) as caught:
        load_settings(files=[file], environ={})
    for part in ("policy: retries", "unknown key 'stict'", "policy.budget: per_day", "backends.x: base_url", "backends.x: hosts"):
        assert part in caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        "api_key = '{}'",
        "[backends.x]\napi_key = '{}'",
        "[backends.x]\nOPENAI_API_KEY = '{}'",
        "[backends.x]\ncredentials = {{ api_key = '{}' }}",
        "[backends.x]\ncredentials = '{}'",
        "[backends.x]\noptions = {{ x-api-key = '{}' }}",
        "[backends.x]\noptions = {{ headers = {{ Authorization = '{}' }} }}",
        "[backends.x]\noptions = {{ accounts = [{{ token = '{}' }}] }}",
        "[backends.x]\nbase_url = 'https://user:{}@example.org'",
        "[backends.x]\nbase_url = 'https://example.org/?key={}'",
    ],
)
def test_api_key_in_the_settings_is_refused_and_not_repeated(tmp_path: Path, text: str) -> None:
    error = refused(tmp_path, text.format("sk-canary0123456789"))
    assert "canary" not in str(error)
    assert "canary" not in repr(error)
    assert error.__cause__ is None
    if "base_url" not in text:
        assert "keys.toml" in error.fix


def test_named_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.toml: No such file"):
        load_settings(environ={"ANYMEDIA_CONFIG": "nowhere.toml"}, cwd=tmp_path)


def test_file_that_is_not_utf8_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"a = '\xff'")
    with pytest.raises(SettingsError, match="not valid TOML"):
        load_settings(environ={}, files=[path])


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An own configuration directory, in place of the user's."""
    directory = tmp_path / "home" / "anymedia"
    directory.mkdir(parents=True)
    monkeypatch.setattr("anymedia.settings.user_dir", lambda _kind: directory)
    return directory


def test_user_settings_and_keys_are_read(home: Path) -> None:
    write(home / "config.toml", "[policy]\nstrict = true")
    write(home / "keys.toml", "OPENAI_API_KEY = 'sk-1'")
    found = load_settings(environ={})
    assert found.policy.strict
    assert found.files == (home / "config.toml",)
    assert found.keys.by_variable["OPENAI_API_KEY"].reveal() == "sk-1"


def test_file_in_the_working_directory_is_read_only_if_named(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("anymedia.toml", ".anymedia.toml", "config.toml"):
        write(tmp_path / name, "[policy]\nstrict = true")
    monkeypatch.chdir(tmp_path)
    assert not load_settings(environ={}).policy.strict
    assert load_settings(environ={"ANYMEDIA_CONFIG": "anymedia.toml"}).policy.strict


def test_anymedia_config_replaces_the_users_file_and_later_files_take_precedence(home: Path, tmp_path: Path) -> None:
    write(home / "config.toml", "[policy]\nbridge = true")
    write(tmp_path / "a.toml", "[policy]\nstrict = true\nretries = 1\n[defaults]\nimage = 'a'\n[plugins]\ndisable = ['x']\n[backends.one]")
    write(tmp_path / "b.toml", "[policy]\nretries = 3\n[defaults]\nvideo = 'b'\n[plugins]\ndisable = ['y']\n[backends.two]")
    found = load_settings(environ={"ANYMEDIA_CONFIG": f"a.toml{os.pathsep}b.toml"}, cwd=tmp_path)
    assert found.policy == Policy(strict=True, retries=3)
    assert found.defaults == {"image": "a", "video": "b"}
    assert found.disabled == {"x", "y"}
    assert set(found.instances) == {"one", "two"}


def test_environment_takes_precedence(tmp_path: Path) -> None:
    found = load(
        tmp_path,
        "state_dir = 'a'\n[policy]\nprefer = ['a']\n[plugins]\ndisable = ['x']",
        ANYMEDIA_STATE=str(tmp_path / "b"),
        ANYMEDIA_PREFER=" b , c,",
        ANYMEDIA_DISABLE="y,z",
    )
    assert found.state_dir == tmp_path / "b"
    assert found.policy.prefer == ("b", "c")
    assert found.disabled == {"x", "y", "z"}


def test_empty_allow_list_allows_nothing_and_none_allows_all(tmp_path: Path) -> None:
    assert load(tmp_path, "[plugins]\nallow = []").plugins_allow == ()
    assert load(tmp_path, "[plugins]").plugins_allow is None


def test_default_for_an_operation_takes_precedence_over_its_medium() -> None:
    found = Settings(defaults={"image": "a", "inpaint": "b/m"})
    assert found.default_for("generate_image", "image") == ("image", "a")
    assert found.default_for("inpaint", "image") == ("inpaint", "b/m")
    assert found.default_for("generate_video", "video") is None


# Keys


@pytest.mark.skipif(os.name != "posix", reason="file modes")
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o601])
def test_keys_file_readable_by_others_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(SettingsError, match=f"may be read by others .mode {mode:04o}.") as caught:
        read_keys(write(tmp_path / "keys.toml", "A = 'sk-canary'", mode))
    assert caught.value.fix.startswith("Run: chmod 600")
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["A = sk-canary", "A = 7", "A = ''", "[x]\napi_key = ['sk-canary']", "A = 'sk-canary'\nA = 'sk-canary'", "\xff"]
)
def test_malformed_keys_file_is_refused_without_repeating_a_value(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "keys.toml", "")
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(SettingsError) as caught:
        read_keys(path)
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__


def test_missing_keys_file_is_empty(tmp_path: Path) -> None:
    assert read_keys(tmp_path / "none.toml") == Keys()


def test_credential_is_searched_in_the_instances_keys_then_environment_then_shared_keys() -> None:
    keys = Keys(by_variable={"B": Secret("shared")}, by_instance={"one": {"api_key": Secret("own")}})
    environ = {"A": "  ", "B": " env\n"}

    def look(name: str, environ: dict[str, str], instance: str = "one") -> tuple[str | None, str]:
        found = find_credential(name, instance, ["A", "B"], environ, keys)
        return found.secret.reveal() if found.secret else None, found.found_in

    assert look("api_key", environ) == ("own", "keys.toml [one] api_key")
    assert look("api_key", environ, "two") == ("env", "B")
    assert look("api_key", {}, "two") == ("shared", "keys.toml B")
    assert find_credential("api_key", "two", ["A"], {}, keys) == find_credential("api_key", "two", ["A"], {}, Keys())
    assert find_credential("api_key", "two", ["A", "C"], {}, keys).wanted == "A or C"


def test_secret_is_never_shown() -> None:
    import copy
    import pickle

    secret = Secret("sk-canary")
    shown: list[Any] = [secret, [secret], {"a": secret}, Keys(by_variable={"A": secret}, by_instance={"x": {"y": secret}})]
    shown.append(find_credential("api_key", "x", ["A"], {"A": "sk-canary"}, Keys()))
    shown.append(Settings(keys=Keys(by_variable={"A": secret})))
    for thing in shown:
        assert "canary" not in f"{thing} {thing!r}"
    with pytest.raises(TypeError):
        f"{secret:>20}"
    for write_down in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError):
            write_down(secret)
    assert secret.reveal() == "sk-canary"
    assert secret
    assert not Secret("")


# Addresses


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.org/v1",
        "https://example.org:8443",
        "http://localhost:8080/v1",
        "http://127.0.0.1:1/",
        "http://[::1]:8080",
        "http://10.1.2.3/v1",
        "http://192.168.0.9:8188",
        "http://[fd00::1]/",
        "http://localai:8080/v1",
        "http://gpu.lan/v1",
        "http://gpu.home.arpa",
    ],
)
def test_valid_base_url_is_accepted(url: str) -> None:
    assert base_url_problem(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.example.org",
        "/v1",
        "ftp://example.org",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "https://",
        "https://user@example.org",
        "https://user:pass@example.org",
        "https://example.org/v1?key=1",
        "https://example.org/#x",
        "https://exa mple.org",
        "https://example.org/\x1b[31m",
        "https://example.org:99999",
        "https://[::1",
        "http://example.org",
        "http://8.8.8.8/v1",
        "http://lan.example.org",
        "http://127.0.0.1.example.org",
        "http://[2001:4860::8888]/",
    ],
)
def test_invalid_base_url_is_refused(url: str) -> None:
    assert base_url_problem(url)


@given(st.text(max_size=40) | st.text(max_size=30).map(lambda rest: f"https://{rest}"))
def test_any_text_as_base_url_does_not_raise(text: str) -> None:
    assert base_url_problem(text) is None or isinstance(base_url_problem(text), str)


def _paths(table: dict[str, Any], before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of every key whose names the settings decide; the names of backends, models and options are the user's."""
    for key, value in table.items():
        at = (*before, key)
        if before != ("backends",) and before[2:3] not in {("models",), ("options",), ("credentials",)} and before[-1:] != ("per_backend",):
            yield at
        if isinstance(value, dict):
            yield from _paths(value, at)


def _every_setting() -> dict[str, Any]:
    """Return settings with every key: those of the documented example, and all fields of the policy."""
    found = tomllib.loads(example())
    for table, cls in (("policy", Policy), ("budget", Budget), ("tolerance", Tolerance)):
        place = found["policy"] if table == "policy" else found["policy"].setdefault(table, {})
        for field in attrs.fields(cls):
            if field.name not in {"transcode", "on_quote", "budget", "tolerance"}:
                place.setdefault(field.name, field.default if isinstance(field.default, bool | int | float | str) else None)
    return found


SETTINGS = list(_paths(_every_setting()))


@pytest.mark.parametrize("path", SETTINGS, ids=".".join)
def test_setting_misspelled_is_refused_with_its_name(path: tuple[str, ...], tmp_path: Path) -> None:
    *tables, key = path
    wrong = key[:-1] + ("x" if key[-1] != "x" else "y")
    value = 'x = "y"' if key in {"policy", "plugins", "fetch", "network", "artifacts", "backends", "defaults"} else None
    text = f"[{'.'.join((*tables, wrong))}]\n{value}\n" if value else "\n".join([f"[{'.'.join(tables)}]" if tables else "", f"{wrong} = 1"])
    file = tmp_path / "config.toml"
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_settings(environ={}, files=[file])
    assert wrong in caught.value.message
    assert len(SETTINGS) > 40

"""Loading capabilities.toml: complete files, inheritance, malformed files."""

import copy
import datetime
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiers import examples

from anymedia.capabilities import (
    Anything,
    CapabilityMatrix,
    Choice,
    ContinueRule,
    CredentialSet,
    Fidelity,
    InputRule,
    Lifecycle,
    MaskRule,
    ModelSpec,
    Pixels,
    Price,
    Range,
    ReferencesRule,
    Requirement,
    Rule,
    Text,
    TypicalSeconds,
    load_matrix,
    parse_matrix,
)
from anymedia.errors import PluginContractError

WHOLE = """
schema = 1
checked = 2026-11-21
services = ["plain", "vertex"]
credentials = [{ service = "plain", names = { api_key = ["A_KEY", "B_KEY"] } }]
hosts = ["api.example.org"]
base_url_env = ["A_URL"]
first_party = false
last_resort = true
disclosure = "It is drawn by rule."

[[models]]
id = "first"
media = "image"
rank = 10
aliases = ["one"]
services = ["plain"]
preview = true
continuation_prefix = "first_img"
continues_with = ["first", "second"]
note = "the first"
requires = { module = "brushes", install = "pip install 'maker[brushes]'" }
wire = { endpoint = "/v1" }
prices = [{ per = "image", usd = 0.04, when = { quality = ["high"] }, basis = "b", source = "s", checked = 2026-11-21 }]
typical_seconds = { median = 25, p95 = 90 }

[models.lifecycle]
released = 2026-01-02
deprecated = "2026-06-01"
retires = 2027-01-02
certainty = "firm"
replacement = "second"
source = "s"
checked = 2026-11-21

[models.generate_image]
prompt = { max_chars = 32000 }
n = { min = 1, max = 10, step = 1, default = 1 }
size = { multiple_of = 16, max_edge = 3840, max_ratio = 3.0, pixels = [655360, 8294400], auto = true }
quality = { one_of = ["low", "high"], fixed = true, default = "low", doc = "effort" }
negative_prompt = { max_chars = 7 }
continue_from = { ways = ["chat"], seconds = [1, 30] }
extra_params.complexity = { one_of = ["low"] }
extra_params.tags = { type = "array", doc = "tags" }
rules = [{ when = { quality = "high" }, forbid = { n = { min = 2, max = 10 }, seed = true }, because = "so it is" }]
fidelity = { level = "emulated", note = "by words alone" }
note = "an operation"

[models.inpaint]
like = "generate_image"
without = ["negative_prompt"]
prices = [{ per = "call", usd = [0.1, 0.2] }]
source = { count = 1, formats = ["png", "jpeg"], max_bytes = 50_000_000, min_edge = 64, max_edge = 96, max_pixels = 1000, max_ratio = 2.5 }
mask = { format = "alpha", modes = ["user_provided", "semantic"], max_bytes = 4, same_size = false, classes = 3, doc = "m" }
fidelity = { level = "native" }

[models.edit_with_references]
references.count = [1, 4]
references.roles.source = { count = [0, 2] }
references.roles.control = { types = ["edges"], fidelity = { level = "emulated", note = "n" } }
references.max_total_bytes = 9

[[models]]
id = "second"
like = "first"
rank = 20
without = ["inpaint", "prices"]
services = []
generate_image = { n = { one_of = [1] }, without = ["quality", "rules"] }

[[models]]
id = "third"
media = "audio"
generate_audio = { audio_type = { one_of = ["speech"] }, duration = { min = 0.5, max = 2 } }
"""


def whole() -> dict[str, Any]:
    return tomllib.loads(WHOLE)


def test_matrix_complete_file_is_read() -> None:
    matrix = parse_matrix(whole(), "x.toml")
    assert [row.id for row in matrix.models] == ["first", "second", "third"]
    assert matrix.checked == datetime.date(2026, 11, 21)
    assert matrix.services == ("plain", "vertex")
    assert matrix.credentials == (CredentialSet(service="plain", names={"api_key": ("A_KEY", "B_KEY")}),)
    assert (matrix.hosts, matrix.base_url_env) == (("api.example.org",), ("A_URL",))
    assert (matrix.first_party, matrix.last_resort, matrix.disclosure) == (False, True, "It is drawn by rule.")


def first() -> ModelSpec:
    row = parse_matrix(whole(), "x.toml").model("one")
    assert row is not None
    return row


def test_model_facts_are_read() -> None:
    row = first()
    assert (row.id, row.media, row.rank, row.aliases, row.services, row.preview) == ("first", "image", 10, ("one",), ("plain",), True)
    assert (row.continuation_prefix, row.continues_with, row.note, row.wire) == (
        "first_img",
        ("first", "second"),
        "the first",
        {"endpoint": "/v1"},
    )
    assert row.requires == Requirement(module="brushes", install="pip install 'maker[brushes]'")
    assert row.lifecycle == Lifecycle(
        released=datetime.date(2026, 1, 2),
        deprecated=datetime.date(2026, 6, 1),
        retires=datetime.date(2027, 1, 2),
        certainty="firm",
        replacement="second",
        source="s",
        checked=datetime.date(2026, 11, 21),
    )


def test_operation_options_and_inputs_are_read() -> None:
    row = first().operations["generate_image"]
    assert row.prompt == Text(max_chars=32000)
    assert row.options == {
        "n": Range(min=1, max=10, step=1, default=1),
        "size": Pixels(multiple_of=16, max_edge=3840, max_ratio=3.0, pixels=(655360, 8294400), auto=True),
        "quality": Choice(one_of=("low", "high"), fixed=True, default="low", doc="effort"),
        "negative_prompt": Text(max_chars=7),
    }
    assert row.inputs == {"continue_from": ContinueRule(ways=("chat",), seconds=(1, 30))}
    assert row.extra_params == {"complexity": Choice(one_of=("low",)), "tags": Anything(type="array", doc="tags")}
    assert row.rules == (Rule(when={"quality": ("high",)}, forbid={"n": Range(min=2, max=10), "seed": True}, because="so it is"),)
    assert row.fidelity == Fidelity(level="emulated", note="by words alone")
    assert row.typical_seconds == TypicalSeconds(median=25, p95=90)
    price = Price(per="image", usd=(0.04, 0.04), when={"quality": ("high",)}, basis="b", source="s", checked=datetime.date(2026, 11, 21))
    assert row.prices == (price,)


def test_operation_like_another_inherits_and_overrides() -> None:
    operations = first().operations
    inpaint = operations["inpaint"]
    assert set(inpaint.options) == set(operations["generate_image"].options) - {"negative_prompt"}
    assert inpaint.prices == (Price(per="call", usd=(0.1, 0.2)),)
    assert inpaint.fidelity == Fidelity()
    assert inpaint.inputs["source"] == InputRule(
        count=(1, 1), formats=("png", "jpeg"), max_bytes=50_000_000, min_edge=64, max_edge=96, max_pixels=1000, max_ratio=2.5
    )
    mask = MaskRule(format="alpha", modes=("user_provided", "semantic"), max_bytes=4, same_size=False, classes=3, doc="m")
    assert inpaint.inputs["mask"] == mask


def test_references_are_read_with_rule_per_role() -> None:
    assert first().operations["edit_with_references"].inputs["references"] == ReferencesRule(
        count=(1, 4),
        roles={"source": InputRule(count=(0, 2)), "control": InputRule(types=("edges",), fidelity=Fidelity(level="emulated", note="n"))},
        max_total_bytes=9,
    )


def test_model_like_another_inherits_and_overrides() -> None:
    matrix = parse_matrix(whole(), "x.toml")
    second = matrix.model("second")
    assert second is not None
    assert (second.rank, second.aliases, second.services, second.lifecycle) == (20, (), (), Lifecycle())
    assert second.requires == first().requires
    assert set(second.operations) == {"generate_image", "edit_with_references"}
    image = second.operations["generate_image"]
    assert image.options["n"] == Choice(one_of=(1,))
    assert set(image.options) == {"n", "size", "negative_prompt"}
    assert image.rules == ()
    assert image.prices == ()
    assert image.prompt == Text(max_chars=32000)


def test_requires_is_inherited_replaced_or_dropped() -> None:
    raw = whole()
    own = {"module": "chisels", "install": "pip install chisels"}
    raw["models"] += [{"id": "fourth", "like": "first", "requires": own}, {"id": "fifth", "like": "first", "without": ["requires"]}]
    third, fourth, fifth = parse_matrix(raw, "x.toml").models[2:]
    assert (third.requires, fourth.requires, fifth.requires) == (None, Requirement(**own), None)


def test_requires_absent_module_is_unmet() -> None:
    row = first()
    assert row.unmet(frozenset()) is None
    assert row.unmet({"chisels"}) is None
    assert row.unmet({"brushes", "chisels"}) is row.requires
    third = parse_matrix(whole(), "x.toml").model("third")
    assert third is not None
    assert third.unmet({"brushes"}) is None


def test_parse_matrix_leaves_document_unchanged() -> None:
    raw = whole()
    before = copy.deepcopy(raw)
    parse_matrix(raw, "x.toml")
    assert raw == before


def refused(text: str) -> str:
    with pytest.raises(PluginContractError) as caught:
        parse_matrix(tomllib.loads(text), "x.toml")
    return caught.value.message


ROW = 'schema = 1\n[[models]]\nid = "m"\n'


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("", "x.toml: ", "schema is missing"),
        ("schema = 2", "x.toml: ", "schema: this version reads 1, not 2"),
        ("schema = '1'", "x.toml: ", "schema: expected int, got str"),
        ("schema = true", "x.toml: ", "schema: expected int, got bool"),
        ("schema = 1\nhost = []", "x.toml: ", "unknown key 'host'; did you mean 'hosts'?"),
        ("schema = 1\nhosts = 'a'", "x.toml: ", "hosts: expected list, got str"),
        ("schema = 1\nhosts = [1]", "x.toml: ", "hosts: expected a list of strings"),
        ("schema = 1\nchecked = '21.11.2026'", "x.toml: ", "checked: expected a date like"),
        ("schema = 1\nmodels = {}", "x.toml: ", "models: expected list, got table"),
        ("schema = 1\nmodels = [1]", "x.toml: ", "every model needs an id"),
        ("schema = 1\n[[models]]\nmedia = 'image'", "x.toml: ", "every model needs an id"),
        ("schema = 1\n[[credentials]]", "x.toml.credentials[0]: ", "names is missing"),
        ("schema = 1\n[[credentials]]\nnames = { api_key = 'A' }", "x.toml.credentials[0].names: ", "api_key: expected list"),
        (ROW + "medium = 'image'", "x.toml: m: ", "unknown key 'medium'; did you mean 'media'?"),
        (ROW + "media = 'picture'", "x.toml: m: ", "media: expected one of image, video, audio, got 'picture'"),
        (ROW + "rank = 1.5", "x.toml: m: ", "rank: expected int, got float"),
        (ROW + "services = ['x']", "x.toml: m: ", "services: 'x' is not among []"),
        (ROW + "continues_with = ['n']", "x.toml: m: ", "continues_with: no model 'n'"),
        (ROW + "like = 'n'", "x.toml: m: ", "like: no earlier model 'n'"),
        (ROW + "aliases = ['m2']\n[[models]]\nid = 'm2'", "x.toml: m2: ", "'m2' already names 'm'"),
        (ROW + "[[models]]\nid = 'm'\nrank = 2", "x.toml: m: ", "two models have this id"),
        (ROW + "lifecycle = { retire = 2026-01-01 }", "x.toml: m.lifecycle: ", "did you mean 'retires'"),
        (ROW + "lifecycle = { certainty = 'sure' }", "x.toml: m.lifecycle: ", "certainty: expected one of firm, earliest, reported"),
        (ROW + "requires = 'brushes'", "x.toml: m: ", "requires: expected table, got str"),
        (ROW + "requires = {}", "x.toml: m.requires: ", "module is missing"),
        (ROW + "requires = { module = 'brushes' }", "x.toml: m.requires: ", "install is missing"),
        (ROW + "requires = { module = ['a'], install = 'b' }", "x.toml: m.requires: ", "module: expected str, got list"),
        (ROW + "requires = { modul = 'a', install = 'b' }", "x.toml: m.requires: ", "module is missing"),
        (ROW + "requires = { module = 'a', install = 'b', extra = 'c' }", "x.toml: m.requires: ", "unknown key 'extra'"),
        (ROW + "requires = { module = 'a.b', install = 'b' }", "x.toml: m.requires: ", "module: expected the name of one top-level module"),
        (ROW + "requires = { module = '', install = 'b' }", "x.toml: m.requires: ", "one top-level module, got ''"),
        (ROW + "requires = { module = 'my-brushes', install = 'b' }", "x.toml: m.requires: ", "got 'my-brushes'"),
        (ROW + "requires = { module = 'import', install = 'b' }", "x.toml: m.requires: ", "got 'import'"),
        (ROW + "requires = { module = 'a', install = ' ' }", "x.toml: m.requires: ", "install: expected a command, on one line"),
        (ROW + 'requires = { module = "a", install = "b\\nc" }', "x.toml: m.requires: ", "install: expected a command, on one line"),
        (ROW + 'requires = { module = "a", install = "b \\u001b[2J" }', "x.toml: m.requires: ", "install: expected a command, on one line"),
        (ROW + "generate_image = { requires = { module = 'a', install = 'b' } }", "x.toml: m.generate_image: ", "has no field 'requires'"),
        (ROW + "prices = [{ per = 'image' }]", "x.toml: m.prices[0]: ", "usd is missing"),
        (ROW + "prices = [{ per = 'image', usd = [2, 1] }]", "x.toml: m.prices[0]: ", "usd: expected two numbers, the smaller first"),
        (ROW + "prices = [{ per = 'picture', usd = 1 }]", "x.toml: m.prices[0]: ", "per: expected one of"),
        (ROW + "typical_seconds = { median = 9, p95 = 5 }", "x.toml: m.typical_seconds: ", "0 < median <= p95"),
        (ROW + "generate_imgae = {}", "x.toml: m: ", "did you mean 'generate_image'"),
        (ROW + "generate_image = true", "x.toml: m: ", "generate_image: expected table, got bool"),
        (ROW + "generate_image = { sead = {} }", "x.toml: m.generate_image: ", "has no field 'sead'; did you mean 'seed'?"),
        (ROW + "generate_image = { duration = {} }", "x.toml: m.generate_image: ", "has no field 'duration'"),
        (ROW + "generate_image = { mask = {} }", "x.toml: m.generate_image: ", "has no field 'mask'"),
        (
            ROW + "generate_image = { like = 'inpaint' }",
            "x.toml: m.generate_image: ",
            "like: no operation 'inpaint' (available: none); an operation can be like another one of the same model",
        ),
        (ROW + "generate_image = { like = 'generate_image' }", "x.toml: m.generate_image: ", "like: no operation"),
        (ROW + "generate_image = { like = 'inpaint' }\ninpaint = { like = 'generate_image' }", "x.toml: m.generate_image: ", "like:"),
        (ROW + "generate_image = { seed = 3 }", "x.toml: m.generate_image: ", "seed: expected table, got int"),
        (ROW + "generate_image = { seed = { min = 1 } }", "x.toml: m.generate_image.seed: ", "max is missing"),
        (ROW + "generate_image = { seed = { min = 2, max = 1 } }", "x.toml: m.generate_image.seed: ", "min is above max"),
        (ROW + "generate_image = { seed = { min = 1, max = 2, steps = 1 } }", "x.toml: m.generate_image.seed: ", "did you mean 'step'"),
        (ROW + "generate_image = { seed = { min = 1, max = 2, step = 0 } }", "x.toml: m.generate_image.seed: ", "step: must be above 0"),
        (
            ROW + "generate_image = { seed = { min = 1, max = 2, default = 3 } }",
            "x.toml: m.generate_image.seed: ",
            "default: accepts 1 to 2",
        ),
        (ROW + "generate_image = { quality = { one_of = [] } }", "x.toml: m.generate_image.quality: ", "at least one value"),
        (
            ROW + "generate_image = { quality = { one_of = ['a'], default = 'b' } }",
            "x.toml: m.generate_image.quality: ",
            "default: accepts a",
        ),
        (ROW + "generate_image = { size = { multiple_of = 0 } }", "x.toml: m.generate_image.size: ", "multiple_of: must be above 0"),
        (ROW + "generate_image = { prompt = { one_of = ['a'] } }", "x.toml: m.generate_image.prompt: ", "expected Text, got Choice"),
        (ROW + "generate_image = { continue_from = {} }", "x.toml: m.generate_image.continue_from: ", "ways: expected at least one"),
        (ROW + "generate_image = { fidelity = { level = 'emulated' } }", "x.toml: m.generate_image.fidelity: ", "needs a note"),
        (ROW + "generate_image = { extra_params = { a = 1 } }", "x.toml: m.generate_image.extra_params: ", "a: expected table"),
        (
            ROW + "generate_image = { extra_params = { a = { type = 'text' } } }",
            "x.toml: m.generate_image.extra_params.a: ",
            "type: expected one of",
        ),
        (ROW + "inpaint = { source = { formats = ['pgn'] } }", "x.toml: m.inpaint.source: ", "did you mean 'png'"),
        (ROW + "inpaint = { source = { count = [2, 1] } }", "x.toml: m.inpaint.source: ", "count: expected two numbers"),
        (ROW + "inpaint = { mask = { format = 'grey' } }", "x.toml: m.inpaint.mask: ", "format: expected one of"),
        (ROW + "inpaint = { mask = { modes = ['auto'] } }", "x.toml: m.inpaint.mask: ", "unknown mode 'auto'"),
        (
            ROW + "edit_with_references = { references = { roles.styl = {} } }",
            "x.toml: m.edit_with_references.references: ",
            "did you mean 'style'",
        ),
        (ROW + "generate_image = { rules = [{ forbid = { n = true } }] }", "x.toml: m.generate_image.rules[0]: ", "a rule needs 'because'"),
        (
            ROW + "generate_image = { rules = [{ when = { seed = true }, because = 'x' }] }",
            "x.toml: m.generate_image.rules[0]: ",
            "one of 'forbid' and 'require'",
        ),
        (
            ROW + "generate_image = { rules = [{ when = { sead = true }, forbid = { n = true }, because = 'x' }] }",
            "x.toml: m.generate_image.rules[0].when: ",
            "did you mean 'seed'",
        ),
    ],
)
def test_file_malformed_is_refused_with_file_model_and_field(text: str, place: str, words: str) -> None:
    message = refused(text)
    assert message.startswith(place)
    assert words in message


def test_file_with_several_problems_reports_all_with_paths() -> None:
    text = """
schema = 1
hosts = "a"
[[models]]
id = "m"
rank = 1.5
lifecycle = { certainty = "sure", retires = "soon" }
[models.generate_image]
sead = {}
seed = { min = 2, max = 1 }
quality = { one_of = ["a"], default = "b" }
[[models]]
id = "n"
inpaint = { source = { formats = ["pgn"] }, mask = { modes = ["auto"] } }
"""
    assert refused(text).split("; x.toml") == [
        "x.toml: hosts: expected list, got str",
        ": m.generate_image: generate_image has no field 'sead'; did you mean 'seed'?",
        ": m.generate_image.seed: min is above max",
        ": m.generate_image.quality: default: accepts a, not 'b'",
        ": m: rank: expected int, got float",
        ": m.lifecycle: retires: expected a date like 2026-11-21, got 'soon'",
        ": m.lifecycle: certainty: expected one of firm, earliest, reported, got 'sure'",
        ": n.inpaint.source: formats: unknown format 'pgn'; did you mean 'png'?",
        ": n.inpaint.mask: modes: unknown mode 'auto'",
    ]


@pytest.mark.parametrize("key", ["disclosure", "checked", "hosts"])
def test_value_none_is_refused(key: str) -> None:
    with pytest.raises(PluginContractError, match=f"x.toml: {key}: expected .*, got NoneType"):
        parse_matrix({"schema": 1, key: None}, "x.toml")


def test_load_matrix_twice_reads_once(tmp_path: Path) -> None:
    path = tmp_path / "capabilities.toml"
    path.write_text(WHOLE)
    assert load_matrix(path) is load_matrix(path)


@pytest.mark.parametrize("content", [b"schema = ", b"\xff\xfe", None])
def test_file_unreadable_is_refused_with_name(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "capabilities.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PluginContractError, match=r"^capabilities\.toml: "):
        load_matrix(path)


junk: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, -1, 0.5, "x", "", [], [1], ["x"], {}, {"x": 1}, [{}], datetime.date(2026, 1, 1)]
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += places(inner, (*path, key))
    return found


@examples(400)
@given(st.sampled_from(places(whole())), junk, st.sampled_from(["replace", "remove", "add"]))
def test_file_with_junk_anywhere_is_read_or_refused_with_name(place: tuple[Any, ...], value: Any, how: str) -> None:
    raw = whole()
    holder = raw
    for key in place[:-1]:
        holder = holder[key]
    if how == "replace":
        holder[place[-1]] = value
    elif how == "remove":
        del holder[place[-1]]
    elif isinstance(holder, dict):
        holder["junk"] = value
    try:
        assert isinstance(parse_matrix(raw, "x.toml"), CapabilityMatrix)
    except PluginContractError as error:
        assert error.message.startswith("x.toml")


@pytest.mark.parametrize("host", ["https://api.acme.com", "api.acme.com/v1", "*", "*.com", "*acme.com", "a b.com", ""])
def test_malformed_host_is_refused(host: str) -> None:
    with pytest.raises(PluginContractError, match="hosts"):
        parse_matrix({"schema": 1, "hosts": [host], "models": []}, "x.toml")


@pytest.mark.parametrize("host", ["api.acme.com", "api.acme.com:8443", "*.acme.com", "127.0.0.1:8080", "[::1]:80", "localhost"])
def test_host_of_each_form_is_accepted(host: str) -> None:
    assert parse_matrix({"schema": 1, "hosts": [host], "models": []}, "x.toml").hosts == (host,)

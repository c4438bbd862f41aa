"""``anymedia batch``, and names of files with ``{index}`` and other values in them."""

from __future__ import annotations

import pytest

from anymedia.cli.build_request import with_output_name
from anymedia.generation_config import GenerationConfig


@pytest.fixture
def prompts(work):
    path = work / "prompts.txt"
    path.write_text("a boat\n# a comment\n\na house\na lake\n")
    return path


def test_batch_of_prompts_makes_numbered_files_and_a_repeat_is_free(call, work, prompts, submits):
    first = call("batch", prompts, "-b", "demo")
    names = [work / "prompts" / f"{number:03d}.png" for number in (1, 2, 3)]
    assert first.code == 0, first.err
    assert first.lines == [str(name) for name in names]
    assert all(name.read_bytes().startswith(b"\x89PNG") for name in names)
    assert "3 of 3 done, 0 failed" in first.err
    prompts.write_text(prompts.read_text() + "a fourth\n")
    again = call("batch", prompts, "-b", "demo", "--json").json
    assert (again["done"], again["repeated"], again["failed"]) == (4, 3, 0)
    assert [result["repeated"] for result in again["results"]] == [True, True, True, False]
    assert len(submits()) == 4
    assert call("batch", prompts, "-b", "demo", "--again", "-f").code == 0
    assert len(submits()) == 8


def test_batch_repeats_only_what_failed_without_a_charge(call, work, submits):
    (work / "some.txt").write_text("a boat\nthe demo is down\n")
    first = call("batch", "some.txt", "-b", "demo", "--json")
    assert first.code == 6
    assert [result["success"] for result in first.json["results"]] == [True, False]
    assert first.json["results"][1]["line"] == 2
    sent = len(submits())
    assert call("batch", "some.txt", "-b", "demo").code == 6
    assert {line.rpartition(" ")[2] for line in submits()[sent:]} == {"down"}


def test_batch_of_csv_reads_numbers_and_names_files_by_columns(call, work):
    (work / "list.csv").write_text('prompt,size,n,seed,name\n"a boat, red",80x60,2,,one\na house,,,7,two/../x\n')
    result = call("batch", "list.csv", "-b", "demo", "-o", "out/{name}-{index:02d}-{seed}.png", "--json")
    assert result.code == 0, result.err
    first, second = result.json["results"]
    assert [file["width"] for file in first["files"]] == [80, 80]
    assert sorted(path.name for path in (work / "out").iterdir())[-1] == "two-..-x-02-7.png"
    assert second["files"][0]["path"].endswith("two-..-x-02-7.png")


def test_batch_of_json_objects_reports_the_problems_of_all_lines_and_sends_nothing(call, work, submits):
    lines = ['{"prompt": "x", "sise": "1x1"}', "{", "[1]", '{"prompt": "fine"}', '{"prompt": "x", "size": "q"}']
    (work / "list.jsonl").write_text("\n".join(lines))
    result = call("batch", "list.jsonl", "-b", "demo")
    assert result.code == 2
    for expected in ("line 1, sise: there is no such field", "line 2: not valid JSON", "line 3: expected a JSON object", "line 5, size:"):
        assert expected in result.err
    assert submits() == []


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("list.xlsx", b"PK", "is not a .txt, .csv or .jsonl file"),
        ("list.txt", b"caf\xe9", "is not UTF-8 text"),
        ("list.txt", b"# nothing", "has no requests"),
        ("list.csv", b"prompt,sise\nx,1", "did you mean 'size'?"),
        ("list.csv", b"prompt,a b\nx,1", "line 2, a b: there is no such field"),
        ("list.csv", b"prompt,output\nx,a.png", "line 2, output: there is no such field (did you mean 'output_path'?)"),
        ("list.csv", b"prompt,size\nx,80x60,1", "line 2: has more cells than the first line"),
    ],
)
def test_batch_of_a_file_that_cannot_be_read_says_why(call, work, name, content, words):
    (work / name).write_bytes(content)
    result = call("batch", name, "-b", "demo")
    assert result.code == 2
    assert words in result.err


@pytest.mark.parametrize("content", ["[]", "null", '"a boat"', "{"], ids=["a list", "null", "a text", "cut"])
def test_batch_config_of_another_kind_is_named_as_the_option(call, work, prompts, content):
    (work / "usual.json").write_text(content)
    result = call("batch", prompts, "--config", "usual.json", "--json")
    assert result.code == 2
    assert [problem["path"] for problem in result.json["error"]["problems"]] == ["--config"]


def test_batch_of_csv_with_semicolons_is_read(call, work):
    (work / "list.csv").write_text("prompt;size\na boat, red;80x60\n")
    result = call("batch", "list.csv", "-b", "demo", "--json")
    assert result.code == 0, result.err
    assert result.json["results"][0]["files"][0]["width"] == 80


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("-", "several files cannot be written to stdout"),
        ("{index}.xyz", "line 1, -o: '.xyz' is not a suffix of media files"),
        ("{index}.mp4", "line 1, -o: mp4 is not a format for image"),
        ("{index.__class__}.png", "cannot fill in '{index.__class__}'"),
        ("{seed:999999999d}.png", "cannot fill in '{'"),
    ],
)
def test_batch_with_names_that_cannot_be_is_refused_before_anything_is_sent(call, prompts, submits, output, words):
    result = call("batch", prompts, "-b", "demo", "-o", output)
    assert result.code == 2
    assert words in result.err
    assert submits() == []


def test_batch_names_what_failed_even_if_quiet(call, prompts):
    assert call("batch", prompts, "-b", "demo", "-q").err == ""
    again = call("batch", prompts, "-b", "demo", "-q", "--again")
    assert again.code == 2
    assert "1  failed (line 1): output_path: " in again.err
    assert "exists" in again.err


def test_batch_stays_within_its_budget(call, work, prompts):
    result = call("batch", prompts, "-b", "demo", "-m", "painter", "--budget", "0.05", "--concurrency", "1", "--json")
    assert result.code != 0
    assert (result.json["done"], result.json["failed"]) == (1, 2)
    assert {r["error"]["code"] for r in result.json["results"][1:]} == {"budget_exceeded"}


@pytest.mark.parametrize("words", [("batch", "--dry-run"), ("plan", "batch")], ids=" ".join)
def test_batch_dry_run_prints_each_plan_and_sends_nothing(call, prompts, submits, words):
    result = call(*words, prompts, "-b", "demo")
    assert result.code == 0
    assert [line.split("  ")[:3] for line in result.lines] == [[str(i), f"prompts/{i:03d}.png", "demo/painter"] for i in (1, 2, 3)]
    assert "3 of 3 planned, 0 failed, 0.06 to 0.12 USD" in result.err
    assert submits() == []


def test_batch_dry_run_as_json_has_each_plan_and_the_total(call, prompts, submits):
    result = call("batch", prompts, "-b", "demo", "-m", "painter", "--budget", "0.05", "--concurrency", "1", "--dry-run", "--json")
    assert result.code != 0
    planned, refused, _ = result.json["results"]
    assert (planned["index"], planned["planned"], planned["backend"], planned["model"]) == (1, True, "demo", "painter")
    assert (refused["index"], refused["error"]["code"]) == (2, "budget_exceeded")
    totals = {key: result.json[key] for key in ("success", "planned", "failed", "quote_usd")}
    assert totals == {"success": False, "planned": 1, "failed": 2, "quote_usd": [0.02, 0.04]}
    assert submits() == []


def test_batch_dry_run_says_what_would_stop_a_request(call, work, submits):
    (work / "some.jsonl").write_text('{"prompt": "a fox", "max_cost_usd": 0.01}')
    result = call("batch", work / "some.jsonl", "-b", "demo", "-m", "painter", "--dry-run")
    assert "0.02 to 0.04 USD  it would be refused: " in result.out.decode()
    assert submits() == []


def test_output_name_with_an_index_numbers_the_files_of_a_request(call, work):
    result = call("image", "a boat", "-b", "demo", "-n", "3", "-o", "boat-{index:03d}-{seed}.png", "--seed", "5")
    assert result.lines == [str(work / f"boat-{number:03d}-5.png") for number in (1, 2, 3)]
    again = call("image", "a boat", "-b", "demo", "-o", "{prompt}-{date}.png", "--json").json
    assert again["files"][0]["path"].startswith(str(work / "a-boat-20"))


def test_output_name_with_a_seed_chooses_one(call, submits):
    config = with_output_name(GenerationConfig(prompt="a boat", output_path="{seed}.png"), {})
    assert config.output_path == f"{config.seed}.png"
    assert with_output_name(GenerationConfig(prompt="a boat", output_path="{seed}.png", seed=3), {}).output_path == "3.png"
    numbered = [with_output_name(GenerationConfig(prompt="a boat", output_path="{seed}.png"), {"index": i}) for i in (1, 1, 2)]
    assert numbered[0] == numbered[1] != numbered[2]  # a batch that is repeated has the same names


def test_output_name_with_an_unknown_value_is_refused(call, submits):
    result = call("image", "a boat", "-b", "demo", "-o", "{colour}.png")
    assert result.code == 2
    assert "{index}, {seed}, {prompt}, {date}" in result.err
    assert submits() == []


def test_music_command_asks_for_music(call):
    pytest.importorskip("local_media")
    plan = call("plan", "music", "calm piano", "-b", "local", "--json")
    assert plan.code == 0, plan.err
    assert plan.json["model"] == "tones"

"""Mistakes are found before anything is sent (acceptance 5; promise P9): exit 2, one line with file, line and key."""

import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.cli import sentences, write_jsonl

GOOD = """\
task: embed
input:
  path: data.jsonl
  id: id
  text: text
output: {path: out}
"""
BASE = 'model: "@cf/baai/bge-base-en-v1.5"\n'
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}]\n"
    for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)

# name: (the text of the spec, line, pattern of what is said)
TABLE = {
    "unknown key": (GOOD + "limit: 3\n", 7, r"limit: unknown.*input\.limit"),
    "unknown nested key": (GOOD + "budget: {neuron_per_day: 3}\n", 7, r"budget\.neuron_per_day: .*neurons_per_day"),
    "duplicate key": (GOOD + "task: embed\n", 7, r"task: given twice.*line 1"),
    "negative budget": (GOOD + "budget:\n  neurons_per_day: -5\n", 8, r"budget\.neurons_per_day: "),
    "textual budget": (GOOD + "budget:\n  neurons_per_day: lots\n", 8, r"budget\.neurons_per_day: .*number"),
    "budget with a unit": (GOOD + "budget:\n  neurons_per_day: 5k\n", 8, r"budget\.neurons_per_day: .*number"),
    "bad task": (GOOD.replace("task: embed", "task: embde"), 1, r"task: .*embed"),
    "missing input": ("task: embed\noutput: {path: out}\n", 1, r"input: "),
    "missing file": (GOOD.replace("data.jsonl", "dta.jsonl"), 3, r"input\.path: .*dta\.jsonl"),
    "missing column, jsonl": (GOOD.replace("text: text", "text: txt"), 5, r'input\.text: .*"txt".*"text"'),
    "missing column, csv": (GOOD.replace("data.jsonl", "data.csv").replace("text: text", "text: txt"), 5, r"txt.*text"),
    "missing id column": (GOOD.replace("id: id", "id: idd"), 4, r"input\.id: .*idd"),
    "missing kept column": (GOOD.replace("  id: id", "  id: id\n  keep: [topik]"), 5, r"input\.keep: .*topik"),
    "unknown model": (GOOD + 'model: "@cf/baai/bge-m4"\n', 7, r"model: .*@cf/baai/bge-m"),
    "retired model": (
        GOOD.replace("embed", "generate") + 'model: "@cf/meta/llama-2-7b-chat-int8"\n', 7, r"model: .*@cf/.*@cf/"
    ),
    "model of another task": (GOOD + 'model: "@cf/meta/llama-3.1-8b-instruct-fp8"\n', 7, r"model: "),
    "broken YAML": (GOOD + "limits: {concurrency: 3\n", 7, r""),
    "broken indentation": (GOOD + "  limits:\n", 7, r""),
    "YAML bomb": (BOMB + GOOD, 1, r"anchors are not supported"),
    "YAML tag": (GOOD + 'name: !!python/object/apply:os.system ["touch owned"]\n', 7, r"tag"),
    "deep nesting": (GOOD + "params: " + "[" * 3_000 + "\n", 7, r"levels deep"),
    "empty file": ("", 1, r"empty"),
    "only a comment": ("# nothing here\n", 1, r"empty"),
    "a list": ("- task: embed\n", 1, r""),
    "bad where": (GOOD.replace("  id: id", "  id: id\n  where: \"text = = 'a'\""), 5, r"input\.where: "),
    "where without such a column": (GOOD.replace("  id: id", "  id: id\n  where: lng = 'a'"), 5, r"input\.where: "),
    "duplicate ids": (GOOD.replace("data.jsonl", "double.jsonl"), 4, r'"b" stands twice.*row 1.*row 3'),
    "unknown param": (GOOD + BASE + "params: {poling: cls}\n", 8, r"params\.poling: .*pooling"),
    "param of the wrong type": (GOOD + BASE + "params:\n  pooling: 5\n", 9, r"params\.pooling: "),
    "no number": (GOOD + "limits: {concurrency: .nan}\n", 7, r"limits\.concurrency: "),
}  # fmt: skip


@pytest.fixture
def inputs(world):
    """The files the specs name."""
    world.records(sentences()[:5])
    (world.folder / "data.csv").write_text("id,text\n1,one\n2,two\n", encoding="utf-8")
    write_jsonl(world.folder / "double.jsonl", [{"id": name, "text": name * 3} for name in "abcb"])
    return world


@pytest.mark.parametrize("name", TABLE)
def test_bad_spec(inputs, name):
    """A mistake in the spec is one line with file, line and what is wrong; nothing is sent, written or executed."""
    text, line, pattern = TABLE[name]
    (inputs.folder / "job.yaml").write_text(text, encoding="utf-8")
    ran = inputs.wai("run", "job.yaml", code=2)
    (said,) = ran.err.splitlines()
    assert re.match(rf"job\.yaml:{line}: ", said), said
    assert re.search(pattern, said), said
    assert ran.out == ""
    assert inputs.requests == 0
    assert not (inputs.folder / "out").exists()
    assert not (inputs.folder / "owned").exists()


def test_all_mistakes_at_once(inputs):
    """Several mistakes are told together, one line each, in the order of the file; validate says the same as run."""
    text = GOOD.replace("task: embed", "task: embde") + "limts: {concurrency: 0}\nretry: {attempts: many}\n"
    (inputs.folder / "job.yaml").write_text(text, encoding="utf-8")
    ran = inputs.wai("validate", "job.yaml", code=2)
    lines = [int(said.split(":")[1]) for said in ran.err.splitlines()]
    assert lines == [1, 7, 8]
    assert inputs.wai("run", "job.yaml", code=2).err == ran.err


@pytest.mark.parametrize(
    ("where", "problem"),
    [
        ("text = = 'a'", "syntax error"),
        ("(text = 'a'", "parentheses do not match"),
        ('lang = "en" AND length(b) > 2', ""),
    ],
)
def test_validate_reads_the_condition(inputs, where, problem):
    """What is wrong with input.where itself is found without the input."""
    spec = GOOD.replace("data.jsonl", "nowhere.jsonl").replace("  id: id", f"  id: id\n  where: {json.dumps(where)}")
    (inputs.folder / "job.yaml").write_text(spec, encoding="utf-8")
    ran = inputs.wai("validate", "job.yaml", code=2 if problem else 0)
    assert re.match(rf"job\.yaml:5: input\.where: .*{problem}" if problem else "job.yaml: ok", ran.said)


def test_a_column_of_numbers_as_text(inputs):
    """Where the schema says that no record can be sent, that is one mistake of the spec and not one of each record."""
    pq.write_table(pa.table({"id": [1, 2], "text": [1.5, 2.5]}), inputs.folder / "data.parquet")
    (inputs.folder / "job.yaml").write_text(GOOD.replace("data.jsonl", "data.parquet"), encoding="utf-8")
    said = (
        'job.yaml:5: input.text: column "text" holds numbers, not text; write "{text}" in quotes to send them as text'
    )
    assert inputs.wai("plan", "job.yaml", code=2).err.splitlines() == [said]
    assert inputs.wai("run", "job.yaml", code=2).err.splitlines() == [said]
    plan = inputs.wai("plan", "job.yaml", "--set", 'input.text="{text}"', "--json").json
    assert (plan["records"]["pending"], plan["records"]["unusable"]) == (2, 0)


def test_bad_overrides(inputs):
    """--set is checked like the file, and says that the mistake came from the command line."""
    (inputs.folder / "job.yaml").write_text(GOOD, encoding="utf-8")
    for override in ("limits.concurency=3", "budget.neurons_per_day=-1", "nonsense"):
        (said,) = inputs.wai("run", "job.yaml", "--set", override, code=2).err.splitlines()[-1:]
        assert override.split("=", 1)[0] in said
    assert inputs.requests == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CLOUDFLARE_ACCOUNT_ID", ""),
        ("CLOUDFLARE_ACCOUNT_ID", "someone@example.com"),
        ("CLOUDFLARE_API_TOKEN", ""),
        ("CLOUDFLARE_API_TOKEN", "Bearer something"),
        ("CLOUDFLARE_BASE_URL", "http://example.com/client/v4"),
        ("CLOUDFLARE_BASE_URL", "ftp://127.0.0.1/"),
    ],
)
def test_bad_settings(inputs, name, value):
    """A missing or unusable setting is one line that names the variable and not its value; nothing is sent."""
    (inputs.folder / "job.yaml").write_text(GOOD, encoding="utf-8")
    (said,) = inputs.wai("run", "job.yaml", env={name: value}, code=2).err.splitlines()
    assert said.startswith(f"{name}: ")
    assert not value or value not in said
    assert inputs.requests == 0


def test_a_spec_that_is_not_there(inputs):
    """A spec that cannot be read is named."""
    (said,) = inputs.wai("run", "nowhere.yaml", code=2).err.splitlines()
    assert "nowhere.yaml" in said
    (inputs.folder / "noise.yaml").write_bytes(bytes(range(128, 256)) * 8)
    (said,) = inputs.wai("validate", "noise.yaml", code=2).err.splitlines()
    assert said.startswith("noise.yaml")
    assert json.dumps(said).isascii() or said.isprintable()

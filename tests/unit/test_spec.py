"""A job spec is right, or every mistake in it is named with file, line and key."""

import json
import subprocess
import sys
import time
from importlib.resources import files
from pathlib import Path

import jsonschema_rs
import pytest

import pipeline.spec
from pipeline.errors import SpecError, SpecErrors
from pipeline.services import JOB_TASKS
from pipeline.spec import JobSpec, json_schema, load_spec, parse_spec, render_template
from pipeline.spec.loader import _safe_name
from pipeline.spec.messages import _BY_TYPE, _KINDS, all_keys
from pipeline.spec.yaml import read_yaml
from pipeline.tasks import TASKS


def template(task: str) -> str:
    return render_template(TASKS[task].head, TASKS[task].input)


TASK_LIST = ", ".join(JOB_TASKS)
GOOD = "task: embed\ninput: {path: a.jsonl}\n"


def lines_of(text: str, *overrides: str) -> list[str]:
    with pytest.raises(SpecErrors) as caught:
        parse_spec(text, "job.yaml", overrides)
    return str(caught.value).splitlines()


ONE_MISTAKE = {
    "unknown key": (GOOD + "limit: 5\n", 'job.yaml:3: limit: unknown key "limit"; it belongs at input.limit'),
    "misspelt key": (GOOD + "buget: {}\n", 'job.yaml:3: buget: unknown key "buget"; did you mean "budget"?'),
    "misspelt key of a group": (
        GOOD + "concurency: 5\n",
        'job.yaml:3: concurency: unknown key "concurency"; did you mean "limits.concurrency"?',
    ),
    "unknown nested key": (
        GOOD + "limits:\n  concurency: 5\n",
        'job.yaml:4: limits.concurency: unknown key "concurency"; did you mean "concurrency"?',
    ),
    "nothing like it": (
        GOOD + "retry: {zzz: 5}\n",
        'job.yaml:3: retry.zzz: unknown key "zzz"; valid keys: attempts, max_delay_seconds, abort_share',
    ),
    "duplicate key": (GOOD + "task: generate\n", "job.yaml:3: task: given twice; the first is on line 1"),
    "duplicate nested key": (
        "task: embed\ninput:\n  path: a\n  limit: 1\n  limit: 2\n",
        "job.yaml:5: input.limit: given twice; the first is on line 4",
    ),
    "negative budget": (
        GOOD + "budget:\n  neurons_per_day: -5\n",
        "job.yaml:4: budget.neurons_per_day: should be greater than 0, not -5",
    ),
    "budget in words": (
        GOOD + "budget:\n  neurons_per_day: plenty\n",
        "job.yaml:4: budget.neurons_per_day: should be a number of neurons, not text",
    ),
    "budget in quotes": (
        GOOD + 'budget:\n  neurons_per_day: "40"\n',
        'job.yaml:4: budget.neurons_per_day: should be a number, not text: write 40, not "40"',
    ),
    "thousands separator": (
        GOOD + "budget:\n  neurons_per_day: 10_000\n",
        'job.yaml:4: budget.neurons_per_day: should be a number, not text: write 10000, not "10_000"',
    ),
    "unit in the value": (
        GOOD + "limits: {request_timeout_seconds: 2m}\n",
        "job.yaml:3: limits.request_timeout_seconds: should be a number of seconds, not text",
    ),
    "infinite budget": (
        GOOD + "budget: {neurons_per_day: .inf}\n",
        "job.yaml:3: budget.neurons_per_day: the number .inf is out of range",
    ),
    "number beyond 64 bits": (
        GOOD + f"params: {{seed: {2**70}}}\n",
        f"job.yaml:3: params.seed: the number {2**70} is out of range",
    ),
    "number of five thousand digits": (
        GOOD + f"params: {{seed: {'9' * 5000}}}\n",
        f"job.yaml:3: params.seed: the number {'9' * 40} is out of range",
    ),
    "too many": (
        GOOD + "limits: {concurrency: 5000}\n",
        "job.yaml:3: limits.concurrency: should be at most 1024, not 5000",
    ),
    "too few": (GOOD + "retry: {attempts: 0}\n", "job.yaml:3: retry.attempts: should be at least 1, not 0"),
    "half a request": (
        GOOD + "limits: {concurrency: 2.5}\n",
        "job.yaml:3: limits.concurrency: should be a whole number, not the number 2.5",
    ),
    "true is no number": (
        GOOD + "limits: {concurrency: true}\n",
        "job.yaml:3: limits.concurrency: should be a whole number, not true",
    ),
    "bad task": (
        "task: embedd\ninput: {path: a}\n",
        f'job.yaml:1: task: should be one of {TASK_LIST}, not "embedd"; did you mean embed?',
    ),
    "task of a later version": (
        "task: simplify\ninput: {path: a}\n",
        f'job.yaml:1: task: should be one of {TASK_LIST}, not "simplify"',
    ),
    "missing task": (
        "# a job\n\ninput: {path: a}\n",
        f"job.yaml:3: task: missing; what to do with each record: {TASK_LIST}",
    ),
    "missing input": ("task: embed\n", "job.yaml:1: input: missing; where the records come from"),
    "empty input": (
        "task: embed\ninput:\n",
        "job.yaml:2: input: is empty, but required; where the records come from: "
        "a mapping with the keys path, items, format, text, id, keep, limit, where",
    ),
    "input without origin": (
        "task: embed\ninput: {limit: 3}\n",
        "job.yaml:2: input: give either path (files) or items (records written here)",
    ),
    "both path and items": (
        "task: embed\ninput:\n  path: a\n  items: [b]\n",
        "job.yaml:2: input: give path or items, not both",
    ),
    "empty items": ("task: embed\ninput:\n  items: []\n", "job.yaml:3: input.items: is empty"),
    "empty path": (
        'task: embed\ninput:\n  path: ""\n',
        "job.yaml:2: input: path is empty; give a file, a glob, a folder, a list of them, or - for stdin",
    ),
    "number among paths": (
        "task: embed\ninput:\n  path:\n    - a\n    - 5\n",
        'job.yaml:5: input.path[1]: should be text, not the number 5: write "5" in quotes',
    ),
    "path is a number": (
        "task: embed\ninput:\n  path: 5\n",
        'job.yaml:3: input.path: should be text or a list, not the number 5: write "5" in quotes',
    ),
    "number among items": (
        "task: embed\ninput:\n  items:\n  - a\n  - {text: b}\n  - 5\n",
        'job.yaml:6: input.items[2]: should be text or a mapping (key: value), not the number 5: write "5" in quotes',
    ),
    "text instead of list": (
        "task: embed\ninput:\n  path: a\n  keep: title\n",
        "job.yaml:4: input.keep: should be a list, not text: write [title]",
    ),
    "list instead of mapping": (
        GOOD + "limits: [5]\n",
        "job.yaml:3: limits: should be a mapping (key: value), not a list",
    ),
    "yes": (GOOD + "dedupe: yes\n", "job.yaml:3: dedupe: should be true or false: write true, not yes"),
    "off": (
        GOOD + "output:\n  include_input: off\n",
        "job.yaml:4: output.include_input: should be true or false: write false, not off",
    ),
    "template without quotes": (
        "task: embed\ninput:\n  path: a\n  text: {title}\n",
        "job.yaml:4: input.text: should be text, not a mapping; put a template such as {title} in quotes",
    ),
    "empty value": (
        GOOD + "limits:\n  concurrency:\n",
        "job.yaml:4: limits.concurrency: is empty; should be a whole number (leave the key out for its default)",
    ),
    "name that leaves the folder": (
        GOOD + "name: ../../etc\n",
        "job.yaml:3: name: may hold letters, digits, - and _ only (and dots), and begins with a letter or digit",
    ),
    "long name": (GOOD + f"name: {'x' * 101}\n", "job.yaml:3: name: longer than 100 characters (101)"),
    "empty gateway": (GOOD + 'endpoint: {gateway: ""}\n', "job.yaml:3: endpoint.gateway: is empty"),
    "not a model": (
        GOOD + "model: bge-m3\n",
        'job.yaml:3: model: is not a model name; they look like "@cf/baai/bge-m3"',
    ),
    "model that leaves the address": (
        GOOD + 'model: "@cf/../../accounts"\n',
        'job.yaml:3: model: is not a model name; they look like "@cf/baai/bge-m3"',
    ),
    "key that is a number": (
        GOOD + "params:\n  5: a\n",
        "job.yaml:4: params: a key is 5, which is not text; put it in quotes if it is a name",
    ),
    "half a character": (
        'task: embed\ninput: {items: ["\\ud800"]}\n',
        "job.yaml:2: input.items[0]: holds half a character (a lone surrogate such as \\ud800)",
    ),
    "NUL": ('task: embed\ninput: {path: "a\\0b"}\n', "job.yaml:2: input.path: holds a NUL character"),
    "Python tag": (
        GOOD + "params:\n  a: !!python/object/apply:os.system [ls]\n",
        "job.yaml:4: params.a: tags are not supported (!!python/object/apply:os.system): "
        "remove it, or put a text in quotes",
    ),
    "own tag": (
        GOOD + "params: {a: !foo 1}\n",
        "job.yaml:3: params.a: tags are not supported (!foo): remove it, or put a text in quotes",
    ),
    "glob taken for an alias": (
        "task: embed\ninput:\n  path: *.jsonl\n",
        "job.yaml:3: input.path: aliases are not supported; if the text *.jsonl is meant, put it in quotes",
    ),
    "anchor": (
        "task: embed\ninput: &in\n  path: a\n",
        "job.yaml:2: input: anchors are not supported (&in): write the value out, or put a text in quotes",
    ),
    "model without quotes": (
        "task: embed\nmodel: @cf/baai/bge-m3\n",
        'job.yaml:2: model: a text that begins with @ must be in quotes, e.g. "@cf/baai/bge-m3"',
    ),
    "tab": ("task: embed\ninput:\n\tpath: a\n", "job.yaml:3: input: a tab cannot indent; use spaces"),
    "colon in text": (
        "task: embed\nname: a: b\n",
        'job.yaml:2: a ":" where none is expected: check the indentation, or put a text that holds ": " in quotes',
    ),
    "open quote": (
        'task: embed\nname: "a\ninput: {path: a}\n',
        "job.yaml:2: name: a quote is opened and never closed",
    ),
    "open bracket": (
        "task: embed\ninput: {path: [a, b}\n",
        'job.yaml:2: input.path: a "[" or "{" is never closed, or a comma is missing',
    ),
    "bad indentation": (
        "  task: embed\ninput: {path: a}\n",
        "job.yaml:2: indentation does not match the lines above",
    ),
    "text after a value": (
        'task: "embed" now\n',
        "job.yaml:1: text after the end of a value; put the whole value in quotes",
    ),
    "bad escape": (
        'task: embed\nname: "C:\\docs"\n',
        "job.yaml:2: name: unknown escape \\d in double quotes; use \\\\ or single quotes",
    ),
    "impossible escape": ('task: "\\U00110000"\n', "job.yaml:1: task: not readable as YAML near this line"),
    "control character": (
        "task: embed\nname: a\x07\n",
        "job.yaml:2: holds the character U+0007, which YAML does not allow",
    ),
    "two documents": (
        GOOD + "---\ntask: embed\n",
        "job.yaml:3: a second document begins here (---); one job per file",
    ),
    "other version of YAML": (
        "%YAML 1.1\n---\ntask: embed\n",
        "job.yaml:1: the file asks for another version of YAML; remove the %YAML line",
    ),
    "a list": (
        "- task: embed\n",
        "job.yaml:1: should be keys and values such as task: embed, not a list",
    ),
    "a text": ("\nembed\n", "job.yaml:2: should be keys and values such as task: embed, not a single value"),
    "empty": ("", "job.yaml:1: empty; wai init TASK writes a job spec to start from"),
    "only comments": ("# nothing\n", "job.yaml:1: empty; wai init TASK writes a job spec to start from"),
    "key that is a mapping": (
        "task: embed\ninput:\n  text: {{title}}\n",
        "job.yaml:3: input.text: a key must be a plain name; put a template such as {{title}} in quotes",
    ),
}


@pytest.mark.parametrize(("text", "line"), ONE_MISTAKE.values(), ids=ONE_MISTAKE.keys())
def test_one_mistake_gives_one_line(text, line):
    assert lines_of(text) == [line]


def test_all_mistakes_come_at_once_in_the_order_of_the_file():
    text = "task: embd\nconcurrency: 5\ninput: {path: [a, 5]}\nbudget:\n  neurons_per_day: -5\ndedupe: yes\n"
    found = lines_of(text)
    assert [line.split(": ")[:2] for line in found] == [
        ["job.yaml:1", "task"],
        ["job.yaml:2", "concurrency"],
        ["job.yaml:3", "input.path[1]"],
        ["job.yaml:5", "budget.neurons_per_day"],
        ["job.yaml:6", "dedupe"],
    ]


def test_an_error_is_one_short_line_whatever_the_file_holds():
    (line,) = lines_of(GOOD + '"a\\nb\\e[31m": 1\n')
    assert line.startswith('job.yaml:3: a\\nb\\x1b[31m: unknown key "a\\nb\\x1b[31m"; valid keys: ')
    (line,) = lines_of(GOOD + f'? "{"k" * 100_000}"\n: 1\n')
    assert len(line) < 2000


def test_errors_carry_facts():
    with pytest.raises(SpecErrors) as caught:
        parse_spec(GOOD + "dedupe: 5\n", "job.yaml")
    (error,) = caught.value.errors
    assert (error.path, error.line, error.key) == ("job.yaml", 3, "dedupe")
    assert caught.value.exit_code == 2


LAUGHS = 'a: &a ["lol"]\n' + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(9)
)

BOMBS = {
    "billion laughs": (LAUGHS, "job.yaml:1: a: anchors are not supported"),
    "deep list": ("a: " + "[" * 3000, "job.yaml:1: more than 50 levels deep"),
    "deep list, a megabyte": ("[" * (1 << 20), "job.yaml:1: more than 50 levels deep"),
    "deep mapping": ("{a: " * 3000, "more than 50 levels deep"),
    "deep block": ("- " * 3000, "more than 50 levels deep"),
    "deep keys": ("? " * 3000, "job.yaml:1: a key must be a plain name"),
    "deep lines": ("[\n" * 3000, "job.yaml:51: "),
    "two megabytes": ("a: " + "x" * (2 << 20), "job.yaml: larger than 1 MiB"),
    "many aliases": ("a: [" + "*b, " * 100_000, "job.yaml:1: a[0]: aliases are not supported"),
}


@pytest.mark.parametrize(("text", "words"), BOMBS.values(), ids=BOMBS.keys())
def test_bombs_are_refused_quickly(text, words):
    parse_spec(GOOD)  # loads the libraries outside the measurement
    began = time.process_time()
    (line,) = lines_of(text)
    assert time.process_time() - began < 0.2
    assert words in line


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        (b"task: embed\nname: \xff\n", "{}:2: not UTF-8 text; save the file as UTF-8"),
        (b"PAR1\0\0\0", "{}: not a text file: it holds NUL bytes"),
        ("task: embed".encode("utf-16"), "{}: is UTF-16; save it as UTF-8"),
        (b" " * ((1 << 20) + 1), "{}: larger than 1 MiB; put the records into a file and name it in input.path"),
    ],
    ids=["latin-1", "parquet", "utf-16", "large"],
)
def test_files_that_are_no_text(tmp_path, raw, line):
    path = tmp_path / "job.yaml"
    path.write_bytes(raw)
    with pytest.raises(SpecErrors) as caught:
        load_spec(path)
    assert str(caught.value) == line.format(path)


@pytest.mark.parametrize("name", ["absent.yaml", "folder", "a\0b"])
def test_files_that_cannot_be_read(tmp_path, name):
    (tmp_path / "folder").mkdir()
    with pytest.raises(SpecErrors, match="cannot be read: "):
        load_spec(f"{tmp_path}/{name}")


def test_a_spec_knows_lines_and_origins(tmp_path):
    path = tmp_path / "my jobs!.yaml"
    text = "# job\ntask: embed\ninput:\n  items:\n    - a\n    - {text: b}\nlimits: {concurrency: 4}\n"
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    loaded = load_spec(path, ["limits.batch_size=7", "dedupe=false"])
    assert loaded.spec.name == "my-jobs"
    assert loaded.path == str(path)
    assert loaded.spec.input.items == ("a", {"text": "b"})
    assert (loaded.spec.limits.concurrency, loaded.spec.limits.batch_size, loaded.spec.dedupe) == (4, 7, False)
    assert loaded.lines["input.items[1].text"] == 6
    assert loaded.lines["limits.concurrency"] == 7
    assert "dedupe" not in loaded.lines
    assert loaded.origins["task"] == "spec"
    assert loaded.origins["limits.concurrency"] == "spec"
    assert loaded.origins["limits.batch_size"] == "command line"
    assert loaded.origins["dedupe"] == "command line"
    assert "name" not in loaded.origins


def test_a_text_is_named_job():
    assert parse_spec(GOOD).spec.name == "job"
    assert parse_spec(GOOD + "name: x\n").spec.name == "x"
    assert parse_spec(GOOD + "name:\n").spec.name == "job"


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("a", "a"),
        ("..a", "a"),
        ("ü", "job"),
        ("a b/c", "a-b-c"),
        ("x" * 200, "x" * 100),
        ("-", "job"),
        ("été 1", "t-1"),
    ],
)
def test_file_names_become_safe(stem, name):
    assert _safe_name(stem) == name


@pytest.mark.parametrize(
    ("written", "value"),
    [("1e3", 1000.0), ("1.0e3", 1000.0), ("40", 40.0), ("+5", 5.0), ("0x10", 16.0), ("0o17", 15.0), (".5", 0.5)],
)
def test_numbers_as_yaml_1_2_writes_them(written, value):
    spec = parse_spec(GOOD + f"budget: {{neurons_per_day: {written}}}").spec
    assert spec.budget.neurons_per_day == value


def test_words_that_other_versions_of_yaml_take_for_something_else():
    spec = parse_spec("task: embed\ninput: {items: [no, on, 2026-01-01, 12:30:00, 1_000, '5']}\nmodel: ~\n").spec
    assert spec.input.items == ("no", "on", "2026-01-01", "12:30:00", "1_000", "5")
    assert spec.model is None


def test_json_is_a_spec_too():
    text = json.dumps({"task": "embed", "input": {"items": ["a😀", "b\n"]}, "dedupe": False})
    assert "\\ud83d" in text
    assert parse_spec(text).spec.input.items == ("a😀", "b\n")


def test_groups_with_all_keys_commented_out_mean_their_defaults():
    assert parse_spec(GOOD + "limits:\n  # concurrency: 5\nparams:\nretry: ~\n").spec == parse_spec(GOOD).spec


def test_overrides_win_and_the_last_one_first():
    loaded = parse_spec(
        GOOD + "limits: {concurrency: wrong}\n",
        overrides=["limits.concurrency=8", "limits.concurrency=9", "input={items: [a]}", "params.x.y=[1]", "model="],
    )
    assert loaded.spec.limits.concurrency == 9
    assert loaded.spec.input.items == ("a",)
    assert loaded.spec.params == {"x": {"y": [1]}}
    assert loaded.origins["input.items[0]"] == "command line"
    assert loaded.origins["input.items"] == "command line"


def test_a_model_needs_no_quotes_on_the_command_line():
    """A shell takes the quotes away that YAML would want."""
    assert parse_spec(GOOD, overrides=["model=@cf/baai/bge-m3"]).spec.model == "@cf/baai/bge-m3"


OVERRIDES = {
    "misspelt": ("limits.concurency=8", ': unknown key "concurency"; did you mean "concurrency"?'),
    "too small": ("limits.concurrency=0", ": should be at least 1, not 0"),
    "text": ("limits.concurrency=many", ": should be a whole number, not text"),
    "no value": ("dedupe", ": should be KEY=VALUE, e.g. limits.concurrency=8"),
    "no key": ("=5", ": should be KEY=VALUE, e.g. limits.concurrency=8"),
    "below a value": ("task.x=5", ": task is not a mapping, so it has no key x"),
    "broken": ("input=[a", ': a "[" or "{" is never closed, or a comma is missing'),
    "tag": ("dedupe=!x 5", ": tags are not supported (!x): remove it, or put a text in quotes"),
    "alias": ("dedupe=*a", ": aliases are not supported; if the text *a is meant, put it in quotes"),
    "group made here": ("input={limit: 5}", ": give either path (files) or items (records written here)"),
    "deep inside": (
        "input={items: [5]}",
        ': input.items[0]: should be text or a mapping (key: value), not the number 5: write "5" in quotes',
    ),
}


@pytest.mark.parametrize(("override", "words"), OVERRIDES.values(), ids=OVERRIDES.keys())
def test_mistakes_in_overrides_name_the_override(override, words):
    assert lines_of(GOOD, override) == [f"--set {override}{words}"]


SECRET = "sk-SECRETSECRET0123456789"
NO_VARIABLE = "should be the name of an environment variable such as OTHER_KEY"
SECRETS = {
    "key": ("api_key", SECRET, "give that name in endpoint.api_key_env"),
    "token": ("api_token", SECRET, "give that name in endpoint.api_key_env"),
    "password": ("password", SECRET, "give that name in endpoint.api_key_env"),
    "in place of its name": ("api_key_env", SECRET, NO_VARIABLE),
    "written as a name": ("api_key_env", "a1b2c3d4e5f60718293a4b5c6d7e8f90", NO_VARIABLE),
    "account": ("account_id_env", "a1b2c3d4e5f60718293a4b5c6d7e8f90", NO_VARIABLE),
    "in place of its place": ("api_key_in", SECRET, "not this"),
    "user": ("base_url", f"https://me:{SECRET}@api.example/v1", "holds a user name or password"),
    "query": ("base_url", f"https://api.example/v1?key={SECRET}", "holds a query or fragment"),
}


@pytest.mark.parametrize(("key", "value", "words"), SECRETS.values(), ids=SECRETS.keys())
def test_a_secret_that_was_written_down_is_refused_and_not_repeated(key, value, words):
    """Messages end up in logs; so do those about the command line."""
    (in_file,) = lines_of(GOOD + f"endpoint:\n  {key}: {value}\n")
    (at_command,) = lines_of(GOOD, f"endpoint.{key}={value}")
    for line in (in_file, at_command):
        assert words in line
        assert value not in line
        assert SECRET not in line
    assert at_command.startswith(f"--set endpoint.{key}=…: ")
    assert SECRET not in str(lines_of(GOOD, f"endpoint.api_key {SECRET}"))


def test_overrides_come_after_the_file():
    found = lines_of(GOOD + "dedupe: 5\n", "limits.concurrency=0")
    assert [line.split(":")[0] for line in found] == ["job.yaml", "--set limits.concurrency=0"]


def test_an_override_can_make_a_whole_group_and_be_wrong_in_it():
    assert lines_of("task: embed\n", "input.limit=3") == [
        "--set input.limit=3: input: give either path (files) or items (records written here)"
    ]


def test_the_shipped_schema_is_the_generated_one():
    shipped = json.loads(files("pipeline").joinpath("data/spec.schema.json").read_text("utf-8"))
    assert shipped == json.loads(json.dumps(json_schema()))


def test_the_schema_describes_every_key_and_allows_no_other():
    schema = json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    for group in [schema, *schema["$defs"].values()]:
        assert group["additionalProperties"] is False
        for name, key in group["properties"].items():
            assert key.get("description"), name


def test_the_schema_judges_as_the_loader_does():
    validator = jsonschema_rs.validator_for(json_schema())
    assert validator.is_valid({"task": "embed", "input": {"path": "a"}})
    assert validator.is_valid({"task": "embed", "input": {"items": ["a", {"b": 1}]}, "params": {"x": 1}})
    assert not validator.is_valid({"task": "embed", "input": {"path": "a", "items": ["b"]}})
    assert not validator.is_valid({"task": "embed", "input": {"path": "a"}, "limits": {"concurency": 1}})


@pytest.mark.parametrize("task", TASKS)
def test_templates_are_valid_and_show_the_defaults(task, tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text(template(task), "utf-8")
    spec = load_spec(path).spec
    plain = parse_spec(f"task: {task}\ninput: {{path: {spec.input.path}}}\n").spec
    assert spec.model_copy(update={"model": None, "params": {}, "model_info": None}) == plain


@pytest.mark.parametrize("task", TASKS)
def test_templates_name_every_key(task):
    text = template(task)
    optional = {"model_info.task", "model_info.requests_per_minute", "model_info.max_batch", "model_info.dimensions"}
    optional |= {"model_info.input_per_m_tokens", "model_info.output_per_m_tokens"}
    optional |= {"model_info.prices", "model_info.max_input_tokens", "model_info.context_window"}
    missing = [key for key in all_keys() if f"{key.rsplit('.', 1)[-1]}:" not in text]
    assert set(missing) <= optional


@pytest.mark.parametrize("task", TASKS)
def test_commented_lines_of_templates_are_valid_when_switched_on(task):
    wanted = []
    for line in template(task).splitlines()[4:]:
        bare = line.replace("# ", "", 1) if line.lstrip().startswith("# ") else line
        if "items:" not in bare and "endpoints:" not in bare:  # instead of path, instead of endpoint
            wanted.append(bare.replace("#   ", "  ") if line.startswith("#   ") else bare)
    document = read_yaml("\n".join(wanted))
    assert not document.problems
    JobSpec.model_validate(document.data)


def test_every_kind_of_refusal_has_words():
    """The keywords of the model's schema are those for which there are sentences."""
    keywords = {
        "exclusiveMinimum": "greater_than",
        "minimum": "greater_than_equal",
        "exclusiveMaximum": "less_than",
        "maximum": "less_than_equal",
        "minItems": "too_short",
        "minLength": "string_too_short",
        "maxLength": "string_too_long",
        "pattern": "string_pattern_mismatch",
        "enum": "literal_error",
        "const": "literal_error",
        "required": "missing",
        "additionalProperties": "extra_forbidden",
    }
    structure = {"type", "title", "description", "default", "anyOf", "oneOf", "items", "properties", "$ref", "$defs"}
    seen: set[str] = set()

    def walk(schema: object) -> None:
        if isinstance(schema, dict):
            seen.update(schema.keys())
            for key, below in schema.items():
                for part in below.values() if key in ("properties", "$defs") else [below]:
                    if key not in ("default", "required", "enum"):
                        walk(part)
        elif isinstance(schema, list):
            for part in schema:
                walk(part)

    walk(json_schema())
    assert seen - structure - {"$schema", "$id"} <= keywords.keys()
    assert {keywords[word] for word in seen & keywords.keys()} <= _BY_TYPE.keys()
    assert {
        "string_type",
        "int_type",
        "float_type",
        "bool_type",
        "tuple_type",
        "dict_type",
        "model_type",
    } <= _KINDS.keys()


def test_no_jargon_in_any_sentence():
    for text, line in ONE_MISTAKE.values():
        said = " ".join(lines_of(text))
        for word in (
            "pydantic",
            "Input should",
            "tuple",
            "dict",
            "https://",
            "extra_forbidden",
            "NoneType",
            "Traceback",
        ):
            assert word not in said, line


def test_the_spec_is_frozen():
    spec = parse_spec(GOOD).spec
    with pytest.raises(ValueError, match="frozen"):
        spec.task = "generate"  # type: ignore[misc]


def test_errors_without_a_line_print_none():
    assert str(SpecError("a.yaml", 0, "", "gone")) == "a.yaml: gone"
    assert str(SpecError("a.yaml", 3, "b", "gone")) == "a.yaml:3: b: gone"


def test_importing_the_room_loads_no_library():
    code = "import sys, pipeline.spec; print([m for m in ('pydantic', 'ruamel.yaml') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_unknown_names_of_the_room():
    with pytest.raises(AttributeError):
        pipeline.spec.nothing  # noqa: B018


def test_paths_stay_as_they_are(tmp_path):
    path = tmp_path / "deep" / "job.yaml"
    path.parent.mkdir()
    path.write_text(GOOD + "output: {path: out/x}\n")
    loaded = load_spec(Path(path))
    assert (loaded.spec.input.path, loaded.spec.output.path) == ("a.jsonl", "out/x")

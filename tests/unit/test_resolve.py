"""Resolving: every value has an origin, and what is wrong is named with its line."""

import json
from pathlib import Path

import pytest

from pipeline.errors import SpecError
from pipeline.resolve import flatten, located, resolve
from pipeline.routes import CAUTIOUS_REQUESTS_PER_MINUTE
from pipeline.settings import Secret, Settings
from pipeline.spec import parse_spec, render_template
from pipeline.tasks import TASKS

SETTINGS = Settings(
    account_id="0" * 32, api_token=Secret("t"), base_url="https://api.example/client/v4", state_dir=Path("/nowhere")
)
EMBED = 'task: embed\ninput: {items: ["a"]}\n'
GENERATE = 'task: generate\ninput: {items: ["a"]}\n'


def resolved(text, *overrides, rehearse=False):
    return resolve(parse_spec(text, "job.yaml", overrides), SETTINGS, rehearse=rehearse)


def refused(text):
    with pytest.raises(SpecError) as caught:
        resolved(text)
    return caught.value


@pytest.mark.parametrize("text", [EMBED, GENERATE])
def test_every_value_has_an_origin(text):
    """Nothing is in force that `wai plan` does not show with where it came from."""
    job = resolved(text)
    assert {value.origin for value in job.resolved.values()} <= {"spec", "default", "catalogue", "environment"}
    assert job.resolved["task"].origin == "spec"
    assert job.resolved["model"].origin == "catalogue"
    assert job.resolved["endpoint.base_url"].value == "https://api.example/client/v4"
    assert job.resolved["endpoint.base_url"].origin == "environment"
    for key in ("limits.concurrency", "retry.attempts", "budget.neurons_per_day", "checkpoint.seconds", "dedupe"):
        assert job.resolved[key].origin == "default"
    for key in ("model", "input.text", "output.path", "limits.requests_per_minute", "limits.batch_size"):
        assert job.resolved[key].value is not None


def test_what_the_user_says_wins_and_is_shown_as_theirs():
    """Command line over spec over catalogue."""
    text = EMBED + "limits: {concurrency: 7, requests_per_minute: 11, batch_size: 5}\nparams: {truncate_inputs: true}\n"
    job = resolved(text, "limits.concurrency=3")
    assert (job.resolved["limits.concurrency"].value, job.resolved["limits.concurrency"].origin) == (3, "command line")
    assert (job.requests_per_minute, job.resolved["limits.requests_per_minute"].origin) == (11, "spec")
    assert (job.adapter.max_pieces, job.resolved["limits.batch_size"].origin) == (5, "spec")
    assert job.resolved["params.truncate_inputs"].value is True


def test_the_shown_batch_size_is_the_one_in_force():
    """A wish beyond what the model takes is not."""
    text = EMBED + "limits: {batch_size: 5000}\n"
    assert resolved(text).resolved["limits.batch_size"].value == resolved(text).adapter.max_pieces == 100


def test_the_rate_is_the_documented_one():
    """Embeddings 3,000 a minute, text generation 300; where nothing is documented, the lowest."""
    assert resolved(EMBED).requests_per_minute == 3000
    assert resolved(GENERATE).requests_per_minute == 300
    assert CAUTIOUS_REQUESTS_PER_MINUTE == 300


def test_a_rehearsal_has_an_output_of_its_own():
    """P11: simulated rows never stand beside real ones."""
    job = resolved(EMBED + "output: {path: out/x}\n", rehearse=True)
    assert job.output == Path("out/x.rehearsal")
    assert job.is_simulated
    assert job.base_url == ""
    assert resolved(EMBED).output == Path("out/job")
    assert not resolved(EMBED).is_simulated


def test_the_emulator_as_an_endpoint_is_simulated_in_the_output_it_names():
    """The user asked for it by name; the files still say so."""
    job = resolved(EMBED + "endpoint: {kind: emulator}\noutput: {path: out/x}\n")
    assert job.is_simulated
    assert job.output == Path("out/x")
    assert job.resolved["endpoint.kind"].value == "emulator"


def test_what_changes_answers_is_the_identity():
    """Another model, parameter or text column is another job; another pace is not."""
    base = resolved(GENERATE).identity
    assert resolved(GENERATE + "limits: {concurrency: 2}\n").identity == base
    assert resolved(GENERATE + "params: {max_tokens: 9}\n").identity != base
    assert resolved(GENERATE + 'model: "@cf/meta/llama-3.2-3b-instruct"\n').identity != base
    assert resolved('task: generate\ninput: {items: ["a"], text: body}\n').identity != base


@pytest.mark.parametrize(
    ("text", "line", "key", "said"),
    [
        (EMBED + 'model: "@cf/baai/bge-m4"\n', 3, "model", "did you mean @cf/baai/bge-m3"),
        (EMBED + 'model: "@cf/meta/llama-3.1-8b-instruct-fp8"\n', 3, "model", "is for text-generation, not embed"),
        (EMBED + 'model: "@cf/facebook/bart-large-cnn"\n', 3, "model", "bart-large-cnn"),
        (EMBED + "\nparams:\n  truncate_input: true\n", 5, "params.truncate_input", 'did you mean "truncate_inputs"'),
        (EMBED + "params:\n  text: x\n", 4, "params.text", "set by the task itself"),
        (GENERATE + "params:\n  temperature: hot\n", 4, "params.temperature", "should be a number"),
        (GENERATE + "params:\n  max_tokens: 0\n", 4, "params.max_tokens", "at least 1"),
        (GENERATE + "params:\n  json_schema: {type: array}\n", 4, "params.json_schema", "type object"),
        (GENERATE + "params:\n  system: 5\n", 4, "params.system", "should be text"),
        ('task: embed\ninput:\n  items: ["a"]\n  text: "{a"\n', 4, "input.text", "literal braces"),
    ],
)
def test_a_mistake_is_named_with_file_line_and_key(text, line, key, said):
    """P9: before the input is opened."""
    error = refused(text)
    assert (error.path, error.line, error.key) == ("job.yaml", line, key)
    assert said in error.problem
    assert error.exit_code == 2


def test_all_wrong_parameters_are_told_at_once():
    """Nobody mends them one by one."""
    error = refused(GENERATE + "params:\n  temperature: hot\n  top_q: 1\n")
    assert [line.split(":")[1] for line in str(error).splitlines()] == ["4", "5"]


@pytest.mark.parametrize(
    ("task", "params", "lines"),
    [
        ("generate", {"temprature": 1, "max_tokens": -4}, [4, 5]),
        ("generate", {"max_tokens": -4, "temperature": "hot", "top_q": 1}, [4, 5, 6]),
        ("classify", {"temperature": "hot"}, [4]),
        ("generate", {"stream": [{}], "max_tokens": 5}, [4]),
    ],
)
def test_what_the_task_refuses_is_told_with_what_the_schema_refuses(task, params, lines):
    """One mistake does not hide another, and none is made up of what is missing."""
    text = f'task: {task}\ninput: {{items: ["a"]}}\nparams:\n'
    error = refused(text + "".join(f"  {name}: {json.dumps(value)}\n" for name, value in params.items()))
    assert [int(line.split(":")[1]) for line in str(error).splitlines()] == lines


def test_an_error_without_a_line_of_its_own_gets_its_parents():
    """A key that is not in the file stands where its group does."""
    loaded = parse_spec(EMBED + "limits: {concurrency: 3}\n", "job.yaml")
    assert located(loaded, "limits.batch_size", "x").line == 3
    assert located(loaded, "output.path", "x").line == 1


@pytest.mark.parametrize(
    ("override", "key", "said"),
    [
        ("input.path=nosuch.csv", "input.path", "--set input.path=nosuch.csv: x"),
        ("input={path: nosuch.csv}", "input.path", "--set input={path: nosuch.csv}: input.path: x"),
        ("output.path=a=b", "output.path", "--set output.path=a=b: x"),
        ("endpoint.kind=openai", "endpoint.base_url", "--set endpoint.kind=openai: endpoint.base_url: x"),
        ("limits.concurrency=3", "limits.batch_size", "job.yaml:3: limits.batch_size: x"),
        ("limits.concurrency=3", "input.path", "job.yaml:2: input.path: x"),
    ],
)
def test_an_error_about_a_value_of_the_command_line_names_its_override(override, key, said):
    """The line of the file says something else."""
    text = "task: embed\ninput: {path: there.csv}\nlimits: {concurrency: 2}\n"
    loaded = parse_spec(text, "job.yaml", ["dedupe=false", override])
    assert str(located(loaded, key, "x")) == said


def test_flatten_turns_groups_into_dotted_keys():
    """Lists stay lists."""
    assert flatten({"a": {"b": 1, "c": {"d": (1, 2)}}, "e": None}) == {"a.b": 1, "a.c.d": [1, 2], "e": None}


@pytest.mark.parametrize("task", TASKS)
def test_the_spec_to_start_from_resolves(task):
    """What `wai init TASK` writes is a job that could run."""
    job = resolved(render_template(TASKS[task].head, TASKS[task].input))
    assert job.kind is TASKS[task]
    assert job.lanes[0].model is job.model


def test_an_endpoint_whose_allowance_is_left_to_others_is_named():
    """What is left to others is left on every account."""
    text = GENERATE + "budget: {reserve_for_others: 50}\nendpoints: [{}, {name: b, budget: {neurons_per_day: 50}}]\n"
    error = refused(text)
    assert error.key == "endpoints.1.budget.neurons_per_day"
    assert "reserve_for_others" in error.problem


def test_an_emulator_beside_real_endpoints_is_refused():
    """Its requests would go to Cloudflare, or its answers lie among real ones."""
    error = refused(EMBED + "endpoints: [{}, {kind: emulator}]\n")
    assert error.key == "endpoints.1.kind"
    assert "--rehearse" in error.problem
    assert resolved(EMBED + "endpoints: [{name: a, kind: emulator}, {name: b, kind: emulator}]\n").embeds_emulator
    assert resolved(EMBED + "endpoints: [{}, {kind: emulator}]\n", rehearse=True).embeds_emulator


def test_endpoints_of_one_model_share_its_task():
    """So that the pieces of a record can be spread over them; another server takes what the first one is sent."""
    other = 'model: "@cf/meta/llama-3.2-3b-instruct"'
    server = "kind: openai, base_url: https://llm.example.com/v1, model: m, api_key_env: K, weight: 0"
    job = resolved(GENERATE + f"endpoints: [{{}}, {{name: b, {other}}}, {{name: c, {other}}}, {{}}, {{{server}}}]\n")
    first, *others = (plan.adapter for plan in job.lanes)
    assert others[0] is others[1] is not first
    assert others[2] is others[3] is first

"""Kinds of endpoint: what a job spec may say of each, and what comes of it."""

from pathlib import Path

import pytest

from pipeline.dialects.kinds import KINDS, base_url_of, counts_neurons, needs_account
from pipeline.errors import SpecError, SpecErrors
from pipeline.records import Request
from pipeline.resolve import book_of, resolve
from pipeline.services import JOB_TASKS
from pipeline.settings import Secret, Settings
from pipeline.spec import EndpointSpec, parse_spec
from tests.support.fakes import record

ACCOUNT = "0123456789abcdef" * 2
OTHER = "f" * 32
API = "https://api.cloudflare.com/client/v4"
OLD = f"https://gateway.ai.cloudflare.com/v1/{OTHER}/gw/workers-ai"
EMBED = 'task: embed\ninput: {items: ["a"]}\n'
GENERATE = 'task: generate\ninput: {items: ["a"]}\n'
OPENAI = "endpoint: {kind: openai, base_url: https://api.example.com/v1, api_key_env: K}\n"


def settings(base_url=API):
    return Settings(account_id=ACCOUNT, api_token=Secret("t"), base_url=base_url, state_dir=Path("/nowhere"))


def resolved(text, *overrides, rehearse=False, base_url=API):
    return resolve(parse_spec(text, "job.yaml", overrides), settings(base_url), rehearse=rehearse)


def test_every_kind_of_the_spec_is_known_and_serves_tasks_that_exist():
    names = EndpointSpec.model_json_schema()["properties"]["kind"]["enum"]
    assert set(names) == set(KINDS)
    for kind in KINDS.values():
        assert (kind.tasks or set()) <= set(JOB_TASKS)


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        (
            EMBED + "endpoint: {kind: deeplx, base_url: https://d.example.com}\n",
            "endpoint.kind",
            "translate, not embed",
        ),
        (EMBED + "endpoint: {kind: whisper-worker, base_url: https://d.example.com}\n", "endpoint.kind", "transcribe"),
        (
            EMBED + "endpoint: {kind: image-worker, base_url: https://d.example.com}\n",
            "endpoint.kind",
            "emulator, openai",
        ),
        (EMBED + "endpoint: {kind: openai, base_url: https://a.example.com/v1}\n", "endpoint.api_key_env", "missing"),
        (EMBED + "endpoint: {kind: openai, api_key_in: token}\n", "endpoint.api_key_in", "names none"),
        (EMBED + "endpoint: {api_key_in: token}\n", "endpoint.api_key_in", "in a header"),
        (EMBED + "endpoint: {kind: emulator, base_url: https://a.example.com}\n", "endpoint.base_url", "started by"),
        (EMBED + "endpoint: {cache_ttl_seconds: 60}\n", "endpoint.cache_ttl_seconds", "endpoint.gateway"),
        (EMBED + "endpoint: {skip_cache: true}\n", "endpoint.skip_cache", "endpoint.gateway"),
        (EMBED + f"endpoint: {{base_url: {API}/accounts/{ACCOUNT}}}\n", "endpoint.base_url", "leave out"),
        (EMBED + "endpoint: {base_url: https://gateway.ai.cloudflare.com/v1}\n", "endpoint.base_url", "<gateway>"),
        (EMBED + OPENAI.replace("K}", "K, gateway: g}"), "endpoint.gateway", "not before this server"),
        (EMBED + "endpoint: {base_url: https://a.example.com}\n", "endpoint.base_url", "Cloudflare's token"),
        (EMBED + f"endpoint: {{base_url: https://a.example.com/v1/{OTHER}/g}}\n", "endpoint.base_url", "token"),
        (EMBED + OPENAI.replace("K}", "CLOUDFLARE_API_TOKEN}"), "endpoint.api_key_env", "Cloudflare only"),
        (EMBED + OPENAI.replace("K}", "CLOUDFLARE_AIG_TOKEN}"), "endpoint.api_key_env", "Cloudflare only"),
        (EMBED + OPENAI + "budget: {reconcile: true}\n", "budget.reconcile", "no count of neurons"),
        (EMBED + OPENAI, "model", "missing"),
        (GENERATE + OPENAI + "model: m\nparams: {messages: []}\n", "params.messages", "set by the task"),
        (EMBED + OPENAI + "model: m\nmodel_info: {task: translation}\n", "model_info.task", "not embed"),
    ],
)
def test_what_cannot_be_is_named_with_its_key(text, key, words):
    with pytest.raises(SpecError) as caught:
        resolved(text)
    assert (caught.value.key, caught.value.path) == (key, "job.yaml")
    assert words in caught.value.problem


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("endpoint: {kind: openai, base_url: http://a.example.com/v1}", "in the clear"),
        ("endpoint: {kind: openai, base_url: https://u:p@a.example.com}", "user name or password"),
        ("endpoint: {kind: openai, api_key_env: sk-123-secret}", "api_key_env"),
        ("endpoint: {cache_ttl_seconds: 59}", "60"),
        ("model: gpt-4o", 'they look like "@cf/'),
        ("endpoint: {kind: openai}\nmodel: ' x'", "spaces around"),
        ('endpoint: {kind: openai}\nmodel: "a\\nb"', "do not print"),
    ],
)
def test_what_the_spec_itself_refuses(line, words):
    with pytest.raises(SpecErrors, match=r"job\.yaml") as caught:
        parse_spec(EMBED + line, "job.yaml")
    assert words in str(caught.value)


def test_openai_without_an_address_is_cloudflares_own():
    job = resolved(EMBED + "endpoint: {kind: openai}\n")
    assert job.base_url == f"{API}/accounts/{ACCOUNT}/ai/v1"
    assert job.counts_neurons
    assert job.model.input_per_m_tokens > 0
    assert book_of(job, settings()) == ACCOUNT
    assert needs_account(job.spec.endpoint)
    assert job.resolved["endpoint.base_url"].value == job.base_url


def test_cloudflares_address_written_out_is_booked_to_the_account_in_it():
    text = EMBED + f"endpoint: {{kind: openai, base_url: {API}/accounts/{OTHER}/ai/v1, api_key_env: K}}\n"
    job = resolved(text)
    assert job.counts_neurons
    assert book_of(job, settings()) == OTHER
    assert not needs_account(job.spec.endpoint)


def test_another_server_has_free_names_no_prices_and_a_cautious_pace():
    job = resolved(EMBED + OPENAI + "model: text-embedding-3-small\nparams: {dimensions: 8, anything: 1}\n")
    assert job.model.name == "text-embedding-3-small"
    assert (job.model.input_per_m_tokens, job.adapter.max_pieces) == (0.0, 100)
    assert (job.requests_per_minute, job.is_rate_guessed) == (300, True)
    assert job.resolved["limits.requests_per_minute"].origin == "cautious guess"
    assert not job.counts_neurons
    assert book_of(job, settings()) == "server-api.example.com"


def test_a_name_of_the_catalogue_keeps_its_limits_and_loses_its_price():
    job = resolved(EMBED + OPENAI + 'model: "@cf/qwen/qwen3-embedding-0.6b"\n')
    assert (job.adapter.max_pieces, job.model.input_per_m_tokens) == (32, 0.0)
    assert job.model.dimensions == 1024
    retired = resolved(GENERATE + OPENAI + 'model: "@cf/meta/llama-2-7b-chat-fp16"\n')
    assert retired.model.name == "@cf/meta/llama-2-7b-chat-fp16"


def test_model_info_gives_prices_and_limits():
    text = GENERATE + OPENAI + "model: m\nmodel_info: {input_per_m_tokens: 5, requests_per_minute: 77, max_batch: 3}\n"
    job = resolved(text)
    assert (job.model.input_per_m_tokens, job.model.output_per_m_tokens) == (5.0, 0.0)
    assert (job.requests_per_minute, job.is_rate_guessed) == (77, False)
    assert resolved(EMBED + OPENAI + "model: m\nmodel_info: {max_batch: 3}\n").adapter.max_pieces == 3
    assert (
        resolved(text, "limits.requests_per_minute=9").resolved["limits.requests_per_minute"].origin == "command line"
    )


def test_a_key_is_not_needed_on_this_machine():
    job = resolved(EMBED + "endpoint: {kind: openai, base_url: http://127.0.0.1:9/v1}\nmodel: m\n")
    assert job.base_url == "http://127.0.0.1:9/v1"


def test_a_prompt_for_another_server_is_bounded_and_asks_for_json_in_its_form():
    schema = "{type: object, properties: {a: {type: string}}}"
    job = resolved(GENERATE + OPENAI + f"model: gpt-x\nparams: {{max_completion_tokens: 9, json_schema: {schema}}}\n")
    payload = job.adapter.payload(Request(tuple(job.adapter.pieces(record(0, prompt="hi")))))
    assert payload["max_completion_tokens"] == 9
    assert payload["response_format"]["type"] == "json_schema"
    older = resolved(GENERATE + OPENAI + "model: gpt-x\nparams: {max_tokens: 8}\n").adapter
    assert older.payload(Request(tuple(older.pieces(record(0, prompt="hi")))))["max_tokens"] == 8


@pytest.mark.parametrize("base", ["endpoint", "environment"])
def test_the_older_address_of_a_gateway(base):
    given = f"endpoint: {{base_url: {OLD}, cache_ttl_seconds: 60}}\n" if base == "endpoint" else ""
    job = resolved(EMBED + given, base_url=API if base == "endpoint" else OLD)
    assert job.through_gateway
    assert job.base_url == OLD
    assert book_of(job, settings()) == OTHER


def test_columns_of_a_gateway_only_with_one():
    assert not resolved(EMBED).through_gateway
    assert resolved(EMBED + "endpoint: {gateway: g}\n").through_gateway
    assert resolved(EMBED + "endpoint: {kind: openai, gateway: g}\n").through_gateway
    assert resolved(EMBED + "endpoint: {kind: emulator, gateway: g}\n").through_gateway
    assert not resolved(EMBED + OPENAI + "model: m\n").through_gateway


def test_a_rehearsal_of_another_server_takes_the_default_model():
    """The emulator knows Cloudflare's models only."""
    job = resolved(EMBED + OPENAI + "model: text-embedding-3-small\n", rehearse=True)
    assert (job.model.name, job.base_url, job.is_simulated) == ("@cf/baai/bge-m3", "", True)
    known = resolved(EMBED + OPENAI + 'model: "@cf/baai/bge-base-en-v1.5"\n', rehearse=True)
    assert known.model.name == "@cf/baai/bge-base-en-v1.5"


def test_who_counts_and_where():
    other = EndpointSpec(kind="deeplx", base_url="https://d.example.com/")
    assert not counts_neurons(other)
    assert base_url_of(other, settings()) == "https://d.example.com"
    assert counts_neurons(EndpointSpec())
    assert base_url_of(EndpointSpec(base_url=API + "/"), settings("https://x.example")) == API

"""What a model does not take is said before it is sent."""

import jsonschema_rs
import pytest

from pipeline import schemas
from pipeline.catalog import Catalog
from pipeline.schemas import check_input, check_params, input_fields

LLAMA = "@cf/meta/llama-3.1-8b-instruct-fp8"
GLM = "@cf/zai-org/glm-5.3"
M3 = "@cf/baai/bge-m3"
BASE = "@cf/baai/bge-base-en-v1.5"
GEMMA = "@cf/google/embeddinggemma-300m"
GPT = "@cf/openai/gpt-oss-20b"
VISION = "@cf/meta/llama-3.2-11b-vision-instruct"
RERANKER = "@cf/baai/bge-reranker-base"
OWNED = frozenset({"messages", "prompt", "stream", "requests", "n"})
TEXT = frozenset({"text", "requests", "query", "contexts"})


def test_fields_leave_out_the_queue():
    assert input_fields(BASE) == {"text", "pooling"}
    assert input_fields(M3) == {"text", "truncate_inputs", "query", "contexts"}
    assert input_fields(RERANKER) == {"query", "contexts", "top_k"}
    assert "max_tokens" in input_fields("@cf/meta/llama-3.1-8b-instruct-fp8-fast")
    assert input_fields("@cf/new/new") is None
    assert input_fields("@cf/new/new", "text-embeddings") == {"text"}
    assert input_fields("@cf/new/new", "translation") is None


PARAMS = [
    (LLAMA, "text-generation", {"temperature": 0.2, "max_tokens": 5, "seed": 1, "top_p": 1}, []),
    (
        LLAMA,
        "text-generation",
        {"temprature": 1},
        [f'params.temprature: {LLAMA} has no parameter "temprature"; did you mean "temperature"?'],
    ),
    (LLAMA, "text-generation", {"temperature": "hot"}, ['params.temperature: should be a number, not "hot"']),
    (LLAMA, "text-generation", {"seed": True}, ["params.seed: should be a number, not true"]),
    (LLAMA, "text-generation", {"raw": None}, ["params.raw: should be true or false, not empty"]),
    (LLAMA, "text-generation", {"messages": []}, ["params.messages: is set by the task itself; remove it"]),
    (
        LLAMA,
        "text-generation",
        {"response_format": []},
        ["params.response_format: should be a mapping (key: value), not a list"],
    ),
    (
        LLAMA,
        "text-generation",
        {"response_format": {"typ": "json_object"}},
        ['params.response_format.typ: unknown key "typ"', "params.response_format.type: missing"],
    ),
    (
        GLM,
        "text-generation",
        {"reasoning_effort": "medium"},
        ['params.reasoning_effort: should be one of max, high, low, not "medium"'],
    ),
    (GLM, "text-generation", {"stop": 4.5}, ["params.stop: should be text or a list, not the number 4.5"]),
    (GLM, "text-generation", {"stop": ["a"], "seed": None}, []),
    (
        GLM,
        "text-generation",
        {"response_format": {"type": "zz"}},
        ['params.response_format.type: should be one of text, json_object, json_schema, not "zz"'],
    ),
    (
        GLM,
        "text-generation",
        {"response_format": {"type": "json_schema", "json_schema": {"a": 1}}},
        ['params.response_format.json_schema.a: unknown key "a"', "params.response_format.json_schema.name: missing"],
    ),
    (
        GLM,
        "text-generation",
        {"chat_template_kwargs": {"enable_thinking": False}},
        ["params.chat_template_kwargs.enable_thinking: should be true, not false"],
    ),
    (GPT, "text-generation", {"max_tokens": 5, "reasoning_effort": "low"}, []),
    (
        GPT,
        "text-generation",
        {"instructions": "a"},
        [f'params.instructions: {GPT} has no parameter "instructions"; did you mean "functions"?'],
    ),
    (M3, "text-embeddings", {"truncate_inputs": True}, []),
    (
        M3,
        "text-embeddings",
        {"pooling": "cls"},
        [f'params.pooling: {M3} has no parameter "pooling"; it takes truncate_inputs'],
    ),
    (BASE, "text-embeddings", {"pooling": "cls"}, []),
    (BASE, "text-embeddings", {"pooling": "max"}, ['params.pooling: should be one of mean, cls, not "max"']),
    (BASE, "text-embeddings", {"text": "a"}, ["params.text: is set by the task itself; remove it"]),
    (GEMMA, "text-embeddings", {"pooling": "cls"}, [f"params.pooling: {GEMMA} takes no parameters"]),
    ("@cf/new/new", "text-generation", {"temperature": 1}, []),
    ("@cf/new/new", "translation", {"anything": 1}, []),
]


@pytest.mark.parametrize(("model", "task", "params", "said"), PARAMS)
def test_params(model, task, params, said):
    owned = TEXT if "text-embeddings" in task else OWNED
    assert check_params(model, task, params, owned, carriers=("messages", "prompt", "text")) == said


def test_the_form_of_a_request_decides_which_params_it_takes():
    assert check_params(VISION, "text-generation", {"raw": True}, OWNED, carriers=("messages",)) != []
    assert check_params(VISION, "text-generation", {"raw": True}, OWNED, carriers=("prompt",)) == []


INPUTS = [
    (LLAMA, {"messages": [{"role": "user", "content": "a"}], "max_tokens": 5}, []),
    (LLAMA, {"messages": [{"role": "user"}]}, ["messages[0].content: missing"]),
    (LLAMA, {"prompt": 1}, ["prompt: should be text, not the number 1"]),
    (M3, {"text": ["a", "b"], "truncate_inputs": True}, []),
    (M3, {"query": "a", "contexts": [{"text": "b"}]}, []),
    (M3, {"text": ["a", 5]}, ["text[1]: should be text, not the number 5"]),
    (M3, {"text": {}}, ["text: should be text or a list, not a mapping"]),
    (M3, {"requests": []}, ["requests: is the form of Cloudflare's queue, which is not used here"]),
    (
        M3,
        {"text": ["a"], "pooling": "cls"},
        [f'pooling: {M3} has no parameter "pooling"; it takes text, truncate_inputs'],
    ),
    (RERANKER, {"contexts": []}, ["query: missing"]),
    (RERANKER, {"query": "a", "contexts": [{"text": "b"}], "top_k": 3}, []),
    (
        GLM,
        {"messages": [{"role": "user", "content": 5}, {"role": "zz", "content": "a"}, {"content": "b"}]},
        [
            "messages[0].content: should be text or a list, not the number 5",
            'messages[1].role: should be one of developer, system, user, assistant, tool, function, not "zz"',
            "messages[2].role: missing",
        ],
    ),
    ("@cf/qwen/qwen3-30b-a3b-fp8", {"prompt": "a", "lora": "b"}, []),
    ("@cf/qwen/qwen3-30b-a3b-fp8", {}, ["prompt: missing"]),
    ("@cf/none/none", {"a": 1}, []),
]


@pytest.mark.parametrize(("model", "payload", "said"), INPUTS)
def test_inputs(model, payload, said):
    assert check_input(model, payload) == said


def test_every_model_with_a_schema_can_be_asked():
    for model in Catalog.load().models(include_retired=True):
        fields = input_fields(model.name)
        assert fields is None or fields
        assert "requests" not in (fields or ())
        for payload in ({}, {"messages": 5}, {"text": 5, "zz": None}, {"messages": [{"role": "user", "content": []}]}):
            for sentence in check_input(model.name, payload):
                assert "anyOf" not in sentence
                assert "schema" not in sentence.split(": ")[-1]


def test_the_usual_requests_are_fine_for_every_living_model():
    for model in Catalog.load().models("text-generation"):
        payload = {"messages": [{"role": "user", "content": "a"}], "max_tokens": 5}
        assert check_input(model.name, payload) == [], model.name
    for model in Catalog.load().models("text-embeddings"):
        assert check_input(model.name, {"text": ["a"]}) == [], model.name


def test_bounds_are_said_where_a_schema_has_them(monkeypatch):
    schema = {"properties": {"a": {"minimum": 1, "maximum": 2}, "b": {"minItems": 1, "maxItems": 1}, "c": {"const": 5}}}
    schema["properties"]["d"] = {"exclusiveMinimum": 1}
    schema["properties"]["e"] = {"exclusiveMaximum": 1}
    schema["properties"]["f"] = {"pattern": "x"}
    form = schemas._Alternative(schema, jsonschema_rs.Draft7Validator(schema))
    monkeypatch.setattr(schemas, "_forms", lambda *_: (form,))
    assert check_input("m", {"a": 0, "b": [], "c": "x" * 30, "d": 1, "e": 1, "f": "y"}) == [
        "a: should be at least 1, not 0",
        "b: should have at least 1 elements, not 0",
        "c: should be 5, not text",
        "d: should be greater than 1, not 1",
        "e: should be less than 1, not 1",
        "f: is not valid here",
    ]
    assert check_input("m", {"a": 3, "b": [1, 2]}) == [
        "a: should be at most 2, not 3",
        "b: should have at most 1 elements, not 2",
    ]


def test_params_of_the_task_itself_are_known_and_left_to_it():
    extra = frozenset({"system"})
    assert check_params(LLAMA, "text-generation", {"system": 5}, OWNED, extra=extra) == []
    (line,) = check_params(LLAMA, "text-generation", {"sistem": "a"}, OWNED, extra=extra)
    assert line.endswith('did you mean "system"?')

"""OpenAI's interface: what leaves is what such servers take, and what comes is read as Workers AI's own result."""

import base64
import contextlib
from datetime import UTC, datetime

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dialects import OpenAI, Refusals, openai_dialect
from pipeline.dialects.openai import operation_of
from pipeline.errors import AttemptError, ResponseTruncated, UnreadableAnswer
from pipeline.records import Answer, Form, Raw
from pipeline.wire import HttpResponse

BASE = "https://api.example.com/v1"
JSON = {"content-type": "application/json"}


def now():
    return datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def dialect(operation="chat", **options):
    refusals = Refusals(base_url=BASE, api_key_env="MY_KEY", now=now)
    return OpenAI(base_url=BASE, model="some/model:1", operation=operation, refusals=refusals, **options)


def sent(payload, operation="chat", **options):
    request = dialect(operation, **options).encode(payload)
    return request.url, orjson.loads(request.body)


def response(body, status=200, **headers):
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return HttpResponse(status, {**JSON, **{k.replace("_", "-"): v for k, v in headers.items()}}, raw, 5.0)


def read(body, operation="chat", **options):
    return dialect(operation, **options).decode(response(body))


def completion(content="Hello.", **more):
    message = {"role": "assistant", "content": content, **more}
    return {
        "id": "x",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 2}},
    }


# -- chat ---------------------------------------------------------------------------------------------------------


def test_a_chat_goes_out_with_the_models_free_name():
    url, body = sent({"messages": [{"role": "user", "content": "grüß"}], "max_tokens": 9, "temperature": 0.2})
    assert url == f"{BASE}/chat/completions"
    assert body == {
        "model": "some/model:1",
        "messages": [{"role": "user", "content": "grüß"}],
        "max_tokens": 9,
        "temperature": 0.2,
    }


def test_a_bare_prompt_becomes_a_message():
    _, body = sent({"prompt": "hi"})
    assert body["messages"] == [{"role": "user", "content": "hi"}]
    assert "prompt" not in body


STRICT = {
    "type": "object",
    "properties": {"a": {"type": "string"}, "b": {"type": "array", "items": {"type": "integer"}}},
    "required": ["a", "b"],
    "additionalProperties": False,
}
LOOSE = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}, "required": ["a"]}
NESTED = {**STRICT, "properties": {**STRICT["properties"], "a": {"type": "object", "properties": {}}}}


@pytest.mark.parametrize(("schema", "strict"), [(STRICT, True), (LOOSE, False), (NESTED, False)])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_schema_is_wrapped_once_and_strict_only_where_it_can_be(schema, strict, wrapped):
    given = {"name": "my_answer", "schema": schema, "strict": True} if wrapped else schema
    _, body = sent(
        {
            "messages": [{"role": "user", "content": "x"}],
            "response_format": {"type": "json_schema", "json_schema": given},
        }
    )
    assert body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "my_answer" if wrapped else "answer", "schema": schema, "strict": strict},
    }


def test_the_title_of_a_bare_schema_names_it_where_it_may():
    def name(title):
        schema = {"type": "json_schema", "json_schema": {**LOOSE, "title": title}}
        _, body = sent({"messages": [{}], "response_format": schema})
        return body["response_format"]["json_schema"]["name"]

    assert name("Invoice_1-a") == "Invoice_1-a"
    assert name("my invoice!") == "answer"
    assert name("x" * 100) == "x" * 64


def test_json_object_mode_is_left_alone():
    _, body = sent({"messages": [{}], "response_format": {"type": "json_object"}})
    assert body["response_format"] == {"type": "json_object"}


@pytest.mark.parametrize("payload", [{}, {"messages": []}, {"text": ["a"]}, Raw(b"x", "audio/wav"), Form(())])
def test_what_cannot_be_said_in_a_chat_is_refused_before_it_leaves(payload):
    with pytest.raises(ValueError, match=r"cannot|no messages"):
        dialect().encode(payload)


def test_what_json_cannot_hold():
    with pytest.raises(ValueError, match="JSON"):
        dialect().encode({"messages": [{"content": "\ud800"}]})


def test_a_completion_is_the_result_as_it_is():
    answer = read(completion())
    assert isinstance(answer, Answer)
    assert answer.result["choices"][0]["message"]["content"] == "Hello."
    usage = answer.usage
    assert (usage.input_tokens, usage.output_tokens, usage.cached_tokens) == (7, 3, 2)
    assert (usage.neurons, usage.header_neurons, answer.gateway) == (None, None, None)


def test_content_in_parts_becomes_one_text():
    parts = [{"type": "text", "text": "Hel"}, {"type": "image_url"}, {"type": "text", "text": "lo"}]
    assert read(completion(parts)).result["choices"][0]["message"]["content"] == "Hello"
    assert read(completion([{"type": "audio"}])).result["choices"][0]["message"]["content"] is None


def test_other_servers_are_not_believed_on_neurons():
    """Only Cloudflare charges in neurons; another server's word must not eat the day's budget."""
    body = completion()
    body["usage"]["neurons"] = 999.0
    foreign = dialect().decode(response(body, cf_ai_neurons="5.00"))
    assert (foreign.usage.neurons, foreign.usage.header_neurons) == (None, None)
    own = dialect(counts_neurons=True).decode(response(body, cf_ai_neurons="5.00"))
    assert (own.usage.neurons, own.usage.header_neurons) == (999.0, 5.0)


# -- embeddings ---------------------------------------------------------------------------------------------------


def vectors(*pairs):
    return {"object": "list", "data": [{"index": i, "embedding": v} for i, v in pairs], "usage": {"prompt_tokens": 4}}


def coded(*numbers):
    return base64.b64encode(np.array(numbers, dtype="<f4").tobytes()).decode()


@pytest.mark.parametrize("field", ["text", "queries", "documents"])
def test_texts_go_out_as_input(field):
    url, body = sent({field: ["a", "b"], "dimensions": 8}, "embeddings")
    assert url == f"{BASE}/embeddings"
    assert body == {"model": "some/model:1", "input": ["a", "b"], "encoding_format": "float", "dimensions": 8}


def test_the_user_may_ask_for_base64():
    _, body = sent({"text": ["a"], "encoding_format": "base64"}, "embeddings")
    assert body["encoding_format"] == "base64"


def test_without_texts_nothing_leaves():
    with pytest.raises(ValueError, match="no texts"):
        dialect("embeddings").encode({"prompt": "x"})


def test_vectors_are_put_in_the_order_of_their_index():
    answer = read(vectors((2, [5.0, 6.0]), (0, [1.0, 2.0]), (1, [3, 4])), "embeddings")
    assert answer.result == {"shape": [3, 2], "data": [[1.0, 2.0], [3, 4], [5.0, 6.0]]}
    assert answer.usage.input_tokens == 4


def test_vectors_without_an_index_stay_as_they_come():
    body = {"data": [{"embedding": [1.0]}, {"embedding": [2.0]}]}
    assert read(body, "embeddings").result["data"] == [[1.0], [2.0]]


def test_vectors_in_base64_in_any_order():
    result = read(vectors((1, coded(3.5, -4.25)), (0, coded(1.0, 2.0))), "embeddings").result
    assert result["shape"] == [2, 2]
    assert result["data"].dtype == np.float32
    assert result["data"].tolist() == [[1.0, 2.0], [3.5, -4.25]]


@pytest.mark.parametrize(
    "body",
    [
        {"data": []},
        {"data": "x"},
        {"data": [1]},
        {"data": None},
        {},
        [],
        "x",
        None,
        vectors((0, [1.0]), (0, [2.0])),
        vectors((0, [1.0]), (2, [2.0])),
        vectors((1, [1.0]), (2, [2.0])),
        vectors((0, [1.0]), (True, [2.0])),
        vectors((0, [1.0]), (1.0, [2.0])),
        vectors((0, [1.0]), (None, [2.0])),
        vectors((0, [1.0]), ("1", [2.0])),
        vectors((0, coded(1.0, 2.0)), (1, coded(1.0))),
        vectors((0, coded(1.0)), (1, [1.0])),
        vectors((0, "!!!!"), (1, "!!!!")),
        vectors((0, base64.b64encode(b"abcde").decode())),
        vectors((0, "")),
    ],
)
def test_hostile_vectors_are_a_typed_failure(body):
    with pytest.raises(UnreadableAnswer) as caught:
        read(body, "embeddings")
    assert caught.value.http_status == 200


# -- any answer ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        None,
        "text",
        7,
        {"choices": []},
        {"choices": None},
        {"choices": [None]},
        {"choices": "x"},
        b'{"choices": [], "choices": []}',
        b"{not json: <<<chaos>>>",
    ],
)
def test_what_is_no_completion_is_a_typed_failure(body):
    with pytest.raises(UnreadableAnswer) as caught:
        read(body)
    assert caught.value.http_status == 200


def test_an_answer_that_breaks_off_may_be_asked_again():
    with pytest.raises(ResponseTruncated):
        read(b'{"choices": [{"mess')


@given(st.binary(max_size=200), st.integers(200, 599), st.sampled_from(["chat", "embeddings", "transcriptions"]))
def test_no_body_makes_anything_but_an_answer_or_an_attempt_error(body, status, operation):
    with contextlib.suppress(AttemptError):
        dialect(operation).decode(HttpResponse(status, JSON, body, 1.0))


KEYS = [
    "choices",
    "message",
    "content",
    "data",
    "index",
    "embedding",
    "error",
    "text",
    "segments",
    "words",
    "start",
    "end",
    "word",
    "usage",
    "type",
    "code",
]
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON_VALUES, st.sampled_from(["chat", "embeddings", "transcriptions"]))
def test_no_json_makes_anything_but_an_answer_or_an_attempt_error(body, operation):
    try:
        answer = dialect(operation).decode(response(body))
    except AttemptError:
        return
    assert isinstance(answer.result, dict)


def test_cloudflares_own_interface_through_a_gateway():
    """The headers of an AI Gateway go along, and a hit of its cache costs nothing, whatever the kept body says."""
    own = openai_dialect(
        base_url=BASE,
        model="@cf/m/x",
        task="generate",
        api_key_env=None,
        now=now,
        counts_neurons=True,
        gateway="gw",
        cache_ttl_s=60,
        skip_cache=True,
    )
    headers = own.encode({"messages": [{}]}).headers
    assert headers["cf-aig-gateway-id"] == "gw"
    assert (headers["cf-aig-cache-ttl"], headers["cf-aig-skip-cache"]) == ("60", "true")
    body = completion()
    body["usage"]["neurons"] = 3.0
    hit = own.decode(response(body, cf_aig_cache_status="HIT", cf_aig_log_id="01J", cf_ai_neurons="3.00"))
    assert (hit.usage.neurons, hit.usage.header_neurons, hit.gateway.cache, hit.gateway.log_id) == (
        0.0,
        None,
        "HIT",
        "01J",
    )


@pytest.mark.parametrize(
    ("task", "operation"),
    [("embed", "embeddings"), ("transcribe", "transcriptions"), ("generate", "chat"), ("summarize", "chat")],
)
def test_the_operation_of_a_task(task, operation):
    assert operation_of(task) == operation

"""The native dialect: what leaves is what the service takes, and every answer is understood or refused by name."""

import json
import time
from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dialects import WorkersAI
from pipeline.errors import (
    AllocationExhausted,
    AttemptError,
    InvalidRequest,
    Misrouted,
    OutOfCapacity,
    RateLimited,
    ResponseTruncated,
    ServerFault,
    UnreadableAnswer,
)
from pipeline.records import Answer, Form, Usage
from pipeline.wire import HttpResponse

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
ACCOUNT = "0123456789abcdef" * 2
UUID = "8b0c9d0e-1111-2222-3333-444455556666"


def dialect(gateway=None, **options):
    return WorkersAI(
        base_url="https://api.example/client/v4",
        account_id=ACCOUNT,
        model="@cf/baai/bge-m3",
        gateway=gateway,
        now=lambda: NOW,
        **options,
    )


def decode(body, status=200, **headers):
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return dialect().decode(HttpResponse(status=status, headers=headers, body=raw, latency_ms=7.0))


def refused(kind, body, status=429, *, exact=True, **headers):
    with pytest.raises(kind) as caught:
        decode(body, status, **headers)
    assert type(caught.value) is kind or not exact
    return caught.value


def envelope(code, message):
    return {"result": None, "success": False, "errors": [{"code": code, "message": message}], "messages": []}


# -- sending ----------------------------------------------------------------------------------------------------


def test_the_models_slashes_are_literal():
    """An encoded slash is answered 400 / 7000, so none is encoded."""
    url = dialect().encode({"text": ["a"]}).url
    assert url == f"https://api.example/client/v4/accounts/{ACCOUNT}/ai/run/@cf/baai/bge-m3"


def test_the_conversion_of_documents_has_an_address_of_its_own():
    """It is no model."""
    converter = WorkersAI(
        base_url="https://api.example/client/v4", account_id=ACCOUNT, model="tomarkdown", gateway=None, now=lambda: NOW
    )
    assert converter.encode(Form(())).url == f"https://api.example/client/v4/accounts/{ACCOUNT}/ai/tomarkdown"


def test_the_body_is_the_models_input_as_compact_json():
    """No wrapper, no escapes, always bytes."""
    request = dialect().encode({"text": ["grüß dich", "日本"]})
    assert request.body == '{"text":["grüß dich","日本"]}'.encode()
    assert request.headers == {"content-type": "application/json"}


OLD = "https://gateway.ai.cloudflare.com/v1/" + ACCOUNT + "/my-gw"


@pytest.mark.parametrize("base", [OLD, OLD + "/workers-ai", "https://gateway.ai.cloudflare.com"])
def test_a_gateway_by_its_older_address(base):
    """Account and gateway stand in the address, so no header names the gateway; slashes stay literal."""
    it = WorkersAI(base_url=base, account_id=ACCOUNT, model="@cf/baai/bge-m3", gateway="my-gw", now=lambda: NOW)
    request = it.encode({"text": ["a"]})
    assert request.url == f"{OLD}/workers-ai/@cf/baai/bge-m3"
    assert "cf-aig-gateway-id" not in request.headers


def test_what_a_gateways_cache_is_told():
    """Seconds to keep an answer, or not to look for one; nothing where the spec says nothing."""
    assert dialect("g", cache_ttl_s=3600).encode({}).headers["cf-aig-cache-ttl"] == "3600"
    assert dialect("g", skip_cache=True).encode({}).headers["cf-aig-skip-cache"] == "true"
    assert set(dialect("g").encode({}).headers) == {"content-type", "cf-aig-gateway-id"}


def test_an_answer_from_a_gateways_cache_costs_nothing():
    """The kept body still names the charge of the first time."""
    body = {"success": True, "result": {"response": "x", "usage": {"neurons": 7.5, "prompt_tokens": 3}}}
    hit = decode(body, cf_aig_cache_status="HIT", cf_aig_log_id="01JABC", cf_ai_neurons="7.50")
    assert hit.usage == Usage(neurons=0.0, input_tokens=3)
    assert (hit.gateway.cache, hit.gateway.log_id, hit.gateway.is_hit) == ("HIT", "01JABC", True)
    miss = decode(body, cf_aig_cache_status="MISS", cf_ai_neurons="7.50")
    assert (miss.usage.neurons, miss.gateway.cache, miss.gateway.log_id) == (7.5, "MISS", None)
    assert decode(body).gateway is None


@pytest.mark.parametrize("value", ["x" * 200, "a\x1b[31m", ""])
def test_a_gateways_note_that_is_no_short_word_is_not_kept(value):
    """It would go into rows."""
    assert (
        decode({"success": True, "result": {}}, cf_aig_cache_status="MISS", cf_aig_log_id=value).gateway.log_id is None
    )


def test_media_through_a_gateway_keep_the_note():
    """A picture has no body to say it in."""
    answer = decode(b"\x89PNG", content_type="image/png", cf_aig_log_id="01J", cf_ai_neurons="2.00")
    assert (answer.gateway.log_id, answer.usage.header_neurons) == ("01J", 2.0)


def test_a_gateway_is_a_header():
    """The address stays the same through an AI Gateway."""
    through = dialect("my-gateway").encode({})
    assert through.headers["cf-aig-gateway-id"] == "my-gateway"
    assert through.url == dialect().encode({}).url


@pytest.mark.parametrize("value", ["\ud800", object(), {1: 2}])
def test_what_json_cannot_hold_is_not_sent(value):
    """A value error, before anything leaves."""
    with pytest.raises(ValueError, match="cannot be sent"):
        dialect().encode({"text": value})


# -- answers ----------------------------------------------------------------------------------------------------


def test_an_envelope_is_opened():
    """The answer is what stands in `result`."""
    answer = decode({"result": {"data": [[1.0]]}, "success": True, "errors": [], "messages": []})
    assert answer == Answer(result={"data": [[1.0]]}, usage=Usage(), latency_ms=7.0)


@pytest.mark.parametrize("body", [{"data": [[1.0]]}, {"result": "mine"}, {"choices": []}, [1, 2], "text", 3, None])
def test_a_bare_body_is_the_answer(body):
    """Not every answer is wrapped; a `result` without `success` is the model's own."""
    assert decode(body).result == body


def test_a_result_that_is_null_is_the_answer():
    """The task decides whether it can use it."""
    assert decode({"result": None, "success": True}).result is None


@pytest.mark.parametrize(
    ("where", "usage"),
    [
        ("inside", {"prompt_tokens": 11, "completion_tokens": 5, "neurons": 1.25}),
        ("beside", {"prompt_tokens": 11, "completion_tokens": 5, "neurons": 1.25}),
        ("inside", {"input_tokens": 11, "output_tokens": 5, "neurons": 1.25}),
        ("inside", {"input_tokens": 11, "output_tokens": 5, "neurons": "1.25"}),
    ],
)
def test_usage_is_found_wherever_it_stands(where, usage):
    """Inside `result` or beside it, in the names of chat or of Responses."""
    body = {"result": {"response": "x"}, "success": True}
    (body["result"] if where == "inside" else body)["usage"] = usage
    assert decode(body, cf_ai_neurons="1.30").usage == Usage(
        neurons=1.25, header_neurons=1.30, input_tokens=11, output_tokens=5
    )


def test_cached_tokens_are_read():
    """They have a price of their own."""
    usage = {"prompt_tokens": 9, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 4}}
    assert decode({"usage": usage}).usage.cached_tokens == 4


def test_metrics_are_usage_by_another_name():
    """moondream counts its tokens there."""
    body = {"result": {"caption": "x", "metrics": {"input_tokens": 740, "output_tokens": 12}}, "success": True}
    assert decode(body).usage == Usage(input_tokens=740, output_tokens=12)


@pytest.mark.parametrize("value", ["", "abc", "nan", "inf", "-1", "1e999", "1e308", "1e7", 1e308, -1.5, 10**19])
def test_a_charge_that_is_no_amount_is_no_charge(value):
    """Garbage in the header or the body is not booked."""
    answer = decode(
        {"usage": {"neurons": value, "prompt_tokens": "many", "completion_tokens": -3}}, cf_ai_neurons=str(value)
    )
    assert answer.usage == Usage()


@pytest.mark.parametrize("value", [2**64 - 1, 2**63, 10**8, 1e308, 5.5, "5", -1, True])
def test_a_count_that_no_answer_has_is_no_count(value):
    """It would not fit its column, or price the answer beyond any budget."""
    usage = {"prompt_tokens": value, "completion_tokens": value, "prompt_tokens_details": {"cached_tokens": value}}
    assert decode({"usage": usage}).usage == Usage()


@pytest.mark.parametrize("value", [True, None, [], {}])
def test_a_usage_of_the_wrong_kind_is_no_usage(value):
    """Booleans are not numbers here."""
    assert decode({"usage": {"neurons": value, "prompt_tokens": value, "completion_tokens": value}}).usage == Usage()
    assert decode({"usage": value}).usage == Usage()


# -- refusals ---------------------------------------------------------------------------------------------------


def test_a_refusal_is_named_by_its_code():
    """Code, status and words of the service are kept."""
    error = refused(OutOfCapacity, envelope(3040, "Capacity temporarily exceeded, please try again."))
    assert (error.http_status, error.api_code, error.code) == (429, 3040, "3040")
    assert error.message == "Capacity temporarily exceeded, please try again."


def test_success_false_under_200_is_a_refusal():
    """The envelope decides, not the status."""
    refused(ServerFault, envelope(3043, "Internal server error"), status=200)
    refused(ServerFault, {"success": False, "errors": []}, status=200)


@pytest.mark.parametrize(
    "message",
    [
        f"AiError: AiError: Bad input: /text is missing ({UUID})",
        f"AiError: Bad input: /text is missing ({UUID})",
        "Bad input: /text is missing",
    ],
)
def test_wrapped_messages_are_unwrapped(message):
    """People see what is wrong, not the wrapping."""
    assert refused(InvalidRequest, envelope(5006, message), status=400).message == "Bad input: /text is missing"


def test_the_innermost_error_counts():
    """A message may hold another envelope as JSON, even twice; its code is the true one."""
    inner = orjson.dumps({"errors": [{"code": 3043, "message": "Internal"}]}).decode()
    outer = orjson.dumps({"error": {"errors": [{"code": 8007, "message": f"AiError: {inner}"}]}}).decode()
    error = refused(ServerFault, envelope(8002, outer), status=400)
    assert (error.api_code, error.message) == (3043, "Internal")


def test_a_message_that_only_looks_like_json_is_kept():
    """A brace is not yet an envelope."""
    assert refused(InvalidRequest, envelope(8002, "{oops"), status=400).message == "{oops"


@pytest.mark.parametrize(
    ("code", "status"), [(4006, 429), (3036, 429), (8007, 400), (None, 429), (5006, 400), (99999, 500)]
)
def test_the_daily_allocation_is_known_by_its_words_too(code, status):
    """P5: 4006 also comes wrapped into other codes; the phrase is what the service always says."""
    message = "AiError: you have used up your daily free allocation of 10,000 neurons"
    refused(AllocationExhausted, envelope(code, message), status=status)


@pytest.mark.parametrize("code", [3021, 3040, None])
def test_other_refusals_for_too_much_are_not_the_daily_allocation(code):
    """P5: a busy minute is not the end of the day."""
    error = refused(
        {3021: RateLimited, 3040: OutOfCapacity, None: RateLimited}[code], envelope(code, "rate limiting: per minute")
    )
    assert not isinstance(error, AllocationExhausted)


def test_an_html_error_page_is_judged_by_its_status():
    """A 502 from in front of the service is a fault of the service, and its HTML is nobody's message."""
    error = refused(ServerFault, b"<html><body>Bad Gateway</body></html>", status=502, content_type="text/html; x=y")
    assert error.message == "HTTP 502, text/html, 37 bytes"
    assert error.api_code is None


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_a_wrong_address(status):
    """Nothing of ours is ever redirected."""
    refused(Misrouted, b"", status=status, location="https://elsewhere.example/")


def test_an_empty_error_is_judged_by_its_status():
    """No body, no code: the status alone."""
    assert refused(RateLimited, b"").message == "HTTP 429, no content type, 0 bytes"


@pytest.mark.parametrize(
    "body",
    [{"errors": "no"}, {"errors": [3]}, {"errors": [{}]}, {"error": {"errors": []}}, {"error": "x"}, [], "x", None, 5],
)
def test_an_error_of_an_unknown_form_is_judged_by_its_status(body):
    """Whatever stands in the body."""
    assert refused(InvalidRequest, body, status=400).api_code is None


@pytest.mark.parametrize("body", [{"message": "why"}, {"error": {"message": "why", "code": "text"}}])
def test_a_message_without_an_envelope_is_read(body):
    """Other services in front say it in their own way."""
    assert refused(InvalidRequest, body, status=400).message == "why"


def test_what_json_mode_burned_may_be_billed():
    """5024 comes after the model has run; other refusals come before."""
    assert refused(InvalidRequest, envelope(5024, "JSON Mode couldn't be met"), status=400).maybe_billed
    assert not refused(InvalidRequest, envelope(5006, "Bad input"), status=400).maybe_billed


def test_a_refusal_that_names_its_charge_is_booked_at_it():
    """The header is read on refusals as well."""
    assert refused(ServerFault, envelope(3043, "x"), status=500, cf_ai_neurons="1.50").neurons == 1.5


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("30", 30.0),
        (" 1.5 ", 1.5),
        ("Sun, 22 Nov 2026 12:00:45 GMT", 45.0),
        ("Sun, 22 Nov 2026 11:00:00 GMT", 0.0),
        ("Sun, 22 Nov 2026 12:00:45 -0000", 45.0),
        ("", None),
        ("soon", None),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", None),
        ("Mon, 01 Jan 0001 00:00:00 +2359", 0.0),
        ("-5", None),
        ("nan", None),
        ("Sun, 99 Nov 2026 12:00:45 GMT", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(value, seconds):
    """Garbage is as good as nothing."""
    assert refused(RateLimited, envelope(3021, "x"), retry_after=value).retry_after_s == seconds


# -- what is not JSON -------------------------------------------------------------------------------------------

WHOLE = orjson.dumps({"result": {"data": [[0.5, -1.25]], "said": "grüß 日本 🎉"}, "success": True, "errors": []})


@pytest.mark.parametrize("size", range(len(WHOLE)))
def test_a_body_that_breaks_off_is_worth_another_attempt(size):
    """Cut anywhere, an answer is known as cut, and keeps what the header says of its cost."""
    with pytest.raises(ResponseTruncated) as caught:
        decode(WHOLE[:size], cf_ai_neurons="2.00")
    assert caught.value.neurons == 2.0
    assert caught.value.maybe_billed


@pytest.mark.parametrize(
    "body",
    [
        b"<html><body>hello</body></html>",
        b'{"result": NaN, "success": true}',
        b'{"result": [1e999, Infinity], "success": true}',
        b'{"result": "\xff\xfe", "success": true}',
        b"[" * 5000 + b"]" * 5000,
        b'{"a": 1} trailing words of some length',
        b"[" * 2000 + b"]" * 2000,
        b"[" + b"[]," * 2_000_000 + b"1]",
        b"[" + b"1," * 3_000_000 + b"1]",
        b'{"success": true, "result": {"data": [[1.0]]}, "success": false}',
        b'{"result": {"data": [[1.0]]}, "result": {"data": [[2.0]]}, "success": true}',
        b'{"result": {"data": [[1.0]], "data": [[2.0]]}, "success": true}',
        b'{"result": {"data": [[1.0]]}, "success": true, "\\u0072esult": {"data": [[2.0]]}}',
        b'{"result": {"response": "x", "usage": {"neurons": 1, "neurons": 0}}, "success": true}',
        b'{"result": "' + b"x" * 5_000_000 + b'", "a": {"b": 1}, "c": {"b": 1}, "success": true}',
    ],
)
def test_a_body_that_is_not_json_is_not_asked_for_again_blindly(body):
    """It would be paid for again; what it may have cost is booked."""
    with pytest.raises(UnreadableAnswer) as caught:
        decode(body, cf_ai_neurons="2.00")
    assert caught.value.neurons == 2.0
    assert caught.value.http_status == 200


@pytest.mark.parametrize("part", [b"[],", b"{},", b"1,"])
def test_a_swarm_of_small_values_is_not_parsed(part):
    """It would grow twentyfold: a few megabytes on the way in, a hundred as objects."""
    body = b'{"success":true,"result":[' + part * 2_200_000 + b"1]}"
    with pytest.raises(UnreadableAnswer, match="it holds too many values"):
        decode(body)


@pytest.mark.parametrize(
    "result",
    [
        {"choices": [{"a": 1, "n": {"a": 2}}, {"a": 1}]},
        {"response": 'he said "result": 1, "result": 2 and {"a":1,"a":2}'},
        {"response": ["x", ":result", "x", ":result"]},
        {"response": "back\\slash", "more": {"response": "\n"}},
        {'quo"ted': {'quo"ted': 1}},
    ],
)
def test_a_key_may_stand_in_several_objects(result):
    """Only twice in one object is wrong; what looks like a key inside a text is none."""
    body = {"result": result, "success": True}
    assert decode(body).result == result
    assert decode(json.dumps(body, indent=1).encode()).result == result


def test_a_key_that_stands_twice_among_very_many_is_found_at_once():
    """Looking for it takes no longer than reading the body: a run stands still meanwhile."""
    keys = [f"k{n}" for n in range(200_000)]
    body = b"{" + b",".join(b'"%s":1' % key.encode() for key in [*keys, keys[-1]]) + b"}"
    began = time.process_time()
    with pytest.raises(UnreadableAnswer, match="'k199999' twice"):
        decode(body)
    assert time.process_time() - began < 5


@pytest.mark.parametrize("kind", ["text/\udcff", "text/\x9b31m", "text/\x1b[2J", "x" * 8_000])
def test_a_content_type_that_is_none_can_be_shown_and_stored(kind):
    """Headers are bytes of strangers as well."""
    message = refused(InvalidRequest, b"<", status=400, content_type=kind).message
    assert message.isprintable()
    assert len(message) <= 300


@pytest.mark.parametrize("text", ['<a href="x">y</a> ', '"', '{"a": [1, "b"], "c": "d"}', '\\"', "\\", '":'])
@pytest.mark.parametrize("key", ["response", "data"])
def test_a_text_full_of_quotes_is_read_in_one_go(text, key):
    """A search that began anew at each quote took 3 s for 90 kB of HTML, during which nothing else went on."""
    result = {key: text * (400_000 // len(text)), "more": {key: 1}}
    body = json.dumps({"result": result, "success": True}).encode()
    began = time.process_time()
    assert decode(body).result == result
    assert time.process_time() - began < 2
    with pytest.raises(UnreadableAnswer, match=f"the key '{key}' twice"):
        decode(body.replace(b'"more"', f'"{key}"'.encode()))


@pytest.mark.parametrize(
    "body", [b'{"result":{"data":[' + b"[]," * 1_000_000 + b"1]}}", b"[" + b"1," * 1_100_000 + b"1]"]
)
def test_a_swarm_of_values_is_not_unpacked(body):
    """Three megabytes of empty lists are a hundred in memory, and the better part of a second for the collector."""
    began = time.process_time()
    with pytest.raises(UnreadableAnswer, match="too many values"):
        decode(body)
    assert time.process_time() - began < 1


def test_a_deep_answer_whose_keys_stand_in_several_objects_is_read():
    """Looking for repeated keys goes less deep than reading; it is no reason to end the run."""
    deep = b"[" * 1_000 + b"]" * 1_000
    assert set(decode(b'{"success":true,"result":{"a":{"b":1},"b":' + deep + b"}}").result) == {"a", "b"}


@pytest.mark.parametrize("status", [200, 400, 500])
def test_words_of_the_service_can_be_shown(status):
    """No escape sequence, line break or turned reading direction gets to the terminal by way of a message."""
    error = refused(AttemptError, envelope(5006, "a\x1b[2Jb\nc\u202ed\x00e"), status=status, exact=False)
    assert error.message == "a [2Jb c d e"


def test_a_message_that_is_no_text_is_no_message():
    """Nested as deep as it likes."""
    deep = b'{"errors":[{"code":true,"message":' + b"[" * 1015 + b"]" * 1015 + b"}]}"
    error = refused(InvalidRequest, deep, status=400)
    assert (error.api_code, error.message) == (None, f"HTTP 400, no content type, {len(deep)} bytes")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["result", "success", "errors", "error", "code", "message", "usage", "neurons", "x"]), inner
        )
    ),
    max_leaves=12,
)


@given(
    body=st.binary(max_size=200)
    | JSON.map(lambda value: repr(value).encode())
    | JSON.map(lambda value: json.dumps(value).encode()),
    status=st.sampled_from([200, 201, 204, 301, 400, 401, 404, 408, 413, 418, 429, 500, 502, 599]),
    headers=st.dictionaries(
        st.sampled_from(["cf-ai-neurons", "retry-after", "content-type", "x"]), st.text(max_size=40), max_size=4
    ),
)
@settings(max_examples=400, deadline=None)
def test_no_answer_is_a_surprise(body, status, headers):
    """Any status, headers and bytes give an answer, or an error the engine knows."""
    try:
        answer = dialect().decode(HttpResponse(status=status, headers=headers, body=body, latency_ms=1.0))
    except AttemptError as error:
        code, amounts = error.code, [error.neurons]
    else:
        code, amounts = "answered", [answer.usage.neurons, answer.usage.header_neurons]
        assert status < 300
    assert code
    assert all(amount is None or 0 <= amount < float("inf") for amount in amounts)

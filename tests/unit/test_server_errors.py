"""Refusals of other servers: every form is read, and each reaches as far as it means."""

from datetime import UTC, datetime

import orjson
import pytest

from pipeline.charges import charge_of_failure
from pipeline.dialects.codes import advice
from pipeline.dialects.server_errors import Refusals, refused_under_200
from pipeline.errors import (
    AllocationExhausted,
    InvalidRequest,
    Misrouted,
    ModelTimedOut,
    ModelUnavailable,
    OutOfCapacity,
    QuotaExhausted,
    RateLimited,
    RequestTooLarge,
    Scope,
    ServerFault,
    Unauthorized,
)
from pipeline.wire import HttpResponse

BASE = "https://api.example.com/v1"


def refusals(**options):
    options = {"api_key_env": "MY_KEY", **options}
    return Refusals(base_url=BASE, now=lambda: datetime(2026, 11, 23, tzinfo=UTC), **options)


def refused(status, body, *, kind="application/json", counts_neurons=False, **headers):
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    headers = {"content-type": kind, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return refusals(counts_neurons=counts_neurons).of_status(HttpResponse(status, headers, raw, 1.0))


def openai(message="words", kind=None, code=None):
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


@pytest.mark.parametrize(
    ("status", "kind", "code", "expected", "shown"),
    [
        (401, "invalid_request_error", "invalid_api_key", Unauthorized, "invalid_api_key"),
        (403, "permission_denied", None, Unauthorized, "permission_denied"),
        (404, "invalid_request_error", "model_not_found", ModelUnavailable, "model_not_found"),
        (404, "invalid_request_error", None, Misrouted, "invalid_request_error"),
        (400, "invalid_request_error", "context_length_exceeded", RequestTooLarge, "context_length_exceeded"),
        (400, "invalid_request_error", None, InvalidRequest, "invalid_request_error"),
        (403, "x", "content_policy_violation", InvalidRequest, "content_policy_violation"),
        (429, "requests", "rate_limit_exceeded", RateLimited, "rate_limit_exceeded"),
        (429, "insufficient_quota", "insufficient_quota", QuotaExhausted, "insufficient_quota"),
        (429, "insufficient_quota", None, QuotaExhausted, "insufficient_quota"),
        (429, "new_name", None, RateLimited, "new_name"),
        (402, None, None, QuotaExhausted, "http_402"),
        (408, None, None, ModelTimedOut, "http_408"),
        (413, None, None, RequestTooLarge, "http_413"),
        (422, None, None, InvalidRequest, "http_422"),
        (500, "server_error", None, ServerFault, "server_error"),
        (502, None, None, ServerFault, "http_502"),
        (503, "server_error", None, OutOfCapacity, "server_error"),
        (529, "overloaded_error", None, OutOfCapacity, "overloaded_error"),
        (302, None, None, Misrouted, "http_302"),
    ],
)
def test_openais_form(status, kind, code, expected, shown):
    error = refused(status, openai(kind=kind, code=code))
    assert type(error) is expected
    assert (error.http_status, error.message, error.code) == (status, "words", shown)


def test_used_up_credit_ends_the_run_and_a_rate_limit_does_not():
    """Both are 429: the one is waited for, the other never ends by waiting."""
    assert refused(429, openai(code="insufficient_quota")).scope is Scope.RUN
    assert refused(429, openai(code="rate_limit_exceeded")).scope is Scope.ATTEMPT


def test_retry_after_is_kept():
    assert refused(429, openai(), retry_after="7").retry_after_s == 7.0
    assert refused(503, openai(), retry_after="Mon, 23 Nov 2026 00:00:30 GMT").retry_after_s == 30.0
    assert refused(429, openai(), retry_after="soon").retry_after_s is None


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": "No such thing"}, "No such thing"),
        ({"detail": "Not allowed"}, "Not allowed"),
        ({"detail": [{"loc": ["body"], "msg": "field required"}]}, "field required"),
        ({"message": "Bad", "object": "error", "code": 400}, "Bad"),
        ({"code": 400, "msg": "Bad"}, "Bad"),
        ({"error": {"message": "two\u001b[31m\nlines"}}, "two [31m lines"),
        ({"error": {"message": "x" * 5000}}, "x" * 300),
        ({"error": {"message": 5}}, "HTTP 400, application/json, 23 bytes"),
        ({}, "HTTP 400, application/json, 2 bytes"),
        ([], "HTTP 400, application/json, 2 bytes"),
        ({"error": {"message": "m", "code": "a\nb"}}, "m"),
    ],
)
def test_other_forms(body, message):
    error = refused(400, body)
    assert type(error) is InvalidRequest
    assert error.message == message
    assert error.code == "http_400"


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        (b"<html><h1>502 Bad Gateway</h1></html>", "text/html; charset=utf-8", "HTTP 502, text/html, 37 bytes"),
        (b"Unauthorized", "text/plain", "Unauthorized"),
        (b"x" * 301, "text/plain", "HTTP 502, text/plain, 301 bytes"),
        (b"", "text/plain", "HTTP 502, text/plain, 0 bytes"),
        (b"\xff\xfe", "application/json", "HTTP 502, application/json, 2 bytes"),
    ],
)
def test_bodies_that_are_no_json(body, kind, message):
    error = refused(502, body, kind=kind)
    assert type(error) is ServerFault
    assert error.message == message


def test_cloudflares_envelope_is_read_by_its_codes():
    """``/ai/v1`` answers in OpenAI's form and refuses in Cloudflare's."""
    body = {"success": False, "errors": [{"code": 3040, "message": "AiError: Capacity temporarily exceeded"}]}
    error = refused(429, body)
    assert type(error) is OutOfCapacity
    assert (error.code, error.message) == ("3040", "Capacity temporarily exceeded")
    used_up = {"success": False, "errors": [{"code": 4006, "message": "used up your daily free allocation"}]}
    assert type(refused(429, used_up, counts_neurons=True)) is AllocationExhausted


def test_only_cloudflares_word_ends_the_day():
    """A phrase in another server's refusal says nothing of the account's allocation."""
    assert type(refused(429, openai("daily free allocation"))) is RateLimited
    assert type(refused(429, openai("daily free allocation"), counts_neurons=True)) is AllocationExhausted


def test_what_other_servers_say_of_neurons_is_not_believed():
    assert refused(500, openai(), cf_ai_neurons="50.00").neurons is None
    assert refused(500, openai(), cf_ai_neurons="50.00", counts_neurons=True).neurons == 50.0


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (401, None, "check the key in MY_KEY for https://api.example.com/v1"),
        (404, None, "check endpoint.base_url: https://api.example.com/v1"),
        (404, "model_not_found", "name of the model"),
        (402, None, "credit for the key in MY_KEY"),
        (500, None, ""),
    ],
)
def test_advice_names_what_is_this_servers(status, code, words):
    said = advice(refused(status, openai(code=code)))
    assert words in said
    assert "CLOUDFLARE" not in said


def test_advice_where_no_key_is_named():
    error = refusals(api_key_env=None).of_status(HttpResponse(401, {}, b"", 1.0))
    assert "endpoint.api_key_env" in advice(error)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (openai(), 500),
        ({"error": {"message": "x", "code": 429}}, 429),
        ({"error": {"message": "x", "code": 200}}, 500),
        ({"error": {"message": "x", "code": True}}, 500),
        ({"error": "x"}, 500),
        ({"success": False, "errors": []}, 500),
        ({"error": None, "choices": []}, None),
        ({"error": {}, "choices": [{}]}, None),
        ({"error": {"message": "x"}, "choices": [{}]}, None),
        ({"choices": [{}]}, None),
        ([], None),
    ],
)
def test_errors_that_come_under_a_200(body, status):
    assert refused_under_200(body) == status


def test_a_refusal_of_a_server_with_prices_costs_nothing_and_a_fault_may_cost_all():
    """As at Cloudflare: what the model may have run for is booked at the ceiling, a refusal at nothing."""
    assert charge_of_failure(refused(429, openai()), ceiling=3.0) is None
    assert charge_of_failure(refused(500, openai()), ceiling=3.0) == 3.0

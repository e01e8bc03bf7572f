"""Cloudflare's count: what is asked, and that nothing but a count is believed."""

from datetime import date

import orjson
import pytest

from pipeline.dialects.analytics import DATASET, read_usage_by_model, usage_request
from pipeline.errors import AnalyticsRefused, AnalyticsUnavailable
from pipeline.wire import HttpResponse

DAY = date(2026, 11, 22)
DEEP = b'{"errors":[{"message":' + b"[" * 1_000 + b"]" * 1_000 + b"}]}"
ACCOUNT = "0123456789abcdef0123456789abcdef"


def group(model="@cf/a/b", neurons=1.5, day="2026-11-22"):
    return {"dimensions": {"modelId": model, "date": day}, "sum": {"totalNeurons": neurons}}


def answer(*groups, status=200, **body):
    full = {"data": {"viewer": {"accounts": [{DATASET: list(groups)}]}}, "errors": None, **body}
    return HttpResponse(status=status, headers={}, body=orjson.dumps(full), latency_ms=1.0)


def test_the_day_of_the_account_is_asked_for():
    """From midnight to midnight, UTC."""
    request = usage_request("https://x/client/v4", ACCOUNT, DAY)
    body = orjson.loads(request.body)
    assert request.url == "https://x/client/v4/graphql"
    assert body["variables"] == {
        "account": ACCOUNT,
        "since": "2026-11-22T00:00:00Z",
        "until": "2026-11-22T23:59:59Z",
    }
    assert DATASET in body["query"]


def test_groups_are_added_up_by_model():
    """However the day is written; what belongs to another day is left out."""
    used = read_usage_by_model(
        answer(group(), group(neurons=2), group("@cf/c/d", day="2026-11-22T00:00:00Z"), group(day="2026-11-21")), DAY
    )
    assert used == {"@cf/a/b": 3.5, "@cf/c/d": 1.5}


def test_a_group_that_names_no_day_is_of_the_day_asked_for():
    """It counts: rather too much is taken for spent than too little."""
    unnamed = group(day=None)
    nameless = {**group(), "dimensions": {"modelId": "@cf/a/b"}}
    assert read_usage_by_model(answer(unnamed, nameless), DAY) == {"@cf/a/b": 3.0}


def test_no_use_is_none():
    """An account that did nothing."""
    assert read_usage_by_model(answer(), DAY) == {}


@pytest.mark.parametrize(
    "response",
    [
        answer(group(neurons="Infinity")),
        answer(group(neurons="NaN")),
        answer(group(neurons=1e30)),
        answer(group(neurons=-1)),
        answer(group(neurons=None)),
        answer(data={"viewer": {"accounts": []}}),
        answer(data={"viewer": {"accounts": [{}]}}),
        answer(data=None),
        answer(status=500),
        HttpResponse(status=200, headers={}, body=b"<html>", latency_ms=1.0),
        HttpResponse(status=200, headers={}, body=b"[1]", latency_ms=1.0),
        HttpResponse(status=200, headers={}, body=DEEP, latency_ms=1.0),
        answer(errors=[{"message": "\x1b[2J"}]),
    ],
)
def test_anything_else_is_no_count(response):
    """Nothing is booked on it."""
    with pytest.raises(AnalyticsUnavailable, match="analytics") as caught:
        read_usage_by_model(response, DAY)
    assert str(caught.value).isprintable()


def test_a_token_that_is_refused():
    """A wrong token is not one that lacks a permission."""
    with pytest.raises(AnalyticsRefused, match="refused the token"):
        read_usage_by_model(answer(status=401, errors=[{"code": 10000, "message": "Authentication error"}]), DAY)


@pytest.mark.parametrize(
    "response",
    [
        answer(data=None, errors=[{"message": "not authorized for that account"}]),
        answer(status=403, errors=[{"code": 10000, "message": "Authentication error"}]),
    ],
)
def test_a_token_that_may_not_ask(response):
    """One sentence that names the permission."""
    with pytest.raises(AnalyticsRefused, match="Account Analytics: Read"):
        read_usage_by_model(response, DAY)

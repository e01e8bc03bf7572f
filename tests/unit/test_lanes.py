"""Several endpoints: spread by weight, around those that are spent, busy or refused; every record still ends once."""

import pytest

from pipeline.errors import (
    AllocationExhausted,
    InvalidRequest,
    OutOfCapacity,
    RateLimited,
    RecordUnusable,
    Unauthorized,
)
from pipeline.events import StopReason
from pipeline.records import Answer, Usage
from tests.support.fakes import FakeAdapter, answer, record
from tests.unit.test_engine import run, texts

BUSY = OutOfCapacity(429, 3040, "busy")
SPENT = AllocationExhausted(429, 4006, "daily free allocation")


def by_endpoint(street):
    """How many rows each endpoint has answered."""
    found = {}
    for row in street.sink.rows:
        name = row.values["endpoint"]
        found[name] = found.get(name, 0) + 1
    return found


@pytest.mark.parametrize(
    ("weights", "shares"), [((1.0, 1.0), (40, 40)), ((3.0, 1.0), (60, 20)), ((1.0, 4.0), (16, 64))]
)
def test_requests_are_spread_by_weight(weights, shares):
    street = run(texts(80), weight=weights[0], others=[{"weight": weights[1]}], concurrency=80)
    assert street.reason is StopReason.COMPLETED
    assert by_endpoint(street) == {"first": shares[0], "other-1": shares[1]}


@pytest.mark.parametrize("cut", [[], ["a", "b"], None])
def test_an_endpoint_whose_task_would_send_something_else_is_passed_over(cut):
    """Another model's task may cut a record, need nothing for it, or refuse it: then only the first one's will do."""

    class Other(FakeAdapter):
        def pieces(self, record):
            if cut is None:
                raise RecordUnusable("not for this model")
            return [super(Other, self).pieces(record)[0] for _ in cut]

    street = run(texts(20), others=[{"adapter": Other()}])
    assert street.reason is StopReason.COMPLETED
    assert by_endpoint(street) == {"first": 20}


def test_a_stand_in_is_used_only_where_the_others_refuse():
    street = run(texts(20), others=[{"weight": 0.0}])
    assert by_endpoint(street) == {"first": 20}
    street = run(texts(20), behave=lambda *_: BUSY, others=[{"weight": 0.0, "model": "@cf/other/model"}])
    assert by_endpoint(street) == {"other-1": 20}
    assert {row.values["model"] for row in street.sink.rows} == {"@cf/other/model"}


def test_what_one_endpoint_refuses_for_the_moment_goes_to_another_at_once():
    street = run(texts(30), behave=lambda *_: RateLimited(429, 3021, "rate"), others=[{}], concurrency=30)
    assert street.reason is StopReason.COMPLETED
    assert len(street.answered) == 30
    assert max(street.others[0].left_at) < 30, "nobody has waited for the minute of the one that refused"


def test_the_budget_of_one_endpoint_ends_and_the_others_go_on():
    street = run(texts(40), limit=10.0, others=[{"limit": 1e9}])
    assert street.reason is StopReason.COMPLETED
    assert street.budget.settled <= 10.0
    assert sum(by_endpoint(street).values()) == 40


def test_the_run_ends_when_all_budgets_are_spent():
    street = run(texts(100), limit=10.0, others=[{"limit": 15.0}])
    assert street.reason is StopReason.BUDGET_SPENT
    assert [round(budget.settled) for budget in street.budgets] == [10, 15]


@pytest.mark.parametrize("refusal", [SPENT, Unauthorized(401, 10000, "token")])
def test_an_endpoint_that_refuses_for_good_is_left_and_nothing_more_is_sent_to_it(refusal):
    street = run(texts(60), behave=lambda *_: refusal, others=[{}], concurrency=4)
    assert street.reason is StopReason.COMPLETED
    assert by_endpoint(street) == {"other-1": 60}
    assert len(street.endpoint.calls) <= 4, "what was in flight"
    assert any(event.kind == "endpoint" for event in street.events)


def test_a_refused_account_closes_all_of_its_endpoints():
    calls = []

    def second(payload, _):
        calls.append(payload)
        return answer(payload)

    others = [{"behave": second, "account": "account-1"}, {"account": "account-9"}]
    street = run(texts(40), behave=lambda *_: SPENT, others=others, concurrency=2)
    assert street.reason is StopReason.COMPLETED
    assert len(calls) <= 2
    assert by_endpoint(street)["other-2"] >= 38


def test_the_run_ends_when_every_endpoint_has_refused():
    street = run(texts(10), behave=lambda *_: SPENT, others=[{"behave": lambda *_: Unauthorized(401, 10000, "token")}])
    assert street.reason in {StopReason.ALLOCATION_REFUSED, StopReason.REFUSED}
    assert street.answered == street.failed == []
    assert len(street.pending) == 10


def test_a_bad_record_fails_once_and_is_not_handed_around():
    other = []
    street = run(
        texts(1),
        behave=lambda *_: InvalidRequest(400, 5006, "bad input"),
        others=[{"behave": lambda payload, n: other.append(n) or answer(payload)}],
    )
    assert street.failed == ["r0"]
    assert other == []


def test_a_request_is_priced_by_the_endpoint_that_takes_it():
    street = run(
        [record(0, "a")],
        behave=lambda *_: BUSY,
        adapter=FakeAdapter(ceiling=5.0),
        limit=5.0,
        others=[{"adapter": FakeAdapter(ceiling=2.0), "limit": 3.0}],
    )
    assert street.answered == ["r0"]
    assert street.budgets[1].most == 2.0


def test_a_server_that_counts_no_neurons_costs_none():
    def unpriced(payload, _):
        return Answer(result=list(payload["text"]), usage=Usage(), latency_ms=1.0)

    street = run(texts(5), weight=0.0, others=[{"behave": unpriced, "is_free": True, "limit": 0.5}])
    assert by_endpoint(street) == {"other-1": 5}
    assert {row.values["neurons"] for row in street.sink.rows} == {0.0}


def test_pieces_of_a_record_go_to_endpoints_of_the_same_model_only():
    items = [record(index, "a|b") for index in range(6)]
    street = run(items, others=[{"adapter": FakeAdapter(), "model": "@cf/other/model"}, {}])
    assert street.reason is StopReason.COMPLETED
    assert "other-1" not in {name for row in street.sink.rows for name in row.values["endpoint"].split(", ")}

"""Several endpoints: spread by weight, around those that are spent, busy or refused; every record still ends once."""

import asyncio
from dataclasses import replace

import pytest

from pipeline.errors import (
    AllocationExhausted,
    InvalidRequest,
    OutOfCapacity,
    RateLimited,
    RecordUnusable,
    RequestTimedOut,
    Unauthorized,
)
from pipeline.events import StopReason
from pipeline.records import Answer, Usage
from tests.support.fakes import FakeAdapter, Street, answer, record, run_inline
from tests.unit.test_engine import Improving, run, texts

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


class Chatting(FakeAdapter):
    """Prices input and output apart, as every chat does."""

    def cost(self, request):
        bound = super().cost(request)
        return replace(bound, input=max(0.0, bound.input))


@pytest.mark.parametrize("told", [None, 50.0])
def test_what_fails_at_a_server_that_counts_no_neurons_costs_none(told):
    """Not even where the answer's length is what the others charge for, nor where it says otherwise."""
    error = RequestTimedOut("x")
    error.neurons = told
    others = [{"behave": lambda *_: error, "is_free": True}]
    street = run(texts(3), adapter=Chatting(out=1.0, max_tokens=10), attempts=2, weight=0.0, others=others)
    assert len(street.failed) == 3
    assert [(budget.most, budget.settled) for budget in street.budgets] == [(0.0, 0.0), (0.0, 0.0)]


def test_pieces_of_a_record_go_to_endpoints_of_the_same_model_only():
    items = [record(index, "a|b") for index in range(6)]
    street = run(items, others=[{"adapter": FakeAdapter(), "model": "@cf/other/model"}, {}])
    assert street.reason is StopReason.COMPLETED
    assert "other-1" not in {name for row in street.sink.rows for name in row.values["endpoint"].split(", ")}


class Shorter(FakeAdapter):
    """Of a model that takes less at once: it would cut what the first one sends whole, or refuse it."""

    def pieces(self, record):
        text = record.fields["text"]
        if "huge" in text:
            raise RecordUnusable("the text is too long for this model")
        parts = [text[:3], text[3:]] if len(text) > 3 else [text]
        whole = super().pieces(record)[0]
        return [replace(whole, content=part, index=at, n_pieces=len(parts)) for at, part in enumerate(parts)]


def test_a_record_that_another_model_would_cut_or_refuse_stays_with_the_first():
    """Only the first part of it would be sent."""
    items = [record(index, said) for index, said in enumerate(["abcdef", "abcdefg", *["abc"] * 20, *["huge"] * 4])]
    street = run(items, others=[{"adapter": Shorter(), "model": "@cf/other/model"}])
    assert street.reason is StopReason.COMPLETED
    assert {row.values["id"]: row.values["echo"] for row in street.sink.rows} == {
        item.id: item.fields["text"] for item in items
    }
    assert by_endpoint(street)["other-1"] > 5


@pytest.mark.parametrize("text", ["abcdef", "huge", "a|b"])
def test_the_last_mile_of_another_model_is_for_whole_records_too(text):
    """The budget of the first is spent, and that of the other has room for what it would make of the record."""
    street = run(
        [record(0, text)],
        adapter=FakeAdapter(out=1.0, max_tokens=30),
        limit=0.5,
        others=[{"adapter": Shorter(out=1.0, max_tokens=30), "model": "@cf/other/model", "limit": 20.0}],
    )
    assert street.reason is StopReason.BUDGET_SPENT
    assert street.others[0].calls == []
    assert (street.answered, street.failed) == ([], [])


class Waiting(FakeAdapter):
    """Its only piece is the first of several."""

    def pieces(self, record):
        return [replace(piece, has_more=True) for piece in super().pieces(record)]


def test_a_piece_that_others_wait_for_stays_with_the_first_model():
    street = run(texts(20), adapter=Waiting(), others=[{"adapter": FakeAdapter(), "model": "@cf/other/model"}])
    assert by_endpoint(street) == {"first": 20}


@pytest.mark.parametrize("refusal", [SPENT, Unauthorized(401, 10000, "token")])
def test_what_one_refuses_for_good_while_the_other_is_busy_is_tried_again(refusal):
    """A refusal for good is not the last word on a request while another endpoint is open."""
    busy_once = lambda payload, n: BUSY if n == 1 else answer(payload)  # noqa: E731
    street = run(texts(1), behave=lambda *_: refusal, others=[{"behave": busy_once}], concurrency=1)
    assert street.reason is StopReason.COMPLETED
    assert street.answered == ["r0"]


def test_what_one_refuses_for_good_while_the_other_is_spent_is_the_end_of_the_budget():
    street = run(texts(1), behave=lambda *_: SPENT, others=[{"limit": 0.5}], concurrency=1)
    assert street.reason is StopReason.BUDGET_SPENT
    assert street.pending == ["r0"]


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [(SPENT, StopReason.ALLOCATION_REFUSED), (Unauthorized(401, 10000, "token"), StopReason.REFUSED)],
)
@pytest.mark.parametrize("batch", [1, 2])
def test_a_record_that_only_a_refused_endpoint_can_serve_is_not_passed_over(refusal, reason, batch):
    """The run does not end as completed, and tells whether there is more tomorrow."""
    others = [{"adapter": FakeAdapter(batch=batch), "model": "@cf/other/model"}]
    adapter = FakeAdapter(batch=batch)
    street = run([record(0, "a|b")], behave=lambda *_: refusal, adapter=adapter, others=others, concurrency=1)
    assert street.reason is reason
    assert street.pending == ["r0"]


def test_a_stop_does_not_wait_for_the_turn_of_another_endpoint():
    """What is in flight and refused after a stop is left pending, however long the next endpoint cools down."""

    async def main():
        street = Street(texts(1), behave=lambda *_: BUSY, others=[{}])
        street.parts.lanes[1].pace.cool_down(600)

        async def stop():
            await asyncio.sleep(0.5)
            street.engine.stop(StopReason.INTERRUPTED)

        async with asyncio.TaskGroup() as group:
            group.create_task(stop())
            await street.run()
        street.check_books()
        return street, street.clock.monotonic()

    street, ended = run_inline(main())
    assert ended < 2
    assert street.pending == ["r0"]


class Shouting(FakeAdapter):
    """Another model's task: sends whole records in capitals, or, where it takes less at once, in two halves."""

    def __init__(self, *, times=1.0, parts=1):
        super().__init__()
        self.times, self.parts = times, parts

    def pieces(self, record):
        pieces = [
            replace(piece, content=piece.content.upper(), ceiling=self.times * piece.ceiling)
            for piece in super().pieces(record)
        ]
        return pieces * self.parts


def test_the_last_mile_leaves_pieces_of_records_to_the_model_that_they_were_cut_for():
    """Another one would put its own first piece in the place of any other: a wrong row."""
    items = [record(index, "a@3|b@3|c@3") for index in range(6)]
    others = [{"adapter": Shouting(), "model": "@cf/other/model", "limit": 20.0}]
    street = run(items, limit=14, others=others, concurrency=1)
    assert street.reason is StopReason.BUDGET_SPENT
    assert {row.values["echo"] for row in street.sink.rows} == {"a@3|b@3|c@3"}
    assert street.others[0].calls == []


def test_the_last_mile_is_priced_by_the_endpoint_that_takes_it():
    """The rest of 5 neurons is not spent on requests of 10 because another model asks 1."""
    dear = lambda payload, _: answer(payload, neurons=10)  # noqa: E731
    others = [{"adapter": Shouting(times=10), "model": "@cf/other/model", "limit": 105.0, "behave": dear}]
    street = run(texts(100), limit=10, others=others, concurrency=1)
    assert street.reason is StopReason.BUDGET_SPENT
    assert [budget.settled for budget in street.budgets] == [10, 100]


@pytest.mark.parametrize("is_heavy", [False, True])
def test_a_record_that_another_model_would_cut_is_left_to_the_one_that_takes_it_whole(is_heavy):
    """The first half of a text is not the text."""
    other = Shouting(parts=2)
    other.is_heavy = is_heavy
    busy_once = lambda payload, n: BUSY if n == 1 else answer(payload)  # noqa: E731
    street = run(texts(4), behave=busy_once, others=[{"adapter": other, "model": "@cf/other/model"}], concurrency=1)
    assert street.reason is StopReason.COMPLETED
    assert by_endpoint(street) == {"first": 4}
    assert street.others[0].calls == []


@pytest.mark.parametrize("refusal", [SPENT, Unauthorized(401, 10000, "token")])
def test_an_answer_that_the_refused_model_was_to_improve_stands_and_the_others_go_on(refusal):
    """A stand-in answers because the model has refused: its first answer to be improved does not end the run."""
    others = [{"adapter": Improving(), "model": "@cf/other/model"}]
    street = run(texts(10), behave=lambda *_: refusal, adapter=Improving(), others=others, concurrency=1)
    assert street.reason is StopReason.COMPLETED
    assert {row.values["id"]: row.values["echo"] for row in street.sink.rows} == {f"r{n}": f"t{n}" for n in range(10)}
    assert {row.values["model"] for row in street.sink.rows} == {"@cf/other/model"}


@pytest.mark.parametrize("refusal", [SPENT, Unauthorized(401, 10000, "token")])
@pytest.mark.parametrize("n", [1, 2])
def test_what_one_endpoint_refuses_for_good_in_the_last_mile_goes_to_another(refusal, n):
    """With fewer output tokens it fits into what is left there too."""
    adapter = FakeAdapter(out=1.0, max_tokens=30)
    others = [{"limit": 20.0, "behave": lambda payload, _: answer(payload, neurons=9.0)}]
    street = run(texts(n), adapter=adapter, behave=lambda *_: refusal, limit=20.0, others=others, concurrency=1)
    assert len(street.endpoint.calls) == 1
    assert by_endpoint(street) == {"other-1": n}
    assert street.reason is StopReason.COMPLETED

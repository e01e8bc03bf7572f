"""One model after the other: what the first has no budget for, or refuses, the next one cuts anew and answers."""

import asyncio
from dataclasses import replace

import pytest

from pipeline.errors import AllocationExhausted, InvalidRequest, RecordUnusable, Unauthorized
from pipeline.events import StopReason
from pipeline.reader import READ_CHUNK
from pipeline.records import record_key
from tests.support.fakes import FakeAdapter, Street, answer, broken, record, run_inline

SPENT = AllocationExhausted(429, 4006, "daily free allocation")
WRONG_TOKEN = Unauthorized(401, 10000, "token")
BAD = InvalidRequest(400, 5006, "bad")
LONG = "a|b|c"


class Whole(FakeAdapter):
    """Of a model that takes at once what the first one's task cuts; knows no text with "huge" in it."""

    def pieces(self, record):
        text = record.fields["text"]
        if "huge" in text:
            raise RecordUnusable("too long for this model")
        (piece,) = super().pieces(replace(record, fields={"text": text.replace("|", "+")}))
        return [replace(piece, record=record)]


def run(items, *, during=None, **how):
    """All passes between fakes."""

    async def main():
        street = Street(items, **how)
        async with asyncio.TaskGroup() as group:
            beside = group.create_task(during(street)) if during else None
            await street.run_all()
            if beside:
                beside.cancel()
        street.check_books()
        return street

    return run_inline(main())


def other(adapter=None, **fields):
    return {"adapter": adapter or FakeAdapter(), "model": "@cf/other/model", **fields}


def mixed(n=40, every=8):
    """Single texts, and a long one now and then."""
    return [record(index, LONG if index % every == 0 else f"t{index}") for index in range(n)]


def models(street):
    return {row.values["id"]: row.values["model"] for row in street.sink.rows}


@pytest.mark.parametrize("limit", [0.5, 4.0, 10.5])
@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_long_record_that_its_model_has_no_budget_for_goes_to_the_other_with_all_that_follows(limit, concurrency):
    """It used to end the run as `budget_spent`, whatever the other account still had."""
    street = run(mixed(), limit=limit, others=[other()], concurrency=concurrency)
    assert street.reason is StopReason.COMPLETED
    assert {row.values["echo"] for row in street.sink.rows if row.values["row"] % 8 == 0} == {LONG}
    assert street.budget.settled == int(limit)
    assert max(street.others[0].left_at) < 2 + 50 / concurrency, "as fast as ever: it is not its last mile"


def test_a_record_that_the_first_model_has_begun_is_left_to_it():
    """What it has answered is paid; the others go on, and the run says that there is more tomorrow."""
    street = run([record(n, f"{n}|b|c") for n in range(6)], limit=4.0, others=[other()], concurrency=1)
    assert street.pending == ["r1"]
    assert street.reason is StopReason.BUDGET_SPENT
    assert [budget.settled for budget in street.budgets] == [4.0, 12.0]


@pytest.mark.parametrize("refusal", [SPENT, WRONG_TOKEN])
def test_a_long_record_whose_model_is_refused_goes_to_the_other(refusal):
    """Nothing more leaves to the one that has refused."""
    street = run(mixed(), behave=lambda *_: refusal, others=[other()], concurrency=2)
    assert street.reason is StopReason.COMPLETED
    assert set(models(street).values()) == {"@cf/other/model"}
    assert len(street.endpoint.calls) <= 2
    assert any("@cf/other/model goes on with what is left" in event.message for event in street.events)


@pytest.mark.parametrize("refusal", [SPENT, WRONG_TOKEN])
def test_what_is_refused_is_not_asked_again_by_the_next_pass(refusal):
    """P5: nor any endpoint of a refused account."""
    asked = []
    others = [other(account="account-1", behave=lambda payload, _: asked.append(payload) or refusal)]
    street = run(mixed(), behave=lambda *_: refusal, others=others, concurrency=1)
    assert len(street.endpoint.calls) == 1
    assert len(asked) == (1 if refusal is WRONG_TOKEN else 0)
    assert street.pending == [item.id for item in street.source.items]
    assert street.reason is (StopReason.REFUSED if refusal is WRONG_TOKEN else StopReason.ALLOCATION_REFUSED)
    assert street.ended.cause is refusal


def test_what_the_next_model_answers_keeps_the_digest_it_was_planned_with():
    """Else the next run would take it for a record that has changed."""
    items = [record(0, LONG), record(1, "x|y"), record(2, "z")]
    street = run(items, limit=0.5, others=[other(Whole())])
    assert {row.values["echo"] for row in street.sink.rows} == {"a+b+c", "x+y", "z"}
    planned = {item.id: record_key(FakeAdapter().pieces(item)) for item in items}
    assert {row.values["id"]: row.payload_key for row in street.sink.rows} == planned


def test_a_failure_at_the_next_model_keeps_the_digest_too():
    street = run([record(0, LONG)], limit=0.5, others=[other(Whole(), behave=lambda *_: BAD)])
    (failure,) = street.sink.failures
    assert failure.payload_key == record_key(FakeAdapter().pieces(record(0, LONG)))


def test_what_the_next_model_cannot_take_waits_for_the_first():
    """It is no failure: tomorrow the first one has a budget again. What nobody can read is a failure at once."""
    items = [record(0, LONG), record(1, "a huge one"), record(2, "z"), broken(3)]
    street = run(items, limit=0.5, others=[other(Whole())])
    assert street.reason is StopReason.BUDGET_SPENT
    assert sorted(street.answered) == ["r0", "r2"]
    assert street.failed == ["r3"]
    assert street.pending == ["r1"]


def test_a_record_that_the_first_model_needs_no_answer_for_is_its_own():
    """Its digest is of something else than what another model would send."""

    class Needless(FakeAdapter):
        def pieces(self, record):
            return [] if record.fields["text"] == "z" else super().pieces(record)

    n_last = 2 * READ_CHUNK
    street = run(
        [record(0, LONG), *[record(n, "t") for n in range(1, n_last)], record(n_last, "z")],
        limit=0.5,
        others=[other(Needless())],
    )
    assert street.pending == [f"r{n_last}"]


@pytest.mark.parametrize(
    ("ends", "reason"),
    [
        ((None, SPENT), StopReason.BUDGET_SPENT),
        ((None, WRONG_TOKEN), StopReason.BUDGET_SPENT),
        ((SPENT, None), StopReason.BUDGET_SPENT),
        ((WRONG_TOKEN, None), StopReason.BUDGET_SPENT),
        ((WRONG_TOKEN, SPENT), StopReason.ALLOCATION_REFUSED),
        ((SPENT, WRONG_TOKEN), StopReason.ALLOCATION_REFUSED),
    ],
)
def test_of_several_ends_the_most_hopeful_is_told(ends, reason):
    """A budget comes back by itself, a token does not; the cause told is that of the reason."""
    first, second = ({"limit": 0.5} if end is None else {"behave": lambda *_, end=end: end} for end in ends)
    street = run([record(0, LONG)], **first, others=[other(**second)])
    assert street.reason is reason
    if reason is StopReason.ALLOCATION_REFUSED:
        assert street.ended.cause is SPENT


def test_three_models_one_after_the_other():
    """Each has a pass of its own; two accounts of one model share a pass."""
    shared = FakeAdapter()
    others = [
        other(limit=3.0),
        {"adapter": shared, "model": "@cf/third/model", "limit": 4.0},
        {"adapter": shared, "model": "@cf/third/model", "limit": 1e9},
    ]
    street = run([record(n, LONG) for n in range(10)], limit=3.0, others=others, concurrency=1)
    assert street.reason is StopReason.COMPLETED or len(street.pending) <= 2
    assert [round(budget.settled) for budget in street.budgets][:2] == [3, 3]
    assert street.budgets[2].settled > 0
    assert street.budgets[3].settled > 0


@pytest.mark.parametrize("pass_number", [1, 2])
@pytest.mark.parametrize("is_kill", [False, True])
def test_a_stop_ends_all_passes(pass_number, is_kill):
    async def during(street):
        await asyncio.sleep(2.5 if pass_number == 1 else 9.5)
        street.engine.stop(StopReason.INTERRUPTED)
        if is_kill:
            street.engine.kill()
        street.stopped = len(street.endpoint.calls), len(street.others[0].calls)

    street = run(mixed(200), limit=20, others=[other(weight=0.0)], during=during)
    assert street.reason is StopReason.INTERRUPTED
    assert (len(street.endpoint.calls), len(street.others[0].calls)) == street.stopped
    assert (street.stopped[1] > 0) == (pass_number == 2)


def test_a_single_model_has_a_single_pass():
    """The input is not read again for nobody."""
    street = run(mixed(), limit=4.0, others=[{}])
    assert street.source.n_readings == 1


def test_the_end_of_the_budget_of_another_model_is_used_as_well():
    """P4 for each of them: its last mile is walked in its own pass, at its own prices."""
    behave = lambda payload, _: answer(payload, neurons=1.0)  # noqa: E731
    adapters = FakeAdapter(ceiling=20), FakeAdapter(ceiling=30)
    how = {"behave": behave, "limit": 100}
    street = run(
        [record(n, f"t{n}") for n in range(400)], adapter=adapters[0], **how, others=[other(adapters[1], **how)]
    )
    assert street.reason is StopReason.BUDGET_SPENT
    assert all(budget.settled >= 98 for budget in street.budgets)

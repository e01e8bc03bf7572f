"""The engine: every record ends in one place, every reservation is closed, and a stop is a stop."""

# ruff: noqa: ARG002 - a fake has the form of what it stands for

import asyncio
import itertools
import math
from dataclasses import replace

import pytest

from pipeline.breaker import FIRST
from pipeline.errors import (
    AllocationExhausted,
    AnswerCutShort,
    ConnectFailed,
    InvalidRequest,
    OutOfCapacity,
    RateLimited,
    RecordUnusable,
    RequestTimedOut,
    RequestTooLarge,
    ServerFault,
    SourceError,
    Unauthorized,
    UnreadableAnswer,
)
from pipeline.events import StopReason
from pipeline.reader import READ_CHUNK, Cut
from pipeline.records import Answer, GatewayNote, Usage, record_key
from tests.support.fakes import FakeAdapter, Street, answer, broken, record, run_inline

BUSY = OutOfCapacity(429, 3040, "busy")


def run(items, *, during=None, **how):
    """Run one pass between fakes; `during` is a coroutine function that gets the street and runs beside it."""

    async def main():
        street = Street(items, **how)
        async with asyncio.TaskGroup() as group:
            beside = group.create_task(during(street)) if during else None
            await street.run()
            if beside:
                beside.cancel()
        await asyncio.sleep(5)  # what was shielded from a kill ends here
        street.check_books()
        return street

    return run_inline(main())


def texts(n, **fields):
    return [record(index, f"t{index}", **fields) for index in range(n)]


def first_fails(error, times=1):
    """The first `times` calls of each text end with `error`."""
    seen = {}

    def behave(payload, _):
        key = tuple(payload["text"])
        seen[key] = seen.get(key, 0) + 1
        return error if seen[key] <= times else answer(payload)

    return behave


# -- answers ----------------------------------------------------------------------------------------------------


def test_every_record_is_answered_once_and_marked():
    """A pass without trouble ends as completed, with one row, one mark and one charge for each record."""
    street = run(texts(1000), adapter=FakeAdapter(batch=7))
    assert street.reason is StopReason.COMPLETED
    assert sorted(street.answered) == sorted(f"r{index}" for index in range(1000))
    assert sorted(item.ordinal for item in street.marked) == list(range(1000))
    assert street.budget.settled == 1000
    assert street.counters.sent == 143
    assert street.counters.done == 1000


def test_an_empty_input_is_completed_without_a_call():
    """Nothing to do is done."""
    street = run([])
    assert street.reason is StopReason.COMPLETED
    assert street.endpoint.calls == []


def test_a_row_says_what_its_record_cost():
    """A request's charge is shared out by what was expected of each, and the shares add up to it."""
    street = run([record(0, "a"), record(1, "bbb")], adapter=FakeAdapter(batch=2, ceiling=3))
    assert [row.values["neurons"] for row in street.sink.rows] == [1.0, 1.0]


def test_a_record_of_several_pieces_is_one_row_and_one_mark():
    """A record ends when its last piece has answered, whatever requests its pieces travelled in."""
    items = [record(index, "a|b|c") for index in range(10)]
    street = run(items, adapter=FakeAdapter(batch=2))
    assert sorted(street.answered) == sorted(item.id for item in items)
    assert {row.values["echo"] for row in street.sink.rows} == {"a|b|c"}
    assert len(street.marked) == len(street.sink.rows) == 10


def test_a_record_with_a_failed_piece_is_one_failure_and_no_row():
    """However many of its pieces fail, and whichever comes first, the record is one failure row."""

    def behave(payload, _):
        return InvalidRequest(400, 5006, "bad") if payload["text"][0] in "bd" else answer(payload)

    street = run([record(0, "a|b|c|d|e"), record(1, "x|y")], behave=behave)
    assert street.failed == ["r0"]
    assert street.sink.failures[0].payload_key == record_key(FakeAdapter().pieces(record(0, "a|b|c|d|e")))
    assert street.answered == ["r1"]
    assert len(street.marked) == 2


def refuses(*bad):
    """Refuse these texts for good."""

    def behave(payload, _):
        return InvalidRequest(400, 5006, "bad") if set(bad) & set(payload["text"]) else answer(payload)

    return behave


def sent(street):
    return [text for payload in street.endpoint.calls for text in payload["text"]]


def long_text(n, *first):
    return "|".join([*first, *(f"p{index}" for index in range(n))])


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("concurrency", [1, 4])
def test_the_pieces_of_a_record_that_has_failed_are_not_sent(batch, concurrency):
    """But for those that workers hold; those that travel with another record's leave that one alone."""
    items = [record(0, long_text(199, "bad")), record(1, "x|y"), record(2, long_text(10))]
    street = run(items, adapter=FakeAdapter(batch=batch), behave=refuses("bad"), concurrency=concurrency)
    n_workers = concurrency * 3 // 2 + 1
    assert len([text for text in sent(street) if text != "bad"]) <= batch * (n_workers + concurrency) + 12
    assert all(payload["text"] for payload in street.endpoint.calls)
    assert street.reason is StopReason.COMPLETED
    assert street.failed == ["r0"]
    assert sorted(street.answered) == ["r1", "r2"]
    assert street.parts.rows._partial == {}, "nothing is remembered of what was left out"


def test_what_travels_with_a_piece_of_a_failed_record_is_sent_without_it():
    items = [record(0, long_text(8, "bad")), record(1, "x")]
    street = run(items, adapter=FakeAdapter(batch=2), behave=refuses("bad"), concurrency=1)
    assert street.endpoint.calls[-1]["text"] == ["x"]
    assert street.answered == ["r1"]


def test_a_piece_of_a_failed_record_is_not_tried_again():
    """It was waiting for its next attempt."""

    def behave(payload, _):
        return InvalidRequest(400, 5006, "bad") if payload["text"] == ["bad"] else BUSY

    street = run([record(0, "a|bad|b")], behave=behave, latency_s=0.5)
    assert sorted(sent(street)) == ["a", "b", "bad"]
    assert street.failed == ["r0"]
    assert street.reason is StopReason.COMPLETED
    assert street.parts.rows._partial == {}


def test_the_last_mile_is_not_walked_for_a_record_that_has_failed():
    """With fewer output tokens its other piece would fit into what is left."""
    adapter = FakeAdapter(out=1.0, max_tokens=30)
    street = run([record(0, "a@30|bad")], adapter=adapter, behave=refuses("bad"), limit=50, concurrency=1)
    assert sent(street) == ["bad"]
    assert street.failed == ["r0"]
    assert street.reason is StopReason.COMPLETED


def test_an_unfinished_record_of_several_pieces_stays_pending():
    """A record some of whose pieces were answered before a stop is not marked: the next pass sends it again."""
    behave = lambda payload, n: answer(payload) if n == 1 else AllocationExhausted(429, 4006, "used up")  # noqa: E731
    street = run([record(0, "a|b")], behave=behave, concurrency=1)
    assert street.marked == []
    assert street.pending == ["r0"]


@pytest.mark.parametrize("size", [1, 3 * READ_CHUNK])
def test_a_record_that_needs_no_answer_is_a_row_at_once(size):
    """No call, no neurons, no attempts; others go their way."""
    items = [record(index, f"={index}" if index % 3 else f"t{index}|u") for index in range(size + 1)]
    street = run(items, adapter=FakeAdapter(batch=2), through_gateway=True)
    assert street.reason is StopReason.COMPLETED
    assert sorted(street.answered) == sorted(item.id for item in items)
    assert street.counters.done == len(items) == len(street.marked)
    sent = [index for index in range(size + 1) if index % 3 == 0]
    assert street.budget.settled == 2 * len(sent)
    for row in street.sink.rows:
        if row.values["row"] in sent:
            continue
        assert row.values["echo"] == f"={row.values['row']}"
        assert (row.values["neurons"], row.values["attempts"], row.values["latency_ms"]) == (0.0, 0, 0.0)
        assert (row.values["model"], row.values["cache"]) == ("@cf/fake/model", None)


def test_records_that_need_no_answer_do_not_hide_that_the_service_fails():
    """They say nothing of it: the first 50 refusals end the pass all the same."""
    items = [record(index, f"={index}" if index < 40 else f"t{index}") for index in range(400)]
    street = run(items, behave=lambda *_: InvalidRequest(400, 5006, "bad"))
    assert street.reason is StopReason.FAILING
    assert len(street.failed) < 2 * FIRST


def test_a_record_that_needs_no_answer_and_makes_no_row_is_a_failure():
    """With no attempt, under the digest that the plan knows it by."""

    class Rowless(FakeAdapter):
        def rows(self, *_):
            raise UnreadableAnswer("makes nothing")

    street = run([record(0, "=x")], adapter=Rowless())
    (failure,) = street.sink.failures
    assert (failure.attempts, failure.message) == (0, "makes nothing")
    assert failure.payload_key == FakeAdapter().outline(record(0, "=x")).payload_key


# -- attempts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [ServerFault(500, 3043, "x"), RequestTimedOut("x"), BUSY, RateLimited(429, 3021, "m")]
)
def test_a_passing_failure_is_tried_again(error):
    """What may pass is sent again, and the row tells the attempts."""
    street = run(texts(3), behave=first_fails(error))
    assert street.reason is StopReason.COMPLETED
    assert len(street.answered) == 3
    assert {row.values["attempts"] for row in street.sink.rows} == {2}
    assert street.counters.sent == 6
    assert street.counters.retried == 3


def test_retried_counts_every_attempt_beyond_the_first():
    """Attempts that fail count as retried too: sent = first attempts + retried."""
    street = run(texts(1), behave=first_fails(ServerFault(500, 3043, "x"), times=4))
    assert street.counters.sent == 5
    assert street.counters.retried == 4


def test_a_failure_that_lasts_becomes_a_failure_row():
    """Out of attempts, a single record is written down as failed, with what happened to it."""
    street = run(texts(1), behave=lambda *_: ServerFault(500, 3043, "broken"), attempts=3)
    assert street.reason is StopReason.COMPLETED
    failure = street.sink.failures[0]
    assert (failure.id, failure.code, failure.http_status, failure.attempts) == ("r0", "3043", 500, 3)
    assert failure.retryable
    assert len(street.marked) == 1
    assert [(event.message, event.facts["code"]) for event in street.events if event.kind == "failed"] == [
        ("r0: broken (HTTP 500, code 3043)", "3043")
    ]


def test_a_request_that_waits_holds_neither_slot_nor_neurons():
    """Between two attempts somebody else may send: nothing is held while waiting."""
    street = run(texts(8), behave=first_fails(ServerFault(500, 3043, "x")), concurrency=1, limit=16, max_delay_s=50)
    assert len(street.answered) == 8
    first, second = street.endpoint.left_at[:2]
    assert second - first < 1.1  # the second text left at once, while the first waited


@pytest.mark.parametrize(
    "error", [InvalidRequest(400, 5006, "bad"), RequestTooLarge(413, 3006, "large"), ServerFault(500, 3043, "x")]
)
def test_a_poisoned_record_is_isolated(error):
    """One bad record in a request of many fails alone; all others are answered."""
    poisoned = "t37"
    behave = lambda payload, _: error if poisoned in payload["text"] else answer(payload)  # noqa: E731
    street = run(texts(64), behave=behave, adapter=FakeAdapter(batch=64), attempts=2)
    assert street.failed == ["r37"]
    assert len(street.answered) == 63
    assert street.counters.split == 6


def test_an_answer_nobody_can_read_is_asked_for_once_more_and_then_written_down():
    """A single record gets a second chance; the failure row invites another run."""
    unreadable = lambda *_: Answer(UnreadableAnswer("no vectors"), Usage(neurons=1.0), 1.0)  # noqa: E731
    street = run(texts(1), behave=unreadable)
    assert street.counters.sent == 2
    assert street.budget.settled == 2.0
    assert street.failed == ["r0"]
    assert street.sink.failures[0].retryable


class Rewording(FakeAdapter):
    """Halves texts that were too large, and shouts where whispering was refused."""

    def instead(self, piece, error):
        text, middle = piece.content, len(piece.content) // 2
        if isinstance(error, RequestTooLarge):
            parts = [text[:middle], text[middle:]] if middle else []
        else:
            parts = [text.upper()] if text.islower() else []
        return [replace(piece, content=part, part=(*piece.part, n)) for n, part in enumerate(parts)]


def test_what_a_task_has_instead_of_a_refused_piece_is_sent_in_its_place():
    """The record ends in one row, whatever its pieces had to become; a task that has nothing left fails it."""

    def behave(payload, _):
        (text,) = payload["text"]
        if text.islower():
            return InvalidRequest(400, 5024, "no")
        return RequestTooLarge(413, 3006, "large") if len(text) > 2 else answer(payload)

    street = run([record(0, "abcdef|GH"), record(1, "xyz")], behave=behave, adapter=Rewording())
    assert {row.values["id"]: row.values["echo"] for row in street.sink.rows} == {
        "r0": "A|BC|D|EF|GH",
        "r1": "X|YZ",
    }
    hopeless = run([record(0, "abc")], behave=lambda *_: InvalidRequest(400, 5006, "no"), adapter=Rewording())
    assert hopeless.failed == ["r0"]
    assert hopeless.counters.sent == 2


def test_records_that_cannot_be_sent_are_failure_rows_and_cost_nothing():
    """What could not be read and what the task cannot use are told apart, and neither is sent."""
    street = run([broken(0), record(1, ""), record(2, "fine")])
    assert {(failure.id, failure.code) for failure in street.sink.failures} == {
        ("r0", "unreadable_record"),
        ("r1", "unusable_record"),
    }
    told = {(event.facts["id"], event.message) for event in street.events if event.kind == "failed"}
    assert told == {(failure.id, f"{failure.id}: {failure.message}") for failure in street.sink.failures}
    assert street.counters.failed == 2
    assert street.counters.sent == 1


# -- stopping ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [AllocationExhausted(429, 4006, "used up"), Unauthorized(403, 10000, "no")])
def test_after_a_refusal_of_the_whole_run_nothing_more_leaves(error):
    """P5: no call starts after the refusal was read; what is in flight ends, and nothing is lost or failed."""

    async def main():
        refused_at = []

        def behave(payload, n):
            if n == 40:
                refused_at.append((asyncio.get_running_loop().time(), len(street.endpoint.calls)))
                return error
            return answer(payload)

        street = Street(texts(500), behave=behave, latency_s=lambda n: 1.0 + (n % 7) / 10, concurrency=32)
        await street.run()
        street.check_books()
        return street, refused_at[0]

    street, (at, n_calls) = run_inline(main())
    assert len(street.endpoint.calls) == n_calls
    assert max(street.endpoint.left_at) <= at
    assert street.endpoint.cancelled == 0
    assert len(street.answered) == n_calls - 1
    assert street.failed == []
    assert street.engine.cause is error
    expected = StopReason.ALLOCATION_REFUSED if isinstance(error, AllocationExhausted) else StopReason.REFUSED
    assert street.reason is expected


def test_a_stop_finishes_what_is_in_flight_and_nothing_else():
    """P8: after `stop` no call starts, every call in flight is answered and written, the rest stays pending."""
    before = []

    async def during(street):
        await asyncio.sleep(2.5)
        before.append((len(street.endpoint.calls), street.endpoint.in_flight))
        street.engine.stop(StopReason.INTERRUPTED)

    street = run(texts(100), during=during, concurrency=8)
    (n_calls, in_flight), *_ = before
    assert in_flight == 8
    assert street.reason is StopReason.INTERRUPTED
    assert len(street.endpoint.calls) == n_calls == len(street.answered)
    assert street.endpoint.cancelled == 0


def test_a_stop_does_not_wait_for_a_retry():
    """A request between two attempts is left pending at once."""
    ended = []

    async def during(street):
        await asyncio.sleep(1.5)
        street.engine.stop(StopReason.TERMINATED)
        ended.append(street.clock.monotonic())

    async def main():
        street = Street(texts(4), behave=lambda *_: ServerFault(500, 3043, "x"), max_delay_s=3600)
        async with asyncio.TaskGroup() as group:
            group.create_task(during(street))
            await street.run()
            ended.append(street.clock.monotonic())
        return street

    street = run_inline(main())
    assert street.reason is StopReason.TERMINATED
    assert ended[1] - ended[0] < 1.1
    assert len(street.pending) == 4


def test_a_stop_does_not_wait_for_a_cool_down():
    """Nobody waits out a minute for the right to send what will not be sent; not after an unreadable answer either."""

    def behave(payload, n):
        if n == 1:
            return Answer(UnreadableAnswer("no vectors"), Usage(neurons=1.0), 1.0)
        return RateLimited(429, 3021, "minute", retry_after_s=600)

    async def during(street):
        await asyncio.sleep(20)
        street.engine.stop(StopReason.INTERRUPTED)
        street.stopped_at = street.clock.monotonic()

    async def main():
        street = Street(texts(6), behave=behave)
        async with asyncio.TaskGroup() as group:
            group.create_task(during(street))
            await street.run()
        street.check_books()
        return street, street.clock.monotonic()

    street, ended = run_inline(main())
    assert ended - street.stopped_at < 1
    assert street.failed == []


def test_a_stop_during_the_write_of_a_failure_does_not_lose_it():
    """A failure row on its way to the disk is finished, counted and marked."""

    async def during(street):
        await asyncio.sleep(1.5)
        street.engine.stop(StopReason.INTERRUPTED)

    street = run(texts(1), behave=lambda *_: InvalidRequest(400, 5006, "bad"), disk_s=3.0, during=during)
    assert street.failed == ["r0"]
    assert street.counters.failed == len(street.marked) == 1


def test_a_stop_during_the_write_of_broken_records_neither_loses_nor_doubles_them():
    """Records that cannot be sent are marked when they are written, not before."""

    async def during(street):
        await asyncio.sleep(1.5)
        street.engine.stop(StopReason.INTERRUPTED)

    street = run([broken(0), *texts(50)[1:]], disk_s=3.0, during=during)
    assert street.failed == ["r0"]
    assert [item.ordinal for item in street.marked] == [0]


def test_broken_records_of_a_pass_that_ends_early_are_not_marked_as_done():
    """A mark is never ahead of the row: everything marked has ended somewhere."""
    items = [record(index, "t" if index % 2 else "") for index in range(2000)]
    street = run(items, behave=lambda payload, n: answer(payload) if n < 5 else AllocationExhausted(429, 4006, "no"))
    assert {item.id for item in street.marked} == {*street.answered, *street.failed}


def test_stopped_before_it_began_nothing_is_read_or_sent():
    """A stop that comes first is obeyed."""

    async def main():
        street = Street(texts(10))
        street.engine.stop(StopReason.INTERRUPTED)
        await street.run()
        return street

    street = run_inline(main())
    assert street.reason is StopReason.INTERRUPTED
    assert street.endpoint.calls == []


def test_a_kill_drops_what_is_in_flight_and_books_its_ceilings():
    """Nobody knows what a call that was cut off cost, so the most it can have cost is booked."""

    async def during(street):
        await asyncio.sleep(2.5)
        street.engine.stop(StopReason.INTERRUPTED)
        street.engine.kill()

    street = run(texts(100), adapter=FakeAdapter(ceiling=3), latency_s=2.0, during=during, concurrency=4)
    assert street.reason is StopReason.INTERRUPTED
    assert street.endpoint.cancelled == 4
    assert street.budget.settled == 4 * 1 + 4 * 3
    assert len(street.answered) == 4


def test_a_kill_alone_is_an_interruption():
    """Killed without a stop before, a pass never claims to be completed."""

    async def during(street):
        await asyncio.sleep(0.5)
        street.engine.kill()

    assert run(texts(10), during=during).reason is StopReason.INTERRUPTED


def test_a_pass_that_is_cancelled_closes_its_books():
    """Cancelling `run` books the ceilings of what was in flight."""

    async def main():
        street = Street(texts(50), adapter=FakeAdapter(ceiling=2))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5):
                await street.run()
        street.check_books()
        return street

    street = run_inline(main())
    assert street.budget.settled == 4 + 4 * 2


def test_a_source_that_breaks_ends_the_pass_after_what_is_in_flight():
    """An error that is nobody's record comes out; every request that was sent has been answered and written before."""

    async def main():
        street = Street(texts(600))

        def work():
            yield from itertools.islice(street.source.read(), 300)
            raise SourceError("data.jsonl", "vanished")

        with pytest.raises(SourceError):
            await street.engine.run(work())
        street.check_books()
        assert len(street.sink.rows) == sum(len(call["text"]) for call in street.endpoint.calls) > 0

    run_inline(main())


def test_a_bug_in_an_adapter_leaves_no_reservation_open():
    """Even an error that is not ours closes the books."""

    class Faulty(FakeAdapter):
        def payload(self, request):
            if request.pieces[0].record.ordinal == 5:
                raise KeyError("bug")
            return super().payload(request)

    async def main():
        street = Street(texts(20), adapter=Faulty())
        with pytest.raises(ExceptionGroup):
            await street.run()
        street.check_books()

    run_inline(main())


def test_an_answer_that_the_adapter_trips_over_fails_its_record_alone():
    """Whatever the service sends, the run goes on."""

    class Tripping(FakeAdapter):
        def parse(self, request, answer):
            if request.pieces[0].record.ordinal == 5:
                raise KeyError("unforeseen")
            return super().parse(request, answer)

    street = run(texts(20), adapter=Tripping())
    assert street.failed == ["r5"]
    assert len(street.answered) == 19


# -- pace and pressure ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", [1, 4])
def test_what_is_sent_and_not_yet_written_is_bounded(concurrency):
    """However slow the disk: what SIGKILL can make us pay for again is never more than `limits.concurrency`."""
    most = 0

    async def watch(street):
        nonlocal most
        while True:
            await asyncio.sleep(0.05)
            most = max(most, len(street.endpoint.calls) - len(street.sink.rows))

    street = run(texts(40), during=watch, concurrency=concurrency, disk_s=3.0)
    assert len(street.answered) == 40
    assert most == concurrency


def test_what_the_header_is_rounded_by_is_not_told_as_a_wrong_price():
    """Two decimals can be half a hundredth too high; it is reserved for, but says nothing of the price."""
    street = run(texts(10), concurrency=1, behave=lambda payload, _: answer(payload, neurons=1.014))
    assert street.budget.ratio == 1.014
    assert not [event for event in street.events if event.kind == "price"]


def test_what_the_header_rounds_up_is_reserved_for_and_raises_nothing():
    """0.0062 neurons read as 0.01: that is set aside for each, and the book stays within the budget."""
    behave = lambda payload, _: Answer(payload["text"], Usage(header_neurons=0.01), 5.0)  # noqa: E731
    street = run(texts(40), adapter=FakeAdapter(ceiling=0.0062), behave=behave, limit=0.2, concurrency=8)
    assert street.budget.ratio == 1.0
    assert street.counters.overcharged == 0
    assert street.budget.most <= 0.2 + 1e-9
    assert street.budget.settled == pytest.approx(0.2)


def test_a_charge_above_the_ceiling_is_learned_and_told_once():
    """The meter is believed: from then on more is reserved."""
    street = run(texts(10), concurrency=1, behave=lambda payload, _: answer(payload, neurons=2.0))
    assert street.budget.ratio == 2.0
    assert street.counters.overcharged == 10
    assert [event.kind for event in street.events].count("price") == 1
    assert street.budget.most == 20.0  # nine charged, and the last reserved at twice its price


def test_what_fails_is_booked_at_the_price_that_was_learned():
    """A time-out may have been charged at the real price, not at that of the table."""

    def behave(payload, n):
        return answer(payload, neurons=3.0) if n == 1 else RequestTimedOut("slow")

    street = run(texts(2), concurrency=1, attempts=1, behave=behave)
    assert street.budget.settled == 6.0


def test_charges_within_the_ceiling_teach_nothing():
    """What is right needs no word."""
    street = run(texts(10), behave=lambda payload, _: answer(payload, neurons=1.0))
    assert street.budget.ratio == 1.0
    assert not street.events


def test_every_failed_attempt_is_told_with_its_records():
    """For `wai explain`: which attempt, what came of it, what it cost, whom it carried."""
    street = run(texts(2), behave=first_fails(RequestTimedOut("slow"), 1), concurrency=1)
    told = [event.facts for event in street.events if event.kind == "attempt"]
    assert [(facts["attempt"], facts["code"], facts["neurons"], facts["ids"]) for facts in told] == [
        (1, "timed_out", 1.0, ["r0"]),
        (1, "timed_out", 1.0, ["r1"]),
    ]


def test_during_a_cool_down_nothing_leaves():
    """After a 3021 everyone waits, as long as the service asks."""
    refusal = RateLimited(429, 3021, "minute", retry_after_s=45)
    street = run(texts(60), behave=lambda payload, n: refusal if n == 10 else answer(payload), concurrency=4)
    assert len(street.answered) == 60
    assert 43 <= max(b - a for a, b in itertools.pairwise(street.endpoint.left_at)) <= 47
    assert [event.kind for event in street.events].count("cool_down") == 1


def test_a_refusal_without_a_time_pauses_for_a_minute():
    """The limit is per minute, so a minute is what it takes."""
    street = run(texts(12), behave=lambda payload, n: RateLimited(429, 3021, "m") if n == 5 else answer(payload))
    assert 58 <= max(b - a for a, b in itertools.pairwise(street.endpoint.left_at)) <= 62


def test_lack_of_capacity_lowers_what_is_in_flight():
    """3040 is answered with less pressure, not with a pause for everyone."""

    async def main():
        street = Street(texts(3000), concurrency=64)
        street.endpoint.behave = lambda payload, _: BUSY if street.endpoint.in_flight >= 8 else answer(payload)
        await street.run()
        return street

    street = run_inline(main())
    assert street.reason is StopReason.COMPLETED
    assert street.bound.bound <= 12
    assert len(street.answered) == 3000
    assert "cool_down" not in {event.kind for event in street.events}


def test_no_connection_stops_the_run_and_blames_no_record():
    """When nothing can be sent the run is failing, and every record stays pending."""
    error = ConnectFailed("no route")
    street = run(texts(50), behave=lambda *_: error, attempts=3)
    assert street.reason is StopReason.FAILING
    assert street.engine.cause is error
    assert street.failed == street.answered == []
    assert street.budget.settled == 0


def test_a_job_that_fails_as_a_whole_is_stopped_early():
    """The breaker ends a run whose records all fail, after the first fifty."""
    street = run(texts(1000), behave=lambda *_: InvalidRequest(400, 5006, "bad"), concurrency=4)
    assert street.reason is StopReason.FAILING
    assert FIRST <= len(street.failed) <= FIRST + 2 * 4  # in flight, and on their way to the journal


class Spoilt(FakeAdapter):
    """Finds most records unusable when they are to be sent, as those of damaged pictures are."""

    def payload(self, request):
        if any(piece.record.ordinal < 2 * FIRST for piece in request.pieces):
            raise RecordUnusable("damaged")
        return super().payload(request)


def test_records_that_cannot_be_sent_stop_nobody():
    """They cost nothing, however many there are; those after them are answered."""
    street = run(texts(3 * FIRST), adapter=Spoilt(), concurrency=4)
    assert street.reason is StopReason.COMPLETED
    assert (len(street.failed), len(street.answered)) == (2 * FIRST, FIRST)
    assert street.counters.sent == FIRST


class Rowless(FakeAdapter):
    """Reads every answer and makes a row of none, as a schema does that no answer is of."""

    def rows(self, record, values):
        raise UnreadableAnswer("not of the schema")


def test_a_job_whose_answers_make_no_rows_is_stopped_early():
    """Such answers are paid for: the breaker counts them like refusals, and says what was wrong with the last one."""
    street = run(texts(1000), adapter=Rowless(), concurrency=4)
    assert street.reason is StopReason.FAILING
    assert FIRST <= len(street.failed) <= FIRST + 2 * 4
    assert "not of the schema" in str(street.engine.cause)
    assert street.counters.failed == len(street.failed)
    told = [event.message for event in street.events if event.kind == "failed"]
    assert sorted(told) == sorted(f"{failure.id}: {failure.message}" for failure in street.sink.failures)


def test_answers_that_end_at_max_tokens_are_counted():
    class Cut(FakeAdapter):
        def rows(self, record, values):
            return [{"echo": values[0], "finish_reason": "length" if record.ordinal % 2 else "stop"}]

    assert run(texts(5), adapter=Cut()).counters.truncated == 2


def test_the_reader_does_not_run_ahead():
    """P6: what is read and not yet sent is bounded by concurrency and batch, not by the input."""
    ahead = []

    async def during(street):
        while True:
            await asyncio.sleep(0.5)
            ahead.append(street.source.n_read - sum(len(call["text"]) for call in street.endpoint.calls))

    run(texts(5000), adapter=FakeAdapter(batch=10), concurrency=4, during=during)
    assert max(ahead) <= 3 * 4 * 10 + 2 * READ_CHUNK


def test_a_slow_disk_slows_the_sending():
    """Answers do not pile up in memory while the disk is busy: no more than two per slot wait for it."""
    waiting = []

    async def during(street):
        while True:
            await asyncio.sleep(1)
            waiting.append(len(street.endpoint.calls) - len(street.sink.rows))

    street = run(texts(200), disk_s=50.0, concurrency=4, during=during)
    assert len(street.answered) == 200
    assert max(waiting) <= 2 * 4


# -- the end of the budget --------------------------------------------------------------------------------------


def test_the_budget_ends_the_pass_when_it_is_used_up():
    """Our own budget is used to 99 %, never passed, and the rest is pending."""
    street = run(texts(500), limit=200, concurrency=16)
    assert street.reason is StopReason.BUDGET_SPENT
    assert 198 <= street.budget.settled <= 200
    assert len(street.answered) + len(street.pending) == 500


def test_a_request_that_does_not_fit_is_cut_to_what_does():
    """The end of a budget smaller than a request is spent on the part of it that fits, however much that is."""
    street = run(texts(300), adapter=FakeAdapter(batch=100), limit=190)
    assert street.reason is StopReason.BUDGET_SPENT
    assert len(street.answered) == 190
    assert len(street.endpoint.calls) == 2


def test_a_record_that_is_too_dear_does_not_block_the_cheaper_ones_behind_it():
    """Further records are looked at before the pass gives up."""
    items = [record(0, "dear@90"), *(record(index, "cheap@1") for index in range(1, 40))]
    behave = lambda payload, _: answer(payload, neurons=sum(float(t.partition("@")[2]) for t in payload["text"]))  # noqa: E731
    street = run(items, behave=behave, limit=50, concurrency=2)
    assert street.pending == ["r0"]
    assert len(street.answered) == 39
    assert street.reason is StopReason.BUDGET_SPENT


def test_high_ceilings_do_not_leave_the_budget_unused():
    """P4: where a ceiling is far above what is charged, the last mile uses what the ceilings would leave."""
    behave = lambda payload, _: answer(payload, neurons=1.0)  # noqa: E731
    street = run(texts(300), adapter=FakeAdapter(ceiling=20), behave=behave, limit=100, concurrency=4)
    assert street.reason is StopReason.BUDGET_SPENT
    assert street.budget.settled >= 98


def test_a_last_mile_that_answers_everything_is_the_end_of_the_job():
    """Where tighter bounds let all records through, the pass is completed, not out of budget."""
    behave = lambda payload, _: answer(payload, neurons=1.0)  # noqa: E731
    street = run(texts(10), adapter=FakeAdapter(ceiling=5), behave=behave, limit=11, concurrency=2)
    assert street.pending == []
    assert street.reason is StopReason.COMPLETED


def test_an_answer_cut_short_by_the_last_mile_is_not_taken():
    """What was shortened only to fit the budget stays pending, and its cost is booked."""

    class Cut(FakeAdapter):
        def parse(self, request, answer):
            if request.output_cap is not None and request.output_cap < self.max_tokens:
                raise AnswerCutShort("cut")
            return super().parse(request, answer)

    behave = lambda payload, _: answer(payload, neurons=1.0 + min(7, payload["cap"] or 7))  # noqa: E731
    street = run(texts(10), behave=behave, adapter=Cut(ceiling=1, out=1.0, max_tokens=9), limit=29, concurrency=1)
    assert street.reason is StopReason.BUDGET_SPENT
    assert street.failed == []
    assert street.pending


def test_a_stop_ends_the_last_mile():
    """P8 holds to the end: a stop in the last mile ends it after the call in flight, a kill drops that as well."""

    async def during(street):
        await street.in_last_mile.wait()
        await asyncio.sleep(1)
        street.n_calls = len(street.endpoint.calls)
        street.engine.stop(StopReason.INTERRUPTED)
        if street.is_kill:
            street.engine.kill()
        street.stopped_at = street.clock.monotonic()

    async def main(is_kill):
        behave = lambda payload, _: answer(payload, neurons=1.0)  # noqa: E731
        street = Street(texts(300), adapter=FakeAdapter(ceiling=40), behave=behave, limit=100, latency_s=9)
        street.is_kill, street.in_last_mile = is_kill, asyncio.Event()
        reserve = street.budget.reserve

        async def watched(neurons):
            hold = await reserve(neurons)
            if neurons < 40:
                street.in_last_mile.set()
            return hold

        street.budget.reserve = watched
        async with asyncio.TaskGroup() as group:
            group.create_task(during(street))
            await street.run()
        street.check_books()
        return street, street.clock.monotonic() - street.stopped_at

    for is_kill, longest in ((False, 9.1), (True, 0.1)):
        street, took = run_inline(main(is_kill))
        assert street.reason is StopReason.INTERRUPTED
        assert len(street.endpoint.calls) == street.n_calls
        assert took <= longest
        assert street.endpoint.cancelled == is_kill


def test_a_kill_alone_in_the_last_mile_is_an_interruption():
    """Not the end of a budget, after which a run may wait for the next day."""

    async def during(street):
        await asyncio.sleep(1)
        street.engine.kill()

    adapter = FakeAdapter(out=1.0, max_tokens=30)
    street = run(texts(1), adapter=adapter, limit=20, latency_s=9, during=during)
    assert street.endpoint.cancelled == 1
    assert street.reason is StopReason.INTERRUPTED


def test_a_refusal_in_the_last_mile_is_the_reason_of_the_stop():
    """P5 holds to the end: the account's refusal ends the last mile and is named."""

    async def main():
        street = Street(texts(300), adapter=FakeAdapter(ceiling=40), limit=100, concurrency=2)
        refusal = AllocationExhausted(429, 4006, "used up")
        street.endpoint.behave = lambda payload, _: refusal if street.budget.refusals else answer(payload, neurons=1.0)
        await street.run()
        street.check_books()
        return street

    street = run_inline(main())
    assert street.reason is StopReason.ALLOCATION_REFUSED
    assert isinstance(street.engine.cause, AllocationExhausted)


def test_a_time_out_in_the_last_mile_is_booked_at_all_that_was_reserved():
    """Under a tighter bound the whole of it may have been charged."""

    async def main():
        adapter = FakeAdapter(ceiling=10, out=1.0, max_tokens=30)
        street = Street(texts(40), adapter=adapter, limit=100, concurrency=1, attempts=1)

        slow = RequestTimedOut("slow")
        street.endpoint.behave = lambda payload, _: slow if payload["cap"] is not None else answer(payload, neurons=5.0)
        street.charges = []
        settle = street.budget.settle
        street.budget.settle = lambda hold, neurons: (
            street.charges.append((hold.neurons, neurons)),
            settle(hold, neurons),
        )
        await street.run()
        street.check_books()
        return street

    street = run_inline(main())
    reserved, booked = street.charges[-1]
    assert booked == pytest.approx(reserved)


class Improving(FakeAdapter):
    """Asks twice for every text: the second time, for what the first answer could be better."""

    def follow_up(self, record, answered):
        piece = answered[0][0]
        return [] if piece.stage else [replace(piece, content=f"more {piece.content}", stage=1)]

    def fallback(self, piece, error):
        return piece.content.removeprefix("more ") if piece.stage else None


def test_a_later_piece_that_fails_does_not_cost_the_answer_it_was_to_improve():
    """It was paid for; only a record without any answer fails."""

    def behave(payload, _):
        return ServerFault(500, 3043, "no") if "more t1" in payload["text"] else answer(payload)

    street = run(texts(3), behave=behave, adapter=Improving(), attempts=2)
    assert {row.values["id"]: row.values["echo"] for row in street.sink.rows} == {
        "r0": "more t0",
        "r1": "t1",
        "r2": "more t2",
    }
    assert {row.values["id"]: row.values["attempts"] for row in street.sink.rows} == {"r0": 2, "r1": 3, "r2": 2}
    nothing = run(texts(1), behave=lambda *_: ServerFault(500, 3043, "no"), adapter=Improving(), attempts=2)
    assert nothing.failed == ["r0"]


def test_later_pieces_that_fail_together_have_each_its_earlier_answer():
    """As through the queue, where many travel in one request: none is lost, and the run does not trip."""
    behave = lambda payload, _: BUSY if payload["text"][0].startswith("more") else answer(payload)  # noqa: E731
    street = run(texts(4), behave=behave, adapter=Improving(batch=2), attempts=1, concurrency=2)
    assert {row.values["id"]: row.values["echo"] for row in street.sink.rows} == {f"r{n}": f"t{n}" for n in range(4)}
    assert {row.values["model"] for row in street.sink.rows} == {"@cf/fake/model"}


@pytest.mark.parametrize("limit", [11, 16, 21, 40])
def test_what_an_answer_of_the_last_mile_makes_necessary_is_sent_or_stays_pending(limit):
    """A pass that left a record half done is not completed."""
    behave = lambda payload, _: answer(payload, neurons=1.0)  # noqa: E731
    street = run(texts(10), adapter=Improving(ceiling=5), behave=behave, limit=limit, concurrency=2)
    assert (street.reason is StopReason.COMPLETED) == (street.pending == [])
    assert len(street.answered) >= min(10, limit // 2 - 1)


# -- through an AI Gateway ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("cache", "seen"), [("HIT", 0), ("MISS", 20)])
def test_what_a_cache_gives_teaches_no_price(cache, seen):
    """An answer that cost nothing must not make the next one look free: the end of the budget is reckoned by it."""

    def behave(payload, _):
        return replace(answer(payload, 0.0 if cache == "HIT" else 0.5), gateway=GatewayNote(cache, "log"))

    street = run(texts(20), behave=behave, through_gateway=True)
    assert len(street.parts.lanes[0].ratios._plain) + len(street.parts.lanes[0].ratios._dense) == seen
    assert {(row.values["cache"], row.values["log_id"]) for row in street.sink.rows} == {(cache, "log")}


class Asking(FakeAdapter):
    """What a record's text is answered with makes as many further pieces necessary as its number says."""

    def follow_up(self, record, answered):
        first = answered[0][0]
        assert first.record is record
        if first.stage:
            return ()
        n = int(first.content)
        return [replace(first, content=f"{at}", index=at, n_pieces=n, stage=1) for at in range(n)]


@pytest.mark.parametrize("n", [1, 8, 40])
def test_what_the_last_answer_makes_necessary_is_sent_by_all_workers(n):
    """Workers that have nothing to do any more wait for what those that have may still bring."""
    street = run([record(0, str(n))], adapter=Asking(), concurrency=8)
    assert street.answered == ["r0"]
    assert street.endpoint.most_in_flight == min(n, 8)
    assert max(street.endpoint.left_at) < 1.0 + math.ceil(n / 8)
    assert street.reason is StopReason.COMPLETED


def test_what_an_answer_makes_necessary_does_not_wait_for_the_reader():
    """While the next record is being read, the workers send what there is."""
    read_at = 30.0

    class Slow(Asking):
        is_heavy = True

    async def first_then_much_later():
        street = Street([record(0, "6"), record(1, "1")], adapter=Slow(), concurrency=6)
        asked = []

        async def chunk(work, adapter, planner):
            asked.append(True)
            if len(asked) == 2:
                await asyncio.sleep(read_at)
            return [Cut(item, tuple(adapter.pieces(item))) for item in itertools.islice(work, 1)]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("pipeline.intake.next_chunk", chunk)
            await street.run()
        return street

    street = run_inline(first_then_much_later())
    assert sum(at < 2.0 for at in street.endpoint.left_at) == 1 + 6
    assert street.answered == ["r0", "r1"]

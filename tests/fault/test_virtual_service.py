"""A service that refuses, fails or trickles for hours, in virtual time: who waits, for how long, and who does not."""

import math
from datetime import timedelta
from email.utils import format_datetime

import pytest

from pipeline.breaker import FIRST
from pipeline.dialects import WorkersAI
from pipeline.errors import AttemptError, OutOfCapacity, RequestTimedOut, ServerFault
from pipeline.events import StopReason
from pipeline.wire import HttpResponse
from tests.support.fakes import FakeAdapter, Street, answer, record, run_inline
from tests.support.figures import figure

BODY = b'{"success": false, "errors": [{"code": 3021, "message": "rate limiting: request per min rate reached"}]}'


def texts(n):
    return [record(at, f"t{at}") for at in range(n)]


def refused(clock, retry_after):
    """What the dialect makes of a 429 with this header."""
    dialect = WorkersAI(
        base_url="https://api.example/client/v4", account_id="0" * 32, model="@cf/x/y", gateway=None, now=clock.now
    )
    headers = {} if retry_after is None else {"retry-after": retry_after}
    try:
        dialect.decode(HttpResponse(status=429, headers=headers, body=BODY, latency_ms=1.0))
    except AttemptError as error:
        return error
    raise AssertionError("a 429 is no answer")


def dated(seconds):
    """An HTTP date so many seconds from now."""
    return lambda clock: format_datetime(clock.now() + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("header", "pause_s"),
    [
        ("7", 7),
        ("45", 45),
        ("2.5", 2.5),
        (dated(90), 90),
        (None, 60),
        ("soon", 60),
        ("-5", 60),
        ("3600", 600),
        (dated(3_600), 600),
    ],
    ids=["seconds", "more seconds", "a fraction", "a date", "absent", "words", "negative", "an hour", "a date far off"],
)
@pytest.mark.parametrize("concurrency", [1, 64])
def test_everyone_pauses_as_long_as_the_service_asks(header, pause_s, concurrency):
    """After a 3021 no request leaves for as long as its Retry-After says, ten minutes at most, and then they go on."""

    async def main():
        refused_at = []

        def behave(payload, n):
            if n == 40:
                refused_at.append(street.clock.monotonic())
                return refused(street.clock, header(street.clock) if callable(header) else header)
            return answer(payload)

        street = Street(texts(200), behave=behave, concurrency=concurrency, per_minute=6_000)
        await street.run()
        street.check_books()
        return street, refused_at[0]

    street, at = run_inline(main())
    assert street.reason is StopReason.COMPLETED
    later = [left - at for left in street.endpoint.left_at if left > at]
    assert 0.9 * pause_s <= min(later) <= 1.1 * pause_s
    assert len(street.endpoint.calls) == 201


def bound(error, batch, concurrency, attempts):
    """Requests that a service which is down may see: the breaker's fifty records and what the workers had in hand.

    Before a record fails its request has been tried and halved; lack of capacity is tried four times as long, and is
    no reason to halve.
    """
    workers = concurrency * 3 // 2 + 1
    if isinstance(error, OutOfCapacity):
        return (math.ceil(FIRST / batch) + workers) * 4 * attempts
    halvings = 3 * math.ceil(math.log2(batch))
    return (FIRST + workers) * (attempts + (3 if batch > 1 else 0)) + workers * halvings


@pytest.mark.parametrize("error", [ServerFault(500, 3043, "internal"), OutOfCapacity(429, 3040, "busy")])
@pytest.mark.parametrize(("batch", "concurrency"), [(1, 4), (100, 4), (10, 64)])
def test_a_service_that_is_down_is_not_asked_for_ever(error, batch, concurrency):
    """When every request fails the breaker bounds them, however they are retried and halved; the rest stays pending."""

    async def main():
        street = Street(
            texts(10_000),
            behave=lambda *_: error,
            latency_s=0.1,
            concurrency=concurrency,
            attempts=6,
            max_delay_s=60.0,
            adapter=FakeAdapter(batch=batch),
        )
        await street.run()
        street.check_books()
        return street, street.clock.monotonic()

    street, took_s = run_inline(main())
    assert street.reason is StopReason.FAILING
    assert street.answered == []
    assert len(street.failed) <= FIRST + concurrency * 3 // 2 + batch
    assert len(street.endpoint.calls) <= bound(error, batch, concurrency, 6)
    figure(
        "service_down",
        error=error.code,
        batch=batch,
        concurrency=concurrency,
        requests=len(street.endpoint.calls),
        failed=len(street.failed),
        virtual_s=round(took_s),
    )


def test_a_slow_answer_holds_up_its_own_slot_only():
    """While one request trickles until its time is up the other slots answer as many as ever, and it is tried again."""
    concurrency, timeout_s = 16, 130.0

    async def main(slow):
        street = Street(
            texts(4_000),
            behave=lambda payload, n: RequestTimedOut("trickled") if n == slow else answer(payload),
            latency_s=lambda n: timeout_s if n == slow else 1.0,
            concurrency=concurrency,
        )
        await street.run()
        street.check_books()
        return street

    plain, slowed = run_inline(main(None)), run_inline(main(500))
    assert len(plain.answered) == len(slowed.answered) == 4_000
    began = slowed.endpoint.left_at[499]
    within = [sum(began < at < began + timeout_s for at in street.endpoint.left_at) for street in (plain, slowed)]
    share = within[1] / (within[0] * (concurrency - 1) / concurrency)
    assert share >= 0.95
    figure("slow_answer", others_throughput=round(share, 4))

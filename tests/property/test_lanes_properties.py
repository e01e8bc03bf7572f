"""Several endpoints, shared pieces, later stages, refusals, a stop: each record ends once or stays pending."""

import asyncio
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import (
    AllocationExhausted,
    InvalidRequest,
    OutOfCapacity,
    RateLimited,
    RequestTimedOut,
    RequestTooLarge,
    ServerFault,
    Unauthorized,
    UnreadableAnswer,
)
from pipeline.events import StopReason
from pipeline.records import digest
from tests.support.fakes import Street, answer, record, run_inline
from tests.unit.test_completion import FakeMemory, Sharing

TEXTS = ("a", "bb", "cccc", "dd", "eeee", "f", "g@7", "h@3")
PASSING = (
    ServerFault(500, 3043, "x"),
    OutOfCapacity(429, 3040, "busy"),
    RateLimited(429, 3021, "minute"),
    InvalidRequest(400, 5006, "bad"),
    RequestTooLarge(413, 3006, "large"),
    RequestTimedOut("x"),
    UnreadableAnswer("x"),
)
FOR_GOOD = (AllocationExhausted(429, 4006, "used up"), Unauthorized(401, 10000, "token"))


class Everything(Sharing):
    """Shares pieces, halves what was too large, and asks up to two times more of every third record."""

    def follow_up(self, record, answered):
        piece = answered[0][0]
        if piece.stage == 2 or record.ordinal % 3:
            return ()
        text = f"s{piece.stage}{piece.content[:6]}"
        more = replace(piece, content=text, stage=piece.stage + 1, payload_key=digest(text.encode()))
        return [replace(more, index=0, n_pieces=1, part=())]

    def instead(self, piece, error):
        text, middle = piece.content, len(piece.content) // 2
        if not isinstance(error, RequestTooLarge) or middle < 1:
            return ()
        return [
            replace(piece, content=half, size=len(half), part=(*piece.part, n), payload_key=digest(half.encode()))
            for n, half in enumerate((text[:middle], text[middle:]))
        ]


@settings(max_examples=150)
@given(rng=st.randoms(use_true_random=False))
def test_every_record_ends_once_or_stays_pending(rng):
    """However often it is refused, by whom, and for how long; no budget is passed and none is left open."""
    for_good = rng.choice([None, *FOR_GOOD])
    share = rng.choice([0.0, 0.05, 0.3, 0.6])

    def behave(payload, _):
        if for_good is not None and rng.random() < 0.2:
            return for_good
        texts = payload["text"]
        return rng.choice(PASSING) if rng.random() < share else answer(payload, neurons=rng.random() * len(texts))

    def other():
        model = {"adapter": Everything(batch=2), "model": "@cf/other/model"} if rng.random() < 0.4 else {}
        account = rng.choice(["account-1", "account-2"])
        weight = rng.choice([0.0, 1.0])
        return {"behave": behave, "limit": rng.choice([3.0, 1e9]), "account": account, "weight": weight, **model}

    items = [
        record(index, "|".join(rng.choice(TEXTS) for _ in range(rng.randrange(1, 5))))
        for index in range(rng.randrange(1, 40))
    ]

    async def main():
        street = Street(
            items,
            behave=behave,
            adapter=Everything(batch=rng.choice([1, 2, 4])),
            memory=rng.choice([None, FakeMemory()]),
            limit=rng.choice([5.0, 20.0, 1e9]),
            concurrency=rng.randrange(1, 6),
            attempts=rng.randrange(1, 4),
            max_delay_s=2,
            abort_share=1.0,
            disk_s=rng.choice([0, 0.01]),
            others=[other() for _ in range(rng.randrange(3))],
        )
        if rng.random() < 0.3:
            stop = lambda: street.engine.stop(StopReason.INTERRUPTED)  # noqa: E731
            asyncio.get_running_loop().call_later(rng.random() * 5, stop)
        async with asyncio.timeout(1e5):  # of virtual time
            await street.run_all()
        return street

    street = run_inline(main())
    for budget in street.budgets:
        assert budget.open == set()
        assert budget.most <= budget.limit + 1e-6
    ended = [*street.answered, *street.failed]
    assert len(ended) == len(set(ended))
    assert {item.id for item in street.marked} == set(ended)
    assert street.pending == [] or street.reason is not StopReason.COMPLETED

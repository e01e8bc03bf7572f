"""One request at a time, with pauses, while the server only fails."""

import asyncio

import pytest

from pipeline.outage import GIVE_UP, SUSPECT, Outage
from tests.support.fakes import LoopClock, run_inline


def down(*, max_pause_s=60.0, has_answered=True):
    outage = Outage(LoopClock(), max_pause_s)
    if has_answered:
        outage.answered()
    for n in range(SUSPECT):
        assert not outage.is_on
        assert outage.faulted(probed=False) is (n == SUSPECT - 1)
    assert outage.is_on
    return outage


async def tried(outage, *, n=1, fails=True):
    """When each of `n` requests that come at once has left."""
    left_at = []

    async def one():
        async with outage.probe():
            left_at.append(outage.clock.monotonic())
            await asyncio.sleep(0.1)
            outage.faulted(probed=True) if fails else outage.answered()

    began = outage.clock.monotonic()
    async with asyncio.TaskGroup() as group:
        for _ in range(n):
            group.create_task(one())
    return [at - began for at in left_at]


@pytest.mark.parametrize(
    ("has_answered", "max_pause_s", "pauses"),
    [
        (True, 60.0, [0.5, 1, 2, 4, 8, 16, 32, 60, 60]),
        (True, 3.0, [0.5, 1, 2, 3, 3]),
        (False, 60.0, [0.5, 1, 2, 2, 2]),
        (False, 0.1, [0.1, 0.1]),
    ],
)
def test_pauses_grow_and_nobody_leaves_beside_another(has_answered, max_pause_s, pauses):
    async def main():
        return await tried(down(has_answered=has_answered, max_pause_s=max_pause_s), n=len(pauses))

    left_at = run_inline(main())
    assert left_at == pytest.approx([sum(pauses[: n + 1]) + 0.1 * n for n in range(len(pauses))], abs=1e-3)


def test_once_the_server_answers_all_who_waited_leave_at_once():
    async def main():
        outage = down()
        left_at = await tried(outage, n=20, fails=False)
        return left_at, outage.is_on, await tried(outage, n=3)

    left_at, is_on, later = run_inline(main())
    assert left_at == pytest.approx([0.5] + [0.6] * 19, abs=1e-3)
    assert not is_on
    assert later == pytest.approx([0.0] * 3, abs=1e-3)


def test_it_is_over_when_it_has_been_tried_long_enough():
    """What was in flight when it began does not count: only those that were tried one by one."""

    async def main():
        outage = down()
        for _ in range(64):
            outage.faulted(probed=False)
        seen = []
        for _ in range(GIVE_UP - SUSPECT):
            seen.append(outage.is_over)
            await tried(outage)
        return seen, outage

    seen, outage = run_inline(main())
    assert not any(seen)
    assert outage.is_over
    outage.answered()
    assert not outage.is_over


def test_whoever_is_cancelled_while_waiting_leaves_the_turn_to_the_next():
    async def main():
        outage = down()
        first = asyncio.ensure_future(tried(outage))
        await asyncio.sleep(0.2)
        first.cancel()
        return await tried(outage)

    assert run_inline(main()) == pytest.approx([0.5], abs=1e-3)

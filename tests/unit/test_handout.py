"""Requests on their way to the workers: in which order they go out, who is woken, and when all is over."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from pipeline.handout import QUEUE_MOST, Handout
from pipeline.records import Piece, Record, Request


def request(name: str) -> Request:
    record = Record(0, name, "items", 0, {})
    return Request((Piece(record, name, size=1, ceiling=0.0, expected=0.0, payload_key=b""),))


def name_of(taken: Request | None) -> str | None:
    return None if taken is None else str(taken.pieces[0].content)


async def test_what_answers_made_necessary_goes_out_before_anything_new():
    handout = Handout()
    await handout.put(request("new"))
    handout.first([request("second"), request("third")])
    handout.again([request("half 1"), request("half 2")])
    handout.end()
    names = [name_of(await handout.take()) for _ in range(5)]
    assert names == ["half 1", "half 2", "second", "third", "new"]


async def test_every_waiting_worker_is_woken_for_what_comes_in_front():
    """One answer that needs ten more requests puts ten workers to work."""
    handout = Handout()
    workers = [asyncio.create_task(handout.take()) for _ in range(10)]
    await asyncio.sleep(0)
    handout.first([request(str(number)) for number in range(10)])
    async with asyncio.timeout(5):
        taken = await asyncio.gather(*workers)
    assert sorted(map(name_of, taken)) == sorted(map(str, range(10)))


async def test_nobody_leaves_while_somebody_may_bring_more():
    handout = Handout()
    await handout.put(request("one"))
    handout.end()
    owner = await handout.take()
    waiting = asyncio.create_task(handout.take())
    await asyncio.sleep(0)
    assert owner is not None
    assert not waiting.done()
    handout.first([request("two")])
    handout.finished()
    assert name_of(await waiting) == "two"
    last = asyncio.create_task(handout.take())
    await asyncio.sleep(0)
    assert not last.done()
    handout.finished()
    assert await last is None


async def test_the_reader_waits_while_workers_have_enough_to_do():
    handout = Handout()
    for number in range(QUEUE_MOST):
        await handout.put(request(str(number)))
    putting = asyncio.create_task(handout.put(request("late")))
    await asyncio.sleep(0)
    assert not putting.done()
    await handout.take()
    await putting


@given(follow_ups=st.lists(st.integers(0, 3), max_size=12), n_workers=st.integers(1, 5))
def test_every_request_goes_out_once_and_every_worker_comes_home(follow_ups: list[int], n_workers: int):
    """Whatever answers lead to: requests that come of requests are handed out too, then all are told it is over."""

    async def run() -> list[str | None]:
        handout = Handout()
        seen: list[str | None] = []

        async def work() -> None:
            while (taken := await handout.take()) is not None:
                seen.append(name_of(taken))
                await asyncio.sleep(0)
                number, _, depth = str(name_of(taken)).partition("/")
                if not depth:
                    handout.first([request(f"{number}/{n}") for n in range(follow_ups[int(number)])])
                handout.finished()

        async def read() -> None:
            for number in range(len(follow_ups)):
                await handout.put(request(str(number)))
            handout.end()

        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            for task in (read(), *(work() for _ in range(n_workers))):
                group.create_task(task)
        return seen

    expected = [str(n) for n in range(len(follow_ups))]
    expected += [f"{n}/{k}" for n, count in enumerate(follow_ups) for k in range(count)]
    assert sorted(map(str, asyncio.run(run()))) == sorted(expected)

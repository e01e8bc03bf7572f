"""Reading ahead: how much at once, and what happens when nobody waits for it any more."""

import asyncio
import threading

import pytest

from pipeline.reader import READ_CHUNK, next_chunk
from tests.support.fakes import FakeAdapter, record


class Heavy(FakeAdapter):
    """Cutting takes until somebody is in a hurry."""

    is_heavy = True

    def __init__(self):
        super().__init__()
        self.began, self.hurried = threading.Event(), threading.Event()

    def pieces(self, record):
        self.began.set()
        assert self.hurried.wait(20)
        return super().pieces(record)

    def hurry(self):
        self.hurried.set()


@pytest.mark.parametrize(("is_heavy", "expected"), [(False, READ_CHUNK), (True, 1)])
async def test_a_record_that_takes_long_does_not_wait_for_others(is_heavy, expected):
    adapter = FakeAdapter()
    adapter.is_heavy = is_heavy
    work = iter([record(n) for n in range(2 * READ_CHUNK)])
    assert len(await next_chunk(work, adapter)) == expected


async def test_a_reader_that_is_stopped_hurries_the_task_that_cuts():
    """It still waits for the thread, which then ends soon."""
    adapter = Heavy()
    reading = asyncio.ensure_future(next_chunk(iter([record(0)]), adapter))
    assert await asyncio.to_thread(adapter.began.wait, 20)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert adapter.hurried.is_set()


async def test_a_reader_that_is_killed_while_it_is_being_stopped_waits_for_the_thread_too():
    """Ctrl-C twice: who closes the input closes it under nobody."""

    class Deaf(Heavy):
        ended = False

        def hurry(self):
            pass

        def pieces(self, record):
            found = super().pieces(record)
            self.ended = True
            return found

    adapter = Deaf()
    reading = asyncio.ensure_future(next_chunk(iter([record(0)]), adapter))
    assert await asyncio.to_thread(adapter.began.wait, 20)
    for _ in range(2):
        reading.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    asyncio.get_running_loop().call_later(0.05, adapter.hurried.set)
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert adapter.ended

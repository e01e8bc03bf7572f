"""The sink: written before `put` returns, synced soon after, and a disk that fails is everybody's news."""

import asyncio
import threading

import pytest

from pipeline.clock import SystemClock
from pipeline.errors import OutputUnwritable
from pipeline.records import Row
from pipeline.sink import APPEND_MOST, StoreSink
from tests.support.fakes import run_inline
from tests.support.virtual import LoopClock

R = Row(bytes(16), bytes(16), {})


class FakeStore:
    """Remembers what was done to it, in order; fails where it is told to."""

    def __init__(self, *, fold_after=10**9, fail=None):
        self.log = []
        self.rows = 0
        self.waiting = 0
        self.fold_after = fold_after
        self.fail = fail
        self.times = []
        self.clock = None
        self.hold = None
        self.began = threading.Event()

    def _do(self, what, *facts):
        self.log.append((what, *facts))
        if self.clock:
            self.times.append((what, self.clock.monotonic()))
        if self.fail == what:
            raise OutputUnwritable("disk full")

    def append(self, rows, failures):
        self._do("append", len(rows), len(failures))
        self.rows += len(rows)
        self.waiting += len(rows) + len(failures)

    def sync(self):
        self._do("sync")

    @property
    def needs_fold(self):
        return self.waiting >= self.fold_after

    def rotate(self):
        self.waiting = 0
        self._do("rotate")
        return [1]

    def fold(self, generations):
        self._do("fold", *generations)
        if self.hold:
            self.began.set()
            self.hold.wait(20)
        self.log.append(("folded",))


def drive(store, main, seconds=1.0):
    """Run `main(sink)` beside the sink on virtual time, then close it."""

    async def run():
        store.clock = LoopClock()
        sink = StoreSink(store, seconds=seconds, clock=store.clock)
        async with asyncio.TaskGroup() as group:
            group.create_task(sink.run())
            await main(sink)
            await sink.close()

    run_inline(run())


def test_put_returns_once_the_rows_are_written():
    """What `put` has returned for survives the process."""
    store = FakeStore()

    async def main(sink):
        await sink.put([R], [])
        assert store.log == [("append", 1, 0)]
        await sink.put([], ["f"])
        assert store.log[1:] == [("append", 0, 1)]
        await sink.put([], [])
        assert len(store.log) == 2

    drive(store, main)
    assert store.log[-1] == ("sync",)


def test_those_who_come_together_are_written_together():
    """Group commit: a hundred waiting workers are a few writes."""
    store = FakeStore()

    async def main(sink):
        async with asyncio.TaskGroup() as group:
            for _ in range(100):
                group.create_task(sink.put([R], []))

    drive(store, main)
    assert store.rows == 100
    assert [entry[0] for entry in store.log].count("append") <= 2


def test_a_burst_is_written_in_pieces_that_leave_every_record_whole():
    """By rows, of which a record may have more than a piece should."""
    store = FakeStore()
    rows = [Row(bytes(16), bytes(16), {}, more=[{}] * n) for n in (APPEND_MOST - 2, 0, 0, 3 * APPEND_MOST, 5)]

    async def main(sink):
        await sink.put(rows, [])

    drive(store, main)
    assert store.log[:-1] == [("append", 2, 0), ("append", 1, 0), ("append", 1, 0), ("append", 1, 0)]


def test_a_sync_follows_within_half_of_the_promised_time():
    """P2: an answer is on the disk within `checkpoint.seconds`, also while nothing more comes."""
    store = FakeStore()

    async def main(sink):
        await sink.put([R], [])
        await asyncio.sleep(30)

    drive(store, main, seconds=4.0)
    (_, written), (what, synced), *_ = store.times
    assert what == "sync"
    assert synced - written <= 2.1


def test_under_load_no_row_waits_longer_for_its_sync():
    """A stream of rows does not put the sync off."""
    store = FakeStore()

    async def main(sink):
        for _ in range(200):
            await sink.put([R], [])
            await asyncio.sleep(0.05)

    drive(store, main, seconds=1.0)
    first_unsynced = None
    for what, at in store.times:
        if what == "append" and first_unsynced is None:
            first_unsynced = at
        if what == "sync":
            assert first_unsynced is None or at - first_unsynced <= 0.6
            first_unsynced = None


def test_nothing_is_synced_where_nothing_was_written():
    """An idle run does not touch the disk until its end."""
    store = FakeStore()
    drive(store, lambda _: asyncio.sleep(60))
    assert store.log == [("sync",)]


async def test_rows_are_written_while_a_fold_goes_on():
    """Making a part takes time, and nobody waits for it."""
    store = FakeStore(fold_after=2)
    store.hold = threading.Event()
    sink = StoreSink(store, seconds=1.0, clock=SystemClock())
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(sink.run())
        await sink.put([R, R], [])
        await asyncio.to_thread(store.began.wait, 5)
        for _ in range(5):
            await sink.put([R], [])
        assert ("folded",) not in store.log
        store.hold.set()
        await sink.close()
    assert store.rows == 7
    assert ("folded",) in store.log
    assert store.log.index(("rotate",)) < store.log.index(("fold", 1))


def test_close_writes_what_is_waiting_and_syncs():
    """Nothing handed over is left behind."""
    store = FakeStore()

    async def main(sink):
        waiting = [asyncio.ensure_future(sink.put([R], [])) for _ in range(3)]
        await asyncio.sleep(0)
        await sink.close()
        for put in waiting:
            await put

    drive(store, main)
    assert store.rows == 3
    assert store.log[-1] == ("sync",)


@pytest.mark.parametrize("fail", ["append", "sync", "rotate", "fold"])
def test_a_failing_store_reaches_every_put_and_ends_the_run(fail):
    """Whatever fails, those who wait and those who come later are told, and nobody hangs."""
    store = FakeStore(fail=fail, fold_after=3)
    told = []

    async def put(sink):
        try:
            await sink.put([R], [])
        except OutputUnwritable as error:
            told.append(error)
            raise

    async def main():
        store.clock = LoopClock()
        sink = StoreSink(store, seconds=1.0, clock=store.clock)
        writer = asyncio.ensure_future(sink.run())
        for _ in range(6):
            await asyncio.wait([asyncio.ensure_future(put(sink)) for _ in range(4)], timeout=5)
            await asyncio.sleep(0.3)
        with pytest.raises(ExceptionGroup) as caught:
            await asyncio.wait_for(writer, 5)
        assert caught.group_contains(OutputUnwritable)
        for _ in range(3):
            with pytest.raises(OutputUnwritable):
                await asyncio.wait_for(sink.put([R], []), 5)
        return [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]

    loop_log = []

    async def quiet():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: loop_log.append(context))
        return await main()

    assert run_inline(quiet()) == []
    assert store.rows <= 4 * 6
    assert len(told) >= 4


def test_a_put_that_is_cancelled_is_written_all_the_same():
    """A worker that is stopped while it waits does not lose the row, nor disturb the others."""
    store = FakeStore()

    async def main(sink):
        first = asyncio.ensure_future(sink.put([R], []))
        second = asyncio.ensure_future(sink.put([R], []))
        await asyncio.sleep(0)
        first.cancel()
        await second

    drive(store, main)
    assert store.rows == 2

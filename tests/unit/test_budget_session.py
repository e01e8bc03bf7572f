"""The budget session: reserve, settle and release under a lease, across days, jobs, clocks and refusals."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline.budget import BudgetSession, Ledger, schema
from pipeline.budget import session as session_module
from pipeline.budget.book import Extension, Progress
from pipeline.clock import SystemClock
from pipeline.errors import BudgetExhausted, LedgerError
from pipeline.interfaces import Budget

DAY = date(2026, 11, 22)


class FakeClock:
    """Time that moves only when told, or when somebody sleeps."""

    def __init__(self, at: str = "2026-11-22T12:00:00") -> None:
        self.at = datetime.fromisoformat(at).replace(tzinfo=UTC)
        self.elapsed_s = 0.0
        self.slept: list[float] = []
        self.has_slept = asyncio.Event()

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.elapsed_s

    def step(self, seconds: float) -> None:
        """Move wall time only."""
        self.at += timedelta(seconds=seconds)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.has_slept.set()
        self.elapsed_s += seconds
        self.step(seconds)
        await asyncio.sleep(0)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def ledger(tmp_path: Path, clock: FakeClock) -> Iterator[Ledger]:
    with Ledger(tmp_path / "state" / "ledger.sqlite3", clock) as ledger:
        yield ledger


def session(
    ledger: Ledger, clock: FakeClock, per_day: float = 1000.0, *, job: str = "job-1", total: float | None = None,
    others: float = 0.0, account: str = "acc",
) -> BudgetSession:  # fmt: skip
    return BudgetSession(
        ledger, account=account, job_id=job, job_name=f"name of {job}", model="@cf/baai/bge-m3", clock=clock,
        neurons_per_day=per_day, neurons_total=total, reserve_for_others=others,
    )  # fmt: skip


async def until_waiting(task: asyncio.Task[object]) -> None:
    """Give a task the time to reach the book and come to rest; it must not finish."""
    for _ in range(20):
        await asyncio.sleep(0.002)
    assert not task.done()


async def test_a_reservation_is_set_aside_then_replaced_by_the_charge(ledger: Ledger, clock: FakeClock) -> None:
    """Reserve, settle and release move neurons between free, reserved and spent, and nothing is lost."""
    async with session(ledger, clock) as budget:
        protocol: Budget = budget
        first, second = await protocol.reserve(10), await budget.reserve(5)
        assert budget.state().reserved == 15
        budget.settle(first, 4.5)
        budget.release(second)
        state = budget.state()
        assert (state.spent, state.reserved, state.remaining) == (4.5, 0, 995.5)
        assert (state.day, state.budget, state.job_total) == ("2026-11-22", 1000, 4.5)
    totals = ledger.totals("acc", DAY)
    assert (totals.settled, totals.booked, totals.requests) == (4.5, 4.5, 1)


async def test_a_reservation_is_settled_or_released_exactly_once(ledger: Ledger, clock: FakeClock) -> None:
    """The second time, a foreign session and a closed session are refused; a wrong charge leaves it as it is."""
    async with session(ledger, clock) as budget, session(ledger, clock, job="b") as other:
        hold = await budget.reserve(1)
        for wrong in (-1.0, float("nan"), float("inf")):
            with pytest.raises(ValueError, match="finite"):
                budget.settle(hold, wrong)
            with pytest.raises(ValueError, match="finite"):
                await budget.reserve(wrong)
        with pytest.raises(RuntimeError):
            other.settle(hold, 1)
        budget.settle(hold, 1)
        with pytest.raises(RuntimeError, match="once"):
            budget.settle(hold, 1)
        with pytest.raises(RuntimeError, match="once"):
            budget.release(hold)
        with pytest.raises(RuntimeError, match="once"):
            budget.mark_sent(hold, presumed=1)
        late = await budget.reserve(1)
    with pytest.raises(RuntimeError):
        budget.settle(late, 1)
    with pytest.raises(RuntimeError, match="not open"):
        await budget.reserve(1)
    with pytest.raises(RuntimeError, match="once"):
        await budget.__aenter__()
    await budget.close()
    await budget.heartbeat()
    assert (ledger.totals("acc", DAY).settled, ledger.totals("acc", DAY).assumed) == (1, 1)
    assert ledger._db.execute("SELECT COUNT(*) FROM leases WHERE closed = 0").fetchone()[0] == 0


async def test_nothing_is_reserved_before_the_session_is_open(ledger: Ledger, clock: FakeClock) -> None:
    """Nothing at all included."""
    for ceiling in (0, 1):
        with pytest.raises(RuntimeError, match="not open"):
            await session(ledger, clock).reserve(ceiling)


async def test_the_grant_is_on_disk_before_the_reservation_is_handed_out(ledger: Ledger, clock: FakeClock) -> None:
    """A reader of the file sees at least what is reserved, at any moment, and a grant stays near 0.5 % of the day."""
    async with session(ledger, clock) as budget:
        held = 0.0
        reader = sqlite3.connect(ledger.path)
        for ceiling in (1, 7, 30, 0.001, 90):
            await budget.reserve(ceiling)
            held += ceiling
            (granted,) = reader.execute("SELECT granted FROM book").fetchone()
            assert held <= granted <= held + 20
        reader.close()


async def test_closing_gives_back_what_was_not_used_and_keeps_what_is_open(ledger: Ledger, clock: FakeClock) -> None:
    """What nobody settled when a session closes counts as spent, the rest is free again."""
    async with session(ledger, clock) as budget:
        budget.settle(await budget.reserve(10), 2)
        await budget.reserve(3)
    totals = ledger.totals("acc", DAY)
    assert (totals.settled, totals.assumed, totals.booked) == (2, 3, 5)
    assert ledger.job_total("job-1") == 5


async def test_exhausted_names_what_can_still_be_had_in_one_piece(ledger: Ledger, clock: FakeClock) -> None:
    """Asking for `room` after the refusal succeeds, to the last unit."""
    async with session(ledger, clock, per_day=100.1) as budget:
        budget.settle(await budget.reserve(70.07), 33.3)
        with pytest.raises(BudgetExhausted) as refused:
            await budget.reserve(70)
        assert refused.value.room == pytest.approx(66.8)
        budget.settle(await budget.reserve(refused.value.room), refused.value.room)
        with pytest.raises(BudgetExhausted) as refused:
            await budget.reserve(1e-9)
        assert refused.value.room == 0
        assert budget.state().spent == 100.1


async def test_the_whole_budget_fits_in_one_piece(ledger: Ledger, clock: FakeClock) -> None:
    """Float noise never refuses what is exactly there."""
    for number, whole in enumerate((0.29, 0.07, 1.1, 33.333333333, 10_000.0, 1e-9)):
        clock.step(2 * 86_400)
        async with session(ledger, clock, per_day=whole, job=f"j{number}") as budget:
            budget.settle(await budget.reserve(whole), whole)
            assert budget.state().spent <= whole * (1 + 1e-12)


async def test_a_budget_below_what_is_spent_has_no_room(ledger: Ledger, clock: FakeClock) -> None:
    """A budget lowered during the day stops the next run at once, with room 0."""
    async with session(ledger, clock) as budget:
        budget.settle(await budget.reserve(300), 300)
    async with session(ledger, clock, per_day=200) as budget:
        with pytest.raises(BudgetExhausted) as refused:
            await budget.reserve(1)
        assert refused.value.room == 0
        assert budget.state().remaining == 0


async def test_neurons_for_others_are_left(ledger: Ledger, clock: FakeClock) -> None:
    """`reserve_for_others` comes off the day."""
    async with session(ledger, clock, per_day=100, others=40) as budget:
        await budget.reserve(60)
        assert budget.state().budget == 60
    async with session(ledger, clock, per_day=100, others=140, job="b") as budget:
        with pytest.raises(BudgetExhausted):
            await budget.reserve(0.1)


async def test_a_large_request_waits_for_those_in_flight_and_is_not_overtaken(ledger: Ledger, clock: FakeClock) -> None:
    """Waiters are served in order of arrival, also by what the memory path could serve."""
    async with session(ledger, clock, per_day=100) as budget:
        first, second = await budget.reserve(50), await budget.reserve(40)
        order: list[float] = []

        async def ask(ceiling: float) -> None:
            await budget.reserve(ceiling)
            order.append(ceiling)

        async with asyncio.TaskGroup() as group:
            large = group.create_task(ask(60))
            await until_waiting(large)
            budget.settle(first, 10)
            await until_waiting(large)
            small = group.create_task(ask(1))
            await until_waiting(small)
            budget.settle(second, 5)
        assert order == [60, 1]
        assert budget.state().reserved == 61


async def test_who_waits_for_its_own_requests_keeps_what_it_has(ledger: Ledger, clock: FakeClock) -> None:
    """Other runs could take it, and it would wait for them too; only who has nothing in flight gives back."""
    async with session(ledger, clock, per_day=100) as budget:
        held = await budget.reserve(30)
        budget.release(await budget.reserve(40))
        waiting = asyncio.ensure_future(budget.reserve(80))
        await until_waiting(waiting)
        assert ledger.totals("acc", DAY).leased == 40
        n_changes = ledger._db.total_changes
        await until_waiting(waiting)
        assert (ledger._db.total_changes, clock.slept) == (n_changes, []), "it is woken, and does not ask until then"
        budget.settle(held, 20)
        await waiting


async def test_what_is_freed_while_the_book_is_asked_is_not_overlooked(tmp_path: Path, clock: FakeClock) -> None:
    """The last of its own requests comes back while the book still says that it does not fit."""
    with Slow(tmp_path / "ledger.sqlite3", clock) as ledger:
        async with session(ledger, clock, per_day=100) as budget:
            held = await budget.reserve(90)
            ledger.may_lease = threading.Semaphore(0)
            waiting = asyncio.ensure_future(budget.reserve(50))
            assert await asyncio.to_thread(ledger.is_waited_for.wait, 10)
            budget.settle(held, 10)
            ledger.may_lease.release(1_000)
            await waiting
            assert clock.slept == []


async def test_in_flight_that_cannot_free_enough_ends_in_exhausted(ledger: Ledger, clock: FakeClock) -> None:
    """The wait ends with the last own request, not before and not never."""
    async with session(ledger, clock, per_day=100) as budget:
        hold = await budget.reserve(90)
        task = asyncio.ensure_future(budget.reserve(30))
        await until_waiting(task)
        budget.settle(hold, 80)
        with pytest.raises(BudgetExhausted) as refused:
            await task
        assert refused.value.room == 20


async def test_a_cancelled_reserve_leaves_nothing_behind(ledger: Ledger, clock: FakeClock) -> None:
    """Cancelled at any await, no reservation stays, memory and book agree, and the next in the queue goes on."""
    async with session(ledger, clock, per_day=100) as budget:
        for steps in range(12):
            task = asyncio.ensure_future(budget.reserve(50 + steps))
            for _ in range(steps):
                await asyncio.sleep(0)
            if not task.done():
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            else:
                budget.release(await task)
            assert budget.state().reserved == 0
        hold = await budget.reserve(90)
        waiting = asyncio.ensure_future(budget.reserve(50))
        behind = asyncio.ensure_future(budget.reserve(5))
        await until_waiting(waiting)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        budget.release(await behind)
        budget.release(hold)
        await budget.heartbeat()
        assert ledger.totals("acc", DAY).booked == 0
        budget.release(await budget.reserve(100))


async def test_surplus_is_trimmed_when_room_is_scarce_or_another_run_lives(ledger: Ledger, clock: FakeClock) -> None:
    """A heartbeat gives back what another run may need; what is in use stays leased."""
    async with session(ledger, clock) as budget:
        budget.release(await budget.reserve(600))
        kept = await budget.reserve(10)
        await budget.heartbeat()
        assert ledger.totals("acc", DAY).leased == 590, "alone and with room: the lease stays"
        async with session(ledger, clock, job="b") as other:
            await budget.heartbeat()
            await budget.heartbeat()
            assert ledger.totals("acc", DAY).leased == 10
            await other.reserve(950)
            await budget.heartbeat()
            await budget.heartbeat()
            assert ledger.totals("acc", DAY).leased == 0
        budget.settle(kept, 10)


async def test_a_run_waits_for_what_another_may_give_back_and_not_longer(ledger: Ledger, clock: FakeClock) -> None:
    """Polls while others hold enough unspent neurons; gives up once they cannot help or no longer write."""
    async with session(ledger, clock, per_day=100) as one, session(ledger, clock, 100, job="b", total=500) as two:
        held = await one.reserve(80)
        with pytest.raises(BudgetExhausted) as refused:
            await two.reserve(101)
        assert (refused.value.room, two.state().reserved, clock.slept) == (20, 80, [])
        waiting = asyncio.ensure_future(two.reserve(60))
        asleep = asyncio.ensure_future(clock.has_slept.wait())
        await asyncio.wait([waiting, asleep], return_when=asyncio.FIRST_COMPLETED)
        assert asleep.done(), "it gave up although the other may give enough back"
        one.settle(held, 10)
        await one.heartbeat()
        await one.heartbeat()
        two.settle(await waiting, 60)
        assert set(clock.slept) <= {0.25, 0.5, 1.0}
        silent = await one.reserve(25)
        before = clock.elapsed_s
        with pytest.raises(BudgetExhausted):
            await two.reserve(20)
        assert 300 <= clock.elapsed_s - before <= 302, "a run that has not written for 5 minutes is not waited for"
        one.release(silent)


async def test_a_run_waits_for_what_fits_exactly(ledger: Ledger, clock: FakeClock) -> None:
    """All of the budget, once the other has given back all it holds."""
    async with session(ledger, clock, per_day=100) as one, session(ledger, clock, per_day=100, job="b") as two:
        held = await one.reserve(80)
        waiting = asyncio.ensure_future(two.reserve(100))
        await clock.has_slept.wait()
        one.release(held)
        await one.heartbeat()
        await one.heartbeat()
        two.release(await waiting)


async def test_who_waits_for_its_own_requests_finds_what_others_give_back(ledger: Ledger, clock: FakeClock) -> None:
    """With the next heartbeat, though none of its own has come back."""
    async with session(ledger, clock, per_day=100) as one, session(ledger, clock, per_day=100, job="b") as two:
        held, own = await one.reserve(70), await two.reserve(10)
        waiting = asyncio.ensure_future(two.reserve(60))
        await until_waiting(waiting)
        one.release(held)
        for budget in (one, one, two):
            await budget.heartbeat()
        async with asyncio.timeout(5):
            two.release(await waiting)
        two.release(own)


async def test_two_runs_that_lack_what_the_other_holds_both_go_on(ledger: Ledger, clock: FakeClock) -> None:
    """Whoever waits for others holds nothing they could need, so waiting ends."""
    async with session(ledger, clock, per_day=100) as one, session(ledger, clock, per_day=100, job="b") as two:
        first, second = await one.reserve(45), await two.reserve(45)
        one.release(first)
        two.release(second)
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            asked = [group.create_task(one.reserve(70)), group.create_task(two.reserve(70))]
            done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            winner = one if asked[0] in done else two
            winner.settle(next(iter(done)).result(), 20)
            await winner.heartbeat()
            await winner.heartbeat()
        assert ledger.totals("acc", DAY).booked <= 100


async def test_charges_around_midnight_count_on_both_days(ledger: Ledger, clock: FakeClock) -> None:
    """What is in flight from 23:59:50 to 00:00:10 is covered before and after, and settled on both days."""
    clock.at = datetime(2026, 11, 22, 23, 59, 50, tzinfo=UTC)
    async with session(ledger, clock, per_day=100) as budget:
        early = await budget.reserve(30)
        budget.settle(await budget.reserve(10), 10)
        late = await budget.reserve(20)
        clock.step(20)
        budget.settle(late, 15)
        await budget.reserve(5)
        state = budget.state()
        assert (state.day, state.spent, state.reserved) == ("2026-11-23", 15, 35)
        with pytest.raises(BudgetExhausted):
            async with session(ledger, clock, per_day=100, job="b") as other:
                await other.reserve(86)
        budget.settle(early, 25)
        await budget.heartbeat()
        state = budget.state()
        assert (state.spent, state.job_total) == (40, 50)
    old, new = ledger.totals("acc", DAY), ledger.totals("acc", DAY + timedelta(1))
    assert (old.settled, old.booked) == (50, 50)
    assert (new.settled, new.assumed) == (40, 5)
    assert ledger.job_total("job-1") == 55, "a charge that counts on two days is charged to the job once"


async def test_midnight_is_part_of_the_new_day(ledger: Ledger, clock: FakeClock) -> None:
    """To the microsecond: what is charged and reserved at 00:00:00 counts on the day that begins."""
    clock.at = datetime(2026, 11, 22, 23, 59, 59, tzinfo=UTC)
    async with session(ledger, clock) as budget:
        held = await budget.reserve(5)
        budget.release(await budget.reserve(20))
        clock.step(1)
        budget.settle(held, 5)
        budget.release(await budget.reserve(1))
        assert (budget.state().day, budget.state().spent) == ("2026-11-23", 5)


async def test_what_crosses_midnight_takes_its_room_once(ledger: Ledger, clock: FakeClock) -> None:
    """Once on each day, once of the job's total: the rest of both is there for others and for the job itself."""
    clock.at = datetime(2026, 11, 22, 23, 59, 59, tzinfo=UTC)
    async with session(ledger, clock, per_day=100, total=70) as budget:
        held, charged = await budget.reserve(30), await budget.reserve(10)
        clock.step(2)
        await budget.heartbeat()
        async with session(ledger, clock, per_day=100, job="b") as other:
            other.release(await other.reserve(60))
        budget.settle(charged, 10)
        budget.release(held)
        await budget.heartbeat()
        assert clock.slept == []
        budget.settle(await budget.reserve(60), 60)
        assert budget.state().job_total == 70


async def test_midnight_in_a_quiet_session_is_noticed_on_closing(ledger: Ledger, clock: FakeClock) -> None:
    """A charge settled after midnight lands on the new day although nothing else happened."""
    clock.at = datetime(2026, 11, 22, 23, 59, 59, tzinfo=UTC)
    async with session(ledger, clock) as budget:
        settled, open_ = await budget.reserve(8), await budget.reserve(2)
        clock.step(2)
        budget.settle(settled, 6)
        assert open_.neurons == 2
    for day in (DAY, DAY + timedelta(1)):
        totals = ledger.totals("acc", day)
        assert (totals.settled, totals.assumed) == (6, 2)
    async with session(ledger, clock, job="idle"):
        clock.step(86_400)
    assert ledger.report("acc", DAY + timedelta(2)) == [], "nothing was in flight: no lease of the new day"


async def test_room_is_kept_for_a_session_that_has_not_noticed_midnight(ledger: Ledger, clock: FakeClock) -> None:
    """What sleeps across midnight with requests in flight finds its neurons free on the new day."""
    clock.at = datetime(2026, 11, 22, 23, 59, 59, tzinfo=UTC)
    async with session(ledger, clock, per_day=100) as asleep:
        asleep.settle(await asleep.reserve(10), 10)
        held = await asleep.reserve(40)
        clock.step(2)
        async with session(ledger, clock, per_day=100, job="b") as awake:
            awake.settle(await awake.reserve(60), 60)
            with pytest.raises(BudgetExhausted):
                await awake.reserve(1)
            assert awake.state().reserved == 40
            assert 298 <= sum(clock.slept) <= 300, "it may give them back, as long as it writes"
            await asleep.heartbeat()
            asleep.settle(held, 40)
            await asleep.heartbeat()
            assert ledger.totals("acc", DAY + timedelta(1)).booked == 100


async def test_what_crosses_midnight_on_one_account_takes_no_room_of_another(ledger: Ledger, clock: FakeClock) -> None:
    """The lanes of a job are one job, and two allowances."""
    clock.at = datetime(2026, 11, 22, 23, 59, 59, tzinfo=UTC)
    async with (
        session(ledger, clock, 100, account="one") as first,
        session(ledger, clock, 100, account="two") as second,
    ):
        held = await first.reserve(40)
        clock.step(2)
        second.release(await second.reserve(100))
        first.release(held)


async def test_a_clock_set_back_never_reopens_a_spent_day(ledger: Ledger, clock: FakeClock) -> None:
    """Back 2 h over midnight: the running session and new ones stay on the later day."""
    clock.at = datetime(2026, 11, 23, 0, 30, tzinfo=UTC)
    async with session(ledger, clock, per_day=100) as budget:
        budget.settle(await budget.reserve(60), 60)
        clock.step(-2 * 3600)
        await budget.heartbeat()
        budget.settle(await budget.reserve(40), 40)
        assert budget.state().day == "2026-11-23"
        with pytest.raises(BudgetExhausted):
            await budget.reserve(1)
    async with session(ledger, clock, per_day=100) as again:
        assert again.state().day == "2026-11-23"
        with pytest.raises(BudgetExhausted):
            await again.reserve(1)
    assert ledger.day("acc") == date(2026, 11, 23)
    assert ledger.day("another account") == DAY


async def test_a_clock_that_jumped_a_month_ahead_comes_back(ledger: Ledger, clock: FakeClock) -> None:
    """A day far ahead was a mistake: the session returns to the real one, with what it had spent there."""
    async with session(ledger, clock, per_day=100) as budget:
        budget.settle(await budget.reserve(60), 60)
        held = await budget.reserve(10)
        clock.step(30 * 86_400)
        other = await budget.reserve(1)
        assert budget.state().day == "2026-12-22"
        clock.step(-30 * 86_400)
        await budget.heartbeat()
        state = budget.state()
        assert (state.day, state.remaining) == ("2026-11-22", 100 - 60 - 2 * 10 - 1)
        budget.settle(held, 10)
        budget.release(other)
        with pytest.raises(BudgetExhausted):
            await budget.reserve(40)


@pytest.mark.parametrize("days", [2, 30, -2, -400])
async def test_what_was_spent_while_the_clock_was_wrong_counts_on_the_real_day(
    ledger: Ledger, clock: FakeClock, days: int
) -> None:
    """By whom ever: in this run, in one that has ended, in one that has not noticed yet; once, and on no other day."""
    async with (
        session(ledger, clock, per_day=100) as budget,
        session(ledger, clock, per_day=100, job="b") as unaware,
        session(ledger, clock, per_day=100, account="another") as other_account,
    ):
        budget.settle(await budget.reserve(16), 16)
        in_flight = await budget.reserve(4)
        clock.step(days * 86_400)
        budget.settle(await budget.reserve(30), 30)
        budget.settle(in_flight, 4)
        async with session(ledger, clock, per_day=100, job="c") as ended:
            ended.settle(await ended.reserve(8), 8)
            await ended.reserve(2)
        for open_one in (unaware, other_account):
            open_one.settle(await open_one.reserve(5), 5)
            await open_one.heartbeat()
        clock.step(-days * 86_400)
        await budget.heartbeat()
        with pytest.raises(BudgetExhausted) as refused:
            await budget.reserve(100)
        assert refused.value.room == 35
        assert budget.state().spent == 65
        clock.step(4 * 86_400)
        budget.settle(await budget.reserve(100), 100)


@pytest.mark.parametrize("asks", [False, True], ids=["heartbeat", "lease"])
async def test_another_run_that_saw_the_next_day_first_takes_this_one_along(
    ledger: Ledger, clock: FakeClock, asks: bool
) -> None:
    """The book's day is the day of all sessions, from the next time on that they ask it."""
    async with session(ledger, clock, per_day=100) as budget:
        held = await budget.reserve(30)
        clock.step(86_400)
        async with session(ledger, clock, per_day=100, job="b"):
            clock.step(-86_400)
        if asks:
            budget.release(await budget.reserve(70))
        else:
            await budget.heartbeat()
        assert (budget.state().day, budget.state().reserved) == ("2026-11-23", 30)
        budget.settle(held, 1)


async def test_a_job_total_binds_across_days_and_sessions(ledger: Ledger, clock: FakeClock) -> None:
    """`neurons_total` counts all days, accounts and resumes of a job, and no other job."""
    for _ in range(2):
        async with session(ledger, clock, per_day=100, total=150) as budget:
            budget.settle(await budget.reserve(60), 60)
        clock.step(86_400)
    async with session(ledger, clock, per_day=100, total=150) as budget:
        with pytest.raises(BudgetExhausted) as refused:
            await budget.reserve(31)
        assert refused.value.room == 30
        budget.settle(await budget.reserve(20), 20)
        await budget.heartbeat()
        async with session(ledger, clock, per_day=100, total=150, account="another") as elsewhere:
            with pytest.raises(BudgetExhausted) as refused:
                await elsewhere.reserve(11)
            assert (refused.value.room, elsewhere.state().spent) == (10, 0)
            elsewhere.settle(await elsewhere.reserve(10), 10)
            assert elsewhere.state().job_total == 150
        async with session(ledger, clock, per_day=100, total=150) as second:
            assert (second.state().spent, second.state().job_total) == (20, 150)
    async with session(ledger, clock, per_day=100, total=150, job="b") as budget:
        await budget.reserve(70)


async def test_a_job_total_binds_sessions_that_are_open_at_once(ledger: Ledger, clock: FakeClock) -> None:
    """The lanes of a run, on two accounts: what one has leased the other lacks, until it gives it back."""
    async with (
        session(ledger, clock, total=100, account="one") as first,
        session(ledger, clock, total=100, account="two") as second,
        session(ledger, clock, total=100, account="two", job="b") as other,
    ):
        other.settle(await other.reserve(60), 60)
        await other.heartbeat()
        held = await first.reserve(70)
        with pytest.raises(BudgetExhausted) as refused:
            await second.reserve(101)
        assert (refused.value.room, clock.slept) == (30, [])
        waiting = asyncio.ensure_future(second.reserve(80))
        await clock.has_slept.wait()
        first.settle(held, 15)
        await first.heartbeat()
        await first.heartbeat()
        second.settle(await waiting, 80)
        assert (second.state().job_total, second.state().spent) == (95, 140)
        await other.reserve(40)


async def test_a_charge_above_its_ceiling_is_booked(ledger: Ledger, clock: FakeClock) -> None:
    """Truth goes before the limit: the book says what was charged, and the excess comes off the room."""
    async with session(ledger, clock, per_day=100) as budget:
        budget.settle(await budget.reserve(10), 25)
        budget.settle(await budget.reserve(10), 10)
        assert ledger.totals("acc", DAY).booked >= 25
        with pytest.raises(BudgetExhausted) as refused:
            await budget.reserve(66)
        assert refused.value.room == 65
        budget.settle(await budget.reserve(65), 80)
        with pytest.raises(BudgetExhausted) as refused:
            await budget.reserve(0.5)
        assert refused.value.room == 0
        assert budget.state().spent == 115
        budget.settle(await budget.reserve(0), 1)
    assert ledger.totals("acc", DAY).settled == 116


async def test_prices_that_rise_for_what_is_in_flight_grant_nothing(ledger: Ledger, clock: FakeClock) -> None:
    """Set aside anew, what is in flight may pass the budget; what it then settles below that is no room to spend."""
    async with session(ledger, clock, per_day=100) as budget:
        held = [await budget.reserve(10) for _ in range(9)]
        budget.learn(2)
        await budget.heartbeat()
        for hold in held:
            budget.settle(hold, 10)
        with pytest.raises(BudgetExhausted) as refused:
            await budget.reserve(6)
        assert refused.value.room == 5
        await budget.reserve(5)
        assert ledger.totals("acc", DAY).booked == 100


async def test_many_small_charges_do_not_drift(ledger: Ledger, clock: FakeClock) -> None:
    """100,000 charges that no float holds exactly add up to the budget and not past it."""
    async with session(ledger, clock, per_day=10_000) as budget:
        for _ in range(100_000):
            budget.settle(await budget.reserve(0.1), 0.1)
        with pytest.raises(BudgetExhausted):
            await budget.reserve(1e-9)
        assert budget.state().spent == 10_000


async def test_a_book_that_cannot_be_written_reserves_nothing(ledger: Ledger, clock: FakeClock) -> None:
    """A failing ledger stops reservations beyond the lease and the change of day, and loses no charge."""
    budget = session(ledger, clock)
    await budget.__aenter__()
    hold = await budget.reserve(5)
    ledger.disconnect()
    with pytest.raises(LedgerError, match="ledger"):
        await budget.reserve(500)
    clock.step(86_400)
    with pytest.raises(LedgerError):
        await budget.heartbeat()
    budget.settle(hold, 5)
    assert (budget.state().spent, budget.state().reserved) == (5, 0)
    with pytest.raises(LedgerError):
        await budget.close()


class Dayless(Ledger):
    """A book that cannot say which day it is."""

    def day(self, account: str) -> date:
        raise LedgerError(f"no day for {account}")


async def test_a_session_that_cannot_open_reserves_nothing(tmp_path: Path, clock: FakeClock) -> None:
    """The error is told, and there is nothing to close."""
    with Dayless(tmp_path / "ledger.sqlite3", clock) as ledger:
        budget = session(ledger, clock)
        with pytest.raises(LedgerError, match="no day"):
            await budget.__aenter__()
        with pytest.raises(RuntimeError, match="not open"):
            await budget.reserve(0)
        await budget.close()


async def test_a_book_that_another_program_holds_reserves_nothing(
    ledger: Ledger, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run ends and says why; when it is free again, everything is there."""
    monkeypatch.setattr(schema, "BUSY_TIMEOUT_S", 0.01)
    with Ledger(ledger.path, clock) as impatient:
        async with session(impatient, clock) as budget:
            hold = await budget.reserve(5)
            holder = sqlite3.connect(ledger.path)
            holder.execute("BEGIN IMMEDIATE")
            for ask in (budget.reserve(500), budget.heartbeat()):
                with pytest.raises(LedgerError, match="held by another program"):
                    await ask
            assert budget.state().reserved == 5
            holder.close()
            budget.settle(hold, 3)
            budget.release(await budget.reserve(500))
    assert ledger.totals("acc", DAY).booked == 3


async def test_the_memory_path_costs_microseconds(tmp_path: Path) -> None:
    """Prints the figure; a machine under load is no reason to fail."""
    with Ledger(tmp_path / "ledger.sqlite3", SystemClock()) as ledger:
        async with BudgetSession(
            ledger, account="a", job_id="j", job_name="j", model="m", neurons_per_day=1e6, clock=SystemClock()
        ) as budget:
            budget.release(await budget.reserve(10_000))
            n_rounds = 20_000
            began = time.perf_counter()
            for _ in range(n_rounds):
                budget.settle(await budget.reserve(0.01), 0.005)
            each_us = (time.perf_counter() - began) / n_rounds * 1e6
            print(f"\nreserve + settle in memory: {each_us:.2f} us")  # noqa: T201 - a figure to read with -s
            assert budget.state().spent == 100


async def test_polling_does_not_depend_on_real_time(ledger: Ledger, clock: FakeClock) -> None:
    """Pauses go through the injected clock, first short, then a second."""
    assert session_module._POLL_S == (0.25, 1.0)
    async with session(ledger, clock, per_day=100) as one, session(ledger, clock, per_day=100, job="b") as two:
        await one.reserve(90)
        with pytest.raises(BudgetExhausted):
            await two.reserve(20)
    assert clock.slept[:3] == [0.25, 0.5, 1.0]


async def test_a_crowd_that_once_waited_for_the_book_does_not_queue_for_ever(ledger: Ledger, clock: FakeClock) -> None:
    """Whoever fits beside all that wait takes its neurons at once: a queue that has formed empties by itself."""
    async with session(ledger, clock, per_day=1_000_000) as budget:
        turns = _CountedTurns(budget)

        async def worker() -> None:
            for _ in range(30):
                reservation = await budget.reserve(1)
                await asyncio.sleep(0)
                budget.settle(reservation, 1)

        await asyncio.gather(*(worker() for _ in range(50)))
        assert turns.n < 300  # of 1,500


async def test_nothing_is_taken_past_those_who_wait(ledger: Ledger, clock: FakeClock) -> None:
    """What is freed for a large request is not nibbled away by small ones that came later."""
    async with session(ledger, clock, per_day=100) as budget:
        held = [await budget.reserve(50), await budget.reserve(50)]
        large = asyncio.create_task(budget.reserve(80))
        await until_waiting(large)
        small = asyncio.create_task(budget.reserve(10))
        await until_waiting(small)
        budget.settle(held[0], 0)
        await until_waiting(large)
        await until_waiting(small)  # 50 are free, and it asks for 10
        budget.settle(held[1], 0)
        budget.release(await large)
        budget.release(await small)


class _CountedTurns:
    """Counts who had to wait for a turn."""

    def __init__(self, budget: BudgetSession) -> None:
        self.n = 0
        self._turn = budget._turn
        budget._turn = self  # type: ignore[assignment]

    async def __aenter__(self) -> None:
        self.n += 1
        await self._turn.acquire()

    async def __aexit__(self, *_: object) -> None:
        self._turn.release()


class Slow(Ledger):
    """A book that takes its time to say which day it is, or how much was leased, once it is told to."""

    def __init__(self, path: Path, clock: FakeClock) -> None:
        super().__init__(path, clock)
        self.may_tell = self.may_lease = threading.Semaphore(1_000)
        self.is_waited_for = threading.Event()

    def wait(self, turns: threading.Semaphore) -> None:
        if not turns.acquire(blocking=False):
            self.is_waited_for.set()
            assert turns.acquire(timeout=10)

    def day(self, account: str) -> date:
        self.wait(self.may_tell)
        return super().day(account)

    def extend(self, progress: Progress, **asked: Any) -> Extension:
        extension = super().extend(progress, **asked)
        self.wait(self.may_lease)
        return extension


async def test_what_was_given_back_is_not_taken_while_the_book_is_written(tmp_path: Path, clock: FakeClock) -> None:
    """Who waits for others holds nothing: not even between the transaction that says so and its answer."""
    with Slow(tmp_path / "ledger.sqlite3", clock) as ledger, Ledger(ledger.path, clock) as reader:
        async with session(ledger, clock, per_day=100) as budget, session(reader, clock, per_day=100, job="b") as other:
            budget.release(await budget.reserve(10))
            kept = await other.reserve(85)
            ledger.may_lease = threading.Semaphore(0)
            asking = asyncio.create_task(budget._keeper.extend(need=30 * 10**9, want=0))
            assert await asyncio.to_thread(ledger.is_waited_for.wait, 10)
            taken = asyncio.create_task(budget.reserve(8))
            other.release(kept)
            other.settle(await other.reserve(100), 100)
            ledger.may_lease.release(1_000)
            await asking
            with pytest.raises(BudgetExhausted):
                await taken
        assert reader.totals("acc", DAY).booked == 100


async def test_nothing_is_taken_while_two_tasks_follow_the_day(tmp_path: Path, clock: FakeClock) -> None:
    """At midnight the heartbeat and a request may both open the new day's lease: the second finds it open.

    What would be reserved meanwhile, next to nothing included, would belong to a lease that is given up.
    """
    with Slow(tmp_path / "ledger.sqlite3", clock) as ledger:
        async with session(ledger, clock) as budget:
            in_flight = await budget.reserve(5)
            clock.step(12 * 3600 + 1)
            ledger.may_tell = threading.Semaphore(1)  # for the first of the two
            beats = [asyncio.create_task(budget.heartbeat()) for _ in range(2)]
            assert await asyncio.to_thread(ledger.is_waited_for.wait, 10)
            budget.settle(in_flight, 1.0)  # leaves room in the new lease
            meanwhile = asyncio.create_task(budget.reserve(2))
            await until_waiting(meanwhile)
            ledger.may_tell.release(1_000)
            await asyncio.gather(*beats)
            budget.settle(await meanwhile, 1.5)
        assert ledger.totals("acc", DAY + timedelta(days=1)).settled == 2.5

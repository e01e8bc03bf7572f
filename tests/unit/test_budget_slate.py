"""Slates: what a dead process had not spent comes back, and never more than that."""

import asyncio
import os
import sqlite3
import struct
import zlib
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.budget import BudgetSession, Ledger, process, schema
from pipeline.budget.process import ProcessMark
from pipeline.budget.slate import Shown, Slate, read_slate
from pipeline.errors import BudgetExhausted, LedgerError
from tests.support.clocks import FakeClock

DAY = date(2026, 11, 22)
N = 1_000_000_000


class Machine:
    """Processes on one ledger, each of which lives, is dead, or cannot be asked."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ledger.sqlite3"
        self.clock = FakeClock()
        self.lives: dict[int, bool | None] = {}
        self.started = 7

    def ledger(self, pid: int) -> Ledger:
        self.lives.setdefault(pid, True)
        mark = ProcessMark(pid=pid, started=self.started, host="here")
        return Ledger(self.path, self.clock, process=mark, alive=lambda mark: self.lives[mark.pid])

    def session(self, pid: int, *, per_day: float = 100.0, model: str = "m") -> BudgetSession:
        return BudgetSession(
            self.ledger(pid), account="acc", job_id=f"job-{pid}", job_name="j", model=model,
            neurons_per_day=per_day, clock=self.clock,
        )  # fmt: skip

    def slates(self) -> list[Path]:
        return sorted((self.path.parent / "leases").glob("*"))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


async def a_victim(machine: Machine) -> BudgetSession:
    """A process that has settled 2 of 20, has 30 in flight (presumed 12), and 40 reserved that have not left."""
    victim = await machine.session(1).__aenter__()
    first = await victim.reserve(20)
    victim.mark_sent(first, presumed=20)
    victim.settle(first, 2)
    victim.mark_sent(await victim.reserve(30), presumed=12)
    await victim.reserve(40)
    return victim


async def test_what_a_dead_process_never_sent_comes_back(machine: Machine) -> None:
    """Settled counts, in flight counts as presumed, and the rest of the grant is free: no heartbeat was needed."""
    await a_victim(machine)
    with machine.ledger(2) as reader:
        assert reader.totals("acc", DAY).booked >= 72
        machine.lives[1] = False
        assert reader.job_total("job-1") == 14
        totals = reader.totals("acc", DAY)
        assert (totals.settled, totals.assumed, totals.booked, totals.requests) == (2, 12, 14, 1)
    async with machine.session(2) as heir:
        heir.release(await heir.reserve(86))
        with pytest.raises(BudgetExhausted):
            await heir.reserve(86.5)


async def test_what_is_in_flight_counts_by_what_was_presumed_and_at_most_its_ceiling(machine: Machine) -> None:
    """Prices that prove higher raise it, though nobody lives to say so; what was settled counts as charged."""
    victim = await machine.session(1, per_day=1000).__aenter__()
    first, second = await victim.reserve(10), await victim.reserve(10)
    await victim.reserve(10)
    victim.mark_sent(first, presumed=4)
    victim.mark_sent(second, presumed=50)
    victim.release(await victim.reserve(100))
    machine.lives[1] = False
    with machine.ledger(2) as reader:
        shown = read_slate(machine.slates()[0])
        assert shown == Shown(settled=0, sent=14 * N, carried=0, requests=0)
        victim.learn(3.0)
        shown = read_slate(machine.slates()[0])
        assert shown == Shown(settled=0, sent=(4 + 20 + 10 + 20) * N, carried=0, requests=0)
        victim.settle(first, 1)
        victim.settle(second, 29)
        assert reader.totals("acc", DAY).booked == 30


async def test_a_living_run_gets_it_too(machine: Machine) -> None:
    """A run that waits for neurons finds those of a process that dies meanwhile."""
    async with machine.session(2) as heir:
        await a_victim(machine)
        machine.lives[1] = False
        heir.release(await heir.reserve(86))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda machine: machine.slates()[0].unlink(),
        lambda machine: machine.slates()[0].write_bytes(b""),
        lambda machine: machine.slates()[0].write_bytes(machine.slates()[0].read_bytes()[:-1]),
        lambda machine: machine.slates()[0].write_bytes(b"\0" * 44),
        lambda machine: machine.slates()[0].write_bytes(
            machine.slates()[0].read_bytes()[:20] + b"\1" + machine.slates()[0].read_bytes()[21:]
        ),
    ],
    ids=["gone", "empty", "cut", "zeros", "bit flip"],
)
async def test_nothing_shown_means_all_of_it_is_spent(machine: Machine, spoil: Callable[[Machine], object]) -> None:
    """Without a slate that is whole the grant counts in full."""
    await a_victim(machine)
    with machine.ledger(2) as reader:
        granted = reader.totals("acc", DAY).booked
        spoil(machine)
        machine.lives[1] = False
        assert reader.totals("acc", DAY).booked == granted


async def test_after_a_crash_of_the_machine_the_slate_is_not_believed(machine: Machine) -> None:
    """Another boot: what was not synced may be old, so the whole grant counts."""
    await a_victim(machine)
    with machine.ledger(2) as reader:
        granted = reader.totals("acc", DAY).booked
        machine.lives[1] = None
        machine.clock.at += timedelta(seconds=61)
        assert reader.totals("acc", DAY).booked == granted


async def test_where_the_system_does_not_tell_start_times_it_is_not_believed(machine: Machine) -> None:
    """There a reboot cannot be told from a death."""
    machine.started = 0
    await a_victim(machine)
    with machine.ledger(2) as reader:
        granted = reader.totals("acc", DAY).booked
        machine.lives[1] = False
        assert reader.totals("acc", DAY).booked == granted


async def test_in_flight_at_midnight_it_counts_on_both_days(machine: Machine) -> None:
    """Killed after the change of day: what was in flight may land on either."""
    victim = await a_victim(machine)
    machine.clock.at = datetime(2026, 11, 23, 0, 0, 1, tzinfo=UTC)
    await victim.heartbeat()
    assert len(machine.slates()) == 2
    machine.lives[1] = False
    with machine.ledger(2) as reader:
        assert reader.totals("acc", DAY).booked == 14
        assert reader.totals("acc", DAY + timedelta(days=1)).booked == 12


async def test_charged_on_both_sides_of_midnight_it_counts_once_of_the_job(machine: Machine) -> None:
    """Killed after the change of day, and before the book knew of the charge."""
    victim = await a_victim(machine)
    machine.clock.at = datetime(2026, 11, 23, 0, 0, 1, tzinfo=UTC)
    await victim.heartbeat()
    victim.settle(next(hold for hold in victim._keeper.holds if hold.sent), 9)
    machine.lives[1] = False
    with machine.ledger(2) as reader:
        assert reader.job_total("job-1") == 11
        days = [reader.totals("acc", day) for day in (DAY, DAY + timedelta(days=1))]
        assert [(day.booked, day.requests) for day in days] == [(11, 2), (9, 0)]


async def test_a_clean_end_leaves_no_slate_and_a_dead_one_is_swept(machine: Machine) -> None:
    """The folder does not grow."""
    await a_victim(machine)
    machine.lives[1] = False
    async with machine.session(2):
        assert [path.name.split("-")[1] for path in machine.slates()] == ["2"]
    assert machine.slates() == []


async def test_a_slate_that_cannot_be_written_is_given_up(machine: Machine, tmp_path: Path) -> None:
    """The run goes on; the lease counts in full if it dies."""
    (tmp_path / "leases").write_text("in the way")
    await a_victim(machine)
    machine.lives[1] = False
    with machine.ledger(2) as reader:
        assert reader.totals("acc", DAY).booked >= 72


@pytest.mark.parametrize("spared", ["ftruncate", "unlink", ""])
async def test_what_can_be_noted_nowhere_does_not_leave(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, spared: str
) -> None:
    """The disk turns read-only: an old slate that stays would be believed. One that is emptied or removed is not."""
    victim = await machine.session(1).__aenter__()
    victim.mark_sent(await victim.reserve(10), presumed=10)
    next_one = await victim.reserve(20)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patch:
        for name, owner in {"pwrite": os, "ftruncate": os, "unlink": Path}.items():
            if name != spared:
                patch.setattr(owner, name, refuse)
        if spared:
            victim.mark_sent(next_one, presumed=20)
        else:
            with pytest.raises(LedgerError, match="WAI_STATE_DIR"):
                victim.mark_sent(next_one, presumed=20)
    machine.lives[1] = False
    with machine.ledger(2) as reader:
        assert reader.totals("acc", DAY).booked >= (30 if spared else 10)


def test_a_slate_shows_what_was_written_last(tmp_path: Path) -> None:
    """Round trip; removed means nothing is shown, and no file stays open."""
    slate = Slate(tmp_path / "leases" / "1-2-3")
    descriptor = slate._fd
    assert read_slate(tmp_path / "leases" / "1-2-3") is None
    slate.write(1, 2, 0, 1)
    slate.write(10**18, 5, 10**17, 9)
    assert read_slate(tmp_path / "leases" / "1-2-3") == Shown(10**18, 5, 10**17, 9)
    slate.remove()
    slate.remove()
    slate.write(1, 1, 0, 1)
    assert read_slate(tmp_path / "leases" / "1-2-3") is None
    assert descriptor is not None
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_a_slate_left_behind_under_its_name_is_not_taken_over(tmp_path: Path) -> None:
    """Lease numbers begin again in a new book: what stands there is another lease's."""
    path = tmp_path / "1-2-3"
    left = Slate(path)
    left.write(5, 5, 0, 5)
    Slate(path)
    left.write(6, 6, 0, 6)
    assert read_slate(path) is None


@pytest.mark.parametrize(
    ("magic", "figures", "is_believed"),
    [
        (b"WAISLAT1", (7, 0, 0, 1), True),
        (b"WAISLAT1", (7, 3, 7, 1), True),
        (b"WAISLAT2", (7, 3, 7, 1), False),
        (b"WAISLAT1", (7, 3, 8, 1), False),
        (b"WAISLAT1", (7, 3, -1, 1), False),
        (b"WAISLAT1", (7, -1, 0, 1), False),
    ],
)
def test_a_slate_that_makes_no_sense_is_not_believed(
    tmp_path: Path, magic: bytes, figures: tuple[int, int, int, int], is_believed: bool
) -> None:
    """Of another version, or of figures that the book could not hold."""
    fields = struct.pack("<8s4q", magic, *figures)
    (tmp_path / "slate").write_bytes(fields + struct.pack("<I", zlib.crc32(fields)))
    assert read_slate(tmp_path / "slate") == (Shown(*figures) if is_believed else None)


async def test_charged_after_midnight_and_killed_before_the_book_knew(machine: Machine) -> None:
    """What was settled on the old lease after 00:00 counts on the new day as well: it was charged there."""
    machine.clock.at = datetime(2026, 11, 22, 23, 59, 59, tzinfo=UTC)
    victim = await machine.session(1).__aenter__()
    holds = [await victim.reserve(10) for _ in range(5)]
    for hold in holds:
        victim.mark_sent(hold, presumed=10)
    victim.release(await victim.reserve(20))
    machine.clock.at = datetime(2026, 11, 23, 0, 0, 1, tzinfo=UTC)
    for hold in holds:
        victim.settle(hold, 10)
    machine.lives[1] = False
    async with machine.session(2) as heir:
        with pytest.raises(BudgetExhausted) as refused:
            await heir.reserve(51)
        assert refused.value.room == 50
        with machine.ledger(3) as reader:
            assert reader.totals("acc", DAY).booked == 50


async def test_two_changes_of_day_at_once_owe_nothing(machine: Machine) -> None:
    """A heartbeat and a reservation at midnight: what is settled meanwhile is not charged again the day after."""
    machine.clock.at = datetime(2026, 11, 22, 23, 59, 59, tzinfo=UTC)
    async with machine.session(1) as budget:
        hold = await budget.reserve(50)
        machine.clock.at = datetime(2026, 11, 23, 0, 0, 1, tzinfo=UTC)
        keeper = budget._keeper
        first, second = (asyncio.ensure_future(keeper.change_day()) for _ in range(2))
        await first
        budget.settle(hold, 50)
        await second
        assert keeper.lease.late == 0
        machine.clock.at = datetime(2026, 11, 24, 0, 0, 1, tzinfo=UTC)
        await budget.heartbeat()
        assert budget.state().spent == 0


async def test_one_buried_by_mistake_cannot_take_back_what_came_free(machine: Machine) -> None:
    """It lives after all: its next heartbeat leaves it what it had spent, and asks for the rest anew."""
    mistaken = await a_victim(machine)
    mistaken.release(await mistaken.reserve(20))
    machine.lives[1] = False
    async with machine.session(2) as heir:
        heir.settle(await heir.reserve(86), 86)
        machine.lives[1] = True
        await mistaken.heartbeat()
        assert mistaken._keeper.lease.free <= 0
        with machine.ledger(3) as reader:
            assert reader.totals("acc", DAY).settled <= 100
        with pytest.raises(BudgetExhausted):
            await asyncio.wait_for(heir.reserve(1), 5)


async def test_a_slate_that_knows_less_than_the_book_is_not_believed(machine: Machine) -> None:
    """It could not be written any more, nor removed."""
    victim = await machine.session(1).__aenter__()
    hold = await victim.reserve(30)
    victim.mark_sent(hold, presumed=30)
    old = machine.slates()[0].read_bytes()
    victim.settle(hold, 25)
    await victim.heartbeat()
    machine.slates()[0].write_bytes(old)
    machine.lives[1] = False
    with machine.ledger(2) as reader:
        assert reader.totals("acc", DAY).booked >= 30


def test_what_cannot_be_looked_up_is_not_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """No descriptor left, no permission: that says nothing of the process."""
    me = process.current_process()
    assert process.is_alive(me) is True
    for error in (PermissionError(), OSError(24, "too many open files")):

        def refuse(*_: object, error: OSError = error, **__: object) -> str:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(Path, "read_text", refuse)
            assert process.is_alive(me) is None


# -- prices that prove wrong ------------------------------------------------------------------------------------


async def test_a_learned_ratio_makes_reservations_larger_also_those_that_are_open(machine: Machine) -> None:
    """The meter said three times the ceiling: everything is set aside at three times."""
    async with machine.session(1) as budget:
        hold, waiting = await budget.reserve(10), await budget.reserve(5)
        budget.mark_sent(hold, presumed=10)
        budget.settle(hold, 30)
        budget.learn(3.0)
        assert budget.state().reserved == 15
        assert waiting.neurons == 15
        third = await budget.reserve(10)
        assert third.neurons == 30
        budget.release(third)
        budget.learn(2.0)
        budget.learn(float("inf"))
        budget.settle(waiting, 25)
        with pytest.raises(BudgetExhausted) as refused:
            await budget.reserve(16)
        assert refused.value.room == 15  # 45 neurons, by the price table


async def test_other_runs_of_the_model_learn_it_for_the_day(machine: Machine) -> None:
    """Through the book, with the next heartbeat; another model and the next day keep the price table."""
    async with machine.session(1) as first, machine.session(2) as second, machine.session(3, model="n") as other:
        first.learn(2.0)
        second.learn(1.5)
        await first.heartbeat()
        await second.heartbeat()
        await other.heartbeat()
        assert (await second.reserve(1)).neurons == 2
        assert (await other.reserve(1)).neurons == 1
    async with machine.session(4) as third:
        assert (await third.reserve(1)).neurons == 2
        machine.clock.at = datetime(2026, 11, 23, 0, 0, 1, tzinfo=UTC)
        assert (await third.reserve(1)).neurons == 1


# -- what was spent elsewhere -----------------------------------------------------------------------------------


async def test_reconciling_takes_the_higher_and_keeps_it(machine: Machine) -> None:
    """What the service saw beyond the book is spent; what it has not seen yet proves nothing."""
    async with machine.session(1) as budget:
        budget.settle(await budget.reserve(10), 10)
        await budget.heartbeat()
        with machine.ledger(2) as ledger:
            ours = ledger.totals("acc", DAY).booked
            less = ledger.reconcile("acc", DAY, 4.0)
            assert (less.ours, less.theirs, less.elsewhere) == (ours, 4.0, 0.0)
            assert len(ledger.report("acc")) == 1, "nothing elsewhere, so no row for it"
            assert ledger.reconcile("acc", DAY, ours + 10).elsewhere == 10
            assert ledger.reconcile("acc", DAY, ours + 40).elsewhere == 40
            assert ledger.reconcile("acc", DAY, ours + 30).elsewhere == 40
            assert ledger.totals("acc", DAY).booked == ours + 40
            assert [row.job_name for row in ledger.report("acc") if row.settled == 40] == ["other use of the account"]
        await budget.heartbeat()
        assert budget.state().spent == 50
        assert budget.state().job_total == 10
        with pytest.raises(BudgetExhausted) as refused:
            await budget.reserve(51)
        assert refused.value.room == 50


def test_each_day_is_reconciled_by_itself(machine: Machine) -> None:
    """What others used yesterday stays there, and is not held against today."""
    with machine.ledger(1) as ledger:
        days = (DAY, DAY + timedelta(days=1))
        assert [ledger.reconcile("acc", day, theirs).elsewhere for day, theirs in zip(days, (40, 30), strict=True)] == [
            40,
            30,
        ]
        assert [ledger.totals("acc", day).booked for day in days] == [40, 30]


async def test_what_may_land_after_midnight_is_not_taken_for_others(machine: Machine) -> None:
    """A run that died at 23:59 with requests in flight: the service counts them today, and so does the book."""
    machine.clock.at = datetime(2026, 11, 22, 23, 59, 55, tzinfo=UTC)
    victim = await machine.session(1).__aenter__()
    victim.mark_sent(await victim.reserve(30), presumed=30)
    await victim.heartbeat()
    machine.lives[1] = False
    machine.clock.at = datetime(2026, 11, 23, 0, 0, 30, tzinfo=UTC)
    with machine.ledger(2) as ledger:
        assert ledger.reconcile("acc", DAY + timedelta(days=1), 30.0).elsewhere == 0


async def test_what_a_dead_run_never_sent_does_not_hide_what_others_used(machine: Machine) -> None:
    """It had leased 72 and more; 14 are what the service can have counted."""
    await a_victim(machine)
    machine.lives[1] = False
    with machine.ledger(2) as ledger:
        assert ledger.reconcile("acc", DAY, 40.0).elsewhere == 26


async def test_what_crosses_midnight_unnoticed_is_not_taken_for_others(machine: Machine) -> None:
    """A run that lives and has not opened its lease of the new day yet."""
    machine.clock.at = datetime(2026, 11, 22, 23, 59, 55, tzinfo=UTC)
    async with machine.session(1) as unaware:
        unaware.settle(await unaware.reserve(7), 7)
        await unaware.reserve(30)
        machine.clock.at = datetime(2026, 11, 23, 0, 0, 5, tzinfo=UTC)
        with machine.ledger(2) as ledger:
            seen = ledger.reconcile("acc", DAY + timedelta(days=1), 41.0)
            assert (seen.ours, seen.elsewhere) == (pytest.approx(30, abs=0.6), pytest.approx(11, abs=0.6))


async def test_what_is_in_flight_is_not_taken_for_others(machine: Machine) -> None:
    """The service may have metered what we have not settled yet: it is not counted twice."""
    async with machine.session(1) as budget:
        await budget.reserve(30)
        with machine.ledger(2) as ledger:
            assert ledger.reconcile("acc", DAY, 30.0).elsewhere == 0


@pytest.mark.parametrize("version", range(1, schema.VERSION))
def test_a_book_of_an_earlier_format_is_taken_over(machine: Machine, version: int) -> None:
    """Nothing that was spent is forgotten by an upgrade, and it is then like any other."""
    db = sqlite3.connect(machine.path)
    db.executescript("".join(schema._STEPS[:version]) + f"PRAGMA user_version = {version};")
    db.execute(
        "INSERT INTO leases (account, day, job_id, job_name, model, pid, pid_started, host, granted, settled, reserved,"
        " updated_at, closed) VALUES ('acc', '2026-11-22', 'j', 'j', 'm', 1, 1, '', 5, 5000000000, 0, 0, 1)"
    )
    db.commit()
    db.close()
    for _ in range(2):
        with machine.ledger(1) as ledger:
            assert ledger.totals("acc", DAY).settled == 5
    db = sqlite3.connect(machine.path)
    made = db.execute("SELECT sql FROM sqlite_master ORDER BY name").fetchall()
    db.close()
    machine.path = machine.path.with_name("new")
    machine.ledger(1).disconnect()
    db = sqlite3.connect(machine.path)
    assert db.execute("SELECT sql FROM sqlite_master ORDER BY name").fetchall() == made
    db.close()

"""The ledger's file, its sums and its report."""

import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.budget import Ledger
from pipeline.budget.book import Holder, Limits, Progress
from pipeline.budget.process import ProcessMark, current_process, is_alive
from pipeline.budget.schema import VERSION
from pipeline.budget.units import allowance_units, cost_units, to_neurons
from pipeline.errors import LedgerError
from tests.support.cli import ROOT
from tests.support.mounts import bound_by_permissions

DAY = date(2026, 11, 22)
N = 1_000_000_000


class FakeClock:
    """Time that stands."""

    def __init__(self) -> None:
        self.at = datetime(2026, 11, 22, 12, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        raise AssertionError(f"the ledger does not wait, not for {seconds} s")


def holder(job: str = "job") -> Holder:
    return Holder(account="acc", job_id=job, job_name=job, model="m")


def test_folder_and_files_are_private(tmp_path: Path) -> None:
    """0700 and 0600, whatever the umask; the write-ahead log and the slates too; every commit is synced."""
    old = os.umask(0)
    try:
        path = tmp_path / "a" / "state" / "ledger.sqlite3"
        with Ledger(path, FakeClock()) as ledger:
            ledger.slate(ledger.open_lease(holder(), DAY))
            found = [path.parent, *path.parent.rglob("*")]
            assert {stat.S_IMODE(file.stat().st_mode) for file in found if file.is_dir()} == {0o700}
            assert {stat.S_IMODE(file.stat().st_mode) for file in found if file.is_file()} == {0o600}
            assert len(found) >= 5
            assert ledger._db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
            assert ledger._db.execute("PRAGMA synchronous").fetchone()[0] == 2
    finally:
        os.umask(old)


def _folder_is_a_file(path: Path) -> None:
    path.parent.write_text("")


def _book_is_a_folder(path: Path) -> None:
    path.mkdir(parents=True)


def _text(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("not a database, and long enough to be looked at as one " * 50)


def _flipped(path: Path) -> None:
    with Ledger(path, FakeClock()) as ledger:
        ledger._db.execute("PRAGMA synchronous = OFF")
        for number in range(200):
            ledger.open_lease(holder(f"job {number}" * 20), DAY)
    content = bytearray(path.read_bytes())
    for at in range(2 * 4096, len(content)):
        content[at] ^= 0xA5
    path.write_bytes(content)


def _newer(path: Path) -> None:
    Ledger(path, FakeClock()).disconnect()
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version = {VERSION + 1}")
    db.close()


def _foreign(path: Path) -> None:
    path.parent.mkdir()
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE songs (title)")
    db.close()


@pytest.mark.parametrize(
    ("breaks", "says"),
    [
        (_folder_is_a_file, "WAI_STATE_DIR"),
        (_book_is_a_folder, "WAI_STATE_DIR"),
        (_text, "Move the file away"),
        (_flipped, "Move the file away"),
        (_newer, "newer version"),
        (_foreign, "something else"),
    ],
)
def test_an_unusable_file_is_named_with_what_to_do(tmp_path: Path, breaks: Callable[[Path], None], says: str) -> None:
    """Damaged, newer, foreign or unwritable: one error that names the path; the file is left alone."""
    path = tmp_path / "state" / "ledger.sqlite3"
    breaks(path)
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(LedgerError, match=says) as error:
        Ledger(path, FakeClock())
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    if "Move" in says:  # an empty book lets the day be spent again, unless Cloudflare is asked
        assert "wai budget --reconcile" in str(error.value)
    assert (path.read_bytes() if path.is_file() else b"") == before


def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    """The message names the setting that points elsewhere; in a process that root's rights do not help."""
    folder = tmp_path / "state"
    folder.mkdir(mode=0o500)
    script = (
        "import sys; from pipeline.budget.schema import connect; from pathlib import Path; connect(Path(sys.argv[1]))"
    )
    command = [*bound_by_permissions(), sys.executable, "-c", script, str(folder / "ledger.sqlite3")]
    it = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    last = it.stderr.splitlines()[-1]
    assert "LedgerError" in last
    assert "WAI_STATE_DIR" in last


def test_many_may_open_a_new_ledger_at_once(tmp_path: Path) -> None:
    """First use by several runs makes one book."""
    path = tmp_path / "state" / "ledger.sqlite3"
    errors: list[Exception] = []
    gate = threading.Barrier(8)

    def open_and_lease() -> None:
        gate.wait()
        try:
            with Ledger(path, FakeClock()) as ledger:
                ledger.open_lease(holder(), DAY, reserved=N)
        except Exception as error:  # noqa: BLE001 - shown by the main thread
            errors.append(error)

    threads = [threading.Thread(target=open_and_lease) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with Ledger(path, FakeClock()) as ledger:
        assert ledger.totals("acc", DAY).booked == 8


def test_nobody_else_writes_between_the_look_and_the_grant(tmp_path: Path) -> None:
    """From the first look on, the book is closed to other writers: what one has seen still holds when it takes."""
    path, refused = tmp_path / "book", []

    def look_on(_: ProcessMark) -> bool:
        with (
            closing(sqlite3.connect(path, timeout=0)) as other,
            pytest.raises(sqlite3.OperationalError, match="locked"),
        ):
            other.execute("BEGIN IMMEDIATE")
        refused.append(True)
        return True

    with Ledger(path, FakeClock(), alive=look_on) as ledger:
        lease = ledger.open_lease(holder(), DAY)
        assert not refused
        ledger.extend(Progress(lease=lease), need=N, want=N, limits=Limits(day=1000 * N))
        assert refused


def test_grants_shrink_with_the_room_and_are_shared_among_the_living(tmp_path: Path) -> None:
    """0.5 % of the day while there is plenty, then half of an equal share, then exactly what is needed."""
    with Ledger(tmp_path / "book", FakeClock()) as ledger:
        first, second = ledger.open_lease(holder("a"), DAY), ledger.open_lease(holder("b"), DAY)
        limits = Limits(day=4000 * N)

        def extend(lease: int, reserved: int, need: int, want: int = 0) -> int:
            progress = Progress(lease=lease, granted=10**15, reserved=reserved * N)
            return ledger.extend(progress, need=need * N, want=want * N, limits=limits).granted // N

        assert extend(first, 0, 1) == 20
        assert extend(first, 20, 1, want=50) == 70
        assert extend(first, 70, 3850) == 3920
        assert extend(second, 0, 1) == 20
        assert extend(second, 20, 1) == 35
        assert extend(second, 35, 46) == 35
        assert extend(second, 35, 45) == 80


def test_the_dead_count_for_all_they_had_leased(tmp_path: Path) -> None:
    """A lease whose process ended keeps its grant; opening another closes it; coming back revives it, same sum."""
    dead: set[int] = set()
    clock = FakeClock()
    path = tmp_path / "book"
    mark = ProcessMark(pid=7, started=1, host="here")
    with (
        Ledger(path, clock, process=mark) as seven,
        Ledger(path, clock, alive=lambda mark: mark.pid not in dead) as ledger,
    ):
        lease = seven.open_lease(holder(), DAY)
        progress = Progress(lease=lease, granted=20 * N, settled=2 * N, reserved=N, requests=3)
        granted = seven.extend(progress, need=0, want=0, limits=Limits(day=4000 * N)).granted
        seven.extend(
            Progress(lease=lease, granted=granted, settled=2 * N, reserved=N), need=7 * N, want=0,
            limits=Limits(day=4000 * N),
        )  # fmt: skip
        (row,) = ledger.report("acc", DAY)
        assert (row.settled, row.reserved, row.leased, row.assumed) == (2, 8, 12.0 + 1, 0)
        dead.add(7)
        (row,) = ledger.report()
        assert (row.settled, row.reserved, row.leased, row.assumed) == (2, 0, 0, 21)
        booked = ledger.totals("acc", DAY).booked
        ledger.open_lease(holder("b"), DAY)
        assert ledger._db.execute("SELECT closed FROM leases WHERE id = ?", (lease,)).fetchone()[0] == 1
        assert (ledger.totals("acc", DAY).booked, ledger.job_total("job")) == (booked, booked)
        dead.clear()
        seven.heartbeat(Progress(lease=lease, granted=23 * N, settled=4 * N, reserved=N), limits=Limits(day=0))
        assert (ledger.totals("acc", DAY).booked, ledger.job_total("job")) == (booked, 4)


def test_the_last_minutes_of_a_dead_run_count_on_the_next_day_too(tmp_path: Path) -> None:
    """What was in flight when a process died just before midnight may be charged after it; what died at noon not."""
    path, clock = tmp_path / "book", FakeClock()
    other = ProcessMark(pid=7, started=1, host="here")
    for hour, minute, room in ((23, 59, 990), (23, 50, 990), (23, 49, 1000), (12, 59, 1000)):
        path.unlink(missing_ok=True)
        clock.at = datetime(2026, 11, 22, hour, minute, tzinfo=UTC)
        with Ledger(path, clock, process=other) as seven, Ledger(path, clock, alive=lambda m: m.pid != 7) as ledger:
            seven.open_lease(holder(), DAY, reserved=10 * N)
            clock.at = datetime(2026, 11, 23, 0, 1, tzinfo=UTC)
            for _ in range(2):  # the second time the dead lease is closed
                lease = ledger.open_lease(holder("b"), DAY + timedelta(1))
                view = ledger.look(lease, limits=Limits(day=1000 * N)).view
                assert (view.room, view.others_spent + view.others_reserved) == (room * N, (1000 - room) * N)


def test_a_job_is_shown_by_its_latest_name(tmp_path: Path) -> None:
    """It is known by its id: a new name makes no new line."""
    with Ledger(tmp_path / "book", FakeClock()) as ledger:
        for name in ("old", "new"):
            ledger.open_lease(Holder(account="acc", job_id="job", job_name=name, model="m"), DAY, reserved=N)
        assert [(row.job_name, row.reserved) for row in ledger.report()] == [("new", 2)]


def test_a_foreign_process_lives_while_it_writes(tmp_path: Path) -> None:
    """A lease of another container cannot be looked up; it is taken for dead a minute after its last heartbeat."""
    clock = FakeClock()
    with (
        Ledger(tmp_path / "book", clock, process=ProcessMark(pid=1, started=1, host="elsewhere")) as far,
        Ledger(tmp_path / "book", clock) as ledger,
    ):
        lease = far.open_lease(holder(), DAY, reserved=N)
        for _ in range(2):
            clock.at += timedelta(seconds=60)
            assert ledger.totals("acc", DAY).reserved == 1
            far.heartbeat(Progress(lease=lease, granted=N, reserved=N), limits=Limits(day=9 * N))
        clock.at += timedelta(seconds=61)
        assert (ledger.totals("acc", DAY).reserved, ledger.totals("acc", DAY).assumed) == (0, 1)


def _moved_away(path: Path) -> None:
    path.rename(path.with_name("old"))


def _begun_anew(path: Path) -> None:
    _moved_away(path)
    with Ledger(path, FakeClock()) as other:
        other.open_lease(holder(), DAY)


def _emptied(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("DELETE FROM leases")
    db.commit()
    db.close()


@pytest.mark.parametrize("replace", [_moved_away, _begun_anew, _emptied])
def test_a_replaced_book_is_noticed(tmp_path: Path, replace: Callable[[Path], None]) -> None:
    """A run does not go on in a file that new runs do not see, nor on a lease that the book does not know."""
    path = tmp_path / "book"
    with Ledger(path, FakeClock()) as ledger:
        lease = ledger.open_lease(holder(), DAY)
        replace(path)
        with pytest.raises(LedgerError, match=f"{path}: .*replaced during the run.*start them again"):
            ledger.heartbeat(Progress(lease=lease), limits=Limits(day=N))


def test_a_figure_that_changed_on_the_disk_is_noticed(tmp_path: Path) -> None:
    """SQLite has no checksums: every figure stands in an index too, and who opens the book compares the two."""
    path = tmp_path / "book"
    with Ledger(path, FakeClock()) as ledger:
        lease = ledger.open_lease(holder(), DAY, settled=5 * N, reserved=2 * N)
        ledger.heartbeat(Progress(lease=lease, ratio=2.0), limits=Limits(day=9 * N))
    columns = [(table, name, kind) for table in ("leases", "learned") for name, kind in _columns(path, table)]
    whole = path.read_bytes()
    for table, name, kind in columns:
        _change_past_the_indices(path, f"UPDATE {table} SET {name} = {name} {'|| 1' if kind == 'TEXT' else '+ 1'}")
        if name not in {"id", "job_name"}:  # the number of a row is what the indices lead to; the other is only shown
            with pytest.raises(LedgerError, match=r"damaged .* Move the file away"):
                Ledger(path, FakeClock())
        path.write_bytes(whole)
    Ledger(path, FakeClock()).disconnect()


def _columns(path: Path, table: str) -> list[tuple[str, str]]:
    db = sqlite3.connect(path)
    columns = db.execute("SELECT name, type FROM pragma_table_info(?)", (table,)).fetchall()
    db.close()
    return columns


def _change_past_the_indices(path: Path, change: str) -> None:
    """Change a row and leave the indices as they are, as a disk would."""
    entries: list[tuple[object, ...]] = []
    for statement in ("DELETE FROM sqlite_master WHERE type = 'index' AND sql <> ''", change, ""):
        db = sqlite3.connect(path)
        db.executescript("PRAGMA writable_schema = ON; PRAGMA ignore_check_constraints = ON")
        if not entries:
            entries = db.execute("SELECT * FROM sqlite_master WHERE type = 'index' AND sql <> ''").fetchall()
        if statement:
            db.execute(statement)
        else:
            db.executemany("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", entries)
        db.commit()
        db.close()


def test_a_failed_transaction_changes_nothing(tmp_path: Path) -> None:
    """A number SQLite cannot hold is refused and rolled back; the ledger goes on."""
    with Ledger(tmp_path / "book", FakeClock()) as ledger:
        lease = ledger.open_lease(holder(), DAY)
        with pytest.raises(LedgerError):
            ledger.heartbeat(Progress(lease=lease, settled=2**70), limits=Limits(day=N))
        assert ledger.totals("acc", DAY).booked == 0


def test_a_process_is_known_by_its_start_time() -> None:
    """This one lives, another start time is another process, another host is unknown, a made-up id is dead."""
    me = current_process()
    assert is_alive(me)
    assert is_alive(ProcessMark(pid=me.pid, started=0, host=me.host))
    assert is_alive(ProcessMark(pid=me.pid, started=me.started, host="elsewhere")) is None
    assert not is_alive(ProcessMark(pid=2**22 + 1, started=0, host=me.host))
    assert not is_alive(ProcessMark(pid=2**22 + 1, started=5, host=me.host))
    if me.started:
        assert not is_alive(ProcessMark(pid=me.pid, started=me.started + 1, host=me.host))


def test_units_round_against_the_spender_and_forgive_float_noise() -> None:
    """Costs up, allowances down, and back again without a unit lost."""
    assert cost_units(0.07) == allowance_units(0.07) == 70_000_000
    assert (cost_units(1.4e-9), allowance_units(1.6e-9), cost_units(0), cost_units(5e-324)) == (2, 1, 0, 1)
    for units in (1, 3, 999_999_999, 123_456_789_012_345, 10**15 + 7):
        assert cost_units(to_neurons(units)) == allowance_units(to_neurons(units)) == units
    with pytest.raises(ValueError, match="finite"):
        allowance_units(float("inf"))

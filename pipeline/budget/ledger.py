"""The book: who leased how many neurons of which account and UTC day. SQLite, synchronous, shared by all processes.

Takes the progress of leases and hands out grants; never grants beyond what the book leaves. A grant is on disk before
the method returns, hence before anything is sent on it. A lease counts for all it was granted until it is closed. If
its process dies it counts for what its slate shows, or for the whole grant where nothing is shown: the sum over an
account and a day is at no time below what was really charged.

Every method is one short transaction and may be called from any thread. Decision: docs/adr/0003-budget-ledger.md.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.budget.book import (
    ELSEWHERE,
    Extension,
    Holder,
    Limits,
    Progress,
    Reconciled,
    ReportRow,
    Totals,
    View,
)
from pipeline.budget.process import ProcessMark, current_process, is_alive
from pipeline.budget.schema import DAMAGE, connect, identity, unusable
from pipeline.budget.slate import Shown, Slate, read_slate, remove_slate
from pipeline.budget.tally import Line, Tally, landing, line, tally
from pipeline.budget.units import cost_units, to_neurons
from pipeline.clock import Clock
from pipeline.errors import LedgerError

# A grant is at most this part of the day, so that a crash strands little; more only for what is asked in one piece.
GRANT_DIVISOR = 200
# A process of another boot or container cannot be looked up; it lives if it wrote this recently (it does each second).
_FOREIGN_S = 60.0


class Ledger:
    """The budget book at `path`; one connection, guarded by a lock.

    Args:
        path: The SQLite file; folder (0700) and file (0600) are made where missing.
        clock: Wall time for the accounting day and heartbeats.
        process: Who opens leases here; default this process.
        alive: Tells whether a process lives, None where it cannot be told; default asks the system.

    Raises:
        LedgerError: Not writable, not a ledger, damaged, or of a newer format. Any method may raise it.
    """

    def __init__(
        self,
        path: Path,
        clock: Clock,
        *,
        process: ProcessMark | None = None,
        alive: Callable[[ProcessMark], bool | None] = is_alive,
    ) -> None:
        self.path = path
        self._clock = clock
        self._process = process or current_process()
        self._asks_alive = alive
        self._lock = threading.Lock()
        self._slates = path.parent / "leases"
        self._db = connect(path)
        self._file = identity(path)
        self._db.row_factory = sqlite3.Row

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.disconnect()

    def disconnect(self) -> None:
        """Close the file. Leases stay as they are."""
        with self._lock:
            self._db.close()

    def day(self, account: str) -> date:
        """Return the accounting day: the clock's UTC day, or the day after where the book already has it.

        A clock that is set back never re-opens a day the book has left; a day further ahead was a mistake of the clock.
        """
        with self._transaction() as db:
            return self._day(db, account)

    def open_lease(
        self,
        holder: Holder,
        day: date,
        *,
        settled: int = 0,
        reserved: int = 0,
        leaving: Sequence[int] = (),
    ) -> int:
        """Open a lease and close those of dead processes; returns its row id.

        Args:
            holder: Whom it belongs to.
            day: The accounting day.
            settled: Units charged since midnight that a lease in `leaving` holds as well.
            reserved: Units in flight across midnight. They are granted without asking for room: they have left already,
                and were kept free on the new day as long as the lease in `leaving` was not marked.
            leaving: Leases of the same session on the day it leaves.
        """
        with self._transaction() as db:
            self._bury(db)
            db.executemany("UPDATE leases SET rolled = 1 WHERE id = ?", ((old,) for old in leaving))
            me = self._process
            cursor = db.execute(
                "INSERT INTO leases (account, day, job_id, job_name, model, pid, pid_started, host,"
                " granted, settled, reserved, carried, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(holder.account, day.isoformat(), holder.job_id, holder.job_name, holder.model),
                    *(me.pid, me.started, me.host),
                    *(settled + reserved, settled, reserved, settled, self._timestamp()),
                ),
            )
            return int(cursor.lastrowid or 0)

    def slate(self, lease: int) -> Slate:
        """Begin the slate of a lease of this process; empty, it shows nothing."""
        me = self._process
        return Slate(self._slate_path(lease, me.pid, me.started))

    def extend(
        self,
        progress: Progress,
        *,
        need: int,
        want: int,
        limits: Limits,
        also: Sequence[Progress] = (),
    ) -> Extension:
        """Write progress and lease more.

        Args:
            progress: The lease and how far it has come.
            need: Units to be reserved in one piece beyond what is settled and reserved.
            want: Units that would be welcome, >= `need`; more than needed is granted only where room is plenty.
            limits: What may be spent.
            also: Progress of the session's leases on days it has left.

        Returns:
            The grant and the book as it is now.
        """
        with self._transaction() as db:
            self._bury(db)
            row = self._write(db, progress)
            for old in also:
                self._write(db, old)
            own = {progress.lease, *(old.lease for old in also)}
            sums = tally(db, row, own, age_s=self._age)
            used = progress.settled + progress.reserved
            granted = int(row["granted"])
            before = max(granted, used)  # more is used than was granted where charges or prices have proven higher
            short = max(0, used + need - before)
            fits = short <= sums.room(limits)
            if fits and short:
                # Halving what is left among all who are live lets the end of the day be shared instead of stranded.
                share = max(0, sums.room(limits)) // (2 * max(1, sums.live))
                granted = before + max(short, min(max(limits.day // GRANT_DIVISOR, want), share))
            may_fit = short <= sums.reach(limits)
            # Who needed it takes it at once: said here, readers do not take it for idle until the next heartbeat.
            reserved = progress.reserved + (need if fits else 0)
            db.execute("UPDATE leases SET granted = ?, reserved = ? WHERE id = ?", (granted, reserved, progress.lease))
            view = self._view(db, row, sums, room=sums.room(limits) + before - max(granted, used))
            return Extension(granted=granted, fits=fits, may_fit=may_fit, view=view)

    def heartbeat(self, progress: Progress, *, limits: Limits, also: Sequence[Progress] = ()) -> Extension:
        """Write progress; gives back what `progress.granted` is below the book's figure."""
        return self.extend(progress, need=0, want=0, limits=limits, also=also)

    def look(self, lease: int, *, limits: Limits, own: Sequence[int] = ()) -> Extension:
        """Return a lease's grant and the book around it, changing nothing; `own` are the session's other leases."""
        with self._transaction() as db:
            row = self._row(db, lease)
            sums = tally(db, row, {lease, *own}, age_s=self._age)
            view = self._view(db, row, sums, room=sums.room(limits))
            return Extension(granted=row["granted"], fits=True, may_fit=True, view=view)

    def sweep(self) -> None:
        """Remove the slates of leases that are closed; a process that was killed leaves its own behind."""
        found = list(self._slates.glob("*-*-*"))  # first: what is here has had its row before
        with self._transaction() as db:
            self._bury(db)
            still_open = {str(row["id"]) for row in db.execute("SELECT id FROM leases WHERE closed = 0")}
        for path in found:
            if path.name.split("-")[0] not in still_open:
                remove_slate(path)

    def close(self, leases: Sequence[Progress]) -> None:
        """Close leases; what is still reserved counts as spent, what was neither settled nor reserved comes back."""
        with self._transaction() as db:
            for lease in leases:
                self._write(db, lease, done=True)

    def reconcile(self, account: str, day: date, theirs: float) -> Reconciled:
        """Book what the service says the account used on a day beyond what the book has: spent by others.

        The higher figure counts, never the lower: analytics lag by minutes, so what is missing there proves nothing.
        What was once seen beyond the book stays booked for the day.

        Args:
            account: The account.
            day: The UTC day.
            theirs: Neurons the service says it used.
        """
        with self._transaction() as db:
            self._bury(db)
            which = (account, day.isoformat(), ELSEWHERE)
            (ours,) = db.execute(
                "SELECT COALESCE(SUM(settled + IIF(closed, assumed, MAX(granted - settled, reserved))), 0) FROM leases"
                " WHERE account = ? AND day = ? AND job_id <> ?",
                which,
            ).fetchone()
            ours += landing(db, account, day)
            (known,) = db.execute(
                "SELECT COALESCE(SUM(settled), 0) FROM leases WHERE account = ? AND day = ? AND job_id = ?", which
            ).fetchone()
            beyond = max(known, cost_units(theirs) - ours)
            if beyond > known:
                db.execute("DELETE FROM leases WHERE account = ? AND day = ? AND job_id = ?", which)
                db.execute(
                    "INSERT INTO leases (account, day, job_id, job_name, model, pid, pid_started, host,"
                    " granted, settled, reserved, updated_at, closed)"
                    " VALUES (?, ?, ?, 'other use of the account', '', 0, 0, '', ?, ?, 0, ?, 1)",
                    (*which, beyond, beyond, self._timestamp()),
                )
            return Reconciled(ours=to_neurons(ours), theirs=theirs, elsewhere=to_neurons(beyond))

    def report(self, account: str | None = None, day: date | None = None) -> list[ReportRow]:
        """Return the book by account, day, job and model, newest day first."""
        query = "SELECT * FROM leases WHERE (?1 IS NULL OR account = ?1) AND (?2 IS NULL OR day = ?2) ORDER BY id"
        keyed: dict[tuple[str, str, str, str], list[Line]] = defaultdict(list)
        names: dict[str, str] = {}
        with self._transaction() as db:
            self._bury(db)
            for row in db.execute(query, (account, day and day.isoformat())):
                keyed[row["account"], row["day"], row["job_id"], row["model"]].append(line(row))
                names[row["job_id"]] = row["job_name"]
            rows = [
                ReportRow(
                    account=key[0], day=date.fromisoformat(key[1]), job_id=key[2], job_name=names[key[2]], model=key[3],
                    settled=to_neurons(sum(one.settled for one in lines)),
                    reserved=to_neurons(sum(one.reserved for one in lines)),
                    leased=to_neurons(sum(one.leased for one in lines)),
                    assumed=to_neurons(sum(one.assumed for one in lines)),
                    requests=sum(one.requests for one in lines),
                )
                for key, lines in keyed.items()
            ]  # fmt: skip
        return sorted(rows, key=lambda row: (row.account, -row.day.toordinal(), row.job_name, row.job_id, row.model))

    def totals(self, account: str, day: date) -> Totals:
        """Return one account's day, all jobs together."""
        with self._transaction() as db:
            self._bury(db)
            rows = db.execute("SELECT * FROM leases WHERE account = ? AND day = ?", (account, day.isoformat()))
            lines = [line(row) for row in rows]
            return Totals(
                settled=to_neurons(sum(one.settled for one in lines)),
                reserved=to_neurons(sum(one.reserved for one in lines)),
                leased=to_neurons(sum(one.leased for one in lines)),
                assumed=to_neurons(sum(one.assumed for one in lines)),
                requests=sum(one.requests for one in lines),
            )

    def job_total(self, job_id: str) -> float:
        """Return neurons charged by a job on all days, what its dead runs left open included; each charge once."""
        with self._transaction() as db:
            self._bury(db)
            rows = db.execute("SELECT * FROM leases WHERE job_id = ?", (job_id,)).fetchall()
            lines = [(line(row), row["carried"]) for row in rows]
            return to_neurons(sum(one.settled + one.assumed - carried for one, carried in lines))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    self._check_file()
                    yield self._db
                    self._db.execute("COMMIT")
                finally:
                    if self._db.in_transaction:
                        self._db.execute("ROLLBACK")
            except (*DAMAGE, OverflowError, OSError) as error:
                raise unusable(self.path, error) from error

    def _check_file(self) -> None:
        """Refuse to go on in a book that is not the one that others open: each would grant the whole day."""
        if identity(self.path) != self._file:
            raise self._replaced()

    def _replaced(self) -> LedgerError:
        return LedgerError(
            f"{self.path}: the budget ledger was moved away or replaced during the run. Stop all runs on this machine, "
            "put the file back if you can (another one does not know what was spent), and start them again."
        )

    def _timestamp(self) -> float:
        return self._clock.now().timestamp()

    def _day(self, db: sqlite3.Connection, account: str) -> date:
        today = self._clock.now().astimezone(UTC).date()
        query = "SELECT MAX(day) FROM leases WHERE account = ? AND day <= ?"
        (newest,) = db.execute(query, (account, (today + timedelta(days=1)).isoformat())).fetchone()
        return max(today, date.fromisoformat(newest)) if newest else today

    def _write(self, db: sqlite3.Connection, progress: Progress, *, done: bool = False) -> sqlite3.Row:
        # closed = 0 for an open one on purpose: a lease taken for dead by mistake (another container, a suspended
        # machine) comes back to life with what it was closed with, so the sum does not move.
        done = done or progress.done
        # What is used beyond the grant counts as long as it is used, and grants nothing: it may settle for less.
        changed = db.execute(
            "UPDATE leases SET granted = MIN(granted, ?), settled = ?, reserved = ?, assumed = ?, carried = ?,"
            " requests = ?, closed = ?, updated_at = ? WHERE id = ?",
            (
                progress.settled + progress.reserved if done else progress.granted,
                *(progress.settled, 0 if done else progress.reserved, progress.reserved if done else 0),
                *(progress.carried, progress.requests, int(done), self._timestamp(), progress.lease),
            ),
        )
        if changed.rowcount != 1:
            raise self._replaced()
        if progress.ratio > 1.0:
            db.execute(
                "INSERT INTO learned SELECT account, day, model, ? FROM leases WHERE id = ?"
                " ON CONFLICT DO UPDATE SET ratio = MAX(ratio, excluded.ratio)",
                (progress.ratio, progress.lease),
            )
        return self._row(db, progress.lease)

    def _row(self, db: sqlite3.Connection, lease: int) -> sqlite3.Row:
        row: sqlite3.Row = db.execute("SELECT * FROM leases WHERE id = ?", (lease,)).fetchone()
        return row

    def _view(self, db: sqlite3.Connection, row: sqlite3.Row, sums: Tally, *, room: int) -> View:
        learned = db.execute(
            "SELECT ratio FROM learned WHERE account = ? AND day = ? AND model = ?",
            (row["account"], row["day"], row["model"]),
        ).fetchone()
        return View(
            day=self._day(db, row["account"]),
            room=max(0, room),
            live=max(1, sums.live),
            others_spent=sums.others_spent,
            others_reserved=sums.others_reserved,
            job_total=sums.job_total,
            ratio=learned[0] if learned else 1.0,
        )

    def _bury(self, db: sqlite3.Connection) -> None:
        """Close the leases of dead processes, at what their slates show, else at all they were granted."""
        for row in db.execute("SELECT * FROM leases WHERE closed = 0").fetchall():
            mark = ProcessMark(pid=row["pid"], started=row["pid_started"], host=row["host"])
            alive = self._asks_alive(mark)
            if alive or (alive is None and self._age(row) <= _FOREIGN_S):
                continue
            # Only a death that is certain, on this boot, leaves a slate to believe: the page cache is still there.
            slate = self._slate_path(row["id"], mark.pid, mark.started)
            shown = read_slate(slate) if alive is False and mark.started else None
            granted = row["granted"]
            if shown is not None and shown.requests >= row["requests"]:
                granted = (
                    shown.settled + shown.sent
                )  # what comes back is not its own any more, should it live after all
            else:  # nothing is shown, or less than the book knows already
                left = max(granted - row["settled"], row["reserved"])
                shown = Shown(settled=row["settled"], sent=left, carried=row["carried"], requests=row["requests"])
            # updated_at stays: it tells how close to midnight the process died.
            db.execute(
                "UPDATE leases SET closed = 1, granted = ?, settled = ?, reserved = 0, assumed = ?, carried = ?,"
                " requests = ? WHERE id = ?",
                (granted, shown.settled, shown.sent, shown.carried, shown.requests, row["id"]),
            )

    def _slate_path(self, lease: int, pid: int, started: int) -> Path:
        # Named by its process as well: in a new book the numbers begin again.
        return self._slates / f"{lease}-{pid}-{started}"

    def _age(self, row: sqlite3.Row) -> float:
        # Without its sign: a time in the future is a clock that was set back, not a sign of life.
        return abs(self._timestamp() - float(row["updated_at"]))

"""Adding up the book as one lease needs to see it. Reads only; runs inside the ledger's transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from pipeline.budget.book import Limits

# A live process that has not written for this long (suspended, stuck) is no longer waited for. Its grant still counts.
STALE_S = 300.0
# Requests of a process that died this shortly before midnight may still be charged to the next day: the service ends a
# request after about 120 s, and 130 s is the longest a request waits by default.
LANDING_S = 600.0


@dataclass(slots=True)
class Line:
    """One lease as the report shows it. Units; fields as in `book.ReportRow`."""

    settled: int
    requests: int
    reserved: int = 0
    leased: int = 0
    assumed: int = 0


def line(row: sqlite3.Row) -> Line:
    """Split what a lease counts for into what is charged, held and assumed; the dead are buried before."""
    told = Line(settled=row["settled"], requests=row["requests"])
    if row["closed"]:
        told.assumed = row["assumed"]
    else:
        told.reserved, told.leased = row["reserved"], max(0, row["granted"] - row["settled"] - row["reserved"])
    return told


@dataclass(slots=True)
class Tally:
    """Sums over the account's day and over the job, in units.

    Attributes:
        day_used: What all leases of the account count for on the day.
        job_used: What all leases of the job count for on all days, each charge once.
        day_returnable: What the living hold on the day and have not spent.
        job_returnable: The same for the job.
        live: Open leases of live processes on the day, the asking one included.
        others_spent, others_reserved, job_total: As in `book.View`.
    """

    day_used: int = 0
    job_used: int = 0
    day_returnable: int = 0
    job_returnable: int = 0
    live: int = 0
    others_spent: int = 0
    others_reserved: int = 0
    job_total: int = 0

    def room(self, limits: Limits) -> int:
        """What nobody has leased; negative where the book is over a limit."""
        room = limits.day - self.day_used
        return room if limits.total is None else min(room, limits.total - self.job_used)

    def reach(self, limits: Limits) -> int:
        """What could be leased if the living gave back all they have not spent."""
        reach = limits.day - self.day_used + self.day_returnable
        return reach if limits.total is None else min(reach, limits.total - self.job_used + self.job_returnable)


def tally(
    db: sqlite3.Connection,
    asking: sqlite3.Row,
    own: set[int],
    *,
    age_s: Callable[[sqlite3.Row], float],
) -> Tally:
    """Add up the book around the lease that asks.

    Args:
        db: In a transaction in which the dead have been buried.
        asking: The lease's row.
        own: Row ids of all open leases of the same session.
        age_s: Tells how long ago a row was last written, in seconds.
    """
    account, job = asking["account"], asking["job_id"]
    today = date.fromisoformat(asking["day"])
    before, after = ((today + timedelta(days=step)).isoformat() for step in (-1, 1))
    (first,) = db.execute(
        "SELECT MIN(id) FROM leases WHERE account = ? AND day = ?", (account, asking["day"])
    ).fetchone()
    sums = Tally()
    _add_closed(sums, db, account, job, today)
    (of_wrong_days,) = db.execute(
        "SELECT COALESCE(SUM(settled + assumed - carried), 0) FROM leases"
        " WHERE account = ? AND closed = 1 AND id > ? AND day NOT BETWEEN ? AND ?",
        (account, first, before, after),
    ).fetchone()
    sums.day_used += of_wrong_days
    sums.others_spent += of_wrong_days
    for row in db.execute("SELECT * FROM leases WHERE closed = 0 AND (account = ? OR job_id = ?)", (account, job)):
        is_own = row["id"] in own
        counts = max(row["granted"], row["settled"] + row["reserved"])  # prices may have proven higher
        returnable = counts - row["settled"] if age_s(row) <= STALE_S else 0
        if row["account"] == account and row["day"] == asking["day"]:
            sums.day_used += counts
            sums.day_returnable += returnable
            sums.live += 1
            if not is_own:
                sums.others_spent += row["settled"]
                sums.others_reserved += row["reserved"]
        elif row["account"] == account and row["day"] == before and not (row["rolled"] or is_own):
            # In flight across midnight in a session that has not noticed yet: kept free for it on the new day.
            sums.day_used += counts - row["settled"]
            sums.day_returnable += returnable
            sums.others_reserved += row["reserved"]
        elif row["account"] == account and row["id"] > first and not before <= row["day"] <= after:
            # Opened today, while the clock was wrong by days.
            sums.day_used += (row["settled"] if is_own else counts) - row["carried"]
            sums.others_spent += row["settled"] - row["carried"]
        if row["job_id"] == job:
            sums.job_used += counts - row["carried"]
            sums.job_returnable += returnable
            if not is_own:
                sums.job_total += row["settled"] - row["carried"]
    return sums


def _add_closed(sums: Tally, db: sqlite3.Connection, account: str, job: str, today: date) -> None:
    (of_day,) = db.execute(
        "SELECT COALESCE(SUM(settled + assumed), 0) FROM leases WHERE account = ? AND day = ? AND closed = 1",
        (account, today.isoformat()),
    ).fetchone()
    (of_job,) = db.execute(
        "SELECT COALESCE(SUM(settled + assumed - carried), 0) FROM leases WHERE job_id = ? AND closed = 1", (job,)
    ).fetchone()
    lands = _landing_of_the_dead(db, account, today)
    sums.day_used += of_day + lands
    sums.others_spent += of_day + lands
    sums.job_used += of_job
    sums.job_total += of_job


def _landing_of_the_dead(db: sqlite3.Connection, account: str, today: date) -> int:
    (units,) = db.execute(
        "SELECT COALESCE(SUM(assumed), 0) FROM leases"
        " WHERE account = ? AND day = ? AND closed = 1 AND rolled = 0 AND updated_at >= ?",
        (account, (today - timedelta(days=1)).isoformat(), _midnight(today) - LANDING_S),
    ).fetchone()
    return int(units)


def landing(db: sqlite3.Connection, account: str, today: date) -> int:
    """What leases of the day before may still be charged on `today`. Units."""
    (units,) = db.execute(
        "SELECT COALESCE(SUM(MAX(granted - settled, reserved)), 0) FROM leases"
        " WHERE account = ? AND day = ? AND closed = 0 AND rolled = 0",
        (account, (today - timedelta(days=1)).isoformat()),
    ).fetchone()
    return int(units) + _landing_of_the_dead(db, account, today)


def _midnight(day: date) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()

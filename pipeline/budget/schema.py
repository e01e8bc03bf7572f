"""The ledger's file: making it, knowing it, refusing what is not it."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

from pipeline.errors import LedgerError

BUSY_TIMEOUT_S = 10.0
# What SQLite does not notice may still be no text, no date or no number.
DAMAGE = (sqlite3.Error, ValueError, TypeError)

# Amounts are units of 1e-9 neuron; the view `book` shows neurons to people who open the file.
# What a lease counts for: closed -> settled + assumed, open -> granted, whether its process lives or not. While it is
# open, granted is never less than settled + reserved.
_SCHEMA = """
CREATE TABLE leases (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    account     TEXT    NOT NULL,
    day         TEXT    NOT NULL,
    job_id      TEXT    NOT NULL,
    job_name    TEXT    NOT NULL,
    model       TEXT    NOT NULL,
    pid         INTEGER NOT NULL,
    pid_started INTEGER NOT NULL,
    host        TEXT    NOT NULL,
    granted     INTEGER NOT NULL CHECK (granted >= 0),
    settled     INTEGER NOT NULL CHECK (settled >= 0),
    reserved    INTEGER NOT NULL CHECK (reserved >= 0),
    assumed     INTEGER NOT NULL DEFAULT 0 CHECK (assumed >= 0),
    carried     INTEGER NOT NULL DEFAULT 0 CHECK (carried BETWEEN 0 AND settled),
    requests    INTEGER NOT NULL DEFAULT 0,
    updated_at  REAL    NOT NULL,
    closed      INTEGER NOT NULL DEFAULT 0,
    rolled      INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX leases_by_day ON leases (account, day);
CREATE INDEX leases_by_job ON leases (job_id);
CREATE INDEX leases_open   ON leases (closed) WHERE closed = 0;
CREATE VIEW book AS SELECT id, account, day, job_name, model, granted / 1e9 AS granted, settled / 1e9 AS settled,
    reserved / 1e9 AS reserved, assumed / 1e9 AS assumed, requests, closed, pid,
    datetime(updated_at, 'unixepoch') AS updated_at FROM leases;
"""

# The largest charge against its ceiling, where the service charged more than its price list says.
_LEARNED = """
CREATE TABLE learned (
    account TEXT NOT NULL,
    day     TEXT NOT NULL,
    model   TEXT NOT NULL,
    ratio   REAL NOT NULL CHECK (ratio >= 1),
    PRIMARY KEY (account, day, model)
) WITHOUT ROWID;
"""

# SQLite has no checksums. In an index every figure stands a second time, and the integrity check compares the two.
_TWICE = """
CREATE INDEX leases_twice ON leases
    (granted, settled, reserved, assumed, carried, requests, rolled, closed, updated_at, pid, pid_started, host, model);
CREATE INDEX learned_twice ON learned (ratio);
"""

# What makes version n out of version n - 1.
_STEPS = (_SCHEMA, _LEARNED, _TWICE)
VERSION = len(_STEPS)


def connect(path: Path) -> sqlite3.Connection:
    """Open the ledger at `path`, making folder (0700) and file (0600) where they are missing.

    Returns:
        A connection in autocommit mode, WAL, every commit synced to disk, usable from any thread under a lock.

    Raises:
        LedgerError: Not writable, not a ledger, damaged, or of a newer format.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Made here because SQLite would make it readable by all; its -wal and -shm files take over this mode.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600))
    except OSError as error:
        raise unusable(path, error) from error
    db: sqlite3.Connection | None = None
    try:
        db = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        _prepare(db, path)
    except DAMAGE as error:
        if db is not None:
            db.close()
        raise unusable(path, error) from error
    except LedgerError:
        if db is not None:
            db.close()
        raise
    return db


def identity(path: Path) -> tuple[int, int] | None:
    """Tell the file at `path` from any that takes its place; None where there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def unusable(path: Path, error: Exception) -> LedgerError:
    """Say what is wrong with the ledger at `path` and what to do."""
    reason = (error.strerror if isinstance(error, OSError) else None) or " ".join(str(error).split())
    if isinstance(error, DAMAGE) and not isinstance(error, sqlite3.OperationalError):
        return LedgerError(
            f"{path}: the budget ledger is damaged ({reason}). Move the file away to begin an empty one, which knows "
            f"nothing of what was spent; wai budget --reconcile takes Cloudflare's count of today into it. Else "
            f"lower budget.neurons_per_day until 00:00 UTC by what the Cloudflare dashboard shows."
        )
    if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
        return LedgerError(
            f"{path}: the budget ledger is held by another program for more than {BUSY_TIMEOUT_S:g} s (runs hold it "
            "for milliseconds). End that program, then start again; no other ledger knows what was spent today."
        )
    return LedgerError(
        f"{path}: the budget ledger cannot be used ({reason}). Make its folder writable and its disk have room. "
        f"WAI_STATE_DIR names another folder, but a new ledger knows nothing of what was spent today."
    )


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    _known_version(db, path)  # before anything is changed: a file that is not ours stays as it is
    _enter_wal(db)
    db.execute("PRAGMA synchronous = FULL")
    # Immediate, so that of several processes that start at once one makes the tables and the others find them.
    db.execute("BEGIN IMMEDIATE")
    try:
        version = _known_version(db, path)
        if version and (problem := db.execute("PRAGMA integrity_check(1)").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(problem)
        for step in _STEPS[version:]:
            for statement in step.split(";\n"):
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {VERSION}")
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def _known_version(db: sqlite3.Connection, path: Path) -> int:
    version, n_tables = db.execute(
        "SELECT (SELECT user_version FROM pragma_user_version), (SELECT COUNT(*) FROM sqlite_master)"
    ).fetchone()
    if version > VERSION:
        raise LedgerError(
            f"{path}: the budget ledger was written by a newer version (format {version}, known here: {VERSION}). "
            f"Upgrade workers-ai-batch; an older version must not keep a book of its own beside it."
        )
    if version == 0 and n_tables:
        raise LedgerError(f"{path}: a database of something else stands where the budget ledger belongs.")
    return int(version)


def _enter_wal(db: sqlite3.Connection) -> None:
    # Changing the journal mode does not wait for a lock as other statements do; processes that start at once meet here.
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return

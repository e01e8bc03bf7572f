"""Answers to pieces, kept so that none is paid for twice: those of unfinished records, and those that may serve again.

Two SQLite files of the same form. The job's own lies in its output folder, and goes when every record has its row: a
crash in hour 18 of a recording finds 17 hours here, and so does another try of one that failed in its last hour. The
shared one lies beside the ledger and serves every job whose answers depend on the same things: a grown dataset pays for
what is new.

An answer carries a digest, for SQLite has no checksums: a flipped bit must not become a row. A file that SQLite itself
finds damaged is moved aside and begun anew: what was in it is asked for again, and the run goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import orjson

from pipeline.errors import OutputDamaged, OutputUnwritable
from pipeline.interfaces import Remembered
from pipeline.records import digest
from pipeline.threads import in_thread

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS answers (
    key BLOB PRIMARY KEY, value BLOB NOT NULL, neurons REAL NOT NULL, model TEXT NOT NULL, endpoint TEXT NOT NULL,
    at TEXT NOT NULL DEFAULT (datetime('now'))
) WITHOUT ROWID
"""
_MOST_VARIABLES: Final = 500
_SIDES: Final = ("", "-wal", "-shm")
_ASIDE: Final = ".damaged"
_NUL: Final = b"\0"  # JSON holds none: what stands behind it is a digest
_SEAL_BYTES: Final = 8

Kept = Sequence[tuple[bytes, Remembered]]


class AnswerFile:
    """One file of answers; made when the first is kept. For one thread at a time.

    Args:
        path: The file.
        scope: What answers depend on besides their payload: answers of another scope are not found.
    """

    def __init__(self, path: Path, scope: bytes = b"") -> None:
        self._path, self._scope = path, scope
        self._connection: sqlite3.Connection | None = None

    def recall(self, keys: Sequence[bytes]) -> dict[bytes, Remembered]:
        """Return what is known of these payload keys; what is damaged is not known."""
        if self._connection is None and not self._path.exists():
            return {}
        by_scoped = {self._scoped(key): key for key in keys}
        found: dict[bytes, Remembered] = {}
        scoped = list(by_scoped)
        try:
            for start in range(0, len(scoped), _MOST_VARIABLES):
                group = scoped[start : start + _MOST_VARIABLES]
                marks = ",".join("?" * len(group))
                query = f"SELECT key, value, neurons, model, endpoint FROM answers WHERE key IN ({marks})"  # noqa: S608
                for key, value, *paid in self._open().execute(query, group):
                    with contextlib.suppress(ValueError):
                        found[by_scoped[key]] = Remembered(_unsealed(key, value, paid), *paid)
        except sqlite3.DatabaseError as exc:
            if _is_damage(exc):
                with contextlib.suppress(OSError):
                    self._set_aside()  # now, so that what is kept from here on is found again
        return found

    def keep(self, answers: Kept) -> None:
        """Keep answers; durable on return. What JSON cannot hold is left out.

        Raises:
            OutputUnwritable: The disk refuses.
        """
        rows = []
        for key, answer in answers:
            with contextlib.suppress(orjson.JSONEncodeError):
                scoped, paid = self._scoped(key), (answer.neurons, answer.model, answer.endpoint)
                rows.append((scoped, _sealed(scoped, orjson.dumps(answer.value), paid), *paid))
        try:
            try:
                self._insert(rows)
            except sqlite3.DatabaseError as exc:
                if not _is_damage(exc):
                    raise
                self._set_aside()
                self._insert(rows)
        except (sqlite3.Error, OSError) as exc:
            raise OutputUnwritable(f"{self._path}: answers cannot be kept ({exc})") from exc

    def _insert(self, rows: Sequence[tuple[object, ...]]) -> None:
        with self._open() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO answers (key, value, neurons, model, endpoint) VALUES (?, ?, ?, ?, ?)", rows
            )

    def _set_aside(self) -> None:
        self.close()
        for side in _SIDES:
            with contextlib.suppress(FileNotFoundError):
                self._beside(side).replace(self._beside(side + _ASIDE))

    def summary(self) -> dict[str, int]:
        """How many answers there are, by model. Empty where there is no file.

        Raises:
            OutputDamaged: The file is none of ours.
        """
        if not self._path.exists():
            return {}
        try:
            rows = self._open().execute("SELECT model, count(*) FROM answers GROUP BY model ORDER BY 2 DESC")
            return {str(model): int(n) for model, n in rows}
        except sqlite3.DatabaseError as exc:
            raise OutputDamaged(f"{self._path} cannot be read ({exc}); remove it with: wai cache --clear") from exc

    def remove(self) -> None:
        """Close and delete the file."""
        self.close()
        for side in _SIDES:
            self._beside(side).unlink(missing_ok=True)
            self._beside(side + _ASIDE).unlink(missing_ok=True)

    def close(self) -> None:
        """Idempotent."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _beside(self, suffix: str) -> Path:
        return self._path.with_name(self._path.name + suffix)

    def _scoped(self, key: bytes) -> bytes:
        return digest(self._scope, key) if self._scope else key

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self._path, timeout=30.0, check_same_thread=False)
            try:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=FULL")
                connection.execute(_SCHEMA)
            except sqlite3.Error:
                connection.close()
                raise
            self._connection = connection
        return self._connection


def _is_damage(exc: sqlite3.DatabaseError) -> bool:
    """Whether the file is malformed or no database: all else (full, locked, read-only) has a class of its own."""
    return type(exc) is sqlite3.DatabaseError


def _sealed(key: bytes, body: bytes, paid: Sequence[object]) -> bytes:
    """An answer as it is stored: JSON, and a digest of all that its row says."""
    return b"".join((body, _NUL, digest(key, body, repr((*paid,)).encode())[:_SEAL_BYTES]))


def _unsealed(key: bytes, stored: object, paid: Sequence[object]) -> object:
    """The answer in a row.

    Raises:
        ValueError: It is not what was stored.
    """
    if not isinstance(stored, bytes):
        raise ValueError("the kind of the value is another one")
    body = stored[: -_SEAL_BYTES - 1]
    if stored != _sealed(key, body, paid):
        body = stored  # a row of a version that stored no digests ends where its JSON does; a damaged one is no JSON
    return orjson.loads(body)


class PieceMemory:
    """The memory of one run; implements `interfaces.Memory`.

    Args:
        own: Of the job.
        shared: Of all jobs; None where its answers are not to serve again.
        model: The job's: what another one has said in its place serves this job only.
    """

    def __init__(self, own: AnswerFile, shared: AnswerFile | None = None, *, model: str = "") -> None:
        self._own, self._shared, self._model = own, shared, model
        self._pending: list[tuple[bytes, Remembered]] = []
        self._turn = asyncio.Lock()
        self._lock = threading.Lock()

    def recall(self, keys: Sequence[bytes]) -> dict[bytes, Remembered]:
        """First the job's own, then what other jobs have paid for: that costs this one nothing."""
        with self._lock:
            known = self._own.recall(keys)
            missing = [key for key in keys if key not in known]
            if self._shared is not None and missing:
                for key, answer in self._shared.recall(missing).items():
                    if answer.model == self._model:
                        known[key] = Remembered(answer.value, 0.0, answer.model, answer.endpoint)
        return known

    async def keep(self, answers: Kept) -> None:
        """Keep answers; what arrives while a batch is being written is written with the next."""
        self._pending += answers
        async with self._turn:
            batch, self._pending = self._pending, []
            if batch:
                await in_thread(lambda: self._write(batch))

    def close(self, *, done: bool) -> None:
        """Close the files. Where all is done, the job's own answers have served: they are removed."""
        if done:
            self._own.remove()
        self._own.close()
        if self._shared is not None:
            self._shared.close()

    def _write(self, batch: Kept) -> None:
        with self._lock:
            self._own.keep(batch)
            if self._shared is not None and (own := [each for each in batch if each[1].model == self._model]):
                self._shared.keep(own)

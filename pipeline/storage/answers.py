"""One SQLite file of answers by what was sent, made when the first is kept.

Each answer carries a checksum; one in which a bit has flipped counts as unknown, and is asked again.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import orjson

from pipeline.errors import OutputDamaged, OutputUnwritable
from pipeline.interfaces import Remembered
from pipeline.records import digest
from pipeline.storage.disk import unwritable

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS answers (
    key BLOB PRIMARY KEY, value BLOB NOT NULL, neurons REAL NOT NULL, model TEXT NOT NULL, endpoint TEXT NOT NULL,
    at TEXT NOT NULL DEFAULT (datetime('now')), crc INTEGER
) WITHOUT ROWID
"""
_GROWN: Final = "ALTER TABLE answers ADD COLUMN crc INTEGER"
_COLUMNS: Final = "key, value, neurons, model, endpoint"
_KEEP: Final = f"INSERT OR REPLACE INTO answers ({_COLUMNS}, crc) VALUES (?, ?, ?, ?, ?, ?)"  # noqa: S608
_MOST_VARIABLES: Final = 500
_SUFFIXES: Final = ("", "-wal", "-shm", "-journal")

Kept = Sequence[tuple[bytes, Remembered]]


class AnswerFile:
    """One file of answers; made when the first is kept. For one thread at a time.

    Args:
        path: The file.
        scope: What answers depend on besides their payload: answers of another scope are not found.
        advice: What to do where the file is damaged.
    """

    def __init__(self, path: Path, scope: bytes = b"", *, advice: str = "") -> None:
        self._path, self._scope, self._advice = path, scope, advice
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None

    def recall(self, keys: Sequence[bytes]) -> dict[bytes, Remembered]:
        """Return what is known of these payload keys.

        Raises:
            OutputDamaged: The file is none of ours, or damaged.
            OutputUnwritable: The disk refuses.
        """
        by_scoped = {self._scoped(key): key for key in keys}
        found: dict[bytes, Remembered] = {}
        scoped = list(by_scoped)
        with self._asking():
            if not self._is_there():
                return {}
            for start in range(0, len(scoped), _MOST_VARIABLES):
                group = scoped[start : start + _MOST_VARIABLES]
                marks = ",".join("?" * len(group))
                query = f"SELECT {_COLUMNS}, crc FROM answers WHERE key IN ({marks})"  # noqa: S608
                for *row, crc in self._open().execute(query, group):
                    if _is_sound(row, crc):
                        key, value, neurons, model, endpoint = row
                        found[by_scoped[key]] = Remembered(orjson.loads(value), neurons, model, endpoint)
        return found

    def keep(self, answers: Kept) -> None:
        """Keep answers; durable on return. What JSON cannot hold is left out.

        Raises:
            OutputDamaged: The file is none of ours, or damaged.
            OutputUnwritable: The disk refuses.
        """
        rows = []
        for key, answer in answers:
            with contextlib.suppress(orjson.JSONEncodeError):
                value = orjson.dumps(answer.value)
                row = (self._scoped(key), value, float(answer.neurons), answer.model, answer.endpoint)
                rows.append((*row, _checksum(row)))
        with self._asking(), self._open() as connection:
            connection.executemany(_KEEP, rows)

    def check(self) -> int:
        """Read the whole file: how many of its answers are damaged.

        Raises:
            OutputDamaged: The file is none of ours, or its structure is damaged.
            OutputUnwritable: The disk refuses.
        """
        with self._asking():
            if not self._is_there():
                return 0
            connection = self._open() if os.access(self._path.parent, os.W_OK) else self._open_to_read()
            ((verdict,),) = connection.execute("PRAGMA quick_check(1)")
            if verdict != "ok":
                raise sqlite3.DatabaseError(verdict)
            rows = connection.execute(f"SELECT {_COLUMNS}, crc FROM answers")  # noqa: S608
            return sum(not _is_sound(row, crc) for *row, crc in rows)

    def summary(self) -> dict[str, int]:
        """How many answers there are, by model. Empty where there is no file.

        Raises:
            OutputDamaged: The file is none of ours, or damaged.
            OutputUnwritable: The disk refuses.
        """
        with self._asking():
            if not self._is_there():
                return {}
            rows = self._open().execute("SELECT model, count(*) FROM answers GROUP BY model ORDER BY 2 DESC")
            return {str(model): int(n) for model, n in rows}

    def remove(self) -> None:
        """Close and delete the file.

        Raises:
            OutputUnwritable: The disk refuses.
        """
        self.close()
        with self._asking():
            for suffix in _SUFFIXES:
                self._named(suffix).unlink(missing_ok=True)

    def set_aside(self) -> Path | None:
        """Close the file and give it another name; None where that cannot be done, or where it is another one by now.

        Another process may have found it damaged too, and begun a new one.
        """
        self.close()
        target = self._path.with_name(f"{self._path.name}.damaged")
        with contextlib.suppress(OSError):
            if self._identity == _identity(self._path):
                for suffix in _SUFFIXES:
                    with contextlib.suppress(FileNotFoundError):
                        self._named(suffix).replace(target.with_name(target.name + suffix))
                return target
        return None

    def close(self) -> None:
        """Idempotent."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _scoped(self, key: bytes) -> bytes:
        return digest(self._scope, key) if self._scope else key

    def _named(self, suffix: str) -> Path:
        return self._path.with_name(self._path.name + suffix)

    def _is_there(self) -> bool:
        return self._connection is not None or self._path.exists()

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        """Say which of the two it is: a damaged file, or a disk that refuses."""
        try:
            yield
        except OSError as error:
            raise unwritable(error, self._path) from error
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                raise unwritable(OSError(errno.ENOSPC, ""), self._path) from error
            raise OutputUnwritable(f"{self._path}: answers cannot be kept or found ({error})") from error
        except (sqlite3.DatabaseError, ValueError) as error:
            raise OutputDamaged(f"{self._path}: damaged ({error}){self._advice and '; '}{self._advice}") from error

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self._path, timeout=30.0, check_same_thread=False)
            self._identity = _identity(self._path)
            try:
                connection.text_factory = _text
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=FULL")
                connection.execute(_SCHEMA)
                if "crc" not in {name for _, name, *_ in connection.execute("PRAGMA table_info(answers)")}:
                    connection.execute(_GROWN)
            except sqlite3.Error:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _open_to_read(self) -> sqlite3.Connection:
        """Where the folder may not be written."""
        is_whole = not self._named("-wal").exists()
        uri = f"{self._path.absolute().as_uri()}?mode=ro{'&immutable=1' if is_whole else ''}"
        self._connection = sqlite3.connect(uri, uri=True)
        self._connection.text_factory = _text
        return self._connection


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _text(data: bytes) -> str:
    """A flipped bit may make it anything; the checksum decides."""
    return data.decode("utf-8", "replace")


def _checksum(row: Sequence[object]) -> int:
    return zlib.crc32(repr(tuple(row)).encode())


def _is_sound(row: Sequence[object], crc: object) -> bool:
    """Whether an answer is as it was kept; those of older versions have no checksum."""
    return crc is None or crc == _checksum(row)

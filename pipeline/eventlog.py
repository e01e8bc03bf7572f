"""Writes what happens to ``run/events.jsonl``: one JSON object a line, for `jq`, support and the morning after.

Reads it back as the attempts of one record. Both files together stay near 32 MiB, however long a run is. A request of
several records names them once a file; its later lines only carry the same ``request``.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final

import orjson

from pipeline.clock import Clock
from pipeline.events import Event

MOST_BYTES: Final = 16 * 1024 * 1024
"""The log begins anew before it grows larger; the old one is kept as ``events.jsonl.1``."""

MOST_ATTEMPTS: Final = 200
"""Of one record, that are read back: the last ones."""

_MOST_MESSAGE: Final = 500
_APPEND: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
_MOST_REQUESTS: Final = 4096
_LONGEST_LINE: Final = 4 * 1024 * 1024


class EventLog:
    """An `Observer` that appends to a file.

    A log that cannot be written never stops a run: what matters is in the journal, which does.

    Args:
        path: The file; its folder exists.
        run_id: Written into every line.
        clock: For the time of each line.
        most_bytes: As `MOST_BYTES`.
    """

    def __init__(self, path: Path, run_id: str, clock: Clock, *, most_bytes: int = MOST_BYTES) -> None:
        self._path, self._run_id, self._clock, self._most = path, run_id, clock, most_bytes
        self._file: BinaryIO | None = None
        self._size = 0
        self._named: set[str] = set()
        with contextlib.suppress(OSError):
            self._open()

    def __call__(self, event: Event) -> None:
        """Append one line."""
        if self._file is None:
            return
        try:
            line = self._line(event)
            if self._size and self._size + len(line) > self._most:
                self._rotate()
                line = self._line(event)  # anew: each file names the records of its requests itself
            self._file.write(line)
            self._file.flush()
            self._size += len(line)
        except (OSError, orjson.JSONEncodeError):
            self.close()

    def close(self) -> None:
        """Close the file; idempotent."""
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()

    def _open(self) -> None:
        self._file = os.fdopen(os.open(self._path, _APPEND, 0o666), "ab")
        self._size = self._file.tell()

    def _rotate(self) -> None:
        self.close()
        self._path.replace(older(self._path))
        self._named.clear()
        self._open()

    def _line(self, event: Event) -> bytes:
        line = {
            "at": self._clock.now().isoformat(timespec="milliseconds"),
            "run": self._run_id,
            "kind": event.kind,
            "message": event.message[:_MOST_MESSAGE].encode(errors="replace").decode(),
            **self._facts(event.facts),
        }
        return orjson.dumps(line) + b"\n"

    def _facts(self, facts: Mapping[str, object]) -> Mapping[str, object]:
        """Leave out the ids of a request whose ids this file has."""
        ids = facts.get("ids")
        if not isinstance(ids, list) or len(ids) < 2:
            return facts
        request = hashlib.blake2b(orjson.dumps(ids), digest_size=8).hexdigest()
        is_named = request in self._named
        if len(self._named) >= _MOST_REQUESTS:
            self._named.clear()
        self._named.add(request)
        named = {} if is_named else {"ids": ids}
        return {**{key: value for key, value in facts.items() if key != "ids"}, "request": request, **named}


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of a record that did not bring its answer.

    Attributes:
        at: When it ended.
        run: Run id.
        number: Of the request's attempts, from 1.
        code: As in failure rows.
        http_status: None where no answer came.
        message: The service's words.
        neurons: Booked for the whole request.
        n_records: Records the request carried.
        gave_up: The record failed with it.
    """

    at: datetime
    run: str
    number: int
    code: str
    http_status: int | None
    message: str
    neurons: float
    n_records: int
    gave_up: bool = False


def older(path: Path) -> Path:
    """Where a log goes when a new one begins."""
    return path.with_name(f"{path.name}.1")


def read_attempts(path: Path, record_id: str) -> list[Attempt]:
    """Read the last attempts of a record, oldest first. Also while a run writes; what is no event is passed over."""
    try:
        needle = orjson.dumps(record_id)
    except orjson.JSONEncodeError:  # half a surrogate pair: no log can hold it
        return []
    found: deque[Attempt] = deque(maxlen=MOST_ATTEMPTS)
    with contextlib.ExitStack() as stack:
        files: list[BinaryIO] = []
        for each in (path, older(path)):  # in this order: a log that is put aside meanwhile is not missed
            with contextlib.suppress(OSError):
                files.append(stack.enter_context(each.open("rb")))
        if len(files) == 2 and os.path.samestat(*(os.fstat(file.fileno()) for file in files)):
            files.pop()
        for file in reversed(files):
            with contextlib.suppress(OSError):
                _read_file(file, record_id, needle, found)
    return list(found)


def _read_file(file: BinaryIO, record_id: str, needle: bytes, found: deque[Attempt]) -> None:
    sizes: dict[str, int] = {}  # of the requests that carry the record
    for event in _events(file, needle, sizes):
        if event.get("kind") == "failed" and event.get("id") == record_id and found:
            found[-1] = replace(found[-1], gave_up=True)
        elif event.get("kind") == "attempt":
            n_records = _size(event, record_id, sizes)
            if n_records and (attempt := _attempt(event, n_records)) is not None:
                found.append(attempt)


def _size(event: Mapping[str, object], record_id: str, sizes: dict[str, int]) -> int:
    """How many records the request of an attempt carries; 0 where the record is not among them."""
    ids, request = event.get("ids"), event.get("request")
    if not isinstance(ids, list):
        return sizes.get(request, 0) if isinstance(request, str) else 0
    if record_id not in ids:
        return 0
    if isinstance(request, str):
        sizes[request] = len(ids)
    return len(ids)


def _events(file: BinaryIO, needle: bytes, requests: Mapping[str, int]) -> Iterator[dict[str, object]]:
    """Yield the events that may be about the record; most lines are never parsed."""
    while line := file.readline(_LONGEST_LINE):  # what is longer is none of ours, and would be held whole
        if needle not in line and not any(request.encode() in line for request in requests):
            continue
        try:
            event = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(event, dict):
            yield event


def _attempt(event: Mapping[str, object], n_records: int) -> Attempt | None:
    status, number, neurons = event.get("http_status"), event.get("attempt"), event.get("neurons")
    try:
        at = datetime.fromisoformat(str(event.get("at")))
    except ValueError:
        return None
    if at.tzinfo is None:
        return None
    return Attempt(
        at=at,
        run=str(event.get("run", "")),
        number=number if isinstance(number, int) else 0,
        code=str(event.get("code", "")),
        http_status=status if isinstance(status, int) else None,
        message=str(event.get("message", "")),
        neurons=float(neurons) if isinstance(neurons, int | float) else 0.0,
        n_records=n_records,
    )

"""Puts answers together into result rows, and failures into failure rows. Pure but for the piece memory.

Takes (piece, value) pairs, hands on a `Row` once every piece of a record has answered.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import orjson

from pipeline.errors import ApiError, AttemptError, PlanError, Scope, UnreadableAnswer
from pipeline.interfaces import TaskAdapter
from pipeline.records import NO_PAYLOAD, BrokenRecord, Column, Failure, Outline, Piece, Record, Row, digest

BEFORE: Final = (Column("id", "string"), Column("source", "string"), Column("row", "int64"))
AFTER: Final = (
    Column("model", "string"),
    Column("neurons", "float64"),
    Column("latency_ms", "float64"),
    Column("attempts", "int32"),
    Column("finished_at", "timestamp"),
)
UNREADABLE_RECORD: Final = "unreadable_record"
UNUSABLE_RECORD: Final = "unusable_record"


def output_columns(task: Sequence[Column], kept: Sequence[Column], *, include_input: bool) -> list[Column]:
    """Return the columns of a result row, in order.

    Raises:
        PlanError: Two of them have one name.
    """
    sent = [Column("input", "string")] if include_input else []
    columns = [*BEFORE, *kept, *sent, *task, *AFTER]
    seen: set[str] = set()
    for column in columns:
        if column.name in seen:
            raise PlanError(
                f'two result columns would be named "{column.name}": rename the column that is kept '
                "(or the property in params.json_schema)",
                key="input.keep",
            )
        seen.add(column.name)
    return columns


@dataclass(frozen=True, slots=True)
class Share:
    """What one piece's part of an answer was.

    Attributes:
        value: What the task made of it.
        neurons: Its share of the charge.
        latency_ms: Of the request it travelled in.
        attempts: Of the request it travelled in.
    """

    value: object
    neurons: float
    latency_ms: float
    attempts: int


@dataclass(slots=True)
class _Collected:
    """The pieces of one record that have come to an end, and their answers unless one of them failed."""

    n_ended: int = 0
    answers: dict[int, tuple[Piece, Share]] | None = field(default_factory=dict)


@dataclass(slots=True)
class RowBuilder:
    """Makes rows for one job.

    Attributes:
        adapter: Of the job's task.
        model: Name written into each row.
        keep: Column name to kind, of the columns carried over.
        include_input: Whether the text that was sent goes into column `input`.
    """

    adapter: TaskAdapter
    model: str
    keep: Sequence[Column]
    include_input: bool
    _partial: dict[int, _Collected] = field(default_factory=dict)

    def restart(self) -> None:
        """Forget unfinished records: the next pass sends all of their pieces again."""
        self._partial.clear()

    def add(self, piece: Piece, share: Share, finished_at: datetime) -> Row | None:
        """Take one piece's answer; return the record's row when it was the last one missing and none failed."""
        if piece.n_pieces == 1:
            return self._row([(piece, share)], finished_at)
        collected = self._ended(piece)
        if collected.answers is None:
            return None
        collected.answers[piece.index] = (piece, share)
        if len(collected.answers) < piece.n_pieces:
            return None
        return self._row([collected.answers[index] for index in range(piece.n_pieces)], finished_at)

    def fail(self, piece: Piece) -> bool:
        """Drop what was collected for a record; return whether this is the first of its pieces that failed."""
        if piece.n_pieces == 1:
            return True
        collected = self._ended(piece)
        is_first = collected.answers is not None
        collected.answers = None
        return is_first

    def _ended(self, piece: Piece) -> _Collected:
        """Count a piece; the memory of a record ends with its last piece."""
        collected = self._partial.setdefault(piece.record.ordinal, _Collected())
        collected.n_ended += 1
        if collected.n_ended == piece.n_pieces:
            del self._partial[piece.record.ordinal]
        return collected

    def _row(self, parts: Sequence[tuple[Piece, Share]], finished_at: datetime) -> Row:
        record = parts[0][0].record
        shares = [share for _, share in parts]
        values: dict[str, object] = {"id": record.id, "source": record.source, "row": record.row}
        for column in self.keep:
            values[column.name] = _kept(column, record)
        if self.include_input:
            values["input"] = "".join(str(piece.content) for piece, _ in parts)
        values.update(self.adapter.row(record, [share.value for share in shares]))
        values["model"] = self.model
        values["neurons"] = sum(share.neurons for share in shares)
        values["latency_ms"] = max(share.latency_ms for share in shares)
        values["attempts"] = max(share.attempts for share in shares)
        values["finished_at"] = finished_at
        return Row(
            id_key=digest(record.id.encode()), payload_key=record_key([piece for piece, _ in parts]), values=values
        )


def _kept(column: Column, record: Record) -> object:
    """Value of a column that is carried over; one of no single type is JSON text (null where it nests too deeply)."""
    value = record.fields.get(column.name)
    if column.kind != "json" or value is None:
        return value
    with contextlib.suppress(orjson.JSONEncodeError):
        return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    return None


def record_key(pieces: Sequence[Piece]) -> bytes:
    """Digest of all that is sent for a record."""
    return pieces[0].payload_key if len(pieces) == 1 else digest(*(piece.payload_key for piece in pieces))


def outline_of(pieces: Sequence[Piece]) -> Outline:
    """The outline of a record, from its pieces."""
    return Outline(
        size=sum(piece.size for piece in pieces),
        expected=sum(piece.expected for piece in pieces),
        ceiling=sum(piece.ceiling for piece in pieces),
        payload_key=record_key(pieces),
    )


def follower_values(record: Record, keep: Sequence[Column], sent: str | None, at: datetime) -> Mapping[str, object]:
    """Columns of a row that shares another record's answer: its own identity, no cost of its own."""
    values: dict[str, object] = {"id": record.id, "source": record.source, "row": record.row}
    for column in keep:
        values[column.name] = _kept(column, record)
    if sent is not None:
        values["input"] = sent
    return {**values, "neurons": 0.0, "latency_ms": 0.0, "attempts": 0, "finished_at": at}


def failure_of(
    piece: Piece, error: AttemptError, *, attempts: int, at: datetime, payload_key: bytes | None = None
) -> Failure:
    """A failure row for a record whose request failed for good.

    Args:
        piece: The piece that failed.
        error: What its last attempt ended with.
        attempts: How many there were.
        at: When.
        payload_key: Digest of all that is sent for the record; the piece's own where that is all.
    """
    record = piece.record
    return Failure(
        id_key=digest(record.id.encode()),
        payload_key=payload_key or piece.payload_key,
        id=record.id,
        source=record.source,
        row=record.row,
        code=error.code,
        http_status=error.http_status,
        message=error.message if isinstance(error, ApiError) else str(error),
        attempts=attempts,
        retryable=error.scope is Scope.ATTEMPT or isinstance(error, UnreadableAnswer),
        at=at,
    )


def failure_of_broken(broken: BrokenRecord, at: datetime, *, code: str = UNREADABLE_RECORD) -> Failure:
    """A failure row for an input item that was never sent."""
    return Failure(
        id_key=digest(broken.id.encode()),
        payload_key=NO_PAYLOAD,
        id=broken.id,
        source=broken.source,
        row=broken.row,
        code=code,
        http_status=None,
        message=broken.reason,
        attempts=0,
        retryable=False,
        at=at,
    )

"""Puts answers together into result rows, and failures into failure rows. Pure but for the piece memory.

Takes (piece, value) pairs, hands on what a record has come to once every piece of it has answered: a row, a failure
row, or the pieces that its answers have made necessary.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import orjson

from pipeline.errors import PlanError, UnreadableAnswer
from pipeline.failures import failure_of, failure_row
from pipeline.interfaces import TaskAdapter
from pipeline.records import (
    Column,
    Failure,
    GatewayNote,
    Outline,
    Piece,
    Record,
    Row,
    digest,
    record_key,
)

BEFORE: Final = (Column("id", "string"), Column("source", "string"), Column("row", "int64"))
AFTER: Final = (
    Column("model", "string"),
    Column("neurons", "float64"),
    Column("latency_ms", "float64"),
    Column("attempts", "int32"),
    Column("finished_at", "timestamp"),
)
GATEWAY: Final = (Column("cache", "string"), Column("log_id", "string"))
"""Only in jobs that go through an AI Gateway."""


def output_columns(
    task: Sequence[Column],
    kept: Sequence[Column],
    *,
    include_input: bool,
    tells_endpoint: bool = False,
    through_gateway: bool = False,
) -> list[Column]:
    """Return the columns of a result row, in order.

    Raises:
        PlanError: Two of them have one name.
    """
    sent = [Column("input", "string")] if include_input else []
    told = [Column("endpoint", "string")] if tells_endpoint else []
    columns = [*BEFORE, *kept, *sent, *task, AFTER[0], *told, *AFTER[1:], *(GATEWAY if through_gateway else ())]
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
        model: That answered; "" for none.
        endpoint: The same.
        gateway: Of the answer it came in.
    """

    value: object
    neurons: float
    latency_ms: float
    attempts: int
    model: str
    endpoint: str = ""
    gateway: GatewayNote | None = None


@dataclass(frozen=True, slots=True)
class More:
    """What is to be sent next for a record whose pieces have all answered."""

    pieces: Sequence[Piece]


Outcome = Row | Failure | More


@dataclass(slots=True)
class _Collected:
    """The pieces of one record that have come to an end, and their answers unless one of them failed.

    Attributes:
        n_pieces: How many there are; grows when one is halved.
        n_ended: How many have answered or failed.
        answers: By position; None once one has failed.
        payload_key: Digest of all that was sent for the record at first.
        spent: What earlier stages cost.
        latency_ms: The longest of earlier stages.
        attempts: Of earlier stages, together.
        models: That have answered, in the order in which they did.
        endpoints: The same.
        notes: What gateways said of all answers so far.
    """

    n_pieces: int
    payload_key: bytes
    n_ended: int = 0
    answers: dict[tuple[int, ...], tuple[Piece, Share]] | None = field(default_factory=dict)
    spent: float = 0.0
    latency_ms: float = 0.0
    attempts: int = 0
    models: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()
    notes: Sequence[GatewayNote] = ()

    def take(self, shares: Sequence[Share]) -> None:
        """Add what the pieces of a stage have cost."""
        if len(shares) == 1:  # most records are one piece
            share = shares[0]
            self.spent += share.neurons
            self.latency_ms = max(self.latency_ms, share.latency_ms)
            self.attempts += share.attempts
            if share.model:
                self.models = (*self.models, share.model)
                self.endpoints = (*self.endpoints, share.endpoint)
            if share.gateway is not None:
                self.notes = (*self.notes, share.gateway)
            return
        self.spent += sum(share.neurons for share in shares)
        self.latency_ms = max(self.latency_ms, *(share.latency_ms for share in shares))
        self.attempts += max(share.attempts for share in shares)
        self.models = (*self.models, *[share.model for share in shares if share.model])
        self.endpoints = (*self.endpoints, *[share.endpoint for share in shares if share.endpoint])
        self.notes = (*self.notes, *[share.gateway for share in shares if share.gateway is not None])

    def begin(self, n_pieces: int) -> None:
        """Wait for the pieces of the next stage."""
        self.n_pieces, self.n_ended, self.answers = n_pieces, 0, {}


@dataclass(slots=True)
class RowBuilder:
    """Makes rows for one job.

    Attributes:
        adapter: Of the job's task.
        keep: Column name to kind, of the columns carried over.
        include_input: Whether the text that was sent goes into column `input`.
        tells_endpoint: Whether the endpoint that answered goes into column `endpoint`.
        through_gateway: Whether there are the columns of an AI Gateway.
    """

    adapter: TaskAdapter
    keep: Sequence[Column]
    include_input: bool
    tells_endpoint: bool = False
    through_gateway: bool = False
    _partial: dict[int, _Collected] = field(default_factory=dict)

    @property
    def begun(self) -> set[int]:
        """Ordinals of the unfinished records that have an answer."""
        return {ordinal for ordinal, found in self._partial.items() if found.answers or found.models}

    def restart(self) -> None:
        """Forget unfinished records: the next pass sends all of their pieces again."""
        self._partial.clear()

    def add(self, piece: Piece, share: Share, finished_at: datetime) -> Outcome | None:
        """Take one piece's answer; return what the record has come to when it was the last one missing."""
        if piece.n_pieces == 1 and not piece.part and not piece.stage:
            return self._outcome([(piece, share)], _Collected(1, payload_key=record_key((piece,))), finished_at)
        collected = self._ended(piece)
        if collected.answers is None:
            return None
        collected.answers[piece.index, *piece.part] = (piece, share)
        if collected.n_ended < collected.n_pieces:
            return None
        return self._outcome([collected.answers[at] for at in sorted(collected.answers)], collected, finished_at)

    def unsent(self, record: Record, model: str, at: datetime) -> Row | Failure:
        """What a record without pieces comes to: no neurons, no attempts, no endpoint."""
        key = self.adapter.outline(record).payload_key
        try:
            return self._row(record, (), _Collected(0, payload_key=key, models=(model,)), at)
        except UnreadableAnswer as error:
            return failure_row(record, error, attempts=0, at=at, payload_key=key)

    def fail(self, piece: Piece) -> bytes | None:
        """Drop what was collected for a record; return its payload key if this is the first of its pieces that failed.

        The key is the digest of all that is sent for the record, as the plan computes it.
        """
        if piece.n_pieces == 1 and not piece.part and not piece.stage:
            return record_key((piece,))
        collected = self._ended(piece)
        is_first = collected.answers is not None
        collected.answers = None
        return collected.payload_key if is_first else None

    def has_failed(self, piece: Piece) -> bool:
        """Whether another piece of its record has failed, so that nothing depends on this one any more."""
        collected = self._partial.get(piece.record.ordinal)
        return collected is not None and collected.answers is None

    def expect(self, pieces: Sequence[Piece]) -> None:
        """Take note of what a record was cut into, before any of it is sent."""
        if len(pieces) > 1:
            self._partial[pieces[0].record.ordinal] = _Collected(len(pieces), payload_key=record_key(pieces))

    def split(self, piece: Piece, parts: Sequence[Piece]) -> None:
        """Take note that a piece is sent in parts."""
        record = piece.record.ordinal
        collected = self._partial.setdefault(record, _Collected(1, payload_key=record_key((piece,))))
        collected.n_pieces += len(parts) - 1

    def _ended(self, piece: Piece) -> _Collected:
        """Count a piece; the memory of a record ends with its last piece."""
        collected = self._partial[piece.record.ordinal]
        collected.n_ended += 1
        if collected.n_ended == collected.n_pieces:
            del self._partial[piece.record.ordinal]
        return collected

    def _outcome(self, parts: Sequence[tuple[Piece, Share]], collected: _Collected, at: datetime) -> Outcome:
        record = parts[0][0].record
        adapter = self.adapter
        collected.take([share for _, share in parts])
        try:
            values = [(piece, adapter.placed(piece, share.value)) for piece, share in parts]
            if more := adapter.follow_up(record, values):
                collected.begin(len(more))
                self._partial[record.ordinal] = collected
                return More(more)
            return self._row(record, values, collected, at)
        except UnreadableAnswer as error:
            key = collected.payload_key
            return failure_of(parts[0][0], error, attempts=collected.attempts, at=at, payload_key=key)

    def _row(
        self,
        record: Record,
        answered: Sequence[tuple[Piece, object]],
        collected: _Collected,
        finished_at: datetime,
    ) -> Row:
        values: dict[str, object] = {"id": record.id, "source": record.source, "row": record.row}
        for column in self.keep:
            values[column.name] = _kept(column, record)
        if self.include_input and not self.adapter.rows_hold_input:
            values["input"] = self.adapter.sent(record)
        answers = [value for _, value in answered]
        rows = self.adapter.rows(record, answers)
        values.update(rows[0])
        values["model"] = _named(collected.models)
        if self.tells_endpoint:
            values["endpoint"] = _named(collected.endpoints) or None
        values["neurons"] = collected.spent
        values["latency_ms"] = collected.latency_ms
        values["attempts"] = collected.attempts
        values["finished_at"] = finished_at
        if self.through_gateway:
            values.update(_gateway_values(collected.notes))
        more: list[dict[str, object]] = []
        if len(rows) > 1:
            costs = _spread(collected.spent, [piece.size for piece, _ in answered], n_rows=len(rows))
            values["neurons"] = costs[0]
            more = [{**values, **row, "neurons": cost} for row, cost in zip(rows[1:], costs[1:], strict=True)]
        if self.adapter.rows_hold_input and not self.include_input:
            del values["input"]
            for row in more:
                del row["input"]
        return Row(
            id_key=digest(record.id.encode()),
            payload_key=collected.payload_key,
            values=values,
            files=self.adapter.files(record, answers),
            more=more,
        )


def _spread(neurons: float, sizes: Sequence[int], *, n_rows: int) -> list[float]:
    """Shares of a charge: by size where each piece has made a row, else equal ones."""
    weights = sizes if len(sizes) == n_rows and any(sizes) else [1] * n_rows
    total = sum(weights)
    return [neurons * weight / total for weight in weights]


def _named(names: Sequence[str]) -> str:
    """Each once."""
    return names[0] if len(names) == 1 else ", ".join(dict.fromkeys(names))


def _gateway_values(notes: Sequence[GatewayNote]) -> Mapping[str, object]:
    """``HIT`` where every answer of the record came from the cache; the log entry is that of the last answer."""
    told = [note for note in notes if note.cache is not None]
    cache = "HIT" if told and all(note.is_hit for note in notes) else "MISS" if told else None
    return {"cache": cache, "log_id": next((note.log_id for note in reversed(notes) if note.log_id), None)}


def _kept(column: Column, record: Record) -> object:
    """Value of a column that is carried over; one of no single type is JSON text (null where it nests too deeply)."""
    value = record.fields.get(column.name)
    if column.kind != "json" or value is None:
        return value
    with contextlib.suppress(orjson.JSONEncodeError):
        return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    return None


def outline_of(pieces: Sequence[Piece]) -> Outline:
    """The outline of a record, from its pieces."""
    return Outline(
        size=sum(piece.size for piece in pieces),
        expected=sum(piece.expected for piece in pieces),
        ceiling=sum(piece.ceiling for piece in pieces),
        payload_key=record_key(pieces),
        n_pieces=len(pieces),
    )


def follower_values(record: Record, keep: Sequence[Column], sent: str | None, at: datetime) -> Mapping[str, object]:
    """Columns of a row that shares another record's answer: its own identity, no cost of its own."""
    values: dict[str, object] = {"id": record.id, "source": record.source, "row": record.row}
    for column in keep:
        values[column.name] = _kept(column, record)
    if sent is not None:
        values["input"] = sent
    return {**values, "neurons": 0.0, "latency_ms": 0.0, "attempts": 0, "finished_at": at}

"""What becomes of pieces that have come to an end: rows, failure rows, or more pieces; and what needs no sending.

Takes answers and errors, hands rows on to the sink and pieces back to whoever sends. A piece whose like has been
answered before, or is on its way now, is not sent: it takes that one's answer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from pipeline.breaker import Breaker
from pipeline.clock import Clock
from pipeline.errors import AttemptError, UnreadableAnswer, Unsendable
from pipeline.events import Counters, Event, Observer
from pipeline.failures import failure_of, failure_of_broken
from pipeline.interfaces import Memory, Remembered, Sink, TaskAdapter
from pipeline.reader import Cut
from pipeline.records import BrokenRecord, Failure, Piece, Record, Request, Row
from pipeline.rows import More, RowBuilder, Share
from pipeline.sender import Delivered
from pipeline.threads import in_thread


@dataclass(frozen=True, slots=True)
class Answered:
    """What one attempt brought.

    Attributes:
        request: What was sent.
        delivered: What came.
        attempt: Number of the attempt, from 1.
        model: That answered; "" for none, where an earlier answer counts again.
        endpoint: The same.
        is_fallback: It stands in for an answer that did not come, and is not remembered.
    """

    request: Request
    delivered: Delivered
    attempt: int
    model: str
    endpoint: str
    is_fallback: bool = False


def spread(charge: float, pieces: Sequence[Piece]) -> list[float]:
    """Share the charge of a request out to its pieces, as what was expected of each; by bytes where nothing was.

    Of documents that travel together only the pictures cost anything, however large the others are.
    """
    if len(pieces) == 1:
        return [charge]
    weights: list[float] = [piece.expected for piece in pieces]
    total = sum(weights)
    if not total > 0:
        weights = [max(1, piece.size) for piece in pieces]
        total = sum(weights)
    return [charge * weight / total for weight in weights]


@dataclass(slots=True)
class Completions:
    """The ends of pieces, in one pass.

    Attributes:
        model: Named in the rows of records that need no answer.
        mark: Told of every record that has ended.
        send: Takes pieces that are to be sent before anything new.
        failing: Told the latest failure once too much has failed.
    """

    adapter: TaskAdapter
    model: str
    rows: RowBuilder
    sink: Sink
    memory: Memory | None
    counters: Counters
    breaker: Breaker
    clock: Clock
    observer: Observer
    mark: Callable[[Record | BrokenRecord], None]
    send: Callable[[Sequence[Piece]], None]
    failing: Callable[[AttemptError], None]
    _waiting: dict[bytes, list[Piece]] = field(default_factory=dict)

    def may_know(self, pieces: Sequence[Piece]) -> bool:
        """Whether any of these could have been answered before."""
        return self.memory is not None and any(map(self._is_remembered, pieces))

    async def admit(self, pieces: Sequence[Piece]) -> list[Piece]:
        """Say which pieces have to be sent; the others have their answer, or wait for that of one that is sent."""
        if not self.may_know(pieces):
            return list(pieces)
        to_send: list[Piece] = []
        ended: list[tuple[Record, Row | Failure]] = []
        waiting = deque(pieces)
        while waiting:
            claimed = self._claimed(waiting)
            waiting.clear()
            known = await self._recall([piece.payload_key for piece in claimed])
            for piece in claimed:
                answer = known.get(piece.payload_key)
                if answer is None:
                    to_send.append(piece)
                    continue
                neurons = answer.neurons
                for each in (piece, *self._waiting.pop(piece.payload_key, ())):
                    share = Share(answer.value, neurons, 0.0, 0, answer.model, answer.endpoint)
                    waiting += self._add(each, share, ended)
                    neurons = 0.0
        await self._put(ended)
        return to_send

    def _claimed(self, pieces: Iterable[Piece]) -> list[Piece]:
        """The first of each kind; the others wait for it. Before anybody looks: two that look at once see nothing."""
        claimed = []
        for piece in pieces:
            if (others := self._waiting.get(piece.payload_key)) is not None:
                others.append(piece)
            else:
                self._waiting[piece.payload_key] = []
                claimed.append(piece)
        return claimed

    async def answered(self, answer: Answered) -> None:
        """Take the values of a request; returns once what they complete is in the journal."""
        delivered = answer.delivered
        charges = spread(delivered.booked, answer.request.pieces)
        ended: list[tuple[Record, Row | Failure]] = []
        more: list[Piece] = []
        await self._keep(answer)
        for piece, value, neurons in zip(answer.request.pieces, delivered.values, charges, strict=True):
            share = Share(
                value,
                neurons,
                delivered.latency_ms,
                answer.attempt,
                answer.model,
                answer.endpoint,
                gateway=delivered.gateway,
            )
            more += self._add(piece, share, ended)
            if self._waiting:
                for other in self._waiting.pop(piece.payload_key, ()):
                    more += self._add(other, Share(value, 0.0, 0.0, 0, answer.model, answer.endpoint), ended)
        if more and (to_send := await self.admit(more)):
            self.send(to_send)
        await self._put(ended)

    async def _keep(self, answer: Answered) -> None:
        """Write down what may serve again, before those that wait for it are told: who comes meanwhile still waits."""
        if self.memory is None or answer.is_fallback or not self.may_know(answer.request.pieces):
            return
        pieces, delivered = answer.request.pieces, answer.delivered
        charges = spread(delivered.booked, pieces)
        await self.memory.keep(
            [
                (piece.payload_key, Remembered(value, neurons, answer.model, answer.endpoint))
                for piece, value, neurons in zip(pieces, delivered.values, charges, strict=True)
                if self._is_remembered(piece)
            ]
        )

    def can_do_without(self, request: Request, error: AttemptError) -> bool:
        """Whether every piece was only to improve an answer that there is."""
        return all(self.adapter.fallback(piece, error) is not None for piece in request.pieces)

    async def failed(self, request: Request, error: AttemptError, n_attempts: int) -> None:
        """Write the failure rows of records whose request has failed for good, and of those that waited for it.

        A piece that was to improve an earlier answer has that one.
        """
        earlier = [(piece, self.adapter.fallback(piece, error)) for piece in request.pieces]
        if kept := [(piece, value) for piece, value in earlier if value is not None]:
            pieces, values = zip(*kept, strict=True)
            delivered = Delivered(values, 0.0, 0.0)
            await self.answered(Answered(Request(pieces), delivered, n_attempts, "", "", is_fallback=True))
        lost = [piece for piece, value in earlier if value is None]
        waited = [other for piece in lost for other in self._waiting.pop(piece.payload_key, ())]
        now = self.clock.now()
        failed = [(piece, key) for piece in (*lost, *waited) if (key := self.rows.fail(piece)) is not None]
        failures = [failure_of(piece, error, attempts=n_attempts, at=now, payload_key=key) for piece, key in failed]
        await self.sink.put([], failures)
        for piece, _ in failed:
            self.mark(piece.record)
            if not isinstance(error, Unsendable):  # nothing left, so nothing is burned
                self.breaker.record(ok=False)
            self._tell_failed(piece.record.id, str(error), error.code)
        self.counters.failed += len(failures)
        if self.breaker.tripped:
            self.failing(error)

    def wanted(self, request: Request) -> Request | None:
        """Leave out pieces of records that have failed: their answers would serve nobody. None where none is left.

        Whoever waits for the answer of such a piece is sent instead.
        """
        if not any(map(self.rows.has_failed, request.pieces)):
            return request
        kept = []
        for piece in request.pieces:
            if self.rows.has_failed(piece):
                self.rows.fail(piece)
                self.released(piece)
            else:
                kept.append(piece)
        return replace(request, pieces=tuple(kept)) if kept else None

    def released(self, piece: Piece) -> None:
        """It will not be answered as it is: who waited for its answer is sent."""
        if others := self._waiting.pop(piece.payload_key, None):
            self._waiting[piece.payload_key] = others[1:]
            self.send(others[:1])

    def is_needless(self, piece: Piece) -> bool:
        """Whether no record depends on it: its own has failed in another piece, and so have those that wait for it."""
        return all(map(self.rows.has_failed, (piece, *self._waiting.get(piece.payload_key, ()))))

    async def unusable(self, broken: Sequence[Cut]) -> None:
        """Write the failure rows of records that cannot be sent."""
        now = self.clock.now()
        items = [(cut.item, cut.code) for cut in broken if isinstance(cut.item, BrokenRecord)]
        await self.sink.put([], [failure_of_broken(item, now, code=code) for item, code in items])
        for item, code in items:
            self.mark(item)
            self._tell_failed(item.id, item.reason, code)
        self.counters.failed += len(items)

    async def unsent(self, cuts: Sequence[Cut]) -> None:
        """Write the rows of records that need no answer. They tell the breaker nothing: no service was asked."""
        now = self.clock.now()
        records = [cut.item for cut in cuts if isinstance(cut.item, Record)]
        await self._write([(record, self.rows.unsent(record, self.model, now)) for record in records])

    def _is_remembered(self, piece: Piece) -> bool:
        """A piece that is not a whole record by itself would be paid again after a crash; some tasks share them all."""
        adapter = self.adapter
        if not adapter.keeps_pieces:
            return adapter.shares_pieces
        return adapter.shares_pieces or piece.n_pieces > 1 or piece.stage > 0 or bool(piece.part or piece.record_key)

    async def _recall(self, keys: Sequence[bytes]) -> dict[bytes, Remembered]:
        memory = self.memory
        assert memory is not None
        return await in_thread(lambda: memory.recall(keys))

    def _add(self, piece: Piece, share: Share, ended: list[tuple[Record, Row | Failure]]) -> Sequence[Piece]:
        """Give one piece its answer; return what that makes necessary."""
        outcome = self.rows.add(piece, share, self.clock.now())
        if isinstance(outcome, More):
            return outcome.pieces
        if outcome is not None:
            ended.append((piece.record, outcome))
        return ()

    async def _put(self, ended: Sequence[tuple[Record, Row | Failure]]) -> None:
        """Write the rows that answers have brought."""
        await self._write(ended)
        failures = [outcome for _, outcome in ended if isinstance(outcome, Failure)]
        for _, outcome in ended:
            self.breaker.record(ok=isinstance(outcome, Row))
        if failures and self.breaker.tripped:  # answers that make no rows are paid for like any others
            self.failing(UnreadableAnswer(failures[-1].message))

    async def _write(self, ended: Sequence[tuple[Record, Row | Failure]]) -> None:
        rows = [outcome for _, outcome in ended if isinstance(outcome, Row)]
        failures = [outcome for _, outcome in ended if isinstance(outcome, Failure)]
        await self.sink.put(rows, failures)
        self.counters.done += len(rows)
        self.counters.failed += len(failures)
        for row in rows:
            self.counters.truncated += row.values.get("finish_reason") == "length"
        for failure in failures:
            self._tell_failed(failure.id, failure.message, failure.code)
        for record, _ in ended:
            self.mark(record)

    def _tell_failed(self, record_id: str, message: str, code: str) -> None:
        self.observer(Event("failed", f"{record_id}: {message}", {"id": record_id, "code": code}))

"""The way of records through a task, as the engine goes it, without a network: sent, answered, sent again, ended."""

from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pipeline.batcher import Batcher, halves
from pipeline.errors import AttemptError, Scope, UnreadableAnswer
from pipeline.failures import failure_of
from pipeline.records import Answer, Failure, Request, Row, Usage
from pipeline.retry import FAULTS
from pipeline.rows import More, RowBuilder, Share, output_columns
from pipeline.storage.framing import Framer, failure_frames

NOW = datetime(2026, 11, 22, tzinfo=UTC)


@dataclass
class Street:
    """One task at work.

    Attributes:
        adapter: Of the task.
        answer: Takes a request and its payload, returns a result, or raises what the service refuses with.
        usage: What every answer says it used.
        most: Requests that all records together may take.
        sent: (request, payload) in the order they left.
        ended: Rows and failures in the order they came.
    """

    adapter: object
    answer: object
    usage: Usage = field(default_factory=Usage)
    most: int = 1_000
    sent: list = field(default_factory=list)
    ended: list = field(default_factory=list)
    _waiting: deque = field(default_factory=deque)

    def run(self, records):
        """Send records until each has come to its end; return rows and failures."""
        rows = RowBuilder(self.adapter, keep=(), include_input=True)
        cut = [self.adapter.pieces(record) for record in records]
        for record, pieces in zip(records, cut, strict=True):
            rows.expect(pieces)
            if not pieces:
                self.ended.append(rows.unsent(record, "a model", NOW))
        self._waiting.extend(requests_of(self.adapter, [piece for pieces in cut for piece in pieces]))
        while self._waiting:
            request = self._waiting.popleft()
            assert len(self.sent) < self.most, f"no end after {self.most} requests"
            payload = self.adapter.payload(request)
            self.sent.append((request, payload))
            self._deliver(request, payload, rows)
        assert sorted(_id_of(end) for end in self.ended) == sorted(record.id for record in records)
        return self.ended

    def _deliver(self, request, payload, rows):
        refusal = None
        try:
            result = self.answer(request, payload)
        except AttemptError as error:
            refusal = error
        if refusal is None:
            try:
                values = self.adapter.parse(request, Answer(result, self.usage, 1.0))
            except UnreadableAnswer as error:
                refusal = error
        if refusal is not None:
            values = self._refused(request, refusal, rows)
        for piece, value in zip(request.pieces, values, strict=True) if values is not None else ():
            outcome = rows.add(piece, share_of(value), NOW)
            if isinstance(outcome, More):
                assert {piece.stage + 1} == {one.stage for one in outcome.pieces}
                self._waiting.extend(requests_of(self.adapter, outcome.pieces))
            elif outcome is not None:
                self.ended.append(outcome)

    def _refused(self, request, error, rows):
        piece = request.pieces[0]
        if len(request.pieces) > 1 and (error.scope is Scope.RECORD or isinstance(error, FAULTS)):
            self._waiting.extendleft(reversed(halves(request)))
            return None
        if parts := self.adapter.instead(piece, error):
            assert all(one.index == piece.index and one.n_pieces == piece.n_pieces for one in parts)
            assert all(one.stage == piece.stage and one.part[:-1] == piece.part for one in parts)
            rows.split(piece, parts)
            self._waiting.extendleft(Request((part,)) for part in reversed(parts))
            return None
        if (earlier := self.adapter.fallback(piece, error)) is not None:
            return (earlier,)
        for failed in request.pieces:
            if (key := rows.fail(failed)) is not None:
                self.ended.append(failure_of(failed, error, attempts=1, at=NOW, payload_key=key))
        return None


def share_of(value):
    """What a row says of an answer beside its value."""
    return Share(value, 0.1, 1.0, 1, "a model")


def requests_of(adapter, pieces):
    """Pack pieces as the engine does."""
    batcher = Batcher(max_pieces=adapter.max_pieces, max_bytes=adapter.max_request_bytes)
    made = [*(batcher.add(piece) for piece in pieces), batcher.flush()]
    return [request for request in made if request is not None]


def stored(adapter, ended):
    """Write ends into journal frames as the store does; raises where one cannot be stored."""
    rows = [end for end in ended if isinstance(end, Row)]
    framer = Framer(output_columns(adapter.columns, (), include_input=True)).resolved(rows)
    return [*framer.results(rows), *failure_frames([end for end in ended if isinstance(end, Failure)])]


def _id_of(end):
    return end.id if isinstance(end, Failure) else end.values["id"]

"""Moves records along the street: source -> batcher -> [reserve -> pace -> send (retry) -> settle] -> sink.

Knows interfaces only. One `TaskGroup` per pass; a bounded queue between the reader and the workers; no task per
record. A worker owns a request until it is answered, has failed, or is left pending. What waits holds nothing: a
request that waits for its next attempt has neither slot nor neurons.

The one thing decided here is what a failure's scope means:
ATTEMPT, tried again by tenacity; RECORD, halved and sent again, or alone a failure row; RUN, the pass stops.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from pipeline.batcher import Batcher, fit, halves
from pipeline.breaker import Breaker
from pipeline.clock import Clock
from pipeline.errors import (
    AllocationExhausted,
    AnswerCutShort,
    AttemptError,
    BudgetExhausted,
    ConnectFailed,
    RateLimited,
    Scope,
    SourceError,
)
from pipeline.events import Counters, Event, Observer, StopReason
from pipeline.interfaces import Budget, Endpoint, Sink, TaskAdapter
from pipeline.lastmile import GOAL, InputRatios, tighten
from pipeline.limits import Gate, Pace
from pipeline.reader import Cut, next_chunk
from pipeline.records import BrokenRecord, Failure, Piece, Record, Request, Row
from pipeline.retry import SPLITTABLE, TOO_LARGE, RetryPolicy, attempts
from pipeline.rows import More, RowBuilder, Share, failure_of, failure_of_broken
from pipeline.sender import Delivered, Flight, Sender, Stopped

QUEUE_MOST: Final = 16
ASIDE_MOST: Final = 2_000
LAST_MILE_MOST: Final = 40
_RATE_PAUSE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything a pass works with; what one pass has learned serves the next."""

    adapter: TaskAdapter
    endpoint: Endpoint
    budget: Budget
    gate: Gate
    pace: Pace
    policy: RetryPolicy
    sink: Sink
    rows: RowBuilder
    clock: Clock
    rng: random.Random
    observer: Observer
    counters: Counters
    breaker: Breaker
    concurrency: int
    budget_limit: float
    mark: Callable[[Record | BrokenRecord], None]
    ratios: InputRatios = field(default_factory=InputRatios)


class _Sign(Enum):
    """What a worker finds in the queue instead of a request."""

    LOOK = auto()
    """There is something in front of the queue."""
    OVER = auto()
    """Nothing will come any more; for all workers, so whoever takes it puts it back."""


class _Worker(Flight):
    """A task of the pass, and whether cancelling it now would lose an answer or a failure row."""

    __slots__ = ("task",)

    def __init__(self) -> None:
        super().__init__()
        self.task: asyncio.Task[None] | None = None


class Engine:
    """One pass over the pending records.

    `run` returns why it ended; `stop` ends it early from a signal handler or from inside.
    """

    def __init__(self, parts: Parts) -> None:
        self._p = parts
        self._reason: StopReason | None = None
        self._cause: AttemptError | None = None
        self._queue: asyncio.Queue[Request | _Sign] = asyncio.Queue(maxsize=QUEUE_MOST)
        self._front: deque[Request] = deque()
        self._n_owned = 0
        self._is_read = False
        self._aside: list[Piece] = []
        self._workers: list[_Worker] = []
        self._reader = _Worker()
        self._stopping = asyncio.Event()
        self._source_error: SourceError | None = None
        self._sender = Sender(
            adapter=parts.adapter,
            endpoint=parts.endpoint,
            budget=parts.budget,
            pace=parts.pace,
            counters=parts.counters,
            observer=parts.observer,
            stopping=self._stopping,
            refused=self._note_refusal,
            ratios=parts.ratios,
        )
        self._killed = False
        self._n_given_up = 0

    @property
    def cause(self) -> AttemptError | None:
        """The refusal that ended the pass, where one did."""
        return self._cause

    async def run(self, work: Iterator[Record | BrokenRecord]) -> StopReason:
        """Send what `work` yields; return once every answer that arrived is with the sink.

        Cancelling this coroutine drops what is in flight and books its ceilings.

        Raises:
            SourceError: The input failed on the way; what was in flight has been answered and is with the sink.
        """
        self._p.rows.restart()
        async with asyncio.TaskGroup() as group:
            self._reader.task = group.create_task(self._read(work), name="reader")
            for index in range(self._p.concurrency * 3 // 2 + 1):  # some wait for a retry while the others send
                worker = _Worker()
                worker.task = group.create_task(self._work(worker), name=f"worker-{index}")
                self._workers.append(worker)
            if self._stopping.is_set():  # stopped before it began
                self._cancel_idle()
        if self._reason in {None, StopReason.BUDGET_SPENT} and self._aside and not self._killed:
            await self._use_up()
        if self._source_error is not None:
            raise self._source_error
        return self._reason or StopReason.COMPLETED

    def stop(self, reason: StopReason) -> None:
        """Stop reading and sending; let what is in flight finish. The first reason stays.

        But for `budget_spent`: the last mile follows it, and any other reason ends that.
        """
        if self._reason is None or (self._reason is StopReason.BUDGET_SPENT and reason is not self._reason):
            self._reason = reason
            self._stopping.set()
            self._cancel_idle()

    def kill(self) -> None:
        """Drop what is in flight as well."""
        self._killed = True
        self._reason = self._reason or StopReason.INTERRUPTED
        self._stopping.set()
        for worker in (self._reader, *self._workers):
            if worker.task is not None:
                worker.task.cancel()

    def _cancel_idle(self) -> None:
        """End reader and waiting workers at once, so that nothing more leaves after this returns."""
        current = asyncio.current_task()
        for worker in (self._reader, *self._workers):
            if worker.task is not None and worker.task is not current and not worker.is_busy:
                worker.task.cancel()

    # -- reading ------------------------------------------------------------------------------------------------

    async def _read(self, work: Iterator[Record | BrokenRecord]) -> None:
        try:
            await self._read_to_the_end(work)
        except SourceError as error:  # what is in flight was paid: stop as a signal would
            self._source_error = error
            self.stop(StopReason.ERROR)

    async def _read_to_the_end(self, work: Iterator[Record | BrokenRecord]) -> None:
        adapter = self._p.adapter
        batcher = Batcher(max_pieces=adapter.max_pieces, max_bytes=adapter.max_request_bytes)
        while chunk := await next_chunk(work, adapter):
            await self._put_broken([cut for cut in chunk if isinstance(cut.item, BrokenRecord)])
            if self._stopping.is_set():
                return
            for cut in chunk:
                self._p.rows.expect(cut.pieces)
                for piece in cut.pieces:
                    if (request := batcher.add(piece)) is not None:
                        await self._queue.put(request)
        if (request := batcher.flush()) is not None:
            await self._queue.put(request)
        self._is_read = True
        self._wake()

    async def _put_broken(self, broken: list[Cut]) -> None:
        """Write the failure rows of records that cannot be sent; a stop waits for it."""
        if not broken:
            return
        now = self._p.clock.now()
        self._reader.is_busy = True
        failures = [
            failure_of_broken(cut.item, now, code=cut.code) for cut in broken if isinstance(cut.item, BrokenRecord)
        ]
        await self._p.sink.put([], failures)
        self._reader.is_busy = False
        for cut in broken:
            self._p.mark(cut.item)
        self._p.counters.failed += len(broken)

    # -- sending ------------------------------------------------------------------------------------------------

    async def _work(self, me: _Worker) -> None:
        """Take what is in front, else what the reader brings, until neither can bring more.

        Answers can make more requests necessary, so a worker stays while another one still owns a request.
        """
        while not self._stopping.is_set():
            request = self._front.popleft() if self._front else await self._queue.get()
            if request is _Sign.OVER:
                self._queue.put_nowait(request)
                return
            if isinstance(request, Request):
                self._n_owned += 1
                try:
                    await self._deliver(request, me)
                finally:
                    self._n_owned -= 1
            if self._front or self._is_read:
                self._wake()

    def _wake(self) -> None:
        """Tell a worker that waits for the queue what is in front of it, or that all is over; it tells the next one."""
        if self._queue.full():
            return  # then nobody waits, and whoever takes a request looks in front first
        if self._front:
            self._queue.put_nowait(_Sign.LOOK)
        elif self._is_read and not self._n_owned and self._queue.empty():
            self._queue.put_nowait(_Sign.OVER)

    async def _deliver(self, request: Request, me: _Worker) -> None:
        """See one request through: answered, failed, split, set aside, or left pending."""
        n_attempts = 1
        try:
            try:
                await self._attempt(request, me, 1)  # most succeed: the machinery of retries costs more than an attempt
            except AttemptError as first:
                async for attempt in attempts(
                    self._p.policy, sleep=self._pause, rng=self._p.rng, n_pieces=len(request.pieces)
                ):
                    n_attempts = attempt.retry_state.attempt_number
                    with attempt:
                        if n_attempts == 1:
                            raise first
                        await self._attempt(request, me, n_attempts)
        except Stopped:
            return
        except BudgetExhausted as refusal:
            self._shrink(request, refusal.room)
        except AttemptError as error:
            await self._failed(request, error, n_attempts, me)
        finally:
            me.is_busy = False

    async def _pause(self, seconds: float) -> None:
        """Wait between two attempts; leave the request pending when the pass stops meanwhile."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        if self._stopping.is_set():
            raise Stopped

    async def _attempt(self, request: Request, me: _Worker, attempt: int) -> None:
        """Send once and hand over what came; the slot is held until it is in the journal."""
        me.is_busy = False  # an answer that could not be read has left it set, and what follows is waiting
        async with self._p.gate.slot() as slot:
            delivered = await self._sender.send(request, me, slot, attempt=attempt)
            await self._answered(request, delivered, attempt)

    def _note_refusal(self, error: AttemptError) -> None:
        """Let limiter and pass react at once, before anything else runs."""
        parts = self._p
        if isinstance(error, RateLimited):
            pause = error.retry_after_s if error.retry_after_s is not None else _RATE_PAUSE_S
            pause = min(pause, 10 * _RATE_PAUSE_S)
            if parts.pace.cooling_s < pause - 1:
                self._tell(
                    "cool_down", f"rate limit reached ({error.code}): everyone waits {pause:.0f} s", seconds=pause
                )
            parts.pace.cool_down(pause)
        if isinstance(error, AllocationExhausted):
            self._cause = error
            self.stop(StopReason.ALLOCATION_REFUSED)
        elif error.scope is Scope.RUN:
            self._cause = error
            self.stop(StopReason.REFUSED)

    # -- what comes of it ---------------------------------------------------------------------------------------

    async def _answered(self, request: Request, delivered: Delivered, attempt: int) -> None:
        parts = self._p
        now = parts.clock.now()
        total = request.size or 1
        ended: list[tuple[Record, Row | Failure]] = []
        for piece, value in zip(request.pieces, delivered.values, strict=True):
            share = Share(value, delivered.booked * piece.size / total, delivered.latency_ms, attempt)
            outcome = parts.rows.add(piece, share, now)
            if isinstance(outcome, More):
                self._send_next(outcome.pieces)
            elif outcome is not None:
                ended.append((piece.record, outcome))
        rows = [outcome for _, outcome in ended if isinstance(outcome, Row)]
        failures = [outcome for _, outcome in ended if isinstance(outcome, Failure)]
        await parts.sink.put(rows, failures)
        parts.counters.answered += 1
        parts.counters.done += len(rows)
        parts.counters.failed += len(failures)
        for row in rows:
            parts.counters.truncated += row.values.get("finish_reason") == "length"
        for failure in failures:
            self._tell("failed", f"{failure.id}: {failure.message}", id=failure.id, code=failure.code)
        for record, outcome in ended:
            parts.mark(record)
            parts.breaker.record(ok=isinstance(outcome, Row))

    def _send_next(self, pieces: Sequence[Piece]) -> None:
        """Send what a record's answers have made necessary, before anything new."""
        adapter = self._p.adapter
        batcher = Batcher(max_pieces=adapter.max_pieces, max_bytes=adapter.max_request_bytes)
        requests = [*(batcher.add(piece) for piece in pieces), batcher.flush()]
        self._front.extend(request for request in requests if request is not None)
        self._wake()

    async def _failed(self, request: Request, error: AttemptError, n_attempts: int, me: _Worker) -> None:
        if error.scope is Scope.RUN or isinstance(error, AnswerCutShort):
            return  # the records stay pending
        if isinstance(error, ConnectFailed | RateLimited):
            self._cause = error
            self.stop(StopReason.FAILING)
            return
        if self._is_split(request, error):
            self._p.counters.split += 1
            return
        me.is_busy = True  # a stop may not lose the row
        now = self._p.clock.now()
        failed = [(piece, key) for piece in request.pieces if (key := self._p.rows.fail(piece)) is not None]
        failures = [failure_of(piece, error, attempts=n_attempts, at=now, payload_key=key) for piece, key in failed]
        await self._p.sink.put([], failures)
        for piece, _ in failed:
            self._p.mark(piece.record)
            self._p.breaker.record(ok=False)
            self._tell("failed", f"{piece.record.id}: {error}", id=piece.record.id, code=error.code)
        self._p.counters.failed += len(failures)
        if self._p.breaker.tripped:
            self._cause = error
            self.stop(StopReason.FAILING)

    def _is_split(self, request: Request, error: AttemptError) -> bool:
        """Send a request in two halves where that may help: one bad record among several, or a piece too large."""
        if len(request.pieces) > 1 and (error.scope is Scope.RECORD or isinstance(error, SPLITTABLE)):
            self._front.extendleft(reversed(halves(request)))
            self._tell("split", f"{error.code}: {len(request.pieces)} records are sent again in two halves ({error})")
            return True
        piece = request.pieces[0]
        if not isinstance(error, TOO_LARGE) or not (parts := self._p.adapter.halved(piece)):
            return False
        self._p.rows.split(piece, parts)
        self._front.extendleft(Request((part,)) for part in reversed(parts))
        self._tell("split", f"{error.code}: a piece of {piece.record.id} is sent again in {len(parts)} parts ({error})")
        return True

    # -- the end of the budget ----------------------------------------------------------------------------------

    def _shrink(self, request: Request, room: float) -> None:
        """Nothing in flight will free more: send what fits, look further ahead for what does, or end the pass."""
        fitting, rest = fit(request, room)
        if fitting is not None and rest is not None:  # all of it was refused just now, so all of it does not fit
            self._front.extendleft((rest, fitting))
            return
        self._aside.extend(request.pieces[: max(0, ASIDE_MOST - len(self._aside))])
        if room <= (1 - GOAL) * self._p.budget_limit or len(self._aside) >= ASIDE_MOST:
            self.stop(StopReason.BUDGET_SPENT)

    async def _use_up(self) -> None:
        """Go the last mile in a task of its own, so that `stop` and `kill` reach it as they reach a worker."""
        was_read_to_the_end = self._reason is None
        self._reason = StopReason.BUDGET_SPENT
        self._stopping.clear()
        me = _Worker()
        self._workers = [me]
        async with asyncio.TaskGroup() as group:
            me.task = group.create_task(self._last_mile(me), name="last mile")
        is_all_done = was_read_to_the_end and not self._aside and not self._n_given_up
        if is_all_done and self._reason is StopReason.BUDGET_SPENT:
            self._reason = None  # it was enough after all

    async def _last_mile(self, me: _Worker) -> None:
        """Use up the rest of a budget that is small against one request; see `pipeline.lastmile`."""
        parts = self._p
        for _ in range(LAST_MILE_MOST):
            if self._stopping.is_set() or not self._aside:
                return
            room = await self._room()
            if room <= (1 - GOAL) * parts.budget_limit:
                return
            ratios = parts.ratios
            chosen = tighten(self._aside, room=room, most=ratios.most, dense=ratios.most_dense, cost=parts.adapter.cost)
            if chosen is None:
                return
            request, ceiling = chosen
            self._aside.remove(request.pieces[0])
            self._n_given_up += 1
            try:
                async with parts.gate.slot() as slot:
                    delivered = await self._sender.send(request, me, slot, ceiling=ceiling)
                    await self._answered(request, delivered, 1)
            except (BudgetExhausted, Stopped):
                return
            except AttemptError:
                continue  # the record stays pending; a refusal that ends the run has set `_stopping`
            finally:
                me.is_busy = False
            self._n_given_up -= 1

    async def _room(self) -> float:
        """Neurons that can be reserved in one piece, asked by way of a reservation that cannot fit."""
        try:
            self._p.budget.release(await self._p.budget.reserve(2 * self._p.budget_limit))
        except BudgetExhausted as refusal:
            return refusal.room
        return self._p.budget_limit

    def _tell(self, kind: str, message: str, **facts: str | float | bool | None) -> None:
        self._p.observer(Event(kind, message, dict(facts)))

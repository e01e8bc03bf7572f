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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from pipeline.batcher import Batcher, fit, halves
from pipeline.breaker import Breaker
from pipeline.charges import charge, charge_of_failure
from pipeline.clock import Clock
from pipeline.errors import (
    AllocationExhausted,
    AnswerCutShort,
    AttemptError,
    BudgetExhausted,
    ConnectFailed,
    OutOfCapacity,
    RateLimited,
    RecordUnusable,
    Scope,
)
from pipeline.events import Counters, Event, Observer, StopReason
from pipeline.interfaces import Budget, Endpoint, Reservation, Sink, TaskAdapter
from pipeline.lastmile import TARGET, InputRatios, tighten
from pipeline.limits import Gate, Pace
from pipeline.records import Answer, BrokenRecord, Cost, Failure, Piece, Record, Request, Row
from pipeline.retry import SPLITTABLE, RetryPolicy, attempts
from pipeline.rows import UNUSABLE_RECORD, RowBuilder, Share, failure_of, failure_of_broken

READ_CHUNK: Final = 256
ASIDE_MOST: Final = 2_000
LAST_MILE_MOST: Final = 40
_RATE_PAUSE_S: Final = 60.0


class _Stopped(Exception):
    """The pass is ending; the request in hand stays pending."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything a pass works with."""

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


@dataclass(slots=True)
class _Worker:
    """A worker's task, and whether it may be cancelled without losing an answer."""

    task: asyncio.Task[None] | None = None
    is_busy: bool = False


class Engine:
    """One pass over the pending records.

    `run` returns why it ended; `stop` ends it early from a signal handler or from inside.
    """

    def __init__(self, parts: Parts) -> None:
        self._p = parts
        self._reason: StopReason | None = None
        self._cause: AttemptError | None = None
        self._queue: asyncio.Queue[Request | None] = asyncio.Queue(maxsize=parts.concurrency)
        self._front: deque[Request] = deque()
        self._aside: list[Piece] = []
        self._workers: list[_Worker] = []
        self._reader: asyncio.Task[None] | None = None
        self._ratios = InputRatios()
        self._stopping = asyncio.Event()
        self._killed = False

    @property
    def cause(self) -> AttemptError | None:
        """The refusal that ended the pass, where one did."""
        return self._cause

    async def run(self, work: Iterator[Record | BrokenRecord]) -> StopReason:
        """Send what `work` yields; return once every answer that arrived is with the sink.

        Cancelling this coroutine drops what is in flight and books its ceilings.
        """
        async with asyncio.TaskGroup() as group:
            self._reader = group.create_task(self._read(work), name="reader")
            for index in range(self._p.concurrency * 2):  # half of them may wait for a retry while the others send
                worker = _Worker()
                worker.task = group.create_task(self._work(worker), name=f"worker-{index}")
                self._workers.append(worker)
            if self._stopping.is_set():  # stopped before it began
                self._cancel_idle()
        if self._reason in {None, StopReason.BUDGET_SPENT} and self._aside:
            self._reason = StopReason.BUDGET_SPENT
            await self._last_mile()
        return self._reason or StopReason.COMPLETED

    def stop(self, reason: StopReason) -> None:
        """Stop reading and sending; let what is in flight finish. The first reason stays."""
        if self._reason is None:
            self._reason = reason
            self._stopping.set()
            self._cancel_idle()

    def kill(self) -> None:
        """Drop what is in flight as well."""
        self._killed = True
        self._stopping.set()
        for worker in self._workers:
            if worker.task is not None:
                worker.task.cancel()
        if self._reader is not None:
            self._reader.cancel()

    def _cancel_idle(self) -> None:
        """End reader and waiting workers at once, so that nothing more leaves after this returns."""
        if self._reader is not None:
            self._reader.cancel()
        current = asyncio.current_task()
        for worker in self._workers:
            if worker.task is not None and worker.task is not current and not worker.is_busy:
                worker.task.cancel()

    # -- reading ------------------------------------------------------------------------------------------------

    async def _read(self, work: Iterator[Record | BrokenRecord]) -> None:
        adapter = self._p.adapter
        batcher = Batcher(max_pieces=adapter.max_pieces, max_bytes=adapter.max_request_bytes)
        while chunk := await asyncio.to_thread(self._take, work):
            failures: list[Failure] = []
            for item, pieces in chunk:
                if isinstance(item, BrokenRecord):
                    code = UNUSABLE_RECORD if pieces is None else "unreadable_record"
                    failures.append(failure_of_broken(item, self._p.clock.now(), code=code))
                    self._p.mark(item)
                for piece in pieces or ():
                    if (request := batcher.add(piece)) is not None:
                        await self._queue.put(request)
            if failures:
                await self._p.sink.put([], failures)
                self._p.counters.failed += len(failures)
        if (request := batcher.flush()) is not None:
            await self._queue.put(request)
        for _ in self._workers:
            await self._queue.put(None)

    def _take(self, work: Iterator[Record | BrokenRecord]) -> list[tuple[Record | BrokenRecord, list[Piece] | None]]:
        """Read some records and cut them into pieces. Runs in a thread."""
        chunk: list[tuple[Record | BrokenRecord, list[Piece] | None]] = []
        for item in islice(work, READ_CHUNK):
            if isinstance(item, BrokenRecord):
                chunk.append((item, []))
                continue
            try:
                chunk.append((item, self._p.adapter.pieces(item)))
            except RecordUnusable as exc:
                broken = BrokenRecord(
                    ordinal=item.ordinal, id=item.id, source=item.source, row=item.row, reason=str(exc)
                )
                chunk.append((broken, None))
        return chunk

    # -- sending ------------------------------------------------------------------------------------------------

    async def _work(self, me: _Worker) -> None:
        is_drained = False
        while not self._stopping.is_set():
            if self._front:
                await self._deliver(self._front.popleft(), me)
            elif is_drained:
                return
            elif (request := await self._queue.get()) is not None:
                await self._deliver(request, me)
            else:
                is_drained = True

    async def _deliver(self, request: Request, me: _Worker) -> None:
        """See one request through: answered, failed, split, set aside, or left pending."""
        n_attempts = 0
        try:
            async for attempt in attempts(
                self._p.policy, sleep=self._pause, rng=self._p.rng, n_pieces=len(request.pieces)
            ):
                n_attempts = attempt.retry_state.attempt_number
                with attempt:
                    await self._attempt(request, me, n_attempts)
        except _Stopped:
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
            raise _Stopped

    async def _attempt(self, request: Request, me: _Worker, attempt: int) -> None:
        """Reserve, wait for the turn, send, settle, hand over: one attempt from end to end."""
        parts = self._p
        cost = parts.adapter.cost(request)
        async with parts.gate.slot():
            reservation = await parts.budget.reserve(cost.ceiling)
            settled = False
            try:
                await parts.pace.wait()
                if self._stopping.is_set():
                    raise _Stopped
                settled = True  # from here on the reservation is booked below, whatever happens
                answer, booked = await self._exchange(request, cost, reservation, me)
            finally:
                if not settled:
                    parts.budget.release(reservation)
        parts.counters.retried += attempt > 1
        self._ratios.observe(charged=parts.adapter.input_price(answer.usage, booked), bound=cost.input)
        await self._answered(request, answer, booked, attempt)

    async def _exchange(
        self, request: Request, cost: Cost, reservation: Reservation, me: _Worker
    ) -> tuple[Answer, float]:
        """Send once and book what it cost."""
        parts = self._p
        payload = parts.adapter.payload(request)
        me.is_busy = True
        parts.counters.sent += 1
        parts.counters.in_flight += 1
        booked = cost.ceiling  # cut off in the middle: nobody knows, so the ceiling stays booked
        try:
            answer = await parts.endpoint.call(payload)
            booked = charge(answer.usage, price=parts.adapter.price(answer.usage), ceiling=cost.ceiling)
            parts.gate.answered()
        except AttemptError as error:
            likely = cost.input * self._ratios.ratio + cost.output_per_token * cost.max_output
            booked = charge_of_failure(error, ceiling=min(cost.ceiling, likely)) or 0.0
            self._note_refusal(error)
            me.is_busy = False  # what follows is waiting
            raise
        finally:
            parts.counters.in_flight -= 1
            parts.counters.neurons += booked
            parts.budget.settle(reservation, booked)
        return answer, booked

    def _note_refusal(self, error: AttemptError) -> None:
        """Let limiter and pass react at once, before anything else runs."""
        parts = self._p
        parts.counters.codes[error.code] += 1
        if isinstance(error, OutOfCapacity):
            parts.gate.refused()
        else:
            parts.gate.answered()
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

    async def _answered(self, request: Request, answer: Answer, booked: float, attempt: int) -> None:
        parts = self._p
        values = parts.adapter.parse(request, answer)
        now = parts.clock.now()
        total = request.size or 1
        rows: list[Row] = []
        for piece, value in zip(request.pieces, values, strict=True):
            share = Share(value, booked * piece.size / total, answer.latency_ms, attempt)
            row = parts.rows.add(piece, share, now)
            if row is not None:
                rows.append(row)
                parts.counters.truncated += row.values.get("finish_reason") == "length"
        await parts.sink.put(rows, [])
        parts.counters.answered += 1
        parts.counters.done += len(rows)
        for piece in request.pieces:
            parts.mark(piece.record)
        for _ in rows:
            parts.breaker.record(ok=True)

    async def _failed(self, request: Request, error: AttemptError, n_attempts: int, me: _Worker) -> None:
        if error.scope is Scope.RUN or isinstance(error, AnswerCutShort):
            return  # the records stay pending
        if isinstance(error, ConnectFailed | RateLimited):
            self._cause = error
            self.stop(StopReason.FAILING)
            return
        if len(request.pieces) > 1 and (error.scope is Scope.RECORD or isinstance(error, SPLITTABLE)):
            self._front.extendleft(reversed(halves(request)))
            self._p.counters.split += 1
            self._tell("split", f"{error.code}: {len(request.pieces)} records are sent again in two halves ({error})")
            return
        me.is_busy = True  # a stop may not lose the row
        now = self._p.clock.now()
        failures = [failure_of(piece, error, attempts=n_attempts, at=now) for piece in request.pieces]
        await self._p.sink.put([], failures)
        for piece in request.pieces:
            self._p.rows.forget(piece)
            self._p.mark(piece.record)
            self._p.breaker.record(ok=False)
            self._tell("failed", f"{piece.record.id}: {error}", id=piece.record.id, code=error.code)
        self._p.counters.failed += len(failures)
        if self._p.breaker.tripped:
            self._cause = error
            self.stop(StopReason.FAILING)

    # -- the end of the budget ----------------------------------------------------------------------------------

    def _shrink(self, request: Request, room: float) -> None:
        """Nothing in flight will free more: send what fits, look further ahead for what does, or end the pass."""
        fitting, rest = fit(request, room)
        if fitting is not None:
            self._front.extendleft(part for part in (rest, fitting) if part is not None)
            return
        self._aside.extend(request.pieces[: max(0, ASIDE_MOST - len(self._aside))])
        if room <= (1 - TARGET) * self._p.budget_limit or len(self._aside) >= ASIDE_MOST:
            self.stop(StopReason.BUDGET_SPENT)

    async def _last_mile(self) -> None:
        """Use up the rest of a budget that is small against one request; see `pipeline.lastmile`."""
        parts = self._p
        me = _Worker()
        for _ in range(LAST_MILE_MOST):
            if self._killed or not self._aside:
                return
            room = await self._room()
            if room <= (1 - TARGET) * self._p.budget_limit:
                return
            chosen = tighten(self._aside, room=room, ratio=self._ratios.ratio, cost=parts.adapter.cost)
            if chosen is None:
                return
            request, ceiling = chosen
            self._aside.remove(request.pieces[0])
            try:
                await self._tightened(request, ceiling, me)
            except (_Stopped, BudgetExhausted):
                return
            except AttemptError as error:
                if error.scope is Scope.RUN:
                    return

    async def _room(self) -> float:
        """Neurons that can be reserved in one piece, asked by way of a reservation that cannot fit."""
        try:
            self._p.budget.release(await self._p.budget.reserve(2 * self._p.budget_limit))
        except BudgetExhausted as refusal:
            return refusal.room
        return self._p.budget_limit

    async def _tightened(self, request: Request, ceiling: float, me: _Worker) -> None:
        """One attempt under a bound below the proven one."""
        parts = self._p
        cost = Cost(input=ceiling)
        reservation = await parts.budget.reserve(ceiling)
        try:
            await parts.pace.wait()
        except BaseException:
            parts.budget.release(reservation)
            raise
        answer, booked = await self._exchange(request, cost, reservation, me)
        bound = parts.adapter.cost(request)
        self._ratios.observe(charged=parts.adapter.input_price(answer.usage, booked), bound=bound.input)
        await self._answered(request, answer, booked, 1)

    def _tell(self, kind: str, message: str, **facts: str | float | bool | None) -> None:
        self._p.observer(Event(kind, message, dict(facts)))

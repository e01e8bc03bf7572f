"""Moves records along the street: source -> batcher -> [reserve -> pace -> send (retry) -> settle] -> sink.

Knows interfaces only. One `TaskGroup` per pass; a bounded queue between the reader and the workers; no task per
record. A worker owns a request until it is answered, has failed, or is left pending. What waits holds nothing: a
request that waits for its next attempt has neither slot nor neurons.

The one thing decided here is what a failure's scope means:
ATTEMPT, tried again by tenacity; RECORD, sent again in halves or otherwise, or a failure row; RUN, the pass stops.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from pipeline.batcher import Batcher, halves
from pipeline.breaker import Breaker
from pipeline.clock import Clock
from pipeline.completion import Answered, Completions
from pipeline.errors import (
    AllocationExhausted,
    AnswerCutShort,
    AttemptError,
    BudgetExhausted,
    ConnectFailed,
    RateLimited,
    Scope,
    SourceError,
    Unsendable,
)
from pipeline.events import Counters, Event, Observer, StopReason
from pipeline.handout import Handout
from pipeline.intake import Intake
from pipeline.interfaces import Memory, Sink, TaskAdapter
from pipeline.lanes import Lane, Way, Ways, moves_on, worse
from pipeline.records import BrokenRecord, Piece, Record, Request
from pipeline.remainder import Remainder
from pipeline.retry import SPLITTABLE, RetryPolicy, attempts
from pipeline.rows import RowBuilder
from pipeline.sender import Flight, Sender, Stopped

_RATE_PAUSE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything a pass works with; what one pass has learned serves the next.

    Attributes:
        adapter: Cuts the records; that of the first lane.
        planner: Whose digests the output knows records by; None where it is the same.
    """

    adapter: TaskAdapter
    lanes: Sequence[Lane]
    policy: RetryPolicy
    sink: Sink
    rows: RowBuilder
    clock: Clock
    rng: random.Random
    observer: Observer
    counters: Counters
    breaker: Breaker
    concurrency: int
    mark: Callable[[Record | BrokenRecord], None]
    memory: Memory | None = None
    planner: TaskAdapter | None = None


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
        self._handout = Handout()
        self._workers: list[_Worker] = []
        self._reader = _Worker()
        self._stopping = asyncio.Event()
        self._source_error: SourceError | None = None
        self._ways = Ways(parts.lanes)
        for way in self._ways:
            way.sender = self._sender(way)
        self._ends = Completions(
            adapter=parts.adapter,
            model=parts.lanes[0].model,
            rows=parts.rows,
            sink=parts.sink,
            memory=parts.memory,
            counters=parts.counters,
            breaker=parts.breaker,
            clock=parts.clock,
            observer=parts.observer,
            mark=parts.mark,
            send=self._send_next,
            failing=self._give_up,
        )
        self._rest = Remainder(self._handout.front, self._ends.is_needless)
        self._killed = False

    def _sender(self, way: Way) -> Sender:
        lane, parts = way.lane, self._p
        return Sender(
            adapter=lane.adapter,
            endpoint=lane.endpoint,
            budget=lane.budget,
            pace=lane.pace,
            counters=parts.counters,
            observer=parts.observer,
            is_ending=lambda: self._stopping.is_set() or not way.is_open,
            refused=partial(self._note_refusal, way),
            ratios=lane.ratios,
            is_free=lane.is_free,
        )

    @property
    def cause(self) -> AttemptError | None:
        """The refusal that ended the pass, where one did."""
        return self._cause

    @property
    def open_lanes(self) -> list[Lane]:
        """Those that have not refused the account, the token or the model."""
        return [way.lane for way in self._ways if way.is_open]

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
        if self._reason in {None, StopReason.BUDGET_SPENT} and self._rest.is_waiting and not self._killed:
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
        self.stop(StopReason.INTERRUPTED)
        self._killed = True
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
        parts = self._p
        intake = Intake(
            adapter=parts.adapter,
            planner=parts.planner,
            rows=parts.rows,
            ends=self._ends,
            handout=self._handout,
            flight=self._reader,
            is_stopping=self._stopping.is_set,
        )
        try:
            await intake.bring(work)
        except SourceError as error:  # what is in flight was paid: stop as a signal would
            self._source_error = error
            self.stop(StopReason.ERROR)

    # -- sending ------------------------------------------------------------------------------------------------

    async def _work(self, me: _Worker) -> None:
        """Take what is in front, else what the reader brings, until neither can bring more.

        Answers can make more requests necessary, so a worker stays while another one still owns a request.
        """
        while not self._stopping.is_set() and (taken := await self._handout.take()) is not None:
            try:
                if (request := self._ends.wanted(taken)) is not None:
                    await self._deliver(request, me)
            finally:
                self._handout.finished()

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
                    if n_attempts > 1:
                        if (wanted := self._ends.wanted(request)) is None:
                            return
                        request = wanted
                    with attempt:
                        if n_attempts == 1:
                            raise first
                        await self._attempt(request, me, n_attempts)
        except Stopped:
            return
        except BudgetExhausted as refusal:
            if self._rest.shrink(request, refusal.room, self._p.lanes):
                self.stop(StopReason.BUDGET_SPENT)
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
        """Send once, over the first way that does not refuse."""
        tried: list[Way] = []
        refusal: AttemptError | BudgetExhausted | None = None
        while (way := self._ways.choose(request, tried)) is not None:
            try:
                await self._send(request, way, me, attempt)
            except Stopped:
                if self._stopping.is_set():
                    raise
            except BudgetExhausted as error:
                way.is_spent = True
                refusal = error if worse(refusal, error) else refusal
            except AttemptError as error:
                if not moves_on(error):
                    raise
                if self._stopping.is_set():
                    raise Stopped from error  # the next way would only be waited for
                refusal = error if worse(refusal, error) else refusal
            else:
                way.is_spent = False
                return
            tried.append(way)
        raise self._unserved(request, refusal)

    def _unserved(self, request: Request, refusal: AttemptError | BudgetExhausted | None) -> Exception:
        """What it means for a request that every way has refused it."""
        is_for_good = refusal is None or (isinstance(refusal, AttemptError) and refusal.scope is Scope.RUN)
        if is_for_good and not self._stopping.is_set():
            gone = Unsendable("the one endpoint that could take it has refused")
            if self._ends.can_do_without(request, gone):
                return gone
            self._end_refused()
        return refusal or Stopped()

    async def _send(
        self, request: Request, way: Way, me: _Worker, attempt: int, *, ceiling: float | None = None
    ) -> None:
        """Send once and hand over what came; the slot is held until it is in the journal."""
        me.is_busy = False  # an answer that could not be read has left it set, and what follows is waiting
        if (fitted := await self._ways.fitted(way, request)) is None:
            raise Stopped
        async with way.lane.gate.slot() as slot:
            delivered = await way.sender.send(fitted, me, slot, attempt=attempt, ceiling=ceiling)
            lane = way.lane
            await self._ends.answered(Answered(fitted, delivered, attempt, lane.model, lane.name))

    def _note_refusal(self, way: Way, error: AttemptError) -> None:
        """Let limiter and pass react at once, before anything else runs."""
        pace = way.lane.pace
        if isinstance(error, RateLimited):
            pause = min(10 * _RATE_PAUSE_S, _RATE_PAUSE_S if error.retry_after_s is None else error.retry_after_s)
            if pace.cooling_s < pause - 1:
                self._tell(
                    "cool_down", f"rate limit reached ({error.code}): everyone waits {pause:.0f} s", seconds=pause
                )
            pace.cool_down(pause)
        if error.scope is Scope.RUN:
            self._cause = error
        if error.scope is Scope.RUN and self._ways.close(way, account=isinstance(error, AllocationExhausted)):
            self._tell("endpoint", f"{way.lane.name} refused ({error}); the other endpoints go on", code=error.code)
        elif error.scope is Scope.RUN:
            self._end_refused()

    def _end_refused(self) -> None:
        is_today = isinstance(self._cause, AllocationExhausted)
        self.stop(StopReason.ALLOCATION_REFUSED if is_today else StopReason.REFUSED)

    # -- what comes of it ---------------------------------------------------------------------------------------

    def _send_next(self, pieces: Sequence[Piece]) -> None:
        """Send pieces before anything new: what answers have made necessary."""
        adapter = self._p.adapter
        batcher = Batcher(max_pieces=adapter.max_pieces, max_bytes=adapter.max_request_bytes)
        requests = [*(batcher.add(piece) for piece in pieces), batcher.flush()]
        self._handout.first(request for request in requests if request is not None)

    async def _failed(self, request: Request, error: AttemptError, n_attempts: int, me: _Worker) -> None:
        if error.scope is Scope.RUN or isinstance(error, AnswerCutShort):
            return  # the records stay pending
        if isinstance(error, ConnectFailed | RateLimited):
            self._give_up(error)
            return
        if self._is_split(request, error):
            self._p.counters.split += 1
            return
        me.is_busy = True  # a stop may not lose the row
        await self._ends.failed(request, error, n_attempts)

    def _give_up(self, last: AttemptError) -> None:
        self._cause = last
        self.stop(StopReason.FAILING)

    def _is_split(self, request: Request, error: AttemptError) -> bool:
        """Send a request otherwise where that may help: one bad record among several, or what the task has instead."""
        if len(request.pieces) > 1 and (error.scope is Scope.RECORD or isinstance(error, SPLITTABLE)):
            self._handout.again(halves(request))
            self._tell("split", f"{error.code}: {len(request.pieces)} records are sent again in two halves ({error})")
            return True
        piece = request.pieces[0]
        if not (parts := self._p.adapter.instead(piece, error)):
            return False
        self._ends.released(piece)
        self._p.rows.split(piece, parts)
        self._handout.again([Request((part,)) for part in parts])
        how = f"in {len(parts)} parts" if len(parts) > 1 else "in another form"
        self._tell("split", f"{error.code}: a piece of {piece.record.id} is sent again {how} ({error})")
        return True

    async def _use_up(self) -> None:
        """Go the last mile in a task of its own, so that `stop` and `kill` reach it as they reach a worker."""
        was_read_to_the_end = self._reason is None
        self._reason = StopReason.BUDGET_SPENT
        self._stopping.clear()
        me = _Worker()
        self._workers = [me]

        async def send(request: Request, way: Way, ceiling: float) -> None:
            try:
                await self._send(request, way, me, 1, ceiling=ceiling)
            finally:
                me.is_busy = False

        async with asyncio.TaskGroup() as group:
            going = self._rest.use_up(self._ways.own(), send, self._stopping.is_set)
            me.task = group.create_task(going, name="last mile")
        if was_read_to_the_end and not self._rest and self._reason is StopReason.BUDGET_SPENT:
            self._reason = None  # it was enough after all

    def _tell(self, kind: str, message: str, **facts: str | float | bool | None) -> None:
        self._p.observer(Event(kind, message, dict(facts)))

"""Builds every room from spec and settings, opens them in order, runs the street, closes them in order.

The only module that knows concrete classes. `run_job` is the Python API; the command line calls the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from pipeline.accounting import Before, Ending, Settled, account, account_unread, again
from pipeline.breaker import Breaker
from pipeline.budget import Ledger
from pipeline.clock import Clock, SystemClock
from pipeline.control import Control, Options, Snapshot
from pipeline.endpoints import meets_emulator
from pipeline.engine import Parts
from pipeline.errors import AttemptError, SourceError, first_leaf
from pipeline.eventlog import EventLog
from pipeline.events import Counters, Event, Observer, StopReason
from pipeline.forecast import is_total_spent
from pipeline.interfaces import BudgetState
from pipeline.lanes import Lane
from pipeline.outputs import open_memory, open_output, own_answers, share_equal_answers
from pipeline.passes import run_passes
from pipeline.plan import Plan, Scan, ScanStopped, State, make_plan
from pipeline.planning import opened, scanned
from pipeline.records import Column
from pipeline.report import RunReport
from pipeline.resolve import Job, resolve
from pipeline.retry import RetryPolicy
from pipeline.routes import variables_of
from pipeline.rows import RowBuilder
from pipeline.sending import OpenLanes, account_of, open_lanes
from pipeline.settings import Settings, load_settings
from pipeline.sink import StoreSink
from pipeline.sources import RecordSource
from pipeline.spec import LoadedSpec, load_spec
from pipeline.storage import DoneIndex, PieceMemory, Store
from pipeline.timetable import Timetable, deadline_of
from pipeline.words import counted

_TICK_S: Final = 0.5
_WRITING: Final = frozenset({"finishing", "sharing equal answers"})


async def run_job(
    spec: str | Path | LoadedSpec,
    *,
    options: Options | None = None,
    settings: Settings | None = None,
    observer: Observer = lambda _: None,
    progress: Callable[[Snapshot], None] = lambda _: None,
    control: Control | None = None,
    clock: Clock | None = None,
) -> RunReport:
    """Run a job to its end, or to the end of the budget. Resumes by itself.

    Args:
        spec: Path of a job spec, or a loaded one.
        options: What the command line would add.
        settings: Account, token, base URL and state folder; from the environment by default.
        observer: Told of everything worth a line.
        progress: Told how things stand, twice a second.
        control: Ends the run from outside.
        clock: Time.

    Returns:
        The report; its counts are read back from disk.

    Raises:
        PipelineError: With `exit_code` as the command line returns it.
    """
    options, clock = options or Options(), clock or SystemClock()
    loaded = spec if isinstance(spec, LoadedSpec) else load_spec(Path(spec))
    is_simulated = options.rehearse or loaded.spec.endpoint.kind == "emulator"
    needs_account, keys = variables_of(loaded.spec)
    settings = settings or load_settings(
        need_credentials=needs_account and not is_simulated, keys=[] if is_simulated else keys
    )
    job = resolve(loaded, settings, rehearse=options.rehearse)
    if not job.embeds_emulator and await meets_emulator(job, clock):
        job = replace(job, is_simulated=True)
    for warning in settings.warnings:
        observer(Event("note", f"warning: {warning}"))
    run = _Run(
        job,
        options=options,
        settings=settings,
        observer=observer,
        progress=progress,
        control=control or Control(),
        clock=clock,
    )
    return await run.execute()


class _Run:
    """One execution of a job."""

    def __init__(
        self,
        job: Job,
        *,
        options: Options,
        settings: Settings,
        observer: Observer,
        progress: Callable[[Snapshot], None],
        control: Control,
        clock: Clock,
    ) -> None:
        self._job, self._options, self._settings = job, options, settings
        self._observer, self._progress, self._control, self._clock = observer, progress, control, clock
        self._counters = Counters()
        self._started = clock.monotonic()
        self._started_at = clock.now()
        self._run_id = f"{self._started_at:%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
        self._phase = "reading the input"
        self._plan: Plan | None = None
        self._lanes: OpenLanes | None = None
        self._cause: AttemptError | None = None
        self._book: BudgetState | None = None
        self._timetable = Timetable(
            stops_at=deadline_of(job, self._started_at), clock=clock, control=control, tell=self._tell
        )
        self._n_read = 0
        self._before = Before()
        self._log: EventLog | None = None

    async def execute(self) -> RunReport:
        """Open, scan, send, share, close, report."""
        with contextlib.ExitStack() as stack:
            # in a thread: to tell its format, the first line of a pipe is waited for
            source = await asyncio.to_thread(stack.enter_context, opened(self._job))
            try:
                async with self._ticking():
                    return await self._with_source(source)
            except BaseExceptionGroup as group:
                raise first_leaf(group) from None

    async def _with_source(self, source: RecordSource) -> RunReport:
        try:
            found = await asyncio.to_thread(scanned, self._job, source, self._note_read, self._clock)
        except ScanStopped:
            return account_unread(self._job, self._n_read, self._ending(StopReason.INTERRUPTED))
        opening = partial(open_output, clock=self._clock, tell=partial(self._tell, "note"))
        store, index, keep = await asyncio.to_thread(opening, self._job, found, self._options)
        self._log = EventLog(store.layout.run / "events.jsonl", self._run_id, self._clock)
        try:
            self._tell("start", f"{len(found):,} records", to_people=False)
            report = await self._with_store(source, found, store, index, keep)
            self._tell("stop", f"{report.stop_reason}: {report.advice}".strip(": "), to_people=False)
            await asyncio.to_thread(store.close, self._run_info(report))
        finally:
            self._log.close()
            store.abandon()
        return report

    def _ending(self, reason: StopReason) -> Ending:
        return Ending(
            reason=self._control.reason or reason,
            cause=self._cause,
            was_killed=self._control.is_killed,
            has_dropped=self._control.is_killed and self._control.is_sending,
            seconds=self._clock.monotonic() - self._started,
            command=again(self._job.loaded, self._options),
        )

    def _observe(self, event: Event) -> None:
        if self._log is not None:
            self._log(event)
        self._observer(event)

    def _run_info(self, report: RunReport) -> dict[str, object]:
        """What the manifest remembers of this run."""
        return {
            "run_id": self._run_id,
            "started_at": self._started_at.isoformat(),
            "finished_at": self._clock.now().isoformat(),
            **report.to_json(),
        }

    def _note_read(self, n: int) -> None:
        self._n_read = n
        if self._control.reason is not None:
            raise ScanStopped

    # -- the street ---------------------------------------------------------------------------------------------

    async def _with_store(
        self, source: RecordSource, found: Scan, store: Store, index: DoneIndex, keep: list[Column]
    ) -> RunReport:
        job = self._job
        plan = self._plan = await asyncio.to_thread(make_plan, found, index, job.adapter, dedupe=job.spec.dedupe)
        self._before = Before(
            settled=Settled.in_store(store),
            total=len(found),
            done=plan.count(State.DONE),
            failed=plan.count(State.FAILED),
            pending=plan.count(State.PENDING),
        )
        del index
        found.forget(payloads=not plan.count(State.FOLLOWER))
        if self._before.pending:
            reason = await self._send(source, store, plan, keep)
        else:
            reason = self._control.reason or StopReason.COMPLETED
            self._book = await asyncio.to_thread(self._read_book, store)
            if not self._before.failed:
                own_answers(store).remove()  # a run that was killed at its end left it
        self._phase = "finishing"
        await asyncio.to_thread(store.seal)
        if not self._control.is_killed:
            self._phase = "sharing equal answers"
            sharing = partial(share_equal_answers, job, source, store, plan, keep, self._clock)
            shared = await asyncio.to_thread(sharing, lambda: self._control.is_killed)
            self._counters.shared = shared.results
            self._counters.failed += shared.failures
        return account(job, self._before, Settled.in_store(store), self._counters, self._book, self._ending(reason))

    def _read_book(self, store: Store) -> BudgetState:
        """Read the ledger without opening a lease: nothing will be sent."""
        job_id = store.manifest.job.id
        account = account_of(self._job, self._job.lanes[0], self._settings.account_id, job_id)
        with Ledger(self._settings.ledger, self._clock) as ledger:
            day = ledger.day(account)
            totals = ledger.totals(account, day)
            return BudgetState(
                day=day.isoformat(),
                budget=self._job.spec.budget.day,
                spent=totals.spent,
                reserved=totals.reserved + totals.leased,
                job_total=ledger.job_total(job_id),
            )

    async def _send(self, source: RecordSource, store: Store, plan: Plan, keep: list[Column]) -> StopReason:
        job, spec = self._job, self._job.spec
        opening = open_lanes(
            job,
            self._settings,
            self._options,
            store.manifest.job.id,
            clock=self._clock,
            tell=partial(self._tell, "reconcile"),
        )
        async with opening as lanes:
            self._lanes = lanes
            memory = open_memory(job, self._settings, store, partial(self._tell, "note"))
            sink = StoreSink(store, seconds=spec.checkpoint.seconds, clock=self._clock)
            async with asyncio.TaskGroup() as group:
                writer = group.create_task(sink.run(), name="sink")
                reconciling = group.create_task(lanes.keep_reconciled(), name="reconcile")
                try:
                    parts = self._parts(lanes.lanes, sink, plan, keep, memory)
                    reason = await self._days(source, plan, parts, store, sink)
                except SourceError:
                    await sink.close()  # what was answered before the input failed becomes durable first
                    await writer
                    self._tell("note", f"what this run has answered is kept: {counted(self._counters.done, 'record')}")
                    raise
                finally:
                    reconciling.cancel()
                await sink.close()
            memory.close(done=not (plan.count(State.PENDING) or self._before.failed or self._counters.failed))
            await lanes.heartbeat()
            self._book = lanes.state()
            self._lanes = None
        return reason

    def _parts(self, lanes: list[Lane], sink: StoreSink, plan: Plan, keep: list[Column], memory: PieceMemory) -> Parts:
        job, spec = self._job, self._job.spec
        return Parts(
            adapter=job.adapter,
            lanes=lanes,
            policy=RetryPolicy(attempts=spec.retry.attempts, max_delay_s=spec.retry.max_delay_seconds),
            sink=sink,
            rows=RowBuilder(
                job.adapter,
                keep,
                spec.output.include_input,
                tells_endpoint=len(lanes) > 1,
                through_gateway=job.through_gateway,
            ),
            clock=self._clock,
            rng=random.Random(secrets.randbits(64)),  # noqa: S311 - jitter, not a secret
            observer=self._observe,
            counters=self._counters,
            breaker=Breaker(spec.retry.abort_share),
            concurrency=sum(lane.concurrency for lane in job.lanes),
            mark=plan.mark,
            memory=memory,
        )

    async def _days(self, source: RecordSource, plan: Plan, parts: Parts, store: Store, sink: StoreSink) -> StopReason:
        """The passes of today, and with ``when_spent: wait`` those of each day until the work is done."""
        while True:
            self._phase = "sending"
            ended = await run_passes(
                parts,
                partial(plan.work, source),
                is_pending=lambda: plan.count(State.PENDING) > 0,
                attach=partial(self._control.attach, grace_s=self._job.spec.limits.grace_seconds),
            )
            self._cause = ended.cause
            if not self._should_wait(ended.reason, plan):
                return self._control.reason or ended.reason
            await sink.publish()  # what is done is read from parts, and the night may be long
            self._phase = "waiting"
            if await self._timetable.until_renewed(ended.reason, store.note_waiting):
                return self._control.reason or ended.reason

    def _should_wait(self, reason: StopReason, plan: Plan) -> bool:
        budget = self._job.spec.budget
        if budget.when_spent != "wait" or reason not in {StopReason.BUDGET_SPENT, StopReason.ALLOCATION_REFUSED}:
            return False
        assert self._lanes is not None
        state = self._lanes.state()
        today = state.remaining if reason is StopReason.BUDGET_SPENT else 0.0
        is_over = is_total_spent(budget.neurons_total, state.job_total, remaining_today=today)
        return bool(plan.count(State.PENDING)) and not is_over

    # -- while it goes on ---------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _ticking(self) -> AsyncIterator[None]:
        """Refresh progress and ledger in the background of the body."""
        async with asyncio.TaskGroup() as group:
            ticker = group.create_task(self._tick(), name="ticker")
            try:
                yield
            finally:
                ticker.cancel()
                self._show()

    async def _tick(self) -> None:
        beat = 0
        while True:
            self._show()
            await self._clock.sleep(_TICK_S)
            beat += 1
            if self._phase not in _WRITING:
                self._timetable.keep_deadline()
            if self._lanes is not None and beat % 2 == 0:
                await self._lanes.heartbeat()

    def _show(self) -> None:
        plan, counters = self._plan, self._counters
        if plan is None:
            total = self._n_read
            done = failed = 0
            left = 0.0
        else:
            total = len(plan.scan)
            done = self._before.done + counters.done + counters.shared
            failed = self._before.failed + counters.failed
            pending = max(1, self._before.pending)
            left = plan.expected * max(0.0, 1.0 - (counters.done + counters.failed) / pending)
        self._progress(
            Snapshot(
                phase=self._phase,
                total=total,
                done=done,
                failed=failed,
                counters=counters,
                budget=self._lanes.state() if self._lanes is not None else self._book,
                expected_left=left,
                resumes_at=self._timetable.resumes_at,
                stops_at=self._timetable.stops_at,
            )
        )

    def _tell(self, kind: str, message: str, *, to_people: bool = True) -> None:
        event = Event(kind, message)
        if to_people:
            self._observe(event)
        elif self._log is not None:
            self._log(event)

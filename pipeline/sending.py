"""Opens what a run sends through: endpoints, the book, and a lane for each endpoint of the job.

Takes the plan of the lanes, hands on `Lane` values and their allowances as one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from pipeline.budget import BudgetSession, Ledger
from pipeline.clock import Clock
from pipeline.control import Options
from pipeline.dialects import WorkersAI
from pipeline.endpoints import OpenEndpoint, open_emulator, open_endpoint
from pipeline.interfaces import BudgetState, Endpoint
from pipeline.lanes import Lane
from pipeline.limits import AdaptiveBound, Gate, Pace
from pipeline.queueing import QueueEndpoint, QueueNotes
from pipeline.reconcile import Reconciler
from pipeline.resolve import Job
from pipeline.routes import LanePlan
from pipeline.settings import Settings
from pipeline.storage import Layout


@dataclass(frozen=True, slots=True)
class _Opened:
    lane: Lane
    session: BudgetSession
    reconciler: Reconciler | None


class OpenLanes:
    """The lanes of a run while it goes on."""

    def __init__(self, opened: Sequence[_Opened], clock: Clock) -> None:
        self._opened, self._clock = opened, clock

    @property
    def lanes(self) -> list[Lane]:
        """In the order of the spec, stand-ins last."""
        return [each.lane for each in self._opened]

    async def heartbeat(self) -> None:
        """Write what was settled, follow the day; about once a second.

        The first of an account comes last: it tells for all of them in `state`, and sees what they have just written.
        """
        for each in reversed(self._opened):
            await each.session.heartbeat()

    def state(self) -> BudgetState:
        """What the book says now of all accounts together."""
        by_account: dict[str, BudgetState] = {}
        for each in self._opened:
            by_account.setdefault(each.lane.account, each.session.state())
        states = list(by_account.values())
        return BudgetState(
            day=states[0].day,
            budget=sum(state.budget for state in states),
            spent=sum(state.spent for state in states),
            reserved=sum(state.reserved for state in states),
            job_total=max(state.job_total for state in states),
        )

    async def keep_reconciled(self) -> None:
        """Compare the book with Cloudflare's count now and then, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for each in self._opened:
                if each.reconciler is not None:
                    group.create_task(each.reconciler.keep_on(self._clock), name="reconcile")


@contextlib.asynccontextmanager
async def open_lanes(
    job: Job, settings: Settings, options: Options, job_id: str, *, clock: Clock, tell: Callable[[str], None]
) -> AsyncIterator[OpenLanes]:
    """Open every endpoint of a job and its allowance; all are closed after the body.

    Args:
        job: What is run.
        settings: Accounts and the folder of the book.
        options: Arguments for an emulator.
        job_id: The job in the book.
        clock: Time.
        tell: Takes one line for a person.

    Raises:
        LedgerError: The book cannot be used.
    """
    async with contextlib.AsyncExitStack() as stack:
        ledger = stack.enter_context(Ledger(settings.ledger, clock))
        emulator = None
        if job.embeds_emulator:
            emulator = await stack.enter_async_context(open_emulator(job, options.emulator_args))
        opened: list[_Opened] = []
        for plan in job.lanes:
            endpoint = await stack.enter_async_context(
                open_endpoint(job, plan, settings, clock, emulator_url=emulator, stands_alone=len(job.lanes) == 1)
            )
            opened.append(await _open(stack, job, plan, endpoint, ledger, job_id, clock, tell))
        yield OpenLanes(opened, clock)


async def _open(
    stack: contextlib.AsyncExitStack,
    job: Job,
    plan: LanePlan,
    endpoint: OpenEndpoint,
    ledger: Ledger,
    job_id: str,
    clock: Clock,
    tell: Callable[[str], None],
) -> _Opened:
    spec = job.spec
    account = account_of(job, plan, endpoint.account_id, job_id)
    reconciler = None
    if spec.budget.reconcile and endpoint.has_analytics:
        reconciler = Reconciler(
            endpoint.client,
            ledger,
            base_url=endpoint.base_url,
            account_id=endpoint.account_id,
            book=account,
            tell=tell,
        )
        await reconciler.once()
    session = await stack.enter_async_context(
        BudgetSession(
            ledger,
            account=account,
            job_id=job_id,
            job_name=spec.name,
            model=plan.model.name,
            neurons_per_day=plan.neurons_per_day,
            neurons_total=spec.budget.neurons_total,
            reserve_for_others=spec.budget.reserve_for_others,
            clock=clock,
        )
    )
    limit = plan.neurons_per_day - spec.budget.reserve_for_others
    pace = Pace(plan.requests_per_minute, clock)
    lane = Lane(
        name=plan.name,
        account=account,
        model=plan.model.name,
        adapter=plan.adapter,
        endpoint=_with_queue(job, plan, endpoint, pace, clock, tell),
        budget=session,
        budget_limit=min(limit, spec.budget.neurons_total or limit),
        gate=Gate(AdaptiveBound(ceiling=plan.concurrency)),
        pace=pace,
        weight=plan.weight,
        is_free=plan.is_free,
    )
    return _Opened(lane, session, reconciler)


def _with_queue(
    job: Job, plan: LanePlan, endpoint: OpenEndpoint, pace: Pace, clock: Clock, tell: Callable[[str], None]
) -> Endpoint:
    """The endpoint as it is, or by way of Cloudflare's queue where the job asks for that."""
    if plan.endpoint.mode != "queue" or not isinstance(endpoint.dialect, WorkersAI):
        return endpoint
    notes = QueueNotes(Layout(job.output).run / "queue.jsonl")
    return QueueEndpoint(endpoint.client, endpoint.dialect, notes, pace=pace, clock=clock, tell=tell)


def account_of(job: Job, plan: LanePlan, account_id: str, job_id: str) -> str:
    """Whose allowance it is. Each simulated output has its own: rehearsals must not use up each other's."""
    if not job.embeds_emulator:
        return plan.book(account_id)
    return f"simulated-{job_id}-{plan.number}" if plan.number else f"simulated-{job_id}"

"""Adds up a run: counts rows on disk, refuses sums that do not agree, and says what to do next."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import NamedTuple

from pipeline.control import Options
from pipeline.dialects.codes import ADVICE, advice
from pipeline.errors import AllocationExhausted, ApiError, AttemptError, PipelineError, Unauthorized
from pipeline.events import Counters, StopReason
from pipeline.forecast import is_total_spent
from pipeline.interfaces import BudgetState
from pipeline.report import RunReport
from pipeline.resolve import Job
from pipeline.spec import LoadedSpec
from pipeline.storage import Store, read_state
from pipeline.words import counted, neurons


class Settled(NamedTuple):
    """Records in the output, those included that are no longer in the input.

    Attributes:
        results: Those with a result.
        failures: Those that failed.
        rows: Rows of the results.
    """

    results: int = 0
    failures: int = 0
    rows: int = 0

    @classmethod
    def in_store(cls, store: Store) -> Settled:
        """Count what is on disk."""
        return cls(*store.count_records(), sum(part.rows for part in store.manifest.results))


@dataclass(frozen=True, slots=True)
class Before:
    """How things stood when a run began.

    Attributes:
        settled: In the output.
        total: Records of the input.
        done: Of these, answered.
        failed: Of these, failed.
        pending: Of these, to be sent; not those that share another's answer.
    """

    settled: Settled = field(default_factory=Settled)
    total: int = 0
    done: int = 0
    failed: int = 0
    pending: int = 0


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended.

    Attributes:
        reason: Why.
        cause: The refusal that ended it, where one did.
        was_killed: In the middle: what it counted may lag behind what is on disk.
        seconds: Wall time.
        command: What the user would type to run it again.
        has_dropped: Requests may have been in flight when it was killed.
    """

    reason: StopReason
    cause: AttemptError | None
    was_killed: bool
    seconds: float
    command: str
    has_dropped: bool = False


def account(
    job: Job, before: Before, now: Settled, counters: Counters, book: BudgetState | None, end: Ending
) -> RunReport:
    """Make the report of a run from what is on disk, not from what it believes to have written.

    Raises:
        PipelineError: The sums do not agree: a bug. Nothing is lost by it.
    """
    done = before.done + now.results - before.settled.results
    failed = before.failed + now.failures - before.settled.failures
    pending = before.total - done - failed
    believed = (counters.done + counters.shared, counters.failed)
    is_exact = end.was_killed or believed == (done - before.done, failed - before.failed)
    if not is_exact or pending < 0 or (end.reason is StopReason.COMPLETED and pending):
        raise PipelineError(
            f"accounting error: {before.total:,} records, of which {done:,} have a result and {failed:,} a failure in "
            f"{job.output}, but this run counted {believed[0]:,} and {believed[1]:,} new ones and ended as "
            f"{end.reason}; nothing is lost: run again, and please report this"
        )
    reason = end.reason
    if reason is StopReason.COMPLETED and failed:
        reason = StopReason.COMPLETED_WITH_FAILURES
    per_day = book.budget if book and len(job.lanes) > 1 else job.spec.budget.day
    return RunReport(
        job=job.spec.name,
        output=str(job.output),
        stop_reason=reason,
        total=before.total,
        done=done,
        failed=failed,
        pending=pending,
        spent=book.job_total if book else 0.0,
        spent_this_run=counters.neurons,
        reserved=book.reserved if book else 0.0,
        budget=per_day,
        remaining_today=book.remaining if book else per_day,
        sent=counters.sent,
        retried=counters.retried,
        deduplicated=counters.shared,
        seconds=end.seconds,
        simulated=job.is_simulated,
        codes=dict(counters.codes),
        truncated=counters.truncated,
        neurons_total=job.spec.budget.neurons_total,
        advice=_advice(reason, end, failed, total=_spent_total(job, book)),
        not_in_input=now.results + now.failures - done - failed,
        rows=now.rows,
        done_this_run=done - before.done,
    )


def account_unread(job: Job, n_read: int, end: Ending) -> RunReport:
    """Report a run that was ended while it read its input: counts of the folder, and of what was read."""
    state = read_state(job.output)
    done, failed = (state.results, state.failures) if state is not None else (0, 0)
    total = max(n_read, done + failed)
    per_day = job.spec.budget.day
    return RunReport(
        job=job.spec.name,
        output=str(job.output),
        stop_reason=end.reason,
        total=total,
        done=done,
        failed=failed,
        pending=total - done - failed,
        spent=0.0,
        spent_this_run=0.0,
        reserved=0.0,
        budget=per_day,
        remaining_today=per_day,
        sent=0,
        retried=0,
        deduplicated=0,
        seconds=end.seconds,
        simulated=job.is_simulated,
        advice=f"the input was not read to its end and nothing was sent; {_advice(end.reason, end, failed)}",
    )


def again(loaded: LoadedSpec, options: Options) -> str:
    """What the user would type to go on: the same spec and keys, ready for a shell."""
    words = ["wai", "run", loaded.path, *(["--rehearse"] if options.rehearse else [])]
    for override in loaded.overrides:
        words += ["--set", override]
    return shlex.join(words)


def _spent_total(job: Job, book: BudgetState | None) -> float | None:
    """``budget.neurons_total`` where that is what is spent, and not the day's allowance."""
    total = job.spec.budget.neurons_total
    is_over = book is not None and is_total_spent(total, book.job_total, remaining_today=book.remaining)
    return total if is_over else None


def _of_refusal(cause: AttemptError | None, command: str) -> str:
    if isinstance(cause, AllocationExhausted):
        return (
            f"the account has no neurons left today: run again after 00:00 UTC ({command}), or set "
            f"budget.when_spent: wait; the service said: {cause}"
        )
    hint = advice(cause) if isinstance(cause, ApiError) else ""
    tries = "; to try them for nothing: wai check" if hint == ADVICE[Unauthorized] else ""
    return f"{cause}; {hint}{tries}" if hint else str(cause or "")


def _advice(reason: StopReason, end: Ending, failed: int, *, total: float | None = None) -> str:
    cause = str(end.cause) if end.cause is not None else ""
    match reason:
        case StopReason.BUDGET_SPENT:
            return (
                f"run again after 00:00 UTC ({end.command}), or raise budget.neurons_per_day"
                if total is None
                else f"budget.neurons_total ({neurons(total)}) is spent: raise it to go on, then: {end.command}"
            )
        case StopReason.ALLOCATION_REFUSED | StopReason.REFUSED:
            return _of_refusal(end.cause, end.command)
        case StopReason.FAILING:
            again = f"{end.command} --retry-failed" if failed else end.command
            return f"stopped because too much failed, last: {cause}; when that is mended: {again}"
        case StopReason.INTERRUPTED | StopReason.TERMINATED | StopReason.DEADLINE:
            dropped = "what was in flight was dropped and counts as spent; " if end.has_dropped else ""
            return f"{dropped}resume with: {end.command}"
        case StopReason.COMPLETED_WITH_FAILURES:
            which = counted(failed, "record")
            return f"mend what the failures name, then send {which} again: {end.command} --retry-failed"
        case _:
            return ""

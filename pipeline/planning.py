"""`plan_job`: opens and reads the input, compares it with the output, and says what a run would do."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline.budget import Ledger
from pipeline.clock import Clock, SystemClock
from pipeline.errors import PlanError, SourceError
from pipeline.forecast import Forecast, forecast
from pipeline.interfaces import Source
from pipeline.keptscan import read_or_recall
from pipeline.plan import Scan, State, check_columns, make_plan, scan
from pipeline.records import Payload
from pipeline.resolve import Job, book_of, located, resolve
from pipeline.schemas import check_input
from pipeline.settings import Settings, known_account, load_settings
from pipeline.sources import RecordSource, open_source
from pipeline.sources.where import Where
from pipeline.spec import LoadedSpec, load_spec
from pipeline.storage import glance, read_index


@dataclass(frozen=True, slots=True)
class PlanReport:
    """What ``wai plan`` says."""

    job: Job
    total: int
    done: int
    failed: int
    changed: int
    pending: int
    duplicates: int
    unsent: int
    unusable: int
    first_unusable: tuple[str, ...]
    requests: int
    expected: float
    at_most: float
    forecast: Forecast
    seconds_at_rate_limit: float
    spent_today: float
    files: tuple[str, ...]
    job_left: float | None = None
    """Neurons that `budget.neurons_total` leaves to this job; None where it sets no limit."""

    def to_json(self) -> dict[str, object]:
        """The object that ``--json`` prints."""
        return {
            "job": self.job.spec.name,
            "output": str(self.job.output),
            "records": {
                "total": self.total,
                "done": self.done,
                "failed": self.failed,
                "changed": self.changed,
                "pending": self.pending,
                "duplicates": self.duplicates,
                "unsent": self.unsent,
                "unusable": self.unusable,
            },
            "requests": self.requests,
            "neurons": {"expected": round(self.expected, 6), "at_most": math.ceil(self.at_most * 1e6) / 1e6},
            "usd_beyond_free": round(self.forecast.usd_beyond_free, 6),
            "days": self.forecast.days,
            "finish_date": self.forecast.finish_date.isoformat(),
            "seconds_at_rate_limit": round(self.seconds_at_rate_limit, 1),
            "resolved": {key: {"value": value.value, "from": value.origin} for key, value in self.job.resolved.items()},
        }


def check_spec(loaded: LoadedSpec, settings: Settings) -> Job:
    """Find what is wrong with a spec as far as that needs no look at the input.

    Raises:
        SpecError: A key is at fault; says file, line and key.
    """
    job = resolve(loaded, settings)
    if loaded.spec.input.where is not None:
        try:
            Where(loaded.spec.input.where)
        except SourceError as exc:
            raise located(loaded, "input.where", exc.problem) from exc
    return job


def plan_job(
    spec: str | Path | LoadedSpec,
    *,
    settings: Settings | None = None,
    rehearse: bool = False,
    clock: Clock | None = None,
) -> PlanReport:
    """Read the spec and the input and say what a run would do. No network; writes nothing but a spool of stdin.

    Raises:
        SpecError: The spec is wrong; says file, line and key.
        OutputDamaged: The output folder cannot be trusted.
    """
    clock = clock or SystemClock()
    settings = settings or load_settings(need_credentials=False)
    loaded = spec if isinstance(spec, LoadedSpec) else load_spec(Path(spec))
    job = resolve(loaded, settings, rehearse=rehearse)
    with opened(job) as source:
        found = scanned(job, source)
        index = read_index(job.output)
        plan = make_plan(found, index, job.adapter, dedupe=job.spec.dedupe)
        spent = _spent_today(settings, job, clock)
        budget = job.spec.budget
        return PlanReport(
            job=job,
            total=len(found),
            done=plan.count(State.DONE),
            failed=plan.count(State.FAILED),
            changed=plan.count(State.CHANGED),
            pending=plan.count(State.PENDING) + plan.count(State.FOLLOWER),
            duplicates=plan.count(State.FOLLOWER),
            unsent=plan.unsent,
            unusable=found.n_unusable,
            first_unusable=tuple(found.first_unusable),
            requests=plan.requests,
            expected=plan.expected,
            at_most=plan.at_most,
            forecast=forecast(plan.expected, per_day=budget.day, spent_today=spent, today=clock.now().date()),
            seconds_at_rate_limit=plan.requests * 60.0 / job.requests_per_minute,
            spent_today=spent,
            files=tuple(source.files()),
            job_left=_job_left(settings, job, clock),
        )


def _spent_today(settings: Settings, job: Job, clock: Clock) -> float:
    path = settings.ledger
    account = book_of(job, settings) or known_account()
    if job.embeds_emulator or not account or not path.exists():
        return 0.0
    with Ledger(path, clock) as ledger:
        totals = ledger.totals(account, ledger.day(account))
        return totals.spent + totals.reserved


def _job_left(settings: Settings, job: Job, clock: Clock) -> float | None:
    total, path, seen = job.spec.budget.neurons_total, settings.ledger, glance(job.output)
    if total is None or seen is None or not path.exists():
        return total
    with Ledger(path, clock) as ledger:
        return max(0.0, total - ledger.job_total(seen.job_id))


@contextlib.contextmanager
def opened(job: Job) -> Iterator[RecordSource]:
    """Open the input for the body; what is wrong with it is told with the key of the spec."""
    try:
        source = open_source(job.spec.input, media=job.kind.media)
    except SourceError as exc:
        raise located(job.loaded, _input_key(job, exc), _problem(exc)) from exc
    try:
        yield source
    except SourceError as exc:
        raise located(job.loaded, _input_key(job, exc), _problem(exc)) from exc
    finally:
        source.close()


def _problem(error: SourceError) -> str:
    return error.problem if error.path in {"where", "input.id"} else str(error)


def _input_key(job: Job, error: SourceError) -> str:
    if error.path in {"where", "input.id"}:
        return {"where": "input.where"}.get(error.path, error.path)
    return "input.items" if job.spec.input.items is not None else "input.path"


def _problems(job: Job, payload: Payload) -> list[str]:
    """What the model's published schema says against a payload; of a body that is no JSON it says nothing.

    Nor of a server that is not Cloudflare's.
    """
    if not job.counts_neurons or not isinstance(payload, Mapping):
        return []
    return check_input(job.model.name, payload, job.model.task)


def _check_text(job: Job, source: RecordSource) -> None:
    """Refuse a column as text whose type in the files is another one: every record would fail."""
    name = job.text.plain
    if name is None or job.text.fallback is not None or ("input.text", (name,)) not in job.adapter.uses():
        return
    if kinds := source.without_text(name):
        hint = f'; write "{{{name}}}" in quotes to send them as text' if kinds.endswith("numbers") else ""
        raise PlanError(f'column "{name}" holds {kinds}, not text{hint}', key="input.text")


def scanned(
    job: Job, source: RecordSource, progress: Callable[[int], None] = lambda _: None, clock: Clock | None = None
) -> Scan:
    """Read the whole input once, or take what a run has kept of it, and check it against the spec.

    Args:
        job: The job.
        source: Its input, open.
        progress: Called with the number of records read, now and then; may raise `ScanStopped`.
        clock: Given where the result is to be kept for the next run.

    Raises:
        SpecError: The input cannot be read or does not fit the spec; says file, line and key.
    """

    def read(source: Source, progress: Callable[[int], None]) -> Scan:
        return scan(
            source,
            job.adapter,
            keep=job.spec.input.keep,
            check=partial(_problems, job),
            progress=progress,
        )

    try:
        _check_text(job, source)
        found = read_or_recall(job, source, read, progress, clock)
        if not len(found):
            raise PlanError(
                "there is nothing in the input" + (" that input.where lets through" if job.spec.input.where else ""),
                key="input.where" if job.spec.input.where else "input",
            )
        check_columns(found, uses=job.adapter.uses(), keep=job.spec.input.keep)
    except PlanError as exc:
        raise located(job.loaded, exc.key or "input", exc.problem) from exc
    except SourceError as exc:
        raise located(job.loaded, _input_key(job, exc), _problem(exc)) from exc
    return found

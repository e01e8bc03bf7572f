"""`wai status`: what an output folder holds, also while a run is writing it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipeline.accounting import again
from pipeline.budget import Ledger
from pipeline.clock import SystemClock
from pipeline.control import Options
from pipeline.errors import PlanError
from pipeline.planning import PlanReport, plan_job
from pipeline.resolve import REHEARSAL_SUFFIX, resolve
from pipeline.settings import load_settings
from pipeline.spec import load_spec
from pipeline.storage import WAITS_UNTIL, StoreState, read_state, verify_folder
from pipeline.words import counted, neurons


@dataclass(frozen=True, slots=True)
class Status:
    """An output folder as it is now.

    Attributes:
        job: Name of the job.
        output: The folder.
        stop_reason: Of the last run; ``running`` while one goes on, ``killed`` where it could not report its end.
        total, done, failed, pending: Records of the input as it is now; total is what was last counted where only the
            folder is known.
        rows: Result rows; a record may have several.
        neurons: As in `RunReport`.
        requests: Of the last run.
        seconds: Of the last run.
        failures_by_code: Most frequent first.
        holder: Who is writing, empty where nobody is.
        simulated: The answers come from the emulator.
        problems: What ``--verify`` found.
        verified: Whether it looked.
        is_total_known: Whether the input was counted, now or at the end of an earlier run.
        changed: Records whose text changed since they were answered; they count as neither done nor pending.
        not_in_input: Records in the output that are no longer in the input.
        advice: What to do next, one sentence; empty where nothing is.
    """

    job: str
    output: str
    stop_reason: str
    total: int
    done: int
    failed: int
    pending: int
    rows: int
    neurons: Mapping[str, float]
    requests: Mapping[str, int]
    seconds: float
    failures_by_code: Mapping[str, int]
    holder: str
    simulated: bool
    problems: Sequence[str]
    verified: bool
    is_total_known: bool
    changed: int = 0
    not_in_input: int = 0
    advice: str = ""

    def to_json(self) -> dict[str, object]:
        """The object that ``--json`` prints; the keys of `wai run --json` first."""
        return {
            "job": self.job,
            "output": self.output,
            "stop_reason": self.stop_reason,
            "simulated": self.simulated,
            "records": {"total": self.total, "done": self.done, "failed": self.failed, "pending": self.pending},
            "rows": self.rows,
            "neurons": dict(self.neurons),
            "requests": dict(self.requests),
            "seconds": self.seconds,
            "failures_by_code": dict(self.failures_by_code),
            "problems": list(self.problems) if self.verified else None,
            "advice": self.advice,
        }

    def lines(self) -> list[str]:
        """The same in words."""
        mark = " (simulated)" if self.simulated else ""
        words = {
            "running": self.holder,
            "killed": "the last run ended without a report: it was killed, or stopped by an error that it told",
        }
        state = words.get(self.stop_reason, f"last run: {self.stop_reason.replace('_', ' ')}")
        lines = [
            f"{self.job}: {state}{mark}",
            f"  records   {self.done:,} done, {self.failed:,} failed"
            + (
                f", {self.pending:,} pending of {self.total:,}"
                if self.is_total_known
                else "; what is pending: ask with the spec"
            ),
            f"  neurons   {neurons(self.neurons['spent'])} by this job"
            + (
                f"; {neurons(self.neurons['remaining_today'])} of {neurons(self.neurons['budget'])} left today"
                if self.neurons["budget"]
                else ""
            ),
        ]
        if self.changed:
            lines.append(f"  changed   {self.changed:,} since being answered: run with --replace-changed")
        if self.not_in_input:
            lines.append(f"  kept      rows of {counted(self.not_in_input, 'record')} no longer in the input")
        if self.failures_by_code:
            lines.append("  failures  " + ", ".join(f"{code} x{n:,}" for code, n in self.failures_by_code.items()))
        if self.verified and not self.problems:
            lines.append("  verified  every part matches the manifest")
        lines.extend(f"  damaged   {problem}" for problem in self.problems)
        several = f" ({self.rows:,} result rows)" if self.rows > self.done else ""
        lines.append(f"  output    {self.output}{several}")
        if self.advice:
            lines.append(f"  next      {self.advice}")
        return lines


def read_status(target: Path, overrides: Sequence[str] = (), *, rehearse: bool, verify: bool) -> Status:
    """Look at a job spec's output, or at an output folder.

    Raises:
        SpecError: The spec, or an override of it, is wrong.
        PlanError: There is no output yet.
        OutputDamaged: It cannot be trusted.
    """
    settings = load_settings(need_credentials=False)
    plan: PlanReport | None = None
    per_day, command = 0.0, ""
    if target.is_dir():
        if overrides:
            raise PlanError(
                f"{target}: is an output folder, and --set overrides a key of a job spec: name that instead"
            )
        folder = target
    else:
        loaded = load_spec(target, overrides)
        job = resolve(loaded, settings, rehearse=rehearse)
        folder = job.output
        command = again(loaded, Options(rehearse=rehearse))
        if len(job.lanes) == 1:  # with several, which of them share an account is known to the last run
            per_day = loaded.spec.budget.day
        if loaded.spec.input.path != "-":
            plan = plan_job(loaded, settings=settings, rehearse=rehearse)
    state = read_state(folder)
    if state is None:
        other = folder.with_name(folder.name + REHEARSAL_SUFFIX)
        hint = f"; there is a rehearsal: wai status {target} --rehearse" if not rehearse and other.exists() else ""
        raise PlanError(f"{folder}: no run has written here yet{hint}")
    last = state.manifest.runs[-1] if state.manifest.runs else {}
    problems = verify_folder(folder) if verify else None
    return _status(folder, state, last, plan=plan, per_day=per_day, problems=problems, command=command)


def _status(
    folder: Path,
    state: StoreState,
    last: Mapping[str, object],
    *,
    plan: PlanReport | None,
    per_day: float,
    problems: Sequence[str] | None,
    command: str,
) -> Status:
    records, neurons, requests = (_group(last, name) for name in ("records", "neurons", "requests"))
    settled = state.results + state.failures
    known = plan.total if plan is not None else max(int(records.get("total", 0)), settled)
    done, failed, changed, kept = state.results, state.failures, 0, 0
    if plan is not None and not state.is_locked:  # while a run writes, the two were not read at the same moment
        done, failed, changed = plan.done, plan.failed, plan.changed
        kept = max(0, settled - done - failed - changed)
    pending = max(0, known - done - failed - changed)
    reason = _stop_reason(state, last)
    return Status(
        job=state.manifest.job.name,
        output=str(folder),
        stop_reason=reason,
        total=known,
        done=done,
        rows=state.rows,
        failed=failed,
        pending=pending,
        neurons=_neurons(state, per_day or float(neurons.get("budget", 0.0))),
        requests={name: int(requests.get(name, 0)) for name in ("sent", "retried", "deduplicated")},
        seconds=float(str(last.get("seconds", 0.0))),
        failures_by_code=state.failures_by_code,
        holder=_holder(state),
        simulated=state.manifest.endpoint.simulated,
        problems=problems or (),
        verified=problems is not None,
        is_total_known=plan is not None or "total" in records,
        changed=changed,
        not_in_input=kept,
        advice=_advice(reason, last, command, is_damaged=bool(problems), is_unfinished=bool(pending or failed)),
    )


def _advice(reason: str, last: Mapping[str, object], command: str, *, is_damaged: bool, is_unfinished: bool) -> str:
    """What the last run advised, where something is left to do; where it advised nothing, to run the job."""
    if is_damaged:
        return "restore it from a copy, or begin anew with --force-new (the folder is moved aside, all is paid again)"
    if reason == "running" or not (is_unfinished or reason == "killed"):
        return ""
    said = "" if reason == "killed" else str(last.get("advice") or "")
    return said or (f"resume with: {command}" if command else "run the job again to resume")


def _stop_reason(state: StoreState, last: Mapping[str, object]) -> str:
    """Of the last run; one that left its note behind could not report its end."""
    if state.is_locked:
        return "running"
    return "killed" if state.holder else str(last.get("stop_reason", "none"))


def _group(values: Mapping[str, object], name: str) -> Mapping[str, float]:
    group = values.get(name)
    return group if isinstance(group, dict) else {}


def _holder(state: StoreState) -> str:
    """Who is writing, and whether it waits for a new day."""
    if not state.is_locked:
        return ""
    note = state.holder or {}
    who = f"pid {note.get('pid')} since {_moment(note.get('started_at'))}"
    until = note.get(WAITS_UNTIL)
    return f"waiting, goes on by itself at {_moment(until)} ({who})" if until else f"running, {who}"


def _moment(text: object) -> str:
    try:
        return f"{datetime.fromisoformat(str(text)).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    except ValueError:
        return str(text)


def _neurons(state: StoreState, per_day: float) -> dict[str, float]:
    """What the book says of this job, and of the account it runs on."""
    settings = load_settings(need_credentials=False)
    path = settings.ledger
    figures = {"spent": 0.0, "reserved": 0.0, "budget": per_day, "remaining_today": per_day}
    if not path.exists():
        return figures
    clock = SystemClock()
    job_id = state.manifest.job.id
    with Ledger(path, clock) as ledger:
        accounts = {row.account for row in ledger.report() if row.job_id == job_id}
        figures["spent"] = round(ledger.job_total(job_id), 6)
        totals = [ledger.totals(account, ledger.day(account)) for account in accounts]
        reserved = sum(each.reserved for each in totals)
        figures["reserved"] = round(reserved, 6)
        left = per_day - sum(each.spent for each in totals) - reserved
        figures["remaining_today"] = round(max(0.0, left), 6)
    return figures

"""What a run did, as a value, as JSON and as words. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.events import StopReason
from pipeline.words import counted, lasting, neurons


@dataclass(frozen=True, slots=True)
class RunReport:
    """The end of a run.

    Attributes:
        job: Name of the job.
        output: Output folder.
        stop_reason: Why it ended.
        total, done, failed, pending: Records; they add up.
        spent: Neurons booked by this job since it began.
        spent_this_run: Neurons booked by this run.
        reserved: Neurons of the account still set aside by live runs.
        budget: Neurons per day.
        remaining_today: Neurons that may still be spent today.
        sent, retried, deduplicated: Attempts that left; of these, beyond a request's first; records that shared an
            answer.
        seconds: Wall time of the run.
        simulated: The answers come from the emulator.
        codes: Refusals and faults met, by code.
        truncated: Answers that ended at `max_tokens`.
        advice: What to do next, one sentence; empty where nothing is.
        not_in_input: Records in the output that are no longer in the input.
        rows: Result rows in the output; a record may have several.
        done_this_run: Of `done`, those that this run has answered.
        neurons_total: What this job may spend as a whole; None for no limit.
    """

    job: str
    output: str
    stop_reason: StopReason
    total: int
    done: int
    failed: int
    pending: int
    spent: float
    spent_this_run: float
    reserved: float
    budget: float
    remaining_today: float
    sent: int
    retried: int
    deduplicated: int
    seconds: float
    simulated: bool
    codes: Mapping[str, int] = field(default_factory=Counter)
    truncated: int = 0
    advice: str = ""
    not_in_input: int = 0
    rows: int = 0
    done_this_run: int = 0
    neurons_total: float | None = None

    def to_json(self) -> dict[str, object]:
        """The object that ``--json`` prints."""
        return {
            "job": self.job,
            "output": self.output,
            "stop_reason": str(self.stop_reason),
            "simulated": self.simulated,
            "records": {"total": self.total, "done": self.done, "failed": self.failed, "pending": self.pending},
            "rows": self.rows,
            "neurons": {
                "spent": round(self.spent, 6),
                "spent_this_run": round(self.spent_this_run, 6),
                "reserved": round(self.reserved, 6),
                "budget": self.budget,
                "remaining_today": round(self.remaining_today, 6),
            },
            "requests": {"sent": self.sent, "retried": self.retried, "deduplicated": self.deduplicated},
            "codes": dict(self.codes),
            "truncated": self.truncated,
            "seconds": round(self.seconds, 3),
            "advice": self.advice,
        }

    def _pace(self) -> str:
        if self.seconds <= 0.05 or not self.done_this_run:
            return ""
        rate = self.done_this_run / self.seconds
        return f" ({rate:,.{0 if rate >= 10 else 1}f} records/s)"

    def lines(self) -> list[str]:
        """The same in words, for a terminal."""
        mark = " (simulated: nothing was sent to Cloudflare)" if self.simulated else ""
        of_job = neurons(self.spent)
        if self.neurons_total is not None:
            of_job += f" of {neurons(self.neurons_total)}"
        is_refused = self.stop_reason is StopReason.ALLOCATION_REFUSED  # the account was used past this book
        left = "left by the local book" if is_refused else "left today"
        lines = [
            f"{self.job}: {str(self.stop_reason).replace('_', ' ')}{mark}",
            f"  records   {self.done:,} done, {self.failed:,} failed, {self.pending:,} pending of {self.total:,}"
            + (f"; {self.deduplicated:,} shared an equal record's answer" if self.deduplicated else ""),
            f"  neurons   {neurons(self.spent_this_run)} this run, {of_job} this job; "
            f"{neurons(self.remaining_today)} of {neurons(self.budget)} {left}",
            f"  requests  {self.sent:,} sent, {self.retried:,} retried, in {lasting(self.seconds)}" + self._pace(),
        ]
        if self.codes:
            faults = ", ".join(f"{code} x{n:,}" for code, n in sorted(self.codes.items(), key=lambda item: -item[1]))
            lines.append(f"  faults    {faults}")
        if self.truncated:
            lines.append(
                f"  truncated {counted(self.truncated, 'answer')} ended at max_tokens; "
                "raise params.max_tokens to get them whole"
            )
        if self.not_in_input:
            gone = counted(self.not_in_input, "record")
            lines.append(f"  kept      rows of {gone} no longer in the input")
        several = f" ({self.rows:,} rows)" if self.rows > self.done + self.not_in_input else ""
        lines.append(f"  results   {self.output}/results{several}")
        if self.failed:
            lines.append(f"  failures  {self.output}/failures")
        if self.advice:
            lines.append(f"  next      {self.advice}")
        return lines

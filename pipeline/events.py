"""What happened, for whoever listens: progress, log, report. Frozen records and plain counters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class StopReason(StrEnum):
    """Why a run ended: one name, in logs, JSON, manifest and tests."""

    COMPLETED = "completed"
    COMPLETED_WITH_FAILURES = "completed_with_failures"
    BUDGET_SPENT = "budget_spent"
    ALLOCATION_REFUSED = "allocation_refused"
    DEADLINE = "deadline"
    FAILING = "failing"
    REFUSED = "refused"
    INTERRUPTED = "interrupted"
    TERMINATED = "terminated"
    ERROR = "error"


EXIT_CODES = {
    StopReason.COMPLETED: 0,
    StopReason.COMPLETED_WITH_FAILURES: 4,
    StopReason.BUDGET_SPENT: 3,
    StopReason.ALLOCATION_REFUSED: 3,
    StopReason.DEADLINE: 3,
    StopReason.FAILING: 3,
    StopReason.REFUSED: 12,
    StopReason.INTERRUPTED: 130,
    StopReason.TERMINATED: 143,
    StopReason.ERROR: 1,
}


@dataclass(frozen=True, slots=True)
class Event:
    """Something worth telling.

    Attributes:
        kind: ``attempt`` (one that failed), ``split``, ``failed``, ``price``, ``cool_down``, ``waiting``, ``stop``,
            ``note`` …
        message: One line for a person.
        facts: The same, for programs: JSON scalars, and lists of record ids.
    """

    kind: str
    message: str
    facts: Mapping[str, object] = field(default_factory=dict)


class Observer(Protocol):
    """Anything that wants to know."""

    def __call__(self, event: Event) -> None:
        """Take note; must not block or raise."""
        ...


@dataclass(slots=True)
class Counters:
    """Counts of one run, kept by the engine and read by the progress display.

    Attributes:
        sent: Attempts that left.
        retried: Attempts beyond the first of a request.
        split: Requests cut in two.
        done: Records answered in this run.
        failed: Records that failed in this run.
        shared: Records that took an equal record's answer.
        in_flight: Attempts on the wire now.
        neurons: Booked by this run.
        codes: Refusals and faults by code.
        truncated: Answers that ended at `max_tokens`.
        overcharged: Charges above their ceiling by the price table.
    """

    sent: int = 0
    retried: int = 0
    split: int = 0
    done: int = 0
    failed: int = 0
    shared: int = 0
    in_flight: int = 0
    neurons: float = 0.0
    truncated: int = 0
    overcharged: int = 0
    codes: Counter[str] = field(default_factory=Counter)

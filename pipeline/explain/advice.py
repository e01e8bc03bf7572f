"""What to do next about one record, in one sentence. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from pipeline.events import StopReason
from pipeline.explain.explanation import Entry, Standing
from pipeline.forecast import is_total_spent
from pipeline.records import NO_PAYLOAD
from pipeline.storage import Glance, Located
from pipeline.words import neurons

_ENDED_BY_THE_BUDGET: Final = frozenset({StopReason.BUDGET_SPENT, StopReason.ALLOCATION_REFUSED})


def advise(
    state: Standing,
    entry: Entry | None,
    stored: Located | None,
    seen: Glance | None,
    *,
    command: str,
    now: datetime,
    neurons_total: float | None = None,
) -> str:
    """Say what to do next; empty where nothing is.

    Args:
        state: Where the record stands.
        entry: Its place in the input.
        stored: Its row.
        seen: The output.
        command: What runs the job.
        now: The time, for what today's budget allows.
        neurons_total: ``budget.neurons_total`` of the spec.
    """
    writer = seen.writer if seen is not None else None
    later = f"when the run that goes on (pid {writer}) has ended: {command}" if writer is not None else command
    match state:
        case Standing.DONE:
            return ""
        case Standing.NOT_IN_INPUT:
            return "nothing: its row stays; if it should be there, look at input.path, input.where and input.limit"
        case Standing.CHANGED:
            return f"{later} --replace-changed (answers it again, drops the old row)"
        case Standing.FAILED:
            return _of_failed(later, entry, stored)
        case Standing.PENDING:
            return _of_pending(command, entry, seen, now, neurons_total)


def _of_failed(command: str, entry: Entry | None, stored: Located | None) -> str:
    if stored is None or stored.values.get("retryable"):
        return f"{command} --retry-failed"
    if stored.payload_key == NO_PAYLOAD:
        return f"mend it in {entry.file if entry is not None else 'the input'}, then {command} --retry-failed"
    what = "text" if entry is None or entry.file_bytes is None else "file"
    return f"mend its {what}, then {command} --replace-changed"


def _of_pending(
    command: str, entry: Entry | None, seen: Glance | None, now: datetime, neurons_total: float | None
) -> str:
    if entry is not None and entry.unusable:
        return f"mend it in {entry.file}; as it is, a run writes it to failures/ and sends nothing"
    if seen is not None and seen.writer is not None:
        return f"wait, a run is going on (pid {seen.writer})"
    if seen is not None and neurons_total is not None and _is_total_spent(seen, neurons_total):
        return f"budget.neurons_total ({neurons(neurons_total)}) is spent: raise it to go on, then: {command}"
    if seen is not None and _is_spent_today(seen, now):
        return f"today's budget is spent; after 00:00 UTC: {command}"
    return command


def _is_total_spent(seen: Glance, total: float) -> bool:
    """Whether the last run ended with what the job may spend as a whole."""
    neurons = seen.last_run.get("neurons")
    if seen.last_run.get("stop_reason") != StopReason.BUDGET_SPENT or not isinstance(neurons, dict):
        return False
    return is_total_spent(total, neurons.get("spent", 0.0), remaining_today=neurons.get("remaining_today", 0.0))


def _is_spent_today(seen: Glance, now: datetime) -> bool:
    """Whether the last run ended with its budget, on this UTC day."""
    ended = str(seen.last_run.get("finished_at", ""))
    today = now.astimezone(UTC).date().isoformat()
    return seen.last_run.get("stop_reason") in _ENDED_BY_THE_BUDGET and ended.startswith(today)

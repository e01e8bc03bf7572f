"""What is known of one record, as values, as JSON and as words. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from itertools import pairwise
from typing import Final

from pipeline.eventlog import Attempt
from pipeline.storage import Located
from pipeline.words import neurons

_MOST_TEXT: Final = 72
_SHOWN_ATTEMPTS: Final = 6
_SAME_RUN_S: Final = 600.0
"""An answer that came longer after an attempt was not waited for: another run brought it."""


class Standing(StrEnum):
    """Where a record stands."""

    DONE = "done"
    FAILED = "failed"
    PENDING = "pending"
    CHANGED = "changed"
    NOT_IN_INPUT = "not_in_input"


@dataclass(frozen=True, slots=True)
class Entry:
    """A record as the input has it.

    Attributes:
        file: As in the rows' ``source``.
        row: 0-based.
        text: What is sent; of a file its path.
        unusable: Why it cannot be sent; empty where it can.
        expected, at_most: Neurons of one attempt.
        payload_key: Digest of what is sent.
        is_sent: Its row needs an answer.
        file_bytes: Size of the file that is sent; None where the text itself is.
    """

    file: str
    row: int
    text: str
    unusable: str
    expected: float
    at_most: float
    payload_key: bytes
    is_sent: bool
    file_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is known of one record.

    Attributes:
        id: Of the record.
        job: Name of the job.
        output: The folder.
        state: Where it stands.
        simulated: Answers come from the emulator.
        entry: Its place in the input; None where it is not there, or the input is stdin.
        shares_with: The record whose answer it takes because both send the same; None where it has its own, empty
            where that one is not known any more.
        attempts: Those that brought no answer, oldest first.
        stored: Its row.
        writer: Process that writes the output now.
        advice: What to do next, one sentence; empty where nothing is.
    """

    id: str
    job: str
    output: str
    state: Standing
    simulated: bool
    entry: Entry | None
    shares_with: str | None
    attempts: Sequence[Attempt]
    stored: Located | None
    writer: int | None
    advice: str

    def to_json(self) -> dict[str, object]:
        """The object that ``--json`` prints."""
        entry, stored = self.entry, self.stored
        return {
            "id": self.id,
            "job": self.job,
            "output": self.output,
            "simulated": self.simulated,
            "state": str(self.state),
            "shares_with": self.shares_with,
            "input": entry
            and {
                "file": entry.file,
                "row": entry.row,
                **_sent(entry),
                "unusable": entry.unusable or None,
            },
            "neurons": entry and {"expected": round(entry.expected, 6), "at_most": round(entry.at_most, 6)},
            "attempts": [
                {
                    "at": attempt.at.isoformat(),
                    "run": attempt.run,
                    "attempt": attempt.number,
                    "code": attempt.code,
                    "http_status": attempt.http_status,
                    "message": attempt.message,
                    "neurons": attempt.neurons,
                    "records": attempt.n_records,
                    "gave_up": attempt.gave_up,
                    "next_within_seconds": within,
                }
                for attempt, within in zip(self.attempts, self._waits(), strict=True)
            ],
            "stored": stored
            and {
                "file": stored.file,
                "row": stored.row,
                "rows": stored.n_rows,
                "values": {
                    name: value.isoformat() if isinstance(value, datetime) else value
                    for name, value in stored.values.items()
                },
            },
            "advice": self.advice,
        }

    def lines(self) -> list[str]:
        """The same in words; nothing in them can move a terminal's cursor."""
        mark = " (simulated)" if self.simulated else ""
        lines = [f"{self.id}: {self._standing()}{mark}"]
        if self.entry is not None:
            lines.extend(_entry_lines(self.entry, is_sent=self.shares_with is None))
        lines.extend(self._attempt_lines())
        if self.stored is not None:
            lines.extend(_stored_lines(self.stored, is_running=self.writer is not None))
        if self.advice:
            lines.append(f"  next      {self.advice}")
        return [printable(line) for line in lines]

    def _standing(self) -> str:
        is_failure = self.stored is not None and self.stored.kind == "failures"
        match self.state:
            case Standing.CHANGED:
                return f"changed since it {'failed' if is_failure else 'was answered'}"
            case Standing.NOT_IN_INPUT:
                return f"{'failed' if is_failure else 'done'}, but not in the input any more"
            case _:
                if self.shares_with is None:
                    return str(self.state)
                equal = "text" if self.entry is None or self.entry.file_bytes is None else "file"
                return f"{self.state}, shares the answer of {self.shares_with or 'another record'} (equal {equal})"

    def _waits(self) -> list[float | None]:
        """Seconds within which each attempt was followed by the next, or by the answer."""
        waits = [
            (later.at - earlier.at).total_seconds() if later.run == earlier.run and not earlier.gave_up else None
            for earlier, later in pairwise(self.attempts)
        ]
        if not self.attempts:
            return waits
        values = self.stored.values if self.stored is not None and not self.attempts[-1].gave_up else {}
        answered, latency = values.get("finished_at"), values.get("latency_ms")
        if isinstance(answered, datetime) and isinstance(latency, float):
            left = (answered - self.attempts[-1].at).total_seconds() - latency / 1000
            if left < _SAME_RUN_S:
                return [*waits, round(max(0.0, left), 3)]
        return [*waits, None]

    def _attempt_lines(self) -> list[str]:
        if not self.attempts:
            return []
        pairs = list(zip(self.attempts, self._waits(), strict=True))
        hidden, shown = pairs[:-_SHOWN_ATTEMPTS], pairs[-_SHOWN_ATTEMPTS:]
        days = {attempt.at.astimezone(UTC).date() for attempt, _ in shown}
        form, on = ("%H:%M:%S", f", {min(days)} UTC") if len(days) == 1 else ("%Y-%m-%d %H:%M:%S", " (UTC)")
        width = max(len(attempt.code) for attempt, _ in shown)
        last = f", the last {len(shown)}" if hidden else ""
        lines = [f"  attempts  {len(pairs):,} without an answer{last}{on}:"]
        for attempt, within in shown:
            first = f"{attempt.at.astimezone(UTC):{form}}  {attempt.code:<{width}}  {_words(attempt)}"
            lines.append("            " + "; ".join([first, *_asides(attempt, within)]))
        return lines


def _asides(attempt: Attempt, within: float | None) -> list[str]:
    """What is worth a word about an attempt besides its message."""
    told = []
    if attempt.n_records > 1:
        told.append(f"request of {attempt.n_records:,}")
    if attempt.neurons:
        told.append(f"{neurons(attempt.neurons)} neurons" + (" for all" if attempt.n_records > 1 else ""))
    if attempt.gave_up:
        told.append("given up")
    elif within is not None:
        told.append(f"again within {within:,.1f} s")
    return told


def printable(text: str) -> str:
    """The text with everything that is not a visible character or a space written as an escape."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def _short(text: str) -> str:
    """One line of bounded length."""
    line = " ".join(text[: 4 * _MOST_TEXT].split())
    return line if len(line) <= _MOST_TEXT and len(text) <= 4 * _MOST_TEXT else f"{line[: _MOST_TEXT - 1]}…"


def _words(attempt: Attempt) -> str:
    """The message without the code and status that stand beside it."""
    return _short(attempt.message.partition(f" (HTTP {attempt.http_status}")[0])


def _sent(entry: Entry) -> dict[str, object]:
    """What is sent, of the one kind or the other."""
    if entry.file_bytes is None:
        return {"text": _short(entry.text), "characters": len(entry.text)}
    return {"path": entry.text, "bytes": entry.file_bytes}


def _entry_lines(entry: Entry, *, is_sent: bool) -> list[str]:
    lines = [f"  input     {entry.file}, row {entry.row:,} (counted from 0)"]
    if entry.unusable:
        return [*lines, f"  unusable  {entry.unusable}"]
    if entry.file_bytes is None:
        lines.append(f'  text      "{_short(entry.text)}" ({len(entry.text):,} characters)')
    else:
        path = entry.text if len(entry.text) <= _MOST_TEXT else f"…{entry.text[1 - _MOST_TEXT :]}"
        lines.append(f"  file      {path} ({entry.file_bytes:,} bytes)")
    if not entry.is_sent:
        return [*lines, "  price     nothing: it needs no answer"]
    price = f"about {neurons(entry.expected)} neurons, at most {neurons(entry.at_most)} an attempt"
    return [*lines, f"  price     {price if is_sent else 'nothing: the answer is shared'}"]


def _stored_lines(stored: Located, *, is_running: bool) -> list[str]:
    values = stored.values
    until = "when the run ends, or before" if is_running else "by the next run"
    place = f"moved to {stored.kind}/ {until}"
    if stored.row is not None:
        last = stored.row + stored.n_rows - 1
        place = f"row {stored.row:,}" if stored.n_rows == 1 else f"rows {stored.row:,} to {last:,}"
    lines = [f"  row       {stored.file}, {place}"]
    n = values.get("attempts") or 0
    if stored.kind == "failures":
        status = f" (HTTP {values['http_status']})" if values.get("http_status") else ""
        tries = f"{n:,} attempt{'' if n == 1 else 's'}"
        kind = "may pass another time" if values.get("retryable") else "will not pass as it is"
        lines.append(f"            {values.get('code')}{status}, {tries}, {kind}, {_moment(values.get('at'))}")
        lines.append(f"            {_short(str(values.get('message')))}")
    elif n:
        cost = f"{neurons(values.get('neurons') or 0.0)} neurons, {values.get('latency_ms') or 0.0:,.0f} ms"
        which = f", attempt {n:,}" if n > 1 else ""
        lines.append(f"            {cost}{which}, {_moment(values.get('finished_at'))}, {values.get('model')}")
    else:
        lines.append(f"            {_moment(values.get('finished_at'))}, {values.get('model')}")
    return lines


def _moment(at: object) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if isinstance(at, datetime) else "at an unknown time"

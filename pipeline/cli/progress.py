"""Shows a run while it goes on: a bar on a terminal, elsewhere a line after 10 s and every 30 s. Always on stderr."""

from __future__ import annotations

import sys
import time
from collections import Counter, deque
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Final, Self

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipeline.cli.terminal import shown as printable
from pipeline.control import Snapshot
from pipeline.events import Counters, Event
from pipeline.forecast import forecast
from pipeline.words import counted, neurons

LOG_FIRST_S: Final = 10.0
LOG_EVERY_S: Final = 30.0
_RATE_WINDOW_S: Final = 15.0
_SHOWN_FAILURES: Final = 5
_GAPS: Final = 8
"""Spaces between label, bar, share and counts."""
_QUIET: Final = frozenset({"split", "attempt"})


class Rate:
    """Records per second over the last 15 s."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, int]] = deque()

    def update(self, done: int, now: float) -> float:
        """Take a count and return the rate, 0 while it is not known."""
        self._points.append((now, done))
        while now - self._points[0][0] > _RATE_WINDOW_S:
            self._points.popleft()
        then, before = self._points[0]
        return (done - before) / (now - then) if now > then else 0.0


def figures(shown: Snapshot, rate: float) -> str:
    """The counts behind the bar."""
    counters = shown.counters
    parts = [f"{rate:,.0f}/s"] if rate else []
    if shown.budget is not None:
        parts.append(f"{neurons(shown.budget.spent)} of {neurons(shown.budget.budget)} neurons today")
    parts.append(f"{counters.in_flight} in flight")
    if shown.failed:
        parts.append(f"{shown.failed:,} failed")
    retries = sum(counters.codes.values())
    if retries:
        parts.append(f"{retries:,} refused or broken")
    return " · ".join(parts)


def outlook(shown: Snapshot, rate: float) -> str:
    """When it ends: by the clock, or by the budget where that ends first."""
    if shown.resumes_at is not None:
        return f"goes on at {shown.resumes_at:%H:%M} UTC, in {timedelta(seconds=int(_from_now(shown.resumes_at)))}"
    left = shown.total - shown.done - shown.failed
    budget = shown.budget
    if budget is not None and shown.expected_left > budget.remaining + budget.reserved:
        seen = forecast(
            shown.expected_left,
            per_day=budget.budget,
            spent_today=budget.spent,
            today=datetime.fromisoformat(budget.day).date(),
        )
        return f"today's budget ends first; done about {seen.finish_date} at this budget"
    if rate > 0 and left > 0:
        if shown.stops_at is not None and _from_now(shown.stops_at) < left / rate:
            return f"stops at {shown.stops_at:%H:%M} UTC (limits.deadline)"
        return f"{timedelta(seconds=int(left / rate))} left"
    return ""


def _from_now(moment: datetime) -> float:
    """Seconds until then, 0 where it has passed."""
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())  # noqa: TID251 - for display only


class Display:
    """Shows snapshots and tells events. Use as a context manager.

    Args:
        name: Of the job.
        quiet: Show nothing but events worth a line.
        simulated: The answers come from an emulator, and so do the neurons.
    """

    def __init__(self, name: str, *, quiet: bool = False, simulated: bool = False) -> None:
        self._name = f"{name} (simulated)" if simulated else name
        self._console = Console(stderr=True, highlight=False)
        self._live: Live | None = None
        self._rate = Rate()
        self._next_line = time.monotonic() + LOG_FIRST_S
        self._quiet = quiet
        self._counters = Counters()
        self._events: Counter[str] = Counter()

    def __enter__(self) -> Self:
        if self._console.is_terminal and not self._quiet:
            self._live = Live(console=self._console, transient=True, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
        hidden = self._events["failed"] - _SHOWN_FAILURES
        if hidden > 0:
            self.line(f"… and {counted(hidden, 'further record')} failed; see the failures folder")

    @property
    def in_flight(self) -> int:
        """Requests on their way."""
        return self._counters.in_flight

    def show(self, shown: Snapshot) -> None:
        """Take note of how things stand."""
        now = time.monotonic()
        self._counters = shown.counters
        finished = shown.done + shown.failed
        rate = self._rate.update(finished, now)
        is_reading = shown.phase == "reading the input"
        counts = f"{counted(shown.total, 'record')} read" if is_reading else f"{finished:,} of {shown.total:,}"
        if self._live is not None:
            label = escape(self._name if shown.phase == "sending" else f"{self._name}: {shown.phase}")
            first = Table.grid(padding=(0, 1))
            if is_reading or not shown.total:
                first.add_row(f"[bold]{label}[/bold]", counts)
            else:
                share = f"{100 * finished / shown.total:.1f} %"
                room = self._console.width - len(label) - len(share) - len(counts) - _GAPS
                bar = ProgressBar(total=shown.total, completed=finished, width=max(5, min(30, room)))
                first.add_row(f"[bold]{label}[/bold]", bar, share, counts)
            second = " · ".join(part for part in (figures(shown, rate), outlook(shown, rate)) if part)
            self._live.update(Group(first, Text(f"  {second}", style="dim", overflow="fold")))
        elif not self._quiet and now >= self._next_line:
            self._next_line = now + LOG_EVERY_S
            told = [shown.phase, counts, figures(shown, rate), outlook(shown, rate)]
            self.line(f"{self._name}: {' · '.join(part for part in told if part)}")

    def tell(self, event: Event) -> None:
        """Print an event, unless it is of a kind that only the event log wants."""
        self._events[event.kind] += 1
        if event.kind in _QUIET or (event.kind == "failed" and self._events["failed"] > _SHOWN_FAILURES):
            return
        self.line(f"failed: {event.message}" if event.kind == "failed" else event.message)

    def line(self, text: str) -> None:
        """Print one line above the bar."""
        text = printable(text).replace("\n", " ")
        if self._live is not None:
            self._live.console.print(escape(text))
        else:
            sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
            sys.stderr.flush()

"""Time, injected everywhere so that tests can own it.

Wall time decides which UTC day a neuron belongs to; monotonic time decides how long to wait. Nothing else in the
package asks the operating system what time it is.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, date, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """What the rooms may ask of time."""

    def now(self) -> datetime:
        """Return the wall time, aware, UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go backwards."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait `seconds` >= 0 of monotonic time."""
        ...


class SystemClock:
    """The operating system's time."""

    def now(self) -> datetime:
        """Return the wall time, aware, UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that never go backwards."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait on the running event loop."""
        await asyncio.sleep(seconds)


def next_midnight(at: datetime) -> datetime:
    """Return the first 00:00 UTC after `at`: when the service resets the daily allocation."""
    day: date = at.astimezone(UTC).date() + timedelta(days=1)
    return datetime(day.year, day.month, day.day, tzinfo=UTC)

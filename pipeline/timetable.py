"""When a run sleeps and when it ends by the clock: the allowance that 00:00 UTC renews, and ``limits.deadline``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from pipeline.clock import Clock, next_midnight
from pipeline.control import Control
from pipeline.events import StopReason
from pipeline.resolve import Job, located
from pipeline.spec import deadline_after

_AFTER_MIDNIGHT: Final = timedelta(seconds=5)
_DAY: Final = timedelta(days=1)
_SKEW: Final = timedelta(minutes=10)
_SKEWED_PAUSE: Final = timedelta(minutes=1)
_NAP_S: Final = 30.0


class Timetable:
    """Of one run.

    Attributes:
        stops_at: When the run has to end, UTC; None where it may take as long as it needs.
        resumes_at: Until when it sleeps, UTC; None while it does not.
    """

    def __init__(
        self, *, stops_at: datetime | None, clock: Clock, control: Control, tell: Callable[[str, str], None]
    ) -> None:
        self.stops_at = stops_at
        self.resumes_at: datetime | None = None
        self._clock, self._control, self._tell = clock, control, tell

    async def until_renewed(self, reason: StopReason, note: Callable[[datetime | None], None]) -> bool:
        """Sleep until the day's allowance is renewed; return whether the run ends instead.

        In short naps: a suspended computer or a moved clock is noticed.

        Args:
            reason: What is waited for: the budget's day, or the service's.
            note: Writes down until when, for who looks at the output meanwhile; None when it is over.
        """
        now = self._clock.now()
        until = next_midnight(now) + _AFTER_MIDNIGHT
        if reason is StopReason.ALLOCATION_REFUSED and until - now > _DAY - _SKEW:
            until = now + _SKEWED_PAUSE  # the service's midnight may be a little later than ours
        why = str(reason).replace("_", " ")
        if self.stops_at is not None and self.stops_at <= until:
            self._tell(
                "note", f"{why}: not waited for 00:00 UTC, limits.deadline ({self.stops_at:%H:%M} UTC) is before"
            )
            return True
        self.resumes_at = until
        await asyncio.to_thread(note, until)
        self._tell("waiting", f"{why}: goes on by itself at {until:%Y-%m-%d %H:%M} UTC")
        while (left := (until - self._clock.now()).total_seconds()) > 0:
            if await self._control.sleep(min(left, _NAP_S)):
                return True
        self.resumes_at = None
        await asyncio.to_thread(note, None)
        return False

    def keep_deadline(self) -> None:
        """End the run as after Ctrl-C once it is time."""
        if self.stops_at is not None and self._clock.now() >= self.stops_at and self._control.reason is None:
            self._tell("note", "limits.deadline: finishing what is in flight")
            self._control.stop(StopReason.DEADLINE)


def deadline_of(job: Job, started: datetime) -> datetime | None:
    """When a run of `job` that began at `started` has to end, UTC; None where its spec does not say.

    Raises:
        SpecError: That moment has passed already.
    """
    text = job.spec.limits.deadline
    if text is None:
        return None
    moment = deadline_after(text, started)
    if moment <= started:
        raise located(job.loaded, "limits.deadline", f"{moment:%Y-%m-%d %H:%M} UTC has passed; give a later moment")
    return moment

"""When a run has to end: how a spec says it, and which moment that is. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta
from typing import Final

_DURATION: Final = re.compile(r"(?=\d)(?:(?P<hours>\d{1,4}) ?h)? ?(?:(?P<minutes>\d{1,5}) ?m(?:in)?)?")
_TIME_OF_DAY: Final = re.compile(r"\d{1,2}:\d{2}")
_FORMS: Final = (
    'give how long it may take ("8h", "90m", "7h30m"), a time of day here ("07:00"),'
    ' or a moment with its zone ("2026-11-24T07:00Z")'
)


def check_deadline(text: str) -> str:
    """Hand `text` back if it says when to end.

    Raises:
        ValueError: It does not; says which forms do.
    """
    if _duration(text) is None and _time_of_day(text) is None and _moment(text) is None:
        raise ValueError(f"is no deadline; {_FORMS}")
    return text


def deadline_after(text: str, started: datetime) -> datetime:
    """Return the moment, UTC, at which a run that began at `started` has to end; perhaps one that has passed.

    A time of day is the next one by the local clock, on days when that jumps too.

    Args:
        text: As `check_deadline` lets through.
        started: Aware.
    """
    if (duration := _duration(text)) is not None:
        return started.astimezone(UTC) + duration
    if (of_day := _time_of_day(text)) is not None:
        today = started.astimezone().date()
        local = (datetime.combine(today + timedelta(days=n), of_day).astimezone(UTC) for n in range(3))
        return next(moment for moment in local if moment > started)
    moment = _moment(text)
    assert moment is not None
    return moment


def _duration(text: str) -> timedelta | None:
    found = _DURATION.fullmatch(text)
    if found is None:
        return None
    length = timedelta(hours=int(found["hours"] or 0), minutes=int(found["minutes"] or 0))
    return length or None


def _time_of_day(text: str) -> time | None:
    if not _TIME_OF_DAY.fullmatch(text):
        return None
    try:
        return time.fromisoformat(text.zfill(5))
    except ValueError:
        return None


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
        return None if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None

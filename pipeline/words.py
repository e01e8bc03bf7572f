"""Words that go with a number."""

from __future__ import annotations

from datetime import timedelta


def counted(n: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: "1 record", "2,000 records"; `plural` where an s does not make it."""
    return f"{n:,} {noun if n == 1 else plural or f'{noun}s'}"


def lasting(seconds: float) -> str:
    """Return a duration: "20.1 s", from ten minutes on "0:10:00" and "2 days, 3:04:05"."""
    return f"{seconds:,.1f} s" if seconds < 600 else str(timedelta(seconds=round(seconds)))

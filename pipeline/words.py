"""Words that go with a number."""

from __future__ import annotations


def counted(n: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: "1 record", "2,000 records"; `plural` where an s does not make it."""
    return f"{n:,} {noun if n == 1 else plural or f'{noun}s'}"

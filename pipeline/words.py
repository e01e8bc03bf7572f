"""Words that go with a number, and numbers as people read them."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Final

_PLACES: Final = 9  # the ledger counts in units of 1e-9 neuron


def counted(n: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: "1 record", "2,000 records"; `plural` where an s does not make it."""
    return f"{n:,} {noun if n == 1 else plural or f'{noun}s'}"


def neurons(amount: float) -> str:
    """Return neurons, large or small, as every text shows them: "10,000", "39.71", "0.05", "0.00123", "0".

    A whole number stands alone; others have two decimals, or as many as show three digits.
    """
    amount = round(amount, _PLACES) + 0.0  # no "-0"
    if amount.is_integer():
        return f"{amount:,.0f}"
    places = 2 if abs(amount) >= 0.1 else min(_PLACES, 2 - math.floor(math.log10(abs(amount))))
    whole, _, decimals = f"{amount:,.{places}f}".partition(".")
    return f"{whole}.{decimals.rstrip('0').ljust(2, '0')}"


def lasting(seconds: float) -> str:
    """Return a duration: "20.1 s", from ten minutes on "0:10:00" and "2 days, 3:04:05"."""
    return f"{seconds:,.1f} s" if seconds < 600 else str(timedelta(seconds=round(seconds)))

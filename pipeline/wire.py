"""What crosses the wire: one HTTP request out, one HTTP response in, as plain values.

The client moves them and knows nothing of their meaning; a dialect gives them meaning and does no I/O.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

MOST_NEURONS: Final = 1_000_000.0
"""No single answer costs as much as this ($11): a larger amount is garbage, and would end the day's budget."""


def amount(value: object) -> float | None:
    """Read a charge in neurons out of an answer; None where it is no amount that a request can cost."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and 0 <= number <= MOST_NEURONS else None


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A POST that is about to leave.

    Attributes:
        url: Absolute; sent byte for byte, nothing in it is escaped again.
        body: Always bytes, so that every attempt sends the same.
        headers: Without the authorization, which only the client knows.
    """

    url: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A complete answer.

    Attributes:
        status: HTTP status, any.
        headers: Names in lower case.
        body: All of it, decompressed, at most the client's cap.
        latency_ms: Milliseconds from sending to the last byte.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    latency_ms: float

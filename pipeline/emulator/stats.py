"""What the emulator has seen, for tests that ask what really arrived."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from datetime import date, datetime
from typing import Final

from pipeline.emulator.refusals import ALLOCATION_CODES

KEPT_ARRIVALS: Final = 10_000


class Stats:
    """Counters over inference requests.

    Args:
        now: Wall time, aware.
        monotonic: Seconds that never go backwards.
    """

    def __init__(self, now: Callable[[], datetime], monotonic: Callable[[], float]) -> None:
        self._now = now
        self._monotonic = monotonic
        self.clear()

    def clear(self) -> None:
        """Start from nothing."""
        self._total = 0
        self._inferences = 0
        self._texts = 0
        self._by_status: Counter[str] = Counter()
        self._by_code: Counter[str] = Counter()
        self._by_fault: Counter[str] = Counter()
        self._first_at: datetime | None = None
        self._last_at: datetime | None = None
        self._started: deque[float] = deque(maxlen=KEPT_ARRIVALS)
        self._refused_on: date | None = None
        self._after_refusal = 0
        self._seen: set[bytes] = set()
        self._repeated = 0

    def arrived(self) -> None:
        """Note the arrival of an inference request."""
        now = self._now()
        self._total += 1
        self._last_at = now
        if self._first_at is None:
            self._first_at = now
        if self._refused_on == now.date():
            self._after_refusal += 1
        self._started.append(self._monotonic())

    def answered(self, status: int | str, code: int | None = None) -> None:
        """Note how an inference request ended: an HTTP status, or a word where none was sent."""
        self._by_status[str(status)] += 1
        if code is not None:
            self._by_code[str(code)] += 1
            if code in ALLOCATION_CODES:
                self._refused_on = self._now().date()

    def ran(self, texts: int) -> None:
        """Note an inference that ran and was metered."""
        self._inferences += 1
        self._texts += texts

    def delivered(self, digests: Iterable[bytes]) -> None:
        """Note the inputs of an answer that was sent whole and sound."""
        for digest in digests:
            if digest in self._seen:
                self._repeated += 1
            else:
                self._seen.add(digest)

    def faulted(self, name: str) -> None:
        """Note a fault that was put on the wire."""
        self._by_fault[name] += 1

    def report(self) -> dict[str, object]:
        """Return everything as JSON values; times of arrival are monotonic seconds of this process."""
        return {
            "requests": {
                "total": self._total,
                "inference": self._inferences,
                "by_status": dict(self._by_status),
                "by_code": dict(self._by_code),
                "by_fault": dict(self._by_fault),
            },
            "texts": self._texts,
            "first_at": None if self._first_at is None else self._first_at.isoformat(),
            "last_at": None if self._last_at is None else self._last_at.isoformat(),
            "started": list(self._started),
            "after_refusal": self._after_refusal,
            "input_digests": {"distinct": len(self._seen), "repeated": self._repeated},
        }

"""Notices that a job is failing as a whole, before it burns the budget on it. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

FIRST: Final = 50
WINDOW: Final = 200


@dataclass(slots=True)
class Breaker:
    """Trips when the first 50 records all fail, or more than `abort_share` of the last 200 do.

    Records that were never sent (unreadable input) do not count: they cost nothing.

    Attributes:
        abort_share: ``retry.abort_share`` of the job spec.
    """

    abort_share: float
    _has_answered: bool = False
    _latest: deque[bool] = field(default_factory=lambda: deque(maxlen=WINDOW))

    def record(self, *, ok: bool) -> None:
        """Count one finished record."""
        self._has_answered |= ok
        self._latest.append(ok)

    @property
    def tripped(self) -> bool:
        """Whether to stop now."""
        if not self._has_answered and len(self._latest) >= FIRST:
            return True
        return len(self._latest) == WINDOW and self._latest.count(False) > self.abort_share * WINDOW

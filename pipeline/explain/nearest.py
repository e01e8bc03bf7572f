"""Which ids are written most like one that is not there. Pure; bounded work and memory per id seen."""

from __future__ import annotations

import heapq
from difflib import SequenceMatcher
from typing import Final

_MOST_ID: Final = 200
_NEAREST: Final = 3
_CANDIDATES: Final = 30


class Nearest:
    """The ids that are written most like one; holds 30 of all that it sees."""

    def __init__(self, wanted: str) -> None:
        self._wanted = wanted.strip().casefold()[:_MOST_ID]
        self._best: list[tuple[float, int, str]] = []
        self._n = 0

    def see(self, record_id: str) -> None:
        """Take an id into account; costs no more than its length."""
        self._n -= 1
        likeness = self._likeness(record_id[:_MOST_ID].casefold())
        if likeness < 0.5:
            return
        if len(self._best) < _CANDIDATES:
            heapq.heappush(self._best, (likeness, self._n, record_id))
        elif likeness > self._best[0][0]:
            heapq.heapreplace(self._best, (likeness, self._n, record_id))

    def ids(self) -> list[str]:
        """Up to three, the nearest first."""
        ranked = sorted(self._best, key=lambda each: (-self._ratio(each[2]), -each[1]))
        return [record_id for _, _, record_id in ranked[:_NEAREST]]

    def _likeness(self, other: str) -> float:
        """The share that beginning and end have in common; one half and more where one holds the other."""
        wanted = self._wanted
        shorter, longer = sorted((len(wanted), len(other)))
        if not shorter:
            return 0.0
        n = _common(wanted, other)
        end = _common(wanted[n:][::-1], other[n:][::-1])
        held = 0.5 + 0.5 * shorter / longer if wanted in other or other in wanted else 0.0
        return max((n + end) / longer, held)

    def _ratio(self, record_id: str) -> float:
        return SequenceMatcher(None, self._wanted, record_id[:_MOST_ID].casefold(), autojunk=False).ratio()


def _common(one: str, other: str) -> int:
    """Length of the beginning they share."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(one), len(other)))

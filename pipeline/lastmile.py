"""Uses up the end of a small budget without passing it. Pure. See docs/adr/0005-last-mile.md.

Ceilings are true bounds and therefore high: a byte bounds a token, `max_tokens` bounds an answer. When one request's
ceiling is more than 1 % of the budget, stopping at the first that does not fit would leave that much unused. Here the
run's own answers tell how far below its bound an input really is, and single requests are sent under that tighter
bound, one at a time, with `max_tokens` lowered to what still fits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from pipeline.records import Cost, Piece, Request

SAFETY: Final = 1.35
"""How much worse than the worst input seen so far the next one may be."""

TARGET: Final = 0.99
"""Share of the budget that is used before a run says `budget_spent`."""

_MEMORY: Final = 256
_FEWEST: Final = 5


@dataclass(slots=True)
class InputRatios:
    """Remembers, for the latest answers, the charge for an input divided by its bound."""

    _seen: deque[float] = field(default_factory=lambda: deque(maxlen=_MEMORY))

    def observe(self, *, charged: float, bound: float) -> None:
        """Take note of one answer; `bound` is `Cost.input` of its request."""
        if bound > 0:
            self._seen.append(min(1.0, charged / bound))

    @property
    def ratio(self) -> float:
        """The share of its bound that an input costs at most, by experience with a margin; 1 without experience."""
        return min(1.0, max(self._seen) * SAFETY) if len(self._seen) >= _FEWEST else 1.0


def tighten(
    pieces: Sequence[Piece], *, room: float, ratio: float, cost: Callable[[Request], Cost]
) -> tuple[Request, float] | None:
    """Choose the one piece to send into `room` neurons, and the ceiling to reserve for it.

    Where only input costs, the dearest piece that fits is chosen; where output costs, the cheapest input, and its
    answer is capped at what then fits.

    Returns:
        The request and its ceiling, or None where nothing fits.
    """
    best: tuple[float, Request, float] | None = None
    for piece in pieces:
        request = Request((piece,))
        bound = cost(request)
        expected_input = bound.input * ratio
        if bound.output_per_token > 0:
            cap = min(bound.max_output, int((room - expected_input) / bound.output_per_token))
            if cap < 1:
                continue
            candidate = (
                -expected_input,
                Request((piece,), output_cap=cap),
                expected_input + cap * bound.output_per_token,
            )
        elif expected_input <= room:
            candidate = (expected_input, request, expected_input)
        else:
            continue
        if best is None or candidate[0] > best[0]:
            best = candidate
    return (best[1], best[2]) if best else None

"""Uses up the end of a small budget without passing it. Pure. See docs/adr/0005-last-mile.md.

Ceilings are true bounds and therefore high: a byte bounds a token, `max_tokens` bounds an answer. When one request's
ceiling is more than 1 % of the budget, stopping at the first that does not fit would leave that much unused. Here the
run's own answers tell how far below its bound an input really is, and single requests are sent under that tighter
bound, one at a time, with `max_tokens` lowered to what still fits.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from pipeline.records import Cost, Piece, Request

SAFETY: Final = 1.35
"""How much worse than the worst input seen so far the next one may be."""

TARGET: Final = 0.99
"""Share of the budget that is used before a run says `budget_spent`."""

GOAL: Final = 0.995
"""Share it aims at, so that charges known to two decimals only still come to `TARGET` on the service's meter."""

_MEMORY: Final = 256
_LAST_ANSWER: Final = 8
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

    What is left afterwards should be enough for another request, or next to nothing: never a rest that is too small to
    be used and too large to be left. So a request leaves room for the cheapest one after it where it can; where it
    cannot, it is the last and takes what it can get.

    Where only input costs, the dearest piece is chosen. Where output costs, it is the cheapest input with an answer
    capped at what fits; as the last request the dearest input that leaves a few tokens for an answer, because an answer
    may end early and an input is paid for in full.

    Returns:
        The request and its ceiling, or None where nothing fits.
    """
    bounds = sorted(((cost(Request((piece,))), piece) for piece in pieces), key=lambda pair: pair[0].input)
    if not bounds:
        return None
    per_token = bounds[0][0].output_per_token
    smallest = bounds[min(1, len(bounds) - 1)][0].input * ratio + per_token
    if per_token <= 0:
        fitting = [(bound, piece) for bound, piece in bounds if bound.input * ratio <= room]
        if not fitting:
            return None
        sparing = [(bound, piece) for bound, piece in fitting if bound.input * ratio <= room - smallest]
        bound, piece = (sparing or fitting)[-1]
        return Request((piece,)), bound.input * ratio
    bound, piece = bounds[0]
    tokens = _tokens(room - smallest, bound, ratio)
    if tokens < 1:  # the last one
        bound, piece = next(
            (pair for pair in reversed(bounds) if _tokens(room, pair[0], ratio) >= _LAST_ANSWER), bounds[0]
        )
        tokens = _tokens(room, bound, ratio)
    if tokens < 1:
        return None
    cap = min(bound.max_output, tokens)
    return Request((piece,), output_cap=cap), bound.input * ratio + cap * per_token


def _tokens(room: float, bound: Cost, ratio: float) -> int:
    """Tokens of an answer that fit into `room` beside the input."""
    return math.floor((room - bound.input * ratio) / bound.output_per_token + 1e-9)

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
"""How much worse than the worst plain input seen so far the next one may be."""

SAFETY_OF_MANY: Final = 1.1
"""The same for the sum of what is in flight at once."""

GOAL: Final = 0.995
"""Share of the budget it aims at, so that charges known to two decimals only still come to 99 % on the meter."""

_MEMORY: Final = 256
_FEWEST: Final = 5
_ALIKE: Final = 1.15
_LAST_ANSWER: Final = 8
_PLAIN: Final = 0.9
_ASCII_PLAIN: Final = bytes(code for code in range(128) if chr(code).isalpha() or chr(code).isspace())


@dataclass(slots=True)
class InputRatios:
    """Remembers, for the latest answers, the charge for an input divided by its bound.

    Single texts of signs and digits are kept apart: they take up to three times the tokens of plain words.
    """

    _plain: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=_MEMORY))
    _dense: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=_MEMORY))
    _largest: float = 0.0
    _since_largest: int = 0

    def observe(self, request: Request, *, charged: float, bound: float) -> None:
        """Take note of one answer; `bound` is `Cost.input` of its request."""
        if bound > 0:
            is_dense = len(request.pieces) == 1 and not _is_plain(request.pieces[0])
            (self._dense if is_dense else self._plain).append((bound, charged / bound))
            self._largest = max(self._largest, charged / bound)
            self._since_largest += 1
            if self._since_largest > _MEMORY:  # now and then, for this is asked before every request: forget the old
                self._since_largest = 0
                self._largest = max(ratio for _, ratio in (*self._plain, *self._dense))

    @property
    def ratio(self) -> float:
        """The share of its bound that any input costs at most, by experience with a margin; 1 without experience."""
        return self._worst(SAFETY)

    @property
    def ratio_of_many(self) -> float:
        """The same for many inputs at once, with less margin: they are not all as bad as the worst."""
        return self._worst(SAFETY_OF_MANY)

    def _worst(self, margin: float) -> float:
        is_known = len(self._plain) + len(self._dense) >= _FEWEST
        return min(1.0, margin * self._largest) if is_known else 1.0

    def most(self, bound: float) -> float:
        """What a plain input with this bound costs at most, by experience with a margin.

        Experience with inputs of its size counts first; without any experience it is the bound.
        """
        seen = self._plain if len(self._plain) >= _FEWEST else [*self._plain, *self._dense]
        alike = [ratio for size, ratio in seen if size <= bound * _ALIKE and bound <= size * _ALIKE]
        ratios = alike if len(alike) >= _FEWEST else [ratio for _, ratio in seen]
        return bound * min(1.0, SAFETY * max(ratios)) if len(ratios) >= _FEWEST else bound

    def most_dense(self, bound: float) -> float:
        """What an input of signs and digits costs at most, by experience with such inputs; else its bound."""
        ratios = [ratio for _, ratio in self._dense]
        return bound * min(1.0, SAFETY * max(ratios)) if len(ratios) >= _FEWEST else bound


def tighten(
    pieces: Sequence[Piece],
    *,
    room: float,
    most: Callable[[float], float],
    cost: Callable[[Request], Cost],
    dense: Callable[[float], float] | None = None,
) -> tuple[Request, float] | None:
    """Choose the one piece to send into `room` neurons, and the ceiling to reserve for it.

    What is left afterwards should be enough for another request, or next to nothing: never a rest that is too small to
    be used and too large to be left. So a request leaves room for the cheapest one after it where it can; where it
    cannot, it is the last and takes what it can get. Texts of signs and digits are passed over where there are others,
    and are otherwise priced at their proven bound.

    Where only input costs, the dearest piece is chosen. Where output costs, it is the cheapest input with an answer
    capped at what fits; as the last request the dearest input that leaves a few tokens for an answer, because an answer
    may end early and an input is paid for in full.

    Args:
        pieces: To choose from.
        room: Neurons that are left.
        most: The most an input costs, given its bound; see `InputRatios.most`.
        dense: The same for texts of signs and digits; see `InputRatios.most_dense`.
        cost: Prices a request.

    Returns:
        The request and its ceiling, or None where nothing fits.
    """
    plain = [piece for piece in pieces if _is_plain(piece)]
    if not plain and dense is not None:
        most = dense
    pieces = plain or pieces
    priced = [(piece, cost(Request((piece,)))) for piece in pieces]
    inputs = {bound: most(bound) for bound in {bound.input for _, bound in priced}}
    choices = sorted(
        (_Choice(piece, inputs[bound.input], bound) for piece, bound in priced), key=lambda choice: choice.most
    )
    if not choices:
        return None
    per_token = choices[0].bound.output_per_token
    after = choices[min(1, len(choices) - 1)].most + per_token
    if per_token <= 0:
        fitting = [choice for choice in choices if choice.most <= room]
        sparing = [choice for choice in fitting if choice.most <= room - after]
        chosen = next(reversed(sparing or fitting), None)
        return None if chosen is None else (Request((chosen.piece,)), chosen.most)
    chosen = choices[0]
    tokens = chosen.tokens(room - after)
    if tokens < 1:  # the last one
        chosen = next((choice for choice in reversed(choices) if choice.tokens(room) >= _LAST_ANSWER), chosen)
        tokens = chosen.tokens(room)
    if tokens < 1:
        return None
    cap = min(chosen.bound.max_output, tokens)
    return Request((chosen.piece,), output_cap=cap), chosen.most + cap * per_token


def _is_plain(piece: Piece) -> bool:
    """Whether it is a text of words: letters and white space for the most part."""
    text = str(piece.content)
    if text.isascii():  # asked of every input: counted in C
        n_plain = len(text) - len(text.encode().translate(None, _ASCII_PLAIN))
    else:
        n_plain = sum(map(str.isalpha, text)) + sum(map(str.isspace, text))
    return n_plain >= _PLAIN * len(text)


@dataclass(frozen=True, slots=True)
class _Choice:
    """A piece with the most its input costs by experience, and its proven bound."""

    piece: Piece
    most: float
    bound: Cost

    def tokens(self, room: float) -> int:
        """Tokens of an answer that fit into `room` beside the input."""
        return math.floor((room - self.most) / self.bound.output_per_token + 1e-9)

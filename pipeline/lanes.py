"""Which of several endpoints sends a request: spread by weight, around those that are spent, full or refused.

A lane is an endpoint with an allowance, a pace and a bound of its own; most jobs have one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from pipeline.errors import (
    AttemptError,
    BudgetExhausted,
    ConnectFailed,
    OutOfCapacity,
    RateLimited,
    RecordUnusable,
    Scope,
)
from pipeline.interfaces import Budget, Endpoint, TaskAdapter
from pipeline.lastmile import InputRatios
from pipeline.limits import Gate, Pace
from pipeline.records import Piece, Request
from pipeline.sender import Sender
from pipeline.threads import in_thread

_ELSEWHERE: Final = (OutOfCapacity, RateLimited, ConnectFailed)
_COOLING_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Lane:
    """One way to an answer.

    Attributes:
        name: As in the spec; names it in rows and messages.
        account: Whose allowance it spends: what one lane of an account is refused for the day, all are.
        model: That answers.
        adapter: Prices its requests and reads its answers.
        endpoint: Sends.
        budget: Its allowance.
        budget_limit: The allowance in neurons.
        gate: How many may be in flight.
        pace: How many may leave in a minute.
        weight: Share of the requests it takes; 0 for a lane that only stands in for the others.
        is_free: Its server counts no neurons.
        ratios: What its answers have shown of their inputs.
    """

    name: str
    account: str
    model: str
    adapter: TaskAdapter
    endpoint: Endpoint
    budget: Budget
    budget_limit: float
    gate: Gate
    pace: Pace
    weight: float = 1.0
    is_free: bool = False
    ratios: InputRatios = field(default_factory=InputRatios)


@dataclass(slots=True, eq=False)
class Way:
    """A lane during one pass.

    Attributes:
        lane: What it is.
        sender: Sends its attempts; set by who opens the way.
        n_chosen: Requests it was chosen for.
        is_open: It has not refused the account, the token or the model.
        is_spent: The last request did not fit its allowance.
    """

    lane: Lane
    sender: Sender = field(init=False)
    n_chosen: int = 0
    is_open: bool = True
    is_spent: bool = False


class Ways:
    """The lanes of one pass; the first one's adapter has cut the records."""

    def __init__(self, lanes: Sequence[Lane]) -> None:
        self._ways = [Way(lane) for lane in lanes]

    def __iter__(self) -> Iterator[Way]:
        return iter(self._ways)

    def own(self) -> list[Way]:
        """The open ones of the model that the records were cut for."""
        return [way for way in self._ways if way.is_open and way.lane.adapter is self._ways[0].lane.adapter]

    def choose(self, request: Request, tried: Collection[Way] = ()) -> Way | None:
        """Choose the way for a request: one with room now, and of these the one furthest behind its weight.

        Args:
            request: What will be sent.
            tried: Those that have refused it just now.
        """
        if len(self._ways) == 1 and not tried and self._ways[0].is_open:
            return self._ways[0]
        open_ways = [way for way in self._ways if way.is_open and way not in tried and self._serves(way, request)]
        if not open_ways:
            return None
        way = min(open_ways, key=_rank)
        way.n_chosen += 1
        return way

    def close(self, refused: Way, *, account: bool) -> bool:
        """Take a way out of this pass, with all of its account where it is that which was refused.

        Returns:
            Whether another one is left.
        """
        for way in self._ways:
            if way is refused or (account and way.lane.account == refused.lane.account):
                way.is_open = False
        return any(way.is_open for way in self._ways)

    async def fitted(self, way: Way, request: Request) -> Request | None:
        """The request as the way's model takes it, with its prices; None where it would have to be cut otherwise."""
        adapter = way.lane.adapter
        if adapter is self._ways[0].lane.adapter:
            return request
        if not self._serves(way, request):
            return None
        pieces = [
            await in_thread(partial(_priced, piece, adapter)) if adapter.is_heavy else _priced(piece, adapter)
            for piece in request.pieces
        ]
        whole = tuple(piece for piece in pieces if piece is not None)
        return replace(request, pieces=whole) if len(whole) == len(pieces) else None

    def _serves(self, way: Way, request: Request) -> bool:
        """Whether its task can price every piece: another model's task knows those that are whole records."""
        is_same = way.lane.adapter is self._ways[0].lane.adapter
        return is_same or not any(
            piece.stage or piece.part or piece.n_pieces > 1 or piece.has_more for piece in request.pieces
        )


def moves_on(error: AttemptError) -> bool:
    """Whether another endpoint may well take what this one has refused, at no cost."""
    return isinstance(error, _ELSEWHERE) or error.scope is Scope.RUN


def worse(first: AttemptError | BudgetExhausted | None, second: AttemptError | BudgetExhausted) -> bool:
    """Whether of two ways' refusals the second tells what to do.

    Try again later, before there is no budget left, before a refusal for good: that is not the last word while another
    way is open.
    """
    if isinstance(first, BudgetExhausted) and isinstance(second, BudgetExhausted):
        return second.room > first.room
    return first is None or _hope(second) > _hope(first)


def _hope(refusal: AttemptError | BudgetExhausted) -> int:
    if isinstance(refusal, BudgetExhausted):
        return 1
    return 0 if refusal.scope is Scope.RUN else 2


def _rank(way: Way) -> tuple[bool, bool, bool, float]:
    lane = way.lane
    is_held = lane.gate.is_full or lane.pace.cooling_s > _COOLING_S
    return way.is_spent, lane.weight == 0, is_held, (way.n_chosen + 1) / (lane.weight or 1.0)


def _priced(piece: Piece, adapter: TaskAdapter) -> Piece | None:
    """The piece as another model's task cuts it; None where that makes several, or none."""
    try:
        pieces = adapter.pieces(piece.record)
    except RecordUnusable:
        return None
    if len(pieces) != 1:
        return None
    (other,) = pieces
    return replace(piece, content=other.content, size=other.size, ceiling=other.ceiling, expected=other.expected)

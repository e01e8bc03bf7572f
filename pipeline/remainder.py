"""The end of a budget: requests that do not fit are cut to what does, set aside, and sent one by one into what is left.

Takes requests that were refused for lack of budget, hands back what fits; see `pipeline.lastmile` for the last of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from pipeline.batcher import fit
from pipeline.errors import AttemptError, BudgetExhausted, Scope
from pipeline.lanes import Lane, Way
from pipeline.lastmile import GOAL, tighten
from pipeline.records import Piece, Request
from pipeline.sender import Stopped

ASIDE_MOST: Final = 2_000
LAST_MILE_MOST: Final = 40

Send = Callable[[Request, Way, float], Awaitable[None]]
"""Sends one request over one way, under a ceiling."""


@dataclass(slots=True)
class Remainder:
    """What one pass could not send for lack of budget.

    Attributes:
        front: Requests to be sent before anything new, shared with the pass.
        aside: Pieces that did not fit, 2,000 at most: enough to look ahead for smaller ones.
        given_up: Of them, those sent in the last mile that stay pending.
        is_needless: Whether no record depends on a piece any more.
    """

    front: deque[Request]
    is_needless: Callable[[Piece], bool]
    aside: list[Piece] = field(default_factory=list)
    given_up: list[Piece] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Whether a record is left pending."""
        left = (*self.aside, *self.given_up, *(piece for request in self.front for piece in request.pieces))
        return not all(self.is_needless(piece) for piece in left)

    @property
    def is_waiting(self) -> bool:
        """Whether anything is left that might still be sent."""
        return bool(self.aside or self.front)

    def shrink(self, request: Request, room: float, lanes: Sequence[Lane]) -> bool:
        """Put in front what fits into `room`, else set the request aside; return whether the budget is used up."""
        fitting, rest = fit(request, room)
        if fitting is not None and rest is not None:  # all of it was refused just now, so all of it does not fit
            self.front.extendleft((rest, fitting))
            return False
        self.aside.extend(request.pieces[: max(0, ASIDE_MOST - len(self.aside))])
        limit = max(lane.budget_limit for lane in lanes)
        return room <= (1 - GOAL) * limit or len(self.aside) >= ASIDE_MOST

    async def use_up(self, ways: Iterable[Way], send: Send, is_stopping: Callable[[], bool]) -> None:
        """Send single pieces into what is left of the budgets of these ways, whose model they were cut for."""
        for way in ways:
            await self._use_up(way, send, is_stopping)

    async def _use_up(self, way: Way, send: Send, is_stopping: Callable[[], bool]) -> None:
        lane = way.lane
        for _ in range(LAST_MILE_MOST):
            waiting = (*self.aside, *(piece for request in self.front for piece in request.pieces))
            self.aside = [piece for piece in waiting if not self.is_needless(piece)]
            self.front.clear()
            if is_stopping() or not self.aside:
                return
            room = await _room(lane)
            if room <= (1 - GOAL) * lane.budget_limit:
                return
            begun = [piece for piece in self.aside if piece.stage]  # whose first answers are paid for
            chosen = tighten(
                begun or self.aside,
                room=room,
                most=lane.ratios.most,
                dense=lane.ratios.most_dense,
                cost=lane.adapter.cost,
            )
            if chosen is None:
                return
            request, ceiling = chosen
            (taken,) = request.pieces
            try:
                await send(request, way, ceiling)
            except (BudgetExhausted, Stopped):
                return
            except AttemptError as error:
                if error.scope is Scope.RUN:
                    return  # another way may take it
                self.given_up.append(taken)
            self.aside = [piece for piece in self.aside if piece is not taken]


async def _room(lane: Lane) -> float:
    """Neurons that can be reserved in one piece, asked by way of a reservation that cannot fit."""
    try:
        lane.budget.release(await lane.budget.reserve(2 * lane.budget_limit))
    except BudgetExhausted as refusal:
        return refusal.room
    return lane.budget_limit

"""The passes of a day: the first with every endpoint, and one more for each other model that can go on when it ends.

A record of several pieces stays with the model that it was cut for. When that one has no budget left, or is refused,
what is pending is read again and cut for the next model. Takes readings of what is pending, hands on why they ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Final

from pipeline.engine import Engine, Parts
from pipeline.errors import AttemptError
from pipeline.events import Event, StopReason
from pipeline.lanes import Lane
from pipeline.records import BrokenRecord, Record

_LEFT: Final = (StopReason.BUDGET_SPENT, StopReason.ALLOCATION_REFUSED, StopReason.REFUSED)
"""Ends of a pass after which another model may go on; of several, the first named here is told."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How the passes ended.

    Attributes:
        reason: Why.
        cause: The refusal that ended them, where one did.
    """

    reason: StopReason
    cause: AttemptError | None


async def run_passes(
    parts: Parts,
    work: Callable[[], Iterator[Record | BrokenRecord]],
    *,
    is_pending: Callable[[], bool],
    attach: Callable[[Engine], None],
) -> Ended:
    """Send what is pending, to one model after the other.

    A record that one model has answered a part of is left to it, for that part is paid.

    Args:
        parts: Of the first pass.
        work: Begins a reading of what is pending.
        is_pending: Whether anything still is.
        attach: Told of the engine of each pass before it runs, to stop it.

    Raises:
        SourceError: As `Engine.run`.
    """
    first: Ended | None = None
    begun: set[int] = set()
    while True:
        engine = Engine(parts)
        attach(engine)
        ended = Ended(await engine.run(_without(begun, work())), engine.cause)
        if ended.reason not in _LEFT:
            has_left = ended.reason is StopReason.COMPLETED and first is not None and is_pending()
            return first if has_left and first is not None else ended
        first = min((ended, first or ended), key=lambda end: _LEFT.index(end.reason))
        lanes = [lane for lane in engine.open_lanes if lane.adapter is not parts.adapter]
        if not lanes or not is_pending():
            return first
        begun |= parts.rows.begun
        parts = _handed_over(parts, lanes, ended.reason)


def _handed_over(parts: Parts, lanes: Sequence[Lane], reason: StopReason) -> Parts:
    """What the next pass works with: the model of the first of these lanes cuts the records."""
    adapter, model = lanes[0].adapter, lanes[0].model
    told = f"{str(reason).replace('_', ' ')}: {model} goes on with what is left"
    parts.observer(Event("endpoint", told, {"reason": str(reason), "model": model}))
    rows = replace(parts.rows, adapter=adapter)
    return replace(parts, adapter=adapter, planner=parts.planner or parts.adapter, lanes=lanes, rows=rows)


def _without(begun: AbstractSet[int], work: Iterator[Record | BrokenRecord]) -> Iterator[Record | BrokenRecord]:
    return (item for item in work if item.ordinal not in begun) if begun else work

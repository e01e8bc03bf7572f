"""What one endpoint's refusal or fault means for the pass: a pause, an endpoint less, an outage, or the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pipeline.errors import AllocationExhausted, AttemptError, RateLimited, Scope
from pipeline.events import Event, Observer, StopReason
from pipeline.lanes import Way, Ways
from pipeline.outage import GIVE_UP, SUSPECT
from pipeline.retry import FAULTS

_RATE_PAUSE_S: Final = 60.0


class Refusals:
    """Takes note of what attempts end with, before anything else runs.

    Attributes:
        cause: What has ended the pass, or the latest endpoint.
    """

    def __init__(self, ways: Ways, *, observer: Observer, stop: Callable[[StopReason], None]) -> None:
        self.cause: AttemptError | None = None
        self._ways, self._observer, self._stop = ways, observer, stop
        self._answers = 0

    def note(self, way: Way, error: AttemptError) -> None:
        """An attempt has failed."""
        if isinstance(error, RateLimited):
            self._cool_down(way, error)
        elif error.scope is Scope.RUN:
            self.cause = error
            if self._ways.close(way, account=isinstance(error, AllocationExhausted)):
                self._tell("endpoint", f"{way.lane.name} refused ({error}); the other endpoints go on", code=error.code)
            else:
                self.end()
        elif error.scope is Scope.RECORD:
            self.answered(way)

    def answered(self, way: Way) -> None:
        """The endpoint works, whatever it thinks of the request."""
        self._answers += 1
        if way.outage.is_on:
            self._tell("outage", f"{way.lane.name} answers again")
        way.outage.answered()

    def faulted(self, way: Way, error: AttemptError, first: int | None, *, probed: bool) -> int:
        """The server has failed, and may have charged for it.

        Args:
            way: The endpoint.
            error: How it failed.
            first: What this returned when the same request failed for the first time, None where it does now. Where
                others have been answered since, the request is at fault, not the server.
            probed: As in `Outage.faulted`.
        """
        if first is not None and first != self._answers:
            return first
        name, outage = way.lane.name, way.outage
        if outage.faulted(probed=probed):
            self._tell(
                "outage",
                f"{name} has failed {SUSPECT} times in a row, last: {error}. One record at a time is tried now, "
                f"with pauses; when {GIVE_UP - SUSPECT} more fail, it is given up",
                code=error.code,
            )
        if outage.is_over and way.is_open:
            if self._ways.close(way, account=False):
                self._tell("endpoint", f"{name} only fails ({error}); the other endpoints go on", code=error.code)
            else:
                self.give_up(error)
        return self._answers

    def is_excused(self, error: BaseException, first: int | None) -> bool:
        """Whether an error says no more than that every endpoint is down: it counts against no request."""
        is_fresh = first is None or first == self._answers
        return is_fresh and isinstance(error, FAULTS) and all(way.outage.is_on for way in self._ways if way.is_open)

    def end(self) -> None:
        """End the pass: no endpoint is left, or none that could take what there is."""
        is_today = isinstance(self.cause, AllocationExhausted)
        self._stop(StopReason.ALLOCATION_REFUSED if is_today else StopReason.REFUSED)

    def give_up(self, last: AttemptError) -> None:
        """End the pass: it fails as a whole, and no record is at fault."""
        self.cause = last
        self._stop(StopReason.FAILING)

    def _cool_down(self, way: Way, error: RateLimited) -> None:
        pace = way.lane.pace
        pause = min(10 * _RATE_PAUSE_S, _RATE_PAUSE_S if error.retry_after_s is None else error.retry_after_s)
        if pace.cooling_s < pause - 1:
            message = f"rate limit reached ({error.code}): everyone waits {pause:.0f} s"
            self._tell("cool_down", message, seconds=pause)
        pace.cool_down(pause)

    def _tell(self, kind: str, message: str, **facts: str | float) -> None:
        self._observer(Event(kind, message, facts))

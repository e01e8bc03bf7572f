"""When a request may leave: how many at once, how many per minute, and the pause everyone takes after a 3021.

Three questions, one room: a `Gate` bounds what is in flight and adapts the bound to refusals (3040); a `Pace` spaces
requests evenly so that no 60 s window ever sees more than the rate; a cool-down holds everyone back.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from aiolimiter import AsyncLimiter

from pipeline.clock import Clock

_MARGIN: Final = 1.01
_MINUTE: Final = 60.0
_GRAIN_S: Final = 0.02


class Pace:
    """At most `per_minute` requests in any 60 s window, evenly spaced, and none during a cool-down.

    aiolimiter lets a full bucket through at once and refills it meanwhile: ``AsyncLimiter(20, 1)`` passed 39 requests
    in its first second (measured 2026-11-22). A bucket of one with the spacing as its period has no burst: requests
    are at least 60/rate seconds apart. The spacing is 1 % longer than that, so that jitter of up to 0.6 s on the way
    to the service cannot push a window over the limit; 99 % of the rate is usable. From 6,000 a minute on the bucket
    holds what 20 ms allow (0.03 % of a minute, so within that margin): timers are no finer, and waking for each request
    would cost more than sending it.
    """

    def __init__(self, per_minute: int, clock: Clock) -> None:
        burst = max(1, int(per_minute / _MINUTE * _GRAIN_S))
        self._bucket = AsyncLimiter(burst, burst * _MINUTE / per_minute * _MARGIN)
        self._clock = clock
        self._resume_at = 0.0

    def cool_down(self, seconds: float) -> None:
        """Let nobody leave for `seconds` from now; a longer pause already set stays."""
        self._resume_at = max(self._resume_at, self._clock.monotonic() + seconds)

    @property
    def cooling_s(self) -> float:
        """Seconds of cool-down left, 0 when there is none."""
        return max(0.0, self._resume_at - self._clock.monotonic())

    async def wait(self) -> None:
        """Return when the next request may leave. Safe to cancel; a cancelled turn is not used up."""
        while True:
            await self._cooled()
            await self._bucket.acquire()
            if not self.cooling_s:  # a cool-down that began while waiting for the bucket holds us too
                return

    async def _cooled(self) -> None:
        while (seconds := self.cooling_s) > 0:
            await self._clock.sleep(seconds)


@dataclass(slots=True)
class AdaptiveBound:
    """How many requests may be in flight: additive increase, multiplicative decrease on the share of refusals.

    Pure. Outcomes are judged in windows of at least `bound` (and 20) outcomes. A window with more than 10 % refusals
    (3040) lowers the bound by a tenth and remembers the level as too high; a clean window that used the bound to the
    full raises it, doubling at first, then by one; the remembered level is probed again only after 20 windows. A few
    random refusals, as a service under somebody else's load gives, therefore do not slow the run down.

    Attributes:
        ceiling: The job's `limits.concurrency`.
    """

    ceiling: int
    bound: int = 0
    _doubling: bool = True
    _too_high: int | None = None
    _clean_windows: int = 0
    _answered: int = 0
    _refused: int = 0
    _was_full: bool = False

    def __post_init__(self) -> None:
        self.bound = min(self.ceiling, 16)

    def answered(self, in_flight: int) -> None:
        """Count an outcome that was not a refusal for lack of capacity."""
        self._answered += 1
        self._was_full = self._was_full or in_flight >= self.bound
        self._judge()

    def refused(self, in_flight: int) -> None:
        """Count a 3040."""
        self._refused += 1
        self._was_full = self._was_full or in_flight >= self.bound
        self._judge()

    def _judge(self) -> None:
        n = self._answered + self._refused
        if n < max(20, self.bound):
            return
        if self._refused > 0.1 * n:
            self._doubling = False
            self._too_high = self.bound
            self._clean_windows = 0
            self.bound = max(1, min(self.bound - 1, int(self.bound * 0.9)))
        else:
            self._clean_windows += 1
            if self._was_full:
                self._raise()
        self._answered = self._refused = 0
        self._was_full = False

    def _raise(self) -> None:
        step = self.bound if self._doubling else 1
        target = min(self.ceiling, self.bound + step)
        if self._too_high is not None and target >= self._too_high:
            if self._clean_windows < 20:
                return
            self._too_high = None
        self.bound = target


class Gate:
    """Slots for requests in flight, first come first served, under an `AdaptiveBound`."""

    def __init__(self, bound: AdaptiveBound) -> None:
        self._bound = bound
        self._waiters: deque[asyncio.Future[None]] = deque()
        self.in_flight = 0

    def __repr__(self) -> str:
        return f"<Gate {self.in_flight}/{self._bound.bound} in flight, {len(self._waiters)} waiting>"

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Hold one slot for the body. Safe to cancel at any point."""
        await self._acquire()
        try:
            yield
        finally:
            self.in_flight -= 1
            self._wake()

    async def _acquire(self) -> None:
        if self.in_flight < self._bound.bound and not self._waiters:
            self.in_flight += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the slot was already handed over: pass it on
                self.in_flight -= 1
                self._wake()
            raise

    def _wake(self) -> None:
        while self._waiters and self.in_flight < self._bound.bound:
            turn = self._waiters.popleft()
            if not turn.done():
                self.in_flight += 1
                turn.set_result(None)

    def answered(self) -> None:
        """Tell that an attempt ended in anything but a lack of capacity."""
        self._bound.answered(self.in_flight)
        self._wake()

    def refused(self) -> None:
        """Tell that an attempt was refused for lack of capacity (3040)."""
        self._bound.refused(self.in_flight)

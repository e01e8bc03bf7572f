"""When a request may leave: how many at once, how many per minute, and the pause everyone takes after a 3021.

Three questions, one room: a `Gate` bounds what is in flight and adapts the bound to refusals (3040); a `Pace` spaces
requests evenly so that no 60 s window ever sees more than the rate; a cool-down holds everyone back.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from aiolimiter import AsyncLimiter

from pipeline.clock import Clock

_MARGIN: Final = 1.01
_MINUTE: Final = 60.0
_GRAIN_S: Final = 0.02
_BUSY: Final = 300
_WINDOW: Final = 100
_CLEAN_WINDOW: Final = 20
_SHARE: Final = 0.1
_FLOOD: Final = 6
_PATIENCE: Final = 28


class Pace:
    """At most `per_minute` requests in any 60 s window, evenly spaced, and none during a cool-down.

    aiolimiter lets a full bucket through at once and refills it meanwhile: ``AsyncLimiter(20, 1)`` passed 39 requests
    in its first second (measured 2026-11-22). A bucket of one with the spacing as its period has no burst: requests
    are at least 60/rate seconds apart. The spacing is 1 % longer than that, so that jitter of up to 0.6 s on the way
    to the service cannot push a window over the limit; 98.6 to 99 % of the rate is usable.

    A bucket of one forgets lateness: with timers 3 ms late only 92 % of 3,000 a minute left (simulated, 2026-11-22).
    From 300 a minute on, where one more is within the margin, it holds two; from 9,000 a minute on what 20 ms allow,
    for timers are no finer, and waking for each request would cost more than sending it.
    """

    def __init__(self, per_minute: int, clock: Clock) -> None:
        burst = max(2 if per_minute >= _BUSY else 1, int(per_minute / _MINUTE * _GRAIN_S))
        spacing = _MINUTE * _MARGIN / (per_minute - burst + 1)  # a window may begin with a full bucket
        self._bucket = AsyncLimiter(burst, burst * spacing)
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
    """How many requests may be in flight, learned from refusals for lack of capacity (3040). Pure.

    Outcomes are judged in windows of at least `bound` of them: at least 20 without a refusal, 100 with some, or as soon
    as refusals are a flood:

    - A flood, more than a third refused: refusals come back at once and make room for the next to be refused, so the
      least that was in flight at one tells how many are too many. The bound falls below it, by half at most.
    - More than 10 % refused: the bound falls by a tenth. Fewer are somebody else's load, and do not slow the run down.
    - Fewer, with the bound in use: it rises, doubling at first, later by 1, and by 2, 4 … where nobody refuses. A level
      that proved too high is tried again after 28 such windows.

    Attributes:
        ceiling: The job's `limits.concurrency`.
        bound: How many may be in flight now.
        era: Grows when the bound falls: what left in an earlier one says nothing of the new bound.
    """

    ceiling: int
    bound: int = 0
    era: int = 0
    _step: int = 0  # 0: double
    _too_high: int | None = None
    _clean_windows: int = 0
    _answered: int = 0
    _refused: int = 0
    _least_refused: int = 0
    _good: int = 0  # where nobody was refused
    _was_full: bool = False

    def __post_init__(self) -> None:
        self.bound = min(self.ceiling, 16)

    def answered(self, in_flight: int, era: int) -> None:
        """Count an outcome that was not a refusal for lack of capacity."""
        if era == self.era:
            self._answered += 1
            self._was_full = self._was_full or in_flight >= self.bound
            self._judge()

    def refused(self, in_flight: int, era: int) -> None:
        """Count a 3040."""
        if era == self.era:
            self._refused += 1
            self._least_refused = min(self._least_refused or in_flight, in_flight)
            self._was_full = self._was_full or in_flight >= self.bound
            self._judge()

    def _judge(self) -> None:
        n = self._answered + self._refused
        is_flood = self._refused >= _FLOOD and 3 * self._refused > n
        if n < max(_WINDOW if self._refused else _CLEAN_WINDOW, self.bound) and not is_flood:
            return
        if is_flood and self._least_refused < self.bound:
            self._lower(max(self.bound // 2, self._least_refused - 1))
        elif self._refused > _SHARE * n:
            self._lower(int(self.bound * 0.9))
        else:
            self._clean_windows += 1
            if self._was_full:
                self._good = self._good if self._refused else self.bound
                self._raise()
        self._answered = self._refused = self._least_refused = 0
        self._was_full = False

    def _lower(self, target: int) -> None:
        self._too_high = min(self.bound, self._good + 1) if self._good else self.bound
        self.bound = max(1, min(self.bound - 1, target))
        self._good = min(self._good, self.bound)
        self.era += 1
        self._step = 1
        self._clean_windows = 0

    def _raise(self) -> None:
        target = min(self.ceiling, self.bound + (self._step or self.bound))
        if self._too_high is not None and target >= self._too_high:
            if self._clean_windows < _PATIENCE:
                return
            self._too_high = None
            self._step = 1
            target = min(self.ceiling, self.bound + 1)
        self._step = min(1, self._step) if self._refused else 2 * self._step
        self.bound = target


class Gate:
    """Slots for requests, first come first served: so many in flight, and so many unsecured.

    In flight is what the service works on; an `AdaptiveBound` bounds it. Unsecured is what has left and is not in the
    journal yet, in flight or answered; the bound's ceiling bounds it, for a killed process pays for that again.
    """

    def __init__(self, bound: AdaptiveBound) -> None:
        self._bound = bound
        self._waiters: deque[asyncio.Future[None]] = deque()
        self.in_flight = 0
        self.unsecured = 0

    def __repr__(self) -> str:
        return (
            f"<Gate {self.in_flight}/{self._bound.bound} in flight, {self.unsecured}/{self._bound.ceiling} unsecured, "
            f"{len(self._waiters)} waiting>"
        )

    def slot(self) -> Slot:
        """A slot to be held with ``async with``. Safe to cancel at any point."""
        return Slot(self)

    async def enter(self) -> None:
        """Wait for a slot and take it."""
        if self._is_open() and not self._waiters:
            self._take()
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the slot was already handed over: pass it on
                self.leave(landed=False)
            raise

    def answered(self, era: int) -> None:
        """Take note that an attempt ended in anything but a lack of capacity."""
        self._bound.answered(self.in_flight, era)
        self._land()

    def refused(self, era: int) -> None:
        """Take note that an attempt was refused for lack of capacity (3040)."""
        self._bound.refused(self.in_flight, era)
        self._land()

    def leave(self, *, landed: bool) -> None:
        """What came of it is safe, or nothing came of it."""
        self.in_flight -= not landed
        self.unsecured -= 1
        self._wake()

    @property
    def is_full(self) -> bool:
        """Whether the next one has to wait."""
        return bool(self._waiters) or not self._is_open()

    @property
    def era(self) -> int:
        """As in `AdaptiveBound`."""
        return self._bound.era

    def _land(self) -> None:
        self.in_flight -= 1
        self._wake()

    def _is_open(self) -> bool:
        return self.in_flight < self._bound.bound and self.unsecured < self._bound.ceiling

    def _take(self) -> None:
        self.in_flight += 1
        self.unsecured += 1

    def _wake(self) -> None:
        while self._waiters and self._is_open():
            turn = self._waiters.popleft()
            if not turn.done():
                self._take()
                turn.set_result(None)


class Slot:
    """One request's place at a `Gate`. Told once how the attempt ended; left without, nothing was sent."""

    __slots__ = ("_era", "_gate", "_has_landed")

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._era = 0
        self._has_landed = False

    async def __aenter__(self) -> Self:
        await self._gate.enter()
        self._era = self._gate.era
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._gate.leave(landed=self._has_landed)

    def answered(self) -> None:
        """The attempt has ended, in anything but a lack of capacity."""
        self._has_landed = True
        self._gate.answered(self._era)

    def refused(self) -> None:
        """The attempt was refused for lack of capacity."""
        self._has_landed = True
        self._gate.refused(self._era)

"""Time that jumps: an event loop whose clock moves to the next timer instead of waiting for it.

Anything that only waits on the loop (asyncio.sleep, asyncio.timeout, aiolimiter) then runs a simulated hour in
milliseconds. Not for sockets or threads, which wait on the real world.
"""

import asyncio
import selectors
from datetime import UTC, datetime, timedelta


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self):
        super().__init__()
        self.offset = 0.0

    def select(self, timeout=None):
        ready = super().select(0)
        if not ready and timeout != 0:
            self.offset += timeout or 0.0
        self.offset += 1e-7  # a turn of the loop takes time; waits too short to add up would spin for ever otherwise
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop that never waits for timers."""

    def __init__(self):
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self):
        return self._jumping.offset


class LoopClock:
    """A `Clock` on the running loop: wall time begins at `start` and moves with the loop."""

    def __init__(self, start=datetime(2026, 11, 22, 10, 0, tzinfo=UTC)):
        self.start = start

    def monotonic(self):
        return asyncio.get_running_loop().time()

    def now(self):
        return self.start + timedelta(seconds=self.monotonic())

    async def sleep(self, seconds):
        await asyncio.sleep(seconds)


def run_virtual(coroutine):
    """Run a coroutine on a `VirtualLoop` and return its result."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(coroutine)

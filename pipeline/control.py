"""What goes into a run from outside (options, a wish to end it) and what it shows of itself while it goes on."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from datetime import datetime

from pipeline.engine import Engine
from pipeline.events import Counters, StopReason
from pipeline.interfaces import BudgetState


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line adds to a spec.

    Attributes:
        rehearse: Run against the emulator, into ``<output>.rehearsal``.
        retry_failed: Send failed records again.
        replace_changed: Answer records again whose text changed since, and drop their old rows.
        force_new: Move an existing output aside and begin anew.
        emulator_args: Further arguments for the embedded emulator.
    """

    rehearse: bool = False
    retry_failed: bool = False
    replace_changed: bool = False
    force_new: bool = False
    emulator_args: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a progress display shows, twice a second."""

    phase: str
    total: int
    done: int
    failed: int
    counters: Counters
    budget: BudgetState | None
    expected_left: float
    resumes_at: datetime | None = None
    stops_at: datetime | None = None


@dataclass(slots=True)
class Control:
    """Ends a run from outside: a signal handler calls `stop`, then `kill`.

    The first `stop` lets what is in flight finish for ``limits.grace_seconds``, which is no time before the first pass;
    the second, or `kill`, drops it.
    """

    reason: StopReason | None = None
    is_killed: bool = False
    _engine: Engine | None = None
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _grace_s: float = 0.0

    def stop(self, reason: StopReason = StopReason.INTERRUPTED) -> None:
        """Ask the run to end; twice to end it at once. From the event loop's thread."""
        if self.reason is not None:
            self.kill()
            return
        self.reason = reason
        self._wake.set()
        if self._engine is not None:
            self._engine.stop(reason)
        asyncio.get_running_loop().call_later(self._grace_s, self.kill)

    @property
    def is_sending(self) -> bool:
        """Whether there is a pass to stop, now or before."""
        return self._engine is not None

    def kill(self) -> None:
        """Drop what is in flight; what has arrived is committed. Without a `stop` before, an interruption."""
        self.is_killed = True
        self.reason = self.reason or StopReason.INTERRUPTED
        self._wake.set()
        if self._engine is not None:
            self._engine.kill()

    def attach(self, engine: Engine, grace_s: float) -> None:
        """Tell which engine to stop."""
        self._engine, self._grace_s = engine, grace_s
        if self.reason is not None:
            engine.stop(self.reason)

    async def sleep(self, seconds: float) -> bool:
        """Wait; return whether the run was asked to end meanwhile."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        return self.reason is not None

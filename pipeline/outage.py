"""What a run does while a server only fails: one request at a time, with pauses, and an end to it.

A fault may be charged for, so a server that is down must not be asked by everyone who waits; and what fails then says
nothing of the records. A record that breaks a server is told from a server that is down by what others are answered.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

from pipeline.clock import Clock

SUSPECT: Final = 8
"""Faults in a row after which the server counts as down. Half as many as are in flight at first."""

GIVE_UP: Final = 50
"""Of these together with the requests that have then been tried one by one, the last."""

_FIRST_PAUSE_S: Final = 0.5
_UNPROVEN_PAUSE_S: Final = 2.0


@dataclass(slots=True, eq=False)
class Outage:
    """How one endpoint has answered of late. What is an answer, a refusal included, is for the caller to say.

    Attributes:
        clock: Time.
        max_pause_s: The longest pause between two requests, seconds (``retry.max_delay_seconds``). An endpoint that has
            never answered gets 2 s at most: whoever has just started the job wants to know.
    """

    clock: Clock
    max_pause_s: float
    _faults: int = 0
    _tried: int = 0
    _has_answered: bool = False
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def is_on(self) -> bool:
        """Whether the server counts as down: every request goes through `probe`, and no fault says more than that."""
        return self._faults >= SUSPECT

    @property
    def is_over(self) -> bool:
        """Whether it has been tried long enough."""
        return self.is_on and SUSPECT + self._tried >= GIVE_UP

    def answered(self) -> None:
        """The server works."""
        self._has_answered = True
        self._faults = self._tried = 0

    def faulted(self, *, probed: bool) -> bool:
        """The server has failed; return whether it counts as down from now on.

        Args:
            probed: The request went through `probe`; others were in flight already.
        """
        self._faults += 1
        self._tried += probed
        return self._faults == SUSPECT

    @contextlib.asynccontextmanager
    async def probe(self) -> AsyncIterator[bool]:
        """Wait for one's turn and a pause, and keep the turn; neither once the server has answered. Safe to cancel.

        Yields whether it counts as down still.
        """
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self._turn)
            if is_on := self.is_on:
                await self.clock.sleep(self._pause_s())
            else:
                await stack.aclose()
            yield is_on

    def _pause_s(self) -> float:
        most = self.max_pause_s if self._has_answered else min(self.max_pause_s, _UNPROVEN_PAUSE_S)
        return min(most, _FIRST_PAUSE_S * 2.0 ** min(self._tried, 30))

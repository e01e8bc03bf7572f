"""Clocks for tests that own the time."""

import asyncio
import time
from datetime import UTC, datetime, timedelta


class FakeClock:
    """Time that moves only when told, or when somebody sleeps."""

    def __init__(self) -> None:
        self.at = datetime(2026, 11, 22, 12, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)
        await asyncio.sleep(0)


class NoonClock:
    """Real time on a day that does not end while a test runs, the same for all processes of the machine."""

    def now(self) -> datetime:
        return datetime(2026, 11, 22, 12, tzinfo=UTC) + timedelta(seconds=time.monotonic() % 3600)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

"""Keeps a session's lease in step with the book: opens, extends, trims, follows the day, closes.

What is in memory is never more generous than what is on disk: a grant counts once it is written, a trim before it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, time, timedelta

from pipeline.budget.book import Extension, Holder, Limits, Progress, View
from pipeline.budget.lease import Hold, Lease
from pipeline.budget.ledger import Ledger
from pipeline.budget.slate import Slate
from pipeline.clock import Clock
from pipeline.threads import in_thread

# Below this part of the day the lease is cut to what is in use, so that others find it.
_SCARCE_DIVISOR = 10
_NEVER = datetime.min.replace(tzinfo=UTC)


class LeaseKeeper:
    """The lease of one session, and the reservations made on it. Belongs to one event loop.

    Args:
        ledger: The book.
        clock: Decides the day.
        holder: Whom the lease belongs to.
        limits: What may be spent.

    Attributes:
        lease: The lease of the current day.
        left: Leases of days gone by, with requests still in flight.
        holds: Reservations neither settled nor released.
        view: The book as of the last transaction, the opening one being the first.
        since, until: The lease is good while since <= now < until; a clock set back by less than a day stays on its
            day.
        gate: Above 0 while the day changes; nothing may be taken then.
        waiting: How many wait for neurons.
        wanted: Units they wait for, together; nothing that is needed for them may be taken past them.
        is_open: Between `open` and the beginning of `close`.
    """

    def __init__(self, ledger: Ledger, clock: Clock, holder: Holder, limits: Limits) -> None:
        self.limits = limits
        self.lease = Lease()
        self.left: list[Lease] = []
        self.holds: set[Hold] = set()
        self.view: View
        self.since = self.until = _NEVER
        self.gate = 0
        self.waiting = 0
        self.wanted = 0
        self.is_open = False
        self._ledger = ledger
        self._clock = clock
        self._holder = holder
        self._io = asyncio.Lock()  # one at a time talks to the book; never held while waiting for neurons
        self._is_closed = False

    def take(self, asked: float, neurons: float, units: int) -> Hold:
        """Reserve what the lease covers; the caller has looked."""
        lease = self.lease
        lease.reserved += units
        lease.outstanding += 1
        hold = Hold(asked, neurons, units, lease)
        self.holds.add(hold)
        return hold

    async def open(self) -> None:
        """Open the lease of the accounting day."""
        if self.lease.row:
            raise RuntimeError("a budget session is entered once")
        await in_thread(self._ledger.sweep)
        self.is_open = True
        try:
            await self.change_day()
        except BaseException:
            self.is_open = False
            raise

    async def extend(self, *, need: int, want: int) -> Extension | None:
        """Lease `need` units more in one piece if there is room; None if the session is closed."""
        return await self._talk(
            lambda lease, also: self._ledger.extend(lease, need=need, want=want, limits=self.limits, also=also),
            self._yield,
        )

    async def heartbeat(self) -> None:
        """Write progress, give back what others may need, follow the day."""
        extension = await self._talk(
            lambda lease, also: self._ledger.heartbeat(lease, limits=self.limits, also=also), self._trim
        )
        if extension is not None and extension.view.day != self.lease.day:
            await self.change_day()

    async def close(self) -> None:
        """Close all leases; what is still reserved counts as spent. Idempotent."""
        self.is_open = False
        if self.holds or self.lease.late:
            await self.change_day()
        async with self._io:
            if self.lease.row and not self._is_closed:
                own = (self.lease, *self.left)
                leases = [lease.progress(done=True) for lease in own]
                self.holds.clear()

                def take_over(_: None) -> None:
                    self._is_closed = True
                    _drop_slates(own)

                await in_thread(lambda: self._ledger.close(leases), take_over)

    async def _talk(
        self, ask: Callable[[Progress, list[Progress]], Extension], give_back: Callable[[], None]
    ) -> Extension | None:
        """Run one transaction on the current lease and take over what it says; None if the session is closed.

        What is given back is given back in memory first: never is more used than the book has granted.
        """
        async with self._io:
            if not self.is_open:
                return None
            lease = self.lease
            give_back()
            for left in self.left:
                left.granted = left.settled + left.reserved
            ended = [left for left in self.left if not left.outstanding]
            progress = lease.progress()
            also = [left.progress(done=not left.outstanding) for left in self.left]

            def take_over(extension: Extension) -> None:
                lease.granted = extension.granted
                lease.ratio = max(lease.ratio, extension.view.ratio)
                self.view = extension.view
                self.left = [left for left in self.left if left not in ended]
                _drop_slates(ended)

            return await in_thread(lambda: ask(progress, also), take_over)

    def _yield(self) -> None:
        """Hold nothing while waiting for others, so that two sessions cannot both hold what the other lacks.

        Where own requests in flight will free more, what there is is kept.
        """
        if not self.holds:
            self.lease.granted = self.lease.settled

    def _trim(self) -> None:
        """Cut the lease to what is in use where others may need the rest."""
        lease = self.lease
        if self.view.room < self.limits.day // _SCARCE_DIVISOR:
            lease.granted = min(lease.granted, lease.settled + lease.reserved)
        elif self.view.live > 1:
            lease.granted = min(lease.granted, lease.settled + 2 * lease.reserved)

    def is_past_day(self) -> bool:
        """Tell whether the clock has left the lease's day."""
        return not self.since <= self._clock.now() < self.until

    async def change_day(self) -> None:
        """Open a lease on the accounting day and cover there, too, what is in flight."""
        self.gate += 1
        try:
            async with self._io:
                if not self._is_closed:
                    await self._open_lease()
        finally:
            self.gate -= 1

    async def _open_lease(self) -> None:
        old, new = self.lease, Lease()
        # In memory first: what is settled while the book is being written lands on both days.
        new.settled = new.carried = owed = old.late
        new.outstanding = len(self.holds)
        for hold in self.holds:
            hold.leases.append(new)
            new.reserved += hold.units
            new.sent += hold.sent
        opening = new.progress()
        leaving = [left.row for left in (*self.left, old) if left.row]

        def work() -> tuple[int, date, Slate, Extension] | None:
            day = self._ledger.day(self._holder.account)
            if day == old.day:
                return None
            row = self._ledger.open_lease(
                self._holder, day, settled=opening.settled, reserved=opening.reserved, leaving=leaving
            )
            seen = self._ledger.look(row, limits=self.limits, own=leaving)
            return row, day, self._ledger.slate(row), seen

        def take_over(opened: tuple[int, date, Slate, Extension] | None) -> None:
            if opened is None:  # another task has changed the day meanwhile, or it never ended
                undo()
                old.late = owed
                return
            new.row, new.day, new.slate, extension = opened
            new.note()
            new.granted, new.ratio = extension.granted, extension.view.ratio
            self.view = extension.view
            self.left = [*self.left, old] if old.row else []
            self.lease, old.late = new, 0
            old.note()
            midnight = datetime.combine(new.day, time(), tzinfo=UTC)
            self.since, self.until = midnight - timedelta(days=1), midnight + timedelta(days=1)

        def undo() -> None:
            for hold in self.holds:
                hold.leases.remove(new)
            old.late = new.settled

        await in_thread(work, take_over, undo)


def _drop_slates(closed: Iterable[Lease]) -> None:
    """Remove the slates of leases that the book has closed."""
    for lease in closed:
        if lease.slate is not None:
            lease.slate.remove()

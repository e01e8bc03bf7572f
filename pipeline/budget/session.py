"""One run's side of the ledger: reserve, settle, release in memory, under a lease that is on disk.

Takes the ceiling of a request and hands out a reservation; nothing is reserved beyond the lease, and the lease is in
the book before anything is sent on it. The path that the lease covers touches neither disk nor thread.
All methods belong to one event loop. Decision: docs/adr/0003-budget-ledger.md.
"""

from __future__ import annotations

import asyncio
import math
from types import TracebackType
from typing import Self

from pipeline.budget.book import Holder, Limits
from pipeline.budget.keeper import LeaseKeeper
from pipeline.budget.lease import Hold
from pipeline.budget.ledger import Ledger
from pipeline.budget.units import allowance_units, cost_units, to_neurons
from pipeline.clock import Clock
from pipeline.errors import BudgetExhausted
from pipeline.interfaces import BudgetState, Reservation

# First and longest pause between two looks at what other runs gave back; they write about once a second.
_POLL_S = (0.25, 1.0)
_NOT_OPEN = "a reservation is settled or released once, by the open session that made it"


class BudgetSession:
    """The budget of one run; implements `interfaces.Budget`. Use as ``async with``, once.

    Args:
        ledger: The book.
        account: Whose allowance it is.
        job_id: The job, the same on every resume; `neurons_total` is counted by it.
        job_name: The job as people call it.
        model: The model the neurons go to.
        neurons_per_day: Allowance of the account per UTC day.
        neurons_total: Allowance of the job over all days; None for no limit.
        clock: Decides the day, and how long to pause.
        reserve_for_others: Neurons of the day this run leaves to others.

    Raises:
        ValueError: A limit is negative, infinite or not a number.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        account: str,
        job_id: str,
        job_name: str,
        model: str,
        neurons_per_day: float,
        neurons_total: float | None = None,
        clock: Clock,
        reserve_for_others: float = 0.0,
    ) -> None:
        self._clock = clock
        self._keeper = LeaseKeeper(
            ledger,
            clock,
            Holder(account=account, job_id=job_id, job_name=job_name, model=model),
            Limits(
                day=max(0, allowance_units(neurons_per_day) - cost_units(reserve_for_others)),
                total=None if neurons_total is None else allowance_units(neurons_total),
            ),
        )
        self._turn = asyncio.Lock()  # one at a time waits for neurons; asyncio.Lock serves in order
        self._freed = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self._keeper.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def reserve(self, neurons: float) -> Hold:
        """Set aside the ceiling of one attempt before it leaves.

        Waits in order of arrival while own requests in flight, or other live runs, may free enough. Cancelled at any
        point it leaves no reservation.

        Args:
            neurons: The most the attempt can cost by the price table, >= 0. More is set aside where prices have proven
                too low today; see `learn`.

        Returns:
            A reservation to be settled or released exactly once.

        Raises:
            BudgetExhausted: It does not fit and nothing in flight will change that; its `room` is what can be reserved
                now in one piece, by the price table. Ask for that, or for the smallest request left, before giving up
                the day.
            LedgerError: The book cannot be written. Nothing is reserved.
            RuntimeError: The session is not open.
            ValueError: `neurons` is negative, infinite or not a number.
        """
        keeper = self._keeper
        lease = keeper.lease
        units = cost_units(neurons * lease.ratio)
        if (
            not keeper.gate
            and lease.granted - lease.settled - lease.reserved - keeper.wanted >= units
            and keeper.since <= self._clock.now() < keeper.until
            and keeper.is_open
        ):
            return keeper.take(neurons, neurons * lease.ratio, units)
        keeper.waiting += 1
        keeper.wanted += units
        try:
            async with self._turn:
                return await self._reserve_in_turn(neurons)
        finally:
            keeper.waiting -= 1
            keeper.wanted -= units

    def mark_sent(self, reservation: Reservation, *, presumed: float) -> None:
        """Note that the attempt leaves now: if this process dies before it settles, it counts as spent.

        Args:
            reservation: An open one.
            presumed: What it then counts for, at most its ceiling; one that never left counts for nothing.

        Raises:
            LedgerError: That cannot be noted; it must not leave.
            RuntimeError: As for `settle`.
            ValueError: `presumed` is negative, infinite or not a number.
        """
        if not isinstance(reservation, Hold) or reservation not in self._keeper.holds:
            raise RuntimeError(_NOT_OPEN)
        reservation.send(cost_units(presumed * self._keeper.lease.ratio))

    def learn(self, ratio: float) -> None:
        """Take note that the service charged `ratio` times an attempt's ceiling by the price table.

        For the rest of the day every reservation for this model, in this run and in others, is made as much larger,
        those that are open included. The day after begins with the price table again.
        """
        lease = self._keeper.lease
        if not 1.0 < ratio < math.inf:
            return
        lease.ratio = max(lease.ratio, ratio)
        for hold in self._keeper.holds:
            if hold.neurons < hold.asked * lease.ratio:
                hold.raise_to(hold.asked * lease.ratio, cost_units(hold.asked * lease.ratio))

    def settle(self, reservation: Reservation, neurons: float) -> None:
        """Replace a reservation by the true charge, which may exceed it: the book records the truth.

        In memory; on disk with the next heartbeat, and covered by the lease until then.

        Raises:
            RuntimeError: Settled or released before, or made by another session, or the session is closed.
            ValueError: `neurons` is negative, infinite or not a number; the reservation stays as it is.
        """
        charge = cost_units(neurons)
        hold = self._redeem(reservation)
        keeper = self._keeper
        if self._clock.now() >= keeper.until:
            keeper.lease.late += charge
        first = hold.leases[0]
        first.requests += 1
        for lease in hold.leases:
            lease.settled += charge
            if lease is not first:
                lease.carried += charge
            lease.note()

    def release(self, reservation: Reservation) -> None:
        """Give a reservation back: nothing was charged.

        Raises:
            RuntimeError: As for `settle`.
        """
        self._redeem(reservation)

    def state(self) -> BudgetState:
        """Return the book: own figures of this moment, those of others as of the last heartbeat or extension."""
        keeper = self._keeper
        view, own = keeper.view, [keeper.lease, *keeper.left]
        # A clock that came back from a day far ahead can leave two own leases on one day.
        today = [lease for lease in own if lease.day == keeper.lease.day]
        settled = sum(lease.settled for lease in today)
        return BudgetState(
            day=keeper.lease.day.isoformat(),
            budget=to_neurons(keeper.limits.day),
            spent=to_neurons(view.others_spent + settled),
            reserved=to_neurons(view.others_reserved + sum(lease.reserved for lease in today)),
            job_total=to_neurons(view.job_total + sum(lease.settled - lease.carried for lease in own)),
        )

    async def heartbeat(self) -> None:
        """Write what was settled, follow the day, give back what others may need. Call it about once a second.

        Raises:
            LedgerError: The book cannot be written.
        """
        await self._keeper.heartbeat()
        self._freed.set()

    async def close(self) -> None:
        """Close the lease: what was never used comes back, what is still reserved counts as spent. Idempotent.

        Raises:
            LedgerError: The book cannot be written; the whole grant then counts as spent once the process ends.
        """
        self._freed.set()  # whoever waits finds it closed
        await self._keeper.close()

    def _redeem(self, reservation: Reservation) -> Hold:
        keeper = self._keeper
        if not isinstance(reservation, Hold) or reservation not in keeper.holds:
            raise RuntimeError(_NOT_OPEN)
        keeper.holds.remove(reservation)
        for lease in reservation.leases:
            lease.reserved -= reservation.units
            lease.sent -= reservation.sent
            lease.outstanding -= 1
        if keeper.waiting:
            self._freed.set()
        return reservation

    async def _reserve_in_turn(self, neurons: float) -> Hold:
        pause_s, longest_s = _POLL_S
        keeper = self._keeper
        while keeper.is_open:
            if keeper.is_past_day():
                await keeper.change_day()
            ratio = keeper.lease.ratio  # may have grown meanwhile, and begins anew with the day
            units = cost_units(neurons * ratio)
            has_room = keeper.lease.free >= units or not units  # what is free of charge needs no grant
            if has_room and not keeper.gate:  # else the book is asked, once the day has changed
                return keeper.take(neurons, neurons * ratio, units)
            self._freed.clear()
            extension = await keeper.extend(need=units, want=units)
            if extension is None:
                continue
            if extension.view.day != keeper.lease.day:
                await keeper.change_day()
            elif extension.fits:
                continue
            elif keeper.holds:
                # No wake-up is lost: whatever was freed since `clear` has set the event.
                await self._freed.wait()
            elif self._freed.is_set():
                continue
            elif extension.may_fit:
                await self._clock.sleep(pause_s)
                pause_s = min(longest_s, 2 * pause_s)
            else:
                room = max(0, keeper.lease.free + extension.view.room)
                raise BudgetExhausted(room=to_neurons(room) / ratio, asked=neurons)
        raise RuntimeError("the budget session is not open")

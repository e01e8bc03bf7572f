"""A lease and its reservations in memory."""

from __future__ import annotations

from datetime import date

from pipeline.budget.book import Progress
from pipeline.budget.slate import Slate
from pipeline.errors import LedgerError


class Lease:
    """A lease as its owner knows it. Units; ``settled + reserved <= granted`` but for charges above their ceiling.

    Attributes:
        row: Row id in the book; 0 before it has one.
        day: The UTC day it is booked on.
        outstanding: Reservations that are neither settled nor released.
        granted, settled, reserved, requests, carried, ratio: As in `book.Progress`.
        late: Part of `settled` that was charged after midnight, before there was a lease of the new day; owed to it.
        sent: Part of `reserved` that has left, at what it counts for if nobody hears of it again.
        slate: Where `settled` and `sent` survive the process; None before the lease has a row.
    """

    __slots__ = (
        "carried",
        "day",
        "granted",
        "late",
        "outstanding",
        "ratio",
        "requests",
        "reserved",
        "row",
        "sent",
        "settled",
        "slate",
    )

    def __init__(self) -> None:
        self.row = 0
        self.day = date.min
        self.granted = self.settled = self.reserved = self.carried = self.sent = self.late = 0
        self.requests = self.outstanding = 0
        self.ratio = 1.0
        self.slate: Slate | None = None

    @property
    def free(self) -> int:
        """What can be reserved without asking the book; negative after a charge above its ceiling."""
        return self.granted - self.settled - self.reserved

    def note(self) -> None:
        """Put the figures of this moment where SIGKILL cannot take them.

        What is owed to the new day stands as sent: so it counts there too, should nobody live to book it.
        """
        if self.slate is not None:
            self.slate.write(self.settled - self.late, self.sent + self.late, self.carried, self.requests)

    def progress(self, *, done: bool = False) -> Progress:
        """Return the figures of this moment."""
        return Progress(
            lease=self.row,
            granted=self.granted,
            settled=self.settled,
            reserved=self.reserved,
            requests=self.requests,
            carried=self.carried,
            ratio=self.ratio,
            done=done,
        )


class Hold:
    """A reservation. Settled or released exactly once, by the session that made it.

    Attributes:
        asked: The ceiling that was asked for, by the price table.
        neurons: The ceiling that is set aside: more where the price table has proven too low.
        units: The same in units.
        sent: What it counts for if nobody hears of it again, in units; 0 as long as it has not left.
        leases: Where it is set aside: more than one once a midnight has passed, because the charge may land on
            either day.
    """

    __slots__ = ("asked", "leases", "neurons", "sent", "units")

    def __init__(self, asked: float, neurons: float, units: int, lease: Lease) -> None:
        self.asked = asked
        self.neurons = neurons
        self.units = units
        self.sent = 0
        self.leases = [lease]

    def send(self, units: int) -> None:
        """Note that it leaves now, before it does.

        Raises:
            LedgerError: Whoever found this process dead would believe that it never left.
        """
        self.sent = min(units, self.units)
        for lease in self.leases:
            lease.sent += self.sent
            lease.note()
            if lease.slate is not None and lease.slate.is_outdated:
                raise LedgerError(
                    "what leaves can be written neither to the budget ledger nor beside it: the disk of the state "
                    "folder (WAI_STATE_DIR) fails, or cannot be written any more"
                )

    def raise_to(self, neurons: float, units: int) -> None:
        """Set more aside: prices have proven higher."""
        more = units - self.units
        for lease in self.leases:
            lease.reserved += more
            if self.sent:
                lease.sent += more
                lease.note()
        self.sent += more if self.sent else 0
        self.neurons, self.units = neurons, units

"""A lease and its reservations in memory."""

from __future__ import annotations

from datetime import date

from pipeline.budget.book import Progress


class Lease:
    """A lease as its owner knows it. Units; ``settled + reserved <= granted`` but for charges above their ceiling.

    Attributes:
        row: Row id in the book; 0 before it has one.
        day: The UTC day it is booked on.
        outstanding: Reservations that are neither settled nor released.
        granted, settled, reserved, requests, carried: As in `book.Progress`.
    """

    __slots__ = ("carried", "day", "granted", "outstanding", "requests", "reserved", "row", "settled")

    def __init__(self) -> None:
        self.row = 0
        self.day = date.min
        self.granted = self.settled = self.reserved = self.carried = 0
        self.requests = self.outstanding = 0

    @property
    def free(self) -> int:
        """What can be reserved without asking the book; negative after a charge above its ceiling."""
        return self.granted - self.settled - self.reserved

    def progress(self, *, done: bool = False) -> Progress:
        """Return the figures of this moment."""
        return Progress(
            lease=self.row,
            granted=self.granted,
            settled=self.settled,
            reserved=self.reserved,
            requests=self.requests,
            carried=self.carried,
            done=done,
        )


class Hold:
    """A reservation. Settled or released exactly once, by the session that made it.

    Attributes:
        neurons: The ceiling that was asked for.
        units: The same in units.
        leases: Where it is set aside: more than one once a midnight has passed, because the charge may land on
            either day.
    """

    __slots__ = ("leases", "neurons", "units")

    def __init__(self, neurons: float, units: int, lease: Lease) -> None:
        self.neurons = neurons
        self.units = units
        self.leases = [lease]

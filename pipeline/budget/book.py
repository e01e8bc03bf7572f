"""What ledger and session say to each other, and what the ledger tells the rest. Values only.

Amounts inside the room are `int` units (see `units`); amounts in `ReportRow` and `Totals` are neurons.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Final

ELSEWHERE: Final = "elsewhere"
"""Job id of what the account spent outside this book, by Cloudflare's analytics."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Whom a lease belongs to."""

    account: str
    job_id: str
    job_name: str
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far one lease has come, as its owner knows it. Units.

    Attributes:
        lease: Row id.
        granted: Leased in all; the ledger may lower its figure to this, never raise it without room.
        settled: Charged so far.
        reserved: Set aside for requests in flight.
        requests: Settled requests.
        carried: Part of `settled` that the lease of an earlier day holds as well (in flight at midnight).
        ratio: The largest charge against its ceiling that was seen of the model on the day; 1 where prices hold.
        done: Close the lease; what is still reserved then counts as spent.
    """

    lease: int
    granted: int = 0
    settled: int = 0
    reserved: int = 0
    requests: int = 0
    carried: int = 0
    ratio: float = 1.0
    done: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What may be spent. Units.

    Attributes:
        day: By the account on one UTC day.
        total: By the job over all days; None for no limit.
    """

    day: int
    total: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What one lease saw of the book in its last transaction. Units; "others" are all leases but its session's own.

    Attributes:
        day: The accounting day, which may have moved on from the lease's.
        room: What nobody has leased yet, within both limits, >= 0.
        live: Open leases of live processes on the account and day, this one included.
        others_spent: Charged today by others; what dead ones left open included.
        others_reserved: Set aside today by live others.
        job_total: Charged on all days by other leases of the job.
        ratio: The largest charge against its ceiling that any run has seen of the lease's model on its day; 1 where
            prices hold.
    """

    day: date
    room: int
    live: int
    others_spent: int
    others_reserved: int
    job_total: int
    ratio: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    """Answer to a lease that asked for more. Units.

    Attributes:
        granted: Leased in all from now on.
        fits: What was needed is covered.
        may_fit: It does not fit now, but would if the living gave back all they have not spent.
        view: The book after the transaction.
    """

    granted: int
    fits: bool
    may_fit: bool
    view: View


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRow:
    """One line of `wai budget`: an account, a UTC day, a job and a model. Neurons.

    Attributes:
        settled: Charged.
        reserved: Set aside by live runs for requests in flight, as of their last heartbeat.
        leased: Held by live runs beyond that; comes back when they do not need it.
        assumed: Left open by runs that ended without settling; counts as spent.
        requests: Settled requests.
    """

    account: str
    day: date
    job_id: str
    job_name: str
    model: str
    settled: float
    reserved: float
    leased: float
    assumed: float
    requests: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciled:
    """The book beside what Cloudflare says the account used on a day. Neurons.

    Attributes:
        ours: What the book counts for the account's runs, live reservations included.
        theirs: What the service says.
        elsewhere: What counts as spent by others from now on: the most by which they were ever ahead on this day.
    """

    ours: float
    theirs: float
    elsewhere: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """One account on one UTC day, all jobs together. Neurons; fields as in `ReportRow`."""

    settled: float
    reserved: float
    leased: float
    assumed: float
    requests: int

    @property
    def spent(self) -> float:
        """Charged, and what has to be taken for charged."""
        return self.settled + self.assumed

    @property
    def booked(self) -> float:
        """Everything that is not free to be leased."""
        return self.settled + self.assumed + self.reserved + self.leased

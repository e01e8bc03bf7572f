"""What the engine asks of the rooms around it. Small, owned by the one who calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pipeline.errors import AttemptError
from pipeline.records import (
    Answer,
    BrokenRecord,
    Column,
    Cost,
    Failure,
    File,
    Outline,
    Payload,
    Piece,
    Record,
    Request,
    Row,
    Usage,
)
from pipeline.wire import HttpRequest, HttpResponse


class Source(Protocol):
    """Yields records in a stable order; can be read any number of times."""

    def read(self, wanted: Callable[[int], bool] | None = None) -> Iterator[Record | BrokenRecord]:
        """Start at the first record. Constant memory.

        Args:
            wanted: Whether the record with this ordinal is asked for; the others are passed over. None for all.

        Raises:
            SourceError: A file is missing, unreadable or not of its format as a whole.
        """
        ...

    def files(self) -> Sequence[str]:
        """The files that will be read, in order, as shown to the user."""
        ...


class TaskAdapter(Protocol):
    """Turns records into payloads and answers into rows. Pure, but for media files it reads; one module per task.

    Attributes:
        columns: Of a result row, in order.
        max_pieces: Pieces that may travel in one request.
        max_request_bytes: Sum of their sizes.
        is_heavy: Payloads take a while to build (files are read and encoded): done in a thread.
        keeps_pieces: Values of pieces hold only what JSON can, and every piece, of later stages too, has a payload
            key of its own: they outlive a crash.
        shares_pieces: Equal pieces have equal answers, across records and runs: each is sent once.
        also_read: Digest of what it has read beside the job spec (a glossary); what is sent depends on it.
        rows_hold_input: `rows` say themselves, as column `input`, what was sent for each of them.
    """

    columns: Sequence[Column]
    max_pieces: int
    max_request_bytes: int
    is_heavy: bool
    keeps_pieces: bool
    shares_pieces: bool
    also_read: bytes
    rows_hold_input: bool

    def hold_to(self, columns: Sequence[Column]) -> None:
        """Take over what the columns of an existing output have settled, e.g. the length of vectors."""
        ...

    def about(self) -> Mapping[str, str]:
        """What is worth saying of all results, for the metadata of files: ``pooling`` and the like."""
        ...

    def pieces(self, record: Record) -> list[Piece]:
        """Cut a record into what is sent for it; nothing where its row needs no answer: `rows` is then given no values.

        Raises:
            RecordUnusable: The record lacks what the task needs.
        """
        ...

    def outline(self, record: Record) -> Outline:
        """The same, in sums: what `pipeline.rows.outline_of` makes of its pieces, or a bound on it (see `Outline`).

        Of a record without pieces it is all zeros but for the digest of what its row is made of.

        Raises:
            RecordUnusable: As `pieces`.
        """
        ...

    def sample(self, record: Record) -> Payload:
        """What a request for a record that has pieces looks like, to hold against the model's published schema.

        A task for which `pieces` takes long puts something in the place of the content.

        Raises:
            RecordUnusable: As `pieces`.
        """
        ...

    def hurry(self) -> None:
        """End a `pieces` that goes on in another thread soon, in any way: nobody waits for what it returns."""
        ...

    def sent(self, record: Record) -> str:
        """What is sent for a record, for people to read: its text, or the path of its file.

        Raises:
            RecordUnusable: As `pieces`.
        """
        ...

    def uses(self) -> Sequence[tuple[str, tuple[str, ...]]]:
        """The columns it needs: the key of the job spec that names one; the column, and what may stand in for it."""
        ...

    def payload(self, request: Request) -> Payload:
        """Build the model's input: only fields of its published schema.

        Raises:
            RecordUnusable: A file it needs is not what it was when the record was read.
        """
        ...

    def cost(self, request: Request) -> Cost:
        """The most neurons one attempt of `request` can cost."""
        ...

    def price(self, usage: Usage) -> float | None:
        """Neurons for counted units by the price table; None where the units are not known."""
        ...

    def input_price(self, usage: Usage, charge: float) -> float:
        """The part of `charge` that was for the input; learns how far below its bound an input really is."""
        ...

    def parse(self, request: Request, answer: Answer) -> Sequence[object]:
        """One value per piece, in the order of the request.

        Raises:
            UnreadableAnswer: The answer is not what the task knows.
            AnswerCutShort: The answer ended at `request.output_cap`, which is below what the job allows.
        """
        ...

    def placed(self, piece: Piece, value: object) -> object:
        """The value of a piece as it counts for its record; it may come from an equal piece, or from an earlier run.

        Raises:
            UnreadableAnswer: It is none; the record fails.
        """
        ...

    def instead(self, piece: Piece, error: AttemptError) -> Sequence[Piece]:
        """What is sent in place of a piece that has failed for good: halves of one that was too large, another wording.

        They take the piece's `index`, `n_pieces` and `stage`, and `part` of it with a position added. Asked of each of
        them in turn, it comes to an end: nothing, where the record has failed.
        """
        ...

    def fallback(self, piece: Piece, error: AttemptError) -> object | None:
        """A value for a piece that failed for good and has nothing `instead`: an earlier answer that it was to improve.

        None where there is none and the record fails.
        """
        ...

    def follow_up(self, record: Record, answered: Sequence[tuple[Piece, object]]) -> Sequence[Piece]:
        """What has to be sent next, seeing all values of a record's stage, in order; nothing where they are enough.

        The pieces' `stage` is one higher. Their values replace those seen here.
        """
        ...

    def rows(self, record: Record, values: Sequence[object]) -> Sequence[Mapping[str, object]]:
        """Put the values of the last stage together: one row or more, with one value per column of `columns` each.

        Raises:
            UnreadableAnswer: They make no result; the record fails.
        """
        ...

    def files(self, record: Record, values: Sequence[object]) -> Sequence[File]:
        """What is kept beside the rows."""
        ...


@dataclass(frozen=True, slots=True)
class BudgetState:
    """What the book says now, in neurons.

    Attributes:
        day: UTC day, ISO form.
        budget: Allowance of the day.
        spent: Charged today on this account, by all runs of this machine; what dead runs left open included.
        reserved: Set aside by live runs and not yet settled.
        job_total: Charged by this job since it began.
    """

    day: str
    budget: float
    spent: float
    reserved: float
    job_total: float

    @property
    def remaining(self) -> float:
        """Neurons that may still be reserved today."""
        return max(0.0, self.budget - self.spent - self.reserved)


class Reservation(Protocol):
    """Neurons set aside for one attempt; settled or released exactly once.

    Attributes:
        asked: The ceiling by the price table.
        neurons: What is set aside: more where prices have proven too low, and it may grow while it is open.
    """

    asked: float
    neurons: float


class Budget(Protocol):
    """The engine's view of the ledger."""

    async def reserve(self, neurons: float) -> Reservation:
        """Set aside the ceiling of one attempt before it leaves; waits while others in flight may free enough.

        Raises:
            BudgetExhausted: It does not fit, and nothing in flight in this or another live run will change that.
        """
        ...

    def mark_sent(self, reservation: Reservation, *, presumed: float) -> None:
        """Note that the attempt leaves now, and what it counts for if this process dies before it settles."""
        ...

    def learn(self, ratio: float) -> None:
        """Take note that a charge was `ratio` times its ceiling by the price table: reserve accordingly from now on."""
        ...

    def settle(self, reservation: Reservation, neurons: float) -> None:
        """Replace a reservation by the true charge."""
        ...

    def release(self, reservation: Reservation) -> None:
        """Give a reservation back: nothing was charged."""
        ...

    def state(self) -> BudgetState:
        """What the book says now."""
        ...


class Dialect(Protocol):
    """What a kind of server takes and answers. Pure: bytes and values, no I/O."""

    def encode(self, payload: Payload) -> HttpRequest:
        """Put a model's input on the wire.

        Raises:
            ValueError: It cannot be written in this dialect.
        """
        ...

    def decode(self, response: HttpResponse) -> Answer:
        """Read an answer as the task adapters know it: the `result` of Workers AI's own REST interface.

        Raises:
            AttemptError: It refuses, or is none.
        """
        ...


class Endpoint(Protocol):
    """One way to have a model answer."""

    async def call(self, payload: Payload, request: Request) -> Answer:
        """Send once.

        Args:
            payload: What is sent.
            request: What it was made of, for an endpoint that keeps a note of it.

        Raises:
            AttemptError: No usable answer came, or it refused.
        """
        ...


@dataclass(frozen=True, slots=True)
class Remembered:
    """The answer to a piece.

    Attributes:
        value: What the task made of it; holds what JSON can.
        neurons: What it cost this job.
        model: That answered.
        endpoint: That answered.
    """

    value: object
    neurons: float
    model: str
    endpoint: str


class Memory(Protocol):
    """Keeps answers to pieces, so that what was paid for is not sent again."""

    def recall(self, keys: Sequence[bytes]) -> dict[bytes, Remembered]:
        """Return what is known of these payload keys. Blocking."""
        ...

    async def keep(self, answers: Sequence[tuple[bytes, Remembered]]) -> None:
        """Keep answers by payload key; durable on return."""
        ...


class Sink(Protocol):
    """Where outcomes go."""

    async def put(self, rows: Sequence[Row], failures: Sequence[Failure]) -> None:
        """Hand over finished records; returns once they are written (not necessarily synced)."""
        ...

"""One attempt from end to end: reserve -> wait for the turn -> send -> settle -> read the answer.

Takes a `Request`, hands on values and what they cost. Knows nothing of retries, rows or passes. Whatever happens, a
reservation that was made is settled or released, and what has left is on the slate before it leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.charges import HALF_CENT, charge, charge_of_failure, most_booked
from pipeline.errors import AttemptError, OutOfCapacity, RecordUnusable, UnreadableAnswer, Unsendable
from pipeline.events import Counters, Event, Observer
from pipeline.interfaces import Budget, Endpoint, Reservation, TaskAdapter
from pipeline.lastmile import InputRatios
from pipeline.limits import Pace, Slot
from pipeline.records import Answer, Cost, GatewayNote, Payload, Request
from pipeline.threads import in_thread
from pipeline.words import neurons

_WORTH_TELLING: Final = 1.01
_NOTHING: Final = Cost(input=0.0)


class Stopped(Exception):
    """The pass is ending; the request in hand stays pending."""


class Flight:
    """Whether cancelling now would lose an answer."""

    __slots__ = ("is_busy",)

    def __init__(self) -> None:
        self.is_busy = False


@dataclass(frozen=True, slots=True)
class Delivered:
    """What came of an attempt.

    Attributes:
        values: One per piece of the request.
        booked: Neurons.
        latency_ms: As in `Answer`.
        gateway: As in `Answer`.
    """

    values: Sequence[object]
    booked: float
    latency_ms: float
    gateway: GatewayNote | None = None


@dataclass(frozen=True, slots=True)
class Sender:
    """Sends attempts.

    Attributes:
        is_ending: Whether the pass or the endpoint has come to an end: nothing leaves after it.
        refused: Told of every attempt that failed, before anything else runs.
        ratios: What the answers so far show of their inputs.
        is_free: The server counts no neurons: nothing is booked.
    """

    adapter: TaskAdapter
    endpoint: Endpoint
    budget: Budget
    pace: Pace
    counters: Counters
    observer: Observer
    is_ending: Callable[[], bool]
    refused: Callable[[AttemptError], None]
    ratios: InputRatios
    is_free: bool = False

    async def send(
        self, request: Request, flight: Flight, slot: Slot, *, attempt: int = 1, ceiling: float | None = None
    ) -> Delivered:
        """Send a request once.

        Args:
            request: What is sent.
            flight: Told while cancelling would lose an answer.
            slot: Held by the caller; told when the answer is here.
            attempt: Number of the attempt, from 1.
            ceiling: A bound below the proven one (docs/adr/0005-last-mile.md).

        Raises:
            AttemptError: No usable answer came. It is booked and told.
            BudgetExhausted: It does not fit; nothing was sent.
            Stopped: The pass ended before it left.
        """
        payload = await self._payload(request)
        cost = _NOTHING if self.is_free else self.adapter.cost(request)
        reservation = await self.budget.reserve(most_booked(cost.ceiling) if ceiling is None else ceiling)
        try:
            await self.pace.wait()
            if self.is_ending():
                raise Stopped
        except BaseException:
            self.budget.release(reservation)
            raise
        self.counters.retried += attempt > 1
        booked = 0.0
        try:
            answer, booked = await self._exchange(request, payload, cost, reservation, flight, slot)
            if booked:  # what a cache gives, or an earlier attempt has paid for, shows no price
                self.ratios.observe(request, charged=self.adapter.input_price(answer.usage, booked), bound=cost.input)
            return Delivered(self._values(request, answer), booked, answer.latency_ms, answer.gateway)
        except AttemptError as error:
            self._log(request, error, attempt, booked or error.booked)
            raise

    async def _payload(self, request: Request) -> Payload:
        """Build what is sent; what takes a while is built in a thread."""
        try:
            if self.adapter.is_heavy:
                return await in_thread(lambda: self.adapter.payload(request))
            return self.adapter.payload(request)
        except RecordUnusable as error:
            raise Unsendable(str(error)) from error

    def _values(self, request: Request, answer: Answer) -> Sequence[object]:
        """Read an answer; one that no task has foreseen fails its records, not the run."""
        try:
            return self.adapter.parse(request, answer)
        except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError) as error:
            raise UnreadableAnswer(f"the answer has a form that is not known ({type(error).__name__})") from error

    async def _exchange(
        self,
        request: Request,
        payload: Payload,
        cost: Cost,
        reservation: Reservation,
        flight: Flight,
        slot: Slot,
    ) -> tuple[Answer, float]:
        """Send once and book what it cost."""
        output = cost.output_per_token * cost.max_output
        presumed = min(reservation.asked, cost.input * self.ratios.ratio_of_many + output)
        self.budget.mark_sent(reservation, presumed=presumed)
        flight.is_busy = True
        self.counters.sent += 1
        self.counters.in_flight += 1
        booked: float | None = None
        try:
            answer = await self.endpoint.call(payload, request)
            # the reservation is asked only now: it grows when prices prove too low
            price = 0.0 if self.is_free else self.adapter.price(answer.usage)
            most = min(cost.ceiling, reservation.asked)  # without what a header may round up
            booked = charge(answer.usage, price=price, ceiling=most * _grown(reservation))
            slot.answered()
        except AttemptError as error:
            likely = min(reservation.asked, cost.input * self.ratios.ratio + output)
            charged = None if self.is_free else charge_of_failure(error, ceiling=likely * _grown(reservation))
            booked = error.booked = charged or 0.0
            self._refuse(error, slot)
            flight.is_busy = False  # what follows is waiting
            raise
        finally:
            if booked is None:  # cut off in the middle: nobody knows, so the ceiling stays booked
                booked = reservation.neurons
            self.counters.in_flight -= 1
            self.counters.neurons += booked
            self.budget.settle(reservation, booked)
        if cost.ceiling > 0.0 and most_booked(cost.ceiling) < booked:
            self._learn(booked, cost.ceiling)
        return answer, booked

    def _refuse(self, error: AttemptError, slot: Slot) -> None:
        self.counters.codes[error.code] += 1
        if isinstance(error, OutOfCapacity):
            slot.refused()
        else:
            slot.answered()
        self.refused(error)

    def _learn(self, booked: float, ceiling: float) -> None:
        """The meter charged more than the price table allows: believe the meter."""
        self.budget.learn(booked / ceiling)
        if booked - HALF_CENT <= _WORTH_TELLING * ceiling:  # no more than the header is rounded by
            return
        self.counters.overcharged += 1
        if self.counters.overcharged == 1:
            message = (
                f"the service charged {neurons(booked)} neurons for a request that should cost {neurons(ceiling)} at "
                "most: the known price of the model is too low. Until 00:00 UTC "
                f"{booked / ceiling:.2f} times as much is reserved; model_info in the job spec can correct the price"
            )
            self.observer(Event("price", message, {"charged": booked, "ceiling": ceiling}))

    def _log(self, request: Request, error: AttemptError, attempt: int, booked: float) -> None:
        facts = {
            "attempt": attempt,
            "code": error.code,
            "http_status": error.http_status,
            "neurons": round(booked, 6),
            "ids": [piece.record.id for piece in request.pieces],
        }
        self.observer(Event("attempt", str(error), facts))


def _grown(reservation: Reservation) -> float:
    """How many times as much is set aside by now: prices have proven higher."""
    return reservation.neurons / reservation.asked if reservation.asked else 1.0

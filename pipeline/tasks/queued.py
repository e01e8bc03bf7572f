"""Any task by way of Cloudflare's queue: many of its requests in one, each answered or refused on its own.

Wraps a task adapter. Sent: ``{requests: [{…the model's input…, external_reference}]}``; read: what
`pipeline.queueing` brings back, by reference. Source: developers.cloudflare.com/workers-ai/features/batch-api/ and
public clients, 2026-11-22: less than 10 MB together, no documented number of requests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from pipeline.errors import AttemptError, PlanError, UnreadableAnswer
from pipeline.interfaces import TaskAdapter
from pipeline.records import Answer, Column, Cost, File, ItemRefused, Outline, Payload, Piece, Record, Request, Usage

MOST_PIECES: Final = 100
"""Requests in one: users send 50 to 250 of chat models and m2m100 (public clients, 2026-11-22)."""

MOST_BYTES: Final = 6_000_000
"""Content in one: JSON escapes and frames come on top, and the whole must stay below 10 MB."""


def reference(piece: Piece) -> str:
    """Name a piece to the queue: the same on every attempt, for its answer is matched by it."""
    return f"{piece.payload_key.hex()}-{piece.stage}-{piece.index}"


class Queued:
    """A task through the queue.

    Args:
        inner: The task.
        model: Its model, for messages.

    Raises:
        PlanError: The task sends what the queue does not take.
    """

    def __init__(self, inner: TaskAdapter, model: str) -> None:
        self._inner, self._model = inner, model
        self.columns: Sequence[Column] = inner.columns
        self.max_pieces = MOST_PIECES
        self.max_request_bytes = min(inner.max_request_bytes * MOST_PIECES, MOST_BYTES)
        self.is_heavy = inner.is_heavy
        self.also_read = inner.also_read
        self.keeps_pieces = self.shares_pieces = False  # the notes of the queue outlive a crash
        self.rows_hold_input = inner.rows_hold_input

    def uses(self) -> Sequence[tuple[str, tuple[str, ...]]]:
        """As the task."""
        return self._inner.uses()

    def hold_to(self, columns: Sequence[Column]) -> None:
        """As the task."""
        self._inner.hold_to(columns)

    def about(self) -> Mapping[str, str]:
        """As the task."""
        return self._inner.about()

    def pieces(self, record: Record) -> list[Piece]:
        """As the task."""
        return self._inner.pieces(record)

    def outline(self, record: Record) -> Outline:
        """As the task."""
        return self._inner.outline(record)

    def sample(self, record: Record) -> Payload:
        """As the task: what the model itself is sent."""
        return self._inner.sample(record)

    def hurry(self) -> None:
        """As the task."""
        self._inner.hurry()

    def sent(self, record: Record) -> str:
        """As the task."""
        return self._inner.sent(record)

    def payload(self, request: Request) -> Payload:
        """One request for each piece, under its reference.

        Raises:
            PlanError: The task sends a body or a form.
        """
        requests = []
        for piece in request.pieces:
            inner = self._inner.payload(Request((piece,)))
            if not isinstance(inner, Mapping):
                raise PlanError(f"{self._model} takes files, and the queue takes JSON only", key="endpoint.mode")
            requests.append({**inner, "external_reference": reference(piece)})
        return {"requests": requests}

    def cost(self, request: Request) -> Cost:
        """All of them; an answer of the queue cannot be capped one by one."""
        return Cost(input=sum(self._inner.cost(Request((piece,))).ceiling for piece in request.pieces))

    def price(self, usage: Usage) -> float | None:
        """As the task: usage is counted for all of them together."""
        return self._inner.price(usage)

    def input_price(self, usage: Usage, charge: float) -> float:
        """All of it."""
        return charge

    def parse(self, request: Request, answer: Answer) -> Sequence[object]:
        """One value per piece; one that was refused, or is missing, is an `ItemRefused`.

        Raises:
            UnreadableAnswer: There are no answers by reference.
        """
        found = answer.result
        if not isinstance(found, Mapping):
            raise UnreadableAnswer("the queue's answer holds no answers")
        return [self._value(piece, found.get(reference(piece)), answer) for piece in request.pieces]

    def _value(self, piece: Piece, item: object, answer: Answer) -> object:
        if item is None:
            return ItemRefused("the queue gave no answer for it")
        if isinstance(item, ItemRefused):
            return item
        try:
            return self._inner.parse(Request((piece,)), replace(answer, result=item, usage=Usage()))[0]
        except (AttemptError, ValueError, TypeError, LookupError, ArithmeticError, RecursionError) as error:
            return ItemRefused(str(error) or type(error).__name__)

    def placed(self, piece: Piece, value: object) -> object:
        """As the task."""
        return value if isinstance(value, ItemRefused) else self._inner.placed(piece, value)

    def instead(self, piece: Piece, error: AttemptError) -> Sequence[Piece]:
        """As the task."""
        return self._inner.instead(piece, error)

    def fallback(self, piece: Piece, error: AttemptError) -> object | None:
        """As the task."""
        return self._inner.fallback(piece, error)

    def follow_up(self, record: Record, answered: Sequence[tuple[Piece, object]]) -> Sequence[Piece]:
        """As the task; nothing where a piece was refused to the end."""
        if any(isinstance(value, ItemRefused) for _, value in answered):
            return ()
        return self._inner.follow_up(record, answered)

    def rows(self, record: Record, values: Sequence[object]) -> Sequence[Mapping[str, object]]:
        """As the task.

        Raises:
            UnreadableAnswer: A piece was refused to the end.
        """
        for value in values:
            if isinstance(value, ItemRefused):
                raise UnreadableAnswer(f"refused by the queue: {value.reason}")
        return self._inner.rows(record, values)

    def files(self, record: Record, values: Sequence[object]) -> Sequence[File]:
        """As the task."""
        return self._inner.files(record, values)

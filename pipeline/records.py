"""The values that travel along the street, all frozen.

    Record  ->  Piece  ->  Request  ->  Answer  ->  Row | Failure

A record is the unit of the input and of the result. A piece is the unit of sending and paying: most records are one
piece, a long document or recording is several. A request is one call and carries one or more pieces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from typing import Final, NamedTuple

DIGEST_BYTES: Final = 16


def digest(*parts: bytes) -> bytes:
    """Return a 128-bit digest of `parts`; their boundaries count.

    A single part is hashed as it is: ids and texts are the hot path.
    """
    if len(parts) == 1:
        return blake2b(parts[0], digest_size=DIGEST_BYTES).digest()
    state = blake2b(digest_size=DIGEST_BYTES)
    for part in parts:
        state.update(len(part).to_bytes(8, "little"))
        state.update(part)
    return state.digest()


@dataclass(frozen=True, slots=True)
class Record:
    """One input item.

    Attributes:
        ordinal: 0-based position among the selected records of this reading; never stored.
        id: Record id, unique in the input.
        source: Path of the file relative to the working directory ("-" for stdin, "items" for a list in the spec).
        row: 0-based row (line, table row) inside `source`; 0 for a file that is one record.
        fields: The columns read from the input, by name.
    """

    ordinal: int
    id: str
    source: str
    row: int
    fields: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class BrokenRecord:
    """An input item that cannot be used; becomes a failure row without a request.

    Attributes:
        reason: What is wrong with it, for a person.
    """

    ordinal: int
    id: str
    source: str
    row: int
    reason: str


@dataclass(frozen=True, slots=True)
class Raw:
    """A payload that is the body itself, e.g. a recording.

    Attributes:
        content: The body.
        mime: Its media type.
    """

    content: bytes
    mime: str


@dataclass(frozen=True, slots=True)
class FormPart:
    """One field of a form.

    Attributes:
        name: Of the field.
        content: Its value.
        filename: Where the value is a file.
        mime: Media type of a file.
    """

    name: str
    content: bytes
    filename: str | None = None
    mime: str | None = None


@dataclass(frozen=True, slots=True)
class Form:
    """A payload that is sent as ``multipart/form-data``."""

    parts: tuple[FormPart, ...]


Payload = Mapping[str, object] | Raw | Form
"""The model's input: a mapping travels as JSON."""


@dataclass(frozen=True, slots=True)
class Media:
    """A result that is the body itself, e.g. an image.

    Attributes:
        content: The body.
        mime: Its media type, without parameters.
    """

    content: bytes
    mime: str


@dataclass(frozen=True, slots=True)
class File:
    """A file that belongs to a result row.

    Attributes:
        name: Plain file name inside ``media/``, safe on any file system; see `media_name`.
        content: All of it.
    """

    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Piece:
    """What is sent for one record, or for one of its parts.

    Attributes:
        record: The record it belongs to.
        content: What the task sends, task-specific (a text, a list of messages …).
        size: Weight for packing, in bytes of UTF-8 or of media.
        ceiling: The most neurons this piece can cost, >= 0.
        expected: The neurons it probably costs, >= 0.
        payload_key: Digest of what would be sent.
        index: Position among the pieces of the record.
        n_pieces: How many pieces the record was cut into.
        part: Position inside a piece that was halved on the way, () for a whole one.
        stage: 0 for what is sent for a record at first, 1 and more for what its answers made necessary.
        record_key: Digest of all that is sent for the record, the same for each of its pieces, where planning knows it
            before the record is cut (a recording is recognised by its file); "" where the pieces' own digests make it.
        has_more: The record is more than this: what else is sent of it waits for this piece's answer.
    """

    record: Record
    content: object
    size: int
    ceiling: float
    expected: float
    payload_key: bytes
    index: int = 0
    n_pieces: int = 1
    part: tuple[int, ...] = ()
    stage: int = 0
    record_key: bytes = b""
    has_more: bool = False


class Outline(NamedTuple):
    """What planning needs to know of a record: the sums over its pieces, and what it is recognised by.

    Where the pieces carry a `record_key`, the record was not cut for it: `ceiling` bounds the sum of theirs, and `size`
    and `expected` are estimates.

    A tuple, for planning makes one per record of the input and keeps none.

    Attributes:
        size: As in `Piece`; 0 for a record of which nothing is sent, and only for one.
        expected: As in `Piece`.
        ceiling: As in `Piece`.
        payload_key: Digest of all that is sent for the record.
        n_pieces: How many pieces it is cut into.
    """

    size: int
    expected: float
    ceiling: float
    payload_key: bytes
    n_pieces: int = 1


@dataclass(frozen=True, slots=True)
class Request:
    """One call: pieces that travel together.

    Attributes:
        pieces: One or more.
        output_cap: Bound on output tokens below the job's own `max_tokens`; None for the job's own. Set only to use up
            the end of a budget; an answer cut short by it is not accepted (docs/adr/0005-last-mile.md).
    """

    pieces: tuple[Piece, ...]
    output_cap: int | None = None


@dataclass(frozen=True, slots=True)
class Cost:
    """What one attempt of a request can cost at most, in neurons.

    Attributes:
        input: Bound on what is charged for the input (bytes bound tokens).
        output_per_token: Price of one output token, 0 where output is free.
        max_output: Bound on output tokens.
    """

    input: float
    output_per_token: float = 0.0
    max_output: int = 0

    @property
    def ceiling(self) -> float:
        """The bound as one number."""
        return self.input + self.output_per_token * self.max_output


@dataclass(frozen=True, slots=True)
class Usage:
    """What an answer says it used.

    Attributes:
        neurons: The charge, unrounded, from ``usage.neurons`` in the body.
        header_neurons: The charge, two decimals, from the header ``cf-ai-neurons``.
        input_tokens: Prompt tokens counted by the service.
        output_tokens: Completion tokens counted by the service, reasoning included.
        cached_tokens: Prompt tokens served from the prompt cache.
    """

    neurons: float | None = None
    header_neurons: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class GatewayNote:
    """What an AI Gateway says of an answer.

    Attributes:
        cache: ``HIT`` or ``MISS``; None where it does not say.
        log_id: Of its log entry, None where it keeps none.
    """

    cache: str | None
    log_id: str | None

    @property
    def is_hit(self) -> bool:
        """Whether the answer came from the gateway's cache: no model ran."""
        return self.cache == "HIT"


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful exchange.

    Attributes:
        result: The decoded ``result`` of the envelope (or the bare body); a matrix of numbers in it may be a float32
            array of two dimensions, a body that is no JSON is a `Media`.
        usage: What it cost, as far as the answer says.
        latency_ms: Milliseconds from sending to the last byte.
        gateway: Where it came through an AI Gateway.
    """

    result: object
    usage: Usage
    latency_ms: float
    gateway: GatewayNote | None = None


@dataclass(frozen=True, slots=True)
class ItemRefused:
    """One request of several that went together was refused, the others were not.

    Attributes:
        reason: What the service says.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class Row:
    """The result of one record on its way to the sink: one row, or several that become durable together.

    Attributes:
        id_key: Digest of the record id.
        payload_key: Digest of what was sent.
        values: Column name to value, exactly the columns of the output schema.
        files: What is kept beside the row; durable before the row is.
        more: Values of further rows of the record, in order (docs/adr/0014-several-rows-per-record.md).
    """

    id_key: bytes
    payload_key: bytes
    values: Mapping[str, object]
    files: Sequence[File] = ()
    more: Sequence[Mapping[str, object]] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """One failure row on its way to the sink.

    Attributes:
        id_key: Digest of the record id.
        payload_key: Digest of what was sent; of nothing (16 zero bytes) for a record that could not be read.
    """

    id_key: bytes
    payload_key: bytes
    id: str
    source: str
    row: int
    code: str
    http_status: int | None
    message: str
    attempts: int
    retryable: bool
    at: datetime


NO_PAYLOAD: Final = bytes(DIGEST_BYTES)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the output, in words that need no table library.

    Attributes:
        name: Column name.
        kind: One of ``string bool int32 int64 float32 float64 timestamp date binary json vector`` or ``list<KIND>``,
            or ``struct`` with `fields`, or ``list<struct>`` with `fields`. ``timestamp`` is microseconds, UTC. ``json``
            is text holding JSON. ``vector`` is a fixed_size_list<float32> of `dim` numbers; ``vector<float16>`` and
            ``vector<int8>`` hold smaller ones.
        dim: Length of a ``vector``; None until the first answer tells.
        fields: Members of a ``struct`` or ``list<struct>``.
    """

    name: str
    kind: str
    dim: int | None = None
    fields: Sequence[Column] = field(default=())

    @property
    def is_vector(self) -> bool:
        """Whether it holds vectors, of any kind of number."""
        return self.kind.startswith("vector")


def record_key(pieces: Sequence[Piece]) -> bytes:
    """Digest of all that is sent for a record."""
    if pieces[0].record_key:
        return pieces[0].record_key
    return pieces[0].payload_key if len(pieces) == 1 else digest(*(piece.payload_key for piece in pieces))

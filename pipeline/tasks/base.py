"""What every task adapter starts from."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pipeline.catalog import ModelInfo
from pipeline.errors import TOO_LARGE, AttemptError, PlanError, RecordUnusable
from pipeline.interfaces import TaskAdapter
from pipeline.records import Column, Cost, File, Outline, Payload, Piece, Record, Request, Usage, digest
from pipeline.template import TextTemplate

PER_MILLION = 1e-6


@dataclass(frozen=True, slots=True)
class TaskContext:
    """The resolved job as a task sees it.

    Attributes:
        model: The model with its prices and limits.
        params: `params` of the job spec.
        text: The column or template that is sent.
        fields: Input fields of the model's published schema.
        batch_size: `limits.batch_size`, None for the model's own.
        subtitles: `output.subtitles`: files to write beside the rows.
        vectors: `output.vectors`: numbers that vectors are stored as.
    """

    model: ModelInfo
    params: Mapping[str, object]
    text: TextTemplate
    fields: frozenset[str]
    batch_size: int | None = None
    subtitles: tuple[str, ...] = ()
    vectors: str = "float32"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskKind:
    """A task of the job spec: everything outside its adapter that is its own.

    Attributes:
        name: As in the spec.
        adapter: Makes the adapter of a job.
        text: Column that is sent where the spec names none, and the one that stands in for it.
        text_param: Parameter that may hold the text itself, one for all records.
        media: Format of the files that are records of this task, None where records are texts.
        owned: Fields of the model's schema that the task fills; a user may not give them in `params`.
        extra: Parameters of the task's own, which are not fields of the model's schema.
        carriers: Fields that carry a record, the preferred one first: they tell the forms of a model's schema apart.
        head: The beginning of a job spec to start from: task, model and params, with comments.
        input: The `input:` of that spec; "" for that of texts.
        timed: Its answers say when what was said: subtitles can be made of them (`output.subtitles`).
        has_vectors: Its rows hold vectors (`output.vectors`).
    """

    name: str
    adapter: Callable[[TaskContext], TaskAdapter]
    text: tuple[str, str | None]
    owned: frozenset[str]
    head: str
    text_param: str | None = None
    media: Literal["audio", "images", "documents"] | None = None
    extra: frozenset[str] = frozenset()
    carriers: tuple[str, ...] = ()
    input: str = ""
    timed: bool = False
    has_vectors: bool = False


class Adapter:
    """What most adapters have in common: one piece a request, priced by its bound, put into one row as it is."""

    columns: Sequence[Column] = ()
    max_pieces = 1
    max_request_bytes = 4_000_000
    is_heavy = False
    keeps_pieces = False
    shares_pieces = False
    also_read = b""
    rows_hold_input = False

    def __init__(self, context: TaskContext) -> None:
        self._context = context

    def hold_to(self, columns: Sequence[Column]) -> None:
        """Nothing: every column is known from the start."""

    def about(self) -> Mapping[str, str]:
        """Nothing."""
        return {}

    def sample(self: TaskAdapter, record: Record) -> Payload:
        """The payload of its first piece."""
        return self.payload(Request((self.pieces(record)[0],)))

    def hurry(self) -> None:
        """Nothing: cutting takes no time."""

    def sent(self, record: Record) -> str:
        """The text."""
        return self._context.text.render(record.fields)

    def uses(self) -> Sequence[tuple[str, tuple[str, ...]]]:
        """The text's columns."""
        return columns_used("input.text", self._context.text)

    def cost(self, request: Request) -> Cost:
        """The pieces' bounds."""
        return Cost(input=sum(piece.ceiling for piece in request.pieces))

    def price(self, usage: Usage) -> float | None:
        """Nothing is counted in the answer."""
        return None

    def input_price(self, usage: Usage, charge: float) -> float:
        """All of it."""
        return charge

    def instead(self, piece: Piece, error: AttemptError) -> Sequence[Piece]:
        """The parts of a piece that was too large, or took too long; nothing for other failures."""
        return self.halved(piece) if isinstance(error, TOO_LARGE) else ()

    def halved(self, piece: Piece) -> Sequence[Piece]:
        """Nothing: the piece is as small as it gets."""
        return ()

    def follow_up(self, record: Record, answered: Sequence[tuple[Piece, object]]) -> Sequence[Piece]:
        """Nothing: one answer is enough."""
        return ()

    def fallback(self, piece: Piece, error: AttemptError) -> object | None:
        """Nothing: the record fails."""
        return None

    def placed(self, piece: Piece, value: object) -> object:
        """As it is."""
        return value

    def row(self, record: Record, values: Sequence[object]) -> Mapping[str, object]:
        """The columns, which are the one value."""
        value = values[0]
        assert isinstance(value, dict)
        return value

    def rows(self, record: Record, values: Sequence[object]) -> Sequence[Mapping[str, object]]:
        """One."""
        return (self.row(record, values),)

    def files(self, record: Record, values: Sequence[object]) -> Sequence[File]:
        """Nothing."""
        return ()


def columns_used(key: str, template: TextTemplate) -> list[tuple[str, tuple[str, ...]]]:
    """Return the columns of a template in the form of `TaskAdapter.uses`."""
    instead = (template.fallback,) if template.fallback is not None else ()
    return [(key, (name, *instead)) for name in template.columns]


class PricedByInput(Adapter):
    """An adapter whose models charge for input tokens alone."""

    def __init__(self, context: TaskContext) -> None:
        super().__init__(context)
        self._price = (context.model.input_per_m_tokens or 0.0) * PER_MILLION

    def price(self, usage: Usage) -> float | None:
        """Input tokens at the model's price, should an answer count them."""
        if usage.input_tokens is None or self._context.model.assumed_price:
            return None
        return usage.input_tokens * self._price


def token_bound(text: str) -> int:
    """Upper bound on the tokens of `text` for any sub-word tokenizer: its UTF-8 bytes.

    Tokenizers normalise (NFKC) before they count, which can lengthen a text, so the longer of both forms is meant.
    """
    if text.isascii():
        return len(text)
    size = len(text.encode("utf-8", "surrogatepass"))
    if unicodedata.is_normalized("NFKC", text):
        return size
    return max(size, len(unicodedata.normalize("NFKC", text).encode("utf-8", "surrogatepass")))


def outline_from(pieces: Sequence[Piece]) -> Outline:
    """The outline of a record that is cut into pieces: their sums, and the digest of theirs."""
    keys = [piece.payload_key for piece in pieces]
    key = pieces[0].record_key or (keys[0] if len(keys) == 1 else digest(*keys))
    return Outline(
        size=sum(piece.size for piece in pieces),
        expected=sum(piece.expected for piece in pieces),
        ceiling=sum(piece.ceiling for piece in pieces),
        payload_key=key,
        n_pieces=len(keys),
    )


def in_place_of(piece: Piece, parts: Iterable[Piece]) -> list[Piece]:
    """What is sent instead of a piece, at its place among the pieces of its record."""
    return [
        replace(
            part,
            index=piece.index,
            n_pieces=piece.n_pieces,
            part=(*piece.part, number),
            stage=piece.stage,
            record_key=piece.record_key,
        )
        for number, part in enumerate(parts)
    ]


def nothing_sent(key: bytes) -> Outline:
    """The outline of a record whose row needs no answer.

    Args:
        key: Digest of what the row is made of, as the pieces' digests are for other records.
    """
    return Outline(size=0, expected=0.0, ceiling=0.0, payload_key=key, n_pieces=0)


def whole(record: Record, content: object, outline: Outline) -> list[Piece]:
    """The one piece of a record that travels uncut."""
    size, expected, ceiling, payload_key, _ = outline
    return [Piece(record, content, size=size, ceiling=ceiling, expected=expected, payload_key=payload_key)]


BYTES_PER_TOKEN = 3.6
"""For expectations only: English runs at 3.7 to 4.5 bytes a token, CJK at about 3 (measured on tekken, 2026-11-22)."""


def expected_tokens(size: int) -> float:
    """Tokens that `size` bytes of ordinary text probably are."""
    return size / BYTES_PER_TOKEN


def sendable_text(template: TextTemplate, fields: Mapping[str, object]) -> str:
    """Render a record's text and refuse what cannot be sent.

    Raises:
        RecordUnusable: No text, only white space, or half a surrogate pair.
    """
    text = template.render(fields)
    if not text or text.isspace():
        raise RecordUnusable("the text is empty")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as exc:
            raise RecordUnusable(f"the text holds half a surrogate pair at character {exc.start}") from None
    return text


def encodable(text: str) -> str:
    """A text as it can be sent back: a question mark for each half of a surrogate pair."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def finite(value: object) -> float | None:
    """Read a number of an answer; None for what is none, is not finite, or is too large for a float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def number_param(params: Mapping[str, object], name: str, default: int) -> int:
    """Read a whole positive number from `params`.

    Raises:
        PlanError: It is something else.
    """
    value = params.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise PlanError(f"should be a whole number of at least 1, not {value!r}", key=f"params.{name}")
    return value


def flag_param(params: Mapping[str, object], name: str) -> bool:
    """Read true or false from `params`, false where it is not given.

    Raises:
        PlanError: It is something else.
    """
    value = params.get(name, False)
    if not isinstance(value, bool):
        raise PlanError("should be true or false", key=f"params.{name}")
    return value

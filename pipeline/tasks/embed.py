"""`embed`: texts to vectors, many texts a request; a long text in chunks.

Input ``{text: [..]}``; result ``{shape: [n, d], data: [[..]]}`` (bge-m3 may call the list ``response``). Shapes:
npm @cloudflare/workers-types 5.20261117.1; limits: developers.cloudflare.com/workers-ai/models/, 2026-11-22.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from pipeline.errors import TOO_LARGE, AttemptError, InvalidRequest, UnreadableAnswer
from pipeline.records import Answer, Column, Outline, Piece, Record, Request, digest
from pipeline.segments import Segment, halves, size_of
from pipeline.tasks.base import (
    PricedByInput,
    TaskContext,
    TaskKind,
    expected_tokens,
    in_place_of,
    outline_from,
    sendable_text,
    token_bound,
    whole,
)
from pipeline.tasks.longtext import PARAMS, LongTexts
from pipeline.tasks.vectors import Vector, as_int8, as_text, check_range, from_text, mean_of, vectors_of

_OWNED = frozenset({"text", "texts", "requests", "query", "queries", "contexts", "documents", "stream"})

_SPECIAL_TOKENS = 2
_INSTRUCTION_TOKENS = 16
_DEFAULT_BATCH = 100
_BYTES_PER_CONTEXT_TOKEN = 2.4
_MAX_BYTES = 1_000_000
_LEAST_HALVED: Final = 64
_POOLING: Final = "mean"
"""Where a model lets one choose (bge): npm @cloudflare/workers-types 5.20261117.1, 2026-11-22."""

_KINDS: Final = {"float32": "vector", "float16": "vector<float16>", "int8": "vector<int8>"}
_MODE_COLUMNS: Final[Mapping[str, tuple[Column, ...]]] = {
    "chunk": (
        Column("chunk", "int32"),
        Column("n_chunks", "int32"),
        Column("chunk_start", "int64"),
        Column("chunk_end", "int64"),
    ),
    "mean": (Column("n_chunks", "int32"),),
    "truncate": (Column("truncated", "bool"),),
    "error": (),
}


class Embed(PricedByInput):
    """Adapter of the task `embed`.

    A text costs its tokens plus two for begin and end, and an instruction is put before every text (qwen3: "Instruct: …
    Query: …", hence 16 more). Requests are packed by count (100, or what the model takes) and
    by bytes: the context window bounds the whole request on some models (qwen3: 8,192 tokens; 20,000 characters passed
    and 50,000 did not, observed), so 2.4 bytes are allowed per token of it.

    What a model may not read as a whole is cut, refused or averaged, as `long_text` says (`pipeline.tasks.longtext`).
    """

    def __init__(self, context: TaskContext) -> None:
        super().__init__(context)
        model = context.model
        self._most_tokens = model.max_input_tokens  # what is longer is cut or refused, and not billed
        self._dim = model.dimensions  # None until the first answer tells; all others are held to it
        model_batch = model.max_batch or _DEFAULT_BATCH
        self.max_pieces = min(context.batch_size or model_batch, model_batch)
        window = model.context_window
        self.max_request_bytes = min(int(window * _BYTES_PER_CONTEXT_TOKEN) if window else _MAX_BYTES, _MAX_BYTES)
        instruction = context.params.get("instruction")
        self._text_field = "queries" if instruction is not None and "queries" in context.fields else "text"
        self._overhead = _SPECIAL_TOKENS
        if instruction is not None:
            self._overhead += token_bound(str(instruction)) + _INSTRUCTION_TOKENS
        self._fixed = {key: value for key, value in context.params.items() if key not in PARAMS}
        self._long = LongTexts(context.params, model, overhead=self._overhead)
        mode = self._mode = self._long.mode
        self.keeps_pieces = mode in {"chunk", "mean"}
        self.rows_hold_input = mode in {"chunk", "truncate"}
        scale = (Column("embedding_scale", "float32"),) if context.vectors == "int8" else ()
        vector = Column("embedding", _KINDS[context.vectors], dim=model.dimensions)
        self.columns: Sequence[Column] = (vector, *scale, *_MODE_COLUMNS[mode])

    def hold_to(self, columns: Sequence[Column]) -> None:
        """Vectors are as long as those that are there."""
        self._dim = next((column.dim for column in columns if column.name == "embedding" and column.dim), self._dim)

    def about(self) -> Mapping[str, str]:
        """How vectors are pooled, where that is known."""
        pooling = self._context.params.get("pooling", _POOLING if "pooling" in self._context.fields else None)
        return {"pooling": str(pooling)} if pooling is not None else {}

    def pieces(self, record: Record) -> list[Piece]:
        """The text, or what it is cut into.

        Raises:
            RecordUnusable: There is no text to send, or one that is too long where that is an error.
        """
        text = sendable_text(self._context.text, record.fields)
        return whole(record, text, self._outline(text)) if self._is_read(text) else self._cut(record, text)

    def outline(self, record: Record) -> Outline:
        """The same without the piece where it is one, else the sums over the pieces."""
        text = sendable_text(self._context.text, record.fields)
        return self._outline(text) if self._is_read(text) else outline_from(self._cut(record, text))

    def _is_read(self, text: str) -> bool:
        long = self._long
        bound = token_bound(text)
        return long.room is None or bound <= long.room or long.fits(text)

    def _is_guessed(self, text: str) -> bool:
        """Whether it may have more tokens than it may have."""
        return self._long.room is not None and token_bound(text) > self._long.room

    def _outline(self, text: str) -> Outline:
        encoded = text.encode()
        size = len(encoded)
        bound = (size if size == len(text) else token_bound(text)) + self._overhead
        expected = expected_tokens(size + self._overhead)
        limit = self._most_tokens
        if limit and bound > limit:
            bound, expected = limit, min(expected, limit)
        return Outline(size, expected * self._price, bound * self._price, digest(encoded))

    def _cut(self, record: Record, text: str) -> list[Piece]:
        """What is sent of a text that is too long.

        Raises:
            RecordUnusable: Nothing is.
        """
        if self._mode == "error":
            raise self._long.refusal(text)
        if self._mode == "truncate":
            beginning = self._long.beginning(text)
            piece = self._piece(record, beginning)
            # a whole text that reads the same has another row
            return [replace(piece, record_key=digest(beginning.text.encode(), b"truncated"))]
        segments = self._long.chunks(text)
        key = digest(text.encode())  # what lies between the chunks moves them
        return [
            replace(self._piece(record, segment), index=index, n_pieces=len(segments), record_key=key)
            for index, segment in enumerate(segments)
        ]

    def _piece(self, record: Record, segment: Segment) -> Piece:
        (piece,) = whole(record, segment, self._outline(segment.text))
        return piece

    def sent(self, record: Record) -> str:
        """The text, or as much of it as is sent."""
        text = super().sent(record)
        return text if self._mode != "truncate" or self._is_read(text) else self._long.beginning(text).text

    def payload(self, request: Request) -> Mapping[str, object]:
        """``{text: [...]}`` plus the job's parameters."""
        return {**self._fixed, self._text_field: [str(piece.content) for piece in request.pieces]}

    def parse(self, request: Request, answer: Answer) -> Sequence[object]:
        """One float32 vector of shape (dim,) per text: the rows of one array. As text where it is one of several.

        Raises:
            UnreadableAnswer: Not one vector of the model's length, of finite numbers and not all zero, per text.
        """
        result = answer.result
        data = result.get("data", result.get("response")) if isinstance(result, dict) else None
        if not isinstance(data, list | np.ndarray):
            raise UnreadableAnswer("the answer holds no vectors")
        if len(data) != len(request.pieces):
            raise UnreadableAnswer(f"{len(request.pieces)} texts were sent and {len(data)} vectors came back")
        vectors = vectors_of(data, dim=self._dim)
        check_range(vectors, self._context.vectors)
        self._dim = vectors.shape[1]
        if not self.keeps_pieces:
            return list(vectors)
        return [
            as_text(vector) if piece.n_pieces > 1 or piece.part else vector
            for piece, vector in zip(request.pieces, vectors, strict=True)
        ]

    def placed(self, piece: Piece, value: object) -> object:
        """With the text that it belongs to, and where that stands: start, end, text, vector.

        Raises:
            UnreadableAnswer: An answer kept from an earlier run has another length than those of this one.
        """
        content = piece.content
        vector = value if isinstance(value, np.ndarray) else from_text(value)
        if self._dim not in {None, len(vector)}:
            raise UnreadableAnswer(f"a kept vector has {len(vector)} numbers, not {self._dim}: the model has changed")
        if isinstance(content, str):  # most texts are whole: for speed no `Segment`
            return 0, len(content), content, vector
        segment = _segment_of(content)
        return segment.start, segment.end, segment.text, vector

    def instead(self, piece: Piece, error: AttemptError) -> Sequence[Piece]:
        """Halves of a text that was too large, or that is refused and may have more tokens than was guessed."""
        segment = _segment_of(piece.content)
        is_doubtful = isinstance(error, InvalidRequest) and self._is_guessed(segment.text)
        if self._mode == "error" or piece.size <= _LEAST_HALVED or not (is_doubtful or isinstance(error, TOO_LARGE)):
            return ()
        parts = halves(segment, language="en")
        kept = parts if self._mode != "truncate" else parts[:1]
        return in_place_of(piece, [self._piece(piece.record, part) for part in kept])

    def rows(self, record: Record, values: Sequence[object]) -> Sequence[Mapping[str, object]]:
        """One row with the vector, or one for each chunk.

        Raises:
            UnreadableAnswer: A mean has no direction.
        """
        found: Sequence[Any] = values  # what `placed` has made
        if self._mode == "chunk":
            rows = []
            for number, (start, end, text, vector) in enumerate(found):
                row = self._stored(vector)
                row["chunk"], row["n_chunks"] = number, len(found)
                row["chunk_start"], row["chunk_end"] = start, end
                row["input"] = text
                rows.append(row)
            return rows
        if self._mode == "mean":
            mean = mean_of([vector for *_, vector in found], [size_of(text) for _, _, text, _ in found])
            return [{**self._stored(mean), "n_chunks": len(found)}]
        ((_, _, text, vector),) = found
        if self._mode == "truncate":
            is_cut = text != sendable_text(self._context.text, record.fields)
            return [{**self._stored(vector), "truncated": is_cut, "input": text}]
        return [self._stored(vector)]

    def _stored(self, vector: Vector) -> dict[str, object]:
        if self._context.vectors != "int8":
            return {"embedding": vector}
        numbers, scale = as_int8(vector)
        return {"embedding": numbers, "embedding_scale": scale}


def _segment_of(content: object) -> Segment:
    """A part of a text; a whole one is all of it."""
    if isinstance(content, Segment):
        return content
    assert isinstance(content, str)
    return Segment(0, len(content), content)


KIND = TaskKind(
    name="embed",
    adapter=Embed,
    text=("text", None),
    owned=_OWNED,
    extra=PARAMS,
    carriers=("text",),
    has_vectors=True,
    head="""\
task: embed                          # one vector per record, or per chunk of a long one
model: "@cf/baai/bge-m3"             # wai models --task embed lists others
# params: {long_text: mean}          # default chunk: a row per chunk; or truncate, error
""",
)

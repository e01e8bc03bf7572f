"""`embed`: texts to vectors, many texts a request.

Input ``{text: [..]}``; result ``{shape: [n, d], data: [[..]]}`` (bge-m3 may call the list ``response``). Shapes:
npm @cloudflare/workers-types 5.20261117.1; limits: developers.cloudflare.com/workers-ai/models/, 2026-11-22.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.errors import UnreadableAnswer
from pipeline.records import Answer, Column, Outline, Piece, Record, Request, digest
from pipeline.tasks.base import (
    PricedByInput,
    TaskContext,
    TaskKind,
    expected_tokens,
    sendable_text,
    token_bound,
    whole,
)

_OWNED = frozenset({"text", "texts", "requests", "query", "queries", "contexts", "documents", "stream"})

_SPECIAL_TOKENS = 2
_INSTRUCTION_TOKENS = 16
_DEFAULT_BATCH = 100
_BYTES_PER_CONTEXT_TOKEN = 2.4
_MAX_BYTES = 1_000_000


class Embed(PricedByInput):
    """Adapter of the task `embed`.

    A text costs its tokens plus two for begin and end, and an instruction is put before every text (qwen3: "Instruct: …
    Query: …", hence 16 more). Requests are packed by count (100, or what the model takes) and
    by bytes: the context window bounds the whole request on some models (qwen3: 8,192 tokens; 20,000 characters passed
    and 50,000 did not, observed), so 2.4 bytes are allowed per token of it.
    """

    def __init__(self, context: TaskContext) -> None:
        super().__init__(context)
        model = context.model
        self._most_tokens = model.max_input_tokens  # what is longer is cut or refused, and not billed
        self._dim = model.dimensions  # None until the first answer tells; all others are held to it
        self.columns: Sequence[Column] = (Column("embedding", "vector", dim=model.dimensions),)
        model_batch = model.max_batch or _DEFAULT_BATCH
        self.max_pieces = min(context.batch_size or model_batch, model_batch)
        window = model.context_window
        self.max_request_bytes = min(int(window * _BYTES_PER_CONTEXT_TOKEN) if window else _MAX_BYTES, _MAX_BYTES)
        instruction = context.params.get("instruction")
        self._text_field = "queries" if instruction is not None and "queries" in context.fields else "text"
        self._overhead = _SPECIAL_TOKENS
        if instruction is not None:
            self._overhead += token_bound(str(instruction)) + _INSTRUCTION_TOKENS

    def hold_to(self, columns: Sequence[Column]) -> None:
        """Vectors are as long as those that are there."""
        self._dim = next((column.dim for column in columns if column.name == "embedding" and column.dim), self._dim)

    def pieces(self, record: Record) -> list[Piece]:
        """One text, one piece.

        Raises:
            RecordUnusable: There is no text to send.
        """
        text = sendable_text(self._context.text, record.fields)
        return whole(record, text, self._outline(text))

    def outline(self, record: Record) -> Outline:
        """The same without the piece."""
        return self._outline(sendable_text(self._context.text, record.fields))

    def _outline(self, text: str) -> Outline:
        encoded = text.encode()
        size = len(encoded)
        bound = (size if size == len(text) else token_bound(text)) + self._overhead
        expected = expected_tokens(size + self._overhead)
        limit = self._most_tokens
        if limit and bound > limit:
            bound, expected = limit, min(expected, limit)
        return Outline(size, expected * self._price, bound * self._price, digest(encoded))

    def payload(self, request: Request) -> Mapping[str, object]:
        """``{text: [...]}`` plus the job's parameters."""
        return {**self._context.params, self._text_field: [piece.content for piece in request.pieces]}

    def parse(self, request: Request, answer: Answer) -> Sequence[object]:
        """One float32 vector of shape (dim,) per text: the rows of one array.

        Raises:
            UnreadableAnswer: Not one vector of the model's length, of finite numbers, per text.
        """
        result = answer.result
        data = result.get("data", result.get("response")) if isinstance(result, dict) else None
        if not isinstance(data, list | np.ndarray):
            raise UnreadableAnswer("the answer holds no vectors")
        if len(data) != len(request.pieces):
            raise UnreadableAnswer(f"{len(request.pieces)} texts were sent and {len(data)} vectors came back")
        dim = _common_length(data) if isinstance(data, list) else data.shape[1]
        if dim != (self._dim or dim):
            raise UnreadableAnswer(f"vectors of {dim} numbers came back, not of {self._dim}")
        try:
            with np.errstate(over="ignore"):  # too large for float32: found below
                vectors = np.array(data, dtype=np.float64).astype(np.float32) if isinstance(data, list) else data
        except OverflowError:  # too large for any float
            vectors = np.array([np.inf])
        if not np.isfinite(vectors).all():
            raise UnreadableAnswer("a vector holds a number that is not finite")
        self._dim = dim
        return list(vectors)

    def row(self, record: Record, values: Sequence[object]) -> Mapping[str, object]:
        """The vector."""
        return {"embedding": values[0]}


def _common_length(data: list[object]) -> int:
    """Return the length of all vectors of an answer.

    Looked at before NumPy does: one long text among the numbers would make it ask for room for as many such texts.

    Raises:
        UnreadableAnswer: They differ, are empty, or hold anything but numbers (NumPy would make numbers of text and
            true).
    """
    length = 0
    for vector in data:
        if not isinstance(vector, list):
            raise UnreadableAnswer("there is something between the vectors that is none")
        if not set(map(type, vector)) <= {int, float}:
            raise UnreadableAnswer("a vector holds something that is not a number")
        if not vector or len(vector) != (length or len(vector)):
            raise UnreadableAnswer("the vectors differ in length or are empty")
        length = len(vector)
    return length


KIND = TaskKind(
    name="embed",
    adapter=Embed,
    text=("text", None),
    owned=_OWNED,
    carriers=("text",),
    head="""\
task: embed                          # one vector per record
model: "@cf/baai/bge-m3"             # wai models --task embed lists others
# params: {truncate_inputs: true}    # parameters of the model, checked before anything is sent
""",
)

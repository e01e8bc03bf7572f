"""`rerank`: how well each of a record's passages answers its query, the best first.

Input ``{query, contexts: [{text}], top_k?}``, result ``{response: [{id, score}]}``, where an id is the position of a
context. Shapes: npm @cloudflare/workers-types 5.20261117.1, which leaves out the reranker's `query` although the
service requires it. bge-m3 answers the same without `top_k`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import orjson

from pipeline.errors import PlanError, RecordUnusable, UnreadableAnswer
from pipeline.records import Answer, Column, Outline, Piece, Record, Request, digest
from pipeline.tasks.base import (
    PricedByInput,
    TaskContext,
    TaskKind,
    expected_tokens,
    finite,
    in_place_of,
    number_param,
    outline_from,
    sendable_text,
    token_bound,
)

_EXTRA: Final = frozenset({"query", "contexts_column", "top_k"})
_SPECIAL_TOKENS: Final = 4
_CONTEXTS_PER_REQUEST: Final = 100
_BYTES_PER_CONTEXT_TOKEN: Final = 2.4
_PIECE_BYTES: Final = 250_000


@dataclass(frozen=True, slots=True)
class Ranked:
    """A context with its score.

    Attributes:
        index: Position among the contexts of the record.
        score: As the model gave it, higher is better; no share of anything.
    """

    index: int
    score: float


@dataclass(frozen=True, slots=True)
class _Part:
    """Some contexts of a record, all for one query."""

    query: str
    first: int
    contexts: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join((self.query, *self.contexts))


class Rerank(PricedByInput):
    """Adapter of the task `rerank`.

    Each context is scored by itself, so a record with many is cut into parts of 100 contexts or 250 kB (less where the
    model's context window is smaller), whose scores are put together. What a part costs is bounded by the bytes of
    query and context, once for every context: how the service counts a query that is read with many contexts is not
    documented. Contexts beyond the model's 512 tokens are cut by the model.
    """

    columns: Sequence[Column] = (
        Column(
            "ranking",
            "list<struct>",
            fields=(Column("index", "int32"), Column("score", "float64"), Column("text", "string")),
        ),
    )

    def __init__(self, context: TaskContext) -> None:
        super().__init__(context)
        model, params = context.model, context.params
        if context.fields and "contexts" not in context.fields:
            raise PlanError(f"{model.name} ranks nothing; use @cf/baai/bge-reranker-base", key="model")
        column = params.get("contexts_column", "contexts")
        query = params.get("query")
        if not isinstance(column, str) or not column:
            raise PlanError("should be the name of a column", key="params.contexts_column")
        if query is not None and (not isinstance(query, str) or not query.strip()):
            raise PlanError("should be text", key="params.query")
        self._column = column
        self._top_k = number_param(params, "top_k", 1) if "top_k" in params else None
        self._sends_top_k = self._top_k is not None and "top_k" in context.fields
        self._fixed = {key: value for key, value in params.items() if key not in _EXTRA}
        window = model.context_window
        self._most = min(_PIECE_BYTES, int(window * _BYTES_PER_CONTEXT_TOKEN)) if window else _PIECE_BYTES
        self._most_contexts = min(_CONTEXTS_PER_REQUEST, (model.max_batch or _CONTEXTS_PER_REQUEST + 1) - 1)
        self.max_request_bytes = 2 * _PIECE_BYTES

    def pieces(self, record: Record) -> list[Piece]:
        """The contexts, as many in a part as may travel together.

        Raises:
            RecordUnusable: There is no query, or no list of texts.
        """
        query = sendable_text(self._context.text, record.fields)
        contexts = _contexts(record, self._column)
        parts: list[_Part] = []
        first, size = 0, 0
        for index, context in enumerate(contexts):
            grown = size + len(query.encode()) + len(context.encode())
            if index > first and (grown > self._most or index - first >= self._most_contexts):
                parts.append(_Part(query, first, tuple(contexts[first:index])))
                first, grown = index, grown - size
            size = grown
        parts.append(_Part(query, first, tuple(contexts[first:])))
        pieces = [self._piece(record, part) for part in parts]
        return [replace(piece, index=index, n_pieces=len(pieces)) for index, piece in enumerate(pieces)]

    def outline(self, record: Record) -> Outline:
        """The sums over the pieces."""
        return outline_from(self.pieces(record))

    def _piece(self, record: Record, part: _Part) -> Piece:
        n = len(part.contexts)
        sizes = [len(text.encode()) for text in part.contexts]
        query = token_bound(part.query) + _SPECIAL_TOKENS
        bound = sum(map(token_bound, part.contexts)) + n * query
        read = expected_tokens(sum(sizes) + n * (len(part.query.encode()) + _SPECIAL_TOKENS))
        return Piece(
            record,
            part,
            size=sum(sizes) + len(part.query.encode()),
            ceiling=bound * self._price,
            expected=read * self._price,
            payload_key=digest(part.query.encode(), *(text.encode() for text in part.contexts)),
        )

    def payload(self, request: Request) -> Mapping[str, object]:
        """``{query, contexts: [{text}]}``, with `top_k` where the model takes it."""
        part = _part_of(request.pieces[0])
        contexts = [{"text": text} for text in part.contexts]
        top_k = {"top_k": self._expected_of(part)} if self._sends_top_k else {}
        return {**self._fixed, "query": part.query, "contexts": contexts, **top_k}

    def _expected_of(self, part: _Part) -> int:
        """How many scores come back."""
        n = len(part.contexts)
        return min(self._top_k, n) if self._top_k is not None and self._sends_top_k else n

    def parse(self, request: Request, answer: Answer) -> Sequence[object]:
        """The scores of the part, with positions in the whole record.

        Raises:
            UnreadableAnswer: Not one finite score for each context (or for `top_k` of them).
        """
        part = _part_of(request.pieces[0])
        result = answer.result
        given = result.get("response") if isinstance(result, dict) else None
        wanted = self._expected_of(part)
        if not isinstance(given, list) or len(given) != wanted:
            came = f"{len(given)} scores" if isinstance(given, list) else "no scores"
            raise UnreadableAnswer(f"{came} came back for {wanted} of {len(part.contexts)} contexts")
        ranked = [_ranked(item, len(part.contexts)) for item in given]
        if len({one.index for one in ranked}) < len(ranked):
            raise UnreadableAnswer("a context is scored twice")
        return [tuple(replace(one, index=part.first + one.index) for one in ranked)]

    def halved(self, piece: Piece) -> Sequence[Piece]:
        """The first and the second half of the contexts."""
        part = _part_of(piece)
        middle = len(part.contexts) // 2
        if not middle:
            return ()
        parts = (
            replace(part, contexts=part.contexts[:middle]),
            replace(part, first=part.first + middle, contexts=part.contexts[middle:]),
        )
        return in_place_of(piece, [self._piece(piece.record, half) for half in parts])

    def row(self, record: Record, values: Sequence[object]) -> Mapping[str, object]:
        """All scores, or the `top_k` best, the best first; equals in the order of the contexts."""
        found = [one for value in values if isinstance(value, tuple) for one in value if isinstance(one, Ranked)]
        found.sort(key=lambda one: (-one.score, one.index))
        contexts = _contexts(record, self._column)
        return {
            "ranking": [
                {"index": one.index, "score": one.score, "text": contexts[one.index]} for one in found[: self._top_k]
            ]
        }


def _part_of(piece: Piece) -> _Part:
    assert isinstance(piece.content, _Part)
    return piece.content


def _ranked(item: object, n: int) -> Ranked:
    index, score = (item.get("id"), item.get("score")) if isinstance(item, dict) else (None, None)
    if isinstance(index, float) and index.is_integer():
        index = int(index)
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < n:
        raise UnreadableAnswer(f"a score came back for none of the {n} contexts")
    number = finite(score)
    if number is None:
        raise UnreadableAnswer(f"the score of context {index} is no number")
    return Ranked(index, number)


def _contexts(record: Record, column: str) -> list[str]:
    """The texts of a record's contexts: a list of texts or of ``{text}``, or such a list as JSON in a cell.

    Raises:
        RecordUnusable: It is something else, or empty.
    """
    given = record.fields.get(column)
    if given is None:
        there = ", ".join(list(record.fields)[:12]) or "none"
        raise RecordUnusable(f'there is no list in column "{column}" (there are: {there})')
    if isinstance(given, str):
        try:
            given = orjson.loads(given)
        except orjson.JSONDecodeError:
            raise RecordUnusable(f'column "{column}" holds text that is no JSON list') from None
    if not isinstance(given, Sequence) or isinstance(given, str | bytes) or not given:
        raise RecordUnusable(f'column "{column}" holds no list of texts')
    texts = [item.get("text") if isinstance(item, Mapping) else item for item in given]
    for index, text in enumerate(texts):
        if not isinstance(text, str) or not text.strip():
            raise RecordUnusable(f'item {index} of column "{column}" is no text')
        if not text.isascii() and not _is_encodable(text):
            raise RecordUnusable(f'item {index} of column "{column}" holds half a surrogate pair')
    return [text for text in texts if isinstance(text, str)]


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


_INPUT: Final = """\
input:
  path: data/*.jsonl                 # file, glob, folder, list of them, or "-" for stdin
  # items: [{query: "…", contexts: ["…"]}]   # instead of path: records written here
  # format: jsonl                    # jsonl | csv | tsv | parquet; default: by the suffix (.gz, .zst too)
  # text: query                      # column or template with the query; this is the default
  # id: doc_id                       # column with the record id; default: <file>#<row>
  keep: []                           # columns carried to the output
  # limit: 1000                      # only the first records
  # where: lang = 'en'               # SQL condition on the columns
"""

KIND: Final = TaskKind(
    name="rerank",
    adapter=Rerank,
    text=("query", None),
    text_param="query",
    owned=frozenset({"contexts", "text", "requests"}),
    extra=_EXTRA,
    carriers=("contexts",),
    head="""\
task: rerank                         # a ranking of each record's contexts
model: "@cf/baai/bge-reranker-base"  # wai models --task rerank lists others
# params:
#   contexts_column: contexts        # a list of texts or of {text: …}; in csv as JSON
#   top_k: 10                        # only the best
""",
    input=_INPUT,
)
"""`query` is a parameter of the task's own: it may stand in for a column."""

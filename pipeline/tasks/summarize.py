"""`summarize`: a summary of each text by a chat model; a text longer than the model reads, of its parts' summaries.

The model made for it, bart-large-cnn, was retired on 2026-05-30 (changelog of the service), and none took its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from pipeline.errors import PlanError, UnreadableAnswer
from pipeline.records import Answer, Column, Outline, Piece, Record, Request, digest
from pipeline.segments import Segment, halves, passages, size_of
from pipeline.tasks.base import (
    TaskContext,
    TaskKind,
    encodable,
    in_place_of,
    number_param,
    outline_from,
    sendable_text,
    token_bound,
)
from pipeline.tasks.chat import (
    CHAT_FIELDS,
    MESSAGE_TOKENS,
    TEMPLATE_TOKENS,
    THINKING_TOKENS,
    Chat,
    ChatTask,
    Messages,
)
from pipeline.tasks.languages import M2M100

_OWN: Final = frozenset({"instructions", "max_tokens", "language"})
_MAX_TOKENS: Final = 300
_UNKNOWN_WINDOW: Final = 8_192
_BYTES_PER_CONTEXT_TOKEN: Final = 2.4
_LEAST_PART: Final = 1_000
_LARGEST_PART: Final = 2_000_000
_LONGEST_LANGUAGE: Final = 60
_MOST_STAGES: Final = 8
_RULES: Final = (
    "You summarize documents. Keep to what the text says, with the names, numbers and reasons that matter, and add "
    "nothing of your own. Answer with the summary alone."
)


class _Role(StrEnum):
    """What a piece is of its document, and what the model is told about it."""

    WHOLE = ""
    PART = "The text is one part of a longer document."
    SUMMARIES = "The text holds summaries of consecutive parts of one document, in order. Make one summary of them."


@dataclass(frozen=True, slots=True)
class _Part:
    """Something to be summarised.

    Attributes:
        text: Of the document, or summaries of its parts.
        role: Which of these.
        n_pieces: Parts the document was read in, as far as known.
        is_cut: A summary in it ended at the bound.
    """

    text: str
    role: _Role
    n_pieces: int = 1
    is_cut: bool = False

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Summary:
    """What came of a piece.

    Attributes:
        text: The summary.
        is_cut: It, or one it was made of, ended at `max_tokens`.
        n_pieces: As in `_Part`.
    """

    text: str
    is_cut: bool
    n_pieces: int


class Summarize(ChatTask):
    """Adapter of the task `summarize`.

    A text is cut at paragraphs into parts that fit the model's context beside the answer; 2.4 bytes are allowed for a
    token (English has 3.6 or more, and a part the service finds too large is halved). The summaries of the parts are
    joined and summarised in turn, in as many stages as it takes; each has fewer pieces than the one before, and after
    eight there is an end. Each request is bounded as any chat: bytes and frames, and `max_tokens`.
    """

    columns: Sequence[Column] = (
        Column("summary", "string"),
        Column("finish_reason", "string"),
        Column("n_pieces", "int32"),
    )

    keeps_pieces = True

    def __init__(self, context: TaskContext) -> None:
        super().__init__(context)
        params, model = context.params, context.model
        thoughts = THINKING_TOKENS if model.reasoning else 0
        max_tokens = number_param(params, "max_tokens", _MAX_TOKENS + thoughts)
        instructions = params.get("instructions", "")
        if not isinstance(instructions, str):
            raise PlanError("should be text", key="params.instructions")
        self._instructions = instructions
        self._language = _language(params.get("language"))
        self._chat = Chat(context, max_tokens=max_tokens, own=_OWN, fixed={})
        window = model.context_window or _UNKNOWN_WINDOW
        frame = sum(token_bound(message["content"]) for message in self._messages(_Part("", _Role.SUMMARIES)))
        room = window - max_tokens - TEMPLATE_TOKENS - 2 * MESSAGE_TOKENS - frame
        self._most = min(_LARGEST_PART, int(room * _BYTES_PER_CONTEXT_TOKEN))
        if self._most < _LEAST_PART:
            problem = f"leaves no room for a text in the context window of {window:,} tokens of {model.name}"
            raise PlanError(problem, key="params.max_tokens" if "max_tokens" in params else "model")
        self.max_request_bytes = 2 * _LARGEST_PART

    def pieces(self, record: Record) -> list[Piece]:
        """The text, or the parts it has to be read in.

        Raises:
            RecordUnusable: There is no text to send.
        """
        text = sendable_text(self._context.text, record.fields)
        if size_of(text) <= self._most:
            return [self._piece(record, _Part(text, _Role.WHOLE))]
        parts = passages(text, most=self._most, language="en")
        return self._numbered(record, [_Part(part.text, _Role.PART, len(parts)) for part in parts], stage=0)

    def outline(self, record: Record) -> Outline:
        """The sums over the pieces; what becomes necessary after them is not in it."""
        return outline_from(self.pieces(record))

    def _numbered(self, record: Record, parts: Sequence[_Part], *, stage: int) -> list[Piece]:
        return [
            replace(self._piece(record, part), index=index, n_pieces=len(parts), stage=stage)
            for index, part in enumerate(parts)
        ]

    def _piece(self, record: Record, part: _Part) -> Piece:
        messages = self._messages(part)
        size = size_of(part.text)
        return Piece(
            record,
            part,
            size=size,
            ceiling=self._chat.ceiling(messages),
            expected=self._chat.expected(size + len(messages[0]["content"]), self._chat.max_tokens / 2),
            payload_key=digest(part.role.encode(), part.text.encode()),
        )

    def _messages(self, part: _Part) -> Messages:
        language = f"Write in {self._language}." if self._language else "Write in the language of the text."
        rules = " ".join(filter(None, (_RULES, part.role, language)))
        system = f"{rules}\n\n{self._instructions}" if self._instructions else rules
        return [{"role": "system", "content": system}, {"role": "user", "content": part.text}]

    def messages_of(self, piece: Piece) -> Messages:
        """What to do as system message, the text as the user's."""
        return self._messages(_part_of(piece))

    def parse(self, request: Request, answer: Answer) -> Sequence[object]:
        """The summary of the piece.

        Raises:
            UnreadableAnswer: No text came back.
            AnswerCutShort: It ended at a bound below the job's own.
        """
        part = _part_of(request.pieces[0])
        reply = self._chat.reply(request, answer)
        is_cut = part.is_cut or reply.finish_reason == "length"
        return [Summary((reply.text or "").strip(), is_cut, part.n_pieces)]

    def placed(self, piece: Piece, value: object) -> object:
        """With the number of parts of its own record; an earlier run has left it as plain data."""
        summary = Summary(**value) if isinstance(value, dict) else value
        assert isinstance(summary, Summary)
        return replace(summary, n_pieces=_part_of(piece).n_pieces)

    def halved(self, piece: Piece) -> Sequence[Piece]:
        """Two or three parts, cut at paragraphs where possible; nothing below 1,000 bytes."""
        part = _part_of(piece)
        if piece.size <= _LEAST_PART:
            return ()
        role = _Role.PART if part.role is _Role.WHOLE else part.role
        parts = halves(Segment(0, len(part.text), part.text), language="en")
        return in_place_of(
            piece, [self._piece(piece.record, replace(part, text=half.text, role=role)) for half in parts]
        )

    def follow_up(self, record: Record, answered: Sequence[tuple[Piece, object]]) -> Sequence[Piece]:
        """The summaries, joined, as long as there are several and joining them makes fewer."""
        stage = answered[0][0].stage
        if len(answered) == 1 or stage >= _MOST_STAGES:
            return ()
        found = [value for _, value in answered if isinstance(value, Summary)]
        n_pieces = found[0].n_pieces if stage else len(answered)
        is_cut = any(summary.is_cut for summary in found)
        joined = passages(encodable("\n\n".join(summary.text for summary in found)), most=self._most, language="en")
        if len(joined) >= len(answered):
            return ()
        parts = [_Part(part.text, _Role.SUMMARIES, n_pieces, is_cut) for part in joined]
        return self._numbered(record, parts, stage=stage + 1)

    def row(self, record: Record, values: Sequence[object]) -> Mapping[str, object]:
        """The one summary that is left.

        Raises:
            UnreadableAnswer: There are several, too long to be made into one.
        """
        summary = values[0]
        assert isinstance(summary, Summary)
        if len(values) > 1:
            raise UnreadableAnswer(
                f"the summaries of {len(values)} parts are too long to be made into one: lower params.max_tokens, or "
                "take a model with a larger context window"
            )
        reason = "length" if summary.is_cut else "stop"
        return {"summary": summary.text, "finish_reason": reason, "n_pieces": summary.n_pieces}


def _part_of(piece: Piece) -> _Part:
    assert isinstance(piece.content, _Part)
    return piece.content


def _language(given: object) -> str:
    """A language as a model understands it: the name for a code, anything else as it is."""
    if given is None:
        return ""
    if not isinstance(given, str) or not given.strip() or len(given) > _LONGEST_LANGUAGE:
        raise PlanError("should be a language, e.g. German or de", key="params.language")
    return M2M100.get(given.strip().casefold(), given.strip())


KIND: Final = TaskKind(
    name="summarize",
    adapter=Summarize,
    text=("text", None),
    owned=CHAT_FIELDS,
    extra=_OWN,
    carriers=("messages", "prompt"),
    head="""\
task: summarize                      # a summary per record, however long the text is
model: "@cf/meta/llama-3.1-8b-instruct-fp8"   # wai models --task summarize lists others
params:                              # parameters of the model, checked before anything is sent
  max_tokens: 300                    # the most a summary may be long, and cost
  # instructions: Three bullet points for engineers.
  # language: German                 # default: the language of the text
  # temperature: 0.2
""",
)

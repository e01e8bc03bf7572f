"""`classify`: a label for each text, of a model trained for it, or one of the user's own labels by a chat model.

distilbert-sst-2 takes ``{text}`` and answers ``[{label, score}, ..]``. Shapes: npm @cloudflare/workers-types
5.20261117.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from pipeline.errors import PlanError, RecordUnusable, UnreadableAnswer
from pipeline.interfaces import TaskAdapter
from pipeline.records import Answer, Column, Outline, Piece, Record, Request, digest
from pipeline.tasks.base import (
    PricedByInput,
    TaskContext,
    TaskKind,
    encodable,
    expected_tokens,
    finite,
    number_param,
    sendable_text,
    token_bound,
    whole,
)
from pipeline.tasks.chat import (
    CHAT_FIELDS,
    THINKING_TOKENS,
    Chat,
    ChatTask,
    Messages,
    json_mode,
    unfenced,
)

_OWN: Final = frozenset({"labels", "instructions", "multi_label", "max_tokens"})
_SPECIAL_TOKENS: Final = 2
_LONGEST_TEXT: Final = 3_000
_MAX_BYTES: Final = 4_000_000
_MOST_LABELS: Final = 100
_LONGEST_LABEL: Final = 200
_JSON_TOKENS: Final = 32
_LIKELY_TOKENS: Final = 12
_SHOWN: Final = 80
_COLUMNS: Final = (
    Column("label", "string"),
    Column("score", "float64"),
    Column("scores", "list<struct>", fields=(Column("label", "string"), Column("score", "float64"))),
)


def make(context: TaskContext) -> TaskAdapter:
    """Choose by the model: trained for fixed labels, or asked with the user's."""
    return ByLabels(context) if context.model.task == "text-generation" else Trained(context)


class Trained(PricedByInput):
    """Classification by a model with labels of its own.

    A text costs its tokens plus two, bounded by its bytes. The model reads 512 tokens; what the service does with more
    is not documented, so texts that are longer beyond doubt (3,000 bytes) are refused.
    """

    columns: Sequence[Column] = _COLUMNS

    def __init__(self, context: TaskContext) -> None:
        super().__init__(context)
        for name in _OWN:
            if name in context.params:
                raise PlanError(
                    f"{context.model.name} has labels of its own (POSITIVE and NEGATIVE); for labels of yours name a "
                    "text-generation model, e.g. @cf/meta/llama-3.1-8b-instruct-fp8",
                    key=f"params.{name}",
                )

    def pieces(self, record: Record) -> list[Piece]:
        """One text, one piece.

        Raises:
            RecordUnusable: There is no text, or too much of it.
        """
        text = self._text(record)
        return whole(record, text, self._outline(text))

    def outline(self, record: Record) -> Outline:
        """The same without the piece."""
        return self._outline(self._text(record))

    def _text(self, record: Record) -> str:
        text = sendable_text(self._context.text, record.fields)
        if (size := len(text.encode())) > _LONGEST_TEXT:
            raise RecordUnusable(f"the text has {size:,} bytes; the model reads about {_LONGEST_TEXT:,} (512 tokens)")
        return text

    def _outline(self, text: str) -> Outline:
        encoded = text.encode()
        bound = (token_bound(text) + _SPECIAL_TOKENS) * self._price
        return Outline(
            len(encoded), expected_tokens(len(encoded) + _SPECIAL_TOKENS) * self._price, bound, digest(encoded)
        )

    def payload(self, request: Request) -> Mapping[str, object]:
        """``{text}``."""
        return {"text": request.pieces[0].content}

    def parse(self, request: Request, answer: Answer) -> Sequence[object]:
        """All labels with their scores, the best first.

        Raises:
            UnreadableAnswer: Not a list of distinct labels with finite scores.
        """
        result = answer.result
        if not isinstance(result, list) or not 0 < len(result) <= _MOST_LABELS:
            raise UnreadableAnswer("the answer is not a list of labels")
        scores = sorted((_scored(item) for item in result), key=lambda item: -item[1])
        if len({label for label, _ in scores}) < len(scores):
            raise UnreadableAnswer("a label occurs twice in the answer")
        label, score = scores[0]
        return [{"label": label, "score": score, "scores": [{"label": one, "score": each} for one, each in scores]}]


def _scored(item: object) -> tuple[str, float]:
    label, score = (item.get("label"), item.get("score")) if isinstance(item, dict) else (None, None)
    if not isinstance(label, str) or not 0 < len(label) <= _LONGEST_LABEL:
        raise UnreadableAnswer("a label in the answer is no text")
    number = finite(score)
    if number is None:
        raise UnreadableAnswer(f"the score of {label[:_SHOWN]} is no number")
    return label, number


@dataclass(frozen=True, slots=True)
class _Asked:
    """A text to be labelled, and what the model said to it before where that was no label."""

    text: str
    said: str | None = None

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class _Unfit:
    """An answer that names no label."""

    said: str
    problem: str


class ByLabels(ChatTask):
    """Classification by a chat model: it is asked for JSON that can hold nothing but the labels.

    The answer is checked here. One that is not as asked is sent back once, with what is wrong about it; the second
    answer counts, or the record fails. The model gives no scores: `score` is null.
    """

    columns: Sequence[Column] = _COLUMNS

    def __init__(self, context: TaskContext) -> None:
        super().__init__(context)
        params = context.params
        self._labels = _labels(params.get("labels"), context.model.name)
        self._by_name = {label.strip().casefold(): label for label in self._labels}
        is_multi = params.get("multi_label", False)
        instructions = params.get("instructions", "")
        if not isinstance(is_multi, bool):
            raise PlanError("should be true or false", key="params.multi_label")
        if not isinstance(instructions, str):
            raise PlanError("should be text", key="params.instructions")
        self._is_multi = is_multi
        listed = orjson.dumps(self._labels).decode()
        form = (
            '{"labels": [..]} with all labels that apply' if is_multi else '{"label": ".."} with the one that fits best'
        )
        asked = f"Classify the text. The labels are: {listed}. Answer with JSON only: {form}."
        self._system = f"{asked}\n\n{instructions}" if instructions else asked
        schema = _schema(self._labels, is_multi=is_multi)
        self._schema_bound = token_bound(orjson.dumps(schema).decode())
        answer = token_bound(listed) if is_multi else max(map(token_bound, self._labels))
        thoughts = THINKING_TOKENS if context.model.reasoning else 0
        fixed = {"temperature": 0} if "temperature" in context.fields else {}
        self._chat = Chat(
            context,
            max_tokens=number_param(params, "max_tokens", answer + _JSON_TOKENS + thoughts),
            own=_OWN,
            fixed={**fixed, **json_mode(schema, context.fields)},
        )
        self.max_request_bytes = _MAX_BYTES

    def pieces(self, record: Record) -> list[Piece]:
        """One text, one piece.

        Raises:
            RecordUnusable: There is no text to send.
        """
        text = sendable_text(self._context.text, record.fields)
        return whole(record, _Asked(text), self._outline(_Asked(text)))

    def outline(self, record: Record) -> Outline:
        """The same without the piece."""
        return self._outline(_Asked(sendable_text(self._context.text, record.fields)))

    def _outline(self, asked: _Asked) -> Outline:
        messages = self._messages(asked)
        encoded = asked.text.encode()
        size = sum(len(message["content"]) for message in messages) - len(asked.text) + len(encoded)
        return Outline(
            len(encoded),
            self._chat.expected(size + self._schema_bound, min(_LIKELY_TOKENS, self._chat.max_tokens)),
            self._chat.ceiling(messages, self._schema_bound),
            digest(encoded) if asked.said is None else digest(encoded, asked.said.encode()),
        )

    def _messages(self, asked: _Asked) -> Messages:
        first = [{"role": "system", "content": self._system}, {"role": "user", "content": asked.text}]
        if asked.said is None:
            return first
        again = "That is not one of the labels in the form asked for. Answer again, with the JSON only."
        return [*first, {"role": "assistant", "content": asked.said}, {"role": "user", "content": again}]

    def messages_of(self, piece: Piece) -> Messages:
        """What to do as system message, the text as the user's."""
        return self._messages(_asked_of(piece))

    def parse(self, request: Request, answer: Answer) -> Sequence[object]:
        """The columns; or, of a first answer that names no label, what is wrong about it.

        Raises:
            UnreadableAnswer: No text came back, or the second answer is no better.
            AnswerCutShort: It ended at a bound below the job's own.
        """
        reply = self._chat.reply(request, answer)
        said = reply.text or ""
        try:
            labels = self._read(said)
        except UnreadableAnswer as unfit:
            if request.pieces[0].stage:
                raise
            return [_Unfit(encodable(said), str(unfit))]
        return [
            {
                "label": labels[0] if labels else None,
                "score": None,
                "scores": [{"label": label, "score": None} for label in labels],
            }
        ]

    def _read(self, said: str) -> list[str]:
        try:
            parsed = orjson.loads(unfenced(said))
        except orjson.JSONDecodeError:
            parsed = {"labels": [said.strip(" \n\"'.*")]} if self._is_multi else {"label": said.strip(" \n\"'.*")}
        given = parsed.get("labels" if self._is_multi else "label") if isinstance(parsed, dict) else parsed
        found = given if isinstance(given, list) and self._is_multi else [given]
        labels = [self._by_name.get(label.strip().casefold()) if isinstance(label, str) else None for label in found]
        known = [label for label in labels if label is not None]
        if len(known) < len(labels):
            raise UnreadableAnswer(f"the answer is none of the labels: {said[:_SHOWN]!r}")
        return list(dict.fromkeys(known))

    def follow_up(self, record: Record, answered: Sequence[tuple[Piece, object]]) -> Sequence[Piece]:
        """The question again, with the answer that did not fit."""
        piece, value = answered[0]
        if not isinstance(value, _Unfit):
            return ()
        asked = _Asked(_asked_of(piece).text, value.said)
        size, expected, ceiling, payload_key, _ = self._outline(asked)
        return [
            Piece(
                record,
                asked,
                size=size + len(value.said.encode()),
                ceiling=ceiling,
                expected=expected,
                payload_key=payload_key,
                stage=piece.stage + 1,
            )
        ]

    def row(self, record: Record, values: Sequence[object]) -> Mapping[str, object]:
        """The labels.

        Raises:
            UnreadableAnswer: There are none.
        """
        value = values[0]
        if isinstance(value, _Unfit):
            raise UnreadableAnswer(value.problem)
        return super().row(record, values)


def _asked_of(piece: Piece) -> _Asked:
    assert isinstance(piece.content, _Asked)
    return piece.content


def _labels(given: object, model: str) -> list[str]:
    key = "params.labels"
    if given is None:
        raise PlanError(f"{model} needs the labels to choose from, e.g. labels: [praise, complaint, question]", key=key)
    if not isinstance(given, list) or not 2 <= len(given) <= _MOST_LABELS:
        raise PlanError(f"should be a list of 2 to {_MOST_LABELS} labels", key=key)
    for label in given:
        if not isinstance(label, str) or not label.strip() or len(label) > _LONGEST_LABEL:
            raise PlanError(
                f"should hold text of up to {_LONGEST_LABEL} characters, not {str(label)[:_SHOWN]!r}", key=key
            )
    if len({label.strip().casefold() for label in given}) < len(given):
        raise PlanError("should hold each label once", key=key)
    return given


def _schema(labels: Sequence[str], *, is_multi: bool) -> dict[str, object]:
    """Plain types only: unions are what the service's JSON mode gives up on."""
    one: dict[str, object] = {"type": "string", "enum": list(labels)}
    name, value = ("labels", {"type": "array", "items": one}) if is_multi else ("label", one)
    return {"type": "object", "properties": {name: value}, "required": [name], "additionalProperties": False}


KIND: Final = TaskKind(
    name="classify",
    adapter=make,
    text=("text", None),
    owned=CHAT_FIELDS | {"text"},
    extra=_OWN,
    carriers=("text", "messages", "prompt"),
    head="""\
task: classify                       # a label per record
model: "@cf/huggingface/distilbert-sst-2-int8"   # says POSITIVE or NEGATIVE
# params:                            # with a text-generation model, e.g. @cf/meta/llama-3.1-8b-instruct-fp8:
#   labels: [praise, complaint, question]
#   instructions: A question is whatever asks for something.
#   multi_label: true                # any number of labels instead of one
""",
)

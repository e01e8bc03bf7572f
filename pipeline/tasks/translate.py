"""`translate`: a text into another language; long ones in pieces that are put together again.

m2m100 takes ``{text, source_lang, target_lang}``, one text a request, and answers ``{translated_text}``; indictrans2
takes ``{text: [..], target_language}`` and answers ``{translations}``. Shapes: npm @cloudflare/workers-types
5.20261117.1.

Why pieces of 400 bytes: both models were made for sentences, and m2m100's own configuration ends an answer at 200
tokens without a word (``max_length`` in config.json, huggingface.co/facebook/m2m100_1.2B, 2026-11-22; users of the
service report long texts cut short). 400 bytes are about 110 tokens of English prose, which leaves a translation room
to be half as long again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from pipeline.errors import UnreadableAnswer
from pipeline.records import Answer, Column, Outline, Piece, Record, Request, Usage, digest
from pipeline.segments import Segment, halves, has_letters, segments, size_of
from pipeline.tasks.base import (
    PER_MILLION,
    Adapter,
    TaskContext,
    TaskKind,
    expected_tokens,
    nothing_sent,
    outline_from,
    sendable_text,
    token_bound,
)
from pipeline.tasks.chat import price_of
from pipeline.tasks.translation.between import PARAMS as LANGUAGE_PARAMS
from pipeline.tasks.translation.between import Between, Languages
from pipeline.tasks.translation.language import iso_code

_PIECE_BYTES: Final = 400
_LEAST_HALVED: Final = 40
_SPECIAL_TOKENS: Final = 8
_LEAST_OUTPUT: Final = 256
_MOST_OUTPUT: Final = 1024
_TEXTS_PER_REQUEST: Final = 16
_MAX_BYTES: Final = 100_000


class Translate(Adapter):
    """Adapter of the task `translate`. A text is cut into segments; each is a piece.

    Input is bounded by its bytes. No parameter bounds the output. What does: a translation has no more tokens than its
    source has bytes (a token is three to five letters), a decoder that goes astray ends at 200 tokens (the model's own
    configuration) or 256 (default of the common runtimes), and nothing is written past the model's 1,024 positions. So
    the output is reserved at as many tokens as the input has bytes, at least 256 and at most 1,024; in rehearsals on
    help pages that is six times the charge. Should the service ever charge more, the sender reserves more from then on.
    """

    columns: Sequence[Column] = (
        Column("translation", "string"),
        Column("source_lang", "string"),
        Column("target_lang", "string"),
    )

    shares_pieces = True

    def __init__(self, context: TaskContext) -> None:
        super().__init__(context)
        self._is_indic = "target_language" in context.fields
        self._in = (context.model.input_per_m_tokens or 0.0) * PER_MILLION
        self._out = (context.model.output_per_m_tokens or 0.0) * PER_MILLION
        self._languages = Languages(context.params, is_indic=self._is_indic)
        most = _TEXTS_PER_REQUEST if self._is_indic and not self._languages.is_per_record else 1
        self.max_pieces = min(context.batch_size or most, most)
        self.max_request_bytes = _MAX_BYTES

    def pieces(self, record: Record) -> list[Piece]:
        """The segments that have letters; none where the text is its own translation.

        Raises:
            RecordUnusable: There is no text, or no language the model takes.
        """
        text, between = self._read(record)
        if between.is_done:
            return []
        found = segments(text, most=_PIECE_BYTES, language=iso_code(between.source or ""))
        sent = [segment for segment in found if has_letters(segment.text)]
        pieces = [
            self._piece(record, segment, between, index=index, n_pieces=len(sent)) for index, segment in enumerate(sent)
        ]
        # what lies between the pieces is part of the answer
        key = digest(text.encode(), *(piece.payload_key for piece in pieces))
        return [replace(piece, record_key=key) for piece in pieces]

    def outline(self, record: Record) -> Outline:
        """The sums over the pieces."""
        if pieces := self.pieces(record):
            return outline_from(pieces)
        text, between = self._read(record)
        return nothing_sent(digest(text.encode(), (between.source or "").encode(), between.target.encode()))

    def _read(self, record: Record) -> tuple[str, Between]:
        text = sendable_text(self._context.text, record.fields)
        return text, self._languages.of(record, text)

    def _piece(self, record: Record, segment: Segment, between: Between, *, index: int, n_pieces: int) -> Piece:
        text = _sent(segment)
        size = size_of(text)
        bound = token_bound(text) + _SPECIAL_TOKENS
        output = min(_MOST_OUTPUT, max(_LEAST_OUTPUT, bound))
        expected = expected_tokens(size + _SPECIAL_TOKENS)
        return Piece(
            record,
            segment,
            size=size,
            ceiling=bound * self._in + output * self._out,
            expected=expected * (self._in + self._out),
            payload_key=digest(*(part.encode() for part in (text, between.source or "", between.target))),
            index=index,
            n_pieces=n_pieces,
        )

    def payload(self, request: Request) -> Mapping[str, object]:
        """``{text, source_lang, target_lang}``, or ``{text: [..], target_language}``; line breaks as spaces."""
        record = request.pieces[0].record
        texts = [_sent(_segment_of(piece)) for piece in request.pieces]
        _, between = self._read(record)
        if self._is_indic:
            return {"text": texts, "target_language": between.target}
        return {"text": texts[0], "source_lang": between.source, "target_lang": between.target}

    def price(self, usage: Usage) -> float | None:
        """Input and output tokens at the model's prices, should an answer count them."""
        return price_of(self._context.model, usage)

    def parse(self, request: Request, answer: Answer) -> Sequence[object]:
        """The translation of each piece.

        Raises:
            UnreadableAnswer: Not one text per piece.
        """
        result = answer.result
        given = (
            result.get("translations" if self._is_indic else "translated_text") if isinstance(result, dict) else None
        )
        texts = given if self._is_indic else [given]
        if not isinstance(texts, list) or len(texts) != len(request.pieces):
            raise UnreadableAnswer(f"the answer is not {len(request.pieces)} translations")
        return [_translated(text) for text in texts]

    def placed(self, piece: Piece, value: object) -> object:
        """At the place of its segment."""
        return replace(_segment_of(piece), text=_translated(value))

    def halved(self, piece: Piece) -> Sequence[Piece]:
        """Two or three parts, cut at sentences where possible; nothing below 40 bytes."""
        segment, record = _segment_of(piece), piece.record
        if piece.size <= _LEAST_HALVED:
            return ()
        _, between = self._read(record)
        parts = [part for part in halves(segment, language=iso_code(between.source or "")) if has_letters(part.text)]
        return [
            replace(
                self._piece(record, part, between, index=piece.index, n_pieces=piece.n_pieces),
                part=(*piece.part, number),
                stage=piece.stage,
                record_key=piece.record_key,
            )
            for number, part in enumerate(parts)
        ]

    def row(self, record: Record, values: Sequence[object]) -> Mapping[str, object]:
        """The translations with what lay between the segments, as it was."""
        text, between = self._read(record)
        return {
            "translation": _joined(text, values),
            "source_lang": between.source,
            "target_lang": between.target,
        }


def _segment_of(piece: Piece) -> Segment:
    assert isinstance(piece.content, Segment)
    return piece.content


def _sent(segment: Segment) -> str:
    """A segment as it travels: the line breaks of a wrapped paragraph are spaces."""
    return " ".join(segment.text.split())


def _translated(text: object) -> str:
    if not isinstance(text, str):
        raise UnreadableAnswer("the answer holds no translation")
    if not (stripped := text.strip()):
        raise UnreadableAnswer("the translation is empty")
    return stripped


def _joined(text: str, values: Sequence[object]) -> str:
    """Put translations in the places of their segments.

    Where segments touched, as Chinese or Japanese sentences do, a space comes between their translations.
    """
    parts: list[str] = []
    at = 0
    for value in values:
        assert isinstance(value, Segment)
        between = text[at : value.start]
        touched = at and not between and not text[at - 1].isascii()
        parts += [" " if touched else between, value.text]
        at = value.end
    return "".join([*parts, text[at:]])


KIND: Final = TaskKind(
    name="translate",
    adapter=Translate,
    text=("text", None),
    owned=frozenset({"text", "requests"}),
    extra=LANGUAGE_PARAMS,
    carriers=("text",),
    head="""\
task: translate                      # one translation per record; long texts are cut and put together again
model: "@cf/meta/m2m100-1.2b"        # wai models --task translate lists others
params:                              # codes or English names: de, pt-BR, zh-Hant, German
  source_lang: en                    # the language the texts are in; auto: what each shows (workers-ai-batch[language])
  target_lang: de                    # the language they are translated into
  # source_lang_column: lang         # column with the language of each record
  # target_lang_column: into
  # detect_language: true            # texts in the target language already are passed through, at no cost
""",
)

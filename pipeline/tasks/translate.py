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

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from pipeline.errors import PlanError, RecordUnusable, UnreadableAnswer
from pipeline.records import Answer, Column, Outline, Piece, Record, Request, Usage, digest
from pipeline.segments import Segment, halves, has_letters, segments, size_of
from pipeline.tasks.base import (
    PER_MILLION,
    Adapter,
    TaskContext,
    TaskKind,
    expected_tokens,
    outline_from,
    sendable_text,
    token_bound,
)
from pipeline.tasks.chat import price_of
from pipeline.tasks.languages import UnknownLanguage, indic_code, m2m100_code

_EXTRA: Final = frozenset({"source_lang", "target_lang", "source_lang_column", "target_lang_column", "target_language"})
_PIECE_BYTES: Final = 400
_LEAST_HALVED: Final = 40
_SPECIAL_TOKENS: Final = 8
_LEAST_OUTPUT: Final = 256
_MOST_OUTPUT: Final = 1024
_TEXTS_PER_REQUEST: Final = 16
_MAX_BYTES: Final = 100_000
_ENGLISH: Final = "eng_Latn"


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
        params = context.params
        self._is_indic = "target_language" in context.fields
        self._in = (context.model.input_per_m_tokens or 0.0) * PER_MILLION
        self._out = (context.model.output_per_m_tokens or 0.0) * PER_MILLION
        if "target_language" in params:
            raise PlanError("write target_lang, whatever the model calls it", key="params.target_language")
        code = indic_code if self._is_indic else m2m100_code
        self._source = _Language(params, "source_lang", _from_english if self._is_indic else code)
        self._target = _Language(params, "target_lang", code)
        if self._is_indic:
            self._source = self._source.or_default(_ENGLISH)
        for language in (self._source, self._target):
            language.check()
        if self._source.default == self._target.default is not None and not self._is_per_record:
            raise PlanError("is the language the texts are in already", key="params.target_lang")
        most = _TEXTS_PER_REQUEST if self._is_indic and not self._is_per_record else 1
        self.max_pieces = min(context.batch_size or most, most)
        self.max_request_bytes = _MAX_BYTES

    @property
    def _is_per_record(self) -> bool:
        return self._source.column is not None or self._target.column is not None

    def pieces(self, record: Record) -> list[Piece]:
        """The segments that have letters; the first one where none has.

        Raises:
            RecordUnusable: There is no text, or no language the model takes.
        """
        text = sendable_text(self._context.text, record.fields)
        source, target = self._source.of(record), self._target.of(record)
        if source == target:
            raise RecordUnusable(f"the text is in the language it should be translated into already ({target})")
        found = segments(text, most=_PIECE_BYTES, language=_iso(source))
        sent = [segment for segment in found if has_letters(segment.text)] or found[:1]
        pieces = [
            self._piece(record, segment, (source, target), index=index, n_pieces=len(sent))
            for index, segment in enumerate(sent)
        ]
        # what lies between the pieces is part of the answer
        key = digest(text.encode(), *(piece.payload_key for piece in pieces))
        return [replace(piece, record_key=key) for piece in pieces]

    def outline(self, record: Record) -> Outline:
        """The sums over the pieces."""
        return outline_from(self.pieces(record))

    def _piece(
        self, record: Record, segment: Segment, languages: tuple[str, str], *, index: int, n_pieces: int
    ) -> Piece:
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
            payload_key=digest(*(part.encode() for part in (text, *languages))),
            index=index,
            n_pieces=n_pieces,
        )

    def payload(self, request: Request) -> Mapping[str, object]:
        """``{text, source_lang, target_lang}``, or ``{text: [..], target_language}``; line breaks as spaces."""
        record = request.pieces[0].record
        texts = [_sent(_segment_of(piece)) for piece in request.pieces]
        target = self._target.of(record)
        if self._is_indic:
            return {"text": texts, "target_language": target}
        return {"text": texts[0], "source_lang": self._source.of(record), "target_lang": target}

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
        languages = (self._source.of(record), self._target.of(record))
        parts = [part for part in halves(segment, language=_iso(languages[0])) if has_letters(part.text)]
        return [
            replace(
                self._piece(record, part, languages, index=piece.index, n_pieces=piece.n_pieces),
                part=(*piece.part, number),
                stage=piece.stage,
                record_key=piece.record_key,
            )
            for number, part in enumerate(parts)
        ]

    def row(self, record: Record, values: Sequence[object]) -> Mapping[str, object]:
        """The translations with what lay between the segments, as it was."""
        source, target = self._source.of(record), self._target.of(record)
        translation = _joined(sendable_text(self._context.text, record.fields), values)
        return {"translation": translation, "source_lang": source, "target_lang": target}


class _Language:
    """Which language: one for all, or a column of the record, or both (then the first stands in for an empty cell).

    Args:
        params: Of the job.
        name: ``source_lang`` or ``target_lang``.
        code: Finds the model's code.

    Raises:
        PlanError: The parameter is no language the model takes.
    """

    def __init__(self, params: Mapping[str, object], name: str, code: Callable[[str], str]) -> None:
        self._name, self._code = name, code
        given, column = params.get(name), params.get(f"{name}_column")
        if column is not None and (not isinstance(column, str) or not column):
            raise PlanError("should be the name of a column", key=f"params.{name}_column")
        self.column = column
        self.default: str | None = None
        if given is not None:
            if not isinstance(given, str):
                raise PlanError("should be a language code or name", key=f"params.{name}")
            try:
                self.default = code(given)
            except UnknownLanguage as unknown:
                raise PlanError(str(unknown), key=f"params.{name}") from None

    def or_default(self, code: str) -> _Language:
        """The same, with a language for records that name none."""
        self.default = self.default or code
        return self

    def check(self) -> None:
        """See that there is a language for every record.

        Raises:
            PlanError: Neither parameter is given.
        """
        if self.default is None and self.column is None:
            which = "the texts are in" if self._name == "source_lang" else "they are translated into"
            problem = f"say which language {which}, e.g. de or German; or name a column: params.{self._name}_column"
            raise PlanError(problem, key=f"params.{self._name}")

    def of(self, record: Record) -> str:
        """The model's code for a record.

        Raises:
            RecordUnusable: Its column holds no language the model takes.
        """
        given = record.fields.get(self.column) if self.column is not None else None
        if given is None or given == "":
            if self.default is None:
                raise RecordUnusable(f'column "{self.column}" names no language')
            return self.default
        if not isinstance(given, str):
            raise RecordUnusable(f'column "{self.column}" holds no language code or name')
        try:
            return self._code(given)
        except UnknownLanguage as unknown:
            raise RecordUnusable(f'column "{self.column}": {unknown}') from None


def _from_english(given: str) -> str:
    """indictrans2 translates from English only."""
    with contextlib.suppress(UnknownLanguage):
        if indic_code(given) == _ENGLISH:
            return _ENGLISH
    raise UnknownLanguage(f'"{given}" is not what indictrans2 translates from: its texts are English')


def _iso(code: str) -> str:
    """The code as sentence rules know it."""
    return "en" if code == _ENGLISH else code


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
    extra=_EXTRA,
    carriers=("text",),
    head="""\
task: translate                      # one translation per record; long texts are cut and put together again
model: "@cf/meta/m2m100-1.2b"        # wai models --task translate lists others
params:                              # codes or English names: de, pt-BR, zh-Hant, German
  source_lang: en                    # the language the texts are in
  target_lang: de                    # the language they are translated into
  # source_lang_column: lang         # column with the language of each record
  # target_lang_column: into
""",
)

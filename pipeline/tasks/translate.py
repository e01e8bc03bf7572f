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
from typing import Final, cast

from pipeline.errors import AttemptError, PlanError, UnreadableAnswer
from pipeline.records import Answer, Column, Outline, Piece, Record, Request, Usage, digest
from pipeline.segments import segments, size_of
from pipeline.tasks.base import (
    PER_MILLION,
    Adapter,
    TaskContext,
    TaskKind,
    expected_tokens,
    flag_param,
    in_place_of,
    nothing_sent,
    outline_from,
    sendable_text,
    token_bound,
)
from pipeline.tasks.chat import price_of
from pipeline.tasks.translation.between import PARAMS as LANGUAGE_PARAMS
from pipeline.tasks.translation.between import Between, Languages
from pipeline.tasks.translation.glossary import Terms, read_glossary
from pipeline.tasks.translation.language import iso_code
from pipeline.tasks.translation.markup import Format, format_of, strips_of
from pipeline.tasks.translation.placing import (
    Passage,
    Placed,
    again,
    halves_of,
    joined,
    judged,
    place,
    settled,
    sorted_out,
    warnings_of,
)
from pipeline.tasks.translation.strips import Strip

_EXTRA: Final = LANGUAGE_PARAMS | {"format", "glossary", "retry_doubtful"}
_FORMATS: Final = ("auto", "text", "markdown", "html")
_PIECE_BYTES: Final = 400
_SPECIAL_TOKENS: Final = 8
_LEAST_OUTPUT: Final = 256
_MOST_OUTPUT: Final = 1024
_TEXTS_PER_REQUEST: Final = 16
_MAX_BYTES: Final = 100_000


class Translate(Adapter):
    """Adapter of the task `translate`. The prose of a text is cut into segments; each is a piece (docs/translation.md).

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
        Column("warnings", "list<string>"),
    )

    shares_pieces = True

    def __init__(self, context: TaskContext) -> None:
        super().__init__(context)
        params = context.params
        self._is_indic = "target_language" in context.fields
        self._in = (context.model.input_per_m_tokens or 0.0) * PER_MILLION
        self._out = (context.model.output_per_m_tokens or 0.0) * PER_MILLION
        self._languages = Languages(params, is_indic=self._is_indic)
        form = params.get("format", "auto")
        if form not in _FORMATS:
            raise PlanError(f"should be auto, text, markdown or html, not {form!r}", key="params.format")
        self._format = cast("Format | None", None if form == "auto" else form)
        self._retries_doubts = flag_param(params, "retry_doubtful")
        glossary = params.get("glossary")
        self._glossary = read_glossary(glossary, self._languages.codes) if glossary is not None else None
        self._terms: dict[tuple[str, str], Terms] = {}
        if self._glossary is not None:
            self.also_read = self._glossary.key
        most = _TEXTS_PER_REQUEST if self._is_indic and not self._languages.is_per_record else 1
        self.max_pieces = min(context.batch_size or most, most)
        self.max_request_bytes = _MAX_BYTES

    def pieces(self, record: Record) -> list[Piece]:
        """The segments of the prose that have letters; none where the text is its own translation.

        Raises:
            RecordUnusable: There is no text, or no language the model takes.
        """
        return self._cut(record)[0]

    def outline(self, record: Record) -> Outline:
        """The sums over the pieces."""
        pieces, key = self._cut(record)
        return outline_from(pieces) if pieces else nothing_sent(key)

    def _cut(self, record: Record) -> tuple[list[Piece], bytes]:
        """The pieces, and what the row is made of beside their answers: what lies between, the glossary, the format."""
        text, between = self._read(record)
        cut = self._strips(record, text, between)
        sent, known = sorted_out(cut)
        passages = [Passage(strip, languages=between.codes) for strip in sent]
        if passages:
            passages[0] = replace(passages[0], carried=tuple(known))
        pieces = self._numbered(record, passages)
        terms = [shield.back.encode() for strip in cut for shield in strip.shields if shield.is_word]
        keys = [piece.payload_key for piece in pieces] or [code.encode() for code in between.codes]
        # what a model adds is escaped in one format and not in another
        form = [] if self._format or (found := format_of(record.source)) == "text" else [found.encode()]
        key = digest(text.encode(), *form, *terms, *keys)
        return [replace(piece, record_key=key) for piece in pieces], key

    def _read(self, record: Record) -> tuple[str, Between]:
        text = sendable_text(self._context.text, record.fields)
        return text, self._languages.of(record, text)

    def _strips(self, record: Record, text: str, between: Between) -> list[Strip]:
        """The prose in parts that are small enough; those without letters too."""
        if between.is_done:
            return []
        return [
            strip.part(found.start, found.end)
            for strip in strips_of(text, self._format or format_of(record.source), self._terms_between(between.codes))
            for found in segments(strip.text, most=_PIECE_BYTES, language=iso_code(between.codes[0]))
        ]

    def _terms_between(self, languages: tuple[str, str]) -> Terms | None:
        if self._glossary is None:
            return None
        if languages not in self._terms:
            self._terms[languages] = self._glossary.between(*languages)
        return self._terms[languages]

    def _numbered(self, record: Record, passages: Sequence[Passage], *, stage: int = 0) -> list[Piece]:
        return [
            replace(self._piece(record, passage), index=index, n_pieces=len(passages), stage=stage)
            for index, passage in enumerate(passages)
        ]

    def _piece(self, record: Record, passage: Passage) -> Piece:
        text = passage.text
        size = size_of(text)
        bound = token_bound(text) + _SPECIAL_TOKENS
        output = min(_MOST_OUTPUT, max(_LEAST_OUTPUT, bound))
        expected = expected_tokens(size + _SPECIAL_TOKENS)
        return Piece(
            record,
            passage,
            size=size,
            ceiling=bound * self._in + output * self._out,
            expected=expected * (self._in + self._out),
            payload_key=digest(*(part.encode() for part in (text, *passage.languages))),
        )

    def payload(self, request: Request) -> Mapping[str, object]:
        """``{text, source_lang, target_lang}``, or ``{text: [..], target_language}``; marks for shields."""
        texts = [_passage_of(piece).text for piece in request.pieces]
        source, target = _passage_of(request.pieces[0]).languages
        if self._is_indic:
            return {"text": texts, "target_language": target}
        return {"text": texts[0], "source_lang": source, "target_lang": target}

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
        """At the place of its passage, with the reasons for which it is asked again."""
        assert isinstance(value, str)
        passage = _passage_of(piece)
        return judged(passage, place(passage, value), value, passage.languages)

    def halved(self, piece: Piece) -> Sequence[Piece]:
        """Two or three parts, cut at sentences where possible; nothing below 40 bytes."""
        passage = _passage_of(piece)
        strips, known = halves_of(passage.strip, iso_code(passage.languages[0]))
        parts = [replace(passage, strip=strip, carried=()) for strip in strips]
        if parts:
            parts[0] = replace(parts[0], carried=(*passage.carried, *known))
        return in_place_of(piece, [self._piece(piece.record, part) for part in parts])

    def follow_up(self, record: Record, answered: Sequence[tuple[Piece, object]]) -> Sequence[Piece]:
        """Pieces with a reason once more, in parts; the first part carries the answers that stand so far."""
        languages = _passage_of(answered[0][0]).languages
        standing: list[Placed] = []
        parts: list[Passage] = []
        for piece, value in answered:
            assert isinstance(value, Placed)
            strips, known = again(
                _passage_of(piece), value, iso_code(languages[0]), retries_doubts=self._retries_doubts
            )
            standing += [*value.carried, *known]
            parts += [Passage(strip, is_second=True, languages=languages) for strip in strips]
            if not strips or value.is_doubted:
                standing.append(replace(value, carried=(), is_first=bool(strips)))
        if not parts:
            return ()
        parts[0] = replace(parts[0], carried=tuple(standing))
        first = answered[0][0]
        pieces = self._numbered(record, parts, stage=first.stage + 1)
        return [replace(piece, record_key=first.record_key) for piece in pieces]

    def fallback(self, piece: Piece, error: AttemptError) -> object | None:
        """Nothing, for a part that was asked for again: its source stands there, with a warning."""
        return "" if _passage_of(piece).is_second else None

    def row(self, record: Record, values: Sequence[object]) -> Mapping[str, object]:
        """The translations, and what lay between them as it was."""
        text, between = self._read(record)
        known = settled(values) if values else sorted_out(self._strips(record, text, between))[1]
        return {
            "translation": joined(text, known),
            "source_lang": between.source,
            "target_lang": between.target,
            "warnings": warnings_of(text, known),
        }


def _passage_of(piece: Piece) -> Passage:
    assert isinstance(piece.content, Passage)
    return piece.content


def _translated(text: object) -> str:
    if not isinstance(text, str):
        raise UnreadableAnswer("the answer holds no translation")
    if not (stripped := text.strip()):
        raise UnreadableAnswer("the translation is empty")
    return stripped


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
  source_lang: en                    # the language the texts are in; auto: what each shows (workers-ai-batch[language])
  target_lang: de                    # the language they are translated into
  # source_lang_column: lang         # column with the language of each record
  # target_lang_column: into
  # detect_language: true            # texts in the target language already are passed through, at no cost
  format: auto                       # auto (by the file's name) | text | markdown | html
  # retry_doubtful: true             # ask again, in parts, for what is in the wrong language, cut off, looped, ...
  # glossary: terms.csv              # source,target: terms that are always translated in the same way
""",
)

"""Cuts a text into segments that are small enough to send, at the most natural places, and knows where each one stood.

Pure. Takes a text, hands on `Segment`s in order. What lies between them (white space, blank lines, list markers) is in
none of them, so that whoever puts the parts together again takes it from the text itself. Places to cut, the best
first: lines, sentences (library sentencex, which knows 200 languages), clauses, words, and characters that nothing is
combined with.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Final

LEAST: Final = 4
"""Bytes of the longest character: no limit can be lower."""

_MARKER: Final = re.compile(r"(?:(?:[-*+•‣▪◦–—>#|]+|\d{1,3}[.)]|[A-Za-z][)])\s+)+")  # noqa: RUF001 - marks of many scripts
_CLAUSE: Final = re.compile(r"(?<=[,;:…—)])(?=\s)|(?<=[,;:，、；：،؛।])(?<![ -~])")  # noqa: RUF001 - marks of many scripts
_WORD: Final = re.compile(r"\S+")
_HALF_PAIR: Final = re.compile("[\ud800-\udfff]")
_BLANK_LINES: Final = re.compile(r"(?:\r\n|[\r\n])[ \t]*(?:\r\n|[\r\n])\s*")
_ENDS: Final = tuple(".!?:;…。！？；：।")  # noqa: RUF001 - marks of many scripts
_CLOSERS: Final = "\"'”’»)]）」』"  # noqa: RUF001 - marks of many scripts
_OPENERS: Final = "\"'“‘«([`*_\ufffc"  # noqa: RUF001 - marks of many scripts, and what stands for an object
_SHORTEST_WRAPPED: Final = 40
_LONGEST_CLUSTER: Final = 16
_MOST_AT_ONCE: Final = 4_000
"""Characters in which sentences are looked for: the time sentencex (1.0.32) needs for ``![![![`` and the like grows
with the square of their length, 3 s for 60 kB."""
_ZERO_WIDTH_JOINER: Final = "\u200d"
_MODIFIERS: Final = range(0x1F3FB, 0x1F400)

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a text.

    Attributes:
        start: Position of its first character in the text.
        end: Position after its last.
        text: What stands there; begins and ends with something other than white space.
    """

    start: int
    end: int
    text: str

    def __str__(self) -> str:
        """The text alone."""
        return self.text


def segments(text: str, *, most: int, language: str) -> list[Segment]:
    """Cut at lines that mean something, and what is longer than `most` further: each segment lies within one paragraph.

    A line break in the middle of a sentence (text wrapped at a fixed width) does not end a segment; one after a short
    line, the end of a sentence or before a list marker does. Markers (``- ``, ``1. ``, ``# ``) are in no segment.

    Args:
        text: Any.
        most: Bytes of UTF-8 of a segment, >= 4.
        language: ISO 639-1 code, for abbreviations and the ends of sentences.

    Raises:
        ValueError: `most` is below 4.
    """
    spans = _spans(
        text, _blocks(text), most, (_sentences(language), _clauses, _words, _characters(most, size_of)), size_of
    )
    return [Segment(start, end, text[start:end]) for start, end in spans]


def passages(text: str, *, most: int, language: str, measure: Measure | None = None) -> list[Segment]:
    """Cut into as few parts as fit `most`: at blank lines where possible, else at lines, sentences, clauses, words.

    Args:
        text: Any.
        most: Size of a part, >= 4: bytes of UTF-8, or what `measure` counts.
        language: ISO 639-1 code.
        measure: Size of a text: never more than the sizes of its parts together, and of a character never above `most`.

    Raises:
        ValueError: `most` is below 4.
    """
    size = measure or size_of
    cuts = (_paragraphs, _lines, _sentences(language), _clauses, _words, _characters(most, size))
    whole = _trimmed(text, 0, len(text))
    fitted = _spans(text, [whole] if whole else [], most, cuts, size)
    return [Segment(start, end, text[start:end]) for start, end in _packed(text, fitted, most, size)]


def beginning(text: str, *, most: int, language: str, measure: Measure | None = None) -> Segment:
    """As many whole sentences from the first on as fit `most`, whatever paragraphs they are in; part of one at least.

    Args:
        text: Holds something other than white space.
        most: As in `passages`.
        language: ISO 639-1 code.
        measure: As in `passages`.

    Raises:
        ValueError: `most` is below 4.
    """
    size = measure or size_of
    whole = _trimmed(text, 0, len(text))
    assert whole is not None
    cuts = (_sentences(language), _clauses, _words, _characters(most, size))
    start, end = _packed(text, _spans(text, [whole], most, cuts, size), most, size)[0]
    return Segment(start, end, text[start:end])


def halves(segment: Segment, *, language: str) -> list[Segment]:
    """Cut a segment near its middle; an empty list where it cannot be cut."""
    most = max(LEAST, size_of(segment.text) * 5 // 8)
    parts = passages(segment.text, most=most, language=language)
    if len(parts) < 2:
        return []
    return [Segment(segment.start + part.start, segment.start + part.end, part.text) for part in parts]


def size_of(text: str) -> int:
    """Bytes of UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def has_letters(text: str) -> bool:
    """Whether there is anything in it that a language could say."""
    return any(map(str.isalpha, text))


Cut = Callable[[str, int, int], Sequence[Span]]
"""Takes a text and a span of it, returns spans inside it, in order; between them is nothing but white space."""

Measure = Callable[[str], int]
"""Size of a text."""


def _spans(text: str, blocks: Sequence[Span], most: int, cuts: Sequence[Cut], measure: Measure) -> list[Span]:
    if most < LEAST:
        raise ValueError(f"most: {most} bytes cannot hold every character; at least {LEAST}")
    return [span for start, end in blocks for span in _fitted(text, start, end, most, cuts, measure)]


def _fitted(text: str, start: int, end: int, most: int, cuts: Sequence[Cut], measure: Measure) -> list[Span]:
    """Cut a span at the best places that make its parts fit, parts as long as they may be."""
    if measure(text[start:end]) <= most:
        return [(start, end)]
    fitted: list[Span] = []
    for first, last in _packed(text, cuts[0](text, start, end), most, measure):
        fitted += _fitted(text, first, last, most, cuts[1:], measure)
    return fitted


def _packed(text: str, spans: Sequence[Span], most: int, measure: Measure) -> list[Span]:
    """Put neighbours together as long as they fit."""
    packed: list[Span] = []
    size = 0
    for start, end in spans:
        if packed:
            grown = size + measure(text[packed[-1][1] : end])
            if grown <= most:
                packed[-1], size = (packed[-1][0], end), grown
                continue
        packed.append((start, end))
        size = measure(text[start:end])
    return packed


def _trimmed(text: str, start: int, end: int) -> Span | None:
    """The span without white space around it; None where there is nothing else."""
    part = text[start:end]
    start += len(part) - len(part.lstrip())
    end -= len(part) - len(part.rstrip())
    return (start, end) if start < end else None


def _between(text: str, places: Sequence[int]) -> list[Span]:
    """The spans between some places, trimmed."""
    return [span for start, end in pairwise(places) if (span := _trimmed(text, start, end)) is not None]


def _blocks(text: str) -> list[Span]:
    """Lines, those of a wrapped paragraph together, without list markers."""
    blocks: list[Span] = []
    at, indent, is_open = 0, 0, False
    for line in text.splitlines(keepends=True):
        span = _trimmed(text, at, at + len(line))
        at += len(line)
        if span is None:
            is_open = False
            continue
        margin = span[0] - at + len(line)
        marker = _MARKER.match(text, *span)
        if is_open and marker is None and margin == indent and _is_wrapped(text, blocks[-1], span[0]):
            blocks[-1] = (blocks[-1][0], span[1])
            continue
        if marker is not None and marker.end() < span[1]:
            span = (marker.end(), span[1])
        blocks.append(span)
        is_open, indent = True, margin
    return blocks


def _is_wrapped(text: str, block: Span, following: int) -> bool:
    """Whether the last line of a block goes on in the line that begins at `following`."""
    last = text[block[0] : block[1]].splitlines()[-1]
    return (
        len(last) >= _SHORTEST_WRAPPED
        and not last.rstrip(_CLOSERS).endswith(_ENDS)
        and (text[following].isalnum() or text[following] in _OPENERS)
    )


def _paragraphs(text: str, start: int, end: int) -> list[Span]:
    return _between(text, [start, *(match.end() for match in _BLANK_LINES.finditer(text, start, end)), end])


def _lines(text: str, start: int, end: int) -> list[Span]:
    places = [start]
    for line in text[start:end].splitlines(keepends=True):
        places.append(places[-1] + len(line))
    return _between(text, places)


def _sentences(language: str) -> Cut:
    import sentencex  # noqa: PLC0415 - loaded by jobs that cut texts only

    def cut(text: str, start: int, end: int) -> list[Span]:
        places = [start]
        first = start
        while first < end:
            last = min(first + _MOST_AT_ONCE, end)
            part = _HALF_PAIR.sub("\ufffd", text[first:last])  # which the library cannot take
            ends = [first + at for at in accumulate(map(len, sentencex.segment(language, part)))]
            found = [at for at in ends if at < last]
            places += found
            first = found[-1] if found and last < end else last  # the last sentence may go on behind
        return _between(text, [*places, end])

    return cut


def _clauses(text: str, start: int, end: int) -> list[Span]:
    return _between(text, [start, *(match.start() for match in _CLAUSE.finditer(text, start, end)), end])


def _words(text: str, start: int, end: int) -> list[Span]:
    return [match.span() for match in _WORD.finditer(text, start, end)]


def _characters(most: int, measure: Measure) -> Cut:
    """Parts of as many characters as fit, cut where no mark is torn from its letter unless there are too many marks."""

    def cut(text: str, start: int, end: int) -> list[Span]:
        places, size = [start], 0
        at = start
        while at < end:
            size += measure(text[at])
            if size > most:
                at = _clean_cut(text, places[-1], at)
                places.append(at)
                size = 0
            else:
                at += 1
        return _between(text, [*places, end])

    return cut


def _clean_cut(text: str, start: int, at: int) -> int:
    """The nearest place at or before `at` where a character begins for a reader; `at` itself where there is none."""
    for place in range(at, max(start, at - _LONGEST_CLUSTER), -1):
        if not _is_bound(text[place]) and text[place - 1] != _ZERO_WIDTH_JOINER:
            return place
    return at


def _is_bound(character: str) -> bool:
    """Whether it belongs to the one before it."""
    return (
        unicodedata.category(character).startswith("M")
        or character == _ZERO_WIDTH_JOINER
        or ord(character) in _MODIFIERS
    )

"""An answer put back in its place: marks replaced, markup looked after, and what is wrong with it said.

An answer that may not stand (a mark is lost, an element of markup came or went) is asked for again in parts; what may
not stand then either is left as it is in the source, and a warning says so. One that is only doubted (`guards`) stands
with a warning; where the job wants that, it is asked for again in parts as well, and whichever leaves less in doubt is
kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from pipeline.segments import Segment, halves, has_letters, size_of
from pipeline.tasks.translation.guards import doubts
from pipeline.tasks.translation.marks import STAND_IN, Found, damage, marks_in
from pipeline.tasks.translation.markup import is_same_markup
from pipeline.tasks.translation.shields import is_ordered
from pipeline.tasks.translation.strips import Kind, Strip

_FAR_LONGER: Final = 20
_SLACK: Final = 2_000
_LEAST_HALVED: Final = 40
_MARKDOWN: Final = re.compile(r"(?<!\\)[\\`*_\[\]<>~|#&]|^\s*[-+=](?=\s|[-+=]|$)|(?<=\d)[.)](?=\s|$)")
_PIPE: Final = re.compile(r"(?<!\\)\|")
_SHOWN: Final = 60
_EDGES: Final = ("", " ", "\t", "\n", "\r")
_LINE_END: Final = re.compile(r"\r\n?|\n")


@dataclass(frozen=True, slots=True)
class Placed:
    """What stands in a place of the source.

    Attributes:
        start: Position of its first character in the source.
        end: Position after its last.
        text: What stands there in the translation; None for what stands in the source.
        reasons: Why it is asked for again, or, where that has been done, what its warning says.
        is_doubted: It may stand all the same.
        is_first: It stands unless its parts, which were asked for, leave less in doubt.
        carried: What earlier answers and the glossary have settled; only the first piece of a stage carries any.
    """

    start: int
    end: int
    text: str | None
    reasons: tuple[str, ...] = ()
    carried: tuple[Placed, ...] = ()
    is_doubted: bool = False
    is_first: bool = False


@dataclass(frozen=True, slots=True)
class Passage:
    """What a piece carries.

    Attributes:
        strip: The prose.
        is_second: It is a part of one whose answer could not stand, or was doubted.
        carried: As in `Placed`.
        languages: The model's codes of source and target.
    """

    strip: Strip
    is_second: bool = False
    carried: tuple[Placed, ...] = ()
    languages: tuple[str, str] = ("", "")

    @property
    def text(self) -> str:
        """As it is sent."""
        return self.strip.sent

    def __str__(self) -> str:
        """As it is sent."""
        return self.text


def place(passage: Passage, answer: str) -> Placed:
    """Put an answer in its place.

    Args:
        passage: What was asked.
        answer: What came; "" where nothing came that could be used.
    """
    strip, carried = passage.strip, passage.carried
    if answer == strip.sent:
        return Placed(strip.start, strip.end, _unchanged(strip), (), carried)
    text, reasons = _restored(strip, answer) if answer else (None, ("no usable answer came",))
    return Placed(strip.start, strip.end, text, reasons, carried)


def judged(passage: Passage, placed: Placed, answer: str, languages: tuple[str, str]) -> Placed:
    """The same, with what is doubtful in an answer that may stand.

    Args:
        passage: What was asked.
        placed: The answer in its place.
        answer: What came.
        languages: The model's codes of source and target.
    """
    if placed.reasons:
        return placed
    found = doubts(passage.strip.sent, answer, source_lang=languages[0], target_lang=languages[1])
    return replace(placed, reasons=found, is_doubted=True) if found else placed


def _unchanged(strip: Strip) -> str | None:
    """A model that changes nothing leaves everything as it is, but for terms of the glossary."""
    return (
        None
        if all(each.back == each.origin for each in strip.shields)
        else _filled(strip, strip.sent, marks_in(strip.sent))
    )


def _restored(strip: Strip, answer: str) -> tuple[str | None, tuple[str, ...]]:
    if len(answer) > _FAR_LONGER * len(strip.sent) + _SLACK:
        return None, ("the answer is far longer than its source",)
    text = answer if strip.kind == "text" else " ".join(answer.split())
    found = marks_in(text)
    if said := damage(strip.sent, text, found, [shield.origin for shield in strip.shields]):
        return None, tuple(said)
    ordered = [each.number for each in found if is_ordered(strip.shields[each.number - 1])]
    if ordered != sorted(ordered):
        return None, ("placeholders that take their arguments in order came back in another order",)
    for is_escaped in (False, True):
        filled = _filled(strip, text, found, is_escaped=is_escaped)
        if is_same_markup(strip.plain, filled, strip.kind):
            return strip.parted(filled), ()
    return None, ("the markup came back changed",)


def _filled(strip: Strip, text: str, found: Sequence[Found], *, is_escaped: bool = False) -> str:
    """Replace marks by what they stand for, with the blanks that belong beside it."""
    literals = strip.text.split(STAND_IN)
    filled = ""
    at = 0
    for each in found:
        shield, before, after = strip.shields[each.number - 1], literals[each.number - 1], literals[each.number]
        filled += _literal(text[at : each.start], strip.kind, is_escaped=is_escaped)
        if shield.closes:
            filled = filled.rstrip()
        elif before[-1:] in _EDGES and filled[-1:].isalnum():
            filled += " "
        filled += shield.back
        at = each.end
        if shield.opens:
            at += len(text[at:]) - len(text[at:].lstrip())
        elif after[:1] in _EDGES and text[at : at + 1].isalnum():
            filled += " "
    return filled + _literal(text[at:], strip.kind, is_escaped=is_escaped)


def _literal(text: str, kind: Kind, *, is_escaped: bool) -> str:
    """Words of the model, where they might be taken for syntax."""
    if is_escaped and kind in {"markdown", "cell"}:
        return _MARKDOWN.sub(r"\\\g<0>", text)
    if is_escaped and kind == "html":
        return text.replace("<", "&lt;").replace(">", "&gt;")
    return _PIPE.sub(r"\|", text) if kind == "cell" else text


# -- asked again ----------------------------------------------------------------------------------------------------


def halves_of(strip: Strip, language: str) -> tuple[list[Strip], list[Placed]]:
    """Two or three parts, cut at sentences where possible, and what needs no sending; nothing below 40 bytes."""
    if size_of(strip.sent) <= _LEAST_HALVED:
        return [], []
    cut = halves(Segment(0, len(strip.text), strip.text), language=language)
    return sorted_out(strip.part(each.start, each.end) for each in cut)


def sorted_out(cut: Iterable[Strip]) -> tuple[list[Strip], list[Placed]]:
    """Tell parts that have letters to translate from those that are settled by the glossary, or are nothing."""
    sent: list[Strip] = []
    known: list[Placed] = []
    for each in cut:
        part = each.trimmed()
        if part is not None and has_letters(part.text):
            sent.append(part)
        elif part is not None:
            known += terms_of(part)
    return sent, known


def again(passage: Passage, placed: Placed, language: str, *, retries_doubts: bool) -> tuple[list[Strip], list[Placed]]:
    """Say in which parts a piece is asked for again, and what of it is settled: terms of the glossary.

    The stretches between what travels as marks, so that there is nothing left to lose; halves where nothing does, and
    where it was only doubted.
    Nothing where the answer is as it should be, or has been asked for again already.
    """
    if not placed.reasons or passage.is_second or (placed.is_doubted and not retries_doubts):
        return [], []
    strip = passage.strip
    if strip.shields and not placed.is_doubted:
        return strip.stretches(), terms_of(strip)
    return halves_of(strip, language)


def terms_of(strip: Strip) -> list[Placed]:
    """What stands for terms of a glossary in a strip that is not sent as a whole."""
    return [Placed(each.start, each.end, each.back) for each in strip.shields if each.back != each.origin]


# -- together -------------------------------------------------------------------------------------------------------


def settled(values: Sequence[object]) -> list[Placed]:
    """All that is known of a record, in the order of the source."""
    known: list[Placed] = []
    for value in values:
        assert isinstance(value, Placed)
        known += [*value.carried, value]
    return _better(sorted(known, key=lambda each: (each.start, not each.is_first, each.end)))


def _better(known: Sequence[Placed]) -> list[Placed]:
    """Keep a first answer where half of its text or more is in doubt in those of its parts as well, else these."""
    kept: list[Placed] = []
    at = 0
    while at < len(known):
        each = known[at]
        at += 1
        if not each.is_first:
            kept.append(each)
            continue
        begin = at
        while at < len(known) and known[at].end <= each.end:
            at += 1
        parts = known[begin:at]
        in_doubt = sum(part.end - part.start for part in parts if part.reasons)
        kept += [each] if 2 * in_doubt >= each.end - each.start else parts
    return kept


def joined(text: str, known: Sequence[Placed]) -> str:
    """Put translations in their places.

    Where segments touched, as Chinese or Japanese sentences do, a space comes between their translations.
    """
    parts: list[str] = []
    at, was_changed = 0, False
    for each in known:
        between = text[at : each.start]
        is_changed = each.text is not None
        touched = at and not between and not text[at - 1].isascii() and (is_changed or was_changed)
        parts += [" " if touched else between, text[each.start : each.end] if each.text is None else each.text]
        at, was_changed = each.end, is_changed
    return "".join([*parts, text[at:]])


def warnings_of(text: str, known: Sequence[Placed]) -> list[str]:
    """One line for each place that was asked for again in vain."""
    said: list[str] = []
    line, at = 1, 0
    for each in known:
        if each.reasons:
            line += len(_LINE_END.findall(text, at, each.start))
            at = each.start
            source = " ".join(text[each.start : each.end].split())
            shown = source if len(source) <= _SHOWN else f"{source[: _SHOWN - 1]}…"
            what = "left as in the source" if each.text is None else "kept all the same"
            said.append(f'line {line}: {"; ".join(each.reasons)}; {what}: "{shown}"')
    return said

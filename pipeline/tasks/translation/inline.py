"""Markdown's syntax inside a paragraph: emphasis, links, images, escapes, footnotes (CommonMark 0.31.2, 6; GFM).

Pure and linear. Whatever could be syntax is found; that some of it is none does no harm.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Set as AbstractSet
from typing import Final

from markdown_it.common.utils import normalizeReference

from pipeline.tasks.translation.shields import Shield, code_spans, tags

_RUN: Final = re.compile(r"\*+|_+|~~+")
_ESCAPE: Final = re.compile(r"\\[!-/:-@\[-`{-~]")
_BRACKET: Final = re.compile(r"!?\[|\]")
_TARGET: Final = re.compile(
    r"""\(\s{0,9}(?:<[^<>\n]{0,2000}>|(?>[^\s()<>\\]|\\.|\((?>[^\s()\\]|\\.)*+\))*+)"""
    r"""(?:\s{1,9}(?:"(?>[^"\\]|\\.){0,1000}+"|'(?>[^'\\]|\\.){0,1000}+'|\((?>[^()\\]|\\.){0,1000}+\)))?\s{0,9}\)"""
)
_LABEL: Final = re.compile(r"\[(?>[^\[\]\\]|\\.){0,999}+\]")
_BEGINNING: Final = re.compile(r"\[\^[^\[\]\s]{1,60}\]:|\[[ xX]\](?=\s)|\[![A-Za-z]{1,30}\]")
_MATH: Final = re.compile(r"\$\$[^$]{1,2000}\$\$|(?<![\w$\\])\$(?=[^\s$])[^$\n]{1,300}(?<=[^\s$])\$(?![\w$])")
_LONGEST_LABEL: Final = 1000
_CONTROL: Final = re.compile("[\0\ufffd]")


def inline_shields(line: str, labels: AbstractSet[str]) -> list[Shield]:
    """Find the syntax of a paragraph, a heading or a cell, written as one line.

    Args:
        line: Its text.
        labels: Of the document's link definitions, as `normalizeReference` writes them.
    """
    found = tags(line)
    if beginning := _BEGINNING.match(line):
        found.append(Shield(*beginning.span()))
    taken = bytearray(len(line))
    escapes = [match.span() for match in _ESCAPE.finditer(line)]
    for start, end in [*escapes, *code_spans(line, within_lines=False), *((each.start, each.end) for each in found)]:
        taken[start:end] = b"\1" * (end - start)
    found += [Shield(start, end) for start, end in escapes]
    found += [Shield(*match.span()) for pattern in (_CONTROL, _MATH) for match in pattern.finditer(line)]
    found += _links(line, labels, taken)
    found += [_delimiter(line, *match.span()) for match in _RUN.finditer(line) if _is_delimiter(line, *match.span())]
    return found


def _links(line: str, labels: AbstractSet[str], taken: bytearray) -> list[Shield]:
    found: list[Shield] = []
    stack: list[re.Match[str]] = []
    reached = 0
    for match in _BRACKET.finditer(line):
        if match.start() < reached or taken[match.end() - 1]:
            continue
        if match[0] != "]":
            stack.append(match)
            continue
        if not stack:
            continue
        opening = stack.pop()
        begin, end = opening.start(), match.end()
        target = _TARGET.match(line, end) or _reference(line, end, labels)
        if target is not None:
            reached = target.end()
            found += [Shield(begin, opening.end(), opens=True), Shield(match.start(), reached, closes=True)]
        elif _is_label(line[opening.end() : min(match.start(), opening.end() + _LONGEST_LABEL)], labels):
            reached = end + 2 if line.startswith("[]", end) else end
            found.append(Shield(begin, reached))
    return found


def _reference(line: str, at: int, labels: AbstractSet[str]) -> re.Match[str] | None:
    """The label behind a text in brackets, where there is a definition for it."""
    found = _LABEL.match(line, at)
    return found if found and len(found[0]) > 2 and normalizeReference(found[0][1:-1]) in labels else None


def _is_label(text: str, labels: AbstractSet[str]) -> bool:
    """Whether what stands in brackets is a footnote, or a link that is known by its text, which has to stay."""
    if len(text) >= _LONGEST_LABEL:
        return False
    return (text.startswith("^") and " " not in text) or normalizeReference(text) in labels


def _is_delimiter(line: str, start: int, end: int) -> bool:
    before, after = line[start - 1 : start], line[end : end + 1]
    if line[start] == "_" and before.isalnum() and after.isalnum():
        return False
    return not ((not before or before.isspace()) and (not after or after.isspace()))


def _delimiter(line: str, start: int, end: int) -> Shield:
    """Which side of it the emphasis is on: left-flanking, right-flanking, or both (CommonMark 0.31.2, 6.2)."""
    before, after = line[start - 1 : start] or " ", line[end : end + 1] or " "
    left = not after.isspace() and (not _is_punctuation(after) or before.isspace() or _is_punctuation(before))
    right = not before.isspace() and (not _is_punctuation(before) or after.isspace() or _is_punctuation(after))
    return Shield(start, end, opens=left and not right, closes=right and not left)


def _is_punctuation(character: str) -> bool:
    return unicodedata.category(character)[0] in "PS"

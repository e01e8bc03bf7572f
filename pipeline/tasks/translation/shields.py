"""What must not be translated in a text: placeholders, code, addresses, tags, and whoever else's syntax.

Pure and linear: every pattern either begins at a character that nothing before it can have consumed, or is bounded.
Finding too much is harmless (it is not translated), so what overlaps is kept as one.

Kinds, with where their forms are laid down:

- ``{name}`` ``{0!r:>10}`` ``{{x}}`` ``{% x %}`` ``${x}`` ``#{x}`` ``%{x}``: Python, Jinja, shells, Ruby.
- ``{n, plural, one {…} other {…}}``: ICU MessageFormat (unicode-org.github.io/icu/userguide/format_parse/messages/),
  with everything inside its balanced braces.
- ``%s`` ``%-5.2f`` ``%(name)s`` ``%1$s`` ``%%``: printf and gettext. A blank is no flag here, so that ``50 % of`` and
  ``100% sure`` are text.
- ``<a href="…">``, ``&nbsp;``, code in backticks, URLs, e-mail addresses.
- Paths, options and identifiers that are clearly so: ``/etc/hosts``, ``--verbose``, ``setup.cfg``, ``max_size``,
  ``len()``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from pipeline.tasks.translation.marks import LOOKALIKE

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Shield:
    """A part of a text that travels as a mark.

    Attributes:
        start: Position of its first character.
        end: Position after its last.
        origin: What stands there.
        back: What stands there in the translation: the same, but for terms of a glossary.
        opens: Nothing may come between it and what follows (``**`` before a bold word).
        closes: Nothing may come between what precedes and it.
        is_word: It is a word of its sentence (a term of a glossary), so that the sentence is not cut at it.
    """

    start: int
    end: int
    origin: str = ""
    back: str = ""
    opens: bool = False
    closes: bool = False
    is_word: bool = False


_TAG: Final = re.compile(
    r"""<!--(?>[^-<]|-(?!->)|<(?!!--)){0,2000}-->"""
    r"""|<(?:https?|ftp|mailto|tel):[^\s<>]{1,2000}>"""
    r"""|<(?P<close>/)?[A-Za-z][\w:.-]{0,60}+(?>[^<>"']|"[^"<]*+"|'[^'<]*+')*+>"""
)
_BRACES: Final = re.compile(r"[{}]")
_NAME: Final = re.compile(r"\{\s*[\w.$@\[\]-]{0,60}(?:![rsa])?(?::(?:[^{}\s]{0,30}|%[^{}\n]{1,40}))?\s*\}")
_ICU: Final = re.compile(
    r"\{\s*\w{1,60}\s*,\s*(?:plural|select|selectordinal|number|date|time|spellout|ordinal|duration|choice)\b"
)
_PRINTF: Final = re.compile(
    r"%(?:\(\w[\w.-]{0,60}\)|\d{1,2}\$)?[-+0#']{0,4}(?:\*|\d{1,3})?(?:\.(?:\*|\d{1,3}))?(?:hh?|ll?|[Lqjzt])?[diouxXeEfFgGcrsaA@]"
)
_ADDRESSED: Final = re.compile(r"%(?:\(|\d+\$)")
_ADDRESSES: Final = (
    re.compile(r"(?:(?:https?|ftps?|file|ssh|git|wss?)://|(?<![\w.])www\.(?=\w))[^\s<>\"`|]{1,2000}", re.IGNORECASE),
    re.compile(r"(?<![\w.+%-])(?:mailto:)?[\w.+%-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w-])"),
)
_ENTITY: Final = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_SUFFIXES: Final = (
    "bat|bz2|c|cc|cfg|conf|cpp|css|csv|deb|dll|doc|docx|exe|gif|go|gz|h|hpp|html?|ini|ipynb|jar|java|jpe?g|js|json|jsonl|"
    "jsx|lock|log|md|mp3|mp4|parquet|pdf|php|png|ps1|pyi?|rb|rs|rst|sh|so|sql|svg|tar|tex|toml|tsv|tsx?|txt|wasm|wav|whl|"
    "xlsx?|xml|ya?ml|zip|zst"
)
_TECHNICAL: Final = (
    re.compile(r"(?<![\w/-])--[a-z][a-z0-9]*(?:-[a-z0-9]+)*+(?:=[^\s\"'`,;)]{1,200})?", re.IGNORECASE),
    re.compile(r"(?<![\w/.~<:])(?:~|\.{1,2})?/(?:[\w.@+-]{1,100}/){1,30}[\w.@+-]{0,100}(?<![.])"),
    re.compile(r"(?<![\w])[A-Za-z]:\\(?:[\w.@+-]{1,100}\\){0,30}[\w.@+-]{1,100}(?<![.])"),
    re.compile(rf"(?<![\w./-])(?:[\w-]{{1,80}}[./]){{1,12}}(?:{_SUFFIXES})(?![\w/-]|\.\w)"),
    re.compile(r"(?<![\w\\])\w{1,60}(?:\.\w{1,60}){0,8}\(\)"),
    re.compile(r"(?<![\w\\])_*+[A-Za-z0-9]{1,60}(?:(?:\\?_)++[A-Za-z0-9]{1,60}){1,12}_*+(?!\w)"),
)
_DUNDER: Final = re.compile(r"(?<!\w)__[A-Za-z][A-Za-z0-9_]{0,60}__(?!\w)")
_TICKS: Final = re.compile(r"`+")
_LONGEST_CODE: Final = 120
_TRAILING: Final = ".,;:!?'\"*_~)]}»”’"  # noqa: RUF001 - quotation marks of several languages
_PAIRS: Final = {")": "(", "]": "[", "}": "{"}


def technical(text: str, *, is_markdown: bool) -> list[Shield]:
    """Find everything but markup.

    Args:
        text: Any.
        is_markdown: Code in backticks is what CommonMark says it is; elsewhere it is short and ends in its line.
    """
    patterns = (LOOKALIKE, _ENTITY, *_TECHNICAL, *(() if is_markdown else (_DUNDER,)))
    found = [Shield(*match.span()) for pattern in patterns for match in pattern.finditer(text)]
    found += [Shield(*span) for span in (*code_spans(text, within_lines=not is_markdown), *_addresses(text))]
    found += [Shield(*span) for span in (*_braced(text), *_conversions(text))]
    return found


def tags(text: str) -> list[Shield]:
    """Find tags, comments and addresses in angle brackets."""
    found = []
    for match in _TAG.finditer(text):
        closes = match["close"] is not None
        is_pair = not closes and not text.startswith(("<!", "</"), match.start()) and text[match.end() - 2] != "/"
        found.append(Shield(*match.span(), opens=is_pair and ":" not in match[0][:8], closes=closes))
    return found


def merged(text: str, shields: Sequence[Shield]) -> list[Shield]:
    """Order shields, make one of those that overlap, touch, or have only a blank between them.

    `opens` and `closes` hold only where nothing stands between in the text either.
    """
    kept: list[Shield] = []
    for shield in sorted(shields, key=lambda each: (each.start, -each.end)):
        if kept and shield.start < kept[-1].end:
            last = kept[-1]
            if shield.end > last.end:
                kept[-1] = replace(last, end=shield.end, opens=shield.opens)
            continue
        kept.append(shield)
    joined: list[Shield] = []
    for shield in kept:
        shield = _settled(text, shield)  # noqa: PLW2901 - the same with its text
        if joined and _are_one(text[joined[-1].end : shield.start], joined[-1], shield):
            last = joined[-1]
            between = text[last.end : shield.start]
            joined[-1] = Shield(
                last.start,
                shield.end,
                origin=last.origin + between + shield.origin,
                back=last.back + between + shield.back,
                opens=shield.opens,
                closes=last.closes,
                is_word=last.is_word or shield.is_word,
            )
        else:
            joined.append(shield)
    return joined


def _are_one(between: str, left: Shield, right: Shield) -> bool:
    """Whether two travel as one mark: a blank that parts two words of the text has to be seen."""
    return not between or (not between.strip(" \t") and not left.closes and not right.opens)


def _settled(text: str, shield: Shield) -> Shield:
    origin = text[shield.start : shield.end]
    return replace(
        shield,
        origin=origin,
        back=shield.back or origin,
        opens=shield.opens and not text[shield.end : shield.end + 1].isspace(),
        closes=shield.closes and not text[max(0, shield.start - 1) : shield.start].isspace(),
    )


def code_spans(text: str, *, within_lines: bool) -> list[Span]:
    """Find code in backticks: from a run of them to the next run of the same length (CommonMark 0.31.2, 6.1)."""
    runs = [match.span() for match in _TICKS.finditer(text)]
    by_length: dict[int, list[int]] = {}
    for at in range(len(runs) - 1, -1, -1):
        by_length.setdefault(runs[at][1] - runs[at][0], []).append(at)
    spans: list[Span] = []
    at = 0
    while at < len(runs):
        start, end = runs[at]
        later = by_length[end - start]
        while later and later[-1] <= at:
            later.pop()
        is_escaped = start > 0 and text[start - 1] == "\\" and not within_lines
        if not later or is_escaped:
            at += 1
            continue
        closing = runs[later[-1]]
        if within_lines and (closing[0] - end > _LONGEST_CODE or "\n" in text[end : closing[0]]):
            at += 1
            continue
        spans.append((start, closing[1]))
        at = later[-1] + 1
    return spans


def _addresses(text: str) -> Iterator[Span]:
    """URLs and e-mail addresses, without the punctuation of the sentence behind them."""
    for pattern in _ADDRESSES:
        for match in pattern.finditer(text):
            start, end = match.span()
            while end > start and text[end - 1] in _TRAILING:
                opener = _PAIRS.get(text[end - 1])
                if opener and text.count(opener, start, end) >= text.count(text[end - 1], start, end):
                    break
                end -= 1
            yield start, end


def _braced(text: str) -> Iterator[Span]:
    """Placeholders and messages in balanced braces, the outermost first."""
    stack: list[int] = []
    groups: list[Span] = []
    for match in _BRACES.finditer(text):
        if match[0] == "{":
            stack.append(match.start())
        elif stack:
            groups.append((stack.pop(), match.end()))
    reached = 0
    for start, end in sorted(groups, key=lambda span: (span[0], -span[1])):
        if start >= reached and _is_placeholder(text, start, end):
            reached = end
            begin = start - 1 if start and text[start - 1] in "$#%" else start
            yield begin, end


def _is_placeholder(text: str, start: int, end: int) -> bool:
    if text.startswith(("{{", "{%", "{#"), start) and text[end - 2 : end - 1] in "}%#":
        return True
    if _ICU.match(text, start, end):
        return True
    name = _NAME.match(text, start, end)
    return name is not None and name.end() == end


def _conversions(text: str) -> Iterator[Span]:
    """Conversions of printf; behind a number only those that end like one."""
    at = text.find("%")
    while at >= 0:
        end = at + 2 if text.startswith("%%", at) else at
        if end == at and (match := _PRINTF.match(text, at)):
            follows = text[match.end() : match.end() + 1]
            behind_number = at > 0 and text[at - 1].isdigit()
            end = at if follows.isalnum() and behind_number else match.end()
        if end > at:
            yield at, end
        at = text.find("%", max(end, at + 1))


def is_ordered(shield: Shield) -> bool:
    """Whether it takes the next argument of its message, so that another order would mean another thing."""
    taken = (match[0] for match in _PRINTF.finditer(shield.origin.replace("%%", "")))
    return "{}" in shield.origin or any(not _ADDRESSED.match(each) for each in taken)


def plain_shields(text: str) -> list[Shield]:
    """Find everything that must not be translated in a text without markup of its own."""
    return merged(text, [*technical(text, is_markdown=False), *tags(text)])

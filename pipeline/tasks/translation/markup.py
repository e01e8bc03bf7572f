"""Which parts of a document are prose: everything else stays byte for byte.

Markdown: paragraphs, headings, items of lists, quotations and cells of tables, as markdown-it finds them (CommonMark
0.31.2 with GFM's tables and strikethrough). Code, HTML blocks, front matter, link definitions and markers are no prose.
HTML: see `pipeline.tasks.translation.hypertext`. Other texts: all of it, lines as they are.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import pairwise
from typing import Any, Final, Literal

from markdown_it import MarkdownIt
from markdown_it.token import Token

from pipeline.tasks.translation.hypertext import html_blocks
from pipeline.tasks.translation.inline import inline_shields
from pipeline.tasks.translation.shields import Shield, Span, merged, plain_shields, tags, technical
from pipeline.tasks.translation.strips import Kind, Strip, line_of, strip_of

Format = Literal["text", "markdown", "html"]

Terms = Callable[[str, Sequence[Shield]], list[Shield]]
"""Finds terms of a glossary in a line, outside of what is shielded already."""

_SUFFIXES: Final[dict[str, Format]] = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
}
_PACKED: Final = (".gz", ".zst", ".bz2")
_LINE_END: Final = re.compile(r"\r\n?|\n")
_FRONT_MATTER: Final = re.compile(
    r"\ufeff?(?P<fence>---|\+\+\+)[ \t]*(?:\r\n?|\n)(?=(?P=fence)|[#\[]|[\w\"'.-]+[ \t]*[:=])"
    r"(?:.*?(?:\r\n?|\n))??(?P=fence)[ \t]*(?=\r|\n|\Z)",
    re.DOTALL,
)
_MOST_FRONT_MATTER: Final = 20_000
_PIPE: Final = re.compile(r"(?<!\\)\|")
_BLANKS: Final = {ord(character): " " for character in "\t\n\v\f\r\x1c\x1d\x1e\x1f\x85\u2028\u2029"}
_ALERT: Final = re.compile(r"\[![A-Za-z]{1,30}\]|:::.*")
_TAG_NAME: Final = re.compile(r"\A<(/?[A-Za-z][^\s/>]*)")
_PARAGRAPH: Final = ["paragraph_open", "inline", "paragraph_close"]
_ACTIVE: Final = re.compile(r"[*_`\[\]<>&~\\#|=+\-]|\A\s*\d")


def format_of(source: str) -> Format:
    """The format of a file by its name."""
    name = source.lower()
    for suffix in _PACKED:
        name = name.removesuffix(suffix)
    return next((found for suffix, found in _SUFFIXES.items() if name.endswith(suffix)), "text")


def strips_of(text: str, form: Format, terms: Terms | None = None) -> list[Strip]:
    """Find the prose of a document, each block one strip, in order; lines of a plain text are not told apart.

    Args:
        text: The document.
        form: What it is written in.
        terms: Of a glossary.
    """

    def strip(kind: Kind, spans: Sequence[Span], line: str, shields: list[Shield]) -> Strip:
        kept = [*shields, *terms(line, shields)] if terms is not None else shields
        return strip_of(text, kind, spans, merged(line, kept) if terms is not None else shields, joined=line)

    if form == "text":
        return [strip("text", [(0, len(text))], text, plain_shields(text))] if text else []
    if form == "html":
        found = []
        for (start, end), inner in html_blocks(text):
            line = text[start:end].translate(_BLANKS)
            found.append(
                strip("html", [(start, end)], line, merged(line, [*inner, *technical(line, is_markdown=False)]))
            )
        return found
    labels, blocks = markdown_blocks(text)
    found = []
    for kind, spans in blocks:
        line = line_of(text, spans).translate(_BLANKS)
        shields = merged(line, [*inline_shields(line, labels), *technical(line, is_markdown=True)])
        found.append(strip(kind, spans, line, shields))
    return found


# -- Markdown -------------------------------------------------------------------------------------------------------


def markdown_blocks(text: str) -> tuple[frozenset[str], list[tuple[Kind, list[Span]]]]:
    """Find the prose of Markdown: the labels of its link definitions, and the spans of each block, a span a line."""
    lines = _lines(text)
    front = _front_matter(text)
    shown = "\n".join("" if start < front else text[start:end] for start, end in lines)
    env: dict[str, Any] = {}
    tokens = _block_parser().parse(shown, env)
    blocks: list[tuple[Kind, list[Span]]] = []
    row: list[Token] = []
    for at, token in enumerate(tokens):
        if token.type == "tr_open":
            row = []
        elif token.type == "tr_close":
            blocks += [("cell", [span]) for span in _cells(text, lines, row)]
        elif token.type == "inline":
            if tokens[at - 1].type in {"th_open", "td_open"}:
                row.append(token)
            else:
                blocks += [("markdown", spans) for spans in _paragraph(text, lines, token)]
    return frozenset(env.get("references", ())), blocks


@cache
def _block_parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"maxNesting": 100}).enable(["table", "strikethrough"])
    parser.core.ruler.enableOnly(["normalize", "block"])
    return parser


@cache
def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark", {"maxNesting": 100}).enable(["table", "strikethrough"])


def _lines(text: str) -> list[Span]:
    """The lines as markdown-it counts them, without their ends."""
    spans: list[Span] = []
    at = 0
    for match in _LINE_END.finditer(text):
        spans.append((at, match.start()))
        at = match.end()
    return [*spans, (at, len(text))]


def _front_matter(text: str) -> int:
    """Where the document begins behind YAML or TOML at its head."""
    match = _FRONT_MATTER.match(text, 0, _MOST_FRONT_MATTER)
    return match.end() if match else 0


def _paragraph(text: str, lines: Sequence[Span], token: Token) -> Iterator[list[Span]]:
    """The lines of a block, parted at hard breaks."""
    assert token.map is not None
    first, last = token.map
    contents = token.content.split("\n")
    spans: list[Span] = []
    for number, content in zip(range(first, last), contents, strict=False):
        span = _place(text, lines[number], content.strip())
        if span is None or _ALERT.fullmatch(text, *span):
            if spans:
                yield spans
            spans = []
            continue
        start, end = span
        is_last = number == first + len(contents) - 1
        breaks = not is_last and (content.endswith(("  ", "\\")))
        if breaks and content.endswith("\\"):
            end -= 1
        spans.append((start, end))
        if breaks:
            yield spans
            spans = []
    if spans:
        yield spans


def _place(text: str, line: Span, content: str) -> Span | None:
    """Where the content of a line stands in it: at its end, but for the closing marks of a heading."""
    start, end = line
    stripped = text[start:end].rstrip()
    for tail in (stripped, stripped.rstrip("#").rstrip()):
        if content and tail.endswith(content):
            stop = start + len(tail)
            return stop - len(content), stop
    return None


def _cells(text: str, lines: Sequence[Span], row: Sequence[Token]) -> Iterator[Span]:
    """The cells of a row: what stands between pipes that are not escaped."""
    if not row or row[0].map is None:
        return
    start, end = lines[row[0].map[0]]
    pipes = [match.start() for match in _PIPE.finditer(text, start, end)]
    places = [start - 1, *pipes, end]
    at = 0
    for left, right in pairwise(places):
        cell = text[left + 1 : right]
        wanted = row[at].content.strip() if at < len(row) else ""
        written = cell.replace("\\|", "|").strip()
        if at < len(row) and wanted and written.endswith(wanted):
            stripped = cell.rstrip()
            inner = wanted.replace("|", "\\|") if "\\|" in cell else wanted
            if stripped.endswith(inner):
                stop = left + 1 + len(stripped)
                yield stop - len(inner), stop
                at += 1
                continue
        if at < len(row) and not wanted and not written.strip(" >"):
            at += 1


def is_same_markup(source: str, translation: str, kind: Kind) -> bool:
    """Whether a translation has the markup of its source: the same elements with the same attributes and code.

    Args:
        source: One line of prose, as in the document.
        translation: The same, as it would stand there.
        kind: Of the prose.
    """
    if kind == "html":
        return _elements_of(source) == _elements_of(translation)
    if kind == "text" or not (_ACTIVE.search(source) or _ACTIVE.search(translation)):
        return True
    blocks = _blocks_of(translation)
    return blocks in (_PARAGRAPH, _blocks_of(source)) and _inline_of(source) == _inline_of(translation)


def _elements_of(line: str) -> tuple[list[str], list[str]]:
    """The tags, and those that have no partner."""
    found = [line[each.start : each.end] for each in tags(line)]
    alone: list[str] = []
    for name in (match for tag in found for match in _TAG_NAME.findall(tag)):
        if name.startswith("/") and alone and alone[-1] == name[1:]:
            alone.pop()
        else:
            alone.append(name)
    return sorted(found), alone


def _blocks_of(line: str) -> list[str]:
    """What a line is at the beginning of a block."""
    return [token.type for token in _block_parser().parse(line)]


def _inline_of(line: str) -> Counter[tuple[str, str]]:
    counted: Counter[tuple[str, str]] = Counter()
    for token in _parser().parseInline(line)[0].children or ():
        if token.type not in {"text", "softbreak"}:
            content = "" if token.type == "image" else token.content
            attributes = sorted((name, value) for name, value in token.attrs.items() if name != "alt")
            counted[token.type, f"{token.markup} {content} {attributes}"] += 1
    return counted

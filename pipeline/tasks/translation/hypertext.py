"""The prose of HTML: what stands between the tags of blocks, with the tags inside it shielded.

Tags with their attributes, comments, scripts, styles, preformatted text, code, and elements with ``translate="no"``
stay byte for byte. Python's own parser finds where each begins; it takes any text and never fails.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Final

from pipeline.tasks.translation.shields import Shield, Span

_INLINE: Final = re.compile(
    "a|abbr|acronym|b|bdi|bdo|big|cite|code|data|del|dfn|em|font|i|img|ins|kbd|label|mark|q|s|samp|small|span|strike|"
    "strong|sub|sup|time|tt|u|var|wbr"
)
_OPAQUE: Final = re.compile("script|style|pre|code|textarea|kbd|samp|var|tt|svg|math|template|noscript|iframe")
_VOID: Final = re.compile("area|base|br|col|embed|hr|img|input|link|meta|param|source|track|wbr")


@dataclass(frozen=True, slots=True)
class _Event:
    """Something in a document; it ends where the next begins.

    Attributes:
        start: Position of its first character.
        what: ``text``, ``tag``, ``end`` or ``other``.
        name: Of a tag.
        is_kept: The element says that it is not to be translated.
    """

    start: int
    what: str
    name: str = ""
    is_kept: bool = False


class _Reader(HTMLParser):
    """Notes where everything begins."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=False)
        self.events: list[_Event] = []
        self._lines = [0]
        at = text.find("\n")
        while at >= 0:
            self._lines.append(at + 1)
            at = text.find("\n", at + 1)
        self.feed(text)
        self.close()

    def _note(self, what: str, name: str = "", *, is_kept: bool = False) -> None:
        line, column = self.getpos()
        self.events.append(_Event(self._lines[line - 1] + column, what, name, is_kept))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        is_kept = told.get("translate") == "no" or "notranslate" in (told.get("class") or "").split()
        self._note("tag", tag, is_kept=is_kept)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note("tag" if _VOID.fullmatch(tag) else "other", tag)

    def handle_endtag(self, tag: str) -> None:
        self._note("end", tag)

    def handle_data(self, data: str) -> None:
        self._note("text")

    def handle_entityref(self, name: str) -> None:
        self._note("text")

    def handle_charref(self, name: str) -> None:
        self._note("text")

    def handle_comment(self, data: str) -> None:
        self._note("other")

    def handle_decl(self, decl: str) -> None:
        self._note("other")

    def handle_pi(self, data: str) -> None:
        self._note("other")

    def unknown_decl(self, data: str) -> None:
        self._note("other")


def html_blocks(text: str) -> list[tuple[Span, list[Shield]]]:
    """Find the blocks of prose, and what in each of them is none, by positions inside the block."""
    events = _Reader(text).events
    blocks: list[tuple[Span, list[Shield]]] = []
    current: list[tuple[_Event, int, bool]] = []
    hidden: list[str] = []
    for event, end in _ended(events, len(text)):
        is_hidden = bool(hidden)
        if hidden:
            if event.what == "tag" and event.name == hidden[0] and not _VOID.fullmatch(event.name):
                hidden.append(event.name)
            elif event.what == "end" and event.name == hidden[0]:
                hidden.pop()
        elif (
            event.what == "tag" and not _VOID.fullmatch(event.name) and (_OPAQUE.fullmatch(event.name) or event.is_kept)
        ):
            hidden.append(event.name)
            is_hidden = True
        parts = not _INLINE.fullmatch(event.name) and event.what in {"tag", "end"}
        if parts and not (is_hidden and _is_inline(current, hidden)):
            blocks += _block(current)
            current = []
        else:
            current.append((event, end, is_hidden))
    return [*blocks, *_block(current)]


def _is_inline(current: Sequence[tuple[_Event, int, bool]], hidden: Sequence[str]) -> bool:
    """Whether what is hidden began inside a paragraph."""
    return bool(hidden and current and _INLINE.fullmatch(hidden[0]))


def _ended(events: Sequence[_Event], size: int) -> list[tuple[_Event, int]]:
    ends = [event.start for event in events[1:]]
    return list(zip(events, [*ends, size], strict=True)) if events else []


def _block(current: Sequence[tuple[_Event, int, bool]]) -> list[tuple[Span, list[Shield]]]:
    """One block, where there is any text in it."""
    if not any(event.what == "text" and not is_hidden for event, _, is_hidden in current):
        return []
    start, end = current[0][0].start, current[-1][1]
    shields = [
        Shield(
            event.start - start,
            stop - start,
            opens=event.what == "tag" and not _VOID.fullmatch(event.name),
            closes=event.what == "end",
        )
        for event, stop, is_hidden in current
        if is_hidden or event.what != "text"
    ]
    return [((start, end), shields)]

"""The prose of HTML: what stands between the tags of blocks, with the tags inside it shielded.

Tags with their attributes, comments, scripts, styles, preformatted text, code, and elements with ``translate="no"``
stay byte for byte. Where each begins and ends is found as the standard has it
(html.spec.whatwg.org/multipage/parsing.html, 13.2.5, 2026-11-23). Not by Python's own parser: that of 3.11 stops with
an assertion at ``<![0``, takes the rest of a document for text at the third ``&#`` that is no character, and needs
half a minute for 60 kB of ``<a b="``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.tasks.translation.shields import Shield, Span

_INLINE: Final = re.compile(
    "a|abbr|acronym|b|bdi|bdo|big|cite|code|data|del|dfn|em|font|i|img|ins|kbd|label|mark|q|s|samp|small|span|strike|"
    "strong|sub|sup|time|tt|u|var|wbr"
)
_OPAQUE: Final = re.compile("script|style|pre|code|textarea|kbd|samp|var|tt|svg|math|template|noscript|iframe")
_VOID: Final = re.compile("area|base|br|col|embed|hr|img|input|link|meta|param|source|track|wbr")
_ATTRIBUTE: Final = re.compile(
    r"""(?P<name>[^\s/>][^\s/>=]*+)(?:\s*+=\s*+(?P<value>"[^"]*+"|'[^']*+'|(?!["'])[^\s>]*+))?+"""
)
_TAG_BEGINS: Final = re.compile("</?[A-Za-z]")
_TAG: Final = re.compile(
    r"""<(?P<closes>/)?(?P<name>[A-Za-z][^\s/>]*+)"""
    r"""(?P<attributes>(?:\s++|/(?!>)|[^\s/>][^\s/>=]*+(?:\s*+=\s*+(?:"[^"]*+"|'[^']*+'|(?!["'])[^\s>]*+))?+)*+)"""
    r"""(?P<end>/?>)?+"""
)
_COMMENT_END: Final = re.compile("--!?>")
_CDATA_END: Final = re.compile("]]>")
_ANGLE: Final = re.compile(">")
_RAW: Final = {name: re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE) for name in ("script", "style")}


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


class _Places:
    """Where a pattern is found next; looks at each character once, however often it is asked from left to right."""

    def __init__(self, pattern: re.Pattern[str], text: str) -> None:
        self._pattern, self._text = pattern, text
        self._start, self._end = -1, 0

    def end_from(self, at: int) -> int:
        """Position after the next one that begins at `at` or later; the end of the text where there is none."""
        if self._start < at:
            match = self._pattern.search(self._text, at)
            self._start, self._end = match.span() if match else (len(self._text), len(self._text))
        return self._end

    def is_behind(self, at: int) -> bool:
        """Whether one begins at `at` or later."""
        self.end_from(at)
        return self._start < len(self._text)


def _events(text: str) -> Iterator[_Event]:
    """Find everything, in order, in time that grows with the text; what is never closed goes to the end, or is text."""
    comment_ends, cdata_ends, angles = (_Places(each, text) for each in (_COMMENT_END, _CDATA_END, _ANGLE))
    at = 0
    while (found := text.find("<", at)) >= 0:
        if found > at:
            yield _Event(at, "text")
        at = found
        is_tag = _TAG_BEGINS.match(text, at) is not None
        if text.startswith("<!--", at):
            yield _Event(at, "other")
            at = comment_ends.end_from(at + 2)
        elif not angles.is_behind(at) or not (is_tag or text.startswith(("<!", "<?", "</"), at)):
            yield _Event(at, "text")
            at += 1
        elif text.startswith("<![CDATA[", at) and cdata_ends.is_behind(at):
            yield _Event(at, "other")
            at = cdata_ends.end_from(at)
        elif not is_tag:
            yield _Event(at, "other")
            at = angles.end_from(at)
        else:
            tag = _TAG.match(text, at)
            assert tag is not None
            event = _tag_event(tag)
            yield event
            at = tag.end()
            if event.what == "tag" and event.name in _RAW and at < len(text):
                yield _Event(at, "text")
                end = _RAW[event.name].search(text, at)
                at = end.start() if end else len(text)
    if at < len(text):
        yield _Event(at, "text")


def _tag_event(tag: re.Match[str]) -> _Event:
    name = tag["name"].lower()
    if not tag["end"]:  # never closed
        return _Event(tag.start(), "other", name)
    if tag["closes"]:
        return _Event(tag.start(), "end", name)
    if tag["end"] == "/>":
        return _Event(tag.start(), "tag" if _VOID.fullmatch(name) else "other", name)
    told = {each["name"].lower(): (each["value"] or "").strip("\"'") for each in _ATTRIBUTE.finditer(tag["attributes"])}
    is_kept = told.get("translate", "").lower() == "no" or "notranslate" in told.get("class", "").split()
    return _Event(tag.start(), "tag", name, is_kept)


def html_blocks(text: str) -> list[tuple[Span, list[Shield]]]:
    """Find the blocks of prose, and what in each of them is none, by positions inside the block."""
    events = list(_events(text))
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

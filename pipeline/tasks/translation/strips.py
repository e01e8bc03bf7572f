"""A run of prose as it is cut and sent, and where each of its characters stands in the source.

Between the lines of a quoted or wrapped paragraph stand line breaks and markers that are no prose; in a strip a blank
stands there. What must not be translated is a stand-in. Cutting a strip gives strips.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple

from pipeline.segments import has_letters
from pipeline.tasks.translation.marks import STAND_IN, masked
from pipeline.tasks.translation.shields import Shield, Span

Kind = Literal["text", "markdown", "cell", "html"]
"""What the prose stands in: what may not come into it depends on it. A cell is one of a Markdown table."""

_N: Final = len(STAND_IN)


class _Run(NamedTuple):
    """Characters of a strip that stand together in the source; as many as there, or one thing that stands for it."""

    at: int
    length: int
    start: int
    end: int


def _at(run: _Run) -> int:
    return run.at


def _start(shield: Shield) -> int:
    return shield.start


@dataclass(frozen=True, slots=True)
class Strip:
    """Prose with what stands in it.

    Attributes:
        kind: Of the prose.
        text: With stand-ins.
        runs: Where its characters stand in the source, in order.
        shields: What the stand-ins stand for, in order; their positions are those of the source.
        left: A shield that touches it from before and is not sent with it.
        right: The same from behind.
    """

    kind: Kind
    text: str
    runs: tuple[_Run, ...]
    shields: tuple[Shield, ...] = ()
    left: Shield | None = None
    right: Shield | None = None

    @property
    def start(self) -> int:
        """Position of its first character in the source."""
        return self.runs[0].start

    @property
    def end(self) -> int:
        """Position after its last."""
        return self.runs[-1].end

    @property
    def sent(self) -> str:
        """As it travels: marks, and line breaks as blanks."""
        return masked(self.text)

    @property
    def plain(self) -> str:
        """As it reads in the source, in one line."""
        first, *parts = self.text.split(STAND_IN)
        pairs = zip(self.shields, parts, strict=True)
        return " ".join((first + "".join(shield.origin + part for shield, part in pairs)).split())

    def part(self, start: int, end: int) -> Strip:
        """The strip from one of its positions to another, which tear no stand-in apart."""
        first = bisect_right(self.runs, start, key=_at) - 1
        last = bisect_left(self.runs, end, lo=first, key=_at)
        runs = []
        for at, length, begin, stop in self.runs[first:last]:
            skipped, kept_to = max(0, start - at), min(length, end - at)
            is_literal = stop - begin == length
            runs.append(
                _Run(
                    at + skipped - start,
                    kept_to - skipped,
                    begin + skipped if is_literal else begin,
                    begin + kept_to if is_literal else stop,
                )
            )
        inside = slice(
            bisect_left(self.shields, runs[0].start, key=_start), bisect_left(self.shields, runs[-1].end, key=_start)
        )
        return Strip(self.kind, self.text[start:end], tuple(runs), self.shields[inside])

    def trimmed(self) -> Strip | None:
        """Without white space and shields around it, but for words of the sentence; None for nothing else."""
        start, end = 0, len(self.text)
        first, last = 0, len(self.shields)
        left, right = self.left, self.right
        while True:
            part = self.text[start:end]
            start += len(part) - len(part.lstrip())
            end -= len(part) - len(part.rstrip())
            if start >= end:
                return None
            if self.text.startswith(STAND_IN, start, end) and not self.shields[first].is_word:
                left = self.shields[first]
                start, first = start + _N, first + 1
            elif self.text.endswith(STAND_IN, start, end) and not self.shields[last - 1].is_word:
                right = self.shields[last - 1]
                end, last = end - _N, last - 1
            else:
                return self._between(start, end, left, right)

    def stretches(self) -> list[Strip]:
        """What stands between its shields and has letters."""
        found: list[Strip] = []
        at = 0
        for number in range(len(self.shields) + 1):
            end = self.text.find(STAND_IN, at) if number < len(self.shields) else len(self.text)
            if has_letters(self.text[at:end]):
                left = self.shields[number - 1] if number else self.left
                right = self.shields[number] if number < len(self.shields) else self.right
                part = self._between(at, end, left, right).trimmed()
                assert part is not None
                found.append(part)
            at = end + _N
        return found

    def _between(self, start: int, end: int, left: Shield | None, right: Shield | None) -> Strip:
        part = self.part(start, end)
        touches = (left is not None and left.end == part.start, right is not None and right.start == part.end)
        return replace(part, left=left if touches[0] else None, right=right if touches[1] else None)

    def parted(self, translation: str) -> str:
        """A translation with a blank where a word of it would touch a shield that only punctuation has touched."""
        if self.left is not None and not self.left.opens and not self.text[0].isalnum() and translation[:1].isalnum():
            translation = f" {translation}"
        if self.right is not None and not self.right.closes and not self.text[-1].isalnum():
            translation += " " if translation[-1:].isalnum() else ""
        return translation


def strip_of(
    text: str, kind: Kind, spans: Sequence[Span], shields: Sequence[Shield], *, joined: str | None = None
) -> Strip:
    """Make a strip of some spans of a text, with a blank between them.

    Args:
        text: The source.
        kind: Of the prose.
        spans: In order.
        shields: In order, by positions in `joined`.
        joined: The spans as one line, where the caller has it.
    """
    line = joined if joined is not None else line_of(text, spans)
    source = _runs_of(spans)
    if not shields:
        return Strip(kind, line, tuple(source))
    whole = Strip(kind, line, tuple(source))
    parts: list[str] = []
    runs: list[_Run] = []
    placed: list[Shield] = []
    at = reached = 0
    for shield in (*shields, None):
        stop = len(line) if shield is None else shield.start
        if stop > reached:
            literal = whole.part(reached, stop)
            runs += [_Run(at + run.at, *run[1:]) for run in literal.runs]
            parts.append(literal.text)
            at += stop - reached
        if shield is None:
            break
        inside = whole.part(shield.start, shield.end)
        start, end = inside.start, inside.end
        origin = text[start:end]
        back = origin if shield.back == shield.origin else shield.back
        placed.append(Shield(start, end, origin, back, shield.opens, shield.closes, shield.is_word))
        runs.append(_Run(at, _N, start, end))
        parts.append(STAND_IN)
        at, reached = at + _N, shield.end
    return Strip(kind, "".join(parts), tuple(runs), tuple(placed))


def line_of(text: str, spans: Sequence[Span]) -> str:
    """Some spans of a text as one line."""
    return text[spans[0][0] : spans[0][1]] if len(spans) == 1 else " ".join(text[start:end] for start, end in spans)


def _runs_of(spans: Sequence[Span]) -> list[_Run]:
    runs: list[_Run] = []
    at = 0
    for number, (start, end) in enumerate(spans):
        if number:
            runs.append(_Run(at, 1, spans[number - 1][1], start))
            at += 1
        runs.append(_Run(at, end - start, start, end))
        at += end - start
    return runs

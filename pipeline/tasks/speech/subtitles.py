"""Subtitles as people expect them: at most two lines of 42 characters, one to seven seconds each.

The figures are those of the BBC's and Netflix's guides for timed text. A cue ends with a sentence, before a pause, and
when it is full. WebVTT: w3.org/TR/webvtt1; SubRip has no standard, this is what players read.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.tasks.speech.heard import Segment, Word
from pipeline.tasks.speech.texts import text_of

LINE: Final = 42
LINES: Final = 2
SHORTEST_S: Final = 1.0
LONGEST_S: Final = 7.0
_LEAST_S: Final = 0.5
_PAUSE_S: Final = 0.8
_SENTENCE_ENDS: Final = (".", "?", "!", "…", "\u3002", "\uff1f", "\uff01")


@dataclass(frozen=True, slots=True)
class Cue:
    """What stands on the screen for a while.

    Attributes:
        start: Seconds.
        end: Seconds.
        lines: One or two.
    """

    start: float
    end: float
    lines: tuple[str, ...]


def cues_of(segments: Sequence[Segment], words: Sequence[Word]) -> list[Cue]:
    """Make cues; a segment without words of its own has its time spread over its text."""
    units = list(_units(segments, words))
    groups: list[list[Word]] = []
    for unit in units:
        if groups and _fits(groups[-1], unit):
            groups[-1].append(unit)
        else:
            groups.append([unit])
    return _timed([group for group in groups if text_of(group)])


def _units(segments: Sequence[Segment], words: Sequence[Word]) -> Iterator[Word]:
    """Words with times, in order, none longer than a line."""
    at = 0
    for segment in segments:
        begin = at
        while at < len(words) and (words[at]["start"] + words[at]["end"]) / 2 <= segment["end"]:
            at += 1
        inside = words[begin:at]
        for word in inside or _spread(segment["start"], segment["end"], segment["text"].split()):
            yield from _short(word)
    for word in words[at:]:
        yield from _short(word)


def _spread(start: float, end: float, parts: Sequence[str]) -> Iterator[Word]:
    total = sum(len(part) + 1 for part in parts) or 1
    done = 0
    for part in parts:
        begin = start + (end - start) * done / total
        done += len(part) + 1
        yield Word(start=begin, end=start + (end - start) * done / total, word=part, confidence=None)


def _short(word: Word) -> Iterator[Word]:
    """Without line breaks, which would end a cue, and in parts where it is longer than a line."""
    text = " ".join(word["word"].split())
    space = " " if word["word"].startswith(" ") else ""
    parts = [text[at : at + LINE] for at in range(0, len(text), LINE)]
    for part in _spread(word["start"], word["end"], parts):
        yield Word(start=part["start"], end=part["end"], word=space + part["word"], confidence=None)


def _fits(group: Sequence[Word], word: Word) -> bool:
    last = group[-1]
    has_ended = last["word"].rstrip().endswith(_SENTENCE_ENDS) and last["end"] - group[0]["start"] >= SHORTEST_S
    if has_ended or word["start"] - last["end"] > _PAUSE_S or word["end"] - group[0]["start"] > LONGEST_S:
        return False
    return len(_wrapped(text_of([*group, word]))) <= LINES


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, LINE, break_on_hyphens=False)


def _balanced(text: str) -> tuple[str, ...]:
    """One line, or two of about the same length."""
    if len(text) <= LINE:
        return (text,)
    spaces = [at for at, sign in enumerate(text) if sign == " " and at <= LINE and len(text) - at - 1 <= LINE]
    if not spaces:
        return tuple(_wrapped(text))
    middle = min(spaces, key=lambda at: abs(len(text) / 2 - at))
    return text[:middle], text[middle + 1 :]


def _timed(groups: Sequence[Sequence[Word]]) -> list[Cue]:
    """Give short cues the second they need to be read, as far as the next one allows; none begins on top of another."""
    cues: list[Cue] = []
    after = -math.inf
    for at, group in enumerate(groups):
        start = max(group[0]["start"], after)
        after = max(groups[at + 1][0]["start"], start + _LEAST_S) if at + 1 < len(groups) else math.inf
        end = min(max(start + SHORTEST_S, *(word["end"] for word in group)), start + LONGEST_S)
        cues.append(Cue(start, min(end, after), _balanced(text_of(group))))
    return cues


def vtt_of(cues: Sequence[Cue]) -> str:
    """WebVTT."""
    blocks = ["WEBVTT\n"]
    for cue in cues:
        text = "\n".join(line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") for line in cue.lines)
        blocks.append(f"{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n{text}\n")
    return "\n".join(blocks)


def srt_of(cues: Sequence[Cue]) -> str:
    """SubRip."""
    return "\n".join(
        f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n" + "\n".join(cue.lines) + "\n"
        for number, cue in enumerate(cues, 1)
    )


def _clock(seconds: float, point: str) -> str:
    total = round(seconds * 1000)
    return f"{total // 3_600_000:02}:{total // 60_000 % 60:02}:{total // 1000 % 60:02}{point}{total % 1000:03}"

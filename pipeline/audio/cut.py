"""Where a recording is cut. Pure: takes what each frame of 20 ms is, hands on spans of seconds.

A piece ends inside the longest and quietest silence of the last two thirds of what it may hold. Where nobody pauses it
ends at the quietest moment of its last third, and the next one begins a little earlier: both have the words around the
cut, and whoever puts the text together drops one of the two (`pipeline.tasks.speech.seams`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

SHORTEST_S: Final = 5.0
LONGEST_S: Final = 60.0
"""Bounds of `Rules.longest_s`. 70 s passed and 80 s were refused (public client, 2026-09-18)."""

EARLIEST: Final = 1 / 3
"""Share of its longest length before which a piece is not ended."""

_LAST_THIRD: Final = 2 / 3
_GOOD_SILENCE_S: Final = 1.0
_LATENESS: Final = 0.5
_SMOOTH_S: Final = 0.1

Flags = npt.NDArray[np.bool_]
Levels = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Rules:
    """How to cut.

    Attributes:
        longest_s: Most seconds of a piece.
        overlap_s: Seconds that two pieces share where there is no silence between them; less than a sixth of the above.
        skip_silence: Leave out silences longer than `silence_s`.
        silence_s: Shorter ones stay inside a piece.
        margin_s: Seconds that are kept on both sides of speech when a silence is left out.
        least_silence_s: What is shorter is no pause but part of a word (a "p" or "t" is closed for up to 0.15 s).
    """

    longest_s: float = 30.0
    overlap_s: float = 1.0
    skip_silence: bool = False
    silence_s: float = 2.0
    margin_s: float = 0.15
    least_silence_s: float = 0.2


class Span(NamedTuple):
    """One piece of a recording.

    Attributes:
        start: Seconds.
        end: Seconds; behind the next one's start where both overlap.
        speech: Seconds of it in which somebody speaks.
    """

    start: float
    end: float
    speech: float


class _Runs(NamedTuple):
    """Silences: first frame and frame after the last, ascending."""

    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]


class _Region(NamedTuple):
    """What is sent, before it is cut to length: its first frame, the frame behind it, and the one behind its speech."""

    first: int
    last: int
    talked: int


def cut(speech: Flags, level: Levels, *, frame_s: float, seconds: float, rules: Rules) -> list[Span]:
    """Cut a recording into pieces.

    All of it is covered, or with `Rules.skip_silence` all speech; in order; none longer than `Rules.longest_s`; each
    cut in a silence where one is allowed to be found, and not in that behind the last word where there is another.

    Args:
        speech: Whether somebody speaks, for each frame.
        level: Loudness of each frame, dB.
        frame_s: Seconds of a frame.
        seconds: Length of the recording, at most that of all frames.
        rules: How.

    Returns:
        At least one span; its first second or less where nothing is said at all and silence is left out.
    """
    silences = _longer(_runs(~speech), round(rules.least_silence_s / frame_s))
    before = np.concatenate(([0], np.cumsum(speech)))
    most = int(rules.longest_s / frame_s + 1e-9)
    overlap = min(round(rules.overlap_s / frame_s), most // 6)
    spans = []
    for region in _regions(speech, frame_s, rules):
        for start, end in _pieces(region, most, overlap, silences, level, frame_s):
            until = min(end * frame_s, seconds)
            if until > start * frame_s:
                spans.append(Span(start * frame_s, until, float(before[end] - before[start]) * frame_s))
    return spans or [Span(0.0, min(1.0, seconds), 0.0)]


def _runs(flags: Flags) -> _Runs:
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])).astype(np.int8)))
    return _Runs(edges[::2], edges[1::2])


def _longer(runs: _Runs, least: int) -> _Runs:
    kept = runs.ends - runs.starts >= least
    return _Runs(runs.starts[kept], runs.ends[kept])


def _regions(speech: Flags, frame_s: float, rules: Rules) -> Iterator[_Region]:
    """Everything, or speech and what is near it."""
    talks = _runs(speech)
    if not rules.skip_silence:
        yield _Region(0, len(speech), int(talks.ends[-1]) if len(talks.ends) else 0)
        return
    if not len(talks.starts):
        return
    margin, longest = round(rules.margin_s / frame_s), round(rules.silence_s / frame_s)
    gaps = talks.starts[1:] - talks.ends[:-1]
    breaks = np.flatnonzero(gaps > longest)
    firsts = talks.starts[np.concatenate(([0], breaks + 1))]
    lasts = talks.ends[np.concatenate((breaks, [len(talks.ends) - 1]))]
    for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
        yield _Region(max(0, first - margin), min(len(speech), last + margin), last)


def _pieces(
    region: _Region, most: int, overlap: int, silences: _Runs, level: Levels, frame_s: float
) -> Iterator[tuple[int, int]]:
    start, last, talked = region
    while last - start > most:
        low, high = start + max(1, int(most * EARLIEST)), start + most
        at = _silence_in(low, min(high, talked), silences, level, frame_s)
        if at is None and talked < high:
            at = _silence_in(low, high, silences, level, frame_s)
        if at is not None:
            yield start, at
            start = at
            continue
        at = _quietest(level, start + int(most * _LAST_THIRD), high - overlap // 2, round(_SMOOTH_S / frame_s))
        yield start, at + overlap - overlap // 2
        start = max(at - overlap // 2, start + 1)
    yield start, last


def _silence_in(low: int, high: int, silences: _Runs, level: Levels, frame_s: float) -> int | None:
    """The middle of the best silence between two frames, as far as it lies between them."""
    begin = int(np.searchsorted(silences.ends, low, side="right"))
    stop = int(np.searchsorted(silences.starts, high, side="left"))
    best, best_score = None, -1.0
    for starts, ends in zip(silences.starts[begin:stop].tolist(), silences.ends[begin:stop].tolist(), strict=True):
        left, right = max(starts, low), min(ends, high)
        if left >= right:
            continue
        middle = (left + right) // 2
        quiet = -float(level[left:right].mean()) / 1000.0  # decides between equals only
        score = min((right - left) * frame_s, _GOOD_SILENCE_S) + _LATENESS * (middle - low) / (high - low) + quiet
        if score > best_score:
            best, best_score = middle, score
    return best


def _quietest(level: Levels, low: int, high: int, width: int) -> int:
    """The middle of the quietest `width` frames between two frames."""
    part = level[low : max(high, low + 1)]
    if len(part) <= width:
        return low + len(part) // 2
    sums = np.convolve(part, np.ones(width), mode="valid")
    return low + int(np.argmin(sums)) + width // 2


def quietest(levels: bytes, step_s: float, start: float, end: float) -> float:
    """Return the quietest moment of the middle third of a span, in seconds.

    Args:
        levels: Loudness by steps, as `Track.levels`.
        step_s: Seconds of a step.
        start: Of the span, seconds.
        end: Of the span, seconds.
    """
    third = (end - start) / 3
    first, last = int((start + third) / step_s) + 1, int((end - third) / step_s)
    part = levels[first:last]
    if not part:
        return (start + end) / 2
    low = min(part)
    ranked = sorted((abs(2 * at - len(part) + 1), at) for at, value in enumerate(part) if value == low)
    return (first + ranked[0][1] + 0.5) * step_s

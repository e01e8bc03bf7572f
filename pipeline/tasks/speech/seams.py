"""Puts the answers of neighbouring pieces side by side: what both heard is kept once.

Pieces share a second of sound only where they were cut while somebody spoke. The run of words that both heard there,
the longer and the nearer in time the better, is the seam: the first piece is kept up to its end, the second from behind
it. Where no word is the same, the middle of the shared second decides. Models that give no times of words are compared
by text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pipeline.tasks.speech.heard import Heard, Segment, Word
from pipeline.tasks.speech.texts import glued, text_of

_SAME_TIME_S: Final = 0.4
_MOST_SHARED_WORDS: Final = 12
_TOUCHING_S: Final = 0.001
_PUNCTUATION: Final = " .,;:!?…\"'()[]-\u3002\u3001\uff1f\uff01\u300c\u300d"


def joined(answers: Sequence[Heard]) -> list[Heard]:
    """Return the answers in order of time, each without what the one before it has as well."""
    out: list[Heard] = []
    for heard in sorted(answers, key=lambda heard: (heard["start"], heard["end"])):
        if out and heard["start"] < out[-1]["end"] - _TOUCHING_S:
            out[-1], second = _seam(out[-1], heard)
            out.append(second)
        else:
            out.append(heard)
    return out


def _seam(first: Heard, second: Heard) -> tuple[Heard, Heard]:
    if not first["words"] or not second["words"]:
        return first, _without_prefix(second, _shared_tokens(first["text"], second["text"]))
    low, high = second["start"], first["end"]
    begin = next((at for at, word in enumerate(first["words"]) if _middle(word) > low), len(first["words"]))
    stop = next((at for at, word in enumerate(second["words"]) if _middle(word) >= high), len(second["words"]))
    keep, skip = cut_shared(first["words"][begin:], second["words"][:stop], (low + high) / 2)
    return _words_kept(first, 0, begin + keep), _words_kept(second, skip, len(second["words"]))


def until(heard: Heard, at: float) -> Heard:
    """Return the answer without the words spoken from a time on; all of it where it has no times of words."""
    return _words_kept(heard, 0, sum(_middle(word) < at for word in heard["words"]))


def cut_shared(tail: Sequence[Word], head: Sequence[Word], middle: float) -> tuple[int, int]:
    """Decide who keeps which of the words in a shared stretch.

    Args:
        tail: The first piece's words there.
        head: The second piece's words there.
        middle: Of the stretch, seconds.

    Returns:
        How many words of `tail` are kept, and how many of `head` are left out.
    """
    best, at_tail, at_head = 0.0, 0, 0
    for a in range(len(tail)):
        for b in range(len(head)):
            n, score = 0, 0.0
            while a + n < len(tail) and b + n < len(head) and (likeness := _likeness(tail[a + n], head[b + n])) > 0:
                n, score = n + 1, score + likeness
            if score > best:
                best, at_tail, at_head = score, a + n, b + n
    if best:
        return at_tail, at_head
    kept = sum(_middle(word) < middle for word in tail)
    return kept, sum(_middle(word) < middle for word in head)


def _likeness(one: Word, other: Word) -> float:
    """1 for the same word at the same time, 0 for another one, or for one spoken later."""
    if _plain(one["word"]) != _plain(other["word"]):
        return 0.0
    return max(0.0, 1.0 - abs(one["start"] - other["start"]) / _SAME_TIME_S)


def _plain(word: str) -> str:
    return word.strip(_PUNCTUATION).casefold() or word.strip()


def _middle(word: Word) -> float:
    return (word["start"] + word["end"]) / 2


def _words_kept(heard: Heard, first: int, last: int) -> Heard:
    """The answer with some of its words; segments that lose none stay as they were written."""
    words = heard["words"]
    if first == 0 and last == len(words):
        return heard
    lost = [*words[:first], *words[last:]]
    segments: list[Segment] = []
    for segment in heard["segments"]:
        if not any(segment["start"] <= _middle(word) <= segment["end"] for word in lost):
            segments.append(segment)
            continue
        kept = [word for word in words[first:last] if segment["start"] <= _middle(word) <= segment["end"]]
        if kept:
            times = {"start": kept[0]["start"], "end": kept[-1]["end"], "text": text_of(kept)}
            segments.append(Segment(**{**segment, **times}))  # type: ignore[typeddict-item]
    text = glued(segment["text"] for segment in segments)
    return Heard(**{**heard, "text": text, "segments": segments, "words": words[first:last]})


def _shared_tokens(first: str, second: str) -> int:
    """How many words at the end of one text are the beginning of the next."""
    tail = [_plain(token) for token in first.split()[-_MOST_SHARED_WORDS:]]
    head = [_plain(token) for token in second.split()[:_MOST_SHARED_WORDS]]
    return next((n for n in range(min(len(tail), len(head)), 0, -1) if tail[-n:] == head[:n]), 0)


def _without_prefix(heard: Heard, n: int) -> Heard:
    if not n:
        return heard
    segments: list[Segment] = []
    left = n
    for segment in heard["segments"]:
        tokens = segment["text"].split()
        if left < len(tokens):
            segments.append(Segment(**{**segment, "text": " ".join(tokens[left:])}) if left else segment)
        left = max(0, left - len(tokens))
    return Heard(**{**heard, "text": " ".join(heard["text"].split()[n:]), "segments": segments})

"""Finds what a speech model made up: loops, and words where nobody speaks.

The bounds are those of Whisper's own decoder (github.com/openai/whisper, `transcribe.py`): a compression ratio above
2.4, or no_speech_prob above 0.6 together with avg_logprob below -1. Loops and silence are looked at here, for models
that give no such figures.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pipeline.tasks.speech.heard import Heard, Segment
from pipeline.tasks.speech.texts import glued

REASONS: Final[Mapping[str, str]] = {
    "loop": "it repeats itself",
    "silence": "nobody speaks there",
    "compression": "it repeats itself (compression ratio above 2.4)",
    "no_speech": "the model itself doubts that somebody speaks",
}

MOST_COMPRESSION: Final = 2.4
_MOST_NO_SPEECH: Final = 0.6
_LEAST_LOGPROB: Final = -1.0
_LEAST_SPEECH_S: Final = 0.1
_TELLING_BYTES: Final = 200
_LONGEST_PHRASE: Final = 12
_FEWEST_REPEATS: Final = 4
_FEWEST_REPEATED_WORDS: Final = 8
_UNSPACED_LOOP: Final = re.compile(r"(\S{2,20}?)\1{5,}")
_QUOTED: Final = 80


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is doubtful in an answer.

    Attributes:
        reasons: Codes of `REASONS`, without repeats.
        segments: Positions of the segments that are meant.
    """

    reasons: tuple[str, ...]
    segments: frozenset[int]


def judge(heard: Heard, speech_s: float) -> Judgement:
    """Look for what was made up.

    Args:
        heard: An answer.
        speech_s: Seconds of its piece in which somebody speaks.
    """
    segments = heard["segments"]
    everything = frozenset(range(len(segments)))
    reasons: dict[str, None] = {}
    meant: set[int] = set()
    if speech_s < _LEAST_SPEECH_S and any(map(str.isalnum, heard["text"])):
        reasons["silence"] = None
        meant |= everything
    for at, segment in enumerate(segments):
        found = _of_segment(segment)
        if found:
            reasons[found] = None
            meant.add(at)
    if "loop" not in reasons and is_loop(heard["text"]):
        reasons["loop"] = None
        meant |= everything
    return Judgement(tuple(reasons), frozenset(meant))


def _of_segment(segment: Segment) -> str | None:
    if is_loop(segment["text"]):
        return "loop"
    ratio = segment["compression_ratio"]
    if ratio is None:
        ratio = compression(segment["text"])
    if ratio > MOST_COMPRESSION:
        return "compression"
    no_speech, logprob = segment["no_speech_prob"], segment["avg_logprob"]
    if no_speech is not None and no_speech > _MOST_NO_SPEECH and logprob is not None and logprob < _LEAST_LOGPROB:
        return "no_speech"
    return None


def compression(text: str) -> float:
    """How much shorter a text gets; 0 for one that is too short to tell."""
    raw = text.encode("utf-8", "surrogatepass")
    return len(raw) / len(zlib.compress(raw)) if len(raw) >= _TELLING_BYTES else 0.0


def is_loop(text: str) -> bool:
    """Whether a phrase of up to twelve words comes four times or more in a row, over at least eight words."""
    words = [word.strip(".,;:!?…\"'()").casefold() for word in text.split()]
    for length in range(1, min(_LONGEST_PHRASE, len(words) // _FEWEST_REPEATS) + 1):
        needed = max(length * _FEWEST_REPEATS, _FEWEST_REPEATED_WORDS) - length
        run = 0
        for at in range(length, len(words)):
            run = run + 1 if words[at] == words[at - length] else 0
            if run >= needed:
                return True
    return bool(_UNSPACED_LOOP.search(text))


def kept_with_warning(heard: Heard, judgement: Judgement) -> Heard:
    """The answer with a warning; nothing is taken away."""
    if not judgement.reasons:
        return heard
    said = _quoted(heard, judgement)
    warning = f"{_place(heard)}: perhaps made up, {_because(judgement)}: {said}"
    return Heard(**{**heard, "warnings": [*heard["warnings"], warning]})


def without(heard: Heard, judgement: Judgement) -> Heard:
    """The answer without what is doubtful, and a warning that quotes it."""
    if not judgement.reasons:
        return heard
    dropped = [segment for at, segment in enumerate(heard["segments"]) if at in judgement.segments]
    kept = [segment for at, segment in enumerate(heard["segments"]) if at not in judgement.segments]
    words = [
        word
        for word in heard["words"]
        if not any(gone["start"] <= (word["start"] + word["end"]) / 2 <= gone["end"] for gone in dropped)
    ]
    warning = f"{_place(heard)}: dropped after a second try, {_because(judgement)}: {_quoted(heard, judgement)}"
    return Heard(
        **{
            **heard,
            "text": glued(segment["text"] for segment in kept),
            "segments": kept,
            "words": words if kept else [],
            "warnings": [*heard["warnings"], warning],
            "doubts": [],
        }
    )


def _place(heard: Heard) -> str:
    return f"{heard['start']:.1f}-{heard['end']:.1f} s"


def _because(judgement: Judgement) -> str:
    return "; ".join(REASONS[reason] for reason in judgement.reasons)


def _quoted(heard: Heard, judgement: Judgement) -> str:
    said = " ".join(segment["text"] for at, segment in enumerate(heard["segments"]) if at in judgement.segments)
    return repr(said if len(said) <= _QUOTED else said[: _QUOTED - 1] + "…")

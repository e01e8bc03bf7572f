"""What was heard in one piece of a recording, as plain JSON values: they may be written down and read again.

All times are seconds on the timeline of the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from pipeline.records import Column


class Word(TypedDict):
    """One word."""

    start: float
    end: float
    word: str
    confidence: float | None


class Segment(TypedDict):
    """A stretch of speech, about a sentence; the figures are those of Whisper, None where the model gives none."""

    start: float
    end: float
    text: str
    no_speech_prob: float | None
    avg_logprob: float | None
    compression_ratio: float | None


class Heard(TypedDict):
    """One answer.

    `start` and `end` are the piece's; `is_sure` says whether the language may be used for the rest of the recording;
    `doubts` are codes of `doubts.REASONS`.
    """

    start: float
    end: float
    text: str
    language: str | None
    is_sure: bool
    segments: list[Segment]
    words: list[Word]
    warnings: list[str]
    doubts: list[str]


class Value(TypedDict):
    """What one piece comes to: its own answer last, before it those of earlier stages, once it is placed."""

    seconds: float
    sent: float
    heard: list[Heard]
    problems: list[str]


COLUMNS: Sequence[Column] = (
    Column("text", "string"),
    Column("language", "string"),
    Column("duration_seconds", "float64"),
    Column("sent_seconds", "float64"),
    Column(
        "segments",
        "list<struct>",
        fields=(
            Column("start", "float64"),
            Column("end", "float64"),
            Column("text", "string"),
            Column("no_speech_prob", "float64"),
            Column("avg_logprob", "float64"),
            Column("compression_ratio", "float64"),
        ),
    ),
    Column(
        "words",
        "list<struct>",
        fields=(
            Column("start", "float64"),
            Column("end", "float64"),
            Column("word", "string"),
            Column("confidence", "float64"),
        ),
    ),
    Column("vtt", "string"),
    Column("warnings", "list<string>"),
)

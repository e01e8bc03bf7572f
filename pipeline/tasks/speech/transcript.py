"""One transcript of all answers for a recording."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pipeline.tasks.speech.heard import Segment, Value, Word
from pipeline.tasks.speech.seams import joined
from pipeline.tasks.speech.texts import glued

_Timed = TypeVar("_Timed", Segment, Word)


@dataclass(frozen=True, slots=True)
class Transcript:
    """A recording in words.

    Attributes:
        text: All of it.
        language: The one of most of the text; None where the model names none.
        seconds: Length of the recording.
        sent: Seconds of sound that were sent for it, second tries and overlaps included.
        segments: In order of time.
        words: In order of time; empty where the model gives none.
        warnings: What a person should know, in order of time.
    """

    text: str
    language: str | None
    seconds: float
    sent: float
    segments: list[Segment]
    words: list[Word]
    warnings: list[str]


def put_together(values: Sequence[Value]) -> Transcript:
    """Make one transcript of the values of a record's pieces, in any order."""
    answers = joined([heard for value in values for heard in value["heard"]])
    languages: Counter[str] = Counter()
    for heard in answers:
        if heard["language"] is not None:
            languages[heard["language"]] += len(heard["text"]) + 1
    return Transcript(
        text=glued(heard["text"] for heard in answers),
        language=languages.most_common(1)[0][0] if languages else None,
        seconds=values[0]["seconds"],
        sent=round(sum(value["sent"] for value in values), 3),
        segments=_in_order(segment for heard in answers for segment in heard["segments"]),
        words=_in_order(word for heard in answers for word in heard["words"]),
        warnings=[*values[0]["problems"], *(warning for heard in answers for warning in heard["warnings"])],
    )


def _in_order(items: Iterable[_Timed]) -> list[_Timed]:
    """None begins before the one in front of it, none ends before it begins."""
    out: list[_Timed] = []
    latest = 0.0
    for item in items:
        if item["start"] < latest:
            moved = item.copy()
            moved["start"], moved["end"] = latest, max(item["end"], latest)
            out.append(moved)
        else:
            latest = item["start"]
            out.append(item)
    return out
